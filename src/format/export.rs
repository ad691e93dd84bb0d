//! What goes into an export and what comes out of it.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{FormatError, FormatOptions, Input, Report, Tree};
use crate::bond::{AdapterAddress, AdapterRecord, Bond, BondTable, PeerAddress, UnixMillis};

/// The bonds of one adapter, to be written.
#[derive(Clone, Copy)]
pub struct ExportAdapter<'a> {
    /// None where nobody named it: enough for the formats that do not name it either.
    pub address: Option<AdapterAddress>,
    pub record: &'a AdapterRecord,
    pub table: &'a BondTable,
    /// Only these peers; none = all, with the table's removals.
    pub peers: Option<&'a [PeerAddress]>,
}

impl<'a> ExportAdapter<'a> {
    /// The address, for a format that names the adapter.
    pub(super) fn named(&self) -> Result<AdapterAddress, FormatError> {
        self.address.ok_or(FormatError::AdapterNeeded)
    }

    /// The adapter in a sentence.
    pub(super) fn shown(&self) -> String {
        self.address.map_or_else(|| "(not named)".to_owned(), |address| address.to_string())
    }

    /// The bonds that are wanted, with the generation that last touched each.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a Bond, u64)> + use<'a> {
        let peers = self.peers;
        let entries = self.table.entries().map(|entry| (&*entry.bond, entry.generation));
        entries.filter(move |(bond, _)| peers.is_none_or(|peers| peers.contains(&bond.peer)))
    }
}

/// How to export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportOptions {
    /// Stated in the formats that carry a time.
    pub created_at: UnixMillis,
    /// Write the file even where whole peers would be missing from it.
    pub allow_loss: bool,
    pub options: FormatOptions,
}

/// What an export consists of. Holds keys; wiped on drop.
#[derive(Clone)]
pub enum Content {
    Document(Zeroizing<Vec<u8>>),
    Tree(Tree),
}

impl Content {
    /// As one file, for a pipe or a seal; a folder becomes a tar archive.
    pub fn as_file(&self) -> Result<Zeroizing<Vec<u8>>, FormatError> {
        match self {
            Self::Document(bytes) => Ok(bytes.clone()),
            Self::Tree(tree) => tree.to_tar().map_err(|_| FormatError::Write),
        }
    }

    /// The same, to be read.
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Self::Document(bytes) => Input::Document(bytes),
            Self::Tree(tree) => Input::Tree(tree),
        }
    }
}

/// An export, ready to be written.
#[derive(Clone)]
pub struct Exported {
    pub content: Content,
    /// Bonds of which at least one key is in the file.
    pub bond_count: usize,
    pub report: Report,
}

impl Exported {
    /// The one file, where it is one.
    pub const fn document(&self) -> Option<&Zeroizing<Vec<u8>>> {
        match &self.content {
            Content::Document(bytes) => Some(bytes),
            Content::Tree(_) => None,
        }
    }

    /// SHA-256 of the file, lower-case hexadecimal. Of a folder: of each file's path and length in a
    /// line and its content behind it, in the order of the paths.
    pub fn sha256(&self) -> String {
        match &self.content {
            Content::Document(bytes) => hex::encode(Sha256::digest(bytes)),
            Content::Tree(tree) => {
                let mut hash = Sha256::new();
                for (path, content) in tree.files() {
                    hash.update(format!("{path} {}\n", content.len()));
                    hash.update(content);
                }
                hex::encode(hash.finalize())
            }
        }
    }
}
