//! The few events of a controller that the monitor socket lets through: links that come, are encrypted,
//! and go. Pure.
//!
//! A monitor record 3 holds: event code u8, length u8, then
//!
//! | code | event | parameters |
//! |---|---|---|
//! | 0x03 | Connection Complete | status u8, handle u16, address \[6\], … |
//! | 0x05 | Disconnection Complete | status u8, handle u16, reason u8 |
//! | 0x08 | Encryption Change | status u8, handle u16, enabled u8 |
//! | 0x59 | Encryption Change v2 | the same, … |
//! | 0x3E | LE Meta | subevent u8, … |
//! | 0x3E, 0x01 | LE Connection Complete | subevent, status u8, handle u16, role u8, address type u8, address \[6\], … |
//! | 0x3E, 0x0A, 0x29 | LE Enhanced Connection Complete, v2 | the same, … |
//!
//! Source: `[CORE Vol 4 Part E 7.7]`. Address types: 0 public, 1 random, 2 and 3 the identities that the controller has
//! resolved. No event here holds a key, and none that does is to be let through.

use super::frame::{Cursor, Short};
use super::record::RawAddress;

/// Event codes, for the socket filter program.
pub mod hci_code {
    pub const CONNECTION_COMPLETE: u8 = 0x03;
    pub const DISCONNECTION_COMPLETE: u8 = 0x05;
    pub const ENCRYPTION_CHANGE: u8 = 0x08;
    pub const LE_META: u8 = 0x3E;
    pub const ENCRYPTION_CHANGE_V2: u8 = 0x59;

    /// Subevents of LE Meta that tell of a link.
    pub const LE_CONNECTIONS: [u8; 3] = [0x01, 0x0A, 0x29];
}

/// Connection Terminated due to MIC Failure. [CORE Vol 1 Part F 2.61]
const MIC_FAILURE: u8 = 0x3D;

/// A link of a controller, while it lasts.
pub type Handle = u16;

/// What happened to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HciEvent {
    Connected {
        handle: Handle,
        address: RawAddress,
    },
    /// Encryption was switched on.
    Encrypted {
        handle: Handle,
    },
    /// `mic_failure`: because the two sides have different keys.
    Disconnected {
        handle: Handle,
        mic_failure: bool,
    },
    /// Anything else, failures among it.
    Other,
}

impl HciEvent {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let code = cursor.u8()?;
        let _length = cursor.u8()?;
        if code == hci_code::LE_META {
            let subevent = cursor.u8()?;
            if !hci_code::LE_CONNECTIONS.contains(&subevent) {
                return Ok(Self::Other);
            }
            let (succeeded, handle) = (cursor.u8()? == 0, cursor.u16()?);
            let _role = cursor.u8()?;
            let kind = match cursor.u8()? {
                0 | 2 => RawAddress::LE_PUBLIC,
                _ => RawAddress::LE_RANDOM,
            };
            let address = RawAddress { octets: cursor.array()?, kind };
            return Ok(if succeeded { Self::Connected { handle, address } } else { Self::Other });
        }
        let (succeeded, handle) = (cursor.u8()? == 0, cursor.u16()?);
        Ok(match code {
            _ if !succeeded => Self::Other,
            hci_code::CONNECTION_COMPLETE => {
                let address = RawAddress { octets: cursor.array()?, kind: RawAddress::BREDR };
                Self::Connected { handle, address }
            }
            hci_code::DISCONNECTION_COMPLETE => {
                Self::Disconnected { handle, mic_failure: cursor.u8()? == MIC_FAILURE }
            }
            hci_code::ENCRYPTION_CHANGE | hci_code::ENCRYPTION_CHANGE_V2 => {
                if cursor.u8()? == 0 {
                    Self::Other
                } else {
                    Self::Encrypted { handle }
                }
            }
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: [u8; 6] = [0x99, 0, 0, 0xEE, 0xFF, 0xC0];

    fn read(octets: &[u8]) -> Option<HciEvent> {
        HciEvent::read(&mut Cursor::new(octets)).ok()
    }

    /// LE Connection Complete as a controller sends it.
    fn le_connection(subevent: u8, status: u8, kind: u8) -> Vec<u8> {
        let head = [0x3E, 19, subevent, status, 0x40, 0x00, 0x00, kind];
        [&head[..], &PEER, &[0x18, 0, 0, 0, 0xF4, 1, 0]].concat()
    }

    #[test]
    fn links_come_with_their_handle_and_address() {
        let address = RawAddress { octets: PEER, kind: RawAddress::LE_PUBLIC };
        let connected = Some(HciEvent::Connected { handle: 0x40, address });
        for subevent in hci_code::LE_CONNECTIONS {
            assert_eq!(read(&le_connection(subevent, 0, 0)), connected);
            assert_eq!(read(&le_connection(subevent, 0, 2)), connected, "an identity");
            assert_eq!(read(&le_connection(subevent, 0x3E, 0)), Some(HciEvent::Other));
        }
        assert_eq!(read(&le_connection(0x02, 0, 0)), Some(HciEvent::Other));
        let bredr = [&[0x03, 11, 0, 0x0B, 0][..], &PEER, &[1, 0]].concat();
        let address = RawAddress { octets: PEER, kind: RawAddress::BREDR };
        assert_eq!(read(&bredr), Some(HciEvent::Connected { handle: 0x0B, address }));
    }

    #[test]
    fn encryption_counts_when_it_was_switched_on() {
        let encrypted = Some(HciEvent::Encrypted { handle: 0x0E01 });
        assert_eq!(read(&[0x08, 4, 0, 0x01, 0x0E, 1]), encrypted);
        assert_eq!(read(&[0x59, 5, 0, 0x01, 0x0E, 2, 16]), encrypted);
        assert_eq!(read(&[0x08, 4, 0x06, 0x01, 0x0E, 0]), Some(HciEvent::Other));
        assert_eq!(read(&[0x08, 4, 0, 0x01, 0x0E, 0]), Some(HciEvent::Other));
    }

    #[test]
    fn only_a_mic_failure_says_that_the_keys_differ() {
        let ended = |reason| read(&[0x05, 4, 0, 0x40, 0, reason]);
        assert_eq!(ended(0x3D), Some(HciEvent::Disconnected { handle: 0x40, mic_failure: true }));
        for reason in [0x08, 0x13, 0x16, 0x3E] {
            assert_eq!(ended(reason), Some(HciEvent::Disconnected { handle: 0x40, mic_failure: false }));
        }
    }

    #[test]
    fn a_short_event_is_none() {
        let whole = le_connection(1, 0, 0);
        for octets in 0..14 {
            assert_eq!(read(&whole[..octets]), None, "{octets}");
        }
    }
}
