//! One bond: everything that two devices agreed on when they paired.

use super::address::PeerAddress;
use super::custody::{Custody, Source};
use super::details::PeerDetails;
use super::key::{Csrk, Irk, LinkKey};
use super::ltk::{KeyType, Ltk, LtkSlot};

/// Milliseconds since 1970-01-01 UTC, as the shell's wall clock says. For people only: nothing
/// is ever decided by comparing two of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

/// Preferred connection parameters of a peer. [MGMT New Connection Parameter]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionParameters {
    /// Units of 1.25 ms.
    pub min_interval: u16,
    /// Units of 1.25 ms.
    pub max_interval: u16,
    /// Connection events that the peripheral may skip.
    pub latency: u16,
    /// Units of 10 ms.
    pub supervision_timeout: u16,
}

impl ConnectionParameters {
    /// Whether the kernel would take them. [LINUX include/net/bluetooth/hci_core.h
    /// hci_check_conn_params]
    pub const fn is_valid(&self) -> bool {
        if self.min_interval > self.max_interval || self.min_interval < 6 || self.max_interval > 3200 {
            return false;
        }
        if self.supervision_timeout < 10 || self.supervision_timeout > 3200 {
            return false;
        }
        if self.max_interval as u32 >= self.supervision_timeout as u32 * 8 {
            return false;
        }
        let latency_max = (self.supervision_timeout as u32 * 4 / self.max_interval as u32).saturating_sub(1);
        self.latency <= 499 && self.latency as u32 <= latency_max
    }
}

/// What is known about a bond besides its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BondMetadata {
    /// The peer's name, where one was seen.
    pub name: Option<String>,
    pub custody: Custody,
    pub source: Source,
    pub created_at: UnixMillis,
    pub updated_at: UnixMillis,
    /// Last connection of the peer on this adapter.
    pub last_seen_at: Option<UnixMillis>,
    /// What other systems know of the peer; most bonds have nothing here.
    pub details: Option<Box<PeerDetails>>,
}

impl BondMetadata {
    /// What other systems know of the peer, to be changed; an empty one is dropped again.
    pub fn note(&mut self, change: impl FnOnce(&mut PeerDetails)) {
        let mut details = self.details.take().map_or_else(PeerDetails::default, |details| *details);
        change(&mut details);
        self.details = details.boxed();
    }

    /// Of a bond that begins now.
    pub const fn new(custody: Custody, source: Source, now: UnixMillis) -> Self {
        Self {
            name: None,
            custody,
            source,
            created_at: now,
            updated_at: now,
            last_seen_at: None,
            details: None,
        }
    }
}

/// One bond of an adapter with a peer. An LTK alone cannot bring back a peer that uses private
/// addresses, so the IRK and all the rest belong to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Bond {
    pub peer: PeerAddress,
    ltks: Vec<Ltk>,
    pub irk: Option<Irk>,
    pub csrk_local: Option<Csrk>,
    pub csrk_remote: Option<Csrk>,
    pub link_key: Option<LinkKey>,
    pub connection_parameters: Option<ConnectionParameters>,
    pub metadata: BondMetadata,
}

impl Bond {
    /// A bond without keys yet.
    pub const fn new(peer: PeerAddress, metadata: BondMetadata) -> Self {
        Self {
            peer,
            ltks: Vec::new(),
            irk: None,
            csrk_local: None,
            csrk_remote: None,
            link_key: None,
            connection_parameters: None,
            metadata,
        }
    }

    /// The LTKs in slot order: legacy central, legacy peripheral, Secure Connections.
    pub fn ltks(&self) -> &[Ltk] {
        &self.ltks
    }

    /// Puts an LTK in its slot; gives back what stood there.
    pub fn put_ltk(&mut self, ltk: Ltk) -> Option<Ltk> {
        match self.ltks.binary_search_by_key(&ltk.slot(), Ltk::slot) {
            Ok(at) => Some(std::mem::replace(&mut self.ltks[at], ltk)),
            Err(at) => {
                self.ltks.insert(at, ltk);
                None
            }
        }
    }

    /// Drops the LTKs whose slot is not wanted.
    pub fn retain_ltks(&mut self, mut keep: impl FnMut(LtkSlot) -> bool) {
        self.ltks.retain(|ltk| keep(ltk.slot()));
    }

    /// Drops every key that belongs to the LE transport, and what goes with it.
    pub fn drop_le_keys(&mut self) {
        self.ltks.clear();
        self.irk = None;
        self.csrk_local = None;
        self.csrk_remote = None;
        self.connection_parameters = None;
    }

    /// Holds any key that belongs to the LE transport.
    pub fn has_le_keys(&self) -> bool {
        !self.ltks.is_empty() || self.irk.is_some() || self.csrk_local.is_some() || self.csrk_remote.is_some()
    }

    /// Holds any key at all.
    pub fn has_keys(&self) -> bool {
        self.has_le_keys() || self.link_key.is_some()
    }

    /// A peer known over BR/EDR only.
    pub fn is_bredr_only(&self) -> bool {
        self.link_key.is_some() && !self.has_le_keys()
    }

    /// An LTK or a link key: what a link can be encrypted with. An IRK or a signature key alone
    /// is not a bond yet.
    pub fn can_encrypt(&self) -> bool {
        !self.ltks.is_empty() || self.link_key.is_some()
    }

    /// Equal in everything a peer could notice: the keys and connection parameters, not the metadata.
    pub fn same_keys(&self, other: &Self) -> bool {
        self.peer == other.peer
            && self.ltks == other.ltks
            && self.irk == other.irk
            && self.csrk_local == other.csrk_local
            && self.csrk_remote == other.csrk_remote
            && self.link_key == other.link_key
            && self.connection_parameters == other.connection_parameters
    }

    /// Its manager has loaded its list without this peer: the sign of a lost host.
    pub fn is_orphaned(&self) -> bool {
        let orphaned = self.metadata.details.as_ref().is_some_and(|details| details.orphaned);
        orphaned && self.metadata.custody == Custody::Foreign
    }

    /// The strongest LTK's type.
    pub fn strongest_key_type(&self) -> Option<KeyType> {
        self.ltks.iter().map(|ltk| ltk.key_type).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(min: u16, max: u16, latency: u16, timeout: u16) -> ConnectionParameters {
        ConnectionParameters { min_interval: min, max_interval: max, latency, supervision_timeout: timeout }
    }

    #[test]
    fn connection_parameters_are_valid_exactly_where_the_kernel_takes_them() {
        assert!(parameters(24, 40, 0, 600).is_valid());
        assert!(!parameters(5, 40, 0, 600).is_valid());
        assert!(!parameters(40, 24, 0, 600).is_valid());
        assert!(!parameters(24, 3201, 0, 600).is_valid());
        assert!(!parameters(24, 80, 0, 10).is_valid(), "time-out not longer than the interval");
        assert!(!parameters(24, 40, 500, 600).is_valid());
        assert!(!parameters(24, 40, 60, 600).is_valid(), "latency outlasts the time-out");
    }
}
