//! Arguments that several commands share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::streams::read_secret;
use crate::app::seal::{in_file, passphrase};
use crate::bond::AdapterAddress;
use crate::config::Settings;
use crate::format::sealed::{Form, Openers, Passphrase, Recipient, SealFor};
use crate::format::{FormatId, FormatOptions, ImportOptions};

/// The variable that holds the passphrase of sealed input, where no file is named. A passphrase is no argument:
/// every process of the host can read those.
const PASSPHRASE_VARIABLE: &str = "BONDKEEPER_PASSPHRASE";

/// What is to be read, and how.
#[derive(Debug, Args)]
pub struct ReadArguments {
    /// Format of the input; without it, it is found out from the content.
    #[arg(long, value_name = "FORMAT", value_parser = readable_format)]
    pub from: Option<FormatId>,
    /// The adapter whose bonds these are, for input that does not name it, or the one that is meant among several.
    #[arg(long, value_name = "ADDRESS", value_parser = adapter)]
    pub adapter: Option<AdapterAddress>,
    /// The address of an adapter that the input calls by another name, as in hci0=AA:BB:CC:DD:EE:FF.
    #[arg(long = "map", value_name = "NAME=ADDRESS", value_parser = mapping)]
    pub maps: Vec<(String, AdapterAddress)>,
    /// Take what is good of the input and name the rest, instead of all or nothing.
    #[arg(long)]
    pub salvage: bool,
    /// A file with the passphrase of sealed input; otherwise the variable BONDKEEPER_PASSPHRASE counts.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// A file with identities of age (AGE-SECRET-KEY-1…) that open sealed input.
    #[arg(long, value_name = "FILE")]
    pub identity_file: Option<PathBuf>,
}

impl ReadArguments {
    pub fn import_options(&self, now: crate::bond::UnixMillis, options: FormatOptions) -> ImportOptions {
        ImportOptions {
            now,
            salvage: self.salvage,
            adapter: self.adapter,
            adapters: self.maps.iter().cloned().collect::<BTreeMap<_, _>>(),
            options,
            ..ImportOptions::default()
        }
    }

    /// What opens sealed input. `configured`: the passphrase of the options, where there are any.
    pub fn openers(&self, configured: Option<Passphrase>) -> Result<Openers, CliError> {
        let given = match &self.passphrase_file {
            Some(file) => Some(passphrase_in(file)?),
            None => std::env::var(PASSPHRASE_VARIABLE).ok().map(Passphrase::new),
        };
        let mut openers = Openers::of_passphrase(given.or(configured));
        if let Some(file) = &self.identity_file {
            openers.add_identities(&read_secret(file)?)?;
        }
        Ok(openers)
    }
}

/// The variable that holds the passphrase of a sealed store, where no file is named.
const STORE_PASSPHRASE_VARIABLE: &str = "BONDKEEPER_STORE_PASSPHRASE";

/// What opens a sealed store.
#[derive(Debug, Args)]
pub struct StoreArguments {
    /// A file with the passphrase of a sealed store; otherwise the variable BONDKEEPER_STORE_PASSPHRASE counts, or else
    /// the options store.seal_passphrase_file and store.seal_passphrase.
    #[arg(long, value_name = "FILE")]
    store_passphrase_file: Option<PathBuf>,
}

impl StoreArguments {
    /// What was given on the command line or beside it.
    pub fn given(&self) -> Result<Option<Passphrase>, CliError> {
        match &self.store_passphrase_file {
            Some(file) => Ok(Some(in_file(file)?)),
            None => Ok(std::env::var(STORE_PASSPHRASE_VARIABLE).ok().map(Passphrase::new)),
        }
    }

    /// The same, or else what the options have.
    pub fn passphrase(&self, settings: &Settings) -> Result<Option<Passphrase>, CliError> {
        let given = self.given()?;
        if given.is_some() { Ok(given) } else { Ok(passphrase(&settings.store)?) }
    }
}

/// What is to be written, and how.
#[derive(Debug, Args)]
pub struct WriteArguments {
    /// Format of the output.
    #[arg(long, value_name = "FORMAT", value_parser = any_format)]
    pub to: FormatId,
    /// Write the file although whole peers would be missing from it.
    #[arg(long)]
    pub allow_loss: bool,
    /// Write over what is there.
    #[arg(long)]
    pub force: bool,
    /// Seal for this public key of age (age1…); may be given several times.
    #[arg(long, value_name = "RECIPIENT", conflicts_with = "seal_passphrase_file")]
    pub seal_to: Vec<String>,
    /// Seal with the passphrase in this file.
    #[arg(long, value_name = "FILE")]
    pub seal_passphrase_file: Option<PathBuf>,
    /// Write what is sealed as text.
    #[arg(long)]
    pub armor: bool,
}

impl WriteArguments {
    /// How the output is sealed; none for clear text.
    pub fn seal(&self) -> Result<Option<(SealFor, Form)>, CliError> {
        let form = if self.armor { Form::Armored } else { Form::Binary };
        let seal = match &self.seal_passphrase_file {
            Some(file) => Some(SealFor::Passphrase(passphrase_in(file)?)),
            None if self.seal_to.is_empty() => None,
            None => {
                let recipients = self.seal_to.iter().map(|text| text.parse::<Recipient>());
                Some(SealFor::Recipients(recipients.collect::<Result<_, _>>()?))
            }
        };
        if seal.is_none() && self.armor {
            return Err(CliError::Usage(
                "--armor is for sealed output: add --seal-to or the like".to_owned(),
            ));
        }
        Ok(seal.map(|seal| (seal, form)))
    }
}

/// Choices of formats. A name that both sides know has to be given to one of them.
#[derive(Debug, Args)]
pub struct ConversionOptions {
    /// A choice of the input's or the output's format, whichever has one of this name.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    either: Vec<(String, String)>,
    /// A choice of the input's format.
    #[arg(long = "import-option", value_name = "NAME=VALUE", value_parser = pair)]
    import: Vec<(String, String)>,
    /// A choice of the output's format.
    #[arg(long = "export-option", value_name = "NAME=VALUE", value_parser = pair)]
    export: Vec<(String, String)>,
}

impl ConversionOptions {
    /// The choices of each side.
    pub fn parted(&self, from: FormatId, to: FormatId) -> Result<(FormatOptions, FormatOptions), CliError> {
        let mut import = FormatOptions::from_iter(self.import.iter().cloned());
        let mut export = FormatOptions::from_iter(self.export.iter().cloned());
        for (name, value) in &self.either {
            let reads = from.import_options().iter().any(|spec| spec.name == name);
            let writes = to.export_options().iter().any(|spec| spec.name == name);
            match (reads, writes) {
                (true, false) => import.set(name, value),
                (false, true) => export.set(name, value),
                (true, true) => {
                    return Err(CliError::Usage(format!(
                        "both formats have an option {name}: give it with --import-option or --export-option"
                    )));
                }
                (false, false) => {
                    return Err(CliError::Usage(format!(
                        "neither format has this option. Reading {}: {}; writing {}: {}",
                        from.as_str(),
                        names(from.import_options()),
                        to.as_str(),
                        names(to.export_options()),
                    )));
                }
            }
        }
        Ok((import, export))
    }
}

fn names(specs: &[crate::format::OptionSpec]) -> String {
    let names: Vec<&str> = specs.iter().map(|spec| spec.name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// `name=value`
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("an option is written NAME=VALUE".to_owned()),
    }
}

pub fn adapter(text: &str) -> Result<AdapterAddress, String> {
    text.parse().map_err(|_| "an adapter is named by its address, as in AA:BB:CC:DD:EE:FF".to_owned())
}

fn mapping(text: &str) -> Result<(String, AdapterAddress), String> {
    let (name, address) =
        pair(text).map_err(|_| "a name is mapped as in hci0=AA:BB:CC:DD:EE:FF".to_owned())?;
    Ok((name, adapter(&address)?))
}

fn readable_format(text: &str) -> Result<FormatId, String> {
    format_among(text, FormatId::is_readable)
}

fn any_format(text: &str) -> Result<FormatId, String> {
    format_among(text, |_| true)
}

fn format_among(text: &str, fits: impl Fn(FormatId) -> bool) -> Result<FormatId, String> {
    let known: Vec<&str> =
        FormatId::ALL.into_iter().filter(|format| fits(*format)).map(FormatId::as_str).collect();
    let format = FormatId::from_word(text).filter(|format| fits(*format));
    format.ok_or_else(|| format!("the formats here are: {}", known.join(", ")))
}

fn passphrase_in(file: &std::path::Path) -> Result<Passphrase, CliError> {
    let text = read_secret(file)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Err(CliError::EmptyPassphrase(file.to_owned()));
    }
    Ok(Passphrase::new(line))
}
