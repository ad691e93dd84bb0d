use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::bond::testing::{legacy_ltk, metadata};
use crate::bond::{
    AdapterRecord, Bond, KeyType, OpaqueItem, PeerAddress, PeerAddressType, PeerDetails, Role,
};
use crate::format;
use crate::format::testing::assert_fixture;
use crate::format::testing::bonds::{NOW, bonds, record};
use crate::format::testing::round_trip::{self, assert_round_trip, import_back};

const FORMAT: FormatId = FormatId::Windows;

macro_rules! case {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../tests/fixtures/formats/windows/", $name, "/bthport.reg")),
            include_str!(concat!("../../../tests/fixtures/formats/windows/", $name, "/expected.json")),
        )
    };
}

const CASES: [(&str, &str, &str); 3] =
    [case!("reged_export"), case!("hivex_export"), case!("bad_no_signature")];

const REGED: &str = CASES[0].1;

fn import_with(text: &str, words: &[(&str, &str)]) -> Result<Imported, FormatError> {
    let options = ImportOptions { now: NOW, options: round_trip::options(words), ..ImportOptions::default() };
    format::import(FORMAT, Input::Document(text.as_bytes()), &options)
}

fn import(text: &str) -> Result<Imported, FormatError> {
    import_with(text, &[])
}

fn bond_of(imported: &Imported, peer: &str) -> Bond {
    let mut bonds = imported.adapters.iter().flat_map(|adapter| &adapter.bonds);
    bonds.find(|bond| bond.peer.to_string() == peer).unwrap().clone()
}

fn wide(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xFF, 0xFE].into_iter().chain(units).collect()
}

fn record_of(imported: &Imported) -> AdapterRecord {
    let adapter = &imported.adapters[0];
    AdapterRecord {
        local_identity: adapter.local_identity.clone(),
        opaque: adapter.opaque.clone(),
        ..AdapterRecord::default()
    }
}

fn text_of(exported: &Exported) -> String {
    registry::decoded(exported.document().unwrap()).unwrap().to_string()
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    let options = ImportOptions { now: NOW, ..ImportOptions::default() };
    for (name, text, wanted) in CASES {
        assert_fixture(name, FORMAT, Input::Document(text.as_bytes()), &options, wanted);
        assert_fixture(name, FORMAT, Input::Document(&wide(text)), &options, wanted);
        let other_ends = text.replace("\r\n", "\n");
        assert_fixture(name, FORMAT, Input::Document(other_ends.as_bytes()), &options, wanted);
    }
}

#[test]
fn what_the_registry_does_not_say_is_reported() {
    let imported = import(REGED).unwrap();
    let assumed = |peer: &str| {
        let report = imported.report.peer(bond_of(&imported, peer).peer).unwrap();
        report.assumed.iter().map(|assumed| assumed.field).collect::<Vec<_>>()
    };
    assert_eq!(assumed("A4:C1:38:0B:1C:2D"), ["key_type", "ltk"]);
    assert_eq!(assumed("5C:BA:37:11:22:33"), ["key_type", "irk", "link_key_type"]);
    assert_eq!(assumed("E4:9F:64:0B:E8:1C"), ["key_type", "ltk", "irk", "csrk_local", "csrk_remote"]);
    assert_eq!(imported.report.notes.len(), 1, "the order of the adapter's own IRK");
}

#[test]
fn a_registry_file_is_known_by_its_first_line() {
    for bytes in [REGED.as_bytes().to_vec(), wide(REGED)] {
        assert_eq!(format::detect(Input::Document(&bytes)), Ok(FORMAT));
    }
    assert_eq!(
        format::detect(Input::Document(CASES[2].1.as_bytes())),
        Err(FormatError::Undetected(Vec::new()))
    );
}

#[test]
fn a_file_without_bonds_of_an_adapter_is_not_read_as_one_with_none() {
    let text =
        format!("{}\r\n\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\Other]\r\n\"a\"=nonsense\r\n", registry::SIGNATURE);
    assert!(matches!(import(&text).err(), Some(FormatError::WrongFormat { .. })));
}

#[test]
fn the_caller_can_say_what_the_registry_does_not() {
    let words = [("authenticated", "yes"), ("link_key_type", "8"), ("irk_order", "as_is")];
    let (chosen, usual) = (import_with(REGED, &words).unwrap(), import(REGED).unwrap());
    let (bond, other) = (bond_of(&chosen, "5C:BA:37:11:22:33"), bond_of(&usual, "5C:BA:37:11:22:33"));
    assert_eq!(bond.ltks()[0].key_type, KeyType::P256Authenticated);
    assert_eq!(bond.link_key.unwrap().key_type.code(), 8);
    let mut octets = *bond.irk.unwrap().key.expose();
    octets.reverse();
    assert!(octets == *other.irk.unwrap().key.expose());
    assert!(chosen.report.peer(bond.peer).unwrap().assumed.is_empty());
    assert_eq!(bond_of(&chosen, "A4:C1:38:0B:1C:2D").ltks()[0].key_type, KeyType::LegacyAuthenticated);
}

#[test]
fn an_address_without_type_is_refused_unless_the_caller_knows() {
    let text = REGED.replacen("\"LEAddressType\"=dword:00000000\r\n", "", 2);
    let error = import(&text).err().unwrap();
    assert_eq!(error.place(), Some("[Keys\\001a7dda7111\\a4c1380b1c2d] AddressType"));
    let imported = import_with(&text, &[("address_type", "public")]).unwrap();
    let report = imported.report.peer(bond_of(&imported, "A4:C1:38:0B:1C:2D").peer).unwrap();
    assert!(report.assumed.iter().any(|assumed| assumed.field == "address_type"));
    assert!(import_with(&text, &[("address_type", "random")]).is_err(), "it would be a private one");
}

#[test]
fn the_name_of_a_key_gives_way_to_the_address_in_it() {
    let text = REGED.replace("Keys\\001a7dda7111\\d412439abcde", "Keys\\001a7dda7111\\7081940dfbaa");
    let imported = import(&text).unwrap();
    let bond = bond_of(&imported, "D4:12:43:9A:BC:DE");
    assert!(
        imported.report.peer(bond.peer).unwrap().assumed.iter().any(|assumed| assumed.field == "address")
    );
}

#[test]
fn what_cannot_be_a_bond_is_refused_by_its_place() {
    let mouse = "[Keys\\001a7dda7111\\e49f640be81c]";
    let spoiled = [
        ("\"LTK\"=hex:b3,20", "\"LTK\"=hex:b3", mouse, "LTK"),
        ("\"LTK\"=hex:b3,20", "\"LTK\"=hex:b3,2", mouse, "LTK"),
        ("\"LTK\"=hex:b3,20", "\"LTK\"=hex(b):b3,20", mouse, "LTK"),
        (
            "hex:b3,20,9a,83,30,6e,1c,eb,62,d6,34,17,2b,7d,b4,84",
            "hex:00,00,00,00,00,00,00,00,00,00,00,00,00,00,00,00",
            mouse,
            "LTK",
        ),
        (
            "hex:b3,20,9a,83,30,6e,1c,eb,62,d6,34,17,2b,7d,b4,84",
            "hex:bf,01,fb,9d,4e,f3,bc,36,d8,74,f5,39,41,38,68,4c",
            mouse,
            "LTK",
        ),
        (
            "hex:25,8c,c8,a1,14,c4,4a,42,60,35,26,c6,9f,79,3a,bc",
            "hex:01,5f,e8,b4,56,07,8e,22,18,a6,7c,e1,e4,ba,99,a5",
            mouse,
            "IRK",
        ),
        ("\"EDIV\"=dword:00008d3f", "\"EDIV\"=dword:00010000", mouse, "EDIV"),
        ("\"EDIV\"=dword:00008d3f\r\n", "", mouse, "EDIV"),
        ("\"ERand\"=hex(b):f1,4e,3f,88,07,11,d6,3c\r\n", "", mouse, "ERand"),
        ("\"ERand\"=hex(b):f1,4e,3f,88,07,11,d6,3c", "\"ERand\"=dword:00000000", mouse, "ERand"),
        (
            "\"OutboundSignCounter\"=dword:00000000",
            "\"OutboundSignCounter\"=hex(b):00",
            mouse,
            "OutboundSignCounter",
        ),
        (
            "\"AddressType\"=dword:00000001",
            "\"AddressType\"=dword:00000002",
            "[Keys\\001a7dda7111\\d412439abcde]",
            "AddressType",
        ),
        (
            "hex(b):de,bc,9a,43,12,d4,00,00",
            "hex(b):de,bc,9a,43,12,d4,01,00",
            "[Keys\\001a7dda7111\\d412439abcde]",
            "Address",
        ),
        ("\"60abd2405162\"=hex:0e,", "\"60abd2405162\"=hex:", "[Keys\\001a7dda7111]", "60abd2405162"),
        ("\"CentralIRK\"=hex:98,", "\"CentralIRK\"=hex:", "[Keys\\001a7dda7111]", "CentralIRK"),
        ("\"Name\"=hex:42", "\"Name\"=hex:ff", "[Devices\\e49f640be81c]", "Name"),
    ];
    for (good, bad, key, value) in spoiled {
        assert!(REGED.contains(good), "{good}");
        let error = import(&REGED.replacen(good, bad, 1)).err();
        let place = format!("{key} {value}");
        assert_eq!(error.as_ref().and_then(|error| error.place()), Some(place.as_str()), "{bad}: {error:?}");
        assert!(!error.unwrap().to_string().contains("b3,20"));
    }
    for length in ["00000006", "00000011", "000000ff"] {
        let text = REGED.replace("\"KeyLength\"=dword:00000010", &format!("\"KeyLength\"=dword:{length}"));
        assert!(import(&text).err().unwrap().place().unwrap().ends_with("KeyLength"));
    }
    let long = format!("\"Name\"=\"{}\"", "x".repeat(249));
    let long = REGED.replace("\"Name\"=hex:42,54,35,2e,30,20,4d,6f,75,73,65,00", &long);
    assert!(import(&long).err().unwrap().to_string().ends_with("is longer than 248 octets"));
}

#[test]
fn lines_that_would_change_what_is_read_are_refused() {
    for (good, bad, reason) in [
        ("\"KeyLength\"=dword:00000010", "\"LTK\"=-", "takes a value away, and that is no bond"),
        ("\"KeyLength\"=dword:00000010", "\"ltk\"=hex:00", "is a value that came before"),
        ("\"KeyLength\"=dword:00000010", "KeyLength=16", "is neither a [key] nor a \"name\"=value"),
        (
            "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\BTHPORT\\Parameters\\Keys\\001a7dda7111\\",
            "[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\BTHPORT\\Parameters\\Keys\\001a7dda7111\\",
            "takes a key away, and that is no bond",
        ),
    ] {
        let error = import(&REGED.replacen(good, bad, 1)).err().unwrap();
        let Some((place, found)) =
            error.to_string().split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned()))
        else {
            panic!("{error}")
        };
        assert!(place.starts_with("line "), "{place}");
        assert_eq!(found, reason);
    }
}

#[test]
fn of_several_control_sets_the_current_one_is_read() {
    let (first, rest) = REGED.split_once("\r\n").unwrap();
    let current =
        rest.replace("ControlSet001", "CurrentControlSet").replace("\"LTK\"=hex:b3,20", "\"LTK\"=hex:b3,21");
    let imported = import(&format!("{first}\r\n{rest}{current}")).unwrap();
    assert_eq!(imported.adapters.len(), 1);
    assert_eq!(bond_of(&imported, "E4:9F:64:0B:E8:1C").ltks()[0].key.expose()[1], 0x21);
    assert_eq!(imported.report.notes.iter().filter(|note| note.contains("several control sets")).count(), 1);
}

#[test]
fn a_length_of_zero_means_sixteen() {
    let imported = import(&REGED.replace("dword:00000010", "dword:00000000")).unwrap();
    let bond = bond_of(&imported, "E4:9F:64:0B:E8:1C");
    assert_eq!(bond.ltks()[0].encryption_size.octets(), 16);
}

#[test]
fn one_bad_peer_does_not_cost_the_others_when_salvaging() {
    let text = REGED.replacen("\"LTK\"=hex:b3,20", "\"LTK\"=hex:b3", 1);
    let options = ImportOptions { salvage: true, ..ImportOptions::default() };
    let imported = format::import(FORMAT, Input::Document(text.as_bytes()), &options).unwrap();
    assert_eq!((imported.adapters[0].bonds.len(), imported.report.refused.len()), (4, 1));
}

#[test]
fn a_real_export_comes_back_with_every_value_that_it_had() {
    let imported = import(REGED).unwrap();
    let exported = round_trip::export(
        FORMAT,
        &imported.adapters[0].bonds,
        &record_of(&imported),
        &[("control_set", "ControlSet001")],
    );
    let lines = |text: &str| -> Vec<String> {
        text.replace("\\\r\n  ", "").lines().filter(|line| line.contains('=')).map(str::to_owned).collect()
    };
    let (found, real) = (lines(&text_of(&exported)), lines(REGED));
    for line in &real {
        assert!(found.contains(line), "{line}");
    }
    // Windows leaves the address out of legacy bonds; with it, nothing depends on the device's key.
    assert_eq!(found.len(), real.len() + 4);
    assert!(exported.report.is_lossless(), "{:?}", exported.report);
    assert!(text_of(&exported).starts_with(&format!(
        "{}\r\n\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\",
        registry::SIGNATURE
    )));
}

#[test]
fn irks_turn_round_on_both_ways() {
    let peer = PeerAddress::parse("C0:FF:EE:00:00:01", PeerAddressType::StaticRandom).unwrap();
    let mut octets = [0; 16];
    // This IRK resolves 70:81:94:0D:FB:AA. [CORE Vol 3 Part H D.7]
    hex::decode_to_slice("9b7d390aa610103405adc857a33402ec", &mut octets).unwrap();
    let mut bond = Bond::new(peer, metadata());
    bond.irk = Some(crate::bond::Irk { key: crate::bond::KeyMaterial::new(octets).unwrap() });
    let record = AdapterRecord::default();
    let exported = round_trip::export(FORMAT, &[bond.clone()], &record, &[]);
    assert!(text_of(&exported).contains("\"IRK\"=hex:ec,02,34,a3,57,c8,ad,05,34,10,10,a6,0a,39,7d,9b"));
    assert!(import_back(FORMAT, &exported, &[]).adapters[0].bonds[0].irk == bond.irk);
    let exported = round_trip::export(FORMAT, &[bond.clone()], &record, &[("irk_order", "as_is")]);
    assert!(import_back(FORMAT, &exported, &[("irk_order", "as_is")]).adapters[0].bonds[0].irk == bond.irk);
}

#[test]
fn a_peripheral_s_legacy_key_has_no_place() {
    let peer = PeerAddress::parse("C0:FF:EE:00:00:01", PeerAddressType::Public).unwrap();
    let mut bond = Bond::new(peer, metadata());
    bond.metadata.name = Some("lock".to_owned());
    bond.put_ltk(legacy_ltk(Role::Peripheral, 1));
    let exported = round_trip::export(FORMAT, &[bond.clone()], &AdapterRecord::default(), &[]);
    assert_eq!(exported.report.lost_peers, [peer]);
    bond.put_ltk(legacy_ltk(Role::Central, 2));
    let exported = round_trip::export(FORMAT, &[bond], &AdapterRecord::default(), &[]);
    let report = exported.report.peer(peer).unwrap();
    assert_eq!((report.taken.as_slice(), report.dropped[0].field), (&["ltk", "name"][..], "ltk"));
}

#[test]
fn a_kept_item_cannot_break_out_of_its_line_or_stand_in_for_a_key() {
    let imported = import(REGED).unwrap();
    let before = bond_of(&imported, "E4:9F:64:0B:E8:1C");
    let item = |name: &str, value: &str| OpaqueItem {
        format: "windows".to_owned(),
        name: name.to_owned(),
        value: Zeroizing::new(value.as_bytes().to_vec()),
    };
    let hostile = vec![
        item("ltk", "hex:00"),
        item("Devices\\Name", "hex:00"),
        item("A", "hex:00\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE]"),
        item("A\r\n[B]", "hex:00"),
        item("B", "-"),
        item("C", "\"x\"\r\n\"y\"=\"z\""),
    ];
    let count = hostile.len();
    let mut bond = before.clone();
    bond.metadata.details = PeerDetails { opaque: hostile, ..PeerDetails::default() }.boxed();
    let record = AdapterRecord {
        opaque: vec![item("centralirk", "hex:00"), item("60abd2405162", "hex:00")],
        ..AdapterRecord::default()
    };
    let exported = round_trip::export(FORMAT, &[bond], &record, &[]);
    assert_eq!(exported.report.peers[0].dropped.len(), count);
    assert_eq!(exported.report.notes.len(), 3, "{:?}", exported.report.notes);
    let back = import_back(FORMAT, &exported, &[]);
    assert!(bond_of(&back, "E4:9F:64:0B:E8:1C").same_keys(&before));
    assert_eq!(text_of(&exported).matches("\r\n[").count(), 3);
}

#[test]
fn a_name_is_octets_and_cannot_break_out() {
    let mut bond = bond_of(&import(REGED).unwrap(), "E4:9F:64:0B:E8:1C");
    let name = "x\"\r\n[HKEY_LOCAL_MACHINE\\SOFTWARE]\r\n\"é\"=\"";
    bond.metadata.name = Some(name.to_owned());
    let exported = round_trip::export(FORMAT, &[bond], &AdapterRecord::default(), &[]);
    assert!(!text_of(&exported).contains("SOFTWARE"));
    let back = import_back(FORMAT, &exported, &[]);
    assert_eq!(back.adapters[0].bonds[0].metadata.name.as_deref(), Some(name));
}

proptest! {
    #[test]
    fn an_export_comes_back_less_what_its_report_names(bonds in bonds(), record in record()) {
        let imported = assert_round_trip(FORMAT, &bonds.0, &record, &[], &[]);
        let identity = imported.adapters.first().and_then(|adapter| adapter.local_identity.clone());
        prop_assert!(identity == record.local_identity);
    }
}
