//! The simulated world: `World` over a simulated kernel, with controls that a
//! real kernel does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::sim::client::list;
use super::sim::programs::{self, Agent, Bluetoothd, BluetoothdStorage, TOOL};
use super::sim::wire::{Address, LE_PUBLIC, LE_RANDOM, hex, op, unhex};
use super::sim::{Hardware, Options, Outcome, PROTECTED_VALUE, PeerConfig, Security, SimKernel};
use super::world::{Connected, KernelTables, PairOptions, PeerSpec, World};

/// Adapters and peers of a scenario on a simulated kernel.
pub struct SimWorld {
    /// Before the kernel, so that it ends first.
    bluetoothd: Option<Bluetoothd>,
    kernel: SimKernel,
    adapters: BTreeMap<String, Adapter>,
    peers: BTreeMap<String, PeerSpec>,
    storage: BluetoothdStorage,
    /// Keys of adapters' own identities that were ever set.
    local_irks: BTreeSet<String>,
}

struct Adapter {
    hardware: Hardware,
    /// None while it is pulled out.
    index: Option<u16>,
}

impl SimWorld {
    /// A world whose kernel lives in this directory.
    pub fn new(dir: &Path) -> Self {
        Self::with(dir, Options::default())
    }

    pub fn with(dir: &Path, options: Options) -> Self {
        Self {
            kernel: SimKernel::start_with(dir, options),
            adapters: BTreeMap::new(),
            peers: BTreeMap::new(),
            bluetoothd: None,
            storage: BluetoothdStorage::default(),
            local_irks: BTreeSet::new(),
        }
    }

    /// The kernel itself: faults, floods, injected events, monitor, counters.
    pub fn kernel(&self) -> &SimKernel {
        &self.kernel
    }

    /// What bluetoothd has on disk.
    pub fn bluetoothd_storage(&self) -> &BluetoothdStorage {
        &self.storage
    }

    /// `plug` for a controller that is out of the ordinary.
    pub fn plug_hardware(&mut self, adapter: &str, hardware: &Hardware) -> u16 {
        let index = self.kernel.plug(hardware);
        let before = self
            .adapters
            .insert(adapter.to_owned(), Adapter { hardware: hardware.clone(), index: Some(index) });
        assert!(before.is_none_or(|a| a.index.is_none()), "{adapter} is plugged in already");
        index
    }

    fn peer_address(&self, peer: &str) -> Address {
        let spec = self.peers.get(peer).unwrap_or_else(|| panic!("there is no peer {peer}"));
        Address::new(spec.address, if spec.public { LE_PUBLIC } else { LE_RANDOM })
    }

    /// Two adapters change places: each comes back under the other's index.
    pub fn swap(&mut self, one: &str, other: &str) {
        let mut pulled = [one, other].map(|name| (self.index(name), name));
        for (_, name) in &pulled {
            self.unplug(name);
        }
        // The lowest index goes to whoever is plugged in first: that was the other's.
        pulled.sort_unstable();
        for (_, name) in pulled.iter().rev() {
            self.replug(name);
        }
    }

    /// An adapter that was pulled out comes back just as it was.
    pub fn replug(&mut self, adapter: &str) -> u16 {
        let known = self.adapters.get(adapter).unwrap_or_else(|| panic!("there is no adapter {adapter}"));
        let hardware = known.hardware.clone();
        self.plug_hardware(adapter, &hardware)
    }

    /// bluetoothd with an agent that accepts: pairings succeed while it runs, and it keeps them.
    pub fn start_bluetoothd_with(&mut self, agent: Agent) {
        assert!(self.bluetoothd.is_none(), "bluetoothd runs already");
        self.bluetoothd = Some(Bluetoothd::start(&self.kernel, &self.storage, agent));
    }
}

impl World for SimWorld {
    fn kind(&self) -> &'static str {
        "simulator"
    }

    fn service_env(&self) -> Vec<(String, String)> {
        let endpoint = format!("unix:{}", self.kernel.dir().display());
        vec![("BONDKEEPER__MGMT__ENDPOINT".to_owned(), endpoint)]
    }

    fn plug(&mut self, adapter: &str, address: &str) -> u16 {
        self.plug_hardware(adapter, &Hardware::new(address))
    }

    fn unplug(&mut self, adapter: &str) {
        let index = self.index(adapter);
        self.kernel.unplug(index);
        self.adapters.entry(adapter.to_owned()).and_modify(|a| a.index = None);
    }

    fn index(&self, adapter: &str) -> u16 {
        let found = self.adapters.get(adapter).and_then(|a| a.index);
        found.unwrap_or_else(|| panic!("{adapter} is not plugged in"))
    }

    fn power_off(&mut self, adapter: &str) {
        let index = self.index(adapter);
        self.kernel.open_control(TOOL).succeed(op::SET_POWERED, index, &[0]);
    }

    fn add_peer(&mut self, spec: &PeerSpec) {
        let config = PeerConfig::new(spec.name, spec.address);
        let mut config = if spec.public { config } else { config.static_random() };
        config.secure_connections = spec.secure_connections;
        // As the peers of the real-kernel bench: all have an IRK and give it to whoever asks.
        config.distributes_irk = true;
        config.privacy = spec.privacy;
        config.bonding = spec.bonding;
        self.kernel.add_peer(&config);
        self.peers.insert(spec.name.to_owned(), spec.clone());
    }

    fn reset_peer(&mut self, peer: &str) {
        self.kernel.reset_peer(peer);
    }

    fn set_privacy(&mut self, adapter: &str, privacy: u8, irk: &str) -> bool {
        let parameters = [&[privacy][..], &unhex(irk)].concat();
        self.local_irks.insert(irk.to_owned());
        let mut manager = self.kernel.open_control("othermanager");
        manager.command(op::SET_PRIVACY, self.index(adapter), &parameters).0 == 0
    }

    fn local_irk(&mut self, adapter: &str) -> Option<String> {
        self.kernel.local_irk(self.index(adapter)).map(|irk| hex(&irk))
    }

    fn pair(&mut self, adapter: &str, peer: &str, options: PairOptions) -> bool {
        let pairing = programs::Pairing {
            secure_connections: true,
            bondable: !options.not_bondable,
            debug_keys: options.debug_keys,
        };
        programs::pair(&self.kernel, self.index(adapter), peer, pairing)
    }

    fn connect(&mut self, adapter: &str, peer: &str) -> Connected {
        let index = self.index(adapter);
        programs::make_ready(&mut self.kernel.open_control(TOOL), index);
        let outcome = self.kernel.connect_and_wait(index, peer, Security::Medium);
        let (encrypted, smp_packet_count) = match outcome {
            Outcome::Encrypted => (true, 0),
            Outcome::PairedAnew { smp_packet_count } => (true, smp_packet_count),
            Outcome::PairingFailed { smp_packet_count } => (false, smp_packet_count),
            Outcome::NotFound | Outcome::Plain | Outcome::PeerLostKey | Outcome::WrongKey => (false, 0),
            Outcome::AwaitsConfirmation => panic!("the pairing with {peer} waits for a confirmation"),
        };
        self.kernel.disconnect(index, peer);
        let protected_value = encrypted.then(|| PROTECTED_VALUE.to_owned());
        Connected { encrypted, smp_packet_count, protected_value }
    }

    fn unpair(&mut self, adapter: &str, peer: &str) {
        let index = self.index(adapter);
        let address = self.peer_address(peer);
        let parameters = [&address.write()[..], &[1]].concat();
        let mut program = self.kernel.open_control(TOOL);
        programs::make_ready(&mut program, index);
        program.succeed(op::UNPAIR_DEVICE, index, &parameters);
    }

    fn show_tables(&mut self) {
        self.kernel.show_tables();
    }

    fn block_ltks(&mut self, adapter: &str, values: &[&str]) {
        let records: Vec<Vec<u8>> = values.iter().map(|value| [&[1][..], &unhex(value)].concat()).collect();
        let mut program = self.kernel.open_control(TOOL);
        program.succeed(op::SET_BLOCKED_KEYS, self.index(adapter), &list(&records));
    }

    fn tables(&mut self, adapter: &str) -> KernelTables {
        let tables = self.kernel.tables(self.index(adapter));
        let ltks = tables.ltks.iter().map(|k| (k.address.text(), k.address.is_random(), hex(&k.value)));
        let irks = tables.irks.iter().map(|k| (k.address.text(), k.address.is_random(), hex(&k.value)));
        let link_keys = tables.link_keys.iter().map(|k| (k.address.text(), hex(&k.value)));
        KernelTables { ltks: ltks.collect(), irks: irks.collect(), link_keys: link_keys.collect() }
    }

    fn key_octets(&mut self) -> BTreeSet<String> {
        let mut keys = self.kernel.key_octets();
        keys.extend(self.local_irks.iter().cloned());
        keys
    }

    fn ltk_load_count(&mut self, adapter: &str) -> u32 {
        self.kernel.command_count(self.index(adapter), op::LOAD_LTKS)
    }

    fn foreign_load_ltks(&mut self, adapter: &str, records: &[String]) {
        let records: Vec<Vec<u8>> = records.iter().map(|record| unhex(record)).collect();
        let mut manager = self.kernel.open_control("othermanager");
        manager.raise_send_mtu();
        manager.succeed(op::LOAD_LTKS, self.index(adapter), &list(&records));
    }

    fn start_bluetoothd(&mut self) {
        self.start_bluetoothd_with(Agent::None);
    }

    fn stop_bluetoothd(&mut self) {
        self.bluetoothd.take().expect("bluetoothd runs").stop(&self.kernel);
    }

    fn wait_bluetoothd(&mut self, adapter: &str) {
        Bluetoothd::wait_loaded(&self.kernel, self.index(adapter));
    }

    fn teach_bluetoothd(&mut self, adapter: &str, peers: &[&str]) {
        assert!(self.bluetoothd.is_none(), "bluetoothd runs");
        let tables = self.kernel.tables(self.index(adapter));
        let hardware = &self.adapters[adapter].hardware;
        self.storage.teach(hardware, &tables, peers);
    }

    fn wipe_bluetoothd(&mut self) {
        assert!(self.bluetoothd.is_none(), "bluetoothd runs");
        self.storage.wipe();
    }

    fn remove_in_bluetoothd(&mut self, adapter: &str, peer: &str) {
        let index = self.index(adapter);
        let address = self.peer_address(peer);
        self.bluetoothd.as_ref().expect("bluetoothd runs").remove(index, address);
    }
}
