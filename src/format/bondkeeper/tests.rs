use super::*;
use crate::bond::testing::{irk, legacy_ltk, material, peer, secure_bond};
use crate::bond::{
    Appearance, Bond, BondMetadata, ConnectionParameters, Csrk, Custody, EncryptionSize, Fingerprint,
    KeySecurity, LinkKey, LinkKeyType, LoadRecord, LocalIdentity, Mode, OpaqueItem, Operation, PeerAddress,
    PeerAddressType, PeerDetails, Role, RolePreference, Source, Tombstone, UndoPoint,
};
use crate::format;

const ADAPTER: &str = "00:1A:7D:DA:71:11";
const NOW: UnixMillis = UnixMillis(1_795_225_339_120);

fn import(bytes: &[u8]) -> Result<Imported, FormatError> {
    format::import(FormatId::Bondkeeper, Input::Document(bytes), &ImportOptions::default())
}

fn item(format: &str, name: &str) -> OpaqueItem {
    let value = zeroize::Zeroizing::new(vec![0, 1, 0xFE]);
    OpaqueItem { format: format.to_owned(), name: name.to_owned(), value }
}

fn full_details() -> PeerDetails {
    let size = EncryptionSize::FULL;
    let security = KeySecurity { authenticated: true, secure_connections: false, encryption_size: size };
    PeerDetails {
        orphaned: false,
        outdated: None,
        alias: Some("door".to_owned()),
        trusted: Some(true),
        blocked: Some(false),
        services: vec![[1; 16], [2; 16]],
        bredr_services: vec![[3; 16]],
        role_preference: Some(RolePreference::Follower),
        identifier: Some(u64::MAX),
        manager: Some("bluetoothd".to_owned()),
        irk_security: Some(security),
        csrk_security: Some(KeySecurity { secure_connections: true, ..security }),
        link_key_size: Some(size),
        opaque: vec![item("bluez", "DeviceID")],
    }
}

fn full_bond() -> Bond {
    let peer = PeerAddress::parse("D4:12:43:9A:BC:DE", PeerAddressType::StaticRandom).unwrap();
    let metadata = BondMetadata {
        name: Some("Front door \"é\"\n".to_owned()),
        custody: Custody::Foreign,
        source: Source::Learned,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(u64::MAX),
        last_seen_at: Some(UnixMillis(3)),
        details: full_details().boxed(),
    };
    let mut bond = Bond::new(peer, metadata);
    bond.put_ltk(legacy_ltk(Role::Central, 1));
    bond.put_ltk(legacy_ltk(Role::Peripheral, 2));
    bond.irk = Some(irk(3));
    bond.csrk_local = Some(Csrk { key: material(4), authenticated: Some(true), counter: Some(u64::MAX) });
    bond.csrk_remote = Some(Csrk { key: material(5), authenticated: None, counter: None });
    bond.link_key =
        Some(LinkKey { key: material(6), key_type: LinkKeyType::AuthenticatedP256, pin_length: Some(4) });
    bond.connection_parameters = Some(ConnectionParameters {
        min_interval: 24,
        max_interval: 40,
        latency: 1,
        supervision_timeout: 600,
    });
    bond
}

fn full_table() -> BondTable {
    let tombstone = Tombstone { peer: peer("C0:FF:EE:00:00:03"), generation: 8 };
    BondTable::from_stored(9, [(full_bond(), 5), (secure_bond("C0:FF:EE:00:00:01", 7), 9)], [tombstone])
}

fn full_record() -> AdapterRecord {
    let appearance = Appearance { boot_id: "b0a7".to_owned(), inode: 77 };
    AdapterRecord {
        mode: Some(Mode::Own),
        name: Some("hub".to_owned()),
        last_index: Some(1),
        bluetoothd: None,
        last_load: Some(LoadRecord { appearance, generation: 4, at: UnixMillis(5) }),
        local_identity: Some(LocalIdentity { irk: irk(9), privacy: None }),
        identity_held: None,
        opaque: vec![item("aioble", "type 0")],
        undo: Some(UndoPoint {
            operation: Operation::Replace,
            checkpoint: "20261121T014219120Z-00-1A-7D-DA-71-11-before_restore".to_owned(),
            before: 6,
            after: 8,
            at: UnixMillis(7),
        }),
        // Of this host's own memory, and in the database only.
        health: std::collections::BTreeMap::new(),
    }
}

fn written(layout: Layout) -> String {
    let (record, table) = (full_record(), full_table());
    let adapter = ExportAdapter {
        address: Some(ADAPTER.parse().unwrap()),
        record: &record,
        table: &table,
        peers: None,
    };
    String::from_utf8(write(&[adapter], NOW, layout).unwrap().to_vec()).unwrap()
}

fn same_tables(left: &BondTable, right: &BondTable) -> bool {
    let entries = |table: &BondTable| -> Vec<_> {
        table.entries().map(|entry| (entry.generation, (*entry.bond).clone())).collect()
    };
    left.generation() == right.generation()
        && entries(left) == entries(right)
        && left.tombstones().eq(right.tombstones())
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// The document with one value changed and the digest made to fit again.
fn with(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut document = json(&written(Layout::Compact));
    change(&mut document);
    // serde_json's own map is sorted, so its compact text is the canonical one.
    let mut hash = <sha2::Sha256 as sha2::Digest>::new();
    sha2::Digest::update(&mut hash, document["adapters"].to_string());
    document["digest"] = format!("sha256:{}", hex::encode(sha2::Digest::finalize(hash))).into();
    document.to_string()
}

#[test]
fn everything_comes_back_in_either_layout() {
    for layout in [Layout::Compact, Layout::Pretty] {
        let document = read(written(layout).as_bytes()).unwrap();
        let [copy] = &document.adapters[..] else { panic!("one adapter") };
        assert_eq!(copy.address.to_string(), ADAPTER);
        assert_eq!(copy.record, full_record());
        assert!(same_tables(&copy.table, &full_table()));
        assert!(document.intact && document.report.notes.is_empty());
        assert_eq!(document.created_at, "2026-11-21T01:42:19.120Z");
    }
}

#[test]
fn the_layout_is_the_published_one() {
    let text = written(Layout::Pretty);
    let head = "{\n  \"format\": \"bondkeeper\",\n  \"version\": 1,\n  \"source\": \"bondkeeper ";
    assert!(text.starts_with(head), "{text}");
    let bond = &json(&text)["adapters"][0]["bonds"][1];
    assert_eq!(bond["ltks"][0]["value"], "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a501");
    assert_eq!(bond["ltks"][0]["rand"], "0101010101010101");
    assert_eq!(bond["csrk_local"]["counter"], u64::MAX);
    let fields: Vec<_> = bond.as_object().unwrap().keys().map(String::as_str).collect();
    let published = [
        "address",
        "address_type",
        "check",
        "conn_param",
        "created_at_ms",
        "csrk_local",
        "csrk_remote",
        "custody",
        "details",
        "generation",
        "irk",
        "last_seen_at_ms",
        "link_key",
        "ltks",
        "name",
        "source",
        "updated_at_ms",
    ];
    assert_eq!(fields, published);
}

/// In a layout, with what this node has observed of both bonds, or without.
fn with_observations(layout: Layout, observed: bool) -> (BondTable, String, [u8; 32]) {
    let mut bonds = [full_bond(), secure_bond("C0:FF:EE:00:00:01", 7)];
    bonds[1].metadata.note(|details| details.trusted = Some(true));
    if observed {
        let outdated = Some(Fingerprint::from_octets([0, 1, 0xAB, 0xFF]));
        bonds[0].metadata.note(|details| (details.orphaned, details.outdated) = (true, outdated));
        bonds[1].metadata.note(|details| details.orphaned = true);
    }
    let [full, other] = bonds;
    let (record, table) = (full_record(), BondTable::from_stored(9, [(full, 5), (other, 9)], []));
    let address = Some(ADAPTER.parse().unwrap());
    let adapter = || ExportAdapter { address, record: &record, table: &table, peers: None };
    let text = write(&[adapter()], NOW, layout).unwrap();
    let digest = digest_copy(&adapter(), 0).unwrap();
    (table.clone(), String::from_utf8(text.to_vec()).unwrap(), digest)
}

#[test]
fn what_this_node_has_observed_stands_in_its_own_copies() {
    let (table, text, digest) = with_observations(Layout::Compact, true);
    let document = read(text.as_bytes()).unwrap();
    assert!(same_tables(&document.adapters[0].table, &table));
    assert!(document.report.notes.is_empty(), "{:?}", document.report.notes);
    assert!(text.contains(&format!("sha256:{}", hex::encode(digest))), "a copy of it would be called stale");
    assert!(text.contains("\"observed\":{\"orphaned\":true,\"outdated\":\"0001abff\"}"), "{text}");
    // A bond that passes its own check is believed whole.
    let spoiled = text.replacen("\"generation\":9", "\"generation\":90", 1);
    let salvaged = salvage(spoiled.as_bytes()).unwrap();
    let orphaned = |table: &BondTable| table.bonds().filter(|bond| bond.is_orphaned()).count();
    assert_eq!((orphaned(&salvaged.adapters[0].table), orphaned(&table)), (1, 1));
}

#[test]
fn what_this_node_has_observed_is_in_no_export_and_taken_from_no_import() {
    let (_, observed, _) = with_observations(Layout::Pretty, true);
    let (table, plain, _) = with_observations(Layout::Pretty, false);
    assert_eq!(observed, plain);
    let (_, copy, _) = with_observations(Layout::Compact, true);
    let bonds: Vec<_> = table.bonds().cloned().collect();
    assert!(import(copy.as_bytes()).unwrap().adapters[0].bonds == bonds);
}

#[test]
fn a_copy_from_before_there_were_observations_is_read() {
    let (table, old, _) = with_observations(Layout::Compact, false);
    assert!(!old.contains("observed"));
    assert!(same_tables(&read(old.as_bytes()).unwrap().adapters[0].table, &table));
}

#[test]
fn an_export_of_some_peers_holds_them_alone_and_no_removals() {
    let (record, table) = (full_record(), full_table());
    let peers = [full_bond().peer];
    let address = ADAPTER.parse().unwrap();
    let adapter =
        ExportAdapter { address: Some(address), record: &record, table: &table, peers: Some(&peers) };
    let options = ExportOptions { created_at: NOW, ..ExportOptions::default() };
    let exported = format::export(FormatId::Bondkeeper, &[adapter], &options).unwrap();
    let bytes = exported.document().unwrap();
    let imported = import(bytes).unwrap();
    assert!(imported.adapters[0].bonds == [full_bond()]);
    assert_eq!(exported.bond_count, 1);
    assert_eq!(read(bytes).unwrap().adapters[0].table.tombstones().count(), 0);
    let taken = &imported.report.peers[0].taken;
    assert_eq!(taken[..], ["ltk", "irk", "csrk_local", "csrk_remote", "link_key", "conn_param", "name"]);
}

#[test]
fn a_changed_octet_anywhere_is_noticed() {
    let text = written(Layout::Compact);
    let begin = text.find("\"adapters\"").unwrap();
    for at in begin..text.len() - 1 {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 0x01;
        assert!(read(&bytes).is_err(), "octet {at}");
    }
}

#[test]
fn damage_to_one_bond_does_not_cost_the_other_and_is_named() {
    let text = written(Layout::Compact);
    let spoiled = text.replacen("a5a5a5a5a5a5a5a5a5a5a5a5a5a5a503", "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a504", 1);
    assert_ne!(text, spoiled);
    let document = salvage(spoiled.as_bytes()).unwrap();
    assert!(!document.intact);
    let bonds: Vec<_> = document.adapters[0].table.bonds().cloned().collect();
    assert!(bonds == [secure_bond("C0:FF:EE:00:00:01", 7)]);
    let [refused] = &document.report.refused[..] else { panic!("one loss") };
    assert_eq!(refused.peer, Some(full_bond().peer));
    assert_eq!(refused.place, "adapters[0].bonds[1]");
}

#[test]
fn a_damaged_copy_is_not_believed_about_removals() {
    let spoiled = written(Layout::Compact).replacen("\"generation\":8", "\"generation\":80", 1);
    let document = salvage(spoiled.as_bytes()).unwrap();
    assert_eq!(document.adapters[0].table.tombstones().count(), 0);
    assert_eq!(document.adapters[0].table.len(), 2);
}

#[test]
fn whatever_cannot_be_a_bond_is_refused_with_its_place() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 16] = [
        ("adapters[0].bonds[1].ltks[0].value", |bond| bond["ltks"][0]["value"] = "00".into()),
        ("adapters[0].bonds[1].ltks[1].value", |bond| bond["ltks"][1]["value"] = "0".repeat(32).into()),
        ("adapters[0].bonds[1].ltks[0].value", |bond| {
            bond["ltks"][0]["value"] = "bf01fb9d4ef3bc36d874f5394138684c".into();
        }),
        ("adapters[0].bonds[1].irk", |bond| bond["irk"] = "a599bae4e17ca618228e0756b4e85f01".into()),
        ("adapters[0].bonds[1].ltks[0].enc_size", |bond| bond["ltks"][0]["enc_size"] = 17.into()),
        ("adapters[0].bonds[1].ltks[0].ediv", |bond| bond["ltks"][0]["ediv"] = 65_536.into()),
        ("adapters[0].bonds[1].ltks[0].rand", |bond| bond["ltks"][0]["rand"] = 1.into()),
        ("adapters[0].bonds[1].ltks[1]", |bond| bond["ltks"][1] = bond["ltks"][0].clone()),
        ("adapters[0].bonds[1].ltks[1]", |bond| bond["ltks"][1]["key_type"] = 2.into()),
        ("adapters[0].bonds[1].address", |bond| bond["address"] = "70:81:94:0D:FB:AA".into()),
        ("adapters[0].bonds[1].address_type", |bond| bond["address_type"] = "bredr".into()),
        ("adapters[0].bonds[1].custody", |bond| bond["custody"] = "mine".into()),
        ("adapters[0].bonds[1].updated_at_ms", |bond| bond["updated_at_ms"] = serde_json::Value::Null),
        ("adapters[0].bonds[1].link_key.key_type", |bond| bond["link_key"]["key_type"] = 9.into()),
        ("adapters[0].bonds[1].name", |bond| bond["name"] = "x".repeat(249).into()),
        ("adapters[0].bonds[1].conn_param", |bond| {
            bond.as_object_mut().unwrap().remove("conn_param");
        }),
    ];
    for (place, change) in cases {
        let text = with(|document| change(&mut document["adapters"][0]["bonds"][1]));
        let error = import(text.as_bytes()).err().unwrap();
        assert_eq!(error.place(), Some(place), "{error}");
    }
}

#[test]
fn a_number_with_a_fraction_leaves_no_digest_that_could_fit() {
    let text = with(|document| document["adapters"][0]["bonds"][0]["generation"] = 9.5.into());
    assert_eq!(read(text.as_bytes()).err(), Some(FormatError::Digest));
}

#[test]
fn peers_and_adapters_come_once() {
    let twice = with(|document| {
        let bond = document["adapters"][0]["bonds"][0].clone();
        document["adapters"][0]["bonds"].as_array_mut().unwrap().push(bond);
    });
    assert_eq!(read(twice.as_bytes()).err().unwrap().place(), Some("adapters[0].bonds[2]"));
    let twice = with(|document| {
        let adapter = document["adapters"][0].clone();
        document["adapters"].as_array_mut().unwrap().push(adapter);
    });
    assert_eq!(read(twice.as_bytes()).err().unwrap().place(), Some("adapters[1]"));
    let twice = written(Layout::Compact).replacen("\"version\":1", "\"version\":1,\"version\":1", 1);
    assert_eq!(read(twice.as_bytes()).err().unwrap().place(), Some("version"));
}

#[test]
fn a_compromised_key_that_was_captured_is_kept_in_our_own_copies() {
    let text = with(|document| {
        document["adapters"][0]["bonds"][1]["ltks"][0]["value"] = "bf01fb9d4ef3bc36d874f5394138684c".into();
    });
    assert!(read(text.as_bytes()).is_ok());
    assert!(import(text.as_bytes()).is_err());
}

#[test]
fn another_version_and_another_format_are_told_apart_from_damage() {
    let text = with(|document| document["version"] = 2.into());
    let newer = FormatError::Version { found: 2, known: 1 };
    assert_eq!(read(text.as_bytes()).err(), Some(newer.clone()));
    assert_eq!(salvage(text.as_bytes()).err(), Some(newer));
    let reversed = written(Layout::Compact).replace("least_significant_first", "big_endian");
    assert!(matches!(read(reversed.as_bytes()), Err(FormatError::WrongFormat { .. })));
    assert!(matches!(read(b"[]"), Err(FormatError::WrongFormat { .. })));
}

#[test]
fn a_field_of_a_later_release_is_reported_and_costs_nothing() {
    let text = with(|document| document["adapters"][0]["bonds"][0]["colour"] = "red".into());
    let document = read(text.as_bytes()).unwrap();
    assert_eq!(document.adapters[0].table.len(), 2);
    assert!(document.report.notes[0].ends_with("colour"), "{:?}", document.report.notes);
}
