#[path = "health_tests.rs"]
mod health_tests;
mod paired;
#[path = "undo_tests.rs"]
mod undo_tests;

use std::time::Duration;

use super::*;
use crate::adapter::gate::HoldReason;
use crate::adapter::load::ListOutcome;
use crate::adapter::messages::{
    Activity, ControllerInfo, EventKind, ForgetBond, KernelSideState, Restore, Sync as SyncState,
};
use crate::bond::plan::RestoreMode;
use crate::bond::testing::{irk, legacy_ltk, peer, secure_bond, secure_ltk};
use crate::bond::{Bond, Custody, LocalIdentity, Role, Source};
use crate::store::messages::Checkpoint;

const ADAPTER: &str = "00:1A:7D:DA:71:11";
pub(super) const LOCK: &str = "C0:FF:EE:00:00:01";

/// Drives a machine the way the actor does, with a store and a kernel that answer when told to.
pub(super) struct Rig {
    pub machine: AdapterMachine,
    pub now: Now,
    /// Commands that went to the kernel: list kinds with their peers, or an unpair.
    pub sent: Vec<(String, Vec<PeerAddress>)>,
    pub saved_generation: u64,
    checkpoints_awaited: u32,
    /// Why copies were set aside.
    pub copies: Vec<&'static str>,
    pub records_saved: u32,
    pub events: Vec<String>,
    pub replies: Vec<Reply>,
    pub states: Vec<AdapterStateChanged>,
    /// Order in which lists and events came out.
    said: Vec<String>,
    pub(super) listed: Option<BondsDescription>,
    /// The table that was set aside last.
    copy: Option<Arc<BondTable>>,
    copies_asked: Vec<String>,
    /// How often the kernel's tables were to be read.
    pub readings: u32,
    pub readings_answered: u32,
    pub(super) audited: Vec<crate::audit::messages::Line>,
}

impl Rig {
    pub fn new(bonds: &[Bond], record: AdapterRecord) -> Self {
        Self::with_learning(bonds, record, true)
    }

    pub fn without_learning(record: AdapterRecord) -> Self {
        Self::with_learning(&[], record, false)
    }

    fn with_learning(bonds: &[Bond], record: AdapterRecord, learn: bool) -> Self {
        let mut table = BondTable::new();
        for bond in bonds {
            table.insert(bond.clone()).unwrap();
        }
        let stored = StoredAdapter { address: ADAPTER.parse().unwrap(), table, record };
        let now = Now { instant: Instant::now(), wall: UnixMillis(1_000_000) };
        let options = AdapterOptions { default_mode: Mode::Auto, learn };
        let machine = AdapterMachine::new(stored, options, FingerprintKey::new([3; 32]), now);
        let mut rig = Self {
            machine,
            now,
            sent: Vec::new(),
            saved_generation: 0,
            checkpoints_awaited: 0,
            copies: Vec::new(),
            records_saved: 0,
            events: Vec::new(),
            replies: Vec::new(),
            states: Vec::new(),
            said: Vec::new(),
            listed: None,
            copy: None,
            copies_asked: Vec::new(),
            readings: 0,
            readings_answered: 0,
            audited: Vec::new(),
        };
        rig.manager(&[]);
        rig.drain();
        rig
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.take_output() {
            match output {
                Output::SendList(list) => {
                    let (_, peers) = self.machine.current_list().unwrap();
                    assert_eq!(peers.len(), list.len());
                    self.sent.push((format!("{:?}", list.kind()), peers));
                }
                Output::ReadTables => self.readings += 1,
                Output::SetPrivacy(setting) => {
                    self.sent.push((format!("SetPrivacy {}", setting.privacy.as_str()), Vec::new()));
                }
                Output::SendUnpair { peer, bredr } => {
                    self.sent.push((format!("Unpair bredr={bredr}"), vec![peer]));
                }
                Output::SaveBonds(table) => self.saved_generation = table.generation(),
                Output::SaveRecord(_) => self.records_saved += 1,
                Output::ReadCheckpoint(label) => self.copies_asked.push(label),
                Output::Audit(entry) => self.audited.push(entry.line()),
                Output::SaveCheckpoint { table, awaited, reason } => {
                    self.checkpoints_awaited += u32::from(awaited);
                    self.copies.push(reason);
                    self.copy = Some(table);
                }
                Output::State(state) => self.states.push(*state),
                Output::Bonds(bonds) => {
                    self.said.push("list".to_owned());
                    self.listed = Some(bonds);
                }
                Output::Event(event) => {
                    self.said.push(event.kind.event_type().to_owned());
                    self.events.push(format!("{} {}", event.kind.event_type(), event.cause));
                }
                Output::EventDropped => self.events.push("dropped".to_owned()),
                Output::Reply(_, reply) => self.replies.push(*reply),
            }
        }
    }

    pub fn act(&mut self, act: impl FnOnce(&mut AdapterMachine, Now)) {
        act(&mut self.machine, self.now);
        self.drain();
    }

    pub fn wait(&mut self, ms: u64) {
        self.now.instant += Duration::from_millis(ms);
        self.now.wall = UnixMillis(self.now.wall.0 + ms);
        self.act(|machine, now| machine.tick(now));
    }

    /// The monitor channel can be read and shows nobody else, unless a test says otherwise.
    pub fn attach_with(&mut self, inode: u64, seen_appearing: bool) {
        let attach = attach(inode, seen_appearing);
        self.act(|machine, now| machine.attach(attach, now));
    }

    pub fn attach(&mut self) {
        self.attach_with(1, true);
    }

    pub fn key(&mut self, key: CapturedKey) {
        let event = KernelEvent::Key { peer: peer(LOCK), key };
        self.act(|machine, now| machine.kernel_events([event], now));
    }

    pub fn kernel_takes_all(&mut self) {
        for _ in 0..8 {
            if let Some((kind, _)) = self.machine.current_list() {
                let shown = Activity::OwnLoadEnded { kind, taken: true };
                self.act(|machine, now| machine.observed(shown, now));
                self.act(|machine, now| machine.list_outcome(ListOutcome::Taken, now));
            }
        }
    }

    pub fn persist(&mut self) {
        let generation = self.saved_generation;
        self.act(|machine, now| machine.persisted(generation, now.wall, now));
    }

    pub(super) fn checkpoint_taken(&mut self) {
        let checkpoint = Checkpoint {
            label: "copy".to_owned(),
            adapter: ADAPTER.parse().unwrap(),
            reason: "test".to_owned(),
            bond_count: 1,
            generation: 1,
            at: UnixMillis(1),
        };
        self.act(|machine, now| machine.checkpoint_outcome(Ok(checkpoint), now));
    }

    pub fn sync(&self) -> SyncState {
        self.states.last().unwrap().sync
    }

    pub fn sent_kinds(&self) -> Vec<&str> {
        self.sent.iter().map(|(kind, _)| kind.as_str()).collect()
    }

    pub fn manager(&mut self, managers: &[&str]) {
        let managers: Vec<String> = managers.iter().map(|name| (*name).to_owned()).collect();
        let keepers = managers.iter().filter(|name| *name == "bluetoothd").cloned().collect();
        let seen = Some(Neighbours { managers, keepers, listeners: Vec::new() });
        self.act(|machine, now| machine.neighbours_changed(seen, now));
    }

    fn restore(&mut self, bonds: Vec<Bond>, mode: RestoreMode, plan_id: Option<String>) {
        self.restore_with_identity(bonds, mode, plan_id, None);
    }

    fn restore_with_identity(
        &mut self,
        bonds: Vec<Bond>,
        mode: RestoreMode,
        plan_id: Option<String>,
        local_identity: Option<LocalIdentity>,
    ) {
        let request = Restore {
            local_identity,
            opaque: Vec::new(),
            bonds,
            source: Source::Restored,
            mode,
            dry_run: false,
            plan_id,
            adapter_mismatch: false,
        };
        self.act(|machine, now| machine.restore(RequestId(1), request, now));
    }

    fn forget(&mut self, unpair: bool) {
        self.act(|machine, now| machine.forget(RequestId(2), ForgetBond { peer: peer(LOCK), unpair }, now));
    }
}

pub(super) fn attach(inode: u64, seen_appearing: bool) -> Attach {
    let info = ControllerInfo {
        address: ADAPTER.parse().unwrap(),
        name: "hub".to_owned(),
        powered: true,
        privacy: false,
        bredr: false,
    };
    Attach { index: 0, info, appearance: Some(appearance(inode)), seen_appearing, lately: Vec::new() }
}

fn appearance(inode: u64) -> Appearance {
    Appearance { boot_id: "boot".to_owned(), inode }
}

pub(super) fn loaded_in(inode: u64, generation: u64) -> AdapterRecord {
    let load = crate::bond::LoadRecord { appearance: appearance(inode), generation, at: UnixMillis(1) };
    AdapterRecord { last_load: Some(load), ..AdapterRecord::default() }
}

#[test]
fn after_a_plug_in_the_keys_go_to_the_kernel_before_the_list_goes_to_anybody() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.said.clear();
    rig.attach();
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Taken, now));
    assert_eq!((rig.sent_kinds().len(), rig.said.len()), (2, 0), "{:?} {:?}", rig.sent_kinds(), rig.said);
    rig.kernel_takes_all();
    assert_eq!(rig.said, ["adapter_loaded", "list"]);
    assert_eq!(rig.listed.as_ref().unwrap().bonds[0].loaded, Some(true));
}

#[test]
fn a_pairing_is_announced_once_after_its_commit_and_after_the_list() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.said.clear();
    rig.key(CapturedKey::Irk(irk(1)));
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));
    assert_eq!(rig.machine.table().generation(), 3);
    assert_eq!(rig.saved_generation, 3);
    rig.wait(300);
    assert!(rig.said.is_empty(), "said {:?} before the commit", rig.said);
    rig.persist();
    assert_eq!(rig.said, ["list", "bond_added"]);
    assert!(rig.listed.unwrap().bonds[0].durable);
}

#[test]
fn a_commit_before_the_last_key_does_not_announce_half_a_bond() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Central, 1)));
    rig.persist();
    rig.key(CapturedKey::Ltk(legacy_ltk(Role::Peripheral, 2)));
    rig.persist();
    assert!(rig.events.iter().all(|event| !event.starts_with("bond_")));
    rig.wait(300);
    assert_eq!(rig.events.last().unwrap(), "bond_added pairing");
}

#[test]
fn plugging_in_primes_with_irks_and_then_loads_the_keys() {
    let mut bond = secure_bond(LOCK, 1);
    bond.irk = Some(irk(1));
    let mut rig = Rig::new(&[bond], AdapterRecord::default());
    rig.attach();
    assert_eq!(rig.sent, [("Irks".to_owned(), vec![peer(LOCK)])]);
    assert_eq!(rig.sync(), SyncState::Loading);
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks"]);
    assert_eq!(rig.sync(), SyncState::InSync);
    assert_eq!(rig.events.last().unwrap(), "adapter_loaded plugged_in");
    assert_eq!(rig.listed.unwrap().bonds[0].loaded, Some(true));
}

#[test]
fn a_restore_keeps_the_adapters_own_identity_where_none_is_known() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    let identity = |seed| Some(LocalIdentity { irk: irk(seed), privacy: None });
    for seed in [7, 8] {
        rig.restore_with_identity(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None, identity(seed));
        rig.checkpoint_taken();
        assert!(rig.machine.record().local_identity == identity(7), "the one that is known stays");
        assert_eq!(rig.records_saved, 1);
        rig.persist();
    }
}

#[test]
fn the_same_appearance_after_a_restart_is_inherited_and_nothing_is_sent() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], loaded_in(1, 1));
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::InSync);
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(true));

    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], loaded_in(1, 1));
    rig.attach_with(2, false);
    assert!(!rig.sent.is_empty(), "a new appearance was taken for the old one");
}

#[test]
fn a_restore_cut_short_by_a_crash_is_reported_and_not_loaded_over_the_inherited_table() {
    let mut restored = secure_bond(LOCK, 1);
    restored.metadata.source = Source::Restored;
    let mut rig = Rig::new(&[restored], loaded_in(1, 0));
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::Failed);
    assert!(rig.states.last().unwrap().last_error.as_ref().unwrap().contains("bonds/reload"));
}

#[test]
fn observe_never_loads_and_auto_holds_beside_a_manager_and_says_who() {
    let record = AdapterRecord { mode: Some(Mode::Observe), ..AdapterRecord::default() };
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], record);
    rig.attach();
    assert!(rig.sent.is_empty());
    assert_eq!(rig.sync(), SyncState::Held);

    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig.wait(10_000);
    assert!(rig.sent.is_empty());
    let hold = Verdict::Hold(HoldReason::KeysUnknown { manager: "bluetoothd".to_owned() });
    assert_eq!(rig.states.last().unwrap().verdict, hold);
    assert_eq!(rig.events, ["adapter_held gate"]);
}

#[test]
fn own_loads_beside_a_manager_and_a_mode_change_takes_effect_at_once() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    assert!(rig.sent.is_empty());
    rig.act(|machine, now| {
        machine.set_mode(Mode::Own, now);
    });
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks"]);
    assert_eq!(rig.sync(), SyncState::InSync);
}

#[test]
fn a_bond_captured_beside_a_manager_is_foreign_and_is_not_loaded_later() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach();
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    assert_eq!(rig.machine.table().get(peer(LOCK)).unwrap().metadata.custody, Custody::Foreign);
    rig.act(|machine, now| machine.detach(now));
    rig.manager(&[]);
    rig.sent.clear();
    rig.attach_with(2, true);
    rig.kernel_takes_all();
    assert_eq!(rig.sent, [("Irks".to_owned(), Vec::new())]);
}

#[test]
fn a_key_that_arrives_while_a_list_is_on_its_way_is_loaded_again_at_once() {
    let mut rig = Rig::new(&[secure_bond("C0:FF:EE:00:00:02", 2)], AdapterRecord::default());
    rig.attach();
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks", "Ltks"]);
    assert_eq!(rig.sent.last().unwrap().1.len(), 2, "the second list lacks the new key");
}

#[test]
fn a_repeated_load_waits_for_a_pairing_to_end() {
    let mut rig = Rig::new(&[secure_bond("C0:FF:EE:00:00:02", 2)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.key(CapturedKey::Irk(irk(1)));
    rig.act(|machine, now| machine.reload(RequestId(1), now));
    assert!(rig.sent.is_empty());
    rig.wait(300);
    assert!(!rig.sent.is_empty());
}

#[test]
fn unpairing_by_another_process_removes_the_bond_behind_a_checkpoint_and_says_so() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.act(|machine, now| {
        machine.kernel_events([KernelEvent::Unpaired { peer: peer(LOCK), bredr: false }], now)
    });
    assert!(rig.machine.table().is_empty());
    assert!(!rig.events.contains(&"bond_removed unpaired".to_owned()), "said before the commit");
    rig.persist();
    assert_eq!(rig.events.last().unwrap(), "bond_removed unpaired");
}

#[test]
fn a_bond_has_the_name_that_its_peer_first_connected_with() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    let connected =
        |name: &str| KernelEvent::Connected { peer: Some(peer(LOCK)), name: Some(name.to_owned()) };
    rig.act(|machine, now| machine.kernel_events([connected("Front door")], now));
    assert!(rig.machine.table().is_empty());
    rig.key(CapturedKey::Ltk(secure_ltk(1)));
    let name = |rig: &Rig| rig.machine.table().get(peer(LOCK)).unwrap().metadata.name.clone();
    assert_eq!(name(&rig).as_deref(), Some("Front door"));
    let generation = rig.machine.table().generation();
    rig.act(|machine, now| machine.kernel_events([connected("Other")], now));
    assert_eq!(name(&rig).as_deref(), Some("Front door"));
    assert_eq!(rig.machine.table().generation(), generation, "a connection cost a write");
    assert!(rig.machine.describe_bonds().bonds[0].last_seen_at.is_some());
}

#[test]
fn unpairing_one_transport_of_a_dual_mode_peer_keeps_the_other() {
    let mut bond = secure_bond(LOCK, 1);
    let key = crate::bond::testing::material(9);
    let key_type = crate::bond::LinkKeyType::UnauthenticatedP256;
    bond.link_key = Some(crate::bond::LinkKey { key, key_type, pin_length: Some(0) });
    let mut rig = Rig::new(&[bond], AdapterRecord::default());
    rig.attach();
    let unpaired = KernelEvent::Unpaired { peer: peer(LOCK), bredr: true };
    rig.act(|machine, now| machine.kernel_events([unpaired], now));
    rig.persist();
    let bond = rig.machine.table().get(peer(LOCK)).unwrap();
    assert!(bond.link_key.is_none() && bond.ltks().len() == 1);
    assert_eq!(rig.events.last().unwrap(), "bond_updated unpaired");
}

#[test]
fn pairing_again_replaces_the_bond_and_is_an_update() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.key(CapturedKey::Ltk(secure_ltk(2)));
    rig.persist();
    rig.wait(300);
    assert_eq!(rig.events.last().unwrap(), "bond_updated pairing");
    assert!(rig.machine.table().get(peer(LOCK)).unwrap().ltks() == [secure_ltk(2)]);
}

#[test]
fn keys_not_to_be_kept_are_counted_by_reason() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    let skipped = KernelEvent::Skipped { reason: "store_hint" };
    rig.act(|machine, now| machine.kernel_events([skipped.clone(), skipped], now));
    assert_eq!(rig.states.last().unwrap().skipped, [("store_hint", 2)]);
    assert!(rig.machine.table().is_empty());
}

#[test]
fn forgetting_takes_a_checkpoint_commits_and_only_then_unpairs() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.forget(true);
    assert_eq!(rig.checkpoints_awaited, 1);
    assert!(!rig.machine.table().is_empty(), "removed before the checkpoint");
    rig.checkpoint_taken();
    assert!(rig.sent.is_empty(), "unpaired before the commit");
    rig.persist();
    assert_eq!(rig.sent, [("Unpair bredr=false".to_owned(), vec![peer(LOCK)])]);
    rig.act(|machine, now| machine.unpair_outcome(UnpairOutcome::Gone, now));
    let Some(Reply::Forget(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.kernel.state, KernelSideState::Loaded);
    assert_eq!(report.checkpoint.as_deref(), Some("copy"));
}

#[test]
fn an_unpowered_adapter_forgets_by_loading_its_list_without_the_peer() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.act(|machine, now| {
        machine.kernel_events([KernelEvent::Settings { powered: false, privacy: false }], now)
    });
    rig.sent.clear();
    rig.forget(true);
    rig.checkpoint_taken();
    rig.persist();
    rig.kernel_takes_all();
    assert_eq!(rig.sent, [("Irks".to_owned(), Vec::new()), ("Ltks".to_owned(), Vec::new())]);
    assert!(matches!(rig.replies.last(), Some(Reply::Forget(Ok(_)))));
}

#[test]
fn a_checkpoint_that_cannot_be_written_stops_the_forget_and_changes_nothing() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.forget(true);
    rig.act(|machine, now| machine.checkpoint_outcome(Err(StoreFault::DiskFull), now));
    let expected = Reply::Forget(Err(CommandError::Store(StoreFault::DiskFull)));
    assert_eq!(rig.replies.last(), Some(&expected));
    assert_eq!(rig.machine.table().len(), 1);
}

#[test]
fn a_restore_is_stored_then_loaded_then_answered_and_announced_once() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.sent.clear();
    rig.restore(vec![secure_bond(LOCK, 1), secure_bond("C0:FF:EE:00:00:02", 2)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    assert!(rig.sent.is_empty(), "loaded before the commit");
    rig.persist();
    rig.kernel_takes_all();
    assert_eq!(rig.sent_kinds(), ["Irks", "Ltks"]);
    let Some(Reply::Restore(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert!(report.applied);
    assert_eq!(report.kernel.as_ref().unwrap().state, KernelSideState::Loaded);
    let restored = rig.events.iter().filter(|event| event.starts_with("bond")).collect::<Vec<_>>();
    assert_eq!(restored, ["bonds_restored restore"]);
}

#[test]
fn a_restore_on_a_held_adapter_succeeds_in_the_store_and_says_so() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.persist();
    let Some(Reply::Restore(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.kernel.as_ref().unwrap().state, KernelSideState::Held);
    assert!(rig.sent.is_empty());
}

#[test]
fn a_plan_made_before_the_bonds_changed_is_refused() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, Some("of yesterday".to_owned()));
    assert_eq!(rig.replies.last(), Some(&Reply::Restore(Err(CommandError::PlanStale))));
}

#[test]
fn a_pairing_while_the_checkpoint_is_written_makes_the_plan_stale_and_is_kept() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.kernel_takes_all();
    rig.restore(vec![secure_bond(LOCK, 2)], RestoreMode::Merge, None);
    assert_eq!(rig.checkpoints_awaited, 1);
    rig.key(CapturedKey::Ltk(secure_ltk(9)));
    rig.checkpoint_taken();
    assert_eq!(rig.replies.last(), Some(&Reply::Restore(Err(CommandError::PlanStale))));
    assert!(rig.machine.table().get(peer(LOCK)).unwrap().ltks() == [secure_ltk(9)]);
}

#[test]
fn a_full_disk_answers_the_restore_with_the_fault_and_later_commits_it() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.act(|machine, now| machine.persist_failed(StoreFault::DiskFull, now));
    let expected = Reply::Restore(Err(CommandError::Store(StoreFault::DiskFull)));
    assert_eq!(rig.replies.last(), Some(&expected));
    assert!(!rig.listed.as_ref().unwrap().bonds[0].durable);
    assert!(rig.events.iter().all(|event| !event.starts_with("bonds_restored")));
    rig.persist();
    assert!(rig.listed.as_ref().unwrap().bonds[0].durable);
    assert!(rig.states.last().unwrap().last_error.is_none());
}

#[test]
fn a_kernel_that_does_not_answer_is_reported_and_tried_again_after_a_wait() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Silent, now));
    assert_eq!(rig.sync(), SyncState::Failed);
    assert_eq!(rig.machine.describe_bonds().bonds[0].loaded, Some(false));
    assert_eq!(rig.sent.len(), 1);
    rig.wait(999);
    assert_eq!(rig.sent.len(), 1);
    rig.wait(1);
    assert_eq!(rig.sent.len(), 2);
    rig.kernel_takes_all();
    assert_eq!(rig.sync(), SyncState::InSync);
}

#[test]
fn a_command_is_answered_within_its_deadline_even_if_nobody_else_answers() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.forget(true);
    assert!(rig.replies.is_empty());
    rig.forget(true);
    assert_eq!(rig.replies.last(), Some(&Reply::Forget(Err(CommandError::Busy))));
    rig.wait(20_000);
    let slow_disk = StoreFault::Io("the disk did not answer in time".to_owned());
    assert_eq!(rig.replies.last(), Some(&Reply::Forget(Err(CommandError::Store(slow_disk)))));

    rig.act(|machine, now| machine.reload(RequestId(3), now));
    rig.wait(20_000);
    assert_eq!(rig.replies.last(), Some(&Reply::Reload(Err(CommandError::KernelTimeout))));
}

#[test]
fn pulling_the_adapter_out_answers_the_command_that_needed_it() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.attach();
    rig.restore(vec![secure_bond(LOCK, 1)], RestoreMode::Merge, None);
    rig.checkpoint_taken();
    rig.persist();
    rig.act(|machine, now| machine.detach(now));
    let Some(Reply::Restore(Ok(report))) = rig.replies.last() else { panic!("no answer") };
    assert_eq!(report.kernel.as_ref().unwrap().state, KernelSideState::Absent);
    assert_eq!(rig.sync(), SyncState::Absent);
}

#[test]
fn the_machine_never_asks_to_be_woken_in_the_past_without_having_something_to_do() {
    let mut rig = Rig::new(&[secure_bond(LOCK, 1)], AdapterRecord::default());
    rig.attach();
    rig.act(|machine, now| machine.list_outcome(ListOutcome::Failed("Busy".to_owned()), now));
    rig.manager(&["bluetoothd"]);
    rig.wait(60_000);
    let overdue = rig.machine.next_deadline().is_some_and(|deadline| deadline <= rig.now.instant);
    assert!(!overdue, "a held adapter would spin");
}

#[test]
fn only_held_events_tell_of_a_hold_and_each_plug_in_tells_again() {
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.manager(&["bluetoothd"]);
    rig.attach_with(1, false);
    rig.act(|machine, now| machine.detach(now));
    rig.attach_with(2, false);
    assert_eq!(rig.events, ["adapter_held gate", "adapter_held gate"]);
}

#[test]
fn an_event_names_its_type_as_the_contract_does() {
    let kind = EventKind::AdapterHeld { reason: String::new(), advice: String::new() };
    assert_eq!(kind.event_type(), "adapter_held");
}

#[test]
fn an_announcement_that_is_given_up_is_told_of() {
    use super::report::{Announcement, Subject};
    // As when the disk is full for days.
    const MORE_THAN_WAIT: u64 = 4_096 + 2;
    let mut rig = Rig::new(&[], AdapterRecord::default());
    rig.act(|machine, _| {
        for generation in 1..=MORE_THAN_WAIT {
            let subject = Subject::Removed { peer: peer(LOCK), bredr_only: false };
            machine.announce(Announcement { generation, subject, cause: "unpaired" });
        }
    });
    assert_eq!(rig.events, ["dropped", "dropped"]);
}
