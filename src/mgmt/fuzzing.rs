//! Bodies of the fuzz targets for what the kernel says; the tests run them on damaged captures. No part of the product.
//!
//! Whatever the octets are: no panic, and whatever was understood can be handled on. Driven by `fuzz/` and the tests.

use std::time::Instant;

use super::event::{Event, Incoming};
use super::frame::Frame;
use super::monitor::MonitorFrame;
use super::session::Session;

/// A datagram of a control socket.
pub fn control(datagram: &[u8]) {
    let Ok(incoming) = Incoming::decode(datagram) else { return };
    assert!(Frame::decode(datagram).is_ok(), "an event was read from what is no frame");
    let _ = Session::new().receive(incoming.index, &incoming.event, Instant::now());
    if let Event::NewKey(report) = incoming.event {
        let refused = report.skip_reason();
        assert_eq!(refused, report.accept().err(), "a key is taken and refused at once");
    }
}

/// A datagram of the monitor channel.
pub fn monitor(datagram: &[u8]) {
    if MonitorFrame::decode(datagram).is_ok() {
        assert!(Frame::decode(datagram).is_ok(), "a record was read from what is no frame");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAMES: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernel/mgmt-frames.jsonl"));

    fn captured() -> Vec<Vec<u8>> {
        let octets = |line: &str| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            hex::decode(row["hex"].as_str().unwrap()).unwrap()
        };
        FRAMES.lines().map(octets).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

        #[test]
        fn a_damaged_capture_is_read_or_refused(
            frame in prop::sample::select(captured()),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
            tail in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let mut frame = frame;
            for (at, octet) in flips {
                let at = at.index(frame.len());
                frame[at] = octet;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len() + 1));
            }
            frame.extend(tail);
            control(&frame);
            monitor(&frame);
        }
    }
}
