//! What an adapter tells: how it is, and what happened to its bonds.

use actix::Message;

use super::{BondDescription, Drift, DriftState, IdentityState, Neighbours};
use crate::adapter::gate::Verdict;
use crate::bond::{AdapterAddress, Fingerprint, Mode, PeerAddress, Privacy, UnixMillis};

/// How an adapter is. Sent whenever any part of it changes.
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct AdapterStateChanged {
    pub adapter: AdapterAddress,
    pub name: Option<String>,
    /// Controller index while it is plugged in.
    pub index: Option<u16>,
    pub powered: Option<bool>,
    pub mode: Mode,
    pub verdict: Verdict,
    /// None where the monitor channel cannot be read.
    pub neighbours: Option<Neighbours>,
    pub sync: Sync,
    pub bond_count: usize,
    pub ours: usize,
    pub foreign: usize,
    pub orphaned: usize,
    pub suspect: usize,
    pub generation: u64,
    pub persisted_generation: u64,
    pub last_persisted: Option<UnixMillis>,
    pub last_loaded: Option<UnixMillis>,
    pub last_error: Option<String>,
    /// None where none is known.
    pub local_identity: Option<IdentityState>,
    pub drift: DriftState,
    /// Things that were seen and not stored, by reason, since the service started.
    pub skipped: Vec<(&'static str, u64)>,
}

/// How the kernel's tables stand to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    InSync,
    Loading,
    Held,
    Failed,
    Absent,
}

impl Sync {
    /// Every one, in the order that people are shown.
    pub const ALL: [Self; 5] = [Self::InSync, Self::Loading, Self::Held, Self::Failed, Self::Absent];

    /// The word that topics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Loading => "loading",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Absent => "absent",
        }
    }
}

/// Something happened that people and automations want to hear of once. Bond events are sent only
/// when the change is durable, and after the [`BondsDescription`] that shows it.
#[derive(Clone)]
pub struct AdapterEvent {
    pub adapter: AdapterAddress,
    pub at: UnixMillis,
    pub kind: EventKind,
    /// What brought it about: `pairing`, `unpaired`, `forget`, `restore`, `plugged_in`, …
    pub cause: &'static str,
}

/// Events of one adapter in their order. All that there are at the moment in one message, so that a storm does not
/// fill a mailbox.
#[derive(Message, Default)]
#[rtype(result = "()")]
pub struct AdapterEvents {
    /// Events that had to be given up before these: they count, and are reported as lost.
    pub dropped_count: u64,
    pub events: Vec<AdapterEvent>,
}

#[derive(Clone)]
pub enum EventKind {
    BondAdded(BondDescription),
    BondUpdated(BondDescription),
    BondRemoved {
        peer: PeerAddress,
        bredr_only: bool,
    },
    BondsRestored {
        added: Vec<PeerAddress>,
        replaced: Vec<PeerAddress>,
        lost: Vec<PeerAddress>,
        adopted: Vec<PeerAddress>,
    },
    /// Another manager loads more bonds than are told one by one.
    BondsLearned {
        peers: Vec<PeerAddress>,
    },
    /// The evidence speaks against the bond's keys: it is suspect, or stale.
    BondSuspect(BondDescription),
    /// It speaks for them again.
    BondRecovered(BondDescription),
    /// The bond's manager has loaded its list without it.
    BondOrphaned(BondDescription),
    /// So has it for more bonds than are told one by one.
    BondsOrphaned {
        peers: Vec<PeerAddress>,
    },
    /// Another manager has given the adapter this identity, or has switched it off.
    IdentityCaptured {
        fingerprint: Fingerprint,
        privacy: Option<Privacy>,
        manager: String,
    },
    /// It was put back.
    IdentityRestored {
        fingerprint: Fingerprint,
        privacy: Option<Privacy>,
    },
    /// The kernel's tables are not what they were thought to be.
    DriftFound {
        drift: Drift,
        /// What is missing is loaded again.
        reloaded: bool,
    },
    /// Keys were loaded into the kernel.
    AdapterLoaded {
        ltk_count: usize,
        irk_count: usize,
        link_key_count: usize,
    },
    /// The gate holds; reason and advice.
    AdapterHeld {
        reason: String,
        advice: String,
    },
}

impl EventKind {
    /// Every `event_type` there is: Home Assistant drops an event of a type that was not announced.
    pub const EVENT_TYPES: [&str; 14] = [
        "bond_added",
        "bond_updated",
        "bond_removed",
        "bonds_restored",
        "bonds_learned",
        "bond_orphaned",
        "bonds_orphaned",
        "bond_suspect",
        "bond_recovered",
        "identity_captured",
        "identity_restored",
        "drift_found",
        "adapter_loaded",
        "adapter_held",
    ];

    /// The `event_type` of the public contract.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::BondAdded(_) => "bond_added",
            Self::BondUpdated(_) => "bond_updated",
            Self::BondRemoved { .. } => "bond_removed",
            Self::BondsRestored { .. } => "bonds_restored",
            Self::BondsLearned { .. } => "bonds_learned",
            Self::BondSuspect(_) => "bond_suspect",
            Self::BondRecovered(_) => "bond_recovered",
            Self::BondOrphaned(_) => "bond_orphaned",
            Self::BondsOrphaned { .. } => "bonds_orphaned",
            Self::IdentityCaptured { .. } => "identity_captured",
            Self::IdentityRestored { .. } => "identity_restored",
            Self::DriftFound { .. } => "drift_found",
            Self::AdapterLoaded { .. } => "adapter_loaded",
            Self::AdapterHeld { .. } => "adapter_held",
        }
    }
}
