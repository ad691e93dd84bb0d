//! Reconciling: bringing the kernel's tables to the stored ones.

use std::time::{Duration, Instant};

use super::{AdapterMachine, Attachment, Now, Output};
use crate::adapter::load::{ListOutcome, Lists, LoadRun, RunEnd, kind_words};
use crate::adapter::messages::{EventKind, KernelSide, KernelSideState};
use crate::bond::{Bond, Custody, LoadRecord, PeerAddress, Source};
use crate::mgmt::LoadKind;

/// A failed load is tried again after these waits; the last one repeats. A kernel that refuses now will
/// mostly refuse in a second too, and nobody is helped by hammering it.
const RETRY_WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];

/// A load that should happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub cause: &'static str,
    /// Send the list of LTKs even when it is empty, because something must go from the kernel's.
    pub may_empty: bool,
}

impl Wanted {
    pub const fn cause(cause: &'static str) -> Self {
        Self { cause, may_empty: false }
    }

    pub const fn removal(cause: &'static str) -> Self {
        Self { cause, may_empty: true }
    }
}

/// When a failed load is tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    at: Option<Instant>,
    failure_count: usize,
}

impl Retry {
    pub const fn at(&self) -> Option<Instant> {
        self.at
    }

    fn failed(&mut self, now: Instant) {
        let wait = RETRY_WAITS[self.failure_count.min(RETRY_WAITS.len() - 1)];
        self.failure_count += 1;
        self.at = Some(now + wait);
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }
}

impl AdapterMachine {
    /// The kernel's tables are those that we loaded in an earlier run of the service.
    pub(super) fn is_inherited(&self, attachment: &Attachment) -> bool {
        let loaded_in = self.record.last_load.as_ref().map(|load| &load.appearance);
        loaded_in.is_some() && loaded_in == attachment.appearance.as_ref()
    }

    /// Takes over a table that was loaded before a restart of the service: nothing is sent, as a load
    /// would wipe whatever was paired in between. What the kernel holds is what was loaded then and
    /// what it made itself since; only a restore that a crash cut short is missing.
    pub(super) fn inherit(&self, attachment: &mut Attachment) {
        let loaded_generation = self.record.last_load.as_ref().map_or(0, |load| load.generation);
        let made_by_kernel = |bond: &Bond| bond.metadata.source == Source::Captured;
        let held = self
            .table
            .entries()
            .filter(|entry| entry.generation <= loaded_generation || made_by_kernel(&entry.bond));
        attachment.shadow.set(held.map(|entry| entry.bond.peer));
        let missing = self.table.bonds().filter(|bond| {
            bond.metadata.custody == Custody::Ours && attachment.shadow.holds(bond.peer) != Some(true)
        });
        let missing_count = missing.count();
        if missing_count > 0 {
            attachment.last_error = Some(format!(
                "{missing_count} restored bond(s) were not loaded before the service stopped: use bonds/reload, which drops what was paired while it was stopped"
            ));
        }
    }

    pub(super) fn want_load(&mut self, wanted: Wanted) {
        if let Some(attachment) = &mut self.attachment {
            let may_empty = wanted.may_empty || attachment.wanted.is_some_and(|already| already.may_empty);
            attachment.wanted = Some(Wanted { may_empty, ..wanted });
            attachment.retry.succeeded();
        }
    }

    /// Starts the load that is wanted, unless the gate, a run, a pairing or a retry wait stands against it.
    pub(super) fn start_wanted_load(&mut self, now: Now) {
        let may_load = self.verdict().may_load();
        let pairing = self.pairings.is_under_way();
        let Some(attachment) = &mut self.attachment else { return };
        let Some(wanted) = attachment.wanted else { return };
        if attachment.run.is_some() || !may_load {
            return;
        }
        // Keys that are missing cannot wait for a pairing to end; a repetition can.
        if pairing && wanted.cause != "plugged_in" && wanted.cause != "key_during_load" {
            return;
        }
        if attachment.retry.at().is_some_and(|at| at > now.instant) {
            return;
        }
        attachment.wanted = None;
        let made_here = &attachment.made_here;
        let wanted_bond =
            |bond: &Bond| bond.metadata.custody == Custody::Ours || made_here.contains(&bond.peer);
        let lists = Lists::compose(&self.table, wanted_bond, attachment.dual_mode, wanted.may_empty);
        attachment.run = Some(LoadRun::new(lists, self.table.generation(), wanted.cause));
        self.send_current_list();
    }

    fn send_current_list(&mut self) {
        let run = self.attachment.as_ref().and_then(|attachment| attachment.run.as_ref());
        if let Some(list) = run.and_then(LoadRun::current) {
            self.outputs.push_back(Output::SendList(list));
        }
    }

    #[cfg(test)]
    pub(super) fn current_list_peers(&self) -> Vec<PeerAddress> {
        let run = self.attachment.as_ref().and_then(|attachment| attachment.run.as_ref());
        run.and_then(LoadRun::current_peers).map_or_else(Vec::new, |(_, peers)| peers)
    }

    /// The kernel's answer to the list that was sent last.
    pub fn list_outcome(&mut self, outcome: ListOutcome, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let Some(run) = &mut attachment.run else { return };
        match run.outcome(outcome) {
            None => self.send_current_list(),
            Some(end) => self.run_ended(end, now),
        }
        self.settle(now);
    }

    fn run_ended(&mut self, end: RunEnd, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let Some(run) = attachment.run.take() else { return };
        self.bonds_dirty = true;
        match end {
            RunEnd::Done => self.loaded(run, now),
            RunEnd::Failed(what) => self.load_failed(run.cause, what, now),
            RunEnd::Silent(kind) => {
                attachment.shadow.forget();
                let what = format!("the kernel did not answer the load of {} in time", kind_words(kind));
                self.load_failed(run.cause, what, now);
            }
        }
    }

    fn load_failed(&mut self, cause: &'static str, what: String, now: Now) {
        let side = KernelSide { state: KernelSideState::Refused, reason: Some(what.clone()) };
        if let Some(attachment) = &mut self.attachment {
            attachment.last_error = Some(what);
            attachment.wanted.get_or_insert(Wanted::cause(cause));
            attachment.retry.failed(now.instant);
        }
        self.command_load_ended(side);
    }

    fn loaded(&mut self, run: LoadRun, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        attachment.retry.succeeded();
        let made_here = &attachment.made_here;
        let held = self.table.bonds().filter(|bond| {
            (bond.metadata.custody == Custody::Ours || made_here.contains(&bond.peer))
                && !run.is_missing(bond.peer)
        });
        attachment.shadow.set(held.map(|bond| bond.peer).collect::<Vec<_>>());
        attachment.last_error = missing_words(&run);
        if let Some(appearance) = &attachment.appearance {
            let load =
                LoadRecord { appearance: appearance.clone(), generation: run.generation, at: now.wall };
            self.record.last_load = Some(load);
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
        }
        let reason = self.attachment.as_ref().and_then(|attachment| attachment.last_error.clone());
        let kind = EventKind::AdapterLoaded {
            ltk_count: run.taken(LoadKind::Ltks),
            irk_count: run.taken(LoadKind::Irks),
            link_key_count: run.taken(LoadKind::LinkKeys),
        };
        self.push_event(kind, run.cause, now);
        self.command_load_ended(KernelSide { state: KernelSideState::Loaded, reason });
    }
}

/// One sentence on the bonds that are not, or not wholly, in the kernel.
fn missing_words(run: &LoadRun) -> Option<String> {
    let mut parts = Vec::new();
    if !run.refused.is_empty() {
        parts.push(format!("the kernel refused {}", peers(run.refused.iter())));
    }
    if let Some((_, why)) = run.left_out.first() {
        parts.push(format!("left out {} ({why})", peers(run.left_out.iter().map(|(peer, _)| peer))));
    }
    (!parts.is_empty()).then(|| format!("loaded, but {}", parts.join("; ")))
}

/// A few addresses and how many more there are.
fn peers<'a>(peers: impl ExactSizeIterator<Item = &'a PeerAddress>) -> String {
    const SHOWN: usize = 5;
    let more = peers.len().saturating_sub(SHOWN);
    let shown: Vec<String> = peers.take(SHOWN).map(ToString::to_string).collect();
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
