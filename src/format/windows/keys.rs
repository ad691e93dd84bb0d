//! The registry keys that matter, taken out of a file, and their values read in their types. An error names
//! the key and never quotes its data. Driven by the reader beside it.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::super::check;
use super::super::json::Bad;
use super::registry::{self, Broken, Value};
use super::{Digits, Place, irk_octets, place_of};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{Irk, KeyMaterial};

/// Values of one registry key; real ones have about twenty.
const VALUES_MAX: usize = 256;

/// The values of one registry key. The path is the part that errors name.
pub(super) struct Key {
    pub path: String,
    pub values: Vec<Value>,
}

/// One control set of the file.
#[derive(Default)]
pub(super) struct Set {
    pub adapters: BTreeMap<Digits, Key>,
    pub peers: BTreeMap<(Digits, Digits), Key>,
    pub devices: BTreeMap<Digits, Key>,
}

impl Key {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.values.iter().find(|value| value.name.eq_ignore_ascii_case(name));
        found.map(|value| value.data.as_str())
    }

    pub fn bad(&self, name: &str, reason: impl std::fmt::Display) -> Bad {
        Bad { place: format!("[{}] {name}", self.path), reason: reason.to_string() }
    }

    pub fn octets(&self, name: &str) -> Result<Option<Zeroizing<[u8; 16]>>, Bad> {
        let Some(data) = self.get(name) else { return Ok(None) };
        let octets = registry::binary(data).and_then(|octets| <[u8; 16]>::try_from(octets.as_slice()).ok());
        octets
            .map(|octets| Some(Zeroizing::new(octets)))
            .ok_or_else(|| self.bad(name, "is not 16 octets as hex:"))
    }

    pub fn dword(&self, name: &str) -> Result<Option<u32>, Bad> {
        let Some(data) = self.get(name) else { return Ok(None) };
        registry::dword(data).map(Some).ok_or_else(|| self.bad(name, "is not a dword:"))
    }

    pub fn qword(&self, name: &str) -> Result<Option<u64>, Bad> {
        let Some(data) = self.get(name) else { return Ok(None) };
        registry::qword(data).map(Some).ok_or_else(|| self.bad(name, "is not a number of 64 bits as hex(b):"))
    }

    pub fn key(&self, name: &str) -> Result<Option<KeyMaterial>, Bad> {
        let octets = self.octets(name)?;
        octets.map(|octets| KeyMaterial::new(*octets).map_err(|error| self.bad(name, error))).transpose()
    }

    pub fn irk(&self, name: &str, reversed: bool) -> Result<Option<Irk>, Bad> {
        let octets = self.octets(name)?.map(|octets| irk_octets(&octets, reversed));
        octets.map(|octets| check::irk(*octets).map_err(|bad| self.bad(name, bad.reason))).transpose()
    }
}

/// The keys that matter, by the control set that they stand in.
pub(super) fn collect(text: &str) -> Result<BTreeMap<String, Set>, Broken> {
    let mut sets: BTreeMap<String, Set> = BTreeMap::new();
    let at = std::cell::RefCell::new(None);
    let found = std::cell::RefCell::new(&mut sets);
    registry::walk(
        text,
        |path, line| {
            let place = place_of(path.strip_prefix('-').unwrap_or(path));
            if place.is_some() && path.starts_with('-') {
                return Err(Broken { line, reason: "takes a key away, and that is no bond" });
            }
            if let Some((set, place)) = &place {
                let mut found = found.borrow_mut();
                let set = found.entry(set.clone()).or_default();
                let key = || Key { path: place.to_string(), values: Vec::new() };
                match *place {
                    Place::Adapter(adapter) => drop(set.adapters.entry(adapter).or_insert_with(key)),
                    Place::Peer(adapter, peer) => {
                        let above = Key { path: Place::Adapter(adapter).to_string(), values: Vec::new() };
                        set.adapters.entry(adapter).or_insert(above);
                        set.peers.entry((adapter, peer)).or_insert_with(key);
                    }
                    Place::Device(peer) => drop(set.devices.entry(peer).or_insert_with(key)),
                }
            }
            let wanted = place.is_some();
            *at.borrow_mut() = place;
            Ok(wanted)
        },
        |value, line| {
            let at = at.borrow();
            let mut found = found.borrow_mut();
            let Some((set, place)) = at.as_ref() else { return Ok(()) };
            let set = found.entry(set.clone()).or_default();
            let key = match place {
                Place::Adapter(adapter) => set.adapters.get_mut(adapter),
                Place::Peer(adapter, peer) => set.peers.get_mut(&(*adapter, *peer)),
                Place::Device(peer) => set.devices.get_mut(peer),
            };
            let Some(key) = key else { return Ok(()) };
            let bonds_max = if matches!(place, Place::Adapter(_)) { BONDS_PER_ADAPTER_MAX } else { 0 };
            add(key, value, line, bonds_max + VALUES_MAX)
        },
    )?;
    sets.retain(|_, set| !set.adapters.is_empty());
    Ok(sets)
}

fn add(key: &mut Key, value: Value, line: usize, values_max: usize) -> Result<(), Broken> {
    if key.values.len() >= values_max {
        return Err(Broken { line, reason: "is beyond the values that one key may have" });
    }
    if &**value.data == "-" {
        return Err(Broken { line, reason: "takes a value away, and that is no bond" });
    }
    // A full adapter has thousands of link keys, which read_adapter tells apart by their digits.
    let comes_twice = key.values.len() < VALUES_MAX && key.get(&value.name).is_some();
    if comes_twice {
        return Err(Broken { line, reason: "is a value that came before" });
    }
    key.values.push(value);
    Ok(())
}
