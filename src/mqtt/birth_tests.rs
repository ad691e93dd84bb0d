//! Home Assistant's devices and its start, against the scripted broker.

use super::*;
use crate::mqtt::birth::LOOK_PATIENCE;

const NODE: &str = "homeassistant/device/bondkeeper-attic/config";
const DEVICE: &str = "homeassistant/device/bondkeeper-attic-001a7dda7111/config";
const STATUS: &str = "homeassistant/status";

/// Connected, and everything retained is out and comes with it.
async fn discovered() -> (Scene, Connection, Vec<Published>) {
    let scene = Scene::with(Manner::Obliging, true).await;
    scene.actor.send(state(address(ADAPTER), Some(0))).await.unwrap();
    scene.actor.send(description(address(ADAPTER), &two_bonds())).await.unwrap();
    let mut broker = scene.connect().await;
    let retained = broker.published_until("bridge/state").await;
    assert_eq!(broker.published().await.json()["type"], "adapter_added");
    (scene, broker, retained)
}

/// The next publish, also of a device that is taken away.
async fn any_published(broker: &mut Connection) -> Published {
    loop {
        match broker.receive().await {
            Received::Publish(published) => {
                broker.acknowledge(published.pkid).await;
                return published;
            }
            Received::PubAck | Received::Guard(_) => {}
            other => panic!("a publish was due, not {other:?}"),
        }
    }
}

/// Home Assistant says something, and the service has heard it.
async fn status(broker: &mut Connection, payload: &str, retain: bool) {
    broker.deliver(STATUS, payload.as_bytes(), retain, &[]).await;
    request(broker, "health_check", "{}").await;
    broker.published_until("response/health_check").await;
}

/// The next subscription.
async fn asked(broker: &mut Connection) -> Received {
    loop {
        match broker.receive().await {
            Received::Ping => broker.answer_ping().await,
            Received::PubAck | Received::Guard(_) => {}
            asked @ Received::Subscribe { .. } => return asked,
            other => panic!("{other:?}"),
        }
    }
}

/// Until the next `bridge/health`, a minute at most, nobody asks what is retained.
async fn nothing_is_asked(broker: &mut Connection) {
    tokio::time::pause();
    loop {
        match broker.receive().await {
            Received::Ping => broker.answer_ping().await,
            Received::PubAck | Received::Guard(_) => {}
            Received::Publish(published) => {
                broker.acknowledge(published.pkid).await;
                if published.topic.ends_with("bridge/health") {
                    return tokio::time::resume();
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[actix::test]
async fn devices_go_out_before_what_they_show_and_after_each_connect() {
    let (scene, broker, first) = discovered().await;
    let order: Vec<&str> = first.iter().map(|published| published.topic.as_str()).collect();
    let position = |topic: &str| order.iter().position(|known| known.ends_with(topic)).unwrap();
    assert!(position(NODE) < position("bridge/info") && position(DEVICE) < position("/bonds"), "{order:?}");
    assert!(first.iter().all(|published| published.retain));
    assert_eq!(first[position(DEVICE)].json()["dev"]["via_device"], "bondkeeper-attic");
    drop(broker);
    let mut broker = scene.listener.accept().await;
    let again = broker.published_until("bridge/state").await;
    let topics = |all: &[Published]| -> Vec<String> { all.iter().map(|one| one.topic.clone()).collect() };
    assert_eq!(topics(&again), topics(&first));
}

#[actix::test]
async fn a_forgotten_adapters_device_is_taken_away_before_its_state() {
    let (scene, mut broker, _) = discovered().await;
    scene.actor.send(AdapterForgotten { adapter: address(ADAPTER) }).await.unwrap();
    let removed = any_published(&mut broker).await;
    assert_eq!((removed.topic.as_str(), removed.payload.len(), removed.retain), (DEVICE, 0, true));
    let cleared = any_published(&mut broker).await;
    assert!(cleared.topic.ends_with("/state") && cleared.payload.is_empty());
    // It comes back with the adapter.
    broker.published_until("bridge/event").await;
    scene.actor.send(AdapterKnown(handle(address(ADAPTER), &scene.adapter))).await.unwrap();
    assert_eq!(any_published(&mut broker).await.topic, DEVICE);
}

#[actix::test]
async fn with_the_option_off_the_devices_of_an_earlier_run_are_taken_away_once() {
    let scene = Scene::with(Manner::Obliging, false).await;
    let mut broker = scene.connect().await;
    let mut removed = Vec::new();
    loop {
        let published = any_published(&mut broker).await;
        if published.topic.ends_with("bridge/state") {
            break;
        }
        if published.payload.is_empty() && published.retain {
            removed.push(published.topic);
        }
    }
    assert_eq!(removed, [NODE, DEVICE]);
    request(&mut broker, "health_check", "{}").await;
    assert!(any_published(&mut broker).await.topic.ends_with("health_check"));
    drop(broker);
    let mut broker = scene.listener.accept().await;
    assert!(any_published(&mut broker).await.topic.ends_with("bridge/info"));
}

#[actix::test]
async fn after_home_assistants_start_only_what_the_broker_has_lost_is_published_again() {
    let (_scene, mut broker, retained) = discovered().await;
    let begun = tokio::time::Instant::now();
    status(&mut broker, "online", false).await;
    tokio::time::pause();
    let asked = asked(&mut broker).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    tokio::time::resume();
    broker.grant(&asked).await;
    let Received::Subscribe { filters, .. } = asked else { panic!("{asked:?}") };
    let filters: Vec<String> = filters.into_iter().map(|(filter, _)| filter).collect();
    let wanted = ["bondkeeper/attic/bridge/+", "bondkeeper/attic/adapter/+/+", NODE, DEVICE];
    assert_eq!(filters, wanted);
    // The broker has lost the adapter's device, and has something else where the bonds should be.
    let mut lost = Vec::new();
    for published in retained {
        if published.topic == DEVICE {
            lost.push(published.topic);
        } else if published.topic.ends_with("/bonds") {
            broker.deliver(&published.topic, b"{}", true, &[]).await;
            lost.push(published.topic);
        } else {
            broker.deliver(&published.topic, &published.payload, true, &[]).await;
        }
    }
    // A state that changes meanwhile comes back, too, as any subscriber gets it.
    request(&mut broker, "log_level", "{'level':'debug'}").await;
    let info = broker.published().await;
    assert!(info.topic.ends_with("bridge/info"));
    broker.deliver(&info.topic, &info.payload, false, &[]).await;
    broker.published_until("bridge/event").await;
    request(&mut broker, "health_check", "{}").await;
    broker.published_until("response/health_check").await;

    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let (mut again, mut left_alone) = (Vec::new(), Vec::new());
    while again.len() < lost.len() || left_alone.len() < wanted.len() {
        match broker.receive().await {
            Received::Publish(published) => {
                broker.acknowledge(published.pkid).await;
                assert!(published.retain && !published.payload.is_empty());
                again.push(published.topic);
            }
            Received::Guard(filters) => left_alone.extend(filters),
            Received::PubAck => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() <= LOOK_PATIENCE + Duration::from_secs(1));
    again.sort_unstable();
    lost.sort_unstable();
    assert_eq!((again, left_alone.as_slice()), (lost, &wanted.map(str::to_owned)[..]));
    tokio::time::resume();
    request(&mut broker, "health_check", "{}").await;
    assert!(any_published(&mut broker).await.topic.ends_with("health_check"), "more than what was lost");
}

#[actix::test]
async fn a_start_that_is_long_past_and_a_stop_of_home_assistant_are_passed_over() {
    let (_scene, mut broker, _) = discovered().await;
    status(&mut broker, "online", true).await;
    status(&mut broker, "offline", false).await;
    nothing_is_asked(&mut broker).await;
}

#[actix::test]
async fn a_look_that_was_due_ends_with_the_connection() {
    let (scene, mut broker, _) = discovered().await;
    status(&mut broker, "online", false).await;
    drop(broker);
    let mut broker = scene.listener.accept().await;
    broker.published_until("bridge/state").await;
    nothing_is_asked(&mut broker).await;
    // The next start is answered again.
    status(&mut broker, "online", false).await;
    tokio::time::pause();
    asked(&mut broker).await;
}
