//! A socket in the data folder on which the service says that it is alive, for
//! `bondkeeper healthcheck`.
//!
//! Healthy means that the actors answer. A broker that is down or a disk that is full is told over
//! MQTT and in the answer, and is not cured by restarting us.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::registry::actor::{CountAdapters, RegistryActor};

/// An answer is one short line.
pub const ANSWER_OCTETS_MAX: u64 = 4096;

/// How long the actors may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the socket of a service with this data folder is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("health.sock")
}

/// Listens as long as it lives.
pub struct HealthSocket {
    path: PathBuf,
    task: Option<JoinHandle<()>>,
}

impl HealthSocket {
    /// A failure costs the health check only, so it is logged and the service goes on.
    pub fn listen(data_dir: &Path, registry: Addr<RegistryActor>) -> Self {
        let path = socket_path(data_dir);
        // One that a killed service left. Another running one is not possible: the folder is locked.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let task = match listener {
            Ok(listener) => Some(tokio::task::spawn_local(serve(listener, registry))),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no health check: its socket cannot be opened");
                None
            }
        };
        Self { path, task }
    }
}

impl Drop for HealthSocket {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// One caller at a time: there is one, every minute.
async fn serve(listener: UnixListener, registry: Addr<RegistryActor>) {
    while let Ok((mut caller, _)) = listener.accept().await {
        let answer = match tokio::time::timeout(PATIENCE, registry.send(CountAdapters)).await {
            Ok(Ok(count)) => {
                format!(
                    "{{\"healthy\":true,\"adapters_known\":{},\"adapters_present\":{}}}\n",
                    count.known, count.present
                )
            }
            Ok(Err(_)) => "{\"healthy\":false,\"reason\":\"stopping\"}\n".to_owned(),
            Err(_) => "{\"healthy\":false,\"reason\":\"the actors do not answer\"}\n".to_owned(),
        };
        // The caller may have gone.
        let _ = tokio::time::timeout(PATIENCE, caller.write_all(answer.as_bytes())).await;
    }
}
