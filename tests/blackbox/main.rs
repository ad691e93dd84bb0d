//! Drives the real service, as a process, over a real Mosquitto, with a simulated
//! kernel at the other end. `tests/kernel/suite.rs` plays the same scenarios on a real one.

mod addon;
mod architecture;
mod backup;
mod bluez;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod broker;
mod brokers;
mod cli;
mod coexistence;
mod contract;
mod copies;
mod discovery;
mod drift;
mod habluetooth;
mod health;
mod identity;
mod interop;
mod kernel_faults;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod observer;
mod operator;
mod orphans;
mod scenarios;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod scene;
mod seal;
mod sealed_store;
mod secrets;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod service;
#[path = "../sim/mod.rs"]
mod sim;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod stand_in;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../faults/storm.rs"]
mod storm;
mod supervisor;
mod supply;
mod tls;
mod transfer;
mod undo;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod world;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
mod world_sim;

use scene::Scene;
use world::World;
use world_sim::SimWorld;

fn scene() -> Scene {
    Scene::new(|folder| Box::new(SimWorld::new(&folder.join("kernel"))) as Box<dyn World>)
}

/// With the simulator's own controls at hand.
fn simulated_scene() -> Scene<SimWorld> {
    Scene::new(|folder| Box::new(SimWorld::new(&folder.join("kernel"))))
}

macro_rules! on_the_simulator {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            scenarios::$name(&mut scene());
        })+
    };
}

shared_scenarios!(on_the_simulator);
