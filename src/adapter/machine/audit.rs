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
            EventKind::IdentityCaptured { .. } => (Action::IdentityCaptured, Vec::new()),
            EventKind::IdentityRestored { .. } => (Action::IdentityRestored, Vec::new()),
            // Nothing of the bond is other than before.
            EventKind::BondSuspect(_) | EventKind::BondRecovered(_) => return,
            EventKind::DriftFound { .. } => return,
            EventKind::AdapterLoaded { .. } | EventKind::AdapterHeld { .. } => return,
        };
        let mut entry = Entry::new(now.wall, action, cause);
        entry.adapter = Some(self.address);
        entry.detail = detail(kind);
        entry.bonds = peers.into_iter().map(|peer| self.change_of(peer)).collect();
        // Connection parameters may change with every connection; they are no keys.
        if action == Action::BondUpdated && entry.bonds.iter().all(|change| change.before == change.after) {
            return;
        }
        self.outputs.push_back(Output::Audit(Box::new(entry)));
    }

    fn change_of(&mut self, peer: PeerAddress) -> BondChange {
        let after = self.table.entry(peer).map(|entry| entry.fingerprint(&self.fingerprint_key));
        let before = match after {
            Some(after) => self.audited.insert(peer, after),
            None => self.audited.remove(&peer),
        };
        BondChange { peer, before, after }
    }
}

/// One sentence on what is no bond.
fn detail(kind: &EventKind) -> Option<String> {
    let (what, fingerprint, privacy) = match kind {
        EventKind::IdentityCaptured { fingerprint, privacy, manager } => {
            (format!("{manager} has set the adapter's own identity"), fingerprint, privacy)
        }
        EventKind::IdentityRestored { fingerprint, privacy } => {
            ("the adapter's own identity was put back".to_owned(), fingerprint, privacy)
        }
        _ => return None,
    };
    let privacy = privacy.map_or("not known", |privacy| privacy.as_str());
    Some(format!("{what}: privacy {privacy}, fingerprint {fingerprint}"))
}
