//! What the options say of the store's seal, with the passphrase fetched from where it is.
//!
//! Must never keep a passphrase longer than the store takes to open, nor let one into an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::{SealPassphrase, StoreSettings};
use crate::format::sealed::Passphrase;
use crate::store::{SealChoice, SealWish};

/// Octets of a file with a passphrase.
const FILE_OCTETS_MAX: usize = 64 << 10;

/// Why there is no passphrase though one is named.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    #[error("the file {} with the passphrase of the store cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} begins with an empty line where the passphrase of the store should be", .0.display())]
    Empty(PathBuf),
}

/// How the store is to be opened.
pub fn choice(settings: &StoreSettings) -> Result<SealChoice, PassphraseError> {
    let passphrase = passphrase(settings)?;
    let wish = match (settings.seal, &passphrase) {
        (true, _) => SealWish::Sealed,
        (false, Some(_)) => SealWish::Clear,
        (false, None) => SealWish::AsItIs,
    };
    Ok(SealChoice { passphrase, wish })
}

/// The passphrase of the store, where the options have one.
pub fn passphrase(settings: &StoreSettings) -> Result<Option<Passphrase>, PassphraseError> {
    match &settings.seal_passphrase {
        None => Ok(None),
        Some(SealPassphrase::Given(secret)) => Ok(Some(Passphrase::new(secret.expose()))),
        Some(SealPassphrase::InFile(path)) => in_file(path).map(Some),
    }
}

/// The first line of a file, which may be a pipe or what systemd hands over as a credential.
pub fn in_file(path: &Path) -> Result<Passphrase, PassphraseError> {
    let failed = |source| PassphraseError::File { path: path.to_owned(), source };
    // All of it at once, so that no copy is left behind by a buffer that grows.
    let mut text = Zeroizing::new(String::with_capacity(FILE_OCTETS_MAX + 1));
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_OCTETS_MAX as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > FILE_OCTETS_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    match text.lines().next() {
        None | Some("") => Err(PassphraseError::Empty(path.to_owned())),
        Some(line) => Ok(Passphrase::new(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line_of_its_file_and_an_error_never_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        std::fs::write(&path, "correct horse battery\nanother line\n").unwrap();
        assert!(in_file(&path).unwrap().is_long_enough());
        for content in ["", "\nkumquat ballast tundra"] {
            std::fs::write(&path, content).unwrap();
            let error = in_file(&path).unwrap_err();
            assert!(matches!(error, PassphraseError::Empty(_)));
            assert!(!format!("{error} {error:?}").contains("kumquat"));
        }
        assert!(matches!(in_file(&folder.path().join("none")), Err(PassphraseError::File { .. })));
    }
}
