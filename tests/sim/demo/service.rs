//! The real service, in a thread of this process: `cargo run --example` builds no
//! other binary.

use std::path::Path;
use std::thread::{self, JoinHandle};

use bondkeeper::app;
use bondkeeper::config::{Settings, Sources};
use bondkeeper::telemetry;
use tokio::sync::oneshot;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// This demo's name in topics.
pub const NODE: &str = "demo";

/// Options as a user would give them in the environment.
pub fn settings(scene: &Path, kernel: &Path, mqtt_port: u16, verbose: bool) -> Result<Settings, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let options = [
        ("NODE", NODE.to_owned()),
        ("DATA_DIR", text(&scene.join("data"))),
        ("EXPORT_DIR", text(&scene.join("exports"))),
        ("LOG_LEVEL", if verbose { "info" } else { "error" }.to_owned()),
        ("MQTT__HOST", "127.0.0.1".to_owned()),
        ("MQTT__PORT", mqtt_port.to_string()),
        ("MGMT__ENDPOINT", format!("unix:{}", kernel.display())),
    ];
    let environment = options.map(|(name, value)| (format!("BONDKEEPER__{name}"), value));
    let sources =
        Sources { file: None, addon_options: None, environment: environment.into(), ..Sources::default() };
    Settings::load(&sources, NODE).map_err(|e| format!("the demo's own options: {e}"))
}

/// A running service.
pub struct Service {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

/// The service's log only, on standard error: the broker in this process writes to the same place.
/// The service leaves a log that is there already alone.
pub fn start_log(verbose: bool) -> Result<(), String> {
    let level = if verbose { LevelFilter::INFO } else { LevelFilter::ERROR };
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(true);
    let log =
        tracing_subscriber::registry().with(lines).with(Targets::new().with_target("bondkeeper", level));
    log.try_init().map_err(|e| format!("starting the log: {e}"))
}

/// Starts the service. It says by MQTT when it is there.
pub fn start_service(settings: Settings) -> Result<Service, String> {
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new().name("bondkeeper".to_owned()).spawn(move || {
        let log = telemetry::start(settings.log_level);
        let end = async {
            // Sent or dropped, it means the same.
            let _ = stopped.await;
        };
        actix::System::new().block_on(app::serve(settings, log, end)).map_err(|error| explain(&error))
    });
    thread.map(|thread| Service { stop, thread }).map_err(|e| format!("starting the service: {e}"))
}

impl Service {
    /// Asks it to stop, as SIGTERM does, and waits for its end.
    pub fn stop(self) -> Result<(), String> {
        // An error: it has ended by itself; the thread says why.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(ended) => ended,
            Err(_) => Err("the service panicked".to_owned()),
        }
    }
}

/// An error with all its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = format!("the service: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
