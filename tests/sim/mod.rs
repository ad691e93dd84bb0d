//! A simulated Bluetooth kernel at the other end of Unix sockets.
//!
//! `SimKernel::start(dir)` listens at `dir/control` and `dir/monitor`, both
//! SOCK_SEQPACKET, and behaves there as the kernel's management and monitor
//! channels do: controllers come and go, peers pair and reconnect, other programs
//! load keys. `dir/sysfs/hciN` has a new inode at each plug-in and `dir/boot_id`
//! names the boot, as sysfs and procfs would.
//!
//! Tests, the self test and the demo drive it. It must never import bondkeeper:
//! it is worth something only as a second reading of the protocol, made from
//! captured frames and facts. `std` and `libc` only, and threads of its own.
//!
//! One thing a Unix socket cannot do: a kernel lets a frame above the send MTU
//! (1028 octets) fail in `send()`. Here the frame is counted and dropped, and the
//! MTU is raised by a frame of its own (opcode 0xFF01, index 0xFFFF, parameters
//! the MTU as u16), which stands for `setsockopt(BT_SNDMTU)`.

// Included by several binaries, none of which uses all of it.
#![allow(dead_code, unused_imports)]

pub mod client;
mod commands;
mod controller;
mod debugfs;
mod faults;
mod host;
mod kernel;
mod link_commands;
mod loads;
pub mod monitor;
mod peer;
pub mod programs;
mod radio;
pub mod records;
mod seqpacket;
pub mod wire;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Client, PATIENCE};
pub use controller::{Hardware, Tables};
pub use faults::{Fault, Options, Trouble};
pub use kernel::Counters;
use kernel::{Audience, Kernel};
use peer::Peer;
pub use peer::PeerConfig;
pub use radio::{Outcome, PROTECTED_VALUE, Security};
use seqpacket::{Conn, Listener, MAX_FRAME_OCTETS};
use wire::{Address, BREDR};

/// A running simulated kernel. It ends when dropped: every socket is closed then.
#[derive(Debug)]
pub struct SimKernel {
    shared: Arc<Shared>,
    listeners: Vec<(Arc<Listener>, JoinHandle<()>)>,
    dir: PathBuf,
}

#[derive(Debug)]
struct Shared {
    kernel: Mutex<Kernel>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
enum Channel {
    Control,
    Monitor,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kernel> {
        // A thread that panicked has said why; the others go on, so that the test
        // fails with its own words.
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the kernel and wakes those who wait for a change.
    fn edit<T>(&self, edit: impl FnOnce(&mut Kernel) -> T) -> T {
        let mut kernel = self.lock();
        let result = edit(&mut kernel);
        kernel.show_in_debugfs();
        drop(kernel);
        self.changed.notify_all();
        result
    }

    /// Reads commands until the socket is closed.
    fn serve_control(&self, cookie: u32, conn: &Conn) {
        let mut buffer = vec![0; MAX_FRAME_OCTETS + 1];
        while let Ok(frame) = conn.recv(&mut buffer) {
            if frame.is_empty() {
                break;
            }
            self.edit(|kernel| kernel.receive(cookie, frame));
        }
        self.edit(|kernel| kernel.close_control(cookie));
    }

    /// Waits for the end: nobody says anything on the monitor channel.
    fn serve_monitor(&self, cookie: u32, conn: &Conn) {
        let mut buffer = [0; 64];
        while conn.recv(&mut buffer).is_ok_and(|frame| !frame.is_empty()) {}
        self.edit(|kernel| kernel.close_monitor(cookie));
    }

    fn adopt(self: &Arc<Self>, channel: Channel, conn: Conn, process: &str) -> u32 {
        let conn = Arc::new(conn);
        let shared = Arc::clone(self);
        let for_kernel = Arc::clone(&conn);
        let cookie = self.edit(|kernel| match channel {
            Channel::Control => kernel.open_control(for_kernel, process),
            Channel::Monitor => kernel.open_monitor(for_kernel),
        });
        // Detached: it ends with its socket, and all sockets are closed at the end.
        spawn("sim-socket", move || match channel {
            Channel::Control => shared.serve_control(cookie, &conn),
            Channel::Monitor => shared.serve_monitor(cookie, &conn),
        });
        cookie
    }
}

/// What ties a client to the simulator that made it.
#[derive(Debug)]
struct Tie {
    shared: Arc<Shared>,
    cookie: u32,
}

impl Tie {
    /// Waits until the kernel has dealt with all the client sent and has forgotten it.
    fn wait_closed(&self) {
        let end = Instant::now() + PATIENCE;
        let mut kernel = self.shared.lock();
        while kernel.is_open(self.cookie) && Instant::now() < end {
            let waited = self.shared.changed.wait_timeout(kernel, PATIENCE);
            kernel = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("start a thread")
}

impl SimKernel {
    /// Starts in a directory of its own (made if need be). Panics with a
    /// description when it cannot: a test tool that does not start is a failed test.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, Options::default())
    }

    pub fn start_with(dir: &Path, options: Options) -> Self {
        let own_process_name = options.own_process_name.clone();
        host::prepare(dir).unwrap_or_else(|e| panic!("prepare {}: {e}", dir.display()));
        let shared =
            Arc::new(Shared { kernel: Mutex::new(Kernel::new(dir, options)), changed: Condvar::new() });
        let listen = |channel, name: &str| {
            let path = dir.join(name);
            let listener =
                Listener::bind(&path).unwrap_or_else(|e| panic!("listen at {}: {e}", path.display()));
            let listener = Arc::new(listener);
            let (theirs, shared, own) =
                (Arc::clone(&listener), Arc::clone(&shared), own_process_name.clone());
            let thread = spawn("sim-listener", move || {
                while let Ok(conn) = theirs.accept() {
                    let process = host::process_name(&conn, &own);
                    shared.adopt(channel, conn, &process);
                }
            });
            (listener, thread)
        };
        let listeners = vec![listen(Channel::Control, "control"), listen(Channel::Monitor, "monitor")];
        Self { shared, listeners, dir: dir.to_owned() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    // Controllers.

    /// Plugs a controller in, at the lowest free index. It is not powered.
    pub fn plug(&self, hardware: &Hardware) -> u16 {
        self.shared.edit(|kernel| kernel.plug(hardware))
    }

    /// `plug`, with a look at the tables before anybody can load anything.
    pub fn plug_and_look(&self, hardware: &Hardware) -> (u16, Tables) {
        self.shared.edit(|kernel| {
            let index = kernel.plug(hardware);
            (index, kernel.controller(index).map(|c| c.tables()).unwrap_or_default())
        })
    }

    pub fn unplug(&self, index: u16) {
        assert!(self.shared.edit(|kernel| kernel.unplug(index)), "there is no controller {index}");
    }

    pub fn is_powered(&self, index: u16) -> bool {
        self.shared.lock().controller(index).is_some_and(|c| c.powered())
    }

    /// What the kernel holds for a controller.
    pub fn tables(&self, index: u16) -> Tables {
        let kernel = self.shared.lock();
        kernel.controller(index).unwrap_or_else(|| panic!("there is no controller {index}")).tables()
    }

    /// From now on the tables stand below `dir/debugfs`, as root sees them.
    pub fn show_tables(&self) {
        self.shared.edit(|kernel| kernel.debugfs = Some(debugfs::Debugfs::default()));
    }

    /// The list of LTKs is replaced, and nobody is told.
    pub fn replace_ltks_unseen(&self, index: u16, ltks: Vec<records::Ltk>) {
        self.shared.edit(|kernel| {
            let controller = kernel.controller_mut(index);
            controller.unwrap_or_else(|| panic!("there is no controller {index}")).ltks = ltks;
        });
    }

    /// The key of a controller's own identity, if it has one.
    pub fn local_irk(&self, index: u16) -> Option<[u8; 16]> {
        let kernel = self.shared.lock();
        kernel.controller(index).unwrap_or_else(|| panic!("there is no controller {index}")).local_irk
    }

    /// How many commands of this opcode a controller has seen since plug-in.
    pub fn command_count(&self, index: u16, opcode: u16) -> u32 {
        let kernel = self.shared.lock();
        kernel.controller(index).and_then(|c| c.command_counts.get(&opcode).copied()).unwrap_or(0)
    }

    // Peers.

    /// Makes a peer, which is on the air from now on.
    pub fn add_peer(&self, config: &PeerConfig) {
        self.shared.edit(|kernel| {
            let peer = Peer::new(config.clone(), &mut kernel.random);
            if config.distributes_irk {
                kernel.remember_key(&peer.irk);
            }
            kernel.peers.insert(config.name.clone(), peer);
        });
    }

    /// The peer loses all its bonds.
    pub fn reset_peer(&self, peer: &str) {
        self.shared.edit(|kernel| {
            kernel.peer(peer);
            kernel.peers.entry(peer.to_owned()).and_modify(|peer| peer.bonds.clear());
        });
    }

    /// The address under which this controller's kernel reports the peer now.
    pub fn known_as(&self, index: u16, peer: &str) -> Address {
        let kernel = self.shared.lock();
        kernel.known_as(index, kernel.peer(peer))
    }

    /// A program connects by identity address. The link, if any, stands afterwards.
    pub fn connect(&self, index: u16, peer: &str, security: Security) -> Outcome {
        assert!(self.is_powered(index), "controller {index} is not powered");
        self.shared.edit(|kernel| kernel.connect(index, peer, security))
    }

    /// `connect`, waiting until a pairing that has to be confirmed has been answered.
    pub fn connect_and_wait(&self, index: u16, peer: &str, security: Security) -> Outcome {
        let outcome = self.connect(index, peer, security);
        if outcome != Outcome::AwaitsConfirmation {
            return outcome;
        }
        let waits = |kernel: &Kernel| kernel.pairings.iter().any(|p| p.index == index && p.peer == peer);
        assert!(self.wait_until(|sim| !waits(&sim.shared.lock())), "nobody answers the pairing with {peer}");
        let ended = self.shared.lock().last_pairing.get(&(index, peer.to_owned())).cloned();
        ended.unwrap_or(Outcome::NotFound)
    }

    /// The peer ends the link. Nothing happens when there is none.
    pub fn disconnect(&self, index: u16, peer: &str) {
        self.shared.edit(|kernel| {
            if let Some(address) = kernel.link_of(index, peer) {
                kernel.link_down(index, address, wire::reason::REMOTE);
            }
        });
    }

    /// A BR/EDR pairing: a link key in the table, and its event.
    pub fn pair_bredr(&self, index: u16, address: &str) {
        let address = Address::new(address, BREDR);
        self.shared.edit(|kernel| kernel.learn_link_key(index, address));
    }

    /// The kernel has this LTK from now on and says so (store hint 1 for an
    /// identity address): a pairing without a peer, for storms of keys.
    pub fn announce_ltk(&self, index: u16, ltk: records::Ltk) {
        self.shared.edit(|kernel| kernel.learn_ltk(index, true, ltk));
    }

    /// Every key made so far, as hex.
    pub fn key_octets(&self) -> BTreeSet<String> {
        self.shared.lock().keys.clone()
    }

    // Faults and noise.

    pub fn fault(&self, fault: Fault) {
        self.shared.edit(|kernel| kernel.faults.add(fault));
    }

    pub fn clear_faults(&self) {
        self.shared.edit(|kernel| kernel.faults.clear());
    }

    /// Carries out what `Trouble::Hold` kept back.
    pub fn release_held(&self) {
        self.shared.edit(Kernel::release_held);
    }

    /// Commands kept back now.
    pub fn held_count(&self) -> usize {
        self.shared.lock().held.len()
    }

    /// Changes an option while running. Sockets that are open keep what concerns them.
    pub fn set_options(&self, edit: impl FnOnce(&mut Options)) {
        self.shared.edit(|kernel| edit(&mut kernel.options));
    }

    /// An event out of the blue, to every trusted socket.
    pub fn inject(&self, event: u16, index: u16, parameters: &[u8]) {
        self.shared.edit(|kernel| kernel.tell(Audience::Trusted, event, index, parameters));
    }

    /// So many advertisements in a row, as fast as can be: for each a Device Found event, and what the monitor
    /// channel shows of it besides.
    pub fn flood(&self, index: u16, count: usize) {
        let address = Address::new("C0:FF:EE:0F:0F:0F", wire::LE_PUBLIC);
        for _ in 0..count {
            self.shared.edit(|kernel| {
                kernel.show(&monitor::advertisement(index));
                kernel.report_found(index, address);
            });
        }
    }

    /// Events to every trusted socket, as fast as the readers take them: for measuring. One that finds a full
    /// queue is sent again, so none is lost.
    pub fn stream(&self, index: u16, events: &[(u16, Vec<u8>)]) {
        const FULL: Duration = Duration::from_micros(100);
        let tell = |kernel: &mut Kernel, event, parameters: &[u8]| {
            let before = kernel.counters.dropped_frames;
            kernel.tell(Audience::Trusted, event, index, parameters);
            kernel.counters.dropped_frames == before
        };
        for (event, parameters) in events {
            while !tell(&mut self.shared.lock(), *event, parameters) {
                std::thread::sleep(FULL);
            }
        }
    }

    pub fn counters(&self) -> Counters {
        self.shared.lock().counters
    }

    // Programs.

    /// A control socket held by a process of that name.
    pub fn open_control(&self, process: &str) -> Client {
        self.open(Channel::Control, process)
    }

    pub fn open_monitor(&self) -> Client {
        self.open(Channel::Monitor, "")
    }

    fn open(&self, channel: Channel, process: &str) -> Client {
        let (ours, theirs) = Conn::pair().expect("make a pair of sockets");
        let cookie = self.shared.adopt(channel, ours, process);
        Client::over(theirs, Some(Tie { shared: Arc::clone(&self.shared), cookie }))
    }

    /// The processes that hold control sockets.
    pub fn processes(&self) -> Vec<String> {
        self.shared.lock().sockets.values().map(|socket| socket.process.clone()).collect()
    }

    pub fn monitor_count(&self) -> usize {
        self.shared.lock().monitor_count()
    }

    /// Waits until something is so. Looks at each change; false after ten seconds.
    pub fn wait_until(&self, so: impl Fn(&Self) -> bool) -> bool {
        self.wait_until_within(PATIENCE, so)
    }

    pub fn wait_until_within(&self, within: Duration, so: impl Fn(&Self) -> bool) -> bool {
        /// A change between the look and the wait is seen this much later at worst.
        const LOOK_AGAIN: Duration = Duration::from_millis(10);
        let end = Instant::now() + within;
        while !so(self) {
            if Instant::now() >= end {
                return false;
            }
            let guard = self.shared.lock();
            drop(self.shared.changed.wait_timeout(guard, LOOK_AGAIN));
        }
        true
    }
}

impl Drop for SimKernel {
    fn drop(&mut self) {
        for (listener, thread) in self.listeners.drain(..) {
            listener.close();
            // A listener that panicked has said so on standard error.
            let _ = thread.join();
        }
        self.shared.edit(|kernel| kernel.close_all());
    }
}
