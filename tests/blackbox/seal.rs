//! Sealed exports: the standard `age` program opens ours, and we open what it seals.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::scene::{HUB, Scene};
use super::simulated_scene;
use super::world::{PairOptions, PeerSpec, World};
use super::world_sim::SimWorld;

const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99").private();

/// A canary as well: no log, topic or file may hold it.
const PASSPHRASE: &str = "kumquat ballast tundra";

fn with_a_bond(clear_exports: &str) -> Scene<SimWorld> {
    let mut scene = simulated_scene();
    scene.setup.set("EXPORT_PASSPHRASE", PASSPHRASE);
    scene.setup.set("CLEAR_EXPORTS", clear_exports);
    scene.setup.set("LOG_LEVEL", "trace");
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&LOCK);
    assert!(scene.world.pair("hub", "lock", PairOptions::default()));
    scene.wait_bonds(HUB, &[LOCK.address]);
    scene
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Runs `age`, which asks for a passphrase at a terminal: `script` (of util-linux) is one.
pub fn age_with_passphrase(arguments: &str, asked: usize) -> String {
    use std::io::Write;
    let mut child = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--echo",
            "never",
            "--command",
            &format!("age {arguments}"),
            "/dev/null",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script and age are installed by tests/run.sh");
    let mut input = child.stdin.take().unwrap();
    for _ in 0..asked {
        input.write_all(format!("{PASSPHRASE}\n").as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    drop(input);
    assert!(output.status.success(), "age {arguments}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().expect("age is installed by tests/run.sh");
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    output
}

fn starts_sealed(path: &Path) -> bool {
    std::fs::read(path).unwrap().starts_with(b"age-encryption.org/v1\n")
}

#[test]
fn an_export_is_sealed_with_the_passphrase_of_the_options_and_restored_with_it() {
    let mut scene = with_a_bond("false");
    let export = scene.ask("bonds/export", json!({ "adapter": HUB }));
    let file = export["file"].as_str().unwrap().to_owned();
    assert!(file.ends_with(".json.age") && export["is_sealed"] == true, "{export}");
    assert!(starts_sealed(&scene.setup.export_dir().join(&file)));
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[]);
    scene.ask("bonds/restore", json!({ "from": { "file": file } }));
    scene.wait_bonds(HUB, &[LOCK.address]);
    // In clear text neither by default nor when asked: the option forbids it.
    let words = scene.refused("bonds/export", json!({ "seal": false }), "not_permitted");
    assert!(words.contains("export_passphrase") && words.contains("clear_exports"), "{words}");
    // Another passphrase does not open it.
    scene.stop_service();
    scene.setup.set("EXPORT_PASSPHRASE", "another passphrase");
    scene.start();
    scene.wait_bonds(HUB, &[LOCK.address]);
    let restore = json!({ "from": { "file": file } });
    let words = scene.refused("bonds/restore", restore.clone(), "seal_not_opened");
    assert!(words.contains("passphrase does not open"), "{words}");
    scene.stop_service();
    scene.setup.set("EXPORT_PASSPHRASE", "");
    scene.start();
    let words = scene.refused("bonds/restore", restore, "seal_not_opened");
    assert!(words.contains("export_passphrase"), "{words}");
}

#[test]
fn over_mqtt_goes_only_sealed_text_which_restores() {
    let mut scene = with_a_bond("true");
    scene.refused("bonds/export", json!({ "deliver": "mqtt", "seal": false }), "seal_required");
    let export = scene.ask("bonds/export", json!({ "deliver": "mqtt" }));
    let sealed = export["sealed"].as_str().unwrap();
    assert!(sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{sealed}");
    assert!(export["file"].is_null());
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[]);
    scene.ask("bonds/restore", json!({ "from": { "inline": sealed } }));
    scene.wait_bonds(HUB, &[LOCK.address]);
    scene.assert_no_key_was_published();
    // Without a passphrase there is nothing to seal with.
    scene.stop_service();
    scene.setup.set("EXPORT_PASSPHRASE", "");
    scene.start();
    scene.refused("bonds/export", json!({ "deliver": "mqtt" }), "seal_required");
    scene.refused("bonds/export", json!({ "seal": { "passphrase": true } }), "not_permitted");
}

#[test]
fn the_age_program_opens_our_exports_and_seals_what_we_restore() {
    let scene = with_a_bond("false");
    let exports = scene.setup.export_dir();
    let export = scene.ask("bonds/export", json!({ "adapter": HUB }));
    let sealed = exports.join(export["file"].as_str().unwrap());
    let (clear, again) = (scene.folder.path().join("clear.json"), exports.join("again.age"));
    age_with_passphrase(&format!("--decrypt --output {} {}", clear.display(), sealed.display()), 1);
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&clear).unwrap()).unwrap();
    assert_eq!(document["adapters"][0]["bonds"][0]["address"], LOCK.address);
    age_with_passphrase(&format!("--passphrase --output {} {}", again.display(), clear.display()), 2);
    scene.ask("bonds/forget", json!({ "adapter": HUB, "peer": LOCK.address }));
    scene.wait_bonds(HUB, &[]);
    scene.ask("bonds/restore", json!({ "from": { "file": "again.age" } }));
    scene.wait_bonds(HUB, &[LOCK.address]);
    std::fs::remove_file(clear).unwrap();
}

#[test]
fn exports_for_recipients_open_with_their_identity() {
    let scene = with_a_bond("false");
    let key = scene.folder.path().join("key.txt");
    run("age-keygen", &["--output", key.to_str().unwrap()]);
    let recipient = text(&run("age-keygen", &["-y", key.to_str().unwrap()]).stdout).trim().to_owned();
    let request = json!({ "adapter": HUB, "seal": { "recipients": [recipient] } });
    let export = scene.ask("bonds/export", request);
    let file = export["file"].as_str().unwrap().to_owned();
    let sealed = scene.setup.export_dir().join(&file).display().to_string();
    let opened = run("age", &["--decrypt", "--identity", key.to_str().unwrap(), &sealed]);
    assert!(text(&opened.stdout).contains(LOCK.address));
    // The service has no identity, and says what to do.
    let words = scene.refused("bonds/restore", json!({ "from": { "file": file } }), "seal_not_opened");
    assert!(words.contains("age program"), "{words}");
    let bad = json!({ "seal": { "recipients": ["age1nonsense"] } });
    scene.refused("bonds/export", bad, "invalid_value");
    // The command line has one.
    let inspected = scene.setup.run(&["inspect", "--identity-file", key.to_str().unwrap(), &sealed]);
    assert!(text(&inspected.stdout).contains(LOCK.address), "{}", text(&inspected.stderr));
    let without = scene.setup.run(&["inspect", &sealed]);
    assert_eq!(without.status.code(), Some(1));
    assert!(text(&without.stderr).contains("--identity-file"), "{}", text(&without.stderr));
}

#[test]
fn the_command_line_seals_and_opens_and_never_takes_a_passphrase_as_an_argument() {
    let folder = tempfile::Builder::new().prefix("bk").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let list =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats/habluetooth/list_basic/keys.json");
    std::fs::write(path("passphrase"), format!("{PASSPHRASE}\n")).unwrap();
    let bondkeeper = |words: &str, passphrase: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bondkeeper"));
        command.current_dir(folder.path()).env_clear().stdin(Stdio::null()).args(words.split(' '));
        command.envs(passphrase.map(|passphrase| ("BONDKEEPER_PASSPHRASE", passphrase)));
        command.output().unwrap()
    };
    let convert = format!(
        "convert --to bondkeeper --adapter {HUB} --seal-passphrase-file passphrase --armor {} bonds.age",
        list.display()
    );
    let done = bondkeeper(&convert, None);
    assert!(done.status.success() && text(&done.stderr).contains("sealed"), "{}", text(&done.stderr));
    assert!(std::fs::read(path("bonds.age")).unwrap().starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----"));
    for (words, passphrase, code) in [
        ("inspect bonds.age", Some(PASSPHRASE), 0),
        ("inspect --passphrase-file passphrase bonds.age", None, 0),
        ("inspect bonds.age", Some("something else"), 1),
        ("inspect bonds.age", None, 1),
    ] {
        let output = bondkeeper(words, passphrase);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout).contains("A4:C1:38:0B:1C:2D"), code == 0);
        assert!(!text(&output.stderr).contains("something else"));
    }
    let opened = path("opened");
    age_with_passphrase(
        &format!("--decrypt --output {} {}", opened.display(), path("bonds.age").display()),
        1,
    );
    assert!(text(&std::fs::read(opened).unwrap()).contains("A4:C1:38:0B:1C:2D"));
    let help = text(&bondkeeper("convert --help", None).stdout);
    assert!(!help.contains("--passphrase <"), "{help}");
}

#[test]
fn the_passphrase_stands_nowhere() {
    let mut scene = with_a_bond("true");
    let export = scene.ask("bonds/export", json!({}));
    scene.ask("bonds/export", json!({ "deliver": "mqtt" }));
    let sealed = scene.setup.export_dir().join(export["file"].as_str().unwrap());
    let length = std::fs::metadata(&sealed).unwrap().len() as usize;
    let octets = std::fs::read(&sealed).unwrap();
    std::fs::write(scene.setup.export_dir().join("cut.age"), &octets[..length - 1]).unwrap();
    scene.refused("bonds/restore", json!({ "from": { "file": "cut.age" } }), "seal_not_opened");
    let checked = scene.setup.run(&["check-config"]);
    assert!(checked.status.success());
    assert!(!text(&checked.stdout).contains("kumquat"), "{}", text(&checked.stdout));
    scene.stop_service();
    for heard in scene.observer.heard() {
        assert!(!text(&heard.payload).contains("kumquat"), "the passphrase stands on {}", heard.topic);
    }
    let info = scene.observer.wait_latest("the info", "bridge/info", |_| true);
    assert_eq!(info["config"]["export_passphrase_set"], true);
    for file in super::secrets::files_below(scene.folder.path()) {
        let found = std::fs::read(&file).unwrap().windows(7).any(|window| window == b"kumquat");
        assert!(!found, "the passphrase stands in {}", file.display());
    }
}
