//! Shows what a data folder, or a file or folder of any format, holds.
//!
//! Key octets are shown only when they are asked for by name.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{ReadArguments, StoreArguments, pair};
use super::error::CliError;
use super::report;
use super::streams::{print, read_input};
use crate::app::{STORE_FOLDER, wall_clock};
use crate::bond::fingerprint::FINGERPRINT_KEY_OCTETS;
use crate::bond::{Bond, FingerprintKey};
use crate::config::Settings;
use crate::format::canonical::{self, Keys};
use crate::format::sealed::Passphrase;
use crate::format::{FormatOptions, Imported, ImportedAdapter, Parcel, rfc3339};
use crate::store::messages::StoredAdapter;
use crate::store::{self, Inspection};

/// Show the adapters and bonds of a data folder, or of a file or folder in any format. Changes nothing. A data
/// folder may be in use by the service, or be what a crash left of it.
#[derive(Debug, Args)]
pub struct InspectArguments {
    #[command(flatten)]
    read: ReadArguments,
    /// A choice of the input's format.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// As JSON, one form for all formats; fingerprints stand for keys.
    #[arg(long)]
    json: bool,
    /// With --json: the keys themselves.
    #[arg(long, requires = "json")]
    reveal_keys: bool,
    #[command(flatten)]
    store: StoreArguments,
    /// A JSON file with options; data_dir and the passphrase of a sealed store are used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file, a folder, or - for standard input. A folder in which the service keeps its store is read as that.
    /// Without it, the data folder of the options.
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

/// Carries it out. `settings` reads the options, which not every use needs.
pub fn inspect(
    arguments: &InspectArguments,
    settings: impl FnOnce(Option<PathBuf>) -> Result<Settings, crate::config::ConfigError>,
) -> Result<(), CliError> {
    let options = || settings(arguments.config.clone()).map_err(Box::new);
    let Some(path) = &arguments.path else {
        let settings = options()?;
        let passphrase = arguments.store.passphrase(&settings)?;
        return inspect_store(&settings.data_dir.join(STORE_FOLDER), passphrase, arguments);
    };
    let folder = path.join(STORE_FOLDER);
    if arguments.read.from.is_some() || !folder.is_dir() {
        return inspect_input(path, arguments);
    }
    // The options are asked only where something depends on them: the folder may be from another host.
    let passphrase = match arguments.store.given()? {
        None if store::is_sealed(&folder) => arguments.store.passphrase(&options()?)?,
        given => given,
    };
    inspect_store(&folder, passphrase, arguments)
}

fn inspect_input(path: &Path, arguments: &InspectArguments) -> Result<(), CliError> {
    let read = &arguments.read;
    let parcel = Parcel::new(read_input(path)?, read.from, &read.openers(None)?)?;
    let choices = FormatOptions::from_iter(arguments.options.iter().cloned());
    // Somebody who only looks wants to see what could never be loaded, too.
    let mut options = read.import_options(wall_clock(), choices);
    options.keep_unusable = true;
    let imported = parcel.import(&options).map_err(CliError::Import)?;
    if arguments.json {
        eprint!("{}", report::lines(&imported.report, "read"));
        return print_json(&imported, arguments);
    }
    let sealed = if parcel.was_sealed { ", sealed" } else { "" };
    println!("format {}{sealed}", parcel.format.as_str());
    for adapter in &imported.adapters {
        print_imported(adapter);
    }
    print!("{}", report::lines(&imported.report, "read"));
    Ok(())
}

fn print_imported(adapter: &ImportedAdapter) {
    let named = adapter.address.map(|address| address.to_string()).or_else(|| adapter.hint.clone());
    let name = adapter.name.as_deref().map(|name| format!(" {name:?}")).unwrap_or_default();
    let identity = if adapter.local_identity.is_some() { ", with its own identity key" } else { "" };
    let count = adapter.bonds.len() + adapter.unusable.len();
    println!(
        "adapter {}{name}{identity}, {count} bond(s)",
        named.as_deref().unwrap_or("that is not named").escape_debug()
    );
    for bond in &adapter.bonds {
        println!("  {}", keys_of(bond, &bond.peer.to_string()));
    }
    for peer in &adapter.unusable {
        println!("  {}; cannot be used: {}", keys_of(&peer.stand_in, &peer.address), peer.reason);
    }
}

fn inspect_store(
    folder: &Path,
    passphrase: Option<Passphrase>,
    arguments: &InspectArguments,
) -> Result<(), CliError> {
    let Inspection { adapters, notes, .. } = store::inspect(folder, passphrase)?;
    if arguments.json {
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        let adapters = adapters.into_iter().map(as_imported).collect();
        return print_json(&Imported { adapters, ..Imported::default() }, arguments);
    }
    notes.iter().for_each(|note| println!("note: {note}"));
    if adapters.is_empty() {
        println!("no adapter is stored in {}", folder.display());
    }
    for adapter in &adapters {
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

fn as_imported(stored: StoredAdapter) -> ImportedAdapter {
    ImportedAdapter {
        address: Some(stored.address),
        name: stored.record.name,
        local_identity: stored.record.local_identity,
        opaque: stored.record.opaque,
        bonds: stored.table.bonds().cloned().collect(),
        ..ImportedAdapter::default()
    }
}

fn print_json(imported: &Imported, arguments: &InspectArguments) -> Result<(), CliError> {
    let bytes = if arguments.reveal_keys {
        canonical::write(imported, Keys::Revealed)
    } else {
        canonical::write(imported, Keys::Fingerprints(&passing_key()?))
    };
    print(&bytes.map_err(CliError::Export)?)
}

/// A key for the fingerprints of one output: they tell which keys in it are equal, and nothing to anybody else.
fn passing_key() -> Result<FingerprintKey, CliError> {
    let mut octets = zeroize::Zeroizing::new([0; FINGERPRINT_KEY_OCTETS]);
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut *octets));
    read.map_err(CliError::Randomness)?;
    Ok(FingerprintKey::new(*octets))
}

/// A peer and the kinds of its keys.
fn keys_of(bond: &Bond, address: &str) -> String {
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
    let name = bond.metadata.name.as_deref().map(|name| format!(" {name:?}")).unwrap_or_default();
    format!("{address} {kind}{name}: {}", keys.join(", "))
}

fn describe(bond: &Bond) -> String {
    let metadata = &bond.metadata;
    format!(
        "{}; {} {}, since {}",
        keys_of(bond, &bond.peer.to_string()),
        metadata.custody.as_str(),
        metadata.source.as_str(),
        rfc3339(metadata.created_at)
    )
}
