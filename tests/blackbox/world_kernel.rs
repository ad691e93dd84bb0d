//! The world on a real Linux kernel. The work is done by a Python process, the agent
//! (`tests/kernel/agent`): this end turns each operation into a JSON line and its answer into
//! Rust. Works as root in the guest that `tests/kernel/run-guest.sh` boots, and only one at a
//! time: every `KernelWorld` sees the adapters of the one kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::world::{Connected, KernelTables, PairOptions, PeerSpec, World};

/// The interpreter: one that finds `bumble`.
const PYTHON_VARIABLE: &str = "BONDKEEPER_TEST_PYTHON";
const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/agent/main.py");
/// Longer than any limit inside the agent, so that its own explanation comes first.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);
/// For the agent to pull its controllers and to stop what it started.
const END_LIMIT: Duration = Duration::from_secs(10);

pub struct KernelWorld {
    agent: Child,
    /// None once the agent has been told to end.
    requests: Option<ChildStdin>,
    answers: Receiver<String>,
    indexes: BTreeMap<String, u16>,
}

impl KernelWorld {
    /// Starts the agent; its messages go to this process's stderr.
    pub fn new() -> Self {
        let python = std::env::var(PYTHON_VARIABLE).unwrap_or_else(|_| "python3".to_owned());
        let mut agent = Command::new(&python)
            .args(["-u", AGENT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {python} {AGENT}: {error}"));
        let output = agent.stdout.take().expect("the agent's stdout is piped");
        let (sender, answers) = channel();
        // A thread, so that waiting for an answer can have a limit.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let requests = agent.stdin.take();
        Self { agent, requests, answers, indexes: BTreeMap::new() }
    }

    /// Asks the agent for an operation (see `tests/kernel/agent/world.py`) and returns its answer.
    /// `args` is an object, or null for none. Panics when the agent could not do it.
    pub fn request(&mut self, op: &str, args: Value) -> Value {
        self.try_request(op, args).unwrap_or_else(|error| panic!("{op}: {error}"))
    }

    /// As `request`, but the agent's refusal is an error to look at.
    pub fn try_request(&mut self, op: &str, args: Value) -> Result<Value, String> {
        let mut request = if args.is_null() { json!({}) } else { args };
        request["op"] = json!(op);
        let requests = self.requests.as_mut().expect("the agent has not ended");
        writeln!(requests, "{request}").unwrap_or_else(|error| panic!("{op}: the agent is gone: {error}"));
        let line = self.answers.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => panic!("{op}: no answer in {ANSWER_LIMIT:?}"),
            RecvTimeoutError::Disconnected => panic!("{op}: the agent died"),
        });
        let answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{op}: not an answer: {error}: {line}"));
        if answer["ok"] == true { Ok(answer) } else { Err(text(&answer["error"])) }
    }
}

impl Default for KernelWorld {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for KernelWorld {
    fn drop(&mut self) {
        self.requests = None; // the end of its input ends the agent
        let end = Instant::now() + END_LIMIT;
        while Instant::now() < end {
            match self.agent.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

impl World for KernelWorld {
    fn kind(&self) -> &'static str {
        "kernel"
    }

    fn survives_lost_keys(&self) -> bool {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
        !release.starts_with("6.1.")
    }

    fn service_env(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn plug(&mut self, adapter: &str, address: &str) -> u16 {
        let answer = self.request("plug", json!({"adapter": adapter, "address": address}));
        let index = number(&answer["index"]);
        self.indexes.insert(adapter.to_owned(), index);
        index
    }

    fn unplug(&mut self, adapter: &str) {
        self.request("unplug", json!({"adapter": adapter}));
        self.indexes.remove(adapter);
    }

    fn index(&self, adapter: &str) -> u16 {
        *self.indexes.get(adapter).unwrap_or_else(|| panic!("no adapter {adapter} is plugged in"))
    }

    fn power_off(&mut self, adapter: &str) {
        self.request("power_off", json!({"adapter": adapter}));
    }

    fn set_privacy(&mut self, adapter: &str, privacy: u8, irk: &str) -> bool {
        let asked = json!({"adapter": adapter, "privacy": privacy, "irk": irk});
        flag(&self.request("set_privacy", asked)["taken"])
    }

    fn local_irk(&mut self, adapter: &str) -> Option<String> {
        self.request("local_irk", json!({"adapter": adapter}))["irk"].as_str().map(str::to_owned)
    }

    fn add_peer(&mut self, spec: &PeerSpec) {
        self.request(
            "add_peer",
            json!({
                "name": spec.name,
                "address": spec.address,
                "public": spec.public,
                "secure_connections": spec.secure_connections,
                "privacy": spec.privacy,
                "bonding": spec.bonding,
            }),
        );
    }

    fn reset_peer(&mut self, peer: &str) {
        self.request("reset_peer", json!({"peer": peer}));
    }

    fn pair(&mut self, adapter: &str, peer: &str, options: PairOptions) -> bool {
        let answer = self.request(
            "pair",
            json!({
                "adapter": adapter,
                "peer": peer,
                "debug_keys": options.debug_keys,
                "not_bondable": options.not_bondable,
            }),
        );
        flag(&answer["paired"])
    }

    fn connect(&mut self, adapter: &str, peer: &str) -> Connected {
        let answer = self.request("connect", json!({"adapter": adapter, "peer": peer}));
        Connected {
            encrypted: flag(&answer["encrypted"]),
            smp_packet_count: number(&answer["smp_packet_count"]),
            protected_value: answer["protected_value"].as_str().map(str::to_owned),
        }
    }

    fn unpair(&mut self, adapter: &str, peer: &str) {
        self.request("unpair", json!({"adapter": adapter, "peer": peer}));
    }

    /// The guest has debugfs.
    fn show_tables(&mut self) {}

    fn block_ltks(&mut self, adapter: &str, values: &[&str]) {
        self.request("block_ltks", json!({"adapter": adapter, "values": values}));
    }

    fn tables(&mut self, adapter: &str) -> KernelTables {
        let answer = self.request("tables", json!({"adapter": adapter}));
        let keys = |table: &str| {
            let row = |row: &Value| (text(&row["address"]), flag(&row["random"]), text(&row["value"]));
            rows(&answer[table]).iter().map(row).collect()
        };
        KernelTables {
            ltks: keys("ltks"),
            irks: keys("irks"),
            link_keys: rows(&answer["link_keys"])
                .iter()
                .map(|row| (text(&row["address"]), text(&row["value"])))
                .collect(),
        }
    }

    fn key_octets(&mut self) -> BTreeSet<String> {
        let answer = self.request("key_octets", Value::Null);
        rows(&answer["keys"]).iter().map(text).collect()
    }

    fn ltk_load_count(&mut self, adapter: &str) -> u32 {
        number(&self.request("ltk_load_count", json!({"adapter": adapter}))["count"])
    }

    fn foreign_load_ltks(&mut self, adapter: &str, records: &[String]) {
        self.request("foreign_load_ltks", json!({"adapter": adapter, "records": records}));
    }

    fn start_bluetoothd(&mut self) {
        self.request("start_bluetoothd", Value::Null);
    }

    fn stop_bluetoothd(&mut self) {
        self.request("stop_bluetoothd", Value::Null);
    }

    fn wait_bluetoothd(&mut self, adapter: &str) {
        self.request("wait_bluetoothd", json!({"adapter": adapter}));
    }

    fn teach_bluetoothd(&mut self, adapter: &str, peers: &[&str]) {
        self.request("teach_bluetoothd", json!({"adapter": adapter, "peers": peers}));
    }

    fn wipe_bluetoothd(&mut self) {
        self.request("wipe_bluetoothd", Value::Null);
    }

    fn remove_in_bluetoothd(&mut self, adapter: &str, peer: &str) {
        self.request("remove_in_bluetoothd", json!({"adapter": adapter, "peer": peer}));
    }
}

// An answer that lacks a field is a fault of the harness, so these panic.

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("the agent answered {value} for a text")).to_owned()
}

fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("the agent answered {value} for a truth value"))
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    value
        .as_u64()
        .and_then(|number| T::try_from(number).ok())
        .unwrap_or_else(|| panic!("the agent answered {value} for a number"))
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("the agent answered {value} for a list"))
}
