//! A database, or snapshots, that went back to what they were before.

use super::*;

fn name_of(opened: &Opened) -> Option<&str> {
    opened.engine.held[&adapter(ADAPTER)].record.name.as_deref()
}

fn replace_database(folder: &Path, by: &Path) {
    fs::remove_dir_all(folder.join(DATABASE)).unwrap();
    copy_folder(&by.join(DATABASE), &folder.join(DATABASE), &|_| true).unwrap();
}

#[test]
fn a_database_that_went_back_raises_the_alarm_even_where_no_bond_had_changed() {
    for count in [1, 2, 3] {
        let folder = filled();
        rename(folder.path(), &["first"], true);
        let older = copied(folder.path());
        rename(folder.path(), &["second", "third", "last"][..count], true);
        let newest = ["second", "third", "last"][count - 1];
        replace_database(folder.path(), older.path());
        let opened = try_open(folder.path()).unwrap();
        assert!(
            detail(&opened.state).contains("the database was older than the snapshot"),
            "{:?}",
            opened.state
        );
        assert_eq!(name_of(&opened), Some(newest));
        assert!(same_tables(&opened.engine.held[&adapter(ADAPTER)].table, &table_of(BONDS)));
        drop(opened);
        assert_eq!(damaged_copies(folder.path()).unwrap().len(), 1);
        // It is mended, for good.
        assert_eq!(check_complete(folder.path(), "after the alarm"), StoreState::Ok);
        assert_eq!(name_of(&try_open(folder.path()).unwrap()), Some(newest));
    }
}

#[test]
fn a_database_that_went_back_and_forgot_bonds_gives_the_record_of_the_snapshot_too() {
    let folder = filled();
    rename(folder.path(), &["old"], true);
    let older = copied(folder.path());
    let mut engine = try_open(folder.path()).unwrap().engine;
    let mut newer = held(table_of(BONDS + 1));
    newer.record.name = Some("new".to_owned());
    engine.commit(vec![(adapter(ADAPTER), newer)]).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
    engine.close_and_unlock();
    replace_database(folder.path(), older.path());
    let opened = try_open(folder.path()).unwrap();
    assert!(detail(&opened.state).contains("the database was older"), "{:?}", opened.state);
    assert_eq!(name_of(&opened), Some("new"));
    assert!(same_tables(&opened.engine.held[&adapter(ADAPTER)].table, &table_of(BONDS + 1)));
}

#[test]
fn snapshots_that_went_back_raise_no_alarm() {
    // As after a kill, or a backup that was put back beside a database that is newer.
    let folder = filled();
    let older = copied(folder.path());
    rename(folder.path(), &["first", "last"], true);
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    let snapshots = (older.path().join("snapshots"), folder.path().join("snapshots"));
    copy_folder(&snapshots.0, &snapshots.1, &|_| true).unwrap();
    let opened = try_open(folder.path()).unwrap();
    assert_eq!((&opened.state, name_of(&opened)), (&StoreState::Ok, Some("last")));
}

/// Cuts the database at these places; whatever was there must be served, and the alarm raised.
fn cut_at(original: &Path, name: &str, places: impl Iterator<Item = usize>, bonds: u16) -> usize {
    let good = fs::read(database(original)).unwrap();
    let mut count = 0;
    for at in places {
        let folder = copied(original);
        fs::write(database(folder.path()), &good[..at]).unwrap();
        let opened = try_open(folder.path()).unwrap();
        assert!(matches!(opened.state, StoreState::Rebuilt { .. }), "cut at {at}: {:?}", opened.state);
        assert_eq!(name_of(&opened), Some(name), "cut at {at}");
        assert!(same_tables(&opened.engine.held[&adapter(ADAPTER)].table, &table_of(bonds)), "cut at {at}");
        assert_eq!(damaged_copies(folder.path()).unwrap().len(), 1, "cut at {at}: nothing was kept aside");
        count += 1;
    }
    count
}

fn used(folder: &Path) -> usize {
    fs::read(database(folder)).unwrap().iter().rposition(|octet| *octet != 0).unwrap() + 1
}

#[test]
fn wherever_the_database_is_cut_off_the_alarm_is_raised_and_nothing_is_older() {
    let folder = filled();
    rename(folder.path(), &["first", "second", "last"], true);
    let (used, size) = (used(folder.path()), fs::read(database(folder.path())).unwrap().len());
    let end = (used - 400..used).step_by(23);
    // Behind it the engine fills with zeros, which nothing would miss.
    let places = (0..used).step_by(used / 20).chain(end).chain([used, used + 1, (used + size) / 2, size - 1]);
    assert!(cut_at(folder.path(), "last", places, BONDS) > 30);
}

#[test]
fn a_large_database_that_lost_its_last_commits_raises_the_alarm() {
    const MANY: u16 = 2_500;
    let folder = filled();
    let mut engine = try_open(folder.path()).unwrap().engine;
    engine.commit(vec![(adapter(ADAPTER), held(table_of(MANY)))]).unwrap();
    engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
    engine.close_and_unlock();
    rename(folder.path(), &["first", "second", "last"], true);
    let used = used(folder.path());
    assert!(used > 600_000, "{used}: it fits into the first piece, and its length alone would tell");
    cut_at(folder.path(), "last", (used - 300..used).step_by(60), MANY);
}

#[test]
fn a_database_older_than_a_snapshot_is_noticed_before_anything_is_served() {
    for predecessor in [false, true] {
        let folder = filled();
        let older = copied(folder.path());
        let mut opened = try_open(folder.path()).unwrap();
        opened.engine.commit(vec![(adapter(OTHER), held(table_of(5)))]).unwrap();
        opened.engine.write_snapshots(&[adapter(OTHER)], NOW).unwrap();
        if predecessor {
            opened.engine.write_snapshots(&[adapter(OTHER)], NOW).unwrap();
        }
        opened.engine.close_and_unlock();
        drop(opened);
        if predecessor {
            fs::remove_file(snapshot_of(folder.path(), "00-1A-7D-DA-71-12.json")).unwrap();
        }
        replace_database(folder.path(), older.path());
        let opened = try_open(folder.path()).unwrap();
        assert!(same_tables(&opened.engine.held[&adapter(OTHER)].table, &table_of(5)));
        assert!(
            detail(&opened.state).contains("5 bond(s) were taken from the snapshot"),
            "{:?}",
            opened.state
        );
    }
}

#[test]
fn a_release_that_counts_nothing_may_come_in_between_without_an_alarm() {
    let folder = filled();
    rename(folder.path(), &["counted"], true);
    // It writes its record without a revision, and is killed before its snapshot.
    let mut opened = try_open(folder.path()).unwrap();
    let mut uncounted = opened.engine.held[&adapter(ADAPTER)].clone();
    uncounted.record.name = Some("uncounted".to_owned());
    uncounted.revision = 0;
    let database = opened.engine.database.as_mut().unwrap();
    database.commit(&[(adapter(ADAPTER), uncounted)]).unwrap();
    opened.engine.close_and_unlock();
    drop(opened);
    // Starts that change nothing, one that does, and one after it.
    for round in 0..4 {
        let mut opened = try_open(folder.path()).unwrap();
        assert_eq!(opened.state, StoreState::Ok, "start {round}");
        assert_eq!(name_of(&opened), Some(if round < 3 { "uncounted" } else { "again" }), "start {round}");
        opened.read_snapshots();
        let stale: Vec<_> = opened.stale_snapshots.iter().copied().collect();
        opened.engine.write_snapshots(&stale, NOW).unwrap();
        opened.engine.close_and_unlock();
        drop(opened);
        if round == 2 {
            rename(folder.path(), &["again"], true);
        }
    }
}
