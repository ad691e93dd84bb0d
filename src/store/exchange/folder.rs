//! Reads a folder into a [`Tree`]: plain files only, no link followed, bounded in files, octets and depth.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::ExchangeError;
use crate::format::Tree;
use crate::format::tree::{TREE_DEPTH_MAX, TREE_OCTETS_MAX, TreeError};

/// Entries that are looked at in all. A folder of somebody else's may be anything.
const ENTRIES_MAX: usize = 200_000;

/// Opens a plain file without following a link or waiting at a pipe. None where it is something else.
pub(super) fn open_plain(path: &Path) -> io::Result<Option<File>> {
    // A link is refused by the open itself, a pipe does not hold it up.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads at most `octets_max`; none where there is more.
pub(super) fn read_bounded(file: File, octets_max: usize) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if size > octets_max {
        return Ok(None);
    }
    // One more than it should be, as the file may grow meanwhile.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(octets_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= octets_max).then_some(bytes))
}

/// Files that no format can mean, by their names or their depth, are passed over.
pub(super) fn read_tree(root: &Path, name: &str) -> Result<Tree, ExchangeError> {
    let mut reader = Reader { tree: Tree::default(), entries: 0, octets: 0, name };
    reader.read(root, "", 1)?;
    Ok(reader.tree)
}

struct Reader<'a> {
    tree: Tree,
    entries: usize,
    octets: usize,
    name: &'a str,
}

impl Reader<'_> {
    fn read(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), ExchangeError> {
        let failed = |source| ExchangeError::Io { operation: "reading", name: self.name.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(self.refused(TreeError::TooMany));
            }
            let file_name = entry.file_name();
            let Some(plain) = file_name.to_str() else { continue };
            let path = format!("{prefix}{plain}");
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() && depth < TREE_DEPTH_MAX {
                self.read(&entry.path(), &format!("{path}/"), depth + 1)?;
            } else if kind.is_file() {
                self.take(&entry.path(), &path)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, file: &Path, path: &str) -> Result<(), ExchangeError> {
        let failed = |source| ExchangeError::Io { operation: "reading", name: self.name.to_owned(), source };
        let Some(file) = open_plain(file).map_err(failed)? else { return Ok(()) };
        let left = TREE_OCTETS_MAX - self.octets;
        let content = read_bounded(file, left).map_err(failed)?;
        let content = content.ok_or_else(|| self.refused(TreeError::TooLarge))?;
        let octets = content.len();
        match self.tree.insert(path, content) {
            Ok(()) => self.octets += octets,
            Err(TreeError::Path | TreeError::TooDeep) => {}
            Err(error) => return Err(self.refused(error)),
        }
        Ok(())
    }

    fn refused(&self, source: TreeError) -> ExchangeError {
        ExchangeError::Tree { name: self.name.to_owned(), source }
    }
}
