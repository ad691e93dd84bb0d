//! The key store of the Bluetooth stack bumble (`JsonKeyStore`).
//!
//! Adapter → peer → keys, fields sorted, laid out with four spaces, no line end. An adapter is its
//! address, with `/P` behind it where it is public, or `__DEFAULT__`; a peer likewise. Octets are hexadecimal in management order.
//! [BUMBLE bumble/keys.py]
//!
//! | field | JSON | meaning |
//! |---|---|---|
//! | `address_type` | 0 to 3 | public, random, and the identity forms of both |
//! | `ltk` | key | Secure Connections |
//! | `ltk_central`, `ltk_peripheral` | key with `ediv`, `rand` | legacy |
//! | `irk` | key | |
//! | `csrk` | key | the peer's |
//! | `link_key`, `link_key_type` | key, 0 to 8 | BR/EDR |
//!
//! A key: `authenticated` boolean, `value` 32 digits, `ediv` 16 bits, `rand` 16 digits.
//!
//! bumble keeps no size of a key. After a legacy pairing that the peer began, it files the two LTKs the wrong way round,
//! and nothing in the file tells; so each import of a legacy key says what was assumed.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::draft::{Draft, refuse};
use super::json::{self, Bad, Fields, Json};
use super::report::{PeerReport, Report};
use super::{
    Codec, Content, ExportAdapter, ExportOptions, Exported, FOREIGN_OCTETS_MAX, FormatError, FormatId,
    ImportOptions, Imported, ImportedAdapter, Input, Probe, check,
};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{
    AdapterAddress, Bond, Csrk, EncryptionSize, KeyMaterial, KeySecurity, KeyType, LinkKey, LinkKeyType, Ltk,
    LtkSlot, PeerAddressType, Role,
};

/// Adapters of one file. A namespace stays behind for each controller that a store ever served.
const NAMESPACES_MAX: usize = 256;

/// The namespace of a store that was opened without one.
const DEFAULT_NAMESPACE: &str = "__DEFAULT__";

const PEER_FIELDS: [&str; 8] =
    ["address_type", "csrk", "irk", "link_key", "link_key_type", "ltk", "ltk_central", "ltk_peripheral"];

const CARRIES: [&str; 6] = ["ltk", "irk", "csrk_remote", "link_key", "csrk_authenticated", "irk_security"];

pub(super) const CODEC: Codec = Codec {
    word: "bumble",
    extension: "json",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[],
    export_options: &[],
    claims,
    import: Some(import),
    export,
};

/// An address of six octets, least significant first, and whether it is marked as public.
type Name = ([u8; 6], bool);

fn name(text: &str) -> Option<Name> {
    let (address, public) = text.strip_suffix("/P").map_or((text, false), |address| (address, true));
    address.parse::<AdapterAddress>().ok().map(|address| (address.to_wire(), public))
}

/// A name of the file as far as an error may repeat it.
fn shown(text: &str) -> &str {
    if name(text).is_some() || check::is_plain_word(text) { text } else { "(an odd name)" }
}

/// Objects by the names of adapters, in them objects by the addresses of peers.
fn claims(probe: &Probe<'_>) -> bool {
    let Probe::Json(Json::Object(namespaces)) = probe else { return false };
    namespaces.iter().all(|(namespace, peers)| {
        let named = name(namespace).is_some() || namespace == DEFAULT_NAMESPACE;
        let Json::Object(peers) = peers else { return false };
        named && peers.iter().all(|(peer, keys)| name(peer).is_some() && matches!(keys, Json::Object(_)))
    })
}

fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let json = json::parse(input.document(FormatId::Bumble)?, FOREIGN_OCTETS_MAX)?;
    let Json::Object(_) = &json else {
        let reason = "it is not an object of adapters";
        return Err(FormatError::WrongFormat { format: FormatId::Bumble, reason });
    };
    let namespaces = json.as_map(NAMESPACES_MAX)?;
    let mut imported = Imported::default();
    for (namespace, peers) in namespaces {
        match read_namespace(namespace, peers, namespaces.len() == 1, options, &mut imported) {
            Ok(adapter) => imported.adapters.push(adapter),
            Err(bad) => refuse(&mut imported.report, bad.in_field(shown(namespace))),
        }
    }
    Ok(imported)
}

fn read_namespace(
    namespace: &str,
    peers: &Json,
    is_only: bool,
    options: &ImportOptions,
    imported: &mut Imported,
) -> Result<ImportedAdapter, Bad> {
    let stated = name(namespace);
    if stated.is_none() && !check::is_plain_word(namespace) {
        return Err(Bad::new("is neither an adapter's address nor a plain name"));
    }
    if stated.is_some_and(|(_, public)| !public) {
        let note = format!(
            "the address of adapter {namespace} is a random one: an adapter of Linux must be given it"
        );
        imported.report.notes.push(note);
    }
    let address = match stated {
        Some((octets, _)) => Some(AdapterAddress::from_wire(octets).map_err(Bad::new)?),
        None => options.adapter_of(Some(namespace), is_only),
    };
    if address.is_some() && imported.adapters.iter().any(|earlier| earlier.address == address) {
        return Err(Bad::new("stands for an adapter that came before"));
    }
    let hint = stated.is_none().then(|| namespace.to_owned());
    let mut adapter = ImportedAdapter { address, hint, ..ImportedAdapter::default() };
    for (peer, keys) in peers.as_map(BONDS_PER_ADAPTER_MAX)? {
        let place = || Bad::new("").in_field(shown(peer)).in_field(shown(namespace)).place;
        match read_peer(peer, keys, address, options) {
            Ok(draft) => draft.settle(place, &mut adapter, &mut imported.report),
            Err(bad) => {
                refuse(&mut imported.report, bad.in_field(shown(peer)).in_field(shown(namespace)));
            }
        }
    }
    Ok(adapter)
}

fn read_peer(
    peer: &str,
    keys: &Json,
    adapter: Option<AdapterAddress>,
    options: &ImportOptions,
) -> Result<Draft, Bad> {
    let fields = keys.as_fields()?;
    let (octets, marked_public) = name(peer).ok_or_else(|| Bad::new("is not the address of a peer"))?;
    let stated = fields.optional("address_type", |json| match json.as_integer::<u8>()? {
        0 | 2 => Ok(PeerAddressType::Public),
        1 | 3 => Ok(PeerAddressType::StaticRandom),
        _ => Err(Bad::new("is none of 0 to 3")),
    })?;
    let by_mark = if marked_public { PeerAddressType::Public } else { PeerAddressType::StaticRandom };
    if stated.is_some_and(|stated| stated != by_mark) {
        return Err(Bad::new("says another type than the peer's name, which ends in /P where it is public")
            .in_field("address_type"));
    }
    let mut draft = Draft::new(adapter, check::named_peer(octets, by_mark)?, options.now);
    if stated.is_none() {
        draft.report.assume("address_type", "without a type, public is who has /P behind the address");
    }
    read_ltks(&fields, &mut draft)?;
    read_irk(&fields, &mut draft)?;
    draft.bond.csrk_remote = fields.optional("csrk", |json| {
        let (key, authenticated) = plain_key(json, &mut draft.report)?;
        let key = KeyMaterial::new(key).map_err(|error| Bad::new(error).in_field("value"))?;
        Ok(Csrk { key, authenticated: Some(authenticated), counter: None })
    })?;
    read_link_key(&fields, &mut draft)?;
    keep_unknown(keys, &mut draft);
    Ok(draft)
}

fn read_ltks(fields: &Fields<'_>, draft: &mut Draft) -> Result<(), Bad> {
    let mut ltks = Vec::new();
    let places =
        [("ltk_central", Some(Role::Central)), ("ltk_peripheral", Some(Role::Peripheral)), ("ltk", None)];
    for (place, role) in places {
        ltks.extend(fields.optional(place, |json| read_ltk(json, role, &mut draft.report))?);
    }
    if !ltks.is_empty() {
        draft.report.assume("enc_size", "bumble keeps no size of a key: 16 octets are taken");
    }
    draft.put_ltks(ltks);
    Ok(())
}

/// A legacy key of that role; without one, a key of Secure Connections.
fn read_ltk(json: &Json, role: Option<Role>, report: &mut PeerReport) -> Result<Ltk, Bad> {
    let (octets, authenticated) = plain_key(json, report)?;
    let key = check::ltk(octets).map_err(|bad| bad.in_field("value"))?;
    let fields = json.as_fields()?;
    let (size, integer) = (EncryptionSize::FULL, Json::as_integer::<u16>);
    let Some(role) = role else {
        let ediv = fields.optional("ediv", integer)?.unwrap_or_default();
        let rand = fields.optional("rand", check::octets::<8>)?.unwrap_or_default();
        check::no_diversifier(ediv, rand)?;
        let kind = if authenticated { KeyType::P256Authenticated } else { KeyType::P256Unauthenticated };
        return Ok(Ltk::new(kind, Role::Peripheral, size, 0, [0; 8], key));
    };
    report.assume(
        "role",
        "legacy LTKs stand under the role that bumble names; it names them the wrong way round where the peer began the pairing",
    );
    let kind = if authenticated { KeyType::LegacyAuthenticated } else { KeyType::LegacyUnauthenticated };
    let (ediv, rand) = (fields.required("ediv", integer)?, fields.required("rand", check::octets::<8>)?);
    Ok(Ltk::new(kind, role, size, ediv, rand, key))
}

fn read_irk(fields: &Fields<'_>, draft: &mut Draft) -> Result<(), Bad> {
    let Some((irk, authenticated)) = fields.optional("irk", |json| {
        let (octets, authenticated) = plain_key(json, &mut draft.report)?;
        Ok((check::irk(octets).map_err(|bad| bad.in_field("value"))?, authenticated))
    })?
    else {
        return Ok(());
    };
    draft.details.irk_security = Some(irk_security(&draft.bond, authenticated));
    draft.report.assume(
        "irk_security",
        "bumble keeps whether the IRK is authenticated; the rest of its security is that of the peer's LTK",
    );
    draft.bond.irk = Some(irk);
    Ok(())
}

/// bumble cannot say of a key that everybody knows it.
fn written(ltk: &Ltk) -> bool {
    ltk.key_type != KeyType::P256Debug
}

/// What is taken of an IRK of which only that is known.
fn irk_security(bond: &Bond, authenticated: bool) -> KeySecurity {
    KeySecurity {
        authenticated,
        secure_connections: bond
            .ltks()
            .iter()
            .any(|ltk| written(ltk) && ltk.key_type.is_secure_connections()),
        encryption_size: EncryptionSize::FULL,
    }
}

fn read_link_key(fields: &Fields<'_>, draft: &mut Draft) -> Result<(), Bad> {
    let stated = fields
        .optional("link_key_type", |json| LinkKeyType::from_code(json.as_integer()?).map_err(Bad::new))?;
    let read = fields.optional("link_key", |json| {
        let (octets, authenticated) = plain_key(json, &mut draft.report)?;
        let key = KeyMaterial::new(octets).map_err(|error| Bad::new(error).in_field("value"))?;
        Ok((key, authenticated))
    })?;
    let Some((key, authenticated)) = read else {
        if stated.is_some() {
            draft.report.drop("link_key_type", "there is no link key that it could be of");
        }
        return Ok(());
    };
    let key_type = stated.unwrap_or_else(|| {
        draft.report.assume("link_key_type", "without a type, it is a P-192 key");
        if authenticated { LinkKeyType::AuthenticatedP192 } else { LinkKeyType::UnauthenticatedP192 }
    });
    if is_authenticated(key_type) != authenticated {
        draft.report.assume("link_key_type", "the key's type counts, though `authenticated` says otherwise");
    }
    draft.bond.link_key = Some(LinkKey { key, key_type, pin_length: None });
    Ok(())
}

const fn is_authenticated(kind: LinkKeyType) -> bool {
    matches!(kind, LinkKeyType::AuthenticatedP192 | LinkKeyType::AuthenticatedP256)
}

/// The octets of a key and whether it is authenticated.
fn plain_key(json: &Json, report: &mut PeerReport) -> Result<([u8; 16], bool), Bad> {
    let fields = json.as_fields()?;
    if fields.get("value").is_some_and(|value| value.as_text() == Ok("")) {
        return Err(Bad::new("is empty: the peer gave none").in_field("value"));
    }
    if fields.unknown(&["authenticated", "ediv", "rand", "value"]).next().is_some() {
        report.drop("opaque", "a field of a key that bumble does not know");
    }
    let authenticated = fields.optional("authenticated", Json::as_bool)?.unwrap_or_else(|| {
        report.assume("authenticated", "missing is no, as bumble reads it");
        false
    });
    Ok((fields.required("value", check::octets::<16>)?, authenticated))
}

fn keep_unknown(keys: &Json, draft: &mut Draft) {
    let Json::Object(fields) = keys else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !PEER_FIELDS.contains(&name.as_str())) {
        match value.canonical() {
            Some(text) => draft.keep(CODEC.word, name.clone(), text),
            None => draft.report.drop("opaque", "an unknown field that holds a number which is no integer"),
        }
    }
}

fn export(adapters: &[ExportAdapter<'_>], _: &ExportOptions) -> Result<Exported, FormatError> {
    let mut report = Report::default();
    let mut namespaces = BTreeMap::new();
    for adapter in adapters {
        let mut peers = BTreeMap::new();
        for (bond, _) in adapter.entries() {
            let mut said = PeerReport::of_export(adapter.address, bond, CODEC.word, &CARRIES);
            let keys = write_peer(bond, &mut said);
            if said.taken.is_empty() {
                report.lost_peers.push(bond.peer);
            } else {
                let mark = if bond.peer.kind() == PeerAddressType::Public { "/P" } else { "" };
                peers.insert(format!("{}{mark}", bond.peer), keys);
            }
            report.peers.push(said);
        }
        report.note_adapter_losses(adapter, CODEC.word, &[]);
        namespaces.insert(format!("{}/P", adapter.named()?), object(peers));
    }
    let bytes = json::write(&object(namespaces), Some(b"    "))?;
    let bond_count = report.peers.len() - report.lost_peers.len();
    Ok(Exported { content: Content::Document(bytes), bond_count, report })
}

/// Fields in the order of their names.
fn object(fields: BTreeMap<String, Json>) -> Json {
    Json::Object(fields.into_iter().collect())
}

fn write_peer(bond: &Bond, report: &mut PeerReport) -> Json {
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, value: Json| fields.insert(name.to_owned(), value);
    put("address_type", Json::Integer(u64::from(bond.peer.kind() == PeerAddressType::StaticRandom)));
    for ltk in bond.ltks().iter().filter(|ltk| written(ltk)) {
        let place = match ltk.slot() {
            LtkSlot::Legacy(Role::Central) => "ltk_central",
            LtkSlot::Legacy(Role::Peripheral) => "ltk_peripheral",
            LtkSlot::SecureConnections => "ltk",
        };
        put(place, write_ltk(ltk));
        if ltk.encryption_size != EncryptionSize::FULL {
            report.drop("enc_size", "bumble keeps no size of a key and takes 16 octets");
        }
    }
    report.drop_debug_ltks(bond);
    let best = bond.ltks().iter().any(|ltk| ltk.key_type.is_authenticated());
    let details = bond.metadata.details.as_deref();
    if let Some(irk) = &bond.irk {
        let security = details.and_then(|details| details.irk_security);
        let authenticated = security.map_or(best, |security| security.authenticated);
        match security {
            None => report.assume("irk_security", "the IRK is as authenticated as the peer's best LTK"),
            Some(security) if security != irk_security(bond, authenticated) => {
                report.drop("irk_security", "only whether the IRK is authenticated is written");
            }
            Some(_) => {}
        }
        put("irk", write_key(irk.key.expose(), authenticated));
    }
    if let Some(csrk) = &bond.csrk_remote {
        if csrk.authenticated.is_none() {
            report.assume("csrk_authenticated", "the CSRK is as authenticated as the peer's best LTK");
        }
        put("csrk", write_key(csrk.key.expose(), csrk.authenticated.unwrap_or(best)));
    }
    if let Some(key) = &bond.link_key {
        put("link_key", write_key(key.key.expose(), is_authenticated(key.key_type)));
        put("link_key_type", Json::Integer(key.key_type.code().into()));
    }
    for item in details.iter().flat_map(|details| &details.opaque) {
        let known = item.format != CODEC.word || PEER_FIELDS.contains(&item.name.as_str());
        if let Some(value) = json::parse(&item.value, item.value.len()).ok().filter(|_| !known) {
            put(&item.name, value);
        }
    }
    object(fields)
}

fn write_key(octets: &[u8; 16], authenticated: bool) -> Json {
    Json::object([("authenticated", Json::Bool(authenticated)), ("value", Json::text(hex::encode(octets)))])
}

fn write_ltk(ltk: &Ltk) -> Json {
    let authenticated = ltk.key_type.is_authenticated();
    if ltk.slot() == LtkSlot::SecureConnections {
        return write_key(ltk.key.expose(), authenticated);
    }
    Json::object([
        ("authenticated", Json::Bool(authenticated)),
        ("ediv", Json::Integer(ltk.ediv.into())),
        ("rand", Json::text(hex::encode(ltk.rand))),
        ("value", Json::Text(Zeroizing::new(hex::encode(ltk.key.expose())))),
    ])
}

#[cfg(test)]
mod tests;
