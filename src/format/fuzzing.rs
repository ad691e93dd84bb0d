//! What every reader must withstand, as one body: the fuzz targets call it with whatever their engine
//! makes up, the tests with damaged fixtures.
//!
//! An input is detected, read, shown and written again; nothing of that may panic, and what is written
//! must be readable. Driven by `fuzz/` and the tests; no part of the product.

use super::canonical::{self, Keys};
use super::{
    Content, ExportAdapter, ExportOptions, Exported, FormatId, FormatOptions, ImportOptions, ImportedAdapter,
    Input, Tree, detect, export, import,
};
use crate::bond::{AdapterRecord, BondTable, FingerprintKey};

/// Where a lone file of a folder stands when it is tried.
const PATHS: [&str; 2] = ["00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info", "00:1A:7D:DA:71:11/identity"];

/// Panics where the reader or the writer of the format has a fault.
pub fn import_any(format: FormatId, bytes: &[u8]) {
    try_input(format, Input::Document(bytes));
    if format.is_tree() {
        for path in PATHS {
            let mut tree = Tree::default();
            if tree.insert(path, zeroize::Zeroizing::new(bytes.to_vec())).is_ok() {
                try_input(format, Input::Tree(&tree));
            }
        }
    }
}

fn try_input(format: FormatId, input: Input<'_>) {
    // Whatever it says: the readers are tried in any case.
    let _ = detect(input);
    let options = ImportOptions {
        salvage: true,
        keep_unusable: true,
        adapter: PATHS[0].split('/').next().and_then(|address| address.parse().ok()),
        ..ImportOptions::default()
    };
    let Ok(imported) = import(format, input, &options) else { return };
    let secret = FingerprintKey::new([7; 32]);
    for keys in [Keys::Revealed, Keys::Fingerprints(&secret)] {
        canonical::write(&imported, keys).expect("what was read can be shown");
    }
    for adapter in &imported.adapters {
        write_again(format, adapter, &options);
    }
}

/// With each choice of the format by itself; those that do not fit the bonds are refused, which is fine.
fn write_again(format: FormatId, adapter: &ImportedAdapter, options: &ImportOptions) {
    let address = adapter.address.or(options.adapter);
    let bonds = adapter.bonds.iter().cloned().map(|bond| (bond, 1));
    let table = BondTable::from_stored(1, bonds, []);
    let record = AdapterRecord {
        name: adapter.name.clone(),
        local_identity: adapter.local_identity.clone(),
        opaque: adapter.opaque.clone(),
        ..AdapterRecord::default()
    };
    let exported = ExportAdapter { address, record: &record, table: &table, peers: None };
    let specs = format.export_options().iter();
    let choices =
        specs.flat_map(|spec| spec.values.iter().map(|value| (spec.name.to_owned(), (*value).to_owned())));
    for choice in choices.map(Some).chain([None]) {
        let wanted = FormatOptions::from_iter(choice);
        let write = ExportOptions { allow_loss: true, options: wanted, ..ExportOptions::default() };
        if let Ok(written) = export(format, &[exported], &write) {
            read_back(format, &written, options);
        }
    }
}

fn read_back(format: FormatId, written: &Exported, options: &ImportOptions) {
    // An empty folder is told from nothing at all by nobody, and is refused.
    let is_empty = matches!(&written.content, Content::Tree(tree) if tree.is_empty());
    if !format.is_readable() || is_empty {
        return;
    }
    let input = match &written.content {
        Content::Document(bytes) => Input::Document(bytes),
        Content::Tree(tree) => Input::Tree(tree),
    };
    let strict = ImportOptions { salvage: false, keep_unusable: false, ..options.clone() };
    let again = import(format, input, &strict);
    let again = again.unwrap_or_else(|error| panic!("what is written can be read: {error}"));
    let count: usize = again.adapters.iter().map(|adapter| adapter.bonds.len()).sum();
    assert_eq!(count, written.bond_count, "every bond that is written can be read");
}

#[cfg(test)]
mod tests;
