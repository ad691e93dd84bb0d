//! The key records of the Load commands and the New … Key events, as octets.
//!
//! | record | octets | fields |
//! |---|---|---|
//! | LTK | 36 | address 7, type u8, central u8, encryption size u8, EDIV u16, Rand 8, value 16 |
//! | IRK | 23 | address 7, value 16 |
//! | link key | 25 | address 7, type u8, value 16, PIN length u8 |
//! | CSRK | 24 | address 7, type u8, value 16 |
//! | connection parameters | 15 | address 7, min, max, latency, timeout u16 each |

use super::wire::{Address, BREDR, read_u16};

pub type Key = [u8; 16];

/// LTK types.
pub const LEGACY_UNAUTHENTICATED: u8 = 0;
pub const P256_UNAUTHENTICATED: u8 = 2;
pub const P256_AUTHENTICATED: u8 = 3;
pub const P256_DEBUG: u8 = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ltk {
    pub address: Address,
    pub key_type: u8,
    pub central: u8,
    pub size: u8,
    pub ediv: u16,
    pub rand: [u8; 8],
    pub value: Key,
}

impl Ltk {
    pub const OCTETS: usize = 36;

    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; Self::OCTETS] = octets.try_into().ok()?;
        Some(Self {
            address: Address::read(octets)?,
            key_type: octets[7],
            central: octets[8],
            size: octets[9],
            ediv: read_u16(octets, 10)?,
            rand: octets[12..20].try_into().ok()?,
            value: octets[20..36].try_into().ok()?,
        })
    }

    pub fn write(&self) -> Vec<u8> {
        let mut octets = self.address.write().to_vec();
        octets.extend_from_slice(&[self.key_type, self.central, self.size]);
        octets.extend_from_slice(&self.ediv.to_le_bytes());
        octets.extend_from_slice(&self.rand);
        octets.extend_from_slice(&self.value);
        octets
    }

    pub fn is_secure_connections(&self) -> bool {
        (P256_UNAUTHENTICATED..=P256_DEBUG).contains(&self.key_type)
    }

    /// Of use when the adapter has this role: Secure Connections serves both.
    pub fn serves(&self, central: bool) -> bool {
        self.is_secure_connections() || (self.central == 1) == central
    }

    /// The role the kernel files the key under. Secure Connections keys go with
    /// the peripheral ones, whatever the record says.
    fn filed_as_central(&self) -> bool {
        !self.is_secure_connections() && self.central == 1
    }

    /// The kernel would reject the record as malformed.
    pub fn is_malformed(&self) -> bool {
        !self.address.is_le_identity() || self.central > 1 || self.size > 16
    }

    /// The kernel would not take the record: malformed, or of a type it does not load.
    pub fn is_skipped(&self) -> bool {
        self.is_malformed() || self.key_type > P256_AUTHENTICATED
    }

    /// Adds the key as the kernel does: it takes the place of the first one that
    /// could serve in its role, else goes to the front.
    pub fn file_into(mut self, list: &mut Vec<Self>) {
        if self.is_secure_connections() {
            self.central = 0;
        }
        let role = self.filed_as_central();
        match list.iter_mut().find(|held| held.address == self.address && held.serves(role)) {
            Some(held) => *held = self,
            None => list.insert(0, self),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irk {
    pub address: Address,
    pub value: Key,
}

impl Irk {
    pub const OCTETS: usize = 23;

    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; Self::OCTETS] = octets.try_into().ok()?;
        Some(Self { address: Address::read(octets)?, value: octets[7..].try_into().ok()? })
    }

    pub fn write(&self) -> Vec<u8> {
        [&self.address.write()[..], &self.value].concat()
    }

    pub fn file_into(self, list: &mut Vec<Self>) {
        match list.iter_mut().find(|held| held.address == self.address) {
            Some(held) => *held = self,
            None => list.insert(0, self),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkKey {
    pub address: Address,
    pub key_type: u8,
    pub value: Key,
    pub pin_length: u8,
}

impl LinkKey {
    pub const OCTETS: usize = 25;
    const DEBUG_COMBINATION: u8 = 3;
    const HIGHEST_TYPE: u8 = 8;

    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; Self::OCTETS] = octets.try_into().ok()?;
        Some(Self {
            address: Address::read(octets)?,
            key_type: octets[7],
            value: octets[8..24].try_into().ok()?,
            pin_length: octets[24],
        })
    }

    pub fn write(&self) -> Vec<u8> {
        [&self.address.write()[..], &[self.key_type], &self.value, &[self.pin_length]].concat()
    }

    /// The kernel would reject the record as malformed.
    pub fn is_malformed(&self) -> bool {
        self.address.kind != BREDR || self.key_type > Self::HIGHEST_TYPE
    }

    pub fn is_skipped(&self) -> bool {
        self.is_malformed() || self.key_type == Self::DEBUG_COMBINATION
    }

    pub fn file_into(self, list: &mut Vec<Self>) {
        match list.iter_mut().find(|held| held.address == self.address) {
            Some(held) => *held = self,
            None => list.insert(0, self),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionParameters {
    pub address: Address,
    pub interval_min: u16,
    pub interval_max: u16,
    pub latency: u16,
    pub timeout: u16,
}

impl ConnectionParameters {
    pub const OCTETS: usize = 15;

    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; Self::OCTETS] = octets.try_into().ok()?;
        Some(Self {
            address: Address::read(octets)?,
            interval_min: read_u16(octets, 7)?,
            interval_max: read_u16(octets, 9)?,
            latency: read_u16(octets, 11)?,
            timeout: read_u16(octets, 13)?,
        })
    }

    /// The ranges of [CORE Vol 6 Part B 4.5], as the kernel checks them.
    pub fn is_skipped(&self) -> bool {
        let interval =
            self.interval_min >= 6 && self.interval_max <= 3200 && self.interval_min <= self.interval_max;
        let timeout = (10..=3200).contains(&self.timeout) && self.interval_max < self.timeout * 8;
        if !self.address.is_le_identity() || !interval || !timeout {
            return true;
        }
        let latency_max = self.timeout * 4 / self.interval_max - 1;
        self.latency > 499 || self.latency > latency_max
    }
}
