//! What bluetoothd says over D-Bus of this adapter's peers.

use std::collections::BTreeSet;

use super::{AdapterMachine, Now, Output};
use crate::adapter::messages::PairedPeers;
use crate::adapter::records::{LoadItem, Records};
use crate::bond::PeerAddress;
use crate::mgmt::LoadKind;

/// The manager that can be asked.
const BLUETOOTHD: &str = "bluetoothd";

impl AdapterMachine {
    /// bluetoothd was asked; none where it cannot be, or does not manage this adapter.
    pub fn paired_peers(&mut self, seen: Option<PairedPeers>, now: Now) {
        if let Some(seen) = &seen {
            self.take_names(seen);
        }
        self.paired = seen;
        self.settle(now);
    }

    /// Where bluetoothd's loads were missed, its word on what is paired stands for them, if every peer that it
    /// calls paired has a bond here: it has loaded those, and nothing else. Its objects show an adapter only after
    /// its loads for it, so an answer without peers is one of a bluetoothd that has none.
    pub(super) fn take_bluetoothds_word(&mut self) {
        let (Some(paired), Some(attachment)) = (&self.paired, &mut self.attachment) else { return };
        // A list that it was seen loading is known from that, or holds what cannot be known.
        let missed = |kind: &LoadKind| {
            !attachment.shadow.is_complete(*kind) && !attachment.theirs.has_loaded(BLUETOOTHD, *kind)
        };
        let missed: Vec<LoadKind> = LoadKind::ALL.into_iter().filter(missed).collect();
        let keepers: BTreeSet<String> = missed.iter().flat_map(|kind| attachment.keepers_of(*kind)).collect();
        // Of another manager it knows nothing.
        if !keepers.iter().eq([BLUETOOTHD]) {
            return self.note_bluetoothd();
        }
        let known: Vec<_> = paired.peers.keys().filter_map(|peer| self.table.get(*peer)).collect();
        if paired.unreadable_count > 0 || known.len() < paired.peers.len() {
            return;
        }
        // The table may be one that was inherited. Another bluetoothd than the one that was there then has loaded its
        // own lists in place of it.
        let is_another = self.record.bluetoothd.as_ref() != Some(&paired.instance);
        for kind in missed {
            for bond in self.table.bonds().filter(|_| is_another) {
                for (of, place, item) in LoadItem::of_bond(bond, attachment.dual_mode) {
                    if of == kind && attachment.shadow.holds(kind, place, &item) == Some(true) {
                        attachment.shadow.doubt(kind, place);
                    }
                }
            }
            let of_bonds = known.iter().flat_map(|bond| LoadItem::of_bond(bond, attachment.dual_mode));
            let records: Records =
                of_bonds.filter(|(of, _, _)| *of == kind).map(|(_, place, item)| (place, item)).collect();
            for (place, item) in &records {
                attachment.shadow.add(kind, *place, item.clone());
            }
            attachment.theirs.inherited(BLUETOOTHD, kind, &records);
            attachment.shadow.vouch_complete(kind);
        }
        self.bonds_dirty = true;
        self.check_all_lists();
        self.note_bluetoothd();
    }

    /// Remembers which bluetoothd it is whose loads are accounted for, once they all are.
    fn note_bluetoothd(&mut self) {
        let (Some(paired), Some(attachment)) = (&self.paired, &self.attachment) else { return };
        let complete = LoadKind::ALL.into_iter().all(|kind| attachment.shadow.is_complete(kind));
        if complete && self.record.bluetoothd.as_ref() != Some(&paired.instance) {
            self.record.bluetoothd = Some(paired.instance.clone());
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
        }
    }

    /// A name that the peer gave itself is taken where none is known.
    fn take_names(&mut self, seen: &PairedPeers) {
        let nameless =
            |peer: PeerAddress| self.table.get(peer).is_some_and(|bond| bond.metadata.name.is_none());
        let found: Vec<(PeerAddress, String)> = seen
            .peers
            .iter()
            .filter_map(|(peer, name)| Some((*peer, name.clone()?)))
            .filter(|(peer, _)| nameless(*peer))
            .collect();
        if found.is_empty() {
            return;
        }
        for (peer, name) in found {
            self.table.touch(peer, |metadata| metadata.name = Some(name));
        }
        self.save_bonds();
        self.bonds_dirty = true;
    }
}
