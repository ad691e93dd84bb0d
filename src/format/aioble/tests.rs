use proptest::prelude::*;

use super::record::{Layout, Record};
use crate::bond::testing::{irk, material, secure_bond};
use crate::bond::{AdapterRecord, Csrk};
use crate::format::testing::assert_fixture;
use crate::format::testing::bonds::{bonds, record};
use crate::format::testing::round_trip::{self, ADAPTER, assert_round_trip};
use crate::format::{self, ExportOptions, FormatError, FormatId, ImportOptions, Imported, Input, base64};

macro_rules! case {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../tests/fixtures/formats/aioble/", $name, "/ble_secrets.json")),
            include_str!(concat!("../../../tests/fixtures/formats/aioble/", $name, "/expected.json")),
        )
    };
}

const CASES: [(&str, &str, &str); 6] = [
    case!("bad_base64_padding"),
    case!("bad_object"),
    case!("empty"),
    case!("esp32_idf51_bond_count_80"),
    case!("esp32_idf52plus_88"),
    case!("openmv_cortexm_three_peers"),
];

const LAYOUTS: [&str; 4] = ["U80", "E80", "E88", "E88S"];

fn import_with(text: &str, words: &[(&str, &str)]) -> Result<Imported, FormatError> {
    let options = ImportOptions { options: round_trip::options(words), ..ImportOptions::default() };
    format::import(FormatId::Aioble, Input::Document(text.as_bytes()), &options)
}

fn import(text: &str) -> Result<Imported, FormatError> {
    import_with(text, &[])
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    for (name, file, wanted) in CASES {
        let input = Input::Document(file.as_bytes());
        let imported = assert_fixture(name, FormatId::Aioble, input, &ImportOptions::default(), wanted);
        let layout = serde_json::from_str::<serde_json::Value>(wanted).unwrap()["layout"].clone();
        if let Some(layout) = layout.as_str() {
            let notes = imported.unwrap().report.notes;
            assert_eq!(notes, [format!("the records have the layout {layout}")]);
        }
    }
}

/// Entries with their parts as they stand in the file.
fn entries(text: &str) -> Vec<&str> {
    let mut entries: Vec<_> = text.trim_matches(['[', ']']).split("], [").collect();
    entries.sort_unstable();
    entries
}

#[test]
fn the_real_files_come_back_octet_for_octet_but_for_the_order_of_entries() {
    for (layout, (_, text, _)) in [("E80", CASES[3]), ("E88", CASES[4]), ("U80", CASES[5])] {
        let mut adapter = import(text).unwrap().adapters.remove(0);
        let local_identity = adapter.local_identity.take();
        let record = AdapterRecord { local_identity, ..AdapterRecord::default() };
        let exported = round_trip::export(FormatId::Aioble, &adapter.bonds, &record, &[("layout", layout)]);
        assert_eq!(entries(std::str::from_utf8(exported.document().unwrap()).unwrap()), entries(text));
        assert!(exported.report.is_lossless());
    }
    let none = round_trip::export(FormatId::Aioble, &[], &AdapterRecord::default(), &[("layout", "U80")]);
    assert_eq!(none.document().unwrap().as_slice(), b"[]");
}

#[test]
fn the_layout_of_an_export_must_be_named() {
    let (table, record) = (round_trip::table(&[]), AdapterRecord::default());
    let adapter = format::ExportAdapter {
        address: Some(ADAPTER.parse().unwrap()),
        record: &record,
        table: &table,
        peers: None,
    };
    let error = format::export(FormatId::Aioble, &[adapter], &ExportOptions::default()).err().unwrap();
    assert_eq!(error.to_string(), "option layout must be given; it is one of: U80, E80, E88, E88S");
}

#[test]
fn a_chosen_layout_is_held_to() {
    assert!(import_with(CASES[5].1, &[("layout", "U80")]).is_ok());
    let error = import_with(CASES[5].1, &[("layout", "E88")]).err().unwrap().to_string();
    assert!(error.contains("entry 0, value: is 80 octets long and not the 88 of layout E88"), "{error}");
    let error = import_with(CASES[5].1, &[("layout", "E80")]).err().unwrap().to_string();
    assert!(error.contains("key_size: encryption size 0 is outside"), "{error}");
    assert!(import_with(CASES[5].1, &[("layout", "auto")]).is_ok());
}

const PEER: [u8; 7] = [1, 6, 5, 4, 3, 2, 0xC1];

fn record_of() -> Record {
    Record { peer: PEER, key_size: 16, ltk: Some([1; 16]), secure_connections: true, ..Record::default() }
}

fn file(entries: &[(u8, &[u8], &[u8])]) -> String {
    let lines: Vec<_> = entries
        .iter()
        .map(|(kind, key, value)| {
            format!("[{kind},\"{}\",\"{}\"]", *base64::encode(key), *base64::encode(value))
        })
        .collect();
    format!("[{}]", lines.join(","))
}

/// A file of one record about the peer.
fn file_with(kind: u8, change: impl FnOnce(&mut Record)) -> String {
    let mut record = record_of();
    change(&mut record);
    file(&[(kind, &PEER, &Layout::by_name("U80").unwrap().write(&record))])
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let layout = Layout::by_name("U80").unwrap();
    let other = {
        let mut record = record_of();
        record.ltk = Some([2; 16]);
        layout.write(&record)
    };
    let good = layout.write(&record_of());
    let mut misplaced = good.clone();
    misplaced[7] = 0;
    let private = [1, 6, 5, 4, 3, 2, 0x41];
    let mut about_private = good.clone();
    about_private[6] = 0x41;
    let table = [
        (file(&[(1, &PEER, &good), (2, &PEER, &other)]), "entry 1, value.ltk: holds another"),
        (file(&[(2, &PEER, &misplaced)]), "entry 0, value: fits neither of the layouts U80 and E80"),
        (file(&[(2, &[1, 2, 3, 4, 5, 6, 0xC7], &good)]), "entry 0, value: is about another peer"),
        (file(&[(2, &private, &about_private)]), "entry 0: the random address is not a static one"),
        (file(&[(10, b"irk", &[7; 15])]), "entry 0, value: is not 16 octets"),
        (file(&[(10, b"irk", &[0; 16])]), "entry 0, value: an all-zero key"),
        (file_with(2, |record| record.ltk = Some([0; 16])), "entry 0, value.ltk: an all-zero key"),
        (file_with(2, |record| record.ediv = 1), "entry 0, value.ediv: is not zero"),
        (file_with(2, |record| record.rand[3] = 1), "entry 0, value.rand: is not zero"),
        (
            file_with(2, |record| {
                record.irk =
                    Some(hex::decode("a599bae4e17ca618228e0756b4e85f01").unwrap().try_into().unwrap())
            }),
            "entry 0, value.irk: is a key that is known",
        ),
        (file_with(1, |record| record.csrk = Some([0; 16])), "entry 0, value.csrk: an all-zero key"),
        ("[[2]]".to_owned(), "entry 0: is not a list of type, key and value"),
        ("[[2,\"\",5]]".to_owned(), "entry 0, value: is not a string"),
        ("[[2.0,\"\",\"\"]]".to_owned(), "entry 0, type: is not an integer"),
        ("[[2,\"Zg=\",\"\"]]".to_owned(), "entry 0, key: is not base64"),
    ];
    for (text, wanted) in table {
        let error = import(&text).err().unwrap_or_else(|| panic!("{wanted}")).to_string();
        assert!(error.starts_with(wanted), "{error}, wanted {wanted}");
    }
    let many = format!("[{}]", vec!["0"; 2 * crate::bond::table::BONDS_PER_ADAPTER_MAX + 65].join(","));
    assert!(import(&many).err().unwrap().to_string().contains("has more than"));
}

#[test]
fn an_address_of_the_identity_forms_is_the_same_peer() {
    let text = file_with(2, |record| record.peer[0] = 3);
    assert_eq!(import(&text).unwrap().adapters[0].bonds.len(), 1);
}

#[test]
fn of_equal_entries_the_last_stands_and_the_report_says_so() {
    let layout = Layout::by_name("U80").unwrap();
    let mut older = record_of();
    older.ltk = Some([9; 16]);
    let text = file(&[(2, &PEER, &layout.write(&older)), (2, &PEER, &layout.write(&record_of()))]);
    let imported = import(&text).unwrap();
    assert_eq!(imported.adapters[0].bonds[0].ltks()[0].key.expose(), &[1; 16]);
    assert!(imported.report.notes[0].starts_with("entry 0 is not taken"), "{:?}", imported.report.notes);
}

#[test]
fn what_has_no_meaning_here_comes_back() {
    let text = file(&[(0, b"\x01\x02\x03\x04", &[1, 2, 3]), (2, &PEER, &[0; 12])]);
    let mut adapter = import(&text).unwrap().adapters.remove(0);
    let record = AdapterRecord { opaque: std::mem::take(&mut adapter.opaque), ..AdapterRecord::default() };
    assert_eq!(record.opaque.len(), 2);
    let exported = round_trip::export(FormatId::Aioble, &adapter.bonds, &record, &[("layout", "E88")]);
    let back = std::str::from_utf8(exported.document().unwrap()).unwrap();
    assert_eq!(back.replace("\\n", "").replace(' ', ""), text);
    let many: Vec<_> = (0..40_u8).map(|at| (0, [at])).collect();
    let many: Vec<(u8, &[u8], &[u8])> = many.iter().map(|(kind, key)| (*kind, &key[..], &key[..])).collect();
    let imported = import(&file(&many)).unwrap();
    assert_eq!(imported.adapters[0].opaque.len(), 32);
    assert!(imported.report.notes[39].contains("is dropped"));
}

#[test]
fn an_opaque_item_can_never_stand_for_keys() {
    let name = format!("2:{}", hex::encode(PEER));
    let mut record = AdapterRecord::default();
    for name in [name, "10:69726b".to_owned()] {
        let value = zeroize::Zeroizing::new(vec![1; 80]);
        record.opaque.push(crate::bond::OpaqueItem { format: "aioble".to_owned(), name, value });
    }
    let exported = round_trip::export(FormatId::Aioble, &[], &record, &[("layout", "U80")]);
    assert_eq!(exported.document().unwrap().as_slice(), b"[]");
}

#[test]
fn a_local_irk_that_only_a_peer_was_given_is_taken_aloud() {
    let imported = import(&file_with(1, |record| record.irk = Some([5; 16]))).unwrap();
    let identity = imported.adapters[0].local_identity.as_ref().unwrap();
    assert_eq!(identity.irk.key.expose(), &[5; 16]);
    assert_eq!(imported.report.peers[0].assumed[0].field, "local_irk");
}

#[test]
fn a_counter_is_carried_where_the_layout_has_a_place() {
    let mut bond = secure_bond("C0:FF:EE:00:00:01", 1);
    bond.irk = Some(irk(2));
    bond.csrk_remote = Some(Csrk { key: material(3), authenticated: None, counter: Some(77) });
    let bonds = [bond];
    for (layout, counter) in [("U80", None), ("E88", Some(77))] {
        let back = assert_round_trip(
            FormatId::Aioble,
            &bonds,
            &AdapterRecord::default(),
            &[("layout", layout)],
            &[],
        );
        assert_eq!(back.adapters[0].bonds[0].csrk_remote.as_ref().unwrap().counter, counter);
    }
}

proptest! {
    #[test]
    fn what_is_written_comes_back_less_the_declared_losses(
        bonds in bonds(), record in record(), layout in 0..LAYOUTS.len()
    ) {
        let layout = LAYOUTS[layout];
        let back = assert_round_trip(FormatId::Aioble, &bonds.0, &record, &[("layout", layout)], &[("layout", layout)]);
        prop_assert_eq!(&back.adapters[0].local_identity, &record.local_identity);
        assert_round_trip(FormatId::Aioble, &bonds.0, &record, &[("layout", layout)], &[]);
    }
}
