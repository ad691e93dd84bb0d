//! Home Assistant's own file of habluetooth key lists, `.storage/bluetooth.bonds`.
//!
//! | field | JSON | meaning |
//! |---|---|---|
//! | `version` | 1 | another one makes Home Assistant give up the file |
//! | `minor_version` | 1 | missing counts as 1 |
//! | `key` | `"bluetooth.bonds"` | what the file is about |
//! | `data` | object | adapter → list of keys, see [`habluetooth`] |
//!
//! Fields in this order, laid out with two spaces, no line end behind the last brace. `{}` alone is a file
//! without data. [Home Assistant `helpers/storage.py`]
//!
//! Adapters go by the kernel's names (`hci0`), which change with the order of plugging: which adapter
//! is meant must come from the caller and is never guessed. A file that is not valid JSON costs Home Assistant's user all
//! bonds, so it must be replaced whole and never written by halves.

use std::collections::BTreeMap;

use serde::Serialize;
use zeroize::Zeroizing;

use super::draft::refuse;
use super::habluetooth::{self, ENTRY_OCTETS_EXPECTED, EntryDto};
use super::json::{self, Bad, Json};
use super::{
    Codec, Content, ExportAdapter, ExportOptions, Exported, FOREIGN_OCTETS_MAX, FormatError, FormatId,
    ImportOptions, Imported, ImportedAdapter, Input, OptionSpec, Probe, Report, check,
};
use crate::bond::AdapterAddress;

const VERSION: u64 = 1;
const MINOR_VERSION: u64 = 1;
const KEY: &str = "bluetooth.bonds";

/// Adapters of one file: more than any host has, as a name stays behind for each that ever was.
const ADAPTERS_MAX: usize = 64;

const ADAPTER_NAME: OptionSpec = OptionSpec {
    name: "adapter_name",
    values: &[],
    meaning: "the kernel's name of the adapter (hci0), under which Home Assistant looks for its bonds; without it \
              the adapter's address is written",
};

pub(super) const CODEC: Codec = Codec {
    word: "ha-store",
    extension: "json",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[],
    export_options: &[ADAPTER_NAME],
    claims,
    import: Some(import),
    export,
};

#[derive(Serialize)]
struct FileDto {
    version: u64,
    minor_version: u64,
    key: &'static str,
    data: BTreeMap<String, Vec<EntryDto>>,
}

/// Says what it is about, or is a file without data.
fn claims(probe: &Probe<'_>) -> bool {
    let Probe::Json(Json::Object(fields)) = probe else { return false };
    fields.is_empty() || fields.iter().any(|(name, value)| name == "key" && value.as_text() == Ok(KEY))
}

fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let json = json::parse(input.document(FormatId::HaStore)?, FOREIGN_OCTETS_MAX)?;
    let mut imported = Imported::default();
    if matches!(&json, Json::Object(fields) if fields.is_empty()) {
        imported.report.notes.push("the file holds no data".to_owned());
        return Ok(imported);
    }
    let fields = json.as_fields()?;
    if fields.required("key", Json::as_text)? != KEY {
        let reason = "the field \"key\" does not say bluetooth.bonds";
        return Err(FormatError::WrongFormat { format: FormatId::HaStore, reason });
    }
    let version = fields.required("version", Json::as_integer::<u64>)?;
    if version != VERSION {
        return Err(FormatError::Version { found: version, known: VERSION });
    }
    if fields.optional("minor_version", Json::as_integer::<u64>)?.is_some_and(|minor| minor != MINOR_VERSION)
    {
        let note = "the minor version is another than 1: what it may have added was not looked for";
        imported.report.notes.push(note.to_owned());
    }
    for name in fields.unknown(&["version", "minor_version", "key", "data"]) {
        imported.report.notes.push(format!("the file has a field that is not known and not taken: {name}"));
    }
    fields.required("data", |data| read_adapters(data, options, &mut imported))?;
    Ok(imported)
}

fn read_adapters(data: &Json, options: &ImportOptions, imported: &mut Imported) -> Result<(), Bad> {
    let lists = data.as_map(ADAPTERS_MAX)?;
    for (name, list) in lists {
        match read_adapter(name, list, lists.len() == 1, options, imported) {
            Ok(adapter) => imported.adapters.push(adapter),
            Err(bad) => {
                refuse(&mut imported.report, bad.in_field(shown(name)).in_field("data"));
            }
        }
    }
    Ok(())
}

fn read_adapter(
    name: &str,
    list: &Json,
    is_only: bool,
    options: &ImportOptions,
    imported: &mut Imported,
) -> Result<ImportedAdapter, Bad> {
    let stated = name.parse::<AdapterAddress>().ok();
    if stated.is_none() && !check::is_plain_word(name) {
        return Err(Bad::new("is neither an adapter's address nor a plain name"));
    }
    let address = stated.or_else(|| options.adapter_of(Some(name), is_only));
    if address.is_some() && imported.adapters.iter().any(|earlier| earlier.address == address) {
        return Err(Bad::new("stands for an adapter that came before"));
    }
    let before = imported.report.refused.len();
    let read = habluetooth::read_list(list.as_list()?, address, options.now, &mut imported.report)?;
    for refused in &mut imported.report.refused[before..] {
        refused.place = format!("data.{}, {}", shown(name), refused.place);
    }
    Ok(ImportedAdapter { hint: stated.is_none().then(|| name.to_owned()), ..read })
}

/// An adapter's name as far as an error may repeat it.
fn shown(name: &str) -> &str {
    let known = name.parse::<AdapterAddress>().is_ok() || check::is_plain_word(name);
    if known { name } else { "(an odd name)" }
}

fn export(adapters: &[ExportAdapter<'_>], options: &ExportOptions) -> Result<Exported, FormatError> {
    let name = options.options.get(ADAPTER_NAME.name);
    if let Some(name) = name {
        check_adapter_name(name, adapters.len())?;
    }
    let mut report = Report::default();
    let mut data = BTreeMap::new();
    for adapter in adapters {
        let key = match name {
            Some(name) => name.to_owned(),
            None => adapter.named()?.to_string(),
        };
        data.insert(key, habluetooth::write_list(adapter, CODEC.word, &mut report));
    }
    let entry_count: usize = data.values().map(Vec::len).sum();
    if name.is_none() {
        let note = "Home Assistant looks for bonds under the kernel's names of adapters (hci0); the file has their addresses";
        report.notes.push(note.to_owned());
    }
    let note = "Home Assistant must be stopped while the file is put in place, and keeps it readable to every user of the host";
    report.notes.push(note.to_owned());
    let room = (ENTRY_OCTETS_EXPECTED + 64) * (entry_count + 1) + 64 * adapters.len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let file = FileDto { version: VERSION, minor_version: MINOR_VERSION, key: KEY, data };
    serde_json::to_writer_pretty(&mut *bytes, &file).map_err(|_| FormatError::Write)?;
    let bond_count = report.peers.len() - report.lost_peers.len();
    Ok(Exported { content: Content::Document(bytes), bond_count, report })
}

fn check_adapter_name(name: &str, adapter_count: usize) -> Result<(), FormatError> {
    let refused = |reason: String| Err(FormatError::Option { name: ADAPTER_NAME.name.to_owned(), reason });
    if !check::is_plain_word(name) {
        return refused("is not a plain name like hci0".to_owned());
    }
    if adapter_count != 1 {
        return refused(format!("names one adapter; {adapter_count} were given"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
