//! The documents about the service itself.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::limits::LimitsDto;

/// `bridge/state`, and the last will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BridgeStateDto {
    state: &'static str,
}

impl BridgeStateDto {
    pub const ONLINE: Self = Self { state: "online" };
    pub const OFFLINE: Self = Self { state: "offline" };
}

/// `bridge/info`.
#[derive(Debug, Clone, Serialize)]
pub struct InfoDto {
    pub version: String,
    pub node: String,
    /// `kernel` or `simulated`.
    pub endpoint: &'static str,
    /// Version and revision of the kernel's management interface; null until it has answered.
    pub kernel_mgmt_version: Option<String>,
    pub started_at: String,
    pub adapters: Vec<String>,
    pub store: StoreDto,
    pub audit: AuditDto,
    pub commands: &'static str,
    pub log_level: &'static str,
    /// The options without their secrets.
    pub config: Value,
    pub limits: LimitsDto,
    pub formats: Vec<FormatDto>,
}

/// A format, and which ways it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormatDto {
    pub name: &'static str,
    pub import: bool,
    pub export: bool,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreDto {
    /// `ok`, `rebuilt`, `read_only`, `disk_full`, `failed` or `unreadable`.
    pub state: &'static str,
    pub detail: Option<String>,
}

impl StoreDto {
    /// Every word that `state` can be.
    pub const STATES: [&str; 6] = ["ok", "rebuilt", "read_only", "disk_full", "failed", "unreadable"];
}

/// How the audit log is. Bonds are kept whatever it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AuditDto {
    /// `ok` or `failed`.
    pub state: &'static str,
    pub detail: Option<String>,
    /// Entries that were given up since the service started.
    pub lost_count: u64,
}

/// `bridge/health`, and the answer to `health_check`.
#[derive(Debug, Clone, Serialize)]
pub struct HealthDto {
    pub at: String,
    pub rss_bytes: Option<u64>,
    pub uptime_s: u64,
    /// Things waiting, by queue.
    pub queues: BTreeMap<String, u64>,
    /// Frames that the kernel's sockets have woken us for.
    pub received_frames: Option<u64>,
    /// Management frames that the kernel had to drop because we were slow.
    pub dropped_frames: Option<u64>,
    pub store: StoreHealthDto,
    pub mqtt: MqttHealthDto,
    /// Things that went wrong since the service started, by kind.
    pub errors: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct StoreHealthDto {
    pub state: &'static str,
    pub last_commit_us: Option<u64>,
    pub max_commit_us: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MqttHealthDto {
    /// Connections after the first.
    pub reconnects: u64,
    /// Published and not yet acknowledged.
    pub in_flight: usize,
    /// Waiting to be published.
    pub queued: usize,
    /// Events given up because the broker was away for too long.
    pub events_dropped: u64,
    /// Answers given up for the same reason.
    pub responses_dropped: u64,
    /// Messages that the broker did not take, or that are larger than it takes.
    pub refused: u64,
    /// Messages that somebody else has published on our retained topics, and that were published over.
    pub overwritten: u64,
    pub requests_in_progress: usize,
}

/// `bridge/event`.
#[derive(Debug, Clone, Serialize)]
pub struct BridgeEventDto {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub at: String,
    pub data: BridgeEventData,
    /// One more than the event before, of any adapter or the bridge, since the service started.
    pub seq: u64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum BridgeEventData {
    /// `adapter_added`, `adapter_removed`, `adapter_forgotten`: plugged in, unplugged, forgotten.
    Adapter { adapter: String },
    /// `store_rebuilt`
    Store { detail: Option<String> },
    /// `command_done`: a request that may have changed something was answered.
    Command { verb: String, status: &'static str, code: Option<&'static str> },
    /// `events_dropped`: these events were given up while the broker was away.
    Dropped { count: u64, first_seq: u64, last_seq: u64 },
    /// `audit`: a line of the audit log, as it was written.
    Audit(Value),
}

impl BridgeEventDto {
    pub const ADAPTER_ADDED: &'static str = "adapter_added";
    pub const ADAPTER_REMOVED: &'static str = "adapter_removed";
    pub const ADAPTER_FORGOTTEN: &'static str = "adapter_forgotten";
    pub const STORE_REBUILT: &'static str = "store_rebuilt";
    pub const COMMAND_DONE: &'static str = "command_done";
    pub const AUDIT: &'static str = "audit";
    pub const EVENTS_DROPPED: &'static str = "events_dropped";
}
