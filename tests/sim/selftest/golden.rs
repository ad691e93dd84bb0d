//! Frames that real kernels sent (Debian's 6.1 and 6.12, virtual controllers,
//! throw-away keys): the simulator makes and takes the very same octets.

use crate::sim::client::Client;
use crate::sim::programs::{Pairing, make_ready, pair};
use crate::sim::wire::{Address, LE_PUBLIC, NO_INDEX, ev, frame, hex, op, unhex};
use crate::sim::{Hardware, Options, PeerConfig, Security};
use crate::{ADAPTER, Bench};

impl Bench {
    /// The next frame of this kind, as hex.
    fn golden(&mut self, code: u16) -> String {
        let packet = self.client.expect(code);
        hex(&frame(packet.code, packet.index, &packet.parameters))
    }

    fn ready(&mut self) {
        make_ready(&mut self.client, 0);
    }
}

fn bumble(address: &str) -> PeerConfig {
    PeerConfig::new("Bumble", address)
}

#[test]
fn links_are_reported_in_the_kernels_octets() {
    let mut bench = Bench::new();
    bench.ready();
    bench.kernel.add_peer(&bumble("C0:FF:EE:00:00:77"));
    bench.kernel.connect(0, "Bumble", Security::Low);
    bench.kernel.disconnect(0, "Bumble");
    assert_eq!(bench.golden(ev::DEVICE_CONNECTED), "0b0000001500770000eeffc001080000000800070942756d626c65");
    assert_eq!(bench.golden(ev::DEVICE_DISCONNECTED), "0c0000000800770000eeffc00103");
    bench.kernel.add_peer(&bumble("C0:FF:EE:00:00:77").private());
    bench.kernel.connect(0, "Bumble", Security::Low);
    assert_eq!(bench.golden(ev::CONNECT_FAILED), "0d0000000800770000eeffc0010e");
}

#[test]
fn a_lost_key_is_reported_in_the_kernels_octets() {
    let mut bench = Bench::new();
    bench.kernel.add_peer(&bumble("C0:FF:EE:00:00:99"));
    pair(&bench.kernel, 0, "Bumble", Pairing::default());
    bench.golden(ev::DEVICE_DISCONNECTED);
    bench.kernel.reset_peer("Bumble");
    bench.kernel.connect(0, "Bumble", Security::Medium);
    assert_eq!(bench.golden(ev::DEVICE_DISCONNECTED), "0c0000000800990000eeffc00104");
    let mut other = bench.kernel.open_control("other");
    let target = [&Address::new("C0:FF:EE:00:00:99", LE_PUBLIC).write()[..], &[0]].concat();
    other.succeed(op::UNPAIR_DEVICE, 0, &target);
    assert_eq!(bench.golden(ev::DEVICE_UNPAIRED), "160000000700990000eeffc001");
}

#[test]
fn a_refused_pairing_is_reported_in_the_kernels_octets() {
    let options = Options { await_confirmation: true, ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    bench.ready();
    bench.kernel.add_peer(&bumble("C0:FF:EE:00:00:99"));
    bench.kernel.connect(0, "Bumble", Security::Medium);
    let request = bench.golden(ev::CONFIRM_REQUEST);
    assert_eq!(request[..28], "0f0000000c00990000eeffc00101"[..28]);
    let address = Address::new("C0:FF:EE:00:00:99", LE_PUBLIC).write();
    bench.client.send(op::CONFIRM_NEGATIVE_REPLY, 0, &address);
    assert_eq!(bench.golden(ev::AUTHENTICATION_FAILED), "110000000800990000eeffc00105");
}

#[test]
fn controllers_are_reported_in_the_kernels_octets() {
    let mut bench = Bench::new();
    let mut extended = Client::connect(&bench.dir.path().join("control"));
    extended.succeed(op::READ_EXTENDED_INDEX_LIST, NO_INDEX, &[]);
    bench.kernel.plug(&Hardware::new("C0:FF:EE:FF:00:0A").unconfigured());
    assert_eq!(bench.golden(ev::UNCONFIGURED_INDEX_ADDED), "1d0001000000");
    let packet = extended.expect(ev::EXTENDED_INDEX_ADDED);
    assert_eq!(hex(&frame(packet.code, packet.index, &packet.parameters)), "2000010002000100");
    bench.kernel.unplug(1);
    bench.kernel.unplug(0);
    assert_eq!(bench.golden(ev::INDEX_REMOVED), "050000000000");
    bench.kernel.plug(&Hardware::new(ADAPTER));
    assert_eq!(bench.golden(ev::INDEX_ADDED), "040000000000");
}

/// Load Long Term Keys of a legacy bond and Load IRKs, as sent to a real kernel.
const LOAD_LTKS: &str = "130000004a00020001000101aa0001000110dd343f28c1c7caa5510dc8b0e2ba14b2ffc636d25a1dd6b00307\
                         01000101aa000100001000fb66a57a17081c141fb4b95d5b6054179b024e55f3e9cfb8d8";
const LOAD_IRKS: &str = "300000001900010001000101aa0001101112131415161718191a1b1c1d1e1f";

#[test]
fn captured_loads_fill_the_tables_and_come_out_again_unchanged() {
    let mut bench = Bench::new();
    bench.client.send_raw(&unhex(LOAD_LTKS));
    assert_eq!(bench.golden(ev::COMMAND_COMPLETE), "010000000300130000");
    bench.client.send_raw(&unhex(LOAD_IRKS));
    assert_eq!(bench.golden(ev::COMMAND_COMPLETE), "010000000300300000");
    let tables = bench.kernel.tables(0);
    let [central, peripheral] = [1, 0]
        .map(|central| tables.ltks.iter().find(|ltk| ltk.central == central).expect("a key for each role"));
    assert_eq!((central.ediv, hex(&central.rand)), (13_533, "3f28c1c7caa5510d".to_owned()));
    let records = [central.write(), peripheral.write()].concat();
    assert_eq!(hex(&records), LOAD_LTKS[16..]);
    assert_eq!(tables.irks[0].address.text(), "00:AA:01:01:00:01");
    assert_eq!(hex(&tables.irks[0].write()), LOAD_IRKS[16..]);
}
