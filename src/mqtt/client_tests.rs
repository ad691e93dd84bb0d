use actix::{Actor, Context, Handler};
use tokio::sync::mpsc;

use super::*;
use crate::mqtt::testing::broker::{Listener, Received};

/// The shortest that the library takes.
const SHORT_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Stands in for the MQTT actor and passes on what it is told.
struct Ear(mpsc::UnboundedSender<LinkEvent>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<LinkEvent> for Ear {
    type Result = ();

    fn handle(&mut self, event: LinkEvent, _: &mut Self::Context) {
        let _ = self.0.send(event);
    }
}

struct Scene {
    listener: Listener,
    heard: mpsc::UnboundedReceiver<LinkEvent>,
    task: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        let listener = Listener::new().await;
        let (told, heard) = mpsc::unbounded_channel();
        let setup = LinkSetup {
            topics: Topics::new("bondkeeper", "attic").unwrap(),
            broker: listener.source(),
            keep_alive: SHORT_KEEP_ALIVE,
            hear_birth: true,
        };
        let task = actix::spawn(keep_connected(setup, Ear(told).start().recipient()));
        Self { listener, heard, task }
    }

    async fn up(&mut self) -> AsyncClient {
        match self.heard.recv().await {
            Some(LinkEvent::Up { client, .. }) => client,
            _ => panic!("not connected"),
        }
    }

    async fn down(&mut self) -> bool {
        loop {
            match self.heard.recv().await {
                Some(LinkEvent::Down { said_goodbye }) => return said_goodbye,
                Some(_) => {}
                None => panic!("the connection's task has ended without a word"),
            }
        }
    }
}

fn publish(client: &AsyncClient, topic: &str) {
    client.try_publish(topic, QoS::AtLeastOnce, false, "x").unwrap();
}

#[actix::test]
async fn a_connection_starts_clean_and_asks_to_be_told_what_is_retained() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.connection().await;
    let Received::Connect(connect) = broker.receive().await else { panic!() };
    // After the protocol's name and level: user name, password, will retain, will QoS, will, clean start.
    assert_eq!(&connect[..7], &[0, 4, b'M', b'Q', b'T', b'T', 5]);
    assert_eq!(connect[7], 0b0010_1110);
    broker.accept_connect().await;
    let Received::Subscribe { filters, .. } = broker.receive().await else { panic!() };
    // QoS 1, and retain as published (bit 3); without that bit a retained request looks like any other.
    let requests = ("bondkeeper/attic/bridge/request/#".to_owned(), 0b0000_1001);
    assert_eq!(filters[..2], [requests, ("homeassistant/status".to_owned(), 0b0000_0001)]);
    scene.up().await;
}

#[actix::test]
async fn an_acknowledgement_is_told_as_the_publish_that_it_is_for() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.accept().await;
    let client = scene.up().await;
    let mut pkids = Vec::new();
    for topic in ["a", "b", "c"] {
        publish(&client, topic);
        let Received::Publish(published) = broker.receive().await else { panic!() };
        assert_eq!(published.topic, topic);
        pkids.push(published.pkid);
    }
    for at in [1, 0, 2] {
        broker.acknowledge(pkids[at]).await;
        match scene.heard.recv().await {
            Some(LinkEvent::Acknowledged { ordinal, taken: true }) => assert_eq!(ordinal, at as u64),
            _ => panic!("no acknowledgement"),
        }
    }
}

#[actix::test]
async fn what_comes_in_is_passed_on_with_its_retain_flag() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.accept().await;
    scene.up().await;
    for retain in [true, false] {
        broker.deliver("bondkeeper/attic/bridge/request/x", b"{}", retain, &[]).await;
        match scene.heard.recv().await {
            Some(LinkEvent::Arrived(publish)) => assert_eq!(publish.retain, retain),
            _ => panic!("nothing arrived"),
        }
    }
}

#[actix::test]
async fn a_broker_that_falls_silent_is_left_and_tried_again() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.accept().await;
    scene.up().await;
    tokio::time::pause();
    let begun = Instant::now();
    assert_eq!(broker.receive().await, Received::Ping);
    assert!(!scene.down().await);
    assert!(begun.elapsed() < 3 * SHORT_KEEP_ALIVE, "{:?}", begun.elapsed());
    tokio::time::resume();
    let _again = scene.listener.accept().await;
    scene.up().await;
}

#[actix::test]
async fn a_broker_that_answers_pings_but_acknowledges_nothing_is_left() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.accept().await;
    let client = scene.up().await;
    publish(&client, "a");
    assert!(matches!(broker.receive().await, Received::Publish(_)));
    tokio::time::pause();
    let begun = Instant::now();
    loop {
        match broker.receive().await {
            Received::Ping => broker.answer_ping().await,
            Received::Closed => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(!scene.down().await);
    assert!(begun.elapsed() < 4 * SHORT_KEEP_ALIVE, "{:?}", begun.elapsed());
}

/// The library then waits for room in the socket and sends no ping either: only our own watch is left.
#[actix::test]
async fn a_broker_that_no_longer_reads_is_left() {
    let mut scene = Scene::new().await;
    let broker = scene.listener.accept().await;
    let client = scene.up().await;
    for _ in 0..WINDOW {
        client.try_publish("a", QoS::AtLeastOnce, false, vec![0; 1024 * 1024]).unwrap();
    }
    tokio::time::pause();
    let begun = Instant::now();
    assert!(!scene.down().await);
    assert!(begun.elapsed() < 3 * SHORT_KEEP_ALIVE, "{:?}", begun.elapsed());
    drop(broker);
}

#[actix::test]
async fn what_was_acknowledged_before_the_connection_broke_counts() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.accept().await;
    let client = scene.up().await;
    publish(&client, "a");
    let Received::Publish(published) = broker.receive().await else { panic!() };
    // The acknowledgement and something that no broker may send arrive together.
    let [high, low] = published.pkid.to_be_bytes();
    broker.send(&[0x40, 2, high, low, 0x10, 0]).await;
    assert!(matches!(scene.heard.recv().await, Some(LinkEvent::Acknowledged { ordinal: 0, .. })));
    assert!(!scene.down().await);
}

#[actix::test]
async fn a_goodbye_ends_the_task_and_says_disconnect() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.accept().await;
    let client = scene.up().await;
    client.try_disconnect().unwrap();
    assert_eq!(broker.receive().await, Received::Disconnect);
    assert!(scene.down().await);
    scene.task.await.unwrap();
}

#[actix::test]
async fn a_broker_that_refuses_us_is_asked_again_and_nothing_is_told() {
    let mut scene = Scene::new().await;
    for _ in 0..2 {
        let mut broker = scene.listener.connection().await;
        assert!(matches!(broker.receive().await, Received::Connect(_)));
        // Reason 0x87: not authorised.
        broker.send(&[0x20, 3, 0, 0x87, 0]).await;
    }
    assert!(scene.heard.try_recv().is_err());
}

#[actix::test]
async fn a_broker_that_wants_no_keep_alive_is_not_pinged_without_pause() {
    let mut scene = Scene::new().await;
    let mut broker = scene.listener.connection().await;
    assert!(matches!(broker.receive().await, Received::Connect(_)));
    // Server Keep Alive (0x13) 0.
    broker.send(&[0x20, 6, 0, 0, 3, 0x13, 0, 0]).await;
    assert!(matches!(broker.receive().await, Received::Subscribe { .. }));
    scene.up().await;
    tokio::time::pause();
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(broker.receive().await, Received::Ping);
        broker.answer_ping().await;
    }
    assert!(begun.elapsed() >= 2 * SHORT_KEEP_ALIVE, "{:?}", begun.elapsed());
}
