//! The sealed store: records and files that only a passphrase from elsewhere opens.
//!
//! The key of the store is a key pair of age, in the file `seal.age`, which the passphrase opens: so the standard
//! `age` program opens a sealed store's files without us. Files (snapshots, checkpoints, the fingerprint
//! key) are sealed for that key pair; records of the database, which are small and many, with a key that is
//! derived from it. Addresses of adapters and peers stay in the clear, as names of files and keys of the database.
//!
//! | name | what |
//! |---|---|
//! | `seal.age` | the key pair, sealed with the passphrase. While it is there the store is sealed |
//! | `seal.unfinished` | sealing or unsealing is under way; says which, sealed itself |
//! | `seal.age.old` | the key of a store that was unsealed, for damaged copies that are still sealed |
//!
//! While it is under way both forms are read and one is written. Apart from that a clear record or file in a sealed
//! store is a damaged one: nobody can slip something in. Must never take a store whose key is missing or does
//! not open for an empty one, and must not change anything before it is known that it can be read. Driven by `open`
//! and `inspect`; used by whatever reads or writes.

mod change;
mod key;

use std::io;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::record::{self, ContentRef, Record, RecordError};
use crate::bond::AdapterAddress;
use crate::format::sealed::{self, Form, Passphrase, SealError};
pub(super) use change::{Plan, is_sealed_below};
use key::StoreKey;
pub use key::is_sealed;

/// Longest file of a store that is sealed or opened: databases that were put aside are the largest.
const FILE_OCTETS_MAX: usize = 1 << 30;

/// How a store of a known key pair is read and written.
pub(super) fn of_identity(identity: sealed::Identity) -> io::Result<Sealing> {
    Ok(Sealing::Sealed(Arc::new(StoreKey::of_identity(identity)?)))
}

/// What the options say of the seal.
#[derive(Debug, Clone, Default)]
pub struct SealChoice {
    pub passphrase: Option<Passphrase>,
    pub wish: SealWish,
}

impl SealChoice {
    /// For whoever opens a store and leaves it as it is.
    pub const fn as_it_is(passphrase: Option<Passphrase>) -> Self {
        Self { passphrase, wish: SealWish::AsItIs }
    }
}

/// How the store is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SealWish {
    /// One that is clear stays so, and one that is sealed.
    #[default]
    AsItIs,
    Sealed,
    Clear,
}

/// Why a sealed store was not opened, or a clear one not sealed.
#[derive(Debug, thiserror::Error)]
pub enum StoreSealError {
    #[error(
        "it is sealed, and there is no passphrase to open it with: give the one that it was sealed with \
         (store.seal_passphrase_file or store.seal_passphrase)"
    )]
    PassphraseNeeded,
    #[error(
        "it is sealed, and not with this passphrase (store.seal_passphrase_file or store.seal_passphrase)"
    )]
    WrongPassphrase,
    #[error(
        "parts of it are sealed, and its key file seal.age is missing: put that back from a backup of this folder"
    )]
    KeyMissing,
    #[error("its file {name} cannot be read")]
    Unreadable { name: &'static str, source: io::Error },
    #[error("its file {name} is damaged: put it back from a backup of this folder")]
    Damaged { name: &'static str, source: SealError },
    #[error("sealing or unsealing it could not begin")]
    NotBegun(#[source] io::Error),
    #[error("its key could not be sealed")]
    NotSealed(#[source] SealError),
}

/// How records and files are read and written.
#[derive(Clone, Default)]
pub(super) enum Sealing {
    #[default]
    Clear,
    Sealed(Arc<StoreKey>),
    /// Both are read, and what is written is sealed.
    ToSealed(Arc<StoreKey>),
    /// Both are read, and what is written is clear.
    ToClear(Arc<StoreKey>),
}

impl Sealing {
    /// Clear octets are about to have been here: what is removed is written over first.
    pub const fn removes_clear_octets(&self) -> bool {
        matches!(self, Self::ToSealed(_))
    }

    /// Sealing or unsealing is under way.
    pub const fn is_changing(&self) -> bool {
        matches!(self, Self::ToSealed(_) | Self::ToClear(_))
    }

    /// Nothing is sealed: what stands at the ends of a file is what it says.
    pub const fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }

    /// A file belongs to its name: nobody else could have written it.
    pub const fn binds_names(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    const fn key(&self) -> Option<&Arc<StoreKey>> {
        match self {
            Self::Clear => None,
            Self::Sealed(key) | Self::ToSealed(key) | Self::ToClear(key) => Some(key),
        }
    }

    const fn writes_with(&self) -> Option<&Arc<StoreKey>> {
        match self {
            Self::Clear | Self::ToClear(_) => None,
            Self::Sealed(key) | Self::ToSealed(key) => Some(key),
        }
    }

    /// Encodes a record for its place in the database.
    pub fn encode(
        &self,
        adapter: Option<AdapterAddress>,
        key: &[u8],
        generation: u64,
        content: ContentRef<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, RecordError> {
        let clear = record::encode(adapter, key, generation, content);
        if self.writes_with().is_none() {
            return Ok(clear);
        }
        self.seal_record(adapter, key, &clear).map(Zeroizing::new).ok_or(RecordError::Sealed)
    }

    /// Seals a record that is encoded already; none where nothing is sealed.
    pub fn seal_record(&self, adapter: Option<AdapterAddress>, key: &[u8], clear: &[u8]) -> Option<Vec<u8>> {
        self.writes_with()?.records.seal(adapter, key, clear)
    }

    /// Decodes the record of a place.
    pub fn decode(
        &self,
        adapter: Option<AdapterAddress>,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<Record, RecordError> {
        match (self.key(), record::sealed::is_sealed(bytes)) {
            (None, true) => Err(RecordError::Sealed),
            (Some(with), true) => {
                let clear = with.records.open(adapter, key, bytes)?;
                record::decode(adapter, key, &clear)
            }
            (Some(_), false) if !self.is_changing() => Err(RecordError::NotSealed),
            (_, false) => record::decode(adapter, key, bytes),
        }
    }

    /// What is written to a file.
    pub fn seal_file(&self, clear: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
        let Some(with) = self.writes_with() else { return Ok(clear) };
        let octets = sealed::seal(&clear, &with.identity.seal_for(), Form::Binary);
        octets.map(Zeroizing::new).map_err(io::Error::other)
    }

    /// What a file holds.
    pub fn open_file(&self, octets: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
        let invalid = |words: &str| io::Error::new(io::ErrorKind::InvalidData, words);
        match (self.key(), sealed::is_sealed(&octets)) {
            (None, true) => Err(invalid("it is sealed")),
            (Some(with), true) => {
                let opened = sealed::open(&octets, &with.identity.openers(), FILE_OCTETS_MAX);
                opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
            (Some(_), false) if !self.is_changing() => Err(invalid("it is not sealed, in a store that is")),
            (_, false) => Ok(octets),
        }
    }
}

#[cfg(test)]
mod tests;
