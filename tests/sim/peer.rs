//! Simulated peers: each keeps its own half of every bond, outside the kernel.

use std::collections::BTreeMap;

use super::records::Key;
use super::wire::{Address, LE_PUBLIC, LE_RANDOM};

/// A peer as it is made.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    pub name: String,
    pub address: Address,
    pub secure_connections: bool,
    /// Advertises under resolvable private addresses. Of use only with an IRK.
    pub privacy: bool,
    /// Gives its IRK to an adapter that asks for it.
    pub distributes_irk: bool,
    pub bonding: bool,
    /// Distributes signing keys, too.
    pub signing: bool,
    /// Compares numbers: the confirmation is not a mere formality and the key is authenticated.
    pub numeric_comparison: bool,
    /// Accepts a new pairing from an adapter it is bonded with already.
    pub permissive: bool,
}

impl PeerConfig {
    pub fn new(name: &str, address: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: Address::new(address, LE_PUBLIC),
            secure_connections: true,
            privacy: false,
            distributes_irk: false,
            bonding: true,
            signing: false,
            numeric_comparison: false,
            permissive: true,
        }
    }

    pub fn static_random(mut self) -> Self {
        self.address.kind = LE_RANDOM;
        self
    }

    pub fn legacy(mut self) -> Self {
        self.secure_connections = false;
        self
    }

    pub fn private(mut self) -> Self {
        self.privacy = true;
        self.distributes_irk = true;
        self
    }
}

/// What the peer answers an adapter's encryption request with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PeerBond {
    pub ediv: u16,
    pub rand: [u8; 8],
    pub value: Key,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub config: PeerConfig,
    pub irk: Key,
    /// The address on the air at the moment, for a peer with privacy.
    pub private_address: Address,
    /// By the adapter's identity.
    pub bonds: BTreeMap<Address, PeerBond>,
}

impl Peer {
    pub fn new(config: PeerConfig, random: &mut Random) -> Self {
        let private_address = random.private_address();
        Self { config, irk: random.octets(), private_address, bonds: BTreeMap::new() }
    }

    /// What it advertises under now.
    pub fn on_air(&self) -> Address {
        if self.config.privacy { self.private_address } else { self.config.address }
    }
}

/// Random enough to make keys that occur nowhere else, and the same on each run.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The SplitMix64 sequence.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn octets<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        for octet in &mut octets {
            *octet = (self.next() >> 32) as u8;
        }
        octets
    }

    /// A resolvable private address: top bits 01. The hash half is made up: who
    /// can resolve it is decided by who holds the peer's IRK, not by AES.
    pub fn private_address(&mut self) -> Address {
        let mut octets: [u8; 6] = self.octets();
        octets[5] = octets[5] & 0x3F | 0x40;
        Address { octets, kind: LE_RANDOM }
    }
}
