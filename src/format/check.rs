//! Values that several formats share, read strictly: addresses, keys, sizes.

use zeroize::Zeroizing;

use super::NAME_OCTETS_MAX;
use super::json::{Bad, Json};
use crate::bond::{AddressError, EncryptionSize, Irk, KeyMaterial, KeyType, PeerAddress, PeerAddressType};

/// LTK of security keys whose private part is public. [BLUEZ src/adapter.c blocked_keys]
const BLOCKED_LTK: [u8; 16] =
    [0xbf, 0x01, 0xfb, 0x9d, 0x4e, 0xf3, 0xbc, 0x36, 0xd8, 0x74, 0xf5, 0x39, 0x41, 0x38, 0x68, 0x4c];

/// IRK of the same keys. [BLUEZ src/adapter.c blocked_keys]
const BLOCKED_IRK: [u8; 16] =
    [0xa5, 0x99, 0xba, 0xe4, 0xe1, 0x7c, 0xa6, 0x18, 0x22, 0x8e, 0x07, 0x56, 0xb4, 0xe8, 0x5f, 0x01];

const COMPROMISED: &str = "is a key that is known to be compromised";

/// An LTK that is known to be compromised.
pub(super) fn is_blocked_ltk(key: &KeyMaterial) -> bool {
    key.expose() == &BLOCKED_LTK
}

/// An IRK that is known to be compromised.
pub(super) fn is_blocked_irk(key: &KeyMaterial) -> bool {
    key.expose() == &BLOCKED_IRK
}

/// Sixteen octets that may serve as an LTK: neither all zero nor known to be compromised.
pub(super) fn ltk(octets: [u8; 16]) -> Result<KeyMaterial, Bad> {
    let key = KeyMaterial::new(octets).map_err(Bad::new)?;
    if is_blocked_ltk(&key) { Err(Bad::new(COMPROMISED)) } else { Ok(key) }
}

/// Sixteen octets that may serve as an IRK.
pub(super) fn irk(octets: [u8; 16]) -> Result<Irk, Bad> {
    let key = KeyMaterial::new(octets).map_err(Bad::new)?;
    if is_blocked_irk(&key) { Err(Bad::new(COMPROMISED)) } else { Ok(Irk { key }) }
}

/// A Secure Connections key has no EDIV and no Rand.
pub(super) fn no_diversifier(ediv: u16, rand: [u8; 8]) -> Result<(), Bad> {
    let reason = "is not zero, as it must be for a Secure Connections key";
    match (ediv, rand) {
        (0, [0, 0, 0, 0, 0, 0, 0, 0]) => Ok(()),
        (0, _) => Err(Bad::new(reason).in_field("rand")),
        _ => Err(Bad::new(reason).in_field("ediv")),
    }
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

/// A peer as a file names it: an identity, or the stand-in for an address that is none on Linux.
pub(super) struct NamedPeer {
    pub peer: PeerAddress,
    /// Set for a stand-in: the address as text, upper case.
    pub private: Option<String>,
}

/// Why a bond under a private address is of no use.
pub(super) const PRIVATE_ADDRESS: &str =
    "the random address is not a static one: Linux cannot load keys under it";

/// A peer's address, least significant octet first, next to its type. A private address gives its
/// stand-in: the same with its two top bits set.
pub(super) fn named_peer(octets: [u8; 6], kind: PeerAddressType) -> Result<NamedPeer, Bad> {
    match PeerAddress::from_wire(octets, kind) {
        Err(AddressError::Private) => {
            let mut raised = octets;
            raised[5] |= 0xC0;
            let peer = PeerAddress::from_wire(raised, kind).map_err(Bad::new)?;
            let text: Vec<_> = octets.iter().rev().map(|octet| format!("{octet:02X}")).collect();
            Ok(NamedPeer { peer, private: Some(text.join(":")) })
        }
        outcome => outcome.map(|peer| NamedPeer { peer, private: None }).map_err(Bad::new),
    }
}

/// A word that a file uses as a name of its own (`hci0`) and that a report may repeat.
pub(super) fn is_plain_word(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
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
    fn a_private_address_gets_a_stand_in_and_nothing_else_does() {
        let random = PeerAddressType::StaticRandom;
        let private = named_peer([0xAA, 0xFB, 0x0D, 0x94, 0x81, 0x70], random).ok().unwrap();
        assert_eq!(private.private.as_deref(), Some("70:81:94:0D:FB:AA"));
        assert_eq!(private.peer.to_string(), "F0:81:94:0D:FB:AA");
        assert!(named_peer([1, 2, 3, 4, 5, 0xC6], random).ok().unwrap().private.is_none());
        assert!(named_peer([1, 2, 3, 4, 5, 6], PeerAddressType::Public).ok().unwrap().private.is_none());
        assert!(named_peer([0; 6], random).is_err());
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened("lock"), "lock");
        let long = format!("{}é", "a".repeat(NAME_OCTETS_MAX - 1));
        assert_eq!(shortened(&long).len(), NAME_OCTETS_MAX - 1);
    }
}
