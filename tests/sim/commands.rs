//! Management commands: the checks in the kernel's order, then one function a
//! command. Those that have to do with peers are in `link_commands`.

use super::faults::Trouble;
use super::kernel::{Audience, Held, Kernel};
use super::loads;
use super::monitor;
use super::wire::{Address, LE_RANDOM, NO_INDEX, ev, op, read_u16, setting, split, status};

/// Of what form a command must be.
#[derive(Debug, Clone, Copy)]
struct Form {
    opcode: u16,
    /// Parameter octets, at least.
    octets: usize,
    /// More may follow.
    variable: bool,
    /// For no controller, that is for all of them.
    indexless: bool,
    /// Open to sockets without CAP_NET_ADMIN.
    untrusted: bool,
}

const fn fixed(opcode: u16, octets: usize) -> Form {
    Form { opcode, octets, variable: false, indexless: false, untrusted: false }
}

const fn variable(opcode: u16, octets: usize) -> Form {
    Form { variable: true, ..fixed(opcode, octets) }
}

const fn indexless(opcode: u16) -> Form {
    Form { indexless: true, untrusted: true, ..fixed(opcode, 0) }
}

const FORMS: &[Form] = &[
    indexless(op::READ_VERSION),
    indexless(op::READ_COMMANDS),
    indexless(op::READ_INDEX_LIST),
    indexless(op::READ_UNCONFIGURED_INDEX_LIST),
    indexless(op::READ_EXTENDED_INDEX_LIST),
    Form { untrusted: true, ..fixed(op::READ_INFO, 0) },
    fixed(op::SET_POWERED, 1),
    fixed(op::SET_CONNECTABLE, 1),
    fixed(op::SET_BONDABLE, 1),
    fixed(op::SET_SSP, 1),
    fixed(op::SET_LE, 1),
    fixed(op::SET_LOCAL_NAME, 260),
    variable(op::LOAD_LINK_KEYS, 3),
    variable(op::LOAD_LTKS, 2),
    fixed(op::DISCONNECT, Address::OCTETS),
    fixed(op::GET_CONNECTIONS, 0),
    fixed(op::SET_IO_CAPABILITY, 1),
    fixed(op::PAIR_DEVICE, Address::OCTETS + 1),
    fixed(op::CANCEL_PAIR, Address::OCTETS),
    fixed(op::UNPAIR_DEVICE, Address::OCTETS + 1),
    fixed(op::CONFIRM_REPLY, Address::OCTETS),
    fixed(op::CONFIRM_NEGATIVE_REPLY, Address::OCTETS),
    fixed(op::PASSKEY_REPLY, Address::OCTETS + 4),
    fixed(op::PASSKEY_NEGATIVE_REPLY, Address::OCTETS),
    fixed(op::START_DISCOVERY, 1),
    fixed(op::STOP_DISCOVERY, 1),
    fixed(op::SET_ADVERTISING, 1),
    fixed(op::SET_BREDR, 1),
    fixed(op::SET_STATIC_ADDRESS, 6),
    fixed(op::SET_SECURE_CONNECTIONS, 1),
    fixed(op::SET_DEBUG_KEYS, 1),
    fixed(op::SET_PRIVACY, 17),
    variable(op::LOAD_IRKS, 2),
    variable(op::LOAD_CONNECTION_PARAMETERS, 2),
    variable(op::SET_BLOCKED_KEYS, 2),
    fixed(op::GET_DEVICE_FLAGS, Address::OCTETS),
];

const EVENTS: &[u16] = &[
    ev::COMMAND_COMPLETE,
    ev::COMMAND_STATUS,
    ev::INDEX_ADDED,
    ev::INDEX_REMOVED,
    ev::NEW_SETTINGS,
    ev::LOCAL_NAME_CHANGED,
    ev::NEW_LINK_KEY,
    ev::NEW_LTK,
    ev::DEVICE_CONNECTED,
    ev::DEVICE_DISCONNECTED,
    ev::CONNECT_FAILED,
    ev::CONFIRM_REQUEST,
    ev::AUTHENTICATION_FAILED,
    ev::DEVICE_FOUND,
    ev::DISCOVERING,
    ev::DEVICE_UNPAIRED,
    ev::NEW_IRK,
    ev::NEW_CSRK,
    ev::NEW_CONNECTION_PARAMETER,
    ev::UNCONFIGURED_INDEX_ADDED,
    ev::UNCONFIGURED_INDEX_REMOVED,
    ev::EXTENDED_INDEX_ADDED,
    ev::EXTENDED_INDEX_REMOVED,
];

/// A command that passed the checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command<'a> {
    pub cookie: u32,
    pub index: u16,
    pub opcode: u16,
    pub parameters: &'a [u8],
}

impl Command<'_> {
    /// The address that the parameters begin with; the length was checked.
    pub fn address(&self) -> Address {
        Address::read(self.parameters).expect("a form with an address is checked for its length")
    }
}

impl Kernel {
    /// A frame came in on a control socket.
    pub fn receive(&mut self, cookie: u32, frame: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&cookie) else { return };
        if let Some((op::SIMULATOR_SEND_MTU, NO_INDEX, parameters)) = split(frame) {
            if let Some(mtu) = read_u16(parameters, 0) {
                socket.send_mtu = usize::from(mtu);
            }
            return;
        }
        if frame.len() > socket.send_mtu || split(frame).is_none() {
            self.counters.refused_frames += 1;
            return;
        }
        if self.held.iter().any(|held| held.cookie == cookie) {
            self.held.push(Held { cookie, frame: frame.to_vec(), begun: false });
            return;
        }
        self.begin(cookie, frame);
    }

    /// Carries out the commands that were kept back.
    pub fn release_held(&mut self) {
        for Held { cookie, frame, begun } in std::mem::take(&mut self.held) {
            if !begun {
                self.begin(cookie, &frame);
            } else if let Some((opcode, index, parameters)) = split(&frame) {
                self.check(Command { cookie, index, opcode, parameters });
            }
        }
    }

    fn begin(&mut self, cookie: u32, frame: &[u8]) {
        let Some((opcode, index, parameters)) = split(frame) else { return };
        self.counters.commands += 1;
        if let Some(record) = monitor::control_command(cookie, index, opcode, parameters) {
            self.show(&record);
        }
        if let Some(controller) = self.controller_mut(index) {
            *controller.command_counts.entry(opcode).or_default() += 1;
        }
        match self.faults.strike(opcode, index) {
            None => self.check(Command { cookie, index, opcode, parameters }),
            Some(Trouble::NoReply) => {
                self.mute = true;
                self.check(Command { cookie, index, opcode, parameters });
                self.mute = false;
            }
            Some(Trouble::Ignored) => {}
            Some(Trouble::Status(code)) => self.status(cookie, index, opcode, code),
            Some(Trouble::Vanish) => {
                self.unplug(index);
                self.status(cookie, index, opcode, status::INVALID_INDEX);
            }
            Some(Trouble::Hold) => self.held.push(Held { cookie, frame: frame.to_vec(), begun: true }),
        }
    }

    fn check(&mut self, command: Command<'_>) {
        match self.refusal(command) {
            Some(code) => self.refuse(command, code),
            None => self.carry_out(command),
        }
    }

    /// The checks before any command, in the kernel's order.
    fn refusal(&self, command: Command<'_>) -> Option<u8> {
        let Some(form) = FORMS.iter().find(|form| form.opcode == command.opcode) else {
            return Some(status::UNKNOWN_COMMAND);
        };
        let trusted = self.sockets.get(&command.cookie).is_some_and(|socket| socket.trusted);
        if !trusted && !form.untrusted {
            return Some(status::PERMISSION_DENIED);
        }
        let reachable = match self.controller(command.index) {
            Some(controller) => !form.indexless && controller.configured,
            None => form.indexless && command.index == NO_INDEX,
        };
        if !reachable {
            return Some(status::INVALID_INDEX);
        }
        let count = command.parameters.len();
        let fits = if form.variable { count >= form.octets } else { count == form.octets };
        (!fits).then_some(status::INVALID_PARAMETERS)
    }

    fn carry_out(&mut self, command: Command<'_>) {
        match command.opcode {
            op::READ_VERSION
            | op::READ_COMMANDS
            | op::READ_INDEX_LIST
            | op::READ_UNCONFIGURED_INDEX_LIST
            | op::READ_EXTENDED_INDEX_LIST => self.read_indexless(command),
            op::READ_INFO => {
                let info = self.controller(command.index).map(|c| c.info()).unwrap_or_default();
                self.succeed(command, &info);
            }
            op::SET_POWERED => self.set_powered(command),
            op::SET_CONNECTABLE => self.set_bit(command, setting::CONNECTABLE),
            op::SET_BONDABLE => self.set_bit(command, setting::BONDABLE),
            op::SET_SSP => self.set_bit(command, setting::SSP),
            op::SET_LE => self.set_bit(command, setting::LE),
            op::SET_ADVERTISING => self.set_bit(command, setting::ADVERTISING),
            op::SET_BREDR => self.set_bredr(command),
            op::SET_SECURE_CONNECTIONS => self.set_bit(command, setting::SECURE_CONNECTIONS),
            op::SET_DEBUG_KEYS => self.set_bit(command, setting::DEBUG_KEYS),
            op::SET_PRIVACY => self.set_privacy(command),
            op::SET_STATIC_ADDRESS => self.set_static_address(command),
            op::SET_LOCAL_NAME => self.set_local_name(command),
            op::SET_IO_CAPABILITY => self.succeed(command, &[]),
            op::LOAD_LINK_KEYS
            | op::LOAD_LTKS
            | op::LOAD_IRKS
            | op::LOAD_CONNECTION_PARAMETERS
            | op::SET_BLOCKED_KEYS => self.load(command),
            op::GET_CONNECTIONS => self.get_connections(command),
            op::DISCONNECT => self.disconnect(command),
            op::PAIR_DEVICE => self.pair_device(command),
            op::CANCEL_PAIR => self.cancel_pair(command),
            op::UNPAIR_DEVICE => self.unpair_device(command),
            op::CONFIRM_REPLY | op::PASSKEY_REPLY => self.answer(command, true),
            op::CONFIRM_NEGATIVE_REPLY | op::PASSKEY_NEGATIVE_REPLY => self.answer(command, false),
            op::START_DISCOVERY => self.discover(command, true),
            op::STOP_DISCOVERY => self.discover(command, false),
            // A peer known by its keys alone has no flags.
            op::GET_DEVICE_FLAGS => {
                self.finish(command, status::INVALID_PARAMETERS, &command.address().write())
            }
            _ => self.refuse(command, status::UNKNOWN_COMMAND),
        }
    }

    pub fn finish(&mut self, command: Command<'_>, code: u8, data: &[u8]) {
        self.complete(command.cookie, command.index, command.opcode, code, data);
    }

    pub fn succeed(&mut self, command: Command<'_>, data: &[u8]) {
        self.finish(command, status::SUCCESS, data);
    }

    pub fn refuse(&mut self, command: Command<'_>, code: u8) {
        self.status(command.cookie, command.index, command.opcode, code);
    }

    pub fn is_powered(&self, index: u16) -> bool {
        self.controller(index).is_some_and(|c| c.powered())
    }

    fn read_indexless(&mut self, command: Command<'_>) {
        let counted = |indexes: Vec<u16>| -> Vec<u8> {
            let count = [indexes.len() as u16];
            count.iter().chain(&indexes).flat_map(|n| n.to_le_bytes()).collect()
        };
        let with = |configured: bool| -> Vec<u16> {
            self.controllers.iter().filter(|c| c.configured == configured).map(|c| c.index).collect()
        };
        let data = match command.opcode {
            op::READ_VERSION => [&[1][..], &self.options.revision.to_le_bytes()].concat(),
            op::READ_COMMANDS => {
                let counts = [FORMS.len() as u16, EVENTS.len() as u16];
                let opcodes = FORMS.iter().map(|form| form.opcode);
                counts
                    .into_iter()
                    .chain(opcodes)
                    .chain(EVENTS.iter().copied())
                    .flat_map(u16::to_le_bytes)
                    .collect()
            }
            op::READ_INDEX_LIST => counted(with(true)),
            op::READ_UNCONFIGURED_INDEX_LIST => counted(with(false)),
            _ => {
                let mut data = (self.controllers.len() as u16).to_le_bytes().to_vec();
                for controller in &self.controllers {
                    data.extend_from_slice(&controller.index.to_le_bytes());
                    data.extend_from_slice(&[u8::from(!controller.configured), 0]);
                }
                if let Some(socket) = self.sockets.get_mut(&command.cookie) {
                    socket.extended_index_events = true;
                }
                data
            }
        };
        self.succeed(command, &data);
    }

    /// Answers with the settings as they now are and, where they changed, tells the others.
    fn settings_changed(&mut self, command: Command<'_>, before: u32) {
        let now = self.controller(command.index).map_or(before, |c| c.settings);
        self.succeed(command, &now.to_le_bytes());
        if now != before {
            self.new_settings(command.index, Some(command.cookie));
        }
    }

    fn set_bit(&mut self, command: Command<'_>, bit: u32) {
        let Some(controller) = self.controller_mut(command.index) else { return };
        let before = controller.settings;
        if controller.supported() & bit == 0 {
            return self.refuse(command, status::NOT_SUPPORTED);
        }
        controller.set(bit, command.parameters[0] != 0);
        self.settings_changed(command, before);
    }

    fn set_bredr(&mut self, command: Command<'_>) {
        let on = command.parameters[0] != 0;
        match self.controller(command.index) {
            Some(c) if c.le_only => self.refuse(command, status::NOT_SUPPORTED),
            Some(c) if c.powered() && !on => self.refuse(command, status::REJECTED),
            _ => self.set_bit(command, setting::BREDR),
        }
    }

    fn set_powered(&mut self, command: Command<'_>) {
        let (on, index) = (command.parameters[0] == 1, command.index);
        if command.parameters[0] > 1 {
            return self.refuse(command, status::INVALID_PARAMETERS);
        }
        let Some(controller) = self.controller(index) else { return };
        let before = controller.settings;
        if on && controller.identity().is_none() {
            return self.refuse(command, status::FAILED);
        }
        if on == controller.powered() {
            return self.settings_changed(command, before);
        }
        if !on {
            self.fail_pairings(index, status::NOT_POWERED);
            self.drop_links(index);
        }
        let Some(controller) = self.controller_mut(index) else { return };
        controller.set(setting::POWERED, on);
        let records =
            if on { monitor::running(controller).to_vec() } else { vec![monitor::closed_index(index)] };
        for record in records {
            self.show(&record);
        }
        self.settings_changed(command, before);
    }

    fn set_privacy(&mut self, command: Command<'_>) {
        let (privacy, irk) = (command.parameters[0], &command.parameters[1..]);
        if privacy > 2 {
            return self.refuse(command, status::INVALID_PARAMETERS);
        }
        let Some(controller) = self.controller_mut(command.index) else { return };
        if controller.powered() {
            return self.refuse(command, status::REJECTED);
        }
        let before = controller.settings;
        // Whoever knows this command can handle IRKs: they are asked for from now on.
        controller.asks_for_irks = true;
        controller.set(setting::PRIVACY, privacy != 0);
        // Without privacy the kernel forgets the key, whatever came with the command.
        controller.local_irk = (privacy != 0).then(|| irk.try_into().expect("the form says 17 octets"));
        self.settings_changed(command, before);
    }

    fn set_static_address(&mut self, command: Command<'_>) {
        let octets: [u8; 6] = command.parameters.try_into().expect("the form says six octets");
        let address = Address { octets, kind: LE_RANDOM };
        let Some(controller) = self.controller_mut(command.index) else { return };
        if controller.powered() {
            return self.refuse(command, status::REJECTED);
        }
        if octets != [0; 6] && !address.is_le_identity() {
            return self.refuse(command, status::INVALID_PARAMETERS);
        }
        let before = controller.settings;
        controller.static_address = (octets != [0; 6]).then_some(octets);
        let in_use = controller.static_address.is_some() && controller.address.octets == [0; 6];
        controller.set(setting::STATIC_ADDRESS, in_use);
        self.settings_changed(command, before);
    }

    fn set_local_name(&mut self, command: Command<'_>) {
        let name = command.parameters[..249].split(|octet| *octet == 0).next().unwrap_or_default();
        if let Some(controller) = self.controller_mut(command.index) {
            controller.name = String::from_utf8_lossy(name).into_owned();
        }
        self.succeed(command, command.parameters);
        let others = Audience::EveryoneBut(command.cookie);
        self.tell(others, ev::LOCAL_NAME_CHANGED, command.index, command.parameters);
    }

    fn load(&mut self, command: Command<'_>) {
        let lenient = !self.options.refuse_bad_records;
        let Some(controller) = self.controller_mut(command.index) else { return };
        match loads::load(controller, command.opcode, command.parameters, lenient) {
            Ok(()) => self.succeed(command, &[]),
            Err(code) => self.refuse(command, code),
        }
    }
}
