//! Durability: what is known of every adapter survives crashes, power cuts and damaged disks.
//!
//! Two copies, independent of each other: the database (sled) and one snapshot file an adapter.
//! A table counts as persisted when the database has synced it; the snapshot follows within a
//! second. At start the two are compared. Must never take something unreadable for something
//! empty, never delete the only copy of anything, and never announce what is not on disk.
//!
//! ```text
//! <folder>/            0700, files 0600
//!   lock               one service a folder
//!   sled/              the database; sled.damaged-<time>/ were put aside
//!   snapshots/         AA-BB-CC-DD-EE-FF.json and its predecessor .json.1
//!   checkpoints/       copies from before something destructive
//!   fingerprint.key
//!   seal.age           where it is sealed: its key
//! ```
//!
//! [`Store::open`] reads, [`StoreActor`] serves: adapters send it their tables, it tells its
//! listeners. [`inspect`] looks in from outside.

pub mod actor;
pub mod debounce;
mod engine;
pub mod exchange;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod health;
mod history;
mod inspect;
mod lock;
pub mod messages;
mod offline;
mod open;
mod outbox;
mod record;
mod sealing;
mod secret;
mod settle;
mod sled;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
mod watchdog;
mod worker;

use std::path::Path;
use std::time::Duration;

pub use actor::StoreActor;
pub use guard::is_guarded_panic;
pub use inspect::{Inspection, inspect};
pub use offline::Offline;
pub use open::OpenError;
pub use sealing::{SealChoice, SealWish, StoreSealError, is_sealed};

use crate::bond::{FingerprintKey, UnixMillis};
use files::Files;
use messages::{StoreState, StoredAdapter};
use open::Opened;

/// When changes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Changes that follow one another closer than this are written together.
    pub quiet: Duration,
    /// No change waits longer than this.
    pub ceiling: Duration,
}

impl Default for StoreOptions {
    /// The keys of a pairing come within some ten milliseconds of each other; a quarter of a second is
    /// the longest that a key may be in memory only.
    fn default() -> Self {
        Self { quiet: Duration::from_millis(50), ceiling: Duration::from_millis(250) }
    }
}

/// An open store, to be handed to a [`StoreActor`].
pub struct Store {
    opened: Opened,
    options: StoreOptions,
    fingerprint_key: FingerprintKey,
}

impl Store {
    /// Opens the store in a folder of its own, made where there is none. Gives what it holds and how it is.
    pub fn open(
        folder: &Path,
        options: StoreOptions,
        seal: &SealChoice,
        now: UnixMillis,
    ) -> Result<(Self, Vec<StoredAdapter>, StoreState), OpenError> {
        Self::open_with(folder, options, seal, now, Files::default())
    }

    fn open_with(
        folder: &Path,
        options: StoreOptions,
        seal: &SealChoice,
        now: UnixMillis,
        files: Files,
    ) -> Result<(Self, Vec<StoredAdapter>, StoreState), OpenError> {
        let opened = open::open(folder, files, seal, now)?;
        let (key, error) = secret::load_or_make(&opened.engine.files, folder);
        if let Some(error) = &error {
            tracing::warn!(%error, "the fingerprint key could not be kept: fingerprints change with the next start");
        }
        let no_randomness = || OpenError::Folder {
            path: folder.to_owned(),
            source: error.unwrap_or_else(|| std::io::ErrorKind::Other.into()),
        };
        let fingerprint_key = key.ok_or_else(no_randomness)?;
        let (stored, state) = (opened.stored(), opened.state.clone());
        Ok((Self { opened, options, fingerprint_key }, stored, state))
    }

    /// The node's key for fingerprints of bonds.
    pub fn fingerprint_key(&self) -> FingerprintKey {
        self.fingerprint_key.clone()
    }
}
