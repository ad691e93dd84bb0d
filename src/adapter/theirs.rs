//! What others put into an adapter's tables and want to find there: each manager's last
//! lists, and the keys that the kernel made itself. Sans-io.
//!
//! Every load of ours carries all of it, so that none of our loads takes away a key of somebody
//! else. Lives as long as one appearance, in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::records::{LoadItem, Place, Records};
use crate::bond::{LtkSlot, PeerAddress};
use crate::mgmt::LoadKind;

/// A key that the kernel told of within this time of a load may have been wiped by it, or not: the kernel
/// has a key from the middle of a pairing on and tells of it at the end, and the two sockets that bring keys
/// and loads may be read in either order.
pub const KEY_SETTLES: Duration = Duration::from_secs(2);

/// Managers that are told apart; nobody runs as many. Further ones share one place.
const MANAGERS_MAX: usize = 16;

/// The name of that place.
const MANY: &str = "(others)";

#[derive(Clone)]
struct Stamped {
    item: LoadItem,
    /// Rises with everything that is taken here: of two records for a place the later one counts.
    stamp: u64,
}

struct Made {
    record: Stamped,
    at: Instant,
}

/// See the module text.
#[derive(Default)]
pub struct Theirs {
    lists: BTreeMap<String, BTreeMap<LoadKind, BTreeMap<Place, Stamped>>>,
    /// Which of the lists were seen loaded; the others are from an earlier run of the service.
    seen: BTreeSet<(String, LoadKind)>,
    made: BTreeMap<(LoadKind, Place), Made>,
    last_stamp: u64,
}

impl Theirs {
    /// A manager has put this list in place of the kernel's.
    pub fn loaded(&mut self, process: &str, kind: LoadKind, records: &Records, now: Instant) {
        let process = self.put(process, kind, records);
        self.seen.insert((process, kind));
        // What the kernel had made before is gone unless it is on a list; of what it told lately, nobody knows.
        self.made.retain(|(of, _), made| *of != kind || now < made.at + KEY_SETTLES);
    }

    /// What a manager has loaded, as far as an earlier run of the service has stored it.
    pub fn inherited(&mut self, process: &str, kind: LoadKind, records: &Records) {
        self.put(process, kind, records);
    }

    /// A key was found in the kernel that nobody was seen to put there.
    pub fn found(&mut self, process: &str, kind: LoadKind, place: Place, item: LoadItem) {
        self.last_stamp += 1;
        let record = Stamped { item, stamp: self.last_stamp };
        self.lists.entry(process.to_owned()).or_default().entry(kind).or_default().insert(place, record);
    }

    /// Whether somebody wants exactly this record in the kernel.
    pub fn lists(&self, kind: LoadKind, place: Place, item: &LoadItem) -> bool {
        let mut of_kind = self.of_kind(kind);
        of_kind.any(|(at, record)| at == place && record.item.same(item))
    }

    fn put(&mut self, process: &str, kind: LoadKind, records: &Records) -> String {
        let known = self.lists.contains_key(process);
        let process = if known || self.lists.len() < MANAGERS_MAX { process } else { MANY };
        self.last_stamp += 1;
        let stamp = self.last_stamp;
        let records = records.iter().map(|(place, item)| (*place, Stamped { item: item.clone(), stamp }));
        self.lists.entry(process.to_owned()).or_default().insert(kind, records.collect());
        process.to_owned()
    }

    /// The kernel has made this key.
    pub fn made(&mut self, kind: LoadKind, place: Place, item: LoadItem, now: Instant) {
        self.last_stamp += 1;
        let record = Stamped { item, stamp: self.last_stamp };
        self.made.insert((kind, place), Made { record, at: now });
    }

    /// The peer's keys of one transport are worth nothing any more, whoever keeps them.
    pub fn drop_peer(&mut self, peer: PeerAddress, bredr: bool) {
        self.drop_listed(peer, bredr);
        self.made.retain(|(kind, (of, _)), _| *of != peer || (*kind == LoadKind::LinkKeys) != bredr);
    }

    /// Nobody wants the keys that the kernel made for this peer; those on a manager's list are that manager's.
    pub fn drop_made(&mut self, peer: PeerAddress) {
        self.made.retain(|(_, (of, _)), _| *of != peer);
    }

    /// No manager lists the peer's keys of one transport any more; what the kernel made may be of a later
    /// pairing.
    pub fn drop_listed(&mut self, peer: PeerAddress, bredr: bool) {
        for (kind, list) in self.lists.values_mut().flatten() {
            if (*kind == LoadKind::LinkKeys) == bredr {
                list.retain(|(of, _), _| *of != peer);
            }
        }
    }

    /// The peers of which somebody wants a key, with which a link can be encrypted, in the kernel.
    pub fn named(&self) -> BTreeSet<PeerAddress> {
        let kinds = [LoadKind::Ltks, LoadKind::LinkKeys];
        kinds.into_iter().flat_map(|kind| self.of_kind(kind)).map(|((peer, _), _)| peer).collect()
    }

    /// Whether this manager was seen loading this list in this appearance.
    pub fn has_loaded(&self, process: &str, kind: LoadKind) -> bool {
        self.seen.contains(&(process.to_owned(), kind))
    }

    /// Whether this manager was seen loading any list in this appearance.
    pub fn has_loaded_any(&self, process: &str) -> bool {
        LoadKind::ALL.into_iter().any(|kind| self.has_loaded(process, kind))
    }

    /// What the manager's last lists hold of one peer.
    pub fn of_manager(&self, process: &str, peer: PeerAddress) -> Vec<LoadItem> {
        let lists = self.lists.get(process).into_iter().flat_map(BTreeMap::values);
        let slots = (peer, None)..=(peer, Some(LtkSlot::SecureConnections));
        let of_peer = lists.flat_map(|list| list.range(slots.clone()));
        of_peer.map(|(_, record)| record.item.clone()).collect()
    }

    /// Everything of one kind that others want to find in the kernel. Of a peer that several name, the
    /// records of the latest: those of two pairings never stand together.
    pub fn union(&self, kind: LoadKind) -> Records {
        let mut latest: BTreeMap<PeerAddress, u64> = BTreeMap::new();
        for ((peer, _), record) in self.of_kind(kind) {
            let stamp = latest.entry(peer).or_default();
            *stamp = record.stamp.max(*stamp);
        }
        let is_latest = |place: &Place, stamp: u64| latest.get(&place.0) == Some(&stamp);
        let of_kind = self.made.iter().filter(|((of, _), _)| *of == kind);
        let made: Vec<(&Place, &Stamped)> = of_kind.map(|((_, place), made)| (place, &made.record)).collect();
        // The keys of one pairing are made one after the other, each with a stamp of its own.
        let made_last: BTreeSet<PeerAddress> = made
            .iter()
            .filter(|(place, record)| is_latest(place, record.stamp))
            .map(|((peer, _), _)| *peer)
            .collect();
        let listed = self.lists.values().filter_map(|lists| lists.get(&kind)).flatten();
        let listed = listed.filter(|(place, record)| is_latest(place, record.stamp));
        let made = made.into_iter().filter(|((peer, _), _)| made_last.contains(peer));
        listed.chain(made).map(|(place, record)| (*place, record.item.clone())).collect()
    }

    fn of_kind(&self, kind: LoadKind) -> impl Iterator<Item = (Place, &Stamped)> {
        let listed = self.lists.values().filter_map(move |lists| lists.get(&kind));
        let listed = listed.flatten().map(|(place, record)| (*place, record));
        let made = self.made.iter().filter(move |((of, _), _)| *of == kind);
        listed.chain(made.map(|((_, place), made)| (*place, &made.record)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{legacy_ltk, peer, secure_ltk};
    use crate::bond::{Ltk, Role};

    const ONE: &str = "C0:FF:EE:00:00:01";
    const TWO: &str = "C0:FF:EE:00:00:02";
    const LTKS: LoadKind = LoadKind::Ltks;

    fn list(entries: &[(&str, Ltk)]) -> Records {
        let record = |(text, ltk): &(&str, Ltk)| ((peer(text), Some(ltk.slot())), LoadItem::Ltk(ltk.clone()));
        entries.iter().map(record).collect()
    }

    fn held(theirs: &Theirs, text: &str) -> Vec<Ltk> {
        let union = theirs.union(LTKS).into_iter().filter(|((of, _), _)| *of == peer(text));
        union
            .map(|(_, item)| match item {
                LoadItem::Ltk(ltk) => ltk,
                _ => panic!("no LTK"),
            })
            .collect()
    }

    fn make(theirs: &mut Theirs, text: &str, ltk: Ltk, now: Instant) {
        theirs.made(LTKS, (peer(text), Some(ltk.slot())), LoadItem::Ltk(ltk), now);
    }

    #[test]
    fn the_lists_of_all_managers_stand_together_and_each_replaces_its_own() {
        let (mut theirs, now) = (Theirs::default(), Instant::now());
        theirs.loaded("a", LTKS, &list(&[(ONE, secure_ltk(1))]), now);
        theirs.loaded("b", LTKS, &list(&[(TWO, secure_ltk(2))]), now);
        assert_eq!(theirs.union(LTKS).len(), 2);
        theirs.loaded("a", LTKS, &Records::new(), now);
        assert!(held(&theirs, ONE).is_empty());
        assert!(held(&theirs, TWO) == [secure_ltk(2)]);
    }

    #[test]
    fn of_a_peer_that_two_name_the_later_keys_stand_alone() {
        let (mut theirs, now) = (Theirs::default(), Instant::now());
        let legacy = [(ONE, legacy_ltk(Role::Central, 1)), (ONE, legacy_ltk(Role::Peripheral, 2))];
        theirs.loaded("a", LTKS, &list(&legacy), now);
        theirs.loaded("b", LTKS, &list(&[(ONE, secure_ltk(3))]), now);
        assert!(held(&theirs, ONE) == [secure_ltk(3)]);
        theirs.loaded("a", LTKS, &list(&legacy), now);
        assert_eq!(held(&theirs, ONE).len(), 2);
        make(&mut theirs, ONE, secure_ltk(4), now);
        assert!(held(&theirs, ONE) == [secure_ltk(4)]);
    }

    #[test]
    fn both_keys_that_the_kernel_made_in_one_pairing_stand() {
        let (mut theirs, now) = (Theirs::default(), Instant::now());
        theirs.loaded("a", LTKS, &list(&[(ONE, legacy_ltk(Role::Central, 9))]), now);
        make(&mut theirs, ONE, legacy_ltk(Role::Central, 1), now);
        make(&mut theirs, ONE, legacy_ltk(Role::Peripheral, 2), now);
        assert!(held(&theirs, ONE) == [legacy_ltk(Role::Central, 1), legacy_ltk(Role::Peripheral, 2)]);
    }

    #[test]
    fn what_the_kernel_made_long_before_a_managers_load_is_gone_with_it_and_the_rest_is_kept() {
        let (mut theirs, now) = (Theirs::default(), Instant::now());
        make(&mut theirs, ONE, secure_ltk(1), now);
        make(&mut theirs, TWO, secure_ltk(2), now + KEY_SETTLES);
        theirs.loaded("a", LTKS, &Records::new(), now + KEY_SETTLES);
        assert!(held(&theirs, ONE).is_empty());
        assert_eq!(held(&theirs, TWO).len(), 1);
    }

    #[test]
    fn an_unpaired_peer_is_on_nobodys_list() {
        let (mut theirs, now) = (Theirs::default(), Instant::now());
        theirs.loaded("a", LTKS, &list(&[(ONE, secure_ltk(1)), (TWO, secure_ltk(2))]), now);
        make(&mut theirs, ONE, secure_ltk(1), now);
        theirs.drop_peer(peer(ONE), true);
        assert!(theirs.named().contains(&peer(ONE)), "the other transport was unpaired");
        theirs.drop_peer(peer(ONE), false);
        assert_eq!(theirs.named(), [peer(TWO)].into());
    }

    #[test]
    fn more_managers_than_are_told_apart_share_a_place() {
        let (mut theirs, now) = (Theirs::default(), Instant::now());
        for number in 0..100 {
            theirs.loaded(&format!("m{number}"), LTKS, &list(&[(ONE, secure_ltk(1))]), now);
        }
        assert_eq!(theirs.lists.len(), MANAGERS_MAX + 1);
    }
}
