//! Snapshots that are missing or damaged beside a whole database.

use super::*;

#[test]
fn missing_snapshots_are_written_again() {
    let folder = filled();
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    assert_eq!(check_complete(folder.path(), "no snapshots"), StoreState::Ok);
    assert_eq!(snapshot::read_all(&Files::default(), folder.path()).unwrap().len(), 2);
}

#[test]
fn a_damaged_snapshot_is_reported_put_aside_and_written_again() {
    let folder = filled();
    let path = folder.path().join("snapshots/00-1A-7D-DA-71-11.json");
    fs::write(&path, b"{\"format\":\"bondkeeper\"").unwrap();
    let state = check_complete(folder.path(), "damaged snapshot");
    assert!(detail(&state).starts_with("00:1A:7D:DA:71:11: the snapshot was damaged"), "{state:?}");
    assert!(path.exists() && path.with_extension("json.damaged").exists());
}

/// Damage that no glance sees.
fn damage_the_middle(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].fill(b' ');
    fs::write(path, bytes).unwrap();
}

#[test]
fn beside_a_whole_database_snapshots_are_glanced_at_and_read_later() {
    let folder = filled();
    let mut opened = try_open(folder.path()).unwrap();
    assert_eq!(opened.engine.glanced.len(), 2);
    assert!(opened.stale_snapshots.is_empty());
    for of in [ADAPTER, OTHER] {
        assert_eq!(opened.engine.read_snapshots(adapter(of)), SnapshotsRead::default());
    }
    assert!(opened.engine.glanced.is_empty());
}

#[test]
fn damage_that_no_glance_sees_is_found_when_the_snapshots_are_read() {
    for (name, stale) in [("00-1A-7D-DA-71-11.json", true), ("00-1A-7D-DA-71-11.json.1", false)] {
        let folder = filled();
        let path = snapshot_of(folder.path(), name);
        damage_the_middle(&path);
        let mut opened = try_open(folder.path()).unwrap();
        assert_eq!(opened.state, StoreState::Ok, "{name}: it was read at once");
        let read = opened.engine.read_snapshots(adapter(ADAPTER));
        assert_eq!(read.is_stale, stale, "{name}");
        assert!(read.problems[0].contains("was damaged"), "{name}: {read:?}");
        let aside = snapshot_of(folder.path(), &format!("{name}.damaged"));
        assert!(!path.exists() && aside.exists(), "{name}");
        assert_eq!(opened.engine.read_snapshots(adapter(ADAPTER)), SnapshotsRead::default(), "told twice");
    }
}

#[test]
fn a_damaged_snapshot_that_was_only_glanced_at_never_becomes_a_predecessor() {
    let folder = filled();
    damage_the_middle(&snapshot_of(folder.path(), "00-1A-7D-DA-71-11.json"));
    let mut opened = try_open(folder.path()).unwrap();
    opened.engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
    let files = snapshot::read_both(&Files::default(), folder.path(), adapter(ADAPTER));
    assert!(matches!(files.current, FileState::Intact(_)));
    assert!(matches!(files.predecessor, FileState::Intact(_)), "the damaged one became the predecessor");
    // Whoever asks next hears of it, whoever it is about.
    let read = opened.engine.read_snapshots(adapter(OTHER));
    assert!(read.problems.len() == 1 && !read.is_stale, "{read:?}");
}

#[test]
fn a_snapshot_that_holds_an_older_record_is_stale_at_a_glance() {
    let folder = filled();
    rename(folder.path(), &["another"], false);
    let opened = try_open(folder.path()).unwrap();
    assert_eq!(opened.state, StoreState::Ok);
    assert_eq!(opened.stale_snapshots, BTreeSet::from([adapter(ADAPTER)]), "the generation is the same");
}
