//! The command line: `run`, `check-config`, `healthcheck`, `inspect`.
//!
//! Each command returns its exit code: 0 done, 1 refused or failed (the reason on standard error), 2
//! wrong usage. Must never print key octets.

mod healthcheck;
mod inspect;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{ConfigError, Settings, Sources, host_name};

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
    /// Print the adapters and bonds of a data folder, without keys. Changes nothing, and works while the
    /// service runs or after a crash.
    Inspect {
        /// The data folder; otherwise that of the options.
        #[arg(value_name = "DATA_DIR")]
        data_dir: Option<PathBuf>,
        /// A JSON file with options; only data_dir is used.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Reads the command line and carries it out.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        CliCommand::Run { config } => with_settings(config, |settings| report(app::run(settings))),
        CliCommand::CheckConfig { config } => with_settings(config, |settings| {
            println!("The options can be used:\n{settings:#?}");
            ExitCode::SUCCESS
        }),
        CliCommand::Healthcheck { config } => {
            with_settings(config, |settings| report(healthcheck::check(&settings.data_dir)))
        }
        CliCommand::Inspect { data_dir: Some(folder), .. } => {
            report(inspect::inspect(&folder.join(app::STORE_FOLDER)))
        }
        CliCommand::Inspect { data_dir: None, config } => with_settings(config, |settings| {
            report(inspect::inspect(&settings.data_dir.join(app::STORE_FOLDER)))
        }),
    }
}

fn with_settings(file: Option<PathBuf>, run: impl FnOnce(Settings) -> ExitCode) -> ExitCode {
    let settings: Result<Settings, ConfigError> = Settings::load(&Sources::of_process(file), &host_name());
    match settings {
        Ok(settings) => run(settings),
        Err(error) => report(Err(error)),
    }
}

/// Prints an error with all its causes.
fn report<E: std::error::Error>(outcome: Result<(), E>) -> ExitCode {
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
