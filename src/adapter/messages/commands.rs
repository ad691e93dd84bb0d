//! What is asked of an adapter, and its answers.

use std::sync::Arc;

use actix::Message;

use crate::adapter::gate::Verdict;
use crate::bond::plan::{Hazard, RestoreMode};
use crate::bond::undo::UndoPoint;
use crate::bond::{
    AdapterAddress, AdapterRecord, Bond, BondTable, LocalIdentity, Mode, OpaqueItem, PeerAddress, Source,
};
use crate::store::messages::StoreFault;

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
    Store(StoreFault),
    #[error(
        "{0}. The change is made, and will be stored and brought to the kernel as soon as that is possible; a restart before that undoes it"
    )]
    NotStored(StoreFault),
    #[error("another command is being carried out on this adapter: try again in a moment")]
    Busy,
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl CommandError {
    /// Of a change that is made, and that the store could not take yet. A store that is shutting down will not try again.
    pub fn of_late_commit(fault: StoreFault) -> Self {
        match fault {
            StoreFault::ShuttingDown => Self::Store(fault),
            fault => Self::NotStored(fault),
        }
    }
}
