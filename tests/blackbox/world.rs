//! The world a scenario plays in: adapters that are plugged and pulled, peers
//! that pair and reconnect. Two implementations exist: the simulator
//! (`world_sim.rs`) and a real Linux kernel in a guest (`world_kernel.rs`).
//! A scenario marked *both* must give the same answer in each.
//!
//! Nothing in here knows bondkeeper: a world plays the kernel, the radios, the
//! peers and the other programs on the host.

use std::collections::BTreeSet;

/// A peer device as the scenario asks for it. The peer lives outside the kernel
/// under test and keeps its own half of every bond it makes.
#[derive(Debug, Clone)]
pub struct PeerSpec {
    /// The scenario's own name for it.
    pub name: &'static str,
    /// Identity address, upper case with colons.
    pub address: &'static str,
    /// Public identity address, or static random.
    pub public: bool,
    /// Pairs with LE Secure Connections, or LE legacy.
    pub secure_connections: bool,
    /// Advertises under resolvable private addresses and distributes an IRK.
    pub privacy: bool,
    /// Asks for bonding; without it the kernel's store hint is 0.
    pub bonding: bool,
}

impl PeerSpec {
    pub const fn public(name: &'static str, address: &'static str) -> Self {
        Self { name, address, public: true, secure_connections: true, privacy: false, bonding: true }
    }
    pub const fn legacy(mut self) -> Self {
        self.secure_connections = false;
        self
    }
    pub const fn private(mut self) -> Self {
        self.privacy = true;
        self
    }
    pub const fn static_random(mut self) -> Self {
        self.public = false;
        self
    }
    pub const fn without_bonding(mut self) -> Self {
        self.bonding = false;
        self
    }
}

/// What a connection attempt by identity address came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The link is encrypted.
    pub encrypted: bool,
    /// SMP packets seen during the attempt: 0 means no new pairing took place.
    pub smp_packet_count: u32,
    /// What the protected characteristic read as; none when the read was refused.
    pub protected_value: Option<String>,
}

/// The kernel's tables of one adapter, read behind bondkeeper's back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelTables {
    /// (peer address, is random, key octets as hex in mgmt order) for each LTK.
    pub ltks: BTreeSet<(String, bool, String)>,
    /// (peer address, is random, IRK octets as hex in mgmt order).
    pub irks: BTreeSet<(String, bool, String)>,
    /// (peer address, key octets as hex).
    pub link_keys: BTreeSet<(String, String)>,
}

/// How a pairing is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct PairOptions {
    /// The adapter uses SMP debug keys (key type 4).
    pub debug_keys: bool,
    /// The adapter is not bondable: the kernel's store hint is 0.
    pub not_bondable: bool,
}

/// See the module text. Every method blocks until the thing asked for has
/// happened (event driven, with a limit of at least ten seconds) and panics with
/// a description when it does not: a world that cannot do its part is a failed
/// test, not a result.
pub trait World {
    /// `simulator` or `kernel`, for messages.
    fn kind(&self) -> &'static str;
    /// Environment the service needs to reach this world's kernel.
    fn service_env(&self) -> Vec<(String, String)>;

    /// Plugs a controller in; returns its index. Does not power it on.
    fn plug(&mut self, adapter: &str, address: &str) -> u16;
    /// Pulls it out: its kernel tables are gone.
    fn unplug(&mut self, adapter: &str);
    /// The present index of a plugged adapter.
    fn index(&self, adapter: &str) -> u16;
    fn power_off(&mut self, adapter: &str);
    /// Another program sets the adapter's own identity: privacy 0 to 2, and the key as hex in mgmt order. False
    /// when the kernel refuses.
    fn set_privacy(&mut self, adapter: &str, privacy: u8, irk: &str) -> bool;
    /// The key of the adapter's own identity that the kernel uses; none where it uses none.
    fn local_irk(&mut self, adapter: &str) -> Option<String>;

    /// Makes a peer that advertises from now on.
    fn add_peer(&mut self, spec: &PeerSpec);
    /// A connection to a peer that has lost its key does not bring this world's kernel down. Linux 6.1 has a
    /// bug there.
    fn survives_lost_keys(&self) -> bool {
        true
    }

    /// The peer loses all its bonds (a factory reset).
    fn reset_peer(&mut self, peer: &str);

    /// Another program (not bondkeeper) pairs the adapter with the peer, powering the
    /// adapter on first; the link is dropped afterwards. True when pairing succeeded.
    fn pair(&mut self, adapter: &str, peer: &str, options: PairOptions) -> bool;
    /// Another program connects by identity address, asking for an encrypted link,
    /// reads the protected characteristic and disconnects.
    fn connect(&mut self, adapter: &str, peer: &str) -> Connected;
    /// Another program unpairs the peer.
    fn unpair(&mut self, adapter: &str, peer: &str);

    /// The service may read the kernel's tables from now on, as root on a plain host.
    fn show_tables(&mut self);
    /// Another program tells the kernel to load none of these LTKs (hex, mgmt order) from now on, and any other.
    fn block_ltks(&mut self, adapter: &str, values: &[&str]);

    /// What the kernel holds now.
    fn tables(&mut self, adapter: &str) -> KernelTables;
    /// The octets (hex, mgmt order) of every key this world has made so far, for canary
    /// searches. Never empty after a pairing.
    fn key_octets(&mut self) -> BTreeSet<String>;
    /// How many Load Long Term Keys commands for this adapter were seen since it was
    /// plugged in, from whatever process.
    fn ltk_load_count(&mut self, adapter: &str) -> u32;

    /// Another manager loads exactly these LTK records (36 octets each, hex) and nothing else.
    fn foreign_load_ltks(&mut self, adapter: &str, records: &[String]);
    /// bluetoothd (in the simulator: a process of that name holding a control socket)
    /// is started, or stopped.
    fn start_bluetoothd(&mut self);
    fn stop_bluetoothd(&mut self);
    /// Waits until a running bluetoothd has loaded its lists into a newly plugged adapter.
    fn wait_bluetoothd(&mut self, adapter: &str);
    /// The bonds that the kernel made with these peers are put on the disk of a bluetoothd that does not run.
    fn teach_bluetoothd(&mut self, adapter: &str, peers: &[&str]);
    /// The disk of a bluetoothd that does not run is lost.
    fn wipe_bluetoothd(&mut self);
    /// The user removes a device in the running bluetoothd.
    fn remove_in_bluetoothd(&mut self, adapter: &str, peer: &str);
}
