//! One handler a message.

use actix::prelude::*;
use tokio::sync::oneshot;

use super::*;

impl Handler<BondsChanged> for StoreActor {
    type Result = ();

    fn handle(&mut self, message: BondsChanged, ctx: &mut Self::Context) {
        let BondsChanged { adapter, table, record } = message;
        let generation = table.generation();
        if self.draining {
            tracing::error!(%adapter, generation, "a change came after the store was told to finish");
            return;
        }
        if let Some(known) = self.newest.get(&adapter)
            && generation <= known.table.generation()
        {
            if generation < known.table.generation() {
                tracing::error!(%adapter, generation, "a table older than the stored one was not taken");
            }
            // Heard before. If it is durable, whoever asks again waits for that word.
            if let Some(generation) =
                self.persisted.get(&adapter).copied().filter(|_| !self.changed.contains(&adapter))
            {
                self.outbox.persisted(BondsPersisted { adapter, generation, at: (self.clock)() });
                self.step(ctx);
            }
            return;
        }
        // The commit counts.
        self.newest.insert(adapter, Held { table, record, revision: 0 });
        self.take(adapter, ctx);
    }
}

impl Handler<AdapterRecordChanged> for StoreActor {
    type Result = ResponseFuture<Result<(), StoreFault>>;

    fn handle(&mut self, message: AdapterRecordChanged, ctx: &mut Self::Context) -> Self::Result {
        let AdapterRecordChanged { adapter, record } = message;
        if self.draining {
            return Box::pin(std::future::ready(Err(StoreFault::ShuttingDown)));
        }
        let known = self.newest.get(&adapter).is_some_and(|held| held.record == record);
        let durable = known && !self.changed.contains(&adapter) && !self.commits.is_under_way();
        if durable {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.newest.entry(adapter).or_default().record = record;
        let (waiter, answer) = oneshot::channel();
        self.record_waiters.push(waiter);
        self.take(adapter, ctx);
        Box::pin(async { answer.await.unwrap_or(Err(StoreFault::ShuttingDown)) })
    }
}

impl Handler<DropAdapter> for StoreActor {
    type Result = ResponseActFuture<Self, Result<(), StoreFault>>;

    fn handle(&mut self, message: DropAdapter, _: &mut Self::Context) -> Self::Result {
        let DropAdapter { adapter } = message;
        let answer = self.ask(|reply| Job::Drop { adapter, reply });
        if self.draining {
            return answer;
        }
        let before = self.newest.remove(&adapter);
        self.changed.remove(&adapter);
        self.unsnapshotted.remove(&adapter);
        self.persisted.remove(&adapter);
        self.outbox.forget(adapter);
        Box::pin(answer.map(move |outcome, actor: &mut Self, ctx| {
            if let (Err(_), Some(held)) = (&outcome, before)
                && !actor.newest.contains_key(&adapter)
            {
                // It was not dropped: it is stored again, so that memory and disk say the same.
                actor.newest.insert(adapter, held);
                actor.take(adapter, ctx);
            }
            outcome
        }))
    }
}

impl Handler<SaveCheckpoint> for StoreActor {
    type Result = ResponseActFuture<Self, Result<Checkpoint, StoreFault>>;

    fn handle(&mut self, message: SaveCheckpoint, _: &mut Self::Context) -> Self::Result {
        let SaveCheckpoint { adapter, table, reason } = message;
        let now = (self.clock)();
        self.ask(|reply| Job::SaveCheckpoint { adapter, table, reason, now, reply })
    }
}

impl Handler<ListCheckpoints> for StoreActor {
    type Result = ResponseActFuture<Self, Result<Vec<Checkpoint>, StoreFault>>;

    fn handle(&mut self, message: ListCheckpoints, _: &mut Self::Context) -> Self::Result {
        self.ask(|reply| Job::ListCheckpoints { adapter: message.adapter, reply })
    }
}

impl Handler<ReadCheckpoint> for StoreActor {
    type Result = ResponseActFuture<Self, Result<CheckpointContent, StoreFault>>;

    fn handle(&mut self, message: ReadCheckpoint, _: &mut Self::Context) -> Self::Result {
        self.ask(|reply| Job::ReadCheckpoint { label: message.label, reply })
    }
}

impl Handler<ReadAdapter> for StoreActor {
    type Result = MessageResult<ReadAdapter>;

    fn handle(&mut self, message: ReadAdapter, _: &mut Self::Context) -> Self::Result {
        let held = self.newest.get(&message.adapter);
        MessageResult(held.map(|held| StoredAdapter {
            address: message.adapter,
            table: (*held.table).clone(),
            record: held.record.clone(),
        }))
    }
}

impl Handler<Drain> for StoreActor {
    type Result = ResponseActFuture<Self, Result<(), StoreFault>>;

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) -> Self::Result {
        let Some(worker) = self.worker.take().filter(|_| !self.draining) else {
            return Box::pin(actix::fut::ready(Err(StoreFault::ShuttingDown)));
        };
        self.draining = true;
        let waiters = std::mem::take(&mut self.record_waiters);
        let mut adapters = std::mem::take(&mut self.changed);
        if self.commits.is_under_way() {
            // It may fail yet, and nobody would try again: its share goes into the last commit, too.
            adapters.extend(self.newest.keys().copied());
        }
        let changed: Vec<_> = adapters
            .iter()
            .filter_map(|adapter| Some((*adapter, self.newest.get(adapter)?.clone())))
            .collect();
        let generations: Vec<_> =
            changed.iter().map(|(adapter, held)| (*adapter, held.table.generation())).collect();
        // Also of what cannot be committed: a snapshot that is newer than the database is as good.
        self.unsnapshotted.extend(adapters);
        let snapshots: Vec<_> =
            self.newest.keys().copied().filter(|adapter| self.is_unsnapshotted(*adapter)).collect();
        let now = (self.clock)();
        self.step(ctx);
        let finish = async move {
            let committed = if changed.is_empty() {
                None
            } else {
                let (reply, answer) = oneshot::channel();
                hand_over(&worker, Job::Commit { changed, reply }).await;
                answer.await.ok().or(Some(Committed { outcome: Err(worker_gone()), took: Duration::ZERO }))
            };
            let (reply, answer) = oneshot::channel();
            hand_over(&worker, Job::Close { adapters: snapshots, now, reply }).await;
            (committed, answer.await.unwrap_or_else(|_| Err(worker_gone())))
        };
        Box::pin(finish.into_actor(self).map(move |(committed, closed), actor, ctx| {
            let mut outcome = closed;
            if let Some(committed) = committed {
                actor.committed(&generations, &committed);
                answer_all(waiters, &committed.outcome);
                actor.step(ctx);
                outcome = committed.outcome.and(outcome);
            }
            outcome
        }))
    }
}

impl StoreActor {
    /// Its snapshot lacks something, or will once a commit that is under way is done.
    fn is_unsnapshotted(&self, adapter: AdapterAddress) -> bool {
        let newest = self.newest.get(&adapter).map(|held| held.table.generation());
        self.unsnapshotted.contains(&adapter)
            || self.snapshots.is_under_way()
            || self.commits.is_under_way()
            || newest != self.persisted.get(&adapter).copied()
    }
}

/// The queue is emptied all the time; nothing else is put into it any more.
async fn hand_over(worker: &Worker, mut job: Job) {
    while let Err(Some(back)) = worker.submit(job) {
        job = *back;
        tokio::time::sleep(TRY_AGAIN).await;
    }
}
