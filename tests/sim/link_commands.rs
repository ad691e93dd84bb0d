//! The management commands that have to do with peers: links, pairing, unpairing,
//! discovery.

use super::commands::Command;
use super::kernel::{Audience, Kernel};
use super::wire::{Address, BREDR, LE_RANDOM, ev, reason, status};

impl Kernel {
    pub fn get_connections(&mut self, command: Command<'_>) {
        let Some(controller) = self.controller(command.index) else { return };
        if !controller.powered() {
            return self.refuse(command, status::NOT_POWERED);
        }
        let mut data = (controller.links.len() as u16).to_le_bytes().to_vec();
        data.extend(controller.links.keys().flat_map(|address| address.write()));
        self.succeed(command, &data);
    }

    pub fn disconnect(&mut self, command: Command<'_>) {
        let address = command.address();
        let code = if !self.is_powered(command.index) {
            status::NOT_POWERED
        } else if self.link_down(command.index, address, reason::LOCAL_HOST) {
            status::SUCCESS
        } else {
            status::NOT_CONNECTED
        };
        self.finish(command, code, &address.write());
    }

    pub fn pair_device(&mut self, command: Command<'_>) {
        let (address, index) = (command.address(), command.index);
        let Some(controller) = self.controller(index) else { return };
        let refusal = if !controller.powered() {
            Some(status::NOT_POWERED)
        } else if controller.ltks.iter().any(|ltk| ltk.address == address) {
            Some(status::ALREADY_PAIRED)
        } else if self.pairings.iter().any(|p| p.index == index) {
            Some(status::BUSY)
        } else {
            None
        };
        if let Some(code) = refusal {
            return self.finish(command, code, &address.write());
        }
        let Some(peer) = self.peer_at(index, address) else {
            let parameters = [&address.write()[..], &[status::CONNECT_FAILED]].concat();
            self.tell(Audience::Trusted, ev::CONNECT_FAILED, index, &parameters);
            return self.finish(command, status::CONNECT_FAILED, &address.write());
        };
        self.begin_pairing(index, &peer, Some(command.cookie));
    }

    pub fn cancel_pair(&mut self, command: Command<'_>) {
        let (address, index) = (command.address(), command.index);
        if !self.is_powered(index) {
            return self.refuse(command, status::NOT_POWERED);
        }
        if !self.pairings.iter().any(|p| p.index == index && p.address == address) {
            return self.refuse(command, status::INVALID_PARAMETERS);
        }
        self.fail_pairings(index, status::CANCELLED);
        self.succeed(command, &address.write());
        self.link_down(index, address, reason::LOCAL_HOST);
    }

    pub fn unpair_device(&mut self, command: Command<'_>) {
        let (address, index) = (command.address(), command.index);
        let disconnect = command.parameters[Address::OCTETS];
        let Some(controller) = self.controller_mut(index) else { return };
        let code = if address.kind > LE_RANDOM || disconnect > 1 {
            status::INVALID_PARAMETERS
        } else if !controller.powered() {
            status::NOT_POWERED
        } else if address.kind == BREDR {
            let before = controller.link_keys.len();
            controller.link_keys.retain(|key| key.address != address);
            if controller.link_keys.len() < before { status::SUCCESS } else { status::NOT_PAIRED }
        } else if controller.remove_le_keys(address) {
            status::SUCCESS
        } else {
            status::NOT_PAIRED
        };
        if code == status::SUCCESS && disconnect == 1 {
            self.link_down(index, address, reason::LOCAL_HOST);
        }
        self.finish(command, code, &address.write());
        if code == status::SUCCESS {
            let others = Audience::TrustedBut(command.cookie);
            self.tell(others, ev::DEVICE_UNPAIRED, index, &address.write());
        }
    }

    pub fn answer(&mut self, command: Command<'_>, accept: bool) {
        let address = command.address();
        let code = if !self.is_powered(command.index) {
            status::NOT_POWERED
        } else if self.answer_pairing(command.index, address, accept) {
            status::SUCCESS
        } else {
            status::NOT_CONNECTED
        };
        self.finish(command, code, &address.write());
    }

    pub fn discover(&mut self, command: Command<'_>, on: bool) {
        let (index, kind) = (command.index, command.parameters[0]);
        let Some(controller) = self.controller_mut(index) else { return };
        let refusal = match (controller.powered(), controller.discovering, on) {
            (false, _, true) => Some(status::NOT_POWERED),
            (true, true, true) => Some(status::BUSY),
            (_, false, false) => Some(status::REJECTED),
            _ => None,
        };
        if let Some(code) = refusal {
            return self.finish(command, code, &[kind]);
        }
        controller.discovering = on;
        self.succeed(command, &[kind]);
        self.tell(Audience::Trusted, ev::DISCOVERING, index, &[kind, u8::from(on)]);
        if on {
            let seen: Vec<Address> = self.peers.values().map(|peer| self.known_as(index, peer)).collect();
            for address in seen {
                self.report_found(index, address);
            }
        }
    }

    /// Device Found: address, RSSI i8, flags u32, length u16 of advertised data.
    pub fn report_found(&mut self, index: u16, address: Address) {
        const RSSI: u8 = (-60_i8) as u8;
        let parameters = [&address.write()[..], &[RSSI], &[0; 4], &[3, 0], &[2, 1, 6]].concat();
        self.tell(Audience::Trusted, ev::DEVICE_FOUND, index, &parameters);
    }
}
