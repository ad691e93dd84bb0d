//! Messages to the registry.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{
    AdapterCount, AttachFailed, CountAdapters, DrainAdapters, FramesReceived, RegistryActor, Running,
    SocketEnded, StartRegistry, ToAdapter, read, tell,
};
use crate::adapter::messages::{
    AdapterForgotten, BluetoothdSeen, CommandError, ForgetAdapter, ForgetAdapterReport, ManagersChanged,
    NeighbourhoodChanged, Observed, PairedPeersSeen, StopAdapter,
};
use crate::mgmt::{Command, INDEX_NONE};
use crate::registry::lately::Lately;
use crate::store::messages::{BondsPersisted, DropAdapter, PersistFailed, SaveCheckpoint, StoreFault};

impl Handler<StartRegistry> for RegistryActor {
    type Result = ();

    fn handle(&mut self, start: StartRegistry, ctx: &mut Context<Self>) {
        let StartRegistry { socket, stored, factory, ports, version_known } = start;
        self.running = Some(Running { sender: socket.sender(), factory, ports, version_known });
        tokio::task::spawn_local(read(socket, ctx.address()));
        for stored in stored {
            self.know(stored, ctx);
        }
        self.send(INDEX_NONE, &Command::ReadVersion);
        self.machine.start(std::time::Instant::now());
        self.settle(ctx);
    }
}

impl Handler<FramesReceived> for RegistryActor {
    type Result = ();

    fn handle(&mut self, frames: FramesReceived, ctx: &mut Context<Self>) {
        self.frames(frames.0, ctx);
    }
}

impl Handler<SocketEnded> for RegistryActor {
    type Result = ();

    /// Without it no adapter would be seen any more; a restart costs milliseconds.
    fn handle(&mut self, ended: SocketEnded, _: &mut Context<Self>) {
        panic!("the management socket of the registry ended: {}", ended.0);
    }
}

impl Handler<AttachFailed> for RegistryActor {
    type Result = ();

    fn handle(&mut self, failed: AttachFailed, ctx: &mut Context<Self>) {
        self.machine.attach_failed(failed.index, std::time::Instant::now());
        self.settle(ctx);
    }
}

impl Handler<NeighbourhoodChanged> for RegistryActor {
    type Result = ();

    fn handle(&mut self, changed: NeighbourhoodChanged, _: &mut Context<Self>) {
        self.neighbourhood = changed.seen;
        for known in self.adapters.values() {
            if let Some(index) = known.index {
                let seen = self.neighbourhood.as_ref().map(|seen| seen.at(index));
                known.courier.tell(ToAdapter::Neighbours(ManagersChanged { seen }));
            }
        }
    }
}

impl Handler<BluetoothdSeen> for RegistryActor {
    type Result = ();

    fn handle(&mut self, said: BluetoothdSeen, _: &mut Context<Self>) {
        self.paired = said.adapters;
        for (address, known) in &self.adapters {
            let seen = self.paired.as_ref().and_then(|paired| paired.get(address)).cloned();
            known.courier.tell(ToAdapter::Paired(PairedPeersSeen { seen }));
        }
    }
}

impl Handler<Observed> for RegistryActor {
    type Result = ();

    fn handle(&mut self, observed: Observed, _: &mut Context<Self>) {
        for (address, known) in &self.adapters {
            if known.index == Some(observed.index) && Lately::concerns(&observed, *address) {
                known.courier.tell(ToAdapter::Observed(Box::new(observed.clone())));
            }
        }
        self.lately.take(observed);
    }
}

impl Handler<BondsPersisted> for RegistryActor {
    type Result = ();

    fn handle(&mut self, persisted: BondsPersisted, _: &mut Context<Self>) {
        if let Some(known) = self.adapters.get(&persisted.adapter) {
            known.courier.tell(ToAdapter::Persisted(persisted));
        }
    }
}

impl Handler<PersistFailed> for RegistryActor {
    type Result = ();

    fn handle(&mut self, failed: PersistFailed, _: &mut Context<Self>) {
        if let Some(known) = self.adapters.get(&failed.adapter) {
            known.courier.tell(ToAdapter::PersistFailed(Box::new(failed)));
        }
    }
}

impl Handler<DrainAdapters> for RegistryActor {
    type Result = ResponseFuture<()>;

    /// Behind whatever is on its way to the adapters already, such as the store's last word.
    fn handle(&mut self, _: DrainAdapters, _: &mut Context<Self>) -> Self::Result {
        let draining: Vec<_> = self
            .adapters
            .values()
            .map(|known| {
                let (drained, waiting) = oneshot::channel();
                known.courier.tell(ToAdapter::Drain(drained));
                waiting
            })
            .collect();
        Box::pin(async move {
            for drained in draining {
                let _ = drained.await;
            }
        })
    }
}

impl Handler<CountAdapters> for RegistryActor {
    type Result = AdapterCount;

    fn handle(&mut self, _: CountAdapters, _: &mut Context<Self>) -> AdapterCount {
        let present = self.adapters.values().filter(|known| known.index.is_some()).count();
        AdapterCount { known: self.adapters.len(), present }
    }
}

impl Handler<ForgetAdapter> for RegistryActor {
    type Result = ResponseActFuture<Self, Result<ForgetAdapterReport, CommandError>>;

    /// A copy is kept aside first; only when that and the removal are durable does the adapter go.
    fn handle(&mut self, request: ForgetAdapter, _: &mut Context<Self>) -> Self::Result {
        let adapter = request.adapter;
        let refusal = match (self.adapters.get(&adapter), &self.running) {
            (None, _) => Some(CommandError::AdapterUnknown),
            (Some(known), _) if known.index.is_some() => Some(CommandError::AdapterPresent),
            (_, None) => Some(CommandError::ShuttingDown),
            _ => None,
        };
        if let Some(refusal) = refusal {
            return Box::pin(async move { Err(refusal) }.into_actor(self));
        }
        let known = &self.adapters[&adapter];
        let export = known.entry.handle.export.send(crate::adapter::messages::ExportBonds);
        let ports = self.running.as_ref().map(|running| running.ports.clone());
        let work = async move {
            let ports = ports.ok_or(CommandError::ShuttingDown)?;
            let table = export.await.map_err(|_| CommandError::ShuttingDown)?.table;
            let bond_count = table.len();
            let checkpoint =
                if table.is_empty() { None } else { Some(keep_aside(&ports, adapter, table).await?) };
            let dropped = ports.drop_adapter.send(DropAdapter { adapter }).await;
            dropped.unwrap_or(Err(StoreFault::ShuttingDown)).map_err(CommandError::Store)?;
            Ok(ForgetAdapterReport { bond_count, checkpoint })
        };
        Box::pin(work.into_actor(self).map(move |report: Result<_, CommandError>, actor, _| {
            if report.is_ok() {
                actor.drop_known(adapter);
            }
            report
        }))
    }
}

async fn keep_aside(
    ports: &super::RegistryPorts,
    adapter: crate::bond::AdapterAddress,
    table: Arc<crate::bond::BondTable>,
) -> Result<String, CommandError> {
    let saved = ports
        .save_checkpoint
        .send(SaveCheckpoint { adapter, table, reason: "before_adapter_forget".into() })
        .await;
    let saved = saved.unwrap_or(Err(StoreFault::ShuttingDown));
    saved.map(|checkpoint| checkpoint.label).map_err(CommandError::Store)
}

impl RegistryActor {
    fn drop_known(&mut self, adapter: crate::bond::AdapterAddress) {
        let Some(known) = self.adapters.remove(&adapter) else { return };
        known.courier.tell(ToAdapter::Stop(StopAdapter));
        if let Some(running) = &self.running {
            tell(&running.ports.forgotten, AdapterForgotten { adapter });
        }
        // It may have been plugged in while it was being forgotten: then it is found again, as new.
        if let Some(index) = known.index {
            self.machine.attach_failed(index, std::time::Instant::now());
        }
    }
}
