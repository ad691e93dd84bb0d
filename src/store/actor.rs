//! The store as an actor: takes tables, decides when they are written, tells who listens.
//!
//! Always holds the newest table of each adapter, so a message that came late costs nothing. Must
//! never say that something is stored before the thread has synced it, and must never wait itself.
//! Adapters send it their tables; `app` gives it its listeners and drains it at the end.

mod handlers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, ResponseActFuture, SpawnHandle, WrapFuture};
use tokio::sync::oneshot;

use super::Store;
use super::debounce::{Debounce, Edge};
use super::engine::Engine;
use super::health::Health;
use super::messages::{
    AdapterRecordChanged, BondsChanged, BondsPersisted, Checkpoint, CheckpointContent, Drain, DropAdapter,
    ListCheckpoints, PersistFailed, ReadAdapter, ReadCheckpoint, SaveCheckpoint, StoreFault, StoreListeners,
    StoreState, StoredAdapter,
};
use super::outbox::Outbox;
use super::sled::Held;
use super::worker::{Committed, Job, Worker};
use crate::bond::{AdapterAddress, UnixMillis};

/// Messages that may wait: every adapter of a large host may send its table and its record at once.
pub const MAILBOX_CAPACITY: usize = 128;

/// A snapshot waits this long for further commits: a pairing brings its keys, and the record of them, within it.
const SNAPSHOT_QUIET: Duration = Duration::from_millis(500);

/// A snapshot is written at the latest this long after the first commit that it lacks: what a
/// damaged database could lose at most.
const SNAPSHOT_CEILING: Duration = Duration::from_secs(1);

/// Snapshots that the opening has only glanced at are read so long after the start, when the adapters are loaded.
const READ_AFTER: Duration = Duration::from_secs(2);

/// Pause between two adapters' snapshots, so that a commit never waits for more than one of them.
const READ_PAUSE: Duration = Duration::from_millis(100);

/// Pause before a full queue or mailbox is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(50);

type RecordWaiter = oneshot::Sender<Result<(), StoreFault>>;

/// Whoever has given up waiting hears nothing.
fn answer_all(waiters: Vec<RecordWaiter>, outcome: &Result<(), StoreFault>) {
    for waiter in waiters {
        let _ = waiter.send(outcome.clone());
    }
}

type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// See the module text.
pub struct StoreActor {
    engine: Option<Engine>,
    worker: Option<Worker>,
    clock: Clock,
    outbox: Outbox,
    newest: BTreeMap<AdapterAddress, Held>,
    /// Adapters whose newest state no commit has taken yet.
    changed: BTreeSet<AdapterAddress>,
    /// Generation that is on disk.
    persisted: BTreeMap<AdapterAddress, u64>,
    /// Adapters whose snapshot is older than the database.
    unsnapshotted: BTreeSet<AdapterAddress>,
    /// Adapters whose snapshots are still to be read, and when the next are; none while it is under way.
    unread: BTreeSet<AdapterAddress>,
    read_next: Option<Instant>,
    /// Who waits for a record that no commit has taken yet.
    record_waiters: Vec<RecordWaiter>,
    commits: Debounce,
    snapshots: Debounce,
    timer: Option<SpawnHandle>,
    health: Health,
    draining: bool,
}

impl StoreActor {
    /// Takes an open store. `clock` is the wall clock, for people only.
    pub fn new(
        store: Store,
        listeners: StoreListeners,
        clock: impl Fn() -> UnixMillis + Send + Sync + 'static,
    ) -> Self {
        let Store { opened, options, .. } = store;
        let newest = opened.engine.held.clone();
        let unread = opened.engine.glanced.clone();
        let persisted = newest.iter().map(|(adapter, held)| (*adapter, held.table.generation())).collect();
        let mut actor = Self {
            commits: Debounce::new(Edge::Leading, options.quiet, options.ceiling),
            snapshots: Debounce::new(Edge::Trailing, SNAPSHOT_QUIET, SNAPSHOT_CEILING),
            engine: Some(opened.engine),
            worker: None,
            clock: Arc::new(clock),
            outbox: Outbox::new(listeners),
            newest,
            changed: BTreeSet::new(),
            persisted,
            unsnapshotted: opened.stale_snapshots,
            unread,
            read_next: None,
            record_waiters: Vec::new(),
            timer: None,
            health: Health::new(opened.state.clone()),
            draining: false,
        };
        let now = Instant::now();
        actor.read_next = Some(now + READ_AFTER).filter(|_| !actor.unread.is_empty());
        if let StoreState::Failing { fault } = opened.state {
            // Nothing of it is on disk in the form that it is served in.
            actor.health.commit_fault = Some(fault);
            actor.persisted.clear();
            actor.changed = actor.newest.keys().copied().collect();
            actor.commits.failed(now);
        }
        if !actor.unsnapshotted.is_empty() {
            actor.snapshots.changed(now);
        }
        actor
    }

    /// Does what is due and sets the timer for what is next.
    fn step(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if !self.draining {
            if self.commits.poll(now) {
                self.commit(ctx);
            }
            // A commit that is about to begin goes first; the ceiling holds all the same.
            if !self.commits.is_under_way() && self.snapshots.poll(now) {
                self.write_snapshots(ctx);
            }
            if self.read_next.is_some_and(|next| next <= now) {
                self.read_snapshots(ctx);
            }
        }
        self.outbox.deliver();
        let retry = self.outbox.is_waiting().then(|| now + TRY_AGAIN);
        let snapshots = self.snapshots.deadline().filter(|_| !self.commits.is_under_way());
        let due = [self.commits.deadline(), snapshots, self.read_next]
            .into_iter()
            .flatten()
            .filter(|_| !self.draining);
        let next = due.chain(retry).min();
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = next.map(|next| {
            ctx.run_later(next.saturating_duration_since(now), |actor, ctx| {
                actor.timer = None;
                actor.step(ctx);
            })
        });
    }

    fn commit(&mut self, ctx: &mut Context<Self>) {
        let adapters = std::mem::take(&mut self.changed);
        let changed: Vec<_> = adapters
            .into_iter()
            .filter_map(|adapter| Some((adapter, self.newest.get(&adapter)?.clone())))
            .collect();
        let generations: Vec<_> =
            changed.iter().map(|(adapter, held)| (*adapter, held.table.generation())).collect();
        let waiters = std::mem::take(&mut self.record_waiters);
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Commit { changed, reply });
        let done = answer.into_actor(self).map(move |answer, actor, ctx| {
            let lost = |_| Committed { outcome: Err(worker_gone()), took: Duration::ZERO };
            let commit = answer.unwrap_or_else(lost);
            actor.committed(&generations, &commit);
            answer_all(waiters, &commit.outcome);
            actor.step(ctx);
        });
        ctx.spawn(done);
    }

    /// A job that cannot be handed over drops its reply, which is its answer.
    fn submit(&self, job: Job) {
        if let Some(worker) = &self.worker
            && worker.submit(job).is_err()
        {
            tracing::warn!("the store's thread did not take a job");
        }
    }

    fn committed(&mut self, generations: &[(AdapterAddress, u64)], commit: &Committed) {
        let (now, at) = (Instant::now(), (self.clock)());
        match &commit.outcome {
            Ok(()) => {
                self.commits.succeeded();
                self.health.committed(commit.took);
                self.snapshots.changed(now);
                for (adapter, generation) in generations {
                    // One that was dropped meanwhile is not spoken of again.
                    if self.newest.contains_key(adapter) {
                        self.persisted.insert(*adapter, *generation);
                        self.unsnapshotted.insert(*adapter);
                        self.outbox.persisted(BondsPersisted {
                            adapter: *adapter,
                            generation: *generation,
                            at,
                        });
                    }
                }
            }
            Err(fault) => {
                tracing::error!(%fault, "bonds could not be stored; trying again");
                self.commits.failed(now);
                self.health.commit_fault = Some(fault.clone());
                for (adapter, generation) in generations {
                    if self.newest.contains_key(adapter) {
                        self.changed.insert(*adapter);
                        let (adapter, generation, fault) = (*adapter, *generation, fault.clone());
                        self.outbox.failed(PersistFailed { adapter, generation, fault });
                    }
                }
            }
        }
        self.tell_state(now);
    }

    fn write_snapshots(&mut self, ctx: &mut Context<Self>) {
        let adapters: Vec<_> = std::mem::take(&mut self.unsnapshotted).into_iter().collect();
        let (reply, answer) = oneshot::channel();
        self.submit(Job::Snapshots { adapters: adapters.clone(), now: (self.clock)(), reply });
        let done = answer.into_actor(self).map(move |answer, actor, ctx| {
            let now = Instant::now();
            match answer.unwrap_or_else(|_| Err(worker_gone())) {
                Ok(()) => {
                    actor.snapshots.succeeded();
                    actor.health.snapshot_fault = None;
                }
                Err(fault) => {
                    actor.snapshots.failed(now);
                    actor.unsnapshotted.extend(adapters);
                    actor.health.snapshot_fault = Some(fault);
                }
            }
            actor.tell_state(now);
            actor.step(ctx);
        });
        ctx.spawn(done);
    }

    fn read_snapshots(&mut self, ctx: &mut Context<Self>) {
        self.read_next = None;
        let Some(adapter) = self.unread.pop_first() else { return };
        let (reply, answer) = oneshot::channel();
        self.submit(Job::ReadSnapshots { adapter, reply });
        let done = answer.into_actor(self).map(move |answer, actor, ctx| {
            let now = Instant::now();
            match answer {
                Ok(read) => {
                    // One that was dropped meanwhile has none.
                    if read.is_stale && actor.newest.contains_key(&adapter) {
                        actor.unsnapshotted.insert(adapter);
                        actor.snapshots.changed(now);
                    }
                    actor.health.found(read.problems);
                }
                // The queue was full.
                Err(_) => drop(actor.unread.insert(adapter)),
            }
            actor.read_next = Some(now + READ_PAUSE).filter(|_| !actor.unread.is_empty());
            actor.tell_state(now);
            actor.step(ctx);
        });
        ctx.spawn(done);
    }

    fn tell_state(&mut self, now: Instant) {
        if let Some(message) = self.health.news(now) {
            self.outbox.state(message);
        }
    }

    /// Takes a newer state of an adapter into the next commit.
    fn take(&mut self, adapter: AdapterAddress, ctx: &mut Context<Self>) {
        self.changed.insert(adapter);
        self.commits.changed(Instant::now());
        self.step(ctx);
    }

    /// Asks the thread; the answer of one that is gone or has too much to do is a fault.
    fn ask<T: 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreFault>>) -> Job,
    ) -> ResponseActFuture<Self, Result<T, StoreFault>> {
        if self.draining {
            return Box::pin(actix::fut::ready(Err(StoreFault::ShuttingDown)));
        }
        let (reply, answer) = oneshot::channel();
        self.submit(job(reply));
        let answer = async move { answer.await.unwrap_or_else(|_| Err(worker_gone())) };
        Box::pin(answer.into_actor(self))
    }
}

fn worker_gone() -> StoreFault {
    StoreFault::Io("the store's thread did not answer".to_owned())
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
        if let Some(engine) = self.engine.take() {
            match Worker::start(engine) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => {
                    tracing::error!(%error, "the store's thread could not be started");
                    self.health.commit_fault = Some(worker_gone());
                }
            }
        }
        self.tell_state(Instant::now());
        self.step(ctx);
    }
}

#[cfg(test)]
mod tests;
