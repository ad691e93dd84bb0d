//! Planning an undo: how a table gets back what one operation of a user took from it, without touching
//! what has happened since.

use super::address::PeerAddress;
use super::bond::{Bond, UnixMillis};
use super::fingerprint::FingerprintKey;
use super::plan::{Hazard, PlanFacts, RestoreMode, RestorePlan, plan_id};
use super::table::{BondTable, Entry};

/// What can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Restore,
    /// A restore that replaced the whole table.
    Replace,
    Forget,
    Adopt,
    /// An undo: undoing it does the operation again.
    Undo,
}

impl Operation {
    const ALL: [Self; 5] = [Self::Restore, Self::Replace, Self::Forget, Self::Adopt, Self::Undo];

    /// The word that answers and files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Replace => "replace",
            Self::Forget => "forget",
            Self::Adopt => "adopt",
            Self::Undo => "undo",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == word)
    }
}

/// The last operation on an adapter's bonds that can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoPoint {
    pub operation: Operation,
    /// Label of the copy that was taken before it.
    pub checkpoint: String,
    /// Table generations between which everything is the operation's doing: after the first, up to the second.
    pub before: u64,
    pub after: u64,
    /// The time that the operation gave the bonds it changed.
    pub at: UnixMillis,
}

/// Plans the way back from `table` to `copy`, for exactly those peers that the operation changed. One that
/// was paired or removed since stays as it is: its older key is worth nothing.
pub fn plan_undo(
    table: &BondTable,
    copy: &BondTable,
    point: &UndoPoint,
    facts: &PlanFacts,
    id_key: &FingerprintKey,
    now: UnixMillis,
) -> RestorePlan {
    let wanted: Vec<Bond> = copy.bonds().cloned().collect();
    let mut plan = RestorePlan::empty(
        RestoreMode::Replace,
        plan_id(table, &wanted, "undo", id_key),
        facts.general_hazards(),
        now,
    );
    for bond in wanted {
        match table.entry(bond.peer) {
            Some(present) => plan.bring_back(present, bond, point, facts),
            None => plan.add_back(table, bond, point),
        }
    }
    for present in table.entries().filter(|present| copy.get(present.bond.peer).is_none()) {
        let peer = present.bond.peer;
        match doing(present, point) {
            Doing::Before => {}
            Doing::Operation => plan.lost.push(peer),
            Doing::Since => plan.keep(peer),
        }
    }
    if !plan.lost.is_empty() {
        plan.hazards.push(Hazard::LosesBonds { count: plan.lost.len() });
    }
    plan
}

/// Whose doing an entry's present keys are.
enum Doing {
    Before,
    Operation,
    Since,
}

fn doing(entry: &Entry, point: &UndoPoint) -> Doing {
    let of_operation = entry.generation <= point.after
        // Touched since, as by a name that became known, but the keys are still the operation's.
        || entry.bond.metadata.updated_at == point.at;
    match entry.generation {
        generation if generation <= point.before => Doing::Before,
        _ if of_operation => Doing::Operation,
        _ => Doing::Since,
    }
}

impl RestorePlan {
    fn bring_back(&mut self, present: &Entry, mut bond: Bond, point: &UndoPoint, facts: &PlanFacts) {
        let peer = bond.peer;
        if present.bond.same_keys(&bond) {
            self.unchanged.push(peer);
            // Only the custody is the operation's doing; what became known since stays known.
            let custody = bond.metadata.custody;
            if present.generation > point.before && present.bond.metadata.custody != custody {
                let orphaned = bond.is_orphaned();
                bond.metadata = present.bond.metadata.clone();
                bond.metadata.custody = custody;
                bond.metadata.note(|details| details.orphaned = orphaned);
                self.outcome.push(bond);
            }
            return;
        }
        match doing(present, point) {
            Doing::Before => self.unchanged.push(peer),
            Doing::Since => self.keep(peer),
            Doing::Operation => {
                if facts.connected.contains(&peer) {
                    self.hazards.push(Hazard::PeerConnected { peer });
                }
                bond.metadata.updated_at = self.at;
                self.replaced.push(peer);
                self.outcome.push(bond);
            }
        }
    }

    fn add_back(&mut self, table: &BondTable, mut bond: Bond, point: &UndoPoint) {
        let removal = table.tombstones().find(|tombstone| tombstone.peer == bond.peer);
        // A removal that is not remembered any more is older than thousands of others.
        if removal.is_some_and(|removal| removal.generation > point.after) {
            return self.keep(bond.peer);
        }
        bond.metadata.updated_at = self.at;
        self.added.push(bond.peer);
        self.outcome.push(bond);
    }

    fn keep(&mut self, peer: PeerAddress) {
        self.kept.push(peer);
        self.hazards.push(Hazard::ChangedSince { peer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::plan::plan_restore;
    use crate::bond::testing::{irk, peer, secure_bond};
    use crate::bond::{CapturedKey, Custody, Ltk, Source};

    const ONE: &str = "C0:FF:EE:00:00:01";
    const TWO: &str = "C0:FF:EE:00:00:02";
    const THREE: &str = "C0:FF:EE:00:00:03";
    const RESTORED_AT: UnixMillis = UnixMillis(5_000);

    fn key() -> FingerprintKey {
        FingerprintKey::new([1; 32])
    }

    fn table(bonds: &[Bond]) -> BondTable {
        let mut table = BondTable::new();
        for bond in bonds {
            table.insert(bond.clone()).unwrap();
        }
        table
    }

    /// Restores `incoming` into `table`; gives the copy from before and the point to go back to.
    fn restore(table: &mut BondTable, incoming: &[Bond], mode: RestoreMode) -> (BondTable, UndoPoint) {
        let copy = table.clone();
        let facts = PlanFacts::default();
        let plan = plan_restore(table, incoming, mode, Source::Restored, &facts, &key(), RESTORED_AT);
        plan.apply(table).unwrap();
        (copy.clone(), point(Operation::Restore, &copy, table, RESTORED_AT))
    }

    fn point(operation: Operation, before: &BondTable, after: &BondTable, at: UnixMillis) -> UndoPoint {
        let checkpoint = "label".to_owned();
        UndoPoint { operation, checkpoint, before: before.generation(), after: after.generation(), at }
    }

    fn undo(table: &BondTable, copy: &BondTable, point: &UndoPoint) -> RestorePlan {
        plan_undo(table, copy, point, &PlanFacts::default(), &key(), UnixMillis(9_000))
    }

    /// The peer pairs anew with this key.
    fn pair(table: &mut BondTable, address: &str, ltk: Ltk) {
        let fresh = secure_bond(address, 1).metadata;
        let mut pairing = crate::bond::PairingKeys::default();
        table.capture(peer(address), CapturedKey::Ltk(ltk), &mut pairing, fresh, UnixMillis(6_000)).unwrap();
    }

    fn same_bonds(left: &BondTable, right: &BondTable) -> bool {
        let diff = left.diff(right);
        diff.added.is_empty() && diff.changed.is_empty() && diff.removed.is_empty()
    }

    #[test]
    fn undoing_a_replacement_brings_every_key_back_and_takes_what_was_added() {
        let mut stored = secure_bond(ONE, 1);
        stored.irk = Some(irk(7));
        let mut table = table(&[stored, secure_bond(TWO, 2)]);
        let incoming = [secure_bond(ONE, 9), secure_bond(THREE, 3)];
        let (copy, point) = restore(&mut table, &incoming, RestoreMode::Replace);
        let plan = undo(&table, &copy, &point);
        assert_eq!(
            (&plan.added[..], &plan.replaced[..], &plan.lost[..]),
            (&[peer(TWO)][..], &[peer(ONE)][..], &[peer(THREE)][..])
        );
        assert!(plan.hazards.contains(&Hazard::LosesBonds { count: 1 }));
        plan.apply(&mut table).unwrap();
        assert!(same_bonds(&table, &copy));
    }

    #[test]
    fn undoing_an_undo_does_the_operation_again() {
        let mut table = table(&[secure_bond(ONE, 1), secure_bond(TWO, 2)]);
        let (copy, first) = restore(&mut table, &[secure_bond(ONE, 9)], RestoreMode::Replace);
        let restored = table.clone();
        let plan = undo(&table, &copy, &first);
        plan.apply(&mut table).unwrap();
        let second = point(Operation::Undo, &restored, &table, UnixMillis(9_000));
        undo(&table, &restored, &second).apply(&mut table).unwrap();
        assert!(same_bonds(&table, &restored));
    }

    #[test]
    fn what_was_paired_or_removed_since_stays_as_it_is() {
        let mut table = table(&[secure_bond(ONE, 1), secure_bond(TWO, 2)]);
        let incoming = [secure_bond(ONE, 9), secure_bond(TWO, 9)];
        let (copy, point) = restore(&mut table, &incoming, RestoreMode::Merge);
        pair(&mut table, ONE, crate::bond::testing::secure_ltk(5));
        pair(&mut table, THREE, crate::bond::testing::secure_ltk(6));
        table.remove(peer(TWO));
        let plan = undo(&table, &copy, &point);
        assert!(plan.is_empty());
        assert_eq!(plan.kept, [peer(ONE), peer(TWO), peer(THREE)]);
        assert!(plan.hazards.contains(&Hazard::ChangedSince { peer: peer(TWO) }));
        let before = table.generation();
        plan.apply(&mut table).unwrap();
        assert_eq!(table.generation(), before);
    }

    #[test]
    fn a_name_that_became_known_since_does_not_keep_a_bond_from_being_undone() {
        let mut table = table(&[secure_bond(ONE, 1)]);
        let (copy, point) =
            restore(&mut table, &[secure_bond(ONE, 9), secure_bond(TWO, 9)], RestoreMode::Merge);
        for address in [ONE, TWO] {
            assert!(table.touch(peer(address), |metadata| metadata.name = Some("Door".to_owned())));
        }
        undo(&table, &copy, &point).apply(&mut table).unwrap();
        assert!(same_bonds(&table, &copy));
    }

    #[test]
    fn what_was_there_before_the_operation_and_not_in_the_copy_is_left_alone() {
        let copy = table(&[secure_bond(ONE, 1)]);
        let mut table = copy.clone();
        // Paired while the copy was being written.
        pair(&mut table, TWO, crate::bond::testing::secure_ltk(4));
        let before = table.clone();
        table.remove(peer(ONE));
        let plan = undo(&table, &copy, &point(Operation::Forget, &before, &table, UnixMillis(6_500)));
        assert_eq!((&plan.added[..], plan.lost.len()), (&[peer(ONE)][..], 0));
    }

    #[test]
    fn undoing_an_adoption_gives_the_custody_back_and_keeps_what_became_known() {
        let mut foreign = secure_bond(ONE, 1);
        foreign.metadata.custody = Custody::Foreign;
        let mut table = table(&[foreign]);
        let (copy, point) = restore(&mut table, &[secure_bond(ONE, 1)], RestoreMode::Merge);
        assert_eq!(table.get(peer(ONE)).unwrap().metadata.custody, Custody::Ours);
        table.touch(peer(ONE), |metadata| metadata.name = Some("Door".to_owned()));
        let plan = undo(&table, &copy, &point);
        assert!(!plan.changes_nothing());
        plan.apply(&mut table).unwrap();
        let metadata = &table.get(peer(ONE)).unwrap().metadata;
        assert_eq!((metadata.custody, metadata.name.as_deref()), (Custody::Foreign, Some("Door")));
    }
}
