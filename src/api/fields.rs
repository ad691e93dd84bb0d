//! Takes the fields of a request one by one, so that what is left over can be named.
//!
//! A field that is null counts as not given. Error texts name fields and what they may hold, never
//! what they did hold.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::codes::{ApiError, Code};
use super::limits::{ADAPTER_NAMES_MAX, NAME_OCTETS_MAX, PEERS_MAX, TEXT_OCTETS_MAX};
use super::request::PeerSelector;
use crate::bond::{AdapterAddress, AddressError, PeerAddress, PeerAddressType};

/// Octets of a client's own field name that an error text repeats: the longest name there is
/// would fit twice.
const SHOWN_NAME_OCTETS_MAX: usize = 48;

/// Unknown fields that an error text names.
const UNKNOWN_FIELDS_SHOWN_MAX: usize = 5;

/// A field's name as an error text may repeat it.
pub(super) fn shown_name(name: &str) -> String {
    let mut shown: String = name.chars().filter(|c| !c.is_control() && *c != '`').collect();
    if shown.len() > SHOWN_NAME_OCTETS_MAX {
        let end = (0..=SHOWN_NAME_OCTETS_MAX).rev().find(|at| shown.is_char_boundary(*at));
        shown.truncate(end.unwrap_or(0));
        shown.push('…');
    }
    format!("`{shown}`")
}

pub(super) fn invalid(name: &str, expected: &str) -> ApiError {
    ApiError::new(Code::InvalidValue, format!("`{name}` must be {expected}")).with("field", name)
}

pub(super) fn missing(name: &str, expected: &str) -> ApiError {
    ApiError::new(Code::MissingField, format!("`{name}` is needed: {expected}")).with("field", name)
}

/// The fields of one object that have not been taken yet.
pub(super) struct Fields {
    left: Map<String, Value>,
}

type Taken<T> = Result<T, ApiError>;

impl Fields {
    pub(super) const fn new(object: Map<String, Value>) -> Self {
        Self { left: object }
    }

    /// Refuses what no call has taken, by name.
    pub(super) fn finish(self) -> Taken<()> {
        if self.left.is_empty() {
            return Ok(());
        }
        let shown: Vec<_> =
            self.left.keys().take(UNKNOWN_FIELDS_SHOWN_MAX).map(|name| shown_name(name)).collect();
        let more = self.left.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("this verb has no field {}{more}", shown.join(", "));
        Err(ApiError::new(Code::UnknownField, message))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&mut self, name: &str, default: bool) -> Taken<bool> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(invalid(name, "true or false")),
        }
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Taken<Option<usize>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let expected = format!("a whole number from {} to {}", range.start(), range.end());
                Err(invalid(name, &expected))
            }
        }
    }

    /// A text of 1 to `octets_max` octets without control characters.
    pub(super) fn text(&mut self, name: &str, octets_max: usize) -> Taken<Option<String>> {
        self.take(name).map(|value| text(name, value, octets_max)).transpose()
    }

    /// A name without any meaning to a file system: no folder, no hidden file, no way upwards.
    pub(super) fn bare_name(&mut self, name: &str) -> Taken<Option<String>> {
        let Some(value) = self.text(name, NAME_OCTETS_MAX)? else { return Ok(None) };
        if value.starts_with('.') || value.contains(['/', '\\']) {
            return Err(invalid(name, "a bare name: no folder, and no dot at its start"));
        }
        Ok(Some(value))
    }

    /// One of a few words.
    pub(super) fn word<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Taken<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_str().and_then(read) {
            Some(word) => Ok(Some(word)),
            None => Err(invalid(name, expected)),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Taken<Option<Map<String, Value>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(invalid(name, "an object")),
        }
    }

    pub(super) fn adapter(&mut self) -> Taken<Option<AdapterAddress>> {
        const EXPECTED: &str =
            "the adapter's address, as in `AA:BB:CC:DD:EE:FF`; never `hci0`, which changes";
        let Some(value) = self.take("adapter") else { return Ok(None) };
        let address = value.as_str().and_then(|text| text.parse().ok());
        address.map(Some).ok_or_else(|| invalid("adapter", EXPECTED))
    }

    pub(super) fn the_adapter(&mut self) -> Taken<AdapterAddress> {
        self.adapter()?.ok_or_else(|| missing("adapter", "the address of the adapter that is meant"))
    }

    /// `adapters`: addresses by the names that an input gives them.
    pub(super) fn adapters(&mut self) -> Taken<BTreeMap<String, AdapterAddress>> {
        const EXPECTED: &str = "an object of names and addresses, as in `{\"hci0\": \"AA:BB:CC:DD:EE:FF\"}`";
        let object = self.object("adapters")?.unwrap_or_default();
        if object.len() > ADAPTER_NAMES_MAX || object.keys().any(|name| name.len() > NAME_OCTETS_MAX) {
            return Err(invalid("adapters", EXPECTED));
        }
        let address = |value: Value| value.as_str().and_then(|text| text.parse().ok());
        let pairs = object.into_iter().map(|(name, value)| Some((name, address(value)?)));
        pairs.collect::<Option<_>>().ok_or_else(|| invalid("adapters", EXPECTED))
    }

    /// `peer`, with `address_type` beside it where the address alone is not enough.
    pub(super) fn peer(&mut self) -> Taken<Option<PeerSelector>> {
        let value = self.take("peer");
        let kind = self.word("address_type", "`public`, `random` or `bredr`", address_type)?;
        match value {
            Some(value) => Ok(Some(selector("peer", &value, kind)?)),
            None if kind.is_some() => Err(missing("peer", "`address_type` says nothing without it")),
            None => Ok(None),
        }
    }

    /// `peers`: addresses, or objects of `peer` and `address_type`.
    pub(super) fn peers(&mut self) -> Taken<Option<Vec<PeerSelector>>> {
        const EXPECTED: &str = "a list of 1 to 500 addresses, or of objects with `peer` and `address_type`";
        let Some(value) = self.take("peers") else { return Ok(None) };
        let Value::Array(entries) = value else { return Err(invalid("peers", EXPECTED)) };
        if entries.is_empty() || entries.len() > PEERS_MAX {
            return Err(invalid("peers", EXPECTED));
        }
        entries.into_iter().map(peer_entry).collect::<Taken<Vec<_>>>().map(Some)
    }
}

fn peer_entry(entry: Value) -> Taken<PeerSelector> {
    match entry {
        Value::Object(object) => {
            let mut fields = Fields::new(object);
            let peer = fields.peer()?.ok_or_else(|| missing("peer", "the address of the peer"))?;
            fields.finish()?;
            Ok(peer)
        }
        entry => selector("peers", &entry, None),
    }
}

fn address_type(word: &str) -> Option<PeerAddressType> {
    match word {
        // A BR/EDR address is of the public kind.
        "public" | "bredr" => Some(PeerAddressType::Public),
        "random" => Some(PeerAddressType::StaticRandom),
        _ => None,
    }
}

fn selector(name: &str, value: &Value, kind: Option<PeerAddressType>) -> Taken<PeerSelector> {
    let text = value.as_str().unwrap_or_default();
    match PeerAddress::parse(text, kind.unwrap_or(PeerAddressType::Public)) {
        Ok(address) => Ok(PeerSelector::new(address, kind)),
        Err(AddressError::Syntax) => Err(invalid(name, "an address, as in `AA:BB:CC:DD:EE:FF`")),
        Err(error) => {
            Err(ApiError::new(Code::InvalidValue, format!("`{name}`: {error}")).with("field", name))
        }
    }
}

pub(super) fn text(name: &str, value: Value, octets_max: usize) -> Taken<String> {
    match value {
        Value::String(text)
            if !text.is_empty() && text.len() <= octets_max && !text.chars().any(char::is_control) =>
        {
            Ok(text)
        }
        _ => Err(invalid(name, &format!("a text of 1 to {octets_max} octets on one line"))),
    }
}

/// A list of short texts.
pub(super) fn texts(name: &str, value: Value, count_max: usize) -> Taken<Vec<String>> {
    let expected = format!("a list of 1 to {count_max} texts");
    let Value::Array(values) = value else { return Err(invalid(name, &expected)) };
    if values.is_empty() || values.len() > count_max {
        return Err(invalid(name, &expected));
    }
    values.into_iter().map(|value| text(name, value, TEXT_OCTETS_MAX)).collect()
}
