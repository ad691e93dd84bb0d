//! What one of our own copies is, told from its first and last octets.
//!
//! A copy of one adapter in the compact layout has a `summary` before its bonds: address, generation, revision, and a
//! check over them and the digest at the end. Reading it costs two short reads, whatever the size. A glance says what the
//! copy held when it was written; only [`verify`] says that it still does. Must never take for a copy of ours what
//! anybody else has written: in doubt there is nothing to see, and the copy is read whole.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DIGEST_KIND;
use crate::bond::AdapterAddress;

/// The summary stands within so many octets from the beginning.
pub const GLANCE_HEAD_OCTETS: usize = 512;

/// The digest takes exactly so many octets at the end.
pub const GLANCE_TAIL_OCTETS: usize =
    TAIL_BEGIN.len() + DIGEST_KIND.len() + 2 * DIGEST_OCTETS + TAIL_END.len();

const DIGEST_OCTETS: usize = 32;
const TAIL_BEGIN: &str = ",\"digest\":\"";
const TAIL_END: &str = "\"}\n";
const HEAD_BEGIN: &[u8] = b"{\"format\":\"bondkeeper\",\"version\":1,";
/// In a text the quotes would be escaped.
const SUMMARY: &[u8] = b",\"summary\":";
const ADAPTERS: &[u8] = b",\"adapters\":";

/// Enough that damage is not taken for a summary.
const CHECK_OCTETS: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SummaryDto {
    address: String,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    check: String,
}

impl SummaryDto {
    pub fn new(address: &str, generation: u64, revision: Option<u64>, digest: &[u8; DIGEST_OCTETS]) -> Self {
        let mut hash = Sha256::new();
        hash.update(address);
        hash.update(generation.to_le_bytes());
        if let Some(revision) = revision {
            hash.update(revision.to_le_bytes());
        }
        hash.update(digest);
        let check = hex::encode(&hash.finalize()[..CHECK_OCTETS]);
        Self { address: address.to_owned(), generation, revision, check }
    }
}

/// See the module text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    pub address: AdapterAddress,
    pub generation: u64,
    /// How many times the adapter's state had been stored; 0 where that is not stated.
    pub revision: u64,
    /// Over the canonical text of what was written.
    pub digest: [u8; DIGEST_OCTETS],
}

/// Looks at the first [`GLANCE_HEAD_OCTETS`] and the last [`GLANCE_TAIL_OCTETS`] of a copy. None when it has no
/// summary, or not one that fits.
pub fn glance(head: &[u8], tail: &[u8]) -> Option<Glance> {
    Some(look(head, tail)?.0)
}

/// The whole of a copy is what its summary says.
pub fn verify(copy: &[u8]) -> Option<Glance> {
    let (rest, tail) = copy.split_at_checked(copy.len().checked_sub(GLANCE_TAIL_OCTETS)?)?;
    let (glance, begin) = look(&rest[..rest.len().min(GLANCE_HEAD_OCTETS)], tail)?;
    let digest: [u8; DIGEST_OCTETS] = Sha256::digest(rest.get(begin..)?).into();
    (digest == glance.digest).then_some(glance)
}

/// The glance, and where the text that was digested begins.
fn look(head: &[u8], tail: &[u8]) -> Option<(Glance, usize)> {
    let tail = std::str::from_utf8(tail).ok()?;
    let digits = tail.strip_prefix(TAIL_BEGIN)?.strip_prefix(DIGEST_KIND)?.strip_suffix(TAIL_END)?;
    let mut digest = [0; DIGEST_OCTETS];
    hex::decode_to_slice(digits, &mut digest).ok()?;
    if !head.starts_with(HEAD_BEGIN) {
        return None;
    }
    let summary = position(head, SUMMARY)? + SUMMARY.len();
    let mut stream = serde_json::Deserializer::from_slice(&head[summary..]).into_iter::<SummaryDto>();
    let stated = stream.next()?.ok()?;
    let end = summary + stream.byte_offset();
    if !head[end..].starts_with(ADAPTERS) {
        return None;
    }
    if SummaryDto::new(&stated.address, stated.generation, stated.revision, &digest).check != stated.check {
        return None;
    }
    let address = stated.address.parse().ok()?;
    let (generation, revision) = (stated.generation, stated.revision.unwrap_or_default());
    Some((Glance { address, generation, revision, digest }, end + ADAPTERS.len()))
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::secure_bond;
    use crate::bond::{AdapterRecord, BondTable, UnixMillis};
    use crate::format::ExportAdapter;
    use crate::format::bondkeeper::{Layout, digest_copy, read, write, write_copy};

    const ADDRESS: &str = "00:1A:7D:DA:71:11";
    const NOW: UnixMillis = UnixMillis(1_795_225_339_120);

    fn with_copy<T>(revision: u64, look: impl FnOnce(&[u8], [u8; 32]) -> T) -> T {
        let mut table = BondTable::new();
        for number in 0..20 {
            table.insert(secure_bond(&format!("C0:FF:EE:00:00:{number:02X}"), number)).unwrap();
        }
        let record = AdapterRecord { name: Some(",\"summary\":{}".to_owned()), ..AdapterRecord::default() };
        let address = ADDRESS.parse().unwrap();
        let adapter = ExportAdapter { address: Some(address), record: &record, table: &table, peers: None };
        let bytes = write_copy(&adapter, revision, NOW).unwrap();
        look(&bytes, digest_copy(&adapter, revision).unwrap())
    }

    fn ends(copy: &[u8]) -> Option<Glance> {
        let head = &copy[..copy.len().min(GLANCE_HEAD_OCTETS)];
        glance(head, &copy[copy.len().saturating_sub(GLANCE_TAIL_OCTETS)..])
    }

    #[test]
    fn the_ends_of_a_copy_say_what_the_whole_of_it_is() {
        for revision in [0, 1, u64::MAX] {
            with_copy(revision, |copy, digest| {
                let expected = Glance { address: ADDRESS.parse().unwrap(), generation: 20, revision, digest };
                assert_eq!(ends(copy), Some(expected));
                assert_eq!(verify(copy), Some(expected));
                let whole = read(copy).unwrap();
                let adapter = &whole.adapters[0];
                assert_eq!((adapter.table.generation(), adapter.revision), (20, revision));
                assert!(whole.report.notes.is_empty(), "{:?}", whole.report.notes);
            });
        }
    }

    #[test]
    fn no_damaged_octet_passes_for_the_whole_and_none_of_the_ends_for_a_glance() {
        with_copy(7, |copy, _| {
            let original = ends(copy);
            for at in 0..copy.len() {
                let mut damaged = copy.to_vec();
                damaged[at] ^= 0x11;
                let seen = ends(&damaged);
                assert!(seen.is_none() || seen == original, "octet {at}");
                if let Some(found) = verify(&damaged) {
                    // Program, time and byte order are no part of what is digested.
                    assert!(Some(found) == original && at < GLANCE_HEAD_OCTETS, "octet {at}");
                }
            }
            for length in 0..copy.len() {
                assert_eq!(ends(&copy[..length]), None, "{length} octets");
                assert_eq!(verify(&copy[..length]), None, "{length} octets");
            }
        });
    }

    #[test]
    fn what_is_laid_out_for_people_is_read_whole() {
        let (record, table) = (AdapterRecord::default(), BondTable::new());
        let address = ADDRESS.parse().ok();
        let adapter = ExportAdapter { address, record: &record, table: &table, peers: None };
        let copy = write(&[adapter], NOW, Layout::Pretty).unwrap();
        assert_eq!(ends(&copy), None);
        assert_eq!(verify(&copy), None);
    }
}
