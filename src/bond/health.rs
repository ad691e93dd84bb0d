//! What the evidence says about a bond. Nothing is ever deleted because of it.
//!
//! A peer that is away, or out of reach, or slow, says nothing: only a refused or a failing key, a
//! link that is encrypted, and a new pairing are evidence. One failure makes a bond suspect, several without
//! a success between them make it stale, and one success or a new key makes it good again: a link that is
//! encrypted proves the key.

use super::bond::UnixMillis;
use super::fingerprint::Fingerprint;

/// The verdict on a bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// No evidence either way yet.
    #[default]
    Unknown,
    /// A link was encrypted with it, or it was just made.
    Ok,
    /// The peer refused it once.
    Suspect,
    /// The peer refused it repeatedly: it has most likely lost its half.
    Stale,
}

impl Health {
    const ALL: [Self; 4] = [Self::Unknown, Self::Ok, Self::Suspect, Self::Stale];

    /// The word that topics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Suspect => "suspect",
            Self::Stale => "stale",
        }
    }

    /// As it is stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Back from that.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|health| health.code() == code)
    }

    /// Suspect or worse.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Suspect | Self::Stale)
    }
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvidenceKind {
    /// The link ended because the peer has no key any more.
    KeyMissing,
    /// The link ended because the two keys are not the same.
    KeyMismatch,
    /// A link was encrypted.
    Encrypted,
    /// A pairing has made a new key.
    NewKey,
}

impl EvidenceKind {
    const ALL: [Self; 4] = [Self::KeyMissing, Self::KeyMismatch, Self::Encrypted, Self::NewKey];

    /// The word that topics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyMissing => "key_missing",
            Self::KeyMismatch => "key_mismatch",
            Self::Encrypted => "encrypted",
            Self::NewKey => "new_key",
        }
    }

    /// As it is stored.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Back from that.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    const fn is_failure(self) -> bool {
        matches!(self, Self::KeyMissing | Self::KeyMismatch)
    }
}

/// Something that was seen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Evidence {
    pub kind: EvidenceKind,
    pub at: UnixMillis,
}

/// Failures without a success between them that make a bond stale. One may be a peer that restarts, a second its
/// second try; a third says the same once more.
pub const STALE_AFTER: u8 = 3;

/// Failures that follow one another closer than this are one: a program that connects again at once learns nothing new.
pub const FAILURE_GAP_MS: u64 = 1_000;

/// Pieces of evidence that are kept of a bond: enough to see why it is stale.
pub const EVIDENCE_MAX: usize = 4;

/// Bonds of one adapter whose health is remembered. The bad ones are what people look for; past it a good one is
/// forgotten.
pub const EVIDENCE_TRACKS_MAX: usize = 512;

/// What is known of one bond's health, and of which keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Of the keys that the evidence is about; with others it says nothing.
    pub fingerprint: Fingerprint,
    pub verdict: Health,
    /// Since the last success.
    pub failure_count: u8,
    /// The oldest first.
    pub evidence: Vec<Evidence>,
}

/// What a piece of evidence did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// What was known already.
    Nothing,
    /// It counts, and the verdict is the same.
    Noted,
    /// The verdict is another; the former.
    Was(Health),
}

impl Track {
    /// Of keys without any evidence.
    pub const fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, verdict: Health::Unknown, failure_count: 0, evidence: Vec::new() }
    }

    /// Takes evidence about these keys. A new key may differ from those that are known.
    pub fn take(&mut self, kind: EvidenceKind, fingerprint: Fingerprint, at: UnixMillis) -> Finding {
        let before = self.verdict;
        if self.fingerprint != fingerprint {
            // The former keys' failures are history once there are others.
            *self = Self { verdict: Health::Unknown, ..Self::new(fingerprint) };
        }
        let last = self.evidence.last().copied();
        if kind.is_failure() {
            let same = last.filter(|last| last.kind.is_failure());
            if same.is_some_and(|last| at.0.abs_diff(last.at.0) < FAILURE_GAP_MS) {
                return Finding::Nothing;
            }
            self.failure_count = self.failure_count.saturating_add(1);
            self.verdict = if self.failure_count >= STALE_AFTER { Health::Stale } else { Health::Suspect };
        } else {
            self.failure_count = 0;
            self.verdict = Health::Ok;
        }
        // Of the same success again and again the latest is enough.
        if last.is_some_and(|last| last.kind == kind && !kind.is_failure()) {
            self.evidence.pop();
        }
        if self.evidence.len() >= EVIDENCE_MAX {
            self.evidence.remove(0);
        }
        self.evidence.push(Evidence { kind, at });
        match self.verdict {
            now if now != before => Finding::Was(before),
            now if now.is_bad() => Finding::Noted,
            _ => Finding::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Fingerprint = Fingerprint::from_octets([1; 4]);

    fn after(kinds: &[EvidenceKind]) -> Track {
        let mut track = Track::new(KEYS);
        for (number, kind) in kinds.iter().enumerate() {
            track.take(*kind, KEYS, UnixMillis(number as u64 * FAILURE_GAP_MS));
        }
        track
    }

    use EvidenceKind::{Encrypted, KeyMismatch, KeyMissing, NewKey};

    #[test]
    fn one_failure_makes_suspect_and_repeated_ones_make_stale() {
        assert_eq!(after(&[]).verdict, Health::Unknown);
        assert_eq!(after(&[Encrypted]).verdict, Health::Ok);
        assert_eq!(after(&[Encrypted, KeyMissing]).verdict, Health::Suspect);
        assert_eq!(after(&[KeyMissing, KeyMismatch]).verdict, Health::Suspect);
        assert_eq!(after(&[KeyMissing, KeyMismatch, KeyMissing]).verdict, Health::Stale);
        assert_eq!(after(&[KeyMissing; 9]).verdict, Health::Stale);
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let flapping = [KeyMissing, KeyMissing, Encrypted, KeyMissing, KeyMissing];
        assert_eq!(after(&flapping).verdict, Health::Suspect);
        assert_eq!(after(&[KeyMissing, KeyMissing, KeyMissing, Encrypted]).verdict, Health::Ok);
    }

    #[test]
    fn failures_of_one_moment_are_one() {
        let mut track = Track::new(KEYS);
        for at in 0..FAILURE_GAP_MS {
            track.take(KeyMissing, KEYS, UnixMillis(at));
        }
        assert_eq!((track.verdict, track.evidence.len()), (Health::Suspect, 1));
    }

    #[test]
    fn a_new_key_is_good_and_has_none_of_the_old_ones_failures() {
        let mut track = after(&[KeyMissing, KeyMissing, KeyMissing]);
        let other = Fingerprint::from_octets([2; 4]);
        assert_eq!(track.take(NewKey, other, UnixMillis(9_000)), Finding::Was(Health::Stale));
        assert_eq!((track.verdict, track.evidence.len(), track.failure_count), (Health::Ok, 1, 0));
    }

    #[test]
    fn only_a_change_or_another_failure_is_worth_a_word() {
        let mut track = Track::new(KEYS);
        let mut at = 0;
        let mut take = |kind| {
            at += FAILURE_GAP_MS;
            track.take(kind, KEYS, UnixMillis(at))
        };
        assert_eq!(take(Encrypted), Finding::Was(Health::Unknown));
        assert_eq!(take(Encrypted), Finding::Nothing);
        assert_eq!(take(KeyMissing), Finding::Was(Health::Ok));
        assert_eq!(take(KeyMissing), Finding::Noted);
        assert_eq!(take(KeyMissing), Finding::Was(Health::Suspect));
        assert_eq!(take(KeyMissing), Finding::Noted);
        assert_eq!(take(Encrypted), Finding::Was(Health::Stale));
    }

    #[test]
    fn the_evidence_is_bounded_and_keeps_the_latest() {
        let track = after(&[Encrypted, Encrypted, Encrypted]);
        assert_eq!(track.evidence, [Evidence { kind: Encrypted, at: UnixMillis(2 * FAILURE_GAP_MS) }]);
        assert_eq!(after(&[KeyMissing; 20]).evidence.len(), EVIDENCE_MAX);
        assert_eq!(after(&[KeyMissing; 20]).evidence.last().unwrap().at.0, 19 * FAILURE_GAP_MS);
    }

    #[test]
    fn every_word_has_a_code_of_its_own() {
        for kind in EvidenceKind::ALL {
            assert_eq!(EvidenceKind::from_code(kind.code()), Some(kind));
        }
        for health in Health::ALL {
            assert_eq!(Health::from_code(health.code()), Some(health));
        }
        assert_eq!(Health::from_code(9), None);
    }
}
