//! A whole machine is rebooted: the guest is shut down and booted anew, with the disk on which bondkeeper, bluetoothd
//! and the peers keep what they know. The new kernel's tables are empty and its boot id is another; whoever of the
//! two managers comes first, everybody's bond encrypts again.
//!
//! usage: reboot CACHE OUT   (on the host; `tests/run.sh` builds CACHE and names a Python in BONDKEEPER_TEST_PYTHON)
//!
//! The same program plays both sides: on the host it boots the guest once for each life, in the guest it is that life.

#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/broker.rs"]
mod broker;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/coexistence.rs"]
mod coexistence;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/observer.rs"]
mod observer;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/scene.rs"]
mod scene;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/service.rs"]
mod service;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world.rs"]
mod world;
#[allow(dead_code, reason = "shared between test binaries, each of which uses a part")]
#[path = "../blackbox/world_kernel.rs"]
mod world_kernel;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use coexistence::{
    OURS, THEIRS, addresses, all_encrypt_without_pairing, gate, kernel_comes_to_hold, restart_bluetoothd,
};
use scene::{HUB, Scene};
use serde_json::{Value, json};
use world::{PairOptions, PeerSpec, World};
use world_kernel::KernelWorld;

type Story = fn(&mut Life);

/// The lives of the machine, in their order. Each ends with a shutdown.
const LIVES: [(&str, Story); 3] =
    [("the first", first), ("bluetoothd first", bluetoothd_first), ("the service first", service_first)];
const DISK_OCTETS: u64 = 128 << 20;
/// On an idle machine a life takes half a minute.
const LIFE_SECONDS: &str = "300";
/// What a bond's entry says of now; the rest is to be what it was in the life before.
const PASSING: [&str; 7] = ["name", "loaded", "durable", "health", "evidence", "updated_at", "last_seen_at"];
/// Shared with the host.
const OUT: &str = "/vmout";
const PYTHON_VARIABLE: &str = "BONDKEEPER_TEST_PYTHON";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["life", number] => guest(number.parse().unwrap()),
        [cache, out] => host(Path::new(cache), Path::new(out)),
        _ => panic!("usage: reboot CACHE OUT"),
    }
}

// ---- in the guest

struct Life {
    scene: Scene<KernelWorld>,
    disk: tempfile::TempDir,
}

/// Until the machine goes down.
fn guest(number: usize) {
    assert!(std::env::var_os("BONDKEEPER_GUEST").is_some(), "only in the guest");
    std::fs::copy("/proc/sys/kernel/random/boot_id", Path::new(OUT).join("boot-id")).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    run(Command::new("mount").args(["-t", "ext4", "/dev/vda"]).arg(disk.path()));
    let mut scene = Scene::new(|_| Box::new(KernelWorld::new()));
    scene.setup.set("DATA_DIR", &disk.path().join("data").display().to_string());
    scene.setup.set("EXPORT_DIR", &disk.path().join("exports").display().to_string());
    scene.world.request("keep", json!({ "folder": disk.path() }));
    let mut life = Life { scene, disk };
    LIVES[number].1(&mut life);
    life.scene.assert_no_key_was_published();
    life.scene.stop_service();
    life.scene.world.stop_bluetoothd();
    let Life { scene, disk } = life;
    drop(scene);
    run(Command::new("umount").arg(disk.path()));
}

impl Life {
    /// The peers of an earlier life, and the same adapter in a new kernel.
    fn goes_on(&mut self) {
        for spec in &everybody() {
            self.scene.world.add_peer(spec);
        }
        self.scene.world.plug("hub", HUB);
        let held = self.scene.kernel_ltk_peers("hub");
        assert!(held.is_empty(), "a kernel that was just booted knows no key: {held:?}");
    }

    /// Everybody's bond is in the kernel and encrypts, and the store knows what it knew.
    fn all_is_there(&mut self) {
        let all = everybody();
        let scene = &mut self.scene;
        gate(scene, "merge");
        kernel_comes_to_hold(scene, &all);
        let bonds = scene.wait_bonds(HUB, &addresses(&all));
        let lasting = |bond: Value| {
            let Value::Object(mut bond) = bond else { panic!("{bond}") };
            bond.retain(|field, _| !PASSING.contains(&field.as_str()));
            bond
        };
        let bonds: Vec<_> = bonds.into_iter().map(lasting).collect();
        let now = json!({ "ltks": scene.world.tables("hub").ltks, "bonds": bonds });
        let noted = self.disk.path().join("noted.json");
        match std::fs::read(&noted) {
            Ok(before) => assert_eq!(serde_json::from_slice::<Value>(&before).unwrap(), now),
            Err(_) => std::fs::write(&noted, now.to_string()).unwrap(),
        }
        all_encrypt_without_pairing(scene, &all);
        // What was made anew on the way would be there now.
        kernel_comes_to_hold(scene, &all);
        assert_eq!(json!(scene.world.tables("hub").ltks), now["ltks"]);
    }

    /// Since the machine came up nothing was said of any bond: none is new, lost, orphaned or another.
    fn nothing_became_of_a_bond(&self) {
        let events = self.scene.observer.events(0);
        let types: BTreeSet<&str> = events.iter().filter_map(|event| event["event_type"].as_str()).collect();
        assert!(!types.iter().any(|name| name.starts_with("bond")), "{types:?}");
    }
}

fn everybody() -> Vec<PeerSpec> {
    let mut all = THEIRS.to_vec();
    all.push(OURS);
    all
}

/// A bond comes from an earlier installation, as a file. bluetoothd and its user have made three of their own when the
/// service is installed.
fn first(life: &mut Life) {
    let scene = &mut life.scene;
    scene.start();
    scene.plug_hub();
    scene.world.add_peer(&OURS);
    assert!(scene.world.pair("hub", OURS.name, PairOptions::default()));
    scene.wait_bonds(HUB, &[OURS.address]);
    let export = scene.ask("bonds/export", json!({ "adapter": HUB }));
    scene.stop_service();
    std::fs::remove_dir_all(life.disk.path().join("data")).unwrap();
    scene.world.unplug("hub");

    scene.world.plug("hub", HUB);
    scene.world.start_bluetoothd();
    for spec in &THEIRS {
        scene.world.add_peer(spec);
        scene.world.request("pair_in_bluetoothd", json!({ "adapter": "hub", "peer": spec.name }));
    }
    scene.start();
    assert_eq!(gate(scene, "hold")["gate"]["reason"], "keys_unknown");
    restart_bluetoothd(scene);
    gate(scene, "merge");
    scene.wait_bonds(HUB, &addresses(&THEIRS));
    let restored = scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "file": export["file"] } }));
    assert_eq!(restored["kernel"]["state"], "loaded", "{restored}");
    life.all_is_there();
}

/// The service sees nothing of what bluetoothd has loaded: it has that from bluetoothd's own word.
fn bluetoothd_first(life: &mut Life) {
    life.goes_on();
    let scene = &mut life.scene;
    scene.world.start_bluetoothd();
    let theirs: BTreeSet<String> = addresses(&THEIRS).into_iter().map(str::to_owned).collect();
    assert_eq!(scene.kernel_ltk_peers("hub"), theirs);
    scene.start();
    life.all_is_there();
    life.nothing_became_of_a_bond();
}

fn service_first(life: &mut Life) {
    life.goes_on();
    let scene = &mut life.scene;
    scene.start();
    scene.wait_in_sync(HUB);
    // Those of bluetoothd are its own to load.
    kernel_comes_to_hold(scene, &[OURS]);
    scene.world.start_bluetoothd();
    life.all_is_there();
    life.nothing_became_of_a_bond();
}

// ---- on the host

fn host(cache: &Path, out: &Path) {
    std::fs::create_dir_all(out).unwrap();
    let out = out.canonicalize().unwrap();
    let image = out.join("disk.img");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(DISK_OCTETS).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfs.ext4 is missing: tests/run.sh installs e2fsprogs");
    let python = std::env::var(PYTHON_VARIABLE).unwrap_or_else(|_| "python3".to_owned());
    let mut boot_ids = BTreeSet::new();
    for (number, (what, _)) in LIVES.iter().enumerate() {
        let began = Instant::now();
        let life = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernel/run-guest.sh"))
            .arg("-c")
            .arg(cache)
            .arg("-o")
            .arg(&out)
            .arg("-d")
            .arg(&image)
            .args(["-t", LIFE_SECONDS, "env"])
            .arg(format!("{PYTHON_VARIABLE}={python}"))
            .arg(std::env::current_exe().unwrap())
            .args(["life", &number.to_string()])
            .status()
            .unwrap();
        assert!(life.success(), "life {number} of the machine, {what}: {life}");
        let boot_id = std::fs::read_to_string(out.join("boot-id")).unwrap();
        println!("life {number}, {what}: {} s, boot {}", began.elapsed().as_secs(), boot_id.trim());
        assert!(boot_ids.insert(boot_id), "that was no reboot");
    }
    let _ = std::fs::remove_file(&image);
    println!("{} lives of one machine, and no bond lost", LIVES.len());
}
