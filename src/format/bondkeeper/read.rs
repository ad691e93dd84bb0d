//! Document → domain, strictly.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::{AdapterCopy, BYTE_ORDER, DIGEST_KIND, Document, Policy, VERSION, details};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{
    AdapterAddress, AdapterRecord, Appearance, Bond, BondMetadata, BondTable, ConnectionParameters, Csrk,
    Custody, Irk, LinkKey, LinkKeyType, LoadRecord, Ltk, LtkSlot, Mode, Operation, PeerAddress,
    PeerAddressType, PeerDetails, Role, Source, Tombstone, UndoPoint, UnixMillis,
};
use crate::format::json::{Bad, Fields, Json};
use crate::format::report::{PeerReport, Refused, Report, parts};
use crate::format::{FormatError, FormatId, check};

/// Octets of a bond's own check: enough that damage is not taken for a key.
pub(super) const CHECK_OCTETS: usize = 8;

const DOCUMENT_FIELDS: [&str; 8] =
    ["format", "version", "source", "byte_order", "created_at", "summary", "adapters", "digest"];
const ADAPTER_FIELDS: [&str; 13] = [
    "address",
    "address_type",
    "bonds",
    "generation",
    "last_index",
    "last_load",
    "local_identity",
    "mode",
    "name",
    "opaque",
    "revision",
    "tombstones",
    "undo",
];
const BOND_FIELDS: [&str; 18] = [
    "address",
    "address_type",
    "check",
    "conn_param",
    "created_at_ms",
    "csrk_local",
    "csrk_remote",
    "custody",
    "details",
    "generation",
    "irk",
    "last_seen_at_ms",
    "link_key",
    "ltks",
    "name",
    "observed",
    "source",
    "updated_at_ms",
];

/// What one reading carries along.
struct Reading {
    policy: Policy,
    digest_fits: bool,
    report: Report,
}

pub(super) fn document(bytes: &[u8], policy: Policy) -> Result<Document, FormatError> {
    let json = super::parse(bytes)?;
    let not_ours = |reason| FormatError::WrongFormat { format: FormatId::Bondkeeper, reason };
    if !super::is_ours(&json) {
        return Err(not_ours("the field \"format\" does not say bondkeeper"));
    }
    let fields = json.as_fields()?;
    let version = fields.required("version", Json::as_integer::<u64>)?;
    if version != VERSION {
        return Err(FormatError::Version { found: version, known: VERSION });
    }
    if fields.required("byte_order", Json::as_text)? != BYTE_ORDER {
        return Err(not_ours("the byte order is another than least_significant_first"));
    }
    let digest_fits = fields.required("adapters", |adapters| digest_fits(&fields, adapters))?;
    if !digest_fits && policy != Policy::Salvage {
        return Err(FormatError::Digest);
    }
    let mut reading = Reading { policy, digest_fits, report: Report::default() };
    for name in fields.unknown(&DOCUMENT_FIELDS) {
        reading.note_unknown("the document", name);
    }
    let adapters = fields.required("adapters", |list| reading.adapters(list))?;
    Ok(Document {
        created_at: fields.required("created_at", check::name)?,
        source: fields.required("source", check::name)?,
        adapters,
        intact: digest_fits && reading.report.refused.is_empty(),
        report: reading.report,
    })
}

fn digest_fits(fields: &Fields<'_>, adapters: &Json) -> Result<bool, Bad> {
    let stated = fields.required("digest", Json::as_text)?;
    let mut hash = Sha256::new();
    let canonical = adapters.feed_canonical(&mut hash);
    Ok(canonical && stated == format!("{DIGEST_KIND}{}", hex::encode(hash.finalize())))
}

impl Reading {
    fn note_unknown(&mut self, place: &str, name: &str) {
        let note = format!("{place} has a field that this release does not know and does not take: {name}");
        if !self.report.notes.contains(&note) {
            self.report.notes.push(note);
        }
    }

    fn adapters(&mut self, list: &Json) -> Result<Vec<AdapterCopy>, Bad> {
        let mut copies: Vec<AdapterCopy> = Vec::new();
        for (at, json) in list.as_list()?.iter().enumerate() {
            match self.adapter(json, at) {
                Ok(copy) if copies.iter().any(|known| known.address == copy.address) => {
                    self.refuse(Bad::new("names an adapter that came before").in_item(at), None)?;
                }
                Ok(copy) => copies.push(copy),
                Err(bad) => self.refuse(bad.in_item(at), None)?,
            }
        }
        Ok(copies)
    }

    fn adapter(&mut self, json: &Json, at: usize) -> Result<AdapterCopy, Bad> {
        let fields = json.as_fields()?;
        for name in fields.unknown(&ADAPTER_FIELDS) {
            self.note_unknown("an adapter", name);
        }
        let address = fields.required("address", adapter_address)?;
        fields.required("address_type", address_kind)?;
        let generation = fields.required("generation", Json::as_integer::<u64>)?;
        let entries = fields.required("bonds", |list| self.bonds(list, address, at))?;
        let tombstones = fields.required("tombstones", tombstones)?;
        if self.digest_fits {
            let table = BondTable::from_stored(generation, entries, tombstones);
            let revision = fields.optional("revision", Json::as_integer)?.unwrap_or_default();
            Ok(AdapterCopy { address, record: record(&fields)?, table, revision })
        } else {
            // Only the bonds have checks of their own; nothing else of a damaged copy is believed.
            let table = BondTable::from_stored(0, entries, []);
            Ok(AdapterCopy { address, record: AdapterRecord::default(), table, revision: 0 })
        }
    }

    fn bonds(&mut self, list: &Json, adapter: AdapterAddress, at: usize) -> Result<Vec<(Bond, u64)>, Bad> {
        let list = list.as_list()?;
        if list.len() > BONDS_PER_ADAPTER_MAX {
            return Err(Bad::new(format!("has more than {BONDS_PER_ADAPTER_MAX} entries")));
        }
        let mut entries = Vec::with_capacity(list.len());
        let mut seen = BTreeSet::new();
        for (index, json) in list.iter().enumerate() {
            let mut bond = self.bond(json, adapter);
            if bond.as_ref().is_ok_and(|(bond, _, _)| !seen.insert(bond.peer)) {
                bond = Err(Bad::new("names a peer that came before"));
            }
            match bond {
                Ok((bond, generation, report)) => {
                    entries.push((bond, generation));
                    self.report.peers.push(report);
                }
                Err(bad) if self.policy.skips_bonds() => {
                    let bad = bad.in_item(index).in_field("bonds").in_item(at).in_field("adapters");
                    let peer = json.as_fields().and_then(|fields| peer_of(&fields)).ok();
                    self.report.refused.push(Refused { place: bad.place, peer, reason: bad.reason });
                }
                Err(bad) => return Err(bad.in_item(index)),
            }
        }
        Ok(entries)
    }

    fn bond(&mut self, json: &Json, adapter: AdapterAddress) -> Result<(Bond, u64, PeerReport), Bad> {
        let fields = json.as_fields()?;
        for name in fields.unknown(&BOND_FIELDS) {
            self.note_unknown("a bond", name);
        }
        let stated = fields.required("check", check::octets::<CHECK_OCTETS>)?;
        if !self.digest_fits && stated != own_check(json) {
            return Err(Bad::new("does not pass its own check"));
        }
        let mut bond = Bond::new(peer_of(&fields)?, self.metadata(&fields)?);
        let ltks = fields.required("ltks", |list| self.ltks(list))?;
        for ltk in ltks {
            bond.put_ltk(ltk);
        }
        bond.irk = fields.nullable("irk", |json| self.irk(json))?;
        bond.csrk_local = fields.nullable("csrk_local", csrk)?;
        bond.csrk_remote = fields.nullable("csrk_remote", csrk)?;
        bond.link_key = fields.nullable("link_key", link_key)?;
        bond.connection_parameters = fields.nullable("conn_param", connection_parameters)?;
        let mut report = PeerReport::new(Some(adapter), bond.peer);
        report.taken = parts(&bond);
        Ok((bond, fields.required("generation", Json::as_integer)?, report))
    }

    fn metadata(&self, fields: &Fields<'_>) -> Result<BondMetadata, Bad> {
        let mut metadata = metadata(fields)?;
        let mut details = metadata.details.take().map(|details| *details).unwrap_or_default();
        fields.optional("observed", |json| match self.policy {
            Policy::Import => Ok(()),
            Policy::Own | Policy::Salvage => details::observe(json, &mut details),
        })?;
        metadata.details = details.boxed();
        Ok(metadata)
    }

    fn ltks(&self, list: &Json) -> Result<Vec<Ltk>, Bad> {
        let mut ltks: Vec<Ltk> = Vec::new();
        for (at, json) in list.as_list()?.iter().enumerate() {
            let ltk = self.ltk(json).map_err(|bad| bad.in_item(at))?;
            let is_secure = |ltk: &Ltk| ltk.slot() == LtkSlot::SecureConnections;
            for earlier in &ltks {
                if earlier.slot() == ltk.slot() {
                    return Err(Bad::new("is a second key for the same role").in_item(at));
                }
                if is_secure(earlier) != is_secure(&ltk) {
                    let reason = "is a legacy key beside one of Secure Connections, which serves both roles";
                    return Err(Bad::new(reason).in_item(at));
                }
            }
            ltks.push(ltk);
        }
        Ok(ltks)
    }

    fn ltk(&self, json: &Json) -> Result<Ltk, Bad> {
        let fields = json.as_fields()?;
        let key = fields.required("value", check::key)?;
        if self.policy == Policy::Import && check::is_blocked_ltk(&key) {
            return Err(Bad::new("is a key that is known to be compromised").in_field("value"));
        }
        let central = fields.required("central", Json::as_bool)?;
        Ok(Ltk::new(
            fields.required("key_type", check::key_type)?,
            if central { Role::Central } else { Role::Peripheral },
            fields.required("enc_size", check::encryption_size)?,
            fields.required("ediv", Json::as_integer)?,
            fields.required("rand", check::octets)?,
            key,
        ))
    }

    fn irk(&self, json: &Json) -> Result<Irk, Bad> {
        let key = check::key(json)?;
        if self.policy == Policy::Import && check::is_blocked_irk(&key) {
            return Err(Bad::new("is a key that is known to be compromised"));
        }
        Ok(Irk { key })
    }

    fn refuse(&mut self, bad: Bad, peer: Option<PeerAddress>) -> Result<(), Bad> {
        if !self.policy.skips_bonds() {
            return Err(bad);
        }
        let bad = bad.in_field("adapters");
        self.report.refused.push(Refused { place: bad.place, peer, reason: bad.reason });
        Ok(())
    }
}

/// The check over everything of a bond but the check itself.
fn own_check(bond: &Json) -> [u8; CHECK_OCTETS] {
    let Json::Object(fields) = bond else { return [0; CHECK_OCTETS] };
    let mut hash = Sha256::new();
    let mut sorted: Vec<_> = fields.iter().filter(|(name, _)| name != "check").collect();
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    hash.update(b"{");
    for (at, (name, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            hash.update(b",");
        }
        // Writing into a hash cannot fail; a value without canonical text leaves a check that never fits.
        let _ = serde_json::to_writer(&mut hash, name);
        hash.update(b":");
        value.feed_canonical(&mut hash);
    }
    hash.update(b"}");
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|at| digest[at])
}

fn adapter_address(json: &Json) -> Result<AdapterAddress, Bad> {
    json.as_text()?.parse().map_err(Bad::new)
}

fn address_kind(json: &Json) -> Result<PeerAddressType, Bad> {
    let known = [PeerAddressType::Public, PeerAddressType::StaticRandom];
    let word = json.as_text()?;
    let kind = known.into_iter().find(|kind| kind.as_str() == word);
    kind.ok_or_else(|| Bad::new("is neither public nor random"))
}

fn peer_of(fields: &Fields<'_>) -> Result<PeerAddress, Bad> {
    let kind = fields.required("address_type", address_kind)?;
    fields.required("address", |json| check::peer(json, kind))
}

fn record(fields: &Fields<'_>) -> Result<AdapterRecord, Bad> {
    let mode = |json: &Json| Mode::from_word(json.as_text()?).ok_or_else(|| Bad::new("is no mode"));
    Ok(AdapterRecord {
        mode: fields.nullable("mode", mode)?,
        name: fields.nullable("name", check::name)?,
        last_index: fields.nullable("last_index", Json::as_integer)?,
        last_load: fields.nullable("last_load", load)?,
        local_identity: fields.optional("local_identity", details::local_identity)?,
        // What is found out again by itself is in the database only (docs/adr/0002).
        identity_held: None,
        opaque: fields.optional("opaque", details::opaque)?.unwrap_or_default(),
        undo: fields.optional("undo", undo_point)?,
        bluetoothd: None,
        health: std::collections::BTreeMap::new(),
    })
}

fn undo_point(json: &Json) -> Result<UndoPoint, Bad> {
    let fields = json.as_fields()?;
    let operation = |json: &Json| {
        Operation::from_word(json.as_text()?).ok_or_else(|| Bad::new("is no operation that can be undone"))
    };
    Ok(UndoPoint {
        operation: fields.required("operation", operation)?,
        checkpoint: fields.required("checkpoint", check::name)?,
        before: fields.required("before", Json::as_integer)?,
        after: fields.required("after", Json::as_integer)?,
        at: fields.required("at_ms", millis)?,
    })
}

fn load(json: &Json) -> Result<LoadRecord, Bad> {
    let fields = json.as_fields()?;
    Ok(LoadRecord {
        appearance: Appearance {
            boot_id: fields.required("boot_id", check::name)?,
            inode: fields.required("inode", Json::as_integer)?,
        },
        generation: fields.required("generation", Json::as_integer)?,
        at: fields.required("at_ms", millis)?,
    })
}

fn tombstones(list: &Json) -> Result<Vec<Tombstone>, Bad> {
    let one = |json: &Json| {
        let fields = json.as_fields()?;
        let generation = fields.required("generation", Json::as_integer)?;
        Ok(Tombstone { peer: peer_of(&fields)?, generation })
    };
    let list = list.as_list()?.iter().enumerate();
    list.map(|(at, json)| one(json).map_err(|bad: Bad| bad.in_item(at))).collect()
}

fn millis(json: &Json) -> Result<UnixMillis, Bad> {
    json.as_integer().map(UnixMillis)
}

fn metadata(fields: &Fields<'_>) -> Result<BondMetadata, Bad> {
    let custody = |json: &Json| Custody::from_word(json.as_text()?).ok_or_else(|| Bad::new("is no custody"));
    let source = |json: &Json| Source::from_word(json.as_text()?).ok_or_else(|| Bad::new("is no source"));
    Ok(BondMetadata {
        name: fields.nullable("name", check::name)?,
        custody: fields.required("custody", custody)?,
        source: fields.required("source", source)?,
        created_at: fields.required("created_at_ms", millis)?,
        updated_at: fields.required("updated_at_ms", millis)?,
        last_seen_at: fields.nullable("last_seen_at_ms", millis)?,
        details: fields.optional("details", details::peer_details)?.and_then(PeerDetails::boxed),
    })
}

fn csrk(json: &Json) -> Result<Csrk, Bad> {
    let fields = json.as_fields()?;
    Ok(Csrk {
        key: fields.required("value", check::key)?,
        authenticated: fields.nullable("authenticated", Json::as_bool)?,
        counter: fields.nullable("counter", Json::as_integer)?,
    })
}

fn link_key(json: &Json) -> Result<LinkKey, Bad> {
    let fields = json.as_fields()?;
    let kind = |json: &Json| LinkKeyType::from_code(json.as_integer()?).map_err(Bad::new);
    Ok(LinkKey {
        key: fields.required("value", check::key)?,
        key_type: fields.required("key_type", kind)?,
        pin_length: fields.nullable("pin_length", Json::as_integer)?,
    })
}

fn connection_parameters(json: &Json) -> Result<ConnectionParameters, Bad> {
    let fields = json.as_fields()?;
    Ok(ConnectionParameters {
        min_interval: fields.required("min_interval", Json::as_integer)?,
        max_interval: fields.required("max_interval", Json::as_integer)?,
        latency: fields.required("latency", Json::as_integer)?,
        supervision_timeout: fields.required("supervision_timeout", Json::as_integer)?,
    })
}
