use super::*;
use crate::bond::Privacy;
use crate::bond::testing::{irk, peer, secure_ltk};
use crate::mgmt::INDEX_NONE;
use crate::mgmt::command::Command;
use crate::mgmt::frame::put_header;
use crate::mgmt::load::LoadList;
use crate::mgmt::record::RecordError;
use proptest::prelude::*;

fn monitor_frame(opcode: u16, index: u16, parameters: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_header(&mut frame, opcode, index, parameters.len() as u16);
    frame.extend_from_slice(parameters);
    frame
}

fn record(opcode: u16, parameters: &[u8]) -> MonitorRecord {
    let frame = MonitorFrame::decode(&monitor_frame(opcode, 0, parameters)).unwrap();
    assert_eq!(frame.index, 0);
    frame.record
}

/// A command as the monitor shows it: cookie and opcode in place of the command's own header.
fn command(cookie: u32, frame: &[u8]) -> MonitorRecord {
    let mut parameters = cookie.to_le_bytes().to_vec();
    parameters.extend_from_slice(&frame[..2]);
    parameters.extend_from_slice(&frame[6..]);
    record(monitor_opcode::COMMAND, &parameters)
}

#[test]
fn the_opening_of_a_control_socket_names_its_process() {
    // Cookie 7, format 2, version 1.23, flags trusted, 16 octets of name.
    let mut parameters = hex::decode("0700000002000117000100000010").unwrap();
    parameters.extend_from_slice(b"bluetoothd\0\0\0\0\0\0");
    let MonitorRecord::ControlOpened(socket) = record(14, &parameters) else { panic!() };
    let expected =
        ControlSocket { cookie: 7, is_management: true, is_trusted: true, process: "bluetoothd".to_owned() };
    assert_eq!(socket, expected);
    parameters[4] = 0;
    parameters[9] = 0;
    let MonitorRecord::ControlOpened(raw) = record(14, &parameters) else { panic!() };
    assert!(!raw.is_management && !raw.is_trusted);
    assert_eq!(record(15, &[7, 0, 0, 0]), MonitorRecord::ControlClosed { cookie: 7 });
}

#[test]
fn controllers_come_and_go() {
    let new = hex::decode("00010100eeffc00068636930000000").unwrap();
    assert!(MonitorFrame::decode(&monitor_frame(0, 0, &new)).is_err(), "one octet is missing");
    let new = hex::decode("0001010000eeffc06863693000000000").unwrap();
    let expected = MonitorRecord::NewIndex { address: [1, 0, 0, 0xEE, 0xFF, 0xC0], name: "hci0".to_owned() };
    assert_eq!(record(0, &new), expected);
    assert_eq!(record(1, &[]), MonitorRecord::IndexGone);
    assert_eq!(record(8, &[]), MonitorRecord::IndexOpened);
    assert_eq!(record(9, &[]), MonitorRecord::IndexClosed);
    let information = MonitorRecord::IndexInformation { address: [1, 2, 3, 4, 5, 6], manufacturer: 0x05F1 };
    assert_eq!(record(10, &[1, 2, 3, 4, 5, 6, 0xF1, 0x05]), information);
    assert_eq!(record(12, b"Linux\0"), MonitorRecord::Note("Linux".to_owned()));
    assert_eq!(record(2, &[0x0E, 1]), MonitorRecord::Unknown { opcode: 2 });
}

#[test]
fn what_a_controller_tells_of_a_link_is_read_and_the_rest_is_nothing() {
    let encrypted = HciEvent::Encrypted { handle: 0x40 };
    assert_eq!(record(3, &[0x08, 4, 0, 0x40, 0, 1]), MonitorRecord::Link(encrypted));
    for other in [&[][..], &[0x08, 4, 0], &[0x0E, 4, 1, 2, 3, 4], &[0x3E, 2, 0x02, 1]] {
        assert_eq!(record(3, other), MonitorRecord::Link(HciEvent::Other));
    }
    // Device Connected, as some process is told of it.
    let told = hex::decode("010000000b00990000eeffc001000000000000").unwrap();
    let address = RawAddress { octets: [0x99, 0, 0, 0xEE, 0xFF, 0xC0], kind: RawAddress::LE_PUBLIC };
    assert_eq!(record(17, &told), MonitorRecord::DeviceConnected { address });
}

#[test]
fn a_foreign_load_gives_its_records() {
    let (ltk, irk) = (secure_ltk(1), irk(2));
    let peer = peer("C0:FF:EE:00:00:01");
    let MonitorRecord::Command { cookie: 9, opcode, command: ForeignCommand::Load(load) } =
        command(9, &Command::Load(LoadList::ltks([(peer, &ltk)]).list).encode(0))
    else {
        panic!()
    };
    assert_eq!((opcode, load.kind), (Opcode::LOAD_LTKS, LoadKind::Ltks));
    assert!(load.records[0].key == Ok((peer, crate::bond::CapturedKey::Ltk(ltk))));
    let MonitorRecord::Command { command: ForeignCommand::Load(load), .. } =
        command(9, &Command::Load(LoadList::irks([(peer, &irk)]).list).encode(0))
    else {
        panic!()
    };
    assert!(load.records[0].key == Ok((peer, crate::bond::CapturedKey::Irk(irk))));
}

#[test]
fn one_bad_record_of_a_foreign_load_does_not_cost_the_others() {
    let (one, other) = (secure_ltk(1), secure_ltk(2));
    let records = [(peer("C0:FF:EE:00:00:01"), &one), (peer("C0:FF:EE:00:00:02"), &other)];
    let mut frame = Command::Load(LoadList::ltks(records).list).encode(0).to_vec();
    // The type of the first record.
    frame[6 + 2 + 7] = 4;
    let MonitorRecord::Command { command: ForeignCommand::Load(load), .. } = command(1, &frame) else {
        panic!()
    };
    assert_eq!(load.records[0].key.as_ref().err(), Some(&RecordError::DebugKey));
    assert_eq!(load.records[0].address.to_string(), "C0:FF:EE:00:00:01/public");
    assert!(load.records[1].key.is_ok());
    assert_eq!(format!("{load:?}"), "ForeignLoad(Ltks, 2 records)");
}

#[test]
fn a_load_whose_count_is_wrong_changes_nothing() {
    for frame in ["13000000030001000a", "130000000100ff", "30000000020001000000", "120000000200"] {
        let frame = hex::decode(frame).unwrap();
        let MonitorRecord::Command { command, .. } = command(1, &frame) else { panic!() };
        assert!(matches!(command, ForeignCommand::MalformedLoad(_)), "{command:?}");
    }
}

#[test]
fn privacy_and_unpairing_are_told_and_the_local_irk_is_not_shown() {
    let mut privacy = vec![0x2F, 0, 0, 0, 17, 0, 1];
    privacy.extend([0x5A; 16]);
    let MonitorRecord::Command { command: seen, .. } = command(1, &privacy) else { panic!() };
    assert!(!format!("{seen:?}").to_lowercase().contains("5a"), "{seen:?}");
    let ForeignCommand::SetPrivacy(setting) = seen else { panic!() };
    assert_eq!(setting.privacy, Privacy::On);
    assert!(setting.irk.is_some_and(|irk| irk.key.expose() == &[0x5A; 16]));
    privacy[6] = 3;
    let MonitorRecord::Command { command: seen, .. } = command(1, &privacy) else { panic!() };
    assert_eq!(seen, ForeignCommand::Other, "the kernel refuses it");
    let unpair = hex::decode("1b0000000800990000eeffc00101").unwrap();
    let MonitorRecord::Command { command: seen, .. } = command(1, &unpair) else { panic!() };
    let ForeignCommand::Unpair { address, disconnect: true } = seen else { panic!() };
    assert_eq!(address.to_string(), "C0:FF:EE:00:00:99/public");
    let MonitorRecord::Command { command: seen, .. } = command(1, &unpair[..8]) else { panic!() };
    assert_eq!(seen, ForeignCommand::Other, "a cut command is refused by the kernel");
}

#[test]
fn a_reply_of_another_process_tells_how_its_command_ended() {
    // Cookie 9, Command Complete, Load Long Term Keys, success.
    let complete = record(17, &hex::decode("090000000100130000").unwrap());
    let expected = |status| MonitorRecord::CommandEnded { cookie: 9, opcode: Opcode::LOAD_LTKS, status };
    assert_eq!(complete, expected(Status::Success));
    let refused = record(17, &hex::decode("09000000020013000d").unwrap());
    assert_eq!(refused, expected(Status::InvalidParameters));
    let settings = record(17, &hex::decode("09000000060001000000").unwrap());
    assert_eq!(settings, MonitorRecord::OtherEvent { cookie: 9, code: 6 });
    let nobody = MonitorFrame::decode(&monitor_frame(15, INDEX_NONE, &[1, 0, 0, 0])).unwrap();
    assert_eq!(nobody.index, INDEX_NONE);
}

proptest! {
    #[test]
    fn no_octets_make_the_decoder_panic(
        opcode in 0u16..20, code in any::<u16>(), octets in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = MonitorFrame::decode(&octets);
        let _ = MonitorFrame::decode(&monitor_frame(opcode, 1, &octets));
        let mut parameters = vec![1, 0, 0, 0];
        for known in [code, 0x12, 0x13, 0x1B, 0x2F, 0x30, 0x35] {
            parameters.truncate(4);
            parameters.extend_from_slice(&known.to_le_bytes());
            parameters.extend_from_slice(&octets);
            let _ = MonitorFrame::decode(&monitor_frame(16, 1, &parameters));
        }
    }
}
