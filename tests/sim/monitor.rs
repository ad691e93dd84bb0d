//! Records of the monitor channel: a header as in the management protocol
//! (here: record opcode, controller index, length), then
//!
//! | record | octets |
//! |---|---|
//! | 0 new index | type u8, bus u8, bdaddr 6, name 8 |
//! | 1 deleted index, 8 opened, 9 closed | none |
//! | 3 HCI event | event u8, length u8, parameters |
//! | 10 index info | bdaddr 6, manufacturer u16 |
//! | 12 note | text, NUL |
//! | 14 control open | cookie u32, format u16, version u8, revision u16, flags u32, name length u8 (16), name |
//! | 15 control close | cookie u32 |
//! | 16 control command | cookie u32, opcode u16, parameters |
//! | 17 control event | cookie u32, event u16, parameters |

use super::controller::Controller;
use super::wire::{Address, LE_RANDOM, NO_INDEX, frame, reason};

pub mod record {
    pub const NEW_INDEX: u16 = 0;
    pub const HCI_EVENT: u16 = 3;
    pub const DELETED_INDEX: u16 = 1;
    pub const OPENED_INDEX: u16 = 8;
    pub const CLOSED_INDEX: u16 = 9;
    pub const INDEX_INFO: u16 = 10;
    pub const NOTE: u16 = 12;
    pub const CONTROL_OPEN: u16 = 14;
    pub const CONTROL_CLOSE: u16 = 15;
    pub const CONTROL_COMMAND: u16 = 16;
    pub const CONTROL_EVENT: u16 = 17;
}

/// The kernel's TASK_COMM_LEN: fifteen octets and a NUL.
const PROCESS_NAME_OCTETS: u8 = 16;
/// The format of a control socket.
const FORMAT_CONTROL: u16 = 2;
/// A virtual bus, as that of the bench's controllers.
const BUS_VIRTUAL: u8 = 0;

pub(super) fn new_index(controller: &Controller) -> Vec<u8> {
    let mut octets = vec![0, BUS_VIRTUAL];
    octets.extend_from_slice(&controller.address.octets);
    let mut name = format!("hci{}", controller.index).into_bytes();
    name.resize(8, 0);
    octets.extend_from_slice(&name);
    frame(record::NEW_INDEX, controller.index, &octets)
}

pub(super) fn deleted_index(index: u16) -> Vec<u8> {
    frame(record::DELETED_INDEX, index, &[])
}

/// An LE Advertising Report on its way from a controller.
pub(super) fn advertisement(index: u16) -> Vec<u8> {
    frame(record::HCI_EVENT, index, &[0x3E, 4, 0x02, 1, 0, 0])
}

/// LE Connection Complete: the address is the one on the air.
pub(super) fn le_connection(index: u16, handle: u16, peer: Address) -> Vec<u8> {
    let kind = u8::from(peer.kind == LE_RANDOM);
    let link = [0x01, 0, handle.to_le_bytes()[0], handle.to_le_bytes()[1], 0, kind];
    let timing = [0x18, 0, 0, 0, 0xF4, 1, 0];
    hci_event(index, 0x3E, &[&link[..], &peer.octets, &timing].concat())
}

/// Encryption Change: it is on.
pub(super) fn encryption(index: u16, handle: u16) -> Vec<u8> {
    hci_event(index, 0x08, &[&[0][..], &handle.to_le_bytes(), &[1]].concat())
}

/// Disconnection Complete, for what the management protocol will call this reason.
pub(super) fn disconnection(index: u16, handle: u16, mgmt_reason: u8) -> Vec<u8> {
    let hci_reason = match mgmt_reason {
        // A wrong key: the first encrypted packet does not pass its check.
        reason::UNKNOWN => 0x3D,
        reason::AUTHENTICATION_FAILURE => 0x05,
        reason::LOCAL_HOST => 0x16,
        _ => 0x13,
    };
    hci_event(index, 0x05, &[&[0][..], &handle.to_le_bytes(), &[hci_reason]].concat())
}

fn hci_event(index: u16, event: u8, parameters: &[u8]) -> Vec<u8> {
    let head = [event, u8::try_from(parameters.len()).expect("an HCI event is short")];
    frame(record::HCI_EVENT, index, &[&head, parameters].concat())
}

/// The two records of a controller that is powered on.
pub(super) fn running(controller: &Controller) -> [Vec<u8>; 2] {
    let info = [&controller.address.octets[..], &0xFFFF_u16.to_le_bytes()].concat();
    [frame(record::OPENED_INDEX, controller.index, &[]), frame(record::INDEX_INFO, controller.index, &info)]
}

pub(super) fn closed_index(index: u16) -> Vec<u8> {
    frame(record::CLOSED_INDEX, index, &[])
}

pub(super) fn note(text: &str) -> Vec<u8> {
    frame(record::NOTE, NO_INDEX, &[text.as_bytes(), &[0]].concat())
}

pub(super) fn control_open(cookie: u32, revision: u16, trusted: bool, process: &str) -> Vec<u8> {
    let mut octets = cookie.to_le_bytes().to_vec();
    octets.extend_from_slice(&FORMAT_CONTROL.to_le_bytes());
    octets.push(1);
    octets.extend_from_slice(&revision.to_le_bytes());
    octets.extend_from_slice(&u32::from(trusted).to_le_bytes());
    octets.push(PROCESS_NAME_OCTETS);
    let mut name = process.as_bytes().to_vec();
    name.truncate(usize::from(PROCESS_NAME_OCTETS) - 1);
    name.resize(usize::from(PROCESS_NAME_OCTETS), 0);
    octets.extend_from_slice(&name);
    frame(record::CONTROL_OPEN, NO_INDEX, &octets)
}

pub(super) fn control_close(cookie: u32) -> Vec<u8> {
    frame(record::CONTROL_CLOSE, NO_INDEX, &cookie.to_le_bytes())
}

pub(super) fn control_command(cookie: u32, index: u16, opcode: u16, parameters: &[u8]) -> Option<Vec<u8>> {
    control(record::CONTROL_COMMAND, cookie, index, opcode, parameters)
}

pub(super) fn control_event(cookie: u32, index: u16, event: u16, parameters: &[u8]) -> Option<Vec<u8>> {
    control(record::CONTROL_EVENT, cookie, index, event, parameters)
}

/// None for parameters that leave no room for the six octets before them.
fn control(record: u16, cookie: u32, index: u16, code: u16, parameters: &[u8]) -> Option<Vec<u8>> {
    let octets = [&cookie.to_le_bytes()[..], &code.to_le_bytes(), parameters].concat();
    (octets.len() <= usize::from(u16::MAX)).then(|| frame(record, index, &octets))
}
