//! The verbs: what each may be asked with, and who may ask it.

use serde_json::Value;
use zeroize::Zeroizing;

use super::codes::{ApiError, Code};
use super::fields::{Fields, invalid, missing, texts};
use super::limits::{
    CHECKPOINT_LABEL_OCTETS_MAX, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, RECIPIENTS_MAX, REQUEST_OCTETS_MAX,
    RESTORE_OCTETS_MAX, TEXT_OCTETS_MAX,
};
use super::request::{
    AdoptBonds, Deliver, ExportBonds, ForgetBond, FormatOptions, InlineInput, ListBonds, LogLevel, Request,
    RestoreBonds, RestoreFrom, Seal, UndoBonds,
};
use crate::bond::Mode;
use crate::bond::plan::RestoreMode;

/// The format of an export where the request does not name one: the only one that loses nothing.
const EXPORT_FORMAT_DEFAULT: &str = "bondkeeper";

type Read = fn(&mut Fields) -> Result<Request, ApiError>;

/// One verb.
pub(super) struct Verb {
    pub(super) name: &'static str,
    /// Changes nothing anywhere, the export folder included.
    pub(super) read_only: bool,
    pub(super) octets_max: usize,
    pub(super) read: Read,
}

const fn reads(name: &'static str, read: Read) -> Verb {
    Verb { name, read_only: true, octets_max: REQUEST_OCTETS_MAX, read }
}

const fn changes(name: &'static str, read: Read) -> Verb {
    Verb { name, read_only: false, octets_max: REQUEST_OCTETS_MAX, read }
}

/// Every verb there is.
pub(super) const VERBS: &[Verb] = &[
    reads("health_check", |_| Ok(Request::HealthCheck)),
    reads("bonds/list", list_bonds),
    changes("bonds/export", export_bonds),
    Verb { octets_max: RESTORE_OCTETS_MAX, ..changes("bonds/restore", restore_bonds) },
    changes("bonds/undo", undo_bonds),
    changes("bonds/forget", forget_bond),
    changes("bonds/reload", |fields| Ok(Request::Reload { adapter: fields.the_adapter()? })),
    changes("bonds/adopt", |fields| {
        let (adapter, peers) = (fields.the_adapter()?, fields.peers()?);
        Ok(Request::AdoptBonds(AdoptBonds { adapter, peers }))
    }),
    reads("checkpoint/list", |fields| Ok(Request::ListCheckpoints { adapter: fields.adapter()? })),
    changes("checkpoint/create", create_checkpoint),
    changes("adapter/mode", set_mode),
    changes("adapter/forget", |fields| Ok(Request::ForgetAdapter { adapter: fields.the_adapter()? })),
    changes("log_level", set_log_level),
];

fn list_bonds(fields: &mut Fields) -> Result<Request, ApiError> {
    Ok(Request::ListBonds(ListBonds {
        adapter: fields.adapter()?,
        peer: fields.peer()?,
        offset: fields.number("offset", 0..=usize::MAX)?.unwrap_or(0),
        limit: fields.number("limit", 1..=LIST_LIMIT_MAX)?.unwrap_or(LIST_LIMIT_DEFAULT),
    }))
}

fn export_bonds(fields: &mut Fields) -> Result<Request, ApiError> {
    let deliver = fields.word("deliver", "`file` or `mqtt`", |word| match word {
        "file" => Some(Deliver::File),
        "mqtt" => Some(Deliver::Mqtt),
        _ => None,
    })?;
    let request = ExportBonds {
        adapter: fields.adapter()?,
        peers: fields.peers()?,
        format: fields.text("format", TEXT_OCTETS_MAX)?.unwrap_or_else(|| EXPORT_FORMAT_DEFAULT.to_owned()),
        options: format_options(fields)?,
        deliver: deliver.unwrap_or(Deliver::File),
        seal: seal(fields)?,
        allow_loss: fields.flag("allow_loss", false)?,
        dry_run: fields.flag("dry_run", false)?,
    };
    if request.deliver == Deliver::Mqtt && request.seal == Some(Seal::Off) {
        let message = "keys go over MQTT only sealed: leave `seal` out, or let the export go to a file";
        return Err(ApiError::new(Code::SealRequired, message));
    }
    Ok(Request::ExportBonds(request))
}

fn format_options(fields: &mut Fields) -> Result<FormatOptions, ApiError> {
    Ok(FormatOptions(fields.object("options")?.unwrap_or_default()))
}

fn seal(fields: &mut Fields) -> Result<Option<Seal>, ApiError> {
    const EXPECTED: &str = "`{\"passphrase\": true}` (the configured one), `{\"recipients\": [\"age1…\"]}`, or false for clear text";
    let object = match fields.take("seal") {
        None => return Ok(None),
        Some(Value::Bool(false)) => return Ok(Some(Seal::Off)),
        Some(Value::Object(object)) => object,
        Some(_) => return Err(invalid("seal", EXPECTED)),
    };
    let mut inner = Fields::new(object);
    let (passphrase, recipients) = (inner.take("passphrase"), inner.take("recipients"));
    inner.finish()?;
    match (passphrase, recipients) {
        (Some(Value::Bool(true)), None) => Ok(Some(Seal::ConfiguredPassphrase)),
        (None, Some(list)) => Ok(Some(Seal::Recipients(texts("recipients", list, RECIPIENTS_MAX)?))),
        _ => Err(invalid("seal", EXPECTED)),
    }
}

fn restore_bonds(fields: &mut Fields) -> Result<Request, ApiError> {
    let mode = fields.word("mode", "`merge` or `replace`", |word| {
        [RestoreMode::Merge, RestoreMode::Replace].into_iter().find(|mode| mode.as_str() == word)
    })?;
    let request = RestoreBonds {
        adapter: fields.adapter()?,
        from: restore_from(fields)?,
        format: fields.text("format", TEXT_OCTETS_MAX)?,
        options: format_options(fields)?,
        adapters: fields.adapters()?,
        salvage: fields.flag("salvage", false)?,
        mode: mode.unwrap_or(RestoreMode::Merge),
        dry_run: fields.flag("dry_run", false)?,
        plan_id: fields.text("plan_id", TEXT_OCTETS_MAX)?,
        allow_adapter_mismatch: fields.flag("allow_adapter_mismatch", false)?,
    };
    if request.from == RestoreFrom::Store && request.adapter.is_none() {
        return Err(missing("adapter", "`{\"store\": true}` does not name one"));
    }
    Ok(Request::RestoreBonds(request))
}

fn restore_from(fields: &mut Fields) -> Result<RestoreFrom, ApiError> {
    const EXPECTED: &str = "exactly one of `{\"file\": name}`, `{\"inline\": …}`, `{\"checkpoint\": label}` and `{\"store\": true}`";
    let Some(object) = fields.object("from")? else { return Err(missing("from", EXPECTED)) };
    let mut inner = Fields::new(object);
    let file = inner.bare_name("file")?.map(RestoreFrom::File);
    let checkpoint = inner.bare_name("checkpoint")?.map(RestoreFrom::Checkpoint);
    let inline = inner.take("inline").map(inline).transpose()?;
    let store = inner.flag("store", false)?.then_some(RestoreFrom::Store);
    inner.finish()?;
    let mut sources = [file, checkpoint, inline, store].into_iter().flatten();
    match (sources.next(), sources.next()) {
        (Some(source), None) => Ok(source),
        _ => Err(invalid("from", EXPECTED)),
    }
}

/// A JSON format comes as JSON, any other as text.
fn inline(value: Value) -> Result<RestoreFrom, ApiError> {
    let octets = match value {
        Value::String(text) => text.into_bytes(),
        value @ (Value::Object(_) | Value::Array(_)) => {
            // Writing out what was just read cannot fail; if it did, the text holds no value.
            serde_json::to_vec(&value).map_err(|error| ApiError::new(Code::Internal, error.to_string()))?
        }
        _ => return Err(invalid("inline", "a JSON object or list, or a text")),
    };
    Ok(RestoreFrom::Inline(InlineInput::new(Zeroizing::new(octets))))
}

fn undo_bonds(fields: &mut Fields) -> Result<Request, ApiError> {
    Ok(Request::UndoBonds(UndoBonds {
        adapter: fields.the_adapter()?,
        dry_run: fields.flag("dry_run", false)?,
        plan_id: fields.text("plan_id", TEXT_OCTETS_MAX)?,
    }))
}

fn forget_bond(fields: &mut Fields) -> Result<Request, ApiError> {
    Ok(Request::ForgetBond(ForgetBond {
        adapter: fields.the_adapter()?,
        peer: fields.peer()?.ok_or_else(|| missing("peer", "the address of the peer to forget"))?,
        unpair: fields.flag("unpair", true)?,
    }))
}

fn create_checkpoint(fields: &mut Fields) -> Result<Request, ApiError> {
    const EXPECTED: &str = "at most 40 of a-z, 0-9 and `_`: it ends the checkpoint's own name";
    let adapter = fields.adapter()?;
    let label = fields.text("label", CHECKPOINT_LABEL_OCTETS_MAX)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if label.as_deref().is_some_and(|label| !label.bytes().all(plain)) {
        return Err(invalid("label", EXPECTED));
    }
    Ok(Request::CreateCheckpoint { adapter, label })
}

fn set_mode(fields: &mut Fields) -> Result<Request, ApiError> {
    const EXPECTED: &str = "`auto`, `own` or `observe`";
    let adapter = fields.the_adapter()?;
    let mode = fields.word("mode", EXPECTED, Mode::from_word)?;
    Ok(Request::SetMode { adapter, mode: mode.ok_or_else(|| missing("mode", EXPECTED))? })
}

fn set_log_level(fields: &mut Fields) -> Result<Request, ApiError> {
    const EXPECTED: &str = "`error`, `warn`, `info`, `debug` or `trace`";
    let level = fields.word("level", EXPECTED, LogLevel::from_word)?;
    level.map(Request::SetLogLevel).ok_or_else(|| missing("level", EXPECTED))
}
