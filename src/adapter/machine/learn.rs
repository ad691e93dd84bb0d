//! Learning: the bonds that other managers load are stored, and those that they no longer load are
//! reported.
//!
//! A manager's key that differs from the stored one is taken for the newer, because it may come from a
//! pairing that nobody watched, with two exceptions: the stored key was made or chosen while this service
//! watched, or the manager's key is one that was found older before. Nothing is replaced without a copy set
//! aside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::{Announcement, Subject};
use super::{AdapterMachine, Now, Output};
use crate::adapter::records::LoadItem;
use crate::bond::{Bond, BondMetadata, Change, Custody, Fingerprint, PeerAddress, Source};
use crate::mgmt::LoadKind;

/// A manager sends its lists one after the other, microseconds apart; this only has to outlast scheduling.
const QUIET: Duration = Duration::from_millis(300);

/// What was learned is announced after this long even if loads go on.
const CEILING: Duration = Duration::from_secs(2);

/// Bonds that are announced one by one; more at once are one event. Brokers drop what overruns their
/// queue, and people do not read it.
const EACH_MAX: usize = 20;

/// Stands for the process of keys that were found in the kernel, put there by nobody knows whom.
pub(super) const KERNEL: &str = "(kernel)";

/// What was learned and is not announced yet.
#[derive(Default)]
pub(super) struct Learned {
    added: BTreeSet<PeerAddress>,
    updated: BTreeSet<PeerAddress>,
    /// Who has loaded: its other bonds may be orphaned.
    loaders: BTreeSet<String>,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
}

impl Learned {
    pub fn deadline(&self) -> Option<Instant> {
        Some((self.last_at? + QUIET).min(self.first_at? + CEILING))
    }

    pub fn cancel(&mut self, peer: PeerAddress) {
        self.added.remove(&peer);
        self.updated.remove(&peer);
    }
}

/// What becomes of a bond for which a manager loads keys.
enum Lesson {
    Keep,
    /// The stored ones are younger than these.
    Outdated(Fingerprint),
    /// `lossy`: a stored key is replaced.
    Take {
        bond: Box<Bond>,
        lossy: bool,
    },
}

impl AdapterMachine {
    /// Learns from what `process` has just loaded for `peers`.
    pub(super) fn learn(&mut self, process: &str, peers: BTreeSet<PeerAddress>, now: Now) {
        if !self.options.learn {
            return;
        }
        self.learned.first_at.get_or_insert(now.instant);
        self.learned.last_at = Some(now.instant);
        self.learned.loaders.insert(process.to_owned());
        let mut copy_taken = false;
        for peer in peers {
            let Some(attachment) = &self.attachment else { return };
            let items = attachment.theirs.of_manager(process, peer);
            match self.lesson(process, peer, items, now) {
                Lesson::Keep => {}
                Lesson::Outdated(fingerprint) => {
                    self.table.touch(peer, |metadata| {
                        metadata.note(|details| details.outdated = Some(fingerprint));
                    });
                }
                Lesson::Take { bond, lossy } => {
                    if lossy && !copy_taken {
                        copy_taken = true;
                        let table = Arc::new(self.table.clone());
                        let reason = "before_learned";
                        self.outputs.push_back(Output::SaveCheckpoint { table, reason, awaited: false });
                    }
                    self.take_lesson(*bond);
                }
            }
        }
    }

    fn take_lesson(&mut self, bond: Bond) {
        let peer = bond.peer;
        match self.table.insert(bond) {
            Ok(Change::Added) => {
                self.learned.added.insert(peer);
                self.bonds_dirty = true;
            }
            Ok(Change::Updated) => {
                if !self.learned.added.contains(&peer) {
                    self.learned.updated.insert(peer);
                }
                self.bonds_dirty = true;
            }
            Ok(Change::Unchanged) => {}
            Err(_) => self.count_skipped("table_full"),
        }
    }

    fn lesson(&self, process: &str, peer: PeerAddress, items: Vec<LoadItem>, now: Now) -> Lesson {
        let mut metadata = BondMetadata::new(Custody::Foreign, Source::Learned, now.wall);
        metadata.name = self.names.get(&peer).cloned();
        let manager = Some(process).filter(|process| *process != KERNEL).map(str::to_owned);
        metadata.note(|details| details.manager.clone_from(&manager));
        let mut theirs = Bond::new(peer, metadata);
        for item in items {
            match item {
                LoadItem::Ltk(ltk) => drop(theirs.put_ltk(ltk)),
                LoadItem::Irk(irk) => theirs.irk = Some(irk),
                LoadItem::LinkKey(key) => theirs.link_key = Some(key),
                LoadItem::ConnectionParameters(parameters) => {
                    theirs.connection_parameters = Some(parameters);
                }
            }
        }
        let Some(present) = self.table.get(peer) else {
            // An IRK or parameters alone are no bond.
            let lesson = Lesson::Take { bond: Box::new(theirs.clone()), lossy: false };
            return if theirs.can_encrypt() { lesson } else { Lesson::Keep };
        };
        let outcome = overlay(present, &theirs);
        let mut bond = outcome.bond;
        if outcome.conflict {
            let fingerprint = self.fingerprint_key.fingerprint(&comparable(&theirs, &theirs));
            let noted = present.metadata.details.as_ref().and_then(|details| details.outdated);
            if noted == Some(fingerprint) {
                return Lesson::Keep;
            }
            // A load of older keys would have been seen: what is found in the kernel is newer.
            if self.keys_watched.contains(&peer) && manager.is_some() {
                return Lesson::Outdated(fingerprint);
            }
            // Should another manager still load what is replaced here, it is known to be older.
            let replaced = self.fingerprint_key.fingerprint(&comparable(present, &theirs));
            bond.metadata.note(|details| details.outdated = Some(replaced));
        }
        if bond.metadata.custody == Custody::Foreign && theirs.can_encrypt() && manager.is_some() {
            bond.metadata.note(|details| {
                if details.orphaned || details.manager.is_none() {
                    details.manager = manager;
                }
                details.orphaned = false;
            });
        }
        if outcome.conflict {
            bond.metadata.source = Source::Learned;
        }
        if !bond.same_keys(present) {
            bond.metadata.updated_at = now.wall;
        }
        if bond == *present {
            Lesson::Keep
        } else {
            Lesson::Take { bond: Box::new(bond), lossy: outcome.conflict }
        }
    }

    /// The peer was unpaired while what was learned of it was not announced yet: its manager had listed it
    /// before.
    pub(super) fn unlearn(&mut self, peer: PeerAddress) {
        if self.learned.added.remove(&peer) {
            self.table.remove(peer);
            self.bonds_dirty = true;
        }
    }

    /// The peer has a new key: whatever its manager did not load, this is no orphan.
    pub(super) fn no_orphan(&mut self, peer: PeerAddress) {
        self.table.touch(peer, |metadata| {
            if metadata.details.as_ref().is_some_and(|details| details.orphaned) {
                metadata.note(|details| details.orphaned = false);
            }
        });
    }

    /// Announces what was learned, once the managers are done.
    pub(super) fn finish_learning(&mut self, now: Now) {
        if self.learned.deadline().is_none_or(|deadline| deadline > now.instant) {
            return;
        }
        let Learned { added, updated, loaders, .. } = std::mem::take(&mut self.learned);
        let orphans = self.find_orphans(&loaders);
        self.announce_learned(added, Subject::Added, Subject::Learned);
        self.announce_learned(updated, Subject::Updated, Subject::Learned);
        self.announce_learned(orphans, Subject::Orphaned, Subject::AllOrphaned);
    }

    fn announce_learned(
        &mut self,
        peers: BTreeSet<PeerAddress>,
        each: fn(PeerAddress) -> Subject,
        all: fn(Vec<PeerAddress>) -> Subject,
    ) {
        let subjects = if peers.len() > EACH_MAX {
            vec![all(peers.into_iter().collect())]
        } else {
            peers.into_iter().map(each).collect()
        };
        let generation = self.table.generation();
        for subject in subjects {
            self.announce(Announcement { generation, subject, cause: "learned" });
        }
    }

    /// Marks the foreign bonds that their managers have loaded their lists without.
    fn find_orphans(&mut self, loaders: &BTreeSet<String>) -> BTreeSet<PeerAddress> {
        let Some(attachment) = &self.attachment else { return BTreeSet::new() };
        let named = attachment.theirs.named();
        let has_loaded = |bond: &Bond| {
            let kind = if bond.ltks().is_empty() { LoadKind::LinkKeys } else { LoadKind::Ltks };
            let manager = bond.metadata.details.as_ref().and_then(|details| details.manager.as_ref());
            manager.is_some_and(|name| loaders.contains(name) && attachment.theirs.has_loaded(name, kind))
        };
        let is_new_orphan = |bond: &&Bond| {
            bond.metadata.custody == Custody::Foreign
                && !bond.is_orphaned()
                && !named.contains(&bond.peer)
                && has_loaded(bond)
        };
        let orphans: BTreeSet<PeerAddress> =
            self.table.bonds().filter(is_new_orphan).map(|bond| bond.peer).collect();
        for peer in &orphans {
            self.table.touch(*peer, |metadata| metadata.note(|details| details.orphaned = true));
        }
        if !orphans.is_empty() {
            self.bonds_dirty = true;
            self.save_bonds();
        }
        orphans
    }
}

struct Overlay {
    bond: Bond,
    /// A key stands where another stood.
    conflict: bool,
}

/// Lays what a manager loads over what is stored. LTKs go as a set, unless the stored set holds them all:
/// those of two pairings never stand together.
fn overlay(present: &Bond, theirs: &Bond) -> Overlay {
    let mut bond = present.clone();
    let mut conflict = false;
    if !theirs.ltks().iter().all(|ltk| present.ltks().contains(ltk)) {
        conflict |= !present.ltks().is_empty();
        bond.retain_ltks(|_| false);
        (bond.csrk_local, bond.csrk_remote) = (None, None);
        for ltk in theirs.ltks() {
            bond.put_ltk(ltk.clone());
        }
    }
    if let Some(irk) = &theirs.irk {
        conflict |= bond.irk.as_ref().is_some_and(|known| known != irk);
        bond.irk = Some(irk.clone());
    }
    if let Some(key) = &theirs.link_key
        && bond.link_key.as_ref().is_none_or(|known| (&known.key, known.key_type) != (&key.key, key.key_type))
    {
        conflict |= bond.link_key.is_some();
        bond.link_key = Some(key.clone());
    }
    // A peer may ask for others at any time, and the kernel tells.
    bond.connection_parameters = bond.connection_parameters.or(theirs.connection_parameters);
    Overlay { bond, conflict }
}

/// The encrypting keys of `bond`, of the kinds that `theirs` has: so that the same keys have the same
/// fingerprint, whichever of a manager's lists have come by now.
fn comparable(bond: &Bond, theirs: &Bond) -> Bond {
    let mut part = bond.clone();
    (part.irk, part.csrk_local, part.csrk_remote) = (None, None, None);
    if theirs.ltks().is_empty() {
        part.retain_ltks(|_| false);
    }
    part.link_key = part.link_key.filter(|_| theirs.link_key.is_some());
    part
}
