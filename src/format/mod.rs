//! Bonds in files: octets ↔ domain, one file a format.
//!
//! Every import and export gives back a [`Report`] of what was taken, assumed, dropped and
//! refused. Must never do IO, read a clock or let a key's octets into an error or a report: they say
//! *where* something is wrong and never quote it. The types that are written as JSON are private
//! to their format, so that a change in the domain never changes a file by accident.
//! Driven by `api/`, `cli/` and `store/` (its snapshots are in the project's own format).

pub mod aioble;
mod base64;
pub mod bluez;
pub mod bondkeeper;
pub mod bumble;
pub mod canonical;
mod check;
#[cfg(test)]
mod convert_tests;
mod draft;
mod error;
mod export;
pub mod fuchsia;
#[doc(hidden)]
pub mod fuzzing;
pub mod ha_store;
pub mod habluetooth;
mod import;
mod json;
pub mod options;
mod parcel;
pub mod pieces;
pub mod private_ble;
pub mod report;
pub mod sealed;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod windows;
mod wiped;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bond::UnixMillis;

pub(crate) use check::shortened;
pub use error::FormatError;
pub use export::{Content, ExportAdapter, ExportOptions, Exported};
pub use import::{ImportOptions, Imported, ImportedAdapter, Input, UnusablePeer};
pub use options::{FormatOptions, OptionSpec};
pub use parcel::{PARCEL_OCTETS_MAX, Parcel, ParcelError};
pub use report::{Assumed, Dropped, PeerReport, Refused, Report};
pub use tree::Tree;

/// Largest file in the project's own format. A full adapter (20,000 bonds with every field, laid
/// out for people, about 1.7 KiB each) takes 34 MiB: what is exported can always be read back.
pub const BONDKEEPER_OCTETS_MAX: usize = 64 << 20;

/// Largest file of another system. The two keys of 20,000 legacy bonds take 10 MiB as habluetooth
/// writes them; real files, a few KiB.
pub const FOREIGN_OCTETS_MAX: usize = 16 << 20;

/// Deepest nesting that is read. The deepest format here has seven levels.
pub const NESTING_MAX: usize = 16;

/// Longest name of a peer or an adapter, in octets of UTF-8. [CORE Vol 4 Part E 7.3.11]
pub const NAME_OCTETS_MAX: usize = 248;

/// A format that can be read, written or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormatId {
    /// The project's own: everything that is known of a bond.
    Bondkeeper,
    /// The key list of habluetooth: LTKs only.
    Habluetooth,
    /// Home Assistant's file of such lists.
    HaStore,
    /// What MicroPython's aioble keeps on a small device.
    Aioble,
    /// The bonding data and host data of Fuchsia.
    Fuchsia,
    /// The folder in which BlueZ keeps its adapters.
    Bluez,
    /// The key store of bumble.
    Bumble,
    /// The part of a Windows registry that holds its bonds.
    Windows,
    /// IRKs as Home Assistant's "Private BLE Device" asks for them.
    PrivateBle,
}

type ImportFn = fn(Input<'_>, &ImportOptions) -> Result<Imported, FormatError>;
type ExportFn = fn(&[ExportAdapter<'_>], &ExportOptions) -> Result<Exported, FormatError>;

/// What one format's file gives to this one.
struct Codec {
    /// The word that requests, answers and the command line use.
    word: &'static str,
    /// Ending of a file, without the dot.
    extension: &'static str,
    /// Larger inputs are refused before they are looked at.
    input_octets_max: usize,
    /// Written as a folder.
    is_tree: bool,
    /// Choices that an import or an export takes.
    import_options: &'static [OptionSpec],
    export_options: &'static [OptionSpec],
    /// Whether a reader of this format would begin to understand the input.
    claims: fn(&Probe<'_>) -> bool,
    /// Reads everything that can be taken; what cannot is in the report's `refused`.
    import: Option<ImportFn>,
    export: ExportFn,
}

/// An input that is looked at to tell its format; parsed once for all.
enum Probe<'a> {
    Tree(&'a Tree),
    Json(json::Json),
    /// Anything else.
    Octets(&'a [u8]),
}

impl FormatId {
    /// Every format, the project's own first.
    pub const ALL: [Self; 9] = [
        Self::Bondkeeper,
        Self::Habluetooth,
        Self::HaStore,
        Self::Aioble,
        Self::Fuchsia,
        Self::Bluez,
        Self::Bumble,
        Self::Windows,
        Self::PrivateBle,
    ];

    const fn codec(self) -> &'static Codec {
        match self {
            Self::Bondkeeper => &bondkeeper::CODEC,
            Self::Habluetooth => &habluetooth::CODEC,
            Self::HaStore => &ha_store::CODEC,
            Self::Aioble => &aioble::CODEC,
            Self::Fuchsia => &fuchsia::CODEC,
            Self::Bluez => &bluez::CODEC,
            Self::Bumble => &bumble::CODEC,
            Self::Windows => &windows::CODEC,
            Self::PrivateBle => &private_ble::CODEC,
        }
    }

    /// The word that requests, answers and the command line use.
    pub const fn as_str(self) -> &'static str {
        self.codec().word
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == word)
    }

    /// Ending of a file in this format, without the dot.
    pub const fn extension(self) -> &'static str {
        self.codec().extension
    }

    /// Larger inputs are refused before they are looked at.
    pub const fn input_octets_max(self) -> usize {
        self.codec().input_octets_max
    }

    /// Files of this format can be read; all can be written.
    pub const fn is_readable(self) -> bool {
        self.codec().import.is_some()
    }

    /// An export is a folder.
    pub const fn is_tree(self) -> bool {
        self.codec().is_tree
    }

    /// Choices that an import takes.
    pub const fn import_options(self) -> &'static [OptionSpec] {
        self.codec().import_options
    }

    /// Choices that an export takes.
    pub const fn export_options(self) -> &'static [OptionSpec] {
        self.codec().export_options
    }
}

/// The format of an input, by its content.
pub fn detect(input: Input<'_>) -> Result<FormatId, FormatError> {
    let probe = match input {
        Input::Tree(tree) => Probe::Tree(tree),
        Input::Document(bytes) => {
            json::parse(bytes, BONDKEEPER_OCTETS_MAX).map_or(Probe::Octets(bytes), Probe::Json)
        }
    };
    let candidates = FormatId::ALL.into_iter().filter(|format| (format.codec().claims)(&probe));
    match candidates.collect::<Vec<_>>()[..] {
        [format] => Ok(format),
        ref candidates => Err(FormatError::Undetected(candidates.to_vec())),
    }
}

/// Reads an input, all or nothing unless the options say otherwise.
pub fn import(format: FormatId, input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let codec = format.codec();
    let import = codec.import.ok_or(FormatError::ExportOnly(format))?;
    options.options.check(codec.import_options)?;
    if let Input::Document(bytes) = input
        && bytes.len() > codec.input_octets_max
    {
        return Err(FormatError::TooLarge { max: codec.input_octets_max });
    }
    import(input, options)?.settled(options)
}

/// Writes an export.
pub fn export(
    format: FormatId,
    adapters: &[ExportAdapter<'_>],
    options: &ExportOptions,
) -> Result<Exported, FormatError> {
    let codec = format.codec();
    options.options.check(codec.export_options)?;
    let exported = (codec.export)(adapters, options)?;
    if !exported.report.lost_peers.is_empty() && !options.allow_loss {
        return Err(FormatError::LosesPeers(exported.report.lost_peers));
    }
    Ok(exported)
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
        let detect = |text: &str| detect(Input::Document(text.as_bytes()));
        let known = [
            (r#"{"format":"bondkeeper","version":9}"#, FormatId::Bondkeeper),
            (r#"[{"encryption_size":16,"value":""}]"#, FormatId::Habluetooth),
            (r#"{"version":1,"key":"bluetooth.bonds","data":{}}"#, FormatId::HaStore),
            (r#"[[1,"AA==","AA=="]]"#, FormatId::Aioble),
            (r#"{"hostAddress":{}}"#, FormatId::Fuchsia),
            (r#"[{"hostAddress":{}}]"#, FormatId::Fuchsia),
            (r#"{"irk":null}"#, FormatId::Fuchsia),
            (r#"{"irk":{"value":[]}}"#, FormatId::Fuchsia),
            (r#"{"bonding-data:0000000000000001":""}"#, FormatId::Fuchsia),
            (r#"{"__DEFAULT__":{}}"#, FormatId::Bumble),
            (r#"{"00:1A:7D:DA:71:11/P":{"60:AB:D2:40:51:62":{}}}"#, FormatId::Bumble),
        ];
        for (text, format) in known {
            assert_eq!(detect(text), Ok(format), "{text}");
        }
        let none = ["", "[1]", "[[]]", r#"{"format":"other"}"#, r#"{"00:1A:7D:DA:71:11/P":{"lock":{}}}"#];
        for text in none {
            assert_eq!(detect(text), Err(FormatError::Undetected(Vec::new())), "{text}");
        }
        assert_eq!(super::detect(Input::Document(b"\xff\xfe")), Err(FormatError::Undetected(Vec::new())));
    }

    #[test]
    fn what_could_be_several_formats_is_not_guessed() {
        let candidates = |text: &str| match detect(Input::Document(text.as_bytes())) {
            Err(FormatError::Undetected(candidates)) => candidates,
            other => panic!("{other:?}"),
        };
        assert_eq!(candidates("[]"), [FormatId::Habluetooth, FormatId::Aioble, FormatId::Fuchsia]);
        assert_eq!(candidates("{}"), [FormatId::HaStore, FormatId::Fuchsia, FormatId::Bumble]);
    }
}
