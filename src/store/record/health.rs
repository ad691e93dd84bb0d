//! The field that holds what is known of one bond's health.
//!
//! | offset | octets | field | order |
//! |---|---|---|---|
//! | 0 | 7 | the peer, as in its record's key | |
//! | 7 | 4 | fingerprint of the keys | |
//! | 11 | 1 | verdict: 0 unknown, 1 ok, 2 suspect, 3 stale | |
//! | 12 | 1 | failures since the last success | |
//! | 13 | 9 each | evidence: kind (0 key missing, 1 mismatch, 2 encrypted, 3 new key), time in milliseconds since 1970 | little endian |

use super::{PEER_KEY_OCTETS, Writer, number, peer_key, peer_of_key, tag, take};
use crate::bond::health::{EVIDENCE_MAX, Evidence, EvidenceKind, Track};
use crate::bond::{Fingerprint, Health, PeerAddress, UnixMillis};

const EVIDENCE_OCTETS: usize = 9;

impl Writer {
    pub(super) fn track(&mut self, peer: PeerAddress, track: &Track) {
        let mut evidence = Vec::with_capacity(EVIDENCE_MAX * EVIDENCE_OCTETS);
        for piece in &track.evidence {
            evidence.push(piece.kind.code());
            evidence.extend_from_slice(&piece.at.0.to_le_bytes());
        }
        let verdict = [track.verdict.code(), track.failure_count];
        self.field(tag::HEALTH, &[&peer_key(peer), &track.fingerprint.to_octets(), &verdict, &evidence]);
    }
}

pub(super) fn read(octets: &[u8]) -> Option<(PeerAddress, Track)> {
    let (peer, rest) = octets.split_at_checked(PEER_KEY_OCTETS)?;
    let (fingerprint, rest) = rest.split_at_checked(4)?;
    let (verdict, rest) = rest.split_at_checked(2)?;
    let pieces = rest.chunks(EVIDENCE_OCTETS).take(EVIDENCE_MAX).map(|piece| {
        let (kind, at) = piece.split_first()?;
        Some(Evidence { kind: EvidenceKind::from_code(*kind)?, at: UnixMillis(number(at)?) })
    });
    let track = Track {
        fingerprint: Fingerprint::from_octets(take(fingerprint)?),
        verdict: Health::from_code(verdict[0])?,
        failure_count: verdict[1],
        evidence: pieces.collect::<Option<Vec<_>>>()?,
    };
    Some((peer_of_key(peer)?, track))
}
