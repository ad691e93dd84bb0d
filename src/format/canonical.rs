//! What an import found, in one plain form whatever the format was: for people, for comparisons
//! and for tests.
//!
//! ```json
//! {"adapters":[{"adapter":"00:1A:…","adapter_type":"public","local_irk":"…","peers":[
//!   {"address":"A4:C1:…","address_type":"public","ltks":[…],"irk":"…"}]}]}
//! ```
//!
//! Octets of keys are hexadecimal in the order of the management structures; what is not known is left out.
//! Unless the caller wants keys, [`Keys::Fingerprints`] stand for them.

use hmac::Mac;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{FormatError, Imported, ImportedAdapter};
use crate::bond::{
    Bond, ConnectionParameters, Csrk, FingerprintKey, KeyMaterial, LinkKey, Ltk, PeerDetails, ServiceUuid,
};

/// How keys are written.
#[derive(Clone, Copy)]
pub enum Keys<'a> {
    /// All octets.
    Revealed,
    /// `fingerprint:` and eight digits of a keyed hash: equal where the keys are.
    Fingerprints(&'a FingerprintKey),
}

/// A key or its stand-in; wiped on drop.
type Text = Zeroizing<String>;

#[derive(Serialize)]
struct DocumentDto {
    adapters: Vec<AdapterDto>,
}

#[derive(Serialize)]
struct AdapterDto {
    adapter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_irk: Option<Text>,
    peers: Vec<PeerDto>,
}

#[derive(Serialize)]
struct PeerDto {
    address: String,
    address_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    ltks: Vec<LtkDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    irk: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrk_local: Option<CsrkDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    csrk_remote: Option<CsrkDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_key: Option<LinkKeyDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_param: Option<ParametersDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trusted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bredr_services: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_preference: Option<&'static str>,
    /// Text, as it may be beyond what other programs take for an integer.
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<String>,
    /// The bond's number on a NimBLE device.
    #[serde(skip_serializing_if = "Option::is_none")]
    nimble_bond_count: Option<u16>,
}

#[derive(Serialize)]
struct LtkDto {
    key_type: u8,
    central: bool,
    enc_size: u8,
    ediv: u16,
    rand: String,
    value: Text,
}

#[derive(Serialize)]
struct CsrkDto {
    value: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counter: Option<u64>,
}

#[derive(Serialize)]
struct LinkKeyDto {
    value: Text,
    #[serde(rename = "type")]
    key_type: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_len: Option<u8>,
}

#[derive(Serialize)]
struct ParametersDto {
    min_interval: u16,
    max_interval: u16,
    latency: u16,
    timeout: u16,
}

/// Room to set aside for a peer, so that a buffer with keys need not grow and leave copies behind.
const PEER_OCTETS_EXPECTED: usize = 2_048;

/// Writes everything that was found, laid out for people.
pub fn write(imported: &Imported, keys: Keys<'_>) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let adapters: Vec<_> = imported.adapters.iter().map(|adapter| adapter_dto(adapter, keys)).collect();
    let peers: usize = adapters.iter().map(|adapter| adapter.peers.len()).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(PEER_OCTETS_EXPECTED * (peers + 1)));
    serde_json::to_writer_pretty(&mut *bytes, &DocumentDto { adapters }).map_err(|_| FormatError::Write)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Eight digits that are equal where two keys are, and mean nothing else.
pub fn key_fingerprint(key: &KeyMaterial, secret: &FingerprintKey) -> String {
    let mut hash = secret.hash(b"key");
    hash.update(key.expose());
    hex::encode(&hash.finalize().into_bytes()[..4])
}

fn text(key: &KeyMaterial, keys: Keys<'_>) -> Text {
    Zeroizing::new(match keys {
        Keys::Revealed => hex::encode(key.expose()),
        Keys::Fingerprints(secret) => format!("fingerprint:{}", key_fingerprint(key, secret)),
    })
}

fn adapter_dto(adapter: &ImportedAdapter, keys: Keys<'_>) -> AdapterDto {
    let mut peers: Vec<PeerDto> = Vec::new();
    for bond in &adapter.bonds {
        let address_type = if bond.is_bredr_only() { "bredr" } else { bond.peer.kind().as_str() };
        let superseded = adapter.superseded.iter().filter(|(peer, _)| *peer == bond.peer).map(|(_, ltk)| ltk);
        peers.push(peer_dto(bond, bond.peer.to_string(), address_type, superseded, keys));
    }
    for unusable in &adapter.unusable {
        peers.push(peer_dto(&unusable.stand_in, unusable.address.clone(), "random", [].iter(), keys));
    }
    AdapterDto {
        adapter: adapter.address.map(|address| address.to_string()).or_else(|| adapter.hint.clone()),
        adapter_type: adapter.address.map(|_| "public"),
        local_irk: adapter.local_identity.as_ref().map(|identity| text(&identity.irk.key, keys)),
        peers,
    }
}

fn peer_dto<'a>(
    bond: &'a Bond,
    address: String,
    address_type: &'static str,
    superseded: impl Iterator<Item = &'a Ltk>,
    keys: Keys<'_>,
) -> PeerDto {
    let none = PeerDetails::default();
    let details = bond.metadata.details.as_deref().unwrap_or(&none);
    PeerDto {
        address,
        address_type,
        name: bond.metadata.name.clone(),
        alias: details.alias.clone(),
        ltks: superseded.chain(bond.ltks()).map(|ltk| ltk_dto(ltk, keys)).collect(),
        irk: bond.irk.as_ref().map(|irk| text(&irk.key, keys)),
        csrk_local: bond.csrk_local.as_ref().map(|csrk| csrk_dto(csrk, keys)),
        csrk_remote: bond.csrk_remote.as_ref().map(|csrk| csrk_dto(csrk, keys)),
        link_key: bond.link_key.as_ref().map(|key| link_key_dto(key, keys)),
        conn_param: bond.connection_parameters.map(parameters_dto),
        trusted: details.trusted,
        blocked: details.blocked,
        services: details.services.iter().map(uuid_text).collect(),
        bredr_services: details.bredr_services.iter().map(uuid_text).collect(),
        role_preference: details.role_preference.map(crate::bond::RolePreference::as_str),
        identifier: details.identifier.map(|identifier| identifier.to_string()),
        nimble_bond_count: super::aioble::bond_count(bond),
    }
}

fn ltk_dto(ltk: &Ltk, keys: Keys<'_>) -> LtkDto {
    LtkDto {
        key_type: ltk.key_type.code(),
        central: ltk.central_flag() == 1,
        enc_size: ltk.encryption_size.octets(),
        ediv: ltk.ediv,
        rand: hex::encode(ltk.rand),
        value: text(&ltk.key, keys),
    }
}

fn csrk_dto(csrk: &Csrk, keys: Keys<'_>) -> CsrkDto {
    CsrkDto { value: text(&csrk.key, keys), authenticated: csrk.authenticated, counter: csrk.counter }
}

fn link_key_dto(key: &LinkKey, keys: Keys<'_>) -> LinkKeyDto {
    LinkKeyDto { value: text(&key.key, keys), key_type: key.key_type.code(), pin_len: key.pin_length }
}

const fn parameters_dto(parameters: ConnectionParameters) -> ParametersDto {
    ParametersDto {
        min_interval: parameters.min_interval,
        max_interval: parameters.max_interval,
        latency: parameters.latency,
        timeout: parameters.supervision_timeout,
    }
}

/// `0000180f-0000-1000-8000-00805f9b34fb`
pub(super) fn uuid_text(uuid: &ServiceUuid) -> String {
    let digits = hex::encode(uuid);
    let (a, rest) = digits.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::secure_bond;

    #[test]
    fn fingerprints_stand_for_keys_unless_they_are_asked_for() {
        let bonds = vec![secure_bond("C0:FF:EE:00:00:01", 1)];
        let adapters = vec![ImportedAdapter { bonds, ..ImportedAdapter::default() }];
        let imported = Imported { adapters, ..Imported::default() };
        let written = |keys| String::from_utf8(write(&imported, keys).unwrap().to_vec()).unwrap();
        let octets = "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a501";
        assert!(written(Keys::Revealed).contains(octets));
        let hidden = written(Keys::Fingerprints(&FingerprintKey::new([1; 32])));
        assert!(hidden.contains("\"value\": \"fingerprint:") && !hidden.contains("a5a5"), "{hidden}");
    }

    #[test]
    fn a_uuid_is_written_in_its_five_groups() {
        let mut uuid = [0; 16];
        hex::decode_to_slice("0000180f00001000800000805f9b34fb", &mut uuid).unwrap();
        assert_eq!(uuid_text(&uuid), "0000180f-0000-1000-8000-00805f9b34fb");
    }
}
