//! Pairing, connecting, unpairing: events, their order, and what is left in the tables.

use crate::sim::client::{Packet, list};
use crate::sim::programs::{Pairing, pair};
use crate::sim::records::{Irk, Ltk};
use crate::sim::wire::{Address, LE_PUBLIC, NO_INDEX, ev, op, reason, setting, status};
use crate::sim::{Hardware, Options, Outcome, PeerConfig, Security};
use crate::{ADAPTER, Bench, PEER};

const STATIC: &str = "F1:11:22:33:44:55";

fn peer() -> PeerConfig {
    PeerConfig::new("lock", PEER)
}

/// A bench with one peer.
fn bench_with(config: &PeerConfig) -> Bench {
    let bench = Bench::new();
    bench.kernel.add_peer(config);
    bench
}

impl Bench {
    /// Pairs as another program does; what this client heard of it meanwhile.
    fn pair(&mut self, pairing: Pairing) -> Vec<Packet> {
        assert!(pair(&self.kernel, 0, "lock", pairing));
        self.heard()
    }

    fn heard(&mut self) -> Vec<Packet> {
        self.client.command(op::READ_VERSION, NO_INDEX, &[]);
        self.client.drain().into_iter().filter(|p| p.code != ev::NEW_SETTINGS).collect()
    }

    fn prime(&mut self) {
        self.client.succeed(op::LOAD_IRKS, 0, &list(&[]));
    }

    /// Everything is forgotten by the kernel, the adapter is back and powered.
    fn replug(&mut self) {
        self.kernel.unplug(0);
        self.kernel.plug(&Hardware::new(ADAPTER));
        self.client.succeed(op::SET_BONDABLE, 0, &[1]);
        self.client.succeed(op::SET_SECURE_CONNECTIONS, 0, &[1]);
        self.client.succeed(op::SET_POWERED, 0, &[1]);
        self.heard();
    }

    fn connect(&self) -> Outcome {
        let outcome = self.kernel.connect(0, "lock", Security::Medium);
        self.kernel.disconnect(0, "lock");
        outcome
    }
}

fn codes(packets: &[Packet]) -> Vec<u16> {
    packets.iter().map(|packet| packet.code).collect()
}

fn of(packets: &[Packet], code: u16) -> Vec<Vec<u8>> {
    packets.iter().filter(|p| p.code == code).map(|p| p.parameters.clone()).collect()
}

/// The records of the LTK events, as a Load command takes them.
fn ltks(packets: &[Packet]) -> Vec<Vec<u8>> {
    of(packets, ev::NEW_LTK).iter().map(|event| event[1..].to_vec()).collect()
}

fn irks(packets: &[Packet]) -> Vec<Vec<u8>> {
    of(packets, ev::NEW_IRK).iter().map(|event| event[7..].to_vec()).collect()
}

#[test]
fn a_secure_connections_bond_is_one_key_event() {
    let mut bench = bench_with(&peer());
    let heard = bench.pair(Pairing::default());
    let order = [ev::DEVICE_CONNECTED, ev::CONFIRM_REQUEST, ev::NEW_LTK, ev::DEVICE_DISCONNECTED];
    assert_eq!(codes(&heard), order);
    let event = &of(&heard, ev::NEW_LTK)[0];
    assert_eq!((event.len(), event[0]), (37, 1), "37 octets, to be stored");
    let key = Ltk::read(&event[1..]).unwrap();
    assert_eq!((key.key_type, key.central, key.size, key.ediv, key.rand), (2, 0, 16, 0, [0; 8]));
    assert_eq!(key.address, Address::new(PEER, LE_PUBLIC));
    assert_eq!(bench.kernel.tables(0).ltks, [key]);
}

#[test]
fn a_legacy_bond_is_two_key_events_the_central_one_first() {
    let mut bench = bench_with(&peer().legacy());
    let heard = bench.pair(Pairing::default());
    let keys: Vec<Ltk> = ltks(&heard).iter().filter_map(|record| Ltk::read(record)).collect();
    assert_eq!(keys.iter().map(|k| (k.key_type, k.central)).collect::<Vec<_>>(), [(0, 1), (0, 0)]);
    assert_ne!(keys[0].value, keys[1].value);
    assert_eq!(bench.kernel.tables(0).ltks.len(), 2);
    // An adapter without Secure Connections pairs in the old way with any peer.
    let mut bench = bench_with(&peer());
    let heard = bench.pair(Pairing { secure_connections: false, ..Pairing::default() });
    assert_eq!(ltks(&heard).len(), 2);
}

#[test]
fn the_irk_and_the_csrks_come_before_the_ltk_which_bears_the_identity() {
    let mut bench = bench_with(&PeerConfig { signing: true, ..peer().private() });
    bench.prime();
    let heard = bench.pair(Pairing::default());
    let order = [
        ev::DEVICE_CONNECTED,
        ev::CONFIRM_REQUEST,
        ev::NEW_IRK,
        ev::NEW_CSRK,
        ev::NEW_CSRK,
        ev::NEW_LTK,
        ev::DEVICE_DISCONNECTED,
    ];
    assert_eq!(codes(&heard), order);
    let on_air = Address::read(&of(&heard, ev::DEVICE_CONNECTED)[0]).unwrap();
    assert_eq!((on_air.kind, on_air.octets[5] >> 6), (2, 0b01), "connected under a private address");
    let irk = &of(&heard, ev::NEW_IRK)[0];
    assert_eq!((irk.len(), irk[0], &irk[1..7]), (30, 1, &on_air.octets[..]));
    let identity = Address::new(PEER, LE_PUBLIC);
    assert_eq!(Irk::read(&irk[7..]).unwrap().address, identity);
    assert_eq!(Ltk::read(&ltks(&heard)[0]).unwrap().address, identity);
    assert_eq!(Address::read(&of(&heard, ev::DEVICE_DISCONNECTED)[0]), Some(identity));
}

#[test]
fn without_priming_no_irk_is_asked_for_and_the_ltk_is_not_worth_storing() {
    let mut bench = bench_with(&peer().private());
    let heard = bench.pair(Pairing::default());
    assert!(irks(&heard).is_empty());
    let event = &of(&heard, ev::NEW_LTK)[0];
    assert_eq!(event[0], 0, "store hint");
    assert_eq!(event[6] >> 6, 0b01, "under the private address");
    assert_eq!(bench.kernel.tables(0).ltks.len(), 1, "the kernel keeps it until it is replaced");
    bench.client.succeed(op::LOAD_LTKS, 0, &list(&[event[1..].to_vec()]));
    assert!(bench.kernel.tables(0).ltks.is_empty(), "and does not take it back");
}

#[test]
fn a_private_peer_has_a_new_address_after_each_link() {
    let bench = bench_with(&peer().private());
    let before = bench.kernel.known_as(0, "lock");
    assert!(pair(&bench.kernel, 0, "lock", Pairing::default()));
    let after = bench.kernel.known_as(0, "lock");
    assert_ne!(before, after);
    assert_eq!((after.kind, after.octets[5] >> 6), (2, 0b01));
}

#[test]
fn set_privacy_primes_as_well_and_the_priming_dies_with_the_controller() {
    let mut bench = bench_with(&peer().private());
    bench.client.succeed(op::SET_PRIVACY, 0, &[0; 17]);
    assert_eq!(irks(&bench.pair(Pairing::default())).len(), 1);
    bench.replug();
    bench.kernel.reset_peer("lock");
    assert!(irks(&bench.pair(Pairing::default())).is_empty());
    assert_eq!(bench.client.command(op::SET_PRIVACY, 0, &[0; 17]).0, status::REJECTED, "not while powered");
}

#[test]
fn an_adapters_own_identity_is_taken_only_while_it_is_off_and_dies_with_the_controller() {
    let mut bench = bench_with(&peer());
    let setting = |privacy: u8| [&[privacy][..], &[0x5A; 16]].concat();
    assert_eq!(bench.client.command(op::SET_PRIVACY, 0, &setting(3)).0, status::INVALID_PARAMETERS);
    bench.client.succeed(op::SET_PRIVACY, 0, &setting(2));
    assert_eq!(bench.kernel.local_irk(0), Some([0x5A; 16]));
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    assert_eq!(bench.client.command(op::SET_PRIVACY, 0, &setting(0)).0, status::REJECTED);
    assert_eq!(bench.kernel.local_irk(0), Some([0x5A; 16]));
    bench.client.succeed(op::SET_POWERED, 0, &[0]);
    bench.client.succeed(op::SET_PRIVACY, 0, &setting(0));
    assert_eq!(bench.kernel.local_irk(0), None, "the key that comes with it does not count");
    bench.client.succeed(op::SET_PRIVACY, 0, &setting(1));
    bench.replug();
    assert_eq!(bench.kernel.local_irk(0), None);
}

#[test]
fn keys_of_a_pairing_without_bonding_have_no_store_hint() {
    let unbondable = Pairing { bondable: false, ..Pairing::default() };
    for (config, pairing) in
        [(peer(), unbondable), (PeerConfig { bonding: false, ..peer() }, Pairing::default())]
    {
        let mut bench = bench_with(&config);
        let heard = bench.pair(pairing);
        assert_eq!(of(&heard, ev::NEW_LTK)[0][0], 0);
        assert_eq!(bench.kernel.tables(0).ltks.len(), 1);
        assert_eq!(bench.connect(), Outcome::PeerLostKey, "the peer has kept nothing");
    }
}

#[test]
fn debug_keys_give_type_4_which_cannot_be_loaded() {
    let mut bench = bench_with(&peer());
    let heard = bench.pair(Pairing { debug_keys: true, ..Pairing::default() });
    let event = of(&heard, ev::NEW_LTK)[0].clone();
    assert_eq!((event[0], event[8]), (1, 4));
    bench.client.succeed(op::LOAD_LTKS, 0, &list(&[event[1..].to_vec()]));
    assert!(bench.kernel.tables(0).ltks.is_empty());
}

#[test]
fn numeric_comparison_gives_an_authenticated_key() {
    let mut bench = bench_with(&PeerConfig { numeric_comparison: true, ..peer() });
    let heard = bench.pair(Pairing::default());
    assert_eq!(of(&heard, ev::CONFIRM_REQUEST)[0][7], 0, "confirm hint");
    assert_eq!(of(&heard, ev::NEW_LTK)[0][8], 3);
}

#[test]
fn a_bond_that_is_loaded_back_needs_no_pairing() {
    for config in [
        peer(),
        peer().legacy(),
        peer().private(),
        PeerConfig { address: Address::new(STATIC, 2), ..peer().private().legacy() },
    ] {
        let mut bench = bench_with(&config);
        bench.prime();
        let heard = bench.pair(Pairing::default());
        assert_eq!(bench.connect(), Outcome::Encrypted);
        bench.replug();
        bench.client.succeed(op::LOAD_IRKS, 0, &list(&irks(&heard)));
        bench.client.succeed(op::LOAD_LTKS, 0, &list(&ltks(&heard)));
        assert_eq!(bench.connect(), Outcome::Encrypted, "{config:?}");
        let (seen, key) = (codes(&bench.heard()), ev::NEW_LTK);
        assert!(!seen.contains(&key), "{config:?}");
    }
}

#[test]
fn a_private_peer_is_not_found_while_its_irk_is_not_loaded() {
    let mut bench = bench_with(&peer().private());
    bench.prime();
    let heard = bench.pair(Pairing::default());
    bench.replug();
    bench.client.succeed(op::LOAD_LTKS, 0, &list(&ltks(&heard)));
    assert_eq!(bench.connect(), Outcome::NotFound);
    let failed = of(&bench.heard(), ev::CONNECT_FAILED);
    assert_eq!(failed, [[&Address::new(PEER, LE_PUBLIC).write()[..], &[status::DISCONNECTED]].concat()]);
}

#[test]
fn with_nothing_loaded_the_kernel_pairs_anew_unasked_and_the_old_bond_is_worthless() {
    let mut bench = bench_with(&peer());
    let old = ltks(&bench.pair(Pairing::default()));
    bench.replug();
    assert_eq!(bench.kernel.connect(0, "lock", Security::Low), Outcome::Plain);
    bench.kernel.disconnect(0, "lock");
    assert!(matches!(bench.connect(), Outcome::PairedAnew { smp_packet_count: 1.. }));
    let new = ltks(&bench.heard());
    assert_eq!(new.len(), 1);
    assert_ne!(new, old);
    bench.client.succeed(op::LOAD_LTKS, 0, &list(&old));
    assert_eq!(bench.connect(), Outcome::WrongKey);
    let gone = of(&bench.heard(), ev::DEVICE_DISCONNECTED);
    assert_eq!(gone.last().unwrap()[7], reason::UNKNOWN);
    assert_eq!(bench.kernel.tables(0).ltks.len(), 1, "the kernel keeps its key");
}

#[test]
fn a_peer_that_lost_its_key_is_disconnected_for_authentication_failure() {
    let mut bench = bench_with(&peer());
    bench.pair(Pairing::default());
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    bench.kernel.reset_peer("lock");
    bench.heard();
    assert_eq!(bench.connect(), Outcome::PeerLostKey);
    let heard = bench.heard();
    assert_eq!(codes(&heard), [ev::DEVICE_CONNECTED, ev::DEVICE_DISCONNECTED]);
    assert_eq!(heard[1].parameters[7], reason::AUTHENTICATION_FAILURE);
    assert_eq!(bench.kernel.tables(0).ltks.len(), 1, "the kernel keeps its key");
}

#[test]
fn a_wiped_list_leaves_the_link_that_stands() {
    let mut bench = bench_with(&peer());
    bench.pair(Pairing::default());
    assert_eq!(bench.kernel.connect(0, "lock", Security::Medium), Outcome::Encrypted);
    bench.client.succeed(op::LOAD_LTKS, 0, &list(&[]));
    let connections = bench.client.succeed(op::GET_CONNECTIONS, 0, &[]);
    assert_eq!(connections, [&[1, 0][..], &Address::new(PEER, LE_PUBLIC).write()].concat());
}

#[test]
fn a_bond_belongs_to_the_adapter_it_was_made_with() {
    let mut bench = bench_with(&peer());
    let second = bench.kernel.plug(&Hardware::new("C0:FF:EE:FF:00:02"));
    let keys = ltks(&bench.pair(Pairing::default()));
    bench.client.succeed(op::LOAD_LTKS, second, &list(&keys));
    bench.client.succeed(op::SET_POWERED, second, &[1]);
    assert_eq!(bench.kernel.connect(second, "lock", Security::Medium), Outcome::PeerLostKey);
    assert_eq!(bench.connect(), Outcome::Encrypted, "the first is untouched");
}

#[test]
fn unpairing_tells_all_but_the_issuer_and_takes_the_irk_with_it() {
    let mut bench = bench_with(&peer().private());
    bench.prime();
    bench.pair(Pairing::default());
    let mut issuer = bench.kernel.open_control("other");
    let target = |disconnect: u8| [&Address::new(PEER, LE_PUBLIC).write()[..], &[disconnect]].concat();
    let mut unpair = |parameters: &[u8]| issuer.command(op::UNPAIR_DEVICE, 0, parameters).0;
    assert_eq!(unpair(&target(2)), status::INVALID_PARAMETERS);
    let mut as_bredr = target(1);
    as_bredr[6] = 0;
    assert_eq!(unpair(&as_bredr), status::NOT_PAIRED);
    assert_eq!(unpair(&target(1)), status::SUCCESS);
    assert_eq!(unpair(&target(1)), status::NOT_PAIRED);
    let tables = bench.kernel.tables(0);
    assert!(tables.ltks.is_empty() && tables.irks.is_empty());
    assert!(issuer.drain().is_empty());
    assert_eq!(of(&bench.heard(), ev::DEVICE_UNPAIRED), [target(1)[..7].to_vec()]);
}

#[test]
fn unpairing_needs_power_and_the_key_stays() {
    let mut bench = bench_with(&peer());
    bench.pair(Pairing::default());
    bench.client.succeed(op::SET_POWERED, 0, &[0]);
    let target = [&Address::new(PEER, LE_PUBLIC).write()[..], &[1]].concat();
    assert_eq!(bench.client.command(op::UNPAIR_DEVICE, 0, &target).0, status::NOT_POWERED);
    assert_eq!(bench.kernel.tables(0).ltks.len(), 1);
}

#[test]
fn a_pairing_can_wait_for_the_answer_of_any_socket() {
    let options = Options { await_confirmation: true, ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    bench.kernel.add_peer(&peer());
    bench.client.succeed(op::SET_BONDABLE, 0, &[1]);
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    let address = Address::new(PEER, LE_PUBLIC).write();
    let request = [&address[..], &[3]].concat();
    let mut other = bench.kernel.open_control("other");

    bench.client.send(op::PAIR_DEVICE, 0, &request);
    other.expect(ev::CONFIRM_REQUEST);
    other.succeed(op::CONFIRM_NEGATIVE_REPLY, 0, &address);
    assert_eq!(bench.client.expect(ev::COMMAND_COMPLETE).parameters[2], status::AUTHENTICATION_FAILED);
    assert!(bench.kernel.tables(0).ltks.is_empty());

    bench.client.send(op::PAIR_DEVICE, 0, &request);
    other.expect(ev::CONFIRM_REQUEST);
    other.succeed(op::CONFIRM_REPLY, 0, &address);
    assert_eq!(bench.client.expect(ev::COMMAND_COMPLETE).parameters, [&[0x19, 0, 0][..], &address].concat());
    assert_eq!(other.command(op::CONFIRM_REPLY, 0, &address).0, status::NOT_CONNECTED);
    assert_eq!(bench.kernel.counters().pairing_answers, 3);
    assert_eq!(bench.client.command(op::PAIR_DEVICE, 0, &request).0, status::ALREADY_PAIRED);
}

#[test]
fn a_pairing_under_way_ends_with_its_controller() {
    let options = Options { await_confirmation: true, ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    bench.kernel.add_peer(&peer());
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    bench.client.send(op::PAIR_DEVICE, 0, &[&Address::new(PEER, LE_PUBLIC).write()[..], &[3]].concat());
    bench.client.expect(ev::CONFIRM_REQUEST);
    bench.kernel.unplug(0);
    assert_eq!(bench.client.expect(ev::COMMAND_COMPLETE).parameters[2], status::INVALID_INDEX);
    bench.client.expect(ev::INDEX_REMOVED);
}

#[test]
fn a_bredr_pairing_gives_a_link_key() {
    let mut bench = Bench::with(Options::default(), &Hardware::new(ADAPTER).dual_mode());
    bench.client.succeed(op::SET_BONDABLE, 0, &[1]);
    bench.kernel.pair_bredr(0, "00:AA:01:01:00:01");
    let event = bench.client.expect(ev::NEW_LINK_KEY).parameters;
    assert_eq!((event.len(), event[0], event[7], event[8]), (26, 1, 0, 4));
    assert_eq!(bench.kernel.tables(0).link_keys.len(), 1);
}

#[test]
fn the_same_seed_makes_the_same_keys_and_all_are_recorded() {
    let make = |seed: u64| {
        let options = Options { seed, ..Options::default() };
        let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
        bench.kernel.add_peer(&PeerConfig { signing: true, ..peer().private().legacy() });
        bench.prime();
        bench.pair(Pairing::default());
        bench.kernel.key_octets()
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
    assert_eq!(make(1).len(), 5, "an IRK, two CSRKs, two LTKs");
}

#[test]
fn powering_off_ends_all_links() {
    let mut bench = bench_with(&peer());
    bench.pair(Pairing::default());
    bench.kernel.connect(0, "lock", Security::Medium);
    bench.heard();
    bench.client.succeed(op::SET_POWERED, 0, &[0]);
    assert_eq!(codes(&bench.heard()), [ev::DEVICE_DISCONNECTED]);
    let info = bench.client.succeed(op::READ_INFO, 0, &[]);
    assert_eq!(u32::from(info[13]) & setting::POWERED, 0);
}
