//! Figures of the process for `bridge/health`.

use std::collections::BTreeMap;

use crate::bond::UnixMillis;
use crate::mqtt::board::Probe;

/// Octets of a page, in which the kernel counts memory.
const PAGE_OCTETS: u64 = 4096;

/// Takes the figures now.
pub fn probe(started_at: UnixMillis) -> Probe {
    Probe {
        uptime_s: super::wall_clock().0.saturating_sub(started_at.0) / 1000,
        rss_bytes: resident_octets(),
        received_frames: Some(crate::mgmt::pump::received_frame_count()),
        dropped_frames: Some(crate::mgmt::pump::dropped_frame_count()),
        queues: BTreeMap::new(),
        errors: BTreeMap::new(),
    }
}

/// Second field of `/proc/self/statm`; none where it cannot be read.
fn resident_octets() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_OCTETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_octets().unwrap() > 100_000);
    }
}
