//! The key of a sealed store: in memory, and in the file that the passphrase opens.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::StoreSealError;
use crate::format::sealed::{self, Form, Identity, Openers, Passphrase, SealError, SealFor};
use crate::store::record::sealed::{NONCE_RANDOM_OCTETS, RECORD_KEY_OCTETS, RecordKey};
use crate::store::secret::RANDOM_SOURCE;

/// The key pair, sealed with the passphrase.
pub(super) const KEY_FILE: &str = "seal.age";

/// Tells the key for records from anything else that may ever be derived from the key pair.
const RECORDS: &[u8] = b"bondkeeper store records 1";

/// Octets of a key file, and of what is in it: a comment or two and one line.
const KEY_OCTETS_MAX: usize = 4 << 10;

/// For whoever opens it with the age program.
const COMMENT: &str = "# The key of a sealed bondkeeper store. It opens the files in snapshots/ and checkpoints/:\n\
                       # age --decrypt --identity THIS-FILE snapshots/AA-BB-CC-DD-EE-FF.json\n";

/// See the module text.
pub(in crate::store) struct StoreKey {
    pub(super) identity: Identity,
    pub(super) records: RecordKey,
}

impl StoreKey {
    /// A new one.
    pub fn generate() -> io::Result<Self> {
        Self::of_identity(Identity::generate())
    }

    /// Of a key pair that is known already.
    pub fn of_identity(identity: Identity) -> io::Result<Self> {
        let mut random = [0; NONCE_RANDOM_OCTETS];
        File::open(RANDOM_SOURCE)?.read_exact(&mut random)?;
        let text = identity.to_text();
        let mut mac = Hmac::<Sha256>::new_from_slice(text.as_bytes()).map_err(io::Error::other)?;
        mac.update(RECORDS);
        let mut derived = mac.finalize().into_bytes();
        let mut key = Zeroizing::new([0; RECORD_KEY_OCTETS]);
        key.copy_from_slice(&derived);
        zeroize::Zeroize::zeroize(derived.as_mut_slice());
        let records = RecordKey::new(&key, random);
        Ok(Self { identity, records })
    }

    /// The content of a key file.
    pub fn sealed_with(&self, passphrase: &Passphrase) -> Result<Vec<u8>, SealError> {
        let text = Zeroizing::new(format!("{COMMENT}{}\n", *self.identity.to_text()));
        sealed::seal(text.as_bytes(), &SealFor::Passphrase(passphrase.clone()), Form::Binary)
    }
}

/// Whether the store in a folder takes a passphrase.
pub fn is_sealed(folder: &Path) -> bool {
    folder.join(KEY_FILE).exists()
}

/// Reads a small file of the seal; none where there is none.
pub(super) fn read_small(folder: &Path, name: &'static str) -> Result<Option<Vec<u8>>, StoreSealError> {
    let mut octets = Vec::new();
    let limit = sealed::sealed_octets_max(KEY_OCTETS_MAX) as u64;
    match File::open(folder.join(name)).and_then(|file| file.take(limit).read_to_end(&mut octets)) {
        Ok(_) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreSealError::Unreadable { name, source }),
    }
}

/// The key of a store, where it has one.
pub(super) fn load(
    folder: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<Option<StoreKey>, StoreSealError> {
    let Some(octets) = read_small(folder, KEY_FILE)? else { return Ok(None) };
    let passphrase = passphrase.ok_or(StoreSealError::PassphraseNeeded)?;
    let damaged = |source| StoreSealError::Damaged { name: KEY_FILE, source };
    let openers = Openers::of_passphrase(Some(passphrase.clone()));
    let text = sealed::open(&octets, &openers, KEY_OCTETS_MAX).map_err(|error| match error {
        SealError::WrongPassphrase => StoreSealError::WrongPassphrase,
        error => damaged(error),
    })?;
    let text = std::str::from_utf8(&text).map_err(|_| damaged(SealError::Damaged))?;
    let identity = Identity::from_text(text).map_err(damaged)?;
    let unreadable = |source| StoreSealError::Unreadable { name: KEY_FILE, source };
    StoreKey::of_identity(identity).map(Some).map_err(unreadable)
}
