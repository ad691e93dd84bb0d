//! The documents that describe adapters and bonds, and the events about them.
//!
//! Every key is always there, null where nothing is known: clients read them with templates that
//! warn about a missing key at each message.

use std::collections::BTreeMap;

use serde::Serialize;

use super::limits::{BONDS_TOPIC_MAX, EVENT_PEERS_MAX, REPORT_LINES_MAX};
use super::rfc3339::rfc3339;
use crate::bond::health::Evidence;
use crate::bond::{
    Bond, Fingerprint, Health, LinkKey, Ltk, LtkSlot, PeerAddress, PeerAddressType, Role, UnixMillis,
};

/// `adapter/<address>/state`.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterStateDto {
    pub address: String,
    pub address_type: &'static str,
    pub name: Option<String>,
    /// `hci0`: a hint for people.
    pub index: Option<String>,
    pub present: bool,
    pub powered: Option<bool>,
    pub mode: &'static str,
    pub gate: GateDto,
    /// Null where it cannot be seen who else is there.
    pub managers: Option<Vec<String>>,
    pub listeners: Option<Vec<String>>,
    pub sync: &'static str,
    pub bond_count: usize,
    pub ours: usize,
    pub foreign: usize,
    pub orphaned: usize,
    pub suspect: usize,
    pub generation: u64,
    pub persisted_generation: u64,
    pub last_persisted: Option<String>,
    pub last_loaded: Option<String>,
    pub last_error: Option<String>,
    pub local_identity: LocalIdentityDto,
    pub drift: DriftDto,
}

/// Whether the kernel's tables are what they should be.
#[derive(Debug, Clone, Serialize)]
pub struct DriftDto {
    /// `in_agreement`, `drifted` or `unknown`.
    pub state: &'static str,
    /// Why it is not known: a word for programs.
    pub reason: Option<&'static str>,
    /// By its name, each list with a difference; null unless drifted.
    pub lists: Option<BTreeMap<&'static str, ListDriftDto>>,
    pub peer_count: usize,
    /// The first of them.
    pub peers: Vec<PeerDto>,
}

/// Records of one list.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ListDriftDto {
    /// That the kernel should hold and does not.
    pub missing: usize,
    /// That it holds and nobody was seen to put there.
    pub unseen: usize,
    /// In whose place it holds others.
    pub different: usize,
}

/// What is known of the adapter's own identity. There is no field for its key, and there must never be one.
#[derive(Debug, Clone, Serialize)]
pub struct LocalIdentityDto {
    /// `unknown`, `stored`, `off`, `in_force` or `not_restored`.
    pub state: &'static str,
    pub fingerprint: Option<String>,
    /// `off`, `on` or `limited`; null where that is not known.
    pub privacy: Option<&'static str>,
    pub restored_at: Option<String>,
    /// Why it was not restored: a word for programs.
    pub reason: Option<&'static str>,
    pub message: Option<String>,
    pub advice: Option<String>,
}

/// What the gate says, and what the user can do about it.
#[derive(Debug, Clone, Serialize)]
pub struct GateDto {
    pub state: &'static str,
    /// A word for programs.
    pub reason: Option<&'static str>,
    /// The same for people.
    pub message: Option<String>,
    pub advice: Option<String>,
}

/// A peer where nothing more than its name is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerDto {
    pub peer: String,
    pub address_type: &'static str,
}

impl PeerDto {
    pub fn of(peer: PeerAddress) -> Self {
        Self { peer: peer.to_string(), address_type: peer.kind().as_str() }
    }
}

/// The first of many peers.
pub fn first_peers(peers: impl IntoIterator<Item = PeerAddress>, count_max: usize) -> Vec<PeerDto> {
    peers.into_iter().take(count_max).map(PeerDto::of).collect()
}

/// One bond. There is no field for key octets, and there must never be one.
#[derive(Debug, Clone, Serialize)]
pub struct BondDto {
    pub peer: String,
    pub address_type: &'static str,
    pub name: Option<String>,
    pub custody: &'static str,
    pub source: &'static str,
    /// Foreign, and its manager has loaded its list without it.
    pub orphaned: bool,
    /// Name of the process that loads it, where it was learned or captured beside one.
    pub manager: Option<String>,
    pub keys: KeysDto,
    pub fingerprint: String,
    /// Null where it is not known.
    pub loaded: Option<bool>,
    pub durable: bool,
    pub health: &'static str,
    /// Why, the oldest first.
    pub evidence: Vec<EvidenceDto>,
    pub created_at: String,
    pub updated_at: String,
    pub last_seen_at: Option<String>,
}

/// What was seen of a bond's keys.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceDto {
    /// `key_missing`, `key_mismatch`, `encrypted` or `new_key`.
    pub kind: &'static str,
    pub at: String,
}

/// Which keys a bond has, and of what kind.
#[derive(Debug, Clone, Serialize)]
pub struct KeysDto {
    pub ltk: Vec<LtkDto>,
    pub irk: bool,
    pub csrk_local: bool,
    pub csrk_remote: bool,
    pub link_key: Option<LinkKeyDto>,
    pub connection_parameters: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct LtkDto {
    pub role: &'static str,
    pub key_type: &'static str,
    pub encryption_size: u8,
    pub authenticated: bool,
    pub secure_connections: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct LinkKeyDto {
    pub key_type: &'static str,
}

/// What is known of a bond beyond what it holds itself.
#[derive(Debug, Clone, Copy)]
pub struct BondFacts<'a> {
    pub fingerprint: Fingerprint,
    pub loaded: Option<bool>,
    pub durable: bool,
    pub health: Health,
    pub evidence: &'a [Evidence],
    /// Later than what the bond itself says, where it is known.
    pub last_seen_at: Option<UnixMillis>,
}

impl BondDto {
    pub fn of(bond: &Bond, facts: BondFacts<'_>) -> Self {
        let metadata = &bond.metadata;
        Self {
            peer: bond.peer.to_string(),
            address_type: bond_address_type(bond.peer, bond.is_bredr_only()),
            name: metadata.name.clone(),
            custody: metadata.custody.as_str(),
            source: metadata.source.as_str(),
            orphaned: bond.is_orphaned(),
            manager: metadata.details.as_ref().and_then(|details| details.manager.clone()),
            keys: KeysDto::of(bond),
            fingerprint: facts.fingerprint.to_string(),
            loaded: facts.loaded,
            durable: facts.durable,
            health: facts.health.as_str(),
            evidence: facts.evidence.iter().map(EvidenceDto::of).collect(),
            created_at: rfc3339(metadata.created_at),
            updated_at: rfc3339(metadata.updated_at),
            last_seen_at: facts.last_seen_at.or(metadata.last_seen_at).map(rfc3339),
        }
    }
}

/// `bredr` for a peer that is known over BR/EDR only.
pub const fn bond_address_type(peer: PeerAddress, bredr_only: bool) -> &'static str {
    match (peer.kind(), bredr_only) {
        (PeerAddressType::Public, true) => "bredr",
        (kind, _) => kind.as_str(),
    }
}

impl EvidenceDto {
    fn of(evidence: &Evidence) -> Self {
        Self { kind: evidence.kind.as_str(), at: rfc3339(evidence.at) }
    }
}

impl KeysDto {
    fn of(bond: &Bond) -> Self {
        Self {
            ltk: bond.ltks().iter().map(LtkDto::of).collect(),
            irk: bond.irk.is_some(),
            csrk_local: bond.csrk_local.is_some(),
            csrk_remote: bond.csrk_remote.is_some(),
            link_key: bond.link_key.as_ref().map(LinkKeyDto::of),
            connection_parameters: bond.connection_parameters.is_some(),
        }
    }
}

impl LtkDto {
    fn of(ltk: &Ltk) -> Self {
        Self {
            role: match ltk.slot() {
                LtkSlot::Legacy(Role::Central) => "central",
                LtkSlot::Legacy(Role::Peripheral) => "peripheral",
                LtkSlot::SecureConnections => "both",
            },
            key_type: ltk.key_type.as_str(),
            encryption_size: ltk.encryption_size.octets(),
            authenticated: ltk.key_type.is_authenticated(),
            secure_connections: ltk.key_type.is_secure_connections(),
        }
    }
}

impl LinkKeyDto {
    fn of(key: &LinkKey) -> Self {
        Self { key_type: key.key_type.as_str() }
    }
}

/// `adapter/<address>/bonds`.
#[derive(Debug, Clone, Serialize)]
pub struct BondListDto {
    pub generation: u64,
    pub bond_count: usize,
    pub truncated: bool,
    pub bonds: Vec<BondDto>,
}

impl BondListDto {
    /// Takes the first [`BONDS_TOPIC_MAX`] of `bonds`.
    pub fn of(generation: u64, bonds: impl ExactSizeIterator<Item = BondDto>) -> Self {
        let bond_count = bonds.len();
        Self {
            generation,
            bond_count,
            truncated: bond_count > BONDS_TOPIC_MAX,
            bonds: bonds.take(BONDS_TOPIC_MAX).collect(),
        }
    }
}

/// `adapter/<address>/event`.
#[derive(Debug, Clone, Serialize)]
pub struct AdapterEventDto {
    pub event_type: &'static str,
    pub at: String,
    pub adapter: String,
    pub peer: Option<String>,
    /// Of the peer: `public`, `random` or `bredr`.
    pub address_type: Option<&'static str>,
    pub bond: Option<BondDto>,
    pub cause: &'static str,
    pub data: EventDataDto,
    /// One more than the event before, of any adapter or the bridge, since the service started.
    pub seq: u64,
}

/// What an event carries besides its bond.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum EventDataDto {
    Restored(RestoredDto),
    Peers(PeersDto),
    Loaded {
        ltk_count: usize,
        irk_count: usize,
        link_key_count: usize,
    },
    Held {
        reason: String,
        advice: String,
    },
    Identity(IdentityDto),
    Drift {
        lists: BTreeMap<&'static str, ListDriftDto>,
        peer_count: usize,
        peers: Vec<PeerDto>,
        reloaded: bool,
    },
    None {},
}

/// The adapter's own identity was seen, or put back.
#[derive(Debug, Clone, Serialize)]
pub struct IdentityDto {
    pub fingerprint: String,
    pub privacy: Option<&'static str>,
    /// Who has set it; null where we have.
    pub manager: Option<String>,
}

/// What a restore, an import or an adoption did.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredDto {
    pub added_count: usize,
    pub replaced_count: usize,
    pub lost_count: usize,
    pub adopted_count: usize,
    /// The first of them all.
    pub peers: Vec<PeerDto>,
}

impl RestoredDto {
    pub fn of(
        added: &[PeerAddress],
        replaced: &[PeerAddress],
        lost: &[PeerAddress],
        adopted: &[PeerAddress],
    ) -> Self {
        let all = added.iter().chain(replaced).chain(lost).chain(adopted).copied();
        Self {
            added_count: added.len(),
            replaced_count: replaced.len(),
            lost_count: lost.len(),
            adopted_count: adopted.len(),
            peers: first_peers(all, EVENT_PEERS_MAX),
        }
    }
}

/// Peers in an answer: the count is whole, the list may be cut.
#[derive(Debug, Clone, Serialize)]
pub struct PeersDto {
    pub count: usize,
    pub peers: Vec<PeerDto>,
}

impl PeersDto {
    pub fn of(peers: &[PeerAddress]) -> Self {
        Self { count: peers.len(), peers: first_peers(peers.iter().copied(), REPORT_LINES_MAX) }
    }

    /// As an event carries them.
    pub fn first(peers: &[PeerAddress]) -> Self {
        Self { count: peers.len(), peers: first_peers(peers.iter().copied(), EVENT_PEERS_MAX) }
    }
}

/// A time that may not have come.
pub fn moment(at: Option<UnixMillis>) -> Option<String> {
    at.map(rfc3339)
}
