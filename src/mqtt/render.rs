//! From what adapters and the store tell to the documents of the public contract. Pure.
//!
//! Domain messages carry bonds with their keys; what is built here has no place for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapter::gate::{HoldReason, Verdict};
use crate::adapter::messages::{
    AdapterEvent, AdapterStateChanged, BondDescription, BondsDescription, CommandError, Drift, DriftState,
    EventKind, IdentityState, KernelSide, NotRestored, RestoreReport,
};
use crate::api::answers::{
    CheckpointDto, KernelDto, KernelListDto, PlanDto, PlanPeers, ReportDto, RestoreDto, ResultDto, UndoneDto,
    UndonePointDto,
};
use crate::api::bridge::{AuditDto, StoreDto};
use crate::api::dto::{
    AdapterEventDto, AdapterStateDto, BondDto, BondFacts, BondListDto, DriftDto, EventDataDto, GateDto,
    IdentityDto, ListDriftDto, LocalIdentityDto, PeersDto, RestoredDto, bond_address_type, first_peers,
    moment,
};
use crate::api::limits::{EVENT_PEERS_MAX, REPORT_LINES_MAX};
use crate::api::rfc3339::rfc3339;
use crate::api::{ApiError, Code};
use crate::audit::messages::AuditStateChanged;
use crate::bond::plan::RestoreMode;
use crate::bond::{AdapterAddress, Fingerprint, Privacy};
use crate::store::messages::{Checkpoint, StoreFault, StoreState};

pub(super) fn adapter_state(state: &AdapterStateChanged) -> AdapterStateDto {
    let neighbours = state.neighbours.as_ref();
    AdapterStateDto {
        address: state.adapter.to_string(),
        // A controller without a public address has no identity here and is not kept.
        address_type: "public",
        name: state.name.clone(),
        index: state.index.map(|index| format!("hci{index}")),
        present: state.index.is_some(),
        powered: state.powered,
        mode: state.mode.as_str(),
        gate: gate(&state.verdict),
        managers: neighbours.map(|neighbours| neighbours.managers.clone()),
        listeners: neighbours.map(|neighbours| neighbours.listeners.clone()),
        sync: state.sync.as_str(),
        bond_count: state.bond_count,
        ours: state.ours,
        foreign: state.foreign,
        orphaned: state.orphaned,
        suspect: state.suspect,
        generation: state.generation,
        persisted_generation: state.persisted_generation,
        last_persisted: moment(state.last_persisted),
        last_loaded: moment(state.last_loaded),
        last_error: state.last_error.clone(),
        local_identity: local_identity(state.local_identity.as_ref()),
        drift: drift(&state.drift),
    }
}

fn drift(state: &DriftState) -> DriftDto {
    let (reason, drift) = match state {
        DriftState::InAgreement => (None, None),
        DriftState::Drifted(drift) => (None, Some(drift)),
        DriftState::Unknown(why) => (Some(why.code()), None),
    };
    let peers = drift.map_or_else(BTreeSet::new, Drift::peers);
    DriftDto {
        state: state.as_str(),
        reason,
        lists: drift.map(drift_lists),
        peer_count: peers.len(),
        peers: first_peers(peers, EVENT_PEERS_MAX),
    }
}

fn drift_lists(drift: &Drift) -> BTreeMap<&'static str, ListDriftDto> {
    let lists = drift.by_word().map(|(word, list)| {
        let (missing, unseen, different) = (list.missing.len(), list.unseen.len(), list.different.len());
        (word, ListDriftDto { missing, unseen, different })
    });
    lists.collect()
}

fn local_identity(identity: Option<&IdentityState>) -> LocalIdentityDto {
    let why = identity.and_then(|identity| identity.not_restored.as_ref());
    LocalIdentityDto {
        state: identity.map_or("unknown", IdentityState::as_str),
        fingerprint: identity.map(|identity| identity.fingerprint.to_string()),
        privacy: identity.and_then(|identity| identity.privacy).map(Privacy::as_str),
        restored_at: moment(identity.and_then(|identity| identity.restored_at)),
        reason: why.map(NotRestored::code),
        message: why.map(NotRestored::words),
        advice: why.map(NotRestored::advice),
    }
}

pub(super) fn gate(verdict: &Verdict) -> GateDto {
    let hold = match verdict {
        Verdict::Own | Verdict::Merge => None,
        Verdict::Hold(reason) => Some(reason),
    };
    GateDto {
        state: verdict.as_str(),
        reason: hold.map(HoldReason::code),
        message: hold.map(HoldReason::words),
        advice: hold.map(HoldReason::advice),
    }
}

pub(super) fn bond(description: &BondDescription) -> BondDto {
    let facts = BondFacts {
        fingerprint: description.fingerprint,
        loaded: description.loaded,
        durable: description.durable,
        health: description.health,
        evidence: &description.evidence,
        last_seen_at: description.last_seen_at,
    };
    BondDto::of(&description.bond, facts)
}

pub(super) fn bond_list(description: &BondsDescription) -> BondListDto {
    BondListDto::of(description.generation, description.bonds.iter().map(bond))
}

pub(super) fn adapter_event(event: &AdapterEvent, seq: u64) -> AdapterEventDto {
    let (peer, shown) = match &event.kind {
        EventKind::BondAdded(description)
        | EventKind::BondUpdated(description)
        | EventKind::BondSuspect(description)
        | EventKind::BondRecovered(description)
        | EventKind::BondOrphaned(description) => {
            let peer = description.bond.peer;
            (Some((peer, description.bond.is_bredr_only())), Some(bond(description)))
        }
        EventKind::BondRemoved { peer, bredr_only } => (Some((*peer, *bredr_only)), None),
        EventKind::BondsRestored { .. }
        | EventKind::BondsLearned { .. }
        | EventKind::BondsOrphaned { .. }
        | EventKind::IdentityCaptured { .. }
        | EventKind::IdentityRestored { .. }
        | EventKind::DriftFound { .. }
        | EventKind::AdapterLoaded { .. }
        | EventKind::AdapterHeld { .. } => (None, None),
    };
    AdapterEventDto {
        event_type: event.kind.event_type(),
        at: rfc3339(event.at),
        adapter: event.adapter.to_string(),
        peer: peer.map(|(peer, _)| peer.to_string()),
        address_type: peer.map(|(peer, bredr_only)| bond_address_type(peer, bredr_only)),
        bond: shown,
        cause: event.cause,
        data: event_data(&event.kind),
        seq,
    }
}

fn event_data(kind: &EventKind) -> EventDataDto {
    match kind {
        EventKind::BondAdded(_)
        | EventKind::BondUpdated(_)
        | EventKind::BondSuspect(_)
        | EventKind::BondRecovered(_)
        | EventKind::BondOrphaned(_)
        | EventKind::BondRemoved { .. } => EventDataDto::None {},
        EventKind::BondsRestored { added, replaced, lost, adopted } => {
            EventDataDto::Restored(RestoredDto::of(added, replaced, lost, adopted))
        }
        EventKind::BondsLearned { peers } | EventKind::BondsOrphaned { peers } => {
            EventDataDto::Peers(PeersDto::first(peers))
        }
        EventKind::AdapterLoaded { ltk_count, irk_count, link_key_count } => EventDataDto::Loaded {
            ltk_count: *ltk_count,
            irk_count: *irk_count,
            link_key_count: *link_key_count,
        },
        EventKind::AdapterHeld { reason, advice } => {
            EventDataDto::Held { reason: reason.clone(), advice: advice.clone() }
        }
        EventKind::DriftFound { drift, reloaded } => {
            let peers = drift.peers();
            EventDataDto::Drift {
                lists: drift_lists(drift),
                peer_count: peers.len(),
                peers: first_peers(peers, EVENT_PEERS_MAX),
                reloaded: *reloaded,
            }
        }
        EventKind::IdentityCaptured { fingerprint, privacy, manager } => {
            identity_data(*fingerprint, *privacy, Some(manager))
        }
        EventKind::IdentityRestored { fingerprint, privacy } => identity_data(*fingerprint, *privacy, None),
    }
}

fn identity_data(
    fingerprint: Fingerprint,
    privacy: Option<Privacy>,
    manager: Option<&String>,
) -> EventDataDto {
    EventDataDto::Identity(IdentityDto {
        fingerprint: fingerprint.to_string(),
        privacy: privacy.map(Privacy::as_str),
        manager: manager.cloned(),
    })
}

pub(super) fn store(state: &StoreState) -> StoreDto {
    match state {
        StoreState::Ok => StoreDto { state: "ok", detail: None },
        StoreState::Rebuilt { detail } => StoreDto { state: "rebuilt", detail: Some(detail.clone()) },
        StoreState::Failing { fault } => {
            let state = match fault {
                StoreFault::DiskFull => "disk_full",
                StoreFault::ReadOnly => "read_only",
                StoreFault::Io(_) | StoreFault::ShuttingDown | StoreFault::NoSuchCheckpoint(_) => "failed",
            };
            StoreDto { state, detail: Some(fault.to_string()) }
        }
    }
}

pub(super) fn audit(state: &AuditStateChanged) -> AuditDto {
    AuditDto {
        state: if state.fault.is_none() { "ok" } else { "failed" },
        detail: state.fault.clone(),
        lost_count: state.lost_count,
    }
}

pub(super) fn checkpoint(checkpoint: &Checkpoint) -> CheckpointDto {
    CheckpointDto {
        label: checkpoint.label.clone(),
        adapter: checkpoint.adapter.to_string(),
        reason: checkpoint.reason.clone(),
        bond_count: checkpoint.bond_count,
        generation: checkpoint.generation,
        at: rfc3339(checkpoint.at),
    }
}

pub(super) fn kernel_side(side: &KernelSide) -> KernelDto {
    let lists = side.lists.iter().map(|list| {
        let state = if list.loaded { "loaded" } else { "refused" };
        (list.list, KernelListDto { state, loaded: list.loaded_count, refused: list.refused_count })
    });
    KernelDto {
        state: side.state.as_str(),
        reason: side.reason.clone(),
        lists: (!side.lists.is_empty()).then(|| lists.collect()),
    }
}

fn peers_of(report: &RestoreReport) -> PlanPeers<'_> {
    PlanPeers {
        added: &report.added,
        replaced: &report.replaced,
        unchanged: &report.unchanged,
        lost: &report.lost,
    }
}

/// None when the report is not one of an undo.
pub(super) fn undone(adapter: AdapterAddress, report: &RestoreReport) -> Option<UndoneDto> {
    let point = report.undone.as_ref()?;
    let peers = peers_of(report);
    Some(UndoneDto {
        adapter: adapter.to_string(),
        undone: UndonePointDto { operation: point.operation.as_str(), checkpoint: point.checkpoint.clone() },
        plan: PlanDto::of(&report.plan_id, "undo", peers, &[], &report.hazards),
        kept: first_peers(report.kept.iter().copied(), REPORT_LINES_MAX),
        applied: report.applied,
        results: report.applied.then(|| ResultDto::all(peers)),
        kernel: report.kernel.as_ref().map(kernel_side),
        checkpoint: report.checkpoint.clone(),
    })
}

pub(super) fn restore(
    adapter: AdapterAddress,
    mode: RestoreMode,
    report: &RestoreReport,
    read: Option<ReportDto>,
) -> RestoreDto {
    let peers = peers_of(report);
    let refused = read.as_ref().map_or(&[][..], |read| &read.refused);
    RestoreDto {
        adapter: adapter.to_string(),
        plan: PlanDto::of(&report.plan_id, mode.as_str(), peers, refused, &report.hazards),
        applied: report.applied,
        results: report.applied.then(|| ResultDto::all(peers)),
        kernel: report.kernel.as_ref().map(kernel_side),
        checkpoint: report.checkpoint.clone(),
        report: read.map(ReportDto::bounded),
    }
}

pub(super) fn command_error(error: &CommandError) -> ApiError {
    let code = match error {
        CommandError::AdapterAbsent => Code::AdapterAbsent,
        CommandError::AdapterPresent => Code::AdapterPresent,
        CommandError::AdapterUnknown => Code::AdapterUnknown,
        CommandError::PeerUnknown(_) => Code::PeerUnknown,
        CommandError::PlanStale => Code::PlanStale,
        CommandError::Held { .. } => Code::Held,
        CommandError::KernelRefused(_) => Code::KernelRefused,
        CommandError::KernelTimeout => Code::KernelTimeout,
        CommandError::NothingToUndo(_) => Code::NothingToUndo,
        CommandError::TableFull(_) => Code::TableFull,
        CommandError::Store(fault) | CommandError::NotStored(fault) => store_fault(fault).code,
        CommandError::Busy => Code::Busy,
        CommandError::ShuttingDown => Code::ShuttingDown,
    };
    ApiError::new(code, error.to_string())
}

pub(super) fn store_fault(fault: &StoreFault) -> ApiError {
    let code = match fault {
        StoreFault::DiskFull => Code::DiskFull,
        StoreFault::ReadOnly => Code::StoreReadOnly,
        StoreFault::Io(_) => Code::StoreFailed,
        StoreFault::ShuttingDown => Code::ShuttingDown,
        StoreFault::NoSuchCheckpoint(_) => Code::CheckpointUnknown,
    };
    ApiError::new(code, fault.to_string())
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
