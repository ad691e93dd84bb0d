//! Command opcodes and what is known of each command.
//!
//! Source: `[LINUX include/net/bluetooth/mgmt.h MGMT_OP_*]`.

use std::fmt;
use std::time::Duration;

/// A command's number. Any number can stand in one: other programs send commands of newer kernels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opcode(pub u16);

/// The time that a command may take whose handler runs inside `send`: the reply is normally queued
/// before `send` returns. The rest is for a kernel that holds the controller's lock (a driver that
/// loads firmware), and for old kernels that never answer a successful load.
pub const DEADLINE_AT_ONCE: Duration = Duration::from_secs(5);

/// Commands that wait for the controller: the kernel allows it two seconds a HCI command, and some
/// of these send several.
pub const DEADLINE_CONTROLLER: Duration = Duration::from_secs(10);

/// Powering on runs the whole set-up of the controller, on some with a firmware download.
pub const DEADLINE_POWER: Duration = Duration::from_secs(20);

/// Connecting may take 20 seconds, and each half of the pairing procedure 30 before the kernel gives
/// up by itself `[CORE Vol 3 Part H 3.4]`; a person may have to press something meanwhile.
pub const DEADLINE_PAIRING: Duration = Duration::from_secs(90);

/// What a successful Command Complete carries after the status. A Command Status without anything
/// can come in its place for every command, and is as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyForm {
    Empty,
    Version,
    Commands,
    IndexList,
    Information,
    Settings,
    Address,
    Connections,
}

/// One row of the command table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandSpec {
    pub opcode: Opcode,
    pub name: &'static str,
    /// How long to wait for the reply.
    pub deadline: Duration,
    pub reply: ReplyForm,
}

impl Opcode {
    pub const READ_VERSION: Self = Self(0x0001);
    pub const READ_COMMANDS: Self = Self(0x0002);
    pub const READ_INDEX_LIST: Self = Self(0x0003);
    pub const READ_INFO: Self = Self(0x0004);
    pub const SET_POWERED: Self = Self(0x0005);
    pub const LOAD_LINK_KEYS: Self = Self(0x0012);
    pub const LOAD_LTKS: Self = Self(0x0013);
    pub const DISCONNECT: Self = Self(0x0014);
    pub const GET_CONNECTIONS: Self = Self(0x0015);
    pub const PAIR_DEVICE: Self = Self(0x0019);
    pub const CANCEL_PAIR_DEVICE: Self = Self(0x001A);
    pub const UNPAIR_DEVICE: Self = Self(0x001B);
    pub const SET_PRIVACY: Self = Self(0x002F);
    pub const LOAD_IRKS: Self = Self(0x0030);
    pub const LOAD_CONNECTION_PARAMETERS: Self = Self(0x0035);

    /// The row of the command table, for the commands that can be sent.
    pub fn spec(self) -> Option<&'static CommandSpec> {
        COMMANDS.iter().find(|spec| spec.opcode == self)
    }

    /// The command's name, where it has one here.
    pub fn name(self) -> Option<&'static str> {
        self.spec().map(|spec| spec.name)
    }
}

const fn row(opcode: Opcode, name: &'static str, deadline: Duration, reply: ReplyForm) -> CommandSpec {
    CommandSpec { opcode, name, deadline, reply }
}

/// Every command that can be sent.
pub const COMMANDS: [CommandSpec; 15] = [
    row(Opcode::READ_VERSION, "Read Management Version Information", DEADLINE_AT_ONCE, ReplyForm::Version),
    row(Opcode::READ_COMMANDS, "Read Management Supported Commands", DEADLINE_AT_ONCE, ReplyForm::Commands),
    row(Opcode::READ_INDEX_LIST, "Read Controller Index List", DEADLINE_AT_ONCE, ReplyForm::IndexList),
    row(Opcode::READ_INFO, "Read Controller Information", DEADLINE_AT_ONCE, ReplyForm::Information),
    row(Opcode::SET_POWERED, "Set Powered", DEADLINE_POWER, ReplyForm::Settings),
    row(Opcode::LOAD_LINK_KEYS, "Load Link Keys", DEADLINE_AT_ONCE, ReplyForm::Empty),
    row(Opcode::LOAD_LTKS, "Load Long Term Keys", DEADLINE_AT_ONCE, ReplyForm::Empty),
    row(Opcode::DISCONNECT, "Disconnect", DEADLINE_CONTROLLER, ReplyForm::Address),
    row(Opcode::GET_CONNECTIONS, "Get Connections", DEADLINE_AT_ONCE, ReplyForm::Connections),
    row(Opcode::PAIR_DEVICE, "Pair Device", DEADLINE_PAIRING, ReplyForm::Address),
    row(Opcode::CANCEL_PAIR_DEVICE, "Cancel Pair Device", DEADLINE_CONTROLLER, ReplyForm::Address),
    row(Opcode::UNPAIR_DEVICE, "Unpair Device", DEADLINE_CONTROLLER, ReplyForm::Address),
    row(Opcode::SET_PRIVACY, "Set Privacy", DEADLINE_AT_ONCE, ReplyForm::Settings),
    row(Opcode::LOAD_IRKS, "Load Identity Resolving Keys", DEADLINE_AT_ONCE, ReplyForm::Empty),
    row(Opcode::LOAD_CONNECTION_PARAMETERS, "Load Connection Parameters", DEADLINE_AT_ONCE, ReplyForm::Empty),
];

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#06x})", self.0),
            None => write!(f, "command {:#06x}", self.0),
        }
    }
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_every_command_once_in_order() {
        assert!(COMMANDS.windows(2).all(|pair| pair[0].opcode < pair[1].opcode));
        for spec in &COMMANDS {
            assert_eq!(spec.opcode.spec(), Some(spec));
        }
    }

    #[test]
    fn an_opcode_shows_its_name_and_number() {
        assert_eq!(Opcode::LOAD_LTKS.to_string(), "Load Long Term Keys (0x0013)");
        assert_eq!(Opcode(0x0FF0).to_string(), "command 0x0ff0");
    }
}
