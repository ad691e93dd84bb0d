//! Bonds between the service and the real bluetoothd, through the folder in which the latter keeps them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use bondkeeper::bond::{AdapterRecord, BondTable};
use bondkeeper::format::{
    self, Content, ExportAdapter, ExportOptions, FormatId, ImportOptions, Imported, Input, Tree,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::coexistence::all_encrypt_without_pairing;
use super::scene::{HUB, Scene};
use super::world::{PairOptions, PeerSpec, World};
use super::world_kernel::KernelWorld;

/// Where bluetoothd keeps what it knows. The agent empties it before its first use.
pub const STORAGE: &str = "/var/lib/bluetooth";

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
const BULB: PeerSpec = PeerSpec::public("bulb", "C0:FF:EE:00:00:77").legacy();
const RING: PeerSpec = PeerSpec::public("ring", "F1:11:22:33:44:55").static_random().private();
const PEERS: [PeerSpec; 3] = [LOCK, BULB, RING];

fn scene() -> Scene<KernelWorld> {
    assert!(std::env::var_os("BONDKEEPER_GUEST").is_some(), "run this in the guest: tests/run.sh does");
    Scene::new(|_| Box::new(KernelWorld::new()))
}

fn addresses() -> [&'static str; 3] {
    PEERS.map(|spec| spec.address)
}

/// Copies a folder with all that is in it; nobody else may look into the copy.
pub fn copy(from: &Path, to: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn says(scene: &mut Scene<KernelWorld>, address: &str, property: &str) -> Value {
    let question = json!({ "adapter": "hub", "address": address, "name": property });
    scene.world.request("property_in_bluetoothd", question)["value"].clone()
}

#[test]
fn bluetoothd_loads_a_folder_that_we_exported_and_its_peers_reconnect_without_pairing() {
    let mut scene = scene();
    scene.start();
    scene.plug_hub();
    for spec in &PEERS {
        scene.world.add_peer(spec);
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()), "pairing {}", spec.name);
    }
    scene.wait_bonds(HUB, &addresses());
    let export = scene.ask("bonds/export", json!({ "adapter": HUB, "format": "bluez" }));
    let folder = scene.setup.export_dir().join(export["file"].as_str().unwrap());
    scene.stop_service();

    scene.world.unplug("hub");
    scene.world.wipe_bluetoothd();
    copy(&folder, Path::new(STORAGE));
    scene.world.plug("hub", HUB);
    assert!(scene.kernel_ltk_peers("hub").is_empty(), "the kernel's table is a fresh one");
    scene.world.start_bluetoothd();
    for address in addresses() {
        assert_eq!(says(&mut scene, address, "Paired"), "boolean true", "{address}");
    }
    assert_eq!(scene.kernel_ltk_peers("hub"), addresses().map(str::to_owned).into());
    scene.world.stop_bluetoothd();
    all_encrypt_without_pairing(&mut scene, &PEERS);
}

#[test]
fn bonds_that_bluetoothd_made_are_restored_from_its_folder_and_encrypt() {
    let mut scene = scene();
    scene.world.wipe_bluetoothd();
    scene.world.plug("hub", HUB);
    scene.world.start_bluetoothd();
    for spec in &PEERS {
        scene.world.add_peer(spec);
        scene.world.request("pair_in_bluetoothd", json!({ "adapter": "hub", "peer": spec.name }));
    }
    scene.world.stop_bluetoothd();
    scene.world.unplug("hub");
    copy(Path::new(STORAGE), &scene.setup.export_dir().join("theirs"));
    scene.world.wipe_bluetoothd();

    scene.start();
    scene.plug_hub();
    assert!(scene.kernel_ltk_peers("hub").is_empty(), "the kernel's table is a fresh one");
    let answer = scene.ask("bonds/restore", json!({ "from": { "file": "theirs" } }));
    assert_eq!(answer["kernel"]["state"], "loaded", "{answer}");
    let bonds = scene.wait_bonds(HUB, &addresses());
    assert!(bonds.iter().all(|bond| bond["custody"] == "ours"), "{bonds:?}");
    all_encrypt_without_pairing(&mut scene, &PEERS);
    scene.assert_no_key_was_published();
}

/// A peer of the fixtures and its folder, with a name that tries every escape.
fn named(name: &str) -> Tree {
    let fixture = "tests/fixtures/formats/bluez/tree_newest/00:1A:7D:DA:71:11/E4:9F:64:0B:E8:1C/info";
    let info = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture)).unwrap();
    let mut tree = Tree::default();
    tree.insert(&format!("{HUB}/E4:9F:64:0B:E8:1C/info"), Zeroizing::new(info)).unwrap();
    let imported: Imported =
        format::import(FormatId::Bluez, Input::Tree(&tree), &ImportOptions::default()).unwrap();
    let mut bond = imported.adapters[0].bonds[0].clone();
    bond.metadata.name = Some(name.to_owned());
    let table = BondTable::from_stored(1, [(bond, 1)], []);
    let record = AdapterRecord::default();
    let adapter =
        ExportAdapter { address: Some(HUB.parse().unwrap()), record: &record, table: &table, peers: None };
    let exported = format::export(FormatId::Bluez, &[adapter], &ExportOptions::default()).unwrap();
    assert!(exported.report.is_lossless());
    let Content::Tree(tree) = exported.content else { panic!("it is a folder") };
    tree
}

#[test]
fn bluetoothd_reads_every_name_as_we_mean_it() {
    let name = "  two\\n\tlines\n[LinkKey]\nKey=00;é \\";
    let mut scene = scene();
    scene.world.wipe_bluetoothd();
    for (path, content) in named(name).files() {
        let target = Path::new(STORAGE).join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }
    scene.world.plug("hub", HUB);
    scene.world.start_bluetoothd();
    assert_eq!(says(&mut scene, "E4:9F:64:0B:E8:1C", "Name"), name);
    assert_eq!(says(&mut scene, "E4:9F:64:0B:E8:1C", "Paired"), "boolean true");
    assert!(scene.world.tables("hub").link_keys.is_empty());
    scene.world.stop_bluetoothd();
}
