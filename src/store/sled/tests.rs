use super::*;
use crate::bond::testing::{peer, secure_bond};
use crate::store::testing::{ADAPTER, OTHER, adapter, held, peer_text, same_tables, table_of};

struct Fixture {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new(held: &BTreeMap<AdapterAddress, Held>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sled");
        Database::create(&Files::default(), &path, held).unwrap();
        Self { _folder: folder, path }
    }

    fn open(&self) -> (Database, Contents) {
        Database::open(&Files::default(), &self.path).unwrap()
    }

    fn contents(&self) -> Contents {
        let (database, contents) = self.open();
        database.close();
        contents
    }
}

fn one(table: &BondTable) -> BTreeMap<AdapterAddress, Held> {
    BTreeMap::from([(adapter(ADAPTER), held(table.clone()))])
}

fn change(table: &BondTable) -> [(AdapterAddress, Held); 1] {
    [(adapter(ADAPTER), held(table.clone()))]
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let mut table = table_of(3);
    let fixture = Fixture::new(&one(&table));
    let (mut database, contents) = fixture.open();
    assert!(contents.has_header);
    assert!(same_tables(&contents.adapters[&adapter(ADAPTER)].table, &table));

    table.remove(peer(&peer_text(1)));
    table.insert(secure_bond(&peer_text(9), 9)).unwrap();
    let record = AdapterRecord { name: Some("hub".to_owned()), ..AdapterRecord::default() };
    let changed = Held { table: table.clone().into(), record: record.clone(), revision: 7 };
    database.commit(&[(adapter(ADAPTER), changed), (adapter(OTHER), Held::default())]).unwrap();
    database.close();

    let contents = fixture.contents();
    let found = &contents.adapters[&adapter(ADAPTER)];
    assert!(found.intact && found.lost.is_empty());
    assert!(same_tables(&found.table, &table));
    assert_eq!((found.record.as_ref(), found.revision), (Some(&record), 7));
    assert!(contents.adapters[&adapter(OTHER)].intact, "an adapter without bonds is known");
}

#[test]
fn a_commit_is_on_disk_before_the_database_is_closed() {
    let table = table_of(1);
    let fixture = Fixture::new(&one(&table));
    let (mut database, _) = fixture.open();
    let more = table_of(5);
    database.commit(&change(&more)).unwrap();
    // What a kill at this moment leaves behind.
    let contents = crate::store::open::read_copy(&Files::default(), &fixture.path).unwrap();
    assert!(same_tables(&contents.adapters[&adapter(ADAPTER)].table, &more));
    database.close();
}

#[test]
fn a_removal_that_is_no_longer_remembered_leaves_the_tree() {
    let table = table_of(4);
    let fixture = Fixture::new(&one(&table));
    let (mut database, _) = fixture.open();
    // As a table stands after so many removals that the oldest are forgotten.
    let kept = table.entries().take(1).map(|entry| ((*entry.bond).clone(), entry.generation));
    let shorter = BondTable::from_stored(9, kept, []);
    database.commit(&change(&shorter)).unwrap();
    database.close();
    let found = &fixture.contents().adapters[&adapter(ADAPTER)];
    assert!(found.intact);
    assert!(same_tables(&found.table, &shorter));
}

#[test]
fn a_dropped_adapter_is_gone_and_the_others_stay() {
    let mut both = one(&table_of(2));
    both.insert(adapter(OTHER), held(table_of(1)));
    let fixture = Fixture::new(&both);
    let (mut database, _) = fixture.open();
    database.drop_adapter(adapter(ADAPTER)).unwrap();
    database.close();
    let contents = fixture.contents();
    assert_eq!(contents.adapters.keys().copied().collect::<Vec<_>>(), [adapter(OTHER)]);
}

#[test]
fn records_that_are_missing_or_spoiled_are_noticed_and_named() {
    let fixture = Fixture::new(&one(&table_of(3)));
    let (database, _) = fixture.open();
    let (tree, _) = &database.trees[&adapter(ADAPTER)];
    tree.remove(peer_key(peer(&peer_text(0)))).unwrap();
    tree.insert(peer_key(peer(&peer_text(1))), b"nonsense").unwrap();
    database.close();
    let found = &fixture.contents().adapters[&adapter(ADAPTER)];
    assert!(!found.intact);
    assert_eq!(found.table.len(), 1);
    assert_eq!(found.lost, [format!("{}: it is too short", peer_text(1))]);
}

#[test]
fn a_tree_without_its_seal_and_a_database_without_its_header_are_noticed() {
    let fixture = Fixture::new(&one(&table_of(1)));
    let (database, _) = fixture.open();
    database.trees[&adapter(ADAPTER)].0.remove(SEAL_KEY).unwrap();
    database.meta.remove(HEADER_KEY).unwrap();
    database.close();
    let contents = fixture.contents();
    assert!(!contents.has_header);
    assert!(!contents.adapters[&adapter(ADAPTER)].intact);
}

#[test]
fn a_folder_without_a_database_file_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Database::open(&Files::default(), folder.path()), Err(EngineError::Damaged)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made there");
}

#[test]
fn half_written_snapshots_of_the_engine_are_not_in_the_way() {
    let table = table_of(2);
    let fixture = Fixture::new(&one(&table));
    let litter = fixture.path.join("snap.00000000000003E8.generating");
    fs::write(&litter, b"half").unwrap();
    assert!(same_tables(&fixture.contents().adapters[&adapter(ADAPTER)].table, &table));
    assert!(!litter.exists());
}

#[test]
fn everything_of_a_database_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new(&one(&table_of(1)));
    let (database, _) = fixture.open();
    for name in ["db", "conf"] {
        let mode = fs::metadata(fixture.path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    database.close();
}
