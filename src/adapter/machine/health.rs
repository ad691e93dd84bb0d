//! What is seen of the bonds' health: verdicts, when they are told, and when they are written down.
//!
//! A verdict belongs to the keys that it was reached about. Only its changes, and further failures, are
//! stored: a peer that connects every minute costs no write.

use super::report::{Announcement, Subject};
use super::{AdapterMachine, Now, Output};
use crate::bond::PeerAddress;
use crate::bond::health::{EVIDENCE_TRACKS_MAX, EvidenceKind, Finding, Track};
use crate::bond::table::Entry;

impl AdapterMachine {
    /// A link spoke for or against the peer's key. What the kernel holds may be another key than ours: then it
    /// says nothing about the bond.
    pub(super) fn evidence(&mut self, peer: PeerAddress, kind: EvidenceKind, now: Now) {
        let (Some(bond), Some(attachment)) = (self.table.get(peer), &self.attachment) else { return };
        if attachment.shadow.holds_bond(bond, attachment.dual_mode) == Some(true) {
            self.note_evidence(peer, kind, now);
        }
    }

    /// A pairing has made a key, which the kernel has from the start.
    pub(super) fn new_key_is_evidence(&mut self, peer: PeerAddress, now: Now) {
        self.note_evidence(peer, EvidenceKind::NewKey, now);
    }

    fn note_evidence(&mut self, peer: PeerAddress, kind: EvidenceKind, now: Now) {
        let Some(entry) = self.table.entry(peer) else { return };
        let fingerprint = entry.fingerprint(&self.fingerprint_key);
        if !self.record.health.contains_key(&peer) && !self.has_room_for_track() {
            return;
        }
        let track = self.record.health.entry(peer).or_insert_with(|| Track::new(fingerprint));
        let finding = track.take(kind, fingerprint, now.wall);
        let verdict = track.verdict;
        let subject = match finding {
            Finding::Nothing => return,
            Finding::Noted => None,
            Finding::Was(_) if verdict.is_bad() => Some(Subject::Suspect(peer)),
            Finding::Was(before) if before.is_bad() => Some(Subject::Recovered(peer)),
            Finding::Was(_) => None,
        };
        self.bonds_dirty = true;
        // With a new key it goes to the store with the table.
        if kind != EvidenceKind::NewKey {
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
        }
        if let Some(subject) = subject {
            // A recovery by a new key is said once that key is durable.
            let generation = self.table.generation();
            self.announce(Announcement { generation, subject, cause: kind.as_str() });
        }
    }

    /// Makes room where a good bond's can be had.
    fn has_room_for_track(&mut self) -> bool {
        if self.record.health.len() < EVIDENCE_TRACKS_MAX {
            return true;
        }
        let table = &self.table;
        let dispensable = |(peer, track): (&PeerAddress, &Track)| {
            (!track.verdict.is_bad() || table.get(*peer).is_none()).then_some(*peer)
        };
        let found = self.record.health.iter().find_map(dispensable);
        found.is_some_and(|peer| self.record.health.remove(&peer).is_some())
    }

    /// What is known of the health of these keys.
    pub(super) fn track_of(&self, entry: &Entry) -> Option<&Track> {
        let track = self.record.health.get(&entry.bond.peer)?;
        (track.fingerprint == entry.fingerprint(&self.fingerprint_key)).then_some(track)
    }

    /// Bonds that are suspect or worse.
    pub(super) fn bad_bond_count(&self) -> usize {
        let bad = self.record.health.iter().filter(|(_, track)| track.verdict.is_bad());
        let entries = bad.filter_map(|(peer, _)| self.table.entry(*peer));
        entries.filter(|entry| self.track_of(entry).is_some()).count()
    }
}
