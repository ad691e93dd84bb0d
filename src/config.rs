//! Layered options: built-in defaults, then the file given with `--config`, then
//! `/data/options.json` if it is there, then the environment (`BONDKEEPER__MQTT__HOST`;
//! two underscores separate levels). Later layers win, key by key.
//!
//! An unknown key or a value out of range is an error that names the key: an option that was
//! mistyped must not silently leave a default in force. Read once at start by `main` and `cli`.

mod reader;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::{Commands, LogLevel};
use crate::bond::{AdapterAddress, Mode};
use reader::Reader;

/// Where Home Assistant's Supervisor puts an add-on's options.
pub const ADDON_OPTIONS_FILE: &str = "/data/options.json";

/// What every environment variable of ours begins with.
pub const ENVIRONMENT_PREFIX: &str = "BONDKEEPER";

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This host's name in topics.
    pub node: String,
    /// First level of every topic.
    pub base_topic: String,
    /// Store, snapshots, checkpoints.
    pub data_dir: PathBuf,
    /// Exports are written here and imports read from here.
    pub export_dir: PathBuf,
    pub log_level: LogLevel,
    pub mqtt: MqttSettings,
    pub adapters: AdapterSettings,
    pub store: StoreSettings,
    pub commands: Commands,
    /// Publish Home Assistant discovery.
    pub discovery: bool,
    pub mgmt_endpoint: EndpointSetting,
}

/// The broker and how to reach it.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    pub host: String,
    pub port: u16,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub tls: bool,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// How far adapters are kept.
#[derive(Debug, Clone, Default)]
pub struct AdapterSettings {
    pub default_mode: Mode,
    /// By identity address; a mode that was set over MQTT wins over both.
    pub modes: BTreeMap<AdapterAddress, Mode>,
}

/// The debounce of the store.
#[derive(Debug, Clone, Copy)]
pub struct StoreSettings {
    /// A storm ends when nothing has changed for this long.
    pub quiet: Duration,
    /// A change waits no longer than this.
    pub ceiling: Duration,
}

/// Where the management sockets are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointSetting {
    Kernel,
    /// The folder of a simulated kernel's sockets. Only the environment can set it.
    Simulated(PathBuf),
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for whoever has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading the options from {place}")]
    Unreadable {
        place: String,
        #[source]
        source: config::ConfigError,
    },
    #[error("{place}: there is no option {key}; options here are: {known}")]
    UnknownKey { place: String, key: String, known: String },
    #[error("{place}: {key} {problem}")]
    BadValue { place: String, key: String, problem: String },
}

/// Where options come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// Read if it exists.
    pub addon_options: Option<PathBuf>,
    /// Environment variables, with their full names.
    pub environment: Vec<(String, String)>,
}

impl Sources {
    /// What a process of ours reads.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let ours = format!("{ENVIRONMENT_PREFIX}__");
        Self {
            file,
            addon_options: Some(PathBuf::from(ADDON_OPTIONS_FILE)),
            environment: std::env::vars().filter(|(name, _)| name.starts_with(&ours)).collect(),
        }
    }
}

impl Settings {
    /// Reads all layers. `host_name` is what the node is called when nothing else is said.
    pub fn load(sources: &Sources, host_name: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources)?;
        let settings = Self {
            node: reader.topic_level("node", &reduce_host_name(host_name))?,
            base_topic: reader.topic_level("base_topic", "bondkeeper")?,
            data_dir: reader.path("data_dir")?.unwrap_or_else(|| PathBuf::from("/data")),
            export_dir: reader.path("export_dir")?.unwrap_or_else(|| PathBuf::from("/data/exports")),
            log_level: reader.word(
                "log_level",
                "info",
                LogLevel::from_word,
                &LogLevel::ALL.map(LogLevel::as_str).join(", "),
            )?,
            mqtt: read_mqtt(&mut reader)?,
            store: read_store(&mut reader)?,
            adapters: read_adapters(&mut reader)?,
            commands: reader.word("commands", "all", Commands::from_word, "none, read, all")?,
            discovery: reader.flag("discovery", true)?,
            mgmt_endpoint: read_endpoint(&mut reader)?,
        };
        reader.finish()?;
        check(&settings)?;
        Ok(settings)
    }
}

impl Settings {
    /// What `bridge/info` shows: everything but the secrets.
    pub fn to_public_json(&self) -> serde_json::Value {
        let modes: serde_json::Map<String, serde_json::Value> = self
            .adapters
            .modes
            .iter()
            .map(|(address, mode)| (address.to_string(), mode.as_str().into()))
            .collect();
        serde_json::json!({
            "node": self.node,
            "base_topic": self.base_topic,
            "data_dir": self.data_dir,
            "export_dir": self.export_dir,
            "log_level": self.log_level.as_str(),
            "mqtt": {
                "host": self.mqtt.host,
                "port": self.mqtt.port,
                "tls": self.mqtt.tls,
            },
            "adapters": { "default_mode": self.adapters.default_mode.as_str(), "modes": modes },
            "store": {
                "quiet_ms": self.store.quiet.as_millis() as u64,
                "ceiling_ms": self.store.ceiling.as_millis() as u64,
            },
            "commands": self.commands.as_str(),
            "discovery": self.discovery,
        })
    }
}

fn read_mqtt(reader: &mut Reader) -> Result<MqttSettings, ConfigError> {
    let tls = reader.flag("mqtt.tls", false)?;
    Ok(MqttSettings {
        host: reader.text("mqtt.host")?.unwrap_or_else(|| "localhost".to_owned()),
        port: reader.number("mqtt.port", if tls { 8883 } else { 1883 }, 1, u64::from(u16::MAX))? as u16,
        username: reader.text("mqtt.username")?,
        password: reader.text("mqtt.password")?.map(Secret),
        tls,
        ca_file: reader.path("mqtt.ca_file")?,
        cert_file: reader.path("mqtt.cert_file")?,
        key_file: reader.path("mqtt.key_file")?,
    })
}

fn read_store(reader: &mut Reader) -> Result<StoreSettings, ConfigError> {
    // An hour would be a mistake for milliseconds; ten seconds is already long for a bond to hang
    // in memory only.
    let quiet = reader.number("store.quiet_ms", 50, 0, 10_000)?;
    let ceiling = reader.number("store.ceiling_ms", 250, 0, 10_000)?;
    Ok(StoreSettings { quiet: Duration::from_millis(quiet), ceiling: Duration::from_millis(ceiling) })
}

fn read_adapters(reader: &mut Reader) -> Result<AdapterSettings, ConfigError> {
    let known = Mode::ALL.map(Mode::as_str).join(", ");
    let default_mode = reader.word("adapters.default_mode", "auto", Mode::from_word, &known)?;
    let mut modes = BTreeMap::new();
    for name in reader.children("adapters") {
        let key = format!("adapters.{name}.mode");
        // An environment variable's name cannot hold a colon in most shells.
        let Ok(address) = name.replace(['_', '-'], ":").to_uppercase().parse::<AdapterAddress>() else {
            return Err(reader.bad(
                &format!("adapters.{name}"),
                "is neither default_mode nor the address of an adapter (AA:BB:CC:DD:EE:FF)",
            ));
        };
        if let Some(mode) = reader.optional_word(&key, Mode::from_word, &known)? {
            modes.insert(address, mode);
        }
    }
    Ok(AdapterSettings { default_mode, modes })
}

fn read_endpoint(reader: &mut Reader) -> Result<EndpointSetting, ConfigError> {
    let Some(text) = reader.environment_only("mgmt.endpoint")? else { return Ok(EndpointSetting::Kernel) };
    match text.strip_prefix("unix:") {
        Some(folder) if !folder.is_empty() => Ok(EndpointSetting::Simulated(PathBuf::from(folder))),
        _ if text == "kernel" => Ok(EndpointSetting::Kernel),
        _ => Err(reader.bad("mgmt.endpoint", "must be kernel or unix:FOLDER")),
    }
}

fn check(settings: &Settings) -> Result<(), ConfigError> {
    let bad = |key: &str, problem: &str| {
        Err(ConfigError::BadValue {
            place: "options".to_owned(),
            key: key.to_owned(),
            problem: problem.to_owned(),
        })
    };
    if settings.store.quiet > settings.store.ceiling {
        return bad("store.quiet_ms", "is larger than store.ceiling_ms, the longest that a change may wait");
    }
    let mqtt = &settings.mqtt;
    if mqtt.cert_file.is_some() != mqtt.key_file.is_some() {
        return bad("mqtt.cert_file", "and mqtt.key_file belong together: set both or none");
    }
    if !mqtt.tls && (mqtt.ca_file.is_some() || mqtt.cert_file.is_some()) {
        return bad(
            "mqtt.ca_file",
            "and mqtt.cert_file have no effect without mqtt.tls: set mqtt.tls to true",
        );
    }
    if mqtt.password.is_some() && mqtt.username.is_none() {
        return bad("mqtt.password", "is set without mqtt.username");
    }
    Ok(())
}

/// The host's name reduced to what a topic level of ours may hold.
fn reduce_host_name(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let reduced: String =
        lower.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(*c)).collect();
    if reduced.is_empty() { "node".to_owned() } else { reduced }
}

/// The host's name, for the node's default.
pub fn host_name() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok();
    read("/proc/sys/kernel/hostname").map_or_else(|| "node".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests;
