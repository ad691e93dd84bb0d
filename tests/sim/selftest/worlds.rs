//! The world that scenarios play in, and the other programs in it.

use std::collections::BTreeSet;

use tempfile::TempDir;

use crate::sim::client::list;
use crate::sim::monitor::record;
use crate::sim::programs::Agent;
use crate::sim::wire::{op, read_u16};
use crate::world::{Connected, PairOptions, PeerSpec, World};
use crate::world_sim::SimWorld;

const HUB: &str = "C0:FF:EE:FF:00:01";
const LOCK: PeerSpec = PeerSpec::public("lock", "C0:FF:EE:00:00:99");

fn world() -> (SimWorld, TempDir) {
    let dir = TempDir::new().expect("a directory");
    let mut world = SimWorld::new(dir.path());
    world.plug("hub", HUB);
    (world, dir)
}

/// A link that needed no pairing.
fn fine() -> Connected {
    Connected { encrypted: true, smp_packet_count: 0, protected_value: Some("secret".to_owned()) }
}

#[test]
fn a_bond_works_until_the_adapter_is_replugged() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    assert!(world.pair("hub", "lock", PairOptions::default()));
    assert_eq!(world.connect("hub", "lock"), fine());
    let keys: BTreeSet<String> = world.tables("hub").ltks.into_iter().map(|(_, _, key)| key).collect();
    assert!(world.key_octets().is_superset(&keys), "and the IRK that every peer has");
    world.unplug("hub");
    assert_eq!(world.plug("hub", HUB), 0);
    assert!(world.tables("hub").ltks.is_empty());
    assert!(world.connect("hub", "lock").smp_packet_count > 0);
}

#[test]
fn unpairing_and_foreign_loads_do_what_they_say() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    world.pair("hub", "lock", PairOptions::default());
    world.unpair("hub", "lock");
    assert!(world.tables("hub").ltks.is_empty());
    let record = crate::sim::wire::hex(&crate::ltk(5).write());
    world.foreign_load_ltks("hub", &[record]);
    assert_eq!(world.tables("hub").ltks.len(), 1);
    assert_eq!(world.ltk_load_count("hub"), 1);
}

#[test]
fn two_adapters_can_change_places() {
    let (mut world, _dir) = world();
    world.plug("second", "C0:FF:EE:FF:00:02");
    world.swap("hub", "second");
    assert_eq!((world.index("hub"), world.index("second")), (1, 0));
}

#[test]
fn the_service_is_told_where_the_simulator_is() {
    let (world, dir) = world();
    let endpoint = format!("unix:{}", dir.path().display());
    assert_eq!(world.service_env(), [("BONDKEEPER__MGMT__ENDPOINT".to_owned(), endpoint)]);
}

#[test]
fn bluetoothd_wipes_what_it_does_not_know_at_its_start_and_at_each_plug_in() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    world.pair("hub", "lock", PairOptions::default());
    let mut monitor = world.kernel().open_monitor();
    world.start_bluetoothd();
    assert!(world.tables("hub").ltks.is_empty());
    assert!(world.kernel().is_powered(0));
    let mut opcodes = Vec::new();
    while let Some(packet) = monitor.receive(std::time::Duration::ZERO) {
        let opcode =
            (packet.code == record::CONTROL_COMMAND).then(|| read_u16(&packet.parameters, 4)).flatten();
        opcodes.extend(opcode);
    }
    let position = |opcode: u16| opcodes.iter().position(|o| *o == opcode).expect("bluetoothd sent it");
    assert!(position(op::SET_POWERED) < position(op::LOAD_LTKS));
    assert!(position(op::LOAD_LTKS) < position(op::LOAD_IRKS));

    world.unplug("hub");
    let index = world.plug("hub", HUB);
    world.wait_bluetoothd("hub");
    assert_eq!(world.ltk_load_count("hub"), 1);
    assert!(world.kernel().is_powered(index));
}

#[test]
fn bluetoothd_without_an_agent_fails_the_pairings_of_others() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    world.start_bluetoothd();
    assert!(!world.pair("hub", "lock", PairOptions::default()));
    assert!(!world.connect("hub", "lock").encrypted);
    world.stop_bluetoothd();
    assert!(world.pair("hub", "lock", PairOptions::default()), "confirmations are answered again");
}

#[test]
fn bluetoothd_with_an_agent_keeps_what_is_paired_while_it_runs() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK.private());
    world.start_bluetoothd_with(Agent::Accepts);
    assert!(world.pair("hub", "lock", PairOptions::default()));
    let before = world.tables("hub");
    assert_eq!((before.ltks.len(), before.irks.len()), (1, 1));
    let storage = world.bluetoothd_storage().clone();
    assert!(world.kernel().wait_until(|_| storage.ltk_count(HUB) == 1));
    world.stop_bluetoothd();
    assert!(!world.kernel().is_powered(0));
    assert_eq!(world.tables("hub"), before, "keys stay when it exits");
    world.unplug("hub");
    world.plug("hub", HUB);
    world.start_bluetoothd();
    assert_eq!(world.tables("hub"), before, "it loads what it has on disk");
    assert_eq!(world.kernel().processes(), ["bluetoothd"]);
    assert_eq!(world.connect("hub", "lock"), fine());
    world.unpair("hub", "lock");
    assert!(world.kernel().wait_until(|_| storage.ltk_count(HUB) == 0), "it forgets what is unpaired");
}

#[test]
fn peers_without_privacy_give_their_irk_to_an_adapter_that_asks() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    world.kernel().open_control("keeper").succeed(op::LOAD_IRKS, 0, &list(&[]));
    world.pair("hub", "lock", PairOptions::default());
    assert_eq!(world.tables("hub").irks.len(), 1);
    assert_eq!(world.key_octets().len(), 2);
}

#[test]
fn what_a_pairing_changes_at_the_adapter_is_put_back() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    let odd = PairOptions { debug_keys: true, not_bondable: true };
    assert!(world.pair("hub", "lock", odd));
    assert!(!world.pair("hub", "lock", PairOptions::default()), "the kernel says Already Paired");
    world.unpair("hub", "lock");
    assert!(world.pair("hub", "lock", PairOptions::default()));
    assert_eq!(world.kernel().tables(0).ltks[0].key_type, 2);
    assert_eq!(world.connect("hub", "lock"), fine());
}

#[test]
fn a_connection_fails_quietly_when_a_key_is_missing_on_either_side() {
    let (mut world, _dir) = world();
    world.add_peer(&LOCK);
    world.pair("hub", "lock", PairOptions::default());
    world.reset_peer("lock");
    let failed = Connected { encrypted: false, smp_packet_count: 0, protected_value: None };
    assert_eq!(world.connect("hub", "lock"), failed);
    assert_eq!(world.tables("hub").ltks.len(), 1, "the kernel keeps its key");
    world.foreign_load_ltks("hub", &[]);
    let anew = world.connect("hub", "lock");
    assert!(anew.encrypted && anew.smp_packet_count > 0 && anew.protected_value == fine().protected_value);
    assert_eq!(world.connect("hub", "lock"), fine());
}

#[test]
fn one_peer_can_be_bonded_with_two_adapters() {
    let (mut world, _dir) = world();
    world.plug("second", "C0:FF:EE:FF:00:02");
    world.add_peer(&LOCK);
    for adapter in ["hub", "second"] {
        assert!(world.pair(adapter, "lock", PairOptions::default()));
    }
    for adapter in ["hub", "second"] {
        assert_eq!(world.connect(adapter, "lock"), fine());
    }
}
