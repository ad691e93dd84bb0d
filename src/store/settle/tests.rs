use super::*;
use crate::bond::Fingerprint;
use crate::bond::health::{Health, Track};
use crate::bond::testing::peer;
use crate::format::bondkeeper::AdapterCopy;
use crate::store::testing::{ADAPTER, adapter, peer_text, same_tables, table_of};

fn found(table: BondTable, intact: bool) -> Found {
    Found { table, record: Some(AdapterRecord::default()), intact, ..Found::default() }
}

fn copy(table: BondTable) -> AdapterCopy {
    AdapterCopy { address: adapter(ADAPTER), record: AdapterRecord::default(), table, revision: 0 }
}

fn intact(table: BondTable) -> Snapshots {
    Snapshots { current: FileState::Intact(copy(table)), predecessor: FileState::Missing }
}

fn damaged(salvaged: Option<BondTable>) -> FileState {
    FileState::Damaged { salvaged: salvaged.map(copy), detail: "x".to_owned() }
}

fn settled(database: &Found, snapshots: &Snapshots) -> Settled {
    settle(DatabaseSide::Found(database), snapshots).unwrap()
}

#[test]
fn copies_that_agree_need_no_mending() {
    let outcome = settled(&found(table_of(3), true), &intact(table_of(3)));
    assert!(outcome.database_is_good && outcome.snapshot_is_good && outcome.problems.is_empty());
}

#[test]
fn a_snapshot_that_has_not_followed_yet_is_only_stale() {
    let outcome = settled(&found(table_of(4), true), &intact(table_of(3)));
    assert!(outcome.database_is_good && !outcome.snapshot_is_good && outcome.problems.is_empty());
    assert!(same_tables(&outcome.held.table, &table_of(4)));
}

#[test]
fn a_database_that_is_short_is_noticed_even_where_it_looks_whole() {
    let outcome = settled(&found(table_of(2), true), &intact(table_of(3)));
    assert!(!outcome.database_is_good && outcome.snapshot_is_good);
    assert!(same_tables(&outcome.held.table, &table_of(3)));
}

#[test]
fn of_a_damaged_database_what_is_newer_than_the_snapshot_is_kept() {
    // Bond 0 and 1 are lost; bond 3 came after the snapshot.
    let whole = table_of(4);
    let rest = whole.entries().filter(|entry| entry.generation > 2);
    let rest = BondTable::from_stored(4, rest.map(|entry| ((*entry.bond).clone(), entry.generation)), []);
    let outcome = settled(&found(rest, false), &intact(table_of(3)));
    assert!(!outcome.database_is_good && !outcome.snapshot_is_good);
    assert!(same_tables(&outcome.held.table, &whole));
}

#[test]
fn a_removal_that_nobody_remembers_is_not_undone_by_an_older_copy() {
    let old = table_of(3);
    let kept = old.entries().take(1).map(|entry| ((*entry.bond).clone(), entry.generation));
    let emptied = BondTable::from_stored(9, kept, []);
    let outcome = settled(&found(emptied.clone(), true), &intact(old.clone()));
    assert!(same_tables(&outcome.held.table, &emptied));
    let outcome = settled(&found(old, false), &intact(emptied.clone()));
    assert!(same_tables(&outcome.held.table, &emptied));
}

#[test]
fn a_removal_in_the_newer_copy_holds() {
    let mut newer = table_of(3);
    newer.remove(peer(&peer_text(1)));
    let outcome = settled(&found(newer.clone(), true), &intact(table_of(3)));
    assert!(same_tables(&outcome.held.table, &newer));
}

#[test]
fn without_a_whole_copy_everything_that_can_be_believed_is_put_together() {
    let all = table_of(3);
    let part = |wanted: u64| {
        let entries = all.entries().filter(move |entry| entry.generation == wanted);
        BondTable::from_stored(0, entries.map(|entry| ((*entry.bond).clone(), entry.generation)), [])
    };
    let snapshots = Snapshots { current: damaged(Some(part(2))), predecessor: damaged(Some(part(3))) };
    let outcome = settled(&found(part(1), false), &snapshots);
    assert!(same_tables(&outcome.held.table, &all));
    assert!(!outcome.database_is_good);
    assert_eq!(outcome.problems.len(), 4, "{:?}", outcome.problems);
}

#[test]
fn the_predecessor_stands_in_for_a_damaged_snapshot() {
    let snapshots = Snapshots { current: damaged(None), predecessor: FileState::Intact(copy(table_of(2))) };
    let outcome = settle(DatabaseSide::Absent, &snapshots).unwrap();
    assert!(same_tables(&outcome.held.table, &table_of(2)));
}

#[test]
fn a_damaged_snapshot_beside_a_good_database_is_reported_and_harmless() {
    let snapshots = Snapshots { current: damaged(None), predecessor: FileState::Missing };
    let outcome = settled(&found(table_of(2), true), &snapshots);
    assert!(outcome.database_is_good && !outcome.snapshot_is_good);
    assert_eq!(outcome.problems, ["the snapshot was damaged: x"]);
}

#[test]
fn nothing_readable_is_not_nothing() {
    let snapshots = Snapshots { current: damaged(None), predecessor: FileState::Missing };
    assert!(settle(DatabaseSide::Absent, &snapshots).is_none());
    assert!(settle(DatabaseSide::Found(&found(BondTable::new(), false)), &snapshots).is_none());
    let empty = settled(&found(BondTable::new(), true), &Snapshots::default());
    assert!(empty.held.table.is_empty() && empty.database_is_good);
}

/// A database and a snapshot with a record each, by its name and revision.
fn with_records(database: (BondTable, u64), snapshot: (BondTable, u64)) -> (Found, Snapshots) {
    let named = |name: &str| AdapterRecord { name: Some(name.to_owned()), ..AdapterRecord::default() };
    let found = Found { record: Some(named("database")), revision: database.1, ..found(database.0, true) };
    let file = AdapterCopy { record: named("snapshot"), revision: snapshot.1, ..copy(snapshot.0) };
    (found, Snapshots { current: FileState::Intact(file), predecessor: FileState::Missing })
}

#[test]
fn what_is_known_of_the_adapter_comes_from_the_later_copy_and_of_equals_from_the_database() {
    for (database, snapshot, wanted, is_good) in [
        ((1, 5), (1, 5), "database", true),
        ((1, 6), (1, 5), "database", true),
        ((2, 6), (1, 5), "database", true),
        ((1, 5), (1, 6), "snapshot", false),
        ((1, 5), (2, 6), "snapshot", false),
        // The bonds were kept and the record was not.
        ((2, 5), (1, 6), "snapshot", false),
        // A release that counts nothing has written one of them.
        ((1, 0), (1, 0), "database", true),
        ((1, 0), (2, 0), "snapshot", false),
        ((1, 5), (1, 0), "database", true),
        ((2, 0), (1, 6), "database", true),
        ((1, 0), (1, 6), "database", true),
        // Nobody counts so far, but a file may say anything.
        ((1, 5), (1, u64::MAX), "snapshot", false),
        ((2, u64::MAX), (1, u64::MAX), "database", true),
    ] {
        let given = |(bonds, revision)| (table_of(bonds), revision);
        let (found, snapshots) = with_records(given(database), given(snapshot));
        let outcome = settled(&found, &snapshots);
        let what = format!("{database:?} beside {snapshot:?}");
        assert_eq!(outcome.held.record.name.as_deref(), Some(wanted), "{what}");
        assert_eq!(outcome.database_is_good, is_good, "{what}");
        assert_eq!(outcome.problems.is_empty(), is_good, "{what}: {:?}", outcome.problems);
        assert!(same_tables(&outcome.held.table, &table_of(database.0.max(snapshot.0))), "{what}");
        // Of what is served no copy is the later one.
        assert!(outcome.held.revision >= database.1.max(snapshot.1), "{what}");
    }
}

#[test]
fn what_is_put_together_comes_after_all_that_it_was_taken_from() {
    let (found, snapshots) = with_records((table_of(2), 5), (table_of(1), 6));
    let outcome = settled(&found, &snapshots);
    assert_eq!(outcome.held.revision, 7);
    assert!(!outcome.snapshot_is_good);
    assert_eq!(
        outcome.problems,
        [
            "the database was older than the snapshot",
            "2 bond(s) were taken from the database",
            "what is known of the adapter itself was taken from the snapshot"
        ]
    );
}

#[test]
fn a_database_that_has_lost_the_record_alone_is_damaged_where_a_snapshot_has_it() {
    let (mut found, snapshots) = with_records((table_of(1), 0), (table_of(1), 5));
    found.record = None;
    let outcome = settled(&found, &snapshots);
    assert!(!outcome.database_is_good);
    assert_eq!(outcome.held.record.name.as_deref(), Some("snapshot"));
    // One that was being dropped when the power went: its snapshots went first.
    let outcome = settled(&found, &Snapshots::default());
    assert!(outcome.database_is_good && outcome.problems.is_empty());
}

#[test]
fn the_evidence_that_only_an_older_database_has_is_kept() {
    let (mut found, snapshots) = with_records((table_of(1), 5), (table_of(1), 6));
    let track = Track {
        fingerprint: Fingerprint::from_octets([1, 2, 3, 4]),
        verdict: Health::Stale,
        failure_count: 3,
        evidence: Vec::new(),
    };
    let tracks = std::collections::BTreeMap::from([(peer(&peer_text(0)), track)]);
    found.record.as_mut().unwrap().health = tracks.clone();
    let record = settled(&found, &snapshots).held.record;
    assert_eq!((record.name.as_deref(), record.health), (Some("snapshot"), tracks));
}

#[test]
fn a_snapshot_with_an_older_record_is_stale() {
    let mut database = found(table_of(1), true);
    database.record = Some(AdapterRecord { last_index: Some(1), ..AdapterRecord::default() });
    assert!(!settled(&database, &intact(table_of(1))).snapshot_is_good);
}
