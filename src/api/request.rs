//! What a client may ask, in domain types.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::bond::plan::RestoreMode;
use crate::bond::{AdapterAddress, Mode, PeerAddress, PeerAddressType};

/// A request that may be carried out: complete, and within every limit.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    HealthCheck,
    ListBonds(ListBonds),
    ExportBonds(ExportBonds),
    RestoreBonds(RestoreBonds),
    UndoBonds(UndoBonds),
    ForgetBond(ForgetBond),
    Reload { adapter: AdapterAddress },
    AdoptBonds(AdoptBonds),
    ListCheckpoints { adapter: Option<AdapterAddress> },
    CreateCheckpoint { adapter: Option<AdapterAddress>, label: Option<String> },
    SetMode { adapter: AdapterAddress, mode: Mode },
    ForgetAdapter { adapter: AdapterAddress },
    SetLogLevel(LogLevel),
}

impl Request {
    /// Changes nothing, neither here nor in the export folder.
    pub const fn is_read_only(&self) -> bool {
        matches!(self, Self::HealthCheck | Self::ListBonds(_) | Self::ListCheckpoints { .. })
    }
}

/// `bonds/list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListBonds {
    pub adapter: Option<AdapterAddress>,
    pub peer: Option<PeerSelector>,
    pub offset: usize,
    pub limit: usize,
}

/// `bonds/export`.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportBonds {
    /// None: every adapter.
    pub adapter: Option<AdapterAddress>,
    /// None: every peer.
    pub peers: Option<Vec<PeerSelector>>,
    pub format: String,
    pub options: FormatOptions,
    pub deliver: Deliver,
    /// None: sealed where the service's options have a passphrase.
    pub seal: Option<Seal>,
    /// Go on although the format cannot hold everything.
    pub allow_loss: bool,
    /// Say what the export would hold and lose; write nothing.
    pub dry_run: bool,
}

/// Where an export goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// A file in the export folder.
    File,
    /// The answer itself; only sealed.
    Mqtt,
}

/// How an export is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// With the passphrase of the service's options: none ever goes over MQTT.
    ConfiguredPassphrase,
    /// Not at all, also where there is a passphrase.
    Off,
    /// For these public keys.
    Recipients(Vec<String>),
}

/// `bonds/restore`.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreBonds {
    /// None: the one that the source names.
    pub adapter: Option<AdapterAddress>,
    pub from: RestoreFrom,
    /// None: found out by looking at the input.
    pub format: Option<String>,
    pub options: FormatOptions,
    /// Adapters by the names that the input gives them (`hci0`).
    pub adapters: BTreeMap<String, AdapterAddress>,
    /// Take what is good of the input and name the rest.
    pub salvage: bool,
    pub mode: RestoreMode,
    pub dry_run: bool,
    pub plan_id: Option<String>,
    pub allow_adapter_mismatch: bool,
}

/// Where the bonds of a restore come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreFrom {
    /// A bare name in the export folder: of a file, or of a folder where the format is one.
    File(String),
    Inline(InlineInput),
    /// A checkpoint's label.
    Checkpoint(String),
    /// What is stored already: only the kernel's side is done again.
    Store,
}

/// `bonds/undo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoBonds {
    pub adapter: AdapterAddress,
    pub dry_run: bool,
    pub plan_id: Option<String>,
}

/// `bonds/forget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForgetBond {
    pub adapter: AdapterAddress,
    pub peer: PeerSelector,
    pub unpair: bool,
}

/// `bonds/adopt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptBonds {
    pub adapter: AdapterAddress,
    /// None: every foreign bond.
    pub peers: Option<Vec<PeerSelector>>,
}

/// A file's contents inside a request. They hold keys: wiped on drop, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct InlineInput(Zeroizing<Vec<u8>>);

impl InlineInput {
    pub const fn new(octets: Zeroizing<Vec<u8>>) -> Self {
        Self(octets)
    }

    /// The contents, for the format that reads them.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for InlineInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InlineInput({} octets)", self.0.len())
    }
}

/// What a format wants to be told besides. Only the names are shown: a value may be a secret.
#[derive(Clone, PartialEq, Default)]
pub struct FormatOptions(pub Map<String, Value>);

impl fmt::Debug for FormatOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A peer as a client names it: an address, and its type where the address alone is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSelector {
    address: PeerAddress,
    kind: Option<PeerAddressType>,
}

impl PeerSelector {
    pub const fn new(address: PeerAddress, kind: Option<PeerAddressType>) -> Self {
        Self { address, kind }
    }

    /// Whether this peer may be the one that is meant.
    pub fn matches(&self, peer: PeerAddress) -> bool {
        peer.to_wire() == self.address.to_wire() && self.kind.is_none_or(|kind| kind == peer.kind())
    }
}

impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, f)
    }
}

/// How much the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Every level, the quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word that options and requests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}
