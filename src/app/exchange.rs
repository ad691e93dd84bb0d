//! Exports and imports for the API: formats and seals on one side, the export folder and the
//! store's checkpoints on the other. Blocks, and runs on a thread for blocking work.

mod words;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use actix::{Message, Recipient};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::adapter::messages::ExportedBonds;
use crate::api::answers::ReportDto;
use crate::api::bridge::FormatDto;
use crate::api::limits::PUBLISH_OCTETS_MAX;
use crate::api::request::{Deliver, Seal};
use crate::api::{ApiError, Code};
use crate::bond::{AdapterAddress, Source, UnixMillis};
use crate::config::Settings;
use crate::format::bondkeeper;
use crate::format::sealed::{self, Form, Openers, Passphrase, SealFor};
use crate::format::{
    self, Content, ExportAdapter, ExportOptions, Exported, FormatId, ImportOptions, PARCEL_OCTETS_MAX,
    Parcel, Report,
};
use crate::mqtt::exchange::{
    Exchange, ExportOrder, ExportOutcome, ImportFrom, ImportOrder, ImportOutcome, ImportedBonds,
};
use crate::store::exchange::{read_import, stream_export, write_export};
use crate::store::messages::{Checkpoint, ListCheckpoints, ReadCheckpoint, StoreFault};
use words::{
    export_error, folder_error, format_named, format_options, import_error, parcel_error, report_dto,
};

/// What can be set, and what each means.
const EXPORTS_ARE_OFF: &str = "an export holds keys: whoever reads it, or a backup that holds it, can unlock what these \
    bonds unlock. Set the option export_passphrase to get exports that only this passphrase opens, or, if you want \
    keys in clear text, the option clear_exports to true; start again after it";

/// Octets of an answer that are left for everything but the sealed text: 500 lines of a report at their longest.
const ANSWER_OCTETS_KEPT: usize = 256 * 1024;

// Whatever the options take can be sealed with.
const _: () = assert!(crate::config::PASSPHRASE_CHARACTERS_MIN >= sealed::PASSPHRASE_CHARACTERS_MIN);

/// See the module text.
pub struct Exchanger {
    folder: PathBuf,
    /// Exports may be written in clear text.
    clear_exports: bool,
    passphrase: Option<Passphrase>,
    ports: Ports,
}

/// The store is started after MQTT and connected then.
#[derive(Clone, Default)]
pub struct Ports(Arc<OnceLock<(Recipient<ListCheckpoints>, Recipient<ReadCheckpoint>)>>);

impl Ports {
    pub fn connect(&self, list: Recipient<ListCheckpoints>, read: Recipient<ReadCheckpoint>) {
        let _ = self.0.set((list, read));
    }
}

/// The passphrase of the options, as the formats take it.
pub fn configured_passphrase(settings: &Settings) -> Option<Passphrase> {
    settings.export_passphrase.as_ref().map(|secret| Passphrase::new(secret.expose()))
}

impl Exchanger {
    pub fn new(settings: &Settings) -> (Arc<Self>, Ports) {
        let ports = Ports::default();
        let exchanger = Self {
            folder: settings.export_dir.clone(),
            clear_exports: settings.clear_exports,
            passphrase: configured_passphrase(settings),
            ports: ports.clone(),
        };
        (Arc::new(exchanger), ports)
    }

    fn ports(&self) -> Result<&(Recipient<ListCheckpoints>, Recipient<ReadCheckpoint>), ApiError> {
        self.ports.0.get().ok_or_else(|| ApiError::new(Code::Busy, "the service is still starting"))
    }

    /// How an export is sealed. Clear text is allowed by the options only, and never goes over MQTT.
    fn seal_for(&self, order: &ExportOrder) -> Result<Option<SealFor>, ApiError> {
        let configured = || self.passphrase.clone().map(SealFor::Passphrase);
        let seal = match &order.seal {
            None => configured(),
            Some(Seal::Off) => None,
            Some(Seal::ConfiguredPassphrase) => Some(configured().ok_or_else(|| {
                let words =
                    "there is no passphrase to seal with: set the option export_passphrase and start again";
                ApiError::new(Code::NotPermitted, words)
            })?),
            Some(Seal::Recipients(recipients)) => {
                let recipients: Result<Vec<_>, _> = recipients.iter().map(|text| text.parse()).collect();
                let invalid = |error| ApiError::new(Code::InvalidValue, format!("`recipients`: {error}"));
                Some(SealFor::Recipients(recipients.map_err(invalid)?))
            }
        };
        if seal.is_none() && order.deliver == Deliver::Mqtt {
            let words = "keys go over MQTT only sealed: set the option export_passphrase, name recipients in `seal`, or \
                         let the export go to a file";
            return Err(ApiError::new(Code::SealRequired, words));
        }
        if seal.is_none() && !self.clear_exports && !order.dry_run {
            return Err(ApiError::new(Code::NotPermitted, EXPORTS_ARE_OFF));
        }
        Ok(seal)
    }

    fn write(&self, order: &ExportOrder, format: FormatId, content: &Content) -> Result<Written, ApiError> {
        let seal = self.seal_for(order)?;
        let is_sealed = seal.is_some();
        let nothing = Written { is_sealed, file: None, text: None, sha256: None };
        if order.dry_run {
            return Ok(nothing);
        }
        let name = |ending: &str| file_name(format, &order.adapters, super::wall_clock(), ending);
        let Some(seal) = seal else {
            let ending = if format.is_tree() { String::new() } else { format!(".{}", format.extension()) };
            let file = write_export(&self.folder, &name(&ending), content).map_err(folder_error)?;
            return Ok(Written { file: Some(file), ..nothing });
        };
        let form = if order.deliver == Deliver::Mqtt { Form::Armored } else { Form::Binary };
        let file = content.as_file().map_err(export_error)?;
        let octets = sealed::seal(&file, &seal, form)
            .map_err(|error| ApiError::new(Code::InvalidValue, error.to_string()))?;
        let sha256 = Some(hex::encode(Sha256::digest(&octets)));
        if order.deliver == Deliver::File {
            let inner = if format.is_tree() { "tar" } else { format.extension() };
            let name = name(&format!(".{inner}.{}", sealed::EXTENSION));
            let content = Content::Document(Zeroizing::new(octets));
            let file = write_export(&self.folder, &name, &content).map_err(folder_error)?;
            return Ok(Written { file: Some(file), sha256, ..nothing });
        }
        if octets.len() > PUBLISH_OCTETS_MAX - ANSWER_OCTETS_KEPT {
            let words = "the sealed export is too large for MQTT: name fewer peers, or let it go to a file";
            return Err(ApiError::new(Code::TooLarge, words));
        }
        Ok(Written { text: String::from_utf8(octets).ok(), sha256, ..nothing })
    }
}

/// What became of an export's content.
struct Written {
    is_sealed: bool,
    file: Option<String>,
    /// Sealed, for MQTT.
    text: Option<String>,
    /// Of what is sealed; what is not has that of its content.
    sha256: Option<String>,
}

impl Exchange for Exchanger {
    fn formats(&self) -> Vec<FormatDto> {
        let dto = |format: &FormatId| FormatDto {
            name: format.as_str(),
            import: format.is_readable(),
            export: true,
        };
        FormatId::ALL.iter().map(dto).collect()
    }

    fn export(&self, order: ExportOrder) -> Result<ExportOutcome, ApiError> {
        let format = format_named(&order.format)?;
        // Before anything is composed: a refusal must not depend on the bonds.
        let seal = self.seal_for(&order)?;
        if format == FormatId::Bondkeeper && seal.is_none() && !order.dry_run {
            return self.stream(&order);
        }
        let exported = compose(&order, format)?;
        let written = self.write(&order, format, &exported.content)?;
        let sha256 = written.sha256.or_else(|| (!order.dry_run).then(|| exported.sha256()));
        Ok(ExportOutcome {
            format: format.as_str().to_owned(),
            folder: written.file.is_some().then(|| self.folder.display().to_string()),
            file: written.file,
            sealed: written.text,
            is_sealed: written.is_sealed,
            count: exported.bond_count,
            sha256,
            report: report_dto(&exported.report),
        })
    }

    fn import(&self, order: ImportOrder) -> Result<ImportOutcome, ApiError> {
        let format = order.format.as_deref().map(format_named).transpose()?;
        let options = ImportOptions {
            now: super::wall_clock(),
            salvage: order.salvage,
            adapter: order.adapter,
            adapters: order.adapters,
            options: format_options(&order.options)?,
            ..ImportOptions::default()
        };
        let content = match order.from {
            ImportFrom::Checkpoint(label) => return self.import_checkpoint(label),
            ImportFrom::File(name) => {
                read_import(&self.folder, &name, PARCEL_OCTETS_MAX).map_err(folder_error)?
            }
            ImportFrom::Inline(input) => Content::Document(Zeroizing::new(input.octets().to_vec())),
        };
        let openers = Openers::of_passphrase(self.passphrase.clone());
        let parcel = Parcel::new(content, format, &openers).map_err(parcel_error)?;
        let imported = parcel.import(&options).map_err(import_error)?;
        let mut report = report_dto(&imported.report);
        if imported.adapters.iter().any(|adapter| adapter.local_identity.is_some()) {
            report.notes.push(IDENTITY_NOTE.to_owned());
        }
        let adapters = imported.adapters.into_iter().map(|adapter| ImportedBonds {
            adapter: adapter.address,
            bonds: adapter.bonds,
            local_identity: adapter.local_identity,
            opaque: adapter.opaque,
        });
        let source = if parcel.format == FormatId::Bondkeeper { Source::Restored } else { Source::Imported };
        Ok(ImportOutcome { adapters: adapters.collect(), source, report })
    }

    fn checkpoints(&self, adapter: Option<AdapterAddress>) -> Result<Vec<Checkpoint>, ApiError> {
        ask(&self.ports()?.0, ListCheckpoints { adapter })
    }
}

/// Said of an input that holds the adapter's own identity.
pub const IDENTITY_NOTE: &str = "the input holds the adapter's own identity key; it is kept where none of this adapter is \
    known yet, and is not loaded into the kernel";

impl Exchanger {
    /// Our own format in clear text: straight into the file, as ten thousand bonds take megabytes.
    fn stream(&self, order: &ExportOrder) -> Result<ExportOutcome, ApiError> {
        let format = FormatId::Bondkeeper;
        format_options(&order.options)?.check(format.export_options()).map_err(export_error)?;
        let adapters = adapters_of(order);
        let now = super::wall_clock();
        let name = file_name(format, &order.adapters, now, &format!(".{}", format.extension()));
        let (mut hash, mut written) = (Sha256::new(), (0, Report::default()));
        let file = stream_export(&self.folder, &name, |out| {
            let mut out = Hashed { out, hash: &mut hash, failure: None };
            match bondkeeper::write_to(&adapters, now, &mut out) {
                Ok(outcome) => written = outcome,
                // What the disk said, where it was the disk.
                Err(error) => return Err(out.failure.unwrap_or_else(|| std::io::Error::other(error))),
            }
            Ok(())
        })
        .map_err(folder_error)?;
        let (count, losses) = written;
        Ok(ExportOutcome {
            format: format.as_str().to_owned(),
            folder: Some(self.folder.display().to_string()),
            file: Some(file),
            sealed: None,
            is_sealed: false,
            count,
            sha256: Some(hex::encode(hash.finalize())),
            report: ReportDto { taken: count, ..report_dto(&losses) },
        })
    }

    fn import_checkpoint(&self, label: String) -> Result<ImportOutcome, ApiError> {
        let content = ask(&self.ports()?.1, ReadCheckpoint { label })?;
        let adapters = vec![ImportedBonds {
            adapter: Some(content.checkpoint.adapter),
            bonds: content.table.bonds().cloned().collect(),
            local_identity: None,
            opaque: Vec::new(),
        }];
        Ok(ImportOutcome { adapters, source: Source::Restored, report: report_dto(&Report::default()) })
    }
}

/// Hands on what is written, and hashes it.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: &'a mut Sha256,
    /// Why the last write failed: the format that writes knows only that it did.
    failure: Option<std::io::Error>,
}

impl Write for Hashed<'_> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        let taken = self.out.write(octets).map_err(|error| {
            let kind = error.kind();
            self.failure = Some(error);
            std::io::Error::from(kind)
        })?;
        self.hash.update(&octets[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn adapters_of(order: &ExportOrder) -> Vec<ExportAdapter<'_>> {
    let adapters = order.adapters.iter().map(|exported| ExportAdapter {
        address: Some(exported.adapter),
        record: &exported.record,
        table: &exported.table,
        peers: None,
    });
    adapters.collect()
}

fn compose(order: &ExportOrder, format: FormatId) -> Result<Exported, ApiError> {
    let adapters = adapters_of(order);
    let options = ExportOptions {
        created_at: super::wall_clock(),
        // A dry run is there to show what would be lost.
        allow_loss: order.allow_loss || order.dry_run,
        options: format_options(&order.options)?,
    };
    format::export(format, &adapters, &options).map_err(export_error)
}

/// Asks the store from a thread that may block.
fn ask<M, T>(store: &Recipient<M>, message: M) -> Result<T, ApiError>
where
    M: Message<Result = Result<T, StoreFault>> + Send + 'static,
    T: Send + 'static,
{
    let answer = tokio::runtime::Handle::current().block_on(store.send(message));
    answer.unwrap_or(Err(StoreFault::ShuttingDown)).map_err(|fault| {
        let code = match &fault {
            StoreFault::DiskFull => Code::DiskFull,
            StoreFault::ReadOnly => Code::StoreReadOnly,
            StoreFault::NoSuchCheckpoint(_) => Code::CheckpointUnknown,
            StoreFault::ShuttingDown => Code::ShuttingDown,
            StoreFault::Io(_) => Code::StoreFailed,
        };
        ApiError::new(code, fault.to_string())
    })
}

/// `bonds-<adapter without colons, or all>-<format>-<time><ending>`
fn file_name(format: FormatId, adapters: &[ExportedBonds], now: UnixMillis, ending: &str) -> String {
    let whose = match adapters {
        [one] => one.adapter.to_string().replace(':', ""),
        _ => "all".to_owned(),
    };
    let time: String = format::rfc3339(now).chars().filter(char::is_ascii_alphanumeric).collect();
    format!("bonds-{whose}-{}-{time}{ending}", format.as_str())
}
