//! One security record of the Bluetooth stack NimBLE, as aioble keeps it: a C structure as the compiler laid it out.
//!
//! Little endian, gaps zero, keys in management order. [NIMBLE host/ble_store.h ble_store_value_sec]
//!
//! | field | U80 | E80 | E88 | E88S | U72 |
//! |---|---|---|---|---|---|
//! | octets | 80 | 80 | 88 | 88 | 72 |
//! | peer: type, address (6) | 0 | 0 | 0 | 0 | 0 |
//! | bond count (2) | – | 8 | 8 | – | – |
//! | key size (1) | 7 | 10 | 10 | 7 | 7 |
//! | EDIV (2) | 8 | 12 | 12 | 8 | 8 |
//! | Rand (8) | 16 | 16 | 16 | 16 | 12 |
//! | LTK (16), then present (bit 0) | 24 | 24 | 24 | 24 | 20 |
//! | IRK (16), then present (bit 0) | 41 | 41 | 41 | 41 | 37 |
//! | CSRK (16), then present (bit 0) | 58 | 58 | 58 | 58 | 54 |
//! | sign counter (4) | – | – | 76 | 76 | – |
//! | authenticated, Secure Connections | 74 bits 1, 2 | 74 bits 1, 2 | 80 bits 0, 1 | 80 bits 0, 1 | 70 bits 1, 2 |

use zeroize::{Zeroize, Zeroizing};

use crate::format::json::Bad;

/// Octets of the longest record.
pub(super) const RECORD_OCTETS_MAX: usize = 88;

/// Where the fields of one build of NimBLE stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub name: &'static str,
    pub octets: usize,
    pub bond_count: Option<usize>,
    key_size: usize,
    ediv: usize,
    rand: usize,
    ltk: usize,
    irk: usize,
    csrk: usize,
    pub sign_counter: Option<usize>,
    /// The octet of the two flags and the lower one's bit.
    flags: (usize, u8),
}

/// Apache NimBLE, and MicroPython on everything but ESP32.
const U80: Layout = Layout {
    name: "U80",
    octets: 80,
    bond_count: None,
    key_size: 7,
    ediv: 8,
    rand: 16,
    ltk: 24,
    irk: 41,
    csrk: 58,
    sign_counter: None,
    flags: (74, 1),
};

/// ESP32, late branches for ESP-IDF 4.4 to 5.1.
const E80: Layout = Layout { name: "E80", bond_count: Some(8), key_size: 10, ediv: 12, ..U80 };

/// ESP32, branches for ESP-IDF 5.2 and later since March 2024.
const E88: Layout = Layout { name: "E88", octets: 88, sign_counter: Some(76), flags: (80, 0), ..E80 };

/// ESP32, the same branches in the two months before.
const E88S: Layout = Layout { name: "E88S", octets: 88, sign_counter: Some(76), flags: (80, 0), ..U80 };

/// 32-bit x86, where only the unix port runs.
const U72: Layout =
    Layout { name: "U72", octets: 72, rand: 12, ltk: 20, irk: 37, csrk: 54, flags: (70, 1), ..U80 };

static LAYOUTS: [Layout; 5] = [U80, E80, E88, E88S, U72];

/// A record, taken apart. Wiped on drop.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Type and address as they stand, least significant octet first.
    pub peer: [u8; 7],
    pub bond_count: u16,
    pub key_size: u8,
    pub ediv: u16,
    pub rand: [u8; 8],
    pub ltk: Option<[u8; 16]>,
    pub irk: Option<[u8; 16]>,
    pub csrk: Option<[u8; 16]>,
    pub sign_counter: u32,
    pub authenticated: bool,
    pub secure_connections: bool,
    /// The record says more than these fields: something stands in a gap, or under a key that is not present.
    pub has_more: bool,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.ltk.zeroize();
        self.irk.zeroize();
        self.csrk.zeroize();
    }
}

impl Layout {
    pub fn by_name(name: &str) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.name == name)
    }

    /// Whether any layout has that length.
    pub fn has_length(octets: usize) -> bool {
        LAYOUTS.iter().any(|layout| layout.octets == octets)
    }

    /// The layout of these octets. Of two of one size, the one where the LTK's size stands tells them
    /// apart; without an LTK both give the same keys, and the bond count decides.
    pub fn of(octets: &[u8]) -> Result<&'static Self, Bad> {
        let mut candidates = LAYOUTS.iter().filter(|layout| layout.octets == octets.len());
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Ok(only),
            (Some(one), Some(other)) => {
                let counted = if one.bond_count.is_some() { one } else { other };
                let plain = if one.bond_count.is_some() { other } else { one };
                let is_size = |octet: u8| (7..=16).contains(&octet);
                let has_ltk = octets[one.ltk + 16] & 1 == 1;
                match (is_size(octets[7]), is_size(octets[10])) {
                    _ if !has_ltk && octets[8..10] != [0, 0] && octets[7] == 0 => Ok(counted),
                    _ if !has_ltk => Ok(plain),
                    (true, _) if octets[10..16] == [0; 6] => Ok(plain),
                    (false, true) if octets[7] == 0 => Ok(counted),
                    _ => Err(Bad::new(format!(
                        "fits neither of the layouts {} and {}: the size of its LTK is not where either has it",
                        plain.name, counted.name
                    ))),
                }
            }
            _ => Err(Bad::new("has a length that no known layout has")),
        }
    }

    /// Takes a record apart that has this layout's length.
    pub fn read(&self, octets: &[u8]) -> Record {
        let mut record = self.fields(octets);
        record.has_more = *self.write(&record) != octets;
        record
    }

    fn fields(&self, octets: &[u8]) -> Record {
        let key = |at: usize| (octets[at + 16] & 1 == 1).then(|| array(octets, at));
        let flags = octets[self.flags.0] >> self.flags.1;
        Record {
            peer: array(octets, 0),
            bond_count: self.bond_count.map_or(0, |at| u16::from_le_bytes(array(octets, at))),
            key_size: octets[self.key_size],
            ediv: u16::from_le_bytes(array(octets, self.ediv)),
            rand: array(octets, self.rand),
            ltk: key(self.ltk),
            irk: key(self.irk),
            csrk: key(self.csrk),
            sign_counter: self.sign_counter.map_or(0, |at| u32::from_le_bytes(array(octets, at))),
            authenticated: flags & 1 == 1,
            secure_connections: flags & 2 == 2,
            has_more: false,
        }
    }

    /// Lays a record out.
    pub fn write(&self, record: &Record) -> Zeroizing<Vec<u8>> {
        let mut octets = Zeroizing::new(vec![0; self.octets]);
        let mut put = |at: usize, field: &[u8]| octets[at..at + field.len()].copy_from_slice(field);
        put(0, &record.peer);
        if let Some(at) = self.bond_count {
            put(at, &record.bond_count.to_le_bytes());
        }
        if let Some(at) = self.sign_counter {
            put(at, &record.sign_counter.to_le_bytes());
        }
        if record.ltk.is_some() {
            put(self.key_size, &[record.key_size]);
            put(self.ediv, &record.ediv.to_le_bytes());
            put(self.rand, &record.rand);
        }
        for (at, key) in [(self.ltk, &record.ltk), (self.irk, &record.irk), (self.csrk, &record.csrk)] {
            if let Some(key) = key {
                put(at, key);
                put(at + 16, &[1]);
            }
        }
        let flags = u8::from(record.authenticated) | u8::from(record.secure_connections) << 1;
        octets[self.flags.0] |= flags << self.flags.1;
        octets
    }
}

fn array<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|index| octets[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Record {
        Record {
            peer: [1, 2, 3, 4, 5, 6, 0xC7],
            key_size: 16,
            ediv: 0x1234,
            rand: [9; 8],
            ltk: Some([1; 16]),
            irk: Some([2; 16]),
            csrk: Some([3; 16]),
            authenticated: true,
            ..Record::default()
        }
    }

    #[test]
    fn every_layout_reads_what_it_writes_and_is_recognised() {
        for layout in &LAYOUTS {
            let mut record = full();
            record.bond_count = layout.bond_count.map_or(0, |_| 7);
            record.sign_counter = layout.sign_counter.map_or(0, |_| 0xAABB_CCDD);
            let octets = layout.write(&record);
            assert_eq!(octets.len(), layout.octets);
            assert_eq!(Layout::of(&octets).unwrap().name, layout.name);
            assert!(layout.read(&octets) == record, "{}", layout.name);
            record.authenticated = false;
            record.secure_connections = true;
            assert!(layout.read(&layout.write(&record)) == record, "{}", layout.name);
        }
    }

    #[test]
    fn what_no_field_covers_is_noticed() {
        let layout = Layout::by_name("E88").unwrap();
        let whole = layout.write(&full());
        assert!(!layout.read(&whole).has_more);
        for (at, what) in [
            (9, "the bond count is a field"),
            (75, "a gap"),
            (74, "a presence bit"),
            (80, "a flag"),
            (87, "the end"),
        ] {
            let mut octets = whole.clone();
            octets[at] |= 0x80;
            assert_eq!(layout.read(&octets).has_more, at != 9, "{what}");
        }
        let mut without = full();
        without.csrk = None;
        let mut octets = layout.write(&without);
        octets[60] = 1;
        assert!(layout.read(&octets).has_more, "a key that is not present");
    }

    #[test]
    fn a_record_without_an_ltk_is_told_by_its_bond_count() {
        let mut record = Record { peer: full().peer, irk: Some([2; 16]), ..Record::default() };
        let name = |layout: &str, record: &Record| {
            Layout::of(&Layout::by_name(layout).unwrap().write(record)).unwrap().name
        };
        assert_eq!((name("U80", &record), name("E88", &record)), ("U80", "E88S"));
        record.bond_count = 3;
        assert_eq!((name("E80", &record), name("E88", &record)), ("E80", "E88"));
    }

    #[test]
    fn a_size_that_no_layout_has_in_its_place_is_refused() {
        for (at, value) in [(7, 6), (7, 17), (7, 0)] {
            let mut octets = Layout::by_name("U80").unwrap().write(&full());
            octets[at] = value;
            assert!(Layout::of(&octets).is_err(), "{value}");
        }
        let mut octets = Layout::by_name("U80").unwrap().write(&full());
        octets[15] = 1;
        assert!(Layout::of(&octets).is_err(), "the gap is not empty");
        assert!(Layout::of(&[0; 81]).is_err());
    }
}
