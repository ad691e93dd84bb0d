//! Bonds → records, in exactly the form that the service itself writes.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{BOND_RECORD, CODEC, FORM, HOST_RECORD, PART};
use crate::bond::{
    AdapterAddress, Bond, ConnectionParameters, EncryptionSize, KeySecurity, KeyType, LinkKey, LinkKeyType,
    Ltk, LtkSlot, PeerAddress, PeerAddressType, PeerDetails, Role, RolePreference,
};
use crate::format::canonical::uuid_text;
use crate::format::json::{self, Json};
use crate::format::report::{PeerReport, Report};
use crate::format::{Content, ExportAdapter, ExportOptions, Exported, FormatError, check};

const CARRIES: [&str; 13] = [
    "ltk",
    "irk",
    "csrk_remote",
    "link_key",
    "conn_param",
    "name",
    "bredr_services",
    "role_preference",
    "identifier",
    "irk_security",
    "csrk_security",
    "csrk_authenticated",
    "link_key_size",
];

/// The parts of which one makes a peer worth writing.
const KEYS: [&str; 4] = ["ltk", "irk", "csrk_remote", "link_key"];

pub(super) fn export(
    adapters: &[ExportAdapter<'_>],
    options: &ExportOptions,
) -> Result<Exported, FormatError> {
    let form = options.options.get(FORM.name);
    if options.options.get(PART.name) == Some("host") {
        return export_host(adapters, form);
    }
    let mut report = Report::default();
    let mut identifiers = Identifiers::of(adapters);
    let mut records: Vec<(u64, Json)> = Vec::new();
    for adapter in adapters {
        let address = adapter.named()?;
        for (bond, _) in adapter.entries() {
            let mut said = report_of(address, bond);
            if said.taken.iter().any(|part| KEYS.contains(part)) {
                let identifier = identifiers.identifier(address, bond, &mut said);
                records.push((identifier, write_bond(address, bond, identifier, &mut said)));
            } else {
                said.taken.clear();
                report.lost_peers.push(bond.peer);
            }
            report.peers.push(said);
        }
        report.note_adapter_losses(adapter, CODEC.word, &["local_irk"]);
        if adapter.record.local_identity.is_some() {
            let note = format!(
                "the local IRK of adapter {address} is not in the file: it is written by the option part=host"
            );
            report.notes.push(note);
        }
    }
    let bond_count = records.len();
    let json = match form {
        Some("object") => match records.pop() {
            Some((_, bond)) if records.is_empty() => bond,
            _ => return Err(form_error(format!("object holds one bond; {bond_count} were given"))),
        },
        Some("store") => store(adapters, records)?,
        _ => Json::List(records.into_iter().map(|(_, bond)| bond).collect()),
    };
    Ok(Exported { content: Content::Document(json::write(&json, None)?), bond_count, report })
}

fn form_error(reason: String) -> FormatError {
    FormatError::Option { name: FORM.name.to_owned(), reason }
}

/// The records by their names, each a text, and what else the store held.
fn store(adapters: &[ExportAdapter<'_>], records: Vec<(u64, Json)>) -> Result<Json, FormatError> {
    let mut store = Vec::with_capacity(records.len());
    for (identifier, bond) in records {
        store.push((format!("{BOND_RECORD}{identifier:016x}"), packed(&bond)?));
    }
    for item in adapters.iter().flat_map(|adapter| &adapter.record.opaque) {
        let own = item.format == CODEC.word
            && !item.name.starts_with(BOND_RECORD)
            && !item.name.starts_with(HOST_RECORD)
            && store.iter().all(|(name, _)| *name != item.name);
        if let Some(value) = json::parse(&item.value, item.value.len()).ok().filter(|_| own) {
            store.push((item.name.clone(), value));
        }
    }
    Ok(Json::Object(store))
}

/// A record as a text, as the store holds it.
fn packed(record: &Json) -> Result<Json, FormatError> {
    let bytes = json::write(record, None)?;
    std::str::from_utf8(&bytes).map(Json::text).map_err(|_| FormatError::Write)
}

/// The adapter's own IRK alone. Bonds are another part, so none counts as lost.
fn export_host(adapters: &[ExportAdapter<'_>], form: Option<&str>) -> Result<Exported, FormatError> {
    let host = |adapter: &ExportAdapter<'_>| {
        let identity = adapter.record.local_identity.as_ref();
        let irk = identity
            .map_or(Json::Null, |identity| Json::object([("value", numbers(identity.irk.key.expose()))]));
        Json::object([("irk", irk)])
    };
    let json = match (form, adapters) {
        (Some("store"), adapters) => {
            let record = |adapter: &ExportAdapter<'_>| {
                let name = format!("{HOST_RECORD}[address (public) {}]", adapter.named()?);
                Ok((name, packed(&host(adapter))?))
            };
            Json::Object(adapters.iter().map(record).collect::<Result<_, FormatError>>()?)
        }
        (Some("list"), _) => {
            return Err(form_error("list is for bonds; host data does not name its adapter".to_owned()));
        }
        (_, [adapter]) => host(adapter),
        _ => return Err(FormatError::OneAdapterOnly { count: adapters.len() }),
    };
    let mut report = Report::default();
    for adapter in adapters.iter().filter(|adapter| adapter.record.local_identity.is_none()) {
        report.notes.push(format!(
            "adapter {} has no IRK of its own that is known: null is written",
            adapter.shown()
        ));
    }
    if form != Some("store") {
        let note = "the file does not say which adapter it is of: Fuchsia names the record after the adapter's address";
        report.notes.push(note.to_owned());
    }
    Ok(Exported { content: Content::Document(json::write(&json, None)?), bond_count: 0, report })
}

fn report_of(adapter: AdapterAddress, bond: &Bond) -> PeerReport {
    let mut said = PeerReport::of_export(Some(adapter), bond, CODEC.word, &CARRIES);
    said.drop_debug_ltks(bond);
    if bond.link_key.as_ref().is_some_and(|key| key.key_type == LinkKeyType::Debug) {
        said.taken.retain(|part| *part != "link_key");
        said.dropped.retain(|dropped| dropped.field != "pin_length");
        said.drop("link_key", "it was made with the published debug key pair, which the format cannot say");
    }
    said
}

fn numbers(octets: &[u8]) -> Json {
    Json::List(octets.iter().map(|octet| Json::Integer(u64::from(*octet))).collect())
}

fn address(octets: &[u8; 6], kind: &str) -> Json {
    Json::object([("type", Json::text(kind)), ("value", numbers(octets))])
}

fn or_null(json: Option<Json>) -> Json {
    json.unwrap_or(Json::Null)
}

fn write_bond(adapter: AdapterAddress, bond: &Bond, identifier: u64, said: &mut PeerReport) -> Json {
    let name = bond.metadata.name.as_deref();
    if name.is_some_and(|name| check::shortened(name) != name) {
        said.drop("name", "longer than the format allows; its beginning was written");
    }
    let name = name.map_or(Json::Null, |name| Json::text(check::shortened(name)));
    let (le, bredr) = (write_le(bond, said), write_bredr(bond, said));
    let json = Json::object([
        ("identifier", Json::Integer(identifier)),
        ("address", address(&bond.peer.to_wire(), bond.peer.kind().as_str())),
        ("hostAddress", address(&adapter.to_wire(), PeerAddressType::Public.as_str())),
        ("name", name),
        ("le", or_null(le)),
        ("bredr", or_null(bredr)),
    ]);
    with_opaque(json, bond, "")
}

/// Adds the fields that an import kept of an object under that path.
fn with_opaque(json: Json, bond: &Bond, path: &str) -> Json {
    let Json::Object(mut fields) = json else { return json };
    let items = bond.metadata.details.iter().flat_map(|details| &details.opaque);
    for item in items.filter(|item| item.format == CODEC.word) {
        let Some(name) = item.name.strip_prefix(path) else { continue };
        let own = match path {
            "" => !name.starts_with("le.") && !name.starts_with("bredr."),
            _ => true,
        };
        let known = fields.iter().any(|(known, _)| known == name) || ALIASES.contains(&name);
        if let Some(value) = json::parse(&item.value, item.value.len()).ok().filter(|_| own && !known) {
            fields.push((name.to_owned(), value));
        }
    }
    Json::Object(fields)
}

/// Names of the published description, which would say again what is written under the service's own.
const ALIASES: [&str; 2] = ["identityAddress", "peerIrk"];

fn write_le(bond: &Bond, said: &mut PeerReport) -> Option<Json> {
    let details = bond.metadata.details.as_deref();
    if !bond.has_le_keys() && bond.connection_parameters.is_none() {
        return None;
    }
    let ltk = |role: Role| {
        let serves = |ltk: &&Ltk| {
            ltk.key_type != KeyType::P256Debug
                && (ltk.slot() == LtkSlot::SecureConnections || ltk.slot() == LtkSlot::Legacy(role))
        };
        or_null(bond.ltks().iter().find(serves).map(write_ltk))
    };
    let irk = bond.irk.as_ref().map(|irk| {
        let known = details.and_then(|details| details.irk_security);
        let security = known.unwrap_or_else(|| {
            said.assume("irk_security", "the security of the peer's best key stands for the IRK's");
            best_security(bond)
        });
        write_key(irk.key.expose(), security)
    });
    let csrk = bond.csrk_remote.as_ref().map(|csrk| {
        let known = details.and_then(|details| details.csrk_security);
        let security = known.unwrap_or_else(|| {
            said.assume("csrk_security", "the security of the peer's best key stands for the CSRK's");
            let best = best_security(bond);
            if csrk.authenticated.is_none() {
                said.assume("csrk_authenticated", "the CSRK is as authenticated as the peer's best key");
            }
            KeySecurity { authenticated: csrk.authenticated.unwrap_or(best.authenticated), ..best }
        });
        write_key(csrk.key.expose(), security)
    });
    let json = Json::object([
        ("connectionParameters", or_null(bond.connection_parameters.map(|known| parameters(known, said)))),
        ("peerLtk", ltk(Role::Central)),
        ("localLtk", ltk(Role::Peripheral)),
        ("irk", or_null(irk)),
        ("csrk", or_null(csrk)),
    ]);
    Some(with_opaque(json, bond, "le."))
}

fn parameters(known: ConnectionParameters, said: &mut PeerReport) -> Json {
    if known.min_interval != known.max_interval {
        said.drop(
            "conn_param",
            "the format has one interval: the longest is written, the shortest is left out",
        );
    }
    let integer = |value: u16| Json::Integer(value.into());
    Json::object([
        ("connectionInterval", integer(known.max_interval)),
        ("connectionLatency", integer(known.latency)),
        ("supervisionTimeout", integer(known.supervision_timeout)),
    ])
}

fn write_ltk(ltk: &Ltk) -> Json {
    Json::object([
        ("key", write_key(ltk.key.expose(), ltk_security(ltk))),
        ("ediv", Json::Integer(ltk.ediv.into())),
        ("rand", Json::Integer(u64::from_le_bytes(ltk.rand))),
    ])
}

const fn ltk_security(ltk: &Ltk) -> KeySecurity {
    KeySecurity {
        authenticated: ltk.key_type.is_authenticated(),
        secure_connections: ltk.key_type.is_secure_connections(),
        encryption_size: ltk.encryption_size,
    }
}

/// That of the strongest LTK, else of the link key, else the least there is.
fn best_security(bond: &Bond) -> KeySecurity {
    let strongest = bond.ltks().iter().max_by_key(|ltk| ltk.key_type);
    let none = KeySecurity {
        authenticated: false,
        secure_connections: false,
        encryption_size: EncryptionSize::FULL,
    };
    let link_key = || bond.link_key.as_ref().map(|key| link_key_security(key, None));
    strongest.map(ltk_security).or_else(link_key).unwrap_or(none)
}

fn write_key(octets: &[u8; 16], security: KeySecurity) -> Json {
    let said = Json::object([
        ("authenticated", Json::Bool(security.authenticated)),
        ("secureConnections", Json::Bool(security.secure_connections)),
        ("encryptionKeySize", Json::Integer(security.encryption_size.octets().into())),
    ]);
    Json::object([("security", said), ("value", numbers(octets))])
}

fn link_key_security(key: &LinkKey, size: Option<EncryptionSize>) -> KeySecurity {
    let (authenticated, secure_connections) = match key.key_type {
        LinkKeyType::AuthenticatedP256 => (true, true),
        LinkKeyType::UnauthenticatedP256 => (false, true),
        LinkKeyType::AuthenticatedP192 => (true, false),
        _ => (false, false),
    };
    KeySecurity { authenticated, secure_connections, encryption_size: size.unwrap_or(EncryptionSize::FULL) }
}

fn write_bredr(bond: &Bond, said: &mut PeerReport) -> Option<Json> {
    let none = PeerDetails::default();
    let details = bond.metadata.details.as_deref().unwrap_or(&none);
    let key = bond.link_key.as_ref().filter(|key| key.key_type != LinkKeyType::Debug);
    if key.is_none() && details.bredr_services.is_empty() && details.role_preference.is_none() {
        return None;
    }
    let key = key.map(|key| {
        if matches!(
            key.key_type,
            LinkKeyType::Combination
                | LinkKeyType::LocalUnit
                | LinkKeyType::RemoteUnit
                | LinkKeyType::Changed
        ) {
            said.drop(
                "link_key_type",
                "written as a P-192 key, unauthenticated: the format has no older kinds",
            );
        }
        if details.link_key_size.is_none() {
            said.assume("link_key_size", "16 octets, as nothing else is known of the link key");
        }
        write_key(key.key.expose(), link_key_security(key, details.link_key_size))
    });
    let role = details.role_preference.map(RolePreference::as_str);
    let services = details.bredr_services.iter().map(|uuid| Json::text(uuid_text(uuid)));
    let json = Json::object([
        ("rolePreference", role.map_or(Json::Null, Json::text)),
        ("linkKey", or_null(key)),
        ("services", Json::List(services.collect())),
    ]);
    Some(with_opaque(json, bond, "bredr."))
}

/// Fuchsia's numbers of the peers, of which each is given once.
struct Identifiers {
    given: BTreeSet<u64>,
    known: BTreeSet<u64>,
}

impl Identifiers {
    fn of(adapters: &[ExportAdapter<'_>]) -> Self {
        let bonds = adapters.iter().flat_map(ExportAdapter::entries);
        Self { given: BTreeSet::new(), known: bonds.filter_map(|(bond, _)| known(bond)).collect() }
    }

    /// The known number, unless another peer has it; else one that is the same in each export.
    fn identifier(&mut self, adapter: AdapterAddress, bond: &Bond, said: &mut PeerReport) -> u64 {
        if let Some(known) = known(bond) {
            if self.given.insert(known) {
                return known;
            }
            said.drop("identifier", "another peer of the export has the same: a new one is written");
        } else {
            said.assume("identifier", "made from the addresses of adapter and peer");
        }
        let mut round = 0_u64;
        loop {
            let made = derived(adapter, bond.peer, round);
            // 0 names no peer in Fuchsia.
            if made != 0 && !self.known.contains(&made) && self.given.insert(made) {
                return made;
            }
            round += 1;
        }
    }
}

fn known(bond: &Bond) -> Option<u64> {
    bond.metadata.details.as_ref().and_then(|details| details.identifier)
}

fn derived(adapter: AdapterAddress, peer: PeerAddress, round: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"fuchsia identifier");
    hash.update(adapter.to_wire());
    hash.update(peer.to_wire());
    hash.update(peer.kind().as_str());
    hash.update(round.to_le_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}
