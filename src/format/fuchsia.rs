//! The bonding data and host data of Fuchsia's Bluetooth service bt-gap.
//!
//! A bond, in this order; what is not known is null and never left out. [FUCHSIA bt-gap src/store]
//!
//! | field | JSON | meaning |
//! |---|---|---|
//! | `identifier` | 64 bits | Fuchsia's number of the peer |
//! | `address`, `hostAddress` | `type`, `value` | the peer and the adapter; six numbers, least significant first |
//! | `name` | text or null | |
//! | `le` | object or null | `connectionParameters`, `peerLtk`, `localLtk`, `irk`, `csrk` |
//! | `bredr` | object or null | `rolePreference`, `linkKey`, `services` |
//!
//! An LTK is `key`, `ediv`, `rand`; a key is `security` (`authenticated`, `secureConnections`,
//! `encryptionKeySize`) and `value`, sixteen numbers in management order. `peerLtk` is the key that the peer distributed and
//! serves while the peer is the peripheral. Host data is `{"irk": {"value": […]}}`; the adapter's address stands only in the
//! name of the record.
//!
//! Three forms: one object, a list of objects, or an object of the service's own store, in which each record is a text under
//! `bonding-data:` and its number or `host-data:[address (public) …]`.
//!
//! The published description of the format and the service differ; both are read, only the service's is written, as the
//! service refuses the other.

mod bond;
mod read;
mod write;

use super::json::Json;
use super::{Codec, FOREIGN_OCTETS_MAX, OptionSpec, Probe};

/// Beginnings of the names of records in the service's store.
const BOND_RECORD: &str = "bonding-data:";
const HOST_RECORD: &str = "host-data:";

const FORM: OptionSpec = OptionSpec {
    name: "form",
    values: &["list", "object", "store"],
    meaning: "a list of bonds, one bond alone, or an object of the service's own store records",
};

const PART: OptionSpec = OptionSpec {
    name: "part",
    values: &["bonds", "host"],
    meaning: "the bonds, or the adapter's own IRK, which Fuchsia keeps apart",
};

pub(super) const CODEC: Codec = Codec {
    word: "fuchsia",
    extension: "json",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[],
    export_options: &[FORM, PART],
    claims,
    import: Some(read::import),
    export: write::export,
};

/// One of the three forms, by its first record; an empty list and an empty object are without records.
fn claims(probe: &Probe<'_>) -> bool {
    match probe {
        Probe::Json(Json::List(records)) => records.first().is_none_or(is_bond),
        Probe::Json(json) => is_bond(json) || is_host(json) || is_store(json),
        _ => false,
    }
}

fn field<'a>(json: &'a Json, name: &str) -> Option<&'a Json> {
    let Json::Object(fields) = json else { return None };
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn is_bond(json: &Json) -> bool {
    ["hostAddress", "le", "bredr"].iter().any(|name| field(json, name).is_some())
}

fn is_host(json: &Json) -> bool {
    let irk = field(json, "irk");
    irk.is_some_and(|irk| {
        matches!(irk, Json::Null) || field(irk, "value").is_some_and(|value| matches!(value, Json::List(_)))
    })
}

fn is_store(json: &Json) -> bool {
    let Json::Object(records) = json else { return false };
    records.is_empty()
        || records.iter().any(|(name, _)| name.starts_with(BOND_RECORD) || name.starts_with(HOST_RECORD))
}

#[cfg(test)]
mod tests;
