//! What the store's thread does: database, snapshots and checkpoints of all adapters.
//!
//! Holds the newest table of every adapter, whether it could be written or not. After any error the
//! database is in doubt: it is closed, and the next commit writes a new one from these tables. Must
//! never report as written what was not synced. Driven by `worker`; opened by `open`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{Files, fault};
use super::history;
use super::lock::Lock;
use super::messages::{Checkpoint, CheckpointContent, StoreFault};
use super::sled::{Database, EngineError, Held};
use super::snapshot;
use crate::bond::{AdapterAddress, UnixMillis};

/// Folder of the database, and its names while it is being replaced:
/// made (incomplete) → new (complete) → in place; the one that was there → old.
pub(super) const DATABASE: &str = "sled";
const MAKING: &str = "sled.making";
const NEW: &str = "sled.new";
const OLD: &str = "sled.old";

/// Copy of the database from before it was opened, as opening a damaged one destroys the traces.
pub(super) const COPY: &str = "sled.copy";

/// A damaged database that was put aside; the time follows.
pub(super) const DAMAGED_PREFIX: &str = "sled.damaged-";

/// Damaged databases kept for whoever looks into them; the newest is always among them.
pub const DAMAGED_COPIES_MAX: usize = 3;

/// What becomes of the database that a new one replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Predecessor {
    /// It holds nothing that the new one does not.
    Discard,
    /// It is damaged: it is put aside under this time.
    PutAside(UnixMillis),
}

/// See the module text.
pub(super) struct Engine {
    pub folder: PathBuf,
    pub files: Files,
    pub held: BTreeMap<AdapterAddress, Held>,
    /// None when it is in doubt or could not be made.
    pub database: Option<Database>,
    /// What becomes of the one in place, should a new one be made.
    pub predecessor: Predecessor,
    /// Held until the store is closed for good.
    pub lock: Option<Lock>,
    /// Adapters whose snapshots were only glanced at.
    pub glanced: BTreeSet<AdapterAddress>,
    /// What reading such snapshots has found, until somebody asks.
    pub found: Vec<String>,
}

/// What reading an adapter's snapshots came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SnapshotsRead {
    /// The newest does not hold what is held.
    pub is_stale: bool,
    /// What was found and done since somebody last asked, one clause each.
    pub problems: Vec<String>,
}

impl Engine {
    /// Makes the newest state of some adapters durable. On success everything that was given before is
    /// durable too.
    ///
    /// An adapter that the database does not know yet comes with a new database: its tree and what fills
    /// it are two entries of the engine's log, and a power cut between them leaves a tree that looks
    /// like one that has lost everything.
    pub fn commit(&mut self, mut changed: Vec<(AdapterAddress, Held)>) -> Result<(), StoreFault> {
        for (adapter, held) in &mut changed {
            let before = self.held.get(adapter).map_or(0, |held| held.revision);
            held.revision = before.saturating_add(1);
            self.held.insert(*adapter, held.clone());
        }
        match &mut self.database {
            Some(database) if changed.iter().all(|(adapter, _)| database.knows(*adapter)) => {
                let outcome = database.commit(&changed);
                self.settled(outcome)
            }
            _ => self.rebuild(),
        }
    }

    /// Drops everything of one adapter. The snapshots go first: a database that still has the adapter
    /// brings it back whole, a snapshot alone would look like a loss.
    pub fn drop_adapter(&mut self, adapter: AdapterAddress) -> Result<(), StoreFault> {
        let removed = snapshot::remove(&self.files, &self.folder, adapter);
        removed.map_err(|error| fault(&error, "the snapshots"))?;
        self.glanced.remove(&adapter);
        let before = self.held.remove(&adapter);
        let outcome = match &mut self.database {
            Some(database) => {
                let outcome = database.drop_adapter(adapter);
                self.settled(outcome)
            }
            None => self.rebuild(),
        };
        if let (Err(_), Some(held)) = (&outcome, before) {
            // Not dropped: a new database must still have it.
            self.held.insert(adapter, held);
        }
        outcome
    }

    /// Reads an adapter's snapshots if they were only glanced at, and puts aside what is damaged.
    pub fn read_snapshots(&mut self, adapter: AdapterAddress) -> SnapshotsRead {
        let mut is_stale = false;
        if let (true, Some(held)) = (self.glanced.remove(&adapter), self.held.get(&adapter)) {
            let verified = snapshot::verify(&self.files, &self.folder, adapter, held);
            is_stale = !verified.is_current;
            for (which, detail) in verified.damaged {
                let problem = format!("{adapter}: {} was damaged: {detail}", which.name());
                tracing::warn!(problem, "found while reading the snapshots");
                self.found.push(problem);
                if let Err(error) = snapshot::put_aside(&self.files, &self.folder, adapter, which) {
                    tracing::warn!(%adapter, %error, "a damaged snapshot could not be put aside");
                }
            }
        }
        SnapshotsRead { is_stale, problems: std::mem::take(&mut self.found) }
    }

    /// Writes the snapshots of some adapters; tries all of them and gives the first fault.
    pub fn write_snapshots(
        &mut self,
        adapters: &[AdapterAddress],
        now: UnixMillis,
    ) -> Result<(), StoreFault> {
        let mut outcome = Ok(());
        for adapter in adapters {
            // A damaged one must not become a good one's predecessor.
            self.found = self.read_snapshots(*adapter).problems;
            let Some(held) = self.held.get(adapter) else { continue };
            if let Err(error) = snapshot::replace(&self.files, &self.folder, *adapter, held, now) {
                tracing::warn!(%adapter, %error, "the snapshot could not be written");
                outcome = outcome.and(Err(fault(&error, "a snapshot")));
            }
        }
        outcome
    }

    pub fn save_checkpoint(
        &self,
        adapter: AdapterAddress,
        held: &Held,
        reason: &str,
        now: UnixMillis,
    ) -> Result<Checkpoint, StoreFault> {
        history::save(&self.files, &self.folder, adapter, held, reason, now)
    }

    pub fn list_checkpoints(&self, adapter: Option<AdapterAddress>) -> Result<Vec<Checkpoint>, StoreFault> {
        history::list(&self.files, &self.folder, adapter)
    }

    pub fn read_checkpoint(&self, label: &str) -> Result<CheckpointContent, StoreFault> {
        history::load(&self.files, &self.folder, label)
    }

    /// What is remembered of an adapter besides its bonds.
    pub fn record(&self, adapter: AdapterAddress) -> crate::bond::AdapterRecord {
        self.held.get(&adapter).map(|held| held.record.clone()).unwrap_or_default()
    }

    /// Closes for good: another instance may have the folder.
    pub fn close_and_unlock(&mut self) {
        self.close();
        self.lock = None;
    }

    /// Closes the database.
    pub fn close(&mut self) {
        if let Some(database) = self.database.take() {
            database.close();
        }
    }

    /// Makes a new database of everything that is held and puts it in place of the present one.
    pub fn rebuild(&mut self) -> Result<(), StoreFault> {
        self.close();
        let outcome = self.make_and_swap().and_then(|()| {
            let (database, contents) = Database::open(&self.files, &self.folder.join(DATABASE))?;
            // What was just written is read back once: an engine or a disk that lies is found here.
            let holds = |(adapter, held): (&AdapterAddress, &Held)| {
                let found = contents.adapters.get(adapter);
                found.is_some_and(|found| {
                    let is_same = found.table.generation() == held.table.generation();
                    found.intact && is_same && found.revision == held.revision
                })
            };
            if contents.has_header && contents.is_synced && self.held.iter().all(holds) {
                self.database = Some(database);
                return Ok(());
            }
            database.close();
            Err(EngineError::Damaged)
        });
        self.settled(outcome)
    }

    fn make_and_swap(&self) -> Result<(), EngineError> {
        let path = |name: &str| self.folder.join(name);
        let (place, making, new, old) = (path(DATABASE), path(MAKING), path(NEW), path(OLD));
        self.files.remove_folder(&making)?;
        if let Err(error) = Database::create(&self.files, &making, &self.held) {
            // Left half-made it would take the very space that was missing.
            let _ = fs::remove_dir_all(&making);
            return Err(error);
        }
        self.files.remove_folder(&new)?;
        self.files.rename(&making, &new)?;
        self.files.remove_folder(&old)?;
        if let Predecessor::PutAside(at) = self.predecessor {
            self.put_aside(at)?;
        }
        if place.exists() {
            self.files.rename(&place, &old)?;
        }
        self.files.rename(&new, &place)?;
        self.files.sync_folder(&self.folder)?;
        self.files.remove_folder(&old)?;
        Ok(())
    }

    /// Keeps what was there before the damaged database was opened, or else the database itself.
    fn put_aside(&self, at: UnixMillis) -> io::Result<()> {
        let aside = self.folder.join(format!("{DAMAGED_PREFIX}{}", at.0));
        let sources = [self.folder.join(COPY), self.folder.join(DATABASE)];
        if let (false, Some(source)) = (aside.exists(), sources.iter().find(|source| source.exists())) {
            self.files.rename(source, &aside)?;
        }
        let mut present = damaged_copies(&self.folder)?;
        let surplus = present.len().saturating_sub(DAMAGED_COPIES_MAX);
        for path in present.drain(..surplus) {
            self.files.remove_folder(&path)?;
        }
        Ok(())
    }

    fn settled(&mut self, outcome: Result<(), EngineError>) -> Result<(), StoreFault> {
        match outcome {
            Ok(()) => {
                self.predecessor = Predecessor::Discard;
                Ok(())
            }
            Err(error) => {
                self.close();
                Err(match error {
                    EngineError::Io(error) => fault(&error, "the database"),
                    other => StoreFault::Io(other.to_string()),
                })
            }
        }
    }
}

/// Damaged databases that were put aside, the oldest first.
pub(super) fn damaged_copies(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let at = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(DAMAGED_PREFIX)?.parse::<u64>().ok());
        copies.extend(at.map(|at| (at, entry.path())));
    }
    copies.sort();
    Ok(copies.into_iter().map(|(_, path)| path).collect())
}

/// Finishes or undoes a replacement that was cut off.
pub(super) fn finish_swap(files: &Files, folder: &Path) -> io::Result<()> {
    let path = |name: &str| folder.join(name);
    if !path(DATABASE).exists() {
        // The new one got its name only when it was complete.
        if path(NEW).exists() {
            files.rename(&path(NEW), &path(DATABASE))?;
        } else if path(OLD).exists() {
            files.rename(&path(OLD), &path(DATABASE))?;
        } else if path(COPY).exists() {
            files.rename(&path(COPY), &path(DATABASE))?;
        }
    }
    for name in [MAKING, NEW, OLD] {
        files.remove_folder(&path(name))?;
    }
    files.sync_folder(folder)
}

/// Puts the database back as it was before it was opened.
pub(super) fn put_copy_back(files: &Files, folder: &Path) -> io::Result<()> {
    let (copy, place) = (folder.join(COPY), folder.join(DATABASE));
    if copy.exists() {
        files.remove_folder(&place)?;
        files.rename(&copy, &place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
