//! Key material and the keys that are one value each: IRK, CSRK, BR/EDR link key.
//!
//! Octets are in the order of the management structures (least significant first),
//! which is also the order of SMP packets and HCI commands.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets of every Bluetooth key kept here.
pub const KEY_OCTETS: usize = 16;

/// Why a value cannot be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// All sixteen octets are zero: what a failed parse or an unset field looks like.
    #[error("an all-zero key is no key")]
    AllZero,
    /// The encryption size is outside 7 to 16 octets.
    #[error("encryption size {0} is outside 7 to 16 octets")]
    EncryptionSize(u8),
    /// A number that stands for no key type.
    #[error("key type {0} is not known")]
    KeyType(u8),
    /// A role octet that is neither 0 nor 1.
    #[error("the central flag is {0}; only 0 and 1 have a meaning")]
    Role(u8),
}

/// Sixteen secret octets.
///
/// There is no `Debug`, `Display` or `Serialize`: a key can reach a log or a topic only
/// through [`expose`](Self::expose), which is called where a key is loaded into the kernel,
/// written to the store or exported on request, and nowhere else. Memory is wiped on drop and
/// equality takes the same time whatever the octets are.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyMaterial([u8; KEY_OCTETS]);

impl KeyMaterial {
    /// Refuses an all-zero key.
    pub fn new(octets: [u8; KEY_OCTETS]) -> Result<Self, KeyError> {
        if bool::from(octets.ct_eq(&[0u8; KEY_OCTETS])) {
            return Err(KeyError::AllZero);
        }
        Ok(Self(octets))
    }

    /// The octets, least significant first. For `format/`, `store/` and the kernel loads only.
    pub fn expose(&self) -> &[u8; KEY_OCTETS] {
        &self.0
    }
}

impl PartialEq for KeyMaterial {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }
}

impl Eq for KeyMaterial {}

/// Identity resolving key: turns a peer's changing private addresses into its identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Irk {
    pub key: KeyMaterial,
}

/// Connection signature resolving key. The kernel reports these and has no command to load
/// them back; they are kept for exports.
#[derive(Clone, PartialEq, Eq)]
pub struct Csrk {
    pub key: KeyMaterial,
    /// Made in a pairing that authenticated the peer; none where the source does not say.
    pub authenticated: Option<bool>,
    /// Signing counter, where the source carries one.
    pub counter: Option<u64>,
}

/// BR/EDR link key types. [MGMT New Link Key]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkKeyType {
    Combination,
    LocalUnit,
    RemoteUnit,
    Debug,
    UnauthenticatedP192,
    AuthenticatedP192,
    Changed,
    UnauthenticatedP256,
    AuthenticatedP256,
}

impl LinkKeyType {
    const ALL: [(Self, u8, &'static str); 9] = [
        (Self::Combination, 0, "combination"),
        (Self::LocalUnit, 1, "local_unit"),
        (Self::RemoteUnit, 2, "remote_unit"),
        (Self::Debug, 3, "debug"),
        (Self::UnauthenticatedP192, 4, "p192_unauthenticated"),
        (Self::AuthenticatedP192, 5, "p192_authenticated"),
        (Self::Changed, 6, "changed"),
        (Self::UnauthenticatedP256, 7, "p256_unauthenticated"),
        (Self::AuthenticatedP256, 8, "p256_authenticated"),
    ];

    /// From the management interface's number.
    pub fn from_code(code: u8) -> Result<Self, KeyError> {
        let found = Self::ALL.iter().find(|(_, known, _)| *known == code);
        found.map(|(kind, _, _)| *kind).ok_or(KeyError::KeyType(code))
    }

    /// The management interface's number.
    pub fn code(self) -> u8 {
        self.row().1
    }

    /// The word that topics and formats use.
    pub fn as_str(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Self, u8, &'static str) {
        Self::ALL[self as usize]
    }
}

/// BR/EDR link key.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey {
    pub key: KeyMaterial,
    pub key_type: LinkKeyType,
    /// Length of the PIN it was made with, 0 where none was used; none where the source does not say.
    pub pin_length: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles for a type without `Debug` only: with one, two implementations fit and `_` is not known.
    macro_rules! assert_not_printable {
        ($($secret:ty),+ $(,)?) => {$({
            trait Either<Which> {
                fn exists() {}
            }
            struct Printable;
            impl<T: ?Sized> Either<()> for T {}
            impl<T: ?Sized + std::fmt::Debug> Either<Printable> for T {}
            <$secret as Either<_>>::exists();
        })+};
    }

    #[test]
    fn nothing_that_holds_a_key_can_be_printed_and_a_key_is_wiped_on_drop() {
        assert_not_printable!(
            KeyMaterial,
            Irk,
            Csrk,
            LinkKey,
            crate::bond::Ltk,
            crate::bond::Bond,
            crate::bond::BondTable,
            crate::bond::table::CapturedKey,
            crate::bond::FingerprintKey,
        );
        const fn is_wiped<T: ZeroizeOnDrop>() {}
        is_wiped::<KeyMaterial>();
        let mut key = KeyMaterial::new([7; KEY_OCTETS]).unwrap();
        key.zeroize();
        assert_eq!(key.expose(), &[0; KEY_OCTETS]);
    }

    #[test]
    fn an_all_zero_key_cannot_be_built() {
        assert_eq!(KeyMaterial::new([0; KEY_OCTETS]).err(), Some(KeyError::AllZero));
        let mut octets = [0; KEY_OCTETS];
        octets[15] = 1;
        assert!(KeyMaterial::new(octets).is_ok());
    }

    #[test]
    fn keys_are_equal_when_all_octets_are() {
        let key = |last| {
            let mut octets = [7; KEY_OCTETS];
            octets[15] = last;
            KeyMaterial::new(octets).unwrap()
        };
        assert!(key(1) == key(1));
        assert!(key(1) != key(2));
    }

    #[test]
    fn link_key_types_keep_their_numbers() {
        for code in 0..=8 {
            assert_eq!(LinkKeyType::from_code(code).unwrap().code(), code);
        }
        assert_eq!(LinkKeyType::from_code(9), Err(KeyError::KeyType(9)));
    }
}
