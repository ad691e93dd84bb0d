//! How soon the keys are back after somebody else's load has replaced them. No metric of the table: the promise
//! is 50 ms, as a client that loads and connects in one go must find them.

use std::time::{Duration, Instant};

use super::report::{Figure, quantile};
use super::rig::{Rig, adapters_for, ltk_record, peer_address};
use super::sim::client::list;
use super::sim::wire::op;

const ROUNDS: usize = 20;

/// Between two foreign loads: long enough that each begins a new answer.
const APART: Duration = Duration::from_secs(3);

const PATIENCE: Duration = Duration::from_secs(20);

pub fn answered(rig: &Rig) -> Vec<Figure> {
    const BONDS: usize = 100;
    let folder = rig.copy_of(&rig.template(BONDS), "answer");
    let service = rig.start(&folder, adapters_for(BONDS), |_| {});
    service.wait_ready();
    std::thread::sleep(APART);
    let index = service.indices[0];
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let before = service.kernel.command_count(index, op::LOAD_LTKS);
        // Another process each time: one that answers every answer would be taken for a quarrel.
        let mut manager = service.kernel.open_control(&format!("manager-{round}"));
        manager.raise_send_mtu();
        let record = ltk_record(peer_address(50_000 + round), round as u64);
        manager.succeed(op::LOAD_LTKS, index, &list(&[record]));
        let begin = Instant::now();
        while service.kernel.command_count(index, op::LOAD_LTKS) < before + 2 {
            assert!(begin.elapsed() < PATIENCE, "nobody answered load {round}");
            std::thread::yield_now();
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(APART);
    }
    let figure = |name: &str, part: f64| {
        Figure::new(
            14,
            format!("another's load to our answer, 100 bonds, {name}"),
            quantile(&times, part),
            "ms",
        )
    };
    vec![figure("p50", 0.5), figure("longest", 1.0).at_most(50.0)]
}
