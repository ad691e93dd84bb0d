//! Bodies of the fuzz targets for what a disk gives back; the tests run them on damaged records. No part of the
//! product.
//!
//! Whatever the octets are: no panic, and what passes for a record is the record that is written again. Driven by
//! `fuzz/` and the tests.

use super::record::{Content, ContentRef, decode, encode, peer_key};
use crate::bond::{AdapterAddress, PeerAddress};
use crate::format::bondkeeper::{read, salvage};

/// A record of the database, without its check: the octets are given the right one, so that what lies behind it is
/// reached.
pub fn record(body: &[u8]) {
    let (Ok(adapter), Ok(peer)) = ("AA:BB:CC:00:00:01".parse::<AdapterAddress>(), a_peer()) else { return };
    let key = peer_key(peer);
    // As it is, and with its check mended.
    let _ = decode(Some(adapter), &key, body);
    let mut mended = body.to_vec();
    let mut check = crc32fast::Hasher::new();
    check.update(&key);
    check.update(body);
    mended.extend_from_slice(&check.finalize().to_le_bytes());
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
    }
}
