//! Who holds a control socket and what was done to whose lists, from the records of the
//! monitor channel. Sans-io.
//!
//! A command is seen before its result, so a load is handed on with its Command Complete; the kernel answers
//! a load while it still holds the adapter's lock, so the order of the answers is the order of the loads. Our
//! own loads are told as well, without their keys: only so can the adapter put them in order with the others'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::links::Links;
use crate::adapter::messages::{Activity, Neighbourhood, Observed};
use crate::bond::address::ADDRESS_OCTETS;
use crate::mgmt::monitor::{ControlSocket, Cookie};
use crate::mgmt::{
    ForeignCommand, ForeignLoad, LoadKind, MonitorFrame, MonitorRecord, Opcode, PrivacySetting, RawAddress,
    Status,
};

/// Processes that keep key lists of their own from the moment they hold a control socket.
const MANAGER_PROCESSES: [&str; 1] = ["bluetoothd"];

/// Commands that were seen and not answered yet, at most. Each process has a handful in flight; a
/// kernel that never answers must not fill the memory.
const UNANSWERED_MAX: usize = 256;

/// What a command will have done once it has succeeded.
#[derive(Debug, Clone)]
enum Pending {
    Load(Arc<ForeignLoad>),
    OwnLoad(LoadKind),
    Unpair(RawAddress),
    SetPrivacy(PrivacySetting),
}

/// See the module text.
pub struct WatchMachine {
    own_name: &'static str,
    sockets: BTreeMap<Cookie, ControlSocket>,
    unanswered: BTreeMap<(Cookie, u16, u16), Pending>,
    loaders: BTreeMap<u16, BTreeSet<String>>,
    addresses: BTreeMap<u16, [u8; ADDRESS_OCTETS]>,
    links: Links,
    observed: Vec<Observed>,
}

impl WatchMachine {
    /// `own_name`: the thread name under which our own sockets are opened.
    pub fn new(own_name: &'static str) -> Self {
        Self {
            own_name,
            sockets: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            loaders: BTreeMap::new(),
            addresses: BTreeMap::new(),
            links: Links::default(),
            observed: Vec::new(),
        }
    }

    /// Takes one record; true when the neighbourhood may have changed.
    pub fn record(&mut self, frame: MonitorFrame) -> bool {
        let index = frame.index;
        match frame.record {
            MonitorRecord::ControlOpened(socket) if socket.is_management => {
                self.sockets.insert(socket.cookie, socket);
                true
            }
            MonitorRecord::ControlClosed { cookie } => {
                self.unanswered.retain(|(owner, _, _), _| *owner != cookie);
                self.sockets.remove(&cookie).is_some()
            }
            MonitorRecord::NewIndex { address, .. } => {
                let changed = self.reset(index);
                self.name(index, address);
                changed
            }
            MonitorRecord::IndexGone => self.reset(index),
            // Some controllers tell their address only once they were set up.
            MonitorRecord::IndexInformation { address, .. } => {
                self.name(index, address);
                false
            }
            MonitorRecord::Link(event) => {
                if let Some((peer, evidence)) = self.links.event(index, event) {
                    self.observe(index, Activity::Evidence { peer, evidence });
                }
                false
            }
            MonitorRecord::DeviceConnected { address } => {
                self.links.named(index, address);
                false
            }
            MonitorRecord::Command { cookie, opcode, command } => {
                self.command(cookie, index, opcode, command);
                false
            }
            MonitorRecord::CommandEnded { cookie, opcode, status } => {
                self.ended(cookie, index, opcode, status)
            }
            _ => false,
        }
    }

    /// What was done since the last call, in order.
    pub fn take_observed(&mut self) -> Vec<Observed> {
        std::mem::take(&mut self.observed)
    }

    /// Its tables are gone, and with them what anybody has loaded.
    fn reset(&mut self, index: u16) -> bool {
        self.unanswered.retain(|(_, about, _), _| *about != index);
        self.addresses.remove(&index);
        self.links.reset(index);
        self.observe(index, Activity::Reset);
        self.loaders.remove(&index).is_some()
    }

    fn name(&mut self, index: u16, address: [u8; ADDRESS_OCTETS]) {
        if address != [0; ADDRESS_OCTETS] {
            self.addresses.insert(index, address);
        }
    }

    fn observe(&mut self, index: u16, activity: Activity) {
        let address = self.addresses.get(&index).copied();
        self.observed.push(Observed { index, address, activity });
    }

    fn command(&mut self, cookie: Cookie, index: u16, opcode: Opcode, command: ForeignCommand) {
        let ours = self.is_ours(cookie);
        let pending = match command {
            ForeignCommand::Load(load) if ours => Pending::OwnLoad(load.kind),
            ForeignCommand::Load(load) => Pending::Load(Arc::new(load)),
            ForeignCommand::Unpair { address, .. } if !ours => Pending::Unpair(address),
            ForeignCommand::SetPrivacy(setting) if !ours => Pending::SetPrivacy(setting),
            _ => return,
        };
        if self.unanswered.len() < UNANSWERED_MAX {
            self.unanswered.insert((cookie, index, opcode.0), pending);
        }
    }

    /// A command counts once the kernel has answered it: until then the list may still be the old one.
    fn ended(&mut self, cookie: Cookie, index: u16, opcode: Opcode, status: Status) -> bool {
        let Some(pending) = self.unanswered.remove(&(cookie, index, opcode.0)) else { return false };
        let taken = status.is_success();
        match pending {
            Pending::OwnLoad(kind) => self.observe(index, Activity::OwnLoadEnded { kind, taken }),
            Pending::Unpair(address) if taken => self.observe(index, Activity::Unpaired { address }),
            Pending::Load(load) if taken => {
                let process = self.process(cookie);
                let is_new = self.loaders.entry(index).or_default().insert(process.clone());
                self.observe(index, Activity::Loaded { process, load });
                return is_new;
            }
            Pending::SetPrivacy(setting) if taken => {
                let process = self.process(cookie);
                self.observe(index, Activity::PrivacySet { process, setting });
            }
            Pending::Unpair(_) | Pending::Load(_) | Pending::SetPrivacy(_) => {}
        }
        false
    }

    fn process(&self, cookie: Cookie) -> String {
        self.sockets.get(&cookie).map_or("unknown", |socket| socket.process.as_str()).to_owned()
    }

    fn is_ours(&self, cookie: Cookie) -> bool {
        self.sockets.get(&cookie).is_some_and(|socket| socket.process == self.own_name)
    }

    /// Who is there besides us.
    pub fn neighbourhood(&self) -> Neighbourhood {
        let mut neighbourhood = Neighbourhood { loaders: self.loaders.clone(), ..Neighbourhood::default() };
        // A socket without the privilege cannot change anything.
        let others =
            self.sockets.values().filter(|socket| socket.is_trusted && socket.process != self.own_name);
        for socket in others {
            let known = MANAGER_PROCESSES.contains(&socket.process.as_str());
            let group = if known { &mut neighbourhood.managers } else { &mut neighbourhood.listeners };
            group.insert(socket.process.clone());
        }
        neighbourhood
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::Privacy;
    use crate::mgmt::hci::HciEvent;

    const OWN: &str = "bondkeeper";

    fn opened(cookie: Cookie, process: &str) -> MonitorFrame {
        let socket =
            ControlSocket { cookie, is_management: true, is_trusted: true, process: process.to_owned() };
        MonitorFrame { index: 0xFFFF, record: MonitorRecord::ControlOpened(socket) }
    }

    fn closed(cookie: Cookie) -> MonitorFrame {
        MonitorFrame { index: 0xFFFF, record: MonitorRecord::ControlClosed { cookie } }
    }

    fn load(cookie: Cookie, index: u16) -> MonitorFrame {
        let command = ForeignCommand::Load(ForeignLoad { kind: LoadKind::Ltks, records: Vec::new() });
        let opcode = Opcode::LOAD_LTKS;
        MonitorFrame { index, record: MonitorRecord::Command { cookie, opcode, command } }
    }

    fn answered(cookie: Cookie, index: u16, status: u8) -> MonitorFrame {
        let status = Status::from_code(status);
        let opcode = Opcode::LOAD_LTKS;
        MonitorFrame { index, record: MonitorRecord::CommandEnded { cookie, opcode, status } }
    }

    fn after(frames: impl IntoIterator<Item = MonitorFrame>) -> Neighbourhood {
        let mut machine = WatchMachine::new(OWN);
        for frame in frames {
            machine.record(frame);
        }
        machine.neighbourhood()
    }

    fn managers(neighbourhood: &Neighbourhood, index: u16) -> Vec<String> {
        neighbourhood.at(index).managers
    }

    #[test]
    fn bluetoothd_is_a_manager_of_every_adapter_while_it_holds_a_socket() {
        let seen = after([opened(1, "bluetoothd"), opened(2, "btmon")]);
        assert_eq!(managers(&seen, 0), ["bluetoothd"]);
        assert_eq!(seen.at(7).listeners, ["btmon"]);
        assert_eq!(after([opened(1, "bluetoothd"), closed(1)]), Neighbourhood::default());
    }

    #[test]
    fn we_are_not_our_own_neighbour() {
        let seen = after([opened(1, OWN), load(1, 0), answered(1, 0, 0)]);
        assert_eq!(seen, Neighbourhood::default());
    }

    #[test]
    fn who_replaces_a_list_manages_that_adapter_until_it_is_pulled_out() {
        let loaded = [opened(1, "python3"), load(1, 0), answered(1, 0, 0)];
        let seen = after(loaded.clone());
        assert_eq!(managers(&seen, 0), ["python3"]);
        assert!(managers(&seen, 1).is_empty());
        assert!(seen.at(0).listeners.is_empty(), "counted twice");

        let gone_from_its_socket = after(loaded.clone().into_iter().chain([closed(1)]));
        assert_eq!(managers(&gone_from_its_socket, 0), ["python3"]);

        let unplugged = MonitorFrame { index: 0, record: MonitorRecord::IndexGone };
        assert!(managers(&after(loaded.into_iter().chain([unplugged])), 0).is_empty());
    }

    #[test]
    fn a_load_that_the_kernel_refused_makes_no_manager() {
        assert!(managers(&after([opened(1, "python3"), load(1, 0), answered(1, 0, 0x0D)]), 0).is_empty());
        assert!(managers(&after([opened(1, "python3"), load(1, 0)]), 0).is_empty());
    }

    #[test]
    fn loads_without_an_answer_do_not_pile_up() {
        let mut machine = WatchMachine::new(OWN);
        for cookie in 0..2_000 {
            machine.record(load(cookie, 0));
        }
        assert_eq!(machine.unanswered.len(), UNANSWERED_MAX);
    }

    /// What was handed on, in words.
    fn told(frames: impl IntoIterator<Item = MonitorFrame>) -> Vec<String> {
        let mut machine = WatchMachine::new(OWN);
        for frame in frames {
            machine.record(frame);
        }
        let words = |observed: Observed| match observed.activity {
            Activity::Reset => format!("{} reset", observed.index),
            Activity::Loaded { process, load } => {
                format!("{} {:?} of {process}, at {:?}", observed.index, load.kind, observed.address)
            }
            Activity::OwnLoadEnded { kind, taken } => format!("{} own {kind:?} {taken}", observed.index),
            Activity::Unpaired { address } => format!("{} unpaired {address}", observed.index),
            Activity::PrivacySet { process, setting } => {
                format!("{} {:?} by {process}", observed.index, setting.privacy)
            }
            Activity::Evidence { peer, evidence } => {
                format!("{} {} of {peer}", observed.index, evidence.as_str())
            }
        };
        machine.take_observed().into_iter().map(words).collect()
    }

    #[test]
    fn loads_are_told_in_the_order_of_their_answers_and_ours_among_them() {
        let told = told([
            opened(1, OWN),
            opened(2, "bluetoothd"),
            load(1, 0),
            load(2, 0),
            answered(2, 0, 0),
            answered(1, 0, 0),
            load(1, 0),
            answered(1, 0, 0x0D),
        ]);
        assert_eq!(told, ["0 Ltks of bluetoothd, at None", "0 own Ltks true", "0 own Ltks false"]);
    }

    #[test]
    fn a_load_is_told_with_the_address_of_the_controller_that_had_the_index() {
        let frame = |record| MonitorFrame { index: 0, record };
        let new = |last| MonitorRecord::NewIndex { address: [last, 2, 3, 4, 5, 6], name: "hci0".to_owned() };
        let information = MonitorRecord::IndexInformation { address: [9, 2, 3, 4, 5, 6], manufacturer: 1 };
        let told = told([
            opened(2, "a"),
            frame(new(1)),
            load(2, 0),
            answered(2, 0, 0),
            frame(MonitorRecord::IndexGone),
            frame(MonitorRecord::NewIndex { address: [0; 6], name: "hci0".to_owned() }),
            frame(information),
            load(2, 0),
            answered(2, 0, 0),
        ]);
        let of = |last| format!("0 Ltks of a, at Some([{last}, 2, 3, 4, 5, 6])");
        assert_eq!(told, ["0 reset".to_owned(), of(1), "0 reset".into(), "0 reset".into(), of(9)]);
    }

    #[test]
    fn what_becomes_of_a_link_is_told_under_its_peers_identity() {
        let frame = |record| MonitorFrame { index: 0, record };
        let private = RawAddress { octets: [1, 2, 3, 4, 5, 0x47], kind: RawAddress::LE_RANDOM };
        let address = RawAddress { octets: [1, 0, 0, 0xEE, 0xFF, 0xC0], kind: RawAddress::LE_PUBLIC };
        let told = told([
            frame(MonitorRecord::Link(HciEvent::Connected { handle: 3, address: private })),
            frame(MonitorRecord::DeviceConnected { address }),
            frame(MonitorRecord::Link(HciEvent::Encrypted { handle: 3 })),
            frame(MonitorRecord::Link(HciEvent::Disconnected { handle: 3, mic_failure: true })),
            frame(MonitorRecord::Link(HciEvent::Encrypted { handle: 3 })),
        ]);
        assert_eq!(told, ["0 encrypted of C0:FF:EE:00:00:01", "0 key_mismatch of C0:FF:EE:00:00:01"]);
    }

    #[test]
    fn an_identity_that_another_process_has_given_is_told_once_the_kernel_has_taken_it() {
        let set = |cookie, privacy| {
            let command = ForeignCommand::SetPrivacy(PrivacySetting { privacy, irk: None });
            let opcode = Opcode::SET_PRIVACY;
            MonitorFrame { index: 0, record: MonitorRecord::Command { cookie, opcode, command } }
        };
        let ended = |cookie, status| {
            let (opcode, status) = (Opcode::SET_PRIVACY, Status::from_code(status));
            MonitorFrame { index: 0, record: MonitorRecord::CommandEnded { cookie, opcode, status } }
        };
        let refused = [opened(1, OWN), opened(2, "a"), set(1, Privacy::On), ended(1, 0), set(2, Privacy::On)];
        let refused = refused.into_iter().chain([ended(2, 0x0B)]);
        assert!(told(refused.clone()).is_empty());
        let frames = refused.chain([set(2, Privacy::Limited), ended(2, 0), ended(2, 0)]);
        assert_eq!(told(frames), ["0 Limited by a"]);
    }

    #[test]
    fn an_unpairing_by_another_process_is_told_once_it_has_succeeded() {
        let address = RawAddress { octets: [1, 0, 0, 0xEE, 0xFF, 0xC0], kind: RawAddress::LE_PUBLIC };
        let unpair = |cookie| {
            let command = ForeignCommand::Unpair { address, disconnect: true };
            let opcode = Opcode::UNPAIR_DEVICE;
            MonitorFrame { index: 0, record: MonitorRecord::Command { cookie, opcode, command } }
        };
        let ended = |cookie, status| {
            let (opcode, status) = (Opcode::UNPAIR_DEVICE, Status::from_code(status));
            MonitorFrame { index: 0, record: MonitorRecord::CommandEnded { cookie, opcode, status } }
        };
        let frames = [opened(1, OWN), opened(2, "a"), unpair(1), ended(1, 0), unpair(2), ended(2, 6)];
        assert!(told(frames.clone()).is_empty());
        let frames = frames.into_iter().chain([unpair(2), ended(2, 0)]);
        assert_eq!(told(frames), [format!("0 unpaired {address}")]);
    }
}
