#[path = "birth_tests.rs"]
mod birth;
#[path = "guard_tests.rs"]
mod guard;

use std::sync::Mutex;

use super::*;
use crate::adapter::messages::{AdapterEvent, AdapterEvents, AdapterForgotten, AdapterKnown, EventKind};
use crate::api::{Commands, LogLevel};
use crate::bond::BondTable;
use crate::bond::testing::secure_bond;
use crate::mqtt::messages::KernelKnown;
use crate::mqtt::testing::adapter::{
    ADAPTER, Asked, FakeAdapter, FakeExchange, Manner, PEER, address, described, description, handle, state,
    table, two_bonds, wire,
};
use crate::mqtt::testing::broker::{Connection, Listener, Published, Received, answer_properties};
use crate::store::messages::{StoreState, StoreStateChanged};

const ROOT: &str = "bondkeeper/attic";

fn now() -> UnixMillis {
    UnixMillis(1_795_249_800_125)
}

struct Scene {
    listener: Listener,
    actor: Addr<MqttActor>,
    adapter: Addr<FakeAdapter>,
    asked: Asked,
    levels: Arc<Mutex<Vec<LogLevel>>>,
}

impl Scene {
    /// Everything is there, and nothing is connected yet.
    async fn new(manner: Manner) -> Self {
        Self::with(manner, false).await
    }

    async fn with(manner: Manner, discovery: bool) -> Self {
        let listener = Listener::new().await;
        let levels = Arc::new(Mutex::new(Vec::new()));
        let set = Arc::clone(&levels);
        let actor = MqttActor::launch(MqttSetup {
            topics: Topics::new("bondkeeper", "attic").unwrap(),
            broker: listener.source(),
            facts: ServiceFacts {
                version: "1.2.3".to_owned(),
                endpoint: "simulated",
                started_at: now(),
                config: serde_json::json!({}),
                commands: Commands::All,
                log_level: LogLevel::Info,
            },
            exchange: Arc::new(FakeExchange::default()),
            set_log_level: Arc::new(move |level| {
                set.lock().unwrap().push(level);
                Ok(())
            }),
            discovery,
            random: || 0,
            probe: Rc::new(Probe::default),
            clock: now,
        });
        let (adapter, asked) = FakeAdapter::launch(address(ADAPTER), two_bonds(), manner);
        actor.send(AdapterKnown(handle(address(ADAPTER), &adapter))).await.unwrap();
        Self { listener, actor, adapter, asked, levels }
    }

    async fn connect(&self) -> Connection {
        self.actor.send(wire(&self.adapter)).await.unwrap();
        self.listener.accept().await
    }

    /// Connected, and everything retained is out.
    async fn online(manner: Manner) -> (Self, Connection) {
        let scene = Self::new(manner).await;
        let mut broker = scene.connect().await;
        broker.published_until("bridge/state").await;
        (scene, broker)
    }

    async fn event(&self, kind: EventKind) {
        let event = AdapterEvent { adapter: address(ADAPTER), at: now(), kind, cause: "pairing" };
        self.actor.send(AdapterEvents { dropped_count: 0, events: vec![event] }).await.unwrap();
    }
}

async fn request(broker: &mut Connection, verb: &str, body: &str) {
    broker
        .deliver(&format!("{ROOT}/bridge/request/{verb}"), body.replace('\'', "\"").as_bytes(), false, &[])
        .await;
}

fn topics(published: &[Published]) -> Vec<&str> {
    published.iter().map(|published| published.topic.strip_prefix(ROOT).unwrap()).collect()
}

#[actix::test]
async fn online_comes_after_everything_that_is_retained_and_after_each_connect() {
    let scene = Scene::new(Manner::Obliging).await;
    scene.actor.send(state(address(ADAPTER), Some(0))).await.unwrap();
    scene.actor.send(description(address(ADAPTER), &two_bonds())).await.unwrap();
    let mut broker = scene.connect().await;
    let expected = [
        "/bridge/info",
        "/adapter/00:1A:7D:DA:71:11/state",
        "/adapter/00:1A:7D:DA:71:11/bonds",
        "/bridge/health",
        "/bridge/state",
    ];
    let first = broker.published_until("bridge/state").await;
    assert_eq!(topics(&first), expected);
    assert!(first.iter().all(|published| published.retain));
    assert_eq!(first[4].payload, br#"{"state":"online"}"#);
    assert_eq!(broker.published().await.json()["type"], "adapter_added");

    drop(broker);
    let mut broker = scene.listener.accept().await;
    let again = broker.published_until("bridge/state").await;
    assert_eq!(topics(&again), expected);
}

#[actix::test]
async fn nothing_is_connected_before_requests_can_be_carried_out() {
    let scene = Scene::new(Manner::Obliging).await;
    scene.actor.send(KernelKnown { mgmt_version: "1.22".to_owned() }).await.unwrap();
    tokio::time::pause();
    let minute = Duration::from_secs(60);
    assert!(tokio::time::timeout(minute, scene.listener.connection()).await.is_err());
    tokio::time::resume();
    let mut broker = scene.connect().await;
    let info = broker.published().await.json();
    assert_eq!(info["kernel_mgmt_version"], "1.22");
}

#[actix::test]
async fn the_list_goes_out_before_the_event_that_follows_from_it() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    scene.actor.send(description(address(ADAPTER), &two_bonds())).await.unwrap();
    scene.event(EventKind::BondAdded(described(secure_bond(PEER, 1)))).await;
    let list = broker.published().await;
    assert!(list.topic.ends_with("/bonds") && list.retain);
    let event = broker.published().await;
    assert!(event.topic.ends_with("/event") && !event.retain);
    assert_eq!((&event.json()["event_type"], &event.json()["peer"]), (&"bond_added".into(), &PEER.into()));
}

#[actix::test]
async fn what_was_not_acknowledged_is_sent_again_after_a_reconnect() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    scene.event(EventKind::BondAdded(described(secure_bond(PEER, 1)))).await;
    let Received::Publish(lost) = broker.receive().await else { panic!() };
    drop(broker);
    let mut broker = scene.listener.accept().await;
    broker.published_until("bridge/state").await;
    let again = broker.published().await;
    assert_eq!((&again.topic, &again.payload), (&lost.topic, &lost.payload));
}

#[actix::test]
async fn a_request_is_answered_where_it_asks_to_and_on_its_own_topic() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    let body = br#"{"adapter":"00:1A:7D:DA:71:11","transaction":"t-1"}"#;
    let properties = answer_properties("client/answers", b"c-1");
    broker.deliver(&format!("{ROOT}/bridge/request/bonds/reload"), body, false, &properties).await;
    let own = broker.published().await;
    assert_eq!((own.topic.as_str(), own.correlation.as_deref()), ("client/answers", Some(&b"c-1"[..])));
    let plain = broker.published().await;
    assert_eq!(topics(std::slice::from_ref(&plain)), ["/bridge/response/bonds/reload"]);
    assert_eq!((plain.correlation, plain.retain), (None, false));
    assert_eq!(own.payload, plain.payload);
    assert_eq!(own.json()["transaction"], "t-1");
    let done = broker.published().await.json();
    assert_eq!((&done["type"], &done["data"]["verb"]), (&"command_done".into(), &"bonds/reload".into()));
}

#[actix::test]
async fn a_request_that_may_not_be_answered_where_it_asks_to_is_answered_on_its_own_topic_only() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    let properties = answer_properties("bondkeeper/attic/bridge/state", b"");
    broker.deliver(&format!("{ROOT}/bridge/request/health_check"), b"{}", false, &properties).await;
    assert!(broker.published().await.topic.ends_with("/bridge/response/health_check"));
    request(&mut broker, "bonds/list", "{}").await;
    assert!(broker.published().await.topic.ends_with("/bridge/response/bonds/list"));
}

#[actix::test]
async fn a_retained_request_is_refused_and_never_carried_out() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    let body = br#"{"adapter":"00:1A:7D:DA:71:11"}"#;
    broker.deliver(&format!("{ROOT}/bridge/request/bonds/reload"), body, true, &[]).await;
    let answer = broker.published().await.json();
    assert_eq!(answer["error"]["code"], "retained_request");
    assert!(scene.asked.lock().unwrap().is_empty());
}

#[actix::test]
async fn an_empty_request_and_one_without_a_verb_are_passed_over() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    request(&mut broker, "bonds/reload", "").await;
    request(&mut broker, "", "{}").await;
    request(&mut broker, "health_check", "{'transaction':1}").await;
    assert_eq!(broker.published().await.json()["transaction"], 1);
}

#[actix::test]
async fn only_so_many_requests_are_in_progress_and_each_is_answered_in_the_end() {
    const MORE: usize = 3;
    let (_scene, mut broker) = Scene::online(Manner::Silent).await;
    let max = crate::api::limits::REQUESTS_IN_PROGRESS_MAX;
    for number in 0..max + MORE {
        request(&mut broker, "bonds/reload", &format!("{{'adapter':'{ADAPTER}','transaction':{number}}}"))
            .await;
    }
    for number in max..max + MORE {
        let answer = broker.published().await.json();
        assert_eq!((&answer["error"]["code"], &answer["transaction"]), (&"busy".into(), &number.into()));
    }
    // What only looks is still answered.
    request(&mut broker, "health_check", "{}").await;
    let health = broker.published().await.json();
    assert_eq!(health["data"]["mqtt"]["requests_in_progress"], max);

    tokio::time::pause();
    let mut answered = Vec::new();
    while answered.len() < max {
        match broker.receive().await {
            Received::Publish(published) => {
                broker.acknowledge(published.pkid).await;
                if published.topic.contains("/response/") {
                    assert_eq!(published.json()["error"]["code"], "kernel_timeout");
                    answered.push(published.json()["transaction"].as_u64().unwrap());
                }
            }
            Received::Ping => broker.answer_ping().await,
            Received::PubAck => {}
            other => panic!("{other:?}"),
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..max as u64).collect::<Vec<_>>());
    tokio::time::resume();
    request(&mut broker, "health_check", "{}").await;
    let published = broker.published_until("health_check").await;
    assert_eq!(published.last().unwrap().json()["data"]["mqtt"]["requests_in_progress"], 0);
}

#[actix::test]
async fn while_too_much_waits_to_be_published_only_looks_are_carried_out() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    let kind = EventKind::AdapterLoaded { ltk_count: 1, irk_count: 0, link_key_count: 0 };
    let event = AdapterEvent { adapter: address(ADAPTER), at: now(), kind, cause: "test" };
    // With those that are on their way.
    let events = vec![event; crate::mqtt::arrivals::EVENTS_BUSY + 32];
    scene.actor.send(AdapterEvents { dropped_count: 0, events }).await.unwrap();
    request(&mut broker, "bonds/reload", &format!("{{'adapter':'{ADAPTER}'}}")).await;
    let refused = broker.published_until("response/bonds/reload").await;
    assert_eq!(refused.last().unwrap().json()["error"]["code"], "busy");
    request(&mut broker, "bonds/reload", &format!("{{'adapter':'{ADAPTER}'}}")).await;
    let answered = broker.published_until("response/bonds/reload").await;
    assert_eq!(answered.last().unwrap().json()["status"], "ok");
}

#[actix::test]
async fn setting_the_log_level_shows_in_the_info() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    request(&mut broker, "log_level", "{'level':'debug'}").await;
    let published = broker.published_until("bridge/event").await;
    assert_eq!(topics(&published), ["/bridge/info", "/bridge/response/log_level", "/bridge/event"]);
    assert_eq!(published[0].json()["log_level"], "debug");
    assert_eq!(*scene.levels.lock().unwrap(), [LogLevel::Debug]);
}

#[actix::test]
async fn a_forgotten_adapter_leaves_no_topic_and_cannot_bring_one_back() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    let adapter = address(ADAPTER);
    scene.actor.send(state(adapter, None)).await.unwrap();
    scene.actor.send(description(adapter, &two_bonds())).await.unwrap();
    scene.actor.send(AdapterForgotten { adapter }).await.unwrap();
    scene.actor.send(state(adapter, None)).await.unwrap();
    scene.actor.send(description(adapter, &BondTable::new())).await.unwrap();
    let published = broker.published_until("bridge/event").await;
    let expected = [
        "/adapter/00:1A:7D:DA:71:11/state",
        "/adapter/00:1A:7D:DA:71:11/bonds",
        "/adapter/00:1A:7D:DA:71:11/state",
        "/adapter/00:1A:7D:DA:71:11/bonds",
        "/bridge/info",
        "/bridge/event",
    ];
    assert_eq!(topics(&published), expected);
    assert!(published[2].payload.is_empty() && published[2].retain);
    assert!(published[3].payload.is_empty() && published[3].retain);
    assert_eq!(published[4].json()["adapters"], serde_json::json!([]));
    assert_eq!(published[5].json()["type"], "adapter_forgotten");
    // The late state and list are not among what follows.
    request(&mut broker, "health_check", "{}").await;
    assert!(broker.published().await.topic.ends_with("health_check"));
    // The same radio may come again.
    scene.actor.send(AdapterKnown(handle(adapter, &scene.adapter))).await.unwrap();
    scene.actor.send(state(adapter, Some(1))).await.unwrap();
    let published = broker.published_until("/state").await;
    assert_eq!(topics(&published), ["/bridge/info", "/adapter/00:1A:7D:DA:71:11/state"]);
}

#[actix::test]
async fn the_store_shows_in_the_info_and_a_rebuilt_one_is_told() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    let change = |state| StoreStateChanged { state, last_commit_us: 900, max_commit_us: 2_000 };
    scene.actor.send(change(StoreState::Rebuilt { detail: "from snapshots".to_owned() })).await.unwrap();
    let published = broker.published_until("bridge/event").await;
    assert_eq!(published[0].json()["store"]["state"], "rebuilt");
    assert_eq!(published[1].json()["data"]["detail"], "from snapshots");
    request(&mut broker, "health_check", "{}").await;
    assert_eq!(broker.published().await.json()["data"]["store"]["max_commit_us"], 2_000);
}

#[actix::test]
async fn a_list_that_is_larger_than_the_broker_takes_holds_nothing_up() {
    let scene = Scene::new(Manner::Obliging).await;
    let many = table((0..100).map(|number| secure_bond(&format!("C0:FF:EE:00:00:{number:02X}"), 1)));
    scene.actor.send(description(address(ADAPTER), &many)).await.unwrap();
    scene.actor.send(wire(&scene.adapter)).await.unwrap();
    let mut broker = scene.listener.connection().await;
    assert!(matches!(broker.receive().await, Received::Connect(_)));
    // Maximum Packet Size (0x27) 16,384.
    broker.send(&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0x40, 0]).await;
    assert!(matches!(broker.receive().await, Received::Subscribe { .. }));
    let published = broker.published_until("bridge/state").await;
    assert_eq!(topics(&published), ["/bridge/info", "/bridge/health", "/bridge/state"]);
    request(&mut broker, "health_check", "{}").await;
    assert_eq!(broker.published().await.json()["data"]["mqtt"]["refused"], 1);
}

#[actix::test]
async fn leaving_says_offline_last_and_waits_for_the_broker_to_know() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    scene.actor.send(StopRequests).await.unwrap();
    request(&mut broker, "bonds/reload", &format!("{{'adapter':'{ADAPTER}'}}")).await;
    assert_eq!(broker.published().await.json()["error"]["code"], "shutting_down");

    scene.event(EventKind::BondAdded(described(secure_bond(PEER, 1)))).await;
    let drain = scene.actor.send(Drain { deadline: Duration::from_secs(5) });
    let drained = actix::spawn(drain);
    assert!(broker.published().await.topic.ends_with("/event"));
    let Received::Publish(offline) = broker.receive().await else { panic!() };
    assert_eq!((offline.payload.as_slice(), offline.retain), (&br#"{"state":"offline"}"#[..], true));
    assert!(!drained.is_finished(), "the broker does not know yet");
    broker.acknowledge(offline.pkid).await;
    assert_eq!(broker.receive().await, Received::Disconnect);
    assert_eq!(drained.await.unwrap().unwrap(), Drained { said_goodbye: true, unsent: 0 });
    assert_eq!(broker.receive().await, Received::Closed);
}

#[actix::test]
async fn leaving_waits_for_requests_but_not_longer_than_it_may() {
    let (scene, mut broker) = Scene::online(Manner::Silent).await;
    request(&mut broker, "bonds/reload", &format!("{{'adapter':'{ADAPTER}'}}")).await;
    request(&mut broker, "health_check", "{}").await;
    assert!(broker.published().await.topic.ends_with("health_check"));
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let drained = actix::spawn(scene.actor.send(Drain { deadline: Duration::from_secs(4) }));
    let offline = broker.published().await;
    assert_eq!(offline.payload, br#"{"state":"offline"}"#);
    assert!(begun.elapsed() >= Duration::from_secs(2), "the request was given no time");
    assert_eq!(broker.receive().await, Received::Disconnect);
    assert!(drained.await.unwrap().unwrap().said_goodbye);
}

#[actix::test]
async fn leaving_ends_in_time_when_the_broker_says_nothing_and_then_the_will_speaks() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    tokio::time::pause();
    let drained = actix::spawn(scene.actor.send(Drain { deadline: Duration::from_secs(4) }));
    let Received::Publish(_) = broker.receive().await else { panic!() };
    assert_eq!(drained.await.unwrap().unwrap(), Drained { said_goodbye: false, unsent: 1 });
    assert_eq!(
        broker.receive().await,
        Received::Closed,
        "a broker that is told goodbye keeps the will to itself"
    );
}

#[actix::test]
async fn leaving_without_a_connection_takes_no_time() {
    let scene = Scene::new(Manner::Obliging).await;
    let drained = scene.actor.send(Drain { deadline: Duration::from_secs(3_600) }).await.unwrap();
    assert!(!drained.said_goodbye);
}

#[actix::test]
async fn the_events_of_a_storm_wait_for_the_broker_and_none_is_lost() {
    const STORM: usize = 2_000;
    let scene = Scene::new(Manner::Obliging).await;
    let of_peer = |number: usize| {
        let peer = format!("C0:FF:EE:00:{:02X}:{:02X}", number >> 8, number & 0xFF);
        let kind = EventKind::BondAdded(described(secure_bond(&peer, 1)));
        AdapterEvent { adapter: address(ADAPTER), at: now(), kind, cause: "pairing" }
    };
    let events = (0..STORM).map(of_peer).collect();
    scene.actor.send(AdapterEvents { dropped_count: 0, events }).await.unwrap();
    let mut broker = scene.connect().await;
    broker.published_until("bridge/state").await;
    for number in 1..=STORM {
        let event = broker.published().await.json();
        assert_eq!(
            (&event["event_type"], event["seq"].as_u64()),
            (&"bond_added".into(), Some(number as u64))
        );
    }
}

#[actix::test]
async fn events_that_had_to_be_given_up_are_reported_before_the_next() {
    let scene = Scene::new(Manner::Obliging).await;
    let kind = EventKind::AdapterLoaded { ltk_count: 1, irk_count: 0, link_key_count: 0 };
    // What the adapter itself could not keep counts as well.
    scene.actor.send(AdapterEvents { dropped_count: 2, events: Vec::new() }).await.unwrap();
    scene.event(kind).await;
    let mut broker = scene.connect().await;
    broker.published_until("bridge/state").await;
    let report = broker.published().await.json();
    assert_eq!(report["type"], "events_dropped");
    assert_eq!(report["data"], serde_json::json!({"count": 2, "first_seq": 1, "last_seq": 2}));
    assert_eq!(broker.published().await.json()["seq"], 3);
}

#[actix::test]
async fn health_is_published_every_minute() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    loop {
        match broker.receive().await {
            Received::Ping => broker.answer_ping().await,
            Received::Publish(health) => {
                assert!(health.topic.ends_with("/bridge/health") && health.retain);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() <= HEALTH_PERIOD + Duration::from_secs(1));
}
