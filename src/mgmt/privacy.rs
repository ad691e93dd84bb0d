//! How a controller hides: the parameters of Set Privacy.
//!
//! | offset | octets | field |
//! |---|---|---|
//! | 0 | 1 | privacy: 0 off, 1 on, 2 limited |
//! | 1 | 16 | local IRK, in management order |
//!
//! Source: `[MGMT Set Privacy]`. The kernel refuses it while the controller is powered, and with privacy off it
//! forgets the IRK whatever the command holds. [LINUX net/bluetooth/mgmt.c set_privacy]
//!
//! Must never show the IRK. Pure.

use std::fmt;

use zeroize::Zeroizing;

use super::frame::{Cursor, Short};
use crate::bond::{Irk, KeyMaterial, LocalIdentity, Privacy};

const IRK_OCTETS: usize = 16;

/// See the module text.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivacySetting {
    pub privacy: Privacy,
    /// None for an all-zero one.
    pub irk: Option<Irk>,
}

impl PrivacySetting {
    pub const OCTETS: usize = 1 + IRK_OCTETS;

    /// What gives the controller this identity.
    pub fn of(identity: &LocalIdentity) -> Option<Self> {
        Some(Self { privacy: identity.privacy?, irk: Some(identity.irk.clone()) })
    }

    /// Short, too, for a kind of privacy that the kernel does not know.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Short> {
        let privacy = Privacy::from_code(cursor.u8()?).ok_or(Short)?;
        let octets: Zeroizing<[u8; IRK_OCTETS]> = Zeroizing::new(cursor.array()?);
        Ok(Self { privacy, irk: KeyMaterial::new(*octets).ok().map(|key| Irk { key }) })
    }

    pub(super) fn put(&self, frame: &mut Vec<u8>) {
        frame.push(self.privacy.code());
        match &self.irk {
            Some(irk) => frame.extend_from_slice(irk.key.expose()),
            None => frame.extend_from_slice(&[0; IRK_OCTETS]),
        }
    }
}

impl fmt::Debug for PrivacySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivacySetting").field("privacy", &self.privacy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::irk;

    #[test]
    fn a_setting_is_read_as_it_is_written_and_shows_no_key() {
        for privacy in [Privacy::Off, Privacy::On, Privacy::Limited] {
            for irk in [Some(irk(0x5A)), None] {
                let setting = PrivacySetting { privacy, irk };
                let mut octets = Vec::new();
                setting.put(&mut octets);
                assert_eq!(octets.len(), PrivacySetting::OCTETS);
                assert!(PrivacySetting::read(&mut Cursor::new(&octets)) == Ok(setting.clone()));
                assert!(!format!("{setting:?}").to_lowercase().contains("a5a5"));
            }
        }
        assert!(PrivacySetting::read(&mut Cursor::new(&[3; 17])).is_err());
    }
}
