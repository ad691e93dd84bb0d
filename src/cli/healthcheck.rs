//! Asks the running service how it is.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::app::health::{ANSWER_OCTETS_MAX, socket_path};

/// Longest that a healthy service may take: it answers between two messages.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum HealthcheckError {
    #[error("no service answers at {path}: is it running, with this data folder?")]
    NotRunning {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the service did not answer within {} s", PATIENCE.as_secs())]
    Silent(#[source] std::io::Error),
    #[error("the service says: {0}")]
    Unhealthy(String),
}

/// Prints the service's answer; an error unless it is healthy.
pub fn check(data_dir: &Path) -> Result<(), HealthcheckError> {
    let path = socket_path(data_dir);
    let stream =
        UnixStream::connect(&path).map_err(|source| HealthcheckError::NotRunning { path, source })?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(HealthcheckError::Silent)?;
    let mut answer = String::new();
    stream.take(ANSWER_OCTETS_MAX).read_to_string(&mut answer).map_err(HealthcheckError::Silent)?;
    let answer = answer.trim();
    if !answer.starts_with("{\"healthy\":true") {
        return Err(HealthcheckError::Unhealthy(answer.to_owned()));
    }
    println!("{answer}");
    Ok(())
}
