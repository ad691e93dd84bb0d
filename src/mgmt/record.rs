//! The records that key events bring and load commands carry.
//!
//! Every record begins with an address:
//!
//! | offset | octets | field |
//! |---|---|---|
//! | 0 | 6 | address, least significant octet first |
//! | 6 | 1 | address type: 0 BR/EDR, 1 LE public, 2 LE random |
//!
//! and goes on with, from offset 7:
//!
//! | record | octets in all | fields in order |
//! |---|---|---|
//! | LTK | 36 | type u8, central u8, encryption size u8, EDIV u16, Rand \[8\], key \[16\] |
//! | IRK | 23 | key \[16\] |
//! | link key | 25 | type u8, key \[16\], PIN length u8 |
//! | CSRK | 24 | type u8, key \[16\] |
//! | connection parameters | 15 | minimum u16, maximum u16, latency u16, time-out u16 |
//!
//! Numbers are little endian, keys and Rand are taken as they stand. Source: `[MGMT New Long Term
//! Key]` and its siblings, `[LINUX include/net/bluetooth/mgmt.h mgmt_ltk_info]` and siblings.

use std::fmt;

use super::frame::{Cursor, Short};
use crate::bond::address::ADDRESS_OCTETS;
use crate::bond::key::KEY_OCTETS;
use crate::bond::{
    AddressError, CapturedKey, ConnectionParameters, Csrk, EncryptionSize, Irk, KeyError, KeyMaterial,
    KeyType, LinkKey, LinkKeyType, Ltk, PeerAddress, PeerAddressType, Role,
};

/// Octets of an address with its type.
pub const ADDRESS_INFO_OCTETS: usize = 7;
/// Octets of an LTK record.
pub const LTK_OCTETS: usize = 36;
/// Octets of an IRK record.
pub const IRK_OCTETS: usize = 23;
/// Octets of a link key record.
pub const LINK_KEY_OCTETS: usize = 25;
/// Octets of a CSRK record.
pub const CSRK_OCTETS: usize = 24;
/// Octets of a connection parameter record.
pub const CONNECTION_PARAMETERS_OCTETS: usize = 15;

/// Longest PIN of a BR/EDR pairing. [CORE Vol 4 Part E 7.1.11]
pub const PIN_OCTETS_MAX: u8 = 16;

/// Why a record cannot be a key of a bond. Names the field; never holds key octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum RecordError {
    #[error("address: all zeros or all ones")]
    NoIdentity,
    #[error("address: random but not static, so it will change")]
    PrivateAddress,
    #[error("address: static, but its random part is all zeros or all ones")]
    UniformAddress,
    #[error("address type: BR/EDR on a key of the LE transport")]
    BredrAddress,
    #[error("address type: LE on a BR/EDR link key")]
    LeAddress,
    #[error("address type: {0} is not known")]
    AddressType(u8),
    #[error("key type: made with the published debug keys")]
    DebugKey,
    #[error("key type: {0} is not known")]
    KeyType(u8),
    #[error("central: {0} is neither 0 nor 1")]
    Role(u8),
    #[error("encryption size: {0} is outside 7 to 16")]
    EncryptionSize(u8),
    #[error("key: all zeros")]
    AllZeroKey,
    #[error("PIN length: {0} is more than {PIN_OCTETS_MAX}")]
    PinLength(u8),
    #[error("connection parameters: outside what a controller takes")]
    ConnectionParameters,
}

impl RecordError {
    /// A stable word for counters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoIdentity => "no_identity",
            Self::PrivateAddress => "private_address",
            Self::UniformAddress => "uniform_address",
            Self::BredrAddress => "bredr_address",
            Self::LeAddress => "le_address",
            Self::AddressType(_) => "address_type",
            Self::DebugKey => "debug_key",
            Self::KeyType(_) => "key_type",
            Self::Role(_) => "role",
            Self::EncryptionSize(_) => "encryption_size",
            Self::AllZeroKey => "all_zero_key",
            Self::PinLength(_) => "pin_length",
            Self::ConnectionParameters => "connection_parameters",
        }
    }
}

impl From<AddressError> for RecordError {
    fn from(error: AddressError) -> Self {
        match error {
            // Text is never parsed here; the arm is for the compiler.
            AddressError::NoIdentity | AddressError::Syntax => Self::NoIdentity,
            AddressError::Private => Self::PrivateAddress,
            AddressError::StaticUniform => Self::UniformAddress,
        }
    }
}

impl From<KeyError> for RecordError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::AllZero => Self::AllZeroKey,
            KeyError::EncryptionSize(octets) => Self::EncryptionSize(octets),
            KeyError::KeyType(code) => Self::KeyType(code),
            KeyError::Role(flag) => Self::Role(flag),
        }
    }
}

/// Address and type as they stand on the wire: whoever is connected, bonded or not, private or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawAddress {
    /// Least significant octet first.
    pub octets: [u8; ADDRESS_OCTETS],
    pub kind: u8,
}

impl RawAddress {
    pub const BREDR: u8 = 0;
    pub const LE_PUBLIC: u8 = 1;
    pub const LE_RANDOM: u8 = 2;

    /// A peer on the LE transport.
    pub fn le(peer: PeerAddress) -> Self {
        let kind = match peer.kind() {
            PeerAddressType::Public => Self::LE_PUBLIC,
            PeerAddressType::StaticRandom => Self::LE_RANDOM,
        };
        Self { octets: peer.to_wire(), kind }
    }

    /// A peer on the BR/EDR transport.
    pub fn bredr(peer: PeerAddress) -> Self {
        Self { octets: peer.to_wire(), kind: Self::BREDR }
    }

    pub const fn is_bredr(self) -> bool {
        self.kind == Self::BREDR
    }

    /// The identity behind it on either transport.
    pub fn peer(self) -> Result<PeerAddress, RecordError> {
        let kind = match self.kind {
            Self::BREDR | Self::LE_PUBLIC => PeerAddressType::Public,
            Self::LE_RANDOM => PeerAddressType::StaticRandom,
            other => return Err(RecordError::AddressType(other)),
        };
        Ok(PeerAddress::from_wire(self.octets, kind)?)
    }

    /// The identity behind it, of the LE transport only.
    pub fn le_peer(self) -> Result<PeerAddress, RecordError> {
        if self.is_bredr() { Err(RecordError::BredrAddress) } else { self.peer() }
    }

    /// The identity behind it, of the BR/EDR transport only.
    pub fn bredr_peer(self) -> Result<PeerAddress, RecordError> {
        match self.kind {
            Self::LE_PUBLIC | Self::LE_RANDOM => Err(RecordError::LeAddress),
            _ => self.peer(),
        }
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(Self { octets: cursor.array()?, kind: cursor.u8()? })
    }

    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets);
        out.push(self.kind);
    }
}

impl fmt::Display for RawAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.octets;
        write!(f, "{g:02X}:{e:02X}:{d:02X}:{c:02X}:{b:02X}:{a:02X}/")?;
        match self.kind {
            Self::BREDR => f.write_str("bredr"),
            Self::LE_PUBLIC => f.write_str("public"),
            Self::LE_RANDOM => f.write_str("random"),
            other => write!(f, "type {other}"),
        }
    }
}

impl fmt::Debug for RawAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    Ltk,
    Irk,
    Csrk,
    LinkKey,
    ConnectionParameters,
}

impl KeyKind {
    /// Octets of one record.
    pub const fn record_octets(self) -> usize {
        match self {
            Self::Ltk => LTK_OCTETS,
            Self::Irk => IRK_OCTETS,
            Self::Csrk => CSRK_OCTETS,
            Self::LinkKey => LINK_KEY_OCTETS,
            Self::ConnectionParameters => CONNECTION_PARAMETERS_OCTETS,
        }
    }

    /// A word for logs and counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ltk => "ltk",
            Self::Irk => "irk",
            Self::Csrk => "csrk",
            Self::LinkKey => "link_key",
            Self::ConnectionParameters => "connection_parameters",
        }
    }
}

/// One record, read: the address as it stood there, and the key if it is one.
#[derive(Clone, PartialEq)]
pub struct KeyRecord {
    pub address: RawAddress,
    pub key: Result<(PeerAddress, CapturedKey), RecordError>,
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.key.as_ref().err();
        f.debug_struct("KeyRecord")
            .field("address", &self.address)
            .field("error", &error)
            .finish_non_exhaustive()
    }
}

impl KeyRecord {
    /// Reads one record of [`KeyKind::record_octets`]. `None`: fewer octets than that.
    pub fn decode(kind: KeyKind, octets: &[u8]) -> Option<Self> {
        Self::read(kind, &mut Cursor::new(octets)).ok()
    }

    /// Reads every field before judging any, so that only a short record is [`Short`].
    fn read(kind: KeyKind, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let address = RawAddress::read(cursor)?;
        let key = match kind {
            KeyKind::Ltk => read_ltk(address, cursor)?,
            KeyKind::Irk => read_irk(address, cursor)?,
            KeyKind::Csrk => read_csrk(address, cursor)?,
            KeyKind::LinkKey => read_link_key(address, cursor)?,
            KeyKind::ConnectionParameters => read_parameters(address, cursor)?,
        };
        Ok(Self { address, key })
    }
}

type Read = Result<Result<(PeerAddress, CapturedKey), RecordError>, Short>;

fn read_ltk(address: RawAddress, cursor: &mut Cursor<'_>) -> Read {
    let (key_type, central, encryption_size) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
    let (ediv, rand, key) = (cursor.u16()?, cursor.array()?, cursor.array()?);
    Ok((|| {
        let peer = address.le_peer()?;
        let key_type = KeyType::from_code(key_type)?;
        if key_type == KeyType::P256Debug {
            return Err(RecordError::DebugKey);
        }
        let role = Role::from_central_flag(central)?;
        let encryption_size = EncryptionSize::new(encryption_size)?;
        let key = KeyMaterial::new(key)?;
        Ok((peer, CapturedKey::Ltk(Ltk::new(key_type, role, encryption_size, ediv, rand, key))))
    })())
}

fn read_irk(address: RawAddress, cursor: &mut Cursor<'_>) -> Read {
    let key = cursor.array()?;
    Ok((|| {
        let peer = address.le_peer()?;
        Ok((peer, CapturedKey::Irk(Irk { key: KeyMaterial::new(key)? })))
    })())
}

/// CSRK types: 0 unauthenticated local, 1 unauthenticated remote, 2 authenticated local,
/// 3 authenticated remote. [MGMT New Signature Resolving Key]
fn read_csrk(address: RawAddress, cursor: &mut Cursor<'_>) -> Read {
    let (code, key) = (cursor.u8()?, cursor.array()?);
    Ok((|| {
        let peer = address.le_peer()?;
        if code > 3 {
            return Err(RecordError::KeyType(code));
        }
        let csrk = Csrk { key: KeyMaterial::new(key)?, authenticated: Some(code >= 2), counter: None };
        let is_remote = code & 1 == 1;
        Ok((peer, if is_remote { CapturedKey::CsrkRemote(csrk) } else { CapturedKey::CsrkLocal(csrk) }))
    })())
}

fn read_link_key(address: RawAddress, cursor: &mut Cursor<'_>) -> Read {
    let (key_type, key, pin_length) = (cursor.u8()?, cursor.array()?, cursor.u8()?);
    Ok((|| {
        let peer = address.bredr_peer()?;
        let key_type = LinkKeyType::from_code(key_type)?;
        if key_type == LinkKeyType::Debug {
            return Err(RecordError::DebugKey);
        }
        if pin_length > PIN_OCTETS_MAX {
            return Err(RecordError::PinLength(pin_length));
        }
        let key = KeyMaterial::new(key)?;
        Ok((peer, CapturedKey::LinkKey(LinkKey { key, key_type, pin_length: Some(pin_length) })))
    })())
}

fn read_parameters(address: RawAddress, cursor: &mut Cursor<'_>) -> Read {
    let parameters = ConnectionParameters {
        min_interval: cursor.u16()?,
        max_interval: cursor.u16()?,
        latency: cursor.u16()?,
        supervision_timeout: cursor.u16()?,
    };
    Ok((|| {
        let peer = address.le_peer()?;
        if !parameters.is_valid() {
            return Err(RecordError::ConnectionParameters);
        }
        Ok((peer, CapturedKey::ConnectionParameters(parameters)))
    })())
}

/// Appends an LTK record.
pub(super) fn put_ltk(out: &mut Vec<u8>, peer: PeerAddress, ltk: &Ltk) {
    RawAddress::le(peer).put(out);
    out.extend_from_slice(&[ltk.key_type.code(), ltk.central_flag(), ltk.encryption_size.octets()]);
    out.extend_from_slice(&ltk.ediv.to_le_bytes());
    out.extend_from_slice(&ltk.rand);
    out.extend_from_slice(ltk.key.expose());
}

/// Appends an IRK record.
pub(super) fn put_irk(out: &mut Vec<u8>, peer: PeerAddress, irk: &Irk) {
    RawAddress::le(peer).put(out);
    out.extend_from_slice(irk.key.expose());
}

/// Appends a link key record.
pub(super) fn put_link_key(out: &mut Vec<u8>, peer: PeerAddress, link_key: &LinkKey) {
    RawAddress::bredr(peer).put(out);
    out.push(link_key.key_type.code());
    out.extend_from_slice(link_key.key.expose());
    // What is not known counts as no PIN: the kernel keeps the number only to report it.
    out.push(link_key.pin_length.unwrap_or(0));
}

/// Appends a connection parameter record.
pub(super) fn put_parameters(out: &mut Vec<u8>, peer: PeerAddress, parameters: &ConnectionParameters) {
    RawAddress::le(peer).put(out);
    let ConnectionParameters { min_interval, max_interval, latency, supervision_timeout } = *parameters;
    for field in [min_interval, max_interval, latency, supervision_timeout] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

const _: () = assert!(LTK_OCTETS == ADDRESS_INFO_OCTETS + 13 + KEY_OCTETS);
const _: () = assert!(IRK_OCTETS == ADDRESS_INFO_OCTETS + KEY_OCTETS);
const _: () = assert!(LINK_KEY_OCTETS == ADDRESS_INFO_OCTETS + 2 + KEY_OCTETS);
const _: () = assert!(CSRK_OCTETS == ADDRESS_INFO_OCTETS + 1 + KEY_OCTETS);
const _: () = assert!(CONNECTION_PARAMETERS_OCTETS == ADDRESS_INFO_OCTETS + 8);

#[cfg(test)]
mod tests;
