use super::*;
use crate::bond::testing::{irk, material, peer, secure_bond};
use crate::bond::{BondTable, LinkKey, LinkKeyType};

fn table(count: usize) -> BondTable {
    let mut table = BondTable::new();
    for number in 0..count {
        let address = format!("C0:FF:EE:00:{:02X}:{:02X}", number >> 8, number & 0xFF);
        table.insert(secure_bond(&address, 1)).unwrap();
    }
    table
}

fn kinds(run: &mut LoadRun) -> Vec<LoadKind> {
    let mut kinds = Vec::new();
    while let Some((kind, _)) = run.current_peers() {
        kinds.push(kind);
        run.outcome(ListOutcome::Taken);
    }
    kinds
}

fn compose(table: &BondTable, dual_mode: bool) -> Lists {
    Lists::compose(&BTreeMap::new(), table.bonds(), dual_mode).priming()
}

fn run(table: &BondTable, dual_mode: bool, may_empty: bool) -> LoadRun {
    let lists = compose(table, dual_mode);
    let lists = if may_empty { lists.emptying(dual_mode) } else { lists };
    LoadRun::new(lists, 0, "test")
}

#[test]
fn an_empty_list_of_irks_is_always_loaded_and_one_of_keys_only_to_remove() {
    let none = BondTable::new();
    assert_eq!(kinds(&mut run(&none, true, false)), [LoadKind::Irks]);
    let expected = [LoadKind::Irks, LoadKind::LinkKeys, LoadKind::Ltks];
    assert_eq!(kinds(&mut run(&none, true, true)), expected);
    assert_eq!(kinds(&mut run(&none, false, true)), [LoadKind::Irks, LoadKind::Ltks]);
}

#[test]
fn link_keys_go_to_dual_mode_controllers_only() {
    let mut bond = secure_bond("C0:FF:EE:00:00:01", 1);
    bond.link_key =
        Some(LinkKey { key: material(1), key_type: LinkKeyType::UnauthenticatedP256, pin_length: Some(0) });
    let mut table = BondTable::new();
    table.insert(bond).unwrap();
    assert_eq!(kinds(&mut run(&table, false, false)), [LoadKind::Irks, LoadKind::Ltks]);
    let expected = [LoadKind::Irks, LoadKind::LinkKeys, LoadKind::Ltks];
    assert_eq!(kinds(&mut run(&table, true, false)), expected);
}

#[test]
fn what_does_not_fit_the_kernels_list_is_left_out_by_name() {
    let lists = compose(&table(1_821), false);
    assert_eq!(lists.count(LoadKind::Ltks), 1_820);
    assert_eq!(lists.left_out.len(), 1);
}

#[test]
fn the_keys_of_others_go_along_and_are_never_those_without_a_room() {
    let other = peer("D0:00:00:00:00:01");
    let theirs = crate::bond::testing::secure_ltk(9);
    let records = Records::from([((other, Some(theirs.slot())), LoadItem::Ltk(theirs))]);
    let lists = Lists::compose(&[(LoadKind::Ltks, records)].into(), table(1_820).bonds(), false);
    assert_eq!(lists.count(LoadKind::Ltks), 1_820);
    assert!(lists.records(LoadKind::Ltks).keys().any(|(peer, _)| *peer == other));
    assert_eq!(lists.left_out.len(), 1);
}

#[test]
fn of_a_peer_with_a_bond_the_bonds_keys_are_loaded() {
    let bonds = table(1);
    let bond = bonds.bonds().next().unwrap();
    let theirs = crate::bond::testing::legacy_ltk(crate::bond::Role::Central, 9);
    let records = Records::from([((bond.peer, Some(theirs.slot())), LoadItem::Ltk(theirs))]);
    let lists = Lists::compose(&[(LoadKind::Ltks, records)].into(), bonds.bonds(), false);
    let places: Vec<_> = lists.records(LoadKind::Ltks).into_keys().collect();
    assert_eq!(places, [(bond.peer, Some(bond.ltks()[0].slot()))]);
}

#[test]
fn a_refused_list_is_loaded_without_exactly_the_refused_records() {
    let bad = [peer("C0:FF:EE:00:00:03"), peer("C0:FF:EE:00:00:09")];
    let mut run = run(&table(10), false, false);
    let mut kernel: Vec<PeerAddress> = Vec::new();
    let mut command_count = 0;
    let end = loop {
        let (kind, peers) = run.current_peers().expect("the run stopped without an end");
        command_count += 1;
        let refuse = kind == LoadKind::Ltks && peers.iter().any(|peer| bad.contains(peer));
        if kind == LoadKind::Ltks && !refuse {
            kernel = peers;
        }
        let outcome = if refuse { ListOutcome::Refused } else { ListOutcome::Taken };
        if let Some(end) = run.outcome(outcome) {
            break end;
        }
    };
    assert_eq!(end, RunEnd::Done);
    assert_eq!(kernel.len(), 8);
    assert!(bad.iter().all(|peer| !kernel.contains(peer)));
    assert_eq!(run.refused.iter().copied().collect::<Vec<_>>(), bad);
    let side =
        |list, loaded_count, refused_count| ListSide { list, loaded: true, loaded_count, refused_count };
    assert_eq!(run.lists(), [side("irks", 0, 0), side("ltks", 8, 2)]);
    assert!(command_count < 20, "{command_count} commands");
}

#[test]
fn silence_ends_the_run_and_names_the_list() {
    let mut bond = secure_bond("C0:FF:EE:00:00:01", 1);
    bond.irk = Some(irk(1));
    let mut table = BondTable::new();
    table.insert(bond).unwrap();
    let mut run = run(&table, false, false);
    assert_eq!(run.outcome(ListOutcome::Taken), None);
    assert_eq!(run.outcome(ListOutcome::Silent), Some(RunEnd::Silent(LoadKind::Ltks)));
    assert!(run.current().is_none());
    let ltks = ListSide { list: "ltks", loaded: false, loaded_count: 0, refused_count: 1 };
    assert_eq!(run.lists().last(), Some(&ltks));
}
