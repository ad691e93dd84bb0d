//! Reads the kernel's tables where debugfs shows them. The only IO of this kind; it blocks, so it is done aside.
//!
//! Must never let a line of them out: they hold keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::drift::KernelTables;
use crate::mgmt::{LoadKind, debugfs};

/// Room for a table: some hundred keys of about a hundred octets each.
const TABLE_OCTETS: usize = 32 * 1024;

/// Longest table: more than ten times what the kernel's lists can be loaded with.
const TABLE_OCTETS_MAX: usize = 4 * 1024 * 1024;

/// Where the kernel shows its tables; a simulated kernel has a folder of its own.
#[derive(Debug, Clone)]
pub struct TableSource {
    folder: PathBuf,
}

/// Why the tables are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// debugfs is not mounted where we look, or hidden from us.
    NotMounted,
    /// It is for root only.
    NoPermission,
    /// This kernel writes them in another way.
    NotUnderstood,
    Failed,
}

impl TableSource {
    pub fn of_kernel() -> Self {
        Self { folder: PathBuf::from("/sys/kernel/debug/bluetooth") }
    }

    /// A simulated kernel shows them below its own folder.
    pub fn of_simulation(folder: &Path) -> Self {
        Self { folder: folder.join("debugfs") }
    }

    /// The tables of the controller at this index.
    pub fn read(&self, index: u16) -> Result<KernelTables, Unreadable> {
        let folder = self.folder.join(format!("hci{index}"));
        let mut tables = KernelTables::default();
        for kind in LoadKind::ALL {
            let Some(name) = debugfs::file_name(kind) else { continue };
            let text = match read_text(&folder.join(name)) {
                Ok(text) => text,
                // Not there on a controller without BR/EDR.
                Err(error) if error.kind() == io::ErrorKind::NotFound && kind == LoadKind::LinkKeys => {
                    continue;
                }
                Err(error) => return Err(Unreadable::of(&error)),
            };
            let text = std::str::from_utf8(&text).map_err(|_| Unreadable::NotUnderstood)?;
            tables.put(kind, debugfs::read(kind, text).map_err(|_| Unreadable::NotUnderstood)?);
        }
        Ok(tables)
    }
}

/// Grows into a new buffer, so that the old one is wiped: a vector that grows by itself leaves copies behind.
fn read_text(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let mut text = Zeroizing::new(Vec::with_capacity(TABLE_OCTETS));
    loop {
        if text.len() == text.capacity() {
            if text.len() >= TABLE_OCTETS_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * text.len()));
            larger.extend_from_slice(&text);
            text = larger;
        }
        let (length, room) = (text.len(), text.capacity());
        text.resize(room, 0);
        let count = file.read(&mut text[length..])?;
        text.truncate(length + count);
        if count == 0 {
            return Ok(text);
        }
    }
}

impl Unreadable {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotMounted,
            io::ErrorKind::PermissionDenied => Self::NoPermission,
            io::ErrorKind::InvalidData => Self::NotUnderstood,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LTK: &str =
        "d4:12:43:9a:bc:de (type 1) 1 0x03 16 0000 0000000000000000 2a425525452c09050f0dc83e1c9b1948\n";

    #[test]
    fn tables_are_read_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let source = TableSource::of_simulation(folder.path());
        assert_eq!(source.read(0).err(), Some(Unreadable::NotMounted));
        let of_adapter = folder.path().join("debugfs/hci0");
        std::fs::create_dir_all(&of_adapter).unwrap();
        std::fs::write(of_adapter.join("long_term_keys"), LTK).unwrap();
        assert_eq!(source.read(0).err(), Some(Unreadable::NotMounted), "a file is missing");
        std::fs::write(of_adapter.join("identity_resolving_keys"), "").unwrap();
        let tables = source.read(0).ok().unwrap();
        assert_eq!(tables.list(LoadKind::Ltks).map(|list| list.len()), Some(1));
        assert_eq!(tables.list(LoadKind::Irks).map(|list| list.len()), Some(0));
        assert!(tables.list(LoadKind::LinkKeys).is_none());
        let many = (0..2_000).map(|number: u32| {
            let [_, _, high, low] = number.to_be_bytes();
            LTK.replace("bc:de", &format!("{high:02x}:{low:02x}"))
        });
        std::fs::write(of_adapter.join("long_term_keys"), many.collect::<String>()).unwrap();
        let tables = source.read(0).ok().unwrap();
        assert_eq!(tables.list(LoadKind::Ltks).map(|list| list.len()), Some(2_000));
        std::fs::write(of_adapter.join("identity_resolving_keys"), "what is this\n").unwrap();
        assert_eq!(source.read(0).err(), Some(Unreadable::NotUnderstood));
    }
}
