//! What the product is made of: every package of it has a licence, a source and a version that deny.toml allows.
//! `cargo deny` says more where it is installed; this says the same of it wherever the tests run.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

struct Package {
    name: String,
    version: String,
    licence: String,
    source: Option<String>,
    minimum_rust: Option<String>,
}

/// What cargo says about this project, from the lock file and what is downloaded already.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The packages that the product is built from. Those of tests alone are not among them, nor is what only a feature
/// brings that a test asks for.
fn packages() -> Vec<Package> {
    let tree = ["tree", "--edges", "normal,build", "--target", "x86_64-unknown-linux-gnu"];
    let tree = cargo(&[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat());
    let used: BTreeSet<String> = String::from_utf8(tree)
        .unwrap()
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let platform = ["metadata", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let metadata: Value = serde_json::from_slice(&cargo(&platform)).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let package = |package: &Value| Package {
        name: text(&package["name"]).unwrap(),
        version: text(&package["version"]).unwrap(),
        licence: text(&package["license"]).unwrap_or_default(),
        source: text(&package["source"]),
        minimum_rust: text(&package["rust_version"]),
    };
    let all = metadata["packages"].as_array().unwrap().iter().map(package);
    all.filter(|package| used.contains(&format!("{} v{}", package.name, package.version))).collect()
}

/// Lines of a list of deny.toml.
fn listed(list: &str) -> Vec<String> {
    let file = include_str!("../../deny.toml");
    let begin = file.find(&format!("\n{list} = [")).unwrap_or_else(|| panic!("deny.toml has no {list}"));
    let lines = file[begin + 1..].lines().skip(1).take_while(|line| line.trim() != "]");
    lines.map(str::trim).filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// What a field of an entry says.
fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = entry.split_once(&format!("{name} = \""))?;
    rest.split('"').next()
}

/// Every part that AND joins has one choice that is allowed.
fn is_allowed(licence: &str, allowed: &[String]) -> bool {
    let plain = licence.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|choice| allowed.iter().any(|known| known.contains(&format!("\"{}\"", choice.trim()))))
    })
}

#[test]
fn every_package_has_a_licence_and_a_source_that_are_allowed() {
    let allowed = listed("allow");
    assert!(is_allowed("MIT OR GPL-3.0", &allowed) && !is_allowed("MIT AND GPL-3.0", &allowed));
    let packages = packages();
    assert!(packages.len() > 50, "only {} packages were looked at", packages.len());
    for package in &packages {
        let Package { name, licence, .. } = package;
        assert!(is_allowed(licence, &allowed), "{name}: {licence}");
        let ours = package.source.is_none() && ["bondkeeper", "parking_lot"].contains(&name.as_str());
        assert!(ours || package.source.as_deref() == Some(REGISTRY), "{name}: {:?}", package.source);
    }
}

#[test]
fn nothing_that_is_banned_and_nothing_twice_is_in_the_product() {
    let packages = packages();
    for entry in listed("deny") {
        let name = field(&entry, "name").unwrap();
        assert!(field(&entry, "reason").is_some(), "{name} is banned without a reason");
        assert!(!packages.iter().any(|package| package.name == name), "{name} is banned: {entry}");
    }
    let skipped = listed("skip");
    let is_skipped = |package: &&Package| {
        skipped.iter().any(|entry| {
            let version = field(entry, "version").unwrap_or_default();
            assert!(field(entry, "reason").is_some(), "an exception without a reason: {entry}");
            field(entry, "name") == Some(&package.name) && package.version.starts_with(&format!("{version}."))
        })
    };
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !is_skipped(package)) {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    let twice: Vec<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    assert!(twice.is_empty(), "more than once in the product: {twice:?}");
}

#[test]
fn no_package_wants_a_newer_rust_than_the_manifest_states() {
    let number = |text: &str| -> Vec<u32> { text.split('.').filter_map(|part| part.parse().ok()).collect() };
    let ours = number(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages() {
        if let Some(wanted) = &package.minimum_rust {
            assert!(number(wanted)[..2] <= ours[..2], "{} wants Rust {wanted}", package.name);
        }
    }
}
