//! The add-on's files against the rules of Home Assistant's Supervisor that we rely on.
//!
//! The Supervisor drops an unknown key silently, refuses an add-on with two AppArmor profiles, cannot
//! start one that has a dictionary option without a default, and takes every file called `config.yaml` for an
//! add-on. Each rule is stated here once, and each is shown to notice its violation.

pub mod rules;

use std::path::Path;

use bondkeeper::api::Code;
use bondkeeper::config::{Settings, Sources};
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use rules::{Folder, keys, violations};

#[test]
fn the_add_on_follows_the_supervisors_rules() {
    assert_eq!(violations(&Folder::ours()), Vec::<String>::new());
}

#[test]
fn each_violation_is_noticed() {
    let good = Folder::ours();
    let config = |from: &str, to: &str| good.with("config.yaml", from, to);
    let mut second = good.clone();
    second.paths.push("tests/fixtures/config.json".to_owned());
    let cases = [
        (config("slug: bondkeeper", "slug: bond keeper"), "slug"),
        (config("arch:", "architecture:"), "architecture is not known"),
        (config("stage: experimental", "stage: stable"), "stage holds its default"),
        (config("startup: services", "startup: application"), "startup holds its default"),
        (config("version: \"", "version: \"9"), "not that of the program"),
        (config("  - NET_RAW", "  - NET_RAW\n  - SYS_ADMIN"), "privileged"),
        (config("host_network: true", "host_network: false"), "host_network"),
        (config("  - mqtt:want", "  - mysql:want"), "without services"),
        (config("  - share:rw", "  - ssl"), "map"),
        (config("timeout: ", "timeout: 9"), "timeout"),
        (config("\"2025.10.0\"", "\"2024.11.0\""), "homeassistant"),
        (config("  - \"*/store/sled/*\"\n", ""), "would copy store/sled/db"),
        (config("  - \"*/health.sock\"", "  - \"*/snapshots/*\""), "would lack store/snapshots"),
        (config("  mqtt: {}\n", ""), "option mqtt: a dictionary needs a default"),
        (config("  adapter_modes: []\n", ""), "option adapter_modes: a list needs a default"),
        (config("  node: homeassistant\n", ""), "option node has no default"),
        (config("  log_level: info\n", "  log_level: loud\n"), "option log_level has a default"),
        (config("  discovery: true\n", "  discovery: true\n  web: true\n"), "option web: no schema"),
        (config("    host: str?", "    host: text?"), "mqtt.host is of a kind"),
        (config("    host: str?", "    host: str"), "mqtt.host has no default"),
        (config("    tls: bool?", "    tls:\n      on: bool?"), "mqtt.tls: too deep"),
        (good.with("translations/de.yaml", "  discovery:", "  diskovery:"), "de.yaml: discovery has no name"),
        (good.with("translations/en.yaml", "  discovery:", "  diskovery:"), "no option diskovery"),
        (good.with("apparmor.txt", "profile ", "profile other {\n}\nprofile "), "2 profiles"),
        (good.with("apparmor.txt", "  capability net_raw,", "  capability sys_admin,"), "sys_admin"),
        (good.with("apparmor.txt", "  capability net_raw,", "  /bin/sh ix,"), "another program"),
        (good.with("apparmor.txt", "  capability net_raw,", "  file,"), "too wide"),
        (good.with("repository.yaml", "name:", "title:"), "repository.yaml has no name"),
        (good.with("Dockerfile", "HEALTHCHECK", "# "), "no \nHEALTHCHECK"),
        (good.with("Dockerfile", "VOLUME", "RUN true\nVOLUME"), "runs something"),
        (good.with("Dockerfile", "tests/image/suite.rs", ""), "tests/image/suite.rs of Cargo.toml"),
        (good.with("Dockerfile", "debian:13.2-slim", "debian:latest"), "BASE_IMAGE= names no version"),
        (second, "tests/fixtures/config.json would be taken"),
    ];
    for (folder, words) in cases {
        let found = violations(&folder);
        assert!(found.iter().any(|violation| violation.contains(words)), "{words}: {found:?}");
    }
}

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(hash) => {
            hash.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value))).collect()
        }
        Yaml::Array(list) => list.iter().map(to_json).collect(),
        Yaml::Integer(number) => json!(number),
        Yaml::Boolean(flag) => json!(flag),
        other => json!(other.as_str()),
    }
}

/// Reads the options as the add-on does when the Supervisor has written these.
fn settings(options: &Value) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("options.json");
    std::fs::write(&path, options.to_string()).unwrap();
    let environment = Folder::ours().yaml("config.yaml")["environment"].clone();
    let variable = |key: String| (key.clone(), environment[key.as_str()].as_str().unwrap().to_owned());
    let sources = Sources {
        addon_options: Some(path),
        environment: keys(&environment).into_iter().map(variable).collect(),
        supervisor_token: Some("token".to_owned()),
        ..Sources::default()
    };
    Settings::load(&sources, "host").unwrap_or_else(|error| panic!("{options}: {error}"))
}

#[test]
fn the_default_options_are_taken_as_the_supervisor_writes_them() {
    let settings = settings(&to_json(&Folder::ours().yaml("config.yaml")["options"]));
    assert_eq!(settings.mqtt.host, None, "the Supervisor says which broker");
    assert!(!settings.clear_exports);
    assert_eq!(settings.data_dir, Path::new("/data"));
    assert_eq!(settings.export_dir, Path::new("/share/bondkeeper"));
}

#[test]
fn an_option_of_every_key_is_taken() {
    let schema = Folder::ours().yaml("config.yaml")["schema"].clone();
    let full = json!({
        "mqtt": { "host": "h", "port": 8883, "username": "u", "password": "p", "tls": true, "ca_file": "/c",
            "cert_file": "/d", "key_file": "/k" },
        "base_topic": "bonds", "node": "attic", "adapters": { "default_mode": "observe" },
        "adapter_modes": [{ "address": "00:1a:7d:da:71:11", "mode": "own" }],
        "commands": "read", "log_level": "debug", "discovery": false, "dbus": false, "clear_exports": true, "automatic_copies": "clear",
        "export_passphrase": "six random words are enough",
        "learn": false,
        "store": { "seal": true, "seal_passphrase_file": "/share/bondkeeper/seal.txt",
            "seal_passphrase": "" },
    });
    for key in keys(&schema) {
        let element = &schema[key.as_str()];
        assert!(!full[&key].is_null(), "{key}");
        for member in keys(element) {
            assert!(!full[&key][&member].is_null(), "{key}.{member}");
        }
    }
    let settings = settings(&full);
    assert_eq!(
        (settings.node.as_str(), settings.mqtt.port, settings.adapters.modes.len()),
        ("attic", 8883, 1)
    );
}

#[test]
fn the_manual_names_every_option_every_verb_and_every_error() {
    let folder = Folder::ours();
    let manual = folder.text("DOCS.md");
    let schema = folder.yaml("config.yaml")["schema"].clone();
    let options = keys(&schema).into_iter().flat_map(|key| {
        let members =
            keys(&schema[key.as_str()]).into_iter().map(|m| format!("{key}.{m}")).collect::<Vec<_>>();
        if members.is_empty() { vec![key] } else { members }
    });
    let codes = Code::ALL.iter().map(|code| code.as_str().to_owned());
    // The contract's table of verbs.
    let contract = folder.text("docs/mqtt.md");
    let table = contract.split("| verb |").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs = table.lines().skip(2).flat_map(|row| {
        let cell = row.split('|').nth(1).unwrap_or_default();
        cell.split(',').map(|verb| verb.trim().trim_matches('`').to_owned()).collect::<Vec<_>>()
    });
    let mut count = 0;
    for word in options.chain(codes).chain(verbs) {
        assert!(manual.contains(&format!("`{word}`")), "DOCS.md does not name {word}");
        count += 1;
    }
    assert!(count > 50, "{count}");
}

#[test]
fn dashboard_and_blueprints_can_be_read() {
    let folder = Folder::ours();
    let addon: Vec<&String> =
        folder.texts.keys().filter(|path| path.starts_with("addon/") && path.ends_with(".yaml")).collect();
    assert!(addon.len() >= 3, "{addon:?}");
    for path in addon {
        let text = folder.text(path);
        // Home Assistant's own tags are no mistake.
        YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}
