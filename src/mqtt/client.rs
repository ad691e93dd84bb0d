//! The connection to the broker: keeps one, and tells the actor what comes in.
//!
//! Each connection gets an event loop of its own, so nothing of an old one can leak into the next;
//! what has to survive is in the outbox. This task polls and never publishes: a publish that waits
//! for room would wait for the poll that makes the room. Must never wait without a limit: a broker
//! that accepts and then says nothing is left after two keep-alives.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use actix::{Message, Recipient};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, Packet, PubAckReason, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::broker::{Broker, BrokerSource, LIBRARY_WINDOW, connect_options};
use super::discovery::{BIRTH_TOPIC, node_topic};
use super::failure::{chain, connection_failure};
use super::guard::foreign;
use super::topics::Topics;

/// Silence after which the broker is asked for a sign of life: once a minute, with the health report, so that an idle
/// service is woken for both at once.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Publishes that may be unacknowledged. Enough to keep a slow link busy, and below what any
/// common broker allows (Mosquitto: 20), with room for the subscription's packet identifier.
const WINDOW: u16 = 16;

/// Filters of a look at what the broker retains; each is given up in a message of its own. What is
/// not covered is published again unseen: more adapters than a host has.
pub(super) const LOOK_FILTERS_MAX: usize = 32;

/// Requests that wait for the event loop: the window, the subscriptions, the end of a look, the
/// goodbye, and room to spare, so that handing one over cannot fail while the connection lives.
const REQUESTS_MAX: usize = WINDOW as usize + LOOK_FILTERS_MAX + 16;

/// How long it may take to find out which broker to use.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the same failure is worth a line in the log: at the longest wait every quarter of an hour.
const FAILURES_A_LINE: u32 = 30;

/// Octets of a packet that are not payload: header, properties and the longest topic there is here.
const PACKET_OVERHEAD_OCTETS: usize = 1024;

/// What the connection tells the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum LinkEvent {
    /// The broker has accepted us, and the subscription is on its way.
    Up {
        client: AsyncClient,
        /// Publishes that may be unacknowledged.
        window: usize,
        /// Octets of a payload that this broker takes.
        payload_octets_max: usize,
    },
    /// The n-th publish of this connection, counted from 0, was acknowledged.
    Acknowledged { ordinal: u64, taken: bool },
    /// Something came in on a topic that we subscribe to.
    Arrived(Publish),
    /// The connection is gone.
    Down { said_goodbye: bool },
}

/// What a connection needs to know.
#[derive(Clone)]
pub(super) struct LinkSetup {
    pub(super) topics: Topics,
    pub(super) broker: BrokerSource,
    pub(super) keep_alive: Duration,
    /// Be told when Home Assistant starts.
    pub(super) hear_birth: bool,
}

/// Why a connection has ended.
enum End {
    /// We took our leave.
    Goodbye,
    /// Nobody listens to us any more.
    Abandoned,
    Failed(String),
}

/// Keeps a connection until we take our leave.
pub(super) async fn keep_connected(setup: LinkSetup, actor: Recipient<LinkEvent>) {
    let mut backoff = Backoff::default();
    let mut last_failure = String::new();
    let mut repeated = 0u32;
    loop {
        let mut link = Link {
            setup: &setup,
            actor: &actor,
            acks: AckBook::default(),
            up_since: None,
            subscribed: false,
        };
        let end = link.run().await;
        let up_since = link.up_since;
        if let Some(since) = up_since {
            backoff.connection_lasted(since.elapsed());
            let said_goodbye = matches!(end, End::Goodbye);
            if actor.send(LinkEvent::Down { said_goodbye }).await.is_err() {
                return;
            }
        }
        let End::Failed(failure) = end else { return };
        let wait = backoff.wait(random());
        // The same failure again and again is worth a line now and then, not thousands.
        repeated = if failure == last_failure { repeated.wrapping_add(1) } else { 0 };
        if up_since.is_some() || repeated.is_multiple_of(FAILURES_A_LINE) {
            warn!(wait_ms = wait.as_millis(), "MQTT: {failure}");
        } else {
            debug!(wait_ms = wait.as_millis(), "MQTT: {failure}");
        }
        last_failure = failure;
        tokio::time::sleep(wait).await;
    }
}

/// Random enough to spread clients out: the standard library seeds its hash maps from the system.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// One connection.
struct Link<'a> {
    setup: &'a LinkSetup,
    actor: &'a Recipient<LinkEvent>,
    acks: AckBook,
    up_since: Option<Instant>,
    /// The first subscription was answered.
    subscribed: bool,
}

impl Link<'_> {
    async fn run(&mut self) -> End {
        let broker = match tokio::time::timeout(SOURCE_TIMEOUT, (self.setup.broker)()).await {
            Ok(Ok(broker)) => broker,
            Ok(Err(reason)) => return End::Failed(reason),
            Err(_) => return End::Failed("no answer to the question which broker to use".to_owned()),
        };
        let options = match connect_options(&broker, &self.setup.topics, self.setup.keep_alive) {
            Ok(options) => options,
            Err(error) => return End::Failed(chain(&error)),
        };
        let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
        loop {
            let silence_max = 2 * self.setup.keep_alive.max(events.options.keep_alive());
            let event = match tokio::time::timeout(silence_max, events.poll()).await {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => return self.failed(&mut events, &client, &broker, &error).await,
                Err(_) => {
                    return End::Failed(format!(
                        "{broker} has not moved for {silence_max:?}: connecting anew"
                    ));
                }
            };
            if let Some(end) = self.handle(event, &mut events, &client, &broker).await {
                return end;
            }
            if self.acks.oldest_unacknowledged().is_some_and(|since| since.elapsed() > silence_max) {
                return End::Failed(format!("{broker} acknowledges nothing: connecting anew"));
            }
        }
    }

    /// What was read before the connection broke still counts: each acknowledgement spares a
    /// repetition.
    async fn failed(
        &mut self,
        events: &mut EventLoop,
        client: &AsyncClient,
        broker: &Broker,
        error: &ConnectionError,
    ) -> End {
        if self.up_since.is_some() {
            while let Some(event) = events.state.events.pop_front() {
                if let Some(end) = self.handle(event, events, client, broker).await {
                    return end;
                }
            }
        }
        End::Failed(connection_failure(broker, error, self.up_since.is_some()))
    }

    async fn handle(
        &mut self,
        event: Event,
        events: &mut EventLoop,
        client: &AsyncClient,
        broker: &Broker,
    ) -> Option<End> {
        let told = match event {
            Event::Incoming(Packet::ConnAck(accepted)) => self.accepted(&accepted, events, client, broker)?,
            Event::Incoming(Packet::SubAck(ack)) => {
                // Later ones are looks at what is retained, which may be refused.
                if !std::mem::replace(&mut self.subscribed, true) {
                    check_subscription(&ack, broker, self.setup.hear_birth);
                }
                return None;
            }
            Event::Incoming(Packet::Publish(publish)) => LinkEvent::Arrived(publish),
            Event::Incoming(Packet::PubAck(ack)) => {
                let taken = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                if !taken {
                    warn!(reason = ?ack.reason, "MQTT: {broker} did not take a message: check what it lets us publish");
                }
                LinkEvent::Acknowledged { ordinal: self.acks.acknowledged(ack.pkid)?, taken }
            }
            Event::Outgoing(Outgoing::Publish(pkid)) => {
                self.acks.sent(pkid, Instant::now());
                return None;
            }
            Event::Outgoing(Outgoing::Disconnect) => return Some(End::Goodbye),
            Event::Incoming(_) | Event::Outgoing(_) => return None,
        };
        self.actor.send(told).await.err().map(|_| End::Abandoned)
    }

    fn accepted(
        &mut self,
        accepted: &ConnAck,
        events: &mut EventLoop,
        client: &AsyncClient,
        broker: &Broker,
    ) -> Option<LinkEvent> {
        self.up_since = Some(Instant::now());
        // A broker may set the keep-alive, to 0 (none) even; the library would then ping without pause.
        if events.options.keep_alive().is_zero() {
            events.options.set_keep_alive(self.setup.keep_alive);
        }
        let mut filter = Filter::new(self.setup.topics.request_filter(), QoS::AtLeastOnce);
        // A retained request must be recognised as one, to be refused.
        filter.preserve_retain = true;
        // Here a retained message must stay recognisable as one: it is about an earlier start.
        let birth = self.setup.hear_birth.then(|| Filter::new(BIRTH_TOPIC, QoS::AtLeastOnce));
        let node = self.setup.hear_birth.then(|| node_topic(&self.setup.topics));
        let guarded = self.setup.topics.retained_filters().into_iter().chain(node).map(foreign);
        if let Err(error) = client.try_subscribe_many([filter].into_iter().chain(birth).chain(guarded)) {
            error!("MQTT: the subscription cannot be asked for: {error}");
        }
        let properties = accepted.properties.as_ref();
        let receive_max = properties.and_then(|properties| properties.receive_max).unwrap_or(u16::MAX);
        let packet_max = properties.and_then(|properties| properties.max_packet_size).unwrap_or(u32::MAX);
        info!("MQTT: connected to {broker}");
        Some(LinkEvent::Up {
            client: client.clone(),
            window: usize::from(WINDOW.min(receive_max.min(LIBRARY_WINDOW).saturating_sub(2)).max(1)),
            payload_octets_max: (packet_max as usize).saturating_sub(PACKET_OVERHEAD_OCTETS),
        })
    }
}

/// The requests' filter stands first. That our own topics cannot be read is no fault.
fn check_subscription(ack: &SubAck, broker: &Broker, hear_birth: bool) {
    let refused = |code: &&SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
    if let Some(code) = ack.return_codes.first().filter(refused) {
        error!(
            reason = ?code,
            "MQTT: {broker} does not let us subscribe to requests: no command will arrive. Check its access rules"
        );
    }
    if let Some(code) = ack.return_codes.get(1).filter(|_| hear_birth).filter(refused) {
        warn!(
            reason = ?code,
            "MQTT: {broker} does not let us hear when Home Assistant starts ({BIRTH_TOPIC})"
        );
    }
}

/// Which publish an acknowledgement is for. The library gives packet identifiers away in the order
/// in which publishes were handed to it.
#[derive(Default)]
struct AckBook {
    next_ordinal: u64,
    unacknowledged: VecDeque<(u16, u64, Instant)>,
}

impl AckBook {
    fn sent(&mut self, pkid: u16, now: Instant) {
        self.unacknowledged.push_back((pkid, self.next_ordinal, now));
        self.next_ordinal += 1;
    }

    fn acknowledged(&mut self, pkid: u16) -> Option<u64> {
        let at = self.unacknowledged.iter().position(|(sent, ..)| *sent == pkid)?;
        self.unacknowledged.remove(at).map(|(_, ordinal, _)| ordinal)
    }

    fn oldest_unacknowledged(&self) -> Option<Instant> {
        self.unacknowledged.front().map(|(.., since)| *since)
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
