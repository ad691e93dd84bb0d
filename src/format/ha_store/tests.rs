use proptest::prelude::*;

use super::*;
use crate::bond::testing::secure_bond;
use crate::bond::{AdapterRecord, Bond, UnixMillis};
use crate::format;
use crate::format::testing::assert_fixture;
use crate::format::testing::bonds::bonds;
use crate::format::testing::round_trip::{self, ADAPTER, assert_round_trip, table};

macro_rules! case {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../tests/fixtures/formats/ha-store/", $name, "/bluetooth.bonds")),
            include_str!(concat!("../../../tests/fixtures/formats/ha-store/", $name, "/expected.json")),
        )
    };
}

const CASES: [(&str, &str, &str); 4] = [
    case!("bad_truncated"),
    case!("bad_version_2"),
    case!("one_address_of_both_types"),
    case!("two_adapters"),
];

const TWO: &str = CASES[3].1;

fn import(text: &str, options: &ImportOptions) -> Result<Imported, FormatError> {
    format::import(FormatId::HaStore, Input::Document(text.as_bytes()), options)
}

fn address(text: &str) -> AdapterAddress {
    text.parse().unwrap()
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    for (name, file, wanted) in CASES {
        let input = Input::Document(file.as_bytes());
        assert_fixture(name, FormatId::HaStore, input, &ImportOptions::default(), wanted);
    }
}

#[test]
fn an_adapter_is_known_by_the_callers_map_and_never_by_a_guess() {
    let mut options = ImportOptions { adapter: Some(address(ADAPTER)), ..ImportOptions::default() };
    let unknown = import(TWO, &options).unwrap();
    assert!(unknown.adapters.iter().all(|adapter| adapter.address.is_none()), "there are two");
    options.adapters.insert("hci1".to_owned(), address("00:1A:7D:DA:71:12"));
    let mapped = import(TWO, &options).unwrap();
    let names: Vec<_> =
        mapped.adapters.iter().map(|adapter| (adapter.hint.as_deref(), adapter.address)).collect();
    assert_eq!(names, [(Some("hci0"), None), (Some("hci1"), Some(address("00:1A:7D:DA:71:12")))]);
    let only = import(&TWO.replace("hci1", "").replace("\"\": [", "\"hci1\": [], \"x\": ["), &options);
    assert!(only.is_ok());
    let single = r#"{"version":1,"key":"bluetooth.bonds","data":{"hci0":[]}}"#;
    assert_eq!(import(single, &options).unwrap().adapters[0].address, Some(address(ADAPTER)));
}

#[test]
fn two_names_for_one_adapter_are_refused() {
    let mut options = ImportOptions::default();
    for name in ["hci0", "hci1"] {
        options.adapters.insert(name.to_owned(), address(ADAPTER));
    }
    let error = import(TWO, &options).err().unwrap();
    assert_eq!(error.to_string(), "data.hci1: stands for an adapter that came before");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let spoiled = |from: &str, to: &str| {
        let text = TWO.replacen(from, to, 1);
        assert_ne!(text, TWO);
        import(&text, &ImportOptions::default()).err().unwrap().to_string()
    };
    let key = "b3209a83306e1ceb62d634172b7db484";
    assert_eq!(
        spoiled(key, &key[2..]),
        "data.hci0, entry 3, value: is not 16 octets as 32 hexadecimal digits"
    );
    assert_eq!(
        spoiled("\"ediv\": 48309", "\"ediv\": 48309.5"),
        "data.hci0, entry 0, ediv: is not an integer of 16 bits without sign"
    );
    assert_eq!(spoiled("\"hci1\"", "\"hci0\""), "data.hci0: comes twice");
    assert_eq!(
        spoiled("\"hci1\"", "\"a b\\n\""),
        "data.(an odd name): is neither an adapter's address nor a plain name"
    );
    assert_eq!(
        spoiled("\"version\": 1", "\"version\": 1.0"),
        "version: is not an integer of 64 bits without sign"
    );
    assert!(spoiled("bluetooth.bonds", "bluetooth.passive").contains("bluetooth.bonds"));
    let lists = format!(
        "{{\"version\":1,\"key\":\"bluetooth.bonds\",\"data\":{{{}}}}}",
        (0..=ADAPTERS_MAX).map(|at| format!("\"hci{at}\":[]")).collect::<Vec<_>>().join(",")
    );
    let error = import(&lists, &ImportOptions::default()).err().unwrap();
    assert_eq!(error.to_string(), "data: has more than 64 fields");
}

#[test]
fn one_bad_adapter_does_not_cost_the_others() {
    let text = TWO.replacen("\"hci0\"", "\"hci 0\"", 1);
    let options = ImportOptions { salvage: true, ..ImportOptions::default() };
    let imported = import(&text, &options).unwrap();
    assert_eq!((imported.adapters.len(), imported.report.refused.len()), (1, 1));
}

#[test]
fn an_empty_object_is_a_file_without_data_and_a_later_minor_version_is_read() {
    assert!(import("{}", &ImportOptions::default()).unwrap().adapters.is_empty());
    let later = TWO.replace("\"minor_version\": 1", "\"minor_version\": 2");
    let imported = import(&later, &ImportOptions::default()).unwrap();
    assert_eq!((imported.adapters.len(), imported.report.notes.len()), (2, 1));
    let without = TWO.replace("  \"minor_version\": 1,\n", "");
    assert!(import(&without, &ImportOptions::default()).unwrap().report.notes.is_empty());
}

fn bonds_of(imported: &Imported, at: usize) -> Vec<Bond> {
    imported.adapters[at].bonds.clone()
}

#[test]
fn the_real_file_comes_back_octet_for_octet_but_for_the_order_of_peers() {
    let imported = import(TWO, &ImportOptions::default()).unwrap();
    let (record, first, second) =
        (AdapterRecord::default(), table(&bonds_of(&imported, 0)), table(&bonds_of(&imported, 1)));
    let of = |last: &str, table| ExportAdapter {
        address: Some(address(&format!("00:1A:7D:DA:71:{last}"))),
        record: &record,
        table,
        peers: None,
    };
    let exported =
        format::export(FormatId::HaStore, &[of("11", &first), of("12", &second)], &ExportOptions::default())
            .unwrap();
    let text = String::from_utf8(exported.document().unwrap().to_vec()).unwrap();
    let named = text.replace("00:1A:7D:DA:71:11", "hci0").replace("00:1A:7D:DA:71:12", "hci1");
    let entries = |text: &str| {
        let mut parts: Vec<_> =
            text.split("      {\n").map(|part| part.replace("},", "}")).collect::<Vec<_>>();
        parts.sort();
        parts
    };
    assert_eq!(entries(&named).concat().len(), entries(TWO).concat().len());
    let values = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let sorted = |text: &str| {
        let mut value = values(text);
        let lists = value["data"].as_object_mut().unwrap().values_mut();
        lists.for_each(|list| list.as_array_mut().unwrap().sort_by_key(|entry| entry["address"].to_string()));
        value
    };
    assert_eq!(sorted(&named), sorted(TWO));
    assert!(named.starts_with(&TWO[..TWO.find("      {").unwrap()]) && named.ends_with("\n    ]\n  }\n}"));
}

#[test]
fn an_export_can_name_the_adapter_as_the_kernel_does() {
    let bonds = [secure_bond("C0:FF:EE:00:00:01", 1)];
    let written =
        round_trip::export(FormatId::HaStore, &bonds, &AdapterRecord::default(), &[("adapter_name", "hci3")]);
    let imported = round_trip::import_back(FormatId::HaStore, &written, &[]);
    assert_eq!(imported.adapters[0].hint.as_deref(), Some("hci3"));
    for name in ["", "hci 0", "hci0\"", "00:1A:7D:DA:71:11"] {
        assert!(check_adapter_name(name, 1).is_err(), "{name:?}");
    }
    assert!(check_adapter_name("hci0", 2).is_err());
}

proptest! {
    #[test]
    fn what_is_written_comes_back_less_the_declared_losses(bonds in bonds()) {
        assert_round_trip(FormatId::HaStore, &bonds.0, &AdapterRecord::default(), &[], &[]);
    }

    #[test]
    fn the_key_list_alone_comes_back_likewise(bonds in bonds()) {
        assert_round_trip(FormatId::Habluetooth, &bonds.0, &AdapterRecord::default(), &[], &[]);
    }
}

#[test]
fn bonds_begin_when_the_import_says() {
    let options = ImportOptions { now: UnixMillis(5), ..ImportOptions::default() };
    let imported = import(TWO, &options).unwrap();
    assert_eq!(imported.adapters[0].bonds[0].metadata.created_at, UnixMillis(5));
}
