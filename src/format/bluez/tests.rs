use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::bond::{AdapterRecord, BondTable, OpaqueItem, PeerAddress, PeerAddressType};
use crate::format;
use crate::format::testing::assert_fixture;
use crate::format::testing::bonds::{NOW, bonds, record};
use crate::format::testing::round_trip::{self, ADAPTER, assert_round_trip, import_back};

const FORMAT: FormatId = FormatId::Bluez;

type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

macro_rules! case {
    ($name:literal, [$($path:literal),*]) => {
        (
            $name,
            &[$(($path, include_str!(concat!("../../../tests/fixtures/formats/bluez/", $name, "/", $path)))),*],
            include_str!(concat!("../../../tests/fixtures/formats/bluez/", $name, "/expected.json")),
        )
    };
}

const CASES: [Case; 6] = [
    case!(
        "tree_newest",
        [
            "00:1A:7D:DA:71:11/5C:BA:37:11:22:33/info",
            "00:1A:7D:DA:71:11/60:AB:D2:40:51:62/info",
            "00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info",
            "00:1A:7D:DA:71:11/D4:12:43:9A:BC:DE/info",
            "00:1A:7D:DA:71:11/E4:9F:64:0B:E8:1C/info"
        ]
    ),
    case!(
        "tree_5_66",
        [
            "00:1A:7D:DA:71:11/5C:BA:37:11:22:33/info",
            "00:1A:7D:DA:71:11/60:AB:D2:40:51:62/info",
            "00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info",
            "00:1A:7D:DA:71:11/D4:12:43:9A:BC:DE/info",
            "00:1A:7D:DA:71:11/E4:9F:64:0B:E8:1C/info"
        ]
    ),
    case!("identity_irk", ["00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info", "00:1A:7D:DA:71:11/identity"]),
    case!("unpaired_device", ["00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info"]),
    case!("bad_encsize_255", ["00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info"]),
    case!("bad_short_key", ["00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info"]),
];

const MOUSE: &str = CASES[0].1[4].1;

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, content) in files {
        tree.insert(path, Zeroizing::new(content.as_bytes().to_vec())).unwrap();
    }
    tree
}

fn options() -> ImportOptions {
    ImportOptions { now: NOW, ..ImportOptions::default() }
}

fn import(files: &[(&str, &str)]) -> Result<Imported, FormatError> {
    format::import(FORMAT, Input::Tree(&tree(files)), &options())
}

/// Reads one `info` of a peer with that address.
fn info(peer: &str, content: &str) -> Result<Imported, FormatError> {
    import(&[(&format!("{ADAPTER}/{peer}/info"), content)])
}

fn record_of(imported: &Imported) -> AdapterRecord {
    let local_identity = imported.adapters[0].local_identity.clone();
    AdapterRecord { local_identity, ..AdapterRecord::default() }
}

fn written(bonds: &[Bond], record: &AdapterRecord) -> Exported {
    round_trip::export(FORMAT, bonds, record, &[])
}

fn tree_of(exported: &Exported) -> &Tree {
    let Content::Tree(tree) = &exported.content else { panic!("it is a folder") };
    tree
}

#[test]
fn every_fixture_is_taken_or_refused_as_it_should_be() {
    for (name, files, wanted) in CASES {
        let tree = tree(files);
        assert_fixture(name, FORMAT, Input::Tree(&tree), &options(), wanted);
        let archive = tree.to_tar().unwrap();
        assert_fixture(name, FORMAT, Input::Document(&archive), &options(), wanted);
    }
}

#[test]
fn the_files_of_the_real_program_come_back_octet_for_octet() {
    for (name, files, _) in &CASES[..3] {
        let imported = import(files).unwrap();
        let exported = written(&imported.adapters[0].bonds, &record_of(&imported));
        let found = tree_of(&exported);
        assert_eq!(found.len(), files.len(), "{name}");
        for (path, content) in *files {
            let found = std::str::from_utf8(found.get(path).unwrap()).unwrap();
            assert_eq!(found, *content, "{name}: {path}");
        }
        assert!(exported.report.is_lossless(), "{name}: {:?}", exported.report);
    }
}

#[test]
fn a_folder_is_known_by_its_content_and_so_are_an_archive_and_a_single_file() {
    let whole = tree(CASES[0].1);
    assert_eq!(format::detect(Input::Tree(&whole)), Ok(FORMAT));
    assert_eq!(format::detect(Input::Document(&whole.to_tar().unwrap())), Ok(FORMAT));
    assert_eq!(format::detect(Input::Document(MOUSE.as_bytes())), Ok(FORMAT));
    let above = tree(&[(&format!("bluetooth/{ADAPTER}/A4:C1:38:0B:1C:2D/info"), "")]);
    assert_eq!(format::detect(Input::Tree(&above)), Ok(FORMAT));
    for other in [tree(&[("A4:C1:38:0B:1C:2D/info", MOUSE)]), Tree::default()] {
        assert_eq!(format::detect(Input::Tree(&other)), Err(FormatError::Undetected(Vec::new())));
        assert!(matches!(
            format::import(FORMAT, Input::Tree(&other), &options()).err(),
            Some(FormatError::WrongFormat { .. }) | None
        ));
    }
    let unrelated = Input::Document(b"[General]\nName=x\n");
    assert_eq!(format::detect(unrelated), Err(FormatError::Undetected(Vec::new())));
}

#[test]
fn an_empty_folder_is_not_read_as_one_without_bonds() {
    let error = format::import(FORMAT, Input::Tree(&Tree::default()), &options()).err().unwrap();
    assert!(error.to_string().contains("holds no adapter's folder"), "{error}");
}

#[test]
fn other_files_of_the_folder_are_passed_over() {
    let path = format!("{ADAPTER}/E4:9F:64:0B:E8:1C/info");
    let files = [
        (path.as_str(), MOUSE),
        ("00:1A:7D:DA:71:11/cache/E4:9F:64:0B:E8:1C", "\0nonsense"),
        ("00:1A:7D:DA:71:11/settings", "nonsense"),
        ("00:1A:7D:DA:71:11/not-an-address/info", "nonsense"),
        ("mesh/node", "nonsense"),
    ];
    let imported = import(&files).unwrap();
    assert_eq!((imported.adapters.len(), imported.adapters[0].bonds.len()), (1, 1));
}

#[test]
fn a_single_file_needs_its_peer_from_the_caller() {
    let read = |peer: &[(&str, &str)]| {
        let options = ImportOptions {
            adapter: Some(ADAPTER.parse().unwrap()),
            options: round_trip::options(peer),
            ..options()
        };
        format::import(FORMAT, Input::Document(MOUSE.as_bytes()), &options)
    };
    let imported = read(&[("peer", "e4:9f:64:0b:e8:1c")]).unwrap();
    let bond = &imported.adapters[0].bonds[0];
    assert_eq!(format!("{:?}", bond.peer), "E4:9F:64:0B:E8:1C/random");
    assert_eq!(imported.adapters[0].address.unwrap().to_string(), ADAPTER);
    assert!(read(&[]).err().unwrap().to_string().starts_with("option peer is missing"));
    assert_eq!(read(&[("peer", "mouse")]).err().unwrap().to_string(), "option peer is no address");
}

#[test]
fn what_bluetoothd_would_bend_or_drop_is_refused_by_its_place() {
    let spoiled = [
        ("AddressType=static", "AddressType=random", "[General] AddressType"),
        ("AddressType=static\n", "", "[General] AddressType"),
        ("Name=BT5.0 Mouse", "Name=a\\q", "[General] Name"),
        ("Trusted=true", "Trusted=yes", "[General] Trusted"),
        ("Services=", "Services=180f;", "[General] Services"),
        ("Key=B320", "Key=B32", "[LongTermKey] Key"),
        ("Key=B320", "Key=Z320", "[LongTermKey] Key"),
        ("Key=B3209A83306E1CEB62D634172B7DB484", "Key=00000000000000000000000000000000", "[LongTermKey] Key"),
        ("Key=B3209A83306E1CEB62D634172B7DB484", "Key=BF01FB9D4EF3BC36D874F5394138684C", "[LongTermKey] Key"),
        (
            "Key=BC3A799FC6263560424AC414A1C88C25",
            "Key=A599BAE4E17CA618228E0756B4E85F01",
            "[IdentityResolvingKey] Key",
        ),
        ("Rand=4383710011340050161\n", "", "[LongTermKey] Rand"),
        ("Rand=4383710011340050161", "Rand=18446744073709551616", "[LongTermKey] Rand"),
        ("Rand=4383710011340050161", "Rand=1e3", "[LongTermKey] Rand"),
        ("Rand=4383710011340050161", "Rand=0x00", "[LongTermKey] Rand"),
        ("EDiv=36159", "EDiv=65536", "[LongTermKey] EDiv"),
        ("EDiv=36159", "EDiv=-1", "[LongTermKey] EDiv"),
        ("EncSize=16\nEDiv=36159", "EncSize=6\nEDiv=36159", "[LongTermKey] EncSize"),
        ("EncSize=16\nEDiv=36159", "EncSize=17\nEDiv=36159", "[LongTermKey] EncSize"),
        (
            "Authenticated=1\nEncSize=16\nEDiv=36159",
            "Authenticated=true\nEncSize=16\nEDiv=36159",
            "[LongTermKey] Authenticated",
        ),
        (
            "Authenticated=1\nEncSize=16\nEDiv=36159",
            "Authenticated=5\nEncSize=16\nEDiv=36159",
            "[LongTermKey] Authenticated",
        ),
        (
            "Authenticated=1\nEncSize=16\nEDiv=36159",
            "Authenticated=2\nEncSize=16\nEDiv=36159",
            "[LongTermKey] EDiv",
        ),
        ("[SlaveLongTermKey]\nKey=E5", "[SlaveLongTermKey]\nKey=E6", "[SlaveLongTermKey] Key"),
        ("Counter=0", "Counter=4294967296", "[LocalSignatureKey] Counter"),
        ("[LocalSignatureKey]\n", "[LocalSignatureKey]\nKey=00\n", "[LocalSignatureKey] Key"),
        ("Blocked=false", "Blocked", "line 6"),
    ];
    for (good, bad, place) in spoiled {
        assert!(MOUSE.contains(good), "{good}");
        let error = info("E4:9F:64:0B:E8:1C", &MOUSE.replacen(good, bad, 1)).err();
        let place = format!("{ADAPTER}/E4:9F:64:0B:E8:1C/info {place}");
        assert_eq!(error.as_ref().and_then(|error| error.place()), Some(place.as_str()), "{bad}: {error:?}");
        let text = error.unwrap().to_string();
        assert!(!text.contains("B3209A83") && !text.contains("4383710011340050161"), "{text}");
    }
    let long = MOUSE.replace("BT5.0 Mouse", &"x".repeat(249));
    assert!(
        info("E4:9F:64:0B:E8:1C", &long).err().unwrap().to_string().ends_with("is longer than 248 octets")
    );
    let with_link_key =
        format!("{MOUSE}\n[LinkKey]\nKey=0E38EBDC8905B9555B23AF23E348F72C\nType=4\nPINLength=0\n");
    let error = info("E4:9F:64:0B:E8:1C", &with_link_key).err().unwrap();
    assert!(error.place().unwrap().ends_with("[LinkKey] Key"), "{error}");
}

#[test]
fn old_spellings_that_bluetoothd_takes_are_taken() {
    let old = MOUSE
        .replace("Key=B3209A83306E1CEB62D634172B7DB484", "Key=0xb3209a83306e1ceb62d634172b7db484")
        .replace("Rand=4383710011340050161", "Rand=0xf14e3f880711d63c")
        .replace('\n', "\r\n");
    let (old, new) = (info("E4:9F:64:0B:E8:1C", &old).unwrap(), info("E4:9F:64:0B:E8:1C", MOUSE).unwrap());
    assert!(old.adapters[0].bonds == new.adapters[0].bonds);
    let one_name = MOUSE.split("[PeripheralLongTermKey]").next().unwrap().to_owned()
        + "[SlaveLongTermKey]"
        + MOUSE.split("[SlaveLongTermKey]").nth(1).unwrap();
    assert!(info("E4:9F:64:0B:E8:1C", &one_name).unwrap().adapters[0].bonds == new.adapters[0].bonds);
}

#[test]
fn a_secure_key_that_other_tools_put_elsewhere_is_taken_once() {
    let ring = CASES[0].1[3].1;
    let (before, after) = ring.split_once("[PeripheralLongTermKey]").unwrap();
    let (key, rest) = after.split_once("\n[SlaveLongTermKey]").unwrap();
    for moved in [
        format!("{before}[LongTermKey]{key}\n[SlaveLongTermKey]{rest}"),
        format!("{ring}\n[LongTermKey]{key}"),
    ] {
        let imported = info("D4:12:43:9A:BC:DE", &moved).unwrap();
        assert_eq!(imported.adapters[0].bonds[0].ltks().len(), 1);
        assert!(imported.adapters[0].superseded.is_empty());
        assert_eq!(imported.report.peers[0].assumed.len(), 1);
    }
}

#[test]
fn a_peer_under_a_private_address_is_refused_and_can_be_looked_at() {
    let error = info("44:9F:64:0B:E8:1C", MOUSE).err().unwrap();
    assert_eq!(error.place(), Some("00:1A:7D:DA:71:11/44:9F:64:0B:E8:1C/info [General] AddressType"));
    let path = format!("{ADAPTER}/44:9F:64:0B:E8:1C/info");
    let options = ImportOptions { keep_unusable: true, ..options() };
    let imported = format::import(FORMAT, Input::Tree(&tree(&[(&path, MOUSE)])), &options).unwrap();
    assert_eq!(imported.adapters[0].unusable[0].address, "44:9F:64:0B:E8:1C");
}

#[test]
fn one_bad_peer_does_not_cost_the_others_when_salvaging() {
    let files = [
        (format!("{ADAPTER}/A4:C1:38:0B:1C:2D/info"), CASES[5].1[0].1),
        (format!("{ADAPTER}/E4:9F:64:0B:E8:1C/info"), MOUSE),
    ];
    let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    let options = ImportOptions { salvage: true, ..options() };
    let imported = format::import(FORMAT, Input::Tree(&tree(&files)), &options).unwrap();
    assert_eq!(imported.adapters[0].bonds.len(), 1);
    assert_eq!(
        imported.report.refused[0].place,
        format!("{ADAPTER}/A4:C1:38:0B:1C:2D/info [LongTermKey] Key")
    );
    assert_eq!(imported.report.peers[0].taken, ["ltk", "irk", "csrk_local", "csrk_remote", "name"]);
}

#[test]
fn an_adapter_with_a_random_identity_is_read_and_two_folders_of_one_are_not() {
    let path = format!("static-C0{}/E4:9F:64:0B:E8:1C/info", &ADAPTER[2..]);
    let imported = import(&[(&path, MOUSE)]).unwrap();
    assert_eq!(imported.adapters[0].address.unwrap().to_string(), "C0:1A:7D:DA:71:11");
    assert_eq!(imported.report.notes.len(), 1);
    let twice = [(format!("static-{ADAPTER}/identity"), ""), (format!("{ADAPTER}/identity"), "")];
    let error = import(&twice.each_ref().map(|(path, content)| (path.as_str(), *content))).err().unwrap();
    assert_eq!(error.to_string(), "00:1A:7D:DA:71:11: has two folders");
}

#[test]
fn what_has_no_meaning_here_goes_back_to_its_place() {
    let foreign = MOUSE
        .replace("CablePairing=false", "CablePairing=false\nWakeAllowed=true")
        .replace("[LocalSignatureKey]", "[DeviceID]\nSource=2\nVendor=1118\n\n[LocalSignatureKey]")
        .replace("EDiv=36159\nRand=4383710011340050161", "EDiv=36159\nRand=4383710011340050161\nNovel=a\\nb");
    let imported = info("E4:9F:64:0B:E8:1C", &foreign).unwrap();
    let exported = written(&imported.adapters[0].bonds, &AdapterRecord::default());
    let path = format!("{ADAPTER}/E4:9F:64:0B:E8:1C/info");
    let text = std::str::from_utf8(tree_of(&exported).get(&path).unwrap()).unwrap();
    for line in ["CablePairing=false\nWakeAllowed=true\nServices=", "Rand=4383710011340050161\nNovel=a\\nb\n"]
    {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("\n[DeviceID]\nSource=2\nVendor=1118\n"), "{text}");
    assert!(exported.report.is_lossless());
    let again = import_back(FORMAT, &exported, &[]);
    assert!(again.adapters[0].bonds[0].metadata.details.is_some());
}

#[test]
fn a_kept_item_cannot_stand_in_for_a_key() {
    let mut bond = info("E4:9F:64:0B:E8:1C", MOUSE).unwrap().adapters[0].bonds[0].clone();
    let before = bond.clone();
    let item = |name: &str, value: &str| OpaqueItem {
        format: "bluez".to_owned(),
        name: name.to_owned(),
        value: Zeroizing::new(value.as_bytes().to_vec()),
    };
    let hostile = vec![
        item("LongTermKey", "Key=00\n"),
        item("General", "Trusted=false\n"),
        item("x]\n[LinkKey", "Key=00\n"),
        item("Novel", "a=b\n[LinkKey]\nKey=00\n"),
        item("Novel", "no equals sign"),
        item("LinkKey", "Extra=1\n"),
    ];
    let count = hostile.len();
    bond.metadata.details.as_mut().unwrap().opaque = hostile;
    let exported = written(&[bond], &AdapterRecord::default());
    assert_eq!(exported.report.peers[0].dropped.len(), count);
    let back = import_back(FORMAT, &exported, &[]).adapters.remove(0).bonds.remove(0);
    assert!(back.same_keys(&before));
}

#[test]
fn no_name_breaks_out_of_its_line() {
    let mut bond = info("E4:9F:64:0B:E8:1C", MOUSE).unwrap().adapters[0].bonds[0].clone();
    for name in ["x\n[LinkKey]\nKey=00112233445566778899AABBCCDDEEFF\n", " \t[General]", "\\", "a\rb", "é"] {
        bond.metadata.name = Some(name.to_owned());
        let exported = written(&[bond.clone()], &AdapterRecord::default());
        assert!(exported.report.is_lossless());
        let back = import_back(FORMAT, &exported, &[]).adapters.remove(0).bonds.remove(0);
        assert_eq!(back.metadata.name.as_deref(), Some(name));
        assert!(back.same_keys(&bond));
    }
    bond.metadata.name = Some("\u{1b}[31m".to_owned());
    let exported = written(&[bond], &AdapterRecord::default());
    assert_eq!(exported.report.peers[0].dropped[0].field, "name");
}

#[test]
fn a_technology_that_the_file_named_is_named_again() {
    let headphones = CASES[0].1[1].1;
    let dual = headphones
        .replace("SupportedTechnologies=BR/EDR;", "AddressType=public\nSupportedTechnologies=BR/EDR;LE;");
    let imported = info("60:AB:D2:40:51:62", &dual).unwrap();
    let exported = written(&imported.adapters[0].bonds, &AdapterRecord::default());
    let found = tree_of(&exported).get(&format!("{ADAPTER}/60:AB:D2:40:51:62/info")).unwrap();
    assert_eq!(std::str::from_utf8(found).unwrap(), dual);
}

#[test]
fn of_two_peers_with_one_address_the_second_needs_consent() {
    let bond = info("E4:9F:64:0B:E8:1C", MOUSE).unwrap().adapters[0].bonds[0].clone();
    let mut public = Bond::new(
        PeerAddress::parse("E4:9F:64:0B:E8:1C", PeerAddressType::Public).unwrap(),
        bond.metadata.clone(),
    );
    public.irk.clone_from(&bond.irk);
    let table: BondTable = round_trip::table(&[bond.clone(), public.clone()]);
    let record = AdapterRecord::default();
    let adapter = ExportAdapter {
        address: Some(ADAPTER.parse().unwrap()),
        record: &record,
        table: &table,
        peers: None,
    };
    let error = format::export(FORMAT, &[adapter], &ExportOptions::default()).err();
    assert_eq!(error, Some(FormatError::LosesPeers(vec![bond.peer])));
}

#[test]
fn an_adapter_of_which_nothing_is_written_is_named() {
    let exported = written(&[], &AdapterRecord::default());
    assert!(tree_of(&exported).is_empty());
    assert!(exported.report.notes[0].contains(ADAPTER));
}

proptest! {
    #[test]
    fn an_export_comes_back_less_what_its_report_names(bonds in bonds(), record in record()) {
        // A folder without files is none.
        prop_assume!(!bonds.0.is_empty() || record.local_identity.is_some());
        let imported = assert_round_trip(FORMAT, &bonds.0, &record, &[], &[]);
        prop_assert!(imported.adapters[0].local_identity == record.local_identity);
    }
}
