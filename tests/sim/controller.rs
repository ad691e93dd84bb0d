//! One simulated controller: what Read Controller Information tells of it, and
//! the kernel tables that live from plug-in to unplug.

use std::collections::{BTreeMap, BTreeSet};

use super::records::{ConnectionParameters, Irk, Key, LinkKey, Ltk};
use super::wire::{Address, LE_PUBLIC, LE_RANDOM, setting};

/// A controller as it is plugged in.
#[derive(Debug, Clone)]
pub struct Hardware {
    /// Upper case with colons. `00:00:00:00:00:00`: it has none.
    pub address: String,
    pub name: String,
    /// No BR/EDR, as the virtual controllers of the real-kernel bench.
    pub le_only: bool,
    /// It needs external configuration first: no ordinary command reaches it.
    pub unconfigured: bool,
}

impl Hardware {
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), name: String::new(), le_only: true, unconfigured: false }
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn dual_mode(mut self) -> Self {
        self.le_only = false;
        self
    }

    pub fn unconfigured(mut self) -> Self {
        self.unconfigured = true;
        self
    }
}

/// A link that stands, under the address the kernel knows it by.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub peer: String,
    /// The controller's own name for it.
    pub handle: u16,
}

#[derive(Debug)]
pub(super) struct Controller {
    pub index: u16,
    pub address: Address,
    pub name: String,
    pub le_only: bool,
    pub configured: bool,
    pub settings: u32,
    pub static_address: Option<[u8; 6]>,
    /// Set by Load IRKs and Set Privacy: peers are asked for their IRK.
    pub asks_for_irks: bool,
    /// What Set Privacy gave it.
    pub local_irk: Option<Key>,
    pub discovering: bool,
    pub ltks: Vec<Ltk>,
    pub irks: Vec<Irk>,
    pub link_keys: Vec<LinkKey>,
    pub connection_parameters: Vec<ConnectionParameters>,
    /// (0 link key, 1 LTK, 2 IRK; value)
    pub blocked: BTreeSet<(u8, Key)>,
    pub links: BTreeMap<Address, Link>,
    /// Commands seen since plug-in, by opcode.
    pub command_counts: BTreeMap<u16, u32>,
}

/// The tables of a controller, newest entries first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    pub ltks: Vec<Ltk>,
    pub irks: Vec<Irk>,
    pub link_keys: Vec<LinkKey>,
    pub connection_parameters: Vec<ConnectionParameters>,
}

impl Controller {
    pub fn new(index: u16, hardware: &Hardware) -> Self {
        let transport = if hardware.le_only { setting::LE } else { setting::BREDR };
        Self {
            index,
            address: Address::new(&hardware.address, LE_PUBLIC),
            name: hardware.name.clone(),
            le_only: hardware.le_only,
            configured: !hardware.unconfigured,
            // Not bondable until somebody says so: the kernel clears it for programs that manage.
            settings: transport,
            static_address: None,
            asks_for_irks: false,
            local_irk: None,
            discovering: false,
            ltks: Vec::new(),
            irks: Vec::new(),
            link_keys: Vec::new(),
            connection_parameters: Vec::new(),
            blocked: BTreeSet::new(),
            links: BTreeMap::new(),
            command_counts: BTreeMap::new(),
        }
    }

    pub fn has(&self, bit: u32) -> bool {
        self.settings & bit != 0
    }

    pub fn powered(&self) -> bool {
        self.has(setting::POWERED)
    }

    pub fn set(&mut self, bit: u32, on: bool) {
        if on { self.settings |= bit } else { self.settings &= !bit }
    }

    pub fn supported(&self) -> u32 {
        let le = setting::POWERED
            | setting::CONNECTABLE
            | setting::BONDABLE
            | setting::LE
            | setting::ADVERTISING
            | setting::SECURE_CONNECTIONS
            | setting::DEBUG_KEYS
            | setting::PRIVACY
            | setting::STATIC_ADDRESS;
        if self.le_only { le } else { le | setting::BREDR | setting::SSP }
    }

    /// The identity that peers bond with: the public address, else the static one.
    pub fn identity(&self) -> Option<Address> {
        if self.address.octets != [0; 6] {
            return Some(self.address);
        }
        self.static_address.map(|octets| Address { octets, kind: LE_RANDOM })
    }

    /// bdaddr 6, version u8, manufacturer u16, supported u32, current u32,
    /// class 3, name 249, short name 11: 280 octets.
    pub fn info(&self) -> Vec<u8> {
        const VERSION_5_2: u8 = 11;
        const MANUFACTURER: u16 = 0xFFFF;
        const NAME_OCTETS: usize = 249;
        const SHORT_NAME_OCTETS: usize = 11;
        let mut info = self.address.octets.to_vec();
        info.push(VERSION_5_2);
        info.extend_from_slice(&MANUFACTURER.to_le_bytes());
        info.extend_from_slice(&self.supported().to_le_bytes());
        info.extend_from_slice(&self.settings.to_le_bytes());
        info.extend_from_slice(&[0; 3]);
        let mut name = self.name.as_bytes().to_vec();
        name.truncate(NAME_OCTETS - 1);
        name.resize(NAME_OCTETS, 0);
        info.extend_from_slice(&name);
        info.extend_from_slice(&[0; SHORT_NAME_OCTETS]);
        info
    }

    pub fn tables(&self) -> Tables {
        Tables {
            ltks: self.ltks.clone(),
            irks: self.irks.clone(),
            link_keys: self.link_keys.clone(),
            connection_parameters: self.connection_parameters.clone(),
        }
    }

    /// The LTK that a link to this peer is encrypted with while the adapter is central.
    pub fn ltk_as_central(&self, peer: Address) -> Option<&Ltk> {
        let found = self.ltks.iter().find(|ltk| ltk.address == peer && ltk.serves(true))?;
        (!self.is_blocked(1, &found.value)).then_some(found)
    }

    pub fn is_blocked(&self, kind: u8, value: &Key) -> bool {
        self.blocked.contains(&(kind, *value))
    }

    /// Takes a peer's LTKs and IRK off the tables. False when it had no LTK.
    pub fn remove_le_keys(&mut self, peer: Address) -> bool {
        let before = self.ltks.len();
        self.ltks.retain(|ltk| ltk.address != peer);
        self.irks.retain(|irk| irk.address != peer);
        self.ltks.len() != before
    }
}
