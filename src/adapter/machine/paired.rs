//! What bluetoothd says of this adapter's peers.

use super::{AdapterMachine, Now};
use crate::adapter::messages::PairedPeers;

impl AdapterMachine {
    /// bluetoothd was asked; none where it cannot be, or does not manage this adapter.
    pub fn paired_peers(&mut self, seen: Option<PairedPeers>, now: Now) {
        if let Some(seen) = &seen {
            self.take_names(seen);
        }
        self.settle(now);
    }

    /// A name that the peer gave itself is taken where none is known.
    fn take_names(&mut self, seen: &PairedPeers) {
        let mut changed = false;
        for (peer, name) in &seen.peers {
            let Some(name) = name else { continue };
            let nameless = self.table.get(*peer).is_some_and(|bond| bond.metadata.name.is_none());
            changed |= nameless && self.table.touch(*peer, |metadata| metadata.name = Some(name.clone()));
        }
        if changed {
            self.save_bonds();
            self.bonds_dirty = true;
        }
    }
}
