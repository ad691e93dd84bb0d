//! The drift check: what the kernel holds, where it shows that, against what we think it holds.
//!
//! After each load, and from time to time. A reading catches things that are under way: a load whose record on the
//! monitor channel waits to be read, a key from the middle of a pairing. So only what a second reading shows as
//! well, made after everything that was under way has settled, is a drift. Nothing is ever removed because of it:
//! what was not known is taken along from then on, and only what is missing is loaded.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::learn::KERNEL;
use super::{AdapterMachine, Now, Output};
use crate::adapter::drift::{Drift, KernelTables};
use crate::adapter::gate::Verdict;
use crate::adapter::messages::{DriftState, DriftUnknown, EventKind};
use crate::adapter::records::{LoadItem, Place};
use crate::adapter::tables::Unreadable;
use crate::bond::PeerAddress;
use crate::mgmt::LoadKind;

/// Between the two readings: longer than the monitor channel is ever behind, and than the kernel takes from having
/// a key to telling of it.
const SECOND_READING: Duration = Duration::from_secs(3);

/// Different drifts that are answered by a load without an agreement between them. A kernel in which ever new
/// things go wrong is not helped by loading.
const RECONCILED_MAX: usize = 4;

/// The check of one appearance.
pub(super) struct DriftCheck {
    said: DriftState,
    /// A reading is wanted as soon as nothing is under way.
    wanted: bool,
    /// The shell is reading.
    reading: bool,
    /// What we think has changed since the shell began to read.
    disturbed: bool,
    /// What the first reading showed, and when to read again.
    suspected: Option<(Drift, Instant)>,
    /// What was loaded again already, since the last agreement.
    reconciled: Vec<Drift>,
}

impl Default for DriftCheck {
    fn default() -> Self {
        Self {
            said: DriftState::Unknown(DriftUnknown::NotChecked),
            wanted: false,
            reading: false,
            disturbed: false,
            suspected: None,
            reconciled: Vec::new(),
        }
    }
}

impl DriftCheck {
    /// A load has ended.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// What we think the kernel holds has changed.
    pub fn disturb(&mut self) {
        self.disturbed = true;
    }

    /// When the second reading is due.
    pub fn next(&self) -> Option<Instant> {
        self.suspected.as_ref().map(|(_, at)| *at).filter(|_| !self.reading)
    }
}

impl AdapterMachine {
    /// It is time for a check.
    pub fn check_drift(&mut self, now: Now) {
        if let Some(attachment) = &mut self.attachment {
            attachment.drift.want();
        }
        self.settle(now);
    }

    /// Reads the tables if that is wanted and nothing is under way.
    pub(super) fn read_tables(&mut self, now: Now) {
        let pairing = self.pairings.is_under_way();
        let Some(attachment) = &mut self.attachment else { return };
        let busy = pairing || attachment.run.is_some() || !attachment.unchecked.is_empty();
        let check = &mut attachment.drift;
        let due = match &check.suspected {
            Some((_, at)) => *at <= now.instant,
            None => check.wanted,
        };
        if due && !busy && !check.reading {
            check.wanted = false;
            check.reading = true;
            check.disturbed = false;
            self.outputs.push_back(Output::ReadTables);
        }
    }

    /// What the shell has read.
    pub fn tables_read(&mut self, read: Result<KernelTables, Unreadable>, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let check = &mut attachment.drift;
        check.reading = false;
        match read {
            // It may be of before the change.
            Ok(_) if check.disturbed => check.wanted = true,
            Ok(tables) => self.compare(&tables, now),
            Err(why) => {
                check.suspected = None;
                self.say_drift(DriftState::Unknown(DriftUnknown::Unreadable(why)));
            }
        }
        self.settle(now);
    }

    fn compare(&mut self, tables: &KernelTables, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let shown = Drift::between(&attachment.shadow, tables);
        let first = attachment.drift.suspected.take();
        let Some((first, _)) = first.filter(|_| !shown.is_empty()) else {
            if shown.is_empty() {
                attachment.drift.reconciled.clear();
                self.say_drift(DriftState::InAgreement);
            } else {
                attachment.drift.suspected = Some((shown, now.instant + SECOND_READING));
            }
            return;
        };
        let drift = first.also_in(&shown);
        if drift.is_empty() {
            // Everything is on the move: the next check will tell.
            return;
        }
        let known = self.take_found(&drift, tables, now);
        let reloaded = known && self.reconcile(&drift, tables);
        if self.say_drift(DriftState::Drifted(drift.clone())) {
            self.push_event(EventKind::DriftFound { drift, reloaded }, "check", now);
        }
    }

    /// True when that is news.
    fn say_drift(&mut self, state: DriftState) -> bool {
        let Some(attachment) = &mut self.attachment else { return false };
        let is_news = attachment.drift.said != state;
        if is_news {
            attachment.drift.said = state;
            // Which bonds are called loaded depends on it.
            self.bonds_dirty = true;
        }
        is_news
    }

    /// What nobody was seen to put into the kernel goes along with every load from now on, and is a bond like those
    /// that managers load. True when nothing else in the drifted lists would be lost by a load of ours.
    fn take_found(&mut self, drift: &Drift, tables: &KernelTables, now: Now) -> bool {
        let (mut peers, mut all) = (BTreeSet::new(), true);
        for kind in drift.lists.keys() {
            for (place, item) in tables.list(*kind).into_iter().flatten() {
                if self.is_known(*kind, *place, item) {
                    continue;
                }
                let Some(attachment) = &mut self.attachment else { return false };
                // Whoever is connected may be pairing, and the kernel will tell of that itself.
                if attachment.connected.contains(&place.0) || attachment.unpaired.contains(&place.0) {
                    all = false;
                    continue;
                }
                attachment.theirs.found(KERNEL, *kind, *place, item.clone());
                attachment.shadow.add(*kind, *place, item.clone());
                attachment.drift.want();
                peers.insert(place.0);
            }
        }
        if !peers.is_empty() {
            let before = self.table.generation();
            self.learn(KERNEL, peers, now);
            if self.table.generation() != before {
                self.save_bonds();
            }
        }
        all
    }

    /// Stored, or on the list of somebody.
    fn is_known(&self, kind: LoadKind, place: Place, item: &LoadItem) -> bool {
        let Some(attachment) = &self.attachment else { return false };
        let stored = self.table.get(place.0);
        let stored = stored.map_or_else(Vec::new, |bond| LoadItem::of_bond(bond, attachment.dual_mode));
        let is_this =
            |(of, at, stored): &(LoadKind, Place, LoadItem)| (*of, *at) == (kind, place) && stored.same(item);
        stored.iter().any(is_this) || attachment.theirs.lists(kind, place, item)
    }

    /// Where nobody else is, the kernel's lists are taken for what they are, and what is missing in them is loaded.
    /// Once: a kernel that does not take it then never will.
    fn reconcile(&mut self, drift: &Drift, tables: &KernelTables) -> bool {
        let may = self.verdict() == Verdict::Own;
        let Some(attachment) = &mut self.attachment else { return false };
        let check = &mut attachment.drift;
        if !may || check.reconciled.contains(drift) || check.reconciled.len() >= RECONCILED_MAX {
            return false;
        }
        check.reconciled.push(drift.clone());
        check.want();
        for kind in drift.lists.keys() {
            if let Some(shown) = tables.list(*kind) {
                attachment.shadow.replace(*kind, shown.clone());
                attachment.unchecked.insert(*kind);
            }
        }
        true
    }

    /// The kernel was seen not to hold a key of this peer that should be there.
    pub(super) fn is_missing(&self, peer: PeerAddress) -> bool {
        let said = self.attachment.as_ref().map(|attachment| &attachment.drift.said);
        let Some(DriftState::Drifted(drift)) = said else { return false };
        drift.lists.values().any(|list| list.lacks(peer))
    }

    pub(super) fn drift_state(&self) -> DriftState {
        match &self.attachment {
            Some(attachment) => attachment.drift.said.clone(),
            None => DriftState::Unknown(DriftUnknown::Absent),
        }
    }
}
