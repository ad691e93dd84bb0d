//! Every interleaving of managers, kernel and us: whatever is read in whatever order, in the end the
//! kernel holds what each of them wants in it, and nothing that was taken out.
//!
//! A model of the kernel and of two managers stands beside the machine. The kernel's two channels to us are
//! queues that are read independently of each other; our loads reach the kernel at any later time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{Rig, attach};
use super::*;
use crate::adapter::load::ListOutcome;
use crate::adapter::messages::Activity;
use crate::adapter::records::{LoadItem, Records};
use crate::bond::testing::{peer, secure_bond, secure_ltk};
use crate::bond::{Bond, Ltk};
use crate::mgmt::{ForeignLoad, KeyRecord, RawAddress};

const LTKS: LoadKind = LoadKind::Ltks;
const MANAGERS: [&str; 2] = ["bluetoothd", "python3"];
/// Each manager has peers of its own; so have we.
const PEERS_EACH: u8 = 3;

/// Added to a manager's number for the peers that only pass by.
const PASSING: usize = 4;

fn address(owner: usize, number: u8) -> PeerAddress {
    peer(&format!("C0:FF:EE:00:{owner:02X}:{:02X}", number % PEERS_EACH + 1))
}

#[derive(Debug, Clone)]
enum Step {
    /// A manager loads its list.
    Load {
        manager: usize,
    },
    /// A pairing: the kernel has the key from here on, and tells of it later.
    Pair {
        manager: usize,
        number: u8,
        key: u8,
        stored: bool,
    },
    TellPairing,
    Unpair {
        manager: usize,
        number: u8,
    },
    /// The kernel carries out the oldest load of ours.
    CarryOut,
    ReadControl,
    ReadMonitor,
    Wait {
        ms: u64,
    },
    Reload,
    Replug,
}

fn step() -> impl Strategy<Value = Step> {
    let manager = || 0..MANAGERS.len();
    prop_oneof![
        4 => manager().prop_map(|manager| Step::Load { manager }),
        3 => (manager(), 0..PEERS_EACH, 1..200u8, any::<bool>())
            .prop_map(|(manager, number, key, stored)| Step::Pair { manager, number, key, stored }),
        3 => Just(Step::TellPairing),
        1 => (manager(), 0..PEERS_EACH).prop_map(|(manager, number)| Step::Unpair { manager, number }),
        6 => Just(Step::CarryOut),
        6 => Just(Step::ReadControl),
        6 => Just(Step::ReadMonitor),
        3 => (1..120u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Reload),
        1 => Just(Step::Replug),
    ]
}

enum Told {
    Outcome,
    Event(KernelEvent),
}

struct World {
    machine: AdapterMachine,
    now: Now,
    inode: u64,
    /// The kernel's lists.
    kernel: BTreeMap<LoadKind, Records>,
    /// Loads of ours that are under way.
    sent: VecDeque<(LoadKind, Records)>,
    control: VecDeque<Told>,
    monitor: VecDeque<Activity>,
    /// Keys that the kernel has and has not told of.
    untold: VecDeque<(PeerAddress, Ltk, bool)>,
    /// What each manager has on its disk.
    disks: [BTreeMap<PeerAddress, Ltk>; 2],
    /// What each manager has loaded in this appearance.
    loaded: [BTreeMap<PeerAddress, Ltk>; 2],
    /// Keys that the kernel made and no manager's load has taken away.
    made: BTreeMap<PeerAddress, Ltk>,
    removed: BTreeSet<PeerAddress>,
    saved_generation: u64,
}

impl World {
    fn new(ours: &[Bond]) -> Self {
        let rig = Rig::new(ours, AdapterRecord::default());
        let (machine, now) = (rig.machine, rig.now);
        let mut world = Self {
            machine,
            now,
            inode: 0,
            kernel: BTreeMap::new(),
            sent: VecDeque::new(),
            control: VecDeque::new(),
            monitor: VecDeque::new(),
            untold: VecDeque::new(),
            disks: Default::default(),
            loaded: Default::default(),
            made: BTreeMap::new(),
            removed: BTreeSet::new(),
            saved_generation: 0,
        };
        let seen = Neighbours {
            managers: MANAGERS.map(str::to_owned).to_vec(),
            keepers: vec![MANAGERS[0].to_owned()],
            listeners: Vec::new(),
        };
        world.act(|machine, now| machine.neighbours_changed(Some(seen), now));
        world.replug();
        world
    }

    fn act(&mut self, act: impl FnOnce(&mut AdapterMachine, Now)) {
        act(&mut self.machine, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.take_output() {
            match output {
                Output::SendList(_) => {
                    let records = self.machine.current_records().expect("a list is on its way");
                    self.sent.push_back(records);
                }
                Output::SaveBonds(table) => self.saved_generation = table.generation(),
                _ => {}
            }
        }
    }

    fn replug(&mut self) {
        self.inode += 1;
        // A socket is read to its end.
        while !self.control.is_empty() {
            self.read_control();
        }
        self.act(|machine, now| machine.detach(now));
        self.kernel.clear();
        self.sent.clear();
        self.control.clear();
        self.monitor.clear();
        self.untold.clear();
        self.loaded = Default::default();
        self.made.clear();
        self.removed.clear();
        let inode = self.inode;
        self.act(|machine, now| machine.attach(attach(inode, true), now));
    }

    fn list(&mut self) -> &mut Records {
        self.kernel.entry(LTKS).or_default()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Load { manager } => self.load(manager),
            Step::Pair { manager, number, key, stored } => self.pair(manager, number, key, stored),
            Step::TellPairing => self.tell_pairing(),
            Step::Unpair { manager, number } => self.unpair(manager, number),
            Step::CarryOut => self.carry_out(),
            Step::ReadControl => self.read_control(),
            Step::ReadMonitor => self.read_monitor(),
            Step::Wait { ms } => self.wait(ms),
            Step::Reload => self.act(|machine, now| machine.reload(RequestId(1), now)),
            Step::Replug => self.replug(),
        }
    }

    fn load(&mut self, manager: usize) {
        let disk = self.disks[manager].clone();
        self.kernel.insert(LTKS, disk.iter().map(|(peer, ltk)| placed(*peer, ltk)).collect());
        let record = |(peer, ltk): (&PeerAddress, &Ltk)| KeyRecord {
            address: RawAddress::le(*peer),
            key: Ok((*peer, CapturedKey::Ltk(ltk.clone()))),
        };
        let load = Arc::new(ForeignLoad { kind: LTKS, records: disk.iter().map(record).collect() });
        let process = MANAGERS[manager].to_owned();
        self.monitor.push_back(Activity::Loaded { process, load });
        self.removed.retain(|peer| !disk.contains_key(peer));
        self.loaded[manager] = disk;
        self.made.clear();
    }

    fn pair(&mut self, manager: usize, number: u8, key: u8, stored: bool) {
        // Who pairs without bonding has no bond, which the kernel's key would stand against.
        let peer = if stored { address(manager, number) } else { address(manager + PASSING, number) };
        // One at a time with each peer.
        if self.untold.iter().any(|(busy, _, _)| *busy == peer) {
            return;
        }
        let ltk = secure_ltk(key);
        let (place, item) = placed(peer, &ltk);
        self.list().insert(place, item);
        self.made.insert(peer, ltk.clone());
        self.removed.remove(&peer);
        self.untold.push_back((peer, ltk, stored));
    }

    /// Whoever keeps the bond stores it when the kernel tells.
    fn tell_pairing(&mut self) {
        let Some((peer, ltk, stored)) = self.untold.pop_front() else { return };
        let key = CapturedKey::Ltk(ltk.clone());
        if stored {
            let manager = usize::from(peer.to_wire()[1]);
            self.disks[manager].insert(peer, ltk.clone());
            // Its next load will carry it: until then it stands for the list that it has loaded.
            self.loaded[manager].insert(peer, ltk);
            self.control.push_back(Told::Event(KernelEvent::Key { peer, key }));
        } else {
            self.control.push_back(Told::Event(KernelEvent::PassingKey { peer, key, reason: "not_bonded" }));
        }
    }

    fn unpair(&mut self, manager: usize, number: u8) {
        let peer = address(manager, number);
        if self.untold.iter().any(|(busy, _, _)| *busy == peer) {
            return;
        }
        let before = self.list().len();
        self.list().retain(|(held, _), _| *held != peer);
        for known in self.disks.iter_mut().chain(&mut self.loaded) {
            known.remove(&peer);
        }
        self.made.remove(&peer);
        // The kernel answers Not Paired where it holds nothing, and tells nobody.
        if self.list().len() < before {
            self.removed.insert(peer);
            self.control.push_back(Told::Event(KernelEvent::Unpaired { peer, bredr: false }));
            self.monitor.push_back(Activity::Unpaired { address: RawAddress::le(peer) });
        }
    }

    fn carry_out(&mut self) {
        let Some((kind, records)) = self.sent.pop_front() else { return };
        self.kernel.insert(kind, records);
        self.control.push_back(Told::Outcome);
        self.monitor.push_back(Activity::OwnLoadEnded { kind, taken: true });
    }

    fn read_control(&mut self) {
        match self.control.pop_front() {
            Some(Told::Outcome) => self.act(|machine, now| machine.list_outcome(ListOutcome::Taken, now)),
            Some(Told::Event(event)) => self.act(|machine, now| machine.kernel_events([event], now)),
            None => {}
        }
        let generation = self.saved_generation;
        self.act(|machine, now| machine.persisted(generation, now.wall, now));
    }

    fn read_monitor(&mut self) {
        if let Some(activity) = self.monitor.pop_front() {
            self.act(|machine, now| machine.observed(activity, now));
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now.instant += Duration::from_millis(ms);
        self.act(|machine, now| machine.tick(now));
    }

    /// Nobody does anything more; everything that is under way arrives.
    fn come_to_rest(&mut self) {
        while !self.untold.is_empty() {
            self.tell_pairing();
        }
        for _ in 0..20 {
            while !(self.sent.is_empty() && self.control.is_empty() && self.monitor.is_empty()) {
                self.carry_out();
                self.read_control();
                self.read_monitor();
            }
            self.wait(500);
        }
    }

    fn kernel_holds(&self, peer: PeerAddress, ltk: &Ltk) -> bool {
        let (place, item) = placed(peer, ltk);
        let held = self.kernel.get(&LTKS).and_then(|list| list.get(&place));
        held.is_some_and(|held| held.same(&item))
    }

    fn check(&self, ours: &[Bond]) {
        for bond in ours {
            assert!(self.kernel_holds(bond.peer, &bond.ltks()[0]), "our bond {} is missing", bond.peer);
        }
        for (manager, loaded) in self.loaded.iter().enumerate() {
            for (peer, ltk) in loaded {
                assert!(self.kernel_holds(*peer, ltk), "{peer} of {} is missing", MANAGERS[manager]);
            }
        }
        for (peer, ltk) in &self.made {
            assert!(self.kernel_holds(*peer, ltk), "{peer}, which the kernel made, is missing");
        }
        for peer in &self.removed {
            let back = self.kernel.get(&LTKS).is_some_and(|list| list.keys().any(|(of, _)| of == peer));
            assert!(!back, "{peer} was unpaired and is back");
        }
        assert!(self.machine.verdict().may_load(), "it holds");
    }
}

fn placed(peer: PeerAddress, ltk: &Ltk) -> ((PeerAddress, Option<crate::bond::LtkSlot>), LoadItem) {
    ((peer, Some(ltk.slot())), LoadItem::Ltk(ltk.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_load_of_ours_costs_anybody_a_key_in_any_interleaving(steps in prop::collection::vec(step(), 1..80)) {
        let ours: Vec<Bond> = (0..2)
            .map(|number| secure_bond(&address(9, number).to_string(), 0xF0 + number))
            .collect();
        let mut world = World::new(&ours);
        for step in steps {
            world.step(step);
        }
        world.come_to_rest();
        world.check(&ours);
    }
}
