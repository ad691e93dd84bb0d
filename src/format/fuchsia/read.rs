//! Containers → records: the three forms, and which adapter each record is of.

use std::collections::BTreeSet;

use super::bond::{address, octets, read_bond};
use super::{BOND_RECORD, CODEC, HOST_RECORD, is_bond, is_host, is_store};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{AdapterAddress, LocalIdentity, PeerAddressType};
use crate::format::check;
use crate::format::draft::{keep, refuse};
use crate::format::json::{self, Bad, Json};
use crate::format::{
    FOREIGN_OCTETS_MAX, FormatError, FormatId, ImportOptions, Imported, ImportedAdapter, Input,
};

/// Most records of one file: the bonds and the host data of a full adapter.
const RECORDS_MAX: usize = BONDS_PER_ADAPTER_MAX + 64;

/// One reading: what was found, and the numbers that were seen.
struct Reading<'a> {
    options: &'a ImportOptions,
    imported: Imported,
    identifiers: BTreeSet<u64>,
}

pub(super) fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let json = json::parse(input.document(FormatId::Fuchsia)?, FOREIGN_OCTETS_MAX)?;
    let mut reading = Reading { options, imported: Imported::default(), identifiers: BTreeSet::new() };
    match &json {
        Json::List(records) => {
            if records.len() > RECORDS_MAX {
                return Err(Bad::new(format!("has more than {RECORDS_MAX} records")).into());
            }
            for (at, record) in records.iter().enumerate() {
                reading.record(record, None, &|bad| bad.in_item(at));
            }
        }
        Json::Object(_) if is_bond(&json) || is_host(&json) => reading.record(&json, None, &|bad| bad),
        Json::Object(_) if is_store(&json) => reading.store(json.as_map(RECORDS_MAX)?),
        _ => {
            let reason = "it is neither a bond, a list of bonds, host data nor an object of store records";
            return Err(FormatError::WrongFormat { format: FormatId::Fuchsia, reason });
        }
    }
    Ok(reading.imported)
}

impl Reading<'_> {
    /// `placed` completes the place of what cannot be taken; `host` is the adapter that a record's name tells.
    fn record(&mut self, json: &Json, host: Option<AdapterAddress>, placed: &dyn Fn(Bad) -> Bad) {
        let outcome = if is_bond(json) { self.bond(json, placed) } else { self.host(json, host) };
        if let Err(bad) = outcome {
            let mut bad = placed(bad);
            if bad.place.is_empty() {
                "the record".clone_into(&mut bad.place);
            }
            refuse(&mut self.imported.report, bad);
        }
    }

    fn bond(&mut self, json: &Json, placed: &dyn Fn(Bad) -> Bad) -> Result<(), Bad> {
        let fields = json.as_fields()?;
        let host = fields.required("hostAddress", |json| {
            let (octets, kind) = address(json)?;
            if kind == PeerAddressType::StaticRandom {
                let note = "a hostAddress is a random one: an adapter of Linux must be given it".to_owned();
                if !self.imported.report.notes.contains(&note) {
                    self.imported.report.notes.push(note);
                }
            }
            AdapterAddress::from_wire(octets).map_err(|error| Bad::new(error).in_field("value"))
        })?;
        let mut draft = read_bond(json, &fields, host, self.options.now)?;
        let identifier = draft.details.identifier;
        if identifier.is_some_and(|identifier| !self.identifiers.insert(identifier)) {
            draft.report.drop("identifier", "an earlier record of the file has the same");
            draft.details.identifier = None;
        }
        let at = self.adapter(Some(host));
        let place = || {
            let place = placed(Bad::new("")).place;
            if place.is_empty() { "address".to_owned() } else { place }
        };
        draft.settle(place, &mut self.imported.adapters[at], &mut self.imported.report);
        Ok(())
    }

    fn host(&mut self, json: &Json, named: Option<AdapterAddress>) -> Result<(), Bad> {
        let fields = json.as_fields()?;
        let irk = fields.nullable("irk", |json| {
            let fields = json.as_fields()?;
            fields.required("value", |json| check::irk(octets(json)?))
        })?;
        let stated = fields.optional("identityAddress", |json| {
            AdapterAddress::from_wire(address(json)?.0).map_err(|error| Bad::new(error).in_field("value"))
        })?;
        if let (Some(named), Some(stated)) = (named, stated)
            && named != stated
        {
            return Err(Bad::new("is another than in the name of the record").in_field("identityAddress"));
        }
        for name in fields.unknown(&["irk", "identityAddress"]) {
            self.imported
                .report
                .notes
                .push(format!("host data has a field that is not known and not taken: {name}"));
        }
        let address = named.or(stated).or_else(|| self.options.adapter_of(None, true));
        let at = self.adapter(address);
        let adapter = &mut self.imported.adapters[at];
        if let Some(irk) = irk {
            if adapter.local_identity.is_some() {
                return Err(Bad::new("is a second one of the same adapter").in_field("irk"));
            }
            adapter.local_identity = Some(LocalIdentity { irk, privacy: None });
        }
        Ok(())
    }

    /// The adapter of that address, which begins with its first record.
    fn adapter(&mut self, address: Option<AdapterAddress>) -> usize {
        let adapters = &mut self.imported.adapters;
        adapters.iter().position(|adapter| adapter.address == address).unwrap_or_else(|| {
            adapters.push(ImportedAdapter { address, ..ImportedAdapter::default() });
            adapters.len() - 1
        })
    }

    fn store(&mut self, records: &[(String, Json)]) {
        for (name, value) in records {
            if let Err(bad) = self.store_record(name, value) {
                refuse(&mut self.imported.report, bad);
            }
        }
        let foreign =
            |(name, _): &&(String, Json)| !name.starts_with(BOND_RECORD) && !name.starts_with(HOST_RECORD);
        for (name, value) in records.iter().filter(foreign) {
            let [adapter] = &mut self.imported.adapters[..] else {
                let note =
                    "a record of another kind is dropped: the file has not just one adapter to keep it for";
                self.imported.report.notes.push(note.to_owned());
                continue;
            };
            let kept = value
                .canonical()
                .is_some_and(|text| keep(&mut adapter.opaque, CODEC.word, name.clone(), text));
            let outcome = if kept { "is kept as it is" } else { "is dropped: too much of that kind to keep" };
            self.imported
                .report
                .notes
                .push(format!("a record of another kind has no meaning here and {outcome}"));
        }
    }

    /// A record is JSON inside a text, as in the store, or an object.
    fn store_record(&mut self, name: &str, value: &Json) -> Result<(), Bad> {
        let parsed;
        let unpacked = match value {
            Json::Text(text) if name.starts_with(BOND_RECORD) || name.starts_with(HOST_RECORD) => {
                let place = shown(name);
                parsed = json::parse(text.as_bytes(), FOREIGN_OCTETS_MAX)
                    .map_err(|error| Bad::new(format!("holds a text of which {error}")).in_field(&place))?;
                &parsed
            }
            value => value,
        };
        let placed = |bad: Bad| bad.in_field(&shown(name));
        if let Some(digits) = name.strip_prefix(BOND_RECORD) {
            let number = Some(digits).filter(|digits| digits.len() == 16);
            let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let stated = super::field(unpacked, "identifier").and_then(|json| json.as_integer::<u64>().ok());
            if number.is_none() || stated.is_some_and(|stated| Some(stated) != number) {
                return Err(placed(Bad::new("does not end in the identifier of its bond as 16 digits")));
            }
            if !is_bond(unpacked) {
                return Err(placed(Bad::new("is missing").in_field("hostAddress")));
            }
            self.record(unpacked, None, &placed);
        } else if let Some(host) = name.strip_prefix(HOST_RECORD) {
            let address = host_name(host).ok_or_else(|| {
                placed(Bad::new("does not end in [address (public) AA:BB:CC:DD:EE:FF] or the like"))
            })?;
            if !is_host(unpacked) {
                return Err(placed(Bad::new("is no host data")));
            }
            self.record(unpacked, Some(address), &placed);
        }
        Ok(())
    }
}

/// `[address (public) AA:BB:CC:DD:EE:FF]`
fn host_name(text: &str) -> Option<AdapterAddress> {
    let inner = text.strip_prefix("[address (")?.strip_suffix(']')?;
    let address = inner.strip_prefix("public) ").or_else(|| inner.strip_prefix("random) "))?;
    address.parse().ok()
}

/// The name of a store record as far as an error may repeat it.
fn shown(name: &str) -> String {
    let number = name.strip_prefix(BOND_RECORD).filter(|digits| digits.len() == 16);
    let is_number = number.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let is_host = name.strip_prefix(HOST_RECORD).is_some_and(|host| host_name(host).is_some());
    if is_number || is_host { name.to_owned() } else { "a record with an odd name".to_owned() }
}
