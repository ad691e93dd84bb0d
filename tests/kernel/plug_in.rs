//! How long the keys of a hundred bonds take into the kernel once an adapter has been plugged in, beside the two load
//! commands alone. Nothing is asserted of the times: they are printed, as a figure of `docs/performance.md`.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use bondkeeper::bond::{
    AdapterRecord, Bond, BondMetadata, BondTable, Custody, EncryptionSize, Irk, KeyMaterial, KeyType, Ltk,
    PeerAddress, PeerAddressType, Role, Source, UnixMillis,
};
use bondkeeper::format::{self, Content, ExportAdapter, ExportOptions, FormatId};
use bondkeeper::mgmt::{Channel, Endpoint, MgmtSocket};
use serde_json::json;

use super::report::{Figure, median};
use super::scene::{HUB, Scene};
use super::world::World;
use super::world_kernel::KernelWorld;
use super::{measured_scene, publish};

pub const BONDS: u16 = 100;
/// The environment may ask for more.
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(40);

/// [MGMT Index Added], [MGMT Load Long Term Keys], [MGMT Load Identity Resolving Keys].
const INDEX_ADDED: u16 = 0x0004;
pub const LOAD_LTKS: u16 = 0x0013;
pub const LOAD_IRKS: u16 = 0x0030;
/// [LINUX include/net/bluetooth/hci_mon.h]: a command of a control socket, and an event to one.
pub const CONTROL_COMMAND: u16 = 16;
pub const CONTROL_EVENT: u16 = 17;
const COMMAND_COMPLETE: u16 = 0x0001;

pub fn half_word(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([octets[at], octets[at + 1]])
}

/// The list that is restored once, in our own format.
pub fn hundred_bonds() -> Vec<u8> {
    let bond = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let key = |kind: u8| {
            let mut octets = [kind; 16];
            octets[..2].copy_from_slice(&number.to_be_bytes());
            KeyMaterial::new(octets).unwrap()
        };
        let address = format!("C0:FF:EE:03:{high:02X}:{low:02X}");
        let peer = PeerAddress::parse(&address, PeerAddressType::Public).unwrap();
        let mut bond = Bond::new(peer, BondMetadata::new(Custody::Ours, Source::Captured, UnixMillis(1)));
        let size = EncryptionSize::new(16).unwrap();
        bond.put_ltk(Ltk::new(KeyType::P256Unauthenticated, Role::Peripheral, size, 0, [0; 8], key(0xA5)));
        bond.irk = Some(Irk { key: key(0x5A) });
        (bond, 1)
    };
    let table = BondTable::from_stored(1, (1..=BONDS).map(bond), []);
    let record = AdapterRecord::default();
    let adapter =
        ExportAdapter { address: Some(HUB.parse().unwrap()), record: &record, table: &table, peers: None };
    let exported = format::export(FormatId::Bondkeeper, &[adapter], &ExportOptions::default()).unwrap();
    let Content::Document(text) = exported.content else { panic!("it is a file") };
    text.to_vec()
}

/// What a watcher has seen of one plug-in.
struct PlugIn {
    /// From the controller's appearance until the kernel had both lists.
    took: Duration,
    /// The commands themselves, as they went to the kernel.
    commands: Vec<(u16, Vec<u8>)>,
}

/// On a thread of its own: until the kernel has answered the loads of both lists since a controller has appeared.
/// Sends once when it watches, by a command of `plays`.
fn watch(ready: &Sender<()>, plays: Option<&[(u16, Vec<u8>)]>) -> PlugIn {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = |channel| MgmtSocket::open(&Endpoint::Kernel, channel, &[]).unwrap();
        let (mut control, mut monitor) = (open(Channel::Control), open(Channel::Monitor));
        ready.send(()).unwrap();
        let index = loop {
            let frame = control.recv().await.unwrap();
            if half_word(frame, 0) == INDEX_ADDED {
                break half_word(frame, 2);
            }
        };
        let appeared = Instant::now();
        if let Some(commands) = plays {
            for (opcode, parameters) in commands {
                let length = u16::try_from(parameters.len()).unwrap();
                let head = [*opcode, index, length].map(u16::to_le_bytes);
                control.send(&[head.as_flattened(), parameters.as_slice()].concat()).await.unwrap();
                while !ends(control.recv().await.unwrap(), *opcode) {}
            }
        }
        let (mut commands, mut ended) = (Vec::new(), Vec::new());
        while ended.len() < 2 {
            let frame = monitor.recv().await.unwrap();
            let (kind, about, data) = (half_word(frame, 0), half_word(frame, 2), &frame[6..]);
            let is_load = |opcode| [LOAD_LTKS, LOAD_IRKS].contains(&opcode);
            if kind == CONTROL_COMMAND && about == index && is_load(half_word(data, 4)) {
                commands.push((half_word(data, 4), data[6..].to_vec()));
            }
            let is_answer = kind == CONTROL_EVENT && about == index && half_word(data, 4) == COMMAND_COMPLETE;
            if is_answer && is_load(half_word(data, 6)) {
                assert_eq!(data[8], 0, "a load was refused");
                ended.push(half_word(data, 6));
            }
        }
        PlugIn { took: appeared.elapsed(), commands }
    })
}

/// A Command Complete of this command.
fn ends(frame: &[u8], opcode: u16) -> bool {
    half_word(frame, 0) == COMMAND_COMPLETE && half_word(frame, 6) == opcode
}

/// Plugs the hub in before a watcher, who plays these commands where there are any.
fn plug_before_watcher(scene: &mut Scene<KernelWorld>, plays: Option<Vec<(u16, Vec<u8>)>>) -> PlugIn {
    let (ready, is_ready) = channel();
    let (done, result) = channel();
    std::thread::spawn(move || done.send(watch(&ready, plays.as_deref())));
    is_ready.recv_timeout(PATIENCE).expect("the watcher");
    scene.world.plug("hub", HUB);
    let plug_in = result.recv_timeout(PATIENCE).expect("both lists were loaded");
    assert_eq!(scene.world.tables("hub").ltks.len(), usize::from(BONDS));
    assert_eq!(scene.world.tables("hub").irks.len(), usize::from(BONDS));
    plug_in
}

#[test]
fn a_hundred_bonds_are_in_the_kernel_after_a_plug_in() {
    let rounds = std::env::var("BONDKEEPER_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let mut scene = measured_scene();
    scene.start();
    scene.plug_hub();
    std::fs::write(scene.setup.export_dir().join("hundred.json"), hundred_bonds()).unwrap();
    scene.ask("bonds/restore", json!({ "adapter": HUB, "from": { "file": "hundred.json" } }));
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds.unwrap_or(ROUNDS) {
        scene.unplug_hub();
        let plug_in = plug_before_watcher(&mut scene, None);
        ours.push(plug_in.took.as_secs_f64() * 1e3);
        scene.stop_service();
        scene.world.unplug("hub");
        bare.push(plug_before_watcher(&mut scene, Some(plug_in.commands)).took.as_secs_f64() * 1e3);
        scene.start();
    }
    let name = format!("plug-in to the keys of {BONDS} bonds in the kernel, in the guest");
    let figure = Figure::new(12, name, median(&ours), "ms");
    publish(&[figure.beside("the two load commands alone", median(&bare)).ratio_at_most(1.5)]);
}
