//! What bluetoothd's word on its paired peers changes.

use super::*;
use crate::adapter::messages::PairedPeers;

const OTHER: &str = "C0:FF:EE:00:00:02";
const BLUETOOTHD: &str = ":1.42";

fn foreign(address: &str, last: u8) -> Bond {
    let mut bond = secure_bond(address, last);
    bond.metadata.custody = Custody::Foreign;
    bond
}

fn says(peers: &[&str], unreadable_count: usize) -> Option<PairedPeers> {
    Some(PairedPeers {
        instance: BLUETOOTHD.to_owned(),
        peers: peers.iter().map(|text| (peer(text), None)).collect(),
        unreadable_count,
    })
}

/// A host that was started again: bluetoothd was there first, with a bond of its own, which is known.
fn after_a_reboot(managers: &[&str]) -> Rig {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1), foreign(OTHER, 2)], loaded_in(1, 2));
    rig.manager(managers);
    rig.attach_with(2, false);
    assert!(rig.sent.is_empty(), "loaded over keys that were not seen");
    rig
}

fn said(rig: &mut Rig, seen: Option<PairedPeers>) {
    rig.act(|machine, now| machine.paired_peers(seen, now));
}

#[test]
fn with_every_paired_peer_known_the_union_is_loaded_though_bluetoothds_load_was_missed() {
    let mut rig = after_a_reboot(&["bluetoothd"]);
    said(&mut rig, says(&[OTHER], 0));
    assert_eq!(rig.machine.verdict(), Verdict::Merge);
    rig.kernel_takes_all();
    let ltks = rig.sent.iter().find(|(kind, _)| kind == "Ltks").unwrap();
    assert_eq!(ltks.1, [peer(LOCK), peer(OTHER)], "a bond of bluetoothd's would have been wiped");
}

#[test]
fn a_bluetoothd_without_paired_peers_has_loaded_nothing() {
    let mut rig = after_a_reboot(&["bluetoothd"]);
    said(&mut rig, says(&[], 0));
    rig.kernel_takes_all();
    let ltks = rig.sent.iter().find(|(kind, _)| kind == "Ltks").unwrap();
    assert_eq!(ltks.1, [peer(LOCK)], "what it does not call paired is not loaded for it");
}

#[test]
fn with_one_paired_peer_unknown_nothing_is_loaded() {
    for seen in [says(&[OTHER, "C0:FF:EE:00:00:03"], 0), says(&[OTHER], 1), None] {
        let mut rig = after_a_reboot(&["bluetoothd"]);
        said(&mut rig, seen);
        assert!(matches!(rig.machine.verdict(), Verdict::Hold(HoldReason::KeysUnknown { .. })));
        assert!(rig.sent.is_empty());
    }
}

#[test]
fn bluetoothds_word_says_nothing_of_another_managers_keys() {
    let mut rig = after_a_reboot(&["bluetoothd", "python3"]);
    said(&mut rig, says(&[OTHER], 0));
    assert!(matches!(rig.machine.verdict(), Verdict::Hold(HoldReason::KeysUnknown { .. })));
    assert!(rig.sent.is_empty());
}

/// The service was restarted beside a bluetoothd, in the same appearance.
fn after_a_restart(beside: Option<&str>) -> Rig {
    let record = AdapterRecord { bluetoothd: beside.map(str::to_owned), ..loaded_in(1, 2) };
    let mut rig = Rig::new(&[secure_bond(LOCK, 1), foreign(OTHER, 2)], record);
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig
}

#[test]
fn on_an_inherited_table_the_word_of_the_same_bluetoothd_ends_the_hold_and_nothing_is_sent() {
    let mut rig = after_a_restart(Some(BLUETOOTHD));
    said(&mut rig, says(&[OTHER], 0));
    assert_eq!(rig.machine.verdict(), Verdict::Merge);
    rig.kernel_takes_all();
    assert!(rig.sent.is_empty(), "{:?}", rig.sent);
}

#[test]
fn a_bluetoothd_that_was_restarted_meanwhile_has_taken_ours_out_of_an_inherited_table_and_they_are_put_back()
{
    for beside in [Some(":1.41"), None] {
        let mut rig = after_a_restart(beside);
        said(&mut rig, says(&[OTHER], 0));
        rig.kernel_takes_all();
        let ltks = rig.sent.iter().find(|(kind, _)| kind == "Ltks").unwrap();
        assert_eq!(ltks.1, [peer(LOCK), peer(OTHER)]);
        assert_eq!(rig.machine.record().bluetoothd.as_deref(), Some(BLUETOOTHD));
        // The same one again is no news.
        rig.sent.clear();
        said(&mut rig, says(&[OTHER], 0));
        rig.kernel_takes_all();
        assert!(rig.sent.is_empty(), "{:?}", rig.sent);
    }
}

#[test]
fn which_bluetoothd_it_was_is_not_noted_while_its_loads_are_not_accounted_for() {
    let mut rig = after_a_restart(None);
    said(&mut rig, says(&[OTHER, "C0:FF:EE:00:00:03"], 0));
    assert_eq!(rig.machine.record().bluetoothd, None);
}
