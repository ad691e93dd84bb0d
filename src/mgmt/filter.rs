//! Programs for the kernel's socket filter: what a socket must never be woken for.
//!
//! A scan near a busy street brings hundreds of Device Found events a second, and each monitor socket
//! sees every packet of every controller. A frame that the program rejects is never queued.
//!
//! Of a controller's own events it keeps those of links that come, are encrypted and go.
//!
//! Classic BPF: half-words are read most significant octet first, while the frames are little endian,
//! so every number is compared with its octets swapped. A read past the end of a packet ends the
//! program and rejects the packet. Source: `[LINUX net/core/filter.c]`.
//!
//! Pure: programs are data; [`socket`](super::socket) hands them to the kernel.

use super::event::code;
use super::frame::HEADER_OCTETS;
use super::hci::hci_code;
use super::load::LoadKind;
use super::monitor::monitor_opcode;
use super::opcode::Opcode;

/// One instruction, as the kernel's `sock_filter` has it. [LINUX include/uapi/linux/filter.h]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    pub operand: u32,
}

/// A whole program.
pub type Program = Vec<Instruction>;

/// Load the half-word at an offset (`BPF_LD | BPF_H | BPF_ABS`).
const LOAD_HALF: u16 = 0x28;
/// Load the octet at an offset (`BPF_LD | BPF_B | BPF_ABS`).
const LOAD_OCTET: u16 = 0x30;
/// Jump if equal to a constant (`BPF_JMP | BPF_JEQ | BPF_K`).
const JUMP_EQUAL: u16 = 0x15;
/// End with a constant: the octets to keep (`BPF_RET | BPF_K`).
const RETURN: u16 = 0x06;

const KEEP_ALL: u32 = u32::MAX;
const DROP: u32 = 0;

/// Where the fields stand.
const CODE: u32 = 0;
const INDEX: u32 = 2;
/// In a monitor record: after its header and the cookie, the command's opcode or the event's code.
const MONITOR_CODE: u32 = HEADER_OCTETS as u32 + 4;
/// In a monitor record of a reply: the opcode that it answers.
const MONITOR_REPLY_OPCODE: u32 = MONITOR_CODE + 2;

/// In a monitor record of a controller's event: its code, and the subevent of LE Meta.
const HCI_CODE: u32 = HEADER_OCTETS as u32;
const HCI_SUBEVENT: u32 = HCI_CODE + 2;

/// Events of a controller that tell of a link. Never advertising reports, which are LE Meta as well.
const LINK_EVENTS: [u8; 4] = [
    hci_code::CONNECTION_COMPLETE,
    hci_code::DISCONNECTION_COMPLETE,
    hci_code::ENCRYPTION_CHANGE,
    hci_code::ENCRYPTION_CHANGE_V2,
];

/// Events that an adapter uses. The prompts are never answered; they show that a pairing is under way.
pub const ADAPTER_EVENTS: [u16; 19] = [
    code::COMMAND_COMPLETE,
    code::COMMAND_STATUS,
    code::CONTROLLER_ERROR,
    code::NEW_SETTINGS,
    code::LOCAL_NAME_CHANGED,
    code::NEW_LINK_KEY,
    code::NEW_LTK,
    code::DEVICE_CONNECTED,
    code::DEVICE_DISCONNECTED,
    code::CONNECT_FAILED,
    code::PIN_CODE_REQUEST,
    code::USER_CONFIRMATION_REQUEST,
    code::USER_PASSKEY_REQUEST,
    code::AUTHENTICATION_FAILED,
    code::DEVICE_UNPAIRED,
    code::PASSKEY_NOTIFY,
    code::NEW_IRK,
    code::NEW_CSRK,
    code::NEW_CONNECTION_PARAMETER,
];

/// Events that the registry uses, for every index.
pub const REGISTRY_EVENTS: [u16; 6] = [
    code::COMMAND_COMPLETE,
    code::COMMAND_STATUS,
    code::INDEX_ADDED,
    code::INDEX_REMOVED,
    code::UNCONFIGURED_INDEX_ADDED,
    code::UNCONFIGURED_INDEX_REMOVED,
];

/// Monitor records that are wanted whatever they hold: which controllers and which processes there are.
const MONITOR_ALWAYS: [u16; 5] = [
    monitor_opcode::NEW_INDEX,
    monitor_opcode::INDEX_GONE,
    monitor_opcode::INDEX_INFORMATION,
    monitor_opcode::CONTROL_OPENED,
    monitor_opcode::CONTROL_CLOSED,
];

/// Commands of other processes that change keys, or how keys come about; also wanted in their replies.
pub fn monitor_commands() -> Vec<u16> {
    let loads = LoadKind::ALL.map(|kind| kind.opcode().0);
    loads.into_iter().chain([Opcode::SET_PRIVACY.0, Opcode::UNPAIR_DEVICE.0]).collect()
}

/// For the control socket of the adapter at this index.
pub fn adapter(index: u16) -> Program {
    let mut program = vec![load_half(INDEX)];
    program.extend(require_one_of(&[index]));
    program.push(load_half(CODE));
    program.extend(require_one_of(&ADAPTER_EVENTS));
    program.push(end(KEEP_ALL));
    program
}

/// For the control socket of the registry.
pub fn registry() -> Program {
    let mut program = vec![load_half(CODE)];
    program.extend(require_one_of(&REGISTRY_EVENTS));
    program.push(end(KEEP_ALL));
    program
}

/// For the monitor socket.
pub fn monitor() -> Program {
    let commands = monitor_commands();
    let mut program = vec![load_half(CODE)];
    for wanted in MONITOR_ALWAYS {
        program.extend(keep_if(wanted));
    }

    let mut command = vec![load_half(MONITOR_CODE)];
    command.extend(require_one_of(&commands));
    command.push(end(KEEP_ALL));
    program.extend(section(monitor_opcode::COMMAND, command));

    let mut link = vec![load_octet(HCI_CODE)];
    for wanted in LINK_EVENTS {
        link.extend(keep_if_octet(wanted));
    }
    link.extend([jump_equal_octet(hci_code::LE_META, 1, 0), end(DROP), load_octet(HCI_SUBEVENT)]);
    for wanted in hci_code::LE_CONNECTIONS {
        link.extend(keep_if_octet(wanted));
    }
    link.push(end(DROP));
    program.extend(section(monitor_opcode::HCI_EVENT, link));

    let mut reply = vec![load_half(MONITOR_CODE)];
    reply.extend(keep_if(code::DEVICE_CONNECTED));
    reply.extend(require_one_of(&[code::COMMAND_COMPLETE, code::COMMAND_STATUS]));
    reply.push(load_half(MONITOR_REPLY_OPCODE));
    reply.extend(require_one_of(&commands));
    reply.push(end(KEEP_ALL));
    program.extend(section(monitor_opcode::EVENT, reply));

    program.push(end(DROP));
    program
}

const fn load_half(offset: u32) -> Instruction {
    Instruction { code: LOAD_HALF, jump_true: 0, jump_false: 0, operand: offset }
}

const fn load_octet(offset: u32) -> Instruction {
    Instruction { code: LOAD_OCTET, jump_true: 0, jump_false: 0, operand: offset }
}

const fn end(keep: u32) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, operand: keep }
}

const fn jump_equal(value: u16, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code: JUMP_EQUAL, jump_true, jump_false, operand: value.swap_bytes() as u32 }
}

const fn jump_equal_octet(value: u8, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code: JUMP_EQUAL, jump_true, jump_false, operand: value as u32 }
}

/// Goes on after itself when the half-word is one of these, else drops the packet.
fn require_one_of(values: &[u16]) -> Program {
    let mut program = Program::with_capacity(values.len() + 1);
    for (position, value) in values.iter().enumerate() {
        // Over the comparisons that are left and the drop.
        program.push(jump_equal(*value, distance(values.len() - position), 0));
    }
    program.push(end(DROP));
    program
}

/// Keeps the packet when the half-word is this one, else goes on.
fn keep_if(value: u16) -> [Instruction; 2] {
    [jump_equal(value, 0, 1), end(KEEP_ALL)]
}

/// Keeps the packet when the octet is this one, else goes on.
const fn keep_if_octet(value: u8) -> [Instruction; 2] {
    [jump_equal_octet(value, 0, 1), end(KEEP_ALL)]
}

/// Runs `body`, which must end every path, when the half-word is `value`; else goes on after it.
fn section(value: u16, body: Program) -> Program {
    let mut program = vec![jump_equal(value, 0, distance(body.len()))];
    program.extend(body);
    program
}

/// Jumps are one octet; the programs here are some forty instructions long.
fn distance(instructions: usize) -> u8 {
    debug_assert!(instructions <= usize::from(u8::MAX));
    u8::try_from(instructions).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
