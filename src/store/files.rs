//! The few file operations that the store is made of, each with its durability and its mode.
//!
//! Must never leave a name without a complete content behind: what is written lands under a name of
//! its own, is synced, and is renamed. Every step passes a seam first, through which tests make it
//! fail or look at the folder as a power cut would leave it; the service has nothing there.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::messages::StoreFault;
use super::sealing::Sealing;

/// Keys are for the service's own user alone.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Ends the name of what is being written over.
pub(super) const ERASING: &str = "erasing";

/// A step that can fail and that order matters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Write,
    Link,
    Rename,
    Remove,
    SyncFolder,
    /// The database is about to be written.
    Database,
    /// The database's file is about to be synced.
    SyncDatabase,
}

/// See the module text.
pub(super) trait Probe: Send + Sync {
    fn before(&self, step: Step, path: &Path) -> io::Result<()>;
}

/// See the module text.
#[derive(Clone, Default)]
pub(super) struct Files {
    probe: Option<Arc<dyn Probe>>,
    /// How what is written to them is sealed, and what is read of them opened.
    pub sealing: Sealing,
}

impl Files {
    /// For a store that is read and written so.
    pub const fn of(sealing: Sealing) -> Self {
        Self { probe: None, sealing }
    }

    #[cfg(test)]
    pub fn with_probe(probe: Arc<dyn Probe>) -> Self {
        Self { probe: Some(probe), sealing: Sealing::Clear }
    }

    pub fn step(&self, step: Step, path: &Path) -> io::Result<()> {
        self.probe.as_ref().map_or(Ok(()), |probe| probe.before(step, path))
    }

    /// Writes a file that nobody reads under this name yet, and syncs it. Nothing is left on failure.
    pub fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let write = || {
            self.step(Step::Write, path)?;
            let mut file = private().truncate(true).open(path)?;
            file.set_permissions(Permissions::from_mode(FILE_MODE))?;
            file.write_all(bytes)?;
            file.sync_data()
        };
        write().inspect_err(|_| drop(fs::remove_file(path)))
    }

    /// Puts a file in place of another, or of none, in one step.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = with_ending(path, "new");
        self.write_new(&new, bytes)?;
        self.rename(&new, path)?;
        self.sync_folder(parent(path))
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename, to)?;
        fs::rename(from, to)
    }

    pub fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Link, to)?;
        fs::hard_link(from, to)
    }

    /// Removes a file that may be missing.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove, path)?;
        missing_is_fine(fs::remove_file(path))
    }

    /// Removes a folder that may be missing, with everything in it.
    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove, path)?;
        if !self.sealing.removes_clear_octets() || !path.is_dir() {
            return missing_is_fine(fs::remove_dir_all(path));
        }
        // Under a name that nobody looks for: what is half written over must not be taken for what it was.
        let doomed = with_ending(path, ERASING);
        missing_is_fine(fs::remove_dir_all(&doomed))?;
        self.rename(path, &doomed)?;
        self.sync_folder(parent(path))?;
        self.overwrite_folder(&doomed);
        missing_is_fine(fs::remove_dir_all(&doomed))
    }

    /// Removes a file; where it is clear and the store is being sealed, its octets are written over first.
    pub fn remove_for_good(&self, path: &Path) -> io::Result<()> {
        if self.sealing.removes_clear_octets() {
            self.overwrite_file(path);
        }
        self.remove(path)
    }

    /// Writes over every file in a folder, as far as that goes: it is removed whatever comes of it.
    fn overwrite_folder(&self, path: &Path) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.overwrite_folder(&path),
                Ok(kind) if kind.is_file() => self.overwrite_file(&path),
                _ => {}
            }
        }
    }

    fn overwrite_file(&self, path: &Path) {
        let outcome = OpenOptions::new().write(true).open(path);
        if let Err(error) = outcome.and_then(|file| overwrite(self, &file, path)) {
            tracing::warn!(path = %path.display(), %error, "a clear file could not be written over");
        }
    }

    /// Makes renames and removals in a folder last.
    pub fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFolder, path)?;
        File::open(path)?.sync_all()
    }

    /// Makes a folder where there is none, and those that it stands in, to last.
    pub fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Write, path)?;
        let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
        make_private(path)?;
        // Whatever is synced inside is lost with the folder's own name.
        missing.iter().rev().try_for_each(|folder| self.sync_folder(parent(folder)))
    }
}

/// Opens for writing, private whatever the umask takes away.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(FILE_MODE);
    options
}

/// Writes zeros over all of a file's octets.
pub(super) fn overwrite(files: &Files, mut file: &File, path: &Path) -> io::Result<()> {
    files.step(Step::Write, path)?;
    let length = file.metadata()?.len();
    file.seek(io::SeekFrom::Start(0))?;
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_data()
}

/// Gives a file or folder, and everything in it, the modes that keys deserve. Links are left alone.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?;
    let wanted = if kind.is_dir() { FOLDER_MODE } else { FILE_MODE };
    if kind.is_symlink() {
        return Ok(());
    }
    if kind.permissions().mode() & 0o777 != wanted {
        fs::set_permissions(path, Permissions::from_mode(wanted))?;
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            missing_is_fine(make_private(&entry?.path()))?;
        }
    }
    Ok(())
}

/// Copies a folder of plain files, leaving out those that `wanted` does not name.
pub(super) fn copy_folder(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, wanted)?;
        } else if entry.file_name().to_str().is_some_and(wanted) {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Syncs every file and folder below a folder, and the folder.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()
}

/// `name` → `name.ending`.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn missing_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// What the operating system said, as the rest of the service hears it.
pub(super) fn fault(error: &io::Error, what: &str) -> StoreFault {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => StoreFault::DiskFull,
        ReadOnlyFilesystem => StoreFault::ReadOnly,
        _ => StoreFault::Io(format!("{what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_folders_are_made_private_whatever_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, file) = (folder.path().join("inner"), folder.path().join("inner/file"));
        fs::create_dir(&inner).unwrap();
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        make_private(folder.path()).unwrap();
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
        Files::default().replace(&file, b"y").unwrap();
        assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o600, b"y".to_vec()));
    }

    #[test]
    fn a_write_that_fails_leaves_the_present_content_and_no_litter() {
        struct Full;
        impl Probe for Full {
            fn before(&self, step: Step, _: &Path) -> io::Result<()> {
                if step == Step::Rename { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        Files::default().replace(&file, b"old").unwrap();
        let error = Files::with_probe(Arc::new(Full)).replace(&file, b"new").unwrap_err();
        assert_eq!(fault(&error, "file"), StoreFault::DiskFull);
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }

    #[test]
    fn faults_are_told_apart_by_what_the_user_can_do() {
        let of = |code| fault(&io::Error::from_raw_os_error(code), "db");
        assert_eq!(of(libc::ENOSPC), StoreFault::DiskFull);
        assert_eq!(of(libc::EDQUOT), StoreFault::DiskFull);
        assert_eq!(of(libc::EROFS), StoreFault::ReadOnly);
        assert!(matches!(of(libc::EIO), StoreFault::Io(text) if text.starts_with("db: ")));
    }
}
