//! Other programs on the simulated host: bluetoothd, and one that pairs.
//!
//! They use sockets as any process would, so that everybody sees them on the
//! monitor channel under their names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Packet, list};
use super::controller::Tables;
use super::records::{Irk, Ltk};
use super::wire::{Address, NO_INDEX, ev, op, read_u16, read_u32, setting, status};
use super::{Hardware, SimKernel};

/// How often bluetoothd looks whether it is to stop.
const GLANCE: Duration = Duration::from_millis(20);
/// What bluetoothd sends last, and nobody else.
const LAST_OF_SET_UP: u16 = op::SET_BLOCKED_KEYS;
/// "No input, no output": nobody is asked.
const NO_INPUT_NO_OUTPUT: u8 = 3;
/// The process that pairs and connects.
pub const TOOL: &str = "pairtool";

/// How a program pairs.
#[derive(Debug, Clone, Copy)]
pub struct Pairing {
    pub secure_connections: bool,
    pub bondable: bool,
    pub debug_keys: bool,
}

impl Default for Pairing {
    fn default() -> Self {
        Self { secure_connections: true, bondable: true, debug_keys: false }
    }
}

/// Brings an adapter into the state in which a host pairs and connects.
pub fn make_ready(program: &mut Client, index: u16) {
    let info = program.succeed(op::READ_INFO, index, &[]);
    let settings = read_u32(&info, 13).expect("the settings");
    for (bit, opcode) in [
        (setting::LE, op::SET_LE),
        (setting::BONDABLE, op::SET_BONDABLE),
        (setting::SECURE_CONNECTIONS, op::SET_SECURE_CONNECTIONS),
        (setting::POWERED, op::SET_POWERED),
    ] {
        if settings & bit == 0 {
            program.succeed(opcode, index, &[1]);
        }
    }
}

/// A program that holds a control socket for as long as it needs one. Afterwards
/// the adapter is bondable and uses keys of its own, as before.
pub fn pair(kernel: &SimKernel, index: u16, peer: &str, pairing: Pairing) -> bool {
    let mut program = kernel.open_control(TOOL);
    make_ready(&mut program, index);
    program.succeed(op::SET_SECURE_CONNECTIONS, index, &[u8::from(pairing.secure_connections)]);
    program.succeed(op::SET_BONDABLE, index, &[u8::from(pairing.bondable)]);
    program.succeed(op::SET_DEBUG_KEYS, index, &[if pairing.debug_keys { 2 } else { 0 }]);
    let target = kernel.known_as(index, peer);
    let parameters = [&target.write()[..], &[NO_INPUT_NO_OUTPUT]].concat();
    let (code, reply) = program.command(op::PAIR_DEVICE, index, &parameters);
    if code == status::SUCCESS {
        program.command(op::DISCONNECT, index, &reply[..Address::OCTETS]);
    }
    program.succeed(op::SET_DEBUG_KEYS, index, &[0]);
    program.succeed(op::SET_BONDABLE, index, &[1]);
    code == status::SUCCESS
}

/// What bluetoothd keeps on disk, by the adapter's address.
#[derive(Debug, Clone, Default)]
pub struct BluetoothdStorage(Arc<Mutex<BTreeMap<[u8; 6], Stored>>>);

#[derive(Debug, Clone, Default)]
struct Stored {
    ltks: Vec<Ltk>,
    irks: Vec<Irk>,
}

impl BluetoothdStorage {
    fn with<T>(&self, adapter: [u8; 6], edit: impl FnOnce(&mut Stored) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        edit(all.entry(adapter).or_default())
    }

    /// The disk is lost.
    pub fn wipe(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// It gets the keys that a kernel holds of these peers, by their addresses.
    pub fn teach(&self, hardware: &Hardware, tables: &Tables, peers: &[&str]) {
        let wanted = |address: Address| peers.contains(&address.text().as_str());
        self.with(Address::new(&hardware.address, 1).octets, |stored| {
            stored.ltks.extend(tables.ltks.iter().filter(|ltk| wanted(ltk.address)).cloned());
            stored.irks.extend(tables.irks.iter().filter(|irk| wanted(irk.address)).cloned());
        });
    }

    /// How many LTKs it holds for an adapter.
    pub fn ltk_count(&self, adapter: &str) -> usize {
        self.with(Address::new(adapter, 1).octets, |stored| stored.ltks.len())
    }
}

/// What answers for bluetoothd when a pairing is to be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// Nobody has registered one: bluetoothd says no, to pairings of others, too.
    None,
    /// One that says yes.
    Accepts,
}

/// A running bluetoothd. At its start and at each Index Added it powers the
/// adapter on and loads what it has on disk, and nothing else; it stores what is
/// paired while it runs. While it runs, it answers all confirmations.
#[derive(Debug)]
pub struct Bluetoothd {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    orders: Sender<(u16, Address)>,
}

impl Bluetoothd {
    /// Returns when it has loaded its lists into every adapter present.
    pub fn start(kernel: &SimKernel, storage: &BluetoothdStorage, agent: Agent) -> Self {
        kernel.set_options(|options| options.await_confirmation = true);
        let client = kernel.open_control("bluetoothd");
        let (orders, removals) = channel();
        let storage = storage.clone();
        let mut daemon = Daemon { client, storage, agent, adapters: BTreeMap::new(), removals };
        daemon.client.succeed(op::READ_VERSION, NO_INDEX, &[]);
        daemon.client.succeed(op::READ_COMMANDS, NO_INDEX, &[]);
        let indexes = daemon.client.succeed(op::READ_INDEX_LIST, NO_INDEX, &[]);
        for index in indexes[2..].chunks(2).filter_map(|octets| read_u16(octets, 0)) {
            daemon.set_up(index);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("bluetoothd".to_owned());
        let thread = thread.spawn(move || daemon.run(&told)).expect("start a thread");
        Self { stop, thread: Some(thread), orders }
    }

    /// The user removes a device: its bond is deleted and unpaired.
    pub fn remove(&self, index: u16, peer: Address) {
        self.orders.send((index, peer)).expect("bluetoothd runs");
    }

    /// It powers its adapters off and exits. The kernel keeps all keys.
    pub fn stop(self, kernel: &SimKernel) {
        drop(self);
        kernel.set_options(|options| options.await_confirmation = false);
    }

    /// Waits until it has done its part for a controller that was plugged in.
    pub fn wait_loaded(kernel: &SimKernel, index: u16) {
        let done = |kernel: &SimKernel| kernel.command_count(index, LAST_OF_SET_UP) > 0;
        assert!(kernel.wait_until(done), "bluetoothd does not set up controller {index}");
    }
}

impl Drop for Bluetoothd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A daemon that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

struct Daemon {
    client: Client,
    storage: BluetoothdStorage,
    agent: Agent,
    /// By controller index.
    adapters: BTreeMap<u16, [u8; 6]>,
    /// What the user wants removed.
    removals: Receiver<(u16, Address)>,
}

impl Daemon {
    fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Some(packet) = self.client.receive(GLANCE) {
                self.hear(&packet);
            }
            if let Ok((index, peer)) = self.removals.try_recv() {
                self.remove(index, peer);
            }
        }
        for index in self.adapters.keys().copied().collect::<Vec<_>>() {
            self.ask(op::SET_POWERED, index, &[0]);
        }
    }

    /// A command whose failure is no reason to die: the adapter may be gone.
    fn ask(&mut self, opcode: u16, index: u16, parameters: &[u8]) -> Option<Vec<u8>> {
        let reply = self.client.try_command(opcode, index, parameters, Duration::from_secs(2));
        reply.filter(|(code, _)| *code == status::SUCCESS).map(|(_, data)| data)
    }

    fn set_up(&mut self, index: u16) {
        let Some(info) = self.ask(op::READ_INFO, index, &[]) else { return };
        let Some(adapter) = info.first_chunk::<6>().copied() else { return };
        self.adapters.insert(index, adapter);
        self.ask(op::SET_SECURE_CONNECTIONS, index, &[1]);
        self.ask(op::SET_PRIVACY, index, &[0; 17]);
        self.ask(op::SET_POWERED, index, &[1]);
        let stored = self.storage.with(adapter, |stored| stored.clone());
        let ltks: Vec<Vec<u8>> = stored.ltks.iter().map(Ltk::write).collect();
        let irks: Vec<Vec<u8>> = stored.irks.iter().map(Irk::write).collect();
        self.client.raise_send_mtu();
        self.ask(op::LOAD_LTKS, index, &list(&ltks));
        self.ask(op::LOAD_IRKS, index, &list(&irks));
        self.ask(op::LOAD_CONNECTION_PARAMETERS, index, &list(&[]));
        if self.agent == Agent::Accepts {
            self.ask(op::SET_BONDABLE, index, &[1]);
        }
        self.ask(LAST_OF_SET_UP, index, &list(&[]));
    }

    fn remove(&mut self, index: u16, peer: Address) {
        let adapter = self.adapters[&index];
        self.storage.with(adapter, |stored| {
            stored.ltks.retain(|ltk| ltk.address != peer);
            stored.irks.retain(|irk| irk.address != peer);
        });
        self.ask(op::UNPAIR_DEVICE, index, &[&peer.write()[..], &[1]].concat());
    }

    fn confirm(&mut self, packet: &Packet) {
        let answer = match self.agent {
            Agent::None => op::CONFIRM_NEGATIVE_REPLY,
            Agent::Accepts => op::CONFIRM_REPLY,
        };
        if let Some(address) = packet.parameters.get(..Address::OCTETS) {
            self.ask(answer, packet.index, address);
        }
    }

    fn hear(&mut self, packet: &Packet) {
        let parameters = &packet.parameters[..];
        match packet.code {
            ev::INDEX_ADDED => return self.set_up(packet.index),
            ev::INDEX_REMOVED => {
                self.adapters.remove(&packet.index);
                return;
            }
            ev::CONFIRM_REQUEST => return self.confirm(packet),
            _ => {}
        }
        let Some(adapter) = self.adapters.get(&packet.index) else { return };
        let wanted = parameters.first() == Some(&1);
        self.storage.with(*adapter, |stored| match packet.code {
            ev::NEW_LTK if wanted => {
                if let Some(ltk) = parameters.get(1..37).and_then(Ltk::read) {
                    ltk.file_into(&mut stored.ltks);
                }
            }
            ev::NEW_IRK if wanted => {
                if let Some(irk) = parameters.get(7..30).and_then(Irk::read) {
                    irk.file_into(&mut stored.irks);
                }
            }
            ev::DEVICE_UNPAIRED => {
                if let Some(gone) = Address::read(parameters) {
                    stored.ltks.retain(|ltk| ltk.address != gone);
                    stored.irks.retain(|irk| irk.address != gone);
                }
            }
            _ => {}
        });
    }
}
