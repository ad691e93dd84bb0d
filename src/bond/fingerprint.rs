//! A short name for a bond's keys that people can compare and nobody can turn back.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::bond::Bond;
use super::details::LocalIdentity;
use super::ltk::Ltk;

/// Octets of the node's fingerprint key: as long as the hash's output, beyond which it gains nothing.
pub const FINGERPRINT_KEY_OCTETS: usize = 32;

/// The secret that makes fingerprints of this node mean nothing elsewhere.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct FingerprintKey([u8; FINGERPRINT_KEY_OCTETS]);

/// Eight hexadecimal digits of a keyed hash over all the keys of a bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 4]);

impl Fingerprint {
    /// As it is stored.
    pub const fn to_octets(self) -> [u8; 4] {
        self.0
    }

    /// Back from that.
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(octets)
    }
}

impl FingerprintKey {
    pub const fn new(octets: [u8; FINGERPRINT_KEY_OCTETS]) -> Self {
        Self(octets)
    }

    /// The octets, for the file that keeps them.
    pub const fn expose(&self) -> &[u8; FINGERPRINT_KEY_OCTETS] {
        &self.0
    }

    /// Fingerprint of a bond's keys.
    pub fn fingerprint(&self, bond: &Bond) -> Fingerprint {
        let mut hash = self.hash(b"bond");
        feed_bond(&mut hash, bond);
        let out = hash.finalize().into_bytes();
        Fingerprint([out[0], out[1], out[2], out[3]])
    }

    /// Fingerprint of an adapter's own identity.
    pub fn fingerprint_of_identity(&self, identity: &LocalIdentity) -> Fingerprint {
        let mut hash = self.hash(b"identity");
        hash.update(identity.irk.key.expose());
        let out = hash.finalize().into_bytes();
        Fingerprint([out[0], out[1], out[2], out[3]])
    }

    /// A keyed hash to be fed by the caller; `domain` keeps uses apart.
    pub(crate) fn hash(&self, domain: &[u8]) -> Hmac<Sha256> {
        let mut hash = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        hash.update(domain);
        hash
    }
}

/// Feeds every part of a bond that a peer could notice, each behind a tag of its own, so that
/// two bonds feed the same octets only when their keys are the same.
pub(crate) fn feed_bond(hash: &mut Hmac<Sha256>, bond: &Bond) {
    hash.update(&bond.peer.to_wire());
    hash.update(bond.peer.kind().as_str().as_bytes());
    for ltk in bond.ltks() {
        feed_ltk(hash, ltk);
    }
    if let Some(irk) = &bond.irk {
        hash.update(b"irk");
        hash.update(irk.key.expose());
    }
    for (tag, csrk) in [(b"csl", &bond.csrk_local), (b"csr", &bond.csrk_remote)] {
        if let Some(csrk) = csrk {
            hash.update(tag);
            hash.update(csrk.key.expose());
        }
    }
    if let Some(link_key) = &bond.link_key {
        hash.update(&[b'l', b'k', link_key.key_type.code(), link_key.pin_length.unwrap_or(0)]);
        hash.update(link_key.key.expose());
    }
}

fn feed_ltk(hash: &mut Hmac<Sha256>, ltk: &Ltk) {
    hash.update(&[b'l', b't', ltk.key_type.code(), ltk.central_flag(), ltk.encryption_size.octets()]);
    hash.update(&ltk.ediv.to_le_bytes());
    hash.update(&ltk.rand);
    hash.update(ltk.key.expose());
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing;

    #[test]
    fn a_fingerprint_is_stable_and_follows_every_key() {
        let key = FingerprintKey::new([9; 32]);
        let bond = testing::secure_bond("C0:FF:EE:00:00:01", 1);
        assert_eq!(key.fingerprint(&bond), key.fingerprint(&bond.clone()));
        let mut other = bond.clone();
        other.irk = Some(testing::irk(5));
        assert_ne!(key.fingerprint(&bond), key.fingerprint(&other));
        assert_ne!(key.fingerprint(&bond), FingerprintKey::new([8; 32]).fingerprint(&bond));
    }

    #[test]
    fn a_fingerprint_is_eight_hexadecimal_digits() {
        let text = FingerprintKey::new([9; 32])
            .fingerprint(&testing::secure_bond("C0:FF:EE:00:00:01", 1))
            .to_string();
        assert_eq!(text.len(), 8);
        assert!(text.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}
