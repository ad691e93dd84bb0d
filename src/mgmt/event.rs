//! Events of the control channel.
//!
//! | code | event | parameters |
//! |---|---|---|
//! | 0x0001 | Command Complete | opcode u16, status u8, return parameters |
//! | 0x0002 | Command Status | opcode u16, status u8 |
//! | 0x0003 | Controller Error | error u8 |
//! | 0x0004, 0x0005 | Index Added, Index Removed | none |
//! | 0x0006 | New Settings | settings u32 |
//! | 0x0008 | Local Name Changed | name \[249\], short name \[11\] |
//! | 0x0009, 0x000A, 0x0018, 0x0019, 0x001C | key events | see [`key_report`](super::key_report) |
//! | 0x000B | Device Connected | address \[7\], flags u32, length u16, advertising data |
//! | 0x000C | Device Disconnected | address \[7\], reason u8 |
//! | 0x000D, 0x0011 | Connect Failed, Authentication Failed | address \[7\], status u8 |
//! | 0x000E | PIN Code Request | address \[7\], secure u8 |
//! | 0x000F | User Confirmation Request | address \[7\], hint u8, value u32 |
//! | 0x0010 | User Passkey Request | address \[7\] |
//! | 0x0013 | Discovering | type u8, on u8 |
//! | 0x0016 | Device Unpaired | address \[7\] |
//! | 0x0017 | Passkey Notify | address \[7\], passkey u32, entered u8 |
//! | 0x001D, 0x001E | Unconfigured Index Added, Removed | none |
//! | 0x0020, 0x0021 | Extended Index Added, Removed | type u8, bus u8 |
//!
//! Source: `[LINUX include/net/bluetooth/mgmt.h MGMT_EV_*]`. Events of newer kernels may be longer:
//! octets after the last known field are left alone. An unknown code is an event, not an error.

use std::fmt;

use super::frame::{Cursor, DecodeError, Frame, Short, text};
use super::key_report::KeyReport;
use super::opcode::Opcode;
use super::record::{KeyKind, RawAddress};
use super::settings::Settings;
use super::status::Status;

/// Event codes, for the socket filter programs and the monitor channel.
pub mod code {
    pub const COMMAND_COMPLETE: u16 = 0x0001;
    pub const COMMAND_STATUS: u16 = 0x0002;
    pub const CONTROLLER_ERROR: u16 = 0x0003;
    pub const INDEX_ADDED: u16 = 0x0004;
    pub const INDEX_REMOVED: u16 = 0x0005;
    pub const NEW_SETTINGS: u16 = 0x0006;
    pub const LOCAL_NAME_CHANGED: u16 = 0x0008;
    pub const NEW_LINK_KEY: u16 = 0x0009;
    pub const NEW_LTK: u16 = 0x000A;
    pub const DEVICE_CONNECTED: u16 = 0x000B;
    pub const DEVICE_DISCONNECTED: u16 = 0x000C;
    pub const CONNECT_FAILED: u16 = 0x000D;
    pub const PIN_CODE_REQUEST: u16 = 0x000E;
    pub const USER_CONFIRMATION_REQUEST: u16 = 0x000F;
    pub const USER_PASSKEY_REQUEST: u16 = 0x0010;
    pub const AUTHENTICATION_FAILED: u16 = 0x0011;
    pub const DISCOVERING: u16 = 0x0013;
    pub const DEVICE_UNPAIRED: u16 = 0x0016;
    pub const PASSKEY_NOTIFY: u16 = 0x0017;
    pub const NEW_IRK: u16 = 0x0018;
    pub const NEW_CSRK: u16 = 0x0019;
    pub const NEW_CONNECTION_PARAMETER: u16 = 0x001C;
    pub const UNCONFIGURED_INDEX_ADDED: u16 = 0x001D;
    pub const UNCONFIGURED_INDEX_REMOVED: u16 = 0x001E;
    pub const EXTENDED_INDEX_ADDED: u16 = 0x0020;
    pub const EXTENDED_INDEX_REMOVED: u16 = 0x0021;
}

/// Element types of advertising data that hold a name. [CORE Supplement Part A 1.2]
const NAME_COMPLETE: u8 = 0x09;
const NAME_SHORTENED: u8 = 0x08;

/// One datagram of a control socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The controller that it is about, or [`INDEX_NONE`](super::INDEX_NONE).
    pub index: u16,
    pub event: Event,
}

/// What an event says. Its `Debug` shows no key, passkey or confirmation value.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A reply: take it to [`Session::receive`](super::Session::receive).
    CommandComplete(CommandComplete),
    CommandStatus {
        opcode: Opcode,
        status: Status,
    },
    ControllerError {
        error: u8,
    },
    IndexAdded,
    IndexRemoved,
    UnconfiguredIndexAdded,
    UnconfiguredIndexRemoved,
    /// Comes only to a socket that asked for the extended style. Types: 0 configured, 1
    /// unconfigured, 2 alternate.
    ExtendedIndexAdded {
        kind: u8,
        bus: u8,
    },
    ExtendedIndexRemoved {
        kind: u8,
        bus: u8,
    },
    NewSettings(Settings),
    LocalNameChanged {
        name: String,
        short_name: String,
    },
    /// New Long Term Key and its four siblings.
    NewKey(KeyReport),
    DeviceConnected {
        address: RawAddress,
        flags: u32,
        /// Advertising data or extended inquiry response; may hold the peer's name.
        data: AdvertisingData,
    },
    DeviceDisconnected {
        address: RawAddress,
        reason: DisconnectReason,
    },
    ConnectFailed {
        address: RawAddress,
        status: Status,
    },
    AuthenticationFailed {
        address: RawAddress,
        status: Status,
    },
    /// Another socket unpaired it: the kernel dropped its LTKs and its IRK.
    DeviceUnpaired {
        address: RawAddress,
    },
    /// A pairing is under way and somebody is asked something. Never answered by us: a second answer
    /// would break the pairing.
    PairingPrompt {
        address: RawAddress,
        prompt: Prompt,
    },
    Discovering {
        kind: u8,
        active: bool,
    },
    Unknown {
        code: u16,
    },
}

/// Parameters of Command Complete.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandComplete {
    pub opcode: Opcode,
    pub status: Status,
    pub parameters: Vec<u8>,
}

impl fmt::Debug for CommandComplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Replies of commands that we do not send could hold secrets (out of band data).
        f.debug_struct("CommandComplete")
            .field("opcode", &self.opcode)
            .field("status", &self.status)
            .field("parameter_octets", &self.parameters.len())
            .finish()
    }
}

/// What is asked during a pairing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    PinCode {
        secure: bool,
    },
    /// `automatic`: Just Works, nothing to compare.
    Confirmation {
        automatic: bool,
        value: u32,
    },
    Passkey,
    /// Show this passkey.
    PasskeyNotify {
        passkey: u32,
        entered: u8,
    },
}

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PinCode { .. } => "PinCode",
            Self::Confirmation { automatic: true, .. } => "Confirmation(automatic)",
            Self::Confirmation { automatic: false, .. } => "Confirmation",
            Self::Passkey => "Passkey",
            Self::PasskeyNotify { .. } => "PasskeyNotify",
        })
    }
}

/// Why a link ended, as far as the kernel tells. [MGMT Device Disconnected]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisconnectReason {
    /// Also what a key that does not match ends in.
    Unspecified,
    Timeout,
    LocalHost,
    Remote,
    /// The peer has lost its key, or refused ours.
    AuthenticationFailure,
    LocalHostSuspended,
    Unknown(u8),
}

impl DisconnectReason {
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Unspecified,
            1 => Self::Timeout,
            2 => Self::LocalHost,
            3 => Self::Remote,
            4 => Self::AuthenticationFailure,
            5 => Self::LocalHostSuspended,
            other => Self::Unknown(other),
        }
    }
}

/// A list of length, type, value elements. [CORE Vol 3 Part C 11]
#[derive(Clone, PartialEq, Eq, Default)]
pub struct AdvertisingData(pub Vec<u8>);

impl AdvertisingData {
    /// The peer's name: the complete one, else the shortened one.
    pub fn name(&self) -> Option<String> {
        let find = |wanted| self.elements().find(|(kind, _)| *kind == wanted);
        let (_, value) = find(NAME_COMPLETE).or_else(|| find(NAME_SHORTENED))?;
        Some(text(value)).filter(|name| !name.is_empty())
    }

    /// Ends at the first element that is empty or longer than what is left.
    fn elements(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut cursor = Cursor::new(&self.0);
        std::iter::from_fn(move || {
            let octets = usize::from(cursor.u8().ok()?);
            let (kind, value) = cursor.take(octets).ok()?.split_first()?;
            Some((*kind, value))
        })
    }
}

impl fmt::Debug for AdvertisingData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

impl Incoming {
    /// Reads one datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let frame = Frame::decode(datagram)?;
        Ok(Self { index: frame.index, event: Event::decode(frame.code, frame.parameters)? })
    }
}

impl Event {
    /// Reads the parameters of the event with this code.
    pub fn decode(code: u16, parameters: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(parameters);
        let event = match key_kind(code) {
            Some(kind) => KeyReport::read(kind, &mut cursor).map(Self::NewKey),
            None => Self::read(code, &mut cursor),
        };
        event.map_err(|Short| DecodeError::Short { what: name(code), octets: parameters.len() })
    }

    fn read(code: u16, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(match code {
            code::COMMAND_COMPLETE => Self::CommandComplete(CommandComplete {
                opcode: Opcode(cursor.u16()?),
                status: Status::from_code(cursor.u8()?),
                parameters: cursor.rest().to_vec(),
            }),
            code::COMMAND_STATUS => {
                Self::CommandStatus { opcode: Opcode(cursor.u16()?), status: Status::from_code(cursor.u8()?) }
            }
            code::CONTROLLER_ERROR => Self::ControllerError { error: cursor.u8()? },
            code::INDEX_ADDED => Self::IndexAdded,
            code::INDEX_REMOVED => Self::IndexRemoved,
            code::UNCONFIGURED_INDEX_ADDED => Self::UnconfiguredIndexAdded,
            code::UNCONFIGURED_INDEX_REMOVED => Self::UnconfiguredIndexRemoved,
            code::EXTENDED_INDEX_ADDED => Self::ExtendedIndexAdded { kind: cursor.u8()?, bus: cursor.u8()? },
            code::EXTENDED_INDEX_REMOVED => {
                Self::ExtendedIndexRemoved { kind: cursor.u8()?, bus: cursor.u8()? }
            }
            code::NEW_SETTINGS => Self::NewSettings(Settings(cursor.u32()?)),
            code::LOCAL_NAME_CHANGED => Self::LocalNameChanged {
                name: text(cursor.take(super::reply::NAME_OCTETS)?),
                short_name: text(cursor.take(super::reply::SHORT_NAME_OCTETS)?),
            },
            code::DISCOVERING => Self::Discovering { kind: cursor.u8()?, active: cursor.u8()? != 0 },
            _ => return Self::read_about_peer(code, cursor),
        })
    }

    /// The events that begin with a peer's address.
    fn read_about_peer(code: u16, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        if !is_about_peer(code) {
            return Ok(Self::Unknown { code });
        }
        let address = RawAddress::read(cursor)?;
        let mut status = || cursor.u8().map(Status::from_code);
        Ok(match code {
            code::CONNECT_FAILED => Self::ConnectFailed { address, status: status()? },
            code::AUTHENTICATION_FAILED => Self::AuthenticationFailed { address, status: status()? },
            code::DEVICE_UNPAIRED => Self::DeviceUnpaired { address },
            code::DEVICE_DISCONNECTED => {
                Self::DeviceDisconnected { address, reason: DisconnectReason::from_code(cursor.u8()?) }
            }
            code::DEVICE_CONNECTED => {
                let (flags, octets) = (cursor.u32()?, usize::from(cursor.u16()?));
                let data = AdvertisingData(cursor.take(octets)?.to_vec());
                Self::DeviceConnected { address, flags, data }
            }
            _ => Self::PairingPrompt { address, prompt: Prompt::read(code, cursor)? },
        })
    }
}

impl Prompt {
    fn read(code: u16, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(match code {
            code::PIN_CODE_REQUEST => Self::PinCode { secure: cursor.u8()? != 0 },
            code::USER_CONFIRMATION_REQUEST => {
                Self::Confirmation { automatic: cursor.u8()? != 0, value: cursor.u32()? }
            }
            code::PASSKEY_NOTIFY => Self::PasskeyNotify { passkey: cursor.u32()?, entered: cursor.u8()? },
            _ => Self::Passkey,
        })
    }
}

fn key_kind(code: u16) -> Option<KeyKind> {
    Some(match code {
        code::NEW_LINK_KEY => KeyKind::LinkKey,
        code::NEW_LTK => KeyKind::Ltk,
        code::NEW_IRK => KeyKind::Irk,
        code::NEW_CSRK => KeyKind::Csrk,
        code::NEW_CONNECTION_PARAMETER => KeyKind::ConnectionParameters,
        _ => return None,
    })
}

const fn is_about_peer(code: u16) -> bool {
    matches!(
        code,
        code::DEVICE_CONNECTED
            | code::DEVICE_DISCONNECTED
            | code::CONNECT_FAILED
            | code::AUTHENTICATION_FAILED
            | code::DEVICE_UNPAIRED
            | code::PIN_CODE_REQUEST
            | code::USER_CONFIRMATION_REQUEST
            | code::USER_PASSKEY_REQUEST
            | code::PASSKEY_NOTIFY
    )
}

/// The event's name in error texts.
pub const fn name(code: u16) -> &'static str {
    match code {
        code::COMMAND_COMPLETE => "Command Complete",
        code::COMMAND_STATUS => "Command Status",
        code::CONTROLLER_ERROR => "Controller Error",
        code::INDEX_ADDED => "Index Added",
        code::INDEX_REMOVED => "Index Removed",
        code::NEW_SETTINGS => "New Settings",
        code::LOCAL_NAME_CHANGED => "Local Name Changed",
        code::NEW_LINK_KEY => "New Link Key",
        code::NEW_LTK => "New Long Term Key",
        code::DEVICE_CONNECTED => "Device Connected",
        code::DEVICE_DISCONNECTED => "Device Disconnected",
        code::CONNECT_FAILED => "Connect Failed",
        code::PIN_CODE_REQUEST => "PIN Code Request",
        code::USER_CONFIRMATION_REQUEST => "User Confirmation Request",
        code::USER_PASSKEY_REQUEST => "User Passkey Request",
        code::AUTHENTICATION_FAILED => "Authentication Failed",
        code::DISCOVERING => "Discovering",
        code::DEVICE_UNPAIRED => "Device Unpaired",
        code::PASSKEY_NOTIFY => "Passkey Notify",
        code::NEW_IRK => "New Identity Resolving Key",
        code::NEW_CSRK => "New Signature Resolving Key",
        code::NEW_CONNECTION_PARAMETER => "New Connection Parameter",
        code::UNCONFIGURED_INDEX_ADDED => "Unconfigured Index Added",
        code::UNCONFIGURED_INDEX_REMOVED => "Unconfigured Index Removed",
        code::EXTENDED_INDEX_ADDED => "Extended Index Added",
        code::EXTENDED_INDEX_REMOVED => "Extended Index Removed",
        _ => "an unknown event",
    }
}

#[cfg(test)]
mod tests;
