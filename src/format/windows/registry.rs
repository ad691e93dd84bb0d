//! Registry files as regedit, `reged` and `hivexregedit` write them.
//!
//! The first line is the signature. `[path]` begins a key, `"name"=data` is one of its values; a line of octets goes
//! on behind a `\`. Octets are `hex:` or `hex(3):`, 64-bit numbers `hex(b):` (least significant octet first), 32-bit numbers
//! `dword:` with eight digits. Text is UTF-16LE behind a mark (regedit) or octets (the others); lines end in
//! CRLF or LF.

use zeroize::Zeroizing;

/// First line of the file.
pub(super) const SIGNATURE: &str = "Windows Registry Editor Version 5.00";

/// Longest name of a value and deepest useful path: what Windows allows is longer, but not in these keys.
const NAME_OCTETS_MAX: usize = 128;

/// One value of a key, its data joined to one line.
pub(super) struct Value {
    pub name: String,
    pub data: Zeroizing<String>,
}

/// A line that cannot be taken, counted from 1.
pub(super) struct Broken {
    pub line: usize,
    pub reason: &'static str,
}

/// The text of a file in either of its forms. Octets that are no UTF-8 stand for themselves, as
/// older programs write what they find.
pub(super) fn decoded(bytes: &[u8]) -> Option<Zeroizing<String>> {
    if let Some(units) = bytes.strip_prefix(b"\xFF\xFE") {
        if !units.len().is_multiple_of(2) {
            return None;
        }
        let units = units.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        // Three octets of UTF-8 are the most that a unit comes to.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() / 2 * 3));
        for c in char::decode_utf16(units) {
            text.push(c.ok()?);
        }
        return Some(text);
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    Some(Zeroizing::new(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            text.extend(bytes.iter().map(|byte| char::from(*byte)));
            text
        }
    }))
}

pub(super) fn has_signature(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.trim_end() == SIGNATURE)
}

/// Goes through a file: `key` is told each path and says whether its values are wanted, `value` gets them. Lines
/// of keys that are not wanted need not make sense.
pub(super) fn walk<'a>(
    text: &'a str,
    mut key: impl FnMut(&'a str, usize) -> Result<bool, Broken>,
    mut value: impl FnMut(Value, usize) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut wanted = false;
    let mut lines = text.lines().enumerate().skip(1);
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let line = line.trim_end();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        if let Some(path) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            wanted = key(path, number)?;
            continue;
        }
        if !wanted {
            continue;
        }
        let broken = |reason| Broken { line: number, reason };
        let (name, first) = split(line).ok_or_else(|| broken("is neither a [key] nor a \"name\"=value"))?;
        let mut data = Zeroizing::new(String::with_capacity(first.len()));
        let mut part = first;
        while let Some(begun) = part.strip_suffix('\\').filter(|_| first.starts_with("hex")) {
            append(&mut data, begun);
            part = lines.next().ok_or_else(|| broken("goes on behind the end of the file"))?.1.trim();
        }
        append(&mut data, part);
        value(Value { name, data }, number)?;
    }
    Ok(())
}

/// Adds to a text that may hold a key, and leaves no copy behind where it grows.
fn append(data: &mut Zeroizing<String>, part: &str) {
    if data.capacity() - data.len() < part.len() {
        let mut larger = Zeroizing::new(String::with_capacity((data.len() + part.len()) * 2));
        larger.push_str(data);
        *data = larger;
    }
    data.push_str(part);
}

/// A value's name and what stands behind its equals sign. The default value has the name `@`.
fn split(line: &str) -> Option<(String, &str)> {
    if let Some(data) = line.strip_prefix("@=") {
        return Some(("@".to_owned(), data));
    }
    let mut rest = line.strip_prefix('"')?.char_indices();
    let quoted = &line[1..];
    let mut name = String::new();
    loop {
        match rest.next()? {
            (_, '\\') => name.push(rest.next()?.1),
            (at, '"') => {
                let data = quoted[at + 1..].strip_prefix('=')?;
                return (name.len() <= NAME_OCTETS_MAX).then_some((name, data));
            }
            (_, c) => name.push(c),
        }
    }
}

/// A value's name between its quotes.
pub(super) fn quoted(name: &str) -> Option<String> {
    let plain = name.len() <= NAME_OCTETS_MAX && !name.chars().any(char::is_control);
    plain.then(|| {
        if name == "@" {
            name.to_owned()
        } else {
            format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
        }
    })
}

/// The octets of `hex:` or `hex(3):`.
pub(super) fn binary(data: &str) -> Option<Zeroizing<Vec<u8>>> {
    octets(data.strip_prefix("hex:").or_else(|| data.strip_prefix("hex(3):"))?)
}

/// The number of `hex(b):`.
pub(super) fn qword(data: &str) -> Option<u64> {
    let octets = octets(data.strip_prefix("hex(b):")?)?;
    Some(u64::from_le_bytes(octets.as_slice().try_into().ok()?))
}

/// The number of `dword:`.
pub(super) fn dword(data: &str) -> Option<u32> {
    let digits = data.strip_prefix("dword:")?;
    let plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// Text between quotes.
pub(super) fn text(data: &str) -> Option<String> {
    let inner = data.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => chars.next()?,
            '"' => return None,
            c => c,
        });
    }
    Some(text)
}

/// Whether data can be written as it stands: one line that ends where it should.
pub(super) fn is_data(data: &str) -> bool {
    let typed = || {
        let (kind, list) = data.strip_prefix("hex")?.split_once(':')?;
        let code = kind.strip_prefix('(').and_then(|code| code.strip_suffix(')'));
        let plain =
            |code: &str| (1..=8).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_hexdigit());
        (kind.is_empty() || code.is_some_and(plain)).then(|| octets(list)).flatten()
    };
    let quoted = || text(data).is_some_and(|text| !text.chars().any(char::is_control));
    dword(data).is_some() || typed().is_some() || quoted()
}

/// Pairs of digits with commas between; an empty list is none.
fn octets(list: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::with_capacity(list.len() / 3 + 1));
    if list.is_empty() {
        return Some(octets);
    }
    for pair in list.split(',') {
        let mut octet = [0];
        hex::decode_to_slice(pair.trim(), &mut octet).ok()?;
        octets.push(octet[0]);
    }
    Some(octets)
}

/// Writes a file as regedit does, in buffers that do not grow.
pub(super) struct Writer {
    text: Zeroizing<String>,
    line_octets: usize,
}

/// Columns after which regedit begins a new line of octets.
const LINE_COLUMNS: usize = 76;

impl Writer {
    /// `room`: at least as many octets of UTF-8 as will be written.
    pub fn new(room: usize) -> Self {
        let mut writer = Self { text: Zeroizing::new(String::with_capacity(room)), line_octets: 0 };
        writer.push(SIGNATURE);
        writer.push("\r\n");
        writer
    }

    pub fn key(&mut self, path: &str) {
        for part in ["\r\n[", path, "]\r\n"] {
            self.push(part);
        }
    }

    pub fn binary(&mut self, name: &str, octets: &[u8]) {
        self.line_octets = 0;
        self.begin(name);
        self.push("hex:");
        self.list(octets);
    }

    pub fn qword(&mut self, name: &str, number: u64) {
        self.begin(name);
        self.push("hex(b):");
        self.list(&number.to_le_bytes());
    }

    pub fn dword(&mut self, name: &str, number: u32) {
        self.begin(name);
        self.push(&format!("dword:{number:08x}\r\n"));
    }

    /// Data as an import kept it; [`is_data`] must have passed it.
    pub fn raw(&mut self, name: &str, data: &str) {
        self.begin(name);
        self.push(data);
        self.push("\r\n");
    }

    fn begin(&mut self, name: &str) {
        self.line_octets = 0;
        self.push(&quoted(name).unwrap_or_default());
        self.push("=");
    }

    fn list(&mut self, octets: &[u8]) {
        for (at, octet) in octets.iter().enumerate() {
            if at > 0 {
                self.push(",");
                if self.line_octets > LINE_COLUMNS {
                    self.push("\\\r\n");
                    self.line_octets = 0;
                    self.push("  ");
                }
            }
            self.push(&Zeroizing::new(hex::encode([*octet])));
        }
        self.push("\r\n");
    }

    fn push(&mut self, part: &str) {
        self.line_octets += part.len();
        self.text.push_str(part);
    }

    /// UTF-16LE behind its mark.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        let units = self.text.encode_utf16().count();
        let mut octets = Zeroizing::new(Vec::with_capacity(2 + 2 * units));
        octets.extend_from_slice(b"\xFF\xFE");
        for unit in self.text.encode_utf16() {
            octets.extend_from_slice(&unit.to_le_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(lines: &str) -> Result<Vec<(String, String)>, (usize, &'static str)> {
        let mut found = Vec::new();
        let text = format!("{SIGNATURE}\r\n\r\n[A]\r\n{lines}");
        walk(
            &text,
            |path, _| Ok(path == "A"),
            |value, _| {
                found.push((value.name, value.data.to_string()));
                Ok(())
            },
        )
        .map_err(|broken| (broken.line, broken.reason))?;
        Ok(found)
    }

    #[test]
    fn a_value_goes_on_behind_a_backslash() {
        let pair = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        let found = values(
            "\"a\"=hex:01,\\\r\n  02,\\\n  03\r\n; note\r\n@=dword:00000001\n\"b\\\\\\\"\"=\"x\\\\\"\n",
        )
        .unwrap();
        assert_eq!(
            found,
            [pair("a", "hex:01,02,03"), pair("@", "dword:00000001"), pair("b\\\"", "\"x\\\\\"")]
        );
        assert_eq!(values("\"a\"=hex:01,\\").unwrap_err().0, 4);
        for broken in ["a=1", "\"a=1", "\"a\"", "]"] {
            assert_eq!(values(broken).unwrap_err(), (4, "is neither a [key] nor a \"name\"=value"));
        }
        assert_eq!(values("[B]\nnonsense\n[A]\n\"a\"=-").unwrap(), [pair("a", "-")]);
    }

    #[test]
    fn data_is_read_in_its_type_and_no_other() {
        assert_eq!(binary("hex(3):00,fF").unwrap().as_slice(), [0, 255]);
        assert!(binary("hex:0,1").is_none() && binary("hex:0001").is_none() && binary("hex(b):00").is_none());
        assert_eq!(qword("hex(b):01,00,00,00,00,00,00,80"), Some(0x8000_0000_0000_0001));
        assert!(qword("hex(b):01").is_none());
        assert_eq!(dword("dword:0000002d"), Some(45));
        assert!(dword("dword:2d").is_none() && dword("dword:+000002d").is_none());
        for good in ["hex(2):61,00", "hex:", "\"a\\\"b\"", "dword:00000000"] {
            assert!(is_data(good), "{good}");
        }
        for bad in ["-", "hex(zz):00", "\"a\"b\"", "hex:00\r\n[x]", "dword:00000000\n", "\"a\nb\""] {
            assert!(!is_data(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_read_in_both_encodings() {
        let mut writer = Writer::new(1_000);
        writer.key("HKEY_LOCAL_MACHINE\\A");
        writer.binary("long", &[0x5A; 60]);
        let capacity = writer.text.capacity();
        assert_eq!(capacity, 1_000);
        let wide = writer.finish();
        let text = decoded(&wide).unwrap();
        assert!(has_signature(&text));
        assert!(text.lines().all(|line| line.len() <= 80), "{}", text.as_str());
        assert_eq!(*decoded(text.as_bytes()).unwrap(), *text);
        assert_eq!(decoded(b"caf\xE9").unwrap().as_str(), "café");
        assert!(decoded(b"\xFF\xFEa").is_none() && decoded(b"\xFF\xFE\x00\xD8").is_none());
    }
}
