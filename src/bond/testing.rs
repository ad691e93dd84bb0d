//! Bonds for unit tests: the smallest that are valid, told apart by one octet.

use super::{
    Bond, BondMetadata, Custody, EncryptionSize, Irk, KeyMaterial, KeyType, Ltk, PeerAddress,
    PeerAddressType, Role, Source, UnixMillis,
};

pub(crate) fn peer(text: &str) -> PeerAddress {
    PeerAddress::parse(text, PeerAddressType::Public).unwrap()
}

pub(crate) fn material(last: u8) -> KeyMaterial {
    let mut octets = [0xA5; 16];
    octets[15] = last;
    KeyMaterial::new(octets).unwrap()
}

pub(crate) fn irk(last: u8) -> Irk {
    Irk { key: material(last) }
}

pub(crate) fn secure_ltk(last: u8) -> Ltk {
    let kind = KeyType::P256Unauthenticated;
    Ltk::new(kind, Role::Peripheral, EncryptionSize::FULL, 0, [0; 8], material(last))
}

pub(crate) fn legacy_ltk(role: Role, last: u8) -> Ltk {
    let kind = KeyType::LegacyUnauthenticated;
    Ltk::new(kind, role, EncryptionSize::FULL, 0x1234, [last; 8], material(last))
}

pub(crate) fn metadata() -> BondMetadata {
    BondMetadata::new(Custody::Ours, Source::Captured, UnixMillis(1_000))
}

pub(crate) fn secure_bond(address: &str, last: u8) -> Bond {
    let mut bond = Bond::new(peer(address), metadata());
    bond.put_ltk(secure_ltk(last));
    bond
}
