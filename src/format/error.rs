//! Why a file was not read or not written.

use super::{FormatId, NESTING_MAX, Refused};
use crate::bond::PeerAddress;

/// See the module text. Never quotes a value of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("the input is longer than the {max} octets that are read of this format")]
    TooLarge { max: usize },
    #[error("the input nests deeper than {NESTING_MAX} levels")]
    TooDeep,
    #[error("the input is not valid JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// The input is of another kind.
    #[error("the input is not in the {} format: {reason}", format.as_str())]
    WrongFormat { format: FormatId, reason: &'static str },
    #[error("version {found} of the format is not known; this release reads version {known}")]
    Version { found: u64, known: u64 },
    /// A value that cannot be taken, and its place.
    #[error("{place}: {reason}")]
    Invalid { place: String, reason: String },
    /// Records that cannot be taken, at least one. Nothing of the file was.
    #[error("{}", refused_text(.0))]
    Refused(Vec<Refused>),
    #[error("the digest does not fit the content: the file was damaged or changed by hand")]
    Digest,
    #[error("this format holds the bonds of one adapter a file; {count} were given")]
    OneAdapterOnly { count: usize },
    /// The peers would be missing from the file and the caller did not allow that.
    #[error("{} peer(s) have no key that this format can carry and would be missing", .0.len())]
    LosesPeers(Vec<PeerAddress>),
    #[error("this format names the adapter of the bonds, and nobody named it")]
    AdapterNeeded,
    #[error("option {name} {reason}")]
    Option { name: String, reason: String },
    #[error("the {} format can be written and not read", .0.as_str())]
    ExportOnly(FormatId),
    /// No reader, or more than one, would begin to understand the input.
    #[error("{}", undetected_text(.0))]
    Undetected(Vec<FormatId>),
    #[error("the bonds cannot be written in this format")]
    Write,
}

impl FormatError {
    /// The place in the input, where the error has one.
    pub fn place(&self) -> Option<&str> {
        match self {
            Self::Invalid { place, .. } => Some(place),
            Self::Refused(refused) => refused.first().map(|first| first.place.as_str()),
            _ => None,
        }
    }
}

fn refused_text(refused: &[Refused]) -> String {
    let first =
        refused.first().map_or_else(String::new, |first| format!("{}: {}", first.place, first.reason));
    match refused.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more that cannot be taken)", count - 1),
    }
}

fn undetected_text(candidates: &[FormatId]) -> String {
    let words: Vec<_> = candidates.iter().map(|format| format.as_str()).collect();
    match words[..] {
        [] => "the input is in none of the known formats; name it if it should be".to_owned(),
        _ => {
            format!("the input could be in any of these formats, so one must be named: {}", words.join(", "))
        }
    }
}
