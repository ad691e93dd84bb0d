//! The machine over a real store against a plain map, through long random lives: captures, removals,
//! restores, crashes, replugs, other managers' loads. Time is a number; a failure repeats with its seed.

use std::time::Duration;

use super::*;
use crate::adapter::load::ListOutcome;
use crate::adapter::messages::{Activity, ControllerInfo, EventKind, ForgetBond, Restore, Sync as SyncState};
use crate::bond::Source;
use crate::bond::plan::RestoreMode;
use crate::bond::testing::{peer, secure_bond, secure_ltk};
use crate::mgmt::{ForeignLoad, KeyRecord, RawAddress};
use crate::store::testing::Bench;

const ADAPTER: &str = "00:1A:7D:DA:71:11";

/// Steps of one life; more with `BONDKEEPER_TEST_STEPS`.
const STEPS: u64 = 26_000;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// What another manager keeps.
const FOREIGN: &str = "11:22:33:44:55:66";

/// Few, so that they meet again and again.
const PEERS: u64 = 12;

/// What is known of a peer: the last octet of its only key.
type Map = BTreeMap<PeerAddress, u8>;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn peer(&mut self) -> PeerAddress {
        peer(&format!("C0:FF:EE:00:00:{:02X}", self.below(PEERS)))
    }

    fn key(&mut self) -> u8 {
        u8::try_from(self.below(255)).unwrap()
    }
}

/// A plugged-in adapter, as the kernel has it.
struct Kernel {
    keys: BTreeSet<PeerAddress>,
    inode: u64,
    /// What a restart inherits is true. It cannot know a removal that no commit had taken, nor what another
    /// manager had loaded.
    inherits_the_truth: bool,
}

struct Life {
    random: Random,
    machine: AdapterMachine,
    store: Bench,
    now: Now,
    /// What should be stored, and what a crash must not take.
    wanted: Map,
    durable: Map,
    /// None while the adapter is pulled out.
    kernel: Option<Kernel>,
    appearances: u64,
    record: AdapterRecord,
    is_saved: bool,
    snapshot_is_new: bool,
    last_state: Option<AdapterStateChanged>,
    /// Announced and not removed since.
    announced: BTreeSet<PeerAddress>,
    crashes: u32,
    loads: u32,
    in_sync_count: u32,
    /// What was done last, for whoever looks into a failure.
    history: VecDeque<String>,
}

fn machine(stored: Option<StoredAdapter>, now: Now) -> AdapterMachine {
    let address = ADAPTER.parse().unwrap();
    let nothing = || StoredAdapter { address, table: BondTable::new(), record: AdapterRecord::default() };
    // What is learned of others' loads comes later and would be no news to a map.
    let options = AdapterOptions { default_mode: Mode::Auto, learn: false };
    let key = FingerprintKey::new([3; 32]);
    let mut machine = AdapterMachine::new(stored.unwrap_or_else(nothing), options, key, now);
    machine.neighbours_changed(Some(Neighbours::default()), now);
    machine
}

fn map_of(table: &BondTable) -> Map {
    table.bonds().map(|bond| (bond.peer, bond.ltks()[0].key.expose()[15])).collect()
}

impl Life {
    fn new(seed: u64) -> Self {
        let now = Now { instant: Instant::now(), wall: UnixMillis(1_000_000) };
        let mut life = Self {
            random: Random(seed),
            machine: machine(None, now),
            store: Bench::new(now.wall),
            now,
            wanted: Map::new(),
            durable: Map::new(),
            kernel: None,
            appearances: 0,
            record: AdapterRecord::default(),
            is_saved: true,
            snapshot_is_new: false,
            last_state: None,
            announced: BTreeSet::new(),
            crashes: 0,
            loads: 0,
            in_sync_count: 0,
            history: VecDeque::new(),
        };
        life.settle();
        life
    }

    fn address() -> AdapterAddress {
        ADAPTER.parse().unwrap()
    }

    fn note(&mut self, what: impl Into<String>) {
        const KEPT: usize = 40;
        self.history.push_back(what.into());
        if self.history.len() > KEPT {
            self.history.pop_front();
        }
    }

    fn act(&mut self, act: impl FnOnce(&mut AdapterMachine, Now)) {
        act(&mut self.machine, self.now);
        self.settle();
    }

    /// Carries out what the machine asks for, but for the commits: they come when they come.
    fn settle(&mut self) {
        let mut record_changed = false;
        while let Some(output) = self.machine.take_output() {
            match output {
                Output::SendList(list) => self.load(list.kind()),
                // This kernel does not show them.
                Output::ReadTables => {}
                Output::SetPrivacy(_) => unreachable!("no identity is stored"),
                Output::SendUnpair { peer, .. } => {
                    if let Some(kernel) = &mut self.kernel {
                        kernel.keys.remove(&peer);
                    }
                    self.machine.unpair_outcome(UnpairOutcome::Gone, self.now);
                }
                Output::SaveBonds(table) => {
                    let newest = self.machine.table().generation();
                    assert_eq!(table.generation(), newest, "an old table is saved");
                    // What is remembered besides goes along.
                    self.record = self.machine.record().clone();
                    self.is_saved = false;
                }
                Output::SaveRecord(record) => {
                    self.record = record;
                    self.is_saved = false;
                    record_changed = true;
                }
                Output::SaveCheckpoint { table, awaited, .. } => {
                    let checkpoint = self.store.checkpoint(Self::address(), &table, self.now.wall);
                    if awaited {
                        self.machine.checkpoint_outcome(Ok(checkpoint), self.now);
                    }
                }
                Output::Event(event) => self.announce(&event),
                Output::State(state) => self.last_state = Some(*state),
                Output::ReadCheckpoint(label) => panic!("nobody undoes here, and {label} is asked for"),
                Output::Bonds(_) | Output::Audit(_) | Output::EventDropped | Output::Reply(..) => {}
            }
        }
        if record_changed {
            // In which appearance what was loaded is on disk before anything else happens: a restart that
            // does not know it loads again.
            self.commit();
        }
    }

    fn load(&mut self, kind: LoadKind) {
        self.loads += 1;
        self.note(format!("the kernel is sent {kind:?}"));
        assert!(!matches!(self.machine.verdict_of(kind), Verdict::Hold(_)), "a load against the gate's word");
        if self.random.below(40) == 0 {
            return self.machine.list_outcome(ListOutcome::Failed("busy".to_owned()), self.now);
        }
        let (_, peers) = self.machine.current_list().unwrap();
        if let (LoadKind::Ltks, Some(kernel)) = (kind, &mut self.kernel) {
            let theirs = peer(FOREIGN);
            let wiped = kernel.keys.contains(&theirs) && !peers.contains(&theirs);
            assert!(
                !(wiped && kernel.inherits_the_truth),
                "another manager's key is wiped: {:#?}",
                self.history
            );
            kernel.keys = peers.into_iter().collect();
        }
        self.machine.observed(Activity::OwnLoadEnded { kind, taken: true }, self.now);
        self.machine.list_outcome(ListOutcome::Taken, self.now);
    }

    fn announce(&mut self, event: &AdapterEvent) {
        match &event.kind {
            EventKind::BondAdded(bond) => {
                let peer = bond.bond.peer;
                assert!(self.durable.contains_key(&peer), "{peer} is announced and not durable");
                self.announced.insert(peer);
            }
            EventKind::BondRemoved { peer, .. } => {
                self.announced.remove(peer);
            }
            _ => {}
        }
    }

    fn commit(&mut self) {
        if self.is_saved {
            return;
        }
        self.note("commit");
        let table = self.machine.table().clone();
        self.store.commit(Self::address(), &table, &self.record);
        self.durable = map_of(&table);
        self.is_saved = true;
        self.snapshot_is_new = false;
        let (generation, wall) = (table.generation(), self.now.wall);
        self.act(|machine, now| machine.persisted(generation, wall, now));
    }

    fn capture(&mut self) {
        let (peer, key) = (self.random.peer(), self.random.key());
        let Some(kernel) = &mut self.kernel else { return };
        kernel.keys.insert(peer);
        self.note(format!("capture {peer}"));
        self.wanted.insert(peer, key);
        let event = KernelEvent::Key { peer, key: CapturedKey::Ltk(secure_ltk(key)) };
        self.act(|machine, now| machine.kernel_events([event], now));
    }

    fn unpair(&mut self) {
        let peer = self.random.peer();
        let Some(kernel) = &mut self.kernel else { return };
        kernel.keys.remove(&peer);
        self.note(format!("unpair {peer}"));
        self.forgotten(peer);
        self.act(|machine, now| machine.kernel_events([KernelEvent::Unpaired { peer, bredr: false }], now));
    }

    fn forgotten(&mut self, peer: PeerAddress) {
        self.wanted.remove(&peer);
        self.announced.remove(&peer);
    }

    /// What comes between a command and the commit that ends it comes between.
    fn forget(&mut self) {
        if self.machine.command.is_some() {
            return;
        }
        let (peer, unpair) = (self.random.peer(), self.random.below(2) == 0);
        self.note(format!("forget {peer}, unpair {unpair}"));
        self.forgotten(peer);
        self.act(|machine, now| machine.forget(RequestId(1), ForgetBond { peer, unpair }, now));
    }

    fn restore(&mut self) {
        if self.machine.command.is_some() {
            return;
        }
        let mut incoming = Map::new();
        for _ in 0..=self.random.below(4) {
            incoming.insert(self.random.peer(), self.random.key());
        }
        let mode = if self.random.below(4) == 0 { RestoreMode::Replace } else { RestoreMode::Merge };
        if mode == RestoreMode::Replace {
            self.wanted.clear();
            self.announced.retain(|peer| incoming.contains_key(peer));
        }
        self.note(format!("restore {mode:?} {:?}", incoming.keys()));
        let bonds = incoming.iter().map(|(peer, key)| secure_bond(&peer.to_string(), *key)).collect();
        self.wanted.extend(incoming);
        let request = Restore {
            bonds,
            local_identity: None,
            opaque: Vec::new(),
            source: if self.random.below(2) == 0 { Source::Imported } else { Source::Restored },
            mode,
            dry_run: false,
            plan_id: None,
            adapter_mismatch: false,
        };
        self.act(|machine, now| machine.restore(RequestId(2), request, now));
    }

    fn plug(&mut self) {
        if self.kernel.take().is_some() {
            self.note("pull out");
            self.act(|machine, now| machine.detach(now));
            return;
        }
        self.note("plug in");
        self.appearances += 1;
        self.kernel =
            Some(Kernel { keys: BTreeSet::new(), inode: self.appearances, inherits_the_truth: true });
        self.attach(true);
    }

    fn attach(&mut self, seen_appearing: bool) {
        let Some(kernel) = &self.kernel else { return };
        let appearance = Some(Appearance { boot_id: "boot".to_owned(), inode: kernel.inode });
        let name = "hub".to_owned();
        let info =
            ControllerInfo { address: Self::address(), name, powered: true, privacy: false, bredr: false };
        self.act(|machine, now| {
            machine.attach(Attach { index: 0, info, appearance, seen_appearing, lately: Vec::new() }, now)
        });
    }

    /// Another manager comes and loads what it has, which takes everything else out, or leaves.
    fn foreign(&mut self) {
        let comes = self.random.below(2) == 0;
        self.note(format!("another manager comes: {comes}"));
        let managers = if comes { vec!["othermanager".to_owned()] } else { Vec::new() };
        let seen = Some(Neighbours { managers, ..Neighbours::default() });
        self.act(|machine, now| machine.neighbours_changed(seen, now));
        if let (true, Some(kernel)) = (comes, &mut self.kernel) {
            let theirs = peer(FOREIGN);
            kernel.keys = [theirs].into();
            let key = Ok((theirs, CapturedKey::Ltk(secure_ltk(1))));
            let records = vec![KeyRecord { address: RawAddress::le(theirs), key }];
            let load = Arc::new(ForeignLoad { kind: LoadKind::Ltks, records });
            let process = "othermanager".to_owned();
            self.act(|machine, now| machine.observed(Activity::Loaded { process, load }, now));
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.note("crash");
        if let Some(kernel) = &mut self.kernel {
            kernel.inherits_the_truth &= self.is_saved && !kernel.keys.contains(&peer(FOREIGN));
        }
        let loses_database = self.snapshot_is_new && self.random.below(3) == 0;
        let stored = self.store.crash(loses_database, self.now.wall);
        let found = stored.as_ref().map(|stored| map_of(&stored.table)).unwrap_or_default();
        assert!(found == self.durable, "after a crash: {found:?} instead of {:?}", self.durable);
        self.record = stored.as_ref().map(|stored| stored.record.clone()).unwrap_or_default();
        self.wanted.clone_from(&self.durable);
        self.is_saved = true;
        self.last_state = None;
        self.machine = machine(stored, self.now);
        self.settle();
        // The kernel's table outlives the service.
        self.attach(false);
    }

    fn wait(&mut self) {
        let ms = self.random.below(1_200);
        self.now.instant += Duration::from_millis(ms);
        self.now.wall = UnixMillis(self.now.wall.0 + ms);
        self.act(|machine, now| machine.tick(now));
    }

    fn snapshot(&mut self) {
        if self.is_saved && !self.snapshot_is_new && !self.durable.is_empty() {
            self.store.snapshot(Self::address(), self.now.wall);
            self.snapshot_is_new = true;
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..30 => self.capture(),
            30..36 => self.unpair(),
            36..42 => self.forget(),
            42..48 => self.restore(),
            48..72 => self.wait(),
            72..88 => self.commit(),
            88..92 => self.plug(),
            92..95 => self.foreign(),
            95..99 => self.snapshot(),
            _ if self.random.below(4) == 0 => self.crash(),
            _ => {}
        }
        self.check();
    }

    fn check(&mut self) {
        let held = map_of(self.machine.table());
        assert!(held == self.wanted, "{held:?} instead of {:?}: {:#?}", self.wanted, self.history);
        for peer in &self.announced {
            assert!(self.durable.contains_key(peer) || !self.wanted.contains_key(peer), "{peer} is lost");
        }
        let (Some(kernel), Some(attachment)) = (&self.kernel, &self.machine.attachment) else { return };
        if !kernel.inherits_the_truth {
            return;
        }
        let in_sync = self.last_state.as_ref().is_some_and(|state| state.sync == SyncState::InSync);
        self.in_sync_count += u32::from(in_sync);
        let said = self
            .machine
            .table()
            .bonds()
            .filter(|bond| attachment.shadow.holds_bond(bond, false) == Some(true));
        let missing: Vec<_> = said.map(|bond| bond.peer).filter(|peer| !kernel.keys.contains(peer)).collect();
        assert!(missing.is_empty(), "{missing:?} are said to be loaded: {:#?}", self.history);
    }
}

#[test]
fn long_random_lives_hold_what_a_plain_map_holds() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse::<u64>().ok());
    let steps = number("BONDKEEPER_TEST_STEPS").unwrap_or(STEPS);
    let seeds = number("BONDKEEPER_TEST_SEED").map_or(SEEDS.to_vec(), |seed| vec![seed]);
    std::thread::scope(|scope| {
        for seed in seeds {
            scope.spawn(move || {
                println!("BONDKEEPER_TEST_SEED={seed}");
                // Spread, so that neighbours have nothing in common.
                let mut life = Life::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
                (0..steps).for_each(|_| life.step());
                let Life { crashes, loads, in_sync_count, .. } = life;
                println!("seed {seed}: {crashes} crashes, {loads} loads, in sync at {in_sync_count} steps");
                assert!(u64::from(crashes) > steps / 1_000 && u64::from(in_sync_count) > steps / 20);
            });
        }
    });
}
