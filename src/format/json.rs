//! JSON as strictly as keys deserve: integers stay integers, a field may come once, and an error
//! names its place and never the value.
//!
//! serde_json's own tree would let the second of two equal fields win and turn large integers into
//! floating point, both in silence.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::{FormatError, NESTING_MAX};

/// Most fields that one object may have; the largest here has eighteen.
const FIELDS_MAX: usize = 64;

/// One JSON value. Text is wiped on drop, as it may be a key.
pub(super) enum Json {
    Null,
    Bool(bool),
    Integer(u64),
    /// A number that is not an integer from 0 to 2^64 - 1. What it is does not matter: nothing takes it.
    OtherNumber,
    Text(Zeroizing<String>),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A value that cannot be taken. The place grows on the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    pub place: String,
    pub reason: String,
}

impl Bad {
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { place: String::new(), reason: reason.to_string() }
    }

    pub fn in_field(mut self, name: &str) -> Self {
        let joint = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{name}{joint}{}", self.place);
        self
    }

    pub fn in_item(mut self, index: usize) -> Self {
        let joint = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("[{index}]{joint}{}", self.place);
        self
    }
}

impl From<Bad> for FormatError {
    fn from(bad: Bad) -> Self {
        let place = if bad.place.is_empty() { "the document".to_owned() } else { bad.place };
        Self::Invalid { place, reason: bad.reason }
    }
}

/// Parses a whole input. Length and nesting are checked before anything is built.
pub(super) fn parse(bytes: &[u8], octets_max: usize) -> Result<Json, FormatError> {
    if bytes.len() > octets_max {
        return Err(FormatError::TooLarge { max: octets_max });
    }
    check_nesting(bytes)?;
    // Only the position is kept of serde_json's error: its text may quote the input.
    serde_json::from_slice(bytes)
        .map_err(|error| FormatError::NotJson { line: error.line(), column: error.column() })
}

fn check_nesting(bytes: &[u8]) -> Result<(), FormatError> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > NESTING_MAX {
                    return Err(FormatError::TooDeep);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

impl Json {
    pub fn as_text(&self) -> Result<&str, Bad> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(Bad::new("is not a string")),
        }
    }

    pub fn as_bool(&self) -> Result<bool, Bad> {
        match self {
            Self::Bool(value) => Ok(*value),
            _ => Err(Bad::new("is neither true nor false")),
        }
    }

    pub fn as_list(&self) -> Result<&[Self], Bad> {
        match self {
            Self::List(items) => Ok(items),
            _ => Err(Bad::new("is not a list")),
        }
    }

    /// An integer of the wanted width.
    pub fn as_integer<T: TryFrom<u64>>(&self) -> Result<T, Bad> {
        let bits = size_of::<T>() * 8;
        let Self::Integer(value) = self else {
            return Err(Bad::new(format!("is not an integer of {bits} bits without sign")));
        };
        T::try_from(*value).map_err(|_| Bad::new(format!("does not fit {bits} bits without sign")))
    }

    /// The fields of an object, each of which comes once.
    pub fn as_fields(&self) -> Result<Fields<'_>, Bad> {
        let Self::Object(fields) = self else { return Err(Bad::new("is not an object")) };
        if fields.len() > FIELDS_MAX {
            return Err(Bad::new(format!("has more than {FIELDS_MAX} fields")));
        }
        for (at, (name, _)) in fields.iter().enumerate() {
            if fields[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Bad::new("comes twice").in_field(printable(name)));
            }
        }
        Ok(Fields(fields))
    }

    /// The fields of an object whose names are the file's own, each of which comes once.
    pub fn as_map(&self, fields_max: usize) -> Result<&[(String, Self)], Bad> {
        let Self::Object(fields) = self else { return Err(Bad::new("is not an object")) };
        if fields.len() > fields_max {
            return Err(Bad::new(format!("has more than {fields_max} fields")));
        }
        let mut names = BTreeSet::new();
        match fields.iter().find(|(name, _)| !names.insert(name)) {
            Some((name, _)) => Err(Bad::new("comes twice").in_field(printable(name))),
            None => Ok(fields),
        }
    }

    /// Text to be written.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Zeroizing::new(text.into()))
    }

    /// An object to be written.
    pub fn object<const N: usize>(fields: [(&str, Self); N]) -> Self {
        Self::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The canonical text, to be kept or to be compared.
    pub fn canonical(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut length = Length(0);
        if !self.feed_canonical(&mut length) {
            return None;
        }
        let mut text = Zeroizing::new(Vec::with_capacity(length.0));
        self.feed_canonical(&mut *text).then_some(text)
    }

    /// Feeds the canonical text: no white space, fields sorted, only what must be escaped escaped.
    /// False when the value has no canonical text.
    pub fn feed_canonical(&self, out: &mut impl std::io::Write) -> bool {
        let text = |out: &mut _, text: &str| serde_json::to_writer(out, text).is_ok();
        match self {
            Self::Null => out.write_all(b"null").is_ok(),
            Self::Bool(value) => write!(out, "{value}").is_ok(),
            Self::Integer(value) => write!(out, "{value}").is_ok(),
            Self::OtherNumber => false,
            Self::Text(value) => text(out, value),
            Self::List(items) => {
                let mut fine = out.write_all(b"[").is_ok();
                for (at, item) in items.iter().enumerate() {
                    fine &= at == 0 || out.write_all(b",").is_ok();
                    fine &= item.feed_canonical(out);
                }
                fine && out.write_all(b"]").is_ok()
            }
            Self::Object(fields) => {
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_by(|left, right| left.0.cmp(&right.0));
                let mut fine = out.write_all(b"{").is_ok();
                for (at, (name, value)) in sorted.into_iter().enumerate() {
                    fine &= at == 0 || out.write_all(b",").is_ok();
                    fine &= text(out, name) && out.write_all(b":").is_ok();
                    fine &= value.feed_canonical(out);
                }
                fine && out.write_all(b"}").is_ok()
            }
        }
    }
}

/// Counts what is written, so that a buffer with keys need not grow and leave copies behind.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0 += octets.len();
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a value as it stands; `indent` parts what people are to read.
pub(super) fn write(value: &Json, indent: Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let mut length = Length(0);
    write_into(value, indent, &mut length)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    write_into(value, indent, &mut *bytes)?;
    Ok(bytes)
}

fn write_into(value: &Json, indent: Option<&[u8]>, out: &mut impl std::io::Write) -> Result<(), FormatError> {
    let written = match indent {
        None => serde_json::to_writer(out, value),
        Some(indent) => {
            let layout = serde_json::ser::PrettyFormatter::with_indent(indent);
            value.serialize(&mut serde_json::Serializer::with_formatter(out, layout))
        }
    };
    written.map_err(|_| FormatError::Write)
}

/// The fields of one object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [(String, Json)]);

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A field that must be there.
    pub fn required<T>(&self, name: &str, read: impl FnOnce(&'a Json) -> Result<T, Bad>) -> Result<T, Bad> {
        let value = self.get(name).ok_or_else(|| Bad::new("is missing").in_field(name))?;
        read(value).map_err(|bad| bad.in_field(name))
    }

    /// A field that must be there and may be null.
    pub fn nullable<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Json) -> Result<T, Bad>,
    ) -> Result<Option<T>, Bad> {
        self.required(name, |value| match value {
            Json::Null => Ok(None),
            value => read(value).map(Some),
        })
    }

    /// A field that may be missing or null.
    pub fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&'a Json) -> Result<T, Bad>,
    ) -> Result<Option<T>, Bad> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => read(value).map(Some).map_err(|bad| bad.in_field(name)),
        }
    }

    /// Names of fields that are not among the known ones.
    pub fn unknown(&self, known: &[&str]) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| name.as_str()).filter(|name| !known.contains(name)).map(printable)
    }
}

/// A field's name, where it is one that a person would give: not a key that slipped into the wrong place.
fn printable(name: &str) -> &str {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let looks_like_key = name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain && name.len() <= 40 && !looks_like_key { name } else { "(a field with an odd name)" }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_u64(*value),
            Self::OtherNumber => Err(serde::ser::Error::custom("what number it was is not known")),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(u64::try_from(value).map_or(Json::OtherNumber, Json::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        parse(text.as_bytes(), 1 << 20).unwrap_or_else(|error| panic!("{error}"))
    }

    fn canonical(text: &str) -> Option<String> {
        let mut out = Vec::new();
        json(text).feed_canonical(&mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn integers_stay_exact_up_to_64_bits_and_nothing_else_is_a_number() {
        assert_eq!(json("18446744073709551615").as_integer::<u64>(), Ok(u64::MAX));
        assert_eq!(json("9007199254740993").as_integer::<u64>(), Ok(9_007_199_254_740_993));
        for other in ["18446744073709551616", "1.0", "1e3", "-1", "\"1\"", "true"] {
            assert!(json(other).as_integer::<u64>().is_err(), "{other}");
        }
        assert!(json("65536").as_integer::<u16>().is_err());
    }

    #[test]
    fn a_field_that_comes_twice_is_refused_with_its_place() {
        let tree = json(r#"{"a":1,"b":2,"a":1}"#);
        let bad = tree.as_fields().err().unwrap();
        assert_eq!((bad.place.as_str(), bad.reason.as_str()), ("a", "comes twice"));
    }

    #[test]
    fn a_place_reads_as_a_path() {
        let bad = Bad::new("x").in_field("value").in_item(0).in_field("ltks").in_item(3).in_field("bonds");
        assert_eq!(bad.place, "bonds[3].ltks[0].value");
    }

    #[test]
    fn nesting_is_limited_before_a_tree_is_built() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(deep(NESTING_MAX).as_bytes(), 1 << 20).is_ok());
        assert_eq!(parse(deep(NESTING_MAX + 1).as_bytes(), 1 << 20).err(), Some(FormatError::TooDeep));
        assert!(parse(br#"["[[[[[[[[[[[[[[[[[[[[[[\"[["]"#, 100).is_ok(), "brackets in text do not count");
    }

    #[test]
    fn the_canonical_text_is_sorted_and_without_white_space() {
        let text = canonical("{ \"b\": [1, null, true], \"a\": \"\\u00e9\\n\\u0001\" }");
        assert_eq!(text.as_deref(), Some("{\"a\":\"é\\n\\u0001\",\"b\":[1,null,true]}"));
        assert_eq!(canonical("[1.5]"), None);
    }

    #[test]
    fn an_error_never_quotes_the_input() {
        let key = "00112233445566778899aabbccddeeff";
        let text = format!("{{\"{key}\":1,\"{key}\":2}}");
        let tree = json(&text);
        let bad = tree.as_fields().err().unwrap();
        assert!(!format!("{bad:?}").contains(key));
        let error = parse(format!("{{\"a\":\"{key}\"").as_bytes(), 100).err().unwrap();
        assert!(!format!("{error:?}{error}").contains(key));
    }
}
