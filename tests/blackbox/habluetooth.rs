//! The published habluetooth package reads what we export, and we read what it writes.

use std::process::Command;

use serde_json::{Value, json};

use super::scene::{HUB, Scene};
use super::world::{PairOptions, PeerSpec};

/// Reads a list with the package's own functions and writes it again.
const ROUND_TRIP: &str = r#"
import json, sys
from habluetooth.storage import long_term_key_from_dict, long_term_key_to_dict
entries = json.load(open(sys.argv[1]))
keys = [long_term_key_from_dict(entry) for entry in entries]
assert all(len(key.value) == 16 and len(key.rand) == 8 for key in keys)
json.dump([long_term_key_to_dict(key) for key in keys], open(sys.argv[2], "w"))
print(len(keys))
"#;

pub fn habluetooth_reads_our_list_and_its_own_output_is_read_back_equal(scene: &mut Scene) {
    let python = std::env::var("BONDKEEPER_TEST_PYTHON")
        .expect("BONDKEEPER_TEST_PYTHON names a Python with habluetooth; tests/run.sh makes one");
    scene.start();
    scene.plug_hub();
    let peers = [
        PeerSpec::public("lock", "C0:FF:EE:00:00:99"),
        PeerSpec::public("bulb", "C0:FF:EE:00:00:77").legacy(),
        PeerSpec::public("ring", "F1:11:22:33:44:55").static_random(),
    ];
    for spec in &peers {
        scene.world.add_peer(spec);
        assert!(scene.world.pair("hub", spec.name, PairOptions::default()));
    }
    let addresses = peers.map(|spec| spec.address);
    let before = scene.wait_bonds(HUB, &addresses);
    let export =
        scene.ask("bonds/export", json!({ "adapter": HUB, "format": "habluetooth", "allow_loss": true }));
    let file = scene.setup.export_dir().join(export["file"].as_str().unwrap());
    let theirs = scene.setup.export_dir().join("theirs.json");
    let read = Command::new(python).args(["-c", ROUND_TRIP]).args([&file, &theirs]).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "4", "a legacy bond has two keys");
    let list =
        |path: &std::path::Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    assert_eq!(list(&file), list(&theirs), "the package took every field as we wrote it");

    let request = json!({ "adapter": HUB, "from": { "file": "theirs.json" }, "dry_run": true });
    let plan = scene.ask("bonds/restore", request.clone());
    assert_eq!(plan["plan"]["counts"]["unchanged"], 3, "{plan}");
    for address in addresses {
        scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": address }));
    }
    scene.wait_bonds(HUB, &[]);
    let mut request = request;
    request["dry_run"] = json!(false);
    scene.ask("bonds/restore", request);
    let after = scene.wait_bonds(HUB, &addresses);
    let ltks =
        |bonds: &[Value]| -> Vec<Value> { bonds.iter().map(|bond| bond["keys"]["ltk"].clone()).collect() };
    assert_eq!(ltks(&before), ltks(&after));
}
