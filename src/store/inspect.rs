//! Looking into a store without changing anything, also while the service runs.

use std::path::Path;

use super::engine::DATABASE;
use super::files::Files;
use super::lock::Lock;
use super::messages::StoredAdapter;
use super::open::{Answer, OpenError, check_key, judge, read_copy};
use super::sealing::{Plan, SealChoice};
use super::snapshot;
use crate::format::sealed::Passphrase;

/// What a store holds, as far as it can be seen from outside.
#[derive(Clone)]
pub struct Inspection {
    pub adapters: Vec<StoredAdapter>,
    /// A service has the folder now.
    pub is_in_use: bool,
    /// What a reader should know: where it was read from, and what was damaged.
    pub notes: Vec<String>,
}

/// Reads a store. While the service runs its database is locked, and the snapshots are read, which
/// may be a second behind. Otherwise a copy of the database is read as well. A sealed one takes its passphrase.
pub fn inspect(folder: &Path, passphrase: Option<Passphrase>) -> Result<Inspection, OpenError> {
    let unusable = |source| OpenError::Folder { path: folder.to_owned(), source };
    if !folder.is_dir() {
        return Err(unusable(std::io::ErrorKind::NotFound.into()));
    }
    let running = Lock::is_taken(folder);
    let not_opened = |source| OpenError::Seal { path: folder.to_owned(), source };
    let sealing = Plan::of(folder, &SealChoice::as_it_is(passphrase)).map_err(not_opened)?.found;
    let files = Files::of(sealing);
    let snapshots = snapshot::read_all(&files, folder).map_err(unusable)?;
    let path = folder.join(DATABASE);
    let mut notes = Vec::new();
    let answer = if running {
        notes
            .push("the service is running: read from its snapshots, which may be a second behind".to_owned());
        Answer::Missing
    } else if !path.is_dir() {
        Answer::Missing
    } else {
        read_copy(&files, &path).map_or_else(
            |error| Answer::Refused(error.to_string()),
            |contents| Answer::CopyOpened(contents, String::new()),
        )
    };
    check_key(&files.sealing, &answer, folder)?;
    let quiet = matches!(&answer, Answer::CopyOpened(..)) || running;
    let verdict = judge(&answer, &snapshots)
        .map_err(|detail| OpenError::Unreadable { path: folder.to_owned(), detail })?;
    // The first problem only says that it was a copy, or that the database was not asked.
    let skipped = usize::from(quiet && !verdict.problems.is_empty());
    notes.extend(verdict.problems.into_iter().skip(skipped));
    let adapters = verdict.adapters.into_iter().map(|(address, settled)| StoredAdapter {
        address,
        table: (*settled.held.table).clone(),
        record: settled.held.record,
    });
    Ok(Inspection { adapters: adapters.collect(), is_in_use: running, notes })
}
