//! Reconciling: bringing the kernel's tables to the stored ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{AdapterMachine, Attachment, Now, Output};
use crate::adapter::load::{ListOutcome, Lists, LoadRun, RunEnd, kind_words};
use crate::adapter::messages::{EventKind, KernelSide, KernelSideState};
use crate::adapter::records::{LoadItem, Records};
use crate::bond::{Custody, LoadRecord, PeerAddress, Source};
use crate::mgmt::LoadKind;

/// Stands for the manager of a foreign bond that was stored without one.
const EARLIER: &str = "(earlier)";

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
    /// would wipe whatever was paired in between. What the kernel holds is what was loaded then, what it
    /// made itself since, and what other managers have loaded; only a restore that a crash cut short is
    /// missing. None of its lists is complete: others may have loaded while nobody watched.
    pub(super) fn inherit(&self, attachment: &mut Attachment) {
        let loaded_generation = self.record.last_load.as_ref().map_or(0, |load| load.generation);
        let mut theirs: BTreeMap<(&str, LoadKind), Records> = BTreeMap::new();
        let mut missing_count = 0;
        for entry in self.table.entries() {
            let bond = &entry.bond;
            let made_by_kernel = bond.metadata.source == Source::Captured;
            let foreign = bond.metadata.custody == Custody::Foreign;
            if bond.is_orphaned() {
                continue;
            }
            if !(foreign || made_by_kernel || entry.generation <= loaded_generation) {
                missing_count += 1;
                continue;
            }
            let details = bond.metadata.details.as_ref();
            let manager = details.and_then(|details| details.manager.as_deref()).unwrap_or(EARLIER);
            for (kind, place, item) in LoadItem::of_bond(bond, attachment.dual_mode) {
                if foreign {
                    theirs.entry((manager, kind)).or_default().insert(place, item.clone());
                }
                attachment.shadow.add(kind, place, item);
            }
        }
        for ((manager, kind), records) in theirs {
            attachment.theirs.inherited(manager, kind, &records);
        }
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

    /// When a load that waits may start.
    pub(super) fn next_load(&self, attachment: &Attachment) -> Option<Instant> {
        if attachment.run.is_some() {
            return None;
        }
        let wanted = attachment.wanted.is_some() && self.verdict().may_load();
        let retry = attachment.retry.at().filter(|_| wanted);
        let answers = attachment.unchecked.iter().filter_map(|kind| attachment.pace.next(*kind));
        answers.chain(retry).min()
    }

    /// Any list may lack something.
    pub(super) fn check_all_lists(&mut self) {
        if let Some(attachment) = &mut self.attachment {
            attachment.unchecked.extend(LoadKind::ALL);
        }
    }

    /// Starts the load that is wanted, unless the gate, a run, a pairing or a retry wait stands against it.
    pub(super) fn start_wanted_load(&mut self, now: Now) {
        let pairing = self.pairings.is_under_way();
        let Some(attachment) = &mut self.attachment else { return };
        if !pairing {
            let later = std::mem::take(&mut attachment.unchecked_after_pairing);
            attachment.unchecked.extend(later);
        }
        if attachment.run.is_some() || attachment.retry.at().is_some_and(|at| at > now.instant) {
            return;
        }
        // Keys that are missing after a plug-in cannot wait for a pairing to end; a repetition can.
        let wanted = attachment.wanted.filter(|wanted| !pairing || wanted.cause == LoadRun::PLUGGED_IN);
        match wanted.filter(|_| self.verdict().may_load()) {
            Some(wanted) => self.start_load(wanted, now),
            None => self.answer(now),
        }
    }

    /// Loads every list that the gate leaves free.
    fn start_load(&mut self, wanted: Wanted, now: Now) {
        let Some(attachment) = &self.attachment else { return };
        let lists = self.compose(attachment).priming();
        let lists = if wanted.may_empty { lists.emptying(attachment.dual_mode) } else { lists };
        let lists = lists.only(|kind| self.verdict_of(kind).may_load());
        let run = LoadRun::new(lists, self.table.generation(), wanted.cause);
        if let Some(attachment) = &mut self.attachment {
            attachment.wanted = None;
            attachment.refused.clear();
            attachment.run = Some(run);
        }
        self.send_current_list(now);
    }

    /// Loads the lists in which something is missing since somebody replaced them, each as soon as its
    /// pace allows. Of a list that is not known as a whole nothing is said to be missing.
    fn answer(&mut self, now: Now) {
        let Some(attachment) = &self.attachment else { return };
        if attachment.unchecked.is_empty() {
            return;
        }
        let due = |kind: &LoadKind| attachment.pace.next(*kind).is_none_or(|at| at <= now.instant);
        let due: Vec<LoadKind> = attachment.unchecked.iter().copied().filter(due).collect();
        let answerable: Vec<LoadKind> = due
            .iter()
            .copied()
            .filter(|kind| attachment.shadow.is_complete(*kind) && self.verdict_of(*kind).may_load())
            .collect();
        let lists = if answerable.is_empty() { Lists::default() } else { self.compose(attachment) };
        let is_missing = |kind: LoadKind| {
            lists.records(kind).iter().any(|((peer, slot), item)| {
                let held = attachment.shadow.holds(kind, (*peer, *slot), item);
                held != Some(true) && !attachment.refused.contains(peer)
            })
        };
        let is_back = |kind: LoadKind| {
            let unwanted = attachment.unpaired.iter();
            unwanted.copied().any(|peer| {
                attachment.shadow.has_peer(kind, peer)
                    && !lists.records(kind).keys().any(|(of, _)| *of == peer)
            })
        };
        let wrong: Vec<LoadKind> =
            answerable.into_iter().filter(|kind| is_missing(*kind) || is_back(*kind)).collect();
        let lists = lists.exactly(&wrong);
        let run = (!lists.is_empty()).then(|| LoadRun::new(lists, self.table.generation(), LoadRun::ANSWER));
        if let Some(attachment) = &mut self.attachment {
            for kind in due {
                attachment.unchecked.remove(&kind);
            }
            attachment.run = run;
        }
        self.send_current_list(now);
    }

    /// What the kernel should hold: our bonds, and whatever others want in it.
    fn compose(&self, attachment: &Attachment) -> Lists {
        let theirs = LoadKind::ALL.map(|kind| (kind, attachment.theirs.union(kind))).into();
        let named = attachment.theirs.named();
        let bonds = self
            .table
            .bonds()
            .filter(|bond| bond.metadata.custody == Custody::Ours || named.contains(&bond.peer));
        Lists::compose(&theirs, bonds, attachment.dual_mode)
    }

    fn send_current_list(&mut self, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let Some(run) = &attachment.run else { return };
        let (Some(list), Some((kind, records))) = (run.current(), run.current_records()) else {
            return;
        };
        if run.is_answer() {
            attachment.pace.started(kind, now.instant);
        }
        if self.neighbours.is_some() {
            attachment.unseen.push(kind, records);
        }
        self.outputs.push_back(Output::SendList(list));
    }

    /// The list that is on its way, record by record.
    #[cfg(test)]
    pub(super) fn current_records(&self) -> Option<(LoadKind, Records)> {
        let run = self.attachment.as_ref().and_then(|attachment| attachment.run.as_ref());
        run.and_then(LoadRun::current_records)
    }

    /// The list that is on its way, and whose records it holds.
    #[cfg(test)]
    pub(super) fn current_list(&self) -> Option<(LoadKind, Vec<PeerAddress>)> {
        let run = self.attachment.as_ref().and_then(|attachment| attachment.run.as_ref());
        run.and_then(LoadRun::current_peers)
    }

    /// The kernel's answer to the list that was sent last.
    pub fn list_outcome(&mut self, outcome: ListOutcome, now: Now) {
        let can_see = self.neighbours.is_some();
        let Some(attachment) = &mut self.attachment else { return };
        attachment.drift.disturb();
        let Some(run) = &mut attachment.run else { return };
        if let Some((kind, records)) = run.current_records() {
            match &outcome {
                ListOutcome::Taken => {
                    attachment.pace.ended(kind, now.instant);
                    attachment.replaced_at.insert(kind, now.instant);
                    // Shown already: then whatever was shown after it came after it.
                    if !can_see || attachment.unseen.answered(kind, now.instant) {
                        attachment.shadow.replace(kind, records);
                    }
                    attachment.unchecked.insert(kind);
                    self.bonds_dirty = true;
                }
                ListOutcome::Refused => {}
                ListOutcome::Failed(_) => attachment.unseen.forget(kind),
                ListOutcome::Silent => {
                    attachment.unseen.forget(kind);
                    attachment.shadow.forget(kind);
                }
            }
        }
        match run.outcome(outcome) {
            None => self.send_current_list(now),
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
            RunEnd::Failed(what) => self.load_failed(&run, what, now),
            RunEnd::Silent(kind) => {
                let what = format!("the kernel did not answer the load of {} in time", kind_words(kind));
                self.load_failed(&run, what, now);
            }
        }
    }

    fn load_failed(&mut self, run: &LoadRun, what: String, now: Now) {
        let reason = Some(what.clone());
        let side = KernelSide { state: KernelSideState::Refused, reason, lists: run.lists() };
        if let Some(attachment) = &mut self.attachment {
            attachment.last_error = Some(what);
            attachment.wanted.get_or_insert(Wanted::cause(run.cause));
            attachment.retry.failed(now.instant);
        }
        self.command_load_ended(side);
    }

    fn loaded(&mut self, run: LoadRun, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        attachment.retry.succeeded();
        attachment.refused.extend(run.refused.iter().copied());
        attachment.last_error = missing_words(&run);
        let reason = attachment.last_error.clone();
        if !run.is_answer() {
            attachment.drift.want();
        }
        if let Some(appearance) = attachment.appearance.clone() {
            let load = LoadRecord { appearance, generation: run.generation, at: now.wall };
            self.record_load(load, run.is_answer());
        }
        // Answers follow loads of others, which may come with every connection: nothing to tell people.
        if run.is_answer() {
            return;
        }
        let kind = EventKind::AdapterLoaded {
            ltk_count: run.taken(LoadKind::Ltks),
            irk_count: run.taken(LoadKind::Irks),
            link_key_count: run.taken(LoadKind::LinkKeys),
        };
        self.push_event(kind, run.cause, now);
        self.command_load_ended(KernelSide { state: KernelSideState::Loaded, reason, lists: run.lists() });
    }

    /// Remembers the load; an answer costs a write only where it loaded something new.
    fn record_load(&mut self, load: LoadRecord, is_answer: bool) {
        let known = self.record.last_load.as_ref();
        let says_nothing_new = known
            .is_some_and(|known| known.appearance == load.appearance && known.generation == load.generation);
        if !(is_answer && says_nothing_new) {
            self.record.last_load = Some(load);
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
        }
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
