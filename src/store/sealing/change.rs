//! From clear to sealed and back, so that it may be cut off at any moment.
//!
//! What is to become of a store is planned before anything is changed, begun once it is known that the store can be
//! read, and complete when every file has the wanted form. The order of sealing: the mark that it is under way,
//! the key, a new database, every other file, the mark away. Of unsealing: the mark, a new database, every other
//! file, the key aside, the mark away. A start that finds the mark goes on.
//!
//! What was clear is written over before it is removed. That reaches the place on a disk that writes where it
//! is told to; flash keeps old octets until it needs their blocks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::key::{self, KEY_FILE, StoreKey};
use super::{FILE_OCTETS_MAX, SealChoice, SealWish, Sealing, StoreSealError};
use crate::format::sealed::{self, Form, Passphrase};
use crate::store::engine::{COPY, DATABASE};
use crate::store::files::{ERASING, Files, missing_is_fine, overwrite, with_ending};

/// There while it is under way.
const MARK: &str = "seal.unfinished";

/// What the mark holds, sealed.
const SEALING: &[u8] = b"sealing";
const UNSEALING: &[u8] = b"unsealing";
const MARK_OCTETS_MAX: usize = 64;

/// What never changes its form: no key stands in it, or it is the key, or (the database) it is written anew.
const LEFT_ALONE: &[&str] = &["lock", KEY_FILE, "seal.age.old", MARK, DATABASE];

/// Names of what the store reads by itself; what was put aside is not among them.
const LIVE_ENDINGS: &[&str] = &[".json", ".json.1"];

/// How a store is found, and what is to become of it.
pub(in crate::store) struct Plan {
    /// How it is read, before anything is begun.
    pub found: Sealing,
    to: Option<To>,
}

enum To {
    /// With a key that is made when it begins.
    NewlySealed(Passphrase),
    Sealed(Arc<StoreKey>),
    Clear(Arc<StoreKey>),
}

impl Plan {
    /// Looks at a store; changes nothing.
    pub fn of(folder: &Path, choice: &SealChoice) -> Result<Self, StoreSealError> {
        let Some(key) = key::load(folder, choice.passphrase.as_ref())? else {
            let to = match (choice.wish, &choice.passphrase) {
                (SealWish::Sealed, None) => return Err(StoreSealError::PassphraseNeeded),
                (SealWish::Sealed, Some(passphrase)) => Some(To::NewlySealed(passphrase.clone())),
                (SealWish::AsItIs | SealWish::Clear, _) => None,
            };
            return Ok(Self { found: Sealing::Clear, to });
        };
        let key = Arc::new(key);
        let under_way = read_mark(folder, &key)?;
        let is_to_be_clear = match choice.wish {
            SealWish::Sealed => false,
            SealWish::Clear => true,
            SealWish::AsItIs => under_way == Some(UNSEALING),
        };
        let found = match (under_way, is_to_be_clear) {
            (None, _) => Sealing::Sealed(Arc::clone(&key)),
            (Some(_), false) => Sealing::ToSealed(Arc::clone(&key)),
            (Some(_), true) => Sealing::ToClear(Arc::clone(&key)),
        };
        let to = match (under_way, is_to_be_clear) {
            (None, false) => None,
            (Some(_), false) => Some(To::Sealed(key)),
            (_, true) => Some(To::Clear(key)),
        };
        Ok(Self { found, to })
    }

    /// Begins what is to be done. The store was read before: from here on it is written.
    pub fn begin(self, files: &Files, folder: &Path) -> Result<Sealing, StoreSealError> {
        let begun =
            |key: &StoreKey, word| write_mark(files, folder, key, word).map_err(StoreSealError::NotBegun);
        match self.to {
            None => {
                if matches!(self.found, Sealing::Clear) {
                    // Left by a beginning that never wrote its key, or by an end that had put it aside.
                    let _ = missing_is_fine(fs::remove_file(folder.join(MARK)));
                }
                Ok(self.found)
            }
            Some(To::NewlySealed(passphrase)) => {
                let key = StoreKey::generate().map_err(StoreSealError::NotBegun)?;
                let octets = key.sealed_with(&passphrase).map_err(StoreSealError::NotSealed)?;
                begun(&key, SEALING)?;
                files.replace(&folder.join(KEY_FILE), &octets).map_err(StoreSealError::NotBegun)?;
                tracing::info!("the store is being sealed");
                Ok(Sealing::ToSealed(Arc::new(key)))
            }
            Some(To::Sealed(key)) => {
                begun(&key, SEALING)?;
                Ok(Sealing::ToSealed(key))
            }
            Some(To::Clear(key)) => {
                begun(&key, UNSEALING)?;
                tracing::info!("the store is being unsealed");
                Ok(Sealing::ToClear(key))
            }
        }
    }
}

fn read_mark(folder: &Path, key: &StoreKey) -> Result<Option<&'static [u8]>, StoreSealError> {
    let Some(octets) = key::read_small(folder, MARK)? else { return Ok(None) };
    let damaged = |source| StoreSealError::Damaged { name: MARK, source };
    let word = sealed::open(&octets, &key.identity.openers(), MARK_OCTETS_MAX).map_err(damaged)?;
    let known = [SEALING, UNSEALING].into_iter().find(|known| **known == **word);
    known.map(Some).ok_or(damaged(sealed::SealError::Damaged))
}

fn write_mark(files: &Files, folder: &Path, key: &StoreKey, word: &[u8]) -> io::Result<()> {
    let octets = sealed::seal(word, &key.identity.seal_for(), Form::Binary).map_err(io::Error::other)?;
    files.replace(&folder.join(MARK), &octets)
}

impl Sealing {
    /// Gives every file but the database's, which is new by now, the wanted form, and ends what is under way.
    pub fn complete(&self, files: &Files, folder: &Path) -> io::Result<Self> {
        let done = match self {
            Self::ToSealed(key) => {
                convert_all(files, folder)?;
                Self::Sealed(Arc::clone(key))
            }
            Self::ToClear(_) => {
                convert_all(files, folder)?;
                let key_file = folder.join(KEY_FILE);
                files.rename(&key_file, &with_ending(&key_file, "old"))?;
                files.sync_folder(folder)?;
                Self::Clear
            }
            settled => return Ok(settled.clone()),
        };
        files.remove(&folder.join(MARK))?;
        files.sync_folder(folder)?;
        tracing::info!("the store is {}", if matches!(done, Self::Clear) { "unsealed" } else { "sealed" });
        Ok(done)
    }
}

fn convert_all(files: &Files, folder: &Path) -> io::Result<()> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == COPY || path.extension().is_some_and(|ending| ending == ERASING) {
            files.remove_folder(&path)?;
        } else if !LEFT_ALONE.contains(&name) {
            collect(&path, &mut found)?;
        }
    }
    // The same order every time: what was done is done, wherever it is cut off.
    found.sort();
    let (litter, whole): (Vec<_>, Vec<_>) = found.iter().partition(|path| is_litter(path));
    litter.into_iter().try_for_each(|path| files.remove_for_good(path))?;
    whole.into_iter().try_for_each(|path| convert(files, path))
}

/// A file that was being written when its writer was cut off.
fn is_litter(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "new")
}

fn collect(path: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() {
        found.push(path.to_owned());
    } else if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), found)?;
        }
    }
    Ok(())
}

/// Gives one file the wanted form, whatever is in it: a damaged one stays as damaged as it was.
fn convert(files: &Files, path: &Path) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    // Held open, so that the place of its octets is still known when its name leads to others.
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(named)?;
    let length = file.metadata()?.len();
    if length > FILE_OCTETS_MAX as u64 {
        return Err(named(io::ErrorKind::FileTooLarge.into()));
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.read_to_end(&mut octets).map_err(named)?;
    let seals = files.sealing.removes_clear_octets();
    if sealed::is_sealed(&octets) == seals {
        return Ok(());
    }
    let converted = if seals { files.sealing.seal_file(octets) } else { files.sealing.open_file(octets) };
    let converted = match converted {
        // No key opens it, and once it has a name that nobody reads, nobody takes it for a store without its key.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(path = %path.display(), %error, "a damaged copy stays sealed");
            let is_aside = !LIVE_ENDINGS.iter().any(|ending| path.to_string_lossy().ends_with(ending));
            return if is_aside { Ok(()) } else { files.rename(path, &with_ending(path, "damaged")) };
        }
        converted => converted.map_err(named)?,
    };
    files.replace(path, &converted)?;
    if seals {
        erase_unnamed(files, &file, path);
    }
    Ok(())
}

/// Writes over what a file held, unless it has another name still.
fn erase_unnamed(files: &Files, file: &File, path: &Path) {
    let erased = file
        .metadata()
        .and_then(|facts| if facts.nlink() == 0 { overwrite(files, file, path) } else { Ok(()) });
    if let Err(error) = erased {
        tracing::warn!(path = %path.display(), %error, "the clear octets of a file could not be written over");
    }
}

/// Whether snapshots or checkpoints here are sealed; for a store that has no key.
pub(in crate::store) fn is_sealed_below(folder: &Path) -> bool {
    const HEAD_OCTETS: u64 = 64;
    let mut found = Vec::new();
    for name in ["snapshots", "checkpoints"] {
        let _ = collect(&folder.join(name), &mut found);
    }
    found.iter().any(|path| {
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(HEAD_OCTETS).read_to_end(&mut head));
        let is_live = LIVE_ENDINGS.iter().any(|ending| path.to_string_lossy().ends_with(ending));
        is_live && read.is_ok() && sealed::is_sealed(&head)
    })
}
