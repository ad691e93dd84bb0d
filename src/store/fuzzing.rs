//! Bodies of the fuzz targets for what a disk gives back; the tests run them on damaged records. No part of the
//! product.
//!
//! Whatever the octets are: no panic, and what passes for a record is the record that is written again. Driven by
//! `fuzz/` and the tests.

use std::sync::LazyLock;

use zeroize::Zeroizing;

use super::record::{self, Content, ContentRef, RecordError, decode, encode, peer_key};
use super::sealing::{self, Sealing};
use crate::bond::{AdapterAddress, PeerAddress};
use crate::format::bondkeeper::{read, salvage};
use crate::format::sealed::Identity;

/// A record of the database, without its check: the octets are given the right one, so that what lies behind it is
/// reached.
pub fn record(body: &[u8]) {
    let (Ok(adapter), Ok(peer)) = ("AA:BB:CC:00:00:01".parse::<AdapterAddress>(), a_peer()) else { return };
    let key = peer_key(peer);
    // As it is, and with its check mended.
    let _ = decode(Some(adapter), &key, body);
    let mended = mended(&key, body);
    let Ok(found) = decode(Some(adapter), &key, &mended) else { return };
    let content = match &found.content {
        Content::Bond(bond) => ContentRef::Bond(bond),
        Content::Adapter { record, revision } => ContentRef::Adapter { record, revision: *revision },
        Content::Seal(seal) => ContentRef::Seal(*seal),
        Content::Removal => ContentRef::Removal,
        Content::Header => ContentRef::Header,
    };
    let again = encode(Some(adapter), &key, found.generation, content);
    let found_again = decode(Some(adapter), &key, &again);
    assert!(found_again.is_ok(), "what was read and written again cannot be read");
}

fn mended(key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mended = body.to_vec();
    let mut check = crc32fast::Hasher::new();
    check.update(key);
    check.update(body);
    mended.extend_from_slice(&check.finalize().to_le_bytes());
    mended
}

/// A key pair for this alone. Not drawn for each run: what was found once is found again.
const KEY_PAIR: &str = "AGE-SECRET-KEY-1V0MFVUDMF8XHFCPADPYTZXG0SU4DNN9APY2XULDYZYDRZ0CDW9HQ2DLWTU";

static SEALED: LazyLock<Option<Sealing>> =
    LazyLock::new(|| sealing::of_identity(Identity::from_text(KEY_PAIR).ok()?).ok());

/// What the disk gives back of a sealed store, for a record and for a file: whatever it is, what we did not seal does not
/// open, and what we did opens in its place only.
pub fn sealed(octets: &[u8]) {
    let (Ok(adapter), Ok(peer), Some(sealing)) =
        ("AA:BB:CC:00:00:01".parse::<AdapterAddress>(), a_peer(), &*SEALED)
    else {
        return;
    };
    let (adapter, key) = (Some(adapter), peer_key(peer));
    // As it is, in a store that is sealed and in one that is not.
    assert!(sealing.decode(adapter, &key, octets).is_err(), "a record that nobody sealed was opened");
    let in_the_clear = Sealing::Clear.decode(adapter, &key, octets);
    let is_marked = record::sealed::is_sealed(octets);
    assert!(!is_marked || in_the_clear.err() == Some(RecordError::Sealed), "a sealed record was read");
    // As the content of a seal that is right, with its check mended: it is read as it would be in the clear.
    let clear = mended(&key, octets);
    let Some(put) = sealing.seal_record(adapter, &key, &clear) else { return };
    let (found, expected) = (sealing.decode(adapter, &key, &put), decode(adapter, &key, &clear));
    assert!(found == expected, "a seal has changed what it holds");
    assert!(sealing.decode(None, &key, &put).is_err(), "a record was opened in another place");
    // One octet of it is another.
    let mut changed = put;
    let at =
        octets.iter().fold(0_usize, |sum, octet| sum.wrapping_mul(31) ^ usize::from(*octet)) % changed.len();
    changed[at] ^= 1 << (at % 8);
    assert!(sealing.decode(adapter, &key, &changed).is_err(), "a changed record was opened");
    // A file: only one that was sealed for the key opens, and then whatever is in it may be read.
    if let Ok(content) = sealing.open_file(Zeroizing::new(octets.to_vec())) {
        snapshot(&content);
    }
}

fn a_peer() -> Result<PeerAddress, crate::bond::AddressError> {
    PeerAddress::from_wire([1, 0, 0, 0xEE, 0xFF, 0xC0], crate::bond::PeerAddressType::Public)
}

/// A snapshot file.
pub fn snapshot(bytes: &[u8]) {
    let whole = read(bytes);
    let saved = salvage(bytes);
    assert!(whole.is_err() || saved.is_ok(), "what is whole cannot be salvaged");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bond::testing::secure_bond;
    use crate::bond::{BondTable, UnixMillis};
    use crate::store::testing::{ADAPTER, adapter, held};

    fn a_record() -> Vec<u8> {
        let bond = secure_bond("C0:FF:EE:00:00:01", 1);
        let adapter = "AA:BB:CC:00:00:01".parse().unwrap();
        let record = encode(Some(adapter), &peer_key(bond.peer), 1, ContentRef::Bond(&bond));
        record[..record.len() - 4].to_vec()
    }

    fn a_snapshot() -> Vec<u8> {
        let mut table = BondTable::new();
        table.insert(secure_bond("C0:FF:EE:00:00:01", 1)).unwrap();
        crate::store::snapshot::encode(adapter(ADAPTER), &held(table), UnixMillis(1)).unwrap().to_vec()
    }

    fn damaged(whole: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
        let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        let cut = prop::option::weighted(0.3, any::<prop::sample::Index>());
        (flips, cut).prop_map(move |(flips, cut)| {
            let mut octets = whole.clone();
            for (at, octet) in flips {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            if let Some(cut) = cut {
                octets.truncate(cut.index(octets.len() + 1));
            }
            octets
        })
    }

    /// Sealed as the service does, for the key pair of these tests.
    fn a_sealed_record() -> Vec<u8> {
        // Of another peer than the target's: in its own place it would open, as it should.
        let bond = secure_bond("C0:FF:EE:00:00:02", 1);
        let adapter = "AA:BB:CC:00:00:01".parse().ok();
        let sealing = SEALED.as_ref().unwrap();
        sealing.encode(adapter, &peer_key(bond.peer), 1, ContentRef::Bond(&bond)).unwrap().to_vec()
    }

    fn a_sealed_snapshot() -> Vec<u8> {
        SEALED.as_ref().unwrap().seal_file(a_snapshot().into()).unwrap().to_vec()
    }

    #[test]
    fn a_sealed_snapshot_opens_and_is_read() {
        let opened = SEALED.as_ref().unwrap().open_file(a_sealed_snapshot().into()).unwrap();
        assert!(read(&opened).is_ok());
        sealed(&a_sealed_snapshot());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn a_damaged_record_is_read_or_refused(octets in damaged(a_record())) {
            record(&octets);
        }

        #[test]
        fn a_damaged_snapshot_is_read_salvaged_or_refused(octets in damaged(a_snapshot())) {
            snapshot(&octets);
        }

        #[test]
        fn what_a_disk_gives_back_of_a_sealed_store_opens_or_is_refused(
            octets in prop_oneof![
                damaged(a_record()),
                damaged(a_snapshot()),
                damaged(a_sealed_record()),
                damaged(a_sealed_snapshot())
            ],
        ) {
            sealed(&octets);
        }
    }
}
