use super::*;
use crate::mgmt::key_report::SkipReason;
use crate::mgmt::record::RecordError;
use proptest::prelude::*;

fn incoming(frame: &str) -> Incoming {
    Incoming::decode(&hex::decode(frame).unwrap()).unwrap()
}

const NEW_LTK: &str =
    "0a000000250001990000eeffc001000110000000000000000000009a97546ac714d519edccfeac2cd132d8";

#[test]
fn the_golden_frame_of_a_new_ltk_is_accepted() {
    let Incoming { index: 0, event: Event::NewKey(report) } = incoming(NEW_LTK) else { panic!() };
    assert_eq!((report.kind, report.store_hint, report.reason_code()), (KeyKind::Ltk, true, None));
    let (peer, key) = report.accept().unwrap();
    assert_eq!(peer.to_string(), "C0:FF:EE:00:00:99");
    assert!(matches!(key, crate::bond::CapturedKey::Ltk(_)));
}

#[test]
fn a_store_hint_of_zero_is_named_unless_the_record_says_more() {
    let Event::NewKey(report) = incoming(&NEW_LTK.replacen("250001", "250000", 1)).event else { panic!() };
    assert_eq!(report.reason_code(), Some("not_bonded"));
    assert_eq!(report.accept().err(), Some(SkipReason::NotBonded));
    // An LTK under a resolvable private address, as the kernel gives it: hint 0.
    let private = NEW_LTK.replacen("250001", "250000", 1).replacen("990000eeffc001", "57764cdbfa6302", 1);
    let Event::NewKey(report) = incoming(&private).event else { panic!() };
    assert_eq!(report.reason_code(), Some("private_address"));
    assert_eq!(report.accept().err(), Some(SkipReason::Record(RecordError::PrivateAddress)));
}

#[test]
fn a_debug_key_is_told_by_its_word() {
    let debug = NEW_LTK.replacen("c00100", "c00104", 1);
    let Event::NewKey(report) = incoming(&debug).event else { panic!() };
    assert_eq!(report.reason_code(), Some("debug_key"));
}

#[test]
fn the_resolvable_address_of_an_irk_is_none_where_the_peer_shows_its_identity() {
    let with = "180000001e0001711deab09e6e770000eeffc001101112131415161718191a1b1c1d1e1f";
    let Event::NewKey(report) = incoming(with).event else { panic!() };
    assert_eq!(report.resolvable_address, Some([0x71, 0x1D, 0xEA, 0xB0, 0x9E, 0x6E]));
    let without = "180000001e0001000000000000990000eeffc001000102030405060708090a0b0c0d0e0f";
    let Event::NewKey(report) = incoming(without).event else { panic!() };
    assert_eq!(report.resolvable_address, None);
}

#[test]
fn the_name_of_a_connected_peer_is_found_in_its_data() {
    let frame = "0b000000150057764cdbfa6302080000000800070942756d626c65";
    let Event::DeviceConnected { address, flags, data } = incoming(frame).event else { panic!() };
    assert_eq!((address.to_string().as_str(), flags), ("63:FA:DB:4C:76:57/random", 8));
    assert_eq!(data.name().as_deref(), Some("Bumble"));
    let name = |octets: &[u8]| AdvertisingData(octets.to_vec()).name();
    assert_eq!(name(&[2, 8, b'a', 3, 9, b'b', b'c']).as_deref(), Some("bc"), "the complete one wins");
    assert_eq!(name(&[2, 8, b'a']).as_deref(), Some("a"));
    assert_eq!(name(&[9, 9, b'a']), None, "an element longer than the data");
    assert_eq!(name(&[0, 2, 9, b'a']), None, "padding ends the data");
}

#[test]
fn a_short_event_is_an_error_with_its_name_and_length() {
    for code in (0x01..=0x30).filter(|code| name(*code) != "an unknown event") {
        let has_parameters = !name(code).contains("Index") || name(code).starts_with("Extended");
        let decoded = Event::decode(code, &[1]);
        if has_parameters && code != code::CONTROLLER_ERROR {
            assert_eq!(decoded, Err(DecodeError::Short { what: name(code), octets: 1 }), "{code:#x}");
        } else {
            assert!(decoded.is_ok(), "{code:#x}");
        }
    }
    let cut = Event::decode(code::NEW_LTK, &[1; 36]).unwrap_err();
    assert_eq!(cut.to_string(), "reading New Long Term Key: 36 octets of parameters are too few");
}

#[test]
fn octets_after_the_last_field_are_left_alone() {
    let longer = format!("{}ffff", NEW_LTK.replacen("2500", "2700", 1));
    assert_eq!(incoming(&longer), incoming(NEW_LTK));
    assert_eq!(incoming("0600010005000100000099").event, Event::NewSettings(Settings(1)));
}

#[test]
fn an_unknown_event_is_no_error() {
    assert_eq!(incoming("7700000002000102").event, Event::Unknown { code: 0x77 });
}

#[test]
fn what_only_a_person_may_see_is_not_in_debug_output() {
    let passkey = "170000000c00990000eeffc00140e2010000";
    let Event::PairingPrompt { prompt, .. } = incoming(passkey).event else { panic!() };
    assert_eq!(prompt, Prompt::PasskeyNotify { passkey: 123_456, entered: 0 });
    assert!(!format!("{prompt:?}").contains("123456"));
    let secret = Event::decode(code::COMMAND_COMPLETE, &[0x20, 0, 0, 0xDE, 0xAD]).unwrap();
    let shown = format!("{secret:?}");
    assert!(shown.contains("parameter_octets: 2") && !shown.contains("222"), "{shown}");
    assert!(!format!("{:?}", incoming(NEW_LTK)).contains("154"));
}

proptest! {
    #[test]
    fn no_octets_make_the_decoder_panic(
        code in 0u16..0x40, index in any::<u16>(), octets in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut frame = Vec::new();
        crate::mgmt::frame::put_header(&mut frame, code, index, octets.len() as u16);
        frame.extend_from_slice(&octets);
        if let Ok(incoming) = Incoming::decode(&frame) {
            let _ = format!("{incoming:?}");
        }
        let _ = Incoming::decode(&octets);
    }

    #[test]
    fn no_advertising_data_makes_the_name_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = AdvertisingData(octets).name();
    }
}
