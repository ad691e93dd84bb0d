//! What is said: state, list of bonds, events.

use std::sync::Arc;

use super::{AdapterMachine, Now, Output};
use crate::adapter::gate::Verdict;
use crate::adapter::load::LoadRun;
use crate::adapter::messages::{
    AdapterEvent, AdapterStateChanged, BondDescription, BondsDescription, EventKind, Sync,
};
use crate::bond::table::Entry;
use crate::bond::{Custody, Health, PeerAddress, UnixMillis};
use crate::store::messages::StoreFault;

/// What an announcement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Added(PeerAddress),
    Updated(PeerAddress),
    Removed {
        peer: PeerAddress,
        bredr_only: bool,
    },
    Restored {
        added: Vec<PeerAddress>,
        replaced: Vec<PeerAddress>,
        lost: Vec<PeerAddress>,
    },
    Adopted(Vec<PeerAddress>),
    Learned(Vec<PeerAddress>),
    /// The evidence speaks against its keys.
    Suspect(PeerAddress),
    /// It speaks for them again.
    Recovered(PeerAddress),
    Orphaned(PeerAddress),
    AllOrphaned(Vec<PeerAddress>),
}

impl Subject {
    pub fn is_about(&self, peer: PeerAddress) -> bool {
        matches!(self, Self::Added(about) | Self::Updated(about) | Self::Orphaned(about) | Self::Suspect(about) | Self::Recovered(about) if *about == peer)
    }
}

/// An event that waits until the change it tells of is durable.
pub(super) struct Announcement {
    pub generation: u64,
    pub subject: Subject,
    pub cause: &'static str,
}

/// Announcements that wait for their commit at most, as when a disk is full for days. Past it the oldest is
/// given up and reported as lost: the list, which is published when there is space again, shows what became of the
/// bonds.
const ANNOUNCEMENTS_MAX: usize = 4_096;

impl AdapterMachine {
    /// Says it once it is durable.
    pub(super) fn announce(&mut self, announcement: Announcement) {
        if self.announcements.len() >= ANNOUNCEMENTS_MAX {
            self.announcements.remove(0);
            self.outputs.push_back(Output::EventDropped);
        }
        self.announcements.push(announcement);
    }

    /// The store has committed everything up to this generation.
    pub fn persisted(&mut self, generation: u64, at: UnixMillis, now: Now) {
        self.persist_fault = None;
        if generation > self.persisted_generation {
            self.persisted_generation = generation;
            self.last_persisted = Some(at);
            self.bonds_dirty = true;
        }
        self.command_persisted();
        self.settle(now);
    }

    /// The store could not commit; it goes on trying.
    pub fn persist_failed(&mut self, fault: StoreFault, now: Now) {
        self.command_is_overdue(fault.clone());
        self.persist_fault = Some(fault);
        self.bonds_dirty = true;
        self.settle(now);
    }

    /// Everything there is to say about the bonds.
    pub fn describe_bonds(&self) -> BondsDescription {
        let bonds = self.table.entries().map(|entry| self.describe(entry)).collect();
        BondsDescription { adapter: self.address, generation: self.table.generation(), bonds }
    }

    fn describe(&self, entry: &Entry) -> BondDescription {
        let track = self.track_of(entry);
        BondDescription {
            fingerprint: entry.fingerprint(&self.fingerprint_key),
            bond: Arc::clone(&entry.bond),
            loaded: self.attachment.as_ref().map_or(Some(false), |attachment| {
                attachment
                    .shadow
                    .holds_bond(&entry.bond, attachment.dual_mode)
                    .map(|holds| holds && !self.is_missing(entry.bond.peer))
            }),
            durable: entry.generation <= self.persisted_generation,
            health: track.map_or(Health::Unknown, |track| track.verdict),
            evidence: track.map_or_else(Vec::new, |track| track.evidence.clone()),
            last_seen_at: self.last_seen.get(&entry.bond.peer).copied(),
        }
    }

    /// State first, then the list, then the events that speak of what the list shows.
    pub(super) fn publish(&mut self, now: Now) {
        let state = self.state();
        if self.last_state.as_ref() != Some(&state) {
            self.outputs.push_back(Output::State(Box::new(state.clone())));
            self.last_state = Some(state);
        }
        // An adapter that was plugged in is of no use before its last load, and the list takes a look at each bond: unless
        // there is news of a bond, the end of the run says it all.
        let run = self.attachment.as_ref().and_then(|attachment| attachment.run.as_ref());
        let is_loading = run.is_some_and(|run| run.cause == LoadRun::PLUGGED_IN);
        if is_loading && self.announcements.is_empty() && self.persist_fault.is_none() {
            return;
        }
        // A list that is ahead of the store would have to be taken back after a power cut; it is
        // shown before its commit only when the store has failed, marked as not durable.
        let durable = self.table.generation() <= self.persisted_generation;
        if self.bonds_dirty && (durable || self.persist_fault.is_some()) {
            self.bonds_dirty = false;
            self.outputs.push_back(Output::Bonds(self.describe_bonds()));
        }
        self.release_announcements(now);
    }

    fn release_announcements(&mut self, now: Now) {
        let persisted = self.persisted_generation;
        let (due, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.announcements)
            .into_iter()
            .partition(|waiting| waiting.generation <= persisted);
        self.announcements = waiting;
        for announcement in due {
            if let Some(kind) = self.event_kind(announcement.subject) {
                self.push_event(kind, announcement.cause, now);
            }
        }
    }

    fn event_kind(&self, subject: Subject) -> Option<EventKind> {
        let describe = |peer: PeerAddress| self.table.entry(peer).map(|entry| self.describe(entry));
        Some(match subject {
            Subject::Added(peer) => EventKind::BondAdded(describe(peer)?),
            Subject::Updated(peer) => EventKind::BondUpdated(describe(peer)?),
            Subject::Removed { peer, bredr_only } => EventKind::BondRemoved { peer, bredr_only },
            Subject::Restored { added, replaced, lost } => {
                EventKind::BondsRestored { added, replaced, lost, adopted: Vec::new() }
            }
            Subject::Adopted(adopted) => EventKind::BondsRestored {
                added: Vec::new(),
                replaced: Vec::new(),
                lost: Vec::new(),
                adopted,
            },
            Subject::Learned(peers) => EventKind::BondsLearned { peers },
            Subject::Suspect(peer) => EventKind::BondSuspect(describe(peer)?),
            Subject::Recovered(peer) => EventKind::BondRecovered(describe(peer)?),
            Subject::Orphaned(peer) => EventKind::BondOrphaned(describe(peer)?),
            Subject::AllOrphaned(peers) => EventKind::BondsOrphaned { peers },
        })
    }

    pub(super) fn push_event(&mut self, kind: EventKind, cause: &'static str, now: Now) {
        self.audit(&kind, cause, now);
        let event = AdapterEvent { adapter: self.address, at: now.wall, kind, cause };
        self.outputs.push_back(Output::Event(Box::new(event)));
    }

    fn state(&self) -> AdapterStateChanged {
        let attachment = self.attachment.as_ref();
        let foreign = self.table.bonds().filter(|bond| bond.metadata.custody == Custody::Foreign).count();
        let verdict = self.verdict();
        AdapterStateChanged {
            adapter: self.address,
            name: self.record.name.clone(),
            index: attachment.map(|attachment| attachment.index),
            powered: attachment.map(|attachment| attachment.powered),
            mode: self.mode(),
            sync: self.sync(&verdict),
            verdict,
            neighbours: self.neighbours.clone(),
            bond_count: self.table.len(),
            ours: self.table.len() - foreign,
            foreign,
            orphaned: self.table.bonds().filter(|bond| bond.is_orphaned()).count(),
            suspect: self.bad_bond_count(),
            generation: self.table.generation(),
            persisted_generation: self.persisted_generation,
            last_persisted: self.last_persisted,
            last_loaded: self.record.last_load.as_ref().map(|load| load.at),
            last_error: self.last_error(),
            local_identity: self.identity_state(),
            drift: self.drift_state(),
            skipped: self.skipped.iter().map(|(reason, count)| (*reason, *count)).collect(),
        }
    }

    fn last_error(&self) -> Option<String> {
        if let Some(fault) = &self.persist_fault {
            return Some(fault.to_string());
        }
        self.attachment.as_ref().and_then(|attachment| attachment.last_error.clone())
    }

    fn sync(&self, verdict: &Verdict) -> Sync {
        let Some(attachment) = &self.attachment else { return Sync::Absent };
        if !verdict.may_load() {
            return Sync::Held;
        }
        if attachment.retry.at().is_some() {
            return Sync::Failed;
        }
        if attachment.run.is_some() || attachment.wanted.is_some() {
            return Sync::Loading;
        }
        if attachment.last_error.is_some() { Sync::Failed } else { Sync::InSync }
    }
}
