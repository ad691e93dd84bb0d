use super::*;
use proptest::prelude::*;

/// Runs a program as the kernel would: the octets kept of this packet, 0 for none.
fn run(program: &[Instruction], packet: &[u8]) -> u32 {
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let instruction = program[at];
        at += 1;
        match instruction.code {
            LOAD_HALF => {
                let offset = instruction.operand as usize;
                let Some(pair) = packet.get(offset..offset + 2) else { return 0 };
                accumulator = u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            }
            LOAD_OCTET => {
                let Some(octet) = packet.get(instruction.operand as usize) else { return 0 };
                accumulator = u32::from(*octet);
            }
            JUMP_EQUAL if accumulator == instruction.operand => at += usize::from(instruction.jump_true),
            JUMP_EQUAL => at += usize::from(instruction.jump_false),
            RETURN => return instruction.operand,
            other => panic!("the kernel would refuse instruction {other:#x}"),
        }
    }
}

fn keeps(program: &[Instruction], packet: &[u8]) -> bool {
    match run(program, packet) {
        DROP => false,
        KEEP_ALL => true,
        some => panic!("a packet cut to {some} octets"),
    }
}

fn frame(code: u16, index: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    crate::mgmt::frame::put_header(&mut frame, code, index, 0);
    frame
}

fn monitor_frame(opcode: u16, parameters: &[u16]) -> Vec<u8> {
    let mut frame = frame(opcode, 0);
    // The cookie.
    frame.extend_from_slice(&[0xA1, 0xA2, 0xA3, 0xA4]);
    for parameter in parameters {
        frame.extend_from_slice(&parameter.to_le_bytes());
    }
    frame
}

const DEVICE_FOUND: u16 = 0x0012;

#[test]
fn an_adapter_hears_what_it_uses_of_its_own_controller_only() {
    // An index whose octets differ, so that a missing swap is found.
    let program = adapter(0x0102);
    for code in 0..=0x0240 {
        assert_eq!(keeps(&program, &frame(code, 0x0102)), ADAPTER_EVENTS.contains(&code), "{code:#x}");
        assert!(!keeps(&program, &frame(code, 0x0201)), "{code:#x}");
        assert!(!keeps(&program, &frame(code, crate::mgmt::INDEX_NONE)), "{code:#x}");
    }
    assert!(!ADAPTER_EVENTS.contains(&DEVICE_FOUND));
    assert!(!keeps(&program, &frame(code::NEW_LTK.swap_bytes(), 0x0102)));
}

#[test]
fn the_registry_hears_of_controllers_and_replies_for_every_index() {
    let program = registry();
    for index in [0, 1, 0x0102, crate::mgmt::INDEX_NONE] {
        for code in 0..=0x0040 {
            assert_eq!(keeps(&program, &frame(code, index)), REGISTRY_EVENTS.contains(&code), "{code:#x}");
        }
    }
    for unwanted in [code::NEW_SETTINGS, code::NEW_LTK, DEVICE_FOUND] {
        assert!(!REGISTRY_EVENTS.contains(&unwanted));
    }
}

#[test]
fn the_monitor_shows_sockets_controllers_and_commands_about_keys() {
    let program = monitor();
    for opcode in 0..=24 {
        let always = [0, 1, 10, 14, 15].contains(&opcode);
        assert_eq!(keeps(&program, &monitor_frame(opcode, &[0x7777, 0x7777])), always, "{opcode}");
    }
    let wanted = [0x12, 0x13, 0x30, 0x35, 0x2F, 0x1B];
    for opcode in 0..=0x60 {
        let expected = wanted.contains(&opcode);
        assert_eq!(keeps(&program, &monitor_frame(16, &[opcode])), expected, "{opcode:#x}");
        for reply in [1, 2] {
            assert_eq!(keeps(&program, &monitor_frame(17, &[reply, opcode])), expected, "{opcode:#x}");
        }
        assert!(!keeps(&program, &monitor_frame(17, &[code::NEW_LTK, opcode])), "{opcode:#x}");
        assert!(keeps(&program, &monitor_frame(17, &[code::DEVICE_CONNECTED, opcode])), "{opcode:#x}");
    }
}

#[test]
fn of_a_controller_the_monitor_shows_links_and_no_advertisement() {
    let program = monitor();
    let event = |octets: &[u8]| [&frame(3, 0)[..], octets].concat();
    for code in 0..=u8::MAX {
        let wanted = [0x03, 0x05, 0x08, 0x59].contains(&code);
        assert_eq!(keeps(&program, &event(&[code, 4, 0x77, 0, 0, 0])), wanted, "{code:#x}");
        let le_wanted = [0x01, 0x0A, 0x29].contains(&code);
        assert_eq!(keeps(&program, &event(&[0x3E, 4, code, 0, 0, 0])), le_wanted, "LE {code:#x}");
    }
    // Commands to the controller, which hold keys, and data.
    for opcode in [2, 4, 5, 6, 7, 18] {
        assert!(!keeps(&program, &[&frame(opcode, 0)[..], &[0x08, 4, 0, 0, 0, 1]].concat()), "{opcode}");
    }
}

#[test]
fn a_short_packet_is_dropped() {
    let whole = frame(code::NEW_LTK, 1);
    assert!(keeps(&adapter(1), &whole[..4]));
    for octets in 0..4 {
        assert!(!keeps(&adapter(1), &whole[..octets]), "{octets}");
    }
    assert!(!keeps(&registry(), &[4]));
    let command = monitor_frame(16, &[0x13]);
    assert!(!keeps(&monitor(), &command[..command.len() - 1]));
    let reply = monitor_frame(17, &[1, 0x13]);
    assert!(!keeps(&monitor(), &reply[..reply.len() - 1]));
}

#[test]
fn every_jump_of_every_program_lands_inside_it() {
    for program in [adapter(0), registry(), monitor()] {
        assert!(program.len() < 256);
        for (at, instruction) in program.iter().enumerate().filter(|(_, one)| one.code == JUMP_EQUAL) {
            let longest = usize::from(instruction.jump_true.max(instruction.jump_false));
            assert!(at + 1 + longest < program.len());
        }
        assert_eq!(program.last().unwrap().code, RETURN);
    }
}

proptest! {
    #[test]
    fn every_packet_ends_every_program(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
        for program in [adapter(3), registry(), monitor()] {
            keeps(&program, &octets);
        }
    }
}
