//! What is known of the service as a whole, and the documents about it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::render;
use crate::adapter::messages::AdapterStateChanged;
use crate::api::bridge::{AuditDto, FormatDto, HealthDto, InfoDto, MqttHealthDto, StoreDto, StoreHealthDto};
use crate::api::limits::LimitsDto;
use crate::api::rfc3339::rfc3339;
use crate::api::{Commands, LogLevel};
use crate::audit::messages::AuditStateChanged;
use crate::bond::{AdapterAddress, UnixMillis};
use crate::store::messages::{StoreState, StoreStateChanged};

/// What does not change while the service runs.
#[derive(Debug, Clone)]
pub struct ServiceFacts {
    pub version: String,
    /// `kernel` or `simulated`.
    pub endpoint: &'static str,
    pub started_at: UnixMillis,
    /// The options as they are shown to anybody: without secrets.
    pub config: Value,
    pub commands: Commands,
    pub log_level: LogLevel,
}

/// What the process says about itself when it is asked.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    pub uptime_s: u64,
    pub rss_bytes: Option<u64>,
    pub received_frames: Option<u64>,
    pub dropped_frames: Option<u64>,
    /// Things waiting, by queue.
    pub queues: BTreeMap<String, u64>,
    /// Things that went wrong, by kind.
    pub errors: BTreeMap<String, u64>,
}

/// An adapter's coming and going, as far as the outside is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Appeared,
    Vanished,
    Same,
}

/// See the module text.
pub(super) struct Board {
    node: String,
    facts: ServiceFacts,
    formats: Vec<FormatDto>,
    mgmt_version: Option<String>,
    adapters: BTreeSet<AdapterAddress>,
    present: BTreeSet<AdapterAddress>,
    /// What such an adapter still had to say when it was forgotten must not bring its topics back.
    forgotten: BTreeSet<AdapterAddress>,
    /// What adapters have seen and not stored, by reason.
    skipped: BTreeMap<AdapterAddress, Vec<(&'static str, u64)>>,
    store: StoreDto,
    audit: AuditDto,
    last_commit_us: Option<u64>,
    max_commit_us: Option<u64>,
}

impl Board {
    pub(super) fn new(node: &str, facts: ServiceFacts, formats: Vec<FormatDto>) -> Self {
        Self {
            node: node.to_owned(),
            facts,
            formats,
            mgmt_version: None,
            adapters: BTreeSet::new(),
            present: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            skipped: BTreeMap::new(),
            store: render::store(&StoreState::Ok),
            audit: render::audit(&AuditStateChanged::default()),
            last_commit_us: None,
            max_commit_us: None,
        }
    }

    /// True when `bridge/info` has changed.
    pub(super) fn adapter_known(&mut self, adapter: AdapterAddress) -> bool {
        self.forgotten.remove(&adapter);
        self.adapters.insert(adapter)
    }

    pub(super) fn adapter_forgotten(&mut self, adapter: AdapterAddress) {
        self.adapters.remove(&adapter);
        self.present.remove(&adapter);
        self.skipped.remove(&adapter);
        self.forgotten.insert(adapter);
    }

    pub(super) fn is_forgotten(&self, adapter: AdapterAddress) -> bool {
        self.forgotten.contains(&adapter)
    }

    pub(super) fn adapter_state(&mut self, state: &AdapterStateChanged) -> Presence {
        self.skipped.insert(state.adapter, state.skipped.clone());
        match state.index {
            Some(_) if self.present.insert(state.adapter) => Presence::Appeared,
            None if self.present.remove(&state.adapter) => Presence::Vanished,
            _ => Presence::Same,
        }
    }

    /// True when `bridge/info` has changed.
    pub(super) fn store_state(&mut self, change: &StoreStateChanged) -> bool {
        self.last_commit_us = Some(change.last_commit_us);
        self.max_commit_us = self.max_commit_us.max(Some(change.max_commit_us));
        let store = render::store(&change.state);
        let changed = self.store != store;
        self.store = store;
        changed
    }

    /// True when `bridge/info` has changed.
    pub(super) fn audit_state(&mut self, change: &AuditStateChanged) -> bool {
        let audit = render::audit(change);
        let changed = self.audit != audit;
        self.audit = audit;
        changed
    }

    pub(super) const fn store(&self) -> &StoreDto {
        &self.store
    }

    pub(super) fn kernel_known(&mut self, mgmt_version: String) {
        self.mgmt_version = Some(mgmt_version);
    }

    pub(super) const fn log_level_set(&mut self, level: LogLevel) {
        self.facts.log_level = level;
    }

    pub(super) const fn commands(&self) -> Commands {
        self.facts.commands
    }

    pub(super) fn info(&self) -> InfoDto {
        InfoDto {
            version: self.facts.version.clone(),
            node: self.node.clone(),
            endpoint: self.facts.endpoint,
            kernel_mgmt_version: self.mgmt_version.clone(),
            started_at: rfc3339(self.facts.started_at),
            adapters: self.adapters.iter().map(ToString::to_string).collect(),
            store: self.store.clone(),
            audit: self.audit.clone(),
            commands: self.facts.commands.as_str(),
            log_level: self.facts.log_level.as_str(),
            config: self.facts.config.clone(),
            limits: LimitsDto::CURRENT,
            formats: self.formats.clone(),
        }
    }

    pub(super) fn health(&self, probe: Probe, mqtt: MqttHealthDto, now: UnixMillis) -> HealthDto {
        let mut errors = probe.errors;
        for (reason, count) in self.skipped.values().flatten() {
            *errors.entry(format!("skipped_{reason}")).or_default() += count;
        }
        HealthDto {
            at: rfc3339(now),
            rss_bytes: probe.rss_bytes,
            uptime_s: probe.uptime_s,
            queues: probe.queues,
            received_frames: probe.received_frames,
            dropped_frames: probe.dropped_frames,
            store: StoreHealthDto {
                state: self.store.state,
                last_commit_us: self.last_commit_us,
                max_commit_us: self.max_commit_us,
            },
            mqtt,
            errors,
        }
    }
}
