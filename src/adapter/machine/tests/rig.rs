//! Drives the machine for the tests.

use super::*;

pub const ADAPTER: &str = "00:1A:7D:DA:71:11";
pub const LOCK: &str = "C0:FF:EE:00:00:01";

/// Drives a machine the way the actor does, with a store and a kernel that answer when told to.
pub struct Rig {
    pub machine: AdapterMachine,
    pub now: Now,
    /// Commands that went to the kernel: list kinds with their peers, or an unpair.
    pub sent: Vec<(String, Vec<PeerAddress>)>,
    pub saved_generation: u64,
    pub checkpoints_awaited: u32,
    /// Why copies were set aside.
    pub copies: Vec<&'static str>,
    pub records_saved: u32,
    pub events: Vec<String>,
    pub replies: Vec<Reply>,
    pub states: Vec<AdapterStateChanged>,
    /// Order in which lists and events came out.
    pub said: Vec<String>,
    pub listed: Option<BondsDescription>,
    /// The table that was set aside last.
    pub copy: Option<Arc<BondTable>>,
    pub copies_asked: Vec<String>,
    /// How often the kernel's tables were to be read.
    pub readings: u32,
    pub readings_answered: u32,
    pub audited: Vec<crate::audit::messages::Line>,
}

impl Rig {
    pub fn new(bonds: &[Bond], record: AdapterRecord) -> Self {
        Self::with_learning(bonds, record, true)
    }

    pub fn without_learning(record: AdapterRecord) -> Self {
        Self::with_learning(&[], record, false)
    }

    pub fn with_learning(bonds: &[Bond], record: AdapterRecord, learn: bool) -> Self {
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

    pub fn drain(&mut self) {
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

    pub fn checkpoint_taken(&mut self) {
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

    pub fn restore(&mut self, bonds: Vec<Bond>, mode: RestoreMode, plan_id: Option<String>) {
        self.restore_with_identity(bonds, mode, plan_id, None);
    }

    pub fn restore_with_identity(
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

    pub fn forget(&mut self, unpair: bool) {
        self.act(|machine, now| machine.forget(RequestId(2), ForgetBond { peer: peer(LOCK), unpair }, now));
    }
}

pub fn attach(inode: u64, seen_appearing: bool) -> Attach {
    let info = ControllerInfo {
        address: ADAPTER.parse().unwrap(),
        name: "hub".to_owned(),
        powered: true,
        privacy: false,
        bredr: false,
    };
    Attach { index: 0, info, appearance: Some(appearance(inode)), seen_appearing, lately: Vec::new() }
}

pub fn appearance(inode: u64) -> Appearance {
    Appearance { boot_id: "boot".to_owned(), inode }
}

pub fn loaded_in(inode: u64, generation: u64) -> AdapterRecord {
    let load = crate::bond::LoadRecord { appearance: appearance(inode), generation, at: UnixMillis(1) };
    AdapterRecord { last_load: Some(load), ..AdapterRecord::default() }
}
