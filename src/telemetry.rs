//! Logging: one line an event on standard error, at a level that can be changed
//! while the service runs.
//!
//! Must never show a key. No type of ours that holds one can be formatted, but other crates log too: a
//! database shows its values, a client its packets. So only what this crate says is written, whatever the level.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::api::LogLevel;

/// Changes the level later.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
}

impl LogControl {
    /// From now on.
    pub fn set(&self, level: LogLevel) {
        if self.filter.reload(filter(level)).is_ok() {
            tracing::info!(level = level.as_str(), "log level set");
        }
    }
}

/// Starts logging; once a process. A second call, as tests make it, leaves the first in place.
pub fn start(level: LogLevel) -> LogControl {
    let (layer, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(true);
    // Fails when logging was started before.
    let _ = tracing_subscriber::registry().with(layer).with(lines).try_init();
    LogControl { filter: handle }
}

/// This crate at this level, everybody else not at all.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(LevelFilter::OFF).with_target(env!("CARGO_PKG_NAME"), level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn no_other_crate_is_ever_logged() {
        let filter = filter(LogLevel::Trace);
        assert!(filter.would_enable("bondkeeper::store::actor", &Level::TRACE));
        for target in ["sled::pagecache", "rumqttc::v5::state", "actix", "config"] {
            assert!(!filter.would_enable(target, &Level::ERROR), "{target}");
        }
    }
}
