//! Metric 1 while the broker is no help: the way to the disk does not lead past it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::capture::Timed;
use super::mqtt::Client;
use super::report::{Figure, quantile};
use super::rig::{ROOT, Rig};

/// Turns of each condition, and key events in a turn.
const TURNS: usize = 20;
const EVENTS_A_TURN: usize = 10;

/// Bonds of the adapter, all on one.
const BONDS: usize = 100;

/// A turn begins when what the last one left behind is over.
const REST: Duration = Duration::from_millis(200);

/// Key events beside a broker that answers, one that is stopped, and one through which somebody asks without a pause;
/// in turns.
pub fn undisturbed(rig: &Rig) -> Vec<Figure> {
    let Some(mut timed) = Timed::start(rig, BONDS, "trouble") else { return Vec::new() };
    let (mut well, mut stopped, mut flooded) = (Vec::new(), Vec::new(), Vec::new());
    let mut turn = |into: &mut Vec<f64>| {
        into.extend((0..EVENTS_A_TURN).map(|_| timed.sample(BONDS).0));
    };
    for _ in 0..TURNS {
        turn(&mut well);
        rig.broker.signal("-STOP");
        turn(&mut stopped);
        rig.broker.signal("-CONT");
        std::thread::sleep(REST);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| flood(rig, &over));
            turn(&mut flooded);
            over.store(true, Ordering::Relaxed);
        });
        std::thread::sleep(REST);
    }
    let figure = |condition: &str, times: &[f64], name: &str, part: f64| {
        let what = format!("key event to durable while the broker {condition}, {name}");
        Figure::new(1, what, quantile(times, part), "µs").beside("while it answers", quantile(&well, part))
    };
    let mut figures = Vec::new();
    for (condition, times) in [("is stopped", &stopped), ("is flooded with commands", &flooded)] {
        figures.push(figure(condition, times, "p50", 0.5));
        figures.push(figure(condition, times, "p99", 0.99));
    }
    figures
}

/// Asks as fast as the broker takes it.
fn flood(rig: &Rig, over: &AtomicBool) {
    let mut client = Client::connect(rig.broker.port, "flood");
    let topic = format!("{ROOT}/bridge/request/health_check");
    while !over.load(Ordering::Relaxed) {
        client.publish(&topic, b"{}");
    }
}
