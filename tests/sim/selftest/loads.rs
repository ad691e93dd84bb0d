//! Load commands: what is replaced, skipped, refused.

use crate::sim::client::list;
use crate::sim::records::{LEGACY_UNAUTHENTICATED, Ltk, P256_AUTHENTICATED};
use crate::sim::wire::{Address, BREDR, LE_RANDOM, op, status};
use crate::sim::{Hardware, Options};
use crate::{ADAPTER, Bench, irk, ltk, written};

fn load(bench: &mut Bench, records: &[Ltk]) -> u8 {
    bench.client.command(op::LOAD_LTKS, 0, &list(&written(records))).0
}

fn legacy(number: u8, central: u8) -> Ltk {
    Ltk { key_type: LEGACY_UNAUTHENTICATED, central, ediv: 7, rand: [1; 8], ..ltk(number) }
}

#[test]
fn a_load_replaces_the_whole_list() {
    let mut bench = Bench::new();
    assert_eq!(load(&mut bench, &[ltk(1), ltk(2)]), status::SUCCESS);
    assert_eq!(load(&mut bench, &[ltk(3)]), status::SUCCESS);
    assert_eq!(bench.ltks(), [("C0:FF:EE:00:00:03".to_owned(), 3)]);
}

#[test]
fn ltks_and_irks_are_independent_of_each_other() {
    let mut bench = Bench::new();
    load(&mut bench, &[ltk(1)]);
    bench.client.succeed(op::LOAD_IRKS, 0, &list(&[irk(1).write()]));
    load(&mut bench, &[]);
    assert_eq!(bench.kernel.tables(0).irks.len(), 1);
    load(&mut bench, &[ltk(1)]);
    bench.client.succeed(op::LOAD_IRKS, 0, &list(&[]));
    assert_eq!(bench.ltks().len(), 1);
}

#[test]
fn a_bad_ltk_is_skipped_alone_and_the_load_succeeds() {
    let broken: [fn(&mut Ltk); 9] = [
        |k| k.address.kind = BREDR,
        |k| k.address.kind = 3,
        |k| k.address = Address::new("40:11:22:33:44:55", LE_RANDOM),
        |k| k.address = Address::new("00:11:22:33:44:55", LE_RANDOM),
        |k| k.central = 2,
        |k| k.key_type = 4,
        |k| k.key_type = 5,
        |k| k.size = 17,
        |k| k.size = 255,
    ];
    let mut bench = Bench::new();
    for (number, spoil) in broken.iter().enumerate() {
        let mut bad = ltk(2);
        spoil(&mut bad);
        load(&mut bench, &[ltk(9)]);
        assert_eq!(load(&mut bench, &[bad, ltk(1)]), status::SUCCESS, "case {number}");
        assert_eq!(bench.ltks(), [("C0:FF:EE:00:00:01".to_owned(), 1)], "case {number}");
    }
}

#[test]
fn odd_but_well_formed_ltks_are_taken() {
    let mut bench = Bench::new();
    let short = Ltk { size: 0, ..ltk(1) };
    let nowhere = Ltk { address: Address { octets: [0; 6], ..ltk(2).address }, ..ltk(2) };
    let everywhere =
        Ltk { address: Address { octets: [0xFF; 6], ..ltk(3).address }, value: [0; 16], ..ltk(3) };
    let random = Ltk { address: Address::new("F1:11:22:33:44:55", LE_RANDOM), ..ltk(4) };
    assert_eq!(load(&mut bench, &[short, nowhere, everywhere, random]), status::SUCCESS);
    assert_eq!(bench.ltks().len(), 4);
}

#[test]
fn an_old_kernel_refuses_the_whole_list_for_one_bad_record() {
    let options = Options { refuse_bad_records: true, ..Options::default() };
    let mut bench = Bench::with(options, &Hardware::new(ADAPTER));
    load(&mut bench, &[ltk(9)]);
    let bad = Ltk { central: 2, ..ltk(2) };
    assert_eq!(load(&mut bench, &[ltk(1), bad]), status::INVALID_PARAMETERS);
    assert_eq!(bench.ltks(), [("C0:FF:EE:00:00:09".to_owned(), 9)], "the table is untouched");
}

#[test]
fn one_key_is_held_for_each_peer_and_role() {
    let mut bench = Bench::new();
    let changed = |value: u8| Ltk { value: [value; 16], ..ltk(1) };
    load(&mut bench, &[changed(5), changed(6)]);
    assert_eq!(bench.ltks(), [("C0:FF:EE:00:00:01".to_owned(), 6)], "the last one wins");
    let authenticated = Ltk { key_type: P256_AUTHENTICATED, ..changed(7) };
    load(&mut bench, &[changed(5), authenticated]);
    assert_eq!(bench.ltks().len(), 1, "both strengths share a slot");
    load(&mut bench, &[changed(5), Ltk { central: 1, ..changed(8) }]);
    assert_eq!(bench.ltks().len(), 1, "the role of a Secure Connections key means nothing");
    load(&mut bench, &[legacy(1, 0), legacy(1, 1)]);
    assert_eq!(bench.ltks().len(), 2, "a legacy bond has one key a role");
    load(&mut bench, &[legacy(1, 1), ltk(1)]);
    assert_eq!(bench.ltks().len(), 2, "a legacy key and a Secure Connections key may be loaded together");
}

#[test]
fn a_list_that_does_not_fit_its_count_is_refused() {
    let mut bench = Bench::new();
    load(&mut bench, &[ltk(9)]);
    let record = ltk(1).write();
    let wrong: [Vec<u8>; 6] = [
        vec![],
        vec![0],
        vec![1, 0],
        [&[1, 0], &record[..35]].concat(),
        [&[0, 0], &record[..]].concat(),
        [&[29, 7], &record[..]].concat(),
    ];
    for parameters in wrong {
        let (code, _) = bench.client.command(op::LOAD_LTKS, 0, &parameters);
        assert_eq!(code, status::INVALID_PARAMETERS, "{} octets", parameters.len());
    }
    assert_eq!(bench.ltks().len(), 1);
}

#[test]
fn one_bad_irk_costs_the_whole_list() {
    let mut bench = Bench::new();
    bench.client.succeed(op::LOAD_IRKS, 0, &list(&[irk(9).write()]));
    let mut bad = irk(2);
    bad.address.kind = BREDR;
    let (code, _) = bench.client.command(op::LOAD_IRKS, 0, &list(&[irk(1).write(), bad.write()]));
    assert_eq!(code, status::INVALID_PARAMETERS);
    assert_eq!(bench.kernel.tables(0).irks, [irk(9)]);
}

#[test]
fn link_keys_are_refused_by_an_le_only_controller_and_replaced_by_another() {
    let mut bench = Bench::new();
    let parameters = [&[0][..], &list(&[])].concat();
    assert_eq!(bench.client.command(op::LOAD_LINK_KEYS, 0, &parameters).0, status::NOT_SUPPORTED);

    let mut bench = Bench::with(Options::default(), &Hardware::new(ADAPTER).dual_mode());
    let key = |key_type: u8, kind: u8| {
        [&Address::new("00:AA:01:01:00:01", kind).write()[..], &[key_type], &[4; 16], &[0]].concat()
    };
    let records = [key(4, BREDR), key(3, BREDR), key(9, BREDR), key(4, 1)];
    bench.client.succeed(op::LOAD_LINK_KEYS, 0, &[&[0][..], &list(&records)].concat());
    assert_eq!(bench.kernel.tables(0).link_keys.len(), 1, "debug, unknown and LE ones are skipped");
    let flagged = [&[2][..], &list(&[])].concat();
    assert_eq!(bench.client.command(op::LOAD_LINK_KEYS, 0, &flagged).0, status::INVALID_PARAMETERS);
}

#[test]
fn connection_parameters_out_of_range_are_skipped() {
    let mut bench = Bench::new();
    let record = |min: u16, max: u16, timeout: u16| {
        let numbers = [min, max, 0, timeout].map(u16::to_le_bytes).concat();
        [&ltk(1).address.write()[..], &numbers].concat()
    };
    for (parameters, taken) in [((24, 40, 400), 1), ((40, 24, 400), 0), ((24, 40, 1), 0), ((24, 40, 5), 0)] {
        let (min, max, timeout) = parameters;
        bench.client.succeed(op::LOAD_CONNECTION_PARAMETERS, 0, &list(&[record(min, max, timeout)]));
        assert_eq!(bench.kernel.tables(0).connection_parameters.len(), taken, "{parameters:?}");
    }
}

#[test]
fn blocked_keys_are_not_loaded() {
    let mut bench = Bench::new();
    let blocked = |number: u8| list(&[[&[1][..], &[number; 16]].concat()]);
    bench.client.succeed(op::SET_BLOCKED_KEYS, 0, &blocked(7));
    load(&mut bench, &[ltk(7), ltk(8)]);
    assert_eq!(bench.ltks(), [("C0:FF:EE:00:00:08".to_owned(), 8)]);
    bench.client.succeed(op::SET_BLOCKED_KEYS, 0, &blocked(8));
    load(&mut bench, &[ltk(7), ltk(8)]);
    assert_eq!(
        bench.ltks(),
        [("C0:FF:EE:00:00:07".to_owned(), 7)],
        "a list of blocked keys is replaced, too"
    );
}

#[test]
fn keys_survive_power_off_and_not_unplug() {
    let mut bench = Bench::new();
    load(&mut bench, &[ltk(1)]);
    for power in [1, 0, 1] {
        bench.client.succeed(op::SET_POWERED, 0, &[power]);
    }
    assert_eq!(bench.ltks().len(), 1);
    bench.kernel.unplug(0);
    assert_eq!(bench.kernel.plug(&Hardware::new(ADAPTER)), 0);
    assert!(bench.ltks().is_empty());
}

#[test]
fn the_largest_list_loads_in_one_frame() {
    let mut bench = Bench::new();
    let records: Vec<Ltk> = (0..1820_u16)
        .map(|number| {
            let mut record = ltk(1);
            record.address.octets[..2].copy_from_slice(&number.to_le_bytes());
            record
        })
        .collect();
    assert_eq!(load(&mut bench, &records), status::SUCCESS);
    assert_eq!(bench.ltks().len(), 1820);
}
