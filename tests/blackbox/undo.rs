//! Undo and the audit log, in any world.

use serde_json::{Value, json};

use super::scenarios::{LOCK, LOCK_ADDRESS, RING, bond, encrypts_without_pairing, pair, ready};
use super::scene::{HUB, Scene};

fn undo(scene: &mut Scene) -> Value {
    let since = scene.observer.mark();
    let answer = scene.ask("bonds/undo", json!({ "adapter": HUB }));
    let event = scene.observer.wait_event("bonds_restored", since);
    assert_eq!(event["cause"], "undo");
    answer
}

/// The lock pairs anew, because the adapter and it have both dropped their keys.
fn pair_anew(scene: &mut Scene) {
    let since = scene.observer.mark();
    scene.world.unpair("hub", "lock");
    scene.observer.wait_event("bond_removed", since);
    scene.world.reset_peer("lock");
    bond(scene, &LOCK);
}

pub fn a_restore_that_made_things_worse_is_undone_in_one_command(scene: &mut Scene) {
    ready(scene, &LOCK);
    scene.world.add_peer(&RING);
    scene.refused("bonds/undo", json!({ "adapter": HUB }), "nothing_to_undo");
    bond(scene, &LOCK);
    let export = scene.ask("bonds/export", json!({ "adapter": HUB }));
    pair_anew(scene);
    let from = json!({ "file": export["file"] });
    let request = |more: Value| {
        let mut request = json!({ "adapter": HUB, "from": from, "mode": "replace" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let plan = scene.ask("bonds/restore", request(json!({ "dry_run": true })));
    bond(scene, &RING);
    let stale = request(json!({ "plan_id": plan["plan"]["plan_id"] }));
    scene.refused("bonds/restore", stale, "plan_stale");
    scene.wait_bonds(HUB, &[LOCK_ADDRESS, RING.address]);
    let before = scene.world.tables("hub");

    // Worse: the ring is gone, and of the lock it is the key that the lock has thrown away.
    let restored = scene.ask("bonds/restore", request(json!({})));
    assert_eq!(restored["kernel"]["lists"]["ltks"]["loaded"], 1, "{restored}");
    let worse = scene.world.tables("hub");
    assert_ne!(worse.ltks, before.ltks);
    scene.wait_bonds(HUB, &[LOCK_ADDRESS]);

    // What there is to undo is remembered.
    scene.kill_service();
    scene.start();
    scene.state("the hub to be there again", HUB, |state| state["present"] == true);
    let undone = undo(scene);
    assert_eq!(undone["undone"]["operation"], "replace", "{undone}");
    assert_eq!(undone["kernel"]["state"], "loaded");
    assert_eq!(scene.world.tables("hub"), before, "the kernel holds what it held before");
    scene.wait_bonds(HUB, &[LOCK_ADDRESS, RING.address]);
    encrypts_without_pairing(scene, LOCK.name);
    encrypts_without_pairing(scene, RING.name);

    // Undone in turn, it is done again; and once more, it is not.
    assert_eq!(undo(scene)["undone"]["operation"], "undo");
    assert_eq!(scene.world.tables("hub"), worse);
    undo(scene);
    assert_eq!(scene.world.tables("hub"), before);
    scene.assert_no_key_was_published();
}

pub fn a_forgotten_bond_is_brought_back_and_a_later_pairing_stays(scene: &mut Scene) {
    ready(scene, &LOCK.private());
    scene.world.add_peer(&RING);
    bond(scene, &LOCK);
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK_ADDRESS }));
    bond(scene, &RING);
    undo(scene);
    scene.wait_bonds(HUB, &[LOCK_ADDRESS, RING.address]);
    encrypts_without_pairing(scene, LOCK.name);
    encrypts_without_pairing(scene, RING.name);
}

pub fn a_load_that_would_wipe_what_nobody_saw_is_a_hazard_of_the_plan(scene: &mut Scene) {
    ready(scene, &LOCK);
    bond(scene, &LOCK);
    let dry = json!({ "adapter": HUB, "from": { "store": true }, "dry_run": true });
    let hazards = |scene: &Scene| scene.ask("bonds/restore", dry.clone())["plan"]["hazards"].clone();
    assert_eq!(hazards(scene), json!([]));
    scene.stop_service();
    scene.world.add_peer(&RING);
    pair(scene, "hub", "ring");
    scene.start();
    scene.wait_in_sync(HUB);
    assert_eq!(hazards(scene)[0]["code"], "wipes_unseen");
    // As it said.
    scene.ask("bonds/reload", json!({ "adapter": HUB }));
    assert_eq!(scene.kernel_ltk_peers("hub"), [LOCK_ADDRESS.to_owned()].into());
    assert_eq!(hazards(scene), json!([]));
}

pub fn the_audit_log_tells_what_happened_to_whom_and_on_whose_word(scene: &mut Scene) {
    ready(scene, &LOCK);
    let paired = bond(scene, &LOCK);
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK_ADDRESS }));
    let told = |wanted: &'static str| move |line: &&Value| line["action"] == wanted;
    // It can be read while the service runs; its lines are on disk before they are published.
    scene.observer.wait_for("the command in the audit log", |heard, _, _| {
        let is_it = |heard: &super::observer::Heard| {
            let json = heard.json();
            heard.topic.ends_with("bridge/event")
                && json["type"] == "audit"
                && json["data"]["verb"] == "bonds/forget"
        };
        heard.iter().any(is_it).then_some(())
    });
    let output = scene.setup.run(&["history", "--json", "--peer", LOCK_ADDRESS]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let added = lines.iter().find(told("bond_added")).expect("the pairing");
    assert_eq!((&added["cause"], &added["adapter"]), (&json!("pairing"), &json!(HUB)));
    assert_eq!(added["bonds"][0]["after"], paired["bond"]["fingerprint"]);
    let removed = lines.iter().find(told("bond_removed")).expect("the removal");
    assert_eq!((&removed["cause"], &removed["bonds"][0]["after"]), (&json!("forget"), &Value::Null));
    assert_eq!(removed["bonds"][0]["before"], paired["bond"]["fingerprint"]);
    let command = lines.iter().find(told("command")).expect("the command");
    assert!(command["transaction"].is_string(), "the observer marks its requests: {command}");
    assert_eq!((&command["cause"], &command["outcome"]), (&json!("command"), &json!("ok")));
    assert!(command["checkpoint"].as_str().unwrap().ends_with("before_forget"));
    let words = scene.setup.run(&["history", "-n", "1"]).stdout;
    assert_eq!(String::from_utf8(words).unwrap().lines().count(), 1);
}
