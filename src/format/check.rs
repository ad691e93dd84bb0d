//! Values that several formats share, read strictly: addresses, keys, sizes.

use zeroize::Zeroizing;

use super::NAME_OCTETS_MAX;
use super::json::{Bad, Json};
use crate::bond::{EncryptionSize, KeyMaterial, KeyType, PeerAddress, PeerAddressType};

/// LTK of security keys whose private part is public. [BLUEZ src/adapter.c blocked_keys]
const BLOCKED_LTK: [u8; 16] =
    [0xbf, 0x01, 0xfb, 0x9d, 0x4e, 0xf3, 0xbc, 0x36, 0xd8, 0x74, 0xf5, 0x39, 0x41, 0x38, 0x68, 0x4c];

/// IRK of the same keys. [BLUEZ src/adapter.c blocked_keys]
const BLOCKED_IRK: [u8; 16] =
    [0xa5, 0x99, 0xba, 0xe4, 0xe1, 0x7c, 0xa6, 0x18, 0x22, 0x8e, 0x07, 0x56, 0xb4, 0xe8, 0x5f, 0x01];

/// An LTK that is known to be compromised.
pub(super) fn is_blocked_ltk(key: &KeyMaterial) -> bool {
    key.expose() == &BLOCKED_LTK
}

/// An IRK that is known to be compromised.
pub(super) fn is_blocked_irk(key: &KeyMaterial) -> bool {
    key.expose() == &BLOCKED_IRK
}

/// Exactly `N` octets as hexadecimal digits.
pub(super) fn octets<const N: usize>(json: &Json) -> Result<[u8; N], Bad> {
    let mut octets = [0; N];
    hex::decode_to_slice(json.as_text()?, &mut octets)
        .map_err(|_| Bad::new(format!("is not {N} octets as {} hexadecimal digits", N * 2)))?;
    Ok(octets)
}

/// Sixteen octets of key, not all zero.
pub(super) fn key(json: &Json) -> Result<KeyMaterial, Bad> {
    let octets = Zeroizing::new(octets::<16>(json)?);
    KeyMaterial::new(*octets).map_err(Bad::new)
}

pub(super) fn key_type(json: &Json) -> Result<KeyType, Bad> {
    KeyType::from_code(json.as_integer()?).map_err(Bad::new)
}

pub(super) fn encryption_size(json: &Json) -> Result<EncryptionSize, Bad> {
    EncryptionSize::new(json.as_integer()?).map_err(Bad::new)
}

/// A peer's address next to its type.
pub(super) fn peer(text: &Json, kind: PeerAddressType) -> Result<PeerAddress, Bad> {
    PeerAddress::parse(text.as_text()?, kind).map_err(Bad::new)
}

/// A name of bounded length.
pub(super) fn name(json: &Json) -> Result<String, Bad> {
    let text = json.as_text()?;
    if text.len() > NAME_OCTETS_MAX {
        return Err(Bad::new(format!("is longer than {NAME_OCTETS_MAX} octets")));
    }
    Ok(text.to_owned())
}

/// As much of a name as may be written.
pub(crate) fn shortened(name: &str) -> &str {
    let mut end = name.len().min(NAME_OCTETS_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened("lock"), "lock");
        let long = format!("{}é", "a".repeat(NAME_OCTETS_MAX - 1));
        assert_eq!(shortened(&long).len(), NAME_OCTETS_MAX - 1);
    }
}
