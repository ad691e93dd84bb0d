//! Prints what a data folder holds, without keys.

use std::path::Path;

use crate::bond::{Bond, UnixMillis};
use crate::format::rfc3339;
use crate::store::{self, OpenError};

/// Prints the adapters and bonds of a data folder.
pub fn inspect(data_dir: &Path) -> Result<(), OpenError> {
    let inspection = store::inspect(data_dir)?;
    for note in &inspection.notes {
        println!("note: {note}");
    }
    if inspection.adapters.is_empty() {
        println!("no adapter is stored in {}", data_dir.display());
    }
    for adapter in &inspection.adapters {
        let name = adapter.record.name.as_deref().unwrap_or("no name");
        let mode = adapter.record.mode.map_or("default", |mode| mode.as_str());
        println!(
            "adapter {} ({}), mode {mode}, generation {}, {} bond(s)",
            adapter.address,
            name.escape_debug(),
            adapter.table.generation(),
            adapter.table.len()
        );
        for bond in adapter.table.bonds() {
            println!("  {}", describe(bond));
        }
    }
    Ok(())
}

fn describe(bond: &Bond) -> String {
    let mut keys: Vec<String> = bond
        .ltks()
        .iter()
        .map(|ltk| format!("LTK {} ({} octets)", ltk.key_type.as_str(), ltk.encryption_size.octets()))
        .collect();
    if bond.irk.is_some() {
        keys.push("IRK".to_owned());
    }
    if bond.csrk_local.is_some() || bond.csrk_remote.is_some() {
        keys.push("CSRK".to_owned());
    }
    if let Some(link_key) = &bond.link_key {
        keys.push(format!("link key {}", link_key.key_type.as_str()));
    }
    let kind = if bond.is_bredr_only() { "bredr" } else { bond.peer.kind().as_str() };
    let metadata = &bond.metadata;
    let name = metadata.name.as_deref().map(|name| format!(" {:?}", name)).unwrap_or_default();
    format!(
        "{} {kind}{name}: {}; {} {}, since {}",
        bond.peer,
        keys.join(", "),
        metadata.custody.as_str(),
        metadata.source.as_str(),
        time(metadata.created_at)
    )
}

fn time(at: UnixMillis) -> String {
    rfc3339(at)
}
