//! Reads the `use` lines of `src/` against the house's floors: nobody looks up, and
//! the pure modules stay pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each module may import of the crate besides itself. `bond` is the ground floor.
const MAY_USE: &[(&str, &[&str])] = &[
    ("bond", &[]),
    ("format", &["bond"]),
    ("mgmt", &["bond"]),
    ("api", &["bond", "format"]),
    ("audit", &["bond", "format"]),
    ("store", &["bond", "format"]),
    // `store` for its messages only; see `messages_only`.
    ("adapter", &["bond", "mgmt", "audit", "store"]),
    ("registry", &["bond", "mgmt", "adapter", "store"]),
    ("watch", &["bond", "mgmt", "adapter"]),
    ("bluez", &["bond", "adapter"]),
    ("mqtt", &["bond", "api", "audit", "adapter", "store"]),
    ("config", &["bond", "api"]),
    ("supervisor", &[]),
    ("telemetry", &["api"]),
    ("app", &["*"]),
    ("cli", &["app", "audit", "bond", "config", "format", "store"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// (module, of which module, only these paths below it).
const MESSAGES_ONLY: &[(&str, &str, &[&str])] = &[
    ("adapter", "store", &["messages"]),
    ("registry", "store", &["messages"]),
    ("adapter", "audit", &["messages"]),
    ("mqtt", "audit", &["messages"]),
    ("mqtt", "store", &["messages"]),
    ("mqtt", "adapter", &["messages", "gate"]),
    ("watch", "adapter", &["messages"]),
    ("bluez", "adapter", &["messages"]),
    ("registry", "adapter", &["messages"]),
];

/// Files that take time as an argument and touch nothing outside.
const PURE: &[&str] = &[
    "bond/",
    "mgmt/frame.rs",
    "mgmt/record.rs",
    "mgmt/event.rs",
    "mgmt/command.rs",
    "mgmt/load.rs",
    "mgmt/session.rs",
    "mgmt/hci.rs",
    "mgmt/monitor.rs",
    "mgmt/filter.rs",
    "mgmt/status.rs",
    "mgmt/reply.rs",
    "adapter/machine.rs",
    "adapter/machine/",
    "adapter/load.rs",
    "adapter/pairing.rs",
    "adapter/shadow.rs",
    "adapter/gate.rs",
    "adapter/intake.rs",
    "registry/machine.rs",
    "watch/links.rs",
    "watch/machine.rs",
    "bluez/objects.rs",
    "bluez/schedule.rs",
    "store/debounce.rs",
    "mqtt/topics.rs",
    "mqtt/outbox.rs",
    "mqtt/backoff.rs",
];

/// As pure, but for the documents that they are about.
const PURE_DOCUMENTS: &[&str] = &["mqtt/board.rs", "mqtt/discovery.rs", "mqtt/render.rs"];

const IMPURE_WORDS: &[&str] = &[
    "tokio::",
    "actix::",
    "tracing::",
    "serde::",
    "serde_json::",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "rand::",
    "sled::",
    "rumqttc::",
    "std::process",
    "std::io::Read",
    "println!",
];

struct Source {
    /// Below `src/`.
    path: String,
    /// Without its unit tests and comments.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(root, &path, found);
            continue;
        }
        let relative = path.strip_prefix(root).unwrap().display().to_string();
        let is_test = ["tests.rs", "testing.rs", "vectors.rs"].iter().any(|end| relative.ends_with(end))
            || relative.contains("/tests/");
        if is_test || path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        found.push(Source { path: relative, code: code.join("\n") });
    }
}

fn module(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Every `crate::a::b` in the code, as (a, b).
fn crate_paths(code: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices("crate::")
        .map(|(at, word)| {
            let mut rest = code[at + word.len()..].split("::");
            let mut next = || -> String {
                rest.next().unwrap_or_default().chars().take_while(|c| is_name(*c)).collect()
            };
            (next(), next())
        })
        .collect()
}

#[test]
fn nobody_imports_from_a_higher_floor() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    for source in sources() {
        let own = module(&source.path);
        let allowed = may_use.get(own).unwrap_or_else(|| panic!("{own} has no floor: add it to the table"));
        for (used, below) in crate_paths(&source.code) {
            // Capitals and the crate's own macros are not modules.
            if used == own || !may_use.contains_key(used.as_str()) {
                continue;
            }
            assert!(
                allowed.contains(&"*") || allowed.contains(&used.as_str()),
                "{} imports {used}",
                source.path
            );
            let limit = MESSAGES_ONLY.iter().find(|(from, of, _)| *from == own && *of == used);
            if let Some((_, _, paths)) = limit {
                assert!(paths.contains(&below.as_str()), "{} imports {used}::{below}", source.path);
            }
        }
    }
}

#[test]
fn the_pure_modules_know_no_io_clock_randomness_or_actor() {
    let all = sources();
    for prefix in PURE.iter().chain(PURE_DOCUMENTS) {
        let files: Vec<&Source> = all.iter().filter(|source| source.path.starts_with(prefix)).collect();
        assert!(!files.is_empty(), "{prefix} is gone: correct the list");
        let documents = PURE_DOCUMENTS.contains(prefix);
        for source in files {
            for word in IMPURE_WORDS.iter().filter(|word| !(documents && word.starts_with("serde"))) {
                assert!(!source.code.contains(word), "{} uses {word}", source.path);
            }
        }
    }
}

#[test]
fn unsafe_code_stands_in_the_socket_module_only() {
    for source in sources() {
        let has_unsafe = source.code.contains("unsafe {") || source.code.contains("allow(unsafe_code)");
        assert!(!has_unsafe || source.path.starts_with("mgmt/socket"), "{} has unsafe code", source.path);
    }
}

#[test]
fn key_octets_are_exposed_only_where_they_are_stored_loaded_or_exported() {
    const ALLOWED: &[&str] = &[
        "bond/key.rs",
        "bond/fingerprint.rs",
        "format/",
        "mgmt/privacy.rs",
        "mgmt/record.rs",
        "store/record",
        "store/secret.rs",
    ];
    for source in sources() {
        let allowed = ALLOWED.iter().any(|prefix| source.path.starts_with(prefix));
        assert!(allowed || !source.code.contains("key.expose()"), "{} sees key octets", source.path);
    }
}

#[test]
fn do_send_is_never_used() {
    for source in sources() {
        assert!(
            !source.code.contains(".do_send("),
            "{} uses do_send, which ignores the mailbox's capacity",
            source.path
        );
    }
}
