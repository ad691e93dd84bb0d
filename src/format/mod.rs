//! Bonds in files: octets ↔ domain, one file a format.
//!
//! Every import and export gives back a [`Report`] of what was taken, assumed, dropped and
//! refused. Must never do IO, read a clock or let a key's octets into an error or a report: they say
//! *where* something is wrong and never quote it. The types that are written as JSON are private
//! to their format, so that a change in the domain never changes a file by accident.
//! Driven by `api/`, `cli/` and `store/` (its snapshots are in the project's own format).

pub mod bondkeeper;
mod check;
pub mod habluetooth;
mod json;
pub mod report;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::bond::{AdapterAddress, AdapterRecord, Bond, BondTable, PeerAddress, UnixMillis};

pub(crate) use check::shortened;
pub use report::{Assumed, Dropped, PeerReport, Refused, Report};

/// Largest file in the project's own format. A full adapter (20,000 bonds with every field, laid
/// out for people, about 1.7 KiB each) takes 34 MiB: what is exported can always be read back.
pub const BONDKEEPER_OCTETS_MAX: usize = 64 << 20;

/// Largest habluetooth list. The two keys of 20,000 legacy bonds take 10 MiB; real ones, a few KiB.
pub const HABLUETOOTH_OCTETS_MAX: usize = 16 << 20;

/// Deepest nesting that is read. The deepest format here has seven levels.
pub const NESTING_MAX: usize = 16;

/// Longest name of a peer or an adapter, in octets of UTF-8. [CORE Vol 4 Part E 7.3.11]
pub const NAME_OCTETS_MAX: usize = 248;

/// A format that can be read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormatId {
    /// The project's own: everything that is known of a bond.
    Bondkeeper,
    /// The key list of habluetooth: LTKs only.
    Habluetooth,
}

impl FormatId {
    /// Every format, the project's own first.
    pub const ALL: [Self; 2] = [Self::Bondkeeper, Self::Habluetooth];

    /// The word that requests, answers and the command line use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bondkeeper => "bondkeeper",
            Self::Habluetooth => "habluetooth",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// Ending of a file in this format, without the dot.
    pub const fn extension(self) -> &'static str {
        "json"
    }

    /// Larger inputs are refused before they are looked at.
    pub const fn input_octets_max(self) -> usize {
        match self {
            Self::Bondkeeper => BONDKEEPER_OCTETS_MAX,
            Self::Habluetooth => HABLUETOOTH_OCTETS_MAX,
        }
    }
}

/// Why a file was not read or not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("the input is longer than the {max} octets that are read of this format")]
    TooLarge { max: usize },
    #[error("the input nests deeper than {NESTING_MAX} levels")]
    TooDeep,
    #[error("the input is not valid JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// The input is JSON of another kind.
    #[error("the input is not in the {} format: {reason}", format.as_str())]
    WrongFormat { format: FormatId, reason: &'static str },
    #[error("version {found} of the format is not known; this release reads version {known}")]
    Version { found: u64, known: u64 },
    /// A value that cannot be taken, and its place.
    #[error("{place}: {reason}")]
    Invalid { place: String, reason: String },
    #[error("the digest does not fit the content: the file was damaged or changed by hand")]
    Digest,
    #[error("this format holds the bonds of one adapter a file; {count} were given")]
    OneAdapterOnly { count: usize },
    /// The peers would be missing from the file and the caller did not allow that.
    #[error("{} peer(s) have no key that this format can carry and would be missing", .0.len())]
    LosesPeers(Vec<PeerAddress>),
    #[error("the bonds cannot be written in this format")]
    Write,
}

impl FormatError {
    /// The place in the input, where the error has one.
    pub fn place(&self) -> Option<&str> {
        match self {
            Self::Invalid { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// The bonds of one adapter, as a file gave them.
#[derive(Clone)]
pub struct ImportedAdapter {
    /// None where the format does not name the adapter: the caller has to.
    pub address: Option<AdapterAddress>,
    /// The adapter's name, where the format carries one.
    pub name: Option<String>,
    pub bonds: Vec<Bond>,
}

/// What an import came to.
#[derive(Clone)]
pub struct Imported {
    pub adapters: Vec<ImportedAdapter>,
    pub report: Report,
}

/// The bonds of one adapter, to be written.
#[derive(Clone, Copy)]
pub struct ExportAdapter<'a> {
    pub address: AdapterAddress,
    pub record: &'a AdapterRecord,
    pub table: &'a BondTable,
    /// Only these peers; none = all, with the table's removals.
    pub peers: Option<&'a [PeerAddress]>,
}

impl<'a> ExportAdapter<'a> {
    /// The bonds that are wanted, with the generation that last touched each.
    fn entries(&self) -> impl Iterator<Item = (&'a Bond, u64)> {
        let peers = self.peers;
        let entries = self.table.entries().map(|entry| (&*entry.bond, entry.generation));
        entries.filter(move |(bond, _)| peers.is_none_or(|peers| peers.contains(&bond.peer)))
    }
}

/// How to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// Stated in the formats that carry a time.
    pub created_at: UnixMillis,
    /// Write the file even where whole peers would be missing from it.
    pub allow_loss: bool,
}

/// A file, ready to be written. Holds keys.
#[derive(Clone)]
pub struct Exported {
    pub bytes: Zeroizing<Vec<u8>>,
    /// Bonds of which at least one key is in the file.
    pub bond_count: usize,
    pub report: Report,
}

impl Exported {
    /// SHA-256 of the file, lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }
}

/// The format of a file, by its content; none when no known reader would begin to understand it.
pub fn detect(bytes: &[u8]) -> Option<FormatId> {
    let json = json::parse(bytes, BONDKEEPER_OCTETS_MAX).ok()?;
    if bondkeeper::looks_like(&json) {
        return Some(FormatId::Bondkeeper);
    }
    habluetooth::looks_like(&json).then_some(FormatId::Habluetooth)
}

/// Reads a file, all or nothing. `now` is the time that bonds begin at whose format carries none.
pub fn import(format: FormatId, bytes: &[u8], now: UnixMillis) -> Result<Imported, FormatError> {
    match format {
        FormatId::Bondkeeper => bondkeeper::import(bytes),
        FormatId::Habluetooth => habluetooth::import(bytes, now),
    }
}

/// Writes a file.
pub fn export(
    format: FormatId,
    adapters: &[ExportAdapter<'_>],
    options: &ExportOptions,
) -> Result<Exported, FormatError> {
    match format {
        FormatId::Bondkeeper => bondkeeper::export(adapters, options),
        FormatId::Habluetooth => habluetooth::export(adapters, options),
    }
}

/// A time as RFC 3339 in UTC with milliseconds; past the year 9999, the last moment that can be written.
pub fn rfc3339(at: UnixMillis) -> String {
    const LAST: i128 = 253_402_300_799_999;
    let milliseconds = i128::from(at.0).min(LAST);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(milliseconds * 1_000_000);
    let text = moment.ok().and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_default();
    // The crate leaves trailing zeros of the fraction out; a fixed width sorts and reads better.
    let (seconds, fraction) = text.trim_end_matches('Z').split_once('.').unwrap_or((&text, ""));
    format!("{}.{fraction:0<3}Z", seconds.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(UnixMillis(1_795_225_339_120)), "2026-11-21T01:42:19.120Z");
        assert_eq!(rfc3339(UnixMillis(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_format_is_found_by_its_word() {
        for format in FormatId::ALL {
            assert_eq!(FormatId::from_word(format.as_str()), Some(format));
        }
        assert_eq!(FormatId::from_word("csv"), None);
    }

    #[test]
    fn a_format_is_detected_by_content() {
        assert_eq!(detect(br#"{"format":"bondkeeper","version":9}"#), Some(FormatId::Bondkeeper));
        assert_eq!(detect(b"[]"), Some(FormatId::Habluetooth));
        assert_eq!(detect(br#"[{"encryption_size":16,"value":""}]"#), Some(FormatId::Habluetooth));
        for other in [&b""[..], b"{}", b"[1]", b"[[]]", br#"{"format":"other"}"#, b"\xff\xfe"] {
            assert_eq!(detect(other), None);
        }
    }
}
