//! The shell around [`AdapterMachine`]: owns the adapter's management socket, moves
//! frames in and commands out, keeps time, and carries messages. Decides nothing.

mod handlers;
mod outcome;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::intake::kernel_event;
use super::load::ListOutcome;
use super::machine::{
    AdapterMachine, IdentityOutcome, KernelEvent, Now, Output, Reply, RequestId, UnpairOutcome,
};
use super::messages::{AdapterHandle, Attach};
use super::ports::{AdapterPorts, Waiting};
use super::tables::{TableSource, Unreadable};
use crate::bond::{AdapterAddress, PeerAddress, UnixMillis};
use crate::mgmt::pump::{Batch, pump};
use crate::mgmt::{
    Channel, Command, Endpoint, Incoming, LoadList, MgmtSender, MgmtSocket, Outcome, PrivacySetting,
    RawAddress, Reception, Session, Ticket, filter,
};
use crate::store::messages::{AdapterRecordChanged, BondsChanged, ReadCheckpoint, SaveCheckpoint};

/// Messages that wait for one adapter at most: batches of frames bring their own back-pressure, commands
/// come one by one, and the store's reports are few. Beyond it the sender keeps the newest and tries again.
const MAILBOX_MESSAGES: usize = 64;

/// How long a full mailbox of somebody else is given before the next try.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// Tells the time, so that tests can.
pub type Clock = fn() -> UnixMillis;

/// What a command in flight was for.
enum Awaited {
    List,
    Unpair,
    Identity,
}

/// The socket of the present appearance.
struct Link {
    index: u16,
    sender: MgmtSender,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// See the module text.
pub struct AdapterActor {
    address: AdapterAddress,
    endpoint: Endpoint,
    tables: TableSource,
    machine: AdapterMachine,
    session: Session,
    link: Option<Link>,
    /// Rises with each link: what an earlier one still delivers is not taken.
    link_number: u64,
    awaited: BTreeMap<Ticket, Awaited>,
    ports: AdapterPorts,
    waiting: Waiting,
    replies: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    next_request: u64,
    timer: Option<SpawnHandle>,
    clock: Clock,
}

/// Frames of one wake-up.
#[derive(Message)]
#[rtype(result = "()")]
struct FramesReceived {
    link_number: u64,
    batch: Batch<Incoming>,
}

/// The socket cannot be read any more.
#[derive(Message)]
#[rtype(result = "()")]
struct LinkEnded {
    link_number: u64,
    error: io::Error,
}

/// A datagram that had to wait could not be sent at all.
#[derive(Message)]
#[rtype(result = "()")]
struct SendFailed {
    ticket: Ticket,
    error: io::Error,
}

impl AdapterActor {
    pub fn new(
        address: AdapterAddress,
        endpoint: Endpoint,
        tables: TableSource,
        machine: AdapterMachine,
        ports: AdapterPorts,
        clock: Clock,
    ) -> Self {
        Self {
            address,
            endpoint,
            tables,
            machine,
            session: Session::new(),
            link: None,
            link_number: 0,
            awaited: BTreeMap::new(),
            ports,
            waiting: Waiting::default(),
            replies: BTreeMap::new(),
            next_request: 0,
            timer: None,
            clock,
        }
    }

    /// How to reach a started actor.
    pub fn handle(address: AdapterAddress, actor: &Addr<Self>) -> AdapterHandle {
        AdapterHandle {
            address,
            describe: actor.clone().recipient(),
            export: actor.clone().recipient(),
            restore: actor.clone().recipient(),
            undo: actor.clone().recipient(),
            forget: actor.clone().recipient(),
            reload: actor.clone().recipient(),
            adopt: actor.clone().recipient(),
            set_mode: actor.clone().recipient(),
            check_drift: actor.clone().recipient(),
        }
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), wall: (self.clock)() }
    }

    fn open_link(&mut self, attach: Attach, ctx: &mut Context<Self>) {
        let index = attach.index;
        let socket = match MgmtSocket::open(&self.endpoint, Channel::Control, &filter::adapter(index)) {
            Ok(socket) => socket,
            // Out of descriptors, most likely. The registry's next look at the adapter tries again.
            Err(error) => {
                tracing::error!(adapter = %self.address, %error, "opening the adapter's management socket");
                return;
            }
        };
        self.link_number += 1;
        let sender = socket.sender();
        let reader = tokio::task::spawn_local(read(socket, self.link_number, ctx.address()));
        self.link = Some(Link { index, sender, reader });
        self.session = Session::new();
        tracing::info!(adapter = %self.address, index, name = %attach.info.name, "adapter is here");
        self.machine.attach(attach, self.now());
        self.settle(ctx);
    }

    fn close_link(&mut self, ctx: &mut Context<Self>) {
        if self.link.take().is_none() {
            return;
        }
        tracing::info!(adapter = %self.address, "adapter is gone");
        self.awaited.clear();
        self.machine.detach(self.now());
        self.settle(ctx);
    }

    /// Events and answers in the order in which the kernel gave them.
    fn frames(&mut self, batch: Batch<Incoming>, ctx: &mut Context<Self>) {
        let mut events: Vec<KernelEvent> = Vec::new();
        let index = self.link.as_ref().map(|link| link.index);
        if batch.dropped_count > 0 {
            tracing::warn!(adapter = %self.address, count = batch.dropped_count, "frames of the kernel could not be read");
            events.extend(
                (0..batch.dropped_count).map(|_| KernelEvent::Skipped { reason: "unreadable_frame" }),
            );
        }
        for incoming in batch.frames {
            if Some(incoming.index) != index {
                continue;
            }
            match self.session.receive(incoming.index, &incoming.event, Instant::now()) {
                Reception::Answer(outcome) => {
                    self.machine.kernel_events(events.drain(..), self.now());
                    self.answered(outcome);
                }
                Reception::NotAReply => events.extend(kernel_event(incoming.event)),
                Reception::Late(opcode) => {
                    tracing::warn!(adapter = %self.address, %opcode, "an answer came after its time");
                }
                Reception::Unsolicited(_) => {}
            }
        }
        self.machine.kernel_events(events, self.now());
        self.settle(ctx);
    }

    fn answered(&mut self, outcome: Outcome) {
        let now = self.now();
        match self.awaited.remove(&outcome.ticket) {
            Some(Awaited::List) => self.machine.list_outcome(outcome::list(&outcome.result), now),
            Some(Awaited::Identity) => {
                let outcome = outcome::identity(&outcome.result);
                if outcome != IdentityOutcome::Taken {
                    tracing::warn!(adapter = %self.address, ?outcome, "the adapter's own identity was not put back");
                }
                self.machine.identity_outcome(outcome, now);
            }
            Some(Awaited::Unpair) => self.machine.unpair_outcome(outcome::unpair(&outcome.result), now),
            None => {}
        }
    }

    /// Carries out what the machine wants, until it wants nothing more; then arms the timer.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        while let Some(output) = self.machine.take_output() {
            self.carry_out(output, ctx);
        }
        let full = self.waiting.flush(&self.ports);
        self.arm_timer(full, ctx);
    }

    fn carry_out(&mut self, output: Output, ctx: &mut Context<Self>) {
        match output {
            Output::SendList(list) => self.send_list(list, ctx),
            Output::ReadTables => self.read_tables(ctx),
            Output::SetPrivacy(setting) => self.set_privacy(setting, ctx),
            Output::SendUnpair { peer, bredr } => self.send_unpair(peer, bredr, ctx),
            Output::SaveBonds(table) => {
                // With what is remembered besides, as what can be undone belongs to the table.
                let record = self.machine.record().clone();
                self.waiting.save = Some(BondsChanged { adapter: self.address, table, record });
            }
            Output::SaveRecord(record) => {
                self.waiting.record = Some(AdapterRecordChanged { adapter: self.address, record });
            }
            Output::SaveCheckpoint { table, reason, awaited } => {
                let saving = self.ports.save_checkpoint.send(SaveCheckpoint {
                    adapter: self.address,
                    table,
                    reason: reason.into(),
                });
                let saving = saving.into_actor(self).map(move |outcome, actor, ctx| {
                    let outcome = outcome.unwrap_or(Err(crate::store::messages::StoreFault::ShuttingDown));
                    if let Err(fault) = &outcome {
                        tracing::error!(adapter = %actor.address, reason, %fault, "keeping a copy aside");
                    }
                    if awaited {
                        actor.machine.checkpoint_outcome(outcome, actor.now());
                        actor.settle(ctx);
                    }
                });
                ctx.spawn(saving);
            }
            Output::ReadCheckpoint(label) => {
                let reading = self.ports.read_checkpoint.send(ReadCheckpoint { label });
                let reading = reading.into_actor(self).map(|outcome, actor, ctx| {
                    let outcome = outcome.unwrap_or(Err(crate::store::messages::StoreFault::ShuttingDown));
                    actor.machine.copy_outcome(outcome.map(|content| content.table), actor.now());
                    actor.settle(ctx);
                });
                ctx.spawn(reading);
            }
            Output::Audit(entry) => self.waiting.push_audit(*entry),
            Output::State(state) => self.waiting.state = Some(*state),
            Output::Bonds(bonds) => self.waiting.bonds = Some(bonds),
            Output::Event(event) => {
                tracing::info!(adapter = %self.address, event = event.kind.event_type(), cause = event.cause);
                self.waiting.push_event(*event);
            }
            Output::EventDropped => self.waiting.event_dropped(),
            Output::Reply(id, reply) => {
                if let Some(asked) = self.replies.remove(&id) {
                    // Whoever asked may have given up.
                    let _ = asked.send(*reply);
                }
            }
        }
    }

    fn send_list(&mut self, list: LoadList, ctx: &mut Context<Self>) {
        tracing::debug!(adapter = %self.address, list = ?list.kind(), records = list.len(), "loading");
        if let Err(what) = self.send(&Command::Load(list), Awaited::List, ctx) {
            self.machine.list_outcome(ListOutcome::Failed(what), self.now());
        }
    }

    /// Aside: debugfs waits for the controller's lock.
    fn read_tables(&mut self, ctx: &mut Context<Self>) {
        let Some(index) = self.link.as_ref().map(|link| link.index) else { return };
        let (tables, link_number) = (self.tables.clone(), self.link_number);
        let reading = tokio::task::spawn_blocking(move || tables.read(index));
        let reading = reading.into_actor(self).map(move |read, actor, ctx| {
            // An index belongs to another controller the moment that its last one is gone.
            if actor.link_number == link_number && actor.link.is_some() {
                let read = read.unwrap_or(Err(Unreadable::Failed));
                actor.machine.tables_read(read, actor.now());
                actor.settle(ctx);
            }
        });
        ctx.spawn(reading);
    }

    fn set_privacy(&mut self, setting: PrivacySetting, ctx: &mut Context<Self>) {
        tracing::info!(adapter = %self.address, privacy = setting.privacy.as_str(), "putting the adapter's own identity back");
        if let Err(what) = self.send(&Command::SetPrivacy(setting), Awaited::Identity, ctx) {
            self.machine.identity_outcome(IdentityOutcome::Failed(what), self.now());
        }
    }

    fn send_unpair(&mut self, peer: PeerAddress, bredr: bool, ctx: &mut Context<Self>) {
        let peer = if bredr { RawAddress::bredr(peer) } else { RawAddress::le(peer) };
        if let Err(what) = self.send(&Command::UnpairDevice { peer, disconnect: true }, Awaited::Unpair, ctx)
        {
            self.machine.unpair_outcome(UnpairOutcome::Failed(what), self.now());
        }
    }

    fn send(&mut self, command: &Command, awaited: Awaited, ctx: &mut Context<Self>) -> Result<(), String> {
        let Some(link) = &self.link else { return Err("the adapter is gone".to_owned()) };
        let submitted =
            self.session.submit(link.index, command, Instant::now()).map_err(|error| error.to_string())?;
        let ticket = submitted.ticket;
        match link.sender.try_send(&submitted.frame) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let (sender, address) = (link.sender.clone(), ctx.address());
                let sending = async move {
                    if let Err(error) = sender.send(&submitted.frame).await {
                        let _ = address.send(SendFailed { ticket, error }).await;
                    }
                };
                tokio::task::spawn_local(sending);
            }
            Err(error) => {
                self.session.withdraw(ticket);
                return Err(error.to_string());
            }
        }
        self.awaited.insert(ticket, awaited);
        Ok(())
    }

    fn arm_timer(&mut self, full: bool, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let now = Instant::now();
        let retry = full.then(|| now + RETRY_WAIT);
        let next =
            [self.machine.next_deadline(), self.session.next_timeout(), retry].into_iter().flatten().min();
        if let Some(next) = next {
            self.timer = Some(ctx.run_later(next.saturating_duration_since(now), |actor, ctx| {
                actor.timer = None;
                actor.woken(ctx);
            }));
        }
    }

    fn woken(&mut self, ctx: &mut Context<Self>) {
        for outcome in self.session.expire(Instant::now()) {
            tracing::warn!(adapter = %self.address, opcode = %outcome.opcode, "the kernel did not answer in time");
            self.answered(outcome);
        }
        self.machine.tick(self.now());
        self.settle(ctx);
    }

    fn request(&mut self) -> (RequestId, oneshot::Receiver<Reply>) {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let (sender, receiver) = oneshot::channel();
        self.replies.insert(id, sender);
        (id, receiver)
    }
}

async fn read(socket: MgmtSocket, link_number: u64, actor: Addr<AdapterActor>) {
    let deliver = |batch| {
        let delivering = actor.send(FramesReceived { link_number, batch });
        async move { delivering.await.is_ok() }
    };
    if let Some(error) = pump(socket, Incoming::decode, deliver).await {
        let _ = actor.send(LinkEnded { link_number, error }).await;
    }
}

impl Actor for AdapterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES);
        self.settle(ctx);
    }
}
