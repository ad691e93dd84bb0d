//! A tree as one file: through pipes, seals and requests.
//!
//! An archive holds regular files and the folders that lead to them. What it writes is the same
//! for the same tree: files 0600, folders 0700, owner 0, time 0.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use tar::{Archive, Builder, EntryType, Header};
use zeroize::Zeroizing;

use super::{TREE_FILES_MAX, TREE_OCTETS_MAX, Tree, TreeError};

/// Records of an archive: headers, and what fills up the last record of a file.
const RECORD_OCTETS: usize = 512;

/// Largest archive that is read: all files, each with its header and its filling, and a folder for each.
pub const TAR_OCTETS_MAX: usize = TREE_OCTETS_MAX + TREE_FILES_MAX * 4 * RECORD_OCTETS;

/// Entries of an archive: files and the folders that lead to them.
const ENTRIES_MAX: usize = 3 * TREE_FILES_MAX;

/// Where the name of the archive's kind stands in a header. [POSIX pax "ustar Interchange Format"]
const MAGIC_AT: usize = 257;

/// Whether the octets begin as an archive does.
pub(in crate::format) fn looks_like_tar(bytes: &[u8]) -> bool {
    bytes.get(MAGIC_AT..MAGIC_AT + 5) == Some(b"ustar")
}

impl Tree {
    /// Reads an archive. Links, devices and anything else that is no plain content are refused.
    pub fn from_tar(bytes: &[u8]) -> Result<Self, TreeError> {
        if bytes.len() > TAR_OCTETS_MAX {
            return Err(TreeError::TooLarge);
        }
        if !looks_like_tar(bytes) {
            return Err(TreeError::NotTar);
        }
        let mut tree = Self::default();
        let mut archive = Archive::new(bytes);
        for (count, entry) in archive.entries().map_err(|_| TreeError::NotTar)?.enumerate() {
            let mut entry = entry.map_err(|_| TreeError::NotTar)?;
            if count >= ENTRIES_MAX {
                return Err(TreeError::TooMany);
            }
            match entry.header().entry_type() {
                EntryType::Directory | EntryType::XGlobalHeader => continue,
                EntryType::Regular => {}
                _ => return Err(TreeError::Kind),
            }
            let path = entry.path_bytes().into_owned();
            let path = std::str::from_utf8(&path).map_err(|_| TreeError::Path)?;
            // What a header says of the length is believed only as far as there is an input.
            let octets = usize::try_from(entry.size()).map_err(|_| TreeError::TooLarge)?;
            if octets > bytes.len() {
                return Err(TreeError::NotTar);
            }
            let mut content = Zeroizing::new(Vec::with_capacity(octets));
            entry.read_to_end(&mut content).map_err(|_| TreeError::NotTar)?;
            if content.len() != octets {
                return Err(TreeError::NotTar);
            }
            tree.insert(path.strip_prefix("./").unwrap_or(path), content)?;
        }
        Ok(tree)
    }

    /// Writes an archive.
    pub fn to_tar(&self) -> Result<Zeroizing<Vec<u8>>, TreeError> {
        let folders = self.folders();
        let filled = |octets: usize| octets.div_ceil(RECORD_OCTETS) * RECORD_OCTETS;
        let content: usize = self.files().map(|(_, content)| RECORD_OCTETS + filled(content.len())).sum();
        let room = content + (folders.len() + 2) * RECORD_OCTETS;
        let mut archive = Builder::new(Fixed(Zeroizing::new(Vec::with_capacity(room))));
        let mut append = |path: &str, kind: EntryType, content: &[u8]| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(if kind == EntryType::Directory { 0o700 } else { 0o600 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(u64::try_from(content.len()).map_err(|_| TreeError::TooLarge)?);
            header.set_path(path).map_err(|_| TreeError::Path)?;
            header.set_cksum();
            archive.append(&header, content).map_err(|_| TreeError::TooLarge)
        };
        for folder in folders {
            append(&format!("{folder}/"), EntryType::Directory, &[])?;
        }
        for (path, content) in self.files() {
            append(path, EntryType::Regular, content)?;
        }
        archive.into_inner().map(|octets| octets.0).map_err(|_| TreeError::TooLarge)
    }

    /// Folders above the files, outer ones first.
    fn folders(&self) -> BTreeSet<&str> {
        let above = |path: &'_ str| path.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
        self.files().flat_map(|(path, _)| above(path).into_iter().map(move |at| &path[..at])).collect()
    }
}

/// A buffer that refuses to grow, as it would leave copies of keys behind.
struct Fixed(Zeroizing<Vec<u8>>);

impl Write for Fixed {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        if octets.len() > self.0.capacity() - self.0.len() {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        self.0.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/info";

    fn tree(files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::default();
        for (path, content) in files {
            tree.insert(path, Zeroizing::new(content.to_vec())).unwrap();
        }
        tree
    }

    fn files(tree: &Tree) -> Vec<(&str, &[u8])> {
        tree.files().collect()
    }

    /// An archive of one entry of any kind and name.
    fn archive(kind: EntryType, path: &[u8], content: &[u8]) -> Vec<u8> {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut archive = Builder::new(Vec::new());
        archive.append(&header, content).unwrap();
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_tree_goes_through_an_archive_and_comes_back() {
        let long = vec![b'x'; 1_500];
        let tree = tree(&[(INFO, b"[General]\n"), ("00:1A:7D:DA:71:11/identity", &long), ("a", b"")]);
        let written = tree.to_tar().unwrap();
        assert_eq!(written.len(), written.capacity());
        assert_eq!(files(&Tree::from_tar(&written).unwrap()), files(&tree));
        assert_eq!(written, tree.to_tar().unwrap(), "the same tree gives the same octets");
    }

    #[test]
    fn an_archive_lets_nobody_else_read_the_keys() {
        let written = tree(&[(INFO, b"x")]).to_tar().unwrap();
        let mut archive = Archive::new(written.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                (
                    String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                    header.mode().unwrap(),
                    header.mtime().unwrap(),
                )
            })
            .collect();
        let (adapter, peer) = ("00:1A:7D:DA:71:11/", "00:1A:7D:DA:71:11/A4:C1:38:0B:1C:2D/");
        let expected = [(adapter, 0o700), (peer, 0o700), (INFO, 0o600)];
        assert_eq!(entries, expected.map(|(path, mode)| (path.to_owned(), mode, 0)));
    }

    #[test]
    fn what_other_programs_put_before_a_path_is_passed_over() {
        let read = Tree::from_tar(&archive(EntryType::Regular, b"./a/info", b"x")).unwrap();
        assert_eq!(files(&read), [("a/info", &b"x"[..])]);
    }

    #[test]
    fn only_plain_content_inside_the_folder_is_taken() {
        let read = |kind, path: &[u8]| Tree::from_tar(&archive(kind, path, b"")).err();
        for path in [&b"/etc/passwd"[..], b"../x", b"a/../../b", b"a\\b", b"\xFF/info"] {
            assert_eq!(read(EntryType::Regular, path), Some(TreeError::Path));
        }
        assert_eq!(read(EntryType::Regular, b"a/b/c/d/e"), Some(TreeError::TooDeep));
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo] {
            assert_eq!(read(kind, b"a"), Some(TreeError::Kind));
        }
    }

    #[test]
    fn a_damaged_archive_is_no_smaller_tree() {
        let whole = tree(&[(INFO, &[b'x'; 700])]).to_tar().unwrap();
        assert_eq!(Tree::from_tar(&[]).err(), Some(TreeError::NotTar));
        assert_eq!(Tree::from_tar(&whole[..2_100]).err(), Some(TreeError::NotTar));
        let mut spoiled = whole.to_vec();
        spoiled[0] ^= 1;
        assert_eq!(Tree::from_tar(&spoiled).err(), Some(TreeError::NotTar));
    }

    #[test]
    fn a_length_that_the_input_does_not_have_reserves_nothing() {
        let mut bytes = archive(EntryType::Regular, b"a", b"x");
        let mut header = Header::from_byte_slice(&bytes[..RECORD_OCTETS]).clone();
        header.set_size(1 << 40);
        header.set_cksum();
        bytes[..RECORD_OCTETS].copy_from_slice(header.as_bytes());
        assert_eq!(Tree::from_tar(&bytes).err(), Some(TreeError::NotTar));
    }
}
