//! Wakes an engine that waits for a write which has failed.
//!
//! A thread of sled's own pool that fails at a write leaves the error where every later call finds it,
//! but on one path it does not wake whoever waits for that write already: the call would never come
//! back. A second flush finds the error and wakes all who wait. So each call that takes longer than a
//! healthy disk needs is followed by a flush on a thread of its own, which on a disk that is only slow
//! does no harm. Must never touch what is stored. Driven by `sled`.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::sled::Db;

use super::guard::guarded;

/// A call is left alone for this long; then again for twice as long, and so on: a disk that stalls for a
/// minute costs six threads.
const PATIENCE: Duration = Duration::from_secs(1);

const THREAD_NAME: &str = "store-watchdog";
const NUDGE_NAME: &str = "store-nudge";

#[derive(Default)]
struct State {
    /// When the call that is under way began.
    busy_since: Option<Instant>,
    /// The thread sleeps until it is woken.
    asleep: bool,
    finished: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// Nothing in here can be left half-done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module text. Without a thread (none could be started) it watches nothing.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    pub fn new(db: &Db) -> Self {
        let shared = Arc::<Shared>::default();
        let (seen, db) = (Arc::clone(&shared), db.clone());
        let nudge = move || {
            let db = db.clone();
            let flush = move || drop(guarded(|| db.flush()));
            drop(std::thread::Builder::new().name(NUDGE_NAME.to_owned()).spawn(flush));
        };
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || watch(&seen, PATIENCE, nudge))
            .inspect_err(|error| tracing::warn!(%error, "the database goes without a watchdog"));
        Self { shared, thread: thread.ok() }
    }

    /// A call into the engine, watched.
    pub fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        let mut state = self.shared.lock();
        state.busy_since = Some(Instant::now());
        if state.asleep {
            self.shared.changed.notify_one();
        }
        drop(state);
        let outcome = call();
        // The thread is not woken for this: it finds out when the patience is over.
        self.shared.lock().busy_since = None;
        outcome
    }
}

impl Drop for Watchdog {
    /// Lets go of the database.
    fn drop(&mut self) {
        self.shared.lock().finished = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(shared: &Shared, patience: Duration, nudge: impl Fn()) {
    let mut state = shared.lock();
    let mut pause = patience;
    let mut nudged_for = None;
    while !state.finished {
        let Some(since) = state.busy_since else {
            state.asleep = true;
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
            continue;
        };
        if nudged_for != Some(since) {
            pause = patience;
        }
        let left = (since + pause).saturating_duration_since(Instant::now());
        if left.is_zero() {
            nudge();
            nudged_for = Some(since);
            pause *= 2;
            continue;
        }
        state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_call_that_hangs_is_nudged_until_it_comes_back() {
        let shared = Arc::<Shared>::default();
        let (nudges, nudged) = channel();
        let seen = Arc::clone(&shared);
        let watching = std::thread::spawn(move || {
            watch(&seen, Duration::from_millis(1), || nudges.send(()).unwrap());
        });
        let watchdog = Watchdog { shared, thread: Some(watching) };
        for _ in 0..2 {
            watchdog.during(|| {
                nudged.recv().unwrap();
                nudged.recv().unwrap();
            });
        }
        drop(watchdog);
        while nudged.try_recv().is_ok() {}
        assert!(nudged.recv().is_err(), "the thread has ended");
    }
}
