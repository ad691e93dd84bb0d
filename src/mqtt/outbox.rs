//! What waits for the broker. Pure.
//!
//! The client library forgets what it had queued when a broker comes back without our session, and
//! a broker without persistence forgets what was retained. So nothing is given away here before it
//! is acknowledged, and after each connect everything retained goes out again. What is promised:
//!
//! * A retained topic ends at its latest payload. Payloads between may never go out.
//! * Events go out in their order, at least once, and never before a retained payload that was put
//!   before them (or a later one of that topic).
//! * Too many events waiting cost the oldest, and the loss is reported in their place. Each event has a number, and
//!   each number goes out: with its event or in such a report.
//!
//! Must never grow without bound while the broker is away. Driven by the actor: it puts, hands
//! [`front`](Outbox::front) to the connection and says [`sent`](Outbox::sent), and passes on
//! acknowledgements.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// Octets of events that may wait: room for four adapters whose tables fill at once while the broker is away (7,280
/// bonds, each announced and in the audit log), or for a year of a busy house. It is the most memory that an absence
/// of the broker may cost; bonds that events share with the table are counted as if each had its own.
pub const EVENT_OCTETS_MAX: usize = 12 * 1024 * 1024;

/// What an event takes besides its payload, when it stands in the queue.
pub const EVENT_OVERHEAD_OCTETS: usize = 128;

/// Answers that may wait. Far more than requests can be in progress; a flood of refusals pushes out refusals.
pub const RESPONSES_MAX: usize = 256;

/// Octets of answers that may wait. One answer may have a mebibyte.
pub const RESPONSE_OCTETS_MAX: usize = 4 * 1024 * 1024;

/// When a retained topic goes out after a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Ordinary,
    /// After all the others: `online` says that everything retained is up to date.
    Last,
}

/// What is lost with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// What a request has come to.
    Result,
    /// Only that it was not taken up: given up before any result.
    Refusal,
}

/// The payload of a message, and where it goes.
#[derive(Debug, PartialEq, Eq)]
pub struct Front<'a, P> {
    pub topic: &'a str,
    /// None clears a retained topic.
    pub payload: Option<&'a P>,
    pub retain: bool,
}

/// Events that were given up since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub count: u64,
    pub first_seq: u64,
    pub last_seq: u64,
}

impl Gap {
    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            first_seq: self.first_seq.min(other.first_seq),
            last_seq: self.last_seq.max(other.last_seq),
        }
    }
}

struct State<P> {
    /// None: to be cleared, and forgotten once that is acknowledged.
    payload: Option<P>,
    rank: Rank,
    /// Order in which topics were first put.
    order: u64,
    /// Rises with each payload.
    version: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OnceKind {
    Event { seq: u64, octets: usize },
    GapReport(Gap),
    Response { octets: usize, worth: Worth },
}

/// How many of a kind wait, and how large they are.
#[derive(Clone, Copy, Default)]
struct Held {
    count: usize,
    octets: usize,
}

impl Held {
    const fn add(&mut self, octets: usize) {
        self.count += 1;
        self.octets += octets;
    }

    const fn take(&mut self, octets: usize) {
        self.count -= 1;
        self.octets -= octets;
    }
}

struct Once<P> {
    topic: Rc<str>,
    payload: P,
    kind: OnceKind,
}

enum Item<P> {
    State(String),
    Once(Once<P>),
}

enum Sent<P> {
    State { topic: String, version: u64 },
    Once(Once<P>),
}

/// See the module text. `P` is whatever a payload is made from when it goes out.
pub struct Outbox<P> {
    states: BTreeMap<String, State<P>>,
    /// Topics of `states` that stand in `queue`.
    queued_states: BTreeSet<String>,
    queue: VecDeque<Item<P>>,
    /// Of `queue`.
    events: Held,
    responses: Held,
    /// Of what was put last: thousands of events share a topic.
    last_topic: Rc<str>,
    /// In the order of sending; the ordinal counts from the connect.
    in_flight: VecDeque<(u64, Sent<P>)>,
    next_ordinal: u64,
    /// Messages that may be unacknowledged; 0 while there is no connection.
    window: usize,
    next_order: u64,
    next_version: u64,
    next_seq: u64,
    gap: Option<Gap>,
    events_dropped: u64,
    responses_dropped: u64,
    given_up: u64,
}

impl<P> Default for Outbox<P> {
    fn default() -> Self {
        Self {
            states: BTreeMap::new(),
            queued_states: BTreeSet::new(),
            queue: VecDeque::new(),
            events: Held::default(),
            responses: Held::default(),
            last_topic: Rc::from(""),
            in_flight: VecDeque::new(),
            next_ordinal: 0,
            window: 0,
            next_order: 0,
            next_version: 0,
            next_seq: 1,
            gap: None,
            events_dropped: 0,
            responses_dropped: 0,
            given_up: 0,
        }
    }
}

impl<P> Outbox<P> {
    /// A retained topic has a new payload.
    pub fn put_state(&mut self, topic: &str, payload: P, rank: Rank) {
        self.put(topic, Some(payload), rank);
    }

    /// A retained topic is to be emptied. One that was never put is left alone.
    pub fn clear_state(&mut self, topic: &str) {
        if self.states.contains_key(topic) {
            self.put(topic, None, Rank::Ordinary);
        }
    }

    /// As [`clear_state`](Self::clear_state), for a topic that an earlier run may have put.
    pub fn erase_state(&mut self, topic: &str) {
        self.put(topic, None, Rank::Ordinary);
    }

    /// Topics that a broker has to retain.
    pub fn retained_topics(&self) -> impl Iterator<Item = &str> {
        self.states.iter().filter(|(_, state)| state.payload.is_some()).map(|(topic, _)| topic.as_str())
    }

    /// What a broker has to retain there.
    pub fn retained(&self, topic: &str) -> Option<&P> {
        self.states.get(topic)?.payload.as_ref()
    }

    /// The broker has lost what it should retain there. Nothing to do where it is under way.
    pub fn put_again(&mut self, topic: &str) {
        let on_its_way = |sent: &Sent<P>| matches!(sent, Sent::State { topic: sent, .. } if sent == topic);
        if self.states.contains_key(topic) && !self.in_flight.iter().any(|(_, sent)| on_its_way(sent)) {
            self.queue_state(topic);
        }
    }

    fn queue_state(&mut self, topic: &str) {
        // Without a connection everything goes out again anyway.
        if self.window > 0 && self.queued_states.insert(topic.to_owned()) {
            self.queue.push_back(Item::State(topic.to_owned()));
        }
    }

    fn put(&mut self, topic: &str, payload: Option<P>, rank: Rank) {
        self.next_version += 1;
        let version = self.next_version;
        match self.states.get_mut(topic) {
            Some(state) => (state.payload, state.version) = (payload, version),
            None => {
                self.next_order += 1;
                let state = State { payload, rank, order: self.next_order, version };
                self.states.insert(topic.to_owned(), state);
            }
        }
        self.queue_state(topic);
    }

    /// The number of the next event. Numbers are given once, whatever becomes of the event.
    pub fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// An event, with a number from [`take_seq`](Self::take_seq); its payload takes so many octets while it waits.
    pub fn push_event(&mut self, topic: &str, payload: P, seq: u64, octets: usize) {
        let octets = octets + EVENT_OVERHEAD_OCTETS;
        self.push_once(topic, payload, OnceKind::Event { seq, octets });
        while self.events.octets > EVENT_OCTETS_MAX {
            match self.drop_first(|kind| matches!(kind, OnceKind::Event { .. })) {
                Some(OnceKind::Event { seq, .. }) => self.lose_event(seq),
                _ => return,
            }
        }
    }

    /// Events that somebody had to give up before they came here: they get numbers, to be reported.
    pub fn lose_events(&mut self, count: u64) {
        for _ in 0..count {
            let seq = self.take_seq();
            self.lose_event(seq);
        }
    }

    fn lose_event(&mut self, seq: u64) {
        self.events_dropped += 1;
        self.widen_gap(Gap { count: 1, first_seq: seq, last_seq: seq });
    }

    fn widen_gap(&mut self, lost: Gap) {
        self.gap = Some(self.gap.map_or(lost, |gap| gap.and(lost)));
    }

    /// An answer of so many octets.
    pub fn push_response(&mut self, topic: &str, payload: P, octets: usize, worth: Worth) {
        self.push_once(topic, payload, OnceKind::Response { octets, worth });
        while self.responses.count > RESPONSES_MAX || self.responses.octets > RESPONSE_OCTETS_MAX {
            let refusal = |kind: &OnceKind| matches!(kind, OnceKind::Response { worth: Worth::Refusal, .. });
            let any = |kind: &OnceKind| matches!(kind, OnceKind::Response { .. });
            if self.drop_first(refusal).or_else(|| self.drop_first(any)).is_none() {
                return;
            }
            self.responses_dropped += 1;
        }
    }

    fn push_once(&mut self, topic: &str, payload: P, kind: OnceKind) {
        let topic = self.shared(topic);
        self.enters(&kind);
        self.queue.push_back(Item::Once(Once { topic, payload, kind }));
    }

    fn shared(&mut self, topic: &str) -> Rc<str> {
        if &*self.last_topic != topic {
            self.last_topic = Rc::from(topic);
        }
        Rc::clone(&self.last_topic)
    }

    const fn enters(&mut self, kind: &OnceKind) {
        match kind {
            OnceKind::Event { octets, .. } => self.events.add(*octets),
            OnceKind::Response { octets, .. } => self.responses.add(*octets),
            OnceKind::GapReport(_) => {}
        }
    }

    const fn leaves(&mut self, kind: &OnceKind) {
        match kind {
            OnceKind::Event { octets, .. } => self.events.take(*octets),
            OnceKind::Response { octets, .. } => self.responses.take(*octets),
            OnceKind::GapReport(_) => {}
        }
    }

    fn drop_first(&mut self, which: impl Fn(&OnceKind) -> bool) -> Option<OnceKind> {
        let at = self.queue.iter().position(|item| matches!(item, Item::Once(once) if which(&once.kind)))?;
        match self.queue.remove(at)? {
            Item::Once(once) => {
                self.leaves(&once.kind);
                Some(once.kind)
            }
            Item::State(_) => None,
        }
    }

    /// Events that were given up and not yet reported. Whoever takes it puts the report with
    /// [`push_gap_report`](Self::push_gap_report) at once. None while there is no connection: the
    /// gap may still grow.
    pub fn take_gap(&mut self) -> Option<Gap> {
        if self.window == 0 { None } else { self.gap.take() }
    }

    /// Puts the report of a gap where the lost events were.
    pub fn push_gap_report(&mut self, topic: &str, payload: P, gap: Gap) {
        let follows = |item: &Item<P>| matches!(item, Item::Once(Once { kind: OnceKind::Event { seq, .. }, .. }) if *seq > gap.first_seq);
        let at = self.queue.iter().position(follows).unwrap_or(self.queue.len());
        let report = Once { topic: self.shared(topic), payload, kind: OnceKind::GapReport(gap) };
        self.queue.insert(at, Item::Once(report));
    }

    /// The broker has accepted us; it takes `window` unacknowledged messages (at least one).
    /// Everything retained goes out again, then what else waits.
    pub fn connected(&mut self, window: usize) {
        self.disconnected();
        self.window = window.max(1);
        self.next_ordinal = 0;
        let mut states: Vec<_> =
            self.states.iter().map(|(topic, state)| (state.rank, state.order, topic)).collect();
        states.sort_unstable();
        let topics: Vec<String> = states.into_iter().map(|(_, _, topic)| topic.clone()).collect();
        self.queued_states.extend(topics.iter().cloned());
        for topic in topics.into_iter().rev() {
            self.queue.push_front(Item::State(topic));
        }
    }

    /// The connection is gone. What was not acknowledged waits again, in its old place.
    pub fn disconnected(&mut self) {
        self.window = 0;
        let mut waiting: VecDeque<Item<P>> = VecDeque::new();
        let in_flight = std::mem::take(&mut self.in_flight).into_iter().map(|(_, sent)| match sent {
            Sent::State { topic, .. } => Item::State(topic),
            Sent::Once(once) => Item::Once(once),
        });
        for item in in_flight.chain(std::mem::take(&mut self.queue)) {
            match item {
                Item::State(_) => {}
                Item::Once(Once { kind: OnceKind::GapReport(gap), .. }) => self.widen_gap(gap),
                once @ Item::Once(_) => waiting.push_back(once),
            }
        }
        (self.events, self.responses) = Default::default();
        for item in &waiting {
            if let Item::Once(once) = item {
                let kind = once.kind;
                self.enters(&kind);
            }
        }
        self.queue = waiting;
        self.queued_states.clear();
    }

    /// The next message that may be sent now.
    pub fn front(&self) -> Option<Front<'_, P>> {
        if self.in_flight.len() >= self.window {
            return None;
        }
        match self.queue.front()? {
            Item::State(topic) => {
                let payload = self.states.get(topic).and_then(|state| state.payload.as_ref());
                Some(Front { topic, payload, retain: true })
            }
            Item::Once(once) => {
                Some(Front { topic: &once.topic, payload: Some(&once.payload), retain: false })
            }
        }
    }

    /// The front was handed to the connection.
    pub fn sent(&mut self) {
        let sent = match self.queue.pop_front() {
            None => return,
            Some(Item::Once(once)) => {
                self.leaves(&once.kind);
                Sent::Once(once)
            }
            Some(Item::State(topic)) => {
                self.queued_states.remove(&topic);
                let version = self.states.get(&topic).map_or(0, |state| state.version);
                Sent::State { topic, version }
            }
        };
        self.in_flight.push_back((self.next_ordinal, sent));
        self.next_ordinal += 1;
    }

    /// The front can never be sent on this connection (the broker takes no message of its size).
    pub fn give_up(&mut self) {
        self.given_up += 1;
        match self.queue.pop_front() {
            Some(Item::State(topic)) => {
                self.queued_states.remove(&topic);
            }
            Some(Item::Once(Once { kind, .. })) => {
                self.leaves(&kind);
                match kind {
                    OnceKind::Event { seq, .. } => self.lose_event(seq),
                    OnceKind::GapReport(gap) => self.widen_gap(gap),
                    OnceKind::Response { .. } => {}
                }
            }
            None => {}
        }
    }

    /// The broker has acknowledged the message that was sent as the `ordinal`-th of this
    /// connection, counted from 0.
    pub fn acknowledged(&mut self, ordinal: u64) {
        let Some(at) = self.in_flight.iter().position(|(sent, _)| *sent == ordinal) else { return };
        if let Some((_, Sent::State { topic, version })) = self.in_flight.remove(at) {
            let cleared = |state: &State<P>| state.payload.is_none() && state.version == version;
            if self.states.get(&topic).is_some_and(cleared) {
                self.states.remove(&topic);
            }
        }
    }

    /// Nothing waits and nothing is unacknowledged.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Events among them.
    pub const fn events_queued(&self) -> usize {
        self.events.count
    }

    pub const fn events_dropped(&self) -> u64 {
        self.events_dropped
    }

    pub const fn responses_dropped(&self) -> u64 {
        self.responses_dropped
    }

    /// Messages that could not be sent at all.
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
