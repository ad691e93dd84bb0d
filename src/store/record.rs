//! The records of the database, octet by octet.
//!
//! | offset | octets | field | order |
//! |---|---|---|---|
//! | 0 | 1 | version, 1 | |
//! | 1 | 1 | kind: 1 bond, 2 removal, 3 adapter, 4 seal, 5 header | |
//! | 2 | 8 | generation that wrote it | little endian |
//! | 10 | 6 | adapter's identity address | as on the wire |
//! | 16 | n | fields: tag (1), length (2, little endian), octets | |
//! | 16 + n | 4 | CRC-32 over the key and everything before | little endian |
//!
//! A record says whose it is, so that one found loose still can be told. An unknown tag is passed
//! over; a change of meaning takes a new version. The engine below may give back anything after
//! damage: decoding must never panic, and must never take for a bond what did not pass its check.

mod details;
mod health;
pub(super) mod sealed;
mod undo;

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::bond::address::ADDRESS_OCTETS;
use crate::bond::{
    AdapterAddress, AdapterRecord, Appearance, Bond, BondMetadata, ConnectionParameters, Csrk, Custody,
    EncryptionSize, Irk, KeyMaterial, KeyType, LinkKey, LinkKeyType, LoadRecord, Ltk, Mode, PeerAddress,
    PeerAddressType, PeerDetails, Role, Source, UnixMillis,
};
use crate::format::shortened;

const VERSION: u8 = 1;
const HEAD_OCTETS: usize = 16;
const CHECK_OCTETS: usize = 4;
const PEER_KEY_OCTETS: usize = 1 + ADDRESS_OCTETS;

/// Room for a bond with every field and a long name, so that a buffer with keys need not grow.
const RECORD_OCTETS_EXPECTED: usize = 640;

/// Stands for a PIN length that is not known; real ones go to 16.
const PIN_UNKNOWN: u8 = 0xFF;

/// Key of the seal in an adapter's tree; behind every peer's key.
pub(super) const SEAL_KEY: [u8; 1] = [0xFF];

/// Key of the header in the tree `meta`; no address has this length.
pub(super) const HEADER_KEY: &[u8] = b"database header";

/// What a record holds.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Content {
    Bond(Arc<Bond>),
    Removal,
    Adapter {
        record: Box<AdapterRecord>,
        revision: u64,
    },
    Seal(Seal),
    /// Written when a database is made: one without it has lost its beginning.
    Header,
}

/// What an adapter's tree held when it was last written; tells a tree that has lost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    pub bond_count: u32,
    pub removal_count: u32,
    /// CRC-32 over the stamps of all entries in the order of their keys.
    pub stamps: u32,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub generation: u64,
    pub content: Content,
}

/// Why octets are no record of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it is too short")]
    Short,
    #[error("it does not pass its check")]
    Check,
    #[error("it was written by a later release (version {0})")]
    Version(u8),
    #[error("it belongs to another adapter")]
    Adapter,
    #[error("its kind {0} is not known")]
    Kind(u8),
    #[error("its field {0} cannot be read")]
    Field(u8),
    #[error("it is sealed")]
    Sealed,
    #[error("it is not sealed, in a store that is")]
    NotSealed,
}

/// Key of a peer's record in its adapter's tree.
pub(super) fn peer_key(peer: PeerAddress) -> [u8; PEER_KEY_OCTETS] {
    let mut key = [0; PEER_KEY_OCTETS];
    key[0] = u8::from(peer.kind() == PeerAddressType::StaticRandom);
    key[1..].copy_from_slice(&peer.to_wire());
    key[1..].reverse();
    key
}

/// Back from that key.
pub(super) fn peer_of_key(key: &[u8]) -> Option<PeerAddress> {
    let key: [u8; PEER_KEY_OCTETS] = key.try_into().ok()?;
    let kind = match key[0] {
        0 => PeerAddressType::Public,
        1 => PeerAddressType::StaticRandom,
        _ => return None,
    };
    let mut octets = [0; ADDRESS_OCTETS];
    octets.copy_from_slice(&key[1..]);
    octets.reverse();
    PeerAddress::from_wire(octets, kind).ok()
}

/// Encodes one record for its key. The header belongs to no adapter.
pub(super) fn encode(
    adapter: Option<AdapterAddress>,
    key: &[u8],
    generation: u64,
    content: ContentRef<'_>,
) -> Zeroizing<Vec<u8>> {
    let mut out = Writer(Zeroizing::new(Vec::with_capacity(RECORD_OCTETS_EXPECTED)));
    let kind = match content {
        ContentRef::Bond(_) => 1,
        ContentRef::Removal => 2,
        ContentRef::Adapter { .. } => 3,
        ContentRef::Seal(_) => 4,
        ContentRef::Header => 5,
    };
    out.0.extend_from_slice(&[VERSION, kind]);
    out.0.extend_from_slice(&generation.to_le_bytes());
    out.0.extend_from_slice(&adapter.map_or([0; ADDRESS_OCTETS], AdapterAddress::to_wire));
    match content {
        ContentRef::Bond(bond) => out.bond(bond),
        ContentRef::Adapter { record, revision } => out.adapter(record, revision),
        ContentRef::Seal(seal) => out.seal(seal),
        ContentRef::Removal | ContentRef::Header => {}
    }
    let check = check(key, &out.0);
    out.0.extend_from_slice(&check.to_le_bytes());
    out.0
}

/// What is encoded, borrowed.
#[derive(Clone, Copy)]
pub(super) enum ContentRef<'a> {
    Bond(&'a Bond),
    Removal,
    Adapter { record: &'a AdapterRecord, revision: u64 },
    Seal(Seal),
    Header,
}

/// Decodes the record of a key. `peer` is the one that the key names, where it names one.
pub(super) fn decode(
    adapter: Option<AdapterAddress>,
    key: &[u8],
    bytes: &[u8],
) -> Result<Record, RecordError> {
    let checked = bytes.len().checked_sub(CHECK_OCTETS).filter(|end| *end >= HEAD_OCTETS);
    let (body, stated) = bytes.split_at(checked.ok_or(RecordError::Short)?);
    if stated != check(key, body).to_le_bytes() {
        return Err(RecordError::Check);
    }
    let (head, fields) = body.split_at(HEAD_OCTETS);
    if head[0] != VERSION {
        return Err(RecordError::Version(head[0]));
    }
    if head[10..] != adapter.map_or([0; ADDRESS_OCTETS], AdapterAddress::to_wire) {
        return Err(RecordError::Adapter);
    }
    let generation = u64::from_le_bytes(take(&head[2..10]).ok_or(RecordError::Short)?);
    let content = match head[1] {
        1 => Content::Bond(Arc::new(bond(peer_of_key(key).ok_or(RecordError::Adapter)?, fields)?)),
        2 => Content::Removal,
        3 => {
            let (record, revision) = adapter_record(fields)?;
            Content::Adapter { record: Box::new(record), revision }
        }
        4 => Content::Seal(seal(fields)?),
        5 => Content::Header,
        other => return Err(RecordError::Kind(other)),
    };
    Ok(Record { generation, content })
}

fn check(key: &[u8], body: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(key);
    hash.update(body);
    hash.finalize()
}

/// Tags of the fields; never given a second meaning.
mod tag {
    pub const LTK: u8 = 1;
    pub const IRK: u8 = 2;
    pub const CSRK_LOCAL: u8 = 3;
    pub const CSRK_REMOTE: u8 = 4;
    pub const LINK_KEY: u8 = 5;
    pub const PARAMETERS: u8 = 6;
    pub const NAME: u8 = 7;
    pub const CUSTODY: u8 = 8;
    pub const SOURCE: u8 = 9;
    pub const CREATED: u8 = 10;
    pub const UPDATED: u8 = 11;
    pub const SEEN: u8 = 12;
    pub const ALIAS: u8 = 13;
    pub const USER_WORD: u8 = 14;
    pub const SERVICES: u8 = 15;
    pub const BREDR_SERVICES: u8 = 16;
    pub const ROLE_PREFERENCE: u8 = 17;
    pub const IDENTIFIER: u8 = 18;
    pub const MANAGER: u8 = 19;
    pub const IRK_SECURITY: u8 = 20;
    pub const CSRK_SECURITY: u8 = 21;
    pub const LINK_KEY_SIZE: u8 = 22;
    /// Of a bond or an adapter; as many as there are items.
    pub const OPAQUE: u8 = 23;
    pub const ORPHANED: u8 = 24;
    pub const OUTDATED: u8 = 25;

    pub const MODE: u8 = 32;
    pub const INDEX: u8 = 33;
    pub const BOOT: u8 = 34;
    pub const INODE: u8 = 35;
    pub const LOADED_GENERATION: u8 = 36;
    pub const LOADED_AT: u8 = 37;
    pub const LOCAL_IDENTITY: u8 = 38;
    pub const UNDO: u8 = 39;
    /// As many as there are bonds with evidence.
    pub const HEALTH: u8 = 40;
    pub const IDENTITY_HELD: u8 = 41;
    pub const BLUETOOTHD: u8 = 42;
    pub const REVISION: u8 = 43;

    pub const SEAL: u8 = 48;
}

struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn field(&mut self, tag: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(length <= usize::from(u16::MAX));
        self.0.push(tag);
        self.0.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        for part in parts {
            self.0.extend_from_slice(part);
        }
    }

    fn text(&mut self, tag: u8, text: &str) {
        // The engine keeps large values in files of their own, which it is known to leak.
        self.field(tag, &[shortened(text).as_bytes()]);
    }

    fn number(&mut self, tag: u8, number: u64) {
        self.field(tag, &[&number.to_le_bytes()]);
    }

    fn csrk(&mut self, tag: u8, csrk: &Csrk) {
        let authenticated = csrk.authenticated.map_or(2, u8::from);
        let counter = csrk.counter.map(u64::to_le_bytes);
        let counter = counter.as_ref().map_or(&[][..], |octets| &octets[..]);
        self.field(tag, &[csrk.key.expose(), &[authenticated], counter]);
    }

    fn bond(&mut self, bond: &Bond) {
        for ltk in bond.ltks() {
            let head = [ltk.key_type.code(), ltk.central_flag(), ltk.encryption_size.octets()];
            self.field(tag::LTK, &[&head, &ltk.ediv.to_le_bytes(), &ltk.rand, ltk.key.expose()]);
        }
        if let Some(irk) = &bond.irk {
            self.field(tag::IRK, &[irk.key.expose()]);
        }
        if let Some(csrk) = &bond.csrk_local {
            self.csrk(tag::CSRK_LOCAL, csrk);
        }
        if let Some(csrk) = &bond.csrk_remote {
            self.csrk(tag::CSRK_REMOTE, csrk);
        }
        if let Some(key) = &bond.link_key {
            self.field(
                tag::LINK_KEY,
                &[key.key.expose(), &[key.key_type.code(), key.pin_length.unwrap_or(PIN_UNKNOWN)]],
            );
        }
        if let Some(wanted) = bond.connection_parameters {
            let numbers =
                [wanted.min_interval, wanted.max_interval, wanted.latency, wanted.supervision_timeout];
            let octets = numbers.map(u16::to_le_bytes);
            self.field(tag::PARAMETERS, &[octets.as_flattened()]);
        }
        let metadata = &bond.metadata;
        if let Some(name) = &metadata.name {
            self.text(tag::NAME, name);
        }
        self.text(tag::CUSTODY, metadata.custody.as_str());
        self.text(tag::SOURCE, metadata.source.as_str());
        self.number(tag::CREATED, metadata.created_at.0);
        self.number(tag::UPDATED, metadata.updated_at.0);
        if let Some(seen) = metadata.last_seen_at {
            self.number(tag::SEEN, seen.0);
        }
        if let Some(details) = &metadata.details {
            self.details(details);
        }
    }

    fn adapter(&mut self, record: &AdapterRecord, revision: u64) {
        self.number(tag::REVISION, revision);
        if let Some(mode) = record.mode {
            self.text(tag::MODE, mode.as_str());
        }
        if let Some(name) = &record.name {
            self.text(tag::NAME, name);
        }
        if let Some(index) = record.last_index {
            self.number(tag::INDEX, u64::from(index));
        }
        if let Some(load) = &record.last_load {
            self.text(tag::BOOT, &load.appearance.boot_id);
            self.number(tag::INODE, load.appearance.inode);
            self.number(tag::LOADED_GENERATION, load.generation);
            self.number(tag::LOADED_AT, load.at.0);
        }
        if let Some(instance) = &record.bluetoothd {
            self.text(tag::BLUETOOTHD, instance);
        }
        if let Some(identity) = &record.local_identity {
            self.local_identity(identity);
        }
        if let Some(held) = &record.identity_held {
            self.identity_held(held);
        }
        self.opaque(&record.opaque);
        if let Some(point) = &record.undo {
            self.undo_point(point);
        }
        for (peer, track) in &record.health {
            self.track(*peer, track);
        }
    }

    fn seal(&mut self, seal: Seal) {
        let numbers = [seal.bond_count, seal.removal_count, seal.stamps].map(u32::to_le_bytes);
        self.field(tag::SEAL, &[numbers.as_flattened()]);
    }
}

/// The fields of a record, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u8, &'a [u8]), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let taken = rest
            .split_at_checked(2)
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_le_bytes(take(length)?))));
        let Some((field, rest)) = taken else {
            self.0 = &[];
            return Some(Err(RecordError::Field(tag)));
        };
        self.0 = rest;
        Some(Ok((tag, field)))
    }
}

fn take<const N: usize>(octets: &[u8]) -> Option<[u8; N]> {
    octets.try_into().ok()
}

fn number(octets: &[u8]) -> Option<u64> {
    take(octets).map(u64::from_le_bytes)
}

fn text(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets).ok()
}

fn key(octets: &[u8]) -> Option<KeyMaterial> {
    KeyMaterial::new(take(octets)?).ok()
}

fn bond(peer: PeerAddress, fields: &[u8]) -> Result<Bond, RecordError> {
    let metadata = BondMetadata::new(Custody::Ours, Source::Captured, UnixMillis(0));
    let mut bond = Bond::new(peer, metadata);
    let mut known = PeerDetails::default();
    for field in Reader(fields) {
        let (tag, octets) = field?;
        bond_field(&mut bond, tag, octets).ok_or(RecordError::Field(tag))?;
        details::field(&mut known, tag, octets).ok_or(RecordError::Field(tag))?;
    }
    bond.metadata.details = known.boxed();
    Ok(bond)
}

fn bond_field(bond: &mut Bond, tag: u8, octets: &[u8]) -> Option<()> {
    match tag {
        tag::LTK => drop(bond.put_ltk(ltk(octets)?)),
        tag::IRK => bond.irk = Some(Irk { key: key(octets)? }),
        tag::CSRK_LOCAL => bond.csrk_local = Some(csrk(octets)?),
        tag::CSRK_REMOTE => bond.csrk_remote = Some(csrk(octets)?),
        tag::LINK_KEY => {
            let (value, rest) = octets.split_at_checked(16)?;
            let [kind, pin_length] = take(rest)?;
            let pin_length = Some(pin_length).filter(|length| *length != PIN_UNKNOWN);
            let key_type = LinkKeyType::from_code(kind).ok()?;
            bond.link_key = Some(LinkKey { key: key(value)?, key_type, pin_length });
        }
        tag::PARAMETERS => {
            let octets: [u8; 8] = take(octets)?;
            let at = |at: usize| u16::from_le_bytes([octets[at], octets[at + 1]]);
            bond.connection_parameters = Some(ConnectionParameters {
                min_interval: at(0),
                max_interval: at(2),
                latency: at(4),
                supervision_timeout: at(6),
            });
        }
        tag::NAME => bond.metadata.name = Some(text(octets)?.to_owned()),
        tag::CUSTODY => bond.metadata.custody = Custody::from_word(text(octets)?)?,
        tag::SOURCE => bond.metadata.source = Source::from_word(text(octets)?)?,
        tag::CREATED => bond.metadata.created_at = UnixMillis(number(octets)?),
        tag::UPDATED => bond.metadata.updated_at = UnixMillis(number(octets)?),
        tag::SEEN => bond.metadata.last_seen_at = Some(UnixMillis(number(octets)?)),
        _ => {}
    }
    Some(())
}

fn ltk(octets: &[u8]) -> Option<Ltk> {
    let octets: &[u8; 29] = octets.try_into().ok()?;
    let key_type = KeyType::from_code(octets[0]).ok()?;
    let role = Role::from_central_flag(octets[1]).ok()?;
    let size = EncryptionSize::new(octets[2]).ok()?;
    let ediv = u16::from_le_bytes([octets[3], octets[4]]);
    Some(Ltk::new(key_type, role, size, ediv, take(&octets[5..13])?, key(&octets[13..])?))
}

fn csrk(octets: &[u8]) -> Option<Csrk> {
    let (value, rest) = octets.split_at_checked(16)?;
    let (authenticated, counter) = rest.split_first()?;
    Some(Csrk {
        key: key(value)?,
        authenticated: match authenticated {
            0 => Some(false),
            1 => Some(true),
            2 => None,
            _ => return None,
        },
        counter: if counter.is_empty() { None } else { Some(number(counter)?) },
    })
}

/// A record and its revision; 0 where a release has written it that counted none.
fn adapter_record(fields: &[u8]) -> Result<(AdapterRecord, u64), RecordError> {
    let (mut record, mut revision) = (AdapterRecord::default(), 0);
    let appearance = Appearance { boot_id: String::new(), inode: 0 };
    let mut load = LoadRecord { appearance, generation: 0, at: UnixMillis(0) };
    let mut loaded = false;
    for field in Reader(fields) {
        let (tag, octets) = field?;
        let bad = RecordError::Field(tag);
        match tag {
            tag::REVISION => revision = number(octets).ok_or(bad)?,
            tag::MODE => record.mode = Some(text(octets).and_then(Mode::from_word).ok_or(bad)?),
            tag::NAME => record.name = Some(text(octets).ok_or(bad)?.to_owned()),
            tag::INDEX => {
                let index = number(octets).and_then(|index| u16::try_from(index).ok());
                record.last_index = Some(index.ok_or(bad)?);
            }
            tag::BOOT => {
                text(octets).ok_or(bad)?.clone_into(&mut load.appearance.boot_id);
                loaded = true;
            }
            tag::INODE => load.appearance.inode = number(octets).ok_or(bad)?,
            tag::LOADED_GENERATION => load.generation = number(octets).ok_or(bad)?,
            tag::LOADED_AT => load.at = UnixMillis(number(octets).ok_or(bad)?),
            tag::BLUETOOTHD => record.bluetoothd = Some(text(octets).ok_or(bad)?.to_owned()),
            tag::HEALTH => {
                let (peer, track) = health::read(octets).ok_or(bad)?;
                record.health.insert(peer, track);
            }
            tag::UNDO => record.undo = Some(undo::read(octets).ok_or(bad)?),
            _ => details::adapter_field(&mut record, tag, octets).ok_or(bad)?,
        }
    }
    record.last_load = loaded.then_some(load);
    Ok((record, revision))
}

fn seal(fields: &[u8]) -> Result<Seal, RecordError> {
    let bad = RecordError::Field(tag::SEAL);
    for field in Reader(fields) {
        let (tag, octets) = field?;
        if tag == tag::SEAL {
            let octets: [u8; 12] = take(octets).ok_or(bad)?;
            let at =
                |at: usize| u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
            return Ok(Seal { bond_count: at(0), removal_count: at(4), stamps: at(8) });
        }
    }
    Err(bad)
}

#[cfg(test)]
mod tests;
