//! The adapter's own identity: what is captured, when it is put back, and what is said.

use super::identity::IdentityOutcome;
use super::tests::{LOCK, Rig, attach};
use super::*;
use crate::adapter::messages::{Activity, NotRestored, Restore};
use crate::bond::testing::{irk, secure_bond};
use crate::bond::{IdentityRecord, LocalIdentity, Privacy};
use crate::mgmt::ForeignLoad;

const PLUGGED_IN: u64 = 1;

fn identity(seed: u8, privacy: Privacy) -> LocalIdentity {
    LocalIdentity { irk: irk(seed), privacy: Some(privacy) }
}

fn knowing(identity: LocalIdentity, mode: Mode) -> AdapterRecord {
    AdapterRecord { mode: Some(mode), local_identity: Some(identity), ..AdapterRecord::default() }
}

impl Rig {
    fn plug_in(&mut self, powered: bool, privacy: bool) {
        let mut attach = attach(PLUGGED_IN, true);
        (attach.info.powered, attach.info.privacy) = (powered, privacy);
        self.act(|machine, now| machine.attach(attach, now));
    }

    fn sets_privacy(&mut self, privacy: Privacy, seed: Option<u8>) {
        let setting = PrivacySetting { privacy, irk: seed.map(irk) };
        let activity = Activity::PrivacySet { process: "bluetoothd".to_owned(), setting };
        self.act(|machine, now| machine.observed(activity, now));
    }

    fn settings(&mut self, powered: bool, privacy: bool) {
        let event = KernelEvent::Settings { powered, privacy };
        self.act(|machine, now| machine.kernel_events([event], now));
    }

    fn identity_outcome(&mut self, outcome: IdentityOutcome) {
        self.act(|machine, now| machine.identity_outcome(outcome, now));
    }

    pub(super) fn reload(&mut self) {
        self.act(|machine, now| machine.reload(RequestId(9), now));
    }

    /// State, and why it was not restored.
    fn identity(&self) -> (&'static str, Option<&'static str>) {
        let state = self.states.last().unwrap().local_identity.as_ref().expect("none is known");
        (state.as_str(), state.not_restored.as_ref().map(NotRestored::code))
    }

    fn kept(&self) -> Option<LocalIdentity> {
        self.machine.record().local_identity.clone()
    }

    fn asked_the_kernel(&self) -> bool {
        self.sent_kinds().iter().any(|kind| kind.starts_with("SetPrivacy"))
    }
}

#[test]
fn an_identity_that_a_manager_sets_is_captured_told_and_kept_with_its_appearance() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.plug_in(false, false);
    rig.sets_privacy(Privacy::Limited, Some(7));
    assert!(rig.kept() == Some(identity(7, Privacy::Limited)));
    assert_eq!(rig.identity(), ("in_force", None));
    assert_eq!(rig.events.last().unwrap(), "identity_captured learned");
    let line = rig.audited.last().unwrap();
    assert_eq!(line.action, "identity_captured");
    let detail = line.detail.as_ref().unwrap();
    assert!(detail.starts_with("bluetoothd has set") && detail.contains("privacy limited"), "{detail}");
    let held = rig.machine.record().identity_held.clone().unwrap();
    assert_eq!((held.appearance.inode, held.restored), (PLUGGED_IN, false));
    let saved = rig.records_saved;
    let said = rig.events.len();
    rig.sets_privacy(Privacy::Limited, Some(7));
    assert_eq!((rig.records_saved, rig.events.len()), (saved, said), "the same again is no news");
}

#[test]
fn another_identity_replaces_the_stored_one_and_switching_off_keeps_its_key() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Auto));
    rig.plug_in(false, false);
    rig.sets_privacy(Privacy::On, Some(2));
    assert!(rig.kept() == Some(identity(2, Privacy::On)));
    rig.sets_privacy(Privacy::Off, Some(3));
    assert!(rig.kept() == Some(identity(2, Privacy::Off)), "the kernel forgets the key of such a command");
    assert_eq!(rig.identity(), ("off", None));
    assert_eq!(rig.events.iter().filter(|event| event.starts_with("identity_captured")).count(), 2);
}

#[test]
fn without_an_identity_to_keep_nothing_is_kept() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.plug_in(false, false);
    let saved = rig.records_saved;
    rig.sets_privacy(Privacy::Off, None);
    rig.sets_privacy(Privacy::On, None);
    assert!(rig.kept().is_none());
    assert_eq!(rig.records_saved, saved);
    assert_eq!(rig.states.last().unwrap().skipped, [("foreign_record", 1)]);
}

#[test]
fn nothing_is_captured_where_learning_is_switched_off() {
    let mut rig = Rig::without_learning(knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(false, false);
    rig.sets_privacy(Privacy::On, Some(2));
    assert!(rig.kept() == Some(identity(1, Privacy::On)));
    assert_eq!(rig.identity(), ("not_restored", Some("other_identity")));
}

#[test]
fn in_mode_own_the_identity_goes_to_a_powered_off_adapter_before_the_keys() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(false, false);
    assert_eq!(rig.sent_kinds(), ["SetPrivacy on", "Irks"]);
    rig.identity_outcome(IdentityOutcome::Taken);
    assert_eq!(rig.identity(), ("in_force", None));
    assert!(rig.events.contains(&"identity_restored plugged_in".to_owned()));
    assert_eq!(rig.audited.last().unwrap().action, "identity_restored");
    let held = rig.machine.record().identity_held.clone().unwrap();
    assert_eq!((held.appearance.inode, held.restored, held.at), (PLUGGED_IN, true, rig.now.wall));
    rig.kernel_takes_all();
    rig.reload();
    assert_eq!(rig.sent_kinds().iter().filter(|kind| kind.starts_with("SetPrivacy")).count(), 1);
}

#[test]
fn it_is_not_put_back_where_that_could_do_harm_and_the_state_says_why() {
    let on = || identity(1, Privacy::On);
    let unknown = LocalIdentity { irk: irk(1), privacy: None };
    for (known, mode, powered, privacy, manager, wanted) in [
        (on(), Mode::Auto, false, false, None, ("not_restored", Some("mode"))),
        (on(), Mode::Observe, false, false, None, ("not_restored", Some("mode"))),
        (on(), Mode::Own, true, false, None, ("not_restored", Some("powered_on"))),
        (on(), Mode::Own, false, true, None, ("not_restored", Some("other_identity"))),
        (on(), Mode::Own, false, false, Some("bluetoothd"), ("not_restored", Some("manager"))),
        (unknown, Mode::Own, false, false, None, ("not_restored", Some("privacy_unknown"))),
        (identity(1, Privacy::Off), Mode::Own, false, false, None, ("off", None)),
    ] {
        let mut rig = Rig::new(&[secure_bond(LOCK, 1)], knowing(known, mode));
        rig.manager(manager.as_slice());
        rig.plug_in(powered, privacy);
        assert!(!rig.asked_the_kernel(), "{wanted:?}");
        assert_eq!(rig.identity(), wanted);
    }
}

#[test]
fn what_a_manager_has_set_before_the_adapter_was_attached_is_left_alone() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
    let mut attach = attach(PLUGGED_IN, true);
    attach.info.powered = false;
    let setting = PrivacySetting { privacy: Privacy::On, irk: Some(irk(2)) };
    let activity = Activity::PrivacySet { process: "other".to_owned(), setting };
    attach.lately = vec![crate::adapter::messages::Observed { index: 0, address: None, activity }];
    rig.act(|machine, now| machine.attach(attach, now));
    assert!(!rig.asked_the_kernel());
    assert!(rig.kept() == Some(identity(2, Privacy::On)));
}

#[test]
fn an_adapter_that_was_switched_off_later_gets_it_when_it_is_asked_for() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::Limited), Mode::Own));
    rig.plug_in(true, false);
    rig.kernel_takes_all();
    rig.settings(false, false);
    assert!(!rig.asked_the_kernel());
    assert_eq!(rig.identity(), ("not_restored", Some("not_asked")));
    rig.reload();
    assert_eq!(rig.sent_kinds()[1..], ["SetPrivacy limited", "Irks"]);
    rig.identity_outcome(IdentityOutcome::Taken);
    assert_eq!(rig.identity(), ("in_force", None));
    rig.settings(true, true);
    assert_eq!(rig.identity(), ("in_force", None));
    rig.settings(true, false);
    assert_eq!(rig.identity(), ("not_restored", Some("powered_on")), "somebody has taken it away");
}

#[test]
fn setting_the_mode_to_own_asks_for_it_and_another_mode_does_not() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Auto));
    rig.plug_in(false, false);
    rig.act(|machine, now| drop(machine.set_mode(Mode::Observe, now)));
    assert!(!rig.asked_the_kernel());
    rig.act(|machine, now| drop(machine.set_mode(Mode::Own, now)));
    assert!(rig.asked_the_kernel());
}

#[test]
fn a_refusal_is_said_with_its_reason() {
    for (outcome, why) in [
        (IdentityOutcome::Rejected, "powered_on"),
        (IdentityOutcome::Failed("not supported".to_owned()), "refused"),
    ] {
        let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
        rig.plug_in(false, false);
        rig.identity_outcome(outcome);
        assert_eq!(rig.identity(), ("not_restored", Some(why)));
        assert!(rig.machine.record().identity_held.is_none());
        assert!(!rig.events.iter().any(|event| event.starts_with("identity_")));
    }
}

#[test]
fn after_a_restart_of_the_service_it_is_known_whose_identity_the_adapter_has() {
    for (inode, wanted) in
        [(PLUGGED_IN, ("in_force", None)), (PLUGGED_IN + 1, ("not_restored", Some("other_identity")))]
    {
        let mut record = knowing(identity(1, Privacy::On), Mode::Own);
        let appearance = Appearance { boot_id: "boot".to_owned(), inode };
        record.identity_held =
            Some(Box::new(IdentityRecord { appearance, at: UnixMillis(5), restored: true }));
        let mut rig = Rig::new(&[], record);
        rig.plug_in(true, true);
        assert_eq!(rig.identity(), wanted);
        let state = rig.states.last().unwrap().local_identity.clone().unwrap();
        assert_eq!(state.restored_at, Some(UnixMillis(5)));
    }
}

#[test]
fn an_unplugged_adapter_has_a_stored_identity_and_a_restored_copy_brings_one() {
    let mut rig = Rig::new(&[], AdapterRecord { mode: Some(Mode::Own), ..AdapterRecord::default() });
    let request = Restore {
        bonds: vec![secure_bond(LOCK, 1)],
        local_identity: Some(identity(4, Privacy::On)),
        opaque: Vec::new(),
        source: crate::bond::Source::Restored,
        mode: crate::bond::plan::RestoreMode::Merge,
        dry_run: false,
        plan_id: None,
        adapter_mismatch: false,
    };
    rig.act(|machine, now| machine.restore(RequestId(1), request, now));
    rig.checkpoint_taken();
    assert_eq!(rig.identity(), ("stored", None));
    rig.plug_in(false, false);
    assert!(rig.asked_the_kernel());
}

#[test]
fn what_was_captured_is_stored_at_once_and_is_not_called_restored() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.plug_in(false, false);
    let saved = rig.records_saved;
    rig.sets_privacy(Privacy::On, Some(7));
    assert_eq!(rig.records_saved, saved + 1);
    assert_eq!(rig.states.last().unwrap().local_identity.as_ref().unwrap().restored_at, None);
    rig.sets_privacy(Privacy::Off, None);
    assert_eq!(rig.records_saved, saved + 2, "off would be forgotten by a restart");
}

#[test]
fn an_identity_that_takes_the_place_of_a_restored_one_is_not_called_restored() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(false, false);
    rig.identity_outcome(IdentityOutcome::Taken);
    let restored_at = |rig: &Rig| rig.states.last().unwrap().local_identity.as_ref().unwrap().restored_at;
    assert!(restored_at(&rig).is_some());
    rig.sets_privacy(Privacy::On, Some(2));
    assert_eq!((rig.identity(), restored_at(&rig)), (("in_force", None), None));
}

#[test]
fn what_a_manager_sets_while_the_stored_one_is_on_its_way_is_what_counts() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(false, false);
    assert_eq!(rig.identity(), ("stored", None), "nothing is wrong while the kernel has not answered");
    rig.sets_privacy(Privacy::Limited, Some(2));
    rig.identity_outcome(IdentityOutcome::Taken);
    assert!(rig.kept() == Some(identity(2, Privacy::Limited)));
    assert!(!rig.events.iter().any(|event| event.starts_with("identity_restored")), "{:?}", rig.events);
    assert!(!rig.machine.record().identity_held.as_ref().unwrap().restored);
}

#[test]
fn it_is_sent_once_however_often_it_is_asked_for_until_the_kernel_has_answered() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(false, false);
    for mode in [Mode::Auto, Mode::Own] {
        rig.act(|machine, now| drop(machine.set_mode(mode, now)));
    }
    assert_eq!(rig.sent_kinds().iter().filter(|kind| kind.starts_with("SetPrivacy")).count(), 1);
}

#[test]
fn when_what_stood_against_it_is_gone_it_waits_until_it_is_asked_for() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
    rig.manager(&["bluetoothd"]);
    rig.plug_in(false, false);
    assert_eq!(rig.identity(), ("not_restored", Some("manager")));
    rig.manager(&[]);
    assert!(!rig.asked_the_kernel(), "bluetoothd may be on its way back");
    assert_eq!(rig.identity(), ("not_restored", Some("not_asked")));
    rig.kernel_takes_all();
    rig.reload();
    assert!(rig.asked_the_kernel());
}

#[test]
fn an_identity_whose_setting_was_not_seen_is_another_one() {
    let with_setting: fn(&mut Rig) = |rig| rig.settings(true, true);
    let without_key: fn(&mut Rig) = |rig| rig.sets_privacy(Privacy::On, None);
    for sets in [with_setting, without_key] {
        let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
        rig.plug_in(true, false);
        assert_eq!(rig.identity(), ("not_restored", Some("powered_on")));
        sets(&mut rig);
        assert_eq!(rig.identity(), ("not_restored", Some("other_identity")));
        assert!(rig.kept() == Some(identity(1, Privacy::On)));
    }
}

#[test]
fn a_refusal_is_not_said_of_a_later_attempt() {
    let mut rig = Rig::new(&[], knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(false, false);
    rig.kernel_takes_all();
    rig.identity_outcome(IdentityOutcome::Failed("busy".to_owned()));
    assert_eq!(rig.identity(), ("not_restored", Some("refused")));
    rig.reload();
    rig.identity_outcome(IdentityOutcome::Rejected);
    rig.settings(false, false);
    assert_eq!(rig.identity(), ("not_restored", Some("not_asked")));
}

#[test]
fn while_two_managers_disagree_it_is_held_as_the_keys_are() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], knowing(identity(1, Privacy::On), Mode::Own));
    rig.plug_in(true, false);
    rig.kernel_takes_all();
    rig.settings(false, false);
    assert_eq!(rig.identity(), ("not_restored", Some("not_asked")));
    rig.wait(1_000);
    let mut round_count = 0;
    while rig.machine.verdict().may_load() {
        round_count += 1;
        assert!(round_count < 20, "it goes on for ever");
        let load = std::sync::Arc::new(ForeignLoad { kind: LoadKind::Ltks, records: Vec::new() });
        let activity = Activity::Loaded { process: "other".to_owned(), load };
        rig.act(|machine, now| machine.observed(activity, now));
        rig.wait(300);
        rig.kernel_takes_all();
    }
    assert_eq!(rig.identity(), ("not_restored", Some("held")));
    assert!(!rig.asked_the_kernel());
}
