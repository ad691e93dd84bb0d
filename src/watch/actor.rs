//! The shell around [`WatchMachine`]: reads the monitor socket and tells who is there and what was done.

use std::io;

use actix::prelude::*;

use super::machine::WatchMachine;
use crate::adapter::messages::{Neighbourhood, NeighbourhoodChanged, Observed};
use crate::mgmt::pump::{Batch, pump};
use crate::mgmt::socket::SOCKET_NAME;
use crate::mgmt::{MgmtSocket, MonitorFrame};

/// Batches that wait at most; each waits for the one before it.
const MAILBOX_MESSAGES: usize = 4;

/// See the module text.
pub struct WatchActor {
    machine: WatchMachine,
    socket: Option<MgmtSocket>,
    changed: Recipient<NeighbourhoodChanged>,
    observed: Recipient<Observed>,
    told: Option<Neighbourhood>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct RecordsReceived(Batch<MonitorFrame>);

#[derive(Message)]
#[rtype(result = "()")]
struct SocketEnded(io::Error);

impl WatchActor {
    /// `socket` was opened by whoever starts us, so that what the kernel replays at that moment has been
    /// read before anybody acts on it.
    pub fn new(
        mut socket: MgmtSocket,
        changed: Recipient<NeighbourhoodChanged>,
        observed: Recipient<Observed>,
    ) -> Self {
        let mut machine = WatchMachine::new(SOCKET_NAME);
        while let Ok(Some(datagram)) = socket.try_recv() {
            if let Ok(frame) = MonitorFrame::decode(datagram) {
                machine.record(frame);
            }
        }
        Self { machine, socket: Some(socket), changed, observed, told: None }
    }

    /// Who is there at this moment.
    pub fn neighbourhood(&self) -> Neighbourhood {
        self.machine.neighbourhood()
    }

    /// What was done first: a manager connects right after its load. Who did it is part of that.
    fn tell(&mut self, ctx: &mut Context<Self>) {
        let seen = self.machine.neighbourhood();
        let seen = (self.told.as_ref() != Some(&seen)).then_some(seen);
        let observed = self.machine.take_observed();
        if seen.is_none() && observed.is_empty() {
            return;
        }
        if let Some(seen) = &seen {
            tracing::info!(managers = ?seen.managers, listeners = ?seen.listeners, loaders = ?seen.loaders, "others at the management interface");
            self.told = Some(seen.clone());
        }
        let (to_changed, to_observed) = (self.changed.clone(), self.observed.clone());
        let telling = async move {
            for activity in observed {
                let _ = to_observed.send(activity).await;
            }
            if let Some(seen) = seen {
                let _ = to_changed.send(NeighbourhoodChanged { seen: Some(seen) }).await;
            }
        };
        // Waiting keeps the order and holds back the reading; what comes meanwhile waits in the kernel.
        ctx.wait(telling.into_actor(self));
    }
}

impl Actor for WatchActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES);
        if let Some(socket) = self.socket.take() {
            tokio::task::spawn_local(read(socket, ctx.address()));
        }
        self.tell(ctx);
    }
}

async fn read(socket: MgmtSocket, actor: Addr<WatchActor>) {
    let deliver = |batch| {
        let delivering = actor.send(RecordsReceived(batch));
        async move { delivering.await.is_ok() }
    };
    if let Some(error) = pump(socket, MonitorFrame::decode, deliver).await {
        let _ = actor.send(SocketEnded(error)).await;
    }
}

impl Handler<RecordsReceived> for WatchActor {
    type Result = ();

    fn handle(&mut self, records: RecordsReceived, ctx: &mut Context<Self>) {
        for frame in records.0.frames {
            self.machine.record(frame);
        }
        self.tell(ctx);
    }
}

impl Handler<SocketEnded> for WatchActor {
    type Result = ();

    /// Blind, we could wipe somebody's keys; a restart costs milliseconds.
    fn handle(&mut self, ended: SocketEnded, _: &mut Context<Self>) {
        panic!("the monitor socket ended: {}", ended.0);
    }
}
