//! The published API: which topics there are and what stands on them. The shapes are
//! kept as a snapshot; a change of it is a change for every user.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::scene::{HUB, ROOT};
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};

/// Every path of a document with the kind of what stands there. Arrays count by their elements.
fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(items) => {
            found.insert(format!("{path}: array"));
            return items.iter().for_each(|item| shape(item, &format!("{path}[]"), found));
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                shape(field, &format!("{path}.{name}"), found);
            }
            return;
        }
    };
    found.insert(format!("{path}: {kind}"));
}

#[test]
fn every_topic_has_the_published_shape() {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    let lock = PeerSpec::public("lock", "C0:FF:EE:00:00:99").legacy().private();
    scene.world.add_peer(&lock);
    let since = scene.observer.mark();
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.observer.wait_event("bond_added", since);
    scene.wait_bonds(HUB, &[lock.address]);
    scene.ask("health_check", json!({}));
    scene.ask("bonds/list", json!({}));
    let export = scene.ask("bonds/export", json!({ "adapter": HUB }));
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": lock.address }));
    let restore = json!({ "adapter": HUB, "from": { "file": export["file"] } });
    let since = scene.observer.mark();
    scene.ask("bonds/restore", restore);
    scene.observer.wait_event("bonds_restored", since);
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    scene.ask("adapter/mode", json!({ "adapter": HUB, "mode": "own" }));
    scene.ask("checkpoint/create", json!({ "adapter": HUB }));
    scene.ask("checkpoint/list", json!({}));
    scene.ask("log_level", json!({ "level": "debug" }));
    let bad = scene.observer.request(ROOT, "bonds/list", json!({ "adaptor": HUB }));
    assert_eq!(bad["error"]["code"], "unknown_field", "{bad}");
    assert!(bad["error"]["message"].as_str().unwrap().contains("adaptor"), "{bad}");
    scene.unplug_hub();
    scene.ask("adapter/forget", json!({ "adapter": HUB }));
    scene.stop_service();
    scene.observer.wait_latest("the goodbye", "bridge/state", |state| state["state"] == "offline");

    let mut shapes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut retained: BTreeMap<String, bool> = BTreeMap::new();
    for heard in scene.observer.heard() {
        let Some(topic) = heard.topic.strip_prefix(&format!("{ROOT}/")) else { continue };
        if heard.payload.is_empty() || topic.starts_with("bridge/request/") {
            continue;
        }
        let document = heard.json();
        assert!(document.is_object(), "{topic} carries no JSON object");
        let mut topic = topic.replace(HUB, "<address>");
        for key in ["event_type", "type"] {
            if let (Some(kind), true) = (document[key].as_str(), topic.ends_with("event")) {
                topic = format!("{topic} {kind}");
            }
        }
        if document["status"] == "error" {
            topic = "bridge/response/* error".to_owned();
        }
        *retained.entry(topic.clone()).or_default() |= heard.retained;
        shape(&document, "", shapes.entry(topic).or_default());
    }
    let text: Vec<String> = shapes
        .iter()
        .map(|(topic, paths)| {
            let kind = if retained[topic] { "retained" } else { "not retained" };
            // Whether something was unknown once depends on the moment.
            let known = |path: &&String| {
                let field = path.strip_suffix(": null");
                field.is_none_or(|field| {
                    !paths.iter().any(|other| other != *path && other.starts_with(&format!("{field}: ")))
                })
            };
            // What stands below these is the options' and the formats' own.
            let inner = |path: &&String| {
                // Who else is there at a moment is no part of the shape either.
                let passing = [".config.", ".queues.", ".listeners[]", ".managers[]"];
                !passing.iter().any(|start| path.starts_with(start))
            };
            let paths: Vec<&str> = paths.iter().filter(inner).filter(known).map(String::as_str).collect();
            format!("{topic} ({kind})\n  {}\n", paths.join("\n  "))
        })
        .collect();
    insta::assert_snapshot!("published_shapes", text.join("\n"));
}
