//! The shell around the outbox: a connection that comes and goes, timers, and the leave-taking.
//!
//! What adapters and the store tell is handled in `facts`, requests in `arrivals`. Must never wait
//! for the broker: everything goes into the outbox, and out of it when there is room.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseFuture, WrapFuture,
};
use rumqttc::v5::AsyncClient;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::birth::Look;
use super::board::{Board, Probe, ServiceFacts};
use super::broker::BrokerSource;
use super::client::{KEEP_ALIVE, LinkEvent, LinkSetup, keep_connected};
use super::dispatch::{EXCHANGES_AT_ONCE, LevelSetter};
use super::exchange::Exchange;
use super::guard::Guard;
use super::messages::{Drain, Drained, StopRequests, Wire};
use super::outbox::{Outbox, Rank};
use super::render;
use super::topics::Topics;
use crate::adapter::messages::{AdapterEvent, AdapterHandle, BondsDescription};
use crate::api::answers::to_octets;
use crate::api::bridge::{BridgeEventData, BridgeEventDto, BridgeStateDto, MqttHealthDto};
use crate::api::limits::PUBLISH_OCTETS_MAX;
use crate::api::rfc3339::rfc3339;
use crate::bond::{AdapterAddress, UnixMillis};

/// Messages that may wait for the actor. Adapters send a handful a change, and a pairing storm on
/// four adapters at once is some hundred; a sender that finds it full keeps its newest and retries.
const MAILBOX_CAPACITY: usize = 256;

/// How often `bridge/health` is published.
const HEALTH_PERIOD: Duration = Duration::from_secs(60);

/// Everything the actor needs.
pub struct MqttSetup {
    pub topics: Topics,
    pub broker: BrokerSource,
    pub facts: ServiceFacts,
    pub exchange: Arc<dyn Exchange>,
    pub set_log_level: LevelSetter,
    /// Publish Home Assistant's devices; off takes away those of an earlier run.
    pub discovery: bool,
    /// Chance, to spread answers to Home Assistant's start.
    pub random: fn() -> u64,
    /// Asked for each `bridge/health`.
    pub probe: Rc<dyn Fn() -> Probe>,
    /// The wall clock, for the times that people are shown.
    pub clock: fn() -> UnixMillis,
}

/// What a payload is made from when it goes out.
#[derive(Clone)]
pub(super) enum Payload {
    Octets {
        octets: Rc<[u8]>,
        correlation: Option<Vec<u8>>,
    },
    /// A list that may be superseded before there is room for it is not written out in vain.
    Bonds(Rc<BondsDescription>),
    /// An event of an adapter with its number. Thousands may wait, and its text is several times as large.
    Event(Box<AdapterEvent>, u64),
}

impl From<Vec<u8>> for Payload {
    fn from(octets: Vec<u8>) -> Self {
        Self::Octets { octets: octets.into(), correlation: None }
    }
}

impl Payload {
    pub(super) fn octets(&self) -> Vec<u8> {
        match self {
            Self::Octets { octets, .. } => octets.to_vec(),
            Self::Bonds(description) => to_octets(&render::bond_list(description)),
            Self::Event(event, seq) => to_octets(&render::adapter_event(event, *seq)),
        }
    }

    fn properties(&self) -> PublishProperties {
        let correlation = match self {
            Self::Octets { correlation, .. } => correlation.clone(),
            Self::Bonds(_) | Self::Event(..) => None,
        };
        PublishProperties { correlation_data: correlation.map(Into::into), ..PublishProperties::default() }
    }
}

/// The connection, while there is one.
pub(super) struct Link {
    pub(super) client: AsyncClient,
    payload_octets_max: usize,
}

/// Someone waits for the leave-taking.
struct Leaving {
    done: Option<oneshot::Sender<Drained>>,
    /// `offline` stands in the outbox.
    offline_put: bool,
    /// The broker was told that we go.
    disconnecting: bool,
}

/// See the module text.
pub struct MqttActor {
    pub(super) setup: MqttSetup,
    pub(super) board: Board,
    pub(super) outbox: Outbox<Payload>,
    pub(super) adapters: std::collections::BTreeMap<AdapterAddress, AdapterHandle>,
    pub(super) services: Option<Wire>,
    pub(super) look: Look,
    pub(super) guard: Guard,
    pub(super) in_progress: usize,
    pub(super) exchanges: Arc<Semaphore>,
    /// Requests are answered with `shutting_down`.
    pub(super) stopping: bool,
    pub(super) link: Option<Link>,
    link_task: Option<JoinHandle<()>>,
    connects: u64,
    refused: u64,
    leaving: Option<Leaving>,
}

impl MqttActor {
    pub fn new(setup: MqttSetup) -> Self {
        let board = Board::new(setup.topics.node(), setup.facts.clone(), setup.exchange.formats());
        Self {
            board,
            setup,
            outbox: Outbox::default(),
            adapters: std::collections::BTreeMap::new(),
            services: None,
            look: Look::default(),
            guard: Guard::default(),
            in_progress: 0,
            exchanges: Arc::new(Semaphore::new(EXCHANGES_AT_ONCE)),
            stopping: false,
            link: None,
            link_task: None,
            connects: 0,
            refused: 0,
            leaving: None,
        }
    }

    /// Starts it on this thread.
    pub fn launch(setup: MqttSetup) -> Addr<Self> {
        Self::new(setup).start()
    }

    pub(super) fn now(&self) -> UnixMillis {
        (self.setup.clock)()
    }

    pub(super) fn put_info(&mut self) {
        let octets = to_octets(&self.board.info());
        self.outbox.put_state(&self.setup.topics.bridge_info(), octets.into(), Rank::Ordinary);
    }

    fn put_bridge_state(&mut self, state: BridgeStateDto) {
        let octets = to_octets(&state);
        self.outbox.put_state(&self.setup.topics.bridge_state(), octets.into(), Rank::Last);
    }

    pub(super) fn health(&self) -> crate::api::bridge::HealthDto {
        let mqtt = MqttHealthDto {
            reconnects: self.connects.saturating_sub(1),
            in_flight: self.outbox.in_flight(),
            queued: self.outbox.queued(),
            events_dropped: self.outbox.events_dropped(),
            responses_dropped: self.outbox.responses_dropped(),
            refused: self.refused + self.outbox.given_up(),
            overwritten: self.overwritten(),
            requests_in_progress: self.in_progress,
        };
        self.board.health((self.setup.probe)(), mqtt, self.now())
    }

    fn put_health(&mut self) {
        let octets = to_octets(&self.health());
        self.outbox.put_state(&self.setup.topics.bridge_health(), octets.into(), Rank::Ordinary);
    }

    pub(super) fn bridge_event(&mut self, kind: &'static str, data: BridgeEventData) {
        let seq = self.outbox.take_seq();
        let event = BridgeEventDto { kind, at: rfc3339(self.now()), data, seq };
        let octets = to_octets(&event);
        let count = octets.len();
        self.outbox.push_event(&self.setup.topics.bridge_event(), octets.into(), seq, count);
    }

    /// Octets that an answer may have at the moment.
    pub(super) fn answer_octets_max(&self) -> usize {
        self.link.as_ref().map_or(PUBLISH_OCTETS_MAX, |link| link.payload_octets_max)
    }

    /// Hands the connection what it has room for. To be called after whatever was put.
    pub(super) fn pump(&mut self) {
        self.report_gap();
        let Some(link) = &self.link else { return };
        while let Some(front) = self.outbox.front() {
            let (octets, properties) = front
                .payload
                .map_or_else(Default::default, |payload| (payload.octets(), payload.properties()));
            if octets.len() > link.payload_octets_max {
                warn!(
                    topic = front.topic,
                    octets = octets.len(),
                    "MQTT: the broker takes no message of this size"
                );
                self.outbox.give_up();
                continue;
            }
            let handed = link.client.try_publish_with_properties(
                front.topic,
                QoS::AtLeastOnce,
                front.retain,
                octets,
                properties,
            );
            // The connection has just ended: we are about to be told, and everything is kept.
            if handed.is_err() {
                return;
            }
            self.outbox.sent();
        }
        self.leave_if_done();
    }

    fn report_gap(&mut self) {
        let Some(gap) = self.outbox.take_gap() else { return };
        warn!(count = gap.count, "MQTT: events were given up because the broker was away for too long");
        let event = BridgeEventDto {
            kind: BridgeEventDto::EVENTS_DROPPED,
            at: rfc3339(self.now()),
            data: BridgeEventData::Dropped {
                count: gap.count,
                first_seq: gap.first_seq,
                last_seq: gap.last_seq,
            },
            // It stands for the events that are missing.
            seq: gap.last_seq,
        };
        self.outbox.push_gap_report(&self.setup.topics.bridge_event(), to_octets(&event).into(), gap);
    }

    /// Goes on with the leave-taking as far as it can be at the moment.
    pub(super) fn leave_if_done(&mut self) {
        let idle = self.outbox.is_idle();
        let requests_done = self.in_progress == 0;
        let Some(leaving) = &mut self.leaving else { return };
        if !leaving.offline_put {
            if requests_done {
                self.put_offline();
            }
            return;
        }
        let Some(link) = &self.link else { return self.left(false) };
        if idle && !leaving.disconnecting {
            leaving.disconnecting = link.client.try_disconnect().is_ok();
        }
    }

    fn put_offline(&mut self) {
        let Some(leaving) = &mut self.leaving else { return };
        if !std::mem::replace(&mut leaving.offline_put, true) {
            self.put_bridge_state(BridgeStateDto::OFFLINE);
            self.pump();
            // Without a connection there is nobody to take leave of.
            if self.link.is_none() {
                self.left(false);
            }
        }
    }

    fn left(&mut self, said_goodbye: bool) {
        let done = self.leaving.as_mut().and_then(|leaving| leaving.done.take());
        if let Some(done) = done {
            let unsent = self.outbox.queued() + self.outbox.in_flight();
            // Whoever asked may have given up waiting.
            let _ = done.send(Drained { said_goodbye, unsent });
        }
        // A task that still connects must not say `online` again.
        if let Some(task) = self.link_task.take() {
            task.abort();
        }
        self.link = None;
        self.outbox.disconnected();
    }
}

impl Actor for MqttActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_CAPACITY);
        // Before what entities show: an event before its entity would be lost.
        self.put_node_discovery();
        self.put_info();
        self.put_bridge_state(BridgeStateDto::ONLINE);
        ctx.run_interval(HEALTH_PERIOD, |actor, _| {
            actor.put_health();
            actor.pump();
        });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(task) = self.link_task.take() {
            task.abort();
        }
    }
}

impl Handler<Wire> for MqttActor {
    type Result = ();

    fn handle(&mut self, wire: Wire, ctx: &mut Self::Context) {
        self.services = Some(wire);
        if self.link_task.is_none() {
            let link = LinkSetup {
                topics: self.setup.topics.clone(),
                broker: Rc::clone(&self.setup.broker),
                keep_alive: KEEP_ALIVE,
                hear_birth: self.setup.discovery,
            };
            self.put_health();
            self.link_task = Some(actix::spawn(keep_connected(link, ctx.address().recipient())));
        }
    }
}

impl Handler<LinkEvent> for MqttActor {
    type Result = ();

    fn handle(&mut self, event: LinkEvent, ctx: &mut Self::Context) {
        match event {
            LinkEvent::Up { client, window, payload_octets_max } => {
                self.connects += 1;
                self.link = Some(Link { client, payload_octets_max });
                self.outbox.connected(window);
                self.guard_devices(self.adapters.keys().copied());
            }
            LinkEvent::Acknowledged { ordinal, taken } => {
                self.refused += u64::from(!taken);
                self.outbox.acknowledged(ordinal);
            }
            LinkEvent::Arrived(publish) => self.arrived(&publish, ctx),
            LinkEvent::Down { said_goodbye } => {
                debug!(said_goodbye, "MQTT: the connection has ended");
                self.link = None;
                self.outbox.disconnected();
                self.abandon_look(ctx);
                self.abandon_guard(ctx);
                if self.leaving.is_some() {
                    self.left(said_goodbye);
                }
            }
        }
        self.pump();
    }
}

impl Handler<StopRequests> for MqttActor {
    type Result = ();

    fn handle(&mut self, _: StopRequests, _: &mut Self::Context) {
        self.stopping = true;
    }
}

impl Handler<Drain> for MqttActor {
    type Result = ResponseFuture<Drained>;

    fn handle(&mut self, drain: Drain, ctx: &mut Self::Context) -> Self::Result {
        self.stopping = true;
        let (done, drained) = oneshot::channel();
        self.leaving = Some(Leaving { done: Some(done), offline_put: false, disconnecting: false });
        // Requests in progress get half of the time; then `offline` must go out.
        ctx.run_later(drain.deadline / 2, |actor, _| actor.put_offline());
        let late = async move { tokio::time::sleep(drain.deadline).await };
        ctx.spawn(late.into_actor(self).map(|(), actor, ctx| {
            actor.left(false);
            ctx.stop();
        }));
        self.leave_if_done();
        Box::pin(async move {
            // The sender is only dropped with the actor.
            drained.await.unwrap_or(Drained { said_goodbye: false, unsent: 0 })
        })
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
