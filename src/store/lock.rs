//! One service a folder: a lock that the kernel drops with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::files::private;

const NAME: &str = "lock";

/// Where it lies.
pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Longest process id that is read back.
const PID_DIGITS_MAX: u64 = 10;

/// Held as long as it lives. None inside: a read-only folder without a lock file, where nobody writes.
pub(super) struct Lock(#[allow(dead_code, reason = "held, never read")] Option<File>);

/// Why the folder is not ours.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another instance has it; its process id where it can be read.
    Taken(Option<u32>),
    Io(io::Error),
}

impl Lock {
    /// Takes the lock or says at once who has it.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = path(folder);
        let file = match private().read(true).truncate(false).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                match OpenOptions::new().read(true).open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self(None)),
                    outcome => outcome,
                }
            }
            outcome => outcome,
        };
        let mut file = file.map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {
                // For people only: that it cannot be written, on a full disk, changes nothing.
                let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self(Some(file)))
            }
            Err(TryLockError::WouldBlock) => Err(LockError::Taken(owner(&file))),
            Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        }
    }

    /// A service has the folder now.
    pub fn is_taken(folder: &Path) -> bool {
        let file = File::open(folder.join(NAME));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn owner(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_DIGITS_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_instance_is_refused_at_once_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Lock::is_taken(folder.path()));
        let first = Lock::take(folder.path()).ok().unwrap();
        assert!(Lock::is_taken(folder.path()));
        let Err(LockError::Taken(pid)) = Lock::take(folder.path()) else { panic!("taken twice") };
        assert_eq!(pid, Some(std::process::id()));
        drop(first);
        assert!(Lock::take(folder.path()).is_ok());
    }
}
