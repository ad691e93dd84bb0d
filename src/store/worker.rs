//! The store's thread: takes jobs one after the other and answers each.
//!
//! sled blocks and must never run on the event loop. A job that panics costs its own answer and the
//! database, not the thread. Driven by the actor.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::{Engine, SnapshotsRead};
use super::guard::guarded;
use super::messages::{Checkpoint, CheckpointContent, StoreFault};
use super::sled::Held;
use crate::bond::{AdapterAddress, BondTable, UnixMillis};

/// Jobs that may wait. The actor has one commit and one round of snapshots under way at a time; the
/// rest are requests of people, who can be asked to try again.
const JOBS_MAX: usize = 32;

/// Shows in process lists.
const THREAD_NAME: &str = "store";

type Reply<T> = oneshot::Sender<Result<T, StoreFault>>;

/// What a commit came to, and how long it took.
pub(super) struct Committed {
    pub outcome: Result<(), StoreFault>,
    pub took: Duration,
}

pub(super) enum Job {
    Commit {
        changed: Vec<(AdapterAddress, Held)>,
        reply: oneshot::Sender<Committed>,
    },
    Snapshots {
        adapters: Vec<AdapterAddress>,
        now: UnixMillis,
        reply: Reply<()>,
    },
    /// Reads snapshots that the start has only glanced at.
    ReadSnapshots {
        adapter: AdapterAddress,
        reply: oneshot::Sender<SnapshotsRead>,
    },
    Drop {
        adapter: AdapterAddress,
        reply: Reply<()>,
    },
    SaveCheckpoint {
        adapter: AdapterAddress,
        table: std::sync::Arc<BondTable>,
        reason: std::borrow::Cow<'static, str>,
        now: UnixMillis,
        reply: Reply<Checkpoint>,
    },
    ListCheckpoints {
        adapter: Option<AdapterAddress>,
        reply: Reply<Vec<Checkpoint>>,
    },
    ReadCheckpoint {
        label: String,
        reply: Reply<CheckpointContent>,
    },
    /// Snapshots, and the end of the thread.
    Close {
        adapters: Vec<AdapterAddress>,
        now: UnixMillis,
        reply: Reply<()>,
    },
}

/// The way to the thread. Dropping it ends the thread, which closes the database.
pub(super) struct Worker {
    jobs: SyncSender<Job>,
}

impl Worker {
    pub fn start(engine: Engine) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(JOBS_MAX);
        std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || run(engine, &queue))?;
        Ok(Self { jobs })
    }

    /// Hands a job over; gives it back when the queue is full, none when the thread is gone.
    pub fn submit(&self, job: Job) -> Result<(), Option<Box<Job>>> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => Some(Box::new(job)),
            TrySendError::Disconnected(_) => None,
        })
    }
}

fn run(mut engine: Engine, queue: &Receiver<Job>) {
    for job in queue {
        let is_last = matches!(job, Job::Close { .. });
        if guarded(|| perform(&mut engine, job)).is_none() {
            tracing::error!("a job of the store panicked: the database is written anew with the next commit");
            engine.close();
        }
        if is_last {
            break;
        }
    }
    engine.close();
}

/// That nobody waits for an answer any more is fine.
fn perform(engine: &mut Engine, job: Job) {
    match job {
        Job::Commit { changed, reply } => {
            let begin = Instant::now();
            let outcome = engine.commit(changed);
            drop(reply.send(Committed { outcome, took: begin.elapsed() }));
        }
        Job::Snapshots { adapters, now, reply } => drop(reply.send(engine.write_snapshots(&adapters, now))),
        Job::ReadSnapshots { adapter, reply } => drop(reply.send(engine.read_snapshots(adapter))),
        Job::Drop { adapter, reply } => drop(reply.send(engine.drop_adapter(adapter))),
        Job::SaveCheckpoint { adapter, table, reason, now, reply } => {
            // One that is kept aside is compared with nothing.
            let held = Held { table, record: engine.record(adapter), revision: 0 };
            drop(reply.send(engine.save_checkpoint(adapter, &held, &reason, now)));
        }
        Job::ListCheckpoints { adapter, reply } => drop(reply.send(engine.list_checkpoints(adapter))),
        Job::ReadCheckpoint { label, reply } => drop(reply.send(engine.read_checkpoint(&label))),
        Job::Close { adapters, now, reply } => {
            let outcome = engine.write_snapshots(&adapters, now);
            engine.close_and_unlock();
            drop(reply.send(outcome));
        }
    }
}
