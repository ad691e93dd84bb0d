use proptest::prelude::*;

use crate::bond::testing::secure_bond;
use crate::bond::{AdapterRecord, Bond};
use crate::format::testing::assert_fixture;
use crate::format::testing::bonds::{bonds, record};
use crate::format::testing::round_trip::{self, ADAPTER, assert_round_trip, table};
use crate::format::{
    self, Content, ExportAdapter, ExportOptions, FormatError, FormatId, ImportOptions, Imported, Input,
};

macro_rules! case {
    ($name:literal, $file:literal) => {
        (
            $name,
            include_str!(concat!("../../../tests/fixtures/formats/fuchsia/", $name, "/", $file)),
            include_str!(concat!("../../../tests/fixtures/formats/fuchsia/", $name, "/expected.json")),
        )
    };
}

const CASES: [(&str, &str, &str); 12] = [
    case!("bredr_only", "bond.json"),
    case!("dual_mode", "bond.json"),
    case!("legacy_both_roles_csrk", "bond.json"),
    case!("legacy_public", "bond.json"),
    case!("sc_random_irk_connparams", "bond.json"),
    case!("doc_example_repaired", "bond.json"),
    case!("bad_doc_example_verbatim", "bond.json"),
    case!("bad_key_15_bytes", "bond.json"),
    case!("bad_no_transport", "bond.json"),
    case!("host_doc_form", "host.json"),
    case!("host_irk", "host.json"),
    case!("host_irk_null", "host.json"),
];

/// Those that the real service wrote.
const REAL: usize = 5;

const DUAL: &str = CASES[1].1;
const LEGACY: &str = CASES[2].1;
const RANDOM: &str = CASES[4].1;

fn import(text: &str) -> Result<Imported, FormatError> {
    format::import(FormatId::Fuchsia, Input::Document(text.as_bytes()), &ImportOptions::default())
}

fn text(exported: &format::Exported) -> &str {
    std::str::from_utf8(exported.document().unwrap()).unwrap()
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    let options = ImportOptions { keep_unusable: true, ..ImportOptions::default() };
    for (name, file, wanted) in CASES {
        let input = Input::Document(file.as_bytes());
        assert_fixture(name, FormatId::Fuchsia, input, &options, wanted);
    }
}

#[test]
fn a_peer_that_linux_could_never_load_is_refused_unless_one_only_looks() {
    let error = import(CASES[5].1).err().unwrap();
    assert_eq!(
        error.to_string(),
        "address: the random address is not a static one: Linux cannot load keys under it"
    );
}

#[test]
fn the_published_description_is_read_aloud() {
    let repaired = CASES[5].1.replace("190\n    ]", "254\n    ]");
    let imported = import(&repaired).unwrap();
    let fields: Vec<_> = imported.report.peers[0].assumed.iter().map(|assumed| assumed.field).collect();
    assert_eq!(fields, ["address", "security", "enc_size", "ediv"]);
}

#[test]
fn the_real_texts_come_back_octet_for_octet_in_every_form() {
    let mut all: Vec<Bond> = Vec::new();
    for (name, file, _) in &CASES[..REAL] {
        let bonds = import(file).unwrap().adapters.remove(0).bonds;
        let exported =
            round_trip::export(FormatId::Fuchsia, &bonds, &AdapterRecord::default(), &[("form", "object")]);
        assert_eq!(text(&exported), file.trim_end(), "{name}");
        assert!(exported.report.is_lossless(), "{name}: {:?}", exported.report);
        all.extend(bonds);
    }
    let mut sorted: Vec<&str> = CASES[..REAL].iter().map(|(_, file, _)| file.trim_end()).collect();
    // The order of addresses, in which bonds are written.
    sorted.sort_by_key(|file| import(file).unwrap().adapters[0].bonds[0].peer);
    let list = round_trip::export(FormatId::Fuchsia, &all, &AdapterRecord::default(), &[]);
    assert_eq!(text(&list), format!("[{}]", sorted.join(",")));
    let store = round_trip::export(FormatId::Fuchsia, &all, &AdapterRecord::default(), &[("form", "store")]);
    let parsed: serde_json::Value = serde_json::from_str(text(&store)).unwrap();
    assert_eq!(parsed["bonding-data:00000000000004d2"], RANDOM.trim_end());
    assert_eq!(import(text(&store)).unwrap().adapters[0].bonds.len(), REAL);
}

#[test]
fn host_data_is_a_part_of_its_own() {
    let local_identity = import(CASES[10].1).unwrap().adapters.remove(0).local_identity;
    let record = AdapterRecord { local_identity, ..AdapterRecord::default() };
    let bonds = [secure_bond("C0:FF:EE:00:00:01", 1)];
    let object = round_trip::export(FormatId::Fuchsia, &bonds, &record, &[("part", "host")]);
    assert_eq!(text(&object), CASES[10].1.trim_end());
    let none = round_trip::export(FormatId::Fuchsia, &[], &AdapterRecord::default(), &[("part", "host")]);
    assert_eq!(text(&none), CASES[11].1.trim_end());
    let store = round_trip::export(FormatId::Fuchsia, &[], &record, &[("part", "host"), ("form", "store")]);
    assert!(text(&store).starts_with("{\"host-data:[address (public) 00:1A:7D:DA:71:11]\":\"{"));
    let adapter = import(text(&store)).unwrap().adapters.remove(0);
    assert_eq!(adapter.address.unwrap().to_string(), ADAPTER);
    assert_eq!(adapter.local_identity, record.local_identity);
    let bonds = round_trip::export(FormatId::Fuchsia, &bonds, &record, &[]);
    assert!(bonds.report.notes[0].contains("part=host"));
}

#[test]
fn a_form_that_cannot_hold_the_bonds_is_refused() {
    let export = |bonds: &[Bond], words: &[(&str, &str)]| {
        let (table, record) = (table(bonds), AdapterRecord::default());
        let address = ADAPTER.parse().unwrap();
        let adapter = ExportAdapter { address: Some(address), record: &record, table: &table, peers: None };
        let options = ExportOptions { options: round_trip::options(words), ..ExportOptions::default() };
        format::export(FormatId::Fuchsia, &[adapter], &options).err().map(|error| error.to_string())
    };
    let one = secure_bond("C0:FF:EE:00:00:01", 1);
    let both = [one.clone(), secure_bond("C0:FF:EE:00:00:02", 1)];
    assert_eq!(
        export(&both, &[("form", "object")]).unwrap(),
        "option form object holds one bond; 2 were given"
    );
    assert!(export(&[], &[("form", "object")]).is_some());
    assert!(export(&[], &[("form", "list"), ("part", "host")]).unwrap().contains("list is for bonds"));
    assert_eq!(export(&[one], &[("form", "object")]), None);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let table = [
        (
            DUAL,
            "\"identifier\":77",
            "\"identifier\":\"77\"",
            "identifier: is of the form that Fuchsia wrote in 2018",
        ),
        (DUAL, "\"identifier\":77", "\"identifier\":77.0", "identifier: is not an integer of 64 bits"),
        (DUAL, "\"identifier\":77,", "", "identifier: is missing"),
        (DUAL, "\"hostAddress\"", "\"host\"", "hostAddress: is missing"),
        (DUAL, "92]}", "92,1]}", "address.value: is not a list of 6 numbers"),
        (DUAL, "92]}", "256]}", "address.value[5]: does not fit 8 bits"),
        (DUAL, "92]}", "92],\"x\":1}", "address.x: does not belong to an address"),
        (DUAL, "[17,113,218,125,26,0]", "[0,0,0,0,0,0]", "hostAddress.value: 00:00:00:00:00:00"),
        (
            DUAL,
            "\"peerLtk\":{\"key\":{\"security\"",
            "\"peerLtk\":{\"key\":{\"safety\"",
            "le.peerLtk.key.security: is missing",
        ),
        (
            DUAL,
            "\"encryptionKeySize\":16",
            "\"encryptionKeySize\":17",
            "le.peerLtk.key.security.encryptionKeySize: encryption size 17",
        ),
        (
            DUAL,
            "\"encryptionKeySize\":16",
            "\"encryptionKeySize\":6",
            "le.peerLtk.key.security.encryptionKeySize: encryption size 6",
        ),
        (
            DUAL,
            "\"authenticated\":true",
            "\"authenticated\":1",
            "le.peerLtk.key.security.authenticated: is neither true nor false",
        ),
        (DUAL, "\"ediv\":0", "\"ediv\":1", "le.peerLtk.ediv: is not zero"),
        (DUAL, "\"ediv\":0", "\"keySize\":7,\"ediv\":0", "le.peerLtk.keySize: is another than"),
        (DUAL, "\"value\":[81,", "\"value\":[82,", "le.localLtk: is another Secure Connections key"),
        (
            DUAL,
            "\"rolePreference\":\"follower\"",
            "\"rolePreference\":\"x\"",
            "bredr.rolePreference: is neither",
        ),
        (DUAL, "00001124-", "00001124", "bredr.services[0]: is not a UUID"),
        (DUAL, "\"name\":\"Xbox Wireless Controller\"", "\"name\":5", "name: is not a string"),
        (LEGACY, "\"ediv\":36159,", "", "le.peerLtk.ediv: is missing"),
        (LEGACY, "\"ediv\":36159,", "\"ediv\":65536,", "le.peerLtk.ediv: does not fit 16 bits"),
        (
            LEGACY,
            "\"rand\":4383710011340050161",
            "\"rand\":18446744073709551616",
            "le.peerLtk.rand: is not an integer of 64",
        ),
        (
            RANDOM,
            "\"connectionInterval\":40",
            "\"connectionInterval\":-1",
            "le.connectionParameters.connectionInterval: is not an integer",
        ),
        (RANDOM, "212]}", "84]}", "address: the random address is not a static one"),
    ];
    for (original, from, to, wanted) in table {
        let spoiled = original.replacen(from, to, 1);
        assert_ne!(spoiled, original, "{from}");
        let error = import(&spoiled).err().unwrap_or_else(|| panic!("{to} was taken")).to_string();
        assert!(error.starts_with(wanted), "{error}, wanted {wanted}");
        let listed = import(&format!("[{LEGACY},{spoiled}]")).err().unwrap();
        assert!(listed.place().unwrap().starts_with("[1]"), "{listed}");
    }
    let long = DUAL.replacen("Xbox", &"x".repeat(249), 1);
    assert_eq!(import(&long).err().unwrap().to_string(), "name: is longer than 248 octets");
}

#[test]
fn records_of_the_store_are_held_to_their_names() {
    let record = |name: &str, value: &str| format!("{{{}:{value}}}", serde_json::to_string(name).unwrap());
    let packed = serde_json::to_string(DUAL.trim_end()).unwrap();
    let good = "bonding-data:000000000000004d";
    for value in [&packed, DUAL] {
        assert_eq!(import(&record(good, value)).unwrap().adapters[0].bonds.len(), 1);
    }
    let table = [
        ("bonding-data:000000000000004e", packed.as_str(), "bonding-data:000000000000004e: does not end in"),
        ("bonding-data:77", &packed, "a record with an odd name: does not end in"),
        (good, "\"{\"", "bonding-data:000000000000004d: holds a text of which the input is not valid JSON"),
        (good, "\"{}\"", "bonding-data:000000000000004d.hostAddress: is missing"),
        ("host-data:00:1A:7D:DA:71:11", "{\"irk\":null}", "a record with an odd name: does not end in"),
        (
            "host-data:[address (public) 00:1A:7D:DA:71:11]",
            "{}",
            "host-data:[address (public) 00:1A:7D:DA:71:11]: is no host data",
        ),
    ];
    for (name, value, wanted) in table {
        let error = import(&record(name, value)).err().unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(error.starts_with(wanted), "{error}, wanted {wanted}");
    }
    let spoiled = packed.replacen("\\\"ediv\\\":0", "\\\"ediv\\\":1", 1);
    let error = import(&record(good, &spoiled)).err().unwrap();
    assert_eq!(error.place(), Some("bonding-data:000000000000004d.le.peerLtk.ediv"));
}

#[test]
fn one_bad_record_does_not_cost_the_others() {
    let bad = LEGACY.replacen("\"ediv\":36159,", "", 1);
    let listed = format!("[{DUAL},{bad},{RANDOM},{DUAL}]");
    let options = ImportOptions { salvage: true, ..ImportOptions::default() };
    let imported = format::import(FormatId::Fuchsia, Input::Document(listed.as_bytes()), &options).unwrap();
    let refused: Vec<_> = imported.report.refused.iter().map(|refused| refused.place.as_str()).collect();
    assert_eq!(refused, ["[1].le.peerLtk.ediv", "[3]"], "the second of one peer is refused, too");
    assert_eq!(imported.adapters[0].bonds.len(), 2);
}

#[test]
fn peers_with_one_number_keep_their_bonds_and_get_different_numbers() {
    let twin = RANDOM.replacen("\"identifier\":1234", "\"identifier\":77", 1);
    let imported = import(&format!("[{DUAL},{twin}]")).unwrap();
    assert_eq!(imported.report.peers[1].dropped[0].field, "identifier");
    let mut bonds = imported.adapters[0].bonds.clone();
    for bond in &mut bonds {
        bond.metadata.details.as_mut().unwrap().identifier = Some(77);
    }
    let exported = round_trip::export(FormatId::Fuchsia, &bonds, &AdapterRecord::default(), &[]);
    let parsed: Vec<serde_json::Value> = serde_json::from_str(text(&exported)).unwrap();
    assert_eq!(parsed[0]["identifier"], 77);
    assert_ne!(parsed[1]["identifier"], 77);
    let again = round_trip::export(FormatId::Fuchsia, &bonds, &AdapterRecord::default(), &[]);
    assert_eq!(text(&again), text(&exported), "the same in each export");
}

#[test]
fn fields_that_the_service_passes_over_come_back_where_they_were() {
    let odd = DUAL.replacen("\"csrk\":null}", "\"csrk\":null,\"later\":[1,{\"a\":null}]}", 1).replacen(
        "fb\"]}}",
        "fb\"],\"more\":true},\"extra\":\"\\\"}\"}",
        1,
    );
    assert_ne!(odd.len(), DUAL.len());
    let bonds = import(&odd).unwrap().adapters.remove(0).bonds;
    assert_eq!(bonds[0].metadata.details.as_ref().unwrap().opaque.len(), 3);
    let exported =
        round_trip::export(FormatId::Fuchsia, &bonds, &AdapterRecord::default(), &[("form", "object")]);
    assert_eq!(text(&exported), odd.trim_end());
    let alias = crate::bond::OpaqueItem {
        format: "fuchsia".to_owned(),
        name: "le.peerIrk".to_owned(),
        value: zeroize::Zeroizing::new(b"1".to_vec()),
    };
    let mut bonds = bonds;
    bonds[0].metadata.details.as_mut().unwrap().opaque = vec![alias];
    let exported =
        round_trip::export(FormatId::Fuchsia, &bonds, &AdapterRecord::default(), &[("form", "object")]);
    assert_eq!(text(&exported), DUAL.trim_end(), "an item never stands for a key");
}

#[test]
fn a_name_cannot_break_out_of_its_field() {
    let mut bond = secure_bond("C0:FF:EE:00:00:01", 1);
    bond.metadata.name = Some("\",\"le\":null}\n\u{0}\\".to_owned());
    let bonds = [bond];
    for form in ["list", "object", "store"] {
        let back =
            assert_round_trip(FormatId::Fuchsia, &bonds, &AdapterRecord::default(), &[("form", form)], &[]);
        assert_eq!(back.adapters[0].bonds[0].metadata.name, bonds[0].metadata.name);
    }
}

#[test]
fn too_many_services_are_cut_aloud() {
    let service = "\"00001124-0000-1000-8000-00805f9b34fb\"";
    let many = DUAL.replacen(service, &vec![service; 70].join(","), 1);
    let imported = import(&many).unwrap();
    assert_eq!(imported.report.peers[0].dropped[0].field, "bredr_services");
    let details = imported.adapters[0].bonds[0].metadata.details.as_ref().unwrap();
    assert_eq!(details.bredr_services.len(), 64);
}

proptest! {
    #[test]
    fn what_is_written_comes_back_less_the_declared_losses(bonds in bonds(), record in record(), store in any::<bool>()) {
        let form = if store { "store" } else { "list" };
        assert_round_trip(FormatId::Fuchsia, &bonds.0, &record, &[("form", form)], &[]);
    }
}

#[test]
fn an_export_is_one_document() {
    let exported = round_trip::export(FormatId::Fuchsia, &[], &AdapterRecord::default(), &[]);
    assert!(matches!(exported.content, Content::Document(_)));
    assert_eq!(text(&exported), "[]");
}
