//! Published readers of other systems take what we write, and we take what they write. The bonds come from
//! the fixtures, through the library: what the service does with formats, other tests show.

use std::path::{Path, PathBuf};
use std::process::Command;

use bondkeeper::bond::{AdapterAddress, AdapterRecord, BondTable};
use bondkeeper::format::canonical::{self, Keys};
use bondkeeper::format::{
    self, Content, ExportAdapter, ExportOptions, Exported, FormatId, FormatOptions, ImportOptions, Imported,
    Input,
};

const ADAPTER: &str = "00:1A:7D:DA:71:11";

/// Reads every peer with bumble's own store and files it again in a new one.
const BUMBLE: &str = r#"
import asyncio, sys
from bumble.keys import JsonKeyStore
async def main():
    source = JsonKeyStore(sys.argv[3], sys.argv[1])
    target = JsonKeyStore(sys.argv[3], sys.argv[2])
    peers = await source.get_all()
    for name, keys in peers:
        for key in (keys.ltk, keys.ltk_central, keys.ltk_peripheral, keys.irk, keys.csrk, keys.link_key):
            assert key is None or len(key.value) == 16
        await target.update(name, keys)
    resolving = await source.get_resolving_keys()
    print(len(peers), len(resolving))
asyncio.run(main())
"#;

/// Takes a store file apart by Home Assistant's rules, reads each key with the habluetooth package and
/// writes the file as Home Assistant's helper lays it out.
const HA_STORE: &str = r#"
import json, sys
from habluetooth.storage import long_term_key_from_dict, long_term_key_to_dict
text = open(sys.argv[1], encoding="utf-8").read()
store = json.loads(text)
assert list(store) == ["version", "minor_version", "key", "data"]
assert (store["version"], store["minor_version"], store["key"]) == (1, 1, "bluetooth.bonds")
for adapter, entries in store["data"].items():
    store["data"][adapter] = [long_term_key_to_dict(long_term_key_from_dict(entry)) for entry in entries]
open(sys.argv[2], "w", encoding="utf-8").write(json.dumps(store, indent=2, ensure_ascii=False))
print(sum(len(entries) for entries in store["data"].values()))
"#;

/// Loads and saves secrets with the two functions of Python that aioble uses on the device.
const AIOBLE: &str = r#"
import binascii, json, sys
secrets = {}
for sec_type, key, value in json.load(open(sys.argv[1])):
    secrets[sec_type, binascii.a2b_base64(key)] = binascii.a2b_base64(value)
assert all(len(value) == 88 for (sec_type, _), value in secrets.items() if sec_type in (1, 2))
saved = [(t, binascii.b2a_base64(k).decode(), binascii.b2a_base64(v).decode()) for (t, k), v in secrets.items()]
json.dump(saved, open(sys.argv[2], "w"))
print(len(saved))
"#;

/// Reads a key file with GLib, the library that BlueZ reads its own with: every value, without its escapes.
const GLIB: &str = r#"
import ctypes, json, sys
glib = ctypes.CDLL("libglib-2.0.so.0")
for function in ("g_key_file_new", "g_key_file_get_groups", "g_key_file_get_keys", "g_key_file_get_string"):
    getattr(glib, function).restype = ctypes.c_void_p
def texts(array):
    texts = ctypes.cast(array, ctypes.POINTER(ctypes.c_char_p))
    count = next(at for at in range(1000) if texts[at] is None)
    return [texts[at] for at in range(count)]
file, no_error = ctypes.c_void_p(glib.g_key_file_new()), None
assert glib.g_key_file_load_from_file(file, sys.argv[1].encode(), 0, no_error), "GLib refuses the file"
groups = {}
for group in texts(glib.g_key_file_get_groups(file, None)):
    keys = texts(glib.g_key_file_get_keys(file, group, None, no_error))
    value = lambda key: ctypes.cast(glib.g_key_file_get_string(file, group, key, no_error), ctypes.c_char_p).value
    groups[group.decode()] = {key.decode(): value(key).decode() for key in keys}
json.dump(groups, open(sys.argv[2], "w"))
"#;

fn fixture(path: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats");
    std::fs::read(root.join(path)).unwrap()
}

fn import(format: FormatId, bytes: &[u8]) -> Imported {
    let options = ImportOptions { adapter: Some(adapter()), ..ImportOptions::default() };
    format::import(format, Input::Document(bytes), &options).unwrap_or_else(|error| panic!("{error}"))
}

fn adapter() -> AdapterAddress {
    ADAPTER.parse().unwrap()
}

fn canonical(imported: &Imported) -> String {
    let mut imported = imported.clone();
    for adapter in &mut imported.adapters {
        adapter.bonds.sort_by_key(|bond| bond.peer);
    }
    String::from_utf8(canonical::write(&imported, Keys::Revealed).unwrap().to_vec()).unwrap()
}

/// Writes the bonds of the first adapter as one file.
fn export(format: FormatId, imported: &Imported, options: &[(&str, &str)]) -> Vec<u8> {
    exported(format, imported, options).document().unwrap().to_vec()
}

fn exported(format: FormatId, imported: &Imported, options: &[(&str, &str)]) -> Exported {
    let source = &imported.adapters[0];
    let bonds = source.bonds.iter().cloned().map(|bond| (bond, 1));
    let table = BondTable::from_stored(1, bonds, []);
    let record = AdapterRecord { local_identity: source.local_identity.clone(), ..AdapterRecord::default() };
    let adapter = ExportAdapter { address: Some(adapter()), record: &record, table: &table, peers: None };
    let options: FormatOptions =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = ExportOptions { allow_loss: true, options, ..ExportOptions::default() };
    format::export(format, &[adapter], &options).unwrap()
}

/// Lets the other side read `ours` and write it again; gives back what it wrote and what it said.
fn through(program: &str, ours: &[u8], more: &[&str]) -> (Vec<u8>, String) {
    let python = std::env::var("BONDKEEPER_TEST_PYTHON")
        .expect("BONDKEEPER_TEST_PYTHON names a Python with habluetooth and bumble; tests/run.sh makes one");
    let folder = tempfile::tempdir().unwrap();
    let [source, target]: [PathBuf; 2] = ["ours.json", "theirs.json"].map(|name| folder.path().join(name));
    std::fs::write(&source, ours).unwrap();
    let ran =
        Command::new(python).args(["-c", program]).args([&source, &target]).args(more).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (std::fs::read(target).unwrap(), String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

#[test]
fn bumble_reads_our_key_store_and_writes_the_same_octets() {
    let bonds = import(FormatId::Bumble, &fixture("bumble/keys_all_kinds/keys.json"));
    let namespace = format!("{ADAPTER}/P");
    let ours = export(FormatId::Bumble, &bonds, &[]);
    let (theirs, said) = through(BUMBLE, &ours, &[&namespace]);
    assert_eq!(said, "5 3", "five peers, three of them with an IRK");
    assert_eq!(String::from_utf8(theirs.clone()).unwrap(), String::from_utf8(ours).unwrap());
    assert_eq!(canonical(&import(FormatId::Bumble, &theirs)), canonical(&bonds));
}

#[test]
fn bumble_reads_bonds_that_come_from_a_microcontroller() {
    let device = import(FormatId::Aioble, &fixture("aioble/openmv_cortexm_three_peers/ble_secrets.json"));
    let ours = export(FormatId::Bumble, &device, &[]);
    let (theirs, said) = through(BUMBLE, &ours, &[&format!("{ADAPTER}/P")]);
    assert_eq!(said, "3 2");
    assert_eq!(theirs, ours);
}

#[test]
fn home_assistants_store_is_written_as_its_own_helper_does() {
    let bonds = import(FormatId::Bumble, &fixture("bumble/keys_all_kinds/keys.json"));
    let ours = export(FormatId::HaStore, &bonds, &[("adapter_name", "hci0")]);
    let (theirs, said) = through(HA_STORE, &ours, &[]);
    assert_eq!(said, "5", "two of them are the halves of one legacy bond");
    assert_eq!(String::from_utf8(theirs).unwrap(), String::from_utf8(ours).unwrap());
}

#[test]
fn the_functions_that_a_device_reads_its_secrets_with_take_ours() {
    let bonds = import(FormatId::Bumble, &fixture("bumble/keys_all_kinds/keys.json"));
    let ours = export(FormatId::Aioble, &bonds, &[("layout", "E88")]);
    let (theirs, said) = through(AIOBLE, &ours, &[]);
    assert_eq!(said, "7", "a record of the peer for four, one of our own for three");
    assert_eq!(String::from_utf8(theirs).unwrap(), String::from_utf8(ours).unwrap());
}

#[test]
fn glib_reads_every_key_file_as_we_mean_it() {
    let names = ["plain", "  two\\n\tlines\r\n[LinkKey]\nKey=00;é \\", "\\s#;= ", "[General]", "日本 🔑"];
    let mut bonds = import(FormatId::Bumble, &fixture("bumble/keys_all_kinds/keys.json"));
    for (bond, name) in bonds.adapters[0].bonds.iter_mut().zip(names) {
        bond.metadata.name = Some(name.to_owned());
    }
    let Content::Tree(tree) = exported(FormatId::Bluez, &bonds, &[]).content else {
        panic!("it is a folder")
    };
    assert_eq!(tree.len(), names.len());
    for (bond, name) in bonds.adapters[0].bonds.iter().zip(names) {
        let ours = tree.get(&format!("{ADAPTER}/{}/info", bond.peer)).unwrap();
        let (theirs, _) = through(GLIB, ours, &[]);
        let groups: serde_json::Value = serde_json::from_slice(&theirs).unwrap();
        assert_eq!(groups["General"]["Name"], name);
        let keys: Vec<Vec<u8>> = groups
            .as_object()
            .unwrap()
            .iter()
            .filter(|(group, _)| group.ends_with("LongTermKey"))
            .map(|(_, entries)| hex::decode(entries["Key"].as_str().unwrap()).unwrap())
            .collect();
        for ltk in bond.ltks() {
            assert!(keys.iter().any(|key| key == ltk.key.expose()), "{} lost an LTK", bond.peer);
        }
        if let Some(irk) = &bond.irk {
            let key = groups["IdentityResolvingKey"]["Key"].as_str().unwrap();
            assert_eq!(hex::decode(key).unwrap(), irk.key.expose());
        }
    }
}
