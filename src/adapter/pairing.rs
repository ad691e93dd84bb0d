//! Pairings as key events show them: which keys belong together, and when the
//! last one has come, so that a pairing is announced once and with all its keys.
//! Sans-io: time comes in as an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bond::{
    BondMetadata, BondTable, CapturedKey, Change, PairingKeys, PeerAddress, TableFull, UnixMillis,
};

/// A pairing is complete when no key of the peer came for this long. The kernel reports the keys
/// of one pairing in one go, microseconds apart; this only has to outlast scheduling.
pub const PAIRING_QUIET: Duration = Duration::from_millis(300);

/// A pairing is announced after this long even if keys still come.
pub const PAIRING_CEILING: Duration = Duration::from_secs(2);

/// Keys held for one peer at most: an IRK, two CSRKs and connection parameters, each once or twice.
const HELD_KEYS_MAX: usize = 8;

const fn can_encrypt(key: &CapturedKey) -> bool {
    matches!(key, CapturedKey::Ltk(_) | CapturedKey::LinkKey(_))
}

struct ActivePairing {
    keys: PairingKeys,
    /// Keys of a peer without a bond that came before any that could encrypt: an IRK alone is no bond.
    held: Vec<CapturedKey>,
    first_at: Instant,
    last_at: Instant,
    was_known: bool,
    changed: bool,
    only_parameters: bool,
}

impl ActivePairing {
    fn new(was_known: bool, now: Instant) -> Self {
        Self {
            keys: PairingKeys::default(),
            held: Vec::new(),
            first_at: now,
            last_at: now,
            was_known,
            changed: false,
            only_parameters: true,
        }
    }

    fn deadline(&self) -> Instant {
        (self.last_at + PAIRING_QUIET).min(self.first_at + PAIRING_CEILING)
    }
}

/// A pairing whose last key has come and that changed the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedPairing {
    pub peer: PeerAddress,
    /// The peer had a bond before.
    pub was_known: bool,
    /// No key came, only connection parameters.
    pub only_parameters: bool,
}

/// The pairings under way on one adapter.
#[derive(Default)]
pub struct Pairings {
    active: BTreeMap<PeerAddress, ActivePairing>,
    finished: Vec<FinishedPairing>,
    incomplete_count: u64,
}

impl Pairings {
    /// Takes a key into the table.
    pub fn capture(
        &mut self,
        table: &mut BondTable,
        peer: PeerAddress,
        key: CapturedKey,
        fresh: BondMetadata,
        now: Instant,
        wall: UnixMillis,
    ) -> Result<Change, TableFull> {
        // A second key for one place: the peer has paired again already.
        if self.active.get(&peer).is_some_and(|pairing| pairing.keys.has_slot_of(&key)) {
            self.finish(peer);
        }
        let was_known = table.get(peer).is_some();
        let pairing = self.active.entry(peer).or_insert_with(|| ActivePairing::new(was_known, now));
        pairing.last_at = now;
        pairing.only_parameters &= matches!(key, CapturedKey::ConnectionParameters(_));
        if !was_known && !can_encrypt(&key) {
            if pairing.held.len() < HELD_KEYS_MAX {
                pairing.held.push(key);
            }
            return Ok(Change::Unchanged);
        }
        let mut outcome = Change::Unchanged;
        for key in std::mem::take(&mut pairing.held).into_iter().chain([key]) {
            let change = table.capture(peer, key, &mut pairing.keys, fresh.clone(), wall)?;
            pairing.changed |= change != Change::Unchanged;
            if outcome == Change::Unchanged {
                outcome = change;
            }
        }
        Ok(outcome)
    }

    /// Pairings that ended without a key that could encrypt, since the last call.
    pub fn take_incomplete_count(&mut self) -> u64 {
        std::mem::take(&mut self.incomplete_count)
    }

    /// The bond is gone: there is nothing left to announce.
    pub fn cancel(&mut self, peer: PeerAddress) {
        self.active.remove(&peer);
        self.finished.retain(|pairing| pairing.peer != peer);
    }

    /// Pairings that are complete by now, each once.
    pub fn take_finished(&mut self, now: Instant) -> Vec<FinishedPairing> {
        let due = self.active.iter().filter(|(_, pairing)| pairing.deadline() <= now);
        for peer in due.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.finish(peer);
        }
        std::mem::take(&mut self.finished)
    }

    /// When [`take_finished`](Self::take_finished) has something next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.active.values().map(ActivePairing::deadline).min()
    }

    /// Keys of some pairing may still come.
    pub fn is_under_way(&self) -> bool {
        !self.active.is_empty()
    }

    fn finish(&mut self, peer: PeerAddress) {
        let Some(pairing) = self.active.remove(&peer) else { return };
        self.incomplete_count += u64::from(!pairing.held.is_empty());
        if pairing.changed {
            let ActivePairing { was_known, only_parameters, .. } = pairing;
            self.finished.push(FinishedPairing { peer, was_known, only_parameters });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::Role;
    use crate::bond::testing::{irk, legacy_ltk, metadata, peer, secure_ltk};

    const PEER: &str = "C0:FF:EE:00:00:01";
    const WALL: UnixMillis = UnixMillis(1);

    struct Rig {
        table: BondTable,
        pairings: Pairings,
        start: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self { table: BondTable::new(), pairings: Pairings::default(), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn key(&mut self, ms: u64, key: CapturedKey) {
            let now = self.at(ms);
            self.pairings.capture(&mut self.table, peer(PEER), key, metadata(), now, WALL).unwrap();
        }

        fn finished(&mut self, ms: u64) -> Vec<bool> {
            let now = self.at(ms);
            self.pairings.take_finished(now).iter().map(|pairing| pairing.was_known).collect()
        }
    }

    #[test]
    fn a_pairing_is_announced_once_300_ms_after_its_last_key() {
        let mut rig = Rig::new();
        rig.key(0, CapturedKey::Irk(irk(1)));
        rig.key(200, CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
        rig.key(400, CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));
        assert!(rig.finished(699).is_empty());
        assert_eq!(rig.pairings.next_deadline(), Some(rig.at(700)));
        assert_eq!(rig.finished(700), [false]);
        assert!(rig.finished(5_000).is_empty());
    }

    #[test]
    fn a_pairing_that_never_falls_quiet_is_announced_after_two_seconds() {
        let mut rig = Rig::new();
        let parameters = |latency| {
            CapturedKey::ConnectionParameters(crate::bond::ConnectionParameters {
                min_interval: 24,
                max_interval: 40,
                latency,
                supervision_timeout: 600,
            })
        };
        rig.key(0, CapturedKey::Ltk(secure_ltk(1)));
        for step in 1..10 {
            rig.key(step * 200, parameters(step as u16));
        }
        assert!(rig.finished(1_999).is_empty());
        assert_eq!(rig.finished(2_000), [false]);
    }

    #[test]
    fn pairing_again_at_once_is_a_pairing_of_its_own() {
        let mut rig = Rig::new();
        rig.key(0, CapturedKey::Ltk(secure_ltk(1)));
        rig.key(100, CapturedKey::Ltk(secure_ltk(2)));
        assert_eq!(rig.finished(100), [false]);
        assert_eq!(rig.finished(400), [true]);
    }

    #[test]
    fn keys_that_cannot_encrypt_are_no_bond_until_one_comes_that_can() {
        let mut rig = Rig::new();
        rig.key(0, CapturedKey::Irk(irk(1)));
        assert!(rig.table.is_empty());
        assert!(rig.finished(300).is_empty());
        assert_eq!(rig.pairings.take_incomplete_count(), 1);

        rig.key(1_000, CapturedKey::Irk(irk(1)));
        rig.key(1_000, CapturedKey::Ltk(secure_ltk(1)));
        let bond = rig.table.get(peer(PEER)).unwrap();
        assert!(bond.irk == Some(irk(1)) && bond.can_encrypt());
        assert_eq!(rig.finished(1_300), [false]);
        assert_eq!(rig.pairings.take_incomplete_count(), 0);
    }

    #[test]
    fn hearing_of_known_keys_again_announces_nothing() {
        let mut rig = Rig::new();
        rig.key(0, CapturedKey::Ltk(secure_ltk(1)));
        assert_eq!(rig.finished(300), [false]);
        rig.key(1_000, CapturedKey::Ltk(secure_ltk(1)));
        assert!(rig.finished(2_000).is_empty());
        assert!(!rig.pairings.is_under_way());
    }
}
