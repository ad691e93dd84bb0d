//! What the Supervisor, its linter or we ourselves would object to in the add-on's files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

/// Keys of `config.yaml` that we use. The Supervisor knows more and drops what it does not know.
const KEYS: &[&str] = &[
    "name",
    "version",
    "slug",
    "description",
    "url",
    "image",
    "arch",
    "stage",
    "startup",
    "homeassistant",
    "host_dbus",
    "host_network",
    "privileged",
    "services",
    "map",
    "environment",
    "timeout",
    "backup_exclude",
    "options",
    "schema",
];

const REQUIRED: &[&str] = &["name", "version", "slug", "description", "arch"];

/// The Supervisor's own defaults: writing one down is an error for its linter.
const DEFAULTS: &[(&str, &str)] = &[
    ("startup", "application"),
    ("boot", "auto"),
    ("stage", "stable"),
    ("init", "true"),
    ("apparmor", "true"),
    ("host_dbus", "false"),
    ("host_network", "false"),
    ("ingress", "false"),
    ("timeout", "10"),
    ("backup", "hot"),
];

/// Everything that could grant more than the kernel suite needs.
const PRIVILEGES: &[&str] = &["NET_ADMIN", "NET_RAW"];

const LANGUAGES: &[&str] = &["en", "de"];

/// Files below the root, by path.
#[derive(Clone)]
pub struct Folder {
    pub texts: BTreeMap<String, String>,
    pub paths: Vec<String>,
}

impl Folder {
    pub fn ours() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut paths = Vec::new();
        walk(root, root, &mut paths);
        let read = |path: &String| Some((path.clone(), std::fs::read_to_string(root.join(path)).ok()?));
        let wanted = |path: &&String| {
            ["config.yaml", "repository.yaml", "apparmor.txt", "Dockerfile", "Cargo.toml"]
                .contains(&path.as_str())
                || path.starts_with("translations/")
                || path.starts_with("addon/")
                || path.ends_with(".md")
        };
        let texts = paths.iter().filter(wanted).filter_map(read).collect();
        Self { texts, paths }
    }

    pub fn text(&self, path: &str) -> &str {
        self.texts.get(path).unwrap_or_else(|| panic!("{path} is missing"))
    }

    pub fn yaml(&self, path: &str) -> Yaml {
        YamlLoader::load_from_str(self.text(path)).unwrap_or_else(|error| panic!("{path}: {error}")).remove(0)
    }

    /// With a part of a file replaced.
    pub fn with(&self, path: &str, from: &str, to: &str) -> Self {
        let mut changed = self.clone();
        let text = self.text(path);
        assert!(text.contains(from), "{path} does not hold {from:?}");
        changed.texts.insert(path.to_owned(), text.replacen(from, to, 1));
        changed
    }
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What the Supervisor skips, and what a build leaves behind.
        if name.starts_with('.') || name == "rootfs" || name == "target" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(root, &entry.path(), paths);
        } else {
            paths.push(entry.path().strip_prefix(root).unwrap().display().to_string());
        }
    }
}

pub fn keys(yaml: &Yaml) -> Vec<String> {
    let hash = yaml.as_hash().into_iter().flatten();
    hash.filter_map(|(key, _)| key.as_str().map(str::to_owned)).collect()
}

fn words(yaml: &Yaml) -> Vec<String> {
    yaml.as_vec().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn scalar(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) => Some(text.clone()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        Yaml::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What the Supervisor, its linter, or we ourselves would have to object to.
pub fn violations(folder: &Folder) -> Vec<String> {
    let config = folder.yaml("config.yaml");
    let mut found = Vec::new();
    check_manifest(&config, &mut found);
    check_options(&config["options"], &config["schema"], &mut found);
    for language in LANGUAGES {
        let path = format!("translations/{language}.yaml");
        check_translation(&path, &folder.yaml(&path)["configuration"], &config["schema"], &mut found);
    }
    check_apparmor(folder.text("apparmor.txt"), &mut found);
    check_dockerfile(folder.text("Dockerfile"), folder.text("Cargo.toml"), &mut found);
    for path in &folder.paths {
        let name = path.rsplit('/').next().unwrap_or(path);
        if ["config.yaml", "config.yml", "config.json"].contains(&name) && path != "config.yaml" {
            found.push(format!("{path} would be taken for an add-on"));
        }
    }
    if folder.yaml("repository.yaml")["name"].as_str().is_none() {
        found.push("repository.yaml has no name".to_owned());
    }
    found
}

fn check_manifest(config: &Yaml, found: &mut Vec<String>) {
    for key in keys(config) {
        if !KEYS.contains(&key.as_str()) {
            found.push(format!("config.yaml: {key} is not known here"));
        }
    }
    found.extend(
        REQUIRED.iter().filter(|key| config[**key].is_badvalue()).map(|key| format!("config.yaml: no {key}")),
    );
    for (key, default) in DEFAULTS {
        if scalar(&config[*key]).as_deref() == Some(default) {
            found.push(format!("config.yaml: {key} holds its default"));
        }
    }
    let slug = config["slug"].as_str().unwrap_or_default();
    if slug.is_empty() || !slug.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        found.push("config.yaml: slug".to_owned());
    }
    if config["version"].as_str() != Some(env!("CARGO_PKG_VERSION")) {
        found.push("config.yaml: version is not that of the program".to_owned());
    }
    if words(&config["arch"]) != ["aarch64", "amd64"] {
        found.push("config.yaml: arch".to_owned());
    }
    if words(&config["privileged"]) != PRIVILEGES {
        found.push("config.yaml: privileged is not what the kernel asks for".to_owned());
    }
    if config["host_network"].as_bool() != Some(true) {
        found.push("config.yaml: without host_network there is no Bluetooth".to_owned());
    }
    if config["startup"].as_str() != Some("services") {
        found.push("config.yaml: startup after Home Assistant is too late".to_owned());
    }
    if words(&config["services"]) != ["mqtt:want"] {
        found.push("config.yaml: without services the Supervisor does not tell the broker".to_owned());
    }
    if words(&config["map"]) != ["share:rw"] {
        found.push("config.yaml: map".to_owned());
    }
    if !config["timeout"].as_i64().is_some_and(|seconds| (12..=300).contains(&seconds)) {
        found
            .push("config.yaml: timeout does not fit the shutdown, or the Supervisor's 10 to 300".to_owned());
    }
    let minimum: Vec<u32> = config["homeassistant"]
        .as_str()
        .unwrap_or_default()
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect();
    if minimum < vec![2025, 10, 0] {
        found.push("config.yaml: homeassistant is older than the discovery that we publish".to_owned());
    }
    for path in ["sled", "sled/db", "sled/blobs/7", "sled.damaged-1/db", "sled.before/db"] {
        if !excluded(config, &format!("/mnt/data/bondkeeper/store/{path}")) {
            found.push(format!("config.yaml: a hot backup would copy store/{path}"));
        }
    }
    let kept =
        ["snapshots/00-1A-7D-DA-71-11.json", "snapshots/00-1A-7D-DA-71-11.json.1", "checkpoints/x.json"];
    for path in kept.iter().chain(&["fingerprint.key"]) {
        if excluded(config, &format!("/mnt/data/bondkeeper/store/{path}")) {
            found.push(format!("config.yaml: a backup would lack store/{path}"));
        }
    }
}

/// Whether a hot backup leaves this path out.
pub fn excluded(config: &Yaml, path: &str) -> bool {
    words(&config["backup_exclude"]).iter().any(|glob| matches(glob, path))
}

/// As Python's `PurePath.match` does for a relative pattern: part by part from the right.
fn matches(glob: &str, path: &str) -> bool {
    let (mut glob, mut path) = (glob.rsplit('/'), path.rsplit('/'));
    glob.by_ref().all(|pattern| path.next().is_some_and(|part| matches_part(pattern, part)))
}

fn matches_part(pattern: &str, part: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == part,
        Some((head, tail)) => {
            let Some(rest) = part.strip_prefix(head) else { return false };
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches_part(tail, &rest[at..]))
        }
    }
}

/// The Supervisor's grammar of one schema element, as far as we use it, and a value held against it.
fn fits(element: &str, value: Option<&Yaml>) -> Result<(), &'static str> {
    let (kind, optional) = element.strip_suffix('?').map_or((element, false), |kind| (kind, true));
    let text = value.and_then(Yaml::as_str);
    let is_topic_level = |text: &str| {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        (1..=64).contains(&text.len()) && text.chars().all(allowed)
    };
    let fits = match kind {
        "str" | "password" => value.is_none() || text.is_some(),
        "bool" => value.is_none() || value.and_then(Yaml::as_bool).is_some(),
        "port" => value.is_none() || value.and_then(Yaml::as_i64).is_some_and(|p| (1..=65535).contains(&p)),
        "match(^[a-z0-9_-]{1,64}$)" => value.is_none() || text.is_some_and(is_topic_level),
        "match(^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$)" => value.is_none() || text.is_some(),
        _ => match kind.strip_prefix("list(").and_then(|rest| rest.strip_suffix(')')) {
            Some(list) => value.is_none() || text.is_some_and(|text| list.split('|').any(|w| w == text)),
            None => return Err("is of a kind that is not known here"),
        },
    };
    match (fits, value.is_none() && !optional) {
        (false, _) => Err("has a default that the schema refuses"),
        (true, true) => Err("has no default: the add-on cannot be started"),
        (true, false) => Ok(()),
    }
}

fn check_options(options: &Yaml, schema: &Yaml, found: &mut Vec<String>) {
    let known = keys(schema);
    found.extend(
        keys(options).iter().filter(|key| !known.contains(key)).map(|key| format!("option {key}: no schema")),
    );
    for key in &known {
        let (element, option) = (&schema[key.as_str()], &options[key.as_str()]);
        let given = (!option.is_badvalue()).then_some(option);
        match element {
            Yaml::String(element) => {
                if let Err(problem) = fits(element, given) {
                    found.push(format!("option {key} {problem}"));
                }
            }
            Yaml::Hash(_) => {
                if option.as_hash().is_none() {
                    found.push(format!("option {key}: a dictionary needs a default"));
                }
                let members = keys(element);
                for member in keys(option).iter().filter(|member| !members.contains(member)) {
                    found.push(format!("option {key}.{member}: no schema"));
                }
                check_members(key, element, Some(option), found);
            }
            Yaml::Array(list) if list.len() == 1 => {
                if !option.as_vec().is_some_and(Vec::is_empty) {
                    found.push(format!("option {key}: a list needs a default, and ours are empty"));
                }
                check_members(key, &list[0], None, found);
            }
            _ => found.push(format!("option {key}: its schema is no element, dictionary or list of one")),
        }
    }
}

/// One level below: the options page renders no deeper one.
fn check_members(key: &str, members: &Yaml, options: Option<&Yaml>, found: &mut Vec<String>) {
    for member in keys(members) {
        let Some(element) = members[member.as_str()].as_str() else {
            found.push(format!("option {key}.{member}: too deep for the options page"));
            continue;
        };
        let option = options.map(|options| &options[member.as_str()]).filter(|option| !option.is_badvalue());
        // A row of a list is the user's: nothing has to be there before.
        let element = if options.is_none() {
            format!("{}?", element.trim_end_matches('?'))
        } else {
            element.to_owned()
        };
        if let Err(problem) = fits(&element, option) {
            found.push(format!("option {key}.{member} {problem}"));
        }
    }
}

fn check_translation(path: &str, texts: &Yaml, schema: &Yaml, found: &mut Vec<String>) {
    let mut check = |place: String, text: &Yaml| {
        for part in ["name", "description"] {
            if text[part].as_str().is_none_or(|words| words.trim().is_empty()) {
                found.push(format!("{path}: {place} has no {part}"));
            }
        }
    };
    let mut expected = BTreeSet::new();
    for key in keys(schema) {
        let text = &texts[key.as_str()];
        check(key.clone(), text);
        let element = &schema[key.as_str()];
        let members = element.as_vec().map_or(element, |list| &list[0]);
        for member in keys(members) {
            check(format!("{key}.{member}"), &text["fields"][member.as_str()]);
            expected.insert(format!("{key}.{member}"));
        }
        expected.insert(key);
    }
    for key in keys(texts) {
        let fields = keys(&texts[key.as_str()]["fields"]).into_iter().map(|field| format!("{key}.{field}"));
        for place in fields.chain([key.clone()]).filter(|place| !expected.contains(place)) {
            found.push(format!("{path}: there is no option {place}"));
        }
    }
}

fn check_apparmor(text: &str, found: &mut Vec<String>) {
    let profiles = text.lines().filter(|line| line.starts_with("profile ")).count();
    if profiles != 1 {
        found.push(format!("apparmor.txt: {profiles} profiles"));
    }
    let rules: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for rule in &rules {
        if rule.starts_with("capability") && !["capability net_admin,", "capability net_raw,"].contains(rule)
        {
            found.push(format!("apparmor.txt: {rule}"));
        }
        let permissions = rule.trim_end_matches(',').rsplit(' ').next().unwrap_or_default();
        if permissions.contains('x') && !rule.starts_with("/usr/bin/bondkeeper ") {
            found.push(format!("apparmor.txt: another program may be run: {rule}"));
        }
        if rule.starts_with('/') && ["ux", "Ux", "px", "Px"].iter().any(|kind| permissions.contains(kind)) {
            found.push(format!("apparmor.txt: leaves the profile: {rule}"));
        }
        if ["file,", "network,", "capability,", "/** "].iter().any(|wide| rule.starts_with(wide)) {
            found.push(format!("apparmor.txt: too wide: {rule}"));
        }
    }
    for needed in ["capability net_admin,", "capability net_raw,", "network bluetooth raw,"] {
        if !rules.contains(&needed) {
            found.push(format!("apparmor.txt: no {needed}"));
        }
    }
}

/// The profile lets no shell run, and builders of Debian 12 do not know `--start-interval`.
fn check_dockerfile(text: &str, manifest: &str, found: &mut Vec<String>) {
    let (_, last) = text.rsplit_once("\nFROM ").unwrap_or_default();
    for needed in
        ["\nHEALTHCHECK ", "CMD [\"/usr/bin/bondkeeper\", \"healthcheck\"]", "ENTRYPOINT [", "io.hass.type="]
    {
        if !last.contains(needed) {
            found.push(format!("Dockerfile: the image has no {needed}"));
        }
    }
    if last.contains("\nRUN ") || last.contains("--start-interval") {
        found.push(
            "Dockerfile: the image's own stage runs something, or asks for what builders lack".to_owned(),
        );
    }
    // The layer of the dependencies is built before the sources are there: cargo wants to see every target.
    let targets = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
    for target in targets {
        if !text.contains(target) {
            found.push(format!(
                "Dockerfile: {target} of Cargo.toml is not made up for the layer of the dependencies"
            ));
        }
    }
    if !text.contains("--locked") {
        found.push("Dockerfile: the lock file does not count".to_owned());
    }
    let pinned = |line: &str| {
        line.rsplit_once(':').is_some_and(|(_, tag)| tag.starts_with(|c: char| c.is_ascii_digit()))
    };
    for image in ["ARG BUILDER_IMAGE=", "ARG BASE_IMAGE="] {
        if !text.lines().any(|line| line.starts_with(image) && pinned(line)) {
            found.push(format!("Dockerfile: {image} names no version"));
        }
    }
}
