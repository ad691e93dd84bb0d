//! A file or folder that is complete before it has its name.
//!
//! It is written under a hidden name beside its place, for its owner only, synced, and then named. What was
//! not named is removed.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::format::{Content, Tree};
use crate::store::files::missing_is_fine;

/// See the module text.
pub(super) struct Scratch {
    path: PathBuf,
    is_folder: bool,
}

impl Scratch {
    /// Writes beside `target`.
    pub fn write(target: &Path, content: &Content) -> io::Result<Self> {
        let scratch = Self { path: beside(target, "new"), is_folder: matches!(content, Content::Tree(_)) };
        // One of ours from a run that was cut off; a link that somebody put there is not followed.
        remove(&scratch.path)?;
        match content {
            Content::Document(bytes) => write_private(&scratch.path, bytes)?,
            Content::Tree(tree) => write_tree(&scratch.path, tree)?,
        }
        Ok(scratch)
    }

    /// Writes a file beside `target` as `fill` hands it on: each piece is a write of its own.
    pub fn stream(target: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Self> {
        let scratch = Self { path: beside(target, "new"), is_folder: false };
        remove(&scratch.path)?;
        let mut file = private_file(&scratch.path)?;
        fill(&mut file)?;
        file.sync_all()?;
        Ok(scratch)
    }

    /// Gives it a name that is free; false where the name is taken.
    pub fn place(&self, target: &Path) -> io::Result<bool> {
        let taken = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(false),
            _ => Err(error),
        };
        if self.is_folder {
            // Reserves the name; a folder may be renamed over an empty one.
            if let Err(error) = DirBuilder::new().mode(0o700).create(target) {
                return taken(error);
            }
            fs::rename(&self.path, target).inspect_err(|_| drop(fs::remove_dir(target)))?;
            return Ok(true);
        }
        // A link fails where the name is taken, which a rename would not.
        match fs::hard_link(&self.path, target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // A file system without links: reserve the name, then rename over the empty file.
            Err(_) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(target) {
                Ok(_) => {
                    fs::rename(&self.path, target).inspect_err(|_| drop(fs::remove_file(target)))?;
                    Ok(true)
                }
                Err(error) => taken(error),
            },
        }
    }

    /// Puts it in place of whatever has the name. A folder is away for a moment, and back should that fail.
    pub fn replace(&self, target: &Path) -> io::Result<()> {
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir());
        if !self.is_folder && !is_folder(target) {
            return fs::rename(&self.path, target);
        }
        let old = beside(target, "old");
        remove(&old)?;
        missing_is_fine(fs::rename(target, &old))?;
        if let Err(error) = fs::rename(&self.path, target) {
            let _ = fs::rename(&old, target);
            return Err(error);
        }
        remove(&old)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// A hidden name in the same folder.
fn beside(target: &Path, ending: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.{ending}", std::process::id()))
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => missing_is_fine(Err(error)),
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The paths of a tree lead nowhere but below it.
fn write_tree(root: &Path, tree: &Tree) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    make_folder(root)?;
    for (path, content) in tree.files() {
        let mut folder = root.to_owned();
        if let Some((above, _)) = path.rsplit_once('/') {
            for name in above.split('/') {
                folder.push(name);
                if !folder.is_dir() {
                    make_folder(&folder)?;
                    folders.push(folder.clone());
                }
            }
        }
        write_private(&root.join(path), content)?;
    }
    folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    // Whatever the umask takes away.
    fs::set_permissions(path, Permissions::from_mode(0o700))
}
