//! The store while no service runs: for a command line that reads and changes it and is gone again.
//!
//! Takes the service's own lock, and goes the service's own way: a copy is kept aside before anything changes,
//! the database is synced, the snapshots follow. Driven by `cli/`.

use std::path::Path;

use super::files::Files;
use super::messages::{Checkpoint, StoreFault, StoreState, StoredAdapter};
use super::open::{self, OpenError, Opened};
use super::sealing::SealChoice;
use super::secret;
use super::sled::Held;
use crate::bond::{AdapterAddress, AdapterRecord, BondTable, FingerprintKey, UnixMillis};

/// See the module text. Closed when it is dropped.
pub struct Offline {
    opened: Opened,
    fingerprint_key: FingerprintKey,
}

impl Offline {
    /// Opens the store in a folder, made where there is none.
    pub fn open(folder: &Path, seal: &SealChoice, now: UnixMillis) -> Result<Self, OpenError> {
        let mut opened = open::open(folder, Files::default(), seal, now)?;
        opened.read_snapshots();
        let (key, error) = secret::load_or_make(&opened.engine.files, folder);
        let fingerprint_key = key.ok_or_else(|| OpenError::Folder {
            path: folder.to_owned(),
            source: error.unwrap_or_else(|| std::io::ErrorKind::Other.into()),
        })?;
        Ok(Self { opened, fingerprint_key })
    }

    /// How it was found.
    pub const fn state(&self) -> &StoreState {
        &self.opened.state
    }

    /// What it holds of one adapter; nothing yet of one that it does not know.
    pub fn adapter(&self, address: AdapterAddress) -> StoredAdapter {
        let held = self.opened.engine.held.get(&address);
        StoredAdapter {
            address,
            table: held.map(|held| (*held.table).clone()).unwrap_or_default(),
            record: held.map(|held| held.record.clone()).unwrap_or_default(),
        }
    }

    /// Whether it knows an adapter.
    pub fn knows(&self, address: AdapterAddress) -> bool {
        self.opened.engine.held.contains_key(&address)
    }

    /// The node's key for fingerprints and plans.
    pub const fn fingerprint_key(&self) -> &FingerprintKey {
        &self.fingerprint_key
    }

    /// Keeps a copy of what is stored of an adapter aside.
    pub fn save_checkpoint(
        &self,
        adapter: AdapterAddress,
        reason: &str,
        now: UnixMillis,
    ) -> Result<Option<Checkpoint>, StoreFault> {
        let engine = &self.opened.engine;
        let held = engine.held.get(&adapter);
        held.map(|held| engine.save_checkpoint(adapter, held, reason, now)).transpose()
    }

    /// Makes a new state of an adapter durable, in both copies.
    pub fn commit(
        &mut self,
        adapter: AdapterAddress,
        table: BondTable,
        record: AdapterRecord,
        now: UnixMillis,
    ) -> Result<(), StoreFault> {
        let engine = &mut self.opened.engine;
        engine.commit(vec![(adapter, Held { table: table.into(), record, revision: 0 })])?;
        engine.write_snapshots(&[adapter], now)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        self.opened.engine.close_and_unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::secure_bond;
    use crate::store::testing::{ADAPTER, adapter};

    const NOW: UnixMillis = UnixMillis(1_795_225_339_120);

    #[test]
    fn a_change_is_there_at_the_next_opening_and_its_predecessor_among_the_copies() {
        let folder = tempfile::tempdir().unwrap();
        let address = adapter(ADAPTER);
        for peer in ["C0:FF:EE:00:00:01", "C0:FF:EE:00:00:02"] {
            let mut store = Offline::open(folder.path(), &SealChoice::default(), NOW).unwrap();
            let mut stored = store.adapter(address);
            let known = store.knows(address);
            let checkpoint = store.save_checkpoint(address, "before_import", NOW).unwrap();
            assert_eq!(checkpoint.is_some(), known, "of nothing there is no copy");
            stored.table.insert(secure_bond(peer, 1)).unwrap();
            store.commit(address, stored.table, stored.record, NOW).unwrap();
            assert!(matches!(
                Offline::open(folder.path(), &SealChoice::default(), NOW),
                Err(OpenError::Locked { .. })
            ));
        }
        let inspected = crate::store::inspect(folder.path(), None).unwrap();
        assert_eq!(inspected.adapters[0].table.len(), 2);
        assert!(inspected.notes.is_empty(), "{:?}", inspected.notes);
        let store = Offline::open(folder.path(), &SealChoice::default(), NOW).unwrap();
        assert_eq!((store.adapter(address).table.len(), store.state()), (2, &StoreState::Ok));
    }
}
