//! Beside Home Assistant's own client, habluetooth's `HaMgmtClient`, as it is published: it loads its list
//! before each of its connections.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::scene::{HUB, Scene};
use super::world::{PairOptions, PeerSpec, World};
use super::world_kernel::KernelWorld;

const OURS: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");
const THEIRS: PeerSpec = PeerSpec::public("bell", "C0:FF:EE:00:00:66");

/// The protected characteristic of every peer.
const PROTECTED: &str = "11111111-0000-4000-8000-000000000002";

/// Numbers of the management interface.
const LE_PUBLIC: u8 = 1;

struct HomeAssistant {
    client: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl HomeAssistant {
    fn start(index: u16) -> Self {
        let python = std::env::var("BONDKEEPER_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/agent/hamgmt.py");
        let mut client = Command::new(python)
            .args(["-u", program, HUB, &index.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = client.stdin.take();
        let answers = BufReader::new(client.stdout.take().unwrap());
        Self { client, orders, answers }
    }

    /// Connects and reads the protected characteristic.
    fn connect(&mut self, spec: &PeerSpec, pair: bool) -> Value {
        let order =
            json!({ "address": spec.address, "address_type": LE_PUBLIC, "pair": pair, "uuid": PROTECTED });
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for HomeAssistant {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

fn smp_packets(scene: &mut Scene<KernelWorld>, since: &Value) -> Vec<String> {
    let answer = scene.world.request("monitor_labels", json!({ "adapter": "hub", "mark": since["mark"] }));
    let labels = answer["labels"].as_array().unwrap().iter().filter_map(Value::as_str);
    labels.filter(|label| label.starts_with("SMP")).map(str::to_owned).collect()
}

#[test]
fn twenty_connections_of_home_assistants_client_cost_nobody_a_bond() {
    let mut scene = Scene::new(|_| Box::new(KernelWorld::new()));
    scene.start();
    scene.plug_hub();
    for spec in [&OURS, &THEIRS] {
        scene.world.add_peer(spec);
    }
    let since = scene.observer.mark();
    assert!(scene.world.pair("hub", OURS.name, PairOptions::default()));
    scene.observer.wait_event("bond_added", since);
    let index = scene.world.index("hub");
    let mut client = HomeAssistant::start(index);

    // It pairs by itself, and that is captured.
    let since = scene.observer.mark();
    assert_eq!(client.connect(&THEIRS, true), json!({ "value": "secret" }));
    let added = scene.observer.wait_event("bond_added", since);
    assert_eq!(added["peer"], THEIRS.address);
    scene.wait_bonds(HUB, &[OURS.address, THEIRS.address]);

    // Each connection begins with a load of its list, which holds its own bond and not ours.
    let loads = scene.world.ltk_load_count("hub");
    let mark = scene.world.request("monitor_mark", Value::Null);
    // Its client cannot wait for an encryption that is asked for later, so our peer, of which it has no key,
    // is connected by another program.
    for round in 0..20 {
        let read = client.connect(&THEIRS, false);
        if read != json!({ "value": "secret" }) {
            let request = json!({ "adapter": "hub", "mark": mark["mark"] });
            let labels = scene.world.request("monitor_labels", request)["labels"].clone();
            panic!("connection {round}: {read}; on the air: {labels}");
        }
        let connected = scene.world.connect("hub", OURS.name);
        assert!(connected.encrypted && connected.smp_packet_count == 0, "round {round}: {connected:?}");
    }
    assert_eq!(smp_packets(&mut scene, &mark), Vec::<String>::new(), "a new pairing took place");
    let after = scene.world.ltk_load_count("hub");
    assert!(after >= loads + 40, "{} loads: each of theirs is answered", after - loads);
    let merges = |state: &Value| state["gate"]["state"] == "merge";
    let state = scene.state("the gate to merge", HUB, merges);
    assert_eq!(state["sync"], "in_sync", "{state}");
    let held = scene.observer.events(0).iter().filter(|event| event["event_type"] == "adapter_held").count();
    assert_eq!(held, 0, "it has held");
    let bonds = scene.wait_bonds(HUB, &[OURS.address, THEIRS.address]);
    assert!(bonds.iter().all(|bond| bond["loaded"] == true && bond["custody"] == "ours"), "{bonds:?}");
    scene.assert_no_key_was_published();
}
