//! The service, as a process, on disks that lose power, fail or rot, under brokers that misbehave and
//! under kernels that are silent or never stop talking. `tests/blackbox` shows that it works; this shows
//! what it takes. Short forms run always; the environment asks for long ones:
//!
//! * `BONDKEEPER_TEST_SEED`: repeats a run whose seed was printed
//! * `BONDKEEPER_TEST_CUTS`, `BONDKEEPER_TEST_KILLS`, `BONDKEEPER_TEST_BROKERS`: how many power cuts, how many kills
//!   of the service and of the broker
//! * `BONDKEEPER_TEST_FAULTS=all`: every failing call and every kind of damage, not a sample

mod behind;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/broker.rs"]
mod broker;
mod broker_links;
mod broker_storms;
mod damage;
mod disk;
mod failing;
mod failing_commands;
mod hostile;
mod interpose;
mod kills;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/observer.rs"]
mod observer;
mod power;
mod process;
mod proxy;
mod random;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/scene.rs"]
mod scene;
mod sealing;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/service.rs"]
mod service;
#[path = "../sim/mod.rs"]
mod sim;
mod storm;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world.rs"]
mod world;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world_sim.rs"]
mod world_sim;

use scene::Scene;
use world_sim::SimWorld;

/// With the simulator's own controls at hand, and a broker that keeps nothing.
fn scene() -> Scene<SimWorld> {
    Scene::with_broker(|folder| Box::new(SimWorld::new(&folder.join("kernel"))), false)
}

/// A number that the environment may give; else the short form's.
fn amount(name: &str, short: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// The long form: everything, where the short one takes a sample.
fn everything() -> bool {
    std::env::var("BONDKEEPER_TEST_FAULTS").is_ok_and(|text| text == "all")
}
