//! What became of each peer in an import or export.
//!
//! Holds addresses, names of fields and sentences; must never hold a value that a file gave.

use crate::bond::{AdapterAddress, Bond, PeerAddress};

/// A value that the input left open, and the rule that closed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assumed {
    pub field: &'static str,
    pub rule: &'static str,
}

/// Something that did not come across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    pub field: &'static str,
    pub reason: &'static str,
}

/// A record that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where in the input.
    pub place: String,
    /// The peer, where its address could be read.
    pub peer: Option<PeerAddress>,
    pub reason: String,
}

/// What became of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerReport {
    pub adapter: Option<AdapterAddress>,
    pub peer: PeerAddress,
    /// Names of the parts that came across: `ltk`, `irk`, `csrk_local`, …
    pub taken: Vec<&'static str>,
    pub assumed: Vec<Assumed>,
    pub dropped: Vec<Dropped>,
}

impl PeerReport {
    pub(super) const fn new(adapter: Option<AdapterAddress>, peer: PeerAddress) -> Self {
        Self { adapter, peer, taken: Vec::new(), assumed: Vec::new(), dropped: Vec::new() }
    }

    pub(super) fn assume(&mut self, field: &'static str, rule: &'static str) {
        let assumed = Assumed { field, rule };
        if !self.assumed.contains(&assumed) {
            self.assumed.push(assumed);
        }
    }

    pub(super) fn drop(&mut self, field: &'static str, reason: &'static str) {
        self.dropped.push(Dropped { field, reason });
    }
}

/// See the module text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub peers: Vec<PeerReport>,
    pub refused: Vec<Refused>,
    /// What concerns the whole file, one sentence each.
    pub notes: Vec<String>,
    /// Exports: peers of which nothing is in the file.
    pub lost_peers: Vec<PeerAddress>,
}

impl Report {
    /// Nothing was assumed, dropped, refused or lost.
    pub fn is_lossless(&self) -> bool {
        let whole = |peer: &PeerReport| peer.assumed.is_empty() && peer.dropped.is_empty();
        self.refused.is_empty() && self.lost_peers.is_empty() && self.peers.iter().all(whole)
    }

    /// What is said of one peer; the first entry where several adapters have it.
    pub fn peer(&self, peer: PeerAddress) -> Option<&PeerReport> {
        self.peers.iter().find(|report| report.peer == peer)
    }
}

/// The parts that a bond has, by the names that reports use.
pub(super) fn parts(bond: &Bond) -> Vec<&'static str> {
    let has = [
        ("ltk", !bond.ltks().is_empty()),
        ("irk", bond.irk.is_some()),
        ("csrk_local", bond.csrk_local.is_some()),
        ("csrk_remote", bond.csrk_remote.is_some()),
        ("link_key", bond.link_key.is_some()),
        ("conn_param", bond.connection_parameters.is_some()),
        ("name", bond.metadata.name.is_some()),
    ];
    has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}
