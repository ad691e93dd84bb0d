//! Takes typed values out of the merged layers and remembers which keys were asked
//! for, so that what is left over can be reported as unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use config::{Config, File, FileFormat, Map, Value, ValueKind};

use zeroize::Zeroize;

use super::{ConfigError, ENVIRONMENT_PREFIX, Sources};

/// Longest node or base topic: both stand in every topic, and a topic has 65,535 octets at most.
const TOPIC_LEVEL_OCTETS_MAX: usize = 64;

/// One value and where it was set.
struct Found {
    value: ValueKind,
    place: String,
    from_environment: bool,
}

pub(super) struct Reader {
    /// Dotted key → value; later layers have replaced earlier ones.
    values: BTreeMap<String, Found>,
    asked: BTreeSet<String>,
}

impl Drop for Reader {
    /// Passphrases and passwords are among the values.
    fn drop(&mut self) {
        for found in self.values.values_mut() {
            if let ValueKind::String(text) = &mut found.value {
                text.zeroize();
            }
        }
    }
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Result<Self, ConfigError> {
        let mut reader = Self { values: BTreeMap::new(), asked: BTreeSet::new() };
        if let Some(file) = &sources.file {
            reader.add_file(file, true)?;
        }
        if let Some(file) = &sources.addon_options {
            reader.add_file(file, false)?;
        }
        reader.add_environment(&sources.environment);
        Ok(reader)
    }

    fn add_file(&mut self, file: &std::path::Path, required: bool) -> Result<(), ConfigError> {
        let place = file.display().to_string();
        let unreadable = |source| ConfigError::Unreadable { place: place.clone(), source };
        let source = File::from(file).format(FileFormat::Json).required(required);
        let layer = Config::builder().add_source(source).build().map_err(unreadable)?;
        let root: Map<String, Value> = layer.try_deserialize().map_err(unreadable)?;
        self.flatten("", root, &place);
        Ok(())
    }

    /// Variables are taken as text whatever they look like: a password of digits stays one. Each is
    /// converted where its key is read.
    fn add_environment(&mut self, environment: &[(String, String)]) {
        let prefix = format!("{ENVIRONMENT_PREFIX}__");
        for (name, text) in environment {
            let Some(path) = name.strip_prefix(&prefix) else { continue };
            let key = path.to_lowercase().replace("__", ".");
            let value = ValueKind::String(text.clone());
            self.values.insert(key, Found { value, place: name.clone(), from_environment: true });
        }
    }

    fn flatten(&mut self, prefix: &str, table: Map<String, Value>, place: &str) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value.kind {
                // A null is an option that was left empty.
                ValueKind::Nil => {}
                ValueKind::Table(inner) => self.flatten(&key, inner, place),
                kind => {
                    let found = Found { value: kind, place: place.to_owned(), from_environment: false };
                    self.values.insert(key, found);
                }
            }
        }
    }

    pub(super) fn bad(&self, key: &str, problem: &str) -> ConfigError {
        self.bad_in(key, key, problem)
    }

    /// A mistake at `place` within the value of `key`.
    pub(super) fn bad_in(&self, key: &str, place: &str, problem: &str) -> ConfigError {
        let set =
            self.values.iter().find(|(known, _)| *known == key || known.starts_with(&format!("{key}.")));
        let file = set.map_or_else(|| "options".to_owned(), |(_, found)| found.place.clone());
        ConfigError::BadValue { place: file, key: place.to_owned(), problem: problem.to_owned() }
    }

    /// The first of these keys that holds something.
    pub(super) fn first_set<'a>(&self, keys: &[&'a str]) -> Option<&'a str> {
        let empty = |found: &Found| matches!(&found.value, ValueKind::String(text) if text.is_empty());
        keys.iter().copied().find(|key| self.values.get(*key).is_some_and(|found| !empty(found)))
    }

    fn ask(&mut self, key: &str) -> Option<&Found> {
        self.asked.insert(key.to_owned());
        self.values.get(key)
    }

    /// Text; an empty one counts as not set, as Home Assistant's options page leaves it so.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.ask(key).map(|found| found.value.clone()) {
            None => Ok(None),
            Some(ValueKind::String(text)) if text.is_empty() => Ok(None),
            Some(ValueKind::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(key, "must be text")),
        }
    }

    pub(super) fn path(&mut self, key: &str) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.text(key)?.map(PathBuf::from))
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.ask(key).map(|found| found.value.clone()) {
            None => Ok(default),
            Some(ValueKind::Boolean(flag)) => Ok(flag),
            Some(ValueKind::String(text)) if text == "true" => Ok(true),
            Some(ValueKind::String(text)) if text == "false" => Ok(false),
            Some(_) => Err(self.bad(key, "must be true or false")),
        }
    }

    pub(super) fn number(&mut self, key: &str, default: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
        let number = match self.ask(key).map(|found| found.value.clone()) {
            None => return Ok(default),
            Some(ValueKind::I64(number)) => u64::try_from(number).ok(),
            Some(ValueKind::U64(number)) => Some(number),
            Some(ValueKind::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        let in_range = number.filter(|number| (min..=max).contains(number));
        in_range.ok_or_else(|| self.bad(key, &format!("must be a whole number from {min} to {max}")))
    }

    /// A list of objects that each hold exactly these fields, as text.
    pub(super) fn rows<const N: usize>(
        &mut self,
        key: &str,
        fields: [&str; N],
    ) -> Result<Vec<[String; N]>, ConfigError> {
        let wanted = format!("must be a list of objects with {}", fields.join(" and "));
        let list = match self.ask(key).map(|found| found.value.clone()) {
            None => return Ok(Vec::new()),
            Some(ValueKind::Array(list)) => list,
            Some(_) => return Err(self.bad(key, &wanted)),
        };
        let row = |(number, value): (usize, Value)| {
            let bad = || self.bad_in(key, &format!("{key}[{number}]"), &wanted);
            let ValueKind::Table(table) = value.kind else { return Err(bad()) };
            if table.len() != N {
                return Err(bad());
            }
            let mut row = [const { String::new() }; N];
            for (cell, field) in row.iter_mut().zip(fields) {
                let Some(ValueKind::String(text)) = table.get(field).map(|value| &value.kind) else {
                    return Err(bad());
                };
                cell.clone_from(text);
            }
            Ok(row)
        };
        list.into_iter().enumerate().map(row).collect()
    }

    pub(super) fn optional_word<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Option<T>,
        known: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(key, &format!("is {text:?}; it can be: {known}"))),
        }
    }

    pub(super) fn word<T>(
        &mut self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Option<T>,
        known: &str,
    ) -> Result<T, ConfigError> {
        let set = self.optional_word(key, &parse, known)?;
        Ok(set.unwrap_or_else(|| parse(default).expect("the default is one of the known words")))
    }

    /// A level of a topic: lower-case letters, digits, `_` and `-`.
    pub(super) fn topic_level(&mut self, key: &str, default: &str) -> Result<String, ConfigError> {
        let level = self.text(key)?.unwrap_or_else(|| default.to_owned());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if level.len() > TOPIC_LEVEL_OCTETS_MAX || !level.chars().all(allowed) {
            let problem = format!("must be at most {TOPIC_LEVEL_OCTETS_MAX} of a-z, 0-9, _ and -");
            return Err(self.bad(key, &problem));
        }
        if ["vault", "fleet"].contains(&level.as_str()) {
            return Err(self.bad(key, "is a reserved name; choose another"));
        }
        Ok(level)
    }

    /// A key that a file must not set: it is for tests and demonstrations.
    pub(super) fn environment_only(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        let from_environment = self.ask(key).is_none_or(|found| found.from_environment);
        if !from_environment {
            return Err(self.bad(key, "can only be set in the environment"));
        }
        self.text(key)
    }

    /// Names that stand directly below `key` and have something below themselves.
    pub(super) fn children(&self, key: &str) -> Vec<String> {
        let prefix = format!("{key}.");
        let below = self.values.keys().filter_map(|known| known.strip_prefix(&prefix));
        let names: BTreeSet<String> =
            below.filter_map(|rest| rest.split_once('.').map(|(name, _)| name.to_owned())).collect();
        names.into_iter().collect()
    }

    /// Everything that was set and never asked for is unknown.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let unknown = self.values.iter().find(|(key, _)| !self.asked.contains(*key));
        let Some((key, found)) = unknown else { return Ok(()) };
        let level = key.rsplit_once('.').map_or("", |(level, _)| level);
        let mut known: Vec<&str> = self
            .asked
            .iter()
            .filter(|asked| asked.rsplit_once('.').map_or("", |(l, _)| l) == level)
            .map(String::as_str)
            .collect();
        if known.is_empty() {
            known = self.asked.iter().map(String::as_str).collect();
        }
        Err(ConfigError::UnknownKey { place: found.place.clone(), key: key.clone(), known: known.join(", ") })
    }
}
