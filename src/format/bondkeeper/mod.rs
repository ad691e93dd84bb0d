//! The project's own format: everything that is known of an adapter's bonds, as JSON.
//!
//! It is what exports, snapshots and checkpoints are written in, and is open to anybody: the
//! specification is `docs/formats.md`. Version 1, in short:
//!
//! | field | |
//! |---|---|
//! | `format`, `version` | `"bondkeeper"`, 1 |
//! | `source` | program and release that wrote it |
//! | `byte_order` | `"least_significant_first"`: of every hexadecimal string of key octets |
//! | `created_at` | RFC 3339 |
//! | `adapters` | list: address, record, bonds, removals |
//! | `digest` | `sha256:` over the canonical text of `adapters` |
//!
//! Must never guess: a reader that does not know the version takes nothing. [`salvage`] is for our
//! own copies, where a damaged bond must not cost the others; imports are all or nothing.

mod details;
mod read;
mod write;

#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

use super::json::{self, Json};
use super::{
    BONDKEEPER_OCTETS_MAX, ExportAdapter, ExportOptions, Exported, FormatError, Imported, ImportedAdapter,
    Report,
};
use crate::bond::{AdapterAddress, AdapterRecord, BondTable, UnixMillis};

/// What the `format` field says.
const FORMAT: &str = "bondkeeper";

/// What the `version` field says. A field may be added without a new one; a change of meaning may not.
pub const VERSION: u64 = 1;

/// What the `byte_order` field says: as management structures, HCI commands and SMP packets have it.
const BYTE_ORDER: &str = "least_significant_first";

/// One adapter of a document, whole.
#[derive(Clone)]
pub struct AdapterCopy {
    pub address: AdapterAddress,
    pub record: AdapterRecord,
    pub table: BondTable,
}

/// A document that was read.
#[derive(Clone)]
pub struct Document {
    /// RFC 3339, as it stands.
    pub created_at: String,
    /// Program and release that wrote it, as it stands.
    pub source: String,
    pub adapters: Vec<AdapterCopy>,
    pub report: Report,
    /// The digest fits and nothing was left out. [`read`] gives no other.
    pub intact: bool,
}

/// How a document is laid out. The digest does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// For copies that only we read.
    Compact,
    /// For people.
    Pretty,
}

/// What a reader does about a value that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// Refuses the document, and compromised keys too: what comes from outside.
    Import,
    /// Refuses the document: our own copies, which hold whatever was captured.
    Own,
    /// Leaves the bond out and names it.
    Salvage,
}

/// Reads one of our own copies, all or nothing.
pub fn read(bytes: &[u8]) -> Result<Document, FormatError> {
    read::document(bytes, Policy::Own)
}

/// Reads what can be trusted of a damaged copy: where the digest does not fit, each bond must pass
/// its own check. Removals of such a copy are not taken, as a bond too many does less harm than one
/// too few.
pub fn salvage(bytes: &[u8]) -> Result<Document, FormatError> {
    read::document(bytes, Policy::Salvage)
}

/// Reads a file from outside, all or nothing.
pub fn import(bytes: &[u8]) -> Result<Imported, FormatError> {
    let document = read::document(bytes, Policy::Import)?;
    let adapters = document.adapters.into_iter().map(|copy| ImportedAdapter {
        address: Some(copy.address),
        name: copy.record.name,
        bonds: copy.table.bonds().cloned().collect(),
    });
    Ok(Imported { adapters: adapters.collect(), report: document.report })
}

/// Writes a document.
pub fn write(
    adapters: &[ExportAdapter<'_>],
    created_at: UnixMillis,
    layout: Layout,
) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    write::document(adapters, created_at, layout)
}

/// Writes a document for people, with a report.
pub fn export(adapters: &[ExportAdapter<'_>], options: &ExportOptions) -> Result<Exported, FormatError> {
    let bytes = write(adapters, options.created_at, Layout::Pretty)?;
    let report = write::report(adapters);
    Ok(Exported { bytes, bond_count: report.peers.len(), report })
}

/// The document claims to be in this format, whatever else is wrong with it.
pub(super) fn looks_like(json: &Json) -> bool {
    let Json::Object(fields) = json else { return false };
    let claim = fields.iter().find(|(name, _)| name == "format");
    claim.is_some_and(|(_, value)| value.as_text() == Ok(FORMAT))
}

fn parse(bytes: &[u8]) -> Result<Json, FormatError> {
    json::parse(bytes, BONDKEEPER_OCTETS_MAX)
}
