//! A bond while it is read from a file of another system, and where it goes when it is whole.

use zeroize::Zeroizing;

use super::check::{NamedPeer, PRIVATE_ADDRESS};
use super::json::Bad;
use super::report::{PeerReport, Refused, Report, parts};
use super::{ImportedAdapter, UnusablePeer};
use crate::bond::details::{OPAQUE_ITEM_OCTETS_MAX, OPAQUE_ITEMS_MAX, OPAQUE_NAME_OCTETS_MAX};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{
    AdapterAddress, Bond, BondMetadata, Custody, Ltk, LtkSlot, OpaqueItem, PeerDetails, Source, UnixMillis,
};

/// See the module text.
pub(super) struct Draft {
    pub bond: Bond,
    pub details: PeerDetails,
    pub report: PeerReport,
    private: Option<String>,
    superseded: Vec<Ltk>,
}

impl Draft {
    pub fn new(adapter: Option<AdapterAddress>, named: NamedPeer, now: UnixMillis) -> Self {
        Self {
            bond: Bond::new(named.peer, BondMetadata::new(Custody::Ours, Source::Imported, now)),
            details: PeerDetails::default(),
            report: PeerReport::new(adapter, named.peer),
            private: named.private,
            superseded: Vec::new(),
        }
    }

    /// Lays the LTKs into the bond. A Secure Connections key stands before legacy ones, as it serves both
    /// roles; of several for one place the last stands. What stands back is reported.
    pub fn put_ltks(&mut self, ltks: impl IntoIterator<Item = Ltk>) {
        let ltks: Vec<Ltk> = ltks.into_iter().collect();
        let has_secure = ltks.iter().any(|ltk| ltk.slot() == LtkSlot::SecureConnections);
        for ltk in ltks {
            if has_secure && ltk.slot() != LtkSlot::SecureConnections {
                let reason = "legacy and Secure Connections keys never stand together: the latter stands";
                self.report.drop("ltk", reason);
                self.superseded.push(ltk);
            } else if let Some(older) = self.bond.put_ltk(ltk) {
                self.report.drop("ltk", "several LTKs for one role: the last one of the file stands");
                self.superseded.push(older);
            }
        }
    }

    /// Keeps something that has no meaning here for the way back; what is too much is reported.
    pub fn keep(&mut self, format: &str, name: String, value: Zeroizing<Vec<u8>>) {
        if !keep(&mut self.details.opaque, format, name, value) {
            self.report.drop("opaque", "more, or longer, than is kept of what has no meaning here");
        }
    }

    /// Puts the bond where it belongs. `place` is where the file has it.
    pub fn settle(
        mut self,
        place: impl FnOnce() -> String,
        adapter: &mut ImportedAdapter,
        report: &mut Report,
    ) {
        self.bond.metadata.details = self.details.boxed();
        if !self.bond.has_keys() {
            let address = self.private.unwrap_or_else(|| self.bond.peer.to_string());
            report.notes.push(format!("{address} has no key in the file: there is no bond to take"));
            return;
        }
        if let Some(address) = self.private {
            let reason = PRIVATE_ADDRESS.to_owned();
            report.notes.push(format!("{address}: {reason}"));
            let assumed = self.report.assumed.iter();
            report
                .notes
                .extend(assumed.map(|assumed| format!("{address}: {}: {}", assumed.field, assumed.rule)));
            adapter.unusable.push(UnusablePeer { address, stand_in: self.bond, place: place(), reason });
            return;
        }
        if !adapter.settled.insert(self.bond.peer) {
            let reason = "the peer came before".to_owned();
            report.refused.push(Refused { place: place(), peer: Some(self.bond.peer), reason });
            return;
        }
        if adapter.bonds.len() >= BONDS_PER_ADAPTER_MAX {
            let reason = format!("an adapter has no more than {BONDS_PER_ADAPTER_MAX} bonds");
            report.refused.push(Refused { place: place(), peer: Some(self.bond.peer), reason });
            return;
        }
        let peer = self.bond.peer;
        adapter.superseded.extend(self.superseded.into_iter().map(|ltk| (peer, ltk)));
        self.report.taken = parts(&self.bond);
        report.peers.push(self.report);
        adapter.bonds.push(self.bond);
    }
}

/// Adds an item to those that are kept; false where that would be too much.
pub(super) fn keep(
    items: &mut Vec<OpaqueItem>,
    format: &str,
    name: String,
    value: Zeroizing<Vec<u8>>,
) -> bool {
    let fits = items.len() < OPAQUE_ITEMS_MAX
        && name.len() <= OPAQUE_NAME_OCTETS_MAX
        && value.len() <= OPAQUE_ITEM_OCTETS_MAX;
    if fits {
        items.push(OpaqueItem { format: format.to_owned(), name, value });
    }
    fits
}

/// A record that cannot be taken, where all others may be.
pub(super) fn refuse(report: &mut Report, bad: Bad) {
    report.refused.push(Refused { place: bad.place, peer: None, reason: bad.reason });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{peer, secure_bond, secure_ltk};

    fn draft(address: &str) -> Draft {
        let mut draft = Draft::new(None, NamedPeer { peer: peer(address), private: None }, UnixMillis(0));
        draft.put_ltks([secure_ltk(1)]);
        draft
    }

    fn settle(draft: Draft, adapter: &mut ImportedAdapter) -> Report {
        let mut report = Report::default();
        draft.settle(|| "there".to_owned(), adapter, &mut report);
        report
    }

    #[test]
    fn a_peer_comes_once() {
        let mut adapter = ImportedAdapter::default();
        assert!(settle(draft("C0:FF:EE:00:00:01"), &mut adapter).refused.is_empty());
        let report = settle(draft("C0:FF:EE:00:00:01"), &mut adapter);
        assert_eq!((report.refused[0].place.as_str(), adapter.bonds.len()), ("there", 1));
    }

    #[test]
    fn no_more_bonds_are_taken_than_an_adapter_may_have() {
        let bonds = vec![secure_bond("C0:FF:EE:00:00:01", 1); BONDS_PER_ADAPTER_MAX];
        let mut adapter = ImportedAdapter { bonds, ..ImportedAdapter::default() };
        let report = settle(draft("C0:FF:EE:00:00:02"), &mut adapter);
        assert_eq!(report.refused[0].reason, "an adapter has no more than 20000 bonds");
        assert_eq!(adapter.bonds.len(), BONDS_PER_ADAPTER_MAX);
    }

    #[test]
    fn what_is_too_much_to_keep_is_reported() {
        let mut draft = draft("C0:FF:EE:00:00:01");
        for at in 0..=OPAQUE_ITEMS_MAX {
            draft.keep("fuchsia", at.to_string(), Zeroizing::new(vec![1]));
        }
        assert_eq!((draft.details.opaque.len(), draft.report.dropped.len()), (OPAQUE_ITEMS_MAX, 1));
    }
}
