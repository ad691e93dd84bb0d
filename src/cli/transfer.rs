//! Into and out of a data folder whose service is stopped.
//!
//! Goes the way of the service: the same planner, a copy kept aside first, the same store. Must never touch a
//! folder that a service has: that one holds the bonds in memory and would write over what is done here.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{ReadArguments, StoreArguments, WriteArguments, adapter, pair};
use super::convert::{meant, nameless};
use super::error::CliError;
use super::report;
use super::streams::{read_input, write_output};
use crate::app::exchange::{IDENTITY_NOTE, configured_passphrase};
use crate::app::{STORE_FOLDER, wall_clock};
use crate::bond::plan::{PlanFacts, RestoreMode, RestorePlan, plan_restore};
use crate::bond::{AdapterAddress, PeerAddress, Source, UnixMillis};
use crate::config::Settings;
use crate::format::sealed::Passphrase;
use crate::format::{self, ExportAdapter, ExportOptions, FormatId, FormatOptions, ImportedAdapter, Parcel};
use crate::store::messages::{StoreState, StoredAdapter};
use crate::store::{Offline, OpenError, SealChoice, inspect};

/// What the copy that is kept aside says of its reason.
const BEFORE_IMPORT: &str = "before_import";

/// Take bonds into the data folder of a stopped service. Shows the plan first; keeps a copy of what was there.
#[derive(Debug, Args)]
pub struct ImportArguments {
    #[command(flatten)]
    read: ReadArguments,
    /// A choice of the input's format.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// merge: lay the incoming keys over the stored ones; replace: the adapter's bonds become the input.
    #[arg(long, value_name = "MODE", default_value = "merge", value_parser = mode)]
    mode: RestoreMode,
    /// Take bonds that another adapter has made.
    #[arg(long, requires = "adapter")]
    allow_adapter_mismatch: bool,
    /// Show the plan; change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArguments,
    /// A JSON file with options: data_dir and the passphrases of exports and of a sealed store are used.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file, a folder, or - for standard input.
    #[arg(value_name = "IN")]
    input: PathBuf,
}

/// Write the bonds of a data folder whose service is stopped.
#[derive(Debug, Args)]
pub struct ExportArguments {
    #[command(flatten)]
    write: WriteArguments,
    /// Only this adapter's bonds.
    #[arg(long, value_name = "ADDRESS", value_parser = adapter)]
    adapter: Option<AdapterAddress>,
    /// Only this peer's bond; may be given several times.
    #[arg(long = "peer", value_name = "ADDRESS")]
    peers: Vec<String>,
    /// A choice of the output's format.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// Say what the output would hold and lose; write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArguments,
    /// A JSON file with options: data_dir and the passphrase of a sealed store are used.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file, a folder (for a format that is one), or - for standard output.
    #[arg(value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
}

fn mode(text: &str) -> Result<RestoreMode, String> {
    let known = [RestoreMode::Merge, RestoreMode::Replace];
    known.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| "merge or replace".to_owned())
}

/// One adapter's share of an import.
struct Planned {
    stored: StoredAdapter,
    incoming: ImportedAdapter,
    plan: RestorePlan,
    /// The input was made for another adapter.
    is_foreign: bool,
}

/// Carries an import out.
pub fn import(arguments: &ImportArguments, settings: &Settings) -> Result<(), CliError> {
    let read = &arguments.read;
    let now = wall_clock();
    let openers = read.openers(configured_passphrase(settings))?;
    let parcel = Parcel::new(read_input(&arguments.input)?, read.from, &openers)?;
    let choices = FormatOptions::from_iter(arguments.options.iter().cloned());
    let imported = parcel.import(&read.import_options(now, choices)).map_err(CliError::Import)?;
    eprint!("{}", report::lines(&imported.report, "read"));
    let parts = if arguments.allow_adapter_mismatch {
        imported.adapters
    } else {
        meant(imported.adapters, read.adapter)?
    };
    let mut store = open(settings, arguments.store.passphrase(settings)?, "bonds/restore", now)?;
    let source = if parcel.format == FormatId::Bondkeeper { Source::Restored } else { Source::Imported };
    let planned: Result<Vec<Planned>, CliError> =
        parts.into_iter().map(|part| plan(&store, part, arguments, source, now)).collect();
    let planned = planned?;
    if planned.is_empty() {
        return Err(CliError::NoBonds);
    }
    for one in &planned {
        print!("{}", report::plan_lines(one.stored.address, &one.plan));
        if !store.knows(one.stored.address) {
            println!("  this adapter is new here");
        }
        if one.incoming.local_identity.is_some() && !one.is_foreign {
            println!("  note: {IDENTITY_NOTE}");
        }
    }
    if arguments.dry_run {
        println!("dry run: nothing was changed");
        return Ok(());
    }
    for one in planned {
        apply(&mut store, one, now)?;
    }
    Ok(())
}

fn plan(
    store: &Offline,
    incoming: ImportedAdapter,
    arguments: &ImportArguments,
    source: Source,
    now: UnixMillis,
) -> Result<Planned, CliError> {
    let named = arguments.read.adapter.or(incoming.address);
    let address = named.ok_or_else(|| nameless(&incoming))?;
    let is_foreign = incoming.address.is_some_and(|made_for| made_for != address);
    let stored = store.adapter(address);
    let facts = PlanFacts { adapter_mismatch: is_foreign, ..PlanFacts::default() };
    let key = store.fingerprint_key();
    let plan = plan_restore(&stored.table, &incoming.bonds, arguments.mode, source, &facts, key, now);
    Ok(Planned { stored, incoming, plan, is_foreign })
}

fn apply(store: &mut Offline, planned: Planned, now: UnixMillis) -> Result<(), CliError> {
    let Planned { mut stored, incoming, plan, is_foreign } = planned;
    let address = stored.address;
    plan.apply(&mut stored.table)?;
    if !is_foreign {
        stored.record.complete(incoming.local_identity.as_ref(), &incoming.opaque);
    }
    if let Some(checkpoint) = store.save_checkpoint(address, BEFORE_IMPORT, now)? {
        println!("  kept aside: {}", checkpoint.label);
    }
    store.commit(address, stored.table, stored.record, now)?;
    println!(
        "  stored: {address}. The service loads it with the adapter's next plug-in or the host's next start; before that, \
         bonds/reload over MQTT does"
    );
    Ok(())
}

/// Opens the store, unless a service has it or it cannot be written.
fn open(
    settings: &Settings,
    passphrase: Option<Passphrase>,
    verb: &'static str,
    now: UnixMillis,
) -> Result<Offline, CliError> {
    let folder = settings.data_dir.join(STORE_FOLDER);
    if !settings.data_dir.is_dir() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(OpenError::Folder { path: settings.data_dir.clone(), source }.into());
    }
    let store =
        Offline::open(&folder, &SealChoice::as_it_is(passphrase), now).map_err(|error| match error {
            OpenError::Locked { .. } => running(settings, verb),
            error => error.into(),
        })?;
    match store.state() {
        StoreState::Failing { fault } => Err(CliError::Failing(fault.clone())),
        StoreState::Rebuilt { detail } => {
            eprintln!("note: {detail}");
            Ok(store)
        }
        StoreState::Ok => Ok(store),
    }
}

fn running(settings: &Settings, verb: &'static str) -> CliError {
    CliError::Running { root: format!("{}/{}", settings.base_topic, settings.node), verb }
}

/// Carries an export out.
pub fn export(arguments: &ExportArguments, settings: &Settings) -> Result<(), CliError> {
    let write = &arguments.write;
    let seal = write.seal()?;
    let inspection = inspect(&settings.data_dir.join(STORE_FOLDER), arguments.store.passphrase(settings)?)?;
    if inspection.is_in_use {
        return Err(running(settings, "bonds/export"));
    }
    inspection.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let mut stored = inspection.adapters;
    if let Some(wanted) = arguments.adapter {
        stored.retain(|adapter| adapter.address == wanted);
        if stored.is_empty() {
            return Err(CliError::AdapterUnknown(wanted));
        }
    }
    for adapter in &mut stored {
        adapter.record = adapter.record.portable();
    }
    let peers = peers(&stored, &arguments.peers)?;
    if stored.is_empty() {
        return Err(CliError::NothingStored);
    }
    let adapters = stored.iter().map(|adapter| ExportAdapter {
        address: Some(adapter.address),
        record: &adapter.record,
        table: &adapter.table,
        peers: peers.as_deref(),
    });
    let options = ExportOptions {
        created_at: wall_clock(),
        // A dry run is there to show what would be lost.
        allow_loss: write.allow_loss || arguments.dry_run,
        options: FormatOptions::from_iter(arguments.options.iter().cloned()),
    };
    let exported =
        format::export(write.to, &adapters.collect::<Vec<_>>(), &options).map_err(CliError::Export)?;
    eprint!("{}", report::lines(&exported.report, "written"));
    match &arguments.output {
        Some(output) if !arguments.dry_run => write_output(output, exported.content, seal, write),
        _ => {
            eprintln!("dry run: nothing was written");
            Ok(())
        }
    }
}

/// The peers that are named; each has to be there.
fn peers(stored: &[StoredAdapter], named: &[String]) -> Result<Option<Vec<PeerAddress>>, CliError> {
    if named.is_empty() {
        return Ok(None);
    }
    let all: Vec<PeerAddress> =
        stored.iter().flat_map(|adapter| adapter.table.bonds()).map(|bond| bond.peer).collect();
    let mut meant = Vec::new();
    for name in named {
        let before = meant.len();
        meant.extend(all.iter().copied().filter(|peer| peer.to_string().eq_ignore_ascii_case(name)));
        if meant.len() == before {
            let shown: String =
                name.chars().filter(|c| c.is_ascii_hexdigit() || *c == ':').take(17).collect();
            return Err(CliError::PeerUnknown(shown));
        }
    }
    Ok(Some(meant))
}
