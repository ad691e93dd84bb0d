//! Records of the monitor channel: what all processes do with all controllers.
//!
//! The header is that of [`frame`](super::frame), with a monitor opcode in place of the code:
//!
//! | opcode | record | parameters |
//! |---|---|---|
//! | 0 | new index | type u8, bus u8, address \[6\], name \[8\] |
//! | 1, 8, 9 | index gone, opened, closed | none |
//! | 3 | event of the controller | see [`hci`](super::hci) |
//! | 10 | index information | address \[6\], manufacturer u16 |
//! | 12 | system note | text |
//! | 14 | control socket opened | cookie u32, format u16, version u8, revision u16, flags u32, length u8, process name |
//! | 15 | control socket closed | cookie u32 |
//! | 16 | command | cookie u32, opcode u16, parameters of the command |
//! | 17 | event | cookie u32, event code u16, parameters of the event |
//!
//! Source: `[LINUX include/net/bluetooth/hci_mon.h]`, `[LINUX net/bluetooth/hci_sock.c
//! create_monitor_ctrl_open]` and its neighbours. Binding replays an opened record for every socket
//! that is open. A command is seen before its result: a load counts as done with its Command Complete
//! of the same cookie. Other opcodes are tolerated.
//!
//! Must never keep more of a command than the keys of a load and the identity of Set Privacy, and never show them.

use std::fmt;

use super::event::code;
use super::frame::{Cursor, DecodeError, Frame, Short, text};
use super::hci::HciEvent;
use super::load::LoadKind;
use super::opcode::Opcode;
use super::privacy::PrivacySetting;
use super::record::{KeyRecord, RawAddress};
use super::status::Status;
use crate::bond::address::ADDRESS_OCTETS;

/// Monitor opcodes, for the socket filter program.
pub mod monitor_opcode {
    pub const NEW_INDEX: u16 = 0;
    pub const INDEX_GONE: u16 = 1;
    pub const HCI_EVENT: u16 = 3;
    pub const INDEX_OPENED: u16 = 8;
    pub const INDEX_CLOSED: u16 = 9;
    pub const INDEX_INFORMATION: u16 = 10;
    pub const NOTE: u16 = 12;
    pub const CONTROL_OPENED: u16 = 14;
    pub const CONTROL_CLOSED: u16 = 15;
    pub const COMMAND: u16 = 16;
    pub const EVENT: u16 = 17;
}

/// The format of a control socket that speaks the management protocol; 0 and 1 are raw and user.
const FORMAT_MANAGEMENT: u16 = 2;
/// Flag of a socket whose process had CAP_NET_ADMIN.
const FLAG_TRUSTED: u32 = 1;

/// Names one control socket of some process until it is closed.
pub type Cookie = u32;

/// One datagram of the monitor channel.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorFrame {
    /// The controller that it is about, or [`INDEX_NONE`](super::INDEX_NONE).
    pub index: u16,
    pub record: MonitorRecord,
}

/// What a record says. Its `Debug` shows no key.
#[derive(Debug, Clone, PartialEq)]
pub enum MonitorRecord {
    /// A controller was registered; its address may still be zeros.
    NewIndex {
        address: [u8; ADDRESS_OCTETS],
        name: String,
    },
    IndexGone,
    IndexOpened,
    IndexClosed,
    IndexInformation {
        address: [u8; ADDRESS_OCTETS],
        manufacturer: u16,
    },
    Note(String),
    ControlOpened(ControlSocket),
    ControlClosed {
        cookie: Cookie,
    },
    Command {
        cookie: Cookie,
        opcode: Opcode,
        command: ForeignCommand,
    },
    /// The reply that the process with this cookie got.
    CommandEnded {
        cookie: Cookie,
        opcode: Opcode,
        status: Status,
    },
    /// The kernel has told the process with this cookie who is connected.
    DeviceConnected {
        address: RawAddress,
    },
    /// What a controller told of a link.
    Link(HciEvent),
    /// Any other event that the process with this cookie got.
    OtherEvent {
        cookie: Cookie,
        code: u16,
    },
    Unknown {
        opcode: u16,
    },
}

/// A control socket that somebody opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSocket {
    pub cookie: Cookie,
    /// Speaks the management protocol; raw sockets are shown as well.
    pub is_management: bool,
    /// Its process had CAP_NET_ADMIN.
    pub is_trusted: bool,
    /// Name of the thread that opened it.
    pub process: String,
}

/// The commands of other processes that matter for keys.
#[derive(Debug, Clone, PartialEq)]
pub enum ForeignCommand {
    Load(ForeignLoad),
    /// A load whose count and length do not agree; the kernel refuses it and keeps its list.
    MalformedLoad(LoadKind),
    /// Also makes the kernel ask peers for their IRKs.
    SetPrivacy(PrivacySetting),
    Unpair {
        address: RawAddress,
        disconnect: bool,
    },
    Other,
}

/// A whole list that another process put in place of the kernel's.
#[derive(Clone, PartialEq)]
pub struct ForeignLoad {
    pub kind: LoadKind,
    /// In the order of the command; of records for one place the last one counts.
    pub records: Vec<KeyRecord>,
}

impl fmt::Debug for ForeignLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignLoad({:?}, {} records)", self.kind, self.records.len())
    }
}

impl MonitorFrame {
    /// Reads one datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let Frame { code, index, parameters } = Frame::decode(datagram)?;
        let record = MonitorRecord::read(code, &mut Cursor::new(parameters));
        let record = record
            .map_err(|Short| DecodeError::Short { what: "a monitor record", octets: parameters.len() })?;
        Ok(Self { index, record })
    }
}

impl MonitorRecord {
    fn read(opcode: u16, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(match opcode {
            monitor_opcode::NEW_INDEX => {
                cursor.take(2)?;
                Self::NewIndex { address: cursor.array()?, name: text(cursor.take(8)?) }
            }
            monitor_opcode::INDEX_GONE => Self::IndexGone,
            monitor_opcode::INDEX_OPENED => Self::IndexOpened,
            monitor_opcode::INDEX_CLOSED => Self::IndexClosed,
            monitor_opcode::INDEX_INFORMATION => {
                Self::IndexInformation { address: cursor.array()?, manufacturer: cursor.u16()? }
            }
            monitor_opcode::NOTE => Self::Note(text(cursor.rest())),
            monitor_opcode::CONTROL_OPENED => Self::ControlOpened(ControlSocket::read(cursor)?),
            monitor_opcode::CONTROL_CLOSED => Self::ControlClosed { cookie: cursor.u32()? },
            monitor_opcode::COMMAND => {
                let (cookie, opcode) = (cursor.u32()?, Opcode(cursor.u16()?));
                let command = ForeignCommand::read(opcode, cursor);
                // Too short for its opcode: the kernel refuses it, so it changes nothing.
                Self::Command { cookie, opcode, command: command.unwrap_or(ForeignCommand::Other) }
            }
            monitor_opcode::EVENT => Self::read_event(cursor)?,
            // Too short to tell of a link.
            monitor_opcode::HCI_EVENT => Self::Link(HciEvent::read(cursor).unwrap_or(HciEvent::Other)),
            _ => Self::Unknown { opcode },
        })
    }

    fn read_event(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let (cookie, code) = (cursor.u32()?, cursor.u16()?);
        if code == code::DEVICE_CONNECTED {
            return Ok(Self::DeviceConnected { address: RawAddress::read(cursor)? });
        }
        if code != code::COMMAND_COMPLETE && code != code::COMMAND_STATUS {
            return Ok(Self::OtherEvent { cookie, code });
        }
        Ok(Self::CommandEnded {
            cookie,
            opcode: Opcode(cursor.u16()?),
            status: Status::from_code(cursor.u8()?),
        })
    }
}

impl ControlSocket {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let (cookie, format) = (cursor.u32()?, cursor.u16()?);
        let _version: [u8; 3] = cursor.array()?;
        let flags = cursor.u32()?;
        let name_octets = usize::from(cursor.u8()?);
        Ok(Self {
            cookie,
            is_management: format == FORMAT_MANAGEMENT,
            is_trusted: flags & FLAG_TRUSTED != 0,
            process: text(cursor.take(name_octets)?),
        })
    }
}

impl ForeignCommand {
    fn read(opcode: Opcode, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        if let Some(kind) = LoadKind::from_opcode(opcode) {
            return Ok(match ForeignLoad::read(kind, cursor) {
                Ok(load) => Self::Load(load),
                Err(Short) => Self::MalformedLoad(kind),
            });
        }
        Ok(match opcode {
            Opcode::SET_PRIVACY => Self::SetPrivacy(PrivacySetting::read(cursor)?),
            Opcode::UNPAIR_DEVICE => {
                Self::Unpair { address: RawAddress::read(cursor)?, disconnect: cursor.u8()? != 0 }
            }
            _ => Self::Other,
        })
    }
}

impl ForeignLoad {
    fn read(kind: LoadKind, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        if kind.has_debug_flag() {
            cursor.u8()?;
        }
        let count = usize::from(cursor.u16()?);
        let octets = kind.record_kind().record_octets();
        // The kernel wants the exact length.
        if cursor.rest().len() != count * octets {
            return Err(Short);
        }
        let records = cursor.rest().chunks_exact(octets);
        let records = records.map(|record| KeyRecord::decode(kind.record_kind(), record).ok_or(Short));
        Ok(Self { kind, records: records.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests;
