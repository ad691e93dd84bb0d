//! Why a command that moves bonds was not carried out.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::bond::AdapterAddress;
use crate::format::sealed::SealError;
use crate::format::{FormatError, ParcelError};
use crate::store::exchange::ExchangeError;
use crate::store::messages::StoreFault;
use crate::store::{OpenError, StoreSealError};

/// Wrong usage, as clap has it.
const USAGE: u8 = 2;

/// See the module text.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Options(#[from] Box<crate::config::ConfigError>),
    #[error("reading the input")]
    Parcel(#[from] ParcelError),
    #[error("reading the bonds")]
    Import(#[source] FormatError),
    #[error("writing the bonds")]
    Export(#[source] FormatError),
    #[error("sealing")]
    Seal(#[from] SealError),
    #[error(transparent)]
    File(#[from] ExchangeError),
    #[error("reading standard input")]
    StandardInput(#[source] std::io::Error),
    #[error("standard input is longer than the {0} octets that are read")]
    LongInput(usize),
    #[error("writing to standard output")]
    StandardOutput(#[source] std::io::Error),
    #[error("reading {}", path.display())]
    Secret { path: PathBuf, source: std::io::Error },
    #[error("{} begins with an empty line where a passphrase should be", .0.display())]
    EmptyPassphrase(PathBuf),
    #[error("opening the store")]
    Store(#[from] OpenError),
    #[error("opening the store")]
    StorePassphrase(#[from] crate::app::seal::PassphraseError),
    #[error(transparent)]
    Fault(#[from] StoreFault),
    #[error("the store cannot be written: {0}")]
    Failing(StoreFault),
    #[error(
        "the service runs on this data folder and has the bonds in hand. Ask it over MQTT instead, with \
         bridge/request/{verb} below {root} (see docs/mqtt.md), or stop it first"
    )]
    Running { root: String, verb: &'static str },
    #[error("the input does not say which adapter these bonds belong to: name it with --adapter{0}")]
    AdapterNeeded(String),
    #[error(
        "the bonds in the input were made by {made_for}, not by {wanted}: devices know their adapter's address and will \
         not answer another"
    )]
    OtherAdapter { made_for: String, wanted: AdapterAddress },
    #[error("no adapter {0} is stored here")]
    AdapterUnknown(AdapterAddress),
    #[error("nothing is stored here: there is nothing to export")]
    NothingStored,
    #[error("no bond with {0} is stored here")]
    PeerUnknown(String),
    #[error("the input holds no bonds")]
    NoBonds,
    #[error("{0}")]
    Full(#[from] crate::bond::TableFull),
    #[error("the system gives no random octets")]
    Randomness(#[source] std::io::Error),
}

impl CliError {
    pub fn exit_code(&self) -> ExitCode {
        let usage = match self {
            Self::Usage(_) => true,
            Self::Import(error) | Self::Export(error) => matches!(error, FormatError::Option { .. }),
            Self::Seal(error) => {
                matches!(error, SealError::NotARecipient | SealError::TooManyRecipients)
            }
            _ => false,
        };
        if usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    }

    /// What a user can do besides, in a line of its own.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Import(FormatError::Refused(_)) => {
                Some("nothing was taken; --salvage takes what is good and names the rest")
            }
            Self::Export(FormatError::LosesPeers(_)) => Some("--allow-loss writes the others"),
            Self::Export(FormatError::OneAdapterOnly { .. }) => Some("--adapter chooses one"),
            Self::File(ExchangeError::Taken(_)) => Some("--force writes over it"),
            Self::OtherAdapter { .. } => {
                Some("--allow-adapter-mismatch goes on, for the same radio with a new address")
            }
            Self::Store(OpenError::Seal {
                source: StoreSealError::PassphraseNeeded | StoreSealError::WrongPassphrase,
                ..
            }) => {
                Some("here also with --store-passphrase-file or in the variable BONDKEEPER_STORE_PASSPHRASE")
            }
            Self::Parcel(ParcelError::Seal(SealError::PassphraseNeeded)) => {
                Some("give it with --passphrase-file or in the variable BONDKEEPER_PASSPHRASE")
            }
            Self::Parcel(ParcelError::Seal(SealError::IdentityNeeded)) => {
                Some("give one with --identity-file")
            }
            Self::Parcel(ParcelError::Format(FormatError::Undetected(_))) => {
                Some("name the format with --from")
            }
            _ => None,
        }
    }
}
