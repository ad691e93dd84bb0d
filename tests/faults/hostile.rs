//! Somebody at the broker who means no good, or does not know what he does: floods of commands, commands that are
//! none, and messages on every topic that the service publishes or listens to.

use std::time::Instant;

use serde_json::{Value, json};

use super::behind::Behind;
use super::observer::{Heard, LIMIT};
use super::scene::{HUB, ROOT};

/// Every verb that there is.
const VERBS: [&str; 13] = [
    "health_check",
    "bonds/list",
    "bonds/export",
    "bonds/restore",
    "bonds/undo",
    "bonds/forget",
    "bonds/reload",
    "bonds/adopt",
    "checkpoint/list",
    "checkpoint/create",
    "adapter/mode",
    "adapter/forget",
    "log_level",
];

fn request(verb: &str) -> String {
    format!("{ROOT}/bridge/request/{verb}")
}

/// The service still does what it is there for, and says so.
fn it_still_works(behind: &mut Behind, what: &str) {
    let stays = behind.changes_are_durable(what);
    behind.wait_announced(&stays);
    behind.scene.ask("health_check", json!({}));
    assert!(!behind.scene.service().has_ended(), "{what}");
}

#[test]
fn fifty_thousand_commands_in_a_burst_are_answered_or_counted_and_hold_nothing_up() {
    const COMMANDS: u64 = 50_000;
    const BATCH: u64 = 2_000;
    let mut behind = Behind::start(false, None);
    for batch in 0..COMMANDS / BATCH {
        for number in 0..BATCH {
            let verb = ["bonds/list", "bonds/reload", "checkpoint/list"][number as usize % 3];
            let body = json!({ "adapter": HUB, "transaction": batch * BATCH + number });
            behind.scene.observer.publish(&request(verb), body.to_string().as_bytes(), false);
        }
    }
    // In the middle of it.
    let stays = behind.changes_are_durable("a burst of commands");
    behind.wait_announced(&stays);
    let until = Instant::now() + LIMIT;
    loop {
        let health = behind.scene.ask("health_check", json!({}));
        let dropped = health["mqtt"]["responses_dropped"].as_u64().unwrap();
        let heard = behind.scene.observer.heard();
        let answers = heard.iter().filter(|heard| heard.topic.contains("/bridge/response/")).map(Heard::json);
        let answers: Vec<Value> = answers.filter(|answer| answer["transaction"].is_u64()).collect();
        let (answered, results) =
            (answers.len() as u64, answers.iter().filter(|answer| answer["status"] == "ok").count());
        if answered + dropped >= COMMANDS {
            println!(
                "{results} of {COMMANDS} commands were carried out, {answered} answered, {dropped} answers given up"
            );
            assert!(results > 0);
            break;
        }
        assert!(Instant::now() < until, "{answered} answers, {dropped} given up");
    }
    behind.end("a burst of commands");
}

#[test]
fn requests_that_are_none_are_refused_and_change_nothing() {
    let mut behind = Behind::start(true, None);
    let before = behind.stored();
    let deep = "[".repeat(20_000);
    let huge = format!("{{\"transaction\":1,\"x\":\"{}\"}}", "x".repeat(70_000));
    let bodies: [&[u8]; 11] = [
        b"{",
        b"null",
        b"[]",
        b"\"text\"",
        b"{}}",
        b"\xff\xfe\x00",
        br#"{"adapter":17,"peer":{},"format":[],"file":"../../etc/passwd","seal":"x","level":9,"mode":1,"x":1}"#,
        br#"{"adapter":"../..","peer":"..","format":"none","data":"e30=","level":"loud","mode":"all"}"#,
        br#"{"adapter":"00:00:00:00:00:00","adapter":"FF:FF:FF:FF:FF:FF","x":1e999}"#,
        deep.as_bytes(),
        huge.as_bytes(),
    ];
    let mut expected = 0;
    for verb in VERBS {
        for body in bodies {
            behind.scene.observer.publish(&request(verb), body, false);
            expected += 1;
        }
        // Retained: again at every start.
        behind.scene.observer.publish(&request(verb), b"{\"transaction\":\"retained\"}", true);
        expected += 1;
    }
    for verb in ["", "no/such/verb", "bonds", "bonds/forget/all", "BONDS/LIST", "ü", &"v".repeat(300)] {
        behind.scene.observer.publish(&request(verb), b"{}", false);
    }
    let answers = behind.scene.observer.wait_for("an answer to each", |heard, _, _| {
        let answers: Vec<Value> = heard
            .iter()
            .filter(|heard| {
                VERBS.iter().any(|verb| heard.topic.ends_with(&format!("bridge/response/{verb}")))
            })
            .map(Heard::json)
            .collect();
        (answers.len() >= expected).then_some(answers)
    });
    let carried_out: Vec<&Value> = answers.iter().filter(|answer| answer["status"] != "error").collect();
    assert!(carried_out.is_empty(), "{carried_out:?}");
    let retained = answers.iter().filter(|answer| answer["error"]["code"] == "retained_request");
    assert_eq!(retained.count(), VERBS.len());
    assert_eq!(behind.stored(), before);
    // A start with all of that still retained.
    behind.scene.stop_service();
    behind.scene.start();
    it_still_works(&mut behind, "requests that are none");
    for verb in VERBS {
        behind.scene.observer.publish(&request(verb), b"", true);
    }
}

#[test]
fn a_request_that_is_larger_than_any_may_be_does_not_break_the_connection() {
    let mut behind = Behind::start(false, None);
    let connections = behind.proxy.connections();
    // More than a request may have; more than a restore may have; more than the service takes from the broker.
    for octets in [100_000, 1_100_000, 3_000_000] {
        let body = format!("{{\"transaction\":\"{octets}\",\"data\":\"{}\"}}", "A".repeat(octets));
        behind.scene.observer.publish(&request("bonds/restore"), body.as_bytes(), false);
        behind.scene.observer.publish(&request("bonds/list"), body.as_bytes(), false);
    }
    it_still_works(&mut behind, "large requests");
    assert_eq!(behind.proxy.connections(), connections, "the connection was lost");
    behind.end("large requests");
}

#[test]
fn garbage_on_every_topic_of_ours_is_published_over_and_believed_by_nobody() {
    let mut behind = Behind::start(true, None);
    let ours: Vec<String> = behind.scene.observer.wait_for("the topics", |_, latest, _| {
        let topics =
            latest.keys().filter(|topic| !topic.contains("/request/") && !topic.contains("/response/"));
        Some(topics.filter(|topic| topic.contains("bondkeeper")).cloned().collect())
    });
    let retained: Vec<&String> = ours.iter().filter(|topic| !topic.ends_with("/event")).collect();
    assert!(retained.iter().any(|topic| topic.starts_with("homeassistant/")), "{ours:?}");
    assert!(retained.len() >= 6 && retained.len() < ours.len(), "{ours:?}");
    let garbage: [&[u8]; 4] = [b"{\"state\":\"offline\"}", b"garbage", b"\x00\xff", b""];
    for octets in garbage {
        let truth: std::collections::BTreeMap<String, Vec<u8>> = retained
            .iter()
            .map(|topic| {
                let heard = behind.scene.observer.heard();
                let latest = heard.iter().rev().find(|heard| heard.topic == **topic).unwrap();
                ((*topic).clone(), latest.payload.clone())
            })
            .collect();
        let since = behind.scene.observer.mark();
        for topic in &ours {
            behind.scene.observer.publish(topic, octets, true);
        }
        // Both directions of what others may say: answers to nobody's request, and Home Assistant's start.
        behind.scene.observer.publish(&format!("{ROOT}/bridge/response/bonds/list"), octets, true);
        behind.scene.observer.publish("homeassistant/status", octets, true);
        for (topic, payload) in &truth {
            behind.scene.observer.wait_for(
                &format!("the truth on {topic} over {octets:?}"),
                |heard, _, _| {
                    let mut after = heard[since..]
                        .iter()
                        .filter(|heard| heard.topic == *topic)
                        .map(|heard| &heard.payload);
                    let is_truth = |said: &Vec<u8>| {
                        said == payload || topic.ends_with("bridge/health") && said.len() > 100
                    };
                    let spoilt = after.any(|said| said == octets);
                    (spoilt && after.next_back().is_some_and(is_truth)).then_some(())
                },
            );
        }
    }
    it_still_works(&mut behind, "garbage");
    let overwritten = behind.scene.ask("health_check", json!({}))["mqtt"]["overwritten"].as_u64().unwrap();
    assert!(overwritten >= (garbage.len() * retained.len()) as u64, "{overwritten}");
    behind.end("garbage");
}
