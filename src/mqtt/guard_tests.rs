//! Somebody else on our topics, against the scripted broker.

use super::*;
use crate::mqtt::guard::OVERWRITE_WAIT;
use crate::mqtt::testing::broker::NO_LOCAL;

const STATE: &str = "bondkeeper/attic/bridge/state";
const INFO: &str = "bondkeeper/attic/bridge/info";

/// Everything that is published until the clock, which jumps, has passed what is waited for, and a request was answered.
async fn published_meanwhile(broker: &mut Connection) -> Vec<String> {
    tokio::time::sleep(2 * OVERWRITE_WAIT).await;
    request(broker, "health_check", "{}").await;
    let mut all: Vec<String> =
        broker.published_until("health_check").await.into_iter().map(|published| published.topic).collect();
    all.pop();
    all
}

#[actix::test]
async fn only_what_others_publish_on_our_topics_is_asked_for() {
    let scene = Scene::new(Manner::Obliging).await;
    scene.actor.send(wire(&scene.adapter)).await.unwrap();
    let mut broker = scene.listener.connection().await;
    assert!(matches!(broker.receive().await, Received::Connect(_)));
    broker.accept_connect().await;
    let Received::Subscribe { filters, .. } = broker.receive().await else { panic!() };
    let guarded: Vec<_> = filters.iter().filter(|(_, options)| options & NO_LOCAL != 0).collect();
    let wanted = ["bondkeeper/attic/bridge/+", "bondkeeper/attic/adapter/+/+"];
    assert_eq!(guarded.iter().map(|(filter, _)| filter.as_str()).collect::<Vec<_>>(), wanted);
    assert_eq!(filters.len(), wanted.len() + 1);
}

#[actix::test]
async fn what_somebody_else_publishes_on_our_topics_is_published_over() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    broker.deliver(STATE, br#"{"state":"offline"}"#, false, &[]).await;
    // Emptied is spoilt as well.
    broker.deliver(INFO, b"", false, &[]).await;
    let first = broker.published().await;
    assert_eq!((first.topic.as_str(), first.retain), (INFO, true));
    assert!(first.json()["version"].is_string());
    let second = broker.published().await;
    assert_eq!((second.topic.as_str(), &second.payload[..]), (STATE, &br#"{"state":"online"}"#[..]));
    request(&mut broker, "health_check", "{}").await;
    assert_eq!(broker.published().await.json()["data"]["mqtt"]["overwritten"], 2);
}

#[actix::test]
async fn a_flood_on_our_topics_is_answered_once() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    for number in 0..500 {
        broker.deliver(STATE, format!("{number}").as_bytes(), false, &[]).await;
    }
    assert_eq!(published_meanwhile(&mut broker).await, [STATE]);
}

#[actix::test]
async fn our_own_messages_that_come_back_and_topics_that_are_not_ours_cost_nothing() {
    let (_scene, mut broker) = Scene::online(Manner::Obliging).await;
    broker.deliver(STATE, br#"{"state":"online"}"#, false, &[]).await;
    for topic in ["bondkeeper/attic/bridge/event", "bondkeeper/attic/adapter/11:22:33:44:55:66/state"] {
        broker.deliver(topic, b"garbage", true, &[]).await;
    }
    assert!(published_meanwhile(&mut broker).await.is_empty());
}

#[actix::test]
async fn what_was_spoilt_before_the_connection_ended_is_published_once_with_the_next() {
    let (scene, mut broker) = Scene::online(Manner::Obliging).await;
    broker.deliver(STATE, b"garbage", false, &[]).await;
    request(&mut broker, "health_check", "{}").await;
    broker.published_until("health_check").await;
    drop(broker);
    let mut broker = scene.listener.accept().await;
    broker.published_until("bridge/state").await;
    assert!(published_meanwhile(&mut broker).await.is_empty());
}
