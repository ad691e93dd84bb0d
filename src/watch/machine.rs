//! Who holds a control socket and who has replaced a list, from the records of the
//! monitor channel. Sans-io.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapter::messages::Neighbourhood;
use crate::mgmt::monitor::{ControlSocket, Cookie};
use crate::mgmt::{ForeignCommand, MonitorFrame, MonitorRecord, Opcode};

/// Processes that keep key lists of their own from the moment they hold a control socket.
const MANAGER_PROCESSES: [&str; 1] = ["bluetoothd"];

/// Loads that were seen and not answered yet, at most. Each process has a handful in flight; a
/// kernel that never answers must not fill the memory.
const UNANSWERED_MAX: usize = 256;

/// See the module text.
pub struct WatchMachine {
    own_name: &'static str,
    sockets: BTreeMap<Cookie, ControlSocket>,
    unanswered: BTreeSet<(Cookie, u16, u16)>,
    loaders: BTreeMap<u16, BTreeSet<String>>,
}

impl WatchMachine {
    /// `own_name`: the thread name under which our own sockets are opened.
    pub const fn new(own_name: &'static str) -> Self {
        Self { own_name, sockets: BTreeMap::new(), unanswered: BTreeSet::new(), loaders: BTreeMap::new() }
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
                self.unanswered.retain(|(owner, _, _)| *owner != cookie);
                self.sockets.remove(&cookie).is_some()
            }
            // Its tables are gone, and with them what anybody has loaded.
            MonitorRecord::IndexGone | MonitorRecord::NewIndex { .. } => {
                self.unanswered.retain(|(_, about, _)| *about != index);
                self.loaders.remove(&index).is_some()
            }
            MonitorRecord::Command { cookie, opcode, command: ForeignCommand::Load(_) } => {
                self.load_sent(cookie, index, opcode);
                false
            }
            MonitorRecord::CommandEnded { cookie, opcode, status } => {
                let asked = self.unanswered.remove(&(cookie, index, opcode.0));
                asked && status.is_success() && self.loaded(cookie, index)
            }
            _ => false,
        }
    }

    fn load_sent(&mut self, cookie: Cookie, index: u16, opcode: Opcode) {
        if !self.is_ours(cookie) && self.unanswered.len() < UNANSWERED_MAX {
            self.unanswered.insert((cookie, index, opcode.0));
        }
    }

    /// A load counts once the kernel has answered it: until then the list may still be the old one.
    fn loaded(&mut self, cookie: Cookie, index: u16) -> bool {
        let process = self.sockets.get(&cookie).map_or("unknown", |socket| socket.process.as_str());
        self.loaders.entry(index).or_default().insert(process.to_owned())
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
    use crate::mgmt::{ForeignLoad, LoadKind, Status};

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
}
