//! The domain: what a bond is, whose it is, and what an adapter's table of them
//! holds.
//!
//! Pure: no IO, clock, randomness, serialisation or actor is known here; time comes
//! in as an argument. Must never let a resolvable private address stand for an
//! identity, and must never let key octets out except through
//! [`KeyMaterial::expose`]. Driven by `adapter/` and `store/`; read by `format/`.

pub mod adapter;
pub mod address;
#[allow(clippy::module_inception, reason = "the domain's own name for its main noun")]
pub mod bond;
pub mod custody;
pub mod details;
pub mod fingerprint;
pub mod health;
pub mod key;
pub mod ltk;
pub mod plan;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod undo;

pub use adapter::{AdapterRecord, Appearance, IdentityRecord, LoadRecord, Mode};
pub use address::{AdapterAddress, AddressError, PeerAddress, PeerAddressType};
pub use bond::{Bond, BondMetadata, ConnectionParameters, UnixMillis};
pub use custody::{Custody, Source};
pub use details::{
    KeySecurity, LocalIdentity, OpaqueItem, PeerDetails, Privacy, RolePreference, ServiceUuid,
};
pub use fingerprint::{Fingerprint, FingerprintKey};
pub use health::Health;
pub use key::{Csrk, Irk, KeyError, KeyMaterial, LinkKey, LinkKeyType};
pub use ltk::{EncryptionSize, KeyType, Ltk, LtkSlot, Role};
pub use table::{BondTable, Capture, CapturedKey, Change, PairingKeys, TableFull, Tombstone};
pub use undo::{Operation, UndoPoint};
