//! The shell around [`RegistryMachine`]: owns the registry's management socket, one
//! adapter actor for every known adapter, and the way of messages to them.

mod courier;
mod handlers;

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use actix::prelude::*;

use self::courier::{Courier, ToAdapter};
use super::appearance::AppearanceSource;
use super::lately::Lately;
use super::machine::{Output, RegistryMachine};
use crate::adapter::messages::{
    AdapterForgotten, AdapterHandle, AdapterKnown, Attach, CheckDrift, Detach, DrainAdapter, ManagersChanged,
    Neighbourhood, Observed, PairedPeers, PairedPeersSeen, StopAdapter,
};
use crate::bond::{AdapterAddress, AdapterRecord, BondTable};
use crate::mgmt::pump::{Batch, pump};
use crate::mgmt::{
    Command, Event, INDEX_NONE, Incoming, MgmtSender, MgmtSocket, Outcome, Reception, Reply, Session,
};
use crate::store::messages::{BondsPersisted, DropAdapter, PersistFailed, SaveCheckpoint, StoredAdapter};

/// Messages that wait for the registry at most: index events in batches, the store's reports, a command
/// now and then.
const MAILBOX_MESSAGES: usize = 256;

/// Adapters that are kept at most, present and stored. Nobody has as many; a broken driver that makes
/// up a new address at each plug-in must not fill the memory.
pub const ADAPTERS_MAX: usize = 64;

/// All that the registry and others need of one adapter's actor.
#[derive(Clone)]
pub struct AdapterEntry {
    pub handle: AdapterHandle,
    pub attach: Recipient<Attach>,
    pub detach: Recipient<Detach>,
    pub neighbours: Recipient<ManagersChanged>,
    pub paired: Recipient<PairedPeersSeen>,
    pub observed: Recipient<Observed>,
    pub persisted: Recipient<BondsPersisted>,
    pub persist_failed: Recipient<PersistFailed>,
    pub drain: Recipient<DrainAdapter>,
    pub stop: Recipient<StopAdapter>,
}

/// Makes and starts the actor of an adapter.
pub type AdapterFactory = Box<dyn FnMut(StoredAdapter) -> AdapterEntry + Send>;

/// Whom the registry tells and asks.
#[derive(Clone)]
pub struct RegistryPorts {
    pub known: Recipient<AdapterKnown>,
    pub forgotten: Recipient<AdapterForgotten>,
    pub drop_adapter: Recipient<DropAdapter>,
    pub save_checkpoint: Recipient<SaveCheckpoint>,
}

/// Told once which version and revision of the management protocol the kernel speaks.
pub type VersionListener = Box<dyn Fn(u8, u16) + Send>;

/// Begin: start the actors of the stored adapters, then look for controllers.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StartRegistry {
    pub socket: MgmtSocket,
    pub stored: Vec<StoredAdapter>,
    pub factory: AdapterFactory,
    pub ports: RegistryPorts,
    pub version_known: VersionListener,
}

/// Let every adapter announce what is still waiting; answered when all have.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainAdapters;

/// How many adapters there are; also shows that the registry answers.
#[derive(Message)]
#[rtype(result = "AdapterCount")]
pub struct CountAdapters;

/// See [`CountAdapters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, MessageResponse)]
pub struct AdapterCount {
    pub known: usize,
    pub present: usize,
}

#[derive(Message)]
#[rtype(result = "()")]
struct FramesReceived(Batch<Incoming>);

#[derive(Message)]
#[rtype(result = "()")]
struct SocketEnded(io::Error);

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AttachFailed {
    index: u16,
}

struct Known {
    entry: AdapterEntry,
    courier: Courier,
    index: Option<u16>,
}

/// What exists only after [`StartRegistry`].
struct Running {
    sender: MgmtSender,
    factory: AdapterFactory,
    ports: RegistryPorts,
    version_known: VersionListener,
}

/// See the module text.
pub struct RegistryActor {
    appearances: AppearanceSource,
    machine: RegistryMachine,
    session: Session,
    running: Option<Running>,
    adapters: BTreeMap<AdapterAddress, Known>,
    neighbourhood: Option<Neighbourhood>,
    /// What bluetoothd says, where it can be asked.
    paired: Option<BTreeMap<AdapterAddress, PairedPeers>>,
    lately: Lately,
    timer: Option<SpawnHandle>,
}

impl RegistryActor {
    pub fn new(appearances: AppearanceSource) -> Self {
        Self {
            appearances,
            machine: RegistryMachine::new(),
            session: Session::new(),
            running: None,
            adapters: BTreeMap::new(),
            neighbourhood: None,
            paired: None,
            lately: Lately::default(),
            timer: None,
        }
    }

    /// The adapter's actor, started if there is none; none when there are too many.
    fn know(&mut self, stored: StoredAdapter, ctx: &mut Context<Self>) -> Option<&mut Known> {
        let address = stored.address;
        if !self.adapters.contains_key(&address) {
            if self.adapters.len() >= ADAPTERS_MAX {
                tracing::error!(adapter = %address, "not kept: {ADAPTERS_MAX} adapters are known already; forget one that is gone for good");
                return None;
            }
            let running = self.running.as_mut()?;
            let entry = (running.factory)(stored);
            tell(&running.ports.known, AdapterKnown(entry.handle.clone()));
            let courier = Courier::start(entry.clone(), ctx.address());
            self.adapters.insert(address, Known { entry, courier, index: None });
        }
        self.adapters.get_mut(&address)
    }

    fn frames(&mut self, batch: Batch<Incoming>, ctx: &mut Context<Self>) {
        if batch.dropped_count > 0 {
            tracing::warn!(count = batch.dropped_count, "frames of the kernel could not be read");
        }
        for incoming in batch.frames {
            match self.session.receive(incoming.index, &incoming.event, Instant::now()) {
                Reception::Answer(outcome) => self.answered(outcome),
                Reception::NotAReply => self.event(incoming.index, &incoming.event),
                Reception::Late(_) | Reception::Unsolicited(_) => {}
            }
        }
        self.settle(ctx);
    }

    fn event(&mut self, index: u16, event: &Event) {
        if matches!(event, Event::IndexAdded | Event::IndexRemoved) {
            // The index may be another controller's by now.
            for outcome in self.session.abandon(index) {
                self.answered(outcome);
            }
        }
        self.machine.event(index, event);
    }

    fn answered(&mut self, outcome: Outcome) {
        match outcome.result {
            Ok(Reply::IndexList(indices)) => self.machine.listed(&indices),
            Ok(Reply::Information(information)) => {
                let appearance = self.appearances.read(outcome.index);
                self.machine.information(outcome.index, &information, appearance);
            }
            Ok(Reply::Version { version, revision }) => {
                tracing::info!("the kernel speaks management protocol {version}.{revision}");
                if let Some(running) = &self.running {
                    (running.version_known)(version, revision);
                }
            }
            Ok(_) => {}
            Err(failure) if outcome.index == INDEX_NONE => {
                tracing::warn!(opcode = %outcome.opcode, %failure, "adapters cannot be listed; trying again");
                self.machine.unlisted(Instant::now());
            }
            Err(failure) => {
                tracing::debug!(index = outcome.index, opcode = %outcome.opcode, %failure, "reading controllers");
                self.machine.unreadable(outcome.index, Instant::now());
            }
        }
    }

    fn settle(&mut self, ctx: &mut Context<Self>) {
        while let Some(output) = self.machine.take_output() {
            match output {
                Output::ReadIndexList => self.send(INDEX_NONE, &Command::ReadIndexList),
                Output::ReadInformation { index } => self.send(index, &Command::ReadInfo),
                Output::Attach { adapter, attach } => self.attach(adapter, attach, ctx),
                Output::CheckDrift => {
                    for known in self.adapters.values().filter(|known| known.index.is_some()) {
                        known.courier.tell(ToAdapter::CheckDrift(CheckDrift));
                    }
                }
                Output::Detach { adapter } => {
                    if let Some(known) = self.adapters.get_mut(&adapter) {
                        known.index = None;
                        known.courier.tell(ToAdapter::Detach(Detach));
                    }
                }
                Output::Waiting { index, why } => tracing::warn!(index, "controller waits: {why}"),
            }
        }
        self.arm_timer(ctx);
    }

    fn attach(&mut self, adapter: AdapterAddress, mut attach: Attach, ctx: &mut Context<Self>) {
        let index = attach.index;
        attach.lately = self.lately.at(index, adapter);
        let neighbours = self.neighbourhood.as_ref().map(|seen| seen.at(index));
        let fresh =
            StoredAdapter { address: adapter, table: BondTable::new(), record: AdapterRecord::default() };
        if self.know(fresh, ctx).is_none() {
            return;
        }
        let Some(known) = self.adapters.get_mut(&adapter) else { return };
        known.index = Some(index);
        let paired = self.paired.as_ref().and_then(|paired| paired.get(&adapter)).cloned();
        known.courier.tell(ToAdapter::Paired(PairedPeersSeen { seen: paired }));
        // First who else is there: the gate must know when the adapter asks it.
        known.courier.tell(ToAdapter::Neighbours(ManagersChanged { seen: neighbours }));
        known.courier.tell(ToAdapter::Attach(Box::new(attach)));
        // What others have loaded since the controller appeared, while it was being read.
        for observed in self.lately.at(index, adapter) {
            known.courier.tell(ToAdapter::Observed(Box::new(observed)));
        }
    }

    fn send(&mut self, index: u16, command: &Command) {
        let Some(running) = &self.running else { return };
        let Ok(submitted) = self.session.submit(index, command, Instant::now()) else { return };
        // A few octets: when even those cannot be sent now, the next list tries again.
        if let Err(error) = running.sender.try_send(&submitted.frame) {
            tracing::warn!(%error, "asking the kernel about its controllers");
            self.session.withdraw(submitted.ticket);
            self.machine.unreadable(index, Instant::now());
        }
    }

    fn arm_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let next = [self.machine.next_deadline(), self.session.next_timeout()].into_iter().flatten().min();
        if let Some(next) = next {
            let wait = next.saturating_duration_since(Instant::now());
            self.timer = Some(ctx.run_later(wait, |actor, ctx| {
                actor.timer = None;
                for outcome in actor.session.expire(Instant::now()) {
                    actor.answered(outcome);
                }
                actor.machine.tick(Instant::now());
                actor.settle(ctx);
            }));
        }
    }
}

/// For messages that are rare and whose receiver is never long behind. A closed mailbox means that
/// the service is stopping.
fn tell<M>(recipient: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    if let Err(actix::prelude::SendError::Full(message)) = recipient.try_send(message) {
        let sending = recipient.send(message);
        tokio::task::spawn_local(async move {
            let _ = sending.await;
        });
    }
}

async fn read(socket: MgmtSocket, actor: Addr<RegistryActor>) {
    let deliver = |batch| {
        let delivering = actor.send(FramesReceived(batch));
        async move { delivering.await.is_ok() }
    };
    if let Some(error) = pump(socket, Incoming::decode, deliver).await {
        let _ = actor.send(SocketEnded(error)).await;
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES);
    }
}
