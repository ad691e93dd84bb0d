//! Reads the profile, rule by rule, and the kernel's lines about it.

use std::collections::BTreeMap;

/// What a rule ends with that lets a program be started, which then stays under the profile.
const STARTS: &str = "ix";

/// One line of the kernel's log: what the service asked for and the profile does not grant.
pub struct Access {
    /// The profile complains only.
    pub allowed: bool,
    fields: BTreeMap<String, String>,
    line: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.line)
    }
}

impl Access {
    /// `… apparmor="DENIED" operation="open" profile="…" name="…" requested_mask="r" …`
    pub fn read(line: &str) -> Option<Self> {
        let (_, text) = line.split_once("apparmor=")?;
        let mut fields = BTreeMap::new();
        for pair in format!("apparmor={text}").split(' ') {
            if let Some((name, value)) = pair.split_once('=') {
                fields.insert(name.to_owned(), value.trim_matches('"').to_owned());
            }
        }
        let verdict = fields["apparmor"].clone();
        let of_ours = fields.get("profile").is_some_and(|profile| profile.starts_with("bondkeeper"));
        (of_ours && ["DENIED", "ALLOWED"].contains(&verdict.as_str())).then(|| Self {
            allowed: verdict == "ALLOWED",
            fields,
            line: text.to_owned(),
        })
    }

    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The letters of a rule that this access needs.
    fn wants(&self, letter: char) -> bool {
        let asked = self.field("requested_mask");
        match letter {
            // Creating and deleting are ways to write.
            'w' => asked.contains(['w', 'c', 'd', 'a']),
            other => asked.contains(other),
        }
    }
}

/// One rule, in its words.
#[derive(Debug)]
pub struct Rule(String);

impl Rule {
    /// What kernels of Debian 12 and 13 do not look at: D-Bus messages (Ubuntu's kernel does, with the bus's help) and
    /// connecting to a socket that has a path (6.17 and newer).
    fn is_for_other_kernels(&self) -> bool {
        self.0.starts_with("dbus ") || self.0.starts_with("/run/dbus/system_bus_socket ")
    }

    /// Whether something that was asked for would be refused without the rule, or without one letter of it.
    pub fn is_needed(&self, asked: &[Access]) -> bool {
        if self.is_for_other_kernels() {
            return true;
        }
        let words: Vec<&str> = self.0.split_whitespace().collect();
        let any = |fits: &dyn Fn(&Access) -> bool| asked.iter().any(fits);
        match *words {
            ["capability", name] => any(&|access| access.field("capname") == name),
            ["network", family, kind] => {
                any(&|access| access.field("family") == family && access.field("sock_type") == kind)
            }
            ["signal", what, ..] => any(&|access| {
                access.field("operation") == "signal"
                    && what == format!("({})", access.field("requested_mask"))
            }),
            [path, letters] => {
                let named = |access: &Access| matches(path, access.field("name"));
                letters
                    .trim_end_matches(STARTS)
                    .chars()
                    .all(|letter| any(&|access| named(access) && access.wants(letter)))
            }
            _ => panic!("a rule of a kind that this test does not know: {}", self.0),
        }
    }
}

/// The glob patterns that the profile uses.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.replace("@{PROC}", "/proc").replace("@{pid}", "[0-9]").replace("@{tid}", "[0-9]");
    matches_octets(pattern.as_bytes(), name.as_bytes())
}

fn matches_octets(pattern: &[u8], name: &[u8]) -> bool {
    if let Some(rest) = pattern.strip_prefix(b"[0-9]") {
        let digits = name.iter().take_while(|octet| octet.is_ascii_digit()).count();
        return digits > 0 && matches_octets(rest, &name[digits..]);
    }
    if let Some(rest) = pattern.strip_prefix(b"**") {
        return (1..=name.len()).any(|at| matches_octets(rest, &name[at..]));
    }
    if let Some(rest) = pattern.strip_prefix(b"*") {
        let within = name.iter().position(|octet| *octet == b'/').unwrap_or(name.len());
        return (0..=within).any(|at| matches_octets(rest, &name[at..]));
    }
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((one, rest)), Some((other, left))) => one == other && matches_octets(rest, left),
        _ => false,
    }
}

pub struct Profile {
    pub text: String,
    pub rules: Vec<Rule>,
}

impl Profile {
    pub fn ours() -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/apparmor.txt")).unwrap();
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let rules =
            lines.filter_map(|line| line.strip_suffix(',')).map(|line| Rule(line.to_owned())).collect();
        Self { text, rules }
    }

    /// With nothing but what the C library is allowed anywhere, and that the program may be started; what else is
    /// asked for is granted and printed.
    pub fn empty_and_complaining(&self) -> String {
        let kept = |line: &&str| {
            let line = line.trim();
            line.starts_with("#include <") || line.starts_with("profile ") || line == "}"
        };
        let starts =
            self.rules.iter().filter_map(|rule| rule.0.split_once(' ')).filter(|(_, l)| l.ends_with(STARTS));
        let starts: String = starts.map(|(path, _)| format!("  {path} {STARTS},\n")).collect();
        let frame: Vec<&str> = self.text.lines().filter(kept).collect();
        let complaining = frame.join("\n").replace("flags=(", "flags=(complain,");
        assert!(complaining.contains("complain"), "the profile has flags");
        complaining.replace("\n}", &format!("\n{starts}}}"))
    }

    /// Without the rules that let a program be started.
    pub fn that_starts_nothing(&self) -> String {
        let kept = |line: &&str| !line.ends_with(&format!("{STARTS},"));
        self.text.lines().filter(kept).collect::<Vec<_>>().join("\n")
    }
}
