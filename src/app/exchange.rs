//! Exports and imports for the API: formats on one side, the export folder and the
//! store's checkpoints on the other. Blocks, and runs on a thread for blocking work.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use actix::{Message, Recipient};

use crate::adapter::messages::ExportedBonds;
use crate::api::answers::{ReportDto, ReportLineDto};
use crate::api::bridge::FormatDto;
use crate::api::dto::PeerDto;
use crate::api::request::{Deliver, FormatOptions};
use crate::api::{ApiError, Code};
use crate::bond::{AdapterAddress, AdapterRecord, PeerAddress, Source};
use crate::format::{
    self, Content, ExportAdapter, ExportOptions, FormatError, FormatId, ImportOptions, Input, Report,
};
use crate::mqtt::exchange::{
    Exchange, ExportOrder, ExportOutcome, ImportFrom, ImportOrder, ImportOutcome, ImportedBonds,
};
use crate::store::exchange::{ExchangeError, read_import, write_export};
use crate::store::messages::{Checkpoint, ListCheckpoints, ReadCheckpoint, StoreFault};

/// How to switch it on, and what that means.
const CLEAR_EXPORTS_ARE_OFF: &str = "an export is a file with the keys in clear text: whoever reads it, or a backup \
    that holds it, can unlock what these bonds unlock. If you want that, set the option clear_exports to true and \
    start again, and delete the file when it has served";

/// See the module text.
pub struct Exchanger {
    folder: PathBuf,
    /// Exports may be written in clear text.
    clear_exports: bool,
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

impl Exchanger {
    pub fn new(folder: PathBuf, clear_exports: bool) -> (Arc<Self>, Ports) {
        let ports = Ports::default();
        (Arc::new(Self { folder, clear_exports, ports: ports.clone() }), ports)
    }

    fn ports(&self) -> Result<&(Recipient<ListCheckpoints>, Recipient<ReadCheckpoint>), ApiError> {
        self.ports.0.get().ok_or_else(|| ApiError::new(Code::Busy, "the service is still starting"))
    }
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
        refuse_options(&order.options)?;
        if order.seal.is_some() || matches!(order.deliver, Deliver::Mqtt) {
            let words =
                "sealed exports are not supported by this version; leave out seal and deliver to get a file";
            return Err(ApiError::new(Code::NotSupported, words));
        }
        if !self.clear_exports {
            return Err(ApiError::new(Code::NotPermitted, CLEAR_EXPORTS_ARE_OFF));
        }
        let records: Vec<AdapterRecord> = order.adapters.iter().map(record).collect();
        let adapters: Vec<ExportAdapter<'_>> = order
            .adapters
            .iter()
            .zip(&records)
            .map(|(adapter, record)| ExportAdapter {
                address: adapter.adapter,
                record,
                table: &adapter.table,
                peers: None,
            })
            .collect();
        let now = super::wall_clock();
        let options =
            ExportOptions { created_at: now, allow_loss: order.allow_loss, ..ExportOptions::default() };
        let exported = format::export(format, &adapters, &options).map_err(export_error)?;
        let name = file_name(format, &order.adapters, &format::rfc3339(now));
        let Content::Document(bytes) = &exported.content else {
            return Err(ApiError::new(
                Code::NotSupported,
                "this format is a folder, which is not written yet",
            ));
        };
        let file = write_export(&self.folder, &name, bytes).map_err(folder_error)?;
        Ok(ExportOutcome {
            format: format.as_str().to_owned(),
            file: Some(file),
            folder: Some(self.folder.display().to_string()),
            sealed: None,
            count: exported.bond_count,
            sha256: exported.sha256(),
            report: report_dto(&exported.report),
        })
    }

    fn import(&self, order: ImportOrder) -> Result<ImportOutcome, ApiError> {
        refuse_options(&order.options)?;
        let bytes = match order.from {
            ImportFrom::Checkpoint(label) => return self.import_checkpoint(label),
            ImportFrom::File(name) => {
                let octets_max = FormatId::ALL.iter().map(|format| format.input_octets_max()).max();
                read_import(&self.folder, &name, octets_max.unwrap_or_default()).map_err(folder_error)?
            }
            ImportFrom::Inline(input) => zeroize::Zeroizing::new(input.octets().to_vec()),
        };
        let input = Input::Document(&bytes);
        let format = match &order.format {
            Some(name) => format_named(name)?,
            None => format::detect(input)
                .map_err(|error| ApiError::new(Code::FormatUnknown, crate::cli::chain(&error)))?,
        };
        let options =
            ImportOptions { now: super::wall_clock(), adapter: order.adapter, ..ImportOptions::default() };
        let imported = format::import(format, input, &options).map_err(import_error)?;
        let source = if format == FormatId::Bondkeeper { Source::Restored } else { Source::Imported };
        let adapters = imported.adapters.into_iter();
        let adapters = adapters
            .map(|adapter| ImportedBonds { adapter: adapter.address, bonds: adapter.bonds })
            .collect();
        Ok(ImportOutcome { adapters, source, report: report_dto(&imported.report) })
    }

    fn checkpoints(&self, adapter: Option<AdapterAddress>) -> Result<Vec<Checkpoint>, ApiError> {
        ask(&self.ports()?.0, ListCheckpoints { adapter })
    }
}

impl Exchanger {
    fn import_checkpoint(&self, label: String) -> Result<ImportOutcome, ApiError> {
        let content = ask(&self.ports()?.1, ReadCheckpoint { label })?;
        let bonds = content.table.bonds().cloned().collect();
        let adapters = vec![ImportedBonds { adapter: Some(content.checkpoint.adapter), bonds }];
        Ok(ImportOutcome { adapters, source: Source::Restored, report: report_dto(&Report::default()) })
    }
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

fn record(adapter: &ExportedBonds) -> AdapterRecord {
    AdapterRecord { name: adapter.name.clone(), ..AdapterRecord::default() }
}

fn format_named(name: &str) -> Result<FormatId, ApiError> {
    FormatId::from_word(name).ok_or_else(|| {
        let known: Vec<&str> = FormatId::ALL.iter().map(|format| format.as_str()).collect();
        ApiError::new(
            Code::FormatUnknown,
            format!("there is no format {name:?}; there are: {}", known.join(", ")),
        )
    })
}

/// No format of this version has any.
fn refuse_options(options: &FormatOptions) -> Result<(), ApiError> {
    match options.0.keys().next() {
        None => Ok(()),
        Some(name) => {
            Err(ApiError::new(Code::InvalidValue, format!("options: this format has no option {name:?}")))
        }
    }
}

/// `bonds-<adapter without colons, or all>-<time>.<ending>`
fn file_name(format: FormatId, adapters: &[ExportedBonds], now: &str) -> String {
    let whose = match adapters {
        [one] => one.adapter.to_string().replace(':', ""),
        _ => "all".to_owned(),
    };
    let time: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("bonds-{whose}-{}-{time}.{}", format.as_str(), format.extension())
}

fn export_error(error: FormatError) -> ApiError {
    match &error {
        FormatError::LosesPeers(peers) => {
            let peers: Vec<String> = peers.iter().take(20).map(ToString::to_string).collect();
            let words = format!("{error}; allow_loss: true exports the others");
            ApiError::new(Code::ExportLossy, words).with("peers", peers)
        }
        FormatError::OneAdapterOnly { .. } => {
            ApiError::new(Code::InvalidValue, format!("{error}: name one in adapter"))
        }
        _ => ApiError::new(Code::Internal, crate::cli::chain(&error)),
    }
}

fn import_error(error: FormatError) -> ApiError {
    let code =
        if matches!(error, FormatError::TooLarge { .. }) { Code::TooLarge } else { Code::FormatInvalid };
    let place = error.place().map(str::to_owned);
    let answer = ApiError::new(code, crate::cli::chain(&error));
    match place {
        Some(place) => answer.with("place", place),
        None => answer,
    }
}

fn folder_error(error: ExchangeError) -> ApiError {
    let code = match &error {
        ExchangeError::Missing(_) => Code::FileUnknown,
        ExchangeError::TooLarge { .. } => Code::TooLarge,
        ExchangeError::Name | ExchangeError::NotAFile(_) => Code::InvalidValue,
        ExchangeError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Code::DiskFull
        }
        ExchangeError::Io { .. } | ExchangeError::NoFreeName => Code::FileFailed,
    };
    ApiError::new(code, crate::cli::chain(&error))
}

fn report_dto(report: &Report) -> ReportDto {
    let line = |peer: PeerAddress, field: &str, why: &str| ReportLineDto {
        peer: Some(PeerDto::of(peer)),
        place: None,
        reason: format!("{field}: {why}"),
    };
    let mut dto = ReportDto { taken: report.peers.len(), ..ReportDto::default() };
    for peer in &report.peers {
        let address = peer.peer;
        dto.assumed.extend(peer.assumed.iter().map(|assumed| line(address, assumed.field, assumed.rule)));
        dto.dropped.extend(peer.dropped.iter().map(|dropped| line(address, dropped.field, dropped.reason)));
    }
    dto.refused.extend(report.refused.iter().map(|refused| ReportLineDto {
        peer: refused.peer.map(PeerDto::of),
        place: Some(refused.place.clone()),
        reason: refused.reason.clone(),
    }));
    dto.lost_peers = report.lost_peers.iter().map(|peer| PeerDto::of(*peer)).collect();
    dto.bounded()
}
