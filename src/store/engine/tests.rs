use std::sync::Arc;

use super::*;
use crate::bond::BondTable;
use crate::bond::testing::{peer, secure_bond};
use crate::store::files::Step;
use crate::store::messages::StoreState;
use crate::store::open::{Opened, open, read_copy};
use crate::store::sealing::SealChoice;
use crate::store::testing::{
    ADAPTER, CrashAt, Failing, OTHER, adapter, held, peer_text, same_tables, table_of,
};

const NOW: UnixMillis = UnixMillis(1_000);

fn open_in(folder: &Path, files: Files) -> Opened {
    open(folder, files, &SealChoice::default(), NOW).unwrap_or_else(|error| panic!("{error}"))
}

fn commit(engine: &mut Engine, table: &BondTable) -> Result<(), StoreFault> {
    engine.commit(vec![(adapter(ADAPTER), held(table.clone()))])
}

fn reopened(folder: &Path) -> (BTreeMap<AdapterAddress, Held>, StoreState) {
    let mut opened = open_in(folder, Files::default());
    opened.engine.close();
    (opened.engine.held, opened.state)
}

/// The folder as a kill at this moment would leave it.
fn image_of(folder: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    crate::store::files::copy_folder(folder, image.path(), &|_| true).unwrap();
    image
}

#[test]
fn a_kill_at_any_step_of_a_commit_keeps_what_was_acknowledged() {
    let mut steps = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let mut first = open_in(folder.path(), Files::default()).engine;
        commit(&mut first, &table_of(2)).unwrap();
        first.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
        first.close();
        drop(first);

        let mut engine = open_in(folder.path(), Files::default()).engine;
        let files = Files::with_probe(Arc::new(CrashAt::new(steps)));
        engine.files = files.clone();
        let committed = commit(&mut engine, &table_of(3));
        let snapshot = engine.write_snapshots(&[adapter(ADAPTER)], NOW);
        let image = image_of(folder.path());
        let (found, state) = reopened(image.path());
        let table = &found[&adapter(ADAPTER)].table;
        assert_eq!(state, StoreState::Ok, "step {steps}");
        assert!(same_tables(table, &table_of(2)) || same_tables(table, &table_of(3)), "step {steps}");
        if committed.is_ok() {
            assert!(same_tables(table, &table_of(3)), "acknowledged and lost at step {steps}");
        }
        if snapshot.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 6, "only {steps} steps were tried");
}

#[test]
fn a_kill_at_any_step_of_a_rebuild_leaves_a_store_that_opens_with_everything() {
    let (mut steps, mut rooms) = (0, 0);
    loop {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = open_in(folder.path(), Files::default()).engine;
        commit(&mut engine, &table_of(2)).unwrap();
        engine.close();
        // No snapshot was written yet: the database is the only copy.
        engine.held.insert(adapter(ADAPTER), held(table_of(3)));
        engine.files = Files::with_probe(Arc::new(CrashAt::new(steps)));
        let outcome = engine.rebuild();
        let image = image_of(folder.path());
        // The one that was in place may be in doubt: once it has made room, the new one counts.
        let made_room = !image.path().join(DATABASE).exists();
        let (found, state) = reopened(image.path());
        let table = &found[&adapter(ADAPTER)].table;
        assert_eq!(state, StoreState::Ok, "step {steps}");
        assert!(same_tables(table, &table_of(2)) || same_tables(table, &table_of(3)), "step {steps}");
        if outcome.is_ok() || made_room {
            assert!(same_tables(table, &table_of(3)), "step {steps}");
        }
        rooms += usize::from(made_room);
        if outcome.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 8 && rooms > 0, "only {steps} steps were tried, {rooms} of them between the two names");
}

#[test]
fn a_kill_at_any_step_of_the_first_start_leaves_a_folder_that_opens() {
    let mut steps = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::with_probe(Arc::new(CrashAt::new(steps)));
        let outcome = open(folder.path(), files, &SealChoice::default(), NOW).map(|mut opened| {
            opened.engine.close();
            opened.state
        });
        let image = image_of(folder.path());
        let (found, state) = reopened(image.path());
        assert!(found.is_empty() && state == StoreState::Ok, "step {steps}: {state:?}");
        if outcome.is_ok_and(|state| state == StoreState::Ok) {
            break;
        }
        steps += 1;
    }
    assert!(steps >= 8, "only {steps} steps were tried");
}

#[test]
fn a_full_disk_acknowledges_nothing_and_is_recovered_from() {
    for (code, fault) in [
        (libc::ENOSPC, StoreFault::DiskFull),
        (libc::EDQUOT, StoreFault::DiskFull),
        (libc::EROFS, StoreFault::ReadOnly),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::default());
        let mut engine = open_in(folder.path(), Files::with_probe(disk.clone())).engine;
        commit(&mut engine, &table_of(1)).unwrap();
        disk.fail(code, &[]);
        assert_eq!(commit(&mut engine, &table_of(2)), Err(fault.clone()));
        assert_eq!(commit(&mut engine, &table_of(3)), Err(fault));
        let image = image_of(folder.path());
        assert!(same_tables(&reopened(image.path()).0[&adapter(ADAPTER)].table, &table_of(1)));
        disk.mend();
        commit(&mut engine, &table_of(4)).unwrap();
        engine.close();
        drop(engine);
        let (found, state) = reopened(folder.path());
        assert_eq!(state, StoreState::Ok);
        assert!(same_tables(&found[&adapter(ADAPTER)].table, &table_of(4)));
    }
}

#[test]
fn after_a_failed_sync_a_new_database_is_written_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let mut engine = open_in(folder.path(), Files::with_probe(disk.clone())).engine;
    let mut two = vec![(adapter(ADAPTER), held(table_of(1))), (adapter(OTHER), held(table_of(5)))];
    engine.commit(two.clone()).unwrap();
    disk.fail(libc::EIO, &[Step::SyncDatabase]);
    assert!(matches!(commit(&mut engine, &table_of(2)), Err(StoreFault::Io(_))));
    assert!(engine.database.is_none(), "a database in doubt is still in use");
    disk.mend();
    // Whatever of the old file the disk has really taken must not matter any more.
    fs::write(folder.path().join(DATABASE).join("db"), b"").unwrap();
    two[0].1 = held(table_of(3));
    engine.commit(two[..1].to_vec()).unwrap();
    let contents = read_copy(&Files::default(), &folder.path().join(DATABASE)).unwrap();
    assert!(same_tables(&contents.adapters[&adapter(ADAPTER)].table, &table_of(3)));
    assert!(
        same_tables(&contents.adapters[&adapter(OTHER)].table, &table_of(5)),
        "not part of the failed commit"
    );
    for litter in [MAKING, NEW, OLD] {
        assert!(!folder.path().join(litter).exists(), "{litter}");
    }
}

#[test]
fn a_failed_snapshot_leaves_the_commit_alone_and_the_others_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let mut engine = open_in(folder.path(), Files::with_probe(disk.clone())).engine;
    commit(&mut engine, &table_of(1)).unwrap();
    disk.fail(libc::ENOSPC, &[Step::Write]);
    assert_eq!(engine.write_snapshots(&[adapter(ADAPTER)], NOW), Err(StoreFault::DiskFull));
    assert!(engine.database.is_some());
    disk.mend();
    engine.write_snapshots(&[adapter(OTHER), adapter(ADAPTER)], NOW).unwrap();
    let snapshots = snapshot::read_all(&Files::default(), folder.path()).unwrap();
    assert_eq!(snapshots.keys().copied().collect::<Vec<_>>(), [adapter(ADAPTER)]);
}

#[test]
fn a_dropped_adapter_stays_dropped_and_a_failed_drop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Failing::default());
    let mut engine = open_in(folder.path(), Files::with_probe(disk.clone())).engine;
    engine.commit(vec![(adapter(ADAPTER), held(table_of(1))), (adapter(OTHER), held(table_of(2)))]).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER), adapter(OTHER)], NOW).unwrap();
    disk.fail(libc::EIO, &[Step::Database]);
    assert!(engine.drop_adapter(adapter(ADAPTER)).is_err());
    let (found, _) = reopened(image_of(folder.path()).path());
    assert!(same_tables(&found[&adapter(ADAPTER)].table, &table_of(1)));
    disk.mend();
    engine.drop_adapter(adapter(ADAPTER)).unwrap();
    engine.close();
    drop(engine);
    let (found, state) = reopened(folder.path());
    assert_eq!(state, StoreState::Ok);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [adapter(OTHER)]);
}

#[test]
fn ten_thousand_bonds_go_in_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut engine = open_in(folder.path(), Files::default()).engine;
    let mut table = table_of(10_000);
    commit(&mut engine, &table).unwrap();
    table.remove(peer(&peer_text(5_000)));
    table.insert(secure_bond(&peer_text(20_000), 1)).unwrap();
    commit(&mut engine, &table).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
    engine.close();
    drop(engine);
    let (found, state) = reopened(folder.path());
    assert_eq!(state, StoreState::Ok);
    assert!(same_tables(&found[&adapter(ADAPTER)].table, &table));
}
