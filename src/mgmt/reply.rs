//! What successful commands give back.
//!
//! | command | return parameters |
//! |---|---|
//! | Read Management Version Information | version u8, revision u16 |
//! | Read Management Supported Commands | command count u16, event count u16, commands u16 each, events u16 each |
//! | Read Controller Index List | count u16, indices u16 each |
//! | Read Controller Information | see [`ControllerInformation`] |
//! | Set Powered | settings u32 |
//! | Disconnect, Pair, Cancel Pair, Unpair Device | address \[7\] |
//! | Get Connections | count u16, addresses \[7\] each |
//! | the loads | none |
//!
//! Source: the commands of these names in `[MGMT]`.

use super::frame::{Cursor, DecodeError, Short, text};
use super::opcode::{CommandSpec, ReplyForm};
use super::record::{ADDRESS_INFO_OCTETS, RawAddress};
use super::settings::Settings;
use crate::bond::address::ADDRESS_OCTETS;
use crate::bond::{AdapterAddress, AddressError};

/// Octets of a controller's name, a terminating zero among them.
pub const NAME_OCTETS: usize = 249;
/// Octets of a controller's short name, a terminating zero among them.
pub const SHORT_NAME_OCTETS: usize = 11;
/// Octets of the reply to Read Controller Information.
pub const INFORMATION_OCTETS: usize = 280;

/// A successful reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Empty,
    Version {
        version: u8,
        revision: u16,
    },
    Commands {
        commands: Vec<u16>,
        events: Vec<u16>,
    },
    /// Controller indices, in no order.
    IndexList(Vec<u16>),
    Information(Box<ControllerInformation>),
    /// The settings after the command.
    Settings(Settings),
    /// The peer that the command was about; after a pairing its identity.
    Address(RawAddress),
    Connections(Vec<RawAddress>),
}

/// Reply to Read Controller Information.
///
/// | offset | octets | field |
/// |---|---|---|
/// | 0 | 6 | address, least significant octet first |
/// | 6 | 1 | Bluetooth version |
/// | 7 | 2 | manufacturer |
/// | 9 | 4 | supported settings |
/// | 13 | 4 | current settings |
/// | 17 | 3 | class of device |
/// | 20 | 249 | name, ends at the first zero |
/// | 269 | 11 | short name, ends at the first zero |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerInformation {
    /// As it stands on the wire; see [`identity`](Self::identity).
    pub address: [u8; ADDRESS_OCTETS],
    pub bluetooth_version: u8,
    pub manufacturer: u16,
    pub supported: Settings,
    pub current: Settings,
    pub class_of_device: [u8; 3],
    pub name: String,
    pub short_name: String,
}

impl ControllerInformation {
    /// The adapter's identity, if it has one yet.
    pub fn identity(&self) -> Result<AdapterAddress, AddressError> {
        AdapterAddress::from_wire(self.address)
    }

    /// Can do BR/EDR: only then link keys may be loaded.
    pub const fn supports_bredr(&self) -> bool {
        self.supported.contains(Settings::BREDR)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(Self {
            address: cursor.array()?,
            bluetooth_version: cursor.u8()?,
            manufacturer: cursor.u16()?,
            supported: Settings(cursor.u32()?),
            current: Settings(cursor.u32()?),
            class_of_device: cursor.array()?,
            name: text(cursor.take(NAME_OCTETS)?),
            short_name: text(cursor.take(SHORT_NAME_OCTETS)?),
        })
    }
}

impl Reply {
    /// Reads the return parameters of a Command Complete whose status is success.
    pub fn decode(spec: &CommandSpec, parameters: &[u8]) -> Result<Self, DecodeError> {
        let (what, octets) = (spec.name, parameters.len());
        let mut cursor = Cursor::new(parameters);
        match spec.reply {
            ReplyForm::IndexList => {
                let count = cursor.u16().map_err(|Short| DecodeError::Short { what, octets })?;
                Ok(Self::IndexList(words(&mut cursor, count, what, octets)?))
            }
            ReplyForm::Commands => {
                let mut count = || cursor.u16().map_err(|Short| DecodeError::Short { what, octets });
                let (commands, events) = (count()?, count()?);
                let commands = words(&mut cursor, commands, what, octets)?;
                Ok(Self::Commands { commands, events: words(&mut cursor, events, what, octets)? })
            }
            ReplyForm::Connections => {
                let count = cursor.u16().map_err(|Short| DecodeError::Short { what, octets })?;
                Ok(Self::Connections(addresses(&mut cursor, count, what, octets)?))
            }
            form => Self::read(form, &mut cursor).map_err(|Short| DecodeError::Short { what, octets }),
        }
    }

    /// The forms of fixed length.
    fn read(form: ReplyForm, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(match form {
            ReplyForm::Version => Self::Version { version: cursor.u8()?, revision: cursor.u16()? },
            ReplyForm::Information => Self::Information(Box::new(ControllerInformation::read(cursor)?)),
            ReplyForm::Settings => Self::Settings(Settings(cursor.u32()?)),
            ReplyForm::Address => Self::Address(RawAddress::read(cursor)?),
            _ => Self::Empty,
        })
    }
}

/// `count` numbers. Nothing is allocated before it is known that they are there.
fn words(
    cursor: &mut Cursor<'_>,
    count: u16,
    what: &'static str,
    octets: usize,
) -> Result<Vec<u16>, DecodeError> {
    let count = usize::from(count);
    let taken = cursor.take(2 * count).map_err(|Short| DecodeError::Count { what, count, octets })?;
    Ok(taken.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
}

fn addresses(
    cursor: &mut Cursor<'_>,
    count: u16,
    what: &'static str,
    octets: usize,
) -> Result<Vec<RawAddress>, DecodeError> {
    let count = usize::from(count);
    let short = |Short| DecodeError::Count { what, count, octets };
    let taken = cursor.take(ADDRESS_INFO_OCTETS * count).map_err(short)?;
    taken
        .chunks_exact(ADDRESS_INFO_OCTETS)
        .map(|one| RawAddress::read(&mut Cursor::new(one)).map_err(short))
        .collect()
}

const _: () = assert!(INFORMATION_OCTETS == 20 + NAME_OCTETS + SHORT_NAME_OCTETS);
