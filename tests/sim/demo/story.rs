//! What happens in the demo, told as it happens, and checked: each sentence that
//! claims something is printed after it was seen to be so.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::TheEnd;
use crate::broker::Ports;
use crate::listener::{Listener, Message};
use crate::service::NODE;
use crate::sim::programs::{self, Pairing};
use crate::sim::wire::{Address, LE_PUBLIC, op, status};
use crate::sim::{Hardware, Outcome, PeerConfig, Security, SimKernel, Tables};

const ADAPTER: &str = "C0:FF:EE:FF:00:01";
const LOCK: &str = "lock";
const LOCK_ADDRESS: &str = "C0:FF:EE:00:00:01";

/// For one step of the story. Each takes well under a second; a busy machine may need longer.
const STEP_LIMIT: Duration = Duration::from_secs(15);
/// Between two chapters, so that a reader can follow.
const BREATH: Duration = Duration::from_millis(800);
/// Between two peers that pair, once the story is told.
const PAUSE: Duration = Duration::from_secs(5);
/// After so many peers the adapter is pulled out again.
const PEERS_A_REPLUG: u32 = 4;
/// So many that came later are bonded at a time; the oldest is given away then.
const PEERS_KEPT: u32 = 12;
/// Peers that come later, for ever.
const NAMES: [&str; 6] = ["thermometer", "toothbrush", "scale", "remote", "mug", "tracker"];

/// Tells the reader where to look.
pub fn introduce(ports: &Ports) {
    let port = ports.v4_port;
    println!(
        "\
bondkeeper demo. The kernel, its Bluetooth adapter and the peers are simulated; the
service, the MQTT broker and everything published are real. No hardware is used and
nothing on this computer is changed.

Look for yourself, in another terminal:
  mosquitto_sub -h 127.0.0.1 -p {port} -t 'bondkeeper/#' -v
  mosquitto_pub -h 127.0.0.1 -p {port} -t bondkeeper/{NODE}/bridge/request/bonds/list -m '{{}}'
or let MQTT Explorer connect to 127.0.0.1, port {port}. Ctrl-C ends the demo.
"
    );
}

pub struct Story<'a> {
    kernel: &'a SimKernel,
    listener: &'a Listener,
    began: Instant,
    index: u16,
    /// Peers that came after the lock.
    newcomers: u32,
}

impl<'a> Story<'a> {
    pub fn new(kernel: &'a SimKernel, listener: &'a Listener, began: Instant) -> Self {
        Self { kernel, listener, began, index: 0, newcomers: 0 }
    }

    /// The whole story, then everyday life until the end comes.
    pub fn tell(&mut self, end: &TheEnd) -> Result<(), String> {
        let chapters =
            [Self::wake_up, Self::plug_in, Self::pair_lock, Self::lose_and_regain, Self::reconnect_lock];
        for chapter in chapters {
            chapter(self)?;
            if end.interrupts_within(BREATH) {
                return Err("it was interrupted before the story was told".to_owned());
            }
        }
        self.say("That is the story: no peer had to be paired twice. Now and then another one pairs.");
        while !end.comes_within(PAUSE) {
            self.welcome_newcomer()?;
            if self.newcomers > PEERS_KEPT {
                self.part_with(self.newcomers - PEERS_KEPT)?;
            }
            if self.newcomers.is_multiple_of(PEERS_A_REPLUG) {
                self.lose_and_regain()?;
            }
        }
        Ok(())
    }

    fn wake_up(&mut self) -> Result<(), String> {
        let online = |payload: &Value| payload["state"] == "online";
        self.listener.await_state(&format!("bondkeeper/{NODE}/bridge/state"), STEP_LIMIT, online)?;
        self.say("bondkeeper has started and says `online` over MQTT.");
        Ok(())
    }

    fn plug_in(&mut self) -> Result<(), String> {
        self.index = self.kernel.plug(&hardware());
        self.say(&format!(
            "A Bluetooth adapter, {ADAPTER}, is plugged in. The kernel calls it hci{}.",
            self.index
        ));
        self.await_in_sync()?;
        self.say("bondkeeper knows it and has told the kernel to ask peers for all of their keys.");
        Ok(())
    }

    fn pair_lock(&mut self) -> Result<(), String> {
        self.kernel.add_peer(&PeerConfig::new(LOCK, LOCK_ADDRESS).private());
        if !programs::pair(self.kernel, self.index, LOCK, Pairing::default()) {
            return Err("the lock does not pair".to_owned());
        }
        let held = self.kernel.tables(self.index);
        self.say(&format!(
            "The front door's lock, {LOCK_ADDRESS}, pairs. The kernel holds its keys in memory only: {}.",
            count(&held)
        ));
        let event = self.await_announced(LOCK_ADDRESS)?;
        self.say("bondkeeper captured the bond, wrote it to disk and, once it was safe there, announced it:");
        self.quote(&event);
        Ok(())
    }

    fn lose_and_regain(&mut self) -> Result<(), String> {
        let before = self.kernel.tables(self.index);
        self.kernel.unplug(self.index);
        self.await_state("to call the adapter absent", |state| state["present"] == false)?;
        self.say("The adapter is pulled out: the kernel forgets every key it held for it.");
        let (index, empty) = self.kernel.plug_and_look(&hardware());
        self.index = index;
        if empty != Tables::default() {
            return Err("the kernel did not forget: the simulator is broken".to_owned());
        }
        self.say(&format!("It is plugged in again. The kernel's table: {}.", count(&empty)));
        let same = |kernel: &SimKernel| sorted(kernel.tables(index)) == sorted(before.clone());
        if !self.kernel.wait_until_within(STEP_LIMIT, same) {
            let now = count(&self.kernel.tables(index));
            return Err(format!("the kernel held {} and holds {now} after the replug", count(&before)));
        }
        self.await_in_sync()?;
        self.say(&format!(
            "bondkeeper loaded the bonds back. The kernel's table: {}, the same as before.",
            count(&before)
        ));
        Ok(())
    }

    fn reconnect_lock(&mut self) -> Result<(), String> {
        let mut program = self.kernel.open_control(programs::TOOL);
        programs::make_ready(&mut program, self.index);
        let outcome = self.kernel.connect_and_wait(self.index, LOCK, Security::Medium);
        self.kernel.disconnect(self.index, LOCK);
        if outcome != Outcome::Encrypted {
            return Err(format!("the lock came back with {outcome:?}"));
        }
        self.say("The lock connects: encrypted with the old key, without pairing anew. The door opens.");
        Ok(())
    }

    fn welcome_newcomer(&mut self) -> Result<(), String> {
        self.newcomers += 1;
        let number = self.newcomers;
        let (kind, name, address) = newcomer(number);
        let config = PeerConfig::new(&name, &address);
        self.kernel.add_peer(&match number % 3 {
            0 => config.legacy(),
            1 => config.private(),
            _ => config,
        });
        if !programs::pair(self.kernel, self.index, &name, Pairing::default()) {
            return Err(format!("{name} does not pair"));
        }
        self.await_announced(&address)?;
        self.say(&format!("A {kind}, {address}, pairs. Captured, durable, announced."));
        Ok(())
    }

    /// Another program unpairs a peer: bondkeeper must not bring it back.
    fn part_with(&self, number: u32) -> Result<(), String> {
        let (kind, _, address) = newcomer(number);
        let parameters = [&Address::new(&address, LE_PUBLIC).write()[..], &[1]].concat();
        let (code, _) =
            self.kernel.open_control(programs::TOOL).command(op::UNPAIR_DEVICE, self.index, &parameters);
        if code != status::SUCCESS {
            return Err(format!("unpairing the {kind} failed with status {code}"));
        }
        let removed = |payload: &Value| payload["event_type"] == "bond_removed" && payload["peer"] == address;
        self.listener.await_event(&topic("event"), STEP_LIMIT, removed)?;
        self.say(&format!(
            "The {kind} {address} is given away: unpaired, and bondkeeper has dropped its bond."
        ));
        Ok(())
    }

    /// The bond of this peer is durable in the retained list and was announced.
    fn await_announced(&self, peer: &str) -> Result<Message, String> {
        let durable = |payload: &Value| {
            let bonds = payload["bonds"].as_array().map_or(&[][..], Vec::as_slice);
            bonds.iter().any(|bond| bond["peer"] == peer && bond["durable"] == true)
        };
        let added = |payload: &Value| payload["event_type"] == "bond_added" && payload["peer"] == peer;
        self.listener.await_state(&topic("bonds"), STEP_LIMIT, durable)?;
        self.listener.await_event(&topic("event"), STEP_LIMIT, added)
    }

    fn await_in_sync(&self) -> Result<(), String> {
        let primed = |kernel: &SimKernel| kernel.command_count(self.index, op::LOAD_IRKS) > 0;
        if !self.kernel.wait_until_within(STEP_LIMIT, primed) {
            return Err("bondkeeper did not prepare the adapter".to_owned());
        }
        self.await_state("to be in sync", |state| state["present"] == true && state["sync"] == "in_sync")
    }

    fn await_state(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<(), String> {
        let seen = self.listener.await_state(&topic("state"), STEP_LIMIT, fits);
        seen.map(|_| ()).map_err(|e| format!("waiting for bondkeeper {what}: {e}"))
    }

    fn say(&self, text: &str) {
        println!("{:6.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// The topic of an event and what matters of its payload.
    fn quote(&self, message: &Message) {
        let fields =
            ["event_type", "peer", "cause"].map(|name| format!("\"{name}\":{}", message.payload[name]));
        println!("            {}\n            {{{}, …}}", message.topic, fields.join(","));
    }
}

fn hardware() -> Hardware {
    Hardware::new(ADAPTER).named("demo adapter")
}

fn topic(last: &str) -> String {
    format!("bondkeeper/{NODE}/adapter/{ADAPTER}/{last}")
}

/// The kernel keeps no order that means anything.
fn sorted(mut tables: Tables) -> Tables {
    tables.ltks.sort_by_key(|ltk| ltk.write());
    tables.irks.sort_by_key(|irk| irk.write());
    tables
}

fn count(tables: &Tables) -> String {
    let plural = |number: usize, name: &str| format!("{number} {name}{}", if number == 1 { "" } else { "s" });
    if *tables == Tables::default() {
        return "empty".to_owned();
    }
    format!("{} and {}", plural(tables.ltks.len(), "LTK"), plural(tables.irks.len(), "IRK"))
}

/// What it is, its name and its address.
fn newcomer(number: u32) -> (&'static str, String, String) {
    let kind = NAMES[(number as usize - 1) % NAMES.len()];
    (kind, format!("{kind} {number}"), newcomer_address(number))
}

fn newcomer_address(number: u32) -> String {
    let [_, high, middle, low] = number.to_be_bytes();
    format!("C0:FF:EF:{high:02X}:{middle:02X}:{low:02X}")
}
