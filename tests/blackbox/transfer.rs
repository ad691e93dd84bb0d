//! Every format through the service: exported, restored, and refused for another adapter.

use bondkeeper::format::FormatId;
use serde_json::{Value, json};

use super::scene::{HUB, Scene};
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99").private();
const RING: PeerSpec = PeerSpec::public("ring", "F1:11:22:33:44:55").static_random();

/// A second adapter.
const OTHER: &str = "00:1A:7D:DA:71:99";

fn with_bonds() -> Scene<SimWorld> {
    let mut scene = simulated_scene();
    scene.start();
    scene.plug_hub();
    for spec in [&LOCK, &RING] {
        scene.world.add_peer(spec);
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
    }
    scene.wait_bonds(HUB, &[LOCK.address, RING.address]);
    scene
}

fn export(scene: &Scene<SimWorld>, format: FormatId) -> Value {
    // A device's layout is the one choice that cannot be left open.
    let options = if format == FormatId::Aioble { json!({ "layout": "E88" }) } else { json!({}) };
    let request =
        json!({ "adapter": HUB, "format": format.as_str(), "options": options, "allow_loss": true });
    scene.ask("bonds/export", request)
}

/// Names no adapter, or not by its address.
fn is_nameless(format: FormatId) -> bool {
    matches!(format, FormatId::Habluetooth | FormatId::Aioble)
}

#[test]
fn what_is_exported_in_any_format_is_known_again_and_brings_a_forgotten_bond_back() {
    let scene = with_bonds();
    for format in FormatId::ALL {
        let word = format.as_str();
        let exported = export(&scene, format);
        let place = scene.setup.export_dir().join(exported["file"].as_str().unwrap());
        assert_eq!(place.is_dir(), format.is_tree(), "{word}: {exported}");
        assert!(exported["count"].as_u64().unwrap() >= 1, "{word}: {exported}");
        if !format.is_readable() {
            continue;
        }
        let restore = |dry_run: bool| {
            let from = json!({ "file": exported["file"] });
            let request = json!({ "adapter": HUB, "format": word, "from": from, "dry_run": dry_run });
            scene.ask("bonds/restore", request)
        };
        let counts = restore(true)["plan"]["counts"].clone();
        assert_eq!((&counts["added"], &counts["lost"]), (&json!(0), &json!(0)), "{word}: {counts}");
        scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
        scene.wait_bonds(HUB, &[RING.address]);
        let done = restore(false);
        assert_eq!(done["plan"]["counts"]["added"], 1, "{word}: {done}");
        scene.wait_bonds(HUB, &[LOCK.address, RING.address]);
    }
}

#[test]
fn a_file_of_another_adapter_is_refused_in_every_format_that_names_it() {
    let mut scene = with_bonds();
    scene.world.plug("other", OTHER);
    scene.observer.wait_latest("the other adapter", &format!("adapter/{OTHER}/state"), |state| {
        state["sync"] == "in_sync"
    });
    let mut named = 0;
    for format in FormatId::ALL.into_iter().filter(|format| format.is_readable()) {
        let file = export(&scene, format)["file"].clone();
        let request = json!({ "adapter": OTHER, "format": format.as_str(), "from": { "file": file } });
        if is_nameless(format) {
            let request = json!({ "format": format.as_str(), "from": { "file": file } });
            let words = scene.refused("bonds/restore", request, "missing_field");
            assert!(words.contains("does not name one"), "{}: {words}", format.as_str());
            continue;
        }
        let words = scene.refused("bonds/restore", request.clone(), "adapter_mismatch");
        assert!(words.contains(HUB) && words.contains("address"), "{}: {words}", format.as_str());
        let mut looked_at = request;
        looked_at["dry_run"] = json!(true);
        let plan = scene.ask("bonds/restore", looked_at);
        assert!(plan["plan"]["hazards"].to_string().contains("adapter_mismatch"), "{plan}");
        named += 1;
    }
    assert!(named >= 5, "{named}");
    scene.wait_bonds(OTHER, &[]);
}

#[test]
fn an_export_says_what_it_would_lose_before_it_is_written() {
    let scene = with_bonds();
    let files = || std::fs::read_dir(scene.setup.export_dir()).unwrap().count();
    let dry = scene.ask("bonds/export", json!({ "format": "habluetooth", "dry_run": true }));
    assert!(dry["file"].is_null() && dry["sha256"].is_null(), "{dry}");
    assert!(dry["report"]["dropped"].to_string().contains("irk"), "{dry}");
    assert_eq!(files(), 0);
    let words = scene.refused("bonds/export", json!({ "options": { "colour": "red" } }), "invalid_value");
    assert!(words.contains("colour") && !words.contains("red"), "{words}");
}

#[test]
fn a_text_is_salvaged_only_when_that_is_asked_for() {
    let scene = with_bonds();
    let list = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/formats/habluetooth/bad_enc_size_0/keys.json");
    let list = std::fs::read_to_string(list).unwrap();
    let mut request = json!({ "adapter": HUB, "from": { "inline": list } });
    let words = scene.refused("bonds/restore", request.clone(), "format_invalid");
    assert!(words.contains("entry "), "{words}");
    request["salvage"] = json!(true);
    request["dry_run"] = json!(true);
    let plan = scene.ask("bonds/restore", request);
    assert_eq!(plan["report"]["refused"].as_array().unwrap().len(), 1, "{plan}");
    assert!(plan["plan"]["counts"]["added"].as_u64().unwrap() >= 2, "{plan}");
}
