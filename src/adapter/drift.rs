//! Whether the kernel's tables hold what we think they hold. Pure.
//!
//! The shadow is a model; debugfs shows the tables themselves, where it may be read. Nothing here is ever taken for
//! a reason to remove a key.

use std::collections::{BTreeMap, BTreeSet};

use super::load::kind_code;
use super::records::{LoadItem, Place, Records};
use super::shadow::Shadow;
use crate::bond::{CapturedKey, PeerAddress};
use crate::mgmt::LoadKind;

/// The kernel's lists, as far as it shows them.
#[derive(Clone, Default)]
pub struct KernelTables {
    lists: BTreeMap<LoadKind, Records>,
}

impl KernelTables {
    /// Takes what one list holds.
    pub fn put(&mut self, kind: LoadKind, keys: Vec<(PeerAddress, CapturedKey)>) {
        let items = keys.iter().filter_map(|(peer, key)| Some((*peer, LoadItem::of_key(key)?)));
        let records = items.map(|(peer, item)| ((peer, item.slot().1), item)).collect();
        self.lists.insert(kind, records);
    }

    /// What one list holds; none for a list that is not shown.
    pub fn list(&self, kind: LoadKind) -> Option<&Records> {
        self.lists.get(&kind)
    }
}

/// In what one list is not as it was thought to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListDrift {
    /// Thought to be there.
    pub missing: BTreeSet<Place>,
    /// There, and not known to be.
    pub unseen: BTreeSet<Place>,
    /// Another key is there.
    pub different: BTreeSet<Place>,
}

impl ListDrift {
    /// A key of this peer is not there, or another is.
    pub fn lacks(&self, peer: PeerAddress) -> bool {
        self.missing.iter().chain(&self.different).any(|(of, _)| *of == peer)
    }

    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unseen.is_empty() && self.different.is_empty()
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        self.missing.iter().chain(&self.unseen).chain(&self.different)
    }

    fn also_in(&self, other: &Self) -> Self {
        Self {
            missing: &self.missing & &other.missing,
            unseen: &self.unseen & &other.unseen,
            different: &self.different & &other.different,
        }
    }
}

/// In what the kernel's lists are not as they were thought to be. Only lists with a difference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drift {
    pub lists: BTreeMap<LoadKind, ListDrift>,
}

impl Drift {
    /// What it takes in memory beside itself, about.
    pub fn octets_held(&self) -> usize {
        let held = |list: &ListDrift| size_of::<ListDrift>() + list.places().count() * size_of::<Place>();
        self.lists.values().map(held).sum()
    }

    /// Compares. What is doubtful is no difference, nor is what may be in a list that is not known as a whole.
    pub fn between(shadow: &Shadow, tables: &KernelTables) -> Self {
        let mut drift = Self::default();
        for (kind, shown) in &tables.lists {
            drift.put(*kind, shadow.compare(*kind, shown));
        }
        drift
    }

    /// The differences that both have: what one reading caught in passing, another does not show again.
    #[must_use]
    pub fn also_in(&self, other: &Self) -> Self {
        let mut both = Self::default();
        for (kind, list) in &self.lists {
            if let Some(there) = other.lists.get(kind) {
                both.put(*kind, list.also_in(there));
            }
        }
        both
    }

    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Each list with a difference, by the word that topics use.
    pub fn by_word(&self) -> impl Iterator<Item = (&'static str, &ListDrift)> {
        self.lists.iter().map(|(kind, list)| (kind_code(*kind), list))
    }

    /// Whose keys they are.
    pub fn peers(&self) -> BTreeSet<PeerAddress> {
        self.lists.values().flat_map(ListDrift::places).map(|(peer, _)| *peer).collect()
    }

    fn put(&mut self, kind: LoadKind, list: ListDrift) {
        if !list.is_empty() {
            self.lists.insert(kind, list);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{irk, peer, secure_bond, secure_ltk};
    use crate::bond::{Bond, Ltk};

    const ONE: &str = "C0:FF:EE:00:00:01";
    const TWO: &str = "C0:FF:EE:00:00:02";
    const LTKS: LoadKind = LoadKind::Ltks;

    fn shown(keys: &[(&str, Ltk)]) -> KernelTables {
        let mut tables = KernelTables::default();
        let key = |(text, ltk): &(&str, Ltk)| (peer(text), CapturedKey::Ltk(ltk.clone()));
        tables.put(LTKS, keys.iter().map(key).collect());
        tables
    }

    fn thought(bonds: &[Bond]) -> Shadow {
        let mut shadow = Shadow::of_new_appearance();
        let items = bonds.iter().flat_map(|bond| LoadItem::of_bond(bond, false));
        let ltks = items.filter(|(kind, _, _)| *kind == LTKS).map(|(_, place, item)| (place, item));
        shadow.replace(LTKS, ltks.collect());
        shadow
    }

    fn counts(drift: &Drift) -> (usize, usize, usize) {
        let list = drift.lists.get(&LTKS).cloned().unwrap_or_default();
        (list.missing.len(), list.unseen.len(), list.different.len())
    }

    #[test]
    fn equal_tables_are_no_drift_and_each_difference_has_its_name() {
        let shadow = thought(&[secure_bond(ONE, 1)]);
        for (keys, wanted) in [
            (&[(ONE, secure_ltk(1))][..], (0, 0, 0)),
            (&[], (1, 0, 0)),
            (&[(ONE, secure_ltk(2))], (0, 0, 1)),
            (&[(ONE, secure_ltk(1)), (TWO, secure_ltk(2))], (0, 1, 0)),
        ] {
            let drift = Drift::between(&shadow, &shown(keys));
            assert_eq!(counts(&drift), wanted);
            assert_eq!(drift.is_empty(), wanted == (0, 0, 0));
        }
    }

    #[test]
    fn a_list_that_is_not_shown_is_not_compared() {
        let mut shadow = thought(&[secure_bond(ONE, 1)]);
        let irk = LoadItem::Irk(irk(1));
        shadow.replace(LoadKind::Irks, [((peer(ONE), None), irk)].into());
        assert!(Drift::between(&shadow, &shown(&[(ONE, secure_ltk(1))])).is_empty());
    }

    #[test]
    fn what_is_doubtful_or_may_be_there_is_no_difference() {
        let keys = [(ONE, secure_ltk(1)), (TWO, secure_ltk(2))];
        assert!(Drift::between(&Shadow::unknown(), &shown(&keys)).is_empty(), "not known as a whole");
        let mut shadow = thought(&[secure_bond(ONE, 3)]);
        for text in [ONE, TWO] {
            shadow.doubt(LTKS, (peer(text), Some(secure_ltk(1).slot())));
        }
        assert!(Drift::between(&shadow, &shown(&keys)).is_empty());
        assert!(Drift::between(&shadow, &shown(&[])).is_empty());
    }

    #[test]
    fn of_two_readings_only_what_both_show_counts() {
        let shadow = thought(&[secure_bond(ONE, 1)]);
        let first = Drift::between(&shadow, &shown(&[(TWO, secure_ltk(2))]));
        assert_eq!((counts(&first), first.peers().len()), ((1, 1, 0), 2));
        let second = Drift::between(&shadow, &shown(&[(ONE, secure_ltk(2)), (TWO, secure_ltk(2))]));
        assert_eq!(counts(&first.also_in(&second)), (0, 1, 0));
        let healed = Drift::between(&shadow, &shown(&[(ONE, secure_ltk(1))]));
        assert!(first.also_in(&healed).is_empty());
    }
}
