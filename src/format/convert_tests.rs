//! The same five peers stand in a real file of each format: converting one file must give the bonds of the
//! other, less what the one cannot say.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use super::testing::round_trip::{ADAPTER, differences, export, import_back};
use super::{FormatId, ImportOptions, ImportedAdapter, Input, Tree, import};
use crate::bond::{AdapterRecord, Bond, PeerAddress};

const PEERS: [&str; 5] =
    ["A4:C1:38:0B:1C:2D", "D4:12:43:9A:BC:DE", "5C:BA:37:11:22:33", "60:AB:D2:40:51:62", "E4:9F:64:0B:E8:1C"];

const LE_PEERS: &[&str] = &[PEERS[0], PEERS[1], PEERS[2], PEERS[4]];

/// What Fuchsia and BlueZ know besides keys, and nobody else.
const OF_FUCHSIA: &[&str] =
    &["bredr_services", "role_preference", "identifier", "irk_security", "csrk_security", "link_key_size"];
const OF_BLUEZ: &[&str] = &["alias", "trusted", "blocked", "services"];

const LTKS_ONLY: &[&str] = &["irk", "csrk_local", "csrk_remote", "link_key", "conn_param", "name"];

macro_rules! fixture {
    ($($part:expr),+) => {
        include_str!(concat!("../../tests/fixtures/formats/", $($part),+))
    };
}

/// Fuchsia's real file says of the mouse's CSRK that it is authenticated, which the others deny.
const OTHER_IN_FUCHSIA: &str = "csrk_authenticated";

struct Source {
    format: FormatId,
    export_words: &'static [(&'static str, &'static str)],
    /// Peers that stand in the real file.
    peers: &'static [&'static str],
    /// What the format cannot say of a bond, besides what only Fuchsia or BlueZ know.
    lacks: &'static [&'static str],
    knows: &'static [&'static str],
}

const SOURCES: [Source; 7] = [
    Source {
        format: FormatId::Habluetooth,
        export_words: &[],
        peers: LE_PEERS,
        lacks: LTKS_ONLY,
        knows: &[],
    },
    Source { format: FormatId::HaStore, export_words: &[], peers: LE_PEERS, lacks: LTKS_ONLY, knows: &[] },
    Source {
        format: FormatId::Aioble,
        export_words: &[("layout", "U80")],
        peers: &[PEERS[0], PEERS[1], PEERS[4]],
        lacks: &["csrk_authenticated", "csrk_counter", "link_key", "conn_param", "name"],
        knows: &[],
    },
    Source {
        format: FormatId::Fuchsia,
        export_words: &[],
        peers: &PEERS,
        // It has one interval.
        lacks: &["csrk_local", "csrk_counter", "pin_length", "conn_param", OTHER_IN_FUCHSIA],
        knows: OF_FUCHSIA,
    },
    Source { format: FormatId::Bluez, export_words: &[], peers: &PEERS, lacks: &[], knows: OF_BLUEZ },
    Source {
        format: FormatId::Bumble,
        export_words: &[],
        peers: &PEERS,
        lacks: &["csrk_local", "csrk_counter", "pin_length", "conn_param", "name"],
        knows: &[],
    },
    Source {
        format: FormatId::Windows,
        export_words: &[],
        peers: &PEERS,
        lacks: &["ltk", "key_type", "link_key_type", "pin_length", "conn_param", "csrk_authenticated"],
        knows: &[],
    },
];

impl Source {
    fn may_lack(&self, part: &str) -> bool {
        let is_special = OF_FUCHSIA.contains(&part) || OF_BLUEZ.contains(&part);
        self.lacks.contains(&part) || (is_special && !self.knows.contains(&part))
    }

    /// The bonds of the real file.
    fn bonds(&self) -> BTreeMap<PeerAddress, Bond> {
        let tree = bluez_tree();
        let text = real_document(self.format);
        let input = if self.format.is_tree() { Input::Tree(&tree) } else { Input::Document(text.as_bytes()) };
        let adapters = [("hci0", ADAPTER), ("hci1", "00:1A:7D:DA:71:12")];
        let adapters = adapters.map(|(name, address)| (name.to_owned(), address.parse().unwrap()));
        let options = ImportOptions {
            adapter: Some(ADAPTER.parse().unwrap()),
            adapters: adapters.into(),
            ..ImportOptions::default()
        };
        let imported = import(self.format, input, &options).unwrap_or_else(|error| panic!("{error}"));
        by_peer(imported.adapters.into_iter().next().unwrap())
    }
}

fn real_document(format: FormatId) -> String {
    match format {
        FormatId::Habluetooth => fixture!("habluetooth/list_basic/keys.json").to_owned(),
        FormatId::HaStore => fixture!("ha-store/two_adapters/bluetooth.bonds").to_owned(),
        FormatId::Aioble => fixture!("aioble/openmv_cortexm_three_peers/ble_secrets.json").to_owned(),
        FormatId::Fuchsia => {
            let bonds = [
                fixture!("fuchsia/legacy_public/bond.json"),
                fixture!("fuchsia/sc_random_irk_connparams/bond.json"),
                fixture!("fuchsia/dual_mode/bond.json"),
                fixture!("fuchsia/bredr_only/bond.json"),
                fixture!("fuchsia/legacy_both_roles_csrk/bond.json"),
            ];
            format!("[{}]", bonds.join(","))
        }
        FormatId::Bumble => fixture!("bumble/keys_all_kinds/keys.json").to_owned(),
        FormatId::Windows => fixture!("windows/reged_export/bthport.reg").to_owned(),
        FormatId::Bluez | FormatId::Bondkeeper | FormatId::PrivateBle => String::new(),
    }
}

fn bluez_tree() -> Tree {
    macro_rules! info {
        ($peer:literal) => {
            (
                concat!("00:1A:7D:DA:71:11/", $peer, "/info"),
                fixture!("bluez/tree_newest/00:1A:7D:DA:71:11/", $peer, "/info"),
            )
        };
    }
    let files = [
        info!("A4:C1:38:0B:1C:2D"),
        info!("D4:12:43:9A:BC:DE"),
        info!("5C:BA:37:11:22:33"),
        info!("60:AB:D2:40:51:62"),
        info!("E4:9F:64:0B:E8:1C"),
    ];
    let mut tree = Tree::default();
    for (path, content) in files {
        tree.insert(path, Zeroizing::new(content.as_bytes().to_vec())).unwrap();
    }
    tree
}

fn by_peer(adapter: ImportedAdapter) -> BTreeMap<PeerAddress, Bond> {
    adapter.bonds.into_iter().map(|bond| (bond.peer, bond)).collect()
}

#[test]
fn every_real_file_holds_its_share_of_the_five_peers() {
    for source in &SOURCES {
        let found: BTreeSet<String> = source.bonds().keys().map(ToString::to_string).collect();
        let expected: BTreeSet<String> = source.peers.iter().map(|peer| (*peer).to_owned()).collect();
        assert_eq!(found, expected, "{}", source.format.as_str());
    }
}

#[test]
fn a_converted_file_gives_the_bonds_of_the_real_one_and_names_each_loss() {
    for from in &SOURCES {
        for to in &SOURCES {
            convert(from, to);
        }
    }
}

fn convert(from: &Source, to: &Source) {
    let pair = format!("{} to {}", from.format.as_str(), to.format.as_str());
    let originals = from.bonds();
    let all: Vec<Bond> = originals.values().cloned().collect();
    let exported = export(to.format, &all, &AdapterRecord::default(), to.export_words);
    let imported = import_back(to.format, &exported, &[]);
    let report = imported.report.clone();
    let converted = by_peer(imported.adapters.into_iter().next().unwrap());
    let real = to.bonds();
    for (peer, original) in &originals {
        let said = exported.report.peer(*peer).unwrap();
        let Some(copy) = converted.get(peer) else {
            assert!(exported.report.lost_peers.contains(peer), "{pair}: {peer} is lost in silence");
            let has_place = !to.lacks.contains(&"link_key") || !original.is_bredr_only();
            assert!(!has_place, "{pair}: {peer} has its place there");
            continue;
        };
        let heard = report.peer(*peer).unwrap();
        let mut named: BTreeSet<_> = said.dropped.iter().map(|dropped| dropped.field).collect();
        named.extend(said.assumed.iter().chain(&heard.assumed).map(|assumed| assumed.field));
        let mut changed = differences(original, copy);
        changed.retain(|part| !named.contains(part));
        assert!(changed.is_empty(), "{pair}: {peer}: {changed:?} changed in silence");
        let Some(reference) = real.get(peer) else { continue };
        let mut wrong = differences(copy, reference);
        wrong.retain(|part| {
            !(from.may_lack(part) || (to.format == FormatId::Fuchsia && *part == OTHER_IN_FUCHSIA))
        });
        assert!(wrong.is_empty(), "{pair}: {peer}: {wrong:?} is not what the real file has");
    }
}

/// The same seen from the other end: what a format is known to lack is told of a peer that has it.
#[test]
fn each_loss_that_a_format_is_known_for_stands_in_the_report() {
    let bluez = SOURCES.iter().find(|source| source.format == FormatId::Bluez).unwrap();
    let bonds: Vec<Bond> = bluez.bonds().into_values().collect();
    let [_, ring, controller, speaker, mouse] = PEERS;
    let besides = ["trusted", "blocked", "services"];
    for (format, words, peer, lost) in [
        (FormatId::Habluetooth, &[][..], mouse, &["irk", "csrk_local", "csrk_remote", "name"][..]),
        (FormatId::HaStore, &[], speaker, &["link_key", "name"]),
        (FormatId::Aioble, &[("layout", "U80")], controller, &["link_key", "name"]),
        (FormatId::Fuchsia, &[], mouse, &["csrk_local"]),
        (FormatId::Fuchsia, &[], controller, &["pin_length"]),
        (FormatId::Bumble, &[], mouse, &["csrk_local", "csrk_counter", "name"]),
        (FormatId::Windows, &[], mouse, &["ltk", "key_type", "csrk_authenticated"]),
        (FormatId::Windows, &[], controller, &["key_type", "link_key_type", "pin_length"]),
        (FormatId::Windows, &[], ring, &["conn_param"]),
        (FormatId::PrivateBle, &[], ring, &["ltk", "conn_param"]),
    ] {
        let exported = export(format, &bonds, &AdapterRecord::default(), words);
        let report = exported.report.peers.iter().find(|report| report.peer.to_string() == peer).unwrap();
        let named: Vec<_> = report.dropped.iter().map(|dropped| dropped.field).collect();
        for field in lost.iter().chain(&besides) {
            assert!(named.contains(field), "{}: nothing of {field} of {peer}: {named:?}", format.as_str());
        }
    }
}
