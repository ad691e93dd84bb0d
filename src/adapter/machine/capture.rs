//! What the kernel tells: keys, links, unpairings.

use super::report::{Announcement, Subject};
use super::{AdapterMachine, KernelEvent, Now, Output};
use crate::bond::health::EvidenceKind;
use crate::bond::{Bond, BondMetadata, CapturedKey, Change, Custody, PeerAddress, Source};

/// Longest name of a peer. [CORE Vol 3 Part C 3.2.2]
const NAME_OCTETS_MAX: usize = 248;

/// Peers without a bond whose names are remembered; more are in nobody's house, and the names are a nicety.
const NAMES_MAX: usize = 256;

impl AdapterMachine {
    /// Takes events in the order in which the kernel told them.
    pub fn kernel_events(&mut self, events: impl IntoIterator<Item = KernelEvent>, now: Now) {
        let before = self.table.generation();
        for event in events {
            self.kernel_event(event, now);
        }
        if self.table.generation() != before {
            self.save_bonds();
        }
        self.announce_finished_pairings(now);
        self.settle(now);
    }

    fn kernel_event(&mut self, event: KernelEvent, now: Now) {
        match event {
            KernelEvent::Key { peer, key } => self.capture(peer, key, now),
            KernelEvent::PassingKey { peer, key, reason } => {
                self.kernel_made(peer, &key, now);
                self.count_skipped(reason);
            }
            KernelEvent::Skipped { reason } => self.count_skipped(reason),
            KernelEvent::Connected { peer: Some(peer), name } => self.connected(peer, name, now),
            KernelEvent::Connected { peer: None, .. } => {}
            KernelEvent::Disconnected { peer, key_missing } => {
                if let (Some(peer), Some(attachment)) = (peer, &mut self.attachment) {
                    attachment.connected.remove(&peer);
                }
                if let Some(peer) = peer.filter(|_| key_missing) {
                    self.evidence(peer, EvidenceKind::KeyMissing, now);
                }
            }
            KernelEvent::Unpaired { peer, bredr } => self.unpaired(peer, bredr),
            KernelEvent::Settings { powered, privacy } => {
                if let Some(attachment) = &mut self.attachment {
                    attachment.powered = powered;
                    attachment.identity.setting(privacy);
                }
            }
            KernelEvent::Renamed(name) => {
                if self.record.name.as_deref() != Some(name.as_str()) {
                    self.record.name = Some(name);
                    self.outputs.push_back(Output::SaveRecord(self.record.clone()));
                }
            }
        }
    }

    fn connected(&mut self, peer: PeerAddress, name: Option<String>, now: Now) {
        if let Some(attachment) = &mut self.attachment {
            attachment.connected.insert(peer);
        }
        if self.table.get(peer).is_some() {
            self.last_seen.insert(peer, now.wall);
        }
        let Some(name) = name.filter(|name| name.len() <= NAME_OCTETS_MAX) else { return };
        if self.table.get(peer).is_none() {
            if self.names.len() < NAMES_MAX {
                self.names.insert(peer, name);
            }
        } else if self.table.touch(peer, |metadata| {
            // The first name stays: a peer that changes its name must not cost a write each time.
            metadata.name.get_or_insert(name);
        }) {
            self.bonds_dirty = true;
        }
    }

    /// Nothing goes to the kernel: it has the key already.
    fn capture(&mut self, peer: PeerAddress, key: CapturedKey, now: Now) {
        if matches!(key, CapturedKey::ConnectionParameters(_)) && self.table.get(peer).is_none() {
            self.count_skipped("parameters_without_bond");
            return;
        }
        // Whoever stores what is paired here will load it; a process that only loads does not.
        let keeper = self.neighbours.as_ref().and_then(|neighbours| neighbours.keepers.first().cloned());
        let custody = if keeper.is_some() { Custody::Foreign } else { Custody::Ours };
        let mut fresh = BondMetadata::new(custody, Source::Captured, now.wall);
        fresh.name = self.names.get(&peer).cloned();
        fresh.note(|details| details.manager = keeper);
        self.kernel_made(peer, &key, now);
        let is_key = !matches!(key, CapturedKey::ConnectionParameters(_));
        let outcome = self.pairings.capture(&mut self.table, peer, key, fresh, now.instant, now.wall);
        match outcome {
            Ok(Change::Added | Change::Updated) => {
                self.names.remove(&peer);
                self.keys_watched.insert(peer);
                self.no_orphan(peer);
                if is_key {
                    self.new_key_is_evidence(peer, now);
                }
                self.last_seen.insert(peer, now.wall);
                self.bonds_dirty = true;
            }
            Ok(Change::Unchanged) => {}
            Err(_) => self.count_skipped("table_full"),
        }
    }

    /// Another process unpaired the peer: the keys of that transport are worth nothing any more.
    fn unpaired(&mut self, peer: PeerAddress, bredr: bool) {
        if let Some(attachment) = &mut self.attachment {
            attachment.shadow.drop_peer(peer, bredr);
            attachment.theirs.drop_peer(peer, bredr);
            attachment.drift.disturb();
            attachment.unpaired.insert(peer);
        }
        let Some(bond) = self.table.get(peer) else { return };
        let mut rest = bond.clone();
        if bredr {
            rest.link_key = None;
        } else {
            rest.drop_le_keys();
        }
        let table = std::sync::Arc::new(self.table.clone());
        self.outputs.push_back(Output::SaveCheckpoint { table, reason: "before_unpaired", awaited: false });
        if rest.has_keys() {
            self.put_rest_of_unpaired(rest);
            return;
        }
        self.remove_bond(peer, "unpaired");
    }

    fn put_rest_of_unpaired(&mut self, rest: Bond) {
        let peer = rest.peer;
        // It was in the table a moment ago, so there is room.
        if self.table.insert(rest).is_ok() {
            let generation = self.table.generation();
            self.announce(Announcement { generation, subject: Subject::Updated(peer), cause: "unpaired" });
            self.bonds_dirty = true;
        }
    }

    /// Takes a bond out of the table and will say so once that is durable.
    pub(super) fn remove_bond(&mut self, peer: PeerAddress, cause: &'static str) {
        self.pairings.cancel(peer);
        self.learned.cancel(peer);
        self.announcements.retain(|waiting| !waiting.subject.is_about(peer));
        if let Some(bond) = self.table.remove(peer) {
            let subject = Subject::Removed { peer, bredr_only: bond.is_bredr_only() };
            self.announce(Announcement { generation: self.table.generation(), subject, cause });
            self.last_seen.remove(&peer);
            self.bonds_dirty = true;
        }
    }

    pub(super) fn announce_finished_pairings(&mut self, now: Now) {
        for finished in self.pairings.take_finished(now.instant) {
            self.announce_pairing(finished);
        }
        for _ in 0..self.pairings.take_incomplete_count() {
            self.count_skipped("no_key_to_encrypt_with");
        }
    }

    fn announce_pairing(&mut self, finished: crate::adapter::pairing::FinishedPairing) {
        let peer = finished.peer;
        let Some(generation) = self.table.entry(peer).map(|entry| entry.generation) else { return };
        let subject = if finished.was_known { Subject::Updated(peer) } else { Subject::Added(peer) };
        let cause = if finished.only_parameters { "connection_parameters" } else { "pairing" };
        self.announce(Announcement { generation, subject, cause });
    }

    /// Everything that pairs will bring has come, as far as we are concerned: the service stops.
    pub fn drain(&mut self, now: Now) {
        let later = Now { instant: now.instant + crate::adapter::pairing::PAIRING_CEILING, ..now };
        for finished in self.pairings.take_finished(later.instant) {
            self.announce_pairing(finished);
        }
        self.finish_learning(later);
        self.settle(now);
    }

    pub(super) fn save_bonds(&mut self) {
        self.outputs.push_back(Output::SaveBonds(std::sync::Arc::new(self.table.clone())));
    }

    pub(super) fn count_skipped(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_insert(0) += 1;
    }
}
