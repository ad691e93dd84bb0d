//! The boundary to files and formats.
//!
//! Requests that read or write bonds in some format need the export folder, the checkpoints and
//! `format/`; none of them belongs here. Whoever builds the service hands in an [`Exchange`]. Its
//! methods may block: they run on a thread for blocking work, and may outlive their request.

use std::collections::BTreeMap;

use crate::adapter::messages::ExportedBonds;
use crate::api::ApiError;
use crate::api::answers::ReportDto;
use crate::api::bridge::FormatDto;
use crate::api::request::{Deliver, FormatOptions, InlineInput, Seal};
use crate::bond::{AdapterAddress, Bond, LocalIdentity, OpaqueItem, Source};
use crate::store::messages::Checkpoint;

/// See the module text.
pub trait Exchange: Send + Sync {
    /// Every format there is.
    fn formats(&self) -> Vec<FormatDto>;

    /// Writes bonds in a format: to a file, or sealed into a text.
    fn export(&self, order: ExportOrder) -> Result<ExportOutcome, ApiError>;

    /// Reads bonds.
    fn import(&self, order: ImportOrder) -> Result<ImportOutcome, ApiError>;

    /// The checkpoints of one adapter or of all, the latest first.
    fn checkpoints(&self, adapter: Option<AdapterAddress>) -> Result<Vec<Checkpoint>, ApiError>;
}

/// What is to be exported, and how.
pub struct ExportOrder {
    /// With exactly the bonds that were asked for.
    pub adapters: Vec<ExportedBonds>,
    pub format: String,
    pub options: FormatOptions,
    pub deliver: Deliver,
    pub seal: Option<Seal>,
    pub allow_loss: bool,
    /// Only say what it would come to.
    pub dry_run: bool,
}

/// What an export came to.
#[derive(Debug, Clone)]
pub struct ExportOutcome {
    /// The format's own word, whatever the request called it.
    pub format: String,
    pub file: Option<String>,
    pub folder: Option<String>,
    /// For [`Deliver::Mqtt`]: sealed text, and nothing else.
    pub sealed: Option<String>,
    pub is_sealed: bool,
    pub count: usize,
    /// Of the file or text, in lower-case hexadecimal digits; none for a dry run.
    pub sha256: Option<String>,
    pub report: ReportDto,
}

/// What is to be read.
#[derive(Debug)]
pub struct ImportOrder {
    pub from: ImportFrom,
    /// None: found out by looking at the input.
    pub format: Option<String>,
    pub options: FormatOptions,
    pub salvage: bool,
    /// Adapters by the names that the input gives them.
    pub adapters: BTreeMap<String, AdapterAddress>,
    /// The adapter that the request names, for formats that name none themselves.
    pub adapter: Option<AdapterAddress>,
}

/// Where it is read from.
#[derive(Debug)]
pub enum ImportFrom {
    /// A bare name of a file or folder in the export folder.
    File(String),
    Inline(InlineInput),
    /// A checkpoint's label.
    Checkpoint(String),
}

/// What was read.
pub struct ImportOutcome {
    pub adapters: Vec<ImportedBonds>,
    /// `Restored` for our own copies, `Imported` for everything else.
    pub source: Source,
    pub report: ReportDto,
}

/// The bonds of one adapter in the input.
pub struct ImportedBonds {
    /// None where the format does not say.
    pub adapter: Option<AdapterAddress>,
    pub bonds: Vec<Bond>,
    /// The adapter's own, where the format carries it.
    pub local_identity: Option<LocalIdentity>,
    pub opaque: Vec<OpaqueItem>,
}
