//! Key events: the kernel made, or was given by a peer, something to remember.
//!
//! | event | code | parameters |
//! |---|---|---|
//! | New Link Key | 0x0009 | store hint u8, link key record \[25\] |
//! | New Long Term Key | 0x000A | store hint u8, LTK record \[36\] |
//! | New Identity Resolving Key | 0x0018 | store hint u8, resolvable address \[6\], IRK record \[23\] |
//! | New Signature Resolving Key | 0x0019 | store hint u8, CSRK record \[24\] |
//! | New Connection Parameter | 0x001C | address \[7\], store hint u8, minimum, maximum, latency, time-out u16 |
//!
//! Source: the events of these names in `[MGMT]`. New Connection Parameter alone has its hint inside
//! the record.

use super::frame::{Cursor, Short};
use super::record::{
    ADDRESS_INFO_OCTETS, CONNECTION_PARAMETERS_OCTETS, KeyKind, KeyRecord, RawAddress, RecordError,
};
use crate::bond::address::ADDRESS_OCTETS;
use crate::bond::{CapturedKey, PeerAddress};

/// What a key event says. Its `Debug` shows no key.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyReport {
    pub kind: KeyKind,
    /// The kernel's word whether this outlives the connection: false where the peers did not bond,
    /// and for an LTK of a peer whose private address nobody could resolve.
    pub store_hint: bool,
    /// The private address in use, which an IRK event brings; none when the peer shows its identity.
    pub resolvable_address: Option<[u8; ADDRESS_OCTETS]>,
    pub record: KeyRecord,
}

/// Why a reported key is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum SkipReason {
    #[error("the kernel says that it is not to be stored: the devices did not bond")]
    NotBonded,
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl SkipReason {
    /// A stable word for counters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotBonded => "not_bonded",
            Self::Record(error) => error.code(),
        }
    }
}

impl KeyReport {
    /// The address as it stood in the event: identity or not.
    pub const fn address(&self) -> RawAddress {
        self.record.address
    }

    /// The key, if it is one to store. A record that can be no key is named before a store hint of 0,
    /// because it says more: `private_address` means that the adapter was not ready for IRKs.
    pub fn accept(self) -> Result<(PeerAddress, CapturedKey), SkipReason> {
        let key = self.record.key?;
        if self.store_hint { Ok(key) } else { Err(SkipReason::NotBonded) }
    }

    /// [`accept`](Self::accept) without the key: why it would be refused.
    pub fn skip_reason(&self) -> Option<SkipReason> {
        match (&self.record.key, self.store_hint) {
            (Err(error), _) => Some((*error).into()),
            (Ok(_), false) => Some(SkipReason::NotBonded),
            (Ok(_), true) => None,
        }
    }

    /// A stable word for counters when it is not to be stored.
    pub fn reason_code(&self) -> Option<&'static str> {
        self.skip_reason().map(SkipReason::code)
    }

    pub(super) fn read(kind: KeyKind, cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        if kind == KeyKind::ConnectionParameters {
            return Self::read_parameters(cursor);
        }
        let store_hint = cursor.u8()? != 0;
        let resolvable_address = match kind {
            KeyKind::Irk => Some(cursor.array()?).filter(|octets| *octets != [0; ADDRESS_OCTETS]),
            _ => None,
        };
        let octets = cursor.take(kind.record_octets())?;
        let record = KeyRecord::decode(kind, octets).ok_or(Short)?;
        Ok(Self { kind, store_hint, resolvable_address, record })
    }

    fn read_parameters(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let kind = KeyKind::ConnectionParameters;
        let mut octets = [0; CONNECTION_PARAMETERS_OCTETS];
        let (address, parameters) = octets.split_at_mut(ADDRESS_INFO_OCTETS);
        address.copy_from_slice(cursor.take(ADDRESS_INFO_OCTETS)?);
        let store_hint = cursor.u8()? != 0;
        parameters.copy_from_slice(cursor.take(parameters.len())?);
        let record = KeyRecord::decode(kind, &octets).ok_or(Short)?;
        Ok(Self { kind, store_hint, resolvable_address: None, record })
    }
}
