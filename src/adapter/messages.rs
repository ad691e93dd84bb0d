//! What an adapter actor is told and asked, and what it tells.

mod drift;
mod identity;
mod neighbours;
mod paired;

use std::sync::Arc;

use actix::{Message, Recipient};

use super::gate::Verdict;
use crate::bond::health::Evidence;
use crate::bond::plan::{Hazard, RestoreMode};
use crate::bond::undo::UndoPoint;
use crate::bond::{
    AdapterAddress, AdapterRecord, Appearance, Bond, BondTable, Fingerprint, Health, LocalIdentity, Mode,
    OpaqueItem, PeerAddress, Privacy, Source, UnixMillis,
};

pub use drift::{CheckDrift, Drift, DriftState, DriftUnknown};
pub use identity::{IdentityState, NotRestored};
pub use neighbours::{Activity, ManagersChanged, Neighbourhood, NeighbourhoodChanged, Neighbours, Observed};
pub use paired::{BluetoothdSeen, PairedPeers, PairedPeersSeen};

/// What Read Controller Information says of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerInfo {
    pub address: AdapterAddress,
    pub name: String,
    pub powered: bool,
    /// Somebody has given it an identity of its own already.
    pub privacy: bool,
    /// Has BR/EDR besides LE: only then link keys may be loaded.
    pub bredr: bool,
}

/// The adapter has appeared under this controller index. Answers whether the adapter's socket could be opened; if not, it is to be attached again later.
#[derive(Message, Clone, Debug)]
#[rtype(result = "bool")]
pub struct Attach {
    pub index: u16,
    pub info: ControllerInfo,
    /// None where sysfs cannot tell.
    pub appearance: Option<Appearance>,
    /// It appeared while we watched: its tables are empty. False for one that was there at our start.
    pub seen_appearing: bool,
    /// What others have loaded since it appeared, while it was being read.
    pub lately: Vec<Observed>,
}

/// The adapter is gone.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Detach;

/// Announce what is still waiting to be: the service stops.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct DrainAdapter;

/// The adapter was forgotten: its actor ends.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct StopAdapter;

/// Everything there is to say about the bonds.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "BondsDescription")]
pub struct DescribeBonds;

/// The bonds as they stand, with what is known of each beyond its keys.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct BondsDescription {
    pub adapter: AdapterAddress,
    pub generation: u64,
    pub bonds: Vec<BondDescription>,
}

/// One bond, described. Holds the keys (shared): whoever renders it must take none of them.
#[derive(Clone)]
pub struct BondDescription {
    pub bond: Arc<Bond>,
    pub fingerprint: Fingerprint,
    /// In the kernel's table: yes, no, or not known.
    pub loaded: Option<bool>,
    pub durable: bool,
    pub health: Health,
    /// Why, the oldest first.
    pub evidence: Vec<Evidence>,
    /// Last connection of the peer, where it is later than what the bond itself says. Beside the bond, so that it
    /// need not be copied to be described.
    pub last_seen_at: Option<UnixMillis>,
}

/// Hand out the table for an export.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "ExportedBonds")]
pub struct ExportBonds;

/// The table and what a format may want to know of its adapter.
#[derive(Clone)]
pub struct ExportedBonds {
    pub adapter: AdapterAddress,
    /// What of it holds on any host.
    pub record: AdapterRecord,
    pub table: Arc<BondTable>,
}

/// Plan a restore and, unless `dry_run`, carry it out.
#[derive(Message, Clone)]
#[rtype(result = "Result<RestoreReport, CommandError>")]
pub struct Restore {
    pub bonds: Vec<Bond>,
    /// The adapter's own, kept where none is known yet; never of another adapter.
    pub local_identity: Option<LocalIdentity>,
    pub opaque: Vec<OpaqueItem>,
    pub source: Source,
    pub mode: RestoreMode,
    pub dry_run: bool,
    /// Refuse unless the plan is still this one.
    pub plan_id: Option<String>,
    /// The input was made for another adapter and the user allowed that.
    pub adapter_mismatch: bool,
}

/// What a restore would do, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreReport {
    pub plan_id: String,
    pub applied: bool,
    pub added: Vec<PeerAddress>,
    pub replaced: Vec<PeerAddress>,
    pub unchanged: Vec<PeerAddress>,
    pub lost: Vec<PeerAddress>,
    /// Of an undo: changed since what is undone, and left as they are.
    pub kept: Vec<PeerAddress>,
    pub hazards: Vec<Hazard>,
    /// None for a dry run.
    pub kernel: Option<KernelSide>,
    /// Label of the copy taken before, where anything was changed.
    pub checkpoint: Option<String>,
    /// What an undo undoes.
    pub undone: Option<Box<UndoPoint>>,
}

/// Undo the adapter's last restore, forget, adoption or undo.
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "Result<RestoreReport, CommandError>")]
pub struct Undo {
    pub dry_run: bool,
    /// Refuse unless the plan is still this one.
    pub plan_id: Option<String>,
}

/// Drop a bond from the store and, if asked, from the kernel.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<ForgetReport, CommandError>")]
pub struct ForgetBond {
    pub peer: PeerAddress,
    pub unpair: bool,
}

/// What forgetting a bond came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetReport {
    pub peer: PeerAddress,
    pub kernel: KernelSide,
    pub checkpoint: Option<String>,
}

/// Take foreign bonds into our custody, so that they are kept loaded.
#[derive(Message, Clone, Debug)]
#[rtype(result = "Result<AdoptReport, CommandError>")]
pub struct Adopt {
    /// None: all of them.
    pub peers: Option<Vec<PeerAddress>>,
}

/// What adopting came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptReport {
    pub adopted: Vec<PeerAddress>,
    pub kernel: KernelSide,
    pub checkpoint: Option<String>,
}

/// Reconcile now.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<KernelSide, CommandError>")]
pub struct Reload;

/// Change the adapter's mode.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<Verdict, CommandError>")]
pub struct SetMode {
    pub mode: Mode,
}

/// Drop an absent adapter and all its bonds. Answered by the registry.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<ForgetAdapterReport, CommandError>")]
pub struct ForgetAdapter {
    pub adapter: AdapterAddress,
}

/// What forgetting an adapter came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetAdapterReport {
    pub bond_count: usize,
    pub checkpoint: Option<String>,
}

/// The kernel's side of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSide {
    pub state: KernelSideState,
    /// One sentence for people; none when there is nothing to add.
    pub reason: Option<String>,
    /// What became of each list that was sent; empty where none was.
    pub lists: Vec<ListSide>,
}

/// What became of one list of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListSide {
    /// `irks`, `link_keys`, `ltks` or `connection_parameters`.
    pub list: &'static str,
    /// The kernel has taken the list, less the refused records.
    pub loaded: bool,
    /// Records that the kernel took.
    pub loaded_count: usize,
    /// Records that were offered and not taken.
    pub refused_count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelSideState {
    /// The kernel holds what the store holds (after a forget: no longer holds the peer).
    Loaded,
    /// The gate holds the adapter: the kernel was left alone.
    Held,
    /// The kernel refused or did not answer.
    Refused,
    /// The adapter is not plugged in.
    Absent,
}

impl KernelSideState {
    /// The word that answers use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Absent => "absent",
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the adapter is not plugged in")]
    AdapterAbsent,
    #[error("the adapter is plugged in; only an absent adapter can be forgotten: unplug it first")]
    AdapterPresent,
    #[error("no adapter with this address is known")]
    AdapterUnknown,
    #[error("no bond with {0} is stored on this adapter")]
    PeerUnknown(PeerAddress),
    #[error(
        "the bonds have changed since the plan was made: plan again with dry_run and look at the new plan"
    )]
    PlanStale,
    #[error("this adapter is held: {reason}. {advice}")]
    Held { reason: String, advice: String },
    #[error("the kernel refused: {0}")]
    KernelRefused(String),
    #[error("the kernel did not answer in time")]
    KernelTimeout,
    #[error("{0}")]
    NothingToUndo(&'static str),
    #[error("{0}")]
    TableFull(crate::bond::TableFull),
    #[error("{0}")]
    Store(crate::store::messages::StoreFault),
    #[error("another command is being carried out on this adapter: try again in a moment")]
    Busy,
    #[error("the service is shutting down")]
    ShuttingDown,
}

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

/// A way to reach one adapter's actor, for whoever carries commands.
#[derive(Clone)]
pub struct AdapterHandle {
    pub address: AdapterAddress,
    pub describe: Recipient<DescribeBonds>,
    pub export: Recipient<ExportBonds>,
    pub restore: Recipient<Restore>,
    pub undo: Recipient<Undo>,
    pub forget: Recipient<ForgetBond>,
    pub reload: Recipient<Reload>,
    pub adopt: Recipient<Adopt>,
    pub set_mode: Recipient<SetMode>,
    pub check_drift: Recipient<CheckDrift>,
}

/// An adapter has become known (present or only stored).
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct AdapterKnown(pub AdapterHandle);

/// An adapter was forgotten: its topics are to be cleared.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct AdapterForgotten {
    pub adapter: AdapterAddress,
}
