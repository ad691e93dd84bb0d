//! Layered options: built-in defaults, then the file given with `--config`, then
//! `/data/options.json` if it is there, then the environment (`BONDKEEPER__MQTT__HOST`;
//! two underscores separate levels). Later layers win, key by key.
//!
//! An unknown key or a value out of range is an error that names the key: an option that was
//! mistyped must not silently leave a default in force. Read once at start by `main` and `cli`.

mod reader;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::api::{Commands, LogLevel};
use crate::bond::{AdapterAddress, Mode};
use reader::Reader;
pub use store::{SealPassphrase, StoreSettings};
use zeroize::Zeroizing;

/// Where Home Assistant's Supervisor puts an add-on's options.
pub const ADDON_OPTIONS_FILE: &str = "/data/options.json";

/// Where an add-on reaches the Supervisor.
pub const SUPERVISOR_URL: &str = "http://supervisor";

/// The variable in which the Supervisor hands an add-on its token.
const SUPERVISOR_TOKEN_VARIABLE: &str = "SUPERVISOR_TOKEN";

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
    /// Exports may be written in clear text.
    pub clear_exports: bool,
    /// Whether the bonds are copied into the export folder without being asked.
    pub automatic_copies: AutomaticCopies,
    /// Exports and automatic copies are sealed with it, and sealed files opened.
    pub export_passphrase: Option<Secret>,
    pub log_level: LogLevel,
    pub mqtt: MqttSettings,
    pub adapters: AdapterSettings,
    pub store: StoreSettings,
    pub commands: Commands,
    /// Store the bonds that other managers load.
    pub learn: bool,
    /// Publish Home Assistant discovery.
    pub discovery: bool,
    /// Ask bluetoothd over D-Bus what it calls paired, where there is a bus.
    pub dbus: bool,
    pub mgmt_endpoint: EndpointSetting,
    /// There when Home Assistant's Supervisor has started us.
    pub supervisor: Option<SupervisorSettings>,
}

/// How the Supervisor is asked.
#[derive(Debug, Clone)]
pub struct SupervisorSettings {
    pub url: String,
    pub token: Secret,
}

/// The broker and how to reach it.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// None: the Supervisor says which broker there is, with port and credentials.
    pub host: Option<String>,
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

/// Where the management sockets are opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointSetting {
    Kernel,
    /// The folder of a simulated kernel's sockets. Only the environment can set it.
    Simulated(PathBuf),
}

/// Which copies of the bonds are made without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutomaticCopies {
    None,
    /// Where there is a passphrase to seal them with.
    Sealed,
    /// Without a passphrase in clear text.
    Clear,
}

impl AutomaticCopies {
    /// Every choice, in the order that people are shown.
    pub const ALL: [Self; 3] = [Self::None, Self::Sealed, Self::Clear];

    /// The word that options use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sealed => "sealed",
            Self::Clear => "clear",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|choice| choice.as_str() == word)
    }
}

/// A value that is never printed, wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

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
    /// What the Supervisor lets an add-on in with.
    pub supervisor_token: Option<String>,
}

impl Sources {
    /// What a process of ours reads.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        let ours = format!("{ENVIRONMENT_PREFIX}__");
        Self {
            file,
            addon_options: Some(PathBuf::from(ADDON_OPTIONS_FILE)),
            environment: std::env::vars().filter(|(name, _)| name.starts_with(&ours)).collect(),
            supervisor_token: std::env::var(SUPERVISOR_TOKEN_VARIABLE).ok(),
        }
    }
}

impl Settings {
    /// Reads all layers. `host_name` is what the node is called when nothing else is said.
    pub fn load(sources: &Sources, host_name: &str) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(sources)?;
        let supervisor = read_supervisor(&mut reader, sources.supervisor_token.as_deref())?;
        let settings = Self {
            node: reader.topic_level("node", &reduce_host_name(host_name))?,
            base_topic: reader.topic_level("base_topic", "bondkeeper")?,
            data_dir: reader.path("data_dir")?.unwrap_or_else(|| PathBuf::from("/data")),
            export_dir: reader.path("export_dir")?.unwrap_or_else(|| PathBuf::from("/data/exports")),
            clear_exports: reader.flag("clear_exports", true)?,
            automatic_copies: reader.word(
                "automatic_copies",
                "sealed",
                AutomaticCopies::from_word,
                &AutomaticCopies::ALL.map(AutomaticCopies::as_str).join(", "),
            )?,
            export_passphrase: read_passphrase(&mut reader)?,
            log_level: reader.word(
                "log_level",
                "info",
                LogLevel::from_word,
                &LogLevel::ALL.map(LogLevel::as_str).join(", "),
            )?,
            mqtt: read_mqtt(&mut reader, supervisor.is_some())?,
            store: store::read(&mut reader)?,
            adapters: read_adapters(&mut reader)?,
            commands: reader.word("commands", "all", Commands::from_word, "none, read, all")?,
            learn: reader.flag("learn", true)?,
            discovery: reader.flag("discovery", true)?,
            dbus: reader.flag("dbus", true)?,
            mgmt_endpoint: read_endpoint(&mut reader)?,
            supervisor,
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
            "clear_exports": self.clear_exports,
            "automatic_copies": self.automatic_copies.as_str(),
            "export_passphrase_set": self.export_passphrase.is_some(),
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
                "seal": self.store.seal,
            },
            "commands": self.commands.as_str(),
            "learn": self.learn,
            "discovery": self.discovery,
            "dbus": self.dbus,
        })
    }
}

fn read_supervisor(
    reader: &mut Reader,
    token: Option<&str>,
) -> Result<Option<SupervisorSettings>, ConfigError> {
    let url = reader.environment_only("supervisor.url")?.unwrap_or_else(|| SUPERVISOR_URL.to_owned());
    let token = token.filter(|token| !token.is_empty());
    Ok(token.map(|token| SupervisorSettings { url, token: Secret::new(token) }))
}

fn read_mqtt(reader: &mut Reader, supervised: bool) -> Result<MqttSettings, ConfigError> {
    let tls = reader.flag("mqtt.tls", false)?;
    let host = reader.text("mqtt.host")?;
    if supervised && host.is_none() {
        // They would be left unused without a word: the Supervisor's answer holds its own.
        let unused = ["mqtt.port", "mqtt.username", "mqtt.password", "mqtt.cert_file", "mqtt.key_file"];
        let set = if tls { Some("mqtt.tls") } else { reader.first_set(&unused) };
        if let Some(key) = set {
            let problem = "is set without mqtt.host. With mqtt.host empty, Home Assistant's Supervisor says which \
                           broker there is, with port and credentials: set mqtt.host as well, or clear this";
            return Err(reader.bad(key, problem));
        }
    }
    Ok(MqttSettings {
        host: host.or_else(|| (!supervised).then(|| "localhost".to_owned())),
        port: reader.number("mqtt.port", if tls { 8883 } else { 1883 }, 1, u64::from(u16::MAX))? as u16,
        username: reader.text("mqtt.username")?,
        password: reader.text("mqtt.password")?.map(Secret::new),
        tls,
        ca_file: reader.path("mqtt.ca_file")?,
        cert_file: reader.path("mqtt.cert_file")?,
        key_file: reader.path("mqtt.key_file")?,
    })
}

/// Shortest passphrase: exports lie where others can take them away and try as long as they like.
pub const PASSPHRASE_CHARACTERS_MIN: usize = 12;

fn read_passphrase(reader: &mut Reader) -> Result<Option<Secret>, ConfigError> {
    long_enough(reader, "export_passphrase")
}

fn long_enough(reader: &mut Reader, key: &str) -> Result<Option<Secret>, ConfigError> {
    let passphrase = reader.text(key)?.map(Secret::new);
    if passphrase.as_ref().is_some_and(|secret| secret.expose().chars().count() < PASSPHRASE_CHARACTERS_MIN) {
        let problem = format!(
            "has less than {PASSPHRASE_CHARACTERS_MIN} characters, which can be guessed; take six random words or so"
        );
        return Err(reader.bad(key, &problem));
    }
    Ok(passphrase)
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
    for (address, mode) in read_adapter_modes(reader, &known)? {
        // By address in the environment: closer to the process than any file.
        modes.entry(address).or_insert(mode);
    }
    Ok(AdapterSettings { default_mode, modes })
}

/// The same as a list, as Home Assistant's options page can hold it.
fn read_adapter_modes(
    reader: &mut Reader,
    known: &str,
) -> Result<BTreeMap<AdapterAddress, Mode>, ConfigError> {
    const KEY: &str = "adapter_modes";
    let mut modes = BTreeMap::new();
    for (number, row) in reader.rows(KEY, ["address", "mode"])?.into_iter().enumerate() {
        let [address, mode] = row;
        let place = |field: &str| format!("{KEY}[{number}].{field}");
        let Ok(address) = address.to_uppercase().parse::<AdapterAddress>() else {
            let problem = format!("is {address:?} and not the address of an adapter (AA:BB:CC:DD:EE:FF)");
            return Err(reader.bad_in(KEY, &place("address"), &problem));
        };
        let Some(mode) = Mode::from_word(&mode) else {
            return Err(reader.bad_in(KEY, &place("mode"), &format!("is {mode:?}; it can be: {known}")));
        };
        if modes.insert(address, mode).is_some() {
            return Err(reader.bad_in(KEY, &place("address"), "is listed twice"));
        }
    }
    Ok(modes)
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
    if settings.automatic_copies == AutomaticCopies::Clear && !settings.clear_exports {
        return bad(
            "automatic_copies",
            "is clear, which clear_exports forbids: set that to true as well, or take sealed",
        );
    }
    if settings.store.seal
        && settings.automatic_copies == AutomaticCopies::Clear
        && settings.export_passphrase.is_none()
    {
        return bad(
            "automatic_copies",
            "is clear, which would write the keys in clear text beside a sealed store: set export_passphrase, or take sealed or none",
        );
    }
    let mqtt = &settings.mqtt;
    if mqtt.cert_file.is_some() != mqtt.key_file.is_some() {
        return bad("mqtt.cert_file", "and mqtt.key_file belong together: set both or none");
    }
    // The Supervisor's answer says whether its broker speaks TLS.
    if !mqtt.tls && mqtt.host.is_some() && (mqtt.ca_file.is_some() || mqtt.cert_file.is_some()) {
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
