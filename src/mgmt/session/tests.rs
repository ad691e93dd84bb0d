use super::*;
use crate::mgmt::INDEX_NONE;
use crate::mgmt::event::CommandComplete;
use crate::mgmt::load::{LoadKind, LoadList};
use crate::mgmt::opcode::DEADLINE_AT_ONCE;
use crate::mgmt::record::RawAddress;

struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn after(&self, seconds: u64) -> Instant {
        self.0 + Duration::from_secs(seconds)
    }
}

fn load() -> Command {
    Command::Load(LoadList::empty(LoadKind::Ltks))
}

fn complete(opcode: Opcode, status: u8, parameters: &[u8]) -> Event {
    let status = Status::from_code(status);
    Event::CommandComplete(CommandComplete { opcode, status, parameters: parameters.to_vec() })
}

fn loaded() -> Event {
    complete(Opcode::LOAD_LTKS, 0, &[])
}

fn answer(reception: Reception) -> Outcome {
    match reception {
        Reception::Answer(outcome) => outcome,
        other => panic!("no answer: {other:?}"),
    }
}

#[test]
fn a_reply_ends_its_command() {
    let (mut session, clock) = (Session::new(), Clock::new());
    let submitted = session.submit(2, &load(), clock.0).unwrap();
    assert_eq!(hex::encode(&submitted.frame[..]), "1300020002000000");
    assert!(session.is_in_flight(2, Opcode::LOAD_LTKS) && !session.is_idle());
    let outcome = answer(session.receive(2, &loaded(), clock.after(1)));
    assert_eq!((outcome.ticket, outcome.index, outcome.result), (submitted.ticket, 2, Ok(Reply::Empty)));
    assert!(session.is_idle());
    assert_eq!(session.next_timeout(), None);
}

#[test]
fn a_status_or_a_complete_with_an_error_is_a_refusal() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &load(), clock.0).unwrap();
    let status = Status::InvalidParameters;
    let refused = Event::CommandStatus { opcode: Opcode::LOAD_LTKS, status };
    let outcome = answer(session.receive(0, &refused, clock.0));
    assert_eq!(outcome.result, Err(CommandFailure::Refused(status)));

    let peer = RawAddress { octets: [1; 6], kind: 1 };
    session.submit(0, &Command::UnpairDevice { peer, disconnect: true }, clock.0).unwrap();
    let refused = complete(Opcode::UNPAIR_DEVICE, 0x0F, &[1, 1, 1, 1, 1, 1, 1]);
    let outcome = answer(session.receive(0, &refused, clock.0));
    assert_eq!(outcome.result, Err(CommandFailure::Refused(Status::NotPowered)));
}

#[test]
fn replies_are_told_apart_by_controller_and_opcode() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &load(), clock.0).unwrap();
    let other = session.submit(1, &load(), clock.0).unwrap();
    assert_eq!(answer(session.receive(1, &loaded(), clock.0)).ticket, other.ticket);
    assert_eq!(session.receive(1, &loaded(), clock.0), Reception::Unsolicited(Opcode::LOAD_LTKS));
    let foreign = complete(Opcode(0x0999), 0, &[]);
    assert_eq!(session.receive(0, &foreign, clock.0), Reception::Unsolicited(Opcode(0x0999)));
    assert_eq!(session.receive(0, &Event::IndexRemoved, clock.0), Reception::NotAReply);
    assert!(session.is_in_flight(0, Opcode::LOAD_LTKS));
}

#[test]
fn one_command_of_a_kind_is_in_flight_for_a_controller_at_a_time() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &load(), clock.0).unwrap();
    let again = session.submit(0, &load(), clock.0).err();
    assert_eq!(again, Some(SubmitError::InFlight(Opcode::LOAD_LTKS)));
}

#[test]
fn the_number_of_commands_in_flight_has_an_end() {
    let (mut session, clock) = (Session::new(), Clock::new());
    for index in 0..IN_FLIGHT_MAX {
        session.submit(index as u16, &load(), clock.0).unwrap();
    }
    assert_eq!(session.submit(999, &load(), clock.0).err(), Some(SubmitError::Full));
}

#[test]
fn a_command_times_out_at_its_deadline_and_its_reply_is_dropped() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &Command::SetPowered(true), clock.0).unwrap();
    let ticket = session.submit(0, &load(), clock.0).unwrap().ticket;
    let deadline = clock.0 + DEADLINE_AT_ONCE;
    assert_eq!(session.next_timeout(), Some(deadline));
    assert!(session.expire(deadline - Duration::from_millis(1)).is_empty());
    let outcomes = session.expire(deadline);
    assert_eq!(outcomes.len(), 1);
    assert_eq!((outcomes[0].ticket, &outcomes[0].result), (ticket, &Err(CommandFailure::TimedOut)));
    assert_eq!(session.receive(0, &loaded(), clock.after(6)), Reception::Late(Opcode::LOAD_LTKS));
    assert_eq!(session.receive(0, &loaded(), clock.after(7)), Reception::Unsolicited(Opcode::LOAD_LTKS));
    assert!(session.is_in_flight(0, Opcode::SET_POWERED));
}

#[test]
fn a_late_reply_is_not_taken_for_the_answer_to_the_same_command_sent_again() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &load(), clock.0).unwrap();
    session.expire(clock.after(5));
    let second = session.submit(0, &load(), clock.after(5)).unwrap();
    assert_eq!(session.receive(0, &loaded(), clock.after(6)), Reception::Late(Opcode::LOAD_LTKS));
    let outcome = answer(session.receive(0, &loaded(), clock.after(6)));
    assert_eq!(outcome.ticket, second.ticket);
}

#[test]
fn a_swallowed_reply_costs_one_more_command_and_no_more() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &load(), clock.0).unwrap();
    session.expire(clock.after(5));
    session.submit(0, &load(), clock.after(5)).unwrap();
    assert_eq!(session.receive(0, &loaded(), clock.after(5)), Reception::Late(Opcode::LOAD_LTKS));
    assert_eq!(session.expire(clock.after(10)).len(), 1);
    session.submit(0, &load(), clock.after(10)).unwrap();
    assert!(answer(session.receive(0, &loaded(), clock.after(10))).result.is_ok());
}

#[test]
fn a_reply_that_is_long_overdue_is_not_waited_for() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &load(), clock.0).unwrap();
    session.expire(clock.after(5));
    let later = clock.after(5) + LATE_REPLY_HORIZON;
    // Sent while the old reply could still come, answered when it no longer could.
    session.submit(0, &load(), later - Duration::from_secs(1)).unwrap();
    assert!(answer(session.receive(0, &loaded(), later)).result.is_ok());
}

#[test]
fn a_vanished_controller_ends_its_commands_and_leaves_nothing_to_its_successor() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &Command::ReadInfo, clock.0).unwrap();
    session.expire(clock.after(5));
    session.submit(0, &load(), clock.after(5)).unwrap();
    session.submit(1, &load(), clock.after(5)).unwrap();
    let outcomes = session.abandon(0);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].result, Err(CommandFailure::Gone));
    assert!(session.is_in_flight(1, Opcode::LOAD_LTKS));
    session.submit(0, &Command::ReadInfo, clock.after(6)).unwrap();
    assert!(matches!(
        session.receive(0, &complete(Opcode::READ_INFO, 0x11, &[]), clock.after(6)),
        Reception::Answer(_)
    ));
}

#[test]
fn a_frame_that_could_not_be_sent_is_forgotten() {
    let (mut session, clock) = (Session::new(), Clock::new());
    let ticket = session.submit(0, &load(), clock.0).unwrap().ticket;
    assert!(session.withdraw(ticket));
    assert!(!session.withdraw(ticket));
    assert!(session.is_idle());
    session.submit(0, &load(), clock.0).unwrap();
}

#[test]
fn a_success_that_cannot_be_read_is_a_failure_of_its_own() {
    let (mut session, clock) = (Session::new(), Clock::new());
    session.submit(0, &Command::ReadInfo, clock.0).unwrap();
    let outcome = answer(session.receive(0, &complete(Opcode::READ_INFO, 0, &[0; 279]), clock.0));
    assert!(matches!(outcome.result, Err(CommandFailure::Malformed(_))), "{outcome:?}");
}

#[test]
fn lists_are_read_whole_or_not_at_all() {
    let (mut session, clock) = (Session::new(), Clock::new());
    let mut ask = |command: &Command, parameters: &[u8]| {
        session.submit(INDEX_NONE, command, clock.0).unwrap();
        let reply = complete(command.opcode(), 0, parameters);
        answer(session.receive(INDEX_NONE, &reply, clock.0)).result
    };
    assert_eq!(ask(&Command::ReadIndexList, &[2, 0, 1, 0, 0, 0]), Ok(Reply::IndexList(vec![1, 0])));
    let cut = ask(&Command::ReadIndexList, &[2, 0, 1, 0, 0]);
    let what = "Read Controller Index List";
    assert_eq!(cut, Err(CommandFailure::Malformed(DecodeError::Count { what, count: 2, octets: 5 })));
    let version = ask(&Command::ReadVersion, &[1, 23, 0]);
    assert_eq!(version, Ok(Reply::Version { version: 1, revision: 23 }));
    let commands = ask(&Command::ReadCommands, &[1, 0, 2, 0, 0x13, 0, 0x0A, 0, 0x18, 0]);
    assert_eq!(commands, Ok(Reply::Commands { commands: vec![0x13], events: vec![0x0A, 0x18] }));
    let connections = ask(&Command::GetConnections, &[1, 0, 0x99, 0, 0, 0xEE, 0xFF, 0xC0, 1]);
    let peer = RawAddress { octets: [0x99, 0, 0, 0xEE, 0xFF, 0xC0], kind: 1 };
    assert_eq!(connections, Ok(Reply::Connections(vec![peer])));
}

#[test]
fn the_information_of_a_controller_is_read_field_by_field() {
    let (mut session, clock) = (Session::new(), Clock::new());
    let mut octets = hex::decode("010000eeffc00bf105ffbf0100910a00000c010c").unwrap();
    octets.extend_from_slice(b"hub\0");
    octets.resize(20 + 249, 0);
    octets.extend_from_slice(b"short\0");
    octets.resize(280, 0);
    session.submit(0, &Command::ReadInfo, clock.0).unwrap();
    let outcome = answer(session.receive(0, &complete(Opcode::READ_INFO, 0, &octets), clock.0));
    let Ok(Reply::Information(information)) = outcome.result else { panic!("{outcome:?}") };
    assert_eq!(information.identity().unwrap().to_string(), "C0:FF:EE:00:00:01");
    assert_eq!((information.bluetooth_version, information.manufacturer), (11, 0x05F1));
    assert_eq!((information.name.as_str(), information.short_name.as_str()), ("hub", "short"));
    assert_eq!(information.class_of_device, [0x0C, 0x01, 0x0C]);
    assert!(information.current.is_powered() && information.supports_bredr());
    assert_eq!((information.supported.0, information.current.0), (0x0001_BFFF, 0x0000_0A91));
}

#[test]
fn every_command_has_a_row_and_a_frame() {
    let peer = RawAddress { octets: [0x99, 0, 0, 0xEE, 0xFF, 0xC0], kind: 1 };
    let io_capability = crate::mgmt::IoCapability::NoInputNoOutput;
    let irk = Some(crate::bond::testing::irk(0x5A));
    let privacy = crate::mgmt::PrivacySetting { privacy: crate::bond::Privacy::Limited, irk };
    let commands = [
        (Command::ReadVersion, "0100ffff0000"),
        (Command::ReadCommands, "0200ffff0000"),
        (Command::ReadIndexList, "0300ffff0000"),
        (Command::ReadInfo, "0400ffff0000"),
        (Command::SetPowered(true), "0500ffff010001"),
        (Command::Disconnect { peer }, "1400ffff0700990000eeffc001"),
        (Command::GetConnections, "1500ffff0000"),
        (Command::PairDevice { peer, io_capability }, "1900ffff0800990000eeffc00103"),
        (Command::CancelPairDevice { peer }, "1a00ffff0700990000eeffc001"),
        (Command::UnpairDevice { peer, disconnect: true }, "1b00ffff0800990000eeffc00101"),
        (Command::SetPrivacy(privacy), "2f00ffff110002a5a5a5a5a5a5a5a5a5a5a5a5a5a5a55a"),
    ];
    for (command, frame) in &commands {
        assert_eq!(hex::encode(&command.encode(INDEX_NONE)[..]), *frame);
        assert_eq!(command.spec().opcode, command.opcode());
    }
    for kind in LoadKind::ALL {
        let command = Command::Load(LoadList::empty(kind));
        assert_eq!(command.spec().opcode, kind.opcode());
        assert_eq!(LoadKind::from_opcode(kind.opcode()), Some(kind));
    }
    assert_eq!(commands.len() + LoadKind::ALL.len(), crate::mgmt::opcode::COMMANDS.len());
}

#[test]
fn only_permission_denied_means_that_we_are_not_trusted() {
    use crate::mgmt::command::is_trusted;
    assert!(!is_trusted(Status::PermissionDenied));
    assert!(is_trusted(Status::InvalidIndex));
}
