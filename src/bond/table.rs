//! The bond table of one adapter: the desired state that the kernel's table is
//! brought to.
//!
//! Holds what the kernel would hold (one LTK a peer and role, Secure Connections for both)
//! and remembers what was removed, so that a merge with an older copy never brings it back.
//! Every change raises the generation by one and stamps the entry it touched.

use std::collections::btree_map as map;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::address::PeerAddress;
use super::bond::{Bond, BondMetadata, ConnectionParameters, UnixMillis};
use super::fingerprint::{Fingerprint, FingerprintKey};
use super::key::{Csrk, Irk, LinkKey};
use super::ltk::{Ltk, LtkSlot};

/// Bonds of one adapter. The kernel takes 1,820 LTKs at most; the rest is room for
/// imports that are sorted out later. Past it a capture is refused and reported.
pub const BONDS_PER_ADAPTER_MAX: usize = 20_000;

/// Removals remembered for one adapter; past it the oldest is forgotten. Only a copy older
/// than that many removals could bring a bond back.
pub const TOMBSTONES_PER_ADAPTER_MAX: usize = 4_096;

/// A key or setting as an event of the kernel brings it.
#[derive(Clone, PartialEq, Eq)]
pub enum CapturedKey {
    Ltk(Ltk),
    Irk(Irk),
    CsrkLocal(Csrk),
    CsrkRemote(Csrk),
    LinkKey(LinkKey),
    ConnectionParameters(ConnectionParameters),
}

/// What kind of place a captured key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum KeySlot {
    Ltk(LtkSlot),
    Irk,
    CsrkLocal,
    CsrkRemote,
    LinkKey,
    ConnectionParameters,
}

impl CapturedKey {
    fn slot(&self) -> KeySlot {
        match self {
            Self::Ltk(ltk) => KeySlot::Ltk(ltk.slot()),
            Self::Irk(_) => KeySlot::Irk,
            Self::CsrkLocal(_) => KeySlot::CsrkLocal,
            Self::CsrkRemote(_) => KeySlot::CsrkRemote,
            Self::LinkKey(_) => KeySlot::LinkKey,
            Self::ConnectionParameters(_) => KeySlot::ConnectionParameters,
        }
    }
}

/// The keys that one pairing has brought so far. The keys of an earlier pairing are worth
/// nothing once a later one gave the first key of its own: the peer has thrown its halves away.
#[derive(Debug, Clone, Default)]
pub struct PairingKeys {
    seen: BTreeSet<KeySlot>,
}

impl PairingKeys {
    /// Whether this pairing has brought a key for the same place already: then `key` belongs to a
    /// later pairing. Connection parameters may change at any time and say nothing.
    pub fn has_slot_of(&self, key: &CapturedKey) -> bool {
        !matches!(key, CapturedKey::ConnectionParameters(_)) && self.seen.contains(&key.slot())
    }

    fn has_ltk(&self) -> bool {
        self.seen.iter().any(|slot| matches!(slot, KeySlot::Ltk(_)))
    }
}

/// What a capture or an insertion did to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The peer had no bond.
    Added,
    /// The peer's bond holds other keys now.
    Updated,
    /// Nothing is different.
    Unchanged,
}

/// Why a capture did not go into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this adapter holds {BONDS_PER_ADAPTER_MAX} bonds, which is the most that is kept")]
pub struct TableFull;

/// The outcome of a capture.
pub type Capture = Result<Change, TableFull>;

/// The trace of a removed bond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    pub peer: PeerAddress,
    /// Table generation of the removal.
    pub generation: u64,
}

/// A bond and the table generation that last touched it.
#[derive(Clone)]
pub struct Entry {
    pub bond: Arc<Bond>,
    pub generation: u64,
    /// Of the bond's keys, once somebody has asked for it.
    fingerprint: OnceLock<Fingerprint>,
}

impl Entry {
    const fn new(bond: Arc<Bond>, generation: u64) -> Self {
        Self { bond, generation, fingerprint: OnceLock::new() }
    }

    /// Fingerprint of the bond's keys under the node's key, of which there is one as long as a process lives.
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        *self.fingerprint.get_or_init(|| key.fingerprint(&self.bond))
    }
}

/// Difference between two tables, by peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableDiff {
    pub added: Vec<PeerAddress>,
    pub changed: Vec<PeerAddress>,
    pub unchanged: Vec<PeerAddress>,
    pub removed: Vec<PeerAddress>,
}

/// See the module text. Cheap to clone: entries are shared.
#[derive(Clone, Default)]
pub struct BondTable {
    generation: u64,
    entries: BTreeMap<PeerAddress, Entry>,
    tombstones: BTreeMap<PeerAddress, u64>,
}

impl BondTable {
    pub const fn new() -> Self {
        Self { generation: 0, entries: BTreeMap::new(), tombstones: BTreeMap::new() }
    }

    /// Rebuilds a table from stored entries. A peer that has both a bond and a tombstone keeps
    /// the later one, and the table's generation is the highest seen anywhere.
    pub fn from_stored(
        generation: u64,
        entries: impl IntoIterator<Item = (impl Into<Arc<Bond>>, u64)>,
        tombstones: impl IntoIterator<Item = Tombstone>,
    ) -> Self {
        let mut table = Self { generation, ..Self::new() };
        for (bond, generation) in entries {
            table.merge_bond(bond.into(), generation);
        }
        for tombstone in tombstones {
            table.merge_tombstone(tombstone);
        }
        table
    }

    /// Rises by one with every change.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of bonds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, peer: PeerAddress) -> Option<&Bond> {
        self.entries.get(&peer).map(|entry| &*entry.bond)
    }

    /// A peer's bond with its stamp.
    pub fn entry(&self, peer: PeerAddress) -> Option<&Entry> {
        self.entries.get(&peer)
    }

    /// Bonds in the order of their addresses.
    pub fn bonds(&self) -> impl Iterator<Item = &Bond> {
        self.entries.values().map(|entry| &*entry.bond)
    }

    /// Bonds with their stamps, in the order of their addresses.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub fn tombstones(&self) -> impl Iterator<Item = Tombstone> + '_ {
        self.tombstones.iter().map(|(peer, generation)| Tombstone { peer: *peer, generation: *generation })
    }

    /// Takes a key that the kernel reported. `pairing` are the keys of the same pairing so far;
    /// `fresh` describes the bond if it is the peer's first.
    pub fn capture(
        &mut self,
        peer: PeerAddress,
        key: CapturedKey,
        pairing: &mut PairingKeys,
        fresh: BondMetadata,
        now: UnixMillis,
    ) -> Capture {
        let present = self.get(peer);
        if present.is_none() && self.entries.len() >= BONDS_PER_ADAPTER_MAX {
            return Err(TableFull);
        }
        let added = present.is_none();
        let mut bond = present.cloned().unwrap_or_else(|| Bond::new(peer, fresh));
        let slot = key.slot();
        put(&mut bond, key, pairing);
        pairing.seen.insert(slot);
        if self.get(peer).is_some_and(|present| present.same_keys(&bond)) {
            return Ok(Change::Unchanged);
        }
        bond.metadata.updated_at = now;
        self.put(bond);
        Ok(if added { Change::Added } else { Change::Updated })
    }

    /// Puts a whole bond in place of the peer's present one.
    pub fn insert(&mut self, bond: Bond) -> Capture {
        let change = match self.get(bond.peer) {
            Some(present) if *present == bond => return Ok(Change::Unchanged),
            Some(_) => Change::Updated,
            None if self.entries.len() >= BONDS_PER_ADAPTER_MAX => return Err(TableFull),
            None => Change::Added,
        };
        self.put(bond);
        Ok(change)
    }

    /// Changes what is known about a bond besides its keys; false when the peer has none.
    pub fn touch(&mut self, peer: PeerAddress, change: impl FnOnce(&mut BondMetadata)) -> bool {
        let Some(present) = self.get(peer) else { return false };
        let mut bond = present.clone();
        change(&mut bond.metadata);
        if bond.metadata == present.metadata {
            return false;
        }
        self.put(bond);
        true
    }

    /// Removes a bond and remembers the removal.
    pub fn remove(&mut self, peer: PeerAddress) -> Option<Arc<Bond>> {
        let entry = self.entries.remove(&peer)?;
        self.generation += 1;
        self.bury(peer, self.generation);
        Some(entry.bond)
    }

    /// Takes the later of two versions of each peer out of another copy of the same table.
    /// True when anything was taken.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = self.generation;
        let mut taken = false;
        for entry in other.entries.values() {
            taken |= self.merge_bond(Arc::clone(&entry.bond), entry.generation);
        }
        for tombstone in other.tombstones() {
            taken |= self.merge_tombstone(tombstone);
        }
        self.generation = self.generation.max(other.generation).max(before);
        taken
    }

    /// What would have to happen to `self` to become `wanted`.
    pub fn diff(&self, wanted: &Self) -> TableDiff {
        let mut diff = TableDiff::default();
        for bond in wanted.bonds() {
            match self.get(bond.peer) {
                None => diff.added.push(bond.peer),
                Some(present) if present.same_keys(bond) => diff.unchanged.push(bond.peer),
                Some(_) => diff.changed.push(bond.peer),
            }
        }
        let gone = self.entries.keys().filter(|peer| !wanted.entries.contains_key(peer));
        diff.removed = gone.copied().collect();
        diff
    }

    fn put(&mut self, bond: Bond) {
        self.generation += 1;
        self.tombstones.remove(&bond.peer);
        let peer = bond.peer;
        self.entries.insert(peer, Entry::new(Arc::new(bond), self.generation));
    }

    fn bury(&mut self, peer: PeerAddress, generation: u64) {
        self.tombstones.insert(peer, generation);
        if self.tombstones.len() > TOMBSTONES_PER_ADAPTER_MAX {
            let oldest = self.tombstones.iter().min_by_key(|(_, generation)| **generation);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.tombstones.remove(&oldest);
            }
        }
    }

    fn merge_bond(&mut self, bond: Arc<Bond>, generation: u64) -> bool {
        let peer = bond.peer;
        if self.tombstones.get(&peer).is_some_and(|buried| *buried >= generation) {
            return false;
        }
        match self.entries.entry(peer) {
            map::Entry::Occupied(present) if present.get().generation >= generation => return false,
            map::Entry::Occupied(mut present) => drop(present.insert(Entry::new(bond, generation))),
            map::Entry::Vacant(place) => drop(place.insert(Entry::new(bond, generation))),
        }
        self.tombstones.remove(&peer);
        self.generation = self.generation.max(generation);
        true
    }

    fn merge_tombstone(&mut self, tombstone: Tombstone) -> bool {
        let Tombstone { peer, generation } = tombstone;
        let present = self.entries.get(&peer).map(|entry| entry.generation);
        let buried = self.tombstones.get(&peer).copied();
        if present.max(buried).is_some_and(|known| known >= generation) {
            return false;
        }
        self.entries.remove(&peer);
        self.bury(peer, generation);
        self.generation = self.generation.max(generation);
        true
    }
}

fn put(bond: &mut Bond, key: CapturedKey, pairing: &PairingKeys) {
    match key {
        CapturedKey::Ltk(ltk) => put_ltk(bond, ltk, pairing),
        CapturedKey::Irk(irk) => bond.irk = Some(irk),
        CapturedKey::CsrkLocal(csrk) => bond.csrk_local = Some(csrk),
        CapturedKey::CsrkRemote(csrk) => bond.csrk_remote = Some(csrk),
        CapturedKey::LinkKey(key) => bond.link_key = Some(key),
        CapturedKey::ConnectionParameters(parameters) => {
            bond.connection_parameters = Some(parameters);
        }
    }
}

fn put_ltk(bond: &mut Bond, ltk: Ltk, pairing: &PairingKeys) {
    if bond.ltks().contains(&ltk) {
        return;
    }
    if !pairing.has_ltk() {
        bond.retain_ltks(|_| false);
        if !pairing.seen.contains(&KeySlot::CsrkLocal) {
            bond.csrk_local = None;
        }
        if !pairing.seen.contains(&KeySlot::CsrkRemote) {
            bond.csrk_remote = None;
        }
    }
    // A legacy key and a Secure Connections key of one peer would both be loaded, and the kernel
    // would pick one: they never stand together.
    let secure = ltk.slot() == LtkSlot::SecureConnections;
    bond.retain_ltks(|slot| (slot == LtkSlot::SecureConnections) == secure);
    bond.put_ltk(ltk);
}

#[cfg(test)]
mod tests;
