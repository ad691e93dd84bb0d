//! What the simulator can be told to do badly does happen, and only that.

use std::time::Duration;

use crate::sim::client::list;
use crate::sim::wire::{LE_PUBLIC, NO_INDEX, ev, op, status};
use crate::sim::{Fault, Hardware, Options, PeerConfig, Trouble};
use crate::{ADAPTER, Bench, ltk, written};

/// Long enough to see that no reply comes: the simulator answers within one lock.
const NO_REPLY: Duration = Duration::from_millis(100);

#[test]
fn a_reply_can_be_withheld_while_the_command_is_carried_out() {
    let mut bench = Bench::new();
    bench.kernel.fault(Fault::every(op::LOAD_LTKS, Trouble::NoReply));
    let parameters = list(&written(&[ltk(1)]));
    assert_eq!(bench.client.try_command(op::LOAD_LTKS, 0, &parameters, NO_REPLY), None);
    assert_eq!(bench.ltks().len(), 1);
    bench.kernel.clear_faults();
    bench.client.succeed(op::LOAD_LTKS, 0, &parameters);
}

#[test]
fn a_command_can_be_ignored_or_refused_once() {
    let mut bench = Bench::new();
    let parameters = list(&written(&[ltk(1)]));
    bench.kernel.fault(Fault::once(op::LOAD_LTKS, Trouble::Ignored));
    assert_eq!(bench.client.try_command(op::LOAD_LTKS, 0, &parameters, NO_REPLY), None);
    bench.kernel.fault(Fault::once(op::LOAD_LTKS, Trouble::Status(status::CANCELLED)).at(0));
    assert_eq!(bench.client.command(op::LOAD_LTKS, 0, &parameters).0, status::CANCELLED);
    assert!(bench.ltks().is_empty());
    bench.client.succeed(op::LOAD_LTKS, 0, &parameters);
    assert_eq!(bench.kernel.command_count(0, op::LOAD_LTKS), 3);
}

#[test]
fn a_controller_can_vanish_under_a_command() {
    let mut bench = Bench::new();
    bench.kernel.fault(Fault::once(op::LOAD_IRKS, Trouble::Vanish));
    bench.client.send(op::LOAD_IRKS, 0, &list(&[]));
    bench.client.expect(ev::INDEX_REMOVED);
    assert_eq!(bench.client.expect(ev::COMMAND_STATUS).parameters, [0x30, 0, status::INVALID_INDEX]);
}

#[test]
fn a_held_command_keeps_its_socket_waiting_and_no_other() {
    let mut bench = Bench::new();
    let mut other = bench.kernel.open_control("other");
    bench.kernel.fault(Fault::once(op::LOAD_LTKS, Trouble::Hold));
    bench.client.send(op::LOAD_LTKS, 0, &list(&written(&[ltk(1)])));
    bench.client.send(op::READ_VERSION, NO_INDEX, &[]);
    assert!(bench.kernel.wait_until(|kernel| kernel.held_count() == 2));
    other.succeed(op::READ_INFO, 0, &[]);
    bench.kernel.announce_ltk(0, ltk(2));
    assert_eq!(bench.ltks().len(), 1);
    bench.kernel.release_held();
    let codes: Vec<u16> = std::iter::from_fn(|| bench.client.receive(NO_REPLY)).map(|p| p.code).collect();
    assert_eq!(codes, [ev::NEW_LTK, ev::COMMAND_COMPLETE, ev::COMMAND_COMPLETE]);
    assert_eq!(bench.ltks(), [("C0:FF:EE:00:00:01".to_owned(), 1)], "the key in between was wiped");
}

#[test]
fn a_socket_that_does_not_read_loses_frames_silently() {
    let options = Options { queue_octets: Some(8192), ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    bench.kernel.flood(0, 1000);
    let dropped = bench.kernel.counters().dropped_frames;
    let heard = bench.client.drain().len() as u64;
    assert!(dropped > 0);
    assert_eq!(heard + dropped, 1000);
    bench.client.succeed(op::READ_VERSION, NO_INDEX, &[]);
}

#[test]
fn events_can_carry_octets_of_a_later_kernel_and_codes_nobody_knows() {
    let options = Options { trailing_octets: 3, ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    assert_eq!(bench.client.succeed(op::READ_VERSION, NO_INDEX, &[]).len(), 3 + 3);
    bench.kernel.inject(0x7ABC, 0, &[1, 2]);
    assert_eq!(bench.client.expect(0x7ABC).parameters, [1, 2, 0xA5, 0xA5, 0xA5]);
}

#[test]
fn discovery_reports_every_peer_on_the_air() {
    let mut bench = Bench::new();
    bench.kernel.add_peer(&PeerConfig::new("lock", crate::PEER));
    assert_eq!(bench.client.command(op::START_DISCOVERY, 0, &[6]).0, status::NOT_POWERED);
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    bench.client.succeed(op::START_DISCOVERY, 0, &[6]);
    let found = bench.client.expect(ev::DEVICE_FOUND).parameters;
    assert_eq!(found[..7], crate::sim::wire::Address::new(crate::PEER, LE_PUBLIC).write());
}
