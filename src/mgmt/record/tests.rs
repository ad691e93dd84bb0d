use super::*;
use proptest::prelude::*;

/// New Long Term Key of a legacy pairing, captured on 6.12: address C0:FF:EE:00:00:99, LE public.
const LTK_RECORD: &str = "990000eeffc001000110000000000000000000009a97546ac714d519edccfeac2cd132d8";

fn ltk_record() -> Vec<u8> {
    hex::decode(LTK_RECORD).unwrap()
}

fn decode(kind: KeyKind, octets: &[u8]) -> KeyRecord {
    KeyRecord::decode(kind, octets).unwrap()
}

fn error(kind: KeyKind, octets: &[u8]) -> RecordError {
    decode(kind, octets).key.err().expect("the record should have been refused")
}

#[test]
fn the_golden_ltk_record_gives_every_field() {
    let record = decode(KeyKind::Ltk, &ltk_record());
    let Ok((peer, CapturedKey::Ltk(ltk))) = &record.key else { panic!("{record:?}") };
    assert_eq!(peer.to_string(), "C0:FF:EE:00:00:99");
    assert_eq!(peer.kind(), PeerAddressType::Public);
    assert_eq!(ltk.key_type, KeyType::LegacyUnauthenticated);
    assert_eq!((ltk.central_flag(), ltk.encryption_size.octets(), ltk.ediv), (1, 16, 0));
    assert_eq!(hex::encode(ltk.key.expose()), "9a97546ac714d519edccfeac2cd132d8");
    let mut again = Vec::new();
    put_ltk(&mut again, *peer, ltk);
    assert_eq!(hex::encode(again), LTK_RECORD);
}

#[test]
fn each_fault_of_an_ltk_record_has_a_word_of_its_own() {
    // Offset, octet to put there, error.
    let faults = [
        (6, 0, RecordError::BredrAddress),
        (6, 3, RecordError::AddressType(3)),
        (7, 4, RecordError::DebugKey),
        (7, 5, RecordError::KeyType(5)),
        (8, 2, RecordError::Role(2)),
        (9, 6, RecordError::EncryptionSize(6)),
        (9, 17, RecordError::EncryptionSize(17)),
    ];
    let mut words = std::collections::BTreeSet::new();
    for (offset, octet, expected) in faults {
        let mut record = ltk_record();
        record[offset] = octet;
        assert_eq!(error(KeyKind::Ltk, &record), expected);
        words.insert(expected.code());
    }
    let mut private = ltk_record();
    (private[5], private[6]) = (0x63, 2);
    assert_eq!(error(KeyKind::Ltk, &private), RecordError::PrivateAddress);
    let mut nobody = ltk_record();
    nobody[..6].fill(0);
    assert_eq!(error(KeyKind::Ltk, &nobody), RecordError::NoIdentity);
    let mut zeros = ltk_record();
    zeros[20..].fill(0);
    assert_eq!(error(KeyKind::Ltk, &zeros), RecordError::AllZeroKey);
    words.extend(["private_address", "no_identity", "all_zero_key"]);
    assert_eq!(words.len(), 9, "two faults share a word: {words:?}");
}

#[test]
fn a_link_key_belongs_to_bredr_and_is_no_debug_key() {
    let mut record = vec![0x01, 0x00, 0x01, 0x01, 0xAA, 0x00, 0x00, 0x04];
    record.extend([7; 16]);
    record.push(0);
    let Ok((peer, CapturedKey::LinkKey(key))) = decode(KeyKind::LinkKey, &record).key else { panic!() };
    assert_eq!(
        (peer.to_string().as_str(), key.key_type),
        ("00:AA:01:01:00:01", LinkKeyType::UnauthenticatedP192)
    );
    let with = |offset: usize, octet| {
        let mut record = record.clone();
        record[offset] = octet;
        error(KeyKind::LinkKey, &record)
    };
    assert_eq!(with(6, 1), RecordError::LeAddress);
    assert_eq!(with(7, 3), RecordError::DebugKey);
    assert_eq!(with(7, 9), RecordError::KeyType(9));
    assert_eq!(with(24, 17), RecordError::PinLength(17));
}

#[test]
fn a_csrk_is_told_apart_by_side_and_strength() {
    let record = |code| {
        let mut octets = vec![0x01, 0x00, 0x01, 0x01, 0xAA, 0x00, 0x01, code];
        octets.extend([9; 16]);
        KeyRecord::decode(KeyKind::Csrk, &octets).unwrap().key.map(|(_, key)| match key {
            CapturedKey::CsrkLocal(csrk) => ("local", csrk.authenticated),
            CapturedKey::CsrkRemote(csrk) => ("remote", csrk.authenticated),
            _ => panic!(),
        })
    };
    assert_eq!(record(0), Ok(("local", Some(false))));
    assert_eq!(record(1), Ok(("remote", Some(false))));
    assert_eq!(record(2), Ok(("local", Some(true))));
    assert_eq!(record(3), Ok(("remote", Some(true))));
    assert_eq!(record(4), Err(RecordError::KeyType(4)));
}

#[test]
fn connection_parameters_outside_the_limits_are_refused() {
    let record = hex::decode("990000eeffc0011800280000009001").unwrap();
    assert!(decode(KeyKind::ConnectionParameters, &record).key.is_ok());
    let mut reversed = record;
    reversed[7] = 0x29;
    assert_eq!(error(KeyKind::ConnectionParameters, &reversed), RecordError::ConnectionParameters);
}

#[test]
fn a_record_that_is_cut_is_no_record() {
    for kind in [KeyKind::Ltk, KeyKind::Irk, KeyKind::Csrk, KeyKind::LinkKey, KeyKind::ConnectionParameters] {
        let octets = vec![1; kind.record_octets()];
        assert!(KeyRecord::decode(kind, &octets).is_some());
        assert!(KeyRecord::decode(kind, &octets[1..]).is_none(), "{kind:?}");
    }
}

#[test]
fn debug_output_shows_the_address_and_no_key() {
    let shown = format!("{:?}", decode(KeyKind::Ltk, &ltk_record()));
    assert!(shown.contains("C0:FF:EE:00:00:99/public"), "{shown}");
    assert!(!shown.contains("9a") && !shown.contains("154"), "{shown}");
}

fn peers() -> impl Strategy<Value = PeerAddress> {
    let kind = prop_oneof![Just(PeerAddressType::Public), Just(PeerAddressType::StaticRandom)];
    (any::<[u8; 6]>(), kind).prop_filter_map("no identity", |(mut octets, kind)| {
        if kind == PeerAddressType::StaticRandom {
            octets[5] |= 0xC0;
        }
        PeerAddress::from_wire(octets, kind).ok()
    })
}

/// Octets, because keys cannot be shown when a case fails.
fn key_octets() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 16]>().prop_filter("all zeros", |octets| *octets != [0; 16])
}

proptest! {
    #[test]
    fn every_ltk_comes_back_as_it_was_written(
        peer in peers(), key in key_octets(), code in 0u8..4, central in 0u8..2, size in 7u8..=16,
        ediv in any::<u16>(), rand in any::<[u8; 8]>(),
    ) {
        let role = Role::from_central_flag(central).unwrap();
        let size = EncryptionSize::new(size).unwrap();
        let ltk = Ltk::new(KeyType::from_code(code).unwrap(), role, size, ediv, rand, KeyMaterial::new(key).unwrap());
        let mut octets = Vec::new();
        put_ltk(&mut octets, peer, &ltk);
        prop_assert_eq!(octets.len(), LTK_OCTETS);
        prop_assert!(decode(KeyKind::Ltk, &octets).key == Ok((peer, CapturedKey::Ltk(ltk))));
    }

    #[test]
    fn every_irk_comes_back_as_it_was_written(peer in peers(), key in key_octets()) {
        let mut octets = Vec::new();
        let irk = Irk { key: KeyMaterial::new(key).unwrap() };
        put_irk(&mut octets, peer, &irk);
        prop_assert_eq!(octets.len(), IRK_OCTETS);
        prop_assert!(decode(KeyKind::Irk, &octets).key == Ok((peer, CapturedKey::Irk(irk))));
    }

    #[test]
    fn no_octets_make_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..48)) {
        for kind in [KeyKind::Ltk, KeyKind::Irk, KeyKind::Csrk, KeyKind::LinkKey, KeyKind::ConnectionParameters] {
            let _ = KeyRecord::decode(kind, &octets);
        }
    }
}
