//! The command line: `run`, `check-config`, `healthcheck`, and what looks at bonds and moves them: `inspect`,
//! `convert`, `import`, `export`; and `history`, which reads the audit log.
//!
//! Each command returns its exit code: 0 done, 1 refused or failed (the reason on standard error), 2
//! wrong usage. Must never print key octets but where they are asked for, and never take a secret as
//! an argument.

mod arguments;
mod convert;
mod error;
mod healthcheck;
mod history;
mod inspect;
mod report;
mod streams;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{ConfigError, Settings, Sources, host_name};
use convert::ConvertArguments;
use error::CliError;
use inspect::InspectArguments;
use transfer::{ExportArguments, ImportArguments};

/// Keeps every Bluetooth bond of this host safe, per adapter, and loads it back.
#[derive(Debug, Parser)]
#[command(name = "bondkeeper", version, about, long_about = None)]
pub struct Arguments {
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Run the service.
    Run {
        /// A JSON file with options.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Read all options and say whether they can be used.
    CheckConfig {
        /// A JSON file with options.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Ask the running service how it is; for a container's health check.
    Healthcheck {
        /// A JSON file with options; only data_dir is used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    Inspect(InspectArguments),
    Convert(ConvertArguments),
    Import(ImportArguments),
    Export(ExportArguments),
    /// Print the audit log: what happened to whose bonds, when, and on whose word. Works while the service runs.
    History {
        /// The data folder; otherwise that of the options.
        #[arg(value_name = "DATA_DIR")]
        data_dir: Option<PathBuf>,
        #[command(flatten)]
        filter: history::Filter,
        /// A JSON file with options; only data_dir is used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Reads the command line and carries it out.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        CliCommand::Run { config } => with_settings(config, |settings| finish(app::run(settings))),
        CliCommand::CheckConfig { config } => with_settings(config, |settings| {
            println!("The options can be used:\n{settings:#?}");
            ExitCode::SUCCESS
        }),
        CliCommand::Healthcheck { config } => {
            with_settings(config, |settings| finish(healthcheck::check(&settings.data_dir)))
        }
        CliCommand::Inspect(arguments) => moved(inspect::inspect(&arguments, settings_of)),
        CliCommand::Convert(arguments) => moved(convert::convert(&arguments)),
        CliCommand::Import(arguments) => {
            with_settings(arguments.config.clone(), |settings| moved(transfer::import(&arguments, &settings)))
        }
        CliCommand::Export(arguments) => {
            with_settings(arguments.config.clone(), |settings| moved(transfer::export(&arguments, &settings)))
        }
        CliCommand::History { data_dir: Some(folder), filter, .. } => {
            finish(history::print(&folder, &filter))
        }
        CliCommand::History { data_dir: None, filter, config } => {
            with_settings(config, |settings| finish(history::print(&settings.data_dir, &filter)))
        }
    }
}

fn settings_of(file: Option<PathBuf>) -> Result<Settings, ConfigError> {
    Settings::load(&Sources::of_process(file), &host_name())
}

/// The end of a command that looks at bonds or moves them.
fn moved(outcome: Result<(), CliError>) -> ExitCode {
    outcome.map_or_else(|error| refuse(&error), |()| ExitCode::SUCCESS)
}

/// Prints what was refused one by one, the error, and what can be done.
fn refuse(error: &CliError) -> ExitCode {
    if let CliError::Import(cause) | CliError::Export(cause) = error {
        eprint!("{}", report::error_lines(cause));
    }
    eprintln!("bondkeeper: {}", chain(error));
    if let Some(advice) = error.advice() {
        eprintln!("bondkeeper: {advice}");
    }
    error.exit_code()
}

fn with_settings(file: Option<PathBuf>, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    match settings_of(file) {
        Ok(settings) => run(settings),
        Err(error) => finish(Err(error)),
    }
}

/// Prints an error with all its causes.
fn finish<E: std::error::Error>(outcome: Result<(), E>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("bondkeeper: {}", chain(&error));
    ExitCode::FAILURE
}

/// An error and its causes in one line. A cause that repeats what stands before it is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
