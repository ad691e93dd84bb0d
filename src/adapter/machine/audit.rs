//! What the audit log is told of: every bond that came, changed or went, once that is durable.

use super::{AdapterMachine, Now, Output};
use crate::adapter::messages::EventKind;
use crate::audit::messages::{Action, BondChange, Entry};
use crate::bond::PeerAddress;

impl AdapterMachine {
    pub(super) fn audit(&mut self, kind: &EventKind, cause: &'static str, now: Now) {
        let (action, peers) = match kind {
            EventKind::BondAdded(description) => (Action::BondAdded, vec![description.bond.peer]),
            EventKind::BondUpdated(description) => (Action::BondUpdated, vec![description.bond.peer]),
            EventKind::BondRemoved { peer, .. } => (Action::BondRemoved, vec![*peer]),
            EventKind::BondsRestored { added, replaced, lost, adopted } => {
                (Action::BondsRestored, [&added[..], &replaced[..], &lost[..], &adopted[..]].concat())
            }
            EventKind::BondsLearned { peers } => (Action::BondsLearned, peers.clone()),
            EventKind::BondOrphaned(description) => (Action::BondOrphaned, vec![description.bond.peer]),
            EventKind::BondsOrphaned { peers } => (Action::BondOrphaned, peers.clone()),
            // Nothing of the bond is other than before.
            EventKind::BondSuspect(_) | EventKind::BondRecovered(_) => return,
            EventKind::AdapterLoaded { .. } | EventKind::AdapterHeld { .. } => return,
        };
        let mut entry = Entry::new(now.wall, action, cause);
        entry.adapter = Some(self.address);
        entry.bonds = peers.into_iter().map(|peer| self.change_of(peer)).collect();
        // Connection parameters may change with every connection; they are no keys.
        if action == Action::BondUpdated && entry.bonds.iter().all(|change| change.before == change.after) {
            return;
        }
        self.outputs.push_back(Output::Audit(Box::new(entry)));
    }

    fn change_of(&mut self, peer: PeerAddress) -> BondChange {
        let after = self.table.get(peer).map(|bond| self.fingerprint_key.fingerprint(bond));
        let before = match after {
            Some(after) => self.audited.insert(peer, after),
            None => self.audited.remove(&peer),
        };
        BondChange { peer, before, after }
    }
}
