//! Sealed records: what a thief of the disk finds in place of those of `record`.
//!
//! | offset | octets | field |
//! |---|---|---|
//! | 0 | 4 | mark, `bks` and 1 |
//! | 4 | 24 | nonce |
//! | 28 | n | the record, enciphered |
//! | 28 + n | 16 | authentication tag |
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03). The tag covers the place as well: the adapter and the key of the
//! database under which the record stands. A record that was moved, changed or made up does not open; one that was
//! replaced by its own predecessor does, and is found by the seal of its tree. Must never use a nonce
//! twice: each holds random octets of this process and a count. Driven by `sealing`.

use std::sync::atomic::{AtomicU64, Ordering};

use chacha20poly1305::{AeadInPlace, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::RecordError;
use crate::bond::AdapterAddress;
use crate::bond::address::ADDRESS_OCTETS;

/// No record in the clear begins so, nor does one after a few flipped bits.
const MARK: [u8; 4] = *b"bks\x01";
const NONCE_OCTETS: usize = 24;
const TAG_OCTETS: usize = 16;
const HEAD_OCTETS: usize = MARK.len() + NONCE_OCTETS;

/// Random octets in each nonce; the rest of it counts.
pub(in crate::store) const NONCE_RANDOM_OCTETS: usize = 16;

/// Octets of a key for records.
pub(in crate::store) const RECORD_KEY_OCTETS: usize = 32;

/// Keeps these tags apart from those of anything else under the same key.
const PURPOSE: &[u8] = b"bondkeeper record 1";

/// The key that records are sealed with; wiped on drop by its own crate.
pub(in crate::store) struct RecordKey {
    cipher: XChaCha20Poly1305,
    random: [u8; NONCE_RANDOM_OCTETS],
    count: AtomicU64,
}

impl RecordKey {
    /// `random`: fresh octets, never the same for one key.
    pub fn new(key: &[u8; RECORD_KEY_OCTETS], random: [u8; NONCE_RANDOM_OCTETS]) -> Self {
        Self { cipher: XChaCha20Poly1305::new(key.into()), random, count: AtomicU64::new(0) }
    }

    /// Seals the record of a place; none when the cipher refuses, which it does for lengths that no record has.
    pub fn seal(&self, adapter: Option<AdapterAddress>, key: &[u8], record: &[u8]) -> Option<Vec<u8>> {
        let nonce = self.nonce();
        let mut sealed = Vec::with_capacity(HEAD_OCTETS + record.len() + TAG_OCTETS);
        sealed.extend_from_slice(&MARK);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(record);
        let content = &mut sealed[HEAD_OCTETS..];
        let tag = self.cipher.encrypt_in_place_detached(&nonce, &place(adapter, key), content).ok();
        let Some(tag) = tag else {
            zeroize::Zeroize::zeroize(&mut sealed);
            return None;
        };
        sealed.extend_from_slice(&tag);
        Some(sealed)
    }

    /// Opens the record of a place.
    pub fn open(
        &self,
        adapter: Option<AdapterAddress>,
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let (head, rest) = sealed.split_at_checked(HEAD_OCTETS).ok_or(RecordError::Short)?;
        let end = rest.len().checked_sub(TAG_OCTETS).ok_or(RecordError::Short)?;
        let (content, tag) = rest.split_at(end);
        if !is_sealed(head) {
            return Err(RecordError::NotSealed);
        }
        let mut record = Zeroizing::new(content.to_vec());
        let nonce = XNonce::from_slice(&head[MARK.len()..]);
        let opened = self.cipher.decrypt_in_place_detached(
            nonce,
            &place(adapter, key),
            &mut record,
            Tag::from_slice(tag),
        );
        opened.map(|()| record).map_err(|_| RecordError::Check)
    }

    fn nonce(&self) -> XNonce {
        let mut nonce = XNonce::default();
        nonce[..NONCE_RANDOM_OCTETS].copy_from_slice(&self.random);
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        nonce[NONCE_RANDOM_OCTETS..].copy_from_slice(&count.to_le_bytes());
        nonce
    }
}

/// Whether these are the first octets of a sealed record.
pub(in crate::store) fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MARK)
}

/// What the tag covers besides the record. The adapter has a fixed length, so no two places read the same.
fn place(adapter: Option<AdapterAddress>, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(PURPOSE.len() + ADDRESS_OCTETS + key.len());
    place.extend_from_slice(PURPOSE);
    place.extend_from_slice(&adapter.map_or([0; ADDRESS_OCTETS], AdapterAddress::to_wire));
    place.extend_from_slice(key);
    place
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8] = b"a place";
    const RECORD: &[u8] = b"keys of a lock that nobody may read";

    fn adapter(last: u8) -> Option<AdapterAddress> {
        AdapterAddress::from_wire([last, 0x71, 0xDA, 0x7D, 0x1A, 0]).ok()
    }

    fn record_key() -> RecordKey {
        RecordKey::new(&[7; RECORD_KEY_OCTETS], [9; NONCE_RANDOM_OCTETS])
    }

    fn sealed() -> Vec<u8> {
        record_key().seal(adapter(1), KEY, RECORD).unwrap()
    }

    #[test]
    fn a_record_opens_in_its_place_and_shows_nothing_of_itself() {
        let octets = sealed();
        assert_eq!(octets.len(), RECORD.len() + HEAD_OCTETS + TAG_OCTETS);
        assert!(is_sealed(&octets) && !octets.windows(4).any(|window| window == &RECORD[..4]));
        assert_eq!(&**record_key().open(adapter(1), KEY, &octets).unwrap(), RECORD);
    }

    #[test]
    fn a_record_opens_in_no_other_place_and_with_no_other_key() {
        let octets = sealed();
        for (adapter, key) in [(adapter(2), KEY), (None, KEY), (adapter(1), b"b place"), (adapter(1), b"")] {
            assert_eq!(record_key().open(adapter, key, &octets).err(), Some(RecordError::Check));
        }
        let other = RecordKey::new(&[8; RECORD_KEY_OCTETS], [9; NONCE_RANDOM_OCTETS]);
        assert_eq!(other.open(adapter(1), KEY, &octets).err(), Some(RecordError::Check));
    }

    #[test]
    fn no_nonce_is_used_twice() {
        let key = record_key();
        let nonces: std::collections::BTreeSet<Vec<u8>> = (0..1000)
            .map(|_| key.seal(adapter(1), KEY, RECORD).unwrap()[MARK.len()..HEAD_OCTETS].to_vec())
            .collect();
        assert_eq!(nonces.len(), 1000);
        // Another process has other random octets.
        let other = RecordKey::new(&[7; RECORD_KEY_OCTETS], [1; NONCE_RANDOM_OCTETS]);
        assert!(!nonces.contains(&other.seal(adapter(1), KEY, RECORD).unwrap()[MARK.len()..HEAD_OCTETS]));
    }

    #[test]
    fn what_is_in_the_clear_is_said_to_be_so() {
        assert_eq!(record_key().open(adapter(1), KEY, &[1; 60]).err(), Some(RecordError::NotSealed));
        assert_eq!(record_key().open(adapter(1), KEY, b"bks\x01").err(), Some(RecordError::Short));
    }

    #[test]
    fn the_cipher_is_the_published_one() {
        // draft-irtf-cfrg-xchacha-03, appendix A.3.1: key, nonce, associated data, plaintext, ciphertext and tag.
        let key: Vec<u8> = (0x80..0xA0).collect();
        let cipher = XChaCha20Poly1305::new_from_slice(&key).unwrap();
        let nonce: Vec<u8> = (0x40..0x58).collect();
        let associated = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
        let mut text =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                         sunscreen would be it."
                .to_vec();
        let tag =
            cipher.encrypt_in_place_detached(XNonce::from_slice(&nonce), &associated, &mut text).unwrap();
        assert_eq!(hex::encode(&text[..16]), "bd6d179d3e83d43b9576579493c0e939");
        assert_eq!(hex::encode(tag), "c0875924c1c7987947deafd8780acf49");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn a_changed_or_shortened_record_is_refused(at: prop::sample::Index, bit in 0..8u32, cut: prop::sample::Index) {
            let mut octets = sealed();
            let at = at.index(octets.len());
            octets[at] ^= 1 << bit;
            prop_assert!(record_key().open(adapter(1), KEY, &octets).is_err());
            octets[at] ^= 1 << bit;
            octets.truncate(cut.index(octets.len()));
            prop_assert!(record_key().open(adapter(1), KEY, &octets).is_err());
        }
    }
}
