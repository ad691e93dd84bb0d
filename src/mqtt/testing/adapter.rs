//! An adapter, a registry, a store and an exchange that answer as they are told, and remember what
//! they were asked.

use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, Context, Handler, MessageResult, ResponseFuture};

use crate::adapter::gate::{HoldReason, Verdict};
use crate::adapter::messages::{
    AdapterHandle, AdapterStateChanged, Adopt, AdoptReport, BondDescription, BondsDescription, CheckDrift,
    CommandError, DescribeBonds, DriftState, ExportBonds, ExportedBonds, ForgetAdapter, ForgetAdapterReport,
    ForgetBond, ForgetReport, IdentityState, KernelSide, KernelSideState, ListSide, Neighbours, NotRestored,
    Reload, Restore, RestoreReport, SetMode, Sync, Undo,
};
use crate::api::answers::{ReportDto, ReportLineDto};
use crate::api::bridge::FormatDto;
use crate::api::{ApiError, Code};
use crate::audit::messages::Record;
use crate::bond::health::{Evidence, EvidenceKind};
use crate::bond::plan::Hazard;
use crate::bond::testing::{irk, legacy_ltk, material, peer, secure_bond};
use crate::bond::{
    AdapterAddress, AdapterRecord, Bond, BondTable, ConnectionParameters, Csrk, Fingerprint, FingerprintKey,
    Health, LinkKey, LinkKeyType, Mode, Operation, Privacy, Role, Source, UndoPoint, UnixMillis,
};
use crate::mqtt::exchange::{
    Exchange, ExportOrder, ExportOutcome, ImportOrder, ImportOutcome, ImportedBonds,
};
use crate::mqtt::messages::Wire;
use crate::store::messages::{Checkpoint, SaveCheckpoint, StoreFault};

pub(in crate::mqtt) const ADAPTER: &str = "00:1A:7D:DA:71:11";
pub(in crate::mqtt) const OTHER_ADAPTER: &str = "00:1A:7D:DA:71:12";
pub(in crate::mqtt) const PEER: &str = "C0:FF:EE:00:00:01";
pub(in crate::mqtt) const OTHER_PEER: &str = "C0:FF:EE:00:00:02";

pub(in crate::mqtt) fn address(text: &str) -> AdapterAddress {
    text.parse().unwrap()
}

/// A bond with everything that a bond can have.
pub(in crate::mqtt) fn full_bond(address: &str) -> Bond {
    let mut bond = Bond::new(peer(address), crate::bond::testing::metadata());
    bond.put_ltk(legacy_ltk(Role::Central, 0x21));
    bond.put_ltk(legacy_ltk(Role::Peripheral, 0x22));
    bond.irk = Some(irk(0x23));
    bond.csrk_local = Some(Csrk { key: material(0x24), authenticated: Some(true), counter: Some(3) });
    bond.csrk_remote = Some(Csrk { key: material(0x25), authenticated: None, counter: None });
    bond.link_key = Some(LinkKey {
        key: material(0x26),
        key_type: LinkKeyType::UnauthenticatedP256,
        pin_length: Some(0),
    });
    bond.connection_parameters = Some(ConnectionParameters {
        min_interval: 24,
        max_interval: 40,
        latency: 0,
        supervision_timeout: 600,
    });
    bond.metadata.name = Some("Front door \"1\"".to_owned());
    bond.metadata.last_seen_at = Some(UnixMillis(1_795_249_800_125));
    bond
}

pub(in crate::mqtt) fn described(bond: Bond) -> BondDescription {
    let fingerprint = FingerprintKey::new([7; 32]).fingerprint(&bond);
    BondDescription {
        bond: Arc::new(bond),
        fingerprint,
        loaded: Some(true),
        durable: true,
        health: Health::Ok,
        evidence: vec![Evidence { kind: EvidenceKind::Encrypted, at: UnixMillis(1_795_249_800_125) }],
        last_seen_at: None,
    }
}

pub(in crate::mqtt) fn description(adapter: AdapterAddress, table: &BondTable) -> BondsDescription {
    let bonds = table.bonds().cloned().map(described).collect();
    BondsDescription { adapter, generation: table.generation(), bonds }
}

pub(in crate::mqtt) fn table(bonds: impl IntoIterator<Item = Bond>) -> BondTable {
    let mut table = BondTable::new();
    for bond in bonds {
        table.insert(bond).unwrap();
    }
    table
}

pub(in crate::mqtt) fn state(adapter: AdapterAddress, index: Option<u16>) -> AdapterStateChanged {
    AdapterStateChanged {
        adapter,
        name: Some("attic".to_owned()),
        index,
        powered: index.map(|_| true),
        mode: Mode::Auto,
        verdict: Verdict::Hold(HoldReason::KeysUnknown { manager: "bluetoothd".to_owned() }),
        neighbours: Some(Neighbours {
            managers: vec!["bluetoothd".to_owned()],
            keepers: vec!["bluetoothd".to_owned()],
            listeners: vec!["btmon".to_owned()],
        }),
        sync: Sync::Held,
        bond_count: 2,
        ours: 1,
        foreign: 1,
        orphaned: 0,
        suspect: 0,
        generation: 7,
        persisted_generation: 6,
        last_persisted: Some(UnixMillis(1_795_249_800_125)),
        last_loaded: None,
        last_error: None,
        local_identity: Some(IdentityState {
            fingerprint: Fingerprint::from_octets([1, 2, 3, 4]),
            privacy: Some(Privacy::On),
            in_force: false,
            restored_at: Some(UnixMillis(1_795_249_800_125)),
            not_restored: Some(NotRestored::PoweredOn),
        }),
        drift: DriftState::InAgreement,
        skipped: vec![("debug_key", 2)],
    }
}

/// What a stand-in does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mqtt) enum Manner {
    Obliging,
    Held,
    /// Takes the question and never answers.
    Silent,
}

/// What was asked, in order.
pub(in crate::mqtt) type Asked = Arc<Mutex<Vec<String>>>;

pub(in crate::mqtt) struct FakeAdapter {
    address: AdapterAddress,
    table: BondTable,
    manner: Manner,
    asked: Asked,
}

impl FakeAdapter {
    pub(in crate::mqtt) fn launch(
        address: AdapterAddress,
        table: BondTable,
        manner: Manner,
    ) -> (Addr<Self>, Asked) {
        let asked = Asked::default();
        let adapter = Self { address, table, manner, asked: Arc::clone(&asked) };
        (adapter.start(), asked)
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn reply<T: 'static>(
        &self,
        good: T,
        held: impl FnOnce() -> Result<T, CommandError>,
    ) -> ResponseFuture<Result<T, CommandError>> {
        match self.manner {
            Manner::Obliging => Box::pin(async { Ok(good) }),
            Manner::Held => {
                let reply = held();
                Box::pin(async { reply })
            }
            Manner::Silent => Box::pin(std::future::pending()),
        }
    }
}

fn held<T>() -> Result<T, CommandError> {
    Err(CommandError::Held { reason: "bluetoothd manages it".to_owned(), advice: "Stop it.".to_owned() })
}

pub(in crate::mqtt) fn handle(address: AdapterAddress, adapter: &Addr<FakeAdapter>) -> AdapterHandle {
    AdapterHandle {
        address,
        describe: adapter.clone().recipient(),
        export: adapter.clone().recipient(),
        restore: adapter.clone().recipient(),
        undo: adapter.clone().recipient(),
        forget: adapter.clone().recipient(),
        reload: adapter.clone().recipient(),
        adopt: adapter.clone().recipient(),
        set_mode: adapter.clone().recipient(),
        check_drift: adapter.clone().recipient(),
    }
}

/// The stand-in plays the registry and the store, too.
pub(in crate::mqtt) fn wire(adapter: &Addr<FakeAdapter>) -> Wire {
    Wire {
        forget_adapter: adapter.clone().recipient(),
        save_checkpoint: adapter.clone().recipient(),
        audit: adapter.clone().recipient(),
    }
}

impl Actor for FakeAdapter {
    type Context = Context<Self>;
}

impl Handler<DescribeBonds> for FakeAdapter {
    type Result = MessageResult<DescribeBonds>;

    fn handle(&mut self, _: DescribeBonds, _: &mut Self::Context) -> Self::Result {
        MessageResult(description(self.address, &self.table))
    }
}

impl Handler<ExportBonds> for FakeAdapter {
    type Result = MessageResult<ExportBonds>;

    fn handle(&mut self, _: ExportBonds, _: &mut Self::Context) -> Self::Result {
        MessageResult(ExportedBonds {
            adapter: self.address,
            record: AdapterRecord::default(),
            table: Arc::new(self.table.clone()),
        })
    }
}

impl Handler<Restore> for FakeAdapter {
    type Result = ResponseFuture<Result<RestoreReport, CommandError>>;

    fn handle(&mut self, restore: Restore, _: &mut Self::Context) -> Self::Result {
        let peers: Vec<_> = restore.bonds.iter().map(|bond| bond.peer).collect();
        self.note(format!(
            "restore {peers:?} {} dry_run={} mismatch={} plan={:?} {}",
            restore.mode.as_str(),
            restore.dry_run,
            restore.adapter_mismatch,
            restore.plan_id,
            restore.source.as_str(),
        ));
        let hazards = if restore.adapter_mismatch { vec![Hazard::AdapterMismatch] } else { Vec::new() };
        let report = RestoreReport {
            plan_id: "00ff".to_owned(),
            applied: !restore.dry_run,
            added: peers,
            replaced: Vec::new(),
            unchanged: Vec::new(),
            lost: Vec::new(),
            hazards,
            kernel: (!restore.dry_run).then(loaded),
            kept: Vec::new(),
            undone: None,
            checkpoint: None,
        };
        let dry_report = restore.dry_run.then(|| report.clone());
        self.reply(report, || dry_report.ok_or(CommandError::PlanStale))
    }
}

fn loaded() -> KernelSide {
    let ltks = ListSide { list: "ltks", loaded: true, loaded_count: 2, refused_count: 1 };
    KernelSide { state: KernelSideState::Loaded, reason: None, lists: vec![ltks] }
}

impl Handler<Undo> for FakeAdapter {
    type Result = ResponseFuture<Result<RestoreReport, CommandError>>;

    fn handle(&mut self, undo: Undo, _: &mut Self::Context) -> Self::Result {
        self.note(format!("undo dry_run={} plan={:?}", undo.dry_run, undo.plan_id));
        let point = UndoPoint {
            operation: Operation::Replace,
            checkpoint: "c-0".to_owned(),
            before: 5,
            after: 7,
            at: UnixMillis(1),
        };
        let report = RestoreReport {
            plan_id: "00ff".to_owned(),
            applied: !undo.dry_run,
            added: vec![peer(PEER)],
            replaced: Vec::new(),
            unchanged: Vec::new(),
            lost: Vec::new(),
            kept: vec![peer(OTHER_PEER)],
            hazards: vec![Hazard::ChangedSince { peer: peer(OTHER_PEER) }],
            kernel: (!undo.dry_run).then(loaded),
            checkpoint: (!undo.dry_run).then(|| "c-1".to_owned()),
            undone: Some(Box::new(point)),
        };
        self.reply(report, || Err(CommandError::NothingToUndo("nothing was done")))
    }
}

impl Handler<Record> for FakeAdapter {
    type Result = ();

    fn handle(&mut self, Record(entry): Record, _: &mut Self::Context) {
        let line = entry.line();
        self.note(format!("audit {} {}", line.verb.unwrap_or_default(), line.outcome));
    }
}

impl Handler<ForgetBond> for FakeAdapter {
    type Result = ResponseFuture<Result<ForgetReport, CommandError>>;

    fn handle(&mut self, forget: ForgetBond, _: &mut Self::Context) -> Self::Result {
        self.note(format!("forget {:?} unpair={}", forget.peer, forget.unpair));
        let report = ForgetReport {
            peer: forget.peer,
            kernel: KernelSide {
                state: KernelSideState::Held,
                reason: Some("the key stays".to_owned()),
                lists: Vec::new(),
            },
            checkpoint: Some("c-1".to_owned()),
        };
        self.reply(report, held)
    }
}

impl Handler<Reload> for FakeAdapter {
    type Result = ResponseFuture<Result<KernelSide, CommandError>>;

    fn handle(&mut self, _: Reload, _: &mut Self::Context) -> Self::Result {
        self.note("reload".to_owned());
        self.reply(loaded(), held)
    }
}

impl Handler<Adopt> for FakeAdapter {
    type Result = ResponseFuture<Result<AdoptReport, CommandError>>;

    fn handle(&mut self, adopt: Adopt, _: &mut Self::Context) -> Self::Result {
        self.note(format!("adopt {:?}", adopt.peers));
        let kernel = loaded();
        self.reply(AdoptReport { adopted: adopt.peers.unwrap_or_default(), kernel, checkpoint: None }, || {
            Err(CommandError::Busy)
        })
    }
}

impl Handler<SetMode> for FakeAdapter {
    type Result = ResponseFuture<Result<Verdict, CommandError>>;

    fn handle(&mut self, order: SetMode, _: &mut Self::Context) -> Self::Result {
        self.note(format!("mode {}", order.mode.as_str()));
        self.reply(Verdict::Hold(HoldReason::ModeObserve), || Err(CommandError::Busy))
    }
}

impl Handler<CheckDrift> for FakeAdapter {
    type Result = ();

    fn handle(&mut self, _: CheckDrift, _: &mut Self::Context) {}
}

impl Handler<ForgetAdapter> for FakeAdapter {
    type Result = ResponseFuture<Result<ForgetAdapterReport, CommandError>>;

    fn handle(&mut self, order: ForgetAdapter, _: &mut Self::Context) -> Self::Result {
        self.note(format!("forget adapter {}", order.adapter));
        let report = ForgetAdapterReport { bond_count: 2, checkpoint: Some("c-2".to_owned()) };
        self.reply(report, || Err(CommandError::AdapterPresent))
    }
}

impl Handler<SaveCheckpoint> for FakeAdapter {
    type Result = Result<Checkpoint, StoreFault>;

    fn handle(&mut self, order: SaveCheckpoint, _: &mut Self::Context) -> Self::Result {
        self.note(format!("checkpoint {} {}", order.adapter, order.reason));
        if self.manner == Manner::Held { Err(StoreFault::DiskFull) } else { Ok(checkpoint(order.adapter)) }
    }
}

pub(in crate::mqtt) fn checkpoint(adapter: AdapterAddress) -> Checkpoint {
    Checkpoint {
        label: "2026-11-21T083000-requested".to_owned(),
        adapter,
        reason: "requested".to_owned(),
        bond_count: 2,
        generation: 7,
        at: UnixMillis(1_795_249_800_125),
    }
}

/// Reads whatever it is asked to as the bonds that it was given, and remembers the orders.
#[derive(Default)]
pub(in crate::mqtt) struct FakeExchange {
    pub(in crate::mqtt) input: Mutex<Vec<(Option<AdapterAddress>, Vec<Bond>)>>,
    pub(in crate::mqtt) asked: Asked,
}

pub(in crate::mqtt) fn report() -> ReportDto {
    let refused = ReportLineDto {
        peer: None,
        place: Some("adapters[0].bonds[3]".to_owned()),
        reason: "an all-zero key is no key".to_owned(),
    };
    ReportDto { taken: 1, refused: vec![refused], ..ReportDto::default() }
}

impl Exchange for FakeExchange {
    fn formats(&self) -> Vec<FormatDto> {
        vec![FormatDto { name: "bondkeeper", import: true, export: true }]
    }

    fn export(&self, order: ExportOrder) -> Result<ExportOutcome, ApiError> {
        let shown = order.adapters.iter().map(|exported| {
            let peers: Vec<_> = exported.table.bonds().map(|bond| bond.peer.to_string()).collect();
            format!("{}: {}", exported.adapter, peers.join(" "))
        });
        let shown: Vec<_> = shown.collect();
        self.asked.lock().unwrap().push(format!("export {} [{}]", order.format, shown.join(", ")));
        if order.format == "nothing" {
            return Err(ApiError::new(Code::FormatUnknown, "there is no such format"));
        }
        Ok(ExportOutcome {
            format: order.format,
            file: Some("bonds-1.json".to_owned()),
            folder: Some("/share/bondkeeper".to_owned()),
            sealed: None,
            is_sealed: false,
            count: order.adapters.iter().map(|exported| exported.table.len()).sum(),
            sha256: Some("ab".repeat(32)),
            report: ReportDto { taken: 1, ..ReportDto::default() },
        })
    }

    fn import(&self, order: ImportOrder) -> Result<ImportOutcome, ApiError> {
        self.asked.lock().unwrap().push(format!("import {:?}", order.from));
        let input = self.input.lock().unwrap().clone();
        let adapters = input.into_iter().map(|(adapter, bonds)| ImportedBonds {
            adapter,
            bonds,
            local_identity: None,
            opaque: Vec::new(),
        });
        let adapters = adapters.collect();
        Ok(ImportOutcome { adapters, source: Source::Imported, report: report() })
    }

    fn checkpoints(&self, adapter: Option<AdapterAddress>) -> Result<Vec<Checkpoint>, ApiError> {
        Ok(vec![checkpoint(adapter.unwrap_or_else(|| address(ADAPTER)))])
    }
}

/// Two peers: one legacy with everything, one with Secure Connections.
pub(in crate::mqtt) fn two_bonds() -> BondTable {
    table([full_bond(PEER), secure_bond(OTHER_PEER, 0x27)])
}
