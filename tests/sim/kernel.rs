//! The simulated kernel's state and how frames leave it: which socket hears an
//! event, what the monitor channel shows, how controllers come and go.
//!
//! One lock guards it all, so that everybody sees one order of events, as with a
//! kernel. It does no waiting: what must wait lies in `held` or `pairings`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::controller::{Controller, Hardware};
use super::debugfs::Debugfs;
use super::faults::{Faults, Options};
use super::monitor;
use super::peer::{Peer, Random};
use super::radio::{Outcome, Pairing};
use super::records::Key;
use super::seqpacket::{Conn, Sent};
use super::wire::{DEFAULT_SEND_MTU, NO_INDEX, ev, frame, hex, setting, status};

/// A control socket somebody holds.
#[derive(Debug)]
pub(super) struct Socket {
    pub conn: Arc<Conn>,
    pub process: String,
    pub send_mtu: usize,
    pub trusted: bool,
    /// It has read the extended index list and hears of controllers in that style.
    pub extended_index_events: bool,
}

/// A command that is kept back.
#[derive(Debug)]
pub(super) struct Held {
    pub cookie: u32,
    pub frame: Vec<u8>,
    /// The monitor channel has shown it: the kernel has begun with it.
    pub begun: bool,
}

/// Counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that a kernel's `send()` would have failed with EINVAL: above the
    /// send MTU, or with a header that does not fit.
    pub refused_frames: u64,
    /// Frames for sockets whose receive queue was full.
    pub dropped_frames: u64,
    /// Commands carried out or refused with a status, of all sockets.
    pub commands: u64,
    /// Answers to confirmation and passkey requests, of all sockets.
    pub pairing_answers: u64,
}

#[derive(Debug)]
pub(super) struct Kernel {
    pub options: Options,
    dir: PathBuf,
    pub sockets: BTreeMap<u32, Socket>,
    monitors: BTreeMap<u32, Arc<Conn>>,
    next_cookie: u32,
    /// Of the next link, at whatever controller.
    pub(super) next_handle: u16,
    /// Newest first, as the kernel lists them.
    pub controllers: Vec<Controller>,
    pub peers: BTreeMap<String, Peer>,
    pub random: Random,
    /// Every key made so far.
    pub keys: BTreeSet<String>,
    pub counters: Counters,
    pub faults: Faults,
    /// Commands kept back, in the order they came.
    pub held: Vec<Held>,
    pub pairings: Vec<Pairing>,
    /// How the newest pairing ended, by controller and peer.
    pub last_pairing: BTreeMap<(u16, String), Outcome>,
    /// Replies go nowhere for the moment.
    pub mute: bool,
    /// Where root may read the tables.
    pub debugfs: Option<Debugfs>,
    appearances: u64,
}

/// Who hears an event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Audience {
    /// All sockets.
    Everyone,
    /// All trusted ones.
    Trusted,
    /// All trusted ones but this: whoever caused it has its reply.
    TrustedBut(u32),
    /// All but this, trusted or not.
    EveryoneBut(u32),
}

impl Audience {
    fn has(self, cookie: u32, socket: &Socket) -> bool {
        match self {
            Self::Everyone => true,
            Self::Trusted => socket.trusted,
            Self::TrustedBut(issuer) => socket.trusted && cookie != issuer,
            Self::EveryoneBut(issuer) => cookie != issuer,
        }
    }
}

impl Kernel {
    pub fn new(dir: &Path, options: Options) -> Self {
        Self {
            random: Random::new(options.seed),
            options,
            dir: dir.to_owned(),
            sockets: BTreeMap::new(),
            monitors: BTreeMap::new(),
            next_cookie: 1,
            next_handle: 0x40,
            controllers: Vec::new(),
            peers: BTreeMap::new(),
            keys: BTreeSet::new(),
            counters: Counters::default(),
            faults: Faults::default(),
            held: Vec::new(),
            pairings: Vec::new(),
            last_pairing: BTreeMap::new(),
            mute: false,
            debugfs: None,
            appearances: 0,
        }
    }

    pub fn show_in_debugfs(&mut self) {
        if let Some(debugfs) = &mut self.debugfs {
            debugfs.write(&self.dir.join("debugfs"), &self.controllers);
        }
    }

    // Sockets.

    pub fn open_control(&mut self, conn: Arc<Conn>, process: &str) -> u32 {
        let cookie = self.cookie();
        self.bound_queue(&conn);
        let trusted = !self.options.untrusted;
        let socket = Socket {
            conn,
            process: process.to_owned(),
            send_mtu: DEFAULT_SEND_MTU,
            trusted,
            extended_index_events: false,
        };
        self.sockets.insert(cookie, socket);
        self.show(&monitor::control_open(cookie, self.options.revision, trusted, process));
        cookie
    }

    pub fn close_control(&mut self, cookie: u32) {
        if let Some(socket) = self.sockets.remove(&cookie) {
            socket.conn.close();
            self.held.retain(|held| held.cookie != cookie);
            self.show(&monitor::control_close(cookie));
        }
    }

    /// A new monitor socket is told the present state first.
    pub fn open_monitor(&mut self, conn: Arc<Conn>) -> u32 {
        self.bound_queue(&conn);
        let mut replay = vec![
            monitor::note("Linux version 6.12.0-simulated (simulator)"),
            monitor::note("Bluetooth subsystem version 2.22"),
        ];
        for controller in self.controllers.iter().rev() {
            replay.push(monitor::new_index(controller));
            if controller.powered() {
                replay.extend(monitor::running(controller));
            }
        }
        for (cookie, socket) in &self.sockets {
            let (revision, trusted) = (self.options.revision, socket.trusted);
            replay.push(monitor::control_open(*cookie, revision, trusted, &socket.process));
        }
        for record in replay {
            offer(&conn, &record, &mut self.counters);
        }
        let cookie = self.cookie();
        self.monitors.insert(cookie, conn);
        cookie
    }

    pub fn close_monitor(&mut self, cookie: u32) {
        self.monitors.remove(&cookie);
    }

    pub fn close_all(&mut self) {
        for socket in self.sockets.values() {
            socket.conn.close();
        }
        for conn in self.monitors.values() {
            conn.close();
        }
    }

    /// A control or a monitor socket of this cookie is open.
    pub fn is_open(&self, cookie: u32) -> bool {
        self.sockets.contains_key(&cookie) || self.monitors.contains_key(&cookie)
    }

    pub fn monitor_count(&self) -> usize {
        self.monitors.len()
    }

    fn cookie(&mut self) -> u32 {
        self.next_cookie += 1;
        self.next_cookie - 1
    }

    fn bound_queue(&self, conn: &Conn) {
        if let Some(octets) = self.options.queue_octets {
            conn.bound_queue(octets);
        }
    }

    // Frames out.

    /// To all monitors.
    pub fn show(&mut self, record: &[u8]) {
        for conn in self.monitors.values() {
            offer(conn, record, &mut self.counters);
        }
    }

    fn send(&mut self, cookie: u32, event: u16, index: u16, parameters: &[u8]) {
        let mut parameters = parameters.to_vec();
        parameters.resize(parameters.len() + self.options.trailing_octets, 0xA5);
        if let Some(socket) = self.sockets.get(&cookie) {
            offer(&socket.conn, &frame(event, index, &parameters), &mut self.counters);
        }
        if let Some(record) = monitor::control_event(cookie, index, event, &parameters) {
            self.show(&record);
        }
    }

    /// To every socket of the audience.
    pub fn tell(&mut self, audience: Audience, event: u16, index: u16, parameters: &[u8]) {
        let hearers = self.sockets.iter().filter(|(cookie, socket)| audience.has(**cookie, socket));
        let cookies: Vec<u32> = hearers.map(|(cookie, _)| *cookie).collect();
        for cookie in cookies {
            self.send(cookie, event, index, parameters);
        }
    }

    pub fn complete(&mut self, cookie: u32, index: u16, opcode: u16, status: u8, data: &[u8]) {
        if self.mute {
            return;
        }
        let parameters = [&opcode.to_le_bytes()[..], &[status], data].concat();
        self.send(cookie, ev::COMMAND_COMPLETE, index, &parameters);
    }

    pub fn status(&mut self, cookie: u32, index: u16, opcode: u16, status: u8) {
        if self.mute {
            return;
        }
        let parameters = [&opcode.to_le_bytes()[..], &[status]].concat();
        self.send(cookie, ev::COMMAND_STATUS, index, &parameters);
    }

    /// The settings changed: everybody but the one who caused it is told.
    pub fn new_settings(&mut self, index: u16, issuer: Option<u32>) {
        let Some(controller) = self.controller(index) else { return };
        let settings = controller.settings.to_le_bytes();
        let audience = issuer.map_or(Audience::Everyone, Audience::EveryoneBut);
        self.tell(audience, ev::NEW_SETTINGS, index, &settings);
    }

    // Controllers.

    pub fn controller(&self, index: u16) -> Option<&Controller> {
        self.controllers.iter().find(|c| c.index == index)
    }

    pub fn controller_mut(&mut self, index: u16) -> Option<&mut Controller> {
        self.controllers.iter_mut().find(|c| c.index == index)
    }

    pub fn plug(&mut self, hardware: &Hardware) -> u16 {
        let free = (0..NO_INDEX).find(|index| self.controller(*index).is_none());
        let index = free.expect("fewer than 65535 controllers");
        let controller = Controller::new(index, hardware);
        let configured = controller.configured;
        self.appear(index);
        let record = monitor::new_index(&controller);
        self.controllers.insert(0, controller);
        self.show(&record);
        self.tell_index(index, configured, true);
        index
    }

    /// False when there is no such controller.
    pub fn unplug(&mut self, index: u16) -> bool {
        let Some(at) = self.controllers.iter().position(|c| c.index == index) else { return false };
        let was_powered = self.controllers[at].powered();
        if was_powered {
            self.controllers[at].set(setting::POWERED, false);
            self.fail_pairings(index, status::INVALID_INDEX);
            self.show(&monitor::closed_index(index));
            self.new_settings(index, None);
        }
        let configured = self.controllers.remove(at).configured;
        self.tell_index(index, configured, false);
        self.show(&monitor::deleted_index(index));
        self.disappear(index);
        true
    }

    /// Each socket hears of a controller in its own style.
    fn tell_index(&mut self, index: u16, configured: bool, added: bool) {
        let plain = match (configured, added) {
            (true, true) => ev::INDEX_ADDED,
            (true, false) => ev::INDEX_REMOVED,
            (false, true) => ev::UNCONFIGURED_INDEX_ADDED,
            (false, false) => ev::UNCONFIGURED_INDEX_REMOVED,
        };
        let extended = if added { ev::EXTENDED_INDEX_ADDED } else { ev::EXTENDED_INDEX_REMOVED };
        let styles: Vec<(u32, bool)> =
            self.sockets.iter().map(|(cookie, socket)| (*cookie, socket.extended_index_events)).collect();
        for (cookie, extended_style) in styles {
            if extended_style {
                self.send(cookie, extended, index, &[u8::from(!configured), 0]);
            } else {
                self.send(cookie, plain, index, &[]);
            }
        }
    }

    /// A directory entry whose inode names this appearance. Those of earlier
    /// appearances are kept aside, so that none of their numbers comes back.
    fn appear(&mut self, index: u16) {
        let path = self.dir.join("sysfs").join(format!("hci{index}"));
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
    }

    fn disappear(&mut self, index: u16) {
        self.appearances += 1;
        let from = self.dir.join("sysfs").join(format!("hci{index}"));
        let aside = self.dir.join("sysfs-gone");
        let to = aside.join(self.appearances.to_string());
        let moved = fs::create_dir_all(&aside).and_then(|()| fs::rename(&from, &to));
        moved.unwrap_or_else(|e| panic!("move {} aside: {e}", from.display()));
    }

    pub fn remember_key(&mut self, value: &Key) {
        self.keys.insert(hex(value));
    }
}

fn offer(conn: &Conn, frame: &[u8], counters: &mut Counters) {
    if conn.offer(frame) == Sent::Dropped {
        counters.dropped_frames += 1;
    }
}
