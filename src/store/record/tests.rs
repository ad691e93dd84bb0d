use proptest::prelude::*;

use super::*;
use crate::bond::health::{Evidence, EvidenceKind, Track};
use crate::bond::testing::{irk, peer, secure_bond};
use crate::bond::{
    Fingerprint, Health, IdentityRecord, KeySecurity, LocalIdentity, OpaqueItem, Operation, Privacy,
    RolePreference, UndoPoint,
};

const ADAPTER: [u8; 6] = [0x11, 0x71, 0xDA, 0x7D, 0x1A, 0x00];

fn adapter() -> AdapterAddress {
    AdapterAddress::from_wire(ADAPTER).unwrap()
}

type Octets = [u8; 16];
type CsrkParts = (Octets, Option<bool>, Option<u64>);

/// A bond as numbers: bonds have no `Debug`, which a failing property needs.
#[derive(Debug, Clone)]
struct Blueprint {
    ltks: Vec<(u8, u8, u8, u16, [u8; 8], Octets)>,
    irk: Option<Octets>,
    csrks: (Option<CsrkParts>, Option<CsrkParts>),
    link_key: Option<(Octets, u8, u8)>,
    parameters: Option<[u16; 4]>,
    name: Option<String>,
    foreign: bool,
    source: usize,
    times: (u64, u64, Option<u64>),
}

fn octets() -> impl Strategy<Value = Octets> {
    any::<Octets>().prop_filter("all zero", |octets| *octets != [0; 16])
}

prop_compose! {
    fn blueprint()(
        ltks in proptest::collection::vec(
            (0..=4_u8, 0..=1_u8, 7..=16_u8, any::<u16>(), any::<[u8; 8]>(), octets()), 0..3),
        irk in proptest::option::of(octets()),
        csrks in any::<(Option<CsrkParts>, Option<CsrkParts>)>(),
        link_key in proptest::option::of((octets(), 0..=8_u8, any::<u8>())),
        parameters in any::<Option<[u16; 4]>>(),
        name in proptest::option::of(".{0,60}"),
        foreign in any::<bool>(),
        source in 0..5_usize,
        times in any::<(u64, u64, Option<u64>)>(),
    ) -> Blueprint {
        Blueprint { ltks, irk, csrks, link_key, parameters, name, foreign, source, times }
    }
}

/// Every field or none, with values that follow from one number.
fn details(seed: u64, any: bool) -> Option<Box<PeerDetails>> {
    let octet = seed.to_le_bytes()[0];
    let size = EncryptionSize::new(7 + octet % 10).unwrap();
    let security =
        KeySecurity { authenticated: octet > 9, secure_connections: octet > 99, encryption_size: size };
    let item = |name: &str| OpaqueItem {
        format: "bluez".to_owned(),
        name: name.to_owned(),
        value: zeroize::Zeroizing::new(vec![octet; usize::from(octet)]),
    };
    let details = PeerDetails {
        orphaned: true,
        outdated: Some(crate::bond::Fingerprint::from_octets([1, 2, 3, 4])),
        alias: Some(seed.to_string()),
        trusted: [None, Some(true), Some(false)][usize::from(octet % 3)],
        blocked: Some(octet > 7),
        services: vec![[octet; 16]; usize::from(octet % 5)],
        bredr_services: vec![[octet; 16]],
        role_preference: Some(RolePreference::Leader),
        identifier: Some(seed),
        manager: Some("bluetoothd".to_owned()),
        irk_security: Some(security),
        csrk_security: Some(security),
        link_key_size: Some(size),
        opaque: vec![item("DeviceID"), item("")],
    };
    if any { details.boxed() } else { None }
}

impl Blueprint {
    fn metadata(&self) -> BondMetadata {
        let words = ["captured", "learned", "imported", "restored", "paired"];
        BondMetadata {
            name: self.name.clone(),
            custody: if self.foreign { Custody::Foreign } else { Custody::Ours },
            source: Source::from_word(words[self.source]).unwrap(),
            created_at: UnixMillis(self.times.0),
            updated_at: UnixMillis(self.times.1),
            last_seen_at: self.times.2.map(UnixMillis),
            details: details(self.times.0, self.foreign),
        }
    }

    fn build(&self) -> Bond {
        let key = |octets| KeyMaterial::new(octets).unwrap();
        let csrk = |(octets, authenticated, counter): CsrkParts| {
            Some(Csrk { key: KeyMaterial::new(octets).ok()?, authenticated, counter })
        };
        let mut bond = Bond::new(peer("C0:FF:EE:00:00:01"), self.metadata());
        for (kind, central, size, ediv, rand, value) in self.ltks.iter().copied() {
            let (kind, role) = (KeyType::from_code(kind).unwrap(), Role::from_central_flag(central).unwrap());
            bond.put_ltk(Ltk::new(kind, role, EncryptionSize::new(size).unwrap(), ediv, rand, key(value)));
        }
        bond.irk = self.irk.map(|octets| Irk { key: key(octets) });
        bond.csrk_local = self.csrks.0.and_then(csrk);
        bond.csrk_remote = self.csrks.1.and_then(csrk);
        bond.link_key = self.link_key.map(|(octets, kind, pin_length)| LinkKey {
            key: key(octets),
            key_type: LinkKeyType::from_code(kind).unwrap(),
            pin_length: Some(pin_length).filter(|length| *length != 0xFF),
        });
        bond.connection_parameters =
            self.parameters.map(|[min_interval, max_interval, latency, supervision_timeout]| {
                ConnectionParameters { min_interval, max_interval, latency, supervision_timeout }
            });
        bond
    }
}

proptest! {
    #[test]
    fn every_bond_comes_back(blueprint in blueprint(), generation in any::<u64>()) {
        let bond = blueprint.build();
        let key = peer_key(bond.peer);
        let bytes = encode(Some(adapter()), &key, generation, ContentRef::Bond(&bond));
        let record = decode(Some(adapter()), &key, &bytes);
        let wanted = Ok(Record { generation, content: Content::Bond(Arc::new(bond)) });
        prop_assert!(record == wanted, "another record came back");
    }

    #[test]
    fn any_single_changed_octet_is_noticed(
        blueprint in blueprint(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let bond = blueprint.build();
        let key = peer_key(bond.peer);
        let mut bytes = encode(Some(adapter()), &key, 1, ContentRef::Bond(&bond)).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode(Some(adapter()), &key, &bytes).is_err());
    }

    #[test]
    fn decoding_never_panics(key in any::<Vec<u8>>(), bytes in any::<Vec<u8>>(), kind in 0..7_u8) {
        let _ = decode(Some(adapter()), &key, &bytes);
        // The same octets as fields behind a head and a check that pass.
        let mut body = vec![VERSION, kind];
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&ADAPTER);
        body.extend_from_slice(&bytes);
        let check = check(&key, &body);
        body.extend_from_slice(&check.to_le_bytes());
        let _ = decode(Some(adapter()), &key, &body);
    }
}

fn sealed(mut body: Vec<u8>, key: &[u8]) -> Vec<u8> {
    let check = check(key, &body);
    body.extend_from_slice(&check.to_le_bytes());
    body
}

#[test]
fn a_record_has_the_published_layout() {
    let bond = secure_bond("C0:FF:EE:00:00:01", 1);
    let key = peer_key(bond.peer);
    assert_eq!(hex::encode(key), "00c0ffee000001");
    let bytes = encode(Some(adapter()), &key, 0x0102, ContentRef::Bond(&bond));
    let golden = concat!(
        "0101",
        "0201000000000000",
        "1171da7d1a00",
        "011d00",
        "020010",
        "0000",
        "0000000000000000",
        "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a501",
        "080400",
        "6f757273",
        "090800",
        "6361707475726564",
        "0a0800",
        "e803000000000000",
        "0b0800",
        "e803000000000000",
    );
    assert_eq!(hex::encode(&bytes[..bytes.len() - 4]), golden);
}

fn tracks() -> std::collections::BTreeMap<PeerAddress, Track> {
    let track = |evidence: usize| Track {
        fingerprint: Fingerprint::from_octets([1, 2, 3, 4]),
        verdict: Health::Stale,
        failure_count: u8::MAX,
        evidence: vec![Evidence { kind: EvidenceKind::KeyMissing, at: UnixMillis(u64::MAX) }; evidence],
    };
    [(peer("C0:FF:EE:00:00:01"), track(4)), (peer("C0:FF:EE:00:00:02"), track(0))].into()
}

#[test]
fn adapters_seals_removals_and_headers_come_back() {
    let load = LoadRecord {
        appearance: Appearance { boot_id: "b0a7".to_owned(), inode: u64::MAX },
        generation: 3,
        at: UnixMillis(4),
    };
    let full = AdapterRecord {
        mode: Some(Mode::Observe),
        name: Some("hub".to_owned()),
        last_index: Some(u16::MAX),
        identity_held: Some(Box::new(IdentityRecord {
            appearance: load.appearance.clone(),
            at: UnixMillis(5),
            restored: true,
        })),
        last_load: Some(load),
        bluetoothd: Some(":1.42".to_owned()),
        local_identity: Some(LocalIdentity { irk: irk(3), privacy: Some(Privacy::Limited) }),
        opaque: details(7, true).unwrap().opaque,
        undo: Some(UndoPoint {
            operation: Operation::Forget,
            checkpoint: "20261121T014219120Z-00-1A-7D-DA-71-11-before_forget".to_owned(),
            before: 7,
            after: 8,
            at: UnixMillis(9),
        }),
        health: tracks(),
    };
    let identity = |privacy| AdapterRecord {
        local_identity: Some(LocalIdentity { irk: irk(4), privacy }),
        ..AdapterRecord::default()
    };
    let (unknown, on) = (identity(None), identity(Some(Privacy::On)));
    let seal = Seal { bond_count: 1, removal_count: 2, stamps: u32::MAX };
    fn of(record: &AdapterRecord, revision: u64) -> ContentRef<'_> {
        ContentRef::Adapter { record, revision }
    }
    let owned =
        |record: &AdapterRecord, revision| Content::Adapter { record: Box::new(record.clone()), revision };
    for (given, wanted) in [
        (of(&full, 0), owned(&full, 0)),
        (of(&AdapterRecord::default(), 1), owned(&AdapterRecord::default(), 1)),
        (of(&unknown, u64::MAX), owned(&unknown, u64::MAX)),
        (of(&on, 2), owned(&on, 2)),
        (ContentRef::Seal(seal), Content::Seal(seal)),
        (ContentRef::Removal, Content::Removal),
        (ContentRef::Header, Content::Header),
    ] {
        let bytes = encode(Some(adapter()), b"key", 9, given);
        let record = decode(Some(adapter()), b"key", &bytes);
        assert!(record == Ok(Record { generation: 9, content: wanted }));
    }
}

#[test]
fn a_record_under_another_key_or_adapter_is_not_taken() {
    let bond = secure_bond("C0:FF:EE:00:00:01", 1);
    let bytes = encode(Some(adapter()), &peer_key(bond.peer), 1, ContentRef::Bond(&bond));
    let other = peer_key(peer("C0:FF:EE:00:00:02"));
    assert_eq!(decode(Some(adapter()), &other, &bytes).err(), Some(RecordError::Check));
    let stranger = "00:1A:7D:DA:71:12".parse().ok();
    assert_eq!(decode(stranger, &peer_key(bond.peer), &bytes).err(), Some(RecordError::Adapter));
}

#[test]
fn a_field_of_a_later_release_is_passed_over_and_a_later_version_is_named() {
    let bond = secure_bond("C0:FF:EE:00:00:01", 1);
    let key = peer_key(bond.peer);
    let mut body = encode(Some(adapter()), &key, 1, ContentRef::Bond(&bond)).to_vec();
    body.truncate(body.len() - CHECK_OCTETS);
    let mut longer = body.clone();
    longer.extend_from_slice(&[200, 2, 0, 1, 2]);
    let record = decode(Some(adapter()), &key, &sealed(longer, &key));
    assert!(record.is_ok_and(|record| record.content == Content::Bond(Arc::new(bond))));
    body[0] = 2;
    assert_eq!(decode(Some(adapter()), &key, &sealed(body, &key)).err(), Some(RecordError::Version(2)));
}

#[test]
fn an_all_zero_key_in_a_record_is_no_key() {
    let key = peer_key(peer("C0:FF:EE:00:00:01"));
    let mut body = vec![VERSION, 1];
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&ADAPTER);
    body.extend_from_slice(&[tag::IRK, 16, 0]);
    body.extend_from_slice(&[0; 16]);
    assert_eq!(decode(Some(adapter()), &key, &sealed(body, &key)).err(), Some(RecordError::Field(tag::IRK)));
}
