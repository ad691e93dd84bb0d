//! Commands while calls to the disk fail: what was answered with ok outlives a power cut, what was refused has changed
//! nothing, and what was made and not stored is stored, and in the kernel, once the disk works again.

use serde_json::{Value, json};

use super::disk::Fate;
use super::everything;
use super::failing::Bench;
use super::interpose::{ALL, Failure, Kind};
use super::scene::{HUB, ROOT};
use super::storm;

/// More calls than a command has of one kind.
const CALLS_MAX: u32 = 200;

/// An answer, and when it came by the clock of the disk.
struct Answer {
    text: Value,
    at: u64,
}

/// What an answer says that became of a change.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Done,
    Refused,
    /// Made, and to be stored later.
    Overdue,
}

impl Answer {
    fn said(&self) -> Said {
        if self.text["status"] == "ok" {
            return Said::Done;
        }
        let code = self.text["error"]["code"].as_str().unwrap_or_default();
        assert!(["store_failed", "disk_full", "file_failed"].contains(&code), "{}", self.text);
        let message = self.text["error"]["message"].as_str().unwrap_or_default();
        if message.contains("The change is made") { Said::Overdue } else { Said::Refused }
    }
}

/// Asks while the disk fails, and mends it once the answer is there. None when no call failed.
fn ask_with(bench: &Bench, failure: Failure, verb: &str, request: Value) -> Option<Answer> {
    let since = bench.scene.observer.mark();
    bench.interposed.fail(failure);
    let text = bench.scene.observer.request(ROOT, verb, request);
    let struck = bench.interposed.struck();
    bench.interposed.mend();
    let topic = format!("{ROOT}/bridge/response/{verb}");
    let heard = bench.scene.observer.heard();
    let at = heard[since..].iter().find(|heard| heard.topic == topic).unwrap().at;
    println!("{failure:?}: {verb}: {struck} calls failed: {}", text["error"]);
    (struck > 0).then_some(Answer { text, at })
}

/// The commands that take this peer away and bring it back, each with one failing call. False when no call failed.
fn forget_and_restore_with(bench: &mut Bench, failure: Failure, peer: &str, file: &str) -> bool {
    let forget = json!({ "adapter": HUB, "peer": peer });
    let restore = json!({ "adapter": HUB, "from": { "file": file }, "mode": "merge" });
    let forgot = change_with(bench, failure, ("bonds/forget", &forget), (peer, false));
    let restored = change_with(bench, failure, ("bonds/restore", &restore), (peer, true));
    forgot || restored
}

/// A change after which the peer is there or is not, with one failing call.
fn change_with(
    bench: &mut Bench,
    failure: Failure,
    (verb, request): (&str, &Value),
    (peer, there): (&str, bool),
) -> bool {
    let what = format!("{verb} with {failure:?}");
    let answer = ask_with(bench, failure, verb, request.clone());
    let Some(answer) = answer else {
        // No call failed; if it was refused, that was for what failed before.
        make_sure(bench, (verb, request), (peer, there), &what);
        return false;
    };
    match answer.said() {
        Said::Done => bench.assert_in_image(answer.at, &what, |peers| peers.contains(peer) == there),
        Said::Refused => {
            assert_eq!(storm::everybody(&bench.scene).contains(peer), !there, "{what}: refused, and made");
            bench.assert_in_image(answer.at, &what, |peers| peers.contains(peer) != there);
            make_sure(bench, (verb, request), (peer, there), &what);
        }
        Said::Overdue => {
            let done = wait_stored(bench, peer, there, &what);
            bench.assert_in_image(done, &what, |peers| peers.contains(peer) == there);
        }
    }
    bench.scene.wait_kernel_holds("hub", peer, there);
    true
}

/// Asks until it is done: the store tries what failed again when it sees fit.
fn make_sure(bench: &mut Bench, (verb, request): (&str, &Value), (peer, there): (&str, bool), what: &str) {
    let until = std::time::Instant::now() + super::observer::LIMIT;
    while storm::everybody(&bench.scene).contains(peer) != there {
        assert!(std::time::Instant::now() < until, "{what}: it cannot be done any more");
        bench.scene.observer.request(ROOT, verb, request.clone());
    }
    bench.scene.wait_kernel_holds("hub", peer, there);
}

/// When the list said that the peer is there, durably, or is not.
fn wait_stored(bench: &Bench, peer: &str, there: bool, what: &str) -> u64 {
    let topic = format!("adapter/{HUB}/state");
    bench.scene.observer.wait_latest(&format!("{what}: to be durable"), &topic, |state| {
        state["generation"] == state["persisted_generation"]
    });
    assert_eq!(storm::everybody(&bench.scene).contains(peer), there, "{what}: made, and undone");
    bench.scene.observer.heard().last().unwrap().at
}

/// Every call of a kind that a forget and a restore cause.
fn every_call_of_a_change_may_fail(kind: Kind) {
    let mut bench = Bench::new();
    bench.scene.start();
    bench.scene.plug_hub();
    let peer = bench.pair();
    bench.wait_announced(&peer, "the peer of the commands");
    let exported = bench.scene.ask("bonds/export", json!({ "adapter": HUB }));
    let file = exported["file"].as_str().unwrap().to_owned();
    let ways: &[(i32, u32, bool)] = if everything() {
        &[(libc::EIO, 1, false), (libc::EIO, ALL, false), (libc::ENOSPC, 1, true), (libc::ENOSPC, ALL, true)]
    } else {
        &[(libc::EIO, 1, false), (libc::ENOSPC, ALL, true)]
    };
    for &(error, times, tear) in ways {
        let fails = |skip| Failure { kind, error, skip, times, tear };
        let tried = (0..CALLS_MAX)
            .take_while(|skip| forget_and_restore_with(&mut bench, fails(*skip), &peer, &file))
            .count();
        println!("{kind:?} calls of a change that failed, error {error}: {tried}");
        assert!(tried >= 1, "no call was made to fail");
    }
}

#[test]
fn every_write_of_a_change_may_fail() {
    every_call_of_a_change_may_fail(Kind::Write);
}

#[test]
fn every_sync_of_a_change_may_fail() {
    every_call_of_a_change_may_fail(Kind::Sync);
}

#[test]
fn every_new_name_of_a_change_may_fail() {
    every_call_of_a_change_may_fail(Kind::Name);
}

/// Every call of a kind that another mode causes: whatever is answered, the mode is the one that was asked for.
fn every_call_of_a_mode_may_fail(kind: Kind) {
    let mut bench = Bench::new();
    bench.scene.start();
    bench.scene.plug_hub();
    let peer = bench.pair();
    bench.wait_announced(&peer, "a peer");
    // Another each time: the same is no change.
    let mut modes = ["observe", "auto"].into_iter().cycle();
    for (error, times) in [(libc::EIO, 1), (libc::ENOSPC, ALL)] {
        let mut tried = 0;
        for (skip, mode) in (0..CALLS_MAX).zip(modes.by_ref()) {
            let failure = Failure { kind, error, skip, times, tear: times == ALL };
            let what = format!("the mode {mode} with {failure:?}");
            let request = json!({ "adapter": HUB, "mode": mode });
            let Some(answer) = ask_with(&bench, failure, "adapter/mode", request.clone()) else { break };
            tried += 1;
            assert_ne!(answer.said(), Said::Refused, "{what}: {}", answer.text);
            bench.scene.state(&what, HUB, |state| state["mode"] == mode);
            let mut at = answer.at;
            if answer.said() == Said::Overdue {
                // The same once more is answered when it is stored.
                let again = bench.scene.observer.request(ROOT, "adapter/mode", request);
                assert_eq!(again["status"], "ok", "{what}: {again}");
                at = bench.scene.observer.heard().last().unwrap().at;
            }
            bench.cut(at, Fate::Lost);
            let since = bench.checker.observer.mark();
            bench.checker.start();
            let topic = format!("adapter/{HUB}/state");
            bench.checker.observer.wait_latest_since(&what, &topic, since, |state| state["mode"] == mode);
            bench.checker.kill_service();
        }
        println!("{kind:?} calls of a mode that failed, error {error}: {tried}");
        assert!(tried >= 1, "no call was made to fail");
    }
}

#[test]
fn every_write_of_a_mode_may_fail() {
    every_call_of_a_mode_may_fail(Kind::Write);
}

#[test]
fn every_sync_of_a_mode_may_fail() {
    every_call_of_a_mode_may_fail(Kind::Sync);
}

/// Every call of a kind that an export causes: there is a whole file, or an error and none.
fn every_call_of_an_export_may_fail(kind: Kind) {
    let mut bench = Bench::new();
    let folder = bench.scene.setup.data_dir().join("exports");
    bench.scene.setup.set("EXPORT_DIR", &folder.display().to_string());
    bench.scene.start();
    bench.scene.plug_hub();
    let peer = bench.pair();
    bench.wait_announced(&peer, "the peer of the exports");
    bench.wait_struck(&peer, "its snapshot");
    let files = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    for (error, times) in [(libc::EIO, 1), (libc::ENOSPC, ALL)] {
        let mut tried = 0;
        for skip in 0..CALLS_MAX {
            let before = files();
            let failure = Failure { kind, error, skip, times, tear: times == ALL };
            let what = format!("an export with {failure:?}");
            let answer = ask_with(&bench, failure, "bonds/export", json!({ "adapter": HUB }));
            let Some(answer) = answer else { break };
            tried += 1;
            if answer.said() == Said::Done {
                let name = answer.text["data"]["file"].as_str().unwrap();
                bench.cut(answer.at, Fate::Lost);
                let kept = bench.checker.setup.data_dir().join("exports").join(name);
                let text = std::fs::read_to_string(&kept).unwrap_or_default();
                assert!(text.contains(&peer), "{what}: gone with the power: {}", kept.display());
            } else {
                let message = answer.text["error"]["message"].as_str().unwrap();
                let says = if error == libc::EIO { "Input/output error" } else { "No space left" };
                assert!(message.contains(says), "{what}: {message}");
                assert_eq!(files(), before, "{what}: something is left of it");
            }
        }
        println!("{kind:?} calls of an export that failed, error {error}: {tried}");
        assert!(tried >= 1, "no call was made to fail");
    }
}

#[test]
fn every_write_of_an_export_may_fail() {
    every_call_of_an_export_may_fail(Kind::Write);
}

#[test]
fn every_sync_of_an_export_may_fail() {
    every_call_of_an_export_may_fail(Kind::Sync);
}

#[test]
fn every_new_name_of_an_export_may_fail() {
    every_call_of_an_export_may_fail(Kind::Name);
}
