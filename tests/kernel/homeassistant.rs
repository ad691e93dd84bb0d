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
        self.order(
            &json!({ "address": spec.address, "address_type": LE_PUBLIC, "pair": pair, "uuid": PROTECTED }),
        )
    }

    /// The same, waiting for an encryption that is asked for after the connection.
    fn connect_patiently(&mut self, spec: &PeerSpec) -> Value {
        self.order(&json!({
            "address": spec.address, "address_type": LE_PUBLIC, "pair": false, "uuid": PROTECTED, "patient": true,
        }))
    }

    /// Loads its list so many times, as fast as the kernel takes it.
    fn load(&mut self, count: u32) {
        assert_eq!(self.order(&json!({ "load": count })), json!({ "loaded": count }));
    }

    fn order(&mut self, order: &Value) -> Value {
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

    // Each connection begins with a load of its list, which holds its own bond and not ours. Another program connects
    // ours at once.
    let loads = scene.world.ltk_load_count("hub");
    let mark = scene.world.request("monitor_mark", Value::Null);
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
    print_answer_times(&mut scene);
    // Ten loads within ten seconds, and in far less.
    client.load(10);
    let merges = |state: &Value| state["gate"]["state"] == "merge" && state["sync"] == "in_sync";
    scene.state("the gate to merge", HUB, merges);
    let held = scene.observer.events(0).iter().filter(|event| event["event_type"] == "adapter_held").count();
    assert_eq!(held, 0, "it has held");
    scene.observer.wait_latest("both bonds to be ours and loaded", &format!("adapter/{HUB}/bonds"), |list| {
        let bonds = list["bonds"].as_array().map_or(&[][..], Vec::as_slice);
        bonds.len() == 2 && bonds.iter().all(|bond| bond["loaded"] == true && bond["custody"] == "ours")
    });
    scene.assert_no_key_was_published();
}

/// How long its list stood alone in the kernel each time, as another process saw it.
fn print_answer_times(scene: &mut Scene<KernelWorld>) {
    const LOAD_LTKS: u64 = 0x0013;
    let loads = scene.world.request("loads", json!({ "adapter": "hub" }))["commands"].clone();
    let loads: Vec<&Value> =
        loads.as_array().unwrap().iter().filter(|load| load["opcode"] == LOAD_LTKS).collect();
    let is_ours = |load: &Value| load["process"].as_str().is_some_and(|name| name.starts_with("bondkeeper"));
    let time = |load: &Value| load["time"].as_f64().unwrap();
    let pairs = loads.windows(2).filter(|pair| !is_ours(pair[0]) && is_ours(pair[1]));
    let mut gaps: Vec<f64> = pairs.map(|pair| (time(pair[1]) - time(pair[0])) * 1e3).collect();
    gaps.sort_by(f64::total_cmp);
    let [median, most] = [gaps[gaps.len() / 2], gaps[gaps.len() - 1]];
    println!("{} loads were answered after {median:.1} ms in the median, {most:.1} ms at most", gaps.len());
}

/// What became of the link that a client has left behind.
fn left_behind(scene: &mut Scene<KernelWorld>, spec: &PeerSpec, mark: &Value) -> Value {
    let request = json!({ "adapter": "hub", "peer": spec.name, "mark": mark["mark"] });
    scene.world.request("await_security", request)
}

/// As it is published its client gives up the moment that a read makes it ask for encryption; the kernel encrypts the
/// link all the same. One that polls its socket before it sends reads on.
#[test]
fn twenty_connections_of_its_client_to_a_peer_of_which_only_we_have_the_key_pair_nothing_anew() {
    let mut scene = Scene::new(|_| Box::new(KernelWorld::new()));
    scene.start();
    scene.plug_hub();
    for spec in [&OURS, &THEIRS] {
        scene.world.add_peer(spec);
    }
    let since = scene.observer.mark();
    assert!(scene.world.pair("hub", OURS.name, PairOptions::default()));
    scene.observer.wait_event("bond_added", since);
    let mut client = HomeAssistant::start(scene.world.index("hub"));
    let gives_up = |read: &Value| read["error"].as_str().is_some_and(|error| error.contains("107"));

    // Its list is empty, so it loads nothing, and nobody else does: what it does then is its own.
    scene.stop_service();
    let mark = scene.world.request("monitor_mark", Value::Null);
    let read = client.connect(&OURS, false);
    assert!(gives_up(&read), "{read}");
    let link = left_behind(&mut scene, &OURS, &mark);
    assert_eq!((&link["encrypted"], &link["smp_packet_count"]), (&json!(true), &json!(0)), "{link}");
    scene.start();

    assert_eq!(client.connect(&THEIRS, true), json!({ "value": "secret" }));
    scene.wait_bonds(HUB, &[OURS.address, THEIRS.address]);
    let all = scene.world.request("monitor_mark", Value::Null);
    for round in 0..20 {
        let mark = scene.world.request("monitor_mark", Value::Null);
        if round % 4 == 0 {
            let read = client.connect(&OURS, false);
            assert!(gives_up(&read), "{read}");
            let link = left_behind(&mut scene, &OURS, &mark);
            assert_eq!((&link["encrypted"], &link["smp_packet_count"]), (&json!(true), &json!(0)), "{link}");
        } else {
            let read = client.connect_patiently(&OURS);
            assert_eq!(read, json!({ "value": "secret" }), "round {round}");
        }
    }
    assert_eq!(smp_packets(&mut scene, &all), Vec::<String>::new(), "a new pairing took place");
    print_answer_times(&mut scene);
    scene.wait_bonds(HUB, &[OURS.address, THEIRS.address]);

    // That takes somebody who answers: without, its load costs the bond.
    scene.stop_service();
    let mark = scene.world.request("monitor_mark", Value::Null);
    client.connect_patiently(&OURS);
    assert_ne!(smp_packets(&mut scene, &mark), Vec::<String>::new(), "our key outlasted its load");
}
