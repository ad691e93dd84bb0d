//! Choices that a format leaves to the caller: what its files do not say, and what its readers differ in.

use std::collections::BTreeMap;

use super::FormatError;

/// One choice of a format, for the check of what was given and for the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionSpec {
    pub name: &'static str,
    /// The words it may hold; empty where any text may stand.
    pub values: &'static [&'static str],
    pub meaning: &'static str,
}

/// Choices by name, as a command line or a request gives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormatOptions(BTreeMap<String, String>);

impl FormatOptions {
    /// What was chosen, if anything.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A later choice stands.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    /// Refuses, by name, what the format does not know.
    pub fn check(&self, known: &[OptionSpec]) -> Result<(), FormatError> {
        for (name, value) in &self.0 {
            let Some(spec) = known.iter().find(|spec| spec.name == name) else {
                let names: Vec<_> = known.iter().map(|spec| spec.name).collect();
                let known = if names.is_empty() { "it has none".to_owned() } else { names.join(", ") };
                return Err(FormatError::Option {
                    reason: format!("is not known; known are: {known}"),
                    name: shown(name),
                });
            };
            if !spec.values.is_empty() && !spec.values.contains(&value.as_str()) {
                let reason = format!("is none of: {}", spec.values.join(", "));
                return Err(FormatError::Option { name: shown(name), reason });
            }
        }
        Ok(())
    }
}

impl FromIterator<(String, String)> for FormatOptions {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(options: I) -> Self {
        Self(options.into_iter().collect())
    }
}

/// A name that somebody gave, as far as an error may repeat it.
fn shown(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte));
    if plain && name.len() <= 40 { name.to_owned() } else { "(an odd name)".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [OptionSpec; 2] = [
        OptionSpec { name: "layout", values: &["U80", "E88"], meaning: "" },
        OptionSpec { name: "namespace", values: &[], meaning: "" },
    ];

    fn check(name: &str, value: &str) -> Result<(), String> {
        let options = FormatOptions::from_iter([(name.to_owned(), value.to_owned())]);
        options.check(&SPECS).map_err(|error| error.to_string())
    }

    #[test]
    fn only_known_options_with_known_words_pass() {
        assert_eq!(check("layout", "E88"), Ok(()));
        assert_eq!(check("namespace", "anything"), Ok(()));
        assert_eq!(check("layout", "u80").unwrap_err(), "option layout is none of: U80, E88");
        let unknown = check("colour", "red").unwrap_err();
        assert_eq!(unknown, "option colour is not known; known are: layout, namespace");
        assert!(check("a\nb", "").unwrap_err().starts_with("option (an odd name) "));
    }
}
