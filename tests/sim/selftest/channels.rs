//! Sockets: checks before any command, who hears what, controllers that come and
//! go, the monitor channel.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::sim::client::{Client, Packet, list};
use crate::sim::monitor::record;
use crate::sim::wire::{NO_INDEX, ev, frame, op, read_u16, read_u32, setting, status};
use crate::sim::{Hardware, Options};
use crate::{ADAPTER, Bench, ltk, written};

fn codes(packets: &[Packet]) -> Vec<u16> {
    packets.iter().map(|packet| packet.code).collect()
}

/// Everything that was caused up to now has arrived once this is answered.
fn settle(client: &mut Client) -> Vec<Packet> {
    client.command(op::READ_VERSION, NO_INDEX, &[]);
    client.drain()
}

#[test]
fn read_version_and_lists_have_the_kernels_layout() {
    let mut bench = Bench::new();
    bench.kernel.plug(&Hardware::new("C0:FF:EE:FF:00:02"));
    assert_eq!(bench.client.succeed(op::READ_VERSION, NO_INDEX, &[]), [1, 23, 0]);
    assert_eq!(bench.client.succeed(op::READ_INDEX_LIST, NO_INDEX, &[]), [2, 0, 1, 0, 0, 0], "newest first");
    let commands = bench.client.succeed(op::READ_COMMANDS, NO_INDEX, &[]);
    let (count, events) = (read_u16(&commands, 0).unwrap(), read_u16(&commands, 2).unwrap());
    assert_eq!(commands.len(), 4 + 2 * usize::from(count + events));
}

#[test]
fn read_info_answers_280_octets() {
    let bench = Bench::with(Options::default(), &Hardware::new(ADAPTER).named("hub"));
    let mut client = bench.client;
    let info = client.succeed(op::READ_INFO, 0, &[]);
    assert_eq!(info.len(), 280);
    assert_eq!(info[..6], [0x01, 0x00, 0xFF, 0xEE, 0xFF, 0xC0]);
    assert_eq!(read_u32(&info, 9).unwrap() & setting::BREDR, 0);
    assert_eq!(read_u32(&info, 13).unwrap() & setting::POWERED, 0);
    assert_eq!(&info[20..24], b"hub\0");
}

#[test]
fn commands_are_checked_in_the_kernels_order() {
    let mut bench = Bench::new();
    let mut ask = |opcode, index, parameters: &[u8]| bench.client.command(opcode, index, parameters).0;
    assert_eq!(ask(0x7777, 0, &[]), status::UNKNOWN_COMMAND);
    assert_eq!(ask(op::LOAD_LTKS, 99, &[0, 0]), status::INVALID_INDEX);
    assert_eq!(ask(op::LOAD_LTKS, NO_INDEX, &[0, 0]), status::INVALID_INDEX);
    assert_eq!(ask(op::READ_VERSION, 0, &[]), status::INVALID_INDEX);
    assert_eq!(ask(op::SET_POWERED, 0, &[]), status::INVALID_PARAMETERS);
    assert_eq!(ask(op::GET_CONNECTIONS, 0, &[]), status::NOT_POWERED);
}

#[test]
fn a_frame_with_a_wrong_length_is_not_delivered() {
    let mut bench = Bench::new();
    let mut short = frame(op::LOAD_LTKS, 0, &list(&[]));
    short[4] = 4;
    bench.client.send_raw(&short);
    bench.client.send_raw(&[1, 0, 0]);
    assert!(settle(&mut bench.client).is_empty());
    assert_eq!(bench.kernel.counters().refused_frames, 2);
}

#[test]
fn a_frame_above_1028_octets_needs_a_raised_mtu() {
    let bench = Bench::new();
    let mut client = Client::connect(&bench.dir.path().join("control"));
    let records: Vec<_> = (0..29).map(ltk).collect();
    let load = |client: &mut Client, count: usize| {
        client.send(op::LOAD_LTKS, 0, &list(&written(&records[..count])));
        settle(client).len()
    };
    assert_eq!(load(&mut client, 28), 1);
    assert_eq!(load(&mut client, 29), 0);
    assert_eq!(bench.kernel.counters().refused_frames, 1);
    assert_eq!(bench.ltks().len(), 28);
    client.raise_send_mtu();
    assert_eq!(load(&mut client, 29), 1);
    assert_eq!(bench.ltks().len(), 29);
}

#[test]
fn settings_go_to_every_socket_but_the_one_that_changed_them() {
    let mut bench = Bench::new();
    let mut other = bench.kernel.open_control("other");
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    assert!(settle(&mut bench.client).is_empty());
    let heard = settle(&mut other);
    assert_eq!(codes(&heard), [ev::NEW_SETTINGS], "and only when they change");
    assert_eq!(read_u32(&heard[0].parameters, 0).unwrap() & setting::POWERED, setting::POWERED);
}

#[test]
fn a_load_causes_no_event() {
    let mut bench = Bench::new();
    let mut other = bench.kernel.open_control("other");
    bench.client.succeed(op::LOAD_LTKS, 0, &list(&written(&[ltk(1)])));
    assert!(settle(&mut other).is_empty());
    assert!(settle(&mut bench.client).is_empty());
}

#[test]
fn unplugging_a_powered_controller_tells_its_settings_first() {
    let mut bench = Bench::new();
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    bench.kernel.unplug(0);
    assert_eq!(codes(&settle(&mut bench.client)), [ev::NEW_SETTINGS, ev::INDEX_REMOVED]);
    assert_eq!(bench.client.command(op::LOAD_LTKS, 0, &[0, 0]).0, status::INVALID_INDEX);
}

#[test]
fn the_lowest_free_index_is_used_again() {
    let bench = Bench::new();
    let plug = || bench.kernel.plug(&Hardware::new(ADAPTER));
    assert_eq!((plug(), plug()), (1, 2));
    bench.kernel.unplug(1);
    assert_eq!(plug(), 1);
}

#[test]
fn each_plug_in_has_an_inode_of_its_own() {
    let mut bench = Bench::new();
    let path = bench.dir.path().join("sysfs/hci0");
    let inode = || fs::metadata(&path).map(|m| m.ino()).ok();
    let mut seen = vec![inode()];
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    assert_eq!(inode(), seen[0], "a power cycle changes nothing");
    for _ in 0..20 {
        bench.kernel.unplug(0);
        assert_eq!(inode(), None);
        bench.kernel.plug(&Hardware::new(ADAPTER));
        assert!(!seen.contains(&inode()));
        seen.push(inode());
    }
    let boot_id = fs::read_to_string(bench.dir.path().join("boot_id")).unwrap();
    assert_eq!(boot_id.trim_end().len(), 36);
}

#[test]
fn reading_the_extended_list_changes_the_style_of_that_socket_only() {
    let mut bench = Bench::new();
    let mut extended = bench.kernel.open_control("other");
    let reply = extended.succeed(op::READ_EXTENDED_INDEX_LIST, NO_INDEX, &[]);
    assert_eq!(reply, [1, 0, 0, 0, 0, 0]);
    let unconfigured = bench.kernel.plug(&Hardware::new("C0:FF:EE:FF:00:0A").unconfigured());
    let heard = settle(&mut extended);
    assert_eq!((heard[0].code, &heard[0].parameters[..]), (ev::EXTENDED_INDEX_ADDED, &[1, 0][..]));
    assert_eq!(codes(&settle(&mut bench.client)), [ev::UNCONFIGURED_INDEX_ADDED]);
    assert_eq!(bench.client.succeed(op::READ_INDEX_LIST, NO_INDEX, &[]), [1, 0, 0, 0]);
    assert_eq!(bench.client.command(op::READ_INFO, unconfigured, &[]).0, status::INVALID_INDEX);
}

#[test]
fn a_controller_without_address_cannot_be_powered_until_it_has_a_static_one() {
    let mut bench = Bench::with(Options::default(), &Hardware::new("00:00:00:00:00:00"));
    assert_eq!(bench.client.command(op::LOAD_LTKS, 0, &list(&written(&[ltk(1)]))).0, status::SUCCESS);
    assert_eq!(bench.client.command(op::SET_POWERED, 0, &[1]).0, status::FAILED);
    bench.client.succeed(op::SET_STATIC_ADDRESS, 0, &[0x55, 0x44, 0x33, 0x22, 0x11, 0xC3]);
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    let info = bench.client.succeed(op::READ_INFO, 0, &[]);
    assert_eq!(info[..6], [0; 6], "still");
    assert_ne!(read_u32(&info, 13).unwrap() & setting::STATIC_ADDRESS, 0);
}

#[test]
fn without_privileges_only_reading_is_allowed_and_no_key_is_heard() {
    let options = Options { untrusted: true, ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    bench.client.succeed(op::READ_INFO, 0, &[]);
    assert_eq!(bench.client.command(op::LOAD_LTKS, 0, &[0, 0]).0, status::PERMISSION_DENIED);
    bench.kernel.announce_ltk(0, ltk(1));
    assert!(settle(&mut bench.client).is_empty());
    bench.kernel.unplug(0);
    assert_eq!(codes(&settle(&mut bench.client)), [ev::INDEX_REMOVED]);
}

#[test]
fn the_monitor_channel_replays_the_state() {
    let mut bench = Bench::new();
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    let _daemon = bench.kernel.open_control("bluetoothd");
    let mut monitor = Client::connect(&bench.dir.path().join("monitor"));
    let notes = [monitor.expect(record::NOTE), monitor.expect(record::NOTE)];
    assert!(notes.iter().all(|note| note.parameters.ends_with(&[0])));
    let index = monitor.expect(record::NEW_INDEX);
    assert_eq!(&index.parameters[8..], b"hci0\0\0\0\0");
    monitor.expect(record::OPENED_INDEX);
    monitor.expect(record::INDEX_INFO);
    let names: Vec<Vec<u8>> = (0..2)
        .map(|_| {
            let open = monitor.expect(record::CONTROL_OPEN);
            assert_eq!((open.index, open.parameters.len()), (NO_INDEX, 30));
            assert_eq!(open.parameters[4..13], [2, 0, 1, 23, 0, 1, 0, 0, 0]);
            open.parameters[14..].iter().copied().take_while(|octet| *octet != 0).collect()
        })
        .collect();
    assert_eq!(names, [b"bondkeeper".to_vec(), b"bluetoothd".to_vec()]);
}

#[test]
fn the_monitor_channel_shows_commands_in_full_before_their_result() {
    let bench = Bench::new();
    let mut monitor = bench.kernel.open_monitor();
    let mut other = bench.kernel.open_control("othermanager");
    let open = monitor.expect(record::CONTROL_OPEN);
    let open =
        if open.parameters[14..].starts_with(b"other") { open } else { monitor.expect(record::CONTROL_OPEN) };
    let cookie = &open.parameters[..4];
    let parameters = list(&written(&[ltk(1)]));
    other.succeed(op::LOAD_LTKS, 0, &parameters);
    let command = monitor.expect(record::CONTROL_COMMAND);
    assert_eq!((&command.parameters[..4], command.index), (cookie, 0));
    assert_eq!(read_u16(&command.parameters, 4), Some(op::LOAD_LTKS));
    assert_eq!(command.parameters[6..], parameters);
    let event = monitor.expect(record::CONTROL_EVENT);
    assert_eq!(&event.parameters[..4], cookie);
    assert_eq!(event.parameters[4..], [1, 0, 0x13, 0, 0], "Command Complete, Load LTKs, Success");
    drop(other);
    assert_eq!(monitor.expect(record::CONTROL_CLOSE).parameters, open.parameters[..4]);
}

#[test]
fn the_frame_that_raises_the_mtu_is_not_shown_on_the_monitor_channel() {
    let mut bench = Bench::new();
    let mut monitor = bench.kernel.open_monitor();
    bench.client.raise_send_mtu();
    settle(&mut bench.client);
    let command = monitor.expect(record::CONTROL_COMMAND);
    assert_eq!(read_u16(&command.parameters, 4), Some(op::READ_VERSION));
}

#[test]
fn the_monitor_channel_shows_controllers() {
    let mut bench = Bench::new();
    let mut monitor = bench.kernel.open_monitor();
    bench.client.succeed(op::SET_POWERED, 0, &[1]);
    bench.kernel.unplug(0);
    for code in [record::OPENED_INDEX, record::INDEX_INFO, record::CLOSED_INDEX, record::DELETED_INDEX] {
        monitor.expect(code);
    }
    bench.kernel.plug(&Hardware::new(ADAPTER));
    monitor.expect(record::NEW_INDEX);
}
