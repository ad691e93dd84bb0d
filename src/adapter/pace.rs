//! How fast another manager's load is answered, and when two managers do nothing but answer
//! each other. Sans-io.
//!
//! A manager such as habluetooth connects right after its load, so the first answer goes out at once; only what
//! follows waits for a moment. Many loads are normal. What is not is a process whose load comes in answer to
//! ours, again and again: then somebody has to stop.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::mgmt::LoadKind;

/// Between two of our answers for one list. A load that is answered later than this after it came may cost
/// a bond: the manager's connection starts a new pairing.
pub const SPACING: Duration = Duration::from_millis(50);

/// A load this soon after ours answers it. Shorter than [`SPACING`]: in a burst of loads, which
/// nobody sends in answer, the answers of ours fall between two of them.
const ANSWER: Duration = Duration::from_millis(40);

/// Answers in a row that make a quarrel.
const ROUNDS_MAX: u32 = 5;

/// How long a quarrel is left alone. Then it is tried again: the other may have been restarted.
pub const TRUCE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct Exchange {
    started: Option<Instant>,
    ended: Option<Instant>,
    /// Loads of others since our last one.
    foreign_count: u32,
    opponent: String,
    round_count: u32,
}

#[derive(Debug)]
struct Quarrel {
    with: String,
    until: Instant,
}

/// See the module text.
#[derive(Debug, Default)]
pub struct Pace {
    exchanges: BTreeMap<LoadKind, Exchange>,
    quarrel: Option<Quarrel>,
}

impl Pace {
    /// An answer of ours goes out.
    pub fn started(&mut self, kind: LoadKind, now: Instant) {
        self.exchanges.entry(kind).or_default().started = Some(now);
    }

    /// The kernel has taken a load of ours.
    pub fn ended(&mut self, kind: LoadKind, now: Instant) {
        let exchange = self.exchanges.entry(kind).or_default();
        exchange.ended = Some(now);
        exchange.foreign_count = 0;
    }

    /// Another process has loaded this list.
    pub fn foreign(&mut self, kind: LoadKind, process: &str, now: Instant) {
        let exchange = self.exchanges.entry(kind).or_default();
        exchange.foreign_count += 1;
        let answers =
            exchange.foreign_count == 1 && exchange.ended.is_some_and(|ended| now <= ended + ANSWER);
        if !answers {
            exchange.round_count = 0;
            return;
        }
        if exchange.opponent != process {
            process.clone_into(&mut exchange.opponent);
            exchange.round_count = 0;
        }
        exchange.round_count += 1;
        if exchange.round_count >= ROUNDS_MAX {
            exchange.round_count = 0;
            self.quarrel = Some(Quarrel { with: process.to_owned(), until: now + TRUCE });
        }
    }

    /// When the list may be loaded in answer: at once, or a moment after our last answer. The moment grows
    /// with each round of what may be a quarrel: who answers us comes after us all the same, who only loads
    /// often falls out of step.
    pub fn next(&self, kind: LoadKind) -> Option<Instant> {
        let exchange = self.exchanges.get(&kind)?;
        exchange.started.map(|started| started + SPACING * (1 + exchange.round_count))
    }

    /// The process that answers each of our loads.
    pub fn quarrel(&self) -> Option<&str> {
        self.quarrel.as_ref().map(|quarrel| quarrel.with.as_str())
    }

    /// When the quarrel has been left alone long enough.
    pub fn truce_ends(&self) -> Option<Instant> {
        self.quarrel.as_ref().map(|quarrel| quarrel.until)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.truce_ends().is_some_and(|until| until <= now) {
            self.quarrel = None;
        }
    }

    /// The user wants it tried again.
    pub fn make_peace(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LTKS: LoadKind = LoadKind::Ltks;

    struct Rig {
        pace: Pace,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self { pace: Pace::default(), now: Instant::now() }
        }

        fn wait(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }

        fn ours(&mut self) {
            self.pace.started(LTKS, self.now);
            self.wait(1);
            self.pace.ended(LTKS, self.now);
        }

        fn theirs(&mut self, process: &str) {
            self.pace.foreign(LTKS, process, self.now);
        }

        fn has_quarrel(&self) -> bool {
            self.pace.quarrel().is_some()
        }
    }

    #[test]
    fn a_process_that_answers_five_of_our_loads_in_a_row_quarrels_until_the_truce_ends() {
        let mut rig = Rig::new();
        for round in 0..5 {
            assert!(!rig.has_quarrel(), "after {round} rounds");
            rig.ours();
            rig.wait(5);
            rig.theirs("keeper");
            rig.now = rig.pace.next(LTKS).unwrap();
        }
        assert_eq!(rig.pace.quarrel(), Some("keeper"));
        rig.now += TRUCE;
        rig.pace.tick(rig.now);
        assert!(!rig.has_quarrel());
    }

    #[test]
    fn a_load_at_every_connect_is_no_quarrel_however_fast_they_follow() {
        for spacing in (1..300).chain([1_000]) {
            let mut rig = Rig::new();
            let mut wants_answer = false;
            for millisecond in 0..spacing * 60 {
                if millisecond % spacing == 0 {
                    rig.theirs("python3");
                    wants_answer = true;
                }
                if wants_answer && rig.pace.next(LTKS).is_none_or(|at| at <= rig.now) {
                    wants_answer = false;
                    rig.pace.started(LTKS, rig.now);
                    rig.pace.ended(LTKS, rig.now);
                }
                assert!(!rig.has_quarrel(), "one load each {spacing} ms");
                rig.wait(1);
            }
        }
    }

    #[test]
    fn answers_of_different_processes_or_to_different_lists_are_no_quarrel() {
        let mut rig = Rig::new();
        for round in 0..20 {
            rig.ours();
            rig.theirs(if round % 2 == 0 { "one" } else { "two" });
        }
        assert!(!rig.has_quarrel());
        for _ in 0..20 {
            rig.ours();
            rig.pace.foreign(LoadKind::Irks, "bluetoothd", rig.now);
        }
        assert!(!rig.has_quarrel());
    }

    #[test]
    fn the_first_answer_goes_out_at_once_and_the_next_after_a_moment() {
        let mut rig = Rig::new();
        assert_eq!(rig.pace.next(LTKS), None);
        let started = rig.now;
        rig.ours();
        assert_eq!(rig.pace.next(LTKS), Some(started + SPACING));
        assert_eq!(rig.pace.next(LoadKind::Irks), None);
    }

    #[test]
    fn the_users_word_ends_a_quarrel() {
        let mut rig = Rig::new();
        for _ in 0..5 {
            rig.ours();
            rig.theirs("keeper");
        }
        assert!(rig.has_quarrel());
        rig.pace.make_peace();
        assert!(!rig.has_quarrel());
    }
}
