//! What the kernel's tables of one adapter hold, as far as that can be known: there is no
//! command that reads keys back. Sans-io.
//!
//! Lives as long as one appearance of the adapter, in memory only. A list is *complete* when nothing can
//! be in the kernel's that is not known here: it was seen empty at plug-in, or seen replaced since.

use std::collections::{BTreeMap, BTreeSet};

use super::drift::ListDrift;
use super::records::{LoadItem, Place, Records};
use crate::bond::{Bond, PeerAddress};
use crate::mgmt::LoadKind;

#[derive(Clone, Default)]
struct KernelList {
    records: Records,
    /// Places of which it is not known what stands there.
    doubtful: BTreeSet<Place>,
    complete: bool,
}

/// See the module text.
#[derive(Clone, Default)]
pub struct Shadow {
    lists: BTreeMap<LoadKind, KernelList>,
}

impl Shadow {
    /// Of a controller that has just been plugged in: its tables are empty.
    pub fn of_new_appearance() -> Self {
        let empty = || KernelList { complete: true, ..KernelList::default() };
        Self { lists: LoadKind::ALL.map(|kind| (kind, empty())).into() }
    }

    /// Of a controller whose history is not known.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// The list was replaced: exactly these records are held.
    pub fn replace(&mut self, kind: LoadKind, records: Records) {
        self.lists.insert(kind, KernelList { records, complete: true, ..KernelList::default() });
    }

    /// The list was replaced, by these records and by some that cannot be kept here.
    pub fn replace_in_part(&mut self, kind: LoadKind, records: Records) {
        self.lists.insert(kind, KernelList { records, ..KernelList::default() });
    }

    /// The kernel holds this record too.
    pub fn add(&mut self, kind: LoadKind, place: Place, item: LoadItem) {
        let list = self.lists.entry(kind).or_default();
        list.doubtful.remove(&place);
        list.records.insert(place, item);
    }

    /// What the kernel holds at this place is not known.
    pub fn doubt(&mut self, kind: LoadKind, place: Place) {
        self.lists.entry(kind).or_default().doubtful.insert(place);
    }

    /// The kernel dropped the peer's keys of one transport.
    pub fn drop_peer(&mut self, peer: PeerAddress, bredr: bool) {
        for (kind, list) in &mut self.lists {
            if (*kind == LoadKind::LinkKeys) == bredr {
                list.records.retain(|(held, _), _| *held != peer);
                list.doubtful.retain(|(held, _)| *held != peer);
            }
        }
    }

    /// Nothing is known of the list any more.
    pub fn forget(&mut self, kind: LoadKind) {
        self.lists.remove(&kind);
    }

    /// Nothing can be in the kernel's list that is not known here.
    pub fn is_complete(&self, kind: LoadKind) -> bool {
        self.lists.get(&kind).is_some_and(|list| list.complete)
    }

    /// Somebody who knows says that there is nothing in the kernel's list but what is known here.
    pub fn vouch_complete(&mut self, kind: LoadKind) {
        self.lists.entry(kind).or_default().complete = true;
    }

    /// Whether the kernel holds exactly this record; none when that cannot be known.
    pub fn holds(&self, kind: LoadKind, place: Place, item: &LoadItem) -> Option<bool> {
        let list = self.lists.get(&kind)?;
        if list.doubtful.contains(&place) {
            return None;
        }
        match list.records.get(&place) {
            Some(held) => Some(held.same(item)),
            None => list.complete.then_some(false),
        }
    }

    /// In what the kernel's list, as it shows it, is not this one.
    pub fn compare(&self, kind: LoadKind, shown: &Records) -> ListDrift {
        let mut drift = ListDrift::default();
        let Some(list) = self.lists.get(&kind) else { return drift };
        for (place, item) in list.records.iter().filter(|(place, _)| !list.doubtful.contains(place)) {
            match shown.get(place) {
                None => drop(drift.missing.insert(*place)),
                Some(held) if !held.same(item) => drop(drift.different.insert(*place)),
                Some(_) => {}
            }
        }
        if list.complete {
            let is_unseen =
                |place: &&Place| !list.records.contains_key(place) && !list.doubtful.contains(place);
            drift.unseen.extend(shown.keys().filter(is_unseen));
        }
        drift
    }

    /// Whether the list is known to hold anything of this peer.
    pub fn has_peer(&self, kind: LoadKind, peer: PeerAddress) -> bool {
        let list = self.lists.get(&kind);
        list.is_some_and(|list| list.records.keys().any(|(held, _)| *held == peer))
    }

    /// Whether the kernel holds every key of the bond that it can hold; none when that cannot be known.
    pub fn holds_bond(&self, bond: &Bond, dual_mode: bool) -> Option<bool> {
        let mut all = Some(true);
        for (kind, place, item) in LoadItem::of_bond(bond, dual_mode) {
            match self.holds(kind, place, &item) {
                _ if kind == LoadKind::ConnectionParameters => {}
                Some(true) => {}
                Some(false) => return Some(false),
                None => all = None,
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{irk, secure_bond};

    const ONE: &str = "C0:FF:EE:00:00:01";

    fn records(bond: &Bond, kind: LoadKind) -> Records {
        let of_kind = LoadItem::of_bond(bond, false).into_iter().filter(|(of, _, _)| *of == kind);
        of_kind.map(|(_, place, item)| (place, item)).collect()
    }

    #[test]
    fn what_is_not_known_is_neither_held_nor_missing() {
        let one = secure_bond(ONE, 1);
        let mut shadow = Shadow::unknown();
        assert_eq!(shadow.holds_bond(&one, false), None);
        shadow.replace(LoadKind::Ltks, records(&one, LoadKind::Ltks));
        assert_eq!(shadow.holds_bond(&one, false), Some(true));
        assert_eq!(shadow.holds_bond(&secure_bond("C0:FF:EE:00:00:02", 1), false), Some(false));
        shadow.forget(LoadKind::Ltks);
        assert_eq!(shadow.holds_bond(&one, false), None);
        assert_eq!(Shadow::of_new_appearance().holds_bond(&one, false), Some(false));
    }

    #[test]
    fn what_is_doubted_is_not_known_until_the_list_is_replaced() {
        let one = secure_bond(ONE, 1);
        let held = records(&one, LoadKind::Ltks);
        let place = *held.keys().next().unwrap();
        let mut shadow = Shadow::of_new_appearance();
        shadow.doubt(LoadKind::Ltks, place);
        assert_eq!(shadow.holds_bond(&one, false), None);
        shadow.replace(LoadKind::Ltks, held);
        assert_eq!(shadow.holds_bond(&one, false), Some(true));
    }

    #[test]
    fn another_key_of_the_same_peer_is_not_the_bonds_key() {
        let mut shadow = Shadow::of_new_appearance();
        shadow.replace(LoadKind::Ltks, records(&secure_bond(ONE, 2), LoadKind::Ltks));
        assert_eq!(shadow.holds_bond(&secure_bond(ONE, 1), false), Some(false));
    }

    #[test]
    fn a_bond_is_held_when_all_its_lists_hold_it() {
        let mut one = secure_bond(ONE, 1);
        one.irk = Some(irk(3));
        let mut shadow = Shadow::unknown();
        shadow.replace(LoadKind::Ltks, records(&one, LoadKind::Ltks));
        assert_eq!(shadow.holds_bond(&one, false), None, "nothing is known of the IRKs");
        shadow.replace_in_part(LoadKind::Irks, Records::new());
        assert_eq!(shadow.holds_bond(&one, false), None, "it may be among those that cannot be kept");
        shadow.replace(LoadKind::Irks, Records::new());
        assert_eq!(shadow.holds_bond(&one, false), Some(false));
    }
}
