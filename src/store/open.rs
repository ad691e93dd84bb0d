//! Opening the store: lock, database, snapshots, and what to believe where they do not agree.
//!
//! Must never serve an empty table where something could not be read, and must never change the
//! only copy of anything: what is damaged is put aside and a new database is made beside it.
//!
//! Snapshots are read whole only where the database is not enough: where it is damaged or older than they are.
//! Else a glance tells that they have nothing to add, and they are read when the service is up
//! ([`Engine::read_snapshots`]).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::engine::{COPY, DAMAGED_PREFIX, DATABASE, Engine, Predecessor, finish_swap, put_copy_back};
use super::files::{Files, copy_folder, fault, make_private, parent};
use super::health::rebuilt;
use super::lock::{Lock, LockError};
use super::messages::{StoreFault, StoreState, StoredAdapter};
use super::sealing::{Plan, SealChoice, Sealing, StoreSealError, is_sealed_below};
use super::settle::{DatabaseSide, Settled, settle};
use super::sled::{Contents, Database, EngineError, is_half_snapshot};
use super::snapshot::{self, FileState, Snapshots, Which};
use crate::bond::{AdapterAddress, UnixMillis};

/// Why the service cannot start on this folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the data folder {} cannot be used", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("another instance of the service{} uses the data folder {}", pid_words(*pid), path.display())]
    Locked { path: PathBuf, pid: Option<u32> },
    /// There are files, and nothing of them can be read. Nothing was changed.
    #[error(
        "nothing that is stored in {} can be read: {detail}. Nothing was changed: restore the folder from a backup, or move it away to begin anew",
        path.display()
    )]
    Unreadable { path: PathBuf, detail: String },
    /// It is sealed and does not open, or is clear and cannot be sealed. Nothing of what it holds was changed.
    #[error("the store in {} was not opened, and nothing in it was changed", path.display())]
    Seal { path: PathBuf, source: StoreSealError },
}

fn pid_words(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// An open store, before its thread begins.
pub(super) struct Opened {
    pub engine: Engine,
    pub state: StoreState,
    /// Adapters whose snapshot does not hold what is served.
    pub stale_snapshots: BTreeSet<AdapterAddress>,
}

/// How the database answered.
pub(super) enum Answer {
    Missing,
    Open(Box<Database>, Contents),
    /// The database would not open; a copy of it without its own snapshots did.
    CopyOpened(Contents, String),
    Refused(String),
}

/// What is to be served, of all adapters, and what was found on the way.
#[derive(Default)]
pub(super) struct Verdict {
    pub adapters: BTreeMap<AdapterAddress, Settled>,
    pub problems: Vec<String>,
    pub database_is_good: bool,
}

pub(super) fn open(
    folder: &Path,
    mut files: Files,
    seal: &SealChoice,
    now: UnixMillis,
) -> Result<Opened, OpenError> {
    let unusable = |source| OpenError::Folder { path: folder.to_owned(), source };
    prepare(&files, folder).map_err(unusable)?;
    let lock = Lock::take(folder).map_err(|error| match error {
        LockError::Taken(pid) => OpenError::Locked { path: folder.to_owned(), pid },
        LockError::Io(source) => OpenError::Folder { path: super::lock::path(folder), source },
    })?;
    let not_opened = |source| OpenError::Seal { path: folder.to_owned(), source };
    let plan = Plan::of(folder, seal).map_err(not_opened)?;
    files.sealing = plan.found.clone();
    remove_scratch(folder);
    if let Err(error) = finish_swap(&files, folder).and_then(|()| snapshot::remove_litter(&files, folder)) {
        tracing::warn!(%error, "left-overs of an earlier run could not be removed");
    }
    let (mut snapshots, unread) = match snapshot::glance_all(&files, folder) {
        Ok(snapshots) => (snapshots, None),
        Err(error) => (BTreeMap::new(), Some(error)),
    };
    keep_copy(folder);
    let answer = ask_database(&files, folder);
    read_where_needed(&files, &answer, folder, &mut snapshots);
    let judged = check_key(&files.sealing, &answer, folder).and_then(|()| {
        let verdict = judge(&answer, &snapshots);
        let verdict = verdict.and_then(|verdict| without_snapshots(verdict, unread.as_ref()));
        verdict.map_err(|detail| OpenError::Unreadable { path: folder.to_owned(), detail })
    });
    // It is known that the store can be read: only now may its seal change.
    let begun = judged.and_then(|verdict| {
        let sealing = plan.begin(&files, folder).map_err(not_opened)?;
        Ok((verdict, sealing))
    });
    let (verdict, sealing) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            if let Answer::Open(database, _) = answer {
                database.close();
            }
            if let Err(error) = put_copy_back(&files, folder) {
                tracing::warn!(%error, "the database could not be put back as it was before it was opened");
            }
            return Err(error);
        }
    };
    files.sealing = sealing;
    let held = verdict.adapters.iter().map(|(adapter, settled)| (*adapter, settled.held.clone())).collect();
    let engine = Engine {
        folder: folder.to_owned(),
        files,
        held,
        database: None,
        predecessor: Predecessor::Discard,
        lock: Some(lock),
        glanced: snapshots
            .iter()
            .filter(|(_, files)| files.glanced().next().is_some())
            .map(|(adapter, _)| *adapter)
            .collect(),
        found: Vec::new(),
    };
    let fresh = matches!(answer, Answer::Missing);
    if unread.is_some()
        && let Err(error) = snapshot::put_folder_aside(&engine.files, folder, now)
    {
        tracing::warn!(%error, "the folder of the snapshots could not be put aside");
    }
    Ok(finish(engine, answer, verdict, &snapshots, if fresh { None } else { Some(now) }))
}

/// Reads the snapshots that may have something to add to the database.
fn read_where_needed(
    files: &Files,
    answer: &Answer,
    folder: &Path,
    snapshots: &mut BTreeMap<AdapterAddress, Snapshots>,
) {
    let whole = match answer {
        Answer::Open(_, contents) if contents.is_whole() => Some(contents),
        _ => None,
    };
    for (adapter, pair) in snapshots {
        if pair.glanced().next().is_none() {
            continue;
        }
        let found = whole.and_then(|contents| contents.adapters.get(adapter));
        let is_enough = found.is_some_and(|found| {
            let is_whole = found.intact && found.lost.is_empty() && found.record.is_some();
            is_whole && !pair.glanced().any(|age| found.age().is_before(age))
        });
        if !is_enough {
            *pair = snapshot::read_both(files, folder, *adapter);
        }
    }
}

/// What is sealed has its key: where that is missing, nothing was read that could be taken for what is stored.
pub(super) fn check_key(sealing: &Sealing, answer: &Answer, folder: &Path) -> Result<(), OpenError> {
    let lacks_key = match answer {
        Answer::Open(_, contents) | Answer::CopyOpened(contents, _) => contents.lacks_key,
        Answer::Missing | Answer::Refused(_) => false,
    };
    if lacks_key || (sealing.is_clear() && is_sealed_below(folder)) {
        return Err(OpenError::Seal { path: folder.to_owned(), source: StoreSealError::KeyMissing });
    }
    Ok(())
}

/// The folder of the snapshots could not be read: a database that lacks nothing is enough; what one that
/// does lacks may be in there.
fn without_snapshots(mut verdict: Verdict, unread: Option<&io::Error>) -> Result<Verdict, String> {
    if let Some(error) = unread {
        verdict.problems.push(format!("the folder of the snapshots could not be read: {error}"));
        if !verdict.database_is_good {
            return Err(verdict.problems.join("; "));
        }
    }
    Ok(verdict)
}

/// Puts what is to be served in place, as far as the disk allows.
fn finish(
    mut engine: Engine,
    answer: Answer,
    mut verdict: Verdict,
    snapshots: &BTreeMap<AdapterAddress, Snapshots>,
    damaged_at: Option<UnixMillis>,
) -> Opened {
    let mut failing = None;
    let is_changing = engine.files.sealing.is_changing();
    match answer {
        Answer::Open(database, _) if verdict.database_is_good && !is_changing => {
            engine.database = Some(*database);
        }
        answer => {
            if let Answer::Open(database, _) = answer {
                database.close();
            }
            // One that only has the wrong form is not put aside.
            let damaged_at = damaged_at.filter(|_| !verdict.database_is_good);
            if let Some(at) = damaged_at {
                engine.predecessor = Predecessor::PutAside(at);
            }
            failing = engine.rebuild().err();
            if let (Some(at), None) = (damaged_at, &failing) {
                verdict.problems.push(format!("the damaged database was kept as {DAMAGED_PREFIX}{}", at.0));
            }
        }
    }
    if failing.is_none() {
        // With the database in order the copy has served its purpose.
        if let Err(error) = engine.files.remove_folder(&engine.folder.join(COPY)) {
            tracing::warn!(%error, "the copy from before opening could not be removed");
        }
    }
    put_damaged_snapshots_aside(&engine, snapshots);
    if failing.is_none() {
        match engine.files.sealing.complete(&engine.files, &engine.folder) {
            Ok(settled) => engine.files.sealing = settled,
            Err(error) => verdict.problems.push(format!(
                "the store could not be sealed or unsealed in whole, which the next start tries again: {error}"
            )),
        }
    }
    let stale = verdict.adapters.iter().filter(|(_, settled)| !settled.snapshot_is_good);
    let stale_snapshots = stale.map(|(adapter, _)| *adapter).collect();
    let state = state(&verdict, failing);
    Opened { engine, state, stale_snapshots }
}

fn state(verdict: &Verdict, failing: Option<StoreFault>) -> StoreState {
    for problem in &verdict.problems {
        tracing::warn!(problem, "found while opening the store");
    }
    match failing {
        Some(fault) => StoreState::Failing { fault },
        None if verdict.problems.is_empty() => StoreState::Ok,
        None => rebuilt(&verdict.problems),
    }
}

/// Whatever of the folder is ours has the modes of keys. A read-only disk is found out later.
fn prepare(files: &Files, folder: &Path) -> io::Result<()> {
    let made = if folder.is_dir() { make_private(folder) } else { files.make_folder(folder) };
    // The name of one that is there may never have been synced: the start that made it was cut off.
    if let Err(error) = files.sync_folder(parent(folder)) {
        tracing::warn!(%error, "the folder that holds the store's folder could not be synced");
    }
    match made {
        Err(error) if fault(&error, "") == StoreFault::ReadOnly && folder.is_dir() => Ok(()),
        made => made,
    }
}

/// Copies the database before it is opened. One that is there is from an opening that was cut off, and
/// has the better traces. Without a copy the service still starts: only the traces would be missing.
fn keep_copy(folder: &Path) {
    let (database, copy) = (folder.join(DATABASE), folder.join(COPY));
    if !database.is_dir() || copy.exists() {
        return;
    }
    let part = super::files::with_ending(&copy, "part");
    let outcome = super::files::missing_is_fine(std::fs::remove_dir_all(&part))
        .and_then(|()| copy_folder(&database, &part, &|_| true))
        .and_then(|()| std::fs::rename(&part, &copy));
    if let Err(error) = outcome {
        tracing::warn!(%error, "the database could not be copied before it is opened");
        let _ = std::fs::remove_dir_all(&part);
    }
}

fn ask_database(files: &Files, folder: &Path) -> Answer {
    let path = folder.join(DATABASE);
    if !path.exists() {
        return Answer::Missing;
    }
    let refusal = match Database::open(files, &path) {
        Ok((database, contents)) => return Answer::Open(Box::new(database), contents),
        Err(error) => error,
    };
    // The engine's own snapshots only save time; a damaged one keeps it from opening.
    let copy = folder.join(COPY);
    let source = if copy.is_dir() { &copy } else { &path };
    match read_copy(files, source) {
        Ok(contents) => Answer::CopyOpened(contents, refusal.to_string()),
        Err(_) => Answer::Refused(refusal.to_string()),
    }
}

/// Begins the name of a copy that is being looked into. Beside the database and not in a temporary folder of the
/// system, because it holds keys.
const SCRATCH: &str = "sled.scratch-";

/// What a crash left of such copies goes; in memory, where others may look into theirs, what a process
/// left that is gone.
fn remove_scratch(folder: &Path) {
    let remove = |place: &Path, is_left: &dyn Fn(&str) -> bool| {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.file_name().to_str().and_then(|name| name.strip_prefix(SCRATCH)).is_some_and(is_left) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    };
    remove(folder, &|_| true);
    remove(Path::new(MEMORY), &|rest| {
        rest.split('-').next().is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    });
}

/// Where a copy is looked into when the disk takes none: the keys stay in memory.
const MEMORY: &str = "/dev/shm";

/// Reads a database without changing it: a copy of it is opened, without the engine's own snapshots.
/// A disk that is full or read-only is no reason not to know what is on it.
pub(super) fn read_copy(files: &Files, source: &Path) -> Result<Contents, EngineError> {
    let outcome = read_copy_in(files, parent(source), source);
    let disk_failed = matches!(&outcome, Err(EngineError::Io(_)));
    let memory = Path::new(MEMORY);
    if disk_failed && memory.is_dir() { read_copy_in(files, memory, source).or(outcome) } else { outcome }
}

fn read_copy_in(files: &Files, place: &Path, source: &Path) -> Result<Contents, EngineError> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let scratch = place.join(format!("{SCRATCH}{}-{number}", std::process::id()));
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&scratch)?;
    let read = || {
        copy_folder(source, &scratch, &|name| !name.starts_with("snap.") && !is_half_snapshot(name))?;
        let (database, contents) = Database::open(&Files::of(files.sealing.clone()), &scratch)?;
        database.close();
        Ok(contents)
    };
    let outcome = read();
    let _ = std::fs::remove_dir_all(&scratch);
    outcome
}

/// What to serve. The error says why nothing can be served though there is something.
pub(super) fn judge(
    answer: &Answer,
    snapshots: &BTreeMap<AdapterAddress, Snapshots>,
) -> Result<Verdict, String> {
    let contents = match answer {
        Answer::Open(_, contents) | Answer::CopyOpened(contents, _) => Some(contents),
        Answer::Missing | Answer::Refused(_) => None,
    };
    let mut verdict = Verdict { database_is_good: matches!(answer, Answer::Open(..)), ..Verdict::default() };
    let headless = contents.is_some_and(|contents| !contents.has_header);
    let is_cut_short = contents.is_some_and(|contents| contents.is_cut_short);
    if is_cut_short {
        verdict.problems.push("the file of the database had been cut short".to_owned());
        verdict.database_is_good = false;
    }
    match answer {
        Answer::Missing if !snapshots.is_empty() => {
            verdict.problems.push("there was no database: restored from the snapshots".to_owned());
        }
        Answer::CopyOpened(_, refusal) => {
            verdict.problems.push(format!("{refusal}; a copy of it could be read"))
        }
        Answer::Refused(refusal) => verdict.problems.push(format!("{refusal}: restored from the snapshots")),
        Answer::Open(..) if headless => {
            verdict.problems.push("the database had lost its beginning".to_owned())
        }
        Answer::Open(_, contents) if !contents.is_synced => {
            verdict.problems.push("the database could be read and not be synced".to_owned());
            verdict.database_is_good = false;
        }
        Answer::Missing | Answer::Open(..) => {}
    }
    verdict.database_is_good &= !headless;
    let nothing = Snapshots::default();
    let known = contents.map(|contents| contents.adapters.keys().copied()).into_iter().flatten();
    let all: BTreeSet<AdapterAddress> = known.chain(snapshots.keys().copied()).collect();
    let mut unreadable = Vec::new();
    for adapter in all {
        let database = match contents {
            None => DatabaseSide::Absent,
            Some(contents) => {
                contents.adapters.get(&adapter).map_or(DatabaseSide::Unknown, DatabaseSide::Found)
            }
        };
        match settle(database, snapshots.get(&adapter).unwrap_or(&nothing)) {
            Some(mut settled) => {
                // Without any database it was said once, for all adapters.
                if contents.is_none() && settled.problems.len() == 1 {
                    settled.problems.clear();
                }
                let named = settled.problems.iter().map(|problem| format!("{adapter}: {problem}"));
                verdict.problems.extend(named);
                verdict.database_is_good &= settled.database_is_good;
                verdict.adapters.insert(adapter, settled);
            }
            None => unreadable.push(adapter),
        }
    }
    verdict.database_is_good &= unreadable.is_empty();
    let blind = headless || matches!(answer, Answer::Refused(_));
    verdict
        .problems
        .extend(unreadable.iter().map(|adapter| format!("{adapter}: none of its copies could be read")));
    if verdict.adapters.is_empty() && (blind || !unreadable.is_empty()) {
        return Err(verdict.problems.join("; "));
    }
    Ok(verdict)
}

fn put_damaged_snapshots_aside(engine: &Engine, snapshots: &BTreeMap<AdapterAddress, Snapshots>) {
    for (adapter, files) in snapshots {
        for (state, which) in [(&files.current, Which::Current), (&files.predecessor, Which::Predecessor)] {
            if !matches!(state, FileState::Damaged { .. }) {
                continue;
            }
            if let Err(error) = snapshot::put_aside(&engine.files, &engine.folder, *adapter, which) {
                tracing::warn!(%adapter, %error, "a damaged snapshot could not be put aside");
            }
        }
    }
}

impl Opened {
    /// Reads what the opening has only glanced at.
    pub fn read_snapshots(&mut self) {
        for adapter in self.engine.glanced.clone() {
            let read = self.engine.read_snapshots(adapter);
            if read.is_stale {
                self.stale_snapshots.insert(adapter);
            }
            if !read.problems.is_empty() && self.state == StoreState::Ok {
                self.state = rebuilt(&read.problems);
            }
        }
    }

    pub fn stored(&self) -> Vec<StoredAdapter> {
        let stored = self.engine.held.iter().map(|(adapter, held)| StoredAdapter {
            address: *adapter,
            table: (*held.table).clone(),
            record: held.record.clone(),
        });
        stored.collect()
    }
}

#[cfg(test)]
mod tests;
