//! What aioble, MicroPython's Bluetooth library, keeps on a small device: `ble_secrets.json`.
//!
//! A list of `[type, key, value]`; key and value are base64 with a line end inside the string.
//! [MICROPYTHON-LIB aioble/security.py]
//!
//! | type | key | value |
//! |---|---|---|
//! | 1 | peer: type, address reversed | a [`record`] of what this side distributed |
//! | 2 | likewise | a [`record`] of what the peer distributed |
//! | 10 | the letters `irk` | local IRK |
//! | other | | not known here: kept and written back |
//!
//! The file does not name the adapter. Its reader on the device takes any fault for "no secrets", and
//! writes that over the file at the next pairing: so an export must never hold anything that it would stumble over,
//! and must be told the layout of the device's records, as only their length is checked there.

mod read;
mod record;
mod write;

use super::json::Json;
use super::{Codec, FOREIGN_OCTETS_MAX, OptionSpec, Probe};
use crate::bond::Bond;

/// The kinds of entries.
const OUR_SECRETS: u8 = 1;
const PEER_SECRETS: u8 = 2;
const LOCAL_IRK: u8 = 10;

/// The key of the local IRK's entry.
const LOCAL_IRK_KEY: &[u8] = b"irk";

/// Octets of the key of an entry about a peer: type and address.
const PEER_KEY_OCTETS: usize = 7;

/// Names under which a peer's opaque items keep what a record holds besides keys.
const BOND_COUNT: &str = "bond_count";
const OUR_IRK: &str = "our_irk";

const IMPORT_LAYOUT: OptionSpec = OptionSpec {
    name: "layout",
    values: &["auto", "U80", "E80", "E88", "E88S", "U72"],
    meaning: "how the device lays out its records; each record tells by itself where it has an LTK",
};

const EXPORT_LAYOUT: OptionSpec = OptionSpec {
    name: "layout",
    values: &["U80", "E80", "E88", "E88S"],
    meaning: "how the device lays out its records: E88 on ESP32 with current MicroPython, U80 nearly everywhere \
              else; required, as the device misreads any other in silence",
};

pub(super) const CODEC: Codec = Codec {
    word: "aioble",
    extension: "json",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[IMPORT_LAYOUT],
    export_options: &[EXPORT_LAYOUT],
    claims,
    import: Some(read::import),
    export: write::export,
};

/// What an import kept of a peer under that name.
fn kept<'a>(bond: &'a Bond, name: &str) -> Option<&'a [u8]> {
    let items = bond.metadata.details.iter().flat_map(|details| &details.opaque);
    let mut own = items.filter(|item| item.format == CODEC.word && item.name == name);
    own.next().map(|item| item.value.as_slice())
}

/// The bond's number on the device it came from.
pub(super) fn bond_count(bond: &Bond) -> Option<u16> {
    kept(bond, BOND_COUNT).and_then(|value| value.try_into().ok()).map(u16::from_le_bytes)
}

/// A list that is empty or begins with a number and two texts.
fn claims(probe: &Probe<'_>) -> bool {
    let Probe::Json(Json::List(entries)) = probe else { return false };
    entries.first().is_none_or(
        |first| matches!(first, Json::List(parts) if matches!(parts[..], [Json::Integer(_), Json::Text(_), Json::Text(_)])),
    )
}

#[cfg(test)]
mod tests;
