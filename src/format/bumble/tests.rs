use proptest::prelude::*;

use super::*;
use crate::bond::AdapterRecord;
use crate::format;
use crate::format::testing::assert_fixture;
use crate::format::testing::bonds::bonds;
use crate::format::testing::round_trip::{self, assert_round_trip};

macro_rules! case {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../tests/fixtures/formats/bumble/", $name, "/keys.json")),
            include_str!(concat!("../../../tests/fixtures/formats/bumble/", $name, "/expected.json")),
        )
    };
}

const CASES: [(&str, &str, &str); 2] = [case!("bad_empty_ltk"), case!("keys_all_kinds")];

const ALL_KINDS: &str = CASES[1].1;

fn import(text: &str) -> Result<Imported, FormatError> {
    format::import(FormatId::Bumble, Input::Document(text.as_bytes()), &ImportOptions::default())
}

fn salvaged(text: &str) -> Imported {
    let options = ImportOptions { salvage: true, ..ImportOptions::default() };
    format::import(FormatId::Bumble, Input::Document(text.as_bytes()), &options).unwrap()
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    for (name, file, wanted) in CASES {
        let input = Input::Document(file.as_bytes());
        assert_fixture(name, FormatId::Bumble, input, &ImportOptions::default(), wanted);
    }
    assert_eq!(salvaged(CASES[0].1).adapters[0].bonds.len(), 4, "the other peers are good");
}

#[test]
fn what_bumble_does_not_keep_is_assumed_aloud() {
    let imported = import(ALL_KINDS).unwrap();
    let assumed: Vec<_> = imported.report.peers[2].assumed.iter().map(|assumed| assumed.field).collect();
    assert_eq!(assumed, ["role", "enc_size"], "a legacy peer");
}

#[test]
fn the_real_file_comes_back_octet_for_octet() {
    let bonds = import(ALL_KINDS).unwrap().adapters.remove(0).bonds;
    let exported = round_trip::export(FormatId::Bumble, &bonds, &AdapterRecord::default(), &[]);
    assert_eq!(std::str::from_utf8(exported.document().unwrap()).unwrap(), ALL_KINDS);
    assert!(exported.report.is_lossless());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let adapter = "00:1A:7D:DA:71:11/P";
    let spoiled = |from: &str, to: &str| {
        let text = ALL_KINDS.replacen(from, to, 1);
        assert_ne!(text, ALL_KINDS, "{from}");
        import(&text).err().unwrap_or_else(|| panic!("{to} was taken")).to_string()
    };
    let value = "\"value\": \"514ae17fc3bb6a1a415e7950df254b89\"";
    let key = "514ae17fc3bb6a1a415e7950df254b89";
    let ltk = format!("{adapter}.5C:BA:37:11:22:33/P.ltk");
    let table = [
        (key, "514ae1", format!("{ltk}.value: is not 16 octets")),
        (key, "00000000000000000000000000000000", format!("{ltk}.value: an all-zero key")),
        (key, "bf01fb9d4ef3bc36d874f5394138684c", format!("{ltk}.value: is a key that is known")),
        (value, "\"value\": 5", format!("{ltk}.value: is not a string")),
        (
            value,
            "\"ediv\": 1, \"value\": \"514ae17fc3bb6a1a415e7950df254b89\"",
            format!("{ltk}.ediv: is not zero"),
        ),
        (
            value,
            "\"value\": \"514ae17fc3bb6a1a415e7950df254b89\", \"value\": \"\"",
            format!("{ltk}.value: comes twice"),
        ),
        (
            "ac1dacb5fda94abf9df7fd493494c2ff",
            "a599bae4e17ca618228e0756b4e85f01",
            format!("{adapter}.5C:BA:37:11:22:33/P.irk.value: is a key"),
        ),
        (
            "\"ediv\": 48309",
            "\"ediv\": 48309.0",
            format!("{adapter}.A4:C1:38:0B:1C:2D/P.ltk_central.ediv: is not an integer"),
        ),
        ("\"ediv\": 48309,", "", format!("{adapter}.A4:C1:38:0B:1C:2D/P.ltk_central.ediv: is missing")),
        (
            "\"link_key_type\": 8",
            "\"link_key_type\": 9",
            format!("{adapter}.5C:BA:37:11:22:33/P.link_key_type: key type 9"),
        ),
        (
            "\"address_type\": 1",
            "\"address_type\": 0",
            format!("{adapter}.D4:12:43:9A:BC:DE.address_type: says another type"),
        ),
        (
            "\"address_type\": 1",
            "\"address_type\": 4",
            format!("{adapter}.D4:12:43:9A:BC:DE.address_type: is none of"),
        ),
        (
            "\"D4:12:43:9A:BC:DE\"",
            "\"54:12:43:9A:BC:DE\"",
            format!("{adapter}.54:12:43:9A:BC:DE: the random address is not a static"),
        ),
        ("\"D4:12:43:9A:BC:DE\"", "\"ring\"", format!("{adapter}.ring: is not the address of a peer")),
        (
            "\"D4:12:43:9A:BC:DE\"",
            "\"E4:9f:64:0B:E8:1C\"",
            format!("{adapter}.E4:9F:64:0B:E8:1C: the peer came before"),
        ),
        (adapter, "a b", "(an odd name): is neither an adapter's address nor a plain name".to_owned()),
    ];
    for (from, to, wanted) in table {
        let found = spoiled(from, to);
        assert!(found.starts_with(&wanted), "{to}: {found}");
    }
}

#[test]
fn a_secure_connections_key_stands_before_legacy_ones_of_an_earlier_pairing() {
    let text = ALL_KINDS.replacen(
        "\"ltk_central\"",
        "\"ltk\": {\"authenticated\": true, \"value\": \"514ae17fc3bb6a1a415e7950df254b89\"}, \"ltk_central\"",
        1,
    );
    let imported = import(&text).unwrap();
    let adapter = &imported.adapters[0];
    let bond = adapter.bonds.iter().find(|bond| bond.peer.to_string() == "A4:C1:38:0B:1C:2D").unwrap();
    assert_eq!(bond.ltks()[0].slot(), LtkSlot::SecureConnections);
    assert_eq!((bond.ltks().len(), adapter.superseded.len()), (1, 1));
    assert_eq!(imported.report.peer(bond.peer).unwrap().dropped[0].field, "ltk");
}

#[test]
fn a_store_without_a_namespace_takes_the_callers_adapter() {
    let text = ALL_KINDS.replace("00:1A:7D:DA:71:11/P", DEFAULT_NAMESPACE);
    assert_eq!(import(&text).unwrap().adapters[0].hint.as_deref(), Some(DEFAULT_NAMESPACE));
    let adapter = Some("00:1A:7D:DA:71:11".parse().unwrap());
    let options = ImportOptions { adapter, ..ImportOptions::default() };
    let imported = format::import(FormatId::Bumble, Input::Document(text.as_bytes()), &options).unwrap();
    assert_eq!(imported.adapters[0].address, adapter);
}

#[test]
fn fields_that_are_not_known_come_back_where_they_were() {
    let text = ALL_KINDS.replacen("\"link_key_type\": 8,", "\"link_key_type\": 8,\n            \"loaned\": [\n                18446744073709551615,\n                \"\\\"\"\n            ],", 1);
    let bonds = import(&text).unwrap().adapters.remove(0).bonds;
    let exported = round_trip::export(FormatId::Bumble, &bonds, &AdapterRecord::default(), &[]);
    assert_eq!(std::str::from_utf8(exported.document().unwrap()).unwrap(), text);
    let lost =
        import(&ALL_KINDS.replacen("\"link_key_type\": 8,", "\"link_key_type\": 8, \"loaned\": 0.5,", 1))
            .unwrap();
    assert_eq!(lost.report.peers[0].dropped[0].field, "opaque");
}

proptest! {
    #[test]
    fn what_is_written_comes_back_less_the_declared_losses(bonds in bonds()) {
        assert_round_trip(FormatId::Bumble, &bonds.0, &AdapterRecord::default(), &[], &[]);
    }
}
