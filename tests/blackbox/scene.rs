//! Everything that a scenario needs in one place: a world, a broker, an observer and
//! the service.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::broker::Broker;
use super::observer::{LIMIT, Observer};
use super::service::{Service, Setup};
use super::world::World;

/// Topics of the service under test begin with this.
pub const ROOT: &str = "bondkeeper/test";

/// The adapter of most scenarios.
pub const HUB: &str = "00:1A:7D:DA:71:11";

pub struct Scene<W: World + ?Sized = dyn World> {
    pub observer: Observer,
    service: Option<Service>,
    pub broker: Broker,
    pub setup: Setup,
    pub folder: tempfile::TempDir,
    pub world: Box<W>,
    /// Message number at the last start or plug-in: states from before say nothing about now.
    since: usize,
}

impl<W: World + ?Sized> Scene<W> {
    /// With everything but the service running.
    pub fn new(world: impl FnOnce(&std::path::Path) -> Box<W>) -> Self {
        Self::with_broker(world, true)
    }

    pub fn with_broker(world: impl FnOnce(&std::path::Path) -> Box<W>, persistent: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("bk").tempdir().unwrap();
        let world = world(folder.path());
        let broker = Broker::start(folder.path(), persistent);
        let observer = Observer::connect(broker.port);
        let setup = Setup::new(folder.path(), broker.port, world.service_env());
        Self { observer, service: None, broker, setup, folder, world, since: 0 }
    }

    /// Starts the service and waits until it is online.
    pub fn start(&mut self) {
        let since = self.observer.mark();
        self.since = since;
        self.service = Some(self.setup.start());
        self.observer.wait_for("the service to come online", |heard, _, _| {
            let online = |heard: &super::observer::Heard| {
                heard.topic == format!("{ROOT}/bridge/state") && heard.json()["state"] == "online"
            };
            heard[since..].iter().any(online).then_some(())
        });
    }

    pub fn service(&mut self) -> &mut Service {
        self.service.as_mut().expect("the service is not running")
    }

    pub fn kill_service(&mut self) {
        self.service.take().expect("the service is not running").kill();
    }

    /// A clean stop: exit code 0.
    pub fn stop_service(&mut self) {
        let status = self.service.take().expect("the service is not running").stop();
        assert_eq!(status.code(), Some(0), "a clean stop");
    }

    /// Message number at the last start or plug-in.
    pub fn since(&self) -> usize {
        self.since
    }

    /// The adapter's state since the last start or plug-in, once `accept` holds.
    pub fn state(&self, what: &str, adapter: &str, accept: impl Fn(&Value) -> bool) -> Value {
        self.observer.wait_latest_since(what, &format!("adapter/{adapter}/state"), self.since, accept)
    }

    /// Waits until the kernel's tables are what the store says.
    pub fn wait_in_sync(&self, adapter: &str) -> Value {
        self.state("the adapter to be in sync", adapter, |state| state["sync"] == "in_sync")
    }

    pub fn wait_absent(&self, adapter: &str) -> Value {
        self.state("the adapter to be absent", adapter, |state| state["present"] == false)
    }

    /// The retained list, once it holds exactly these peers, all durable.
    pub fn wait_bonds(&self, adapter: &str, peers: &[&str]) -> Vec<Value> {
        let expected: BTreeSet<&str> = peers.iter().copied().collect();
        let list = self.observer.wait_latest(
            &format!("the bonds {peers:?}"),
            &format!("adapter/{adapter}/bonds"),
            |list| {
                let Some(bonds) = list["bonds"].as_array() else { return false };
                let listed: BTreeSet<&str> = bonds.iter().filter_map(|bond| bond["peer"].as_str()).collect();
                listed == expected && bonds.iter().all(|bond| bond["durable"] == true)
            },
        );
        list["bonds"].as_array().unwrap().clone()
    }

    /// Plugs the hub in and waits until the service has made it its own.
    pub fn plug_hub(&mut self) {
        self.since = self.observer.mark();
        self.world.plug("hub", HUB);
        self.wait_in_sync(HUB);
    }

    /// Pulls the hub out and waits until the service knows.
    pub fn unplug_hub(&mut self) {
        // A service that has just started tells first that it is absent, too.
        self.state("the hub to be there", HUB, |state| state["present"] == true);
        self.since = self.observer.mark();
        self.world.unplug("hub");
        self.wait_absent(HUB);
    }

    pub fn ask(&self, verb: &str, request: Value) -> Value {
        self.observer.ask(ROOT, verb, request)
    }

    pub fn refused(&self, verb: &str, request: Value, code: &str) -> String {
        self.observer.refused(ROOT, verb, request, code)
    }

    /// No key that this world has made stands in any message that was ever heard.
    pub fn assert_no_key_was_published(&mut self) {
        let keys = self.world.key_octets();
        assert!(!keys.is_empty(), "there was nothing to look for");
        for heard in self.observer.heard() {
            let text = String::from_utf8_lossy(&heard.payload).to_lowercase();
            for key in &keys {
                let reversed = reversed_hex(key);
                assert!(
                    !text.contains(&key.to_lowercase()) && !text.contains(&reversed),
                    "a key stands on {}",
                    heard.topic
                );
            }
        }
    }

    /// Waits until this many LTKs are in the kernel. After a storm of plug-ins this, and no state, tells that the
    /// last of them was served: the states of those before are still on their way.
    pub fn wait_kernel_ltks(&mut self, adapter: &str, count: usize) {
        let until = Instant::now() + LIMIT;
        while self.kernel_ltk_peers(adapter).len() != count {
            assert!(Instant::now() < until, "the kernel holds {:?}", self.kernel_ltk_peers(adapter));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the kernel holds an LTK of this peer, or none.
    pub fn wait_kernel_holds(&mut self, adapter: &str, peer: &str, held: bool) {
        let until = Instant::now() + LIMIT;
        while self.kernel_ltk_peers(adapter).contains(peer) != held {
            assert!(Instant::now() < until, "{peer}: the kernel holds {:?}", self.kernel_ltk_peers(adapter));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Addresses of the LTKs in the kernel.
    pub fn kernel_ltk_peers(&mut self, adapter: &str) -> BTreeSet<String> {
        self.world.tables(adapter).ltks.into_iter().map(|(address, _, _)| address).collect()
    }
}

pub fn reversed_hex(text: &str) -> String {
    let octets: Vec<&str> =
        text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    octets.into_iter().rev().collect::<String>().to_lowercase()
}
