//! Why the service did not start, or did not end well. Printed with all its causes by the command line.

use std::path::PathBuf;

use super::descriptors::TooFew;
use super::seal;
use crate::mgmt::SocketError;
use crate::mqtt::tls::TlsError;
use crate::mqtt::topics::TopicError;
use crate::store::OpenError;

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("opening the store")]
    Store(#[from] OpenError),
    #[error("opening the store")]
    Passphrase(#[from] seal::PassphraseError),
    #[error("{source}{}", advice(source))]
    Socket {
        #[source]
        source: SocketError,
    },
    #[error("topics")]
    Topics(#[from] TopicError),
    #[error("MQTT over TLS")]
    Tls(#[from] TlsError),
    #[error("the folder {path} cannot be made, or not be made private")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Descriptors(#[from] TooFew),
    #[error("listening for signals")]
    Signals(#[source] std::io::Error),
    #[error("the last changes could not be stored: {0}")]
    LastCommit(String),
}

/// What the operator can do about it, as another sentence; empty where nothing is known.
pub fn advice(source: &SocketError) -> String {
    source.advice().map(|advice| format!(". {advice}")).unwrap_or_default()
}
