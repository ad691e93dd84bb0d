use super::*;
use crate::bond::testing::{irk, legacy_ltk, material, metadata, secure_ltk};
use crate::bond::{AdapterRecord, BondTable};
use crate::format;
use crate::format::testing::assert_fixture;

const NOW: UnixMillis = UnixMillis(7_000);

fn import(bytes: &[u8]) -> Result<Imported, FormatError> {
    let options = ImportOptions { now: NOW, ..ImportOptions::default() };
    format::import(FormatId::Habluetooth, Input::Document(bytes), &options)
}

macro_rules! case {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../tests/fixtures/formats/habluetooth/", $name, "/keys.json")),
            include_str!(concat!("../../../tests/fixtures/formats/habluetooth/", $name, "/expected.json")),
        )
    };
}

const CASES: [(&str, &str, &str); 8] = [
    case!("bad_address_garbage"),
    case!("bad_ediv_range"),
    case!("bad_empty_file"),
    case!("bad_enc_size_0"),
    case!("bad_short_value"),
    case!("empty_list"),
    case!("list_basic"),
    case!("two_ltks_same_peer_and_role"),
];

const BASIC: &str = CASES[6].1;

fn expected(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    let options = ImportOptions { now: NOW, ..ImportOptions::default() };
    for (name, keys, wanted) in CASES {
        let input = Input::Document(keys.as_bytes());
        assert_fixture(name, FormatId::Habluetooth, input, &options, wanted);
    }
}

#[test]
fn a_second_key_for_one_role_is_reported() {
    let imported = import(CASES[7].1.as_bytes()).unwrap();
    let dropped: usize = imported.report.peers.iter().map(|peer| peer.dropped.len()).sum();
    assert_eq!((dropped, imported.adapters[0].superseded.len()), (1, 1));
}

#[test]
fn what_is_good_can_be_salvaged_and_the_rest_is_named() {
    let key = "b3209a83306e1ceb62d634172b7db484";
    let text = BASIC.replace(key, &format!("{key}00"));
    let options = ImportOptions { salvage: true, ..ImportOptions::default() };
    let imported = format::import(FormatId::Habluetooth, Input::Document(text.as_bytes()), &options).unwrap();
    let whole = import(BASIC.as_bytes()).unwrap();
    let keys =
        |imported: &Imported| imported.adapters[0].bonds.iter().map(|bond| bond.ltks().len()).sum::<usize>();
    assert_eq!(keys(&imported) + 1, keys(&whole));
    assert_eq!(imported.report.refused.len(), 1);
    assert_eq!(imported.report.refused[0].place, "entry 3, value");
}

#[test]
fn an_error_names_the_entry_and_the_field_and_never_the_value() {
    let key = "b3209a83306e1ceb62d634172b7db484";
    let text = BASIC.replace(key, &format!("{key}00"));
    let error = import(text.as_bytes()).err().unwrap();
    assert_eq!(error.to_string(), "entry 3, value: is not 16 octets as 32 hexadecimal digits");
}

#[test]
fn each_required_field_is_missed_by_name() {
    for field in ENTRY_FIELDS {
        let mut list = expected(BASIC);
        list[2].as_object_mut().unwrap().remove(field);
        let error = import(list.to_string().as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), format!("entry 2, {field}: is missing"));
    }
}

#[test]
fn what_the_kernel_would_refuse_is_refused() {
    let spoiled: [(&str, serde_json::Value, &str); 10] = [
        ("address", "70:81:94:0D:FB:AA".into(), "entry 1, address"),
        ("address_type", 0.into(), "entry 1, address_type"),
        ("key_type", 5.into(), "entry 1, key_type"),
        ("central", 0.into(), "entry 1, central"),
        ("encryption_size", 255.into(), "entry 1, encryption_size"),
        ("ediv", 1.into(), "entry 1, ediv"),
        ("ediv", 0.5.into(), "entry 1, ediv"),
        ("rand", "00".into(), "entry 1, rand"),
        ("value", "0".repeat(32).into(), "entry 1, value"),
        ("value", "bf01fb9d4ef3bc36d874f5394138684c".into(), "entry 1, value"),
    ];
    for (field, value, place) in spoiled {
        let mut list = expected(BASIC);
        list[1][field] = value;
        let error = import(list.to_string().as_bytes()).err().unwrap();
        assert_eq!(error.place(), Some(place), "{error}");
    }
}

fn table(bonds: Vec<Bond>) -> BondTable {
    BondTable::from_stored(1, bonds.into_iter().map(|bond| (bond, 1)), [])
}

fn write(table: &BondTable, allow_loss: bool) -> Result<Exported, FormatError> {
    let record = AdapterRecord::default();
    let address = "00:1A:7D:DA:71:11".parse().unwrap();
    let adapter = ExportAdapter { address: Some(address), record: &record, table, peers: None };
    let options = ExportOptions { created_at: NOW, allow_loss, ..ExportOptions::default() };
    format::export(FormatId::Habluetooth, &[adapter], &options)
}

#[test]
fn a_list_comes_back_octet_for_octet() {
    // The real list, in the order of addresses that exports have.
    let mut list = expected(BASIC);
    let entries = list.as_array_mut().unwrap();
    entries.sort_by_key(|entry| entry["address"].as_str().unwrap().to_owned());
    let bonds = import(BASIC.as_bytes()).unwrap().adapters.remove(0).bonds;
    let written = write(&table(bonds), false).unwrap();
    let text = std::str::from_utf8(written.document().unwrap()).unwrap();
    assert_eq!(expected(text), list);
    let entries =
        text.split("  },\n").map(|entry| entry.trim_start_matches("[\n").trim_end_matches("\n  }\n]"));
    for entry in entries {
        assert!(BASIC.contains(entry.trim_end()), "{entry}");
    }
    assert!(written.report.is_lossless());
    assert_eq!(written.bond_count, 4);
    assert_eq!(&**write(&BondTable::new(), false).unwrap().document().unwrap(), b"[]");
}

fn bond(address: &str, kind: PeerAddressType) -> Bond {
    Bond::new(PeerAddress::parse(address, kind).unwrap(), metadata())
}

#[test]
fn everything_that_an_export_leaves_out_is_named() {
    let mut bond = bond("C0:FF:EE:00:00:01", PeerAddressType::Public);
    bond.put_ltk(legacy_ltk(Role::Central, 1));
    bond.irk = Some(irk(2));
    bond.link_key = Some(crate::bond::LinkKey {
        key: material(3),
        key_type: crate::bond::LinkKeyType::Combination,
        pin_length: Some(0),
    });
    bond.metadata.name = Some("lock".to_owned());
    let peer = bond.peer;
    let written = write(&table(vec![bond]), false).unwrap();
    let report = written.report.peer(peer).unwrap();
    assert_eq!(report.taken, ["ltk"]);
    let fields: Vec<_> = report.dropped.iter().map(|dropped| dropped.field).collect();
    assert_eq!(fields, ["irk", "link_key", "name"]);
}

#[test]
fn a_peer_that_would_vanish_needs_consent() {
    let mut lost = bond("C0:FF:EE:00:00:01", PeerAddressType::Public);
    lost.irk = Some(irk(2));
    let peer = lost.peer;
    let table = table(vec![lost]);
    assert_eq!(write(&table, false).err(), Some(FormatError::LosesPeers(vec![peer])));
    let written = write(&table, true).unwrap();
    assert_eq!(written.report.lost_peers, [peer]);
    assert_eq!(written.bond_count, 0);
}

#[test]
fn keys_that_habluetooth_cannot_tell_apart_are_reported() {
    let mut public = bond("C0:FF:EE:00:00:01", PeerAddressType::Public);
    let mut random = bond("C0:FF:EE:00:00:01", PeerAddressType::StaticRandom);
    public.put_ltk(secure_ltk(1));
    random.put_ltk(secure_ltk(2));
    let peer = public.peer;
    let written = write(&table(vec![public, random]), true).unwrap();
    assert_eq!(written.report.lost_peers, [peer]);
    assert_eq!(written.report.peer(peer).unwrap().dropped.len(), 1);
    let read = import(written.document().unwrap()).unwrap().adapters.remove(0).bonds;
    assert_eq!(written.bond_count, 1);
    assert!(
        read.len() == 1 && read[0].peer.kind() == PeerAddressType::StaticRandom,
        "the lost one is not there"
    );
}

#[test]
fn a_legacy_key_after_a_secure_one_takes_its_place_and_says_so() {
    let mut list = expected(BASIC);
    let mut secure = list[1].clone();
    secure["address"] = list[0]["address"].clone();
    secure["address_type"] = 1.into();
    secure["central"] = true.into();
    list.as_array_mut().unwrap().insert(0, secure);
    let imported = import(list.to_string().as_bytes()).unwrap();
    let bond = &imported.adapters[0].bonds[0];
    assert_eq!(bond.ltks().len(), 1);
    assert_eq!(bond.ltks()[0].slot(), LtkSlot::Legacy(Role::Central));
    let report = imported.report.peer(bond.peer).unwrap();
    assert_eq!((report.dropped.len(), report.assumed.len()), (1, 1));
}

#[test]
fn only_one_adapter_fits_a_list() {
    let options = ExportOptions { created_at: NOW, allow_loss: true, ..ExportOptions::default() };
    assert_eq!(export(&[], &options).err(), Some(FormatError::OneAdapterOnly { count: 0 }));
}
