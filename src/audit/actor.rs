//! The shell around the log: takes entries, writes them off the event loop, tells who listens.
//!
//! Must never make anybody wait: what it is told is queued, and what cannot be written stays queued and is
//! tried again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::entry::{Entry, Line};
use super::log::AuditLog;
use super::messages::{AuditListeners, AuditStateChanged, DrainAudit, Record, Recorded, Records};

/// Messages that may wait: each adapter puts what it has to tell at once into one, and commands come one by one.
const MAILBOX_CAPACITY: usize = 512;

/// Lines that wait for a disk that cannot be written at most; past it the oldest is given up and counted.
const LINES_WAITING_MAX: usize = 2_000;

/// Pause before a disk that could not be written is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// See the module text.
pub struct AuditActor {
    folder: PathBuf,
    /// None while it is away, writing.
    log: Option<AuditLog>,
    waiting: VecDeque<Line>,
    listeners: AuditListeners,
    state: AuditStateChanged,
    /// What the listeners were told last.
    told: AuditStateChanged,
    /// A try is due later; until then nothing is written.
    retry: Option<SpawnHandle>,
    drained: Vec<oneshot::Sender<()>>,
}

impl AuditActor {
    /// Writes into this folder, which must be there.
    pub fn new(folder: PathBuf, listeners: AuditListeners) -> Self {
        Self {
            log: Some(AuditLog::new(folder.clone())),
            folder,
            waiting: VecDeque::new(),
            listeners,
            state: AuditStateChanged::default(),
            told: AuditStateChanged::default(),
            retry: None,
            drained: Vec::new(),
        }
    }

    fn write(&mut self, ctx: &mut Context<Self>) {
        self.tell_state();
        if self.retry.is_some() || self.log.is_none() {
            return;
        }
        if self.waiting.is_empty() {
            return self.answer_drained();
        }
        let Some(mut log) = self.log.take() else { return };
        let lines: Vec<Line> = self.waiting.drain(..).collect();
        let writing = tokio::task::spawn_blocking(move || {
            let outcome = log.append(&lines);
            (log, lines, outcome)
        });
        let done = writing.into_actor(self).map(|done, actor, ctx| {
            let Ok((log, lines, outcome)) = done else {
                // It panicked: its lines are gone, a new one begins where the file ends.
                actor.log = Some(AuditLog::new(actor.folder.clone()));
                actor.set_fault(Some("writing the audit log failed".to_owned()));
                return actor.write(ctx);
            };
            actor.log = Some(log);
            match outcome {
                Ok(()) => {
                    // For people who look on: what a full mailbox does not take is in the log all the same.
                    if actor.listeners.recorded.try_send(Recorded(lines)).is_err() {
                        tracing::warn!("lines of the audit log were not published");
                    }
                    actor.set_fault(None);
                    actor.write(ctx);
                }
                Err(error) => actor.failed(lines, &error, ctx),
            }
        });
        ctx.spawn(done);
    }

    fn failed(&mut self, lines: Vec<Line>, error: &std::io::Error, ctx: &mut Context<Self>) {
        for line in lines.into_iter().rev() {
            self.waiting.push_front(line);
        }
        self.limit();
        self.set_fault(Some(format!("the audit log cannot be written: {error}")));
        self.tell_state();
        self.answer_drained();
        self.retry = Some(ctx.run_later(TRY_AGAIN, |actor, ctx| {
            actor.retry = None;
            actor.write(ctx);
        }));
    }

    fn limit(&mut self) {
        while self.waiting.len() > LINES_WAITING_MAX {
            self.waiting.pop_front();
            self.state.lost_count += 1;
        }
    }

    fn set_fault(&mut self, fault: Option<String>) {
        match (&self.state.fault, &fault) {
            (None, Some(fault)) => tracing::error!("{fault}; bonds are kept all the same"),
            (Some(_), None) => tracing::info!(lost = self.state.lost_count, "the audit log is written again"),
            _ => {}
        }
        self.state.fault = fault;
    }

    /// What a full mailbox does not take is told with the next line.
    fn tell_state(&mut self) {
        if self.told != self.state && self.listeners.state.try_send(self.state.clone()).is_ok() {
            self.told = self.state.clone();
        }
    }

    fn answer_drained(&mut self) {
        for waiter in self.drained.drain(..) {
            let _ = waiter.send(());
        }
    }
}

impl Actor for AuditActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
    }
}

impl Handler<Record> for AuditActor {
    type Result = ();

    fn handle(&mut self, Record(entry): Record, ctx: &mut Self::Context) {
        self.waiting.push_back(entry.line());
        self.limit();
        self.write(ctx);
    }
}

impl Handler<Records> for AuditActor {
    type Result = ();

    fn handle(&mut self, records: Records, ctx: &mut Self::Context) {
        self.state.lost_count += records.dropped_count;
        self.waiting.extend(records.entries.iter().map(Entry::line));
        self.limit();
        self.write(ctx);
    }
}

impl Handler<DrainAudit> for AuditActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: DrainAudit, ctx: &mut Self::Context) -> Self::Result {
        let (sender, drained) = oneshot::channel();
        self.drained.push(sender);
        if let Some(retry) = self.retry.take() {
            ctx.cancel_future(retry);
        }
        self.write(ctx);
        Box::pin(async move {
            let _ = drained.await;
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::audit::entry::Action;
    use crate::audit::log::{FILE, read};
    use crate::bond::UnixMillis;

    /// Remembers what the log told.
    #[derive(Default, Clone)]
    struct Ear {
        lines: Arc<Mutex<Vec<Line>>>,
        states: Arc<Mutex<Vec<AuditStateChanged>>>,
    }

    impl Actor for Ear {
        type Context = Context<Self>;
    }

    impl Handler<Recorded> for Ear {
        type Result = ();

        fn handle(&mut self, Recorded(lines): Recorded, _: &mut Self::Context) {
            self.lines.lock().unwrap().extend(lines);
        }
    }

    impl Handler<AuditStateChanged> for Ear {
        type Result = ();

        fn handle(&mut self, state: AuditStateChanged, _: &mut Self::Context) {
            self.states.lock().unwrap().push(state);
        }
    }

    fn launch(folder: &std::path::Path) -> (Addr<AuditActor>, Addr<Ear>, Ear) {
        let ear = Ear::default();
        let listening = ear.clone().start();
        let listeners =
            AuditListeners { recorded: listening.clone().recipient(), state: listening.clone().recipient() };
        (AuditActor::new(folder.to_owned(), listeners).start(), listening, ear)
    }

    fn record(number: u64) -> Record {
        Record(Entry::new(UnixMillis(number), Action::BondAdded, "pairing"))
    }

    #[actix::test]
    async fn what_is_told_is_on_disk_before_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let (audit, listening, ear) = launch(folder.path());
        for number in 0..50 {
            audit.send(record(number)).await.unwrap();
        }
        audit.send(DrainAudit).await.unwrap();
        let on_disk = read(folder.path()).unwrap().lines;
        assert_eq!(on_disk.len(), 50);
        // Behind what it was told.
        listening.send(AuditStateChanged::default()).await.unwrap();
        assert_eq!(*ear.lines.lock().unwrap(), on_disk);
    }

    #[actix::test]
    async fn entries_that_were_given_up_before_they_came_are_counted_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (audit, listening, ear) = launch(folder.path());
        let entries = vec![record(1).0, record(2).0];
        audit.send(Records { entries, dropped_count: 3 }).await.unwrap();
        audit.send(DrainAudit).await.unwrap();
        assert_eq!(read(folder.path()).unwrap().lines.len(), 2);
        listening.send(AuditStateChanged::default()).await.unwrap();
        assert_eq!(ear.states.lock().unwrap()[0].lost_count, 3);
    }

    #[actix::test]
    async fn a_log_that_cannot_be_written_is_an_alarm_and_is_written_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        let (audit, listening, ear) = launch(folder.path());
        audit.send(record(1)).await.unwrap();
        audit.send(DrainAudit).await.unwrap();
        audit.send(record(2)).await.unwrap();
        listening.send(AuditStateChanged::default()).await.unwrap();
        assert!(ear.states.lock().unwrap()[0].fault.is_some());
        assert!(ear.lines.lock().unwrap().is_empty());

        std::fs::remove_dir(folder.path().join(FILE)).unwrap();
        audit.send(DrainAudit).await.unwrap();
        assert_eq!(read(folder.path()).unwrap().lines.len(), 2);
        listening.send(AuditStateChanged::default()).await.unwrap();
        let told = ear.states.lock().unwrap().clone();
        assert!(told.iter().any(|state| state.fault.is_none()) && told[0].fault.is_some());
    }
}
