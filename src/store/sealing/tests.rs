use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::bond::testing::secure_bond;
use crate::bond::{Bond, BondTable, UnixMillis};
use crate::store::engine::Engine;
use crate::store::files::Files;
use crate::store::inspect;
use crate::store::messages::{StoreFault, StoreState};
use crate::store::open::{OpenError, Opened, open};
use crate::store::secret;
use crate::store::testing::{ADAPTER, CrashAt, OTHER, adapter, held, same_tables, table_of};

const NOW: UnixMillis = UnixMillis(1_795_225_339_120);
const BONDS: u16 = 6;

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery staple")
}

fn choice(wish: SealWish) -> SealChoice {
    SealChoice { passphrase: Some(passphrase()), wish }
}

fn try_open_with(folder: &Path, choice: &SealChoice, files: Files) -> Result<Opened, OpenError> {
    open(folder, files, choice, NOW)
}

fn open_as(folder: &Path, wish: SealWish) -> Opened {
    let choice = if wish == SealWish::AsItIs { SealChoice::default() } else { choice(wish) };
    try_open_with(folder, &choice, Files::default())
        .unwrap_or_else(|error| panic!("{}", crate::cli::chain(&error)))
}

/// In memory where there is a file system for that: it is the order of things that is tested, and every step syncs.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What a service does in its life: two adapters, snapshots and their predecessors, a checkpoint.
fn fill(engine: &mut Engine, folder: &Path) {
    let both = [adapter(ADAPTER), adapter(OTHER)];
    engine.commit(both.map(|adapter| (adapter, held(table_of(BONDS - 1)))).to_vec()).unwrap();
    engine.write_snapshots(&both, NOW).unwrap();
    engine.save_checkpoint(both[0], &held(table_of(BONDS - 1)), "before_forget", NOW).unwrap();
    engine.commit(both.map(|adapter| (adapter, held(table_of(BONDS)))).to_vec()).unwrap();
    engine.write_snapshots(&both, NOW).unwrap();
    secret::load_or_make(&engine.files, folder).0.unwrap();
}

/// A store as it is after a service has run with this wish.
fn filled(wish: SealWish) -> tempfile::TempDir {
    let folder = scratch();
    let mut opened = open_as(folder.path(), wish);
    fill(&mut opened.engine, folder.path());
    opened.engine.close_and_unlock();
    folder
}

fn is_whole(held: &BTreeMap<AdapterAddress, crate::store::sled::Held>) -> bool {
    held.len() == 2 && held.values().all(|held| same_tables(&held.table, &table_of(BONDS)))
}

fn check_whole(folder: &Path, wish: SealWish, what: &str) {
    let mut opened = open_as(folder, wish);
    assert!(is_whole(&opened.engine.held), "{what}");
    assert_eq!(opened.state, StoreState::Ok, "{what}");
    let copies = opened.engine.list_checkpoints(None).unwrap();
    assert_eq!(copies.len(), 1, "{what}");
    let copy = opened.engine.read_checkpoint(&copies[0].label).unwrap();
    assert!(same_tables(&copy.table, &table_of(BONDS - 1)), "{what}");
    opened.engine.close_and_unlock();
}

/// Every file below a folder, with what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Sixteen octets as they may stand in a file: as they are, reversed, and both in hexadecimal.
fn spellings(bond: &Bond) -> Vec<Vec<u8>> {
    let keys = bond.ltks().iter().map(|ltk| ltk.key.expose().to_vec());
    let keys = keys.chain(bond.irk.iter().map(|irk| irk.key.expose().to_vec()));
    let both_ways = keys.flat_map(|key| [key.clone(), key.into_iter().rev().collect::<Vec<u8>>()]);
    both_ways
        .flat_map(|key| [key.clone(), hex::encode(&key).into_bytes(), hex::encode_upper(&key).into_bytes()])
        .collect()
}

/// The files in which a key of some bond stands.
fn holders(folder: &Path) -> Vec<PathBuf> {
    let table = table_of(BONDS);
    let needles: Vec<Vec<u8>> = table.bonds().flat_map(spellings).collect();
    assert!(needles.len() >= 6 * usize::from(BONDS));
    let holds = |octets: &[u8]| {
        needles.iter().any(|needle| octets.windows(needle.len()).any(|window| window == needle.as_slice()))
    };
    contents(folder).into_iter().filter(|(_, octets)| holds(octets)).map(|(path, _)| path).collect()
}

#[test]
fn no_file_of_a_sealed_store_holds_a_key_and_the_search_finds_them_in_a_clear_one() {
    let sealed = filled(SealWish::Sealed);
    assert_eq!(holders(sealed.path()), Vec::<PathBuf>::new());
    check_whole(sealed.path(), SealWish::Sealed, "sealed from the first");
    let clear = filled(SealWish::AsItIs);
    let found = holders(clear.path());
    for part in ["sled/db", "snapshots/", ".json.1", "checkpoints/"] {
        assert!(found.iter().any(|path| path.to_string_lossy().contains(part)), "{part}: {found:?}");
    }
}

#[test]
fn the_key_file_and_a_snapshot_are_ordinary_age_files() {
    let folder = filled(SealWish::Sealed);
    let key = fs::read(folder.path().join("seal.age")).unwrap();
    let openers = sealed::Openers::of_passphrase(Some(passphrase()));
    let text = sealed::open(&key, &openers, 10_000).unwrap();
    let identity = sealed::Identity::from_text(std::str::from_utf8(&text).unwrap()).unwrap();
    let snapshot = fs::read(folder.path().join("snapshots/00-1A-7D-DA-71-11.json")).unwrap();
    let clear = sealed::open(&snapshot, &identity.openers(), 1 << 20).unwrap();
    assert_eq!(crate::format::bondkeeper::read(&clear).unwrap().adapters[0].table.len(), usize::from(BONDS));
}

#[test]
fn a_store_is_sealed_and_unsealed_with_everything_in_it() {
    let folder = filled(SealWish::AsItIs);
    check_whole(folder.path(), SealWish::Sealed, "sealed");
    assert_eq!(holders(folder.path()), Vec::<PathBuf>::new());
    check_whole(folder.path(), SealWish::Sealed, "sealed again");
    let fingerprints = |folder: &Path| {
        let mut opened = open_as(folder, SealWish::Sealed);
        let key = secret::load_or_make(&opened.engine.files, folder).0.unwrap();
        opened.engine.close_and_unlock();
        *key.expose()
    };
    let before = fingerprints(folder.path());
    check_whole(folder.path(), SealWish::Clear, "unsealed");
    assert!(!holders(folder.path()).is_empty());
    assert!(!folder.path().join("seal.age").exists());
    check_whole(folder.path(), SealWish::AsItIs, "clear");
    check_whole(folder.path(), SealWish::Clear, "still clear");
    assert_eq!(fingerprints(folder.path()), before, "fingerprints stay the same");
}

#[test]
fn without_the_passphrase_nothing_is_opened_and_nothing_changed() {
    let folder = filled(SealWish::Sealed);
    let before = contents(folder.path());
    let wrong = Some(Passphrase::new("incorrect horse battery"));
    for wish in [SealWish::AsItIs, SealWish::Sealed, SealWish::Clear] {
        for passphrase in [wrong.clone(), None] {
            let is_wrong = passphrase.is_some();
            let refused = try_open_with(folder.path(), &SealChoice { passphrase, wish }, Files::default());
            let Err(OpenError::Seal { source, .. }) = refused else { panic!("{wish:?} was opened") };
            match source {
                StoreSealError::WrongPassphrase => assert!(is_wrong),
                StoreSealError::PassphraseNeeded => assert!(!is_wrong),
                other => panic!("{other}"),
            }
        }
    }
    for passphrase in [wrong, None] {
        assert!(matches!(inspect(folder.path(), passphrase), Err(OpenError::Seal { .. })));
    }
    assert!(before == contents(folder.path()), "something was changed");
    check_whole(folder.path(), SealWish::Sealed, "with the passphrase");
}

#[test]
fn a_sealed_store_without_its_key_file_is_refused_and_not_taken_for_an_empty_one() {
    for remains in [&["sled", "snapshots"][..], &["sled"], &["snapshots"]] {
        let folder = filled(SealWish::Sealed);
        let key = folder.path().join("seal.age");
        let kept = fs::read(&key).unwrap();
        fs::remove_file(&key).unwrap();
        fs::remove_dir_all(folder.path().join("checkpoints")).unwrap();
        for name in ["sled", "snapshots"] {
            if !remains.contains(&name) {
                fs::remove_dir_all(folder.path().join(name)).unwrap();
            }
        }
        for choice in [SealChoice::default(), choice(SealWish::Sealed), choice(SealWish::Clear)] {
            let refused = try_open_with(folder.path(), &choice, Files::default());
            let missing = matches!(refused, Err(OpenError::Seal { source: StoreSealError::KeyMissing, .. }));
            assert!(missing, "{remains:?}");
            assert!(!key.exists(), "a new key was made for a store that has one");
        }
        fs::write(&key, kept).unwrap();
        assert!(is_whole(&open_as(folder.path(), SealWish::Sealed).engine.held), "{remains:?}");
    }
}

#[test]
fn a_damaged_key_file_is_refused_with_its_name() {
    let folder = filled(SealWish::Sealed);
    let key = folder.path().join("seal.age");
    let octets = fs::read(&key).unwrap();
    fs::write(&key, &octets[..octets.len() - 1]).unwrap();
    let refused = try_open_with(folder.path(), &choice(SealWish::Sealed), Files::default());
    let Err(OpenError::Seal { source, .. }) = refused else { panic!("it was opened") };
    assert!(source.to_string().contains("seal.age is damaged"), "{source}");
}

#[test]
fn the_snapshots_of_a_sealed_store_bring_its_bonds_back() {
    let folder = filled(SealWish::Sealed);
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    let mut opened = open_as(folder.path(), SealWish::Sealed);
    assert!(is_whole(&opened.engine.held));
    assert!(matches!(opened.state, StoreState::Rebuilt { .. }));
    opened.engine.close_and_unlock();
    assert_eq!(holders(folder.path()), Vec::<PathBuf>::new());
    // And the database brings back the snapshots.
    fs::remove_dir_all(folder.path().join("snapshots")).unwrap();
    assert!(is_whole(&open_as(folder.path(), SealWish::Sealed).engine.held));
}

#[test]
fn what_is_slipped_into_a_sealed_store_in_the_clear_is_not_believed() {
    let folder = filled(SealWish::Sealed);
    let mut forged = table_of(BONDS);
    forged.insert(secure_bond("C0:FF:EE:00:AA:AA", 9)).unwrap();
    let files = Files::default();
    let octets = crate::store::snapshot::encode(adapter(ADAPTER), &held(forged), NOW).unwrap();
    files.replace(&folder.path().join("snapshots/00-1A-7D-DA-71-11.json"), &octets).unwrap();
    let mut opened = open_as(folder.path(), SealWish::Sealed);
    assert!(is_whole(&opened.engine.held));
    let StoreState::Rebuilt { detail } = &opened.state else { panic!("{:?}", opened.state) };
    assert!(detail.contains("not sealed"), "{detail}");
    opened.engine.write_snapshots(&[adapter(ADAPTER)], NOW).unwrap();
    opened.engine.close_and_unlock();
    // A whole database in the clear neither.
    let clear = filled(SealWish::AsItIs);
    fs::remove_dir_all(folder.path().join("sled")).unwrap();
    fs::rename(clear.path().join("sled"), folder.path().join("sled")).unwrap();
    let mut opened = open_as(folder.path(), SealWish::Sealed);
    assert!(is_whole(&opened.engine.held));
    assert!(matches!(opened.state, StoreState::Rebuilt { .. }));
    opened.engine.close_and_unlock();
}

#[test]
fn a_copy_under_another_name_is_not_believed() {
    let folder = filled(SealWish::Sealed);
    let checkpoints = folder.path().join("checkpoints");
    let name =
        fs::read_dir(&checkpoints).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let moved = name.replace("20261121", "20261120");
    fs::rename(checkpoints.join(&name), checkpoints.join(&moved)).unwrap();
    let mut opened = open_as(folder.path(), SealWish::Sealed);
    let refused = opened.engine.read_checkpoint(moved.trim_end_matches(".json"));
    assert!(matches!(refused, Err(StoreFault::Io(words)) if words.contains("another label")));
    opened.engine.close_and_unlock();
}

#[test]
fn a_crash_at_any_step_of_sealing_or_unsealing_leaves_a_store_that_starts_whole() {
    for (before, after) in [(SealWish::AsItIs, SealWish::Sealed), (SealWish::Sealed, SealWish::Clear)] {
        let original = filled(before);
        let mut steps = 0;
        loop {
            let folder = scratch();
            crate::store::files::copy_folder(original.path(), folder.path(), &|_| true).unwrap();
            let crash = Files::with_probe(Arc::new(CrashAt::new(steps)));
            let outcome = try_open_with(folder.path(), &choice(after), crash);
            let (finished, image) = match outcome {
                // What is read of it is whole, whatever became of its change.
                Ok(opened) => {
                    assert!(is_whole(&opened.engine.held), "step {steps}");
                    (opened.state == StoreState::Ok, opened.engine)
                }
                Err(OpenError::Seal { source: StoreSealError::NotBegun(_), .. }) => {
                    // The options are taken back, as its words ask.
                    let same = SealChoice { passphrase: Some(passphrase()), wish: SealWish::AsItIs };
                    let mut opened = try_open_with(folder.path(), &same, Files::default()).unwrap();
                    assert!(is_whole(&opened.engine.held), "step {steps}");
                    opened.engine.close_and_unlock();
                    check_whole(folder.path(), after, &format!("step {steps}, not begun"));
                    steps += 1;
                    continue;
                }
                Err(error) => panic!("step {steps}: {}", crate::cli::chain(&error)),
            };
            // As a kill leaves it: nothing is closed in good order.
            let left = scratch();
            crate::store::files::copy_folder(folder.path(), left.path(), &|_| true).unwrap();
            let mut engine = image;
            engine.close_and_unlock();
            check_whole(left.path(), after, &format!("step {steps} to {after:?}"));
            let clear_files = holders(left.path());
            assert_eq!(clear_files.is_empty(), after == SealWish::Sealed, "step {steps}: {clear_files:?}");
            assert!(!left.path().join("seal.unfinished").exists(), "step {steps}");
            if finished {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 20, "only {steps} steps were tried");
    }
}

#[test]
fn what_was_put_aside_is_sealed_too_and_stays_what_it_was() {
    let folder = filled(SealWish::AsItIs);
    let aside = folder.path().join("sled.damaged-7");
    crate::store::files::copy_folder(&folder.path().join("sled"), &aside, &|_| true).unwrap();
    let damaged = folder.path().join("snapshots/00-1A-7D-DA-71-11.json.damaged");
    fs::copy(folder.path().join("snapshots/00-1A-7D-DA-71-11.json"), &damaged).unwrap();
    let before = (contents(&aside), fs::read(&damaged).unwrap());
    check_whole(folder.path(), SealWish::Sealed, "sealed");
    assert_eq!(holders(folder.path()), Vec::<PathBuf>::new());
    check_whole(folder.path(), SealWish::Clear, "unsealed");
    assert!(before == (contents(&aside), fs::read(&damaged).unwrap()));
}

#[test]
fn a_copy_that_no_key_opens_does_not_keep_a_store_from_being_unsealed() {
    let folder = filled(SealWish::Sealed);
    let checkpoints = folder.path().join("checkpoints");
    let path = fs::read_dir(&checkpoints).unwrap().next().unwrap().unwrap().path();
    let mut octets = fs::read(&path).unwrap();
    *octets.last_mut().unwrap() ^= 1;
    fs::write(&path, &octets).unwrap();
    open_as(folder.path(), SealWish::Clear).engine.close_and_unlock();
    assert_eq!(fs::read(path.with_extension("json.damaged")).unwrap(), octets);
    assert!(folder.path().join("seal.age.old").exists(), "its key is kept for whoever looks into it");
    assert!(is_whole(&open_as(folder.path(), SealWish::AsItIs).engine.held));
}

#[test]
fn a_file_with_two_names_is_not_written_over_under_the_other() {
    let folder = filled(SealWish::AsItIs);
    let snapshot = folder.path().join("snapshots/00-1A-7D-DA-71-11.json");
    let outside = tempfile::tempdir_in(folder.path().parent().unwrap()).unwrap();
    let other = outside.path().join("mine.json");
    fs::hard_link(&snapshot, &other).unwrap();
    let before = fs::read(&other).unwrap();
    check_whole(folder.path(), SealWish::Sealed, "sealed");
    assert_eq!(fs::read(&other).unwrap(), before);
}

#[test]
fn the_place_of_a_file_that_was_sealed_is_written_over() {
    use std::io::Read;
    let folder = filled(SealWish::AsItIs);
    // Still leads to the old octets when the name leads to the new ones.
    let mut old = fs::File::open(folder.path().join("snapshots/00-1A-7D-DA-71-11.json")).unwrap();
    check_whole(folder.path(), SealWish::Sealed, "sealed");
    let mut octets = Vec::new();
    old.read_to_end(&mut octets).unwrap();
    assert!(octets.len() > 1_000 && octets.iter().all(|octet| *octet == 0));
}

#[test]
fn what_is_removed_while_sealing_is_written_over_first() {
    let folder = scratch();
    let inner = folder.path().join("old");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("db"), b"a key of a lock").unwrap();
    let outside = folder.path().join("held");
    fs::hard_link(inner.join("db"), &outside).unwrap();
    let key = Arc::new(StoreKey::generate().unwrap());
    let files = Files::of(Sealing::ToSealed(key));
    files.remove_folder(&inner).unwrap();
    assert!(!inner.exists());
    assert_eq!(fs::read(&outside).unwrap(), [0; 15]);
}

#[test]
fn a_short_passphrase_is_not_sealed_with() {
    let folder = filled(SealWish::AsItIs);
    let short = SealChoice { passphrase: Some(Passphrase::new("short")), wish: SealWish::Sealed };
    let refused = try_open_with(folder.path(), &short, Files::default());
    assert!(matches!(refused, Err(OpenError::Seal { source: StoreSealError::NotSealed(_), .. })));
    check_whole(folder.path(), SealWish::AsItIs, "as it was");
}

#[test]
fn a_table_is_read_back_with_its_removals() {
    let folder = scratch();
    let mut opened = open_as(folder.path(), SealWish::Sealed);
    let mut table: BondTable = table_of(4);
    let gone = table.bonds().next().unwrap().peer;
    table.remove(gone);
    opened.engine.commit(vec![(adapter(ADAPTER), held(table.clone()))]).unwrap();
    opened.engine.close_and_unlock();
    let opened = open_as(folder.path(), SealWish::Sealed);
    assert!(same_tables(&opened.engine.held[&adapter(ADAPTER)].table, &table));
}
