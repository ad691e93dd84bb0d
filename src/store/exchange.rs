//! Files and folders of bonds that users and other programs share: exports are written, imports read.
//!
//! In the export folder, names are bare. No link is ever followed, nothing is written over unless that was
//! asked for, and what is written is complete before it has its name.

mod folder;
pub mod rotation;
mod scratch;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::format::Content;
use crate::format::tree::TreeError;
use folder::{open_plain, read_bounded, read_tree};
use scratch::Scratch;

/// Longest name of a file, as common file systems have it, less room for a number.
const NAME_OCTETS_MAX: usize = 200;

/// Names that are tried when one is taken.
const NAMES_TRIED_MAX: u32 = 1_000;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(
        "a file is named without a folder, by letters, digits, dots, dashes and underscores, and not by a dot first"
    )]
    Name,
    #[error("there is no file {0:?}")]
    Missing(String),
    #[error("{0:?} is a link or something else that is neither a plain file nor a folder")]
    NotAFile(String),
    #[error("{name:?} is longer than the {max} octets that are read")]
    TooLarge { name: String, max: usize },
    #[error("reading the folder {name:?}")]
    Tree { name: String, source: TreeError },
    #[error("{0:?} is there already, and nothing is written over it")]
    Taken(String),
    #[error("{NAMES_TRIED_MAX} files with this name are there already")]
    NoFreeName,
    #[error("{operation} {name:?} failed")]
    Io { operation: &'static str, name: String, source: io::Error },
}

/// Writes a file or folder that only this user may read, whole or not at all, under the name given or,
/// where that is taken, with a number added. Gives back the name.
pub fn write_export(folder: &Path, name: &str, content: &Content) -> Result<String, ExchangeError> {
    check_name(name)?;
    fs::create_dir_all(folder).map_err(failed("making the folder for", name))?;
    let scratch = Scratch::write(&folder.join(name), content).map_err(failed("writing", name))?;
    place(&scratch, folder, name)
}

/// The same of a file that is written piece by piece; a failure of `fill` is one to write.
pub fn stream_export(
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Result<String, ExchangeError> {
    check_name(name)?;
    fs::create_dir_all(folder).map_err(failed("making the folder for", name))?;
    let scratch = Scratch::stream(&folder.join(name), fill).map_err(failed("writing", name))?;
    place(&scratch, folder, name)
}

/// Names it, by the first name that is free.
fn place(scratch: &Scratch, folder: &Path, name: &str) -> Result<String, ExchangeError> {
    for number in 1..=NAMES_TRIED_MAX {
        let wanted = numbered(name, number);
        if scratch.place(&folder.join(&wanted)).map_err(failed("naming", &wanted))? {
            if let Err(error) = sync(folder) {
                // Nobody is told its name, and a power cut may take it.
                let _ = scratch::remove(&folder.join(&wanted));
                return Err(failed("syncing", &wanted)(error));
            }
            return Ok(wanted);
        }
    }
    Err(ExchangeError::NoFreeName)
}

/// Writes a file or folder at a place of the user's choice, likewise. `replace`: over what is there.
pub fn write_at(target: &Path, content: &Content, replace: bool) -> Result<(), ExchangeError> {
    let name = target.display().to_string();
    let scratch = Scratch::write(target, content).map_err(failed("writing", &name))?;
    if replace {
        scratch.replace(target).map_err(failed("replacing", &name))?;
    } else if !scratch.place(target).map_err(failed("naming", &name))? {
        return Err(ExchangeError::Taken(name));
    }
    drop(scratch);
    // A bare name has an empty parent.
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync(folder.unwrap_or(Path::new("."))).map_err(failed("syncing", &name))
}

/// Reads a plain file of bounded length, or a folder, in the export folder.
pub fn read_import(folder: &Path, name: &str, octets_max: usize) -> Result<Content, ExchangeError> {
    check_name(name)?;
    read(&folder.join(name), name, octets_max)
}

/// Reads what is at a place of the user's choice, who may have named it by a link.
pub fn read_at(path: &Path, octets_max: usize) -> Result<Content, ExchangeError> {
    let name = path.display().to_string();
    let path = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ExchangeError::Missing(name)),
        outcome => outcome.map_err(failed("reading", &name))?,
    };
    read(&path, &name, octets_max)
}

fn read(path: &Path, name: &str, octets_max: usize) -> Result<Content, ExchangeError> {
    let not_a_file = || ExchangeError::NotAFile(name.to_owned());
    match fs::symlink_metadata(path) {
        Ok(kind) if kind.is_dir() => return read_tree(path, name).map(Content::Tree),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ExchangeError::Missing(name.to_owned()));
        }
        Err(error) => return Err(failed("reading", name)(error)),
        Ok(_) => {}
    }
    let file = open_plain(path).map_err(failed("reading", name))?.ok_or_else(not_a_file)?;
    let bytes: Option<Zeroizing<Vec<u8>>> =
        read_bounded(file, octets_max).map_err(failed("reading", name))?;
    let bytes = bytes.ok_or_else(|| ExchangeError::TooLarge { name: name.to_owned(), max: octets_max })?;
    Ok(Content::Document(bytes))
}

fn failed(operation: &'static str, name: &str) -> impl Fn(io::Error) -> ExchangeError {
    let name = name.to_owned();
    move |source| ExchangeError::Io { operation, name: name.clone(), source }
}

fn check_name(name: &str) -> Result<(), ExchangeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fine = !name.is_empty()
        && name.len() <= NAME_OCTETS_MAX
        && !name.starts_with('.')
        && name.bytes().all(plain);
    if fine { Ok(()) } else { Err(ExchangeError::Name) }
}

/// `bonds.json.age` → `bonds-2.json.age`
fn numbered(name: &str, number: u32) -> String {
    match name.split_once('.') {
        _ if number == 1 => name.to_owned(),
        Some((stem, ending)) => format!("{stem}-{number}.{ending}"),
        None => format!("{name}-{number}"),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Tree;
    use std::os::unix::fs::PermissionsExt;

    fn document(bytes: &[u8]) -> Content {
        Content::Document(Zeroizing::new(bytes.to_vec()))
    }

    fn tree(files: &[(&str, &[u8])]) -> Content {
        let mut tree = Tree::default();
        for (path, content) in files {
            tree.insert(path, Zeroizing::new(content.to_vec())).unwrap();
        }
        Content::Tree(tree)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_export_never_writes_over_a_file_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| write_export(folder.path(), "bonds.json", &document(bytes)).unwrap();
        assert_eq!(
            (write(b"1"), write(b"2"), write(b"3")),
            ("bonds.json".to_owned(), "bonds-2.json".to_owned(), "bonds-3.json".to_owned())
        );
        assert_eq!(fs::read(folder.path().join("bonds.json")).unwrap(), b"1");
        assert_eq!(mode(&folder.path().join("bonds-2.json")), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no scratch file stays");
    }

    #[test]
    fn what_is_written_piece_by_piece_is_whole_private_and_named_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let pieces: Vec<Vec<u8>> = [1, 70_000, 64 << 10, 0, 63 << 10, 1 << 10, 5]
            .iter()
            .zip(b'a'..)
            .map(|(length, letter)| vec![letter; *length])
            .collect();
        let write = |fails: bool| {
            stream_export(folder.path(), "bonds.json", |out| {
                pieces.iter().try_for_each(|piece| out.write_all(piece))?;
                assert!(!folder.path().join("bonds.json").exists(), "named before it is complete");
                if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
            })
        };
        assert!(matches!(write(true), Err(ExchangeError::Io { operation: "writing", .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no scratch file stays");
        assert_eq!(write(false).unwrap(), "bonds.json");
        assert!(fs::read(folder.path().join("bonds.json")).unwrap() == pieces.concat());
        assert_eq!(mode(&folder.path().join("bonds.json")), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no scratch file stays");
    }

    #[test]
    fn a_folder_is_written_whole_private_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let write = |content: &[u8]| {
            write_export(folder.path(), "bluez", &tree(&[("A/info", content), ("A/B/info", b"b")])).unwrap()
        };
        assert_eq!((write(b"1"), write(b"2")), ("bluez".to_owned(), "bluez-2".to_owned()));
        assert_eq!(fs::read(folder.path().join("bluez/A/info")).unwrap(), b"1");
        assert_eq!(mode(&folder.path().join("bluez/A/B")), 0o700);
        assert_eq!(mode(&folder.path().join("bluez/A/B/info")), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no scratch folder stays");
    }

    #[test]
    fn what_is_at_a_chosen_place_stays_unless_it_is_to_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out");
        write_at(&place, &document(b"1"), false).unwrap();
        assert!(matches!(write_at(&place, &document(b"2"), false), Err(ExchangeError::Taken(_))));
        assert_eq!(fs::read(&place).unwrap(), b"1");
        for content in [document(b"2"), tree(&[("a/b", b"3")]), tree(&[("a/c", b"4")]), document(b"5")] {
            write_at(&place, &content, true).unwrap();
        }
        assert_eq!(fs::read(&place).unwrap(), b"5");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");
        assert!(write_at(&folder.path().join("none/out"), &document(b""), false).is_err());
    }

    #[test]
    fn a_link_under_the_wanted_name_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("bonds.json")).unwrap();
        assert_eq!(write_export(folder.path(), "bonds.json", &document(b"x")).unwrap(), "bonds-2.json");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn only_bare_names_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let empty = document(b"");
        for name in ["", ".", "..", ".hidden", "../x", "a/b", "/etc/passwd", "a\0b", "a b", &"x".repeat(201)]
        {
            assert!(matches!(read_import(folder.path(), name, 10), Err(ExchangeError::Name)), "{name:?}");
            assert!(
                matches!(write_export(folder.path(), name, &empty), Err(ExchangeError::Name)),
                "{name:?}"
            );
        }
    }

    #[test]
    fn an_import_is_a_plain_file_of_bounded_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("ten"), b"0123456789").unwrap();
        std::os::unix::fs::symlink(path("ten"), path("link")).unwrap();
        let read = |name, max| read_import(folder.path(), name, max);
        let Ok(Content::Document(bytes)) = read("ten", 10) else { panic!("not read") };
        assert_eq!(&**bytes, b"0123456789");
        assert!(matches!(read("ten", 9), Err(ExchangeError::TooLarge { max: 9, .. })));
        assert!(matches!(read("link", 10), Err(ExchangeError::NotAFile(_))));
        assert!(matches!(read("none", 10), Err(ExchangeError::Missing(_))));
        assert!(read_at(&path("link"), 10).is_ok(), "a place of the user's choice may be a link");
        assert!(matches!(read_at(&path("none"), 10), Err(ExchangeError::Missing(_))));
        assert!(matches!(read_at(Path::new("/dev/null"), 10), Err(ExchangeError::NotAFile(_))));
    }

    #[test]
    fn a_folder_is_read_without_links_and_without_what_no_format_can_mean() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("in").join(name);
        fs::create_dir_all(path("A/B/c/d/e")).unwrap();
        for name in ["A/B/info", "A/back\\slash", "A/B/c/d/e/deep", "secret"] {
            fs::write(path(name), b"x").unwrap();
        }
        std::os::unix::fs::symlink(path("secret"), path("A/link")).unwrap();
        std::os::unix::fs::symlink(path("A"), path("folder-link")).unwrap();
        let Ok(Content::Tree(tree)) = read_import(folder.path(), "in", 10) else { panic!("not read") };
        let paths: Vec<&str> = tree.files().map(|(path, _)| path).collect();
        assert_eq!(paths, ["A/B/info", "secret"]);
    }

    #[test]
    fn a_folder_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let big = fs::File::create(folder.path().join("big")).unwrap();
        big.set_len(crate::format::tree::TREE_OCTETS_MAX as u64 + 1).unwrap();
        let refused = read_at(folder.path(), 10);
        assert!(matches!(refused, Err(ExchangeError::Tree { source: TreeError::TooLarge, .. })));
    }
}
