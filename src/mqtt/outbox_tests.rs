use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const EVENTS: &str = "event";

/// So large that the tests fill the outbox with a few hundred.
const EVENT_OCTETS: usize = 24 * 1024;
const EVENTS_MAX: usize = EVENT_OCTETS_MAX / (EVENT_OCTETS + EVENT_OVERHEAD_OCTETS);

/// What the tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    State(u64),
    /// An event, and the list it may not overtake.
    Event {
        seq: u64,
        list: u64,
    },
    Gap(Gap),
    Answer(u64),
}

/// A broker, the wire to it, and what a subscriber saw.
#[derive(Default)]
struct Broker {
    /// Sent and not yet processed: lost when the connection breaks.
    wire: VecDeque<(u64, String, Option<Message>, bool)>,
    acks: VecDeque<u64>,
    sent: u64,
    retained: BTreeMap<String, Message>,
    seen: Vec<Message>,
}

impl Broker {
    fn pump(&mut self, outbox: &mut Outbox<Message>) {
        if let Some(gap) = outbox.take_gap() {
            outbox.push_gap_report(EVENTS, Message::Gap(gap), gap);
        }
        while let Some(front) = outbox.front() {
            self.wire.push_back((self.sent, front.topic.to_owned(), front.payload.copied(), front.retain));
            self.sent += 1;
            outbox.sent();
        }
    }

    fn process(&mut self) {
        let Some((ordinal, topic, payload, retain)) = self.wire.pop_front() else { return };
        match (retain, payload) {
            (true, Some(payload)) => {
                self.retained.insert(topic, payload);
            }
            (true, None) => {
                self.retained.remove(&topic);
            }
            (false, payload) => {
                if let Some(Message::Event { list, .. }) = payload {
                    let shown = self.retained.get("list").copied();
                    assert!(
                        matches!(shown, Some(Message::State(at)) if at >= list) || list == 0,
                        "an event for list {list} came while {shown:?} was shown"
                    );
                }
                self.seen.extend(payload);
            }
        }
        self.acks.push_back(ordinal);
    }

    fn acknowledge(&mut self, outbox: &mut Outbox<Message>) {
        if let Some(ordinal) = self.acks.pop_front() {
            outbox.acknowledged(ordinal);
        }
    }

    fn connect(&mut self, outbox: &mut Outbox<Message>, window: usize) {
        self.disconnect(outbox);
        outbox.connected(window);
        self.pump(outbox);
    }

    fn disconnect(&mut self, outbox: &mut Outbox<Message>) {
        outbox.disconnected();
        self.wire.clear();
        self.acks.clear();
        self.sent = 0;
    }

    fn settle(&mut self, outbox: &mut Outbox<Message>) {
        while !outbox.is_idle() {
            self.pump(outbox);
            self.process();
            self.acknowledge(outbox);
        }
    }
}

fn event(outbox: &mut Outbox<Message>, list: u64) -> u64 {
    let seq = outbox.take_seq();
    outbox.push_event(EVENTS, Message::Event { seq, list }, seq, EVENT_OCTETS);
    seq
}

#[test]
fn while_the_window_is_full_only_the_latest_payload_of_a_topic_waits() {
    let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
    broker.connect(&mut outbox, 1);
    for payload in 0..100 {
        outbox.put_state("state", Message::State(payload), Rank::Ordinary);
        broker.pump(&mut outbox);
    }
    assert_eq!((outbox.in_flight(), outbox.queued()), (1, 1));
    broker.settle(&mut outbox);
    assert_eq!(broker.sent, 2);
    assert_eq!(broker.retained["state"], Message::State(99));
}

#[test]
fn after_a_connect_everything_retained_goes_out_again_in_order_and_online_last() {
    let mut outbox = Outbox::default();
    outbox.put_state("online", Message::State(1), Rank::Last);
    outbox.put_state("info", Message::State(2), Rank::Ordinary);
    outbox.put_state("adapter", Message::State(3), Rank::Ordinary);
    event(&mut outbox, 0);
    for _ in 0..2 {
        outbox.connected(10);
        let mut topics = Vec::new();
        while let Some(front) = outbox.front() {
            topics.push(front.topic.to_owned());
            outbox.sent();
        }
        assert_eq!(topics, ["info", "adapter", "online", EVENTS]);
    }
}

#[test]
fn a_cleared_topic_is_forgotten_once_the_broker_knows() {
    let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
    outbox.put_state("state", Message::State(1), Rank::Ordinary);
    broker.connect(&mut outbox, 10);
    broker.settle(&mut outbox);
    assert!(broker.retained.contains_key("state"));

    outbox.clear_state("state");
    outbox.clear_state("never put");
    broker.pump(&mut outbox);
    broker.disconnect(&mut outbox);
    assert!(broker.retained.contains_key("state"), "the message was lost on the way");
    broker.connect(&mut outbox, 10);
    broker.settle(&mut outbox);
    assert!(broker.retained.is_empty());

    broker.connect(&mut outbox, 10);
    assert!(outbox.is_idle(), "an acknowledged clearing was sent again");
}

#[test]
fn a_topic_that_is_put_again_while_it_is_being_cleared_stays() {
    let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
    outbox.put_state("state", Message::State(1), Rank::Ordinary);
    broker.connect(&mut outbox, 10);
    broker.settle(&mut outbox);
    outbox.clear_state("state");
    broker.pump(&mut outbox);
    outbox.put_state("state", Message::State(2), Rank::Ordinary);
    broker.settle(&mut outbox);
    assert_eq!(broker.retained["state"], Message::State(2));
    broker.retained.clear();
    broker.connect(&mut outbox, 10);
    broker.settle(&mut outbox);
    assert_eq!(broker.retained["state"], Message::State(2));
}

#[test]
fn too_many_events_cost_the_oldest_and_the_loss_is_reported_in_their_place() {
    let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
    for _ in 0..EVENTS_MAX + 3 {
        event(&mut outbox, 0);
    }
    assert_eq!((outbox.queued(), outbox.events_dropped()), (EVENTS_MAX, 3));
    assert_eq!(outbox.take_gap(), None, "a gap is not closed while it may grow");
    broker.connect(&mut outbox, 10);
    broker.settle(&mut outbox);
    assert_eq!(broker.seen[0], Message::Gap(Gap { count: 3, first_seq: 1, last_seq: 3 }));
    assert_eq!(broker.seen[1], Message::Event { seq: 4, list: 0 });
    assert_eq!(broker.seen.len(), 1 + EVENTS_MAX);
}

#[test]
fn answers_that_nobody_fetches_cost_the_oldest_by_number_and_by_size() {
    let mut outbox = Outbox::default();
    for number in 0..RESPONSES_MAX as u64 + 2 {
        outbox.push_response("answer", Message::Answer(number), 10, Worth::Result);
    }
    assert_eq!((outbox.queued(), outbox.responses_dropped()), (RESPONSES_MAX, 2));
    outbox.push_response("answer", Message::Answer(99), RESPONSE_OCTETS_MAX, Worth::Result);
    assert_eq!(outbox.queued(), 1);
}

#[test]
fn a_flood_of_refusals_pushes_out_refusals_and_no_result() {
    let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
    outbox.push_response("answer", Message::Answer(1), 10, Worth::Result);
    for number in 2..1_000 {
        outbox.push_response("answer", Message::Answer(number), 10, Worth::Refusal);
    }
    assert_eq!((outbox.queued() as u64, outbox.responses_dropped()), (RESPONSES_MAX as u64, 999 - 256));
    broker.connect(&mut outbox, 10);
    broker.settle(&mut outbox);
    assert_eq!(broker.seen[..2], [Message::Answer(1), Message::Answer(999 - 254)]);
}

#[test]
fn a_message_that_the_broker_cannot_take_does_not_hold_up_the_others() {
    let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
    outbox.put_state("large", Message::State(1), Rank::Ordinary);
    let lost = event(&mut outbox, 0);
    outbox.connected(10);
    outbox.give_up();
    outbox.give_up();
    outbox.put_state("small", Message::State(2), Rank::Ordinary);
    broker.settle(&mut outbox);
    assert_eq!(broker.retained.len(), 1);
    assert_eq!(broker.seen, [Message::Gap(Gap { count: 1, first_seq: lost, last_seq: lost })]);
    assert_eq!(outbox.given_up(), 2);
}

#[derive(Debug, Clone)]
enum Step {
    PutList,
    PutState(u8),
    Clear(u8),
    Event,
    /// So many events at once.
    Storm(u16),
    Answer,
    Connect(u8),
    Disconnect,
    /// The broker loses everything it retained, and the connection.
    Restart,
    Pump,
    Process(u8),
    Acknowledge(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::PutList),
        3 => (0u8..3).prop_map(Step::PutState),
        1 => (0u8..3).prop_map(Step::Clear),
        4 => Just(Step::Event),
        1 => (1u16..400).prop_map(Step::Storm),
        1 => Just(Step::Answer),
        3 => (1u8..6).prop_map(Step::Connect),
        2 => Just(Step::Disconnect),
        1 => Just(Step::Restart),
        4 => Just(Step::Pump),
        4 => (1u8..8).prop_map(Step::Process),
        4 => (1u8..8).prop_map(Step::Acknowledge),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    /// Whatever breaks in whatever order: once a connection lasts, the broker retains exactly the
    /// latest payloads, and every event has come in order or is reported as lost. (That no event
    /// overtakes its list is checked by the broker itself.)
    #[test]
    fn nothing_is_lost_without_a_report(steps in steps()) {
        let (mut outbox, mut broker) = (Outbox::default(), Broker::default());
        let mut wanted: BTreeMap<String, Message> = BTreeMap::new();
        let (mut list, mut events, mut answers) = (0u64, 0u64, 0u64);
        for step in steps {
            match step {
                Step::PutList => {
                    list += 1;
                    wanted.insert("list".to_owned(), Message::State(list));
                    outbox.put_state("list", Message::State(list), Rank::Ordinary);
                }
                Step::PutState(topic) => {
                    list += 1;
                    wanted.insert(topic.to_string(), Message::State(list));
                    outbox.put_state(&topic.to_string(), Message::State(list), Rank::Ordinary);
                }
                Step::Clear(topic) => {
                    wanted.remove(&topic.to_string());
                    outbox.clear_state(&topic.to_string());
                }
                Step::Event => events = event(&mut outbox, list_in(&wanted)),
                Step::Storm(count) => {
                    for _ in 0..count {
                        events = event(&mut outbox, list_in(&wanted));
                    }
                }
                Step::Answer => {
                    answers += 1;
                    outbox.push_response("answer", Message::Answer(answers), 1, Worth::Result);
                }
                Step::Connect(window) => broker.connect(&mut outbox, usize::from(window)),
                Step::Disconnect => broker.disconnect(&mut outbox),
                Step::Restart => {
                    broker.disconnect(&mut outbox);
                    broker.retained.clear();
                }
                Step::Pump => broker.pump(&mut outbox),
                Step::Process(count) => (0..count).for_each(|_| broker.process()),
                Step::Acknowledge(count) => (0..count).for_each(|_| broker.acknowledge(&mut outbox)),
            }
            prop_assert!(outbox.queued() <= EVENTS_MAX + RESPONSES_MAX + 5 + 1);
        }
        broker.connect(&mut outbox, 4);
        broker.settle(&mut outbox);
        prop_assert_eq!(&broker.retained, &wanted);
        check_events(&broker.seen, events);
        let answered = broker.seen.iter().filter_map(|seen| match seen {
            Message::Answer(number) => Some(*number),
            _ => None,
        });
        let mut answered: Vec<_> = answered.collect();
        answered.dedup();
        answered.sort_unstable();
        answered.dedup();
        prop_assert!(answered.len() as u64 + outbox.responses_dropped() >= answers);
    }
}

fn list_in(wanted: &BTreeMap<String, Message>) -> u64 {
    match wanted.get("list") {
        Some(Message::State(list)) => *list,
        _ => 0,
    }
}

/// Every event from 1 to `last` was seen or is in a reported gap, and no event that was seen for
/// the first time came after a later one.
fn check_events(seen: &[Message], last: u64) {
    let mut known = BTreeSet::new();
    let mut latest = 0;
    for message in seen {
        match message {
            Message::Event { seq, .. } => {
                let fresh = known.insert(*seq);
                assert!(!fresh || *seq > latest, "event {seq} came after event {latest}");
                latest = latest.max(*seq);
            }
            Message::Gap(gap) => {
                assert!(gap.count >= 1 && gap.last_seq - gap.first_seq + 1 >= gap.count);
                known.extend(gap.first_seq..=gap.last_seq);
            }
            Message::State(_) | Message::Answer(_) => {}
        }
    }
    assert_eq!(known, (1..=last).collect::<BTreeSet<_>>());
}

#[test]
fn what_a_broker_has_lost_goes_out_again_unless_it_is_on_its_way() {
    let mut outbox: Outbox<u32> = Outbox::default();
    outbox.put_state("a", 1, Rank::Ordinary);
    outbox.put_again("a");
    assert!(outbox.is_idle(), "without a connection everything goes out anyway");
    outbox.connected(8);
    outbox.put_again("a");
    assert_eq!(outbox.queued(), 1);
    outbox.sent();
    outbox.put_again("a");
    assert_eq!(outbox.queued(), 0, "it is on its way");
    outbox.acknowledged(0);
    outbox.put_again("a");
    outbox.put_again("unknown");
    assert_eq!(outbox.front(), Some(Front { topic: "a", payload: Some(&1), retain: true }));
    assert_eq!(outbox.queued(), 1);
}

#[test]
fn a_topic_of_an_earlier_run_is_emptied_and_then_forgotten() {
    let mut outbox: Outbox<u32> = Outbox::default();
    outbox.erase_state("old");
    outbox.put_state("new", 1, Rank::Ordinary);
    assert_eq!(outbox.retained_topics().collect::<Vec<_>>(), ["new"]);
    assert_eq!((outbox.retained("old"), outbox.retained("new")), (None, Some(&1)));
    outbox.connected(8);
    assert_eq!(outbox.front(), Some(Front { topic: "old", payload: None, retain: true }));
    outbox.sent();
    outbox.acknowledged(0);
    outbox.connected(8);
    assert_eq!(outbox.queued(), 1);
}
