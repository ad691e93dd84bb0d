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
mod glance;
mod read;
mod write;

#[cfg(test)]
mod tests;

use zeroize::Zeroizing;

use super::json::{self, Json};
use super::{
    BONDKEEPER_OCTETS_MAX, Codec, Content, ExportAdapter, ExportOptions, Exported, FormatError, FormatId,
    ImportOptions, Imported, ImportedAdapter, Input, Probe, Report,
};
use crate::bond::{AdapterAddress, AdapterRecord, BondTable, UnixMillis};

pub(super) const CODEC: Codec = Codec {
    word: FORMAT,
    extension: "json",
    input_octets_max: BONDKEEPER_OCTETS_MAX,
    is_tree: false,
    import_options: &[],
    export_options: &[],
    claims,
    import: Some(import),
    export,
};

/// What the `format` field says.
const FORMAT: &str = "bondkeeper";

/// What the `version` field says. A field may be added without a new one; a change of meaning may not.
pub const VERSION: u64 = 1;

/// What the `byte_order` field says: as management structures, HCI commands and SMP packets have it.
const BYTE_ORDER: &str = "least_significant_first";

/// What the `digest` field begins with.
const DIGEST_KIND: &str = "sha256:";

pub use glance::{GLANCE_HEAD_OCTETS, GLANCE_TAIL_OCTETS, Glance, glance, verify};

/// One adapter of a document, whole.
#[derive(Clone)]
pub struct AdapterCopy {
    pub address: AdapterAddress,
    pub record: AdapterRecord,
    pub table: BondTable,
    /// How many times the adapter's state had been stored; 0 where that is not stated.
    pub revision: u64,
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

/// How a document is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// For copies that only we read: with what this node has observed of its bonds.
    Compact,
    /// For people, and for other hosts.
    Pretty,
}

impl Policy {
    /// A bond that cannot be taken costs only itself.
    fn skips_bonds(self) -> bool {
        self != Self::Own
    }
}

/// What a reader does about a value that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// What comes from outside: refuses a damaged document, leaves out and names bonds that cannot be
    /// taken, compromised keys among them.
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

fn import(input: Input<'_>, _: &ImportOptions) -> Result<Imported, FormatError> {
    let document = read::document(input.document(FormatId::Bondkeeper)?, Policy::Import)?;
    let adapters = document.adapters.into_iter().map(|copy| ImportedAdapter {
        address: Some(copy.address),
        name: copy.record.name,
        local_identity: copy.record.local_identity,
        opaque: copy.record.opaque,
        bonds: copy.table.bonds().cloned().collect(),
        ..ImportedAdapter::default()
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

/// Writes a document for people piece by piece: whatever the number of bonds, it takes little memory. Gives the
/// number of bonds, and a report of those peers alone that lose something.
pub fn write_to(
    adapters: &[ExportAdapter<'_>],
    created_at: UnixMillis,
    out: &mut dyn std::io::Write,
) -> Result<(usize, Report), FormatError> {
    write::document_to(adapters, created_at, Layout::Pretty, out)?;
    let count = adapters.iter().map(|adapter| adapter.entries().count()).sum();
    Ok((count, write::losses(adapters)))
}

/// Writes a copy of our own, of one adapter whose state was stored so many times; 0 where that says nothing.
pub fn write_copy(
    adapter: &ExportAdapter<'_>,
    revision: u64,
    created_at: UnixMillis,
) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    write::copy(adapter, revision, created_at)
}

/// The digest that such a copy has; what is left out of [`write_copy`] is left out here.
pub fn digest_copy(adapter: &ExportAdapter<'_>, revision: u64) -> Result<[u8; 32], FormatError> {
    write::digest_copy(adapter, revision)
}

fn export(adapters: &[ExportAdapter<'_>], options: &ExportOptions) -> Result<Exported, FormatError> {
    let bytes = write(adapters, options.created_at, Layout::Pretty)?;
    let report = write::report(adapters);
    Ok(Exported { content: Content::Document(bytes), bond_count: report.peers.len(), report })
}

/// The input claims to be in this format, whatever else is wrong with it.
fn claims(probe: &Probe<'_>) -> bool {
    matches!(probe, Probe::Json(json) if is_ours(json))
}

fn is_ours(json: &Json) -> bool {
    let Json::Object(fields) = json else { return false };
    let claim = fields.iter().find(|(name, _)| name == "format");
    claim.is_some_and(|(_, value)| value.as_text() == Ok(FORMAT))
}

fn parse(bytes: &[u8]) -> Result<Json, FormatError> {
    json::parse(bytes, BONDKEEPER_OCTETS_MAX)
}
