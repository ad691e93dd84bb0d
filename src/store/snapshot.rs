//! One file an adapter beside the database, in the project's own format.
//!
//! It is what add-on backups carry and what the database is rebuilt from. `AA-….json` is the newest,
//! `AA-….json.1` the one before. A new one is written whole under another name; the present one gets
//! its second name before the new one takes the first: at no moment is there no complete copy.
//!
//! At start a file is only glanced at: what it was written with stands at its ends, under a check. That is enough
//! beside a database that is whole and not behind it; that the file still is what it was is seen to later
//! ([`verify`]), and always before it becomes a predecessor.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::{Files, with_ending};
use super::sled::Held;
use crate::bond::{AdapterAddress, UnixMillis};
use crate::format::bondkeeper::{
    self, AdapterCopy, GLANCE_HEAD_OCTETS, GLANCE_TAIL_OCTETS, Glance, read, salvage, write_copy,
};
use crate::format::{BONDKEEPER_OCTETS_MAX, ExportAdapter};

const FOLDER: &str = "snapshots";
const ENDING: &str = ".json";
const PREDECESSOR: &str = "1";

/// A snapshot that did not pass its digest, kept for whoever looks into it.
const DAMAGED: &str = "damaged";

/// What a file turned out to be.
#[derive(Clone, Default)]
pub(super) enum FileState {
    #[default]
    Missing,
    /// It was written at this age; the rest of it has not been read.
    Glanced(Age),
    Intact(AdapterCopy),
    Damaged {
        /// What could be believed, bond by bond.
        salvaged: Option<AdapterCopy>,
        detail: String,
    },
}

/// How old a copy of an adapter is. Both rise, and never fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Age {
    /// Of the table: rises with every change of a bond.
    pub generation: u64,
    /// Of everything: rises with every commit. 0 where nobody counted.
    pub revision: u64,
}

impl Age {
    /// Something of the other came later than this. A copy whose commits nobody counted is told by its bonds alone:
    /// a release that does not count may have written it after one that does.
    pub const fn is_before(self, other: Self) -> bool {
        self.generation < other.generation || (self.revision > 0 && self.revision < other.revision)
    }
}

/// The two files of one adapter.
#[derive(Clone, Default)]
pub(super) struct Snapshots {
    pub current: FileState,
    pub predecessor: FileState,
}

impl Snapshots {
    /// The ages of the adapter's files that were not read.
    pub fn glanced(&self) -> impl Iterator<Item = Age> {
        [&self.current, &self.predecessor].into_iter().filter_map(|state| match state {
            FileState::Glanced(age) => Some(*age),
            _ => None,
        })
    }
}

/// Name of an adapter's file, without the folder.
pub(super) fn file_name(adapter: AdapterAddress) -> String {
    format!("{}{ENDING}", adapter.to_string().replace(':', "-"))
}

fn path_of(store: &Path, adapter: AdapterAddress) -> PathBuf {
    store.join(FOLDER).join(file_name(adapter))
}

fn path_of_which(store: &Path, adapter: AdapterAddress, which: Which) -> PathBuf {
    let current = path_of(store, adapter);
    match which {
        Which::Current => current,
        Which::Predecessor => with_ending(&current, PREDECESSOR),
    }
}

/// Reads every snapshot. An error is one of the folder: a file that cannot be read is damaged, not missing.
pub(super) fn read_all(files: &Files, store: &Path) -> io::Result<BTreeMap<AdapterAddress, Snapshots>> {
    all(store, |path, adapter| read_file(files, path, adapter))
}

/// Glances at every snapshot, and reads what says nothing at a glance: all of them where they are sealed.
pub(super) fn glance_all(files: &Files, store: &Path) -> io::Result<BTreeMap<AdapterAddress, Snapshots>> {
    if !files.sealing.is_clear() {
        return read_all(files, store);
    }
    all(store, |path, adapter| match glance_file(path) {
        Ok(Some(glance)) if glance.address == adapter => {
            FileState::Glanced(Age { generation: glance.generation, revision: glance.revision })
        }
        _ => read_file(files, path, adapter),
    })
}

/// Reads both files of an adapter.
pub(super) fn read_both(files: &Files, store: &Path, adapter: AdapterAddress) -> Snapshots {
    let read = |which| {
        let path = path_of_which(store, adapter, which);
        if path.symlink_metadata().is_ok() { read_file(files, &path, adapter) } else { FileState::Missing }
    };
    Snapshots { current: read(Which::Current), predecessor: read(Which::Predecessor) }
}

/// What was found of an adapter's two files.
#[derive(Default)]
pub(super) struct Verified {
    /// The newest holds exactly what is held.
    pub is_current: bool,
    /// Files that are damaged, and what is wrong with them.
    pub damaged: Vec<(Which, String)>,
}

/// Reads what was only glanced at.
pub(super) fn verify(files: &Files, store: &Path, adapter: AdapterAddress, held: &Held) -> Verified {
    let mut verified = Verified::default();
    for which in [Which::Current, Which::Predecessor] {
        let path = path_of_which(store, adapter, which);
        if path.symlink_metadata().is_err() {
            continue;
        }
        let glance = read_limited(files, &path).ok().and_then(|bytes| bondkeeper::verify(&bytes));
        if let Some(glance) = glance.filter(|glance| glance.address == adapter) {
            verified.is_current |= which == Which::Current && Some(glance.digest) == digest_of(adapter, held);
        } else if let FileState::Damaged { detail, .. } = read_file(files, &path, adapter) {
            verified.damaged.push((which, detail));
        }
    }
    verified
}

fn digest_of(adapter: AdapterAddress, held: &Held) -> Option<[u8; 32]> {
    bondkeeper::digest_copy(&copy_of(adapter, held), held.revision).ok()
}

fn all(
    store: &Path,
    look: impl Fn(&Path, AdapterAddress) -> FileState,
) -> io::Result<BTreeMap<AdapterAddress, Snapshots>> {
    let mut all: BTreeMap<AdapterAddress, Snapshots> = BTreeMap::new();
    let entries = match fs::read_dir(store.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        outcome => outcome?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some((stem, rest)) = name.to_str().and_then(|name| name.split_once(ENDING)) else { continue };
        let Ok(adapter) = stem.replace('-', ":").parse::<AdapterAddress>() else { continue };
        let path = store.join(FOLDER).join(&name);
        match rest {
            "" => all.entry(adapter).or_default().current = look(&path, adapter),
            ".1" => all.entry(adapter).or_default().predecessor = look(&path, adapter),
            _ => {}
        }
    }
    Ok(all)
}

fn glance_file(path: &Path) -> io::Result<Option<Glance>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = Vec::with_capacity(GLANCE_HEAD_OCTETS);
    file.by_ref().take(GLANCE_HEAD_OCTETS as u64).read_to_end(&mut head)?;
    let mut tail = Vec::with_capacity(GLANCE_TAIL_OCTETS);
    file.seek(SeekFrom::Start(size.saturating_sub(GLANCE_TAIL_OCTETS as u64)))?;
    file.take(GLANCE_TAIL_OCTETS as u64).read_to_end(&mut tail)?;
    Ok(bondkeeper::glance(&head, &tail))
}

fn read_file(files: &Files, path: &Path, adapter: AdapterAddress) -> FileState {
    let damaged = |salvaged, detail| FileState::Damaged { salvaged, detail };
    let bytes = match read_limited(files, path) {
        Ok(bytes) => bytes,
        Err(error) => return damaged(None, error.to_string()),
    };
    match read(&bytes) {
        Ok(document) => match single(document.adapters) {
            Some(copy) if copy.address == adapter => FileState::Intact(copy),
            _ => damaged(None, "it holds another adapter than its name says".to_owned()),
        },
        Err(error) => {
            // The bonds have checks of their own; the adapter is the one that the file is named after.
            let salvaged = salvage(&bytes).ok().and_then(|document| single(document.adapters));
            damaged(salvaged.map(|copy| AdapterCopy { address: adapter, ..copy }), error.to_string())
        }
    }
}

fn single(mut adapters: Vec<AdapterCopy>) -> Option<AdapterCopy> {
    if adapters.len() == 1 { adapters.pop() } else { None }
}

/// What sealing adds to a file of this size at most, as an allowance.
const SEAL_OCTETS_MAX: usize = 1 << 20;

/// Reads a file of ours, sealed or not, up to the size that the format allows.
pub(super) fn read_limited(files: &Files, path: &Path) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    let size = fs::metadata(path)?.len();
    if size > (BONDKEEPER_OCTETS_MAX + SEAL_OCTETS_MAX) as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any copy of ours"));
    }
    files.sealing.open_file(zeroize::Zeroizing::new(fs::read(path)?))
}

/// An adapter in the project's own format.
pub(super) fn encode(
    adapter: AdapterAddress,
    held: &Held,
    now: UnixMillis,
) -> io::Result<zeroize::Zeroizing<Vec<u8>>> {
    write_copy(&copy_of(adapter, held), held.revision, now).map_err(io::Error::other)
}

fn copy_of(adapter: AdapterAddress, held: &Held) -> ExportAdapter<'_> {
    ExportAdapter { address: Some(adapter), record: &held.record, table: &held.table, peers: None }
}

/// Writes an adapter's snapshot; the present one becomes the predecessor.
pub(super) fn replace(
    files: &Files,
    store: &Path,
    adapter: AdapterAddress,
    held: &Held,
    now: UnixMillis,
) -> io::Result<()> {
    let folder = store.join(FOLDER);
    if !folder.is_dir() {
        files.make_folder(&folder)?;
    }
    let current = path_of(store, adapter);
    let new = with_ending(&current, "new");
    files.write_new(&new, &files.sealing.seal_file(encode(adapter, held, now)?)?)?;
    keep_predecessor(files, &current)?;
    files.rename(&new, &current)?;
    files.sync_folder(&folder)
}

/// Gives the present file its second name.
fn keep_predecessor(files: &Files, current: &Path) -> io::Result<()> {
    if !current.exists() {
        return Ok(());
    }
    let predecessor = with_ending(current, PREDECESSOR);
    let link = with_ending(&predecessor, "new");
    files.remove(&link)?;
    match files.link(current, &link) {
        Ok(()) => {
            files.rename(&link, &predecessor)?;
            // Renaming one name of a file over another name of the same file does nothing at all.
            files.remove(&link)
        }
        // A file system without links: for a moment only the predecessor stands, which is complete.
        Err(error) if is_no_links(&error) => files.rename(current, &predecessor),
        Err(error) => Err(error),
    }
}

fn is_no_links(error: &io::Error) -> bool {
    let known = [libc::EPERM, libc::EOPNOTSUPP, libc::ENOSYS, libc::EMLINK];
    error.raw_os_error().is_some_and(|code| known.contains(&code))
}

/// Takes a damaged file out of the way, so that it never becomes a good one's predecessor.
pub(super) fn put_aside(
    files: &Files,
    store: &Path,
    adapter: AdapterAddress,
    which: Which,
) -> io::Result<()> {
    let path = path_of_which(store, adapter, which);
    files.rename(&path, &with_ending(&path, DAMAGED))
}

/// Takes a folder that cannot be read out of the way, so that new snapshots can be written.
pub(super) fn put_folder_aside(files: &Files, store: &Path, at: UnixMillis) -> io::Result<()> {
    let folder = store.join(FOLDER);
    files.rename(&folder, &with_ending(&folder, &format!("{DAMAGED}-{}", at.0)))?;
    files.sync_folder(store)
}

/// One of an adapter's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Current,
    Predecessor,
}

impl Which {
    /// As problems name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "the snapshot",
            Self::Predecessor => "the snapshot before the last",
        }
    }
}

/// Removes everything of one adapter.
pub(super) fn remove(files: &Files, store: &Path, adapter: AdapterAddress) -> io::Result<()> {
    let current = path_of(store, adapter);
    let predecessor = with_ending(&current, PREDECESSOR);
    for path in [&current, &predecessor, &with_ending(&current, DAMAGED), &with_ending(&predecessor, DAMAGED)]
    {
        files.remove(path)?;
    }
    let folder = store.join(FOLDER);
    if folder.is_dir() { files.sync_folder(&folder) } else { Ok(()) }
}

/// Removes what a crash left half-written.
pub(super) fn remove_litter(files: &Files, store: &Path) -> io::Result<()> {
    let folder = store.join(FOLDER);
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(".new")) {
            files.remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bond::BondTable;
    use crate::bond::testing::secure_bond;
    use crate::store::testing::{ADAPTER, CrashAt, adapter, held};

    fn generations(store: &Path) -> [Option<u64>; 2] {
        let snapshots =
            read_all(&Files::default(), store).unwrap().remove(&adapter(ADAPTER)).unwrap_or_default();
        [snapshots.current, snapshots.predecessor].map(|state| match state {
            FileState::Intact(copy) => Some(copy.table.generation()),
            FileState::Missing | FileState::Glanced(_) => None,
            FileState::Damaged { detail, .. } => panic!("{detail}"),
        })
    }

    fn write_generation(files: &Files, store: &Path, count: u8) -> io::Result<()> {
        let mut table = BondTable::new();
        for number in 1..=count {
            table.insert(secure_bond("C0:FF:EE:00:00:01", number)).unwrap();
        }
        replace(files, store, adapter(ADAPTER), &held(table), UnixMillis(1))
    }

    #[test]
    fn the_newest_and_the_one_before_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_all(&Files::default(), folder.path()).unwrap().is_empty());
        for count in 1..=3 {
            write_generation(&Files::default(), folder.path(), count).unwrap();
        }
        assert_eq!(generations(folder.path()), [Some(3), Some(2)]);
    }

    #[test]
    fn a_crash_at_any_step_leaves_a_complete_copy() {
        let mut steps = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            write_generation(&Files::default(), folder.path(), 1).unwrap();
            write_generation(&Files::default(), folder.path(), 2).unwrap();
            let crash = Files::with_probe(Arc::new(CrashAt::new(steps)));
            let outcome = write_generation(&crash, folder.path(), 3);
            let [current, predecessor] = generations(folder.path());
            assert!(matches!(current, Some(2 | 3)), "step {steps}: {current:?}");
            assert!(predecessor.is_some(), "step {steps}");
            // What is left must not be in the way of the next, which leaves nothing half-done.
            write_generation(&Files::default(), folder.path(), 4).unwrap();
            assert_eq!(generations(folder.path())[0], Some(4));
            assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 2, "step {steps}");
            if outcome.is_ok() {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 6, "only {steps} steps were tried");
    }

    #[test]
    fn a_file_under_another_adapters_name_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        write_generation(&Files::default(), folder.path(), 1).unwrap();
        let other = adapter("00:1A:7D:DA:71:12");
        fs::rename(path_of(folder.path(), adapter(ADAPTER)), path_of(folder.path(), other)).unwrap();
        let found = read_all(&Files::default(), folder.path()).unwrap().remove(&other).unwrap();
        assert!(matches!(found.current, FileState::Damaged { salvaged: None, .. }));
    }
}
