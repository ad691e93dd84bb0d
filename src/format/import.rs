//! What goes into an import and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{FormatError, FormatId, FormatOptions, Refused, Report, Tree};
use crate::bond::{AdapterAddress, Bond, LocalIdentity, Ltk, OpaqueItem, PeerAddress, UnixMillis};

/// What is read.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// One file.
    Document(&'a [u8]),
    /// A folder.
    Tree(&'a Tree),
}

impl<'a> Input<'a> {
    /// The one file, for a format that is one.
    pub(super) fn document(self, format: FormatId) -> Result<&'a [u8], FormatError> {
        match self {
            Self::Document(bytes) => Ok(bytes),
            Self::Tree(_) => Err(FormatError::WrongFormat { format, reason: "it is a folder" }),
        }
    }
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// When bonds begin whose format carries no time.
    pub now: UnixMillis,
    /// Take what is good and name the rest, instead of all or nothing.
    pub salvage: bool,
    /// Leave peers that no Linux adapter could ever load in [`ImportedAdapter::unusable`], for somebody who
    /// only looks. Otherwise they count as refused.
    pub keep_unusable: bool,
    /// The adapter, for inputs that do not name it.
    pub adapter: Option<AdapterAddress>,
    /// Adapters by the names that inputs give them (`hci0`).
    pub adapters: BTreeMap<String, AdapterAddress>,
    pub options: FormatOptions,
}

/// A bond of a peer whose address is no identity on Linux: neither public nor static random.
#[derive(Clone)]
pub struct UnusablePeer {
    /// As it stands in the file, upper case.
    pub address: String,
    /// The bond under a stand-in address: the same with its two top bits set.
    pub stand_in: Bond,
    pub place: String,
    pub reason: String,
}

/// The bonds of one adapter, as a file gave them.
#[derive(Clone, Default)]
pub struct ImportedAdapter {
    /// None where neither the input nor the caller names the adapter: the caller has to.
    pub address: Option<AdapterAddress>,
    /// What the input calls it, where that is no address: `hci0`.
    pub hint: Option<String>,
    /// The adapter's own name, where the format carries one.
    pub name: Option<String>,
    pub local_identity: Option<LocalIdentity>,
    pub opaque: Vec<OpaqueItem>,
    pub bonds: Vec<Bond>,
    /// Peers that a reader has taken a bond of, so that none comes twice.
    pub settled: BTreeSet<PeerAddress>,
    /// LTKs that stand in the file beside the one that counts for their peer and role, in the file's order.
    pub superseded: Vec<(PeerAddress, Ltk)>,
    /// Empty unless [`ImportOptions::keep_unusable`] asked for them.
    pub unusable: Vec<UnusablePeer>,
}

/// What an import came to.
#[derive(Clone, Default)]
pub struct Imported {
    pub adapters: Vec<ImportedAdapter>,
    pub report: Report,
}

impl ImportOptions {
    /// The adapter of an input, or of a part of it that the input calls `hint`. `only`: the input has no other part.
    pub(super) fn adapter_of(&self, hint: Option<&str>, only: bool) -> Option<AdapterAddress> {
        let mapped = hint.and_then(|hint| self.adapters.get(hint)).copied();
        mapped.or(self.adapter.filter(|_| only))
    }
}

impl Imported {
    /// All or nothing, unless the caller wants to salvage.
    pub(super) fn settled(mut self, options: &ImportOptions) -> Result<Self, FormatError> {
        if !options.keep_unusable {
            for peer in self.adapters.iter_mut().flat_map(|adapter| adapter.unusable.drain(..)) {
                self.report.refused.push(Refused { place: peer.place, peer: None, reason: peer.reason });
            }
        }
        if self.report.refused.is_empty() || options.salvage {
            Ok(self)
        } else {
            Err(FormatError::Refused(self.report.refused))
        }
    }
}
