//! The kernel's tables as files, one line a key, as debugfs shows them.
//!
//! The columns are debugfs' own: address types are 0 public and 1 random; the kind of an LTK is 1 legacy of the
//! central role, 2 of the peripheral's, 3 Secure Connections, 4 debug.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::controller::Controller;
use super::records::{Ltk, P256_AUTHENTICATED, P256_DEBUG, P256_UNAUTHENTICATED};
use super::wire::{Address, hex};

const LEGACY_AUTHENTICATED: u8 = 1;

/// What was written last, by file.
#[derive(Debug, Default)]
pub(super) struct Debugfs {
    files: BTreeMap<PathBuf, String>,
}

impl Debugfs {
    /// Writes what has changed. Panics where it cannot: the test would wait for it in vain.
    pub fn write(&mut self, folder: &Path, controllers: &[Controller]) {
        let mut files = BTreeMap::new();
        for controller in controllers {
            let of_controller = folder.join(format!("hci{}", controller.index));
            fs::create_dir_all(&of_controller).expect("make a folder of debugfs");
            for (name, text) in tables(controller) {
                files.insert(of_controller.join(name), text);
            }
        }
        for path in self.files.keys().filter(|path| !files.contains_key(*path)) {
            let _ = fs::remove_file(path);
        }
        for (path, text) in files.iter().filter(|(path, text)| self.files.get(*path) != Some(text)) {
            // In one piece: whoever reads it must not see half of it.
            let scratch = path.with_extension("new");
            fs::write(&scratch, text).expect("write a table of debugfs");
            fs::rename(&scratch, path).expect("show a table of debugfs");
        }
        self.files = files;
    }
}

fn tables(controller: &Controller) -> Vec<(&'static str, String)> {
    let none = "00:00:00:00:00:00";
    let irk = |address: &Address, value: &[u8]| format!("{} {} {none}\n", le(address), hex(value));
    let irks = controller.irks.iter().map(|key| irk(&key.address, &key.value)).collect();
    let mut tables = vec![
        ("long_term_keys", controller.ltks.iter().map(ltk).collect()),
        ("identity_resolving_keys", irks),
        ("identity", irk(&controller.address, &controller.local_irk.unwrap_or_default())),
    ];
    if !controller.le_only {
        let line = |key: &super::records::LinkKey| {
            let address = key.address.text().to_lowercase();
            format!("{address} {} {} {}\n", key.key_type, hex(&key.value), key.pin_length)
        };
        tables.push(("link_keys", controller.link_keys.iter().map(line).collect()));
    }
    tables
}

fn ltk(key: &Ltk) -> String {
    let authenticated = [LEGACY_AUTHENTICATED, P256_AUTHENTICATED].contains(&key.key_type);
    let kind = match (key.key_type, key.central) {
        (P256_UNAUTHENTICATED | P256_AUTHENTICATED, _) => 3,
        (P256_DEBUG, _) => 4,
        (_, 1) => 1,
        _ => 2,
    };
    let rand = u64::from_le_bytes(key.rand);
    let (address, size, value) = (le(&key.address), key.size, hex(&key.value));
    format!(
        "{address} {} 0x{kind:02x} {size} {:04x} {rand:016x} {value}\n",
        u8::from(authenticated),
        key.ediv
    )
}

fn le(address: &Address) -> String {
    format!("{} (type {})", address.text().to_lowercase(), u8::from(address.is_random()))
}
