use super::*;
use crate::bond::testing::{irk, legacy_ltk, material, peer, secure_ltk};
use crate::bond::{EncryptionSize, Role};
use crate::mgmt::command::{Command, FRAME_OCTETS_MAX};

const PEER: &str = "C0:FF:EE:00:00:01";

fn numbered(number: usize) -> PeerAddress {
    peer(&format!("C0:FF:EE:00:{:02X}:{:02X}", number >> 8, number & 0xFF))
}

fn reasons(built: &Built) -> Vec<(usize, RefusalReason)> {
    built.refusals.iter().map(|refusal| (refusal.position, refusal.reason)).collect()
}

#[test]
fn an_empty_list_is_a_count_of_zero() {
    let frame = Command::Load(LoadList::empty(LoadKind::Irks)).encode(1);
    assert_eq!(hex::encode(&frame[..]), "3000010002000000");
    let frame = Command::Load(LoadList::empty(LoadKind::LinkKeys)).encode(0);
    assert_eq!(hex::encode(&frame[..]), "120000000300000000");
}

#[test]
fn the_limits_are_those_of_the_kernel_and_the_fullest_frame_fits() {
    assert_eq!((LINK_KEYS_MAX, LTKS_MAX, IRKS_MAX, CONNECTION_PARAMETERS_MAX), (2621, 1820, 2849, 4368));
    let irk = irk(1);
    let peers: Vec<_> = (0..=IRKS_MAX).map(numbered).collect();
    let built = LoadList::irks(peers.iter().map(|peer| (*peer, &irk)));
    assert_eq!(reasons(&built), [(IRKS_MAX, RefusalReason::TooMany)]);
    let records = &built.list.records;
    assert_eq!(records.capacity(), records.len(), "a buffer that grew has left copies of keys behind");
    let frame = Command::Load(built.list).encode(0);
    assert_eq!(frame.len(), 6 + 2 + IRKS_MAX * 23);
    assert!(frame.len() <= usize::from(u16::MAX) && frame.len() <= FRAME_OCTETS_MAX);
}

#[test]
fn a_debug_key_is_left_out_and_named() {
    let material = material(3);
    let debug = Ltk::new(KeyType::P256Debug, Role::Central, EncryptionSize::FULL, 0, [0; 8], material);
    let good = secure_ltk(1);
    let built = LoadList::ltks([(numbered(1), &debug), (numbered(2), &good)]);
    assert_eq!(built.list.len(), 1);
    assert_eq!(built.refusals, [Refusal { position: 0, peer: numbered(1), reason: RefusalReason::DebugKey }]);
}

#[test]
fn both_legacy_keys_of_a_peer_are_loaded_but_no_place_twice() {
    let (central, peripheral) = (legacy_ltk(Role::Central, 1), legacy_ltk(Role::Peripheral, 2));
    let again = legacy_ltk(Role::Central, 9);
    let built = LoadList::ltks([(peer(PEER), &central), (peer(PEER), &peripheral), (peer(PEER), &again)]);
    assert_eq!(reasons(&built), [(2, RefusalReason::Duplicate)]);
    let first_only = LoadList::ltks([(peer(PEER), &central), (peer(PEER), &peripheral)]);
    assert_eq!(built.list, first_only.list, "the first key given should have stayed");
}

#[test]
fn link_keys_that_a_kernel_refuses_are_left_out() {
    let key = |key_type, pin_length| LinkKey { key: material(1), key_type, pin_length: Some(pin_length) };
    let good = key(LinkKeyType::AuthenticatedP256, 0);
    let (debug, long_pin) = (key(LinkKeyType::Debug, 0), key(LinkKeyType::Combination, 17));
    let random = PeerAddress::parse("C1:AA:00:00:00:01", PeerAddressType::StaticRandom).unwrap();
    let given = [(numbered(1), &debug), (numbered(2), &long_pin), (random, &good), (numbered(3), &good)];
    let built = LoadList::link_keys(given);
    let expected =
        [(0, RefusalReason::DebugKey), (1, RefusalReason::PinLength), (2, RefusalReason::RandomAddress)];
    assert_eq!(reasons(&built), expected);
    assert_eq!(built.list.len(), 1);
}

#[test]
fn connection_parameters_that_a_kernel_refuses_are_left_out() {
    let good =
        ConnectionParameters { min_interval: 24, max_interval: 40, latency: 0, supervision_timeout: 400 };
    let bad = ConnectionParameters { min_interval: 5, ..good };
    let built = LoadList::connection_parameters([(peer(PEER), &good), (numbered(2), &bad)]);
    assert_eq!(reasons(&built), [(1, RefusalReason::ConnectionParameters)]);
    let frame = Command::Load(built.list).encode(0);
    assert_eq!(hex::encode(&frame[..]), "3500000011000100010000eeffc0011800280000009001");
}

#[test]
fn debug_output_shows_no_key() {
    let ltk = secure_ltk(0x5A);
    let command = Command::Load(LoadList::ltks([(peer(PEER), &ltk)]).list);
    assert_eq!(format!("{command:?}"), "Load(LoadList(Ltks, 1 records))");
}

#[test]
fn lists_are_equal_when_kind_and_keys_are() {
    let (one, other) = (secure_ltk(1), secure_ltk(2));
    let list = |ltk| LoadList::ltks([(peer(PEER), ltk)]).list;
    assert!(list(&one) == list(&one));
    assert!(list(&one) != list(&other));
    assert!(LoadList::empty(LoadKind::Irks) != LoadList::empty(LoadKind::Ltks));
}
