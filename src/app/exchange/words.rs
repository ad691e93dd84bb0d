//! Errors and reports of formats, seals and folders in the words of the API.

use crate::api::answers::{ReportDto, ReportLineDto};
use crate::api::dto::PeerDto;
use crate::api::{ApiError, Code};
use crate::bond::PeerAddress;
use crate::format::sealed::SealError;
use crate::format::{FormatError, FormatId, FormatOptions, ParcelError, Report};
use crate::store::exchange::ExchangeError;

pub(super) fn format_named(name: &str) -> Result<FormatId, ApiError> {
    FormatId::from_word(name).ok_or_else(|| {
        let known: Vec<&str> = FormatId::ALL.iter().map(|format| format.as_str()).collect();
        ApiError::new(
            Code::FormatUnknown,
            format!("there is no format {name:?}; there are: {}", known.join(", ")),
        )
    })
}

/// A format's own choices. Only names are repeated in errors: a value may be anything.
pub(super) fn format_options(
    options: &crate::api::request::FormatOptions,
) -> Result<FormatOptions, ApiError> {
    let text = |(name, value): (&String, &serde_json::Value)| {
        let value = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            _ => {
                let message = "the values of `options` are texts, numbers, true or false";
                return Err(ApiError::new(Code::InvalidValue, message).with("field", "options"));
            }
        };
        Ok((name.clone(), value))
    };
    options.0.iter().map(text).collect()
}

pub(super) fn export_error(error: FormatError) -> ApiError {
    match &error {
        FormatError::LosesPeers(peers) => {
            let peers: Vec<String> = peers.iter().take(20).map(ToString::to_string).collect();
            let words = format!("{error}; allow_loss: true exports the others");
            ApiError::new(Code::ExportLossy, words).with("peers", peers)
        }
        FormatError::OneAdapterOnly { .. } => {
            ApiError::new(Code::InvalidValue, format!("{error}: name one in adapter"))
        }
        FormatError::Option { .. } => option_error(&error),
        _ => ApiError::new(Code::Internal, crate::cli::chain(&error)),
    }
}

fn option_error(error: &FormatError) -> ApiError {
    ApiError::new(Code::InvalidValue, format!("`options`: {error}")).with("field", "options")
}

pub(super) fn parcel_error(error: ParcelError) -> ApiError {
    match error {
        ParcelError::Seal(error) => seal_error(&error),
        ParcelError::Format(error) => import_error(error),
    }
}

fn seal_error(error: &SealError) -> ApiError {
    match error {
        SealError::PassphraseNeeded => {
            let words = format!("{error}: set the option export_passphrase to the one it was sealed with");
            ApiError::new(Code::SealNotOpened, words)
        }
        SealError::IdentityNeeded => {
            let words = "the input is sealed for recipients, whose secret keys this service does not have: open it \
                         with the age program first";
            ApiError::new(Code::SealNotOpened, words)
        }
        SealError::TooLarge { .. } => ApiError::new(Code::TooLarge, error.to_string()),
        _ => ApiError::new(Code::SealNotOpened, error.to_string()),
    }
}

pub(super) fn import_error(error: FormatError) -> ApiError {
    let code = match &error {
        FormatError::TooLarge { .. } => Code::TooLarge,
        FormatError::Undetected(_) => Code::FormatUnknown,
        FormatError::ExportOnly(_) => Code::NotSupported,
        FormatError::Option { .. } => return option_error(&error),
        _ => Code::FormatInvalid,
    };
    let place = error.place().map(str::to_owned);
    let answer = ApiError::new(code, crate::cli::chain(&error));
    match place {
        Some(place) => answer.with("place", place),
        None => answer,
    }
}

pub(super) fn folder_error(error: ExchangeError) -> ApiError {
    let code = match &error {
        ExchangeError::Missing(_) => Code::FileUnknown,
        ExchangeError::TooLarge { .. } | ExchangeError::Tree { .. } => Code::TooLarge,
        ExchangeError::Name | ExchangeError::NotAFile(_) => Code::InvalidValue,
        ExchangeError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Code::DiskFull
        }
        ExchangeError::Io { .. } | ExchangeError::NoFreeName | ExchangeError::Taken(_) => Code::FileFailed,
    };
    ApiError::new(code, crate::cli::chain(&error))
}

pub(super) fn report_dto(report: &Report) -> ReportDto {
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
    dto.notes.clone_from(&report.notes);
    dto.bounded()
}
