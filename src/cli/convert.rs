//! From one format to another, without any service, adapter or data folder.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{ConversionOptions, ReadArguments, WriteArguments};
use super::error::CliError;
use super::report;
use super::streams::{read_input, write_output};
use crate::app::wall_clock;
use crate::bond::{AdapterAddress, AdapterRecord, BondTable};
use crate::format::{self, ExportAdapter, ExportOptions, FormatError, ImportedAdapter, Parcel};

/// Read bonds in one format and write them in another. What is taken, assumed, dropped and refused is said on
/// standard error.
#[derive(Debug, Args)]
pub struct ConvertArguments {
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    write: WriteArguments,
    #[command(flatten)]
    options: ConversionOptions,
    /// Say what the output would hold and lose; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// A file, a folder, or - for standard input.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// A file, a folder (for a format that is one), or - for standard output.
    #[arg(value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
}

/// An adapter's bonds between two formats.
struct Carried {
    address: Option<AdapterAddress>,
    record: AdapterRecord,
    table: BondTable,
}

/// Carries the conversion out.
pub fn convert(arguments: &ConvertArguments) -> Result<(), CliError> {
    let ConvertArguments { read, write, .. } = arguments;
    let seal = write.seal()?;
    let now = wall_clock();
    let parcel = Parcel::new(read_input(&arguments.input)?, read.from, &read.openers(None)?)?;
    if read.from.is_none() {
        eprintln!("the input is in the format {}", parcel.format.as_str());
    }
    let (import, export) = arguments.options.parted(parcel.format, write.to)?;
    let imported = parcel.import(&read.import_options(now, import)).map_err(CliError::Import)?;
    eprint!("{}", report::lines(&imported.report, "read"));
    let parts = meant(imported.adapters, read.adapter)?;
    let without_address = parts.iter().find(|part| part.address.is_none()).map(nameless);
    let carried = parts.into_iter().map(carry).collect::<Result<Vec<_>, _>>()?;
    let adapters = carried.iter().map(|carried| ExportAdapter {
        address: carried.address,
        record: &carried.record,
        table: &carried.table,
        peers: None,
    });
    let options = ExportOptions {
        created_at: now,
        // A dry run is there to show what would be lost.
        allow_loss: write.allow_loss || arguments.dry_run,
        options: export,
    };
    let adapters: Vec<_> = adapters.collect();
    let exported =
        format::export(write.to, &adapters, &options).map_err(|error| match (error, without_address) {
            (FormatError::AdapterNeeded, Some(needed)) => needed,
            (error, _) => CliError::Export(error),
        })?;
    eprint!("{}", report::lines(&exported.report, "written"));
    match &arguments.output {
        Some(output) if !arguments.dry_run => write_output(output, exported.content, seal, write),
        _ => {
            eprintln!("dry run: nothing was written");
            Ok(())
        }
    }
}

/// The parts of an input that are meant: all, or those of the adapter that is named.
pub fn meant(
    adapters: Vec<ImportedAdapter>,
    wanted: Option<AdapterAddress>,
) -> Result<Vec<ImportedAdapter>, CliError> {
    if adapters.is_empty() {
        return Err(CliError::NoBonds);
    }
    let Some(wanted) = wanted else { return Ok(adapters) };
    let shown: Vec<String> =
        adapters.iter().filter_map(|adapter| adapter.address).map(|address| address.to_string()).collect();
    let meant: Vec<_> =
        adapters.into_iter().filter(|adapter| adapter.address.is_none_or(|it| it == wanted)).collect();
    if meant.is_empty() {
        return Err(CliError::OtherAdapter { made_for: shown.join(" and "), wanted });
    }
    Ok(meant)
}

fn carry(adapter: ImportedAdapter) -> Result<Carried, CliError> {
    let mut table = BondTable::new();
    for bond in adapter.bonds {
        table.insert(bond)?;
    }
    let record = AdapterRecord {
        name: adapter.name,
        local_identity: adapter.local_identity,
        opaque: adapter.opaque,
        ..AdapterRecord::default()
    };
    Ok(Carried { address: adapter.address, record, table })
}

pub fn nameless(adapter: &ImportedAdapter) -> CliError {
    let hint = adapter
        .hint
        .as_deref()
        .map(|hint| format!(", or map its name: --map {}=ADDRESS", hint.escape_debug()));
    CliError::AdapterNeeded(hint.unwrap_or_default())
}
