use super::*;
use crate::bond::ltk::Role;
use crate::bond::testing::{irk, legacy_ltk, material, metadata, peer, secure_bond, secure_ltk};

const PEER: &str = "C0:FF:EE:00:00:01";
const NOW: UnixMillis = UnixMillis(5);

fn capture(table: &mut BondTable, pairing: &mut PairingKeys, key: CapturedKey) -> Change {
    table.capture(peer(PEER), key, pairing, metadata(), NOW).unwrap()
}

fn bond(table: &BondTable) -> &Bond {
    table.get(peer(PEER)).unwrap()
}

fn csrk(last: u8) -> Csrk {
    Csrk { key: material(last), authenticated: Some(false), counter: None }
}

#[test]
fn both_keys_of_a_legacy_pairing_stay() {
    let (mut table, mut pairing) = (BondTable::new(), PairingKeys::default());
    let central = CapturedKey::Ltk(legacy_ltk(Role::Central, 1));
    let peripheral = CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2));
    assert_eq!(capture(&mut table, &mut pairing, central), Change::Added);
    assert_eq!(capture(&mut table, &mut pairing, peripheral), Change::Updated);
    assert_eq!(bond(&table).ltks().len(), 2);
    assert_eq!(table.generation(), 2);
}

#[test]
fn the_first_ltk_of_a_new_pairing_drops_every_older_key_but_the_irk() {
    let mut table = BondTable::new();
    let mut first = PairingKeys::default();
    capture(&mut table, &mut first, CapturedKey::Irk(irk(9)));
    capture(&mut table, &mut first, CapturedKey::CsrkRemote(csrk(8)));
    capture(&mut table, &mut first, CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    capture(&mut table, &mut first, CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));

    let mut second = PairingKeys::default();
    capture(&mut table, &mut second, CapturedKey::CsrkLocal(csrk(7)));
    capture(&mut table, &mut second, CapturedKey::Ltk(legacy_ltk(Role::Central, 3)));
    let bond = bond(&table);
    assert!(bond.ltks() == [legacy_ltk(Role::Central, 3)]);
    assert!(bond.csrk_remote.is_none(), "a signature key of the old pairing stayed");
    assert!(bond.csrk_local.is_some(), "a signature key of this pairing was dropped");
    assert!(bond.irk.is_some());
}

#[test]
fn a_secure_connections_key_and_a_legacy_key_never_stand_together() {
    let (mut table, mut pairing) = (BondTable::new(), PairingKeys::default());
    capture(&mut table, &mut pairing, CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    capture(&mut table, &mut pairing, CapturedKey::Ltk(secure_ltk(2)));
    assert!(bond(&table).ltks() == [secure_ltk(2)]);
    capture(&mut table, &mut pairing, CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    assert!(bond(&table).ltks() == [legacy_ltk(Role::Central, 1)]);
}

#[test]
fn hearing_of_the_same_key_again_changes_nothing() {
    let mut table = BondTable::new();
    let mut pairing = PairingKeys::default();
    capture(&mut table, &mut pairing, CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    capture(&mut table, &mut pairing, CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));
    let mut again = PairingKeys::default();
    let change = capture(&mut table, &mut again, CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    assert_eq!(change, Change::Unchanged);
    assert_eq!(bond(&table).ltks().len(), 2);
    assert_eq!(table.generation(), 2);
}

#[test]
fn a_second_key_for_one_place_belongs_to_a_later_pairing() {
    let mut table = BondTable::new();
    let mut pairing = PairingKeys::default();
    let key = CapturedKey::Ltk(secure_ltk(1));
    assert!(!pairing.has_slot_of(&key));
    capture(&mut table, &mut pairing, key.clone());
    assert!(pairing.has_slot_of(&key));
}

#[test]
fn a_removed_bond_is_not_brought_back_by_an_older_copy() {
    let mut table = BondTable::new();
    table.insert(secure_bond(PEER, 1)).unwrap();
    let older = table.clone();
    table.remove(peer(PEER)).unwrap();
    assert!(!table.merge(&older));
    assert!(table.is_empty());
    assert_eq!(table.tombstones().count(), 1);
}

#[test]
fn a_merge_takes_the_later_version_of_each_peer() {
    let mut newer = BondTable::new();
    newer.insert(secure_bond(PEER, 1)).unwrap();
    let mut older = newer.clone();
    newer.insert(secure_bond(PEER, 2)).unwrap();
    newer.insert(secure_bond("C0:FF:EE:00:00:02", 3)).unwrap();
    assert!(older.merge(&newer));
    assert_eq!(older.generation(), 3);
    assert!(bond(&older).ltks() == [secure_ltk(2)]);
    assert_eq!(older.len(), 2);
    assert!(!newer.merge(&older));
}

#[test]
fn pairing_again_after_a_removal_lifts_the_tombstone() {
    let mut table = BondTable::new();
    table.insert(secure_bond(PEER, 1)).unwrap();
    table.remove(peer(PEER));
    table.insert(secure_bond(PEER, 2)).unwrap();
    assert_eq!(table.tombstones().count(), 0);
    assert_eq!(table.len(), 1);
}

#[test]
fn only_so_many_removals_are_remembered_and_the_oldest_goes_first() {
    let mut table = BondTable::new();
    for number in 0..=TOMBSTONES_PER_ADAPTER_MAX {
        let address = format!("C0:FF:EE:00:{:02X}:{:02X}", number >> 8, number & 0xFF);
        table.insert(secure_bond(&address, 1)).unwrap();
        table.remove(peer(&address));
    }
    assert_eq!(table.tombstones().count(), TOMBSTONES_PER_ADAPTER_MAX);
    assert!(table.tombstones().all(|tombstone| tombstone.peer != peer("C0:FF:EE:00:00:00")));
}

#[test]
fn a_diff_names_every_peer_once() {
    let mut have = BondTable::new();
    for (address, last) in [(PEER, 1), ("C0:FF:EE:00:00:02", 2), ("C0:FF:EE:00:00:03", 3)] {
        have.insert(secure_bond(address, last)).unwrap();
    }
    let mut wanted = have.clone();
    wanted.remove(peer(PEER));
    wanted.insert(secure_bond("C0:FF:EE:00:00:02", 9)).unwrap();
    wanted.insert(secure_bond("C0:FF:EE:00:00:04", 4)).unwrap();
    let expected = TableDiff {
        added: vec![peer("C0:FF:EE:00:00:04")],
        changed: vec![peer("C0:FF:EE:00:00:02")],
        unchanged: vec![peer("C0:FF:EE:00:00:03")],
        removed: vec![peer(PEER)],
    };
    assert_eq!(have.diff(&wanted), expected);
}
