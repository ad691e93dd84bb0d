//! Carries messages to one adapter in order, waiting where its mailbox is full.

use actix::Addr;
use tokio::sync::{mpsc, oneshot};

use super::{AdapterEntry, AttachFailed, RegistryActor};
use crate::adapter::messages::{
    Attach, CheckDrift, Detach, DrainAdapter, ManagersChanged, Observed, PairedPeersSeen, StopAdapter,
};
use crate::store::messages::{BondsPersisted, PersistFailed};

/// Messages under way to one adapter at most. They are a few for each plug-in, commit and foreign load; an adapter
/// that is this far behind is stuck, and then a restart of the service is the cure.
const QUEUE_MESSAGES: usize = 1_024;

/// What the registry has for an adapter.
pub(super) enum ToAdapter {
    Attach(Box<Attach>),
    Detach(Detach),
    Neighbours(ManagersChanged),
    Paired(PairedPeersSeen),
    Observed(Box<Observed>),
    CheckDrift(CheckDrift),
    Persisted(BondsPersisted),
    PersistFailed(Box<PersistFailed>),
    Stop(StopAdapter),
    /// Announce what waits; answered when that and everything before it has been taken.
    Drain(oneshot::Sender<()>),
}

pub(super) struct Courier {
    queue: mpsc::Sender<ToAdapter>,
}

impl Courier {
    pub fn start(entry: AdapterEntry, registry: Addr<RegistryActor>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MESSAGES);
        tokio::task::spawn_local(carry(entry, registry, waiting));
        Self { queue }
    }

    pub fn tell(&self, message: ToAdapter) {
        match self.queue.try_send(message) {
            // Closed: the adapter's actor has ended, because it was forgotten or the service stops.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                panic!("an adapter has not taken {QUEUE_MESSAGES} messages: it is stuck")
            }
        }
    }
}

async fn carry(entry: AdapterEntry, registry: Addr<RegistryActor>, mut waiting: mpsc::Receiver<ToAdapter>) {
    while let Some(message) = waiting.recv().await {
        let delivered = match message {
            ToAdapter::Attach(attach) => {
                let index = attach.index;
                match entry.attach.send(*attach).await {
                    Ok(true) => Ok(()),
                    Ok(false) => registry.send(AttachFailed { index }).await,
                    Err(closed) => Err(closed),
                }
            }
            ToAdapter::Detach(detach) => entry.detach.send(detach).await,
            ToAdapter::Neighbours(neighbours) => entry.neighbours.send(neighbours).await,
            ToAdapter::Paired(paired) => entry.paired.send(paired).await,
            ToAdapter::Observed(observed) => entry.observed.send(*observed).await,
            ToAdapter::CheckDrift(check) => entry.handle.check_drift.send(check).await,
            ToAdapter::Persisted(persisted) => entry.persisted.send(persisted).await,
            ToAdapter::PersistFailed(failed) => entry.persist_failed.send(*failed).await,
            ToAdapter::Stop(stop) => entry.stop.send(stop).await,
            ToAdapter::Drain(drained) => {
                let outcome = entry.drain.send(DrainAdapter).await;
                let _ = drained.send(());
                outcome
            }
        };
        if delivered.is_err() {
            return;
        }
    }
}
