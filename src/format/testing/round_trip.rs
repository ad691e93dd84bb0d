//! What comes back of an export: everything but what its report says is lost.

use std::collections::BTreeSet;

use super::bonds::NOW;
use crate::bond::{
    AdapterAddress, AdapterRecord, Bond, BondTable, Csrk, LtkSlot, PeerAddress, PeerDetails, Role,
};
use crate::format::{
    self, Content, ExportAdapter, ExportOptions, Exported, FormatId, FormatOptions, ImportOptions, Imported,
    Input,
};

pub(crate) const ADAPTER: &str = "00:1A:7D:DA:71:11";

/// Format options from `name=value` words.
pub(crate) fn options(words: &[(&str, &str)]) -> FormatOptions {
    words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A table of these bonds.
pub(crate) fn table(bonds: &[Bond]) -> BondTable {
    BondTable::from_stored(1, bonds.iter().cloned().map(|bond| (bond, 1)), [])
}

/// Writes them as the bonds of [`ADAPTER`]; whole peers may be missing.
pub(crate) fn export(
    format: FormatId,
    bonds: &[Bond],
    record: &AdapterRecord,
    words: &[(&str, &str)],
) -> Exported {
    let table = table(bonds);
    let adapter =
        ExportAdapter { address: Some(ADAPTER.parse().unwrap()), record, table: &table, peers: None };
    let options = ExportOptions { created_at: NOW, allow_loss: true, options: options(words) };
    format::export(format, &[adapter], &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Reads an export back, for [`ADAPTER`].
pub(crate) fn import_back(format: FormatId, exported: &Exported, words: &[(&str, &str)]) -> Imported {
    let adapter: AdapterAddress = ADAPTER.parse().unwrap();
    let options = ImportOptions {
        now: NOW,
        adapter: Some(adapter),
        options: options(words),
        ..ImportOptions::default()
    };
    let input = match &exported.content {
        Content::Document(bytes) => Input::Document(bytes),
        Content::Tree(tree) => Input::Tree(tree),
    };
    format::import(format, input, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Exports, imports, and demands that the bonds come back, less what the two reports name. A loss
/// that is named and did not happen is an error, too.
pub(crate) fn assert_round_trip(
    format: FormatId,
    bonds: &[Bond],
    record: &AdapterRecord,
    export_words: &[(&str, &str)],
    import_words: &[(&str, &str)],
) -> Imported {
    let exported = export(format, bonds, record, export_words);
    let imported = import_back(format, &exported, import_words);
    let back = |peer: PeerAddress| {
        let mut bonds = imported.adapters.iter().flat_map(|adapter| &adapter.bonds);
        bonds.find(|bond| bond.peer == peer)
    };
    for adapter in &imported.adapters {
        assert_eq!(adapter.address.map(|address| address.to_string()).as_deref(), Some(ADAPTER));
        for bond in &adapter.bonds {
            assert!(bonds.iter().any(|original| original.peer == bond.peer), "{:?} is new", bond.peer);
        }
    }
    let mut written = 0;
    for bond in bonds {
        let said = exported.report.peer(bond.peer).expect("every peer is reported");
        let Some(copy) = back(bond.peer) else {
            assert!(exported.report.lost_peers.contains(&bond.peer), "{:?} is lost in silence", bond.peer);
            assert!(said.taken.is_empty() && !said.dropped.is_empty(), "{said:?}");
            continue;
        };
        written += 1;
        let heard = imported.report.peer(bond.peer).expect("every peer is reported");
        let dropped: BTreeSet<_> = said.dropped.iter().map(|dropped| dropped.field).collect();
        let assumed: BTreeSet<_> =
            said.assumed.iter().chain(&heard.assumed).map(|assumed| assumed.field).collect();
        let changed = differences(bond, copy);
        let unsaid: Vec<_> =
            changed.iter().filter(|part| !dropped.contains(*part) && !assumed.contains(*part)).collect();
        assert!(unsaid.is_empty(), "{:?}: {unsaid:?} changed in silence", bond.peer);
        let untrue: Vec<_> = dropped.difference(&changed).collect();
        assert!(untrue.is_empty(), "{:?}: {untrue:?} came back though reported dropped", bond.peer);
        assert!(heard.dropped.is_empty(), "what we write is read whole: {:?}", heard.dropped);
    }
    assert_eq!(exported.bond_count, written);
    imported
}

/// The parts in which two bonds of one peer differ, by the names that reports use. A part of a
/// key counts only where both have the key.
pub(crate) fn differences(one: &Bond, other: &Bond) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut differ = |part: &'static str, differs: bool| {
        if differs {
            found.insert(part);
        }
    };
    let ltk = |bond: &Bond, slot| bond.ltks().iter().find(|ltk| ltk.slot() == slot).cloned();
    for slot in
        [LtkSlot::Legacy(Role::Central), LtkSlot::Legacy(Role::Peripheral), LtkSlot::SecureConnections]
    {
        match (ltk(one, slot), ltk(other, slot)) {
            (Some(one), Some(other)) => {
                differ("ltk", one.key != other.key || one.ediv != other.ediv || one.rand != other.rand);
                differ("key_type", one.key_type != other.key_type);
                differ("enc_size", one.encryption_size != other.encryption_size);
            }
            (one, other) => differ("ltk", one.is_some() != other.is_some()),
        }
    }
    differ("irk", one.irk != other.irk);
    let mut csrks = |part: &'static str, one: &Option<Csrk>, other: &Option<Csrk>| match (one, other) {
        (Some(one), Some(other)) => {
            differ(part, one.key != other.key);
            differ("csrk_authenticated", one.authenticated != other.authenticated);
            differ("csrk_counter", one.counter != other.counter);
        }
        (one, other) => differ(part, one.is_some() != other.is_some()),
    };
    csrks("csrk_local", &one.csrk_local, &other.csrk_local);
    csrks("csrk_remote", &one.csrk_remote, &other.csrk_remote);
    match (&one.link_key, &other.link_key) {
        (Some(one), Some(other)) => {
            differ("link_key", one.key != other.key);
            differ("link_key_type", one.key_type != other.key_type);
            differ("pin_length", one.pin_length != other.pin_length);
        }
        (one, other) => differ("link_key", one.is_some() != other.is_some()),
    }
    differ("conn_param", one.connection_parameters != other.connection_parameters);
    differ("name", one.metadata.name != other.metadata.name);
    let none = PeerDetails::default();
    let details = |bond| -> PeerDetails { Bond::clone(bond).metadata.details.map_or(none.clone(), |d| *d) };
    let has = |bond: &Bond, part: &str| match part {
        "irk_security" => bond.irk.is_some(),
        "csrk_security" => bond.csrk_remote.is_some(),
        _ => bond.link_key.is_some(),
    };
    let both = |part: &str| has(one, part) && has(other, part);
    let (one, other) = (details(one), details(other));
    differ("alias", one.alias != other.alias);
    differ("trusted", one.trusted != other.trusted);
    differ("blocked", one.blocked != other.blocked);
    differ("services", one.services != other.services);
    differ("bredr_services", one.bredr_services != other.bredr_services);
    differ("role_preference", one.role_preference != other.role_preference);
    differ("identifier", one.identifier != other.identifier);
    differ("irk_security", both("irk_security") && one.irk_security != other.irk_security);
    differ("csrk_security", both("csrk_security") && one.csrk_security != other.csrk_security);
    differ("link_key_size", both("link_key_size") && one.link_key_size != other.link_key_size);
    let foreign = |details: &PeerDetails| details.opaque.iter().any(|item| item.format == "elsewhere");
    differ("opaque", foreign(&one) != foreign(&other));
    found
}
