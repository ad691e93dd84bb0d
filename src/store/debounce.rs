//! When to write. Pure: time is an argument.
//!
//! The first change is written at once; what follows while a write is under way, or within `quiet`,
//! is written together, `quiet` after the last change and never later than `ceiling` after the first.
//! One write is under way at a time. After a failure it is tried again with growing pauses.

use std::time::{Duration, Instant};

/// First pause after a failure.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest pause: a disk that was freed is noticed within half a minute.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A new change may bring the next try forward, but no more often than this.
const RETRY_ON_CHANGE: Duration = Duration::from_secs(1);

/// What a first change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// It is written at once.
    Leading,
    /// It waits for more.
    Trailing,
}

/// See the module text. The caller calls [`poll`](Self::poll) at [`deadline`](Self::deadline).
#[derive(Debug)]
pub struct Debounce {
    edge: Edge,
    quiet: Duration,
    ceiling: Duration,
    /// The first and the last change that no write has taken yet.
    waiting: Option<(Instant, Instant)>,
    /// Nothing was changed or written since before this: the next change goes at once.
    calm_from: Option<Instant>,
    at_once: bool,
    under_way: bool,
    failures: u32,
    last_try: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Debounce {
    pub const fn new(edge: Edge, quiet: Duration, ceiling: Duration) -> Self {
        Self {
            edge,
            quiet,
            ceiling,
            waiting: None,
            calm_from: None,
            at_once: false,
            under_way: false,
            failures: 0,
            last_try: None,
            retry_at: None,
        }
    }

    /// Something has changed.
    pub fn changed(&mut self, now: Instant) {
        let is_first = self.waiting.is_none();
        let calm = !self.under_way && self.calm_from.is_none_or(|calm| calm <= now);
        if is_first {
            self.at_once = self.edge == Edge::Leading && calm;
        }
        let first = self.waiting.map_or(now, |(first, _)| first);
        self.waiting = Some((first, now));
        self.calm_from = Some(now + self.quiet);
        if let (Some(retry), Some(last)) = (self.retry_at, self.last_try) {
            self.retry_at = Some(retry.min(now.max(last + RETRY_ON_CHANGE)));
        }
    }

    /// When to poll next; none while nothing waits or a write is under way.
    pub fn deadline(&self) -> Option<Instant> {
        let (first, last) = self.waiting.filter(|_| !self.under_way)?;
        if let Some(retry) = self.retry_at {
            return Some(retry);
        }
        if self.at_once {
            return Some(first);
        }
        Some((last + self.quiet).min(first + self.ceiling))
    }

    /// True when the caller has to begin a write now, of everything that has changed.
    pub fn poll(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.begin(now);
        }
        due
    }

    /// A write begins, due or not.
    pub fn begin(&mut self, now: Instant) {
        self.waiting = None;
        self.at_once = false;
        self.under_way = true;
        self.last_try = Some(now);
        self.calm_from = Some(now + self.quiet);
    }

    /// The write is done.
    pub fn succeeded(&mut self) {
        self.under_way = false;
        self.failures = 0;
        self.retry_at = None;
    }

    /// The write failed: what it was to write waits again.
    pub fn failed(&mut self, now: Instant) {
        self.under_way = false;
        let pause = RETRY_MIN.saturating_mul(1 << self.failures.min(10)).min(RETRY_MAX);
        self.failures += 1;
        self.retry_at = Some(now + pause);
        self.last_try.get_or_insert(now);
        let (first, last) = self.waiting.unwrap_or((now, now));
        self.waiting = Some((first, last));
    }

    /// Something waits or is under way.
    pub const fn is_busy(&self) -> bool {
        self.under_way || self.waiting.is_some()
    }

    /// A write is under way.
    pub const fn is_under_way(&self) -> bool {
        self.under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(50);
    const CEILING: Duration = Duration::from_millis(250);

    struct Run {
        start: Instant,
        debounce: Debounce,
    }

    impl Run {
        fn new(edge: Edge) -> Self {
            Self { start: Instant::now(), debounce: Debounce::new(edge, QUIET, CEILING) }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn changed(&mut self, ms: u64) {
            self.debounce.changed(self.at(ms));
        }

        fn due(&self) -> Option<u64> {
            let deadline = self.debounce.deadline()?;
            Some(u64::try_from(deadline.duration_since(self.start).as_millis()).unwrap())
        }

        fn poll(&mut self, ms: u64) -> bool {
            self.debounce.poll(self.at(ms))
        }
    }

    #[test]
    fn the_first_change_is_written_at_once() {
        let mut run = Run::new(Edge::Leading);
        assert_eq!(run.due(), None);
        run.changed(10);
        assert_eq!(run.due(), Some(10));
        assert!(run.poll(10));
        assert_eq!(run.due(), None);
        run.debounce.succeeded();
        run.changed(70);
        assert!(run.poll(70), "calm again after 50 ms");
    }

    #[test]
    fn changes_during_a_write_are_written_together_after_it() {
        let mut run = Run::new(Edge::Leading);
        run.changed(0);
        assert!(run.poll(0));
        run.changed(5);
        run.changed(30);
        assert!(!run.poll(100), "one write at a time");
        run.debounce.succeeded();
        assert_eq!(run.due(), Some(80));
        assert!(run.poll(100));
        run.debounce.succeeded();
        assert_eq!(run.due(), None);
    }

    #[test]
    fn a_storm_is_written_at_the_ceiling() {
        let mut run = Run::new(Edge::Leading);
        run.changed(0);
        assert!(run.poll(0));
        run.debounce.succeeded();
        let mut written = Vec::new();
        for ms in (10..600).step_by(10) {
            run.changed(ms);
            if run.poll(ms) {
                written.push(ms);
                run.debounce.succeeded();
            }
        }
        assert_eq!(written, [260, 520]);
    }

    #[test]
    fn a_trailing_edge_waits_for_quiet_and_no_longer_than_the_ceiling() {
        let mut run = Run::new(Edge::Trailing);
        run.changed(0);
        assert_eq!(run.due(), Some(50));
        run.changed(40);
        assert_eq!(run.due(), Some(90));
        for ms in [80, 120, 160, 200, 240] {
            run.changed(ms);
        }
        assert_eq!(run.due(), Some(250));
    }

    #[test]
    fn failures_are_tried_again_with_growing_pauses_and_success_ends_them() {
        let mut run = Run::new(Edge::Leading);
        run.changed(0);
        assert!(run.poll(0));
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            run.debounce.failed(run.at(now));
            let due = run.due().unwrap();
            pauses.push(due - now);
            now = due;
            assert!(!run.poll(now - 1));
            assert!(run.poll(now));
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        run.debounce.succeeded();
        assert_eq!(run.due(), None);
        run.changed(now + 1_000);
        assert_eq!(run.due(), Some(now + 1_000));
    }

    #[test]
    fn a_change_brings_the_next_try_forward_but_not_below_a_second() {
        let mut run = Run::new(Edge::Leading);
        run.changed(0);
        assert!(run.poll(0));
        for now in [0, 1_000, 3_000] {
            run.debounce.failed(run.at(now));
            assert!(run.poll(now + 4_000));
        }
        // The last try was at 7,000; the next would be at 15,000.
        run.debounce.failed(run.at(7_000));
        assert_eq!(run.due(), Some(15_000));
        run.changed(7_100);
        assert_eq!(run.due(), Some(8_000));
        run.changed(9_000);
        assert_eq!(run.due(), Some(8_000));
    }

    #[test]
    fn what_failed_waits_again_without_a_new_change() {
        let mut run = Run::new(Edge::Leading);
        run.changed(0);
        assert!(run.poll(0));
        assert!(run.debounce.is_busy());
        run.debounce.failed(run.at(20));
        assert_eq!(run.due(), Some(1_020));
        assert!(run.debounce.is_busy() && !run.debounce.is_under_way());
    }
}
