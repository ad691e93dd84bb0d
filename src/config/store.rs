//! Options of the store: when it writes, and whether what it writes is sealed.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::{ConfigError, Secret, long_enough};

/// The debounce of the store, and its seal.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// A storm ends when nothing has changed for this long.
    pub quiet: Duration,
    /// A change waits no longer than this.
    pub ceiling: Duration,
    /// The store is to be sealed. Without it and with a passphrase a sealed one is to be unsealed.
    pub seal: bool,
    pub seal_passphrase: Option<SealPassphrase>,
}

/// What a sealed store is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealPassphrase {
    Given(Secret),
    /// The first line of a file.
    InFile(PathBuf),
}

pub(super) fn read(reader: &mut Reader) -> Result<StoreSettings, ConfigError> {
    // An hour would be a mistake for milliseconds; ten seconds is already long for a bond to hang
    // in memory only.
    let quiet = reader.number("store.quiet_ms", 50, 0, 10_000)?;
    let ceiling = reader.number("store.ceiling_ms", 250, 0, 10_000)?;
    let seal_passphrase = read_passphrase(reader)?;
    let seal = reader.flag("store.seal", seal_passphrase.is_some())?;
    if seal && seal_passphrase.is_none() {
        let problem = "is true, and there is neither store.seal_passphrase_file nor store.seal_passphrase";
        return Err(reader.bad("store.seal", problem));
    }
    Ok(StoreSettings {
        quiet: Duration::from_millis(quiet),
        ceiling: Duration::from_millis(ceiling),
        seal,
        seal_passphrase,
    })
}

fn read_passphrase(reader: &mut Reader) -> Result<Option<SealPassphrase>, ConfigError> {
    let given = long_enough(reader, "store.seal_passphrase")?;
    let file = reader.path("store.seal_passphrase_file")?;
    match (given, file) {
        (Some(_), Some(_)) => {
            let problem = "and store.seal_passphrase_file are both set: clear one of them";
            Err(reader.bad("store.seal_passphrase", problem))
        }
        (given, file) => Ok(given.map(SealPassphrase::Given).or(file.map(SealPassphrase::InFile))),
    }
}
