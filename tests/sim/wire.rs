//! The octets of the management protocol, as the simulated kernel writes and
//! reads them. All integers are little endian.
//!
//! Written from the kernel's documentation and from frames captured on real
//! kernels, without a look at the product's own codec: two readings of one
//! protocol check each other. It must never import bondkeeper.

use std::fmt;

/// opcode or event u16, controller index u16, parameter length u16.
pub const HEADER_OCTETS: usize = 6;
/// "No controller".
pub const NO_INDEX: u16 = 0xFFFF;
/// The largest frame a socket may send until it raises its send MTU.
pub const DEFAULT_SEND_MTU: usize = 1028;

/// Commands.
pub mod op {
    pub const READ_VERSION: u16 = 0x0001;
    pub const READ_COMMANDS: u16 = 0x0002;
    pub const READ_INDEX_LIST: u16 = 0x0003;
    pub const READ_INFO: u16 = 0x0004;
    pub const SET_POWERED: u16 = 0x0005;
    pub const SET_CONNECTABLE: u16 = 0x0007;
    pub const SET_BONDABLE: u16 = 0x0009;
    pub const SET_SSP: u16 = 0x000B;
    pub const SET_LE: u16 = 0x000D;
    pub const SET_LOCAL_NAME: u16 = 0x000F;
    pub const LOAD_LINK_KEYS: u16 = 0x0012;
    pub const LOAD_LTKS: u16 = 0x0013;
    pub const DISCONNECT: u16 = 0x0014;
    pub const GET_CONNECTIONS: u16 = 0x0015;
    pub const SET_IO_CAPABILITY: u16 = 0x0018;
    pub const PAIR_DEVICE: u16 = 0x0019;
    pub const CANCEL_PAIR: u16 = 0x001A;
    pub const UNPAIR_DEVICE: u16 = 0x001B;
    pub const CONFIRM_REPLY: u16 = 0x001C;
    pub const CONFIRM_NEGATIVE_REPLY: u16 = 0x001D;
    pub const PASSKEY_REPLY: u16 = 0x001E;
    pub const PASSKEY_NEGATIVE_REPLY: u16 = 0x001F;
    pub const START_DISCOVERY: u16 = 0x0023;
    pub const STOP_DISCOVERY: u16 = 0x0024;
    pub const SET_ADVERTISING: u16 = 0x0029;
    pub const SET_BREDR: u16 = 0x002A;
    pub const SET_STATIC_ADDRESS: u16 = 0x002B;
    pub const SET_SECURE_CONNECTIONS: u16 = 0x002D;
    pub const SET_DEBUG_KEYS: u16 = 0x002E;
    pub const SET_PRIVACY: u16 = 0x002F;
    pub const LOAD_IRKS: u16 = 0x0030;
    pub const LOAD_CONNECTION_PARAMETERS: u16 = 0x0035;
    pub const READ_UNCONFIGURED_INDEX_LIST: u16 = 0x0036;
    pub const READ_EXTENDED_INDEX_LIST: u16 = 0x003C;
    pub const SET_BLOCKED_KEYS: u16 = 0x0046;
    pub const GET_DEVICE_FLAGS: u16 = 0x004F;
    /// Not of any kernel: "my send MTU is now that", parameters u16. It stands
    /// for `setsockopt(BT_SNDMTU)`, which a Unix socket does not have.
    pub const SIMULATOR_SEND_MTU: u16 = 0xFF01;
}

/// Events.
pub mod ev {
    pub const COMMAND_COMPLETE: u16 = 0x0001;
    pub const COMMAND_STATUS: u16 = 0x0002;
    pub const INDEX_ADDED: u16 = 0x0004;
    pub const INDEX_REMOVED: u16 = 0x0005;
    pub const NEW_SETTINGS: u16 = 0x0006;
    pub const LOCAL_NAME_CHANGED: u16 = 0x0008;
    pub const NEW_LINK_KEY: u16 = 0x0009;
    pub const NEW_LTK: u16 = 0x000A;
    pub const DEVICE_CONNECTED: u16 = 0x000B;
    pub const DEVICE_DISCONNECTED: u16 = 0x000C;
    pub const CONNECT_FAILED: u16 = 0x000D;
    pub const CONFIRM_REQUEST: u16 = 0x000F;
    pub const PASSKEY_REQUEST: u16 = 0x0010;
    pub const AUTHENTICATION_FAILED: u16 = 0x0011;
    pub const DEVICE_FOUND: u16 = 0x0012;
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

/// Status codes.
pub mod status {
    pub const SUCCESS: u8 = 0x00;
    pub const UNKNOWN_COMMAND: u8 = 0x01;
    pub const NOT_CONNECTED: u8 = 0x02;
    pub const FAILED: u8 = 0x03;
    pub const CONNECT_FAILED: u8 = 0x04;
    pub const AUTHENTICATION_FAILED: u8 = 0x05;
    pub const NOT_PAIRED: u8 = 0x06;
    pub const BUSY: u8 = 0x0A;
    pub const REJECTED: u8 = 0x0B;
    pub const NOT_SUPPORTED: u8 = 0x0C;
    pub const INVALID_PARAMETERS: u8 = 0x0D;
    pub const DISCONNECTED: u8 = 0x0E;
    pub const NOT_POWERED: u8 = 0x0F;
    pub const CANCELLED: u8 = 0x10;
    pub const INVALID_INDEX: u8 = 0x11;
    pub const ALREADY_PAIRED: u8 = 0x13;
    pub const PERMISSION_DENIED: u8 = 0x14;
}

/// Bits of the settings word.
pub mod setting {
    pub const POWERED: u32 = 1 << 0;
    pub const CONNECTABLE: u32 = 1 << 1;
    pub const BONDABLE: u32 = 1 << 4;
    pub const SSP: u32 = 1 << 6;
    pub const BREDR: u32 = 1 << 7;
    pub const LE: u32 = 1 << 9;
    pub const ADVERTISING: u32 = 1 << 10;
    pub const SECURE_CONNECTIONS: u32 = 1 << 11;
    pub const DEBUG_KEYS: u32 = 1 << 12;
    pub const PRIVACY: u32 = 1 << 13;
    pub const STATIC_ADDRESS: u32 = 1 << 15;
}

/// Reasons of Device Disconnected.
pub mod reason {
    pub const UNKNOWN: u8 = 0;
    pub const LOCAL_HOST: u8 = 2;
    pub const REMOTE: u8 = 3;
    pub const AUTHENTICATION_FAILURE: u8 = 4;
}

pub const BREDR: u8 = 0;
pub const LE_PUBLIC: u8 = 1;
pub const LE_RANDOM: u8 = 2;

/// An address and its type, in wire order (least significant octet first).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub octets: [u8; 6],
    pub kind: u8,
}

impl Address {
    /// address[6], type u8
    pub const OCTETS: usize = 7;

    /// From text such as `C0:FF:EE:00:00:01`. Panics when it is not that.
    pub fn new(text: &str, kind: u8) -> Self {
        let mut octets = [0; 6];
        let mut parts = text.split(':').rev();
        for octet in &mut octets {
            let part = parts.next().unwrap_or_else(|| panic!("{text} is no address"));
            *octet = u8::from_str_radix(part, 16).unwrap_or_else(|_| panic!("{text} is no address"));
        }
        assert!(parts.next().is_none(), "{text} is no address");
        Self { octets, kind }
    }

    /// From the first seven octets. None when there are fewer.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let (address, rest) = octets.split_first_chunk()?;
        Some(Self { octets: *address, kind: *rest.first()? })
    }

    pub fn write(self) -> [u8; Self::OCTETS] {
        let mut octets = [0; Self::OCTETS];
        octets[..6].copy_from_slice(&self.octets);
        octets[6] = self.kind;
        octets
    }

    /// Upper case with colons, without the type.
    pub fn text(&self) -> String {
        let parts: Vec<String> = self.octets.iter().rev().map(|octet| format!("{octet:02X}")).collect();
        parts.join(":")
    }

    pub fn is_random(&self) -> bool {
        self.kind == LE_RANDOM
    }

    /// What a bond may be stored under: public, or static random (top bits 11).
    pub fn is_le_identity(&self) -> bool {
        self.kind == LE_PUBLIC || (self.kind == LE_RANDOM && self.octets[5] >> 6 == 0b11)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.text(), self.kind)
    }
}

/// One frame: a header and its parameters.
pub fn frame(code: u16, index: u16, parameters: &[u8]) -> Vec<u8> {
    let length = u16::try_from(parameters.len()).expect("parameters fit a 16-bit length");
    let mut frame = Vec::with_capacity(HEADER_OCTETS + parameters.len());
    for field in [code, index, length] {
        frame.extend_from_slice(&field.to_le_bytes());
    }
    frame.extend_from_slice(parameters);
    frame
}

/// A frame taken apart: code, index, parameters. None unless the length fits exactly.
pub fn split(frame: &[u8]) -> Option<(u16, u16, &[u8])> {
    let (header, parameters) = frame.split_at_checked(HEADER_OCTETS)?;
    let (code, index, length) = (read_u16(header, 0)?, read_u16(header, 2)?, read_u16(header, 4)?);
    (usize::from(length) == parameters.len()).then_some((code, index, parameters))
}

pub fn read_u16(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

pub fn read_u32(octets: &[u8], at: usize) -> Option<u32> {
    let octets = octets.get(at..at + 4)?;
    Some(u32::from_le_bytes(octets.try_into().ok()?))
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{} hex digits are no octets", text.len());
    let digits: Vec<u8> =
        text.bytes().map(|b| (b as char).to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
