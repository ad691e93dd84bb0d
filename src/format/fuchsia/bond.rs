//! One record → one bond.

use zeroize::Zeroizing;

use super::CODEC;
use crate::bond::details::SERVICES_MAX;
use crate::bond::{
    AdapterAddress, ConnectionParameters, Csrk, EncryptionSize, KeyMaterial, KeySecurity, KeyType, LinkKey,
    LinkKeyType, Ltk, PeerAddressType, Role, RolePreference, ServiceUuid, UnixMillis,
};
use crate::format::check::{self, NamedPeer};
use crate::format::draft::Draft;
use crate::format::json::{Bad, Fields, Json};
use crate::format::report::PeerReport;

const BOND_FIELDS: [&str; 7] =
    ["identifier", "address", "identityAddress", "hostAddress", "name", "le", "bredr"];
const LE_FIELDS: [&str; 6] = ["connectionParameters", "peerLtk", "localLtk", "irk", "peerIrk", "csrk"];
const BREDR_FIELDS: [&str; 3] = ["rolePreference", "linkKey", "services"];

/// What a generation of the service wrote that is not read.
const OLD_GENERATION: &str = "is of the form that Fuchsia wrote in 2018 and 2019, which is not read";

pub(super) fn read_bond(
    json: &Json,
    fields: &Fields<'_>,
    host: AdapterAddress,
    now: UnixMillis,
) -> Result<Draft, Bad> {
    let (named, by_document) = peer(fields)?;
    let mut draft = Draft::new(Some(host), named, now);
    if by_document {
        draft.report.assume("address", "the field identityAddress is read as address");
    }
    draft.details.identifier = Some(fields.required("identifier", |json| match json {
        Json::Text(_) => Err(Bad::new(OLD_GENERATION)),
        json => json.as_integer::<u64>(),
    })?);
    draft.bond.metadata.name = fields.optional("name", check::name)?;
    let le = fields.optional("le", |json| read_le(json, &mut draft))?;
    let bredr = fields.optional("bredr", |json| read_bredr(json, &mut draft))?;
    if le.is_none() && bredr.is_none() {
        return Err(Bad::new("has neither le nor bredr: data of a transport is required"));
    }
    keep_unknown(json, "", &BOND_FIELDS, &mut draft);
    Ok(draft)
}

/// The peer, and whether its field has the name of the published description.
fn peer(fields: &Fields<'_>) -> Result<(NamedPeer, bool), Bad> {
    let read = |json: &Json| {
        let (octets, kind) = address(json)?;
        check::named_peer(octets, kind).map_err(|bad| bad.in_field("value"))
    };
    match (fields.optional("address", read)?, fields.optional("identityAddress", read)?) {
        (Some(one), Some(other)) if one.peer != other.peer || one.private != other.private => {
            Err(Bad::new("is another than address").in_field("identityAddress"))
        }
        (Some(named), _) => Ok((named, false)),
        (None, Some(named)) => Ok((named, true)),
        (None, None) => Err(Bad::new("is missing").in_field("address")),
    }
}

pub(super) fn address(json: &Json) -> Result<([u8; 6], PeerAddressType), Bad> {
    if matches!(json, Json::Text(_)) {
        return Err(Bad::new(OLD_GENERATION));
    }
    let fields = json.as_fields()?;
    if let Some(name) = fields.unknown(&["type", "value"]).next() {
        return Err(Bad::new("does not belong to an address").in_field(name));
    }
    let kind = fields.required("type", |json| match json.as_text()? {
        "public" => Ok(PeerAddressType::Public),
        "random" => Ok(PeerAddressType::StaticRandom),
        _ => Err(Bad::new("is neither public nor random")),
    })?;
    Ok((fields.required("value", octets::<6>)?, kind))
}

/// A list of exactly `N` numbers up to 255.
pub(super) fn octets<const N: usize>(json: &Json) -> Result<[u8; N], Bad> {
    let list = json.as_list()?;
    if list.len() != N {
        return Err(Bad::new(format!("is not a list of {N} numbers")));
    }
    let mut octets = [0; N];
    for (at, (octet, item)) in octets.iter_mut().zip(list).enumerate() {
        *octet = item.as_integer().map_err(|bad| bad.in_item(at))?;
    }
    Ok(octets)
}

fn read_le(json: &Json, draft: &mut Draft) -> Result<(), Bad> {
    let fields = json.as_fields()?;
    draft.bond.connection_parameters = fields.optional("connectionParameters", |json| {
        let fields = json.as_fields()?;
        let interval = fields.required("connectionInterval", Json::as_integer)?;
        Ok(ConnectionParameters {
            min_interval: interval,
            max_interval: interval,
            latency: fields.required("connectionLatency", Json::as_integer)?,
            supervision_timeout: fields.required("supervisionTimeout", Json::as_integer)?,
        })
    })?;
    let theirs = fields.optional("peerLtk", |json| read_ltk(json, Role::Central, &mut draft.report))?;
    let ours = fields.optional("localLtk", |json| read_ltk(json, Role::Peripheral, &mut draft.report))?;
    let is_secure = |ltk: &Option<Ltk>| ltk.as_ref().is_some_and(|ltk| ltk.key_type.is_secure_connections());
    if is_secure(&theirs) && is_secure(&ours) && theirs != ours {
        let reason = "is another Secure Connections key than peerLtk, where one serves both roles";
        return Err(Bad::new(reason).in_field("localLtk"));
    }
    // A Secure Connections key stands in both places and is one key.
    let ours = ours.filter(|ours| theirs.as_ref() != Some(ours));
    draft.put_ltks(theirs.into_iter().chain(ours));
    for name in ["irk", "peerIrk"] {
        let read = fields.optional(name, |json| {
            let (octets, security) = read_key(json, &mut draft.report)?;
            Ok((check::irk(octets).map_err(|bad| bad.in_field("value"))?, security))
        })?;
        let Some((irk, security)) = read else { continue };
        if draft.bond.irk.as_ref().is_some_and(|known| *known != irk) {
            return Err(Bad::new("is another than irk").in_field(name));
        }
        if name != "irk" {
            draft.report.assume("irk", "the field peerIrk is read as irk");
        }
        draft.bond.irk = Some(irk);
        draft.details.irk_security = Some(security);
    }
    if let Some((octets, security)) = fields.optional("csrk", |json| read_key(json, &mut draft.report))? {
        let key = KeyMaterial::new(octets).map_err(|error| Bad::new(error).in_field("csrk.value"))?;
        draft.bond.csrk_remote =
            Some(Csrk { key, authenticated: Some(security.authenticated), counter: None });
        draft.details.csrk_security = Some(security);
    }
    keep_unknown(json, "le.", &LE_FIELDS, draft);
    Ok(())
}

fn read_ltk(json: &Json, role: Role, report: &mut PeerReport) -> Result<Ltk, Bad> {
    let fields = json.as_fields()?;
    let (octets, security) = fields.required("key", |json| read_key(json, report))?;
    let key = check::ltk(octets).map_err(|bad| bad.in_field("key.value"))?;
    let secure = security.secure_connections;
    if let Some(size) = fields.optional("keySize", Json::as_integer::<u8>)? {
        if size != security.encryption_size.octets() {
            return Err(Bad::new("is another than encryptionKeySize").in_field("keySize"));
        }
        report.assume("enc_size", "keySize says the same as encryptionKeySize, which counts");
    }
    let number = |name: &str| match fields.get(name) {
        None | Some(Json::Null) if secure => Ok(0),
        _ => fields.required(name, Json::as_integer::<u64>),
    };
    let ediv = u16::try_from(number("ediv")?)
        .map_err(|_| Bad::new("does not fit 16 bits without sign").in_field("ediv"))?;
    let rand = number("rand")?.to_le_bytes();
    if secure {
        check::no_diversifier(ediv, rand)?;
    } else if ediv == 0 && rand == [0; 8] {
        report.assume("ediv", "a legacy LTK with EDIV 0 and Rand 0 is taken as it stands");
    }
    let kind = match (secure, security.authenticated) {
        (false, false) => KeyType::LegacyUnauthenticated,
        (false, true) => KeyType::LegacyAuthenticated,
        (true, false) => KeyType::P256Unauthenticated,
        (true, true) => KeyType::P256Authenticated,
    };
    Ok(Ltk::new(kind, role, security.encryption_size, ediv, rand, key))
}

fn read_key(json: &Json, report: &mut PeerReport) -> Result<([u8; 16], KeySecurity), Bad> {
    let fields = json.as_fields()?;
    let mut found = None;
    for name in ["security", "securityProperties", "securityProperies"] {
        let Some(security) = fields.optional(name, read_security)? else { continue };
        if found.is_some() {
            return Err(Bad::new("stands beside another field of the same meaning").in_field(name));
        }
        if name != "security" {
            report.assume(
                "security",
                "the name of the published description, or of its examples, is read as security",
            );
        }
        found = Some(security);
    }
    let security = found.ok_or_else(|| Bad::new("is missing").in_field("security"))?;
    Ok((fields.required("value", octets::<16>)?, security))
}

fn read_security(json: &Json) -> Result<KeySecurity, Bad> {
    let fields = json.as_fields()?;
    Ok(KeySecurity {
        authenticated: fields.required("authenticated", Json::as_bool)?,
        secure_connections: fields.required("secureConnections", Json::as_bool)?,
        encryption_size: fields.required("encryptionKeySize", |json| {
            EncryptionSize::new(json.as_integer()?).map_err(Bad::new)
        })?,
    })
}

fn read_bredr(json: &Json, draft: &mut Draft) -> Result<(), Bad> {
    let fields = json.as_fields()?;
    draft.details.role_preference = fields.optional("rolePreference", |json| {
        RolePreference::from_word(json.as_text()?).ok_or_else(|| Bad::new("is neither leader nor follower"))
    })?;
    if let Some((octets, security)) = fields.optional("linkKey", |json| read_key(json, &mut draft.report))? {
        let key = KeyMaterial::new(octets).map_err(|error| Bad::new(error).in_field("linkKey.value"))?;
        let key_type = match (security.secure_connections, security.authenticated) {
            (false, false) => LinkKeyType::UnauthenticatedP192,
            (false, true) => LinkKeyType::AuthenticatedP192,
            (true, false) => LinkKeyType::UnauthenticatedP256,
            (true, true) => LinkKeyType::AuthenticatedP256,
        };
        if !security.secure_connections {
            draft.report.assume(
                "link_key_type",
                "keys of older kinds cannot be told from P-192 keys, which are assumed",
            );
        }
        draft.bond.link_key = Some(LinkKey { key, key_type, pin_length: None });
        draft.details.link_key_size = Some(security.encryption_size);
    }
    let services = fields.optional("services", |json| {
        json.as_list()?
            .iter()
            .enumerate()
            .map(|(at, json)| uuid(json).map_err(|bad| bad.in_item(at)))
            .collect()
    })?;
    let mut services: Vec<ServiceUuid> = services.unwrap_or_default();
    if services.len() > SERVICES_MAX {
        draft.report.drop("bredr_services", "more of them than are kept: the first are taken");
        services.truncate(SERVICES_MAX);
    }
    draft.details.bredr_services = services;
    keep_unknown(json, "bredr.", &BREDR_FIELDS, draft);
    Ok(())
}

/// `0000110a-0000-1000-8000-00805f9b34fb`
fn uuid(json: &Json) -> Result<ServiceUuid, Bad> {
    let bad = || Bad::new("is not a UUID of 128 bits");
    let text = json.as_text()?;
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    if lengths != [8, 4, 4, 4, 12] {
        return Err(bad());
    }
    let mut uuid = [0; 16];
    let digits = Zeroizing::new(text.replace('-', ""));
    hex::decode_to_slice(digits.as_bytes(), &mut uuid).map_err(|_| bad())?;
    Ok(uuid)
}

/// The service passes over fields that it does not know; they are kept under their path.
fn keep_unknown(json: &Json, path: &str, known: &[&str], draft: &mut Draft) {
    let Json::Object(fields) = json else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        match value.canonical() {
            Some(text) => draft.keep(CODEC.word, format!("{path}{name}"), text),
            None => draft.report.drop("opaque", "an unknown field that holds a number which is no integer"),
        }
    }
}
