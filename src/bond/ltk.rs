//! Long term keys.

use super::key::{KeyError, KeyMaterial};

/// Which pairing procedure made a key, and whether it authenticated the peer.
/// [MGMT New Long Term Key]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    LegacyUnauthenticated,
    LegacyAuthenticated,
    P256Unauthenticated,
    P256Authenticated,
    /// Made with the published debug key pair. The kernel refuses to load it.
    P256Debug,
}

impl KeyType {
    const ALL: [(Self, &'static str); 5] = [
        (Self::LegacyUnauthenticated, "legacy_unauthenticated"),
        (Self::LegacyAuthenticated, "legacy_authenticated"),
        (Self::P256Unauthenticated, "p256_unauthenticated"),
        (Self::P256Authenticated, "p256_authenticated"),
        (Self::P256Debug, "p256_debug"),
    ];

    /// From the management interface's number, 0 to 4.
    pub fn from_code(code: u8) -> Result<Self, KeyError> {
        let row = Self::ALL.get(usize::from(code));
        row.map(|(kind, _)| *kind).ok_or(KeyError::KeyType(code))
    }

    /// The management interface's number, 0 to 4.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The word that topics and formats use.
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Made by LE Secure Connections: one key serves both roles.
    pub const fn is_secure_connections(self) -> bool {
        matches!(self, Self::P256Unauthenticated | Self::P256Authenticated | Self::P256Debug)
    }

    /// The pairing authenticated the peer (passkey, numeric comparison or out of band).
    pub const fn is_authenticated(self) -> bool {
        matches!(self, Self::LegacyAuthenticated | Self::P256Authenticated)
    }
}

/// The local adapter's role on the links that a legacy key encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Central,
    Peripheral,
}

impl Role {
    /// From the `central` octet of a management record.
    pub fn from_central_flag(flag: u8) -> Result<Self, KeyError> {
        match flag {
            1 => Ok(Self::Central),
            0 => Ok(Self::Peripheral),
            other => Err(KeyError::Role(other)),
        }
    }
}

/// The place an LTK takes in a bond: a bond holds one key a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LtkSlot {
    /// Legacy, for one role.
    Legacy(Role),
    /// Secure Connections, for both.
    SecureConnections,
}

/// Effective octets of a key, 7 to 16. [CORE Vol 3 Part H 2.3.4]
///
/// Some kernels accept a larger size and then overrun a buffer; nothing here can hold one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EncryptionSize(u8);

impl EncryptionSize {
    /// The full sixteen octets.
    pub const FULL: Self = Self(16);

    /// Refuses a size outside 7 to 16.
    pub const fn new(octets: u8) -> Result<Self, KeyError> {
        if octets < 7 || octets > 16 {
            return Err(KeyError::EncryptionSize(octets));
        }
        Ok(Self(octets))
    }

    /// The number of octets.
    pub const fn octets(self) -> u8 {
        self.0
    }
}

/// A long term key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ltk {
    pub key_type: KeyType,
    slot: LtkSlot,
    pub encryption_size: EncryptionSize,
    /// Diversifier that names a legacy key on the air; 0 for Secure Connections.
    pub ediv: u16,
    /// Random number that names a legacy key on the air, least significant octet first;
    /// zeros for Secure Connections.
    pub rand: [u8; 8],
    pub key: KeyMaterial,
}

impl Ltk {
    /// `role` is kept for legacy keys and has no meaning for Secure Connections.
    pub fn new(
        key_type: KeyType,
        role: Role,
        encryption_size: EncryptionSize,
        ediv: u16,
        rand: [u8; 8],
        key: KeyMaterial,
    ) -> Self {
        let slot =
            if key_type.is_secure_connections() { LtkSlot::SecureConnections } else { LtkSlot::Legacy(role) };
        Self { key_type, slot, encryption_size, ediv, rand, key }
    }

    /// The place it takes in its bond.
    pub const fn slot(&self) -> LtkSlot {
        self.slot
    }

    /// The `central` octet of a management record: 1 only for a legacy key of the central role.
    /// The kernel itself reports Secure Connections keys with 0.
    pub const fn central_flag(&self) -> u8 {
        match self.slot {
            LtkSlot::Legacy(Role::Central) => 1,
            LtkSlot::Legacy(Role::Peripheral) | LtkSlot::SecureConnections => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_sizes_outside_seven_to_sixteen_are_refused() {
        for octets in [0, 6, 17, 255] {
            assert_eq!(EncryptionSize::new(octets), Err(KeyError::EncryptionSize(octets)));
        }
        for octets in 7..=16 {
            assert_eq!(EncryptionSize::new(octets).unwrap().octets(), octets);
        }
    }

    #[test]
    fn a_secure_connections_key_has_one_slot_whatever_role_it_came_with() {
        let key = |role| {
            let material = KeyMaterial::new([1; 16]).unwrap();
            Ltk::new(KeyType::P256Unauthenticated, role, EncryptionSize::FULL, 0, [0; 8], material)
        };
        assert_eq!(key(Role::Central).slot(), key(Role::Peripheral).slot());
        assert_eq!(key(Role::Central).central_flag(), 0);
    }

    #[test]
    fn key_types_keep_their_numbers() {
        for code in 0..=4 {
            assert_eq!(KeyType::from_code(code).unwrap().code(), code);
        }
        assert_eq!(KeyType::from_code(5), Err(KeyError::KeyType(5)));
    }
}
