use std::fs;

use super::*;
use crate::bond::BondTable;
use crate::store::engine::{DAMAGED_COPIES_MAX, SnapshotsRead, damaged_copies};
use crate::store::testing::{ADAPTER, OTHER, adapter, held, peer_text, same_tables, table_of};

mod older;
mod snapshots;

const NOW: UnixMillis = UnixMillis(5_000);
const BONDS: u16 = 40;

/// A store with two adapters, closed in good order.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = try_open(folder.path()).unwrap().engine;
    // A commit for each bond, so that damage can cut the log anywhere.
    let mut table = BondTable::new();
    for number in 0..BONDS {
        table.insert(crate::bond::testing::secure_bond(&peer_text(number), number.to_be_bytes()[1])).unwrap();
        engine.commit(vec![(adapter(ADAPTER), held(table.clone()))]).unwrap();
    }
    assert!(same_tables(&table, &table_of(BONDS)));
    engine.commit(vec![(adapter(OTHER), held(table_of(2)))]).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER), adapter(OTHER)], NOW).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER), adapter(OTHER)], NOW).unwrap();
    engine.close();
    folder
}

fn copied(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder, copy.path(), &|_| true).unwrap();
    copy
}

fn try_open(folder: &Path) -> Result<Opened, OpenError> {
    open(folder, Files::default(), &SealChoice::default(), NOW)
}

/// Opens, and looks whether every bond is there; then once more, when all must be in order again.
fn check_complete(folder: &Path, what: &str) -> StoreState {
    let mut first = try_open(folder).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(same_tables(&first.engine.held[&adapter(ADAPTER)].table, &table_of(BONDS)), "{what}");
    assert!(same_tables(&first.engine.held[&adapter(OTHER)].table, &table_of(2)), "{what}");
    assert!(first.engine.database.is_some(), "{what}");
    first.read_snapshots();
    let stale: Vec<_> = first.stale_snapshots.iter().copied().collect();
    first.engine.write_snapshots(&stale, NOW).unwrap();
    first.engine.close();
    let state = first.state.clone();
    drop(first);
    let mut second = try_open(folder).unwrap();
    second.read_snapshots();
    second.engine.close();
    assert_eq!(second.state, StoreState::Ok, "{what}: it was not mended");
    state
}

fn detail(state: &StoreState) -> &str {
    let StoreState::Rebuilt { detail } = state else { panic!("not rebuilt: {state:?}") };
    detail
}

fn database(folder: &Path) -> PathBuf {
    folder.join(DATABASE).join("db")
}

fn snapshot_of(folder: &Path, name: &str) -> PathBuf {
    folder.join("snapshots").join(name)
}

/// Gives the adapter these names, one commit each; no bond changes. With or without snapshots.
fn rename(folder: &Path, names: &[&str], snapshots: bool) {
    let mut engine = try_open(folder).unwrap().engine;
    for name in names {
        let mut other = engine.held[&adapter(ADAPTER)].clone();
        other.record.name = Some((*name).to_owned());
        engine.commit(vec![(adapter(ADAPTER), other)]).unwrap();
        if snapshots {
            engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
        }
    }
    engine.close_and_unlock();
}

#[test]
fn an_empty_folder_becomes_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let opened = try_open(&folder.path().join("new/store")).unwrap();
    assert_eq!(opened.state, StoreState::Ok);
    assert!(opened.stored().is_empty());
}

#[test]
fn a_store_in_good_order_opens_as_it_was() {
    let folder = filled();
    assert_eq!(check_complete(folder.path(), "undamaged"), StoreState::Ok);
    assert!(damaged_copies(folder.path()).unwrap().is_empty());
    assert!(!folder.path().join(COPY).exists());
}

#[test]
fn whatever_happens_to_the_database_all_bonds_come_back() {
    let original = filled();
    let size = usize::try_from(fs::metadata(database(original.path())).unwrap().len()).unwrap();
    let good = fs::read(database(original.path())).unwrap();
    // Only what was written can be damaged; behind it the engine fills with zeros.
    let used = good.iter().rposition(|octet| *octet != 0).unwrap();
    let mut noticed = 0;
    for round in 0..36_usize {
        let folder = copied(original.path());
        let mut bytes = good.clone();
        let at = used * (round % 12) / 12;
        let what = match round / 12 {
            0 => {
                bytes[at + round] ^= 1 << (round % 8);
                "a flipped bit"
            }
            1 => {
                bytes[at..(at + 4_096).min(size)].fill(0);
                "a zeroed page"
            }
            _ => {
                bytes.truncate(at);
                "a truncation"
            }
        };
        fs::write(database(folder.path()), &bytes).unwrap();
        let state = check_complete(folder.path(), &format!("{what} at {at}"));
        if let StoreState::Rebuilt { detail } = &state {
            noticed += 1;
            assert!(detail.contains("kept as sled.damaged-5000"), "{detail}");
            let kept = damaged_copies(folder.path()).unwrap();
            assert_eq!(fs::read(kept[0].join("db")).unwrap(), bytes, "the traces of {what} at {at}");
        }
    }
    assert!(noticed >= 24, "damage was noticed {noticed} times only");
}

#[test]
fn a_stale_half_snapshot_of_the_engine_is_not_in_the_way() {
    let folder = filled();
    fs::write(folder.path().join("sled/snap.0000000000000FFF.generating"), b"half").unwrap();
    assert_eq!(check_complete(folder.path(), "stale snapshot"), StoreState::Ok);
}

#[test]
fn a_corrupt_snapshot_of_the_engine_costs_nothing() {
    let folder = filled();
    let engine_files = fs::read_dir(folder.path().join(DATABASE)).unwrap();
    for entry in engine_files.map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("snap.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    fs::write(folder.path().join("sled/snap.0000000000000FFF"), [7; 64]).unwrap();
    let state = check_complete(folder.path(), "corrupt snapshot");
    assert!(detail(&state).contains("a copy of it could be read"), "{state:?}");
}

#[test]
fn a_missing_database_is_restored_from_the_snapshots() {
    let folder = filled();
    fs::remove_dir_all(folder.path().join(DATABASE)).unwrap();
    let state = check_complete(folder.path(), "no database");
    assert_eq!(detail(&state), "there was no database: restored from the snapshots");
    assert!(damaged_copies(folder.path()).unwrap().is_empty());
}

/// An orphan would be loaded again as its manager's, and an older key be learned as a newer one.
#[test]
fn what_was_observed_of_a_bond_is_restored_from_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mut bond = crate::bond::testing::secure_bond(&peer_text(1), 1);
    bond.metadata.custody = crate::bond::Custody::Foreign;
    bond.metadata.note(|details| {
        details.orphaned = true;
        details.outdated = Some(crate::bond::Fingerprint::from_octets([1, 2, 3, 4]));
    });
    let mut table = BondTable::new();
    table.insert(bond).unwrap();
    let mut engine = try_open(folder.path()).unwrap().engine;
    engine.commit(vec![(adapter(ADAPTER), held(table.clone()))]).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
    engine.close();
    drop(engine);
    fs::remove_dir_all(folder.path().join(DATABASE)).unwrap();
    let mut opened = try_open(folder.path()).unwrap();
    let restored = &opened.engine.held[&adapter(ADAPTER)].table;
    assert!(same_tables(restored, &table));
    assert!(restored.bonds().all(crate::bond::Bond::is_orphaned));
    opened.read_snapshots();
    assert!(opened.stale_snapshots.is_empty(), "a snapshot that says it all is written again");
}

#[test]
fn a_database_without_its_file_is_restored_from_the_snapshots() {
    let folder = filled();
    fs::remove_file(database(folder.path())).unwrap();
    let state = check_complete(folder.path(), "no db file");
    assert!(detail(&state).contains("restored from the snapshots"), "{state:?}");
}

#[test]
fn the_predecessor_serves_when_database_and_snapshot_are_damaged() {
    let folder = filled();
    fs::write(database(folder.path()), [0x55; 4_096]).unwrap();
    fs::write(folder.path().join("snapshots/00-1A-7D-DA-71-11.json"), b"").unwrap();
    let state = check_complete(folder.path(), "two of three");
    assert!(detail(&state).contains("the snapshot before the last"), "{state:?}");
}

fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[test]
fn unreadable_copies_stop_the_start_and_are_left_as_they_are() {
    let folder = filled();
    fs::write(database(folder.path()), b"").unwrap();
    for entry in fs::read_dir(folder.path().join("snapshots")).unwrap().map(Result::unwrap) {
        fs::write(entry.path(), b"not ours").unwrap();
    }
    let before = tree(folder.path());
    for _ in 0..2 {
        let Err(OpenError::Unreadable { detail, .. }) = try_open(folder.path()) else {
            panic!("served as empty")
        };
        assert!(detail.contains("none of its copies could be read"), "{detail}");
        assert!(tree(folder.path()) == before, "something was changed");
    }
}

#[test]
fn a_database_that_lost_its_beginning_without_any_snapshot_is_not_an_empty_store() {
    let folder = filled();
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    fs::write(database(folder.path()), b"").unwrap();
    assert!(matches!(try_open(folder.path()), Err(OpenError::Unreadable { .. })));
}

#[test]
fn one_unreadable_adapter_does_not_cost_the_other() {
    let folder = filled();
    fs::write(database(folder.path()), b"").unwrap();
    for name in ["00-1A-7D-DA-71-12.json", "00-1A-7D-DA-71-12.json.1"] {
        fs::write(folder.path().join("snapshots").join(name), b"not ours").unwrap();
    }
    let opened = try_open(folder.path()).unwrap();
    assert_eq!(opened.engine.held.keys().copied().collect::<Vec<_>>(), [adapter(ADAPTER)]);
    assert!(detail(&opened.state).contains("00:1A:7D:DA:71:12: none of its copies"), "{:?}", opened.state);
}

#[test]
fn a_second_instance_is_refused_with_the_name_of_the_first() {
    let folder = filled();
    let first = try_open(folder.path()).unwrap();
    let error = try_open(folder.path()).err().unwrap();
    let own = format!("another instance of the service (process {})", std::process::id());
    assert!(error.to_string().starts_with(&own), "{error}");
    drop(first);
    assert!(try_open(folder.path()).is_ok());
}

#[test]
fn a_folder_that_is_a_file_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(try_open(file.path()), Err(OpenError::Folder { .. })));
}

#[test]
fn only_so_many_damaged_databases_are_kept() {
    let folder = filled();
    for round in 0..DAMAGED_COPIES_MAX as u64 + 2 {
        fs::write(database(folder.path()), b"").unwrap();
        let mut opened =
            open(folder.path(), Files::default(), &SealChoice::default(), UnixMillis(round)).unwrap();
        opened.engine.close();
    }
    let names: Vec<_> = damaged_copies(folder.path()).unwrap();
    assert_eq!(names.len(), DAMAGED_COPIES_MAX);
    assert!(names.last().unwrap().ends_with(format!("sled.damaged-{}", DAMAGED_COPIES_MAX + 1)));
}

#[test]
fn a_full_disk_at_the_start_serves_what_is_there_and_says_so() {
    use crate::store::testing::Failing;
    let folder = filled();
    fs::remove_dir_all(folder.path().join(DATABASE)).unwrap();
    let disk = std::sync::Arc::new(Failing::default());
    disk.fail(libc::ENOSPC, &[]);
    let mut opened =
        open(folder.path(), Files::with_probe(disk.clone()), &SealChoice::default(), NOW).unwrap();
    assert_eq!(opened.state, StoreState::Failing { fault: StoreFault::DiskFull });
    assert!(same_tables(&opened.engine.held[&adapter(ADAPTER)].table, &table_of(BONDS)));
    disk.mend();
    opened.engine.commit(Vec::new()).unwrap();
    opened.engine.close();
    drop(opened);
    assert_eq!(check_complete(folder.path(), "after the disk was freed"), StoreState::Ok);
}

#[test]
fn looking_in_from_outside_changes_nothing_and_works_beside_the_service() {
    use crate::store::inspect;
    let folder = filled();
    let before = tree(folder.path());
    let seen = inspect(folder.path(), None).unwrap();
    assert!(same_tables(&seen.adapters[0].table, &table_of(BONDS)));
    assert!(seen.notes.is_empty(), "{:?}", seen.notes);
    assert!(tree(folder.path()) == before, "something was changed");

    let opened = try_open(folder.path()).unwrap();
    let seen = inspect(folder.path(), None).unwrap();
    assert!(same_tables(&seen.adapters[0].table, &table_of(BONDS)));
    assert!(seen.notes[0].starts_with("the service is running"), "{:?}", seen.notes);
    drop(opened);

    // After a crash the database may be ahead of the snapshots.
    let mut opened = try_open(folder.path()).unwrap();
    opened.engine.commit(vec![(adapter(OTHER), held(table_of(3)))]).unwrap();
    drop(opened);
    let seen = inspect(folder.path(), None).unwrap();
    assert!(same_tables(&seen.adapters[1].table, &table_of(3)));

    fs::write(database(folder.path()), b"").unwrap();
    let seen = inspect(folder.path(), None).unwrap();
    assert_eq!(seen.adapters.len(), 2);
    assert!(!seen.notes.is_empty());
    assert!(matches!(inspect(&folder.path().join("none"), None), Err(OpenError::Folder { .. })));
}
