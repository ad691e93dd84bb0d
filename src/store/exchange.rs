//! The folder that exports are written to and imports are read from, which users and other programs
//! share.
//!
//! Takes bare names only, never follows a link and never writes over a file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

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
    #[error("there is no file {0:?} in the folder")]
    Missing(String),
    #[error("{0:?} is a link or a folder and no plain file")]
    NotAFile(String),
    #[error("{name:?} is longer than the {max} octets that are read")]
    TooLarge { name: String, max: usize },
    #[error("{NAMES_TRIED_MAX} files with this name are there already")]
    NoFreeName,
    #[error("{operation} {name:?} failed")]
    Io { operation: &'static str, name: String, source: io::Error },
}

/// Writes a file that only this user may read, whole or not at all, under the name given or, where
/// that is taken, with a number added. Gives back the name.
pub fn write_export(folder: &Path, name: &str, bytes: &[u8]) -> Result<String, ExchangeError> {
    check_name(name)?;
    let failed = |operation| {
        let name = name.to_owned();
        move |source| ExchangeError::Io { operation, name, source }
    };
    fs::create_dir_all(folder).map_err(failed("making the folder for"))?;
    let scratch = folder.join(format!(".{name}.{}.new", std::process::id()));
    let outcome = write_private(&scratch, bytes)
        .map_err(failed("writing"))
        .and_then(|()| place(folder, &scratch, name))
        .and_then(|taken| sync(folder).map_err(failed("syncing")).map(|()| taken));
    let _ = fs::remove_file(&scratch);
    outcome
}

/// Reads a plain file of bounded length.
pub fn read_import(
    folder: &Path,
    name: &str,
    octets_max: usize,
) -> Result<Zeroizing<Vec<u8>>, ExchangeError> {
    check_name(name)?;
    let failed = |source| ExchangeError::Io { operation: "reading", name: name.to_owned(), source };
    // A link is refused by the open itself, a pipe does not hold it up.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ExchangeError::Missing(name.to_owned()));
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Err(ExchangeError::NotAFile(name.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(ExchangeError::NotAFile(name.to_owned()));
    }
    let too_large = || ExchangeError::TooLarge { name: name.to_owned(), max: octets_max };
    let size =
        usize::try_from(metadata.len()).ok().filter(|size| *size <= octets_max).ok_or_else(too_large)?;
    // One more than it should be, as the file may grow meanwhile.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(octets_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > octets_max { Err(too_large()) } else { Ok(bytes) }
}

fn check_name(name: &str) -> Result<(), ExchangeError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let fine = !name.is_empty()
        && name.len() <= NAME_OCTETS_MAX
        && !name.starts_with('.')
        && name.bytes().all(plain);
    if fine { Ok(()) } else { Err(ExchangeError::Name) }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One of ours from a run that was cut off; a link that somebody put there is not followed.
    super::files::missing_is_fine(fs::remove_file(path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the finished file its name. A link fails where the name is taken, which a rename would not.
fn place(folder: &Path, scratch: &Path, name: &str) -> Result<String, ExchangeError> {
    for number in 1..=NAMES_TRIED_MAX {
        let wanted = numbered(name, number);
        let target = folder.join(&wanted);
        let outcome = match fs::hard_link(scratch, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Ok(()) => Ok(()),
            // A file system without links: reserve the name, then rename over the empty file.
            Err(_) => match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Ok(_) => fs::rename(scratch, &target).inspect_err(|_| drop(fs::remove_file(&target))),
                Err(error) => Err(error),
            },
        };
        let failed = |source| ExchangeError::Io { operation: "naming", name: wanted.clone(), source };
        return outcome.map_err(failed).map(|()| wanted.clone());
    }
    Err(ExchangeError::NoFreeName)
}

fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('.') {
        _ if number == 1 => name.to_owned(),
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}-{number}.{ending}"),
        _ => format!("{name}-{number}"),
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_never_writes_over_a_file_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| write_export(folder.path(), "bonds.json", bytes).unwrap();
        assert_eq!(
            (write(b"1"), write(b"2"), write(b"3")),
            ("bonds.json".to_owned(), "bonds-2.json".to_owned(), "bonds-3.json".to_owned())
        );
        assert_eq!(fs::read(folder.path().join("bonds.json")).unwrap(), b"1");
        let mode = fs::metadata(folder.path().join("bonds-2.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no scratch file stays");
    }

    #[test]
    fn a_link_under_the_wanted_name_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join("bonds.json")).unwrap();
        assert_eq!(write_export(folder.path(), "bonds.json", b"x").unwrap(), "bonds-2.json");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn only_bare_names_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["", ".", "..", ".hidden", "../x", "a/b", "/etc/passwd", "a\0b", "a b", &"x".repeat(201)]
        {
            assert!(matches!(read_import(folder.path(), name, 10), Err(ExchangeError::Name)), "{name:?}");
            assert!(matches!(write_export(folder.path(), name, b""), Err(ExchangeError::Name)), "{name:?}");
        }
    }

    #[test]
    fn an_import_is_a_plain_file_of_bounded_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("ten"), b"0123456789").unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("ten"), path("link")).unwrap();
        let read = |name, max| read_import(folder.path(), name, max);
        assert_eq!(&**read("ten", 10).unwrap(), b"0123456789");
        assert!(matches!(read("ten", 9), Err(ExchangeError::TooLarge { max: 9, .. })));
        assert!(matches!(read("link", 10), Err(ExchangeError::NotAFile(_))));
        assert!(matches!(read("folder", 10), Err(ExchangeError::NotAFile(_))));
        assert!(matches!(read("none", 10), Err(ExchangeError::Missing(_))));
    }
}
