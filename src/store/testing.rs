//! What the store's tests share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::engine::{DATABASE, Engine};
use super::files::{Files, Probe, Step, copy_folder};
use super::messages::{Checkpoint, StoredAdapter};
use super::open::open;
use super::sealing::SealChoice;
use super::sled::Held;
use crate::bond::testing::secure_bond;
use crate::bond::{AdapterAddress, AdapterRecord, BondTable, UnixMillis};

pub(super) const ADAPTER: &str = "00:1A:7D:DA:71:11";
pub(super) const OTHER: &str = "00:1A:7D:DA:71:12";

pub(super) fn adapter(text: &str) -> AdapterAddress {
    text.parse().unwrap()
}

pub(super) fn held(table: BondTable) -> Held {
    Held { table: table.into(), ..Held::default() }
}

pub(super) fn peer_text(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    format!("C0:FF:EE:00:{high:02X}:{low:02X}")
}

/// A table with this many bonds, one change each.
pub(super) fn table_of(count: u16) -> BondTable {
    let mut table = BondTable::new();
    for number in 0..count {
        let [_, low] = number.to_be_bytes();
        table.insert(secure_bond(&peer_text(number), low)).unwrap();
    }
    table
}

/// Equal in every bond, stamp and removal.
pub(super) fn same_tables(left: &BondTable, right: &BondTable) -> bool {
    let entries = |table: &BondTable| -> Vec<_> {
        table.entries().map(|entry| (entry.generation, (*entry.bond).clone())).collect()
    };
    left.generation() == right.generation()
        && entries(left) == entries(right)
        && left.tombstones().eq(right.tombstones())
}

/// Lets so many steps pass, and then none: as if the process were gone.
pub(super) struct CrashAt {
    left: AtomicUsize,
}

impl CrashAt {
    pub fn new(steps: usize) -> Self {
        Self { left: AtomicUsize::new(steps) }
    }
}

impl Probe for CrashAt {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        let passed = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        passed.map(|_| ()).map_err(|_| io::Error::other(format!("crashed at {step:?} {}", path.display())))
    }
}

/// Fails with one of the system's errors while it is switched on.
#[derive(Default)]
pub(super) struct Failing {
    error: Mutex<Option<(i32, Vec<Step>)>>,
}

impl Failing {
    /// From now on these steps fail; no steps: all.
    pub fn fail(&self, code: i32, steps: &[Step]) {
        *self.error.lock().unwrap() = Some((code, steps.to_vec()));
    }

    pub fn mend(&self) {
        *self.error.lock().unwrap() = None;
    }
}

impl Probe for Failing {
    fn before(&self, step: Step, _: &Path) -> io::Result<()> {
        match &*self.error.lock().unwrap() {
            Some((code, steps)) if steps.is_empty() || steps.contains(&step) => {
                Err(io::Error::from_raw_os_error(*code))
            }
            _ => Ok(()),
        }
    }
}

/// A store without its actor, for tests of what stands above it: each call is done when it returns.
pub(crate) struct Bench {
    root: tempfile::TempDir,
    folder: PathBuf,
    engine: Engine,
    crash_count: u32,
}

impl Bench {
    /// In memory where there is a file system for that: it is the order of things that is tested.
    pub fn new(now: UnixMillis) -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let root = root.unwrap();
        let folder = root.path().join("0");
        let engine = open(&folder, Files::default(), &SealChoice::default(), now).unwrap().engine;
        Self { root, folder, engine, crash_count: 0 }
    }

    pub fn commit(&mut self, adapter: AdapterAddress, table: &BondTable, record: &AdapterRecord) {
        let held = Held { table: table.clone().into(), record: record.clone(), revision: 0 };
        self.engine.commit(vec![(adapter, held)]).unwrap();
    }

    pub fn snapshot(&mut self, adapter: AdapterAddress, now: UnixMillis) {
        self.engine.write_snapshots(&[adapter], now).unwrap();
    }

    pub fn checkpoint(&self, adapter: AdapterAddress, table: &BondTable, now: UnixMillis) -> Checkpoint {
        let held = held(table.clone());
        self.engine.save_checkpoint(adapter, &held, "test", now).unwrap()
    }

    /// The process is gone, and with it, if so wanted, the database. What the next one finds.
    pub fn crash(&mut self, loses_database: bool, now: UnixMillis) -> Option<StoredAdapter> {
        self.crash_count += 1;
        let left = self.root.path().join(self.crash_count.to_string());
        // A copy of this moment: closing the engine would write.
        copy_folder(&self.folder, &left, &|_| true).unwrap();
        self.engine.close_and_unlock();
        std::fs::remove_dir_all(&self.folder).unwrap();
        if loses_database {
            std::fs::remove_dir_all(left.join(DATABASE)).unwrap();
        }
        let opened = open(&left, Files::default(), &SealChoice::default(), now).unwrap();
        let stored = opened.stored().pop();
        self.engine = opened.engine;
        self.folder = left;
        stored
    }
}
