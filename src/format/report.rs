//! What became of each peer in an import or export.
//!
//! Holds addresses, names of fields and sentences; must never hold a value that a file gave.

use super::ExportAdapter;
use crate::bond::{AdapterAddress, Bond, KeyType, PeerAddress, PeerDetails};

/// Why something is not in a file, where the format is the reason.
pub(super) const NO_PLACE: &str = "the format has no place for it";

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

    /// Of a peer that is written in the format of that word, which carries these parts: all others are
    /// named as dropped.
    pub(super) fn of_export(
        adapter: Option<AdapterAddress>,
        bond: &Bond,
        word: &str,
        carries: &[&str],
    ) -> Self {
        let mut report = Self::new(adapter, bond.peer);
        for part in parts(bond) {
            if carries.contains(&part) {
                report.taken.push(part);
            } else {
                report.drop(part, NO_PLACE);
            }
        }
        for part in finer_parts(bond, word, &report.taken) {
            if !carries.contains(&part) {
                report.drop(part, NO_PLACE);
            }
        }
        report
    }

    /// For formats that cannot mark a key as one that everybody knows: such a key is left out.
    pub(super) fn drop_debug_ltks(&mut self, bond: &Bond) {
        if bond.ltks().iter().any(|ltk| ltk.key_type == KeyType::P256Debug) {
            self.taken.retain(|part| *part != "ltk");
            self.drop("ltk", "it was made with the published debug key pair, which the format cannot say");
        }
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

    /// Says what the format of that word leaves out of what is known of the adapter itself.
    pub(super) fn note_adapter_losses(&mut self, adapter: &ExportAdapter<'_>, word: &str, carries: &[&str]) {
        let record = adapter.record;
        let known = [
            ("local_irk", record.local_identity.is_some(), "local IRK of adapter"),
            (
                "opaque",
                record.opaque.iter().any(|item| item.format != word),
                "content of other formats kept for adapter",
            ),
        ];
        for (_, _, what) in known.into_iter().filter(|(part, known, _)| *known && !carries.contains(part)) {
            let address = adapter.shown();
            self.notes.push(format!("the {what} {address} is not in the file: {NO_PLACE}"));
        }
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

/// What is known of a bond besides its parts, by the names that reports use. What belongs to a key
/// counts where the key is taken, opaque items unless they are of the format of that word.
fn finer_parts(bond: &Bond, word: &str, taken: &[&str]) -> Vec<&'static str> {
    let none = PeerDetails::default();
    let details = bond.metadata.details.as_deref().unwrap_or(&none);
    let local = bond.csrk_local.as_ref().filter(|_| taken.contains(&"csrk_local"));
    let remote = bond.csrk_remote.as_ref().filter(|_| taken.contains(&"csrk_remote"));
    let csrks = || local.into_iter().chain(remote);
    let link_key = bond.link_key.as_ref().filter(|_| taken.contains(&"link_key"));
    let has = [
        ("csrk_authenticated", csrks().any(|csrk| csrk.authenticated.is_some())),
        ("csrk_counter", csrks().any(|csrk| csrk.counter.is_some())),
        ("csrk_security", remote.is_some() && details.csrk_security.is_some()),
        ("irk_security", taken.contains(&"irk") && details.irk_security.is_some()),
        ("link_key_size", link_key.is_some() && details.link_key_size.is_some()),
        ("pin_length", link_key.is_some_and(|key| key.pin_length.is_some())),
        ("alias", details.alias.is_some()),
        ("trusted", details.trusted.is_some()),
        ("blocked", details.blocked.is_some()),
        ("services", !details.services.is_empty()),
        ("bredr_services", !details.bredr_services.is_empty()),
        ("role_preference", details.role_preference.is_some()),
        ("identifier", details.identifier.is_some()),
        ("opaque", details.opaque.iter().any(|item| item.format != word)),
    ];
    has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}
