//! What an adapter actor is told and asked, and what it tells.

mod commands;
mod drift;
mod events;
mod identity;
mod neighbours;
mod paired;

use std::sync::Arc;

use actix::{Message, Recipient};

use crate::bond::health::Evidence;
use crate::bond::{AdapterAddress, Appearance, Bond, Fingerprint, Health, UnixMillis};

pub use commands::{
    Adopt, AdoptReport, CommandError, ExportBonds, ExportedBonds, ForgetAdapter, ForgetAdapterReport,
    ForgetBond, ForgetReport, KernelSide, KernelSideState, ListSide, Reload, Restore, RestoreReport, SetMode,
    Undo,
};
pub use drift::{CheckDrift, Drift, DriftState, DriftUnknown};
pub use events::{AdapterEvent, AdapterEvents, AdapterStateChanged, EventKind, Sync};
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
