//! What other processes do with the adapter's lists, and how it is put in order with our own loads.
//!
//! Foreign loads are known from the monitor channel, answers to our own loads from the adapter's socket, and
//! the two may be read in either order. So the monitor channel shows our loads too, and of a foreign load that
//! it shows before one of ours that was answered already, it is known that ours came last.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{AdapterMachine, Attachment, Now};
use crate::adapter::messages::Activity;
use crate::adapter::records::{LoadItem, Records, taken_list};
use crate::adapter::theirs::KEY_SETTLES;
use crate::bond::{CapturedKey, PeerAddress};
use crate::mgmt::{ForeignLoad, LoadKind};

/// How long the monitor channel may be behind. A record of it that was lost must not make foreign loads
/// look older than ours for ever.
const UNSEEN_MAX: Duration = Duration::from_secs(2);

struct Sent {
    records: Records,
    /// When the kernel answered; none while it has not.
    answered: Option<Instant>,
}

/// Loads of ours that the monitor channel has not shown yet, by list, in the order in which they went out.
#[derive(Default)]
pub(super) struct Unseen {
    sent: BTreeMap<LoadKind, VecDeque<Sent>>,
}

impl Unseen {
    pub fn push(&mut self, kind: LoadKind, records: Records) {
        self.sent.entry(kind).or_default().push_back(Sent { records, answered: None });
    }

    /// The kernel has answered the last one; false when the monitor channel has shown it already.
    pub fn answered(&mut self, kind: LoadKind, now: Instant) -> bool {
        let last = self.sent.get_mut(&kind).and_then(VecDeque::back_mut);
        let Some(last) = last.filter(|last| last.answered.is_none()) else { return false };
        last.answered = Some(now);
        true
    }

    /// What the load that the monitor channel shows now held, unless its answer was read already.
    fn shown(&mut self, kind: LoadKind) -> Option<Records> {
        let sent = self.sent.get_mut(&kind)?.pop_front()?;
        sent.answered.is_none().then_some(sent.records)
    }

    /// Whether a load of ours came after everything that the monitor channel has shown so far.
    fn came_last(&self, kind: LoadKind, now: Instant) -> bool {
        let recent = |at: Instant| now < at + UNSEEN_MAX;
        let mut sent = self.sent.get(&kind).into_iter().flatten();
        sent.any(|sent| sent.answered.is_some_and(recent))
    }

    /// What became of the loads of this list is not known.
    pub fn forget(&mut self, kind: LoadKind) {
        self.sent.remove(&kind);
    }
}

impl Attachment {
    /// The managers that may have put something into this list that was not seen: those that were
    /// seen loading others, but not this one, do not use it.
    pub(super) fn keepers_of(&self, kind: LoadKind) -> Vec<String> {
        let may_have =
            |name: &&String| !self.theirs.has_loaded_any(name) || self.theirs.has_loaded(name, kind);
        self.managers.iter().filter(may_have).cloned().collect()
    }
}

impl AdapterMachine {
    /// Takes what the monitor channel shows, in its order.
    pub fn observed(&mut self, activity: Activity, now: Now) {
        self.observe(activity, now);
        self.settle(now);
    }

    pub(super) fn observe(&mut self, activity: Activity, now: Now) {
        let before = self.table.generation();
        match activity {
            Activity::Loaded { process, load } => self.foreign_load(&process, &load, now),
            Activity::OwnLoadEnded { kind, taken } => self.own_load_shown(kind, taken),
            Activity::Unpaired { address } => {
                if let Ok(peer) = address.peer() {
                    self.unpairing_shown(peer, address.is_bredr());
                }
            }
            Activity::PrivacySet { process, setting } => self.identity_shown(&process, setting, now),
            Activity::Evidence { peer, evidence } => self.evidence(peer, evidence, now),
            // The adapter itself is attached and detached.
            Activity::Reset => {}
        }
        if self.table.generation() != before {
            self.save_bonds();
        }
    }

    fn foreign_load(&mut self, process: &str, load: &ForeignLoad, now: Now) {
        let kind = load.kind;
        let taken = taken_list(&load.records);
        let Some(attachment) = &mut self.attachment else { return };
        attachment.pace.foreign(kind, process, now.instant);
        attachment.drift.disturb();
        attachment.theirs.loaded(process, kind, &taken.records, now.instant);
        attachment.managers.insert(process.to_owned());
        attachment.replaced_at.insert(kind, now.instant);
        attachment.unchecked.insert(kind);
        let peers = taken.records.keys().map(|(peer, _)| *peer).collect();
        if !attachment.unseen.came_last(kind, now.instant) {
            if taken.beyond_us == 0 {
                attachment.shadow.replace(kind, taken.records);
            } else {
                attachment.shadow.replace_in_part(kind, taken.records);
            }
        }
        for _ in 0..taken.beyond_us {
            self.count_skipped("foreign_record");
        }
        self.bonds_dirty = true;
        self.learn(process, peers, now);
    }

    /// The monitor channel shows the end of a load of ours.
    fn own_load_shown(&mut self, kind: LoadKind, taken: bool) {
        let Some(attachment) = &mut self.attachment else { return };
        let Some(records) = attachment.unseen.shown(kind) else { return };
        if taken {
            attachment.shadow.replace(kind, records);
            attachment.unchecked.insert(kind);
            self.bonds_dirty = true;
        }
    }

    /// The adapter's own socket tells of it as well, and only that decides what becomes of the stored bond:
    /// by now the peer may have paired again.
    fn unpairing_shown(&mut self, peer: PeerAddress, bredr: bool) {
        if let Some(attachment) = &mut self.attachment {
            attachment.theirs.drop_listed(peer, bredr);
            attachment.drift.disturb();
            attachment.unpaired.insert(peer);
            attachment.unchecked.extend(LoadKind::ALL);
        }
        self.unlearn(peer);
    }

    /// The kernel has made a key, to be stored or not: none of our loads may take it away.
    pub(super) fn kernel_made(&mut self, peer: PeerAddress, key: &CapturedKey, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let Some(item) = LoadItem::of_key(key) else { return };
        let (kind, slot) = item.slot();
        let place = (peer, slot);
        attachment.unpaired.remove(&peer);
        attachment.theirs.made(kind, place, item.clone(), now.instant);
        attachment.drift.disturb();
        let replaced = attachment.replaced_at.get(&kind);
        let just_replaced = replaced.is_some_and(|at| now.instant < *at + KEY_SETTLES);
        if !(attachment.run.is_some() || just_replaced) {
            return attachment.shadow.add(kind, place, item);
        }
        // A list that was composed without this key may have wiped it.
        attachment.shadow.doubt(kind, place);
        if attachment.run.is_some() {
            attachment.unchecked.insert(kind);
        } else {
            attachment.unchecked_after_pairing.insert(kind);
        }
    }
}
