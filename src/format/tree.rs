//! A format that is a folder: its files by their paths, in memory.

mod tar;

use std::collections::BTreeMap;

use zeroize::Zeroizing;

pub use tar::TAR_OCTETS_MAX;
pub(super) use tar::looks_like_tar;

/// Files of one tree. BlueZ keeps three or so for each of an adapter's peers.
pub const TREE_FILES_MAX: usize = 60_000;

/// Octets of all files of one tree together.
pub const TREE_OCTETS_MAX: usize = 64 << 20;

/// Deepest path: adapter, peer, file, and one above.
pub const TREE_DEPTH_MAX: usize = 4;

/// Octets of one name in a path.
pub const TREE_NAME_OCTETS_MAX: usize = 64;

/// Why a file is not taken into a tree. None of the texts repeats a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("a path leads out of the folder, or is not plain")]
    Path,
    #[error("a path is deeper than {TREE_DEPTH_MAX} levels")]
    TooDeep,
    #[error("a file comes twice")]
    Twice,
    #[error("there are more than {TREE_FILES_MAX} files")]
    TooMany,
    #[error("the files are longer than {TREE_OCTETS_MAX} octets together")]
    TooLarge,
    #[error("it is not a whole tar archive")]
    NotTar,
    #[error("the archive holds something that is neither a file nor a folder")]
    Kind,
}

/// See the module text. Holds keys; wiped on drop.
#[derive(Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, Zeroizing<Vec<u8>>>,
    octets: usize,
}

impl Tree {
    /// Adds a file. `path` is relative, its names parted by `/`.
    pub fn insert(&mut self, path: &str, content: Zeroizing<Vec<u8>>) -> Result<(), TreeError> {
        let plain = |name: &str| {
            !name.is_empty()
                && name.len() <= TREE_NAME_OCTETS_MAX
                && name != "."
                && name != ".."
                && !name.chars().any(|c| c.is_control() || c == '\\')
        };
        if !path.split('/').all(plain) {
            return Err(TreeError::Path);
        }
        if path.split('/').count() > TREE_DEPTH_MAX {
            return Err(TreeError::TooDeep);
        }
        if self.files.len() >= TREE_FILES_MAX {
            return Err(TreeError::TooMany);
        }
        let octets = self.octets.saturating_add(content.len());
        if octets > TREE_OCTETS_MAX {
            return Err(TreeError::TooLarge);
        }
        if self.files.contains_key(path) {
            return Err(TreeError::Twice);
        }
        self.octets = octets;
        self.files.insert(path.to_owned(), content);
        Ok(())
    }

    /// Paths and contents, in the order of the paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// One file's content.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|content| content.as_slice())
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(tree: &mut Tree, path: &str) -> Result<(), TreeError> {
        tree.insert(path, Zeroizing::new(b"x".to_vec()))
    }

    #[test]
    fn a_path_stays_inside_and_comes_once() {
        let mut tree = Tree::default();
        assert_eq!(insert(&mut tree, "00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info"), Ok(()));
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.", "a\\b", "a\nb", "a/"] {
            assert_eq!(insert(&mut tree, bad), Err(TreeError::Path), "{bad:?}");
        }
        assert_eq!(insert(&mut tree, &"x".repeat(TREE_NAME_OCTETS_MAX + 1)), Err(TreeError::Path));
        assert_eq!(insert(&mut tree, "a/b/c/d/e"), Err(TreeError::TooDeep));
        assert_eq!(insert(&mut tree, "00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info"), Err(TreeError::Twice));
        assert_eq!(tree.len(), 1);
    }

    #[test]
    fn a_tree_is_bounded_in_octets() {
        let mut tree = Tree::default();
        tree.insert("a", Zeroizing::new(vec![0; TREE_OCTETS_MAX])).unwrap();
        assert_eq!(insert(&mut tree, "b"), Err(TreeError::TooLarge));
    }
}
