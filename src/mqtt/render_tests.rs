//! Every document as a snapshot: a change here is a change of the public contract.

use serde::Serialize;

use super::*;
use crate::adapter::messages::{KernelSideState, Sync};
use crate::api::answers::{
    AdapterForgottenDto, Answer, BondPageDto, CheckpointsDto, ExportedDto, ForgottenDto, ListedAdapterDto,
    ListedBondDto, ModeDto, ReloadedDto, response, to_octets,
};
use crate::api::bridge::{BridgeEventData, BridgeEventDto, BridgeStateDto, FormatDto, MqttHealthDto};
use crate::api::limits::{BONDS_TOPIC_MAX, EVENT_PEERS_MAX};
use crate::api::{Commands, LogLevel};
use crate::bond::plan::Hazard;
use crate::bond::testing::{metadata, peer, secure_bond};
use crate::bond::{Bond, LinkKey, LinkKeyType, PeerAddress, UnixMillis};
use crate::mqtt::board::{Board, Probe, ServiceFacts};
use crate::mqtt::testing::adapter::{
    ADAPTER, OTHER_PEER, PEER, address, checkpoint as a_checkpoint, described, description, full_bond,
    report, state, table, two_bonds,
};
use crate::store::messages::StoreStateChanged;

const AT: UnixMillis = UnixMillis(1_795_249_800_125);

fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).unwrap()
}

fn answered(answer: Answer) -> String {
    let octets = response(&Ok(answer), Some(&"t-1".into()), usize::MAX);
    pretty(&serde_json::from_slice::<serde_json::Value>(&octets).unwrap())
}

fn event(kind: EventKind, cause: &'static str) -> String {
    pretty(&adapter_event(&AdapterEvent { adapter: address(ADAPTER), at: AT, kind, cause }, 42))
}

fn board() -> Board {
    let facts = ServiceFacts {
        version: "1.2.3".to_owned(),
        endpoint: "kernel",
        started_at: AT,
        config: serde_json::json!({"mqtt": {"host": "core-mosquitto", "password": "********"}}),
        commands: Commands::All,
        log_level: LogLevel::Info,
    };
    Board::new("attic", facts, vec![FormatDto { name: "bondkeeper", import: true, export: true }])
}

#[test]
fn the_service_itself() {
    let mut board = board();
    insta::assert_snapshot!("bridge_state", pretty(&[BridgeStateDto::ONLINE, BridgeStateDto::OFFLINE]));
    insta::assert_snapshot!("bridge_info_at_start", pretty(&board.info()));
    insta::assert_snapshot!(
        "bridge_health_at_start",
        pretty(&board.health(Probe::default(), MqttHealthDto::default(), AT))
    );

    board.kernel_known("1.22".to_owned());
    board.adapter_known(address(ADAPTER));
    board.adapter_state(&state(address(ADAPTER), Some(0)));
    board.store_state(&StoreStateChanged {
        state: StoreState::Rebuilt { detail: "from the snapshots".to_owned() },
        last_commit_us: 900,
        max_commit_us: 12_000,
    });
    let probe = Probe {
        uptime_s: 60,
        rss_bytes: Some(5_000_000),
        received_frames: Some(120),
        dropped_frames: Some(0),
        queues: [("store".to_owned(), 1)].into(),
        errors: [("kernel_timeout".to_owned(), 1)].into(),
    };
    insta::assert_snapshot!("bridge_info", pretty(&board.info()));
    insta::assert_snapshot!("bridge_health", pretty(&board.health(probe, MqttHealthDto::default(), AT)));
}

#[test]
fn events_of_the_service() {
    let adapter = || BridgeEventData::Adapter { adapter: ADAPTER.to_owned() };
    let events = [
        (BridgeEventDto::ADAPTER_ADDED, adapter()),
        (BridgeEventDto::ADAPTER_REMOVED, adapter()),
        (BridgeEventDto::ADAPTER_FORGOTTEN, adapter()),
        (BridgeEventDto::STORE_REBUILT, BridgeEventData::Store { detail: Some("why".to_owned()) }),
        (
            BridgeEventDto::COMMAND_DONE,
            BridgeEventData::Command { verb: "bonds/reload".to_owned(), status: "error", code: Some("held") },
        ),
        (BridgeEventDto::EVENTS_DROPPED, BridgeEventData::Dropped { count: 2, first_seq: 1, last_seq: 2 }),
    ];
    let shown = events.map(|(kind, data)| BridgeEventDto { kind, at: rfc3339(AT), data, seq: 3 });
    insta::assert_snapshot!("bridge_event", pretty(&shown));
}

#[test]
fn an_adapter() {
    insta::assert_snapshot!("adapter_state_held", pretty(&adapter_state(&state(address(ADAPTER), Some(0)))));
    let blank = AdapterStateChanged {
        name: None,
        verdict: Verdict::Own,
        neighbours: None,
        sync: Sync::Absent,
        last_persisted: None,
        local_identity: None,
        ..state(address(ADAPTER), None)
    };
    insta::assert_snapshot!("adapter_state_absent", pretty(&adapter_state(&blank)));
}

#[test]
fn bonds() {
    let mut bredr = Bond::new(peer("00:11:22:33:44:55"), metadata());
    bredr.link_key = Some(LinkKey {
        key: crate::bond::testing::material(0x28),
        key_type: LinkKeyType::Combination,
        pin_length: Some(4),
    });
    let table = table([full_bond(PEER), secure_bond(OTHER_PEER, 0x27), bredr]);
    let mut description = description(address(ADAPTER), &table);
    description.bonds[0].loaded = None;
    insta::assert_snapshot!("adapter_bonds", pretty(&bond_list(&description)));
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let peer = |number: usize| format!("C0:FF:EE:00:{:02X}:{:02X}", number >> 8, number & 0xFF);
    let many = table((0..=BONDS_TOPIC_MAX).map(|number| secure_bond(&peer(number), 1)));
    let list = bond_list(&description(address(ADAPTER), &many));
    assert_eq!(
        (list.bonds.len(), list.bond_count, list.truncated),
        (BONDS_TOPIC_MAX, BONDS_TOPIC_MAX + 1, true)
    );
    assert!(to_octets(&list).len() < 512 * 1024);
}

#[test]
fn events_of_an_adapter() {
    insta::assert_snapshot!("bond_added", event(EventKind::BondAdded(described(full_bond(PEER))), "pairing"));
    insta::assert_snapshot!(
        "bond_updated",
        event(EventKind::BondUpdated(described(secure_bond(PEER, 1))), "pairing")
    );
    let removed = EventKind::BondRemoved { peer: peer(PEER), bredr_only: true };
    insta::assert_snapshot!("bond_removed", event(removed, "unpaired"));
    let loaded = EventKind::AdapterLoaded { ltk_count: 3, irk_count: 2, link_key_count: 0 };
    insta::assert_snapshot!("adapter_loaded", event(loaded, "plugged_in"));
    let reason = HoldReason::KeysUnknown { manager: "bluetoothd".to_owned() };
    let held = EventKind::AdapterHeld { reason: reason.words(), advice: reason.advice() };
    insta::assert_snapshot!("adapter_held", event(held, "manager_seen"));
    let peers: Vec<PeerAddress> =
        (0..EVENT_PEERS_MAX + 5).map(|number| peer(&format!("C0:FF:EE:00:00:{number:02X}"))).collect();
    let restored = EventKind::BondsRestored {
        added: peers[..1].to_vec(),
        replaced: peers[1..].to_vec(),
        lost: vec![],
        adopted: vec![],
    };
    insta::assert_snapshot!("bonds_restored", event(restored, "restore"));
}

fn restored(applied: bool) -> RestoreReport {
    RestoreReport {
        plan_id: "00ff".to_owned(),
        applied,
        added: vec![peer(PEER)],
        replaced: vec![peer(OTHER_PEER)],
        unchanged: vec![],
        lost: vec![peer("00:11:22:33:44:55")],
        hazards: vec![Hazard::LosesBonds { count: 1 }, Hazard::PeerConnected { peer: peer(PEER) }],
        kept: vec![],
        undone: None,
        kernel: applied.then(|| KernelSide {
            state: KernelSideState::Held,
            reason: Some("bluetoothd".to_owned()),
            lists: Vec::new(),
        }),
        checkpoint: applied.then(|| "c-1".to_owned()),
    }
}

/// Every answer there is.
fn answers() -> Vec<(&'static str, Answer)> {
    let adapter = || ADAPTER.to_owned();
    let kernel = || KernelDto {
        state: "loaded",
        reason: None,
        lists: Some([("ltks", KernelListDto { state: "loaded", loaded: 2, refused: 0 })].into()),
    };
    let page = BondPageDto {
        total: 2,
        offset: 1,
        limit: 1,
        adapters: vec![ListedAdapterDto { adapter: adapter(), generation: 7, bond_count: 2 }],
        bonds: vec![ListedBondDto { adapter: adapter(), bond: bond(&described(full_bond(PEER))) }],
    };
    let exported = ExportedDto {
        format: "bondkeeper".to_owned(),
        file: Some("bonds-1.json".to_owned()),
        folder: Some("/share/bondkeeper".to_owned()),
        sealed: None,
        count: 2,
        is_sealed: false,
        sha256: Some("ab".repeat(32)),
        report: report(),
    };
    let forgotten = ForgottenDto {
        adapter: adapter(),
        removed: bond(&described(secure_bond(PEER, 1))),
        kernel: kernel(),
        checkpoint: Some("c-1".to_owned()),
    };
    let restore = |applied| {
        Answer::Restored(Box::new(restore(
            address(ADAPTER),
            RestoreMode::Replace,
            &restored(applied),
            Some(report()),
        )))
    };
    let health = board().health(Probe::default(), MqttHealthDto::default(), AT);
    let gate = gate(&Verdict::Hold(HoldReason::ModeObserve));
    let gone = AdapterForgottenDto { adapter: adapter(), bond_count: 2, checkpoint: None };
    vec![
        ("answer_health_check", Answer::Health(Box::new(health))),
        ("answer_bonds_list", Answer::Bonds(page)),
        ("answer_bonds_export", Answer::Exported(exported)),
        ("answer_bonds_restore_dry_run", restore(false)),
        ("answer_bonds_restore", restore(true)),
        ("answer_bonds_forget", Answer::Forgotten(Box::new(forgotten))),
        ("answer_bonds_reload", Answer::Reloaded(ReloadedDto { adapter: adapter(), kernel: kernel() })),
        ("answer_adapter_mode", Answer::Mode(ModeDto { adapter: adapter(), mode: "observe", gate })),
        ("answer_adapter_forget", Answer::AdapterForgotten(gone)),
        (
            "answer_checkpoint",
            Answer::Checkpoints(CheckpointsDto::of(std::iter::once(checkpoint(&a_checkpoint(address(
                ADAPTER,
            )))))),
        ),
        ("answer_log_level", Answer::LogLevel { level: "debug" }),
    ]
}

#[test]
fn answers_to_requests() {
    for (name, answer) in answers() {
        insta::assert_snapshot!(name, answered(answer));
    }
    let error = ApiError::new(Code::AdapterMismatch, "not this adapter").with("made_for", ADAPTER);
    let octets = response(&Err(error), Some(&7.into()), usize::MAX);
    insta::assert_snapshot!("answer_error", String::from_utf8(octets).unwrap());
}

#[test]
fn an_answer_that_is_too_large_becomes_the_error_that_says_so() {
    for (name, answer) in answers() {
        let whole = response(&Ok(answer.clone()), None, usize::MAX).len();
        let fits = response(&Ok(answer.clone()), None, whole);
        assert_eq!(fits.len(), whole, "{name}");
        let cut = response(&Ok(answer), None, whole - 1);
        assert!(String::from_utf8(cut).unwrap().contains(r#""code":"too_large""#), "{name}");
    }
}

/// Every key of the test bonds ends in an octet of its own after fifteen times A5.
#[test]
fn no_document_holds_a_key_in_any_spelling() {
    let description = description(address(ADAPTER), &two_bonds());
    let mut documents =
        vec![pretty(&bond_list(&description)), event(EventKind::BondAdded(described(full_bond(PEER))), "x")];
    documents.extend(answers().into_iter().map(|(_, answer)| answered(answer)));
    for document in documents {
        let plain = document.to_lowercase();
        for spelling in ["a5a5", "a5:a5", "a5 a5", "165,165", "165, 165", "165,\n", "paWl", "0xa5"] {
            let searched = if spelling == "paWl" { &document } else { &plain };
            assert!(!searched.contains(spelling), "{spelling} in {document}");
        }
    }
}

#[test]
fn every_state_of_the_store_has_a_word() {
    let failing = |fault| store(&StoreState::Failing { fault }).state;
    assert_eq!(store(&StoreState::Ok).state, "ok");
    assert_eq!(failing(StoreFault::DiskFull), "disk_full");
    assert_eq!(failing(StoreFault::ReadOnly), "read_only");
    assert_eq!(failing(StoreFault::Io("EIO".to_owned())), "failed");
}
