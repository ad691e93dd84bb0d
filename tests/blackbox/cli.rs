//! The commands that look at bonds and move them, as a process: files, folders and pipes, exit codes, what is
//! said on standard error.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bondkeeper::format::FormatId;
use serde_json::Value;

use super::scene::HUB;

/// A folder to work in, and the program without anything of the host's.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("bk").tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bondkeeper"));
        command.current_dir(self.folder.path()).env_clear().args(words.split_whitespace());
        command.env("BONDKEEPER__DATA_DIR", self.path("data")).env("BONDKEEPER__NODE", "attic");
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// What it says on standard output.
    fn ok(&self, words: &str) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What it says on standard error.
    fn refused(&self, words: &str, code: i32) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    fn pipe(&self, words: &str, input: &[u8]) -> Output {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats")
}

/// Four peers as habluetooth keeps them.
fn key_list() -> Vec<u8> {
    std::fs::read(fixtures().join("habluetooth/list_basic/keys.json")).unwrap()
}

/// A peer's legacy bond in that list, and its LTK.
const PEER: &str = "A4:C1:38:0B:1C:2D";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The order of adapters and peers has no meaning.
fn sorted(adapters: &Value) -> Vec<Value> {
    let mut adapters = adapters.as_array().unwrap().clone();
    for adapter in &mut adapters {
        adapter["peers"].as_array_mut().unwrap().sort_by_key(|peer| peer["address"].to_string());
    }
    adapters.sort_by_key(|adapter| adapter["adapter"].to_string());
    adapters
}

fn peers(document: &Value) -> Value {
    sorted(&document["adapters"])[0]["peers"].clone()
}

/// The one file of a case, or its folder where it has others.
fn input_of(case: &Path) -> PathBuf {
    let entries = std::fs::read_dir(case).unwrap().flatten().map(|entry| entry.path());
    let inputs: Vec<PathBuf> = entries.filter(|path| !path.ends_with("expected.json")).collect();
    match &inputs[..] {
        [one] if one.is_file() => one.clone(),
        _ => case.to_owned(),
    }
}

#[test]
fn inspect_prints_what_every_fixture_is_known_to_hold_or_refuses_it_by_its_place() {
    let desk = Desk::new();
    let mut seen = 0;
    for format in FormatId::ALL {
        let Ok(cases) = std::fs::read_dir(fixtures().join(format.as_str())) else { continue };
        for case in cases.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
            let Ok(expected) = std::fs::read(case.join("expected.json")) else { continue };
            let expected: Value = serde_json::from_slice(&expected).unwrap();
            let mut command = desk.command("inspect --json --reveal-keys --from");
            let output = command.arg(format.as_str()).arg(input_of(&case)).output().unwrap();
            let (said, place) = (text(&output.stderr), case.display());
            if expected["outcome"] == "accept" {
                assert_eq!(output.status.code(), Some(0), "{place}: {said}");
                let found: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(sorted(&found["adapters"]), sorted(&expected["adapters"]), "{place}");
            } else {
                assert_eq!(output.status.code(), Some(1), "{place}: {said}");
                assert!(output.stdout.is_empty(), "{place}");
                if let Some(words) = expected["where"].as_str() {
                    assert!(said.contains(words), "{place}: {said}");
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "the fixtures were not found");
}

/// The files that the manual's examples begin with.
fn lay_out(desk: &Desk) {
    let copy = |from: &str, to: &str| std::fs::copy(fixtures().join(from), desk.path(to)).unwrap();
    copy("habluetooth/list_basic/keys.json", "keys.json");
    copy("ha-store/two_adapters/bluetooth.bonds", "two.bonds");
    copy("aioble/openmv_cortexm_three_peers/ble_secrets.json", "ble_secrets.json");
    copy("windows/hivex_export/bthport.reg", "bthport.reg");
    // Of one adapter.
    let two: Value = serde_json::from_slice(&std::fs::read(desk.path("two.bonds")).unwrap()).unwrap();
    let mut one = two;
    let adapters = one["data"].as_object_mut();
    adapters.expect("the file's adapters").retain(|name, _| name == "hci0");
    desk.write("bluetooth.bonds", serde_json::to_vec(&one).unwrap());
    let tree = fixtures().join("bluez/tree_newest");
    let copied = Command::new("cp").arg("-r").arg(tree).arg(desk.path("bluetooth")).status().unwrap();
    assert!(copied.success());
    desk.write("passphrase.txt", "kumquat ballast tundra\n");
    std::fs::create_dir(desk.path("data")).unwrap();
}

/// Each line of each `sh` block of the manual, in its order and in one folder.
#[test]
fn every_example_of_the_manual_works_as_it_stands() {
    let desk = Desk::new();
    lay_out(&desk);
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/convert.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let mut in_example = false;
    let mut count = 0;
    let program = Path::new(env!("CARGO_BIN_EXE_bondkeeper")).parent().unwrap().display().to_string();
    let path = format!("{program}:{}", std::env::var("PATH").unwrap_or_default());
    for line in manual.lines() {
        if line.starts_with("```") {
            in_example = line == "```sh";
            continue;
        }
        if !in_example {
            continue;
        }
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(desk.folder.path()).env_clear().env("PATH", &path);
        command.env("BONDKEEPER__DATA_DIR", desk.path("data")).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
        count += 1;
    }
    assert!(count >= 15, "the examples were not found");
    for format in FormatId::ALL {
        assert!(manual.contains(&format!("| `{}` |", format.as_str())), "{} is not listed", format.as_str());
    }
}

#[test]
fn keys_are_shown_only_when_they_are_asked_for() {
    let desk = Desk::new();
    desk.write("keys.json", key_list());
    let revealed: Value = serde_json::from_str(&desk.ok("inspect --json --reveal-keys keys.json")).unwrap();
    let peers = revealed["adapters"][0]["peers"].as_array().unwrap();
    let keys: Vec<&str> = peers.iter().map(|peer| peer["ltks"][0]["value"].as_str().unwrap()).collect();
    assert!(keys.iter().all(|key| key.len() == 32));
    let hidden = [desk.ok("inspect keys.json"), desk.ok("inspect --json keys.json")];
    for shown in hidden {
        assert!(shown.contains(PEER), "{shown}");
        assert!(!keys.iter().any(|key| shown.contains(key)), "{shown}");
    }
    desk.refused("inspect --reveal-keys keys.json", 2);
}

#[test]
fn a_conversion_there_and_back_is_private_said_and_loses_nothing() {
    let desk = Desk::new();
    desk.write("keys.json", key_list());
    let run = desk.run(&format!("convert --to bondkeeper --adapter {HUB} keys.json bonds.json"));
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{said}");
    assert!(said.contains("format habluetooth") && said.contains("clear text"), "{said}");
    assert!(said.contains(&format!("read: {PEER}: ltk")), "{said}");
    assert_eq!(mode(&desk.path("bonds.json")), 0o600);
    desk.ok("convert --from bondkeeper --to habluetooth --allow-loss bonds.json back.json");
    let list = |name: &str| desk.ok(&format!("inspect --json --reveal-keys {name}"));
    let (there, back): (Value, Value) = (
        serde_json::from_str(&list("keys.json")).unwrap(),
        serde_json::from_str(&list("back.json")).unwrap(),
    );
    assert_eq!(peers(&there), peers(&back));
    assert_eq!(desk.names(), ["back.json", "bonds.json", "keys.json"].map(str::to_owned).into());
}

#[test]
fn pipes_work_at_both_ends() {
    let desk = Desk::new();
    let convert = format!("convert --to bondkeeper --adapter {HUB} - -");
    let output = desk.pipe(&convert, &key_list());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("standard output"));
    let inspected = desk.pipe("inspect --json -", &output.stdout);
    assert!(text(&inspected.stdout).contains(PEER), "{}", text(&inspected.stderr));
    assert!(desk.names().is_empty());
}

#[test]
fn nothing_is_written_over_unless_that_is_asked_for() {
    let desk = Desk::new();
    desk.write("keys.json", key_list());
    desk.write("out.json", "mine");
    let convert = format!("convert --to bondkeeper --adapter {HUB} keys.json out.json");
    let said = desk.refused(&convert, 1);
    assert!(said.contains("out.json") && said.contains("--force"), "{said}");
    assert_eq!(std::fs::read(desk.path("out.json")).unwrap(), b"mine");
    desk.ok(&format!("{convert} --force"));
    assert!(std::fs::read(desk.path("out.json")).unwrap().len() > 100);
    assert_eq!(mode(&desk.path("out.json")), 0o600);
    assert_eq!(desk.names().len(), 2, "no scratch file stays: {:?}", desk.names());
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let desk = Desk::new();
    desk.write("keys.json", key_list());
    let run = desk.run(&format!("convert --dry-run --to bondkeeper --adapter {HUB} keys.json"));
    assert_eq!(run.status.code(), Some(0));
    let said = text(&run.stderr);
    assert!(said.contains(&format!("written: {PEER}")) && said.contains("nothing was written"), "{said}");
    assert_eq!(desk.names().len(), 1);
}

#[test]
fn a_format_that_names_no_adapter_is_written_without_one() {
    let desk = Desk::new();
    desk.write("keys.json", key_list());
    for (format, option) in [
        ("habluetooth", ""),
        ("aioble", "--export-option layout=E88"),
        ("ha-store", "--option adapter_name=hci0"),
    ] {
        desk.ok(&format!("convert --to {format} {option} keys.json {format}.out"));
        let shown = desk.ok(&format!("inspect --json --reveal-keys --from {format} {format}.out"));
        assert!(shown.contains(PEER), "{format}: {shown}");
    }
    for format in ["bondkeeper", "ha-store", "fuchsia", "bluez", "bumble", "windows"] {
        let said = desk.refused(&format!("convert --to {format} keys.json nowhere"), 1);
        assert!(said.contains("--adapter"), "{format}: {said}");
        assert!(!desk.path("nowhere").exists());
    }
}

#[test]
fn what_is_refused_has_its_place_its_advice_and_its_exit_code() {
    let desk = Desk::new();
    let list = text(&key_list());
    desk.write("keys.json", &list);
    desk.write("bad.json", list.replacen("\"encryption_size\": 16", "\"encryption_size\": 3", 1));
    desk.write("empty.json", "");
    let cases = [
        (format!("convert --to bondkeeper --adapter {HUB} bad.json out"), 1, "--salvage"),
        ("convert --to bondkeeper keys.json out".to_owned(), 1, "--adapter"),
        (format!("convert --to bondkeeper --adapter {HUB} empty.json out"), 1, "--from"),
        ("convert --to bondkeeper none.json out".to_owned(), 1, "none.json"),
        ("convert --to nonsense keys.json out".to_owned(), 2, "habluetooth"),
        ("convert --to bondkeeper --adapter hci0 keys.json out".to_owned(), 2, "address"),
        (format!("convert --to bondkeeper --adapter {HUB} --option a keys.json out"), 2, "NAME=VALUE"),
        (format!("convert --to bondkeeper --adapter {HUB} --option no=1 keys.json out"), 2, "option"),
        (
            format!("convert --to bondkeeper --adapter {HUB} --import-option no=1 keys.json out"),
            2,
            "option no",
        ),
        (format!("convert --to bondkeeper --adapter {HUB} --seal-to age1x keys.json out"), 2, "recipient"),
        (format!("convert --to bondkeeper --adapter {HUB} --armor keys.json out"), 2, "--seal-to"),
        ("convert --to bondkeeper keys.json".to_owned(), 2, "OUT"),
        ("inspect --from private-nonsense keys.json".to_owned(), 2, "habluetooth"),
    ];
    for (words, code, expected) in cases {
        let said = desk.refused(&words, code);
        assert!(said.contains(expected), "{words}: {said}");
    }
    let said = desk.refused(&format!("convert --to bondkeeper --adapter {HUB} bad.json out"), 1);
    assert!(said.contains("refused: entry 0"), "{said}");
    let salvaged = desk.run(&format!("convert --salvage --to bondkeeper --adapter {HUB} bad.json out"));
    assert_eq!(salvaged.status.code(), Some(0), "{}", text(&salvaged.stderr));
    assert!(text(&salvaged.stderr).contains("refused: entry 0"));
}

#[test]
fn bonds_go_into_a_stopped_data_folder_and_out_of_it_again() {
    let desk = Desk::new();
    desk.write("keys.json", key_list());
    let import = format!("import --adapter {HUB} keys.json");
    let said = desk.refused(&import, 1);
    assert!(said.contains("data"), "a mistyped folder is not made: {said}");
    std::fs::create_dir(desk.path("data")).unwrap();
    let dry = desk.ok(&format!("{import} --dry-run"));
    assert!(dry.contains("4 added") && dry.contains("nothing was changed"), "{dry}");
    assert!(desk.ok("inspect").contains("no adapter is stored"));
    let done = desk.ok(&import);
    assert!(done.contains("4 added") && done.contains("new here"), "{done}");
    assert!(desk.ok(&import).contains("4 unchanged"));
    let stored = desk.ok("inspect");
    assert!(stored.contains(HUB) && stored.contains(PEER) && stored.contains("imported"), "{stored}");
    desk.ok("export --to habluetooth --allow-loss out.json");
    let list = |name: &str| -> Value {
        serde_json::from_str(&desk.ok(&format!("inspect --json --reveal-keys {name}"))).unwrap()
    };
    assert_eq!(peers(&list("keys.json")), peers(&list("out.json")));
    assert_eq!(peers(&list("data")), peers(&list("out.json")));
    let one = format!("export --to habluetooth --allow-loss --peer {} one.json", PEER.to_lowercase());
    desk.ok(&one);
    assert_eq!(list("one.json")["adapters"][0]["peers"].as_array().unwrap().len(), 1);
    assert!(
        desk.refused("export --to habluetooth --peer 00:00:00:00:00:01 x", 1).contains("00:00:00:00:00:01")
    );
    assert!(desk.refused("export --to habluetooth --adapter 00:00:00:00:00:01 x", 1).contains("no adapter"));
}

#[test]
fn an_import_that_replaces_keeps_a_copy_of_what_was_there() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("data")).unwrap();
    desk.write("keys.json", key_list());
    desk.write("none.json", "[]");
    desk.ok(&format!("import --adapter {HUB} keys.json"));
    let replaced = desk.ok(&format!("import --from habluetooth --adapter {HUB} --mode replace none.json"));
    assert!(replaced.contains("4 lost") && replaced.contains("take care"), "{replaced}");
    assert!(replaced.contains("before_import"), "{replaced}");
    assert!(!desk.ok("inspect").contains(PEER));
    let checkpoints = std::fs::read_dir(desk.path("data/store/checkpoints")).unwrap().flatten();
    let copy = checkpoints.map(|entry| entry.path()).next().unwrap();
    desk.ok(&format!("import {}", copy.display()));
    assert!(desk.ok("inspect").contains(PEER));
}

#[test]
fn bonds_of_another_adapter_are_taken_only_when_that_is_meant() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("data")).unwrap();
    desk.write("keys.json", key_list());
    desk.ok(&format!("convert --to bondkeeper --adapter {HUB} keys.json bonds.json"));
    let other = "00:1A:7D:DA:71:99";
    let said = desk.refused(&format!("import --adapter {other} bonds.json"), 1);
    assert!(said.contains(HUB) && said.contains("--allow-adapter-mismatch"), "{said}");
    let done = desk.ok(&format!("import --adapter {other} --allow-adapter-mismatch bonds.json"));
    assert!(done.contains(other) && done.contains("another adapter"), "{done}");
}

#[test]
fn a_data_folder_in_use_is_left_alone_and_the_way_over_mqtt_is_named() {
    let mut scene = super::simulated_scene();
    scene.start();
    scene.plug_hub();
    let keys = scene.folder.path().join("keys.json");
    std::fs::write(&keys, key_list()).unwrap();
    let keys = keys.display().to_string();
    let imported = scene.setup.run(&["import", "--adapter", HUB, &keys]);
    assert_eq!(imported.status.code(), Some(1));
    let said = text(&imported.stderr);
    assert!(said.contains("bridge/request/bonds/restore") && said.contains("bondkeeper/test"), "{said}");
    let exported = scene.setup.run(&["export", "--to", "bondkeeper", "-"]);
    assert_eq!(exported.status.code(), Some(1));
    assert!(exported.stdout.is_empty());
    assert!(text(&exported.stderr).contains("bridge/request/bonds/export"), "{}", text(&exported.stderr));
    scene.stop_service();
    assert_eq!(scene.setup.run(&["import", "--adapter", HUB, &keys]).status.code(), Some(0));
    scene.start();
    scene.wait_bonds(HUB, &[PEER, "D4:12:43:9A:BC:DE", "5C:BA:37:11:22:33", "E4:9F:64:0B:E8:1C"]);
    // The kernel's table lives on over a restart of the service, which therefore loads nothing by itself.
    scene.unplug_hub();
    scene.plug_hub();
    assert!(scene.kernel_ltk_peers("hub").contains(PEER), "what was imported is loaded");
}
