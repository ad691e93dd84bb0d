//! Key files as GLib reads and writes them, with less patience: what GLib lets pass and its callers
//! then bend is an error here.
//!
//! UTF-8 without a mark; lines end in LF or CRLF; `#` begins a comment; `[Group]`, then `Key=Value`. White
//! space before a value is no part of it. Text values know the escapes `\s \n \t \r \\`. A group may come
//! again and then goes on; a key may come once. [GLib `gkeyfile.c`]

use zeroize::Zeroizing;

/// Longest file. A real one has about a kilobyte, with many services two.
pub(super) const FILE_OCTETS_MAX: usize = 64 << 10;

/// Most groups and keys of one file; real ones have about ten groups and forty keys.
const KEYS_MAX: usize = 512;

/// Longest name of a group or a key.
const NAME_OCTETS_MAX: usize = 64;

/// One `Key=Value`, as it stands in the file.
pub(super) struct Entry<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// One group with all its keys.
pub(super) struct Group<'a> {
    pub name: &'a str,
    pub entries: Vec<Entry<'a>>,
}

/// A parsed file.
pub(super) struct KeyFile<'a> {
    pub groups: Vec<Group<'a>>,
}

/// A line or a key that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub place: String,
    pub reason: String,
}

fn broken(place: impl Into<String>, reason: &str) -> Broken {
    Broken { place: place.into(), reason: reason.to_owned() }
}

impl<'a> KeyFile<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Broken> {
        if bytes.len() > FILE_OCTETS_MAX {
            return Err(broken("the file", &format!("is longer than {FILE_OCTETS_MAX} octets")));
        }
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            return Err(broken("the file", "begins with a byte order mark, which key files must not have"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| broken("the file", "is not UTF-8"))?;
        if text.contains('\0') {
            return Err(broken("the file", "holds a zero octet"));
        }
        let mut file = Self { groups: Vec::new() };
        let mut at = None;
        let mut count = 0;
        for (number, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_start_matches(is_space);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = || format!("line {}", number + 1);
            count += 1;
            if count > KEYS_MAX {
                return Err(broken(place(), "is beyond what one file may hold"));
            }
            if let Some(name) = line.strip_prefix('[') {
                let name = group_name(name).ok_or_else(|| broken(place(), "is not a [Group]"))?;
                at = Some(file.group_index(name));
            } else {
                let entry =
                    parse_entry(line).ok_or_else(|| broken(place(), "is neither a [Group] nor Key=Value"))?;
                let group = at.ok_or_else(|| broken(place(), "stands before the first group"))?;
                file.groups[group].add(entry)?;
            }
        }
        Ok(file)
    }

    fn group_index(&mut self, name: &'a str) -> usize {
        self.groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
            self.groups.push(Group { name, entries: Vec::new() });
            self.groups.len() - 1
        })
    }

    pub fn group(&self, name: &str) -> Option<&Group<'a>> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl<'a> Group<'a> {
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.value)
    }

    /// The keys of one group, as [`body`] wrote them.
    pub fn parse(name: &'a str, body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let is_plain = |text: &str| !text.chars().any(|c| c.is_control() && c != '\t');
        let mut group = Group { name, entries: Vec::new() };
        for line in text.split_terminator('\n') {
            let entry = parse_entry(line).filter(|entry| is_plain(entry.value))?;
            group.add(entry).ok()?;
        }
        is_name(name).then_some(group)
    }

    fn add(&mut self, entry: Entry<'a>) -> Result<(), Broken> {
        if self.get(entry.key).is_some() {
            return Err(broken(format!("[{}] {}", shown(self.name), shown(entry.key)), "comes twice"));
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// The lines of these keys, in a buffer that does not grow.
pub(super) fn body<'e, 'a: 'e>(entries: impl Iterator<Item = &'e Entry<'a>> + Clone) -> Zeroizing<Vec<u8>> {
    let octets = entries.clone().map(|entry| entry.key.len() + entry.value.len() + 2).sum();
    let mut body = Zeroizing::new(Vec::with_capacity(octets));
    for entry in entries {
        for part in [entry.key, "=", entry.value, "\n"] {
            body.extend_from_slice(part.as_bytes());
        }
    }
    body
}

/// GLib's idea of white space. [GLib `g_ascii_isspace`]
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// Takes what stands behind the opening bracket.
fn group_name(rest: &str) -> Option<&str> {
    let (name, after) = rest.split_once(']')?;
    (is_name(name) && after.chars().all(|c| c == ' ' || c == '\t')).then_some(name)
}

fn parse_entry(line: &str) -> Option<Entry<'_>> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim_end_matches(is_space);
    is_name(key).then(|| Entry { key, value: value.trim_start_matches(is_space) })
}

/// A name that can stand between brackets or before an equals sign and means itself.
pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_OCTETS_MAX).contains(&name.len())
        && name.trim_matches(is_space) == name
        && !name.starts_with('#')
        && !name.chars().any(|c| c.is_control() || matches!(c, '[' | ']' | '='))
}

/// A name of the file, as far as an error may repeat it.
pub(super) fn shown(name: &str) -> &str {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-#".contains(&byte));
    let looks_like_key = name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain && name.len() <= 40 && !looks_like_key { name } else { "(an odd name)" }
}

/// The text that a value stands for; none where an escape has no meaning.
pub(super) fn unescaped(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                's' => ' ',
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            c => c,
        });
    }
    Some(text)
}

/// The value that stands for a text. Cannot break out of its line.
pub(super) fn escaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut leading = true;
    for c in text.chars() {
        match c {
            ' ' if leading => value.push_str("\\s"),
            '\t' if leading => value.push_str("\\t"),
            '\n' => value.push_str("\\n"),
            '\r' => value.push_str("\\r"),
            '\\' => value.push_str("\\\\"),
            c => value.push(c),
        }
        leading &= matches!(c, ' ' | '\t');
    }
    value
}

/// Whether a text can stand in a key file at all: no control characters but those with an escape.
pub(super) fn is_writable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// Writes a file group by group, in a buffer that does not grow.
pub(super) struct Writer {
    out: Zeroizing<Vec<u8>>,
    groups: Vec<String>,
}

impl Writer {
    /// `room`: at least as many octets as will be written.
    pub fn new(room: usize) -> Self {
        Self { out: Zeroizing::new(Vec::with_capacity(room)), groups: Vec::new() }
    }

    pub fn group(&mut self, name: &str) {
        let parted = if self.out.is_empty() { "[" } else { "\n[" };
        self.push(&[parted, name, "]\n"]);
        self.groups.push(name.to_owned());
    }

    pub fn has(&self, group: &str) -> bool {
        self.groups.iter().any(|written| written == group)
    }

    /// `value` is already escaped.
    pub fn raw(&mut self, key: &str, value: &str) {
        self.push(&[key, "=", value, "\n"]);
    }

    pub fn number(&mut self, key: &str, value: impl Into<u64>) {
        self.raw(key, &value.into().to_string());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    /// Octets as upper-case digits.
    pub fn octets(&mut self, key: &str, octets: &[u8]) {
        self.raw(key, &Zeroizing::new(hex::encode_upper(octets)));
    }

    fn push(&mut self, parts: &[&str]) {
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String, String)>, String> {
        let file = KeyFile::parse(text.as_bytes()).map_err(|bad| format!("{}: {}", bad.place, bad.reason))?;
        let entries = |group: &Group<'_>| {
            let entries = group.entries.iter();
            entries.map(|e| (group.name.to_owned(), e.key.to_owned(), e.value.to_owned())).collect::<Vec<_>>()
        };
        Ok(file.groups.iter().flat_map(entries).collect())
    }

    #[test]
    fn lines_are_parted_as_glib_parts_them() {
        let text = "# comment\r\n\n [A] \t\r\n Key = value \r\nB=a=b\n[C]\nD=\n[A]\nE=1";
        let rows = parse(text).unwrap();
        let rows: Vec<_> = rows.iter().map(|(g, k, v)| (g.as_str(), k.as_str(), v.as_str())).collect();
        assert_eq!(rows, [("A", "Key", "value "), ("A", "B", "a=b"), ("A", "E", "1"), ("C", "D", "")]);
    }

    #[test]
    fn a_broken_line_fails_the_file_by_its_place() {
        for (text, message) in [
            ("A=1", "line 1: stands before the first group"),
            ("[A]\nnothing", "line 2: is neither a [Group] nor Key=Value"),
            ("[A]\n=1", "line 2: is neither a [Group] nor Key=Value"),
            ("[A]\nName[de]=1", "line 2: is neither a [Group] nor Key=Value"),
            ("[A", "line 1: is not a [Group]"),
            ("[]", "line 1: is not a [Group]"),
            ("[A]B", "line 1: is not a [Group]"),
            ("[A]\nB=1\n[A]\nB=1", "[A] B: comes twice"),
            ("[A]\n0011223344556677=1\n0011223344556677=2", "[A] (an odd name): comes twice"),
            ("\u{feff}[A]", "the file: begins with a byte order mark, which key files must not have"),
            ("[A]\nB=\0", "the file: holds a zero octet"),
        ] {
            assert_eq!(parse(text).unwrap_err(), message);
        }
        assert_eq!(KeyFile::parse(b"[A]\nB=\xFF").err().unwrap().reason, "is not UTF-8");
        assert!(parse(&"#".repeat(FILE_OCTETS_MAX + 1)).unwrap_err().contains("is longer"));
        assert!(parse(&"[A]\n".repeat(KEYS_MAX + 1)).unwrap_err().contains("is beyond"));
    }

    #[test]
    fn no_text_breaks_out_of_its_line() {
        for text in ["lock", " a b ", "\t\t x", "\n[LinkKey]\nKey=00", "\\n", "a\rb", "é=[x]", "#", "", " "]
        {
            assert!(is_writable(text));
            let mut writer = Writer::new(64);
            writer.group("General");
            writer.raw("Name", &escaped(text));
            let written = writer.finish();
            let file = KeyFile::parse(&written).unwrap();
            assert_eq!(file.groups.len(), 1, "{text:?}");
            assert_eq!(unescaped(file.groups[0].get("Name").unwrap()).unwrap(), text);
        }
        assert!(!is_writable("a\0") && !is_writable("\u{1b}[2J"));
        assert_eq!((unescaped("\\x"), unescaped("a\\")), (None, None));
    }
}
