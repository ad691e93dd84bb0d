//! The node's fingerprint key: 32 random octets in a file of their own.
//!
//! Losing it changes fingerprints and nothing else, so it must never stop the service: a key that
//! cannot be read is put aside, and one that cannot be written lives until the service stops.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::files::{Files, with_ending};
use crate::bond::FingerprintKey;
use crate::bond::fingerprint::FINGERPRINT_KEY_OCTETS;

const NAME: &str = "fingerprint.key";

/// Where the kernel gives random octets.
pub(super) const RANDOM_SOURCE: &str = "/dev/urandom";

/// The key of this node, made where there is none. An error means that it could not be kept or
/// that the kernel gave no random octets.
pub(super) fn load_or_make(files: &Files, folder: &Path) -> (Option<FingerprintKey>, Option<io::Error>) {
    let path = folder.join(NAME);
    let mut error = None;
    match fs::read(&path).and_then(|octets| files.sealing.open_file(Zeroizing::new(octets))) {
        Ok(bytes) => match <[u8; FINGERPRINT_KEY_OCTETS]>::try_from(bytes.as_slice()) {
            Ok(octets) => return (Some(FingerprintKey::new(octets)), None),
            Err(_) => error = files.rename(&path, &with_ending(&path, "damaged")).err(),
        },
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        // What does not open is as damaged as what is too short.
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
            error = files.rename(&path, &with_ending(&path, "damaged")).err();
        }
        Err(cause) => error = Some(cause),
    }
    let mut octets = Zeroizing::new([0; FINGERPRINT_KEY_OCTETS]);
    if let Err(cause) = File::open(RANDOM_SOURCE).and_then(|mut source| source.read_exact(&mut *octets)) {
        return (None, Some(cause));
    }
    // One that is there and cannot be read is not written over.
    let write = |octets| files.sealing.seal_file(octets).and_then(|octets| files.replace(&path, &octets));
    let error = error.or_else(|| write(Zeroizing::new(octets.to_vec())).err());
    (Some(FingerprintKey::new(*octets)), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let load = || load_or_make(&Files::default(), folder.path()).0.unwrap();
        let first = load();
        assert_eq!(first.expose(), load().expose());
        assert_ne!(first.expose(), &[0; FINGERPRINT_KEY_OCTETS]);
        fs::write(folder.path().join(NAME), b"short").unwrap();
        assert_ne!(first.expose(), load().expose());
        assert_eq!(fs::read(folder.path().join("fingerprint.key.damaged")).unwrap(), b"short");
    }
}
