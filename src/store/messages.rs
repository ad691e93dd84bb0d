//! What the store is told and asked, and what it tells.

use std::borrow::Cow;
use std::sync::Arc;

use actix::{Message, Recipient};

use crate::bond::{AdapterAddress, AdapterRecord, BondTable, UnixMillis};

/// An adapter's table after a change: always the whole of it, so losing an older message costs
/// nothing. The generation is the table's own.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct BondsChanged {
    pub adapter: AdapterAddress,
    pub table: Arc<BondTable>,
    /// What is remembered besides: written together with the table.
    pub record: AdapterRecord,
}

/// What is remembered of an adapter besides its bonds has changed; also makes an adapter known
/// that has no bond yet. Answered when it is on disk, for whoever waits for that.
#[derive(Message, Clone)]
#[rtype(result = "Result<(), StoreFault>")]
pub struct AdapterRecordChanged {
    pub adapter: AdapterAddress,
    pub record: AdapterRecord,
}

/// Drop everything that is stored of an adapter: its tree, its record and its snapshots.
#[derive(Message, Clone, Copy)]
#[rtype(result = "Result<(), StoreFault>")]
pub struct DropAdapter {
    pub adapter: AdapterAddress,
}

/// Keep a copy of a table aside, before something destructive is done to it.
#[derive(Message, Clone)]
#[rtype(result = "Result<Checkpoint, StoreFault>")]
pub struct SaveCheckpoint {
    pub adapter: AdapterAddress,
    pub table: Arc<BondTable>,
    /// Why it is taken: `before_forget`, `before_restore`, …, or the words of whoever asked for it.
    pub reason: Cow<'static, str>,
}

/// A copy that was kept aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names it; also its file name without the ending.
    pub label: String,
    pub adapter: AdapterAddress,
    pub reason: String,
    pub bond_count: usize,
    pub generation: u64,
    pub at: UnixMillis,
}

/// Which copies are kept aside, the newest first.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<Vec<Checkpoint>, StoreFault>")]
pub struct ListCheckpoints {
    /// Only this adapter's.
    pub adapter: Option<AdapterAddress>,
}

/// Read a copy that was kept aside.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<CheckpointContent, StoreFault>")]
pub struct ReadCheckpoint {
    pub label: String,
}

/// A copy and the table that it holds.
#[derive(Clone)]
pub struct CheckpointContent {
    pub checkpoint: Checkpoint,
    pub table: BondTable,
}

/// What is known of an adapter, whether it could be written or not; none of one that is not known.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Option<StoredAdapter>")]
pub struct ReadAdapter {
    pub adapter: AdapterAddress,
}

/// Commit whatever is still waiting, write the snapshots, close. Answered when all that is done.
#[derive(Message, Clone, Copy)]
#[rtype(result = "Result<(), StoreFault>")]
pub struct Drain;

/// Everything up to this generation is on disk and survives a power cut.
#[derive(Message, Clone, Copy, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct BondsPersisted {
    pub adapter: AdapterAddress,
    pub generation: u64,
    pub at: UnixMillis,
}

/// A commit failed: nothing of this adapter beyond what was persisted before is on disk.
/// The store keeps trying and reports success with [`BondsPersisted`].
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct PersistFailed {
    pub adapter: AdapterAddress,
    pub generation: u64,
    pub fault: StoreFault,
}

/// The state of the store has changed.
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct StoreStateChanged {
    pub state: StoreState,
    /// Longest and latest commit since the last such message, for `bridge/health`.
    pub last_commit_us: u64,
    pub max_commit_us: u64,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreState {
    Ok,
    /// At start the database was damaged or short; bonds were taken from the snapshots. Stays until
    /// the service is restarted. `detail` names what was found, what was done and where the damaged
    /// copy lies.
    Rebuilt {
        detail: String,
    },
    /// Nothing can be written now: what is new lives in memory only.
    Failing {
        fault: StoreFault,
    },
}

/// Why something could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    #[error(
        "no space is left on the disk that holds the data folder: free some, the service goes on by itself"
    )]
    DiskFull,
    #[error("the data folder is read-only: check the disk and the folder's permissions")]
    ReadOnly,
    /// What the operating system said, and on which file.
    #[error("the data folder cannot be written: {0}")]
    Io(String),
    #[error("the store is shutting down")]
    ShuttingDown,
    #[error("there is no checkpoint {0:?}")]
    NoSuchCheckpoint(String),
}

/// Who hears of commits: the adapters' router and MQTT.
#[derive(Clone)]
pub struct StoreListeners {
    pub persisted: Vec<Recipient<BondsPersisted>>,
    pub failed: Vec<Recipient<PersistFailed>>,
    pub state: Vec<Recipient<StoreStateChanged>>,
}

/// What the store holds of one adapter when it is opened.
#[derive(Clone)]
pub struct StoredAdapter {
    pub address: AdapterAddress,
    pub table: BondTable,
    pub record: AdapterRecord,
}
