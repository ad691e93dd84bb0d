//! The key list of habluetooth, as Home Assistant keeps it for each adapter.
//!
//! A JSON list of LTKs. All eight fields are required; they are written in this order, laid out with
//! two spaces as Home Assistant's own files are. [habluetooth `storage.py` LongTermKeyDict]
//!
//! | field | JSON | meaning |
//! |---|---|---|
//! | `address` | text | peer, upper case when written |
//! | `address_type` | 1 or 2 | LE public, LE random |
//! | `key_type` | 0 to 4 | as the management interface numbers them |
//! | `central` | boolean | role of a legacy key; false for Secure Connections, as the kernel reports |
//! | `encryption_size` | 7 to 16 | octets |
//! | `ediv` | 16 bits | |
//! | `rand` | 16 digits | octets in management order, lower case |
//! | `value` | 32 digits | octets in management order, lower case |
//!
//! The real reader checks nothing, and one bad entry makes its whole later load fail: so what is
//! written here must never hold a value that the kernel refuses. The list carries neither IRKs nor
//! any other key; an export names everything that is left out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use zeroize::Zeroizing;

use super::json::{self, Bad, Json};
use super::report::{PeerReport, Refused, Report, parts};
use super::{
    Codec, Content, ExportAdapter, ExportOptions, Exported, FOREIGN_OCTETS_MAX, FormatError, FormatId,
    ImportOptions, Imported, ImportedAdapter, Input, Probe, check,
};
use crate::bond::{
    AdapterAddress, Bond, BondMetadata, Custody, KeyType, Ltk, LtkSlot, PeerAddress, PeerAddressType, Role,
    Source, UnixMillis,
};

/// Most entries of a list: two legacy keys for each bond that an adapter may have.
const ENTRIES_MAX: usize = 2 * crate::bond::table::BONDS_PER_ADAPTER_MAX;

/// Room to set aside for an entry, so that a buffer with keys need not grow and leave copies behind.
pub(super) const ENTRY_OCTETS_EXPECTED: usize = 288;

const ENTRY_FIELDS: [&str; 8] =
    ["address", "address_type", "key_type", "central", "encryption_size", "ediv", "rand", "value"];

/// One key as it is written.
#[derive(Serialize)]
pub(super) struct EntryDto {
    address: String,
    address_type: u8,
    key_type: u8,
    central: bool,
    encryption_size: u8,
    ediv: u16,
    rand: String,
    #[serde(serialize_with = "as_text")]
    value: Zeroizing<String>,
}

fn as_text<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

pub(super) const CODEC: Codec = Codec {
    word: "habluetooth",
    extension: "json",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[],
    export_options: &[],
    claims,
    import: Some(import),
    export,
};

/// A list that is empty or whose first entry has the fields of a key.
fn claims(probe: &Probe<'_>) -> bool {
    let Probe::Json(Json::List(items)) = probe else { return false };
    items.first().is_none_or(|first| {
        first
            .as_fields()
            .is_ok_and(|fields| fields.get("encryption_size").is_some() && fields.get("value").is_some())
    })
}

/// The adapter is not in a list: the caller has to know.
fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let json = json::parse(input.document(FormatId::Habluetooth)?, FOREIGN_OCTETS_MAX)?;
    let reason = "it is not a list of keys";
    let wrong = FormatError::WrongFormat { format: FormatId::Habluetooth, reason };
    let entries = json.as_list().map_err(|_| wrong)?;
    let mut report = Report::default();
    let address = options.adapter_of(None, true);
    let adapter = read_list(entries, address, options.now, &mut report)?;
    Ok(Imported { adapters: vec![adapter], report })
}

/// Reads the keys of one adapter. Entries that cannot be taken are named in the report.
pub(super) fn read_list(
    entries: &[Json],
    adapter: Option<AdapterAddress>,
    now: UnixMillis,
    report: &mut Report,
) -> Result<ImportedAdapter, Bad> {
    if entries.len() > ENTRIES_MAX {
        return Err(Bad::new(format!("has more than {ENTRIES_MAX} entries")));
    }
    let mut bonds: Vec<Bond> = Vec::new();
    let mut reports: Vec<PeerReport> = Vec::new();
    let mut superseded: Vec<(PeerAddress, Ltk)> = Vec::new();
    let mut known: BTreeMap<PeerAddress, usize> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        match read_entry(entry, report) {
            Ok((peer, ltk, said_central)) => {
                let at = *known.entry(peer).or_insert_with(|| {
                    bonds.push(Bond::new(peer, BondMetadata::new(Custody::Ours, Source::Imported, now)));
                    reports.push(PeerReport::new(adapter, peer));
                    bonds.len() - 1
                });
                let older = take(&mut bonds[at], &mut reports[at], ltk, said_central);
                superseded.extend(older.into_iter().map(|ltk| (peer, ltk)));
            }
            Err(bad) => {
                let joint = if bad.place.is_empty() { "" } else { ", " };
                let place = format!("entry {index}{joint}{}", bad.place);
                report.refused.push(Refused { place, peer: None, reason: bad.reason });
            }
        }
    }
    for (bond, peer) in bonds.iter().zip(&mut reports) {
        peer.taken = parts(bond);
    }
    report.peers.append(&mut reports);
    Ok(ImportedAdapter { address: adapter, bonds, superseded, ..ImportedAdapter::default() })
}

fn read_entry(entry: &Json, report: &mut Report) -> Result<(PeerAddress, Ltk, bool), Bad> {
    let fields = entry.as_fields()?;
    for name in fields.unknown(&ENTRY_FIELDS) {
        let note =
            format!("an entry has a field that habluetooth does not know and that is not taken: {name}");
        if !report.notes.contains(&note) {
            report.notes.push(note);
        }
    }
    let kind = fields.required("address_type", |json| match json.as_integer::<u8>()? {
        1 => Ok(PeerAddressType::Public),
        2 => Ok(PeerAddressType::StaticRandom),
        _ => Err(Bad::new("is neither 1 (public) nor 2 (random)")),
    })?;
    let peer = fields.required("address", |json| check::peer(json, kind))?;
    let key_type = fields.required("key_type", check::key_type)?;
    let central = fields.required("central", Json::as_bool)?;
    let size = fields.required("encryption_size", check::encryption_size)?;
    let ediv = fields.required("ediv", Json::as_integer::<u16>)?;
    let rand = fields.required("rand", check::octets::<8>)?;
    let key = fields.required("value", check::key)?;
    if check::is_blocked_ltk(&key) {
        return Err(Bad::new("is a key that is known to be compromised").in_field("value"));
    }
    if key_type.is_secure_connections() && (ediv != 0 || rand != [0; 8]) {
        let reason = "is not zero, as it must be for a Secure Connections key";
        return Err(Bad::new(reason).in_field(if ediv == 0 { "rand" } else { "ediv" }));
    }
    let role = if central { Role::Central } else { Role::Peripheral };
    Ok((peer, Ltk::new(key_type, role, size, ediv, rand, key), central))
}

/// Lays one key into its peer's bond. Which of several keys is the newest a list does not say; its
/// order is that of capture, so the last one stands, as it would in the kernel. Gives back those that it displaces.
fn take(bond: &mut Bond, report: &mut PeerReport, ltk: Ltk, said_central: bool) -> Vec<Ltk> {
    let secure = ltk.slot() == LtkSlot::SecureConnections;
    if secure && said_central {
        report.assume("central", "has no meaning for a Secure Connections key, which serves both roles");
    }
    if ltk.key_type == KeyType::P256Debug {
        report.assume("key_type", "a debug key is kept, and the kernel will refuse to load it");
    }
    let stands = |slot| (slot == LtkSlot::SecureConnections) == secure;
    let mut displaced: Vec<Ltk> = bond.ltks().iter().filter(|ltk| !stands(ltk.slot())).cloned().collect();
    bond.retain_ltks(stands);
    for _ in &displaced {
        report.drop(
            "ltk",
            "legacy and Secure Connections keys never stand together: the last one of the list stands",
        );
    }
    if let Some(older) = bond.put_ltk(ltk) {
        displaced.push(older);
        report.drop(
            "ltk",
            "several LTKs for one peer and role: the last one of the list stands, as in the kernel",
        );
    }
    displaced
}

/// Writes the list of one adapter.
fn export(adapters: &[ExportAdapter<'_>], _: &ExportOptions) -> Result<Exported, FormatError> {
    let [adapter] = adapters else { return Err(FormatError::OneAdapterOnly { count: adapters.len() }) };
    let mut report = Report::default();
    let entries = write_list(adapter, CODEC.word, &mut report);
    let mut bytes = Zeroizing::new(Vec::with_capacity(ENTRY_OCTETS_EXPECTED * (entries.len() + 1)));
    serde_json::to_writer_pretty(&mut *bytes, &entries).map_err(|_| FormatError::Write)?;
    let bond_count = report.peers.len() - report.lost_peers.len();
    Ok(Exported { content: Content::Document(bytes), bond_count, report })
}

/// The entries of one adapter, for the format of that word.
pub(super) fn write_list(adapter: &ExportAdapter<'_>, word: &str, report: &mut Report) -> Vec<EntryDto> {
    // By habluetooth's own identity of an entry: where its store would keep the last of two, only that is written.
    let mut entries: BTreeMap<(String, bool, u16), (usize, EntryDto)> = BTreeMap::new();
    let mut order = Vec::new();
    let mut peers: Vec<PeerReport> = Vec::new();
    for (at, (bond, _)) in adapter.entries().enumerate() {
        peers.push(PeerReport::of_export(adapter.address, bond, word, &["ltk"]));
        for ltk in bond.ltks() {
            let entry = entry_dto(bond.peer, ltk);
            let identity = (entry.address.clone(), entry.central, entry.ediv);
            order.push((at, identity.clone()));
            if let Some((hidden, _)) = entries.insert(identity, (at, entry)) {
                peers[hidden].drop(
                    "ltk",
                    "habluetooth does not tell it from the key of a peer with the same address of the other type, and keeps that one",
                );
            }
        }
    }
    let kept: BTreeSet<usize> = entries.values().map(|(at, _)| *at).collect();
    for (_, peer) in peers.iter_mut().enumerate().filter(|(at, _)| !kept.contains(at)) {
        peer.taken.clear();
        report.lost_peers.push(peer.peer);
    }
    report.note_adapter_losses(adapter, word, &[]);
    report.peers.append(&mut peers);
    let written = order.into_iter().filter_map(|(at, identity)| match entries.entry(identity) {
        Entry::Occupied(entry) if entry.get().0 == at => Some(entry.remove().1),
        _ => None,
    });
    written.collect()
}

fn entry_dto(peer: PeerAddress, ltk: &Ltk) -> EntryDto {
    EntryDto {
        address: peer.to_string(),
        address_type: match peer.kind() {
            PeerAddressType::Public => 1,
            PeerAddressType::StaticRandom => 2,
        },
        key_type: ltk.key_type.code(),
        central: ltk.central_flag() == 1,
        encryption_size: ltk.encryption_size.octets(),
        ediv: ltk.ediv,
        rand: hex::encode(ltk.rand),
        value: Zeroizing::new(hex::encode(ltk.key.expose())),
    }
}

#[cfg(test)]
mod tests;
