//! What is told of the store's state, and when it is news. Pure.

use std::time::{Duration, Instant};

use super::messages::{StoreFault, StoreState, StoreStateChanged};

/// Commit times are told at most this often when nothing else is to be told.
const LATENCY_REPORT: Duration = Duration::from_secs(30);

/// Longest text of what was found; it is shown to people and published.
const DETAIL_OCTETS_MAX: usize = 2_000;

/// The state of a store in which this was found, one clause each.
pub(super) fn rebuilt(problems: &[String]) -> StoreState {
    let mut detail = problems.join("; ");
    if detail.len() > DETAIL_OCTETS_MAX {
        let mut end = DETAIL_OCTETS_MAX;
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
        detail.push('…');
    }
    StoreState::Rebuilt { detail }
}

/// See the module text.
pub(super) struct Health {
    /// How the store was opened; it is so again when a fault is over.
    base: StoreState,
    pub commit_fault: Option<StoreFault>,
    pub snapshot_fault: Option<StoreFault>,
    told: Option<(StoreState, Instant)>,
    last_commit: Option<Duration>,
    max_commit: Duration,
}

impl Health {
    pub fn new(opened: StoreState) -> Self {
        let base = if let StoreState::Failing { .. } = opened { StoreState::Ok } else { opened };
        let (commit_fault, snapshot_fault) = (None, None);
        Self { base, commit_fault, snapshot_fault, told: None, last_commit: None, max_commit: Duration::ZERO }
    }

    /// More was found to be damaged than at the opening.
    pub fn found(&mut self, mut problems: Vec<String>) {
        if problems.is_empty() {
            return;
        }
        if let StoreState::Rebuilt { detail } = &self.base {
            problems.insert(0, detail.clone());
        }
        self.base = rebuilt(&problems);
    }

    /// A commit is done and took so long.
    pub fn committed(&mut self, took: Duration) {
        self.commit_fault = None;
        self.last_commit = Some(took);
        self.max_commit = self.max_commit.max(took);
    }

    /// What has to be told now.
    pub fn news(&mut self, now: Instant) -> Option<StoreStateChanged> {
        let fault = self.commit_fault.clone().or_else(|| self.snapshot_fault.clone());
        let state = fault.map_or_else(|| self.base.clone(), |fault| StoreState::Failing { fault });
        let is_news = self.told.as_ref().is_none_or(|(told, at)| {
            let late = now.saturating_duration_since(*at) >= LATENCY_REPORT;
            *told != state || (self.last_commit.is_some() && late)
        });
        if !is_news {
            return None;
        }
        let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.told = Some((state.clone(), now));
        Some(StoreStateChanged {
            state,
            last_commit_us: micros(self.last_commit.take().unwrap_or_default()),
            max_commit_us: micros(std::mem::take(&mut self.max_commit)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_once_and_again_when_it_changes() {
        let now = Instant::now();
        let rebuilt = StoreState::Rebuilt { detail: "x".to_owned() };
        let mut health = Health::new(rebuilt.clone());
        assert_eq!(health.news(now).unwrap().state, rebuilt);
        assert_eq!(health.news(now), None);
        health.snapshot_fault = Some(StoreFault::DiskFull);
        let failing = StoreState::Failing { fault: StoreFault::DiskFull };
        assert_eq!(health.news(now).unwrap().state, failing);
        health.snapshot_fault = None;
        assert_eq!(
            health.news(now).unwrap().state,
            rebuilt,
            "a fault that is over does not hide the rebuild"
        );
    }

    #[test]
    fn what_is_found_later_is_told_with_what_was_found_at_the_opening() {
        let now = Instant::now();
        let mut health = Health::new(StoreState::Ok);
        health.found(Vec::new());
        assert_eq!(health.news(now).unwrap().state, StoreState::Ok);
        health.found(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(health.news(now).unwrap().state, StoreState::Rebuilt { detail: "a; b".to_owned() });
        health.found(vec!["é".repeat(DETAIL_OCTETS_MAX)]);
        let StoreState::Rebuilt { detail } = health.news(now).unwrap().state else { panic!("not told") };
        assert!(detail.starts_with("a; b; éé") && detail.ends_with("é…"));
        assert!(detail.len() <= DETAIL_OCTETS_MAX + '…'.len_utf8());
    }

    #[test]
    fn commit_times_are_told_now_and_then_with_the_longest() {
        let now = Instant::now();
        let mut health = Health::new(StoreState::Ok);
        health.news(now);
        for ms in [3, 9, 4] {
            health.committed(Duration::from_millis(ms));
            assert_eq!(health.news(now), None);
        }
        let told = health.news(now + LATENCY_REPORT).unwrap();
        assert_eq!((told.last_commit_us, told.max_commit_us), (4_000, 9_000));
        assert_eq!(health.news(now + 2 * LATENCY_REPORT), None, "nothing was committed since");
    }
}
