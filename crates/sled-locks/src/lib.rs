//! The locks of the standard library, under the names by which sled 0.34 knows those of parking_lot 0.11.
//!
//! sled keeps seven threads that look for work once a second, for ever, on a condition variable of its lock
//! library. With these locks they sleep until there is work: [`Condvar::wait_until`] waits at least
//! [`IDLE_WAIT`]. Nothing else of sled calls it, and a thread whose wait ends early or late does nothing but look
//! into its queue again. sled wakes all seven for each piece of work; here one is woken, which is enough, as any of them
//! takes it and none of them goes to sleep while there is more. All else does what its namesake does, with one difference that sled cannot see: a lock
//! whose holder panicked is not lost (nor was it with parking_lot).
//!
//! Must never hold more than the part of the interface that sled uses, and must never be used by anybody else. Only
//! sled 0.34.7 is compiled against it: docs/adr/0011.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{self, PoisonError, TryLockError};
use std::time::{Duration, Instant};

pub use std::sync::{RwLockReadGuard, RwLockWriteGuard};

/// How long a thread without work sleeps. Work wakes it at once; this only bounds how long a thread too many stays.
pub const IDLE_WAIT: Duration = Duration::from_secs(3600);

/// Mutual exclusion.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(sync::Mutex<T>);

/// Holds a [`Mutex`]. The inner guard is absent only while [`Condvar`] waits, which borrows this exclusively.
pub struct MutexGuard<'a, T: ?Sized>(Option<sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only a waiting guard is without its lock")
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("only a waiting guard is without its lock")
    }
}

/// Many readers or one writer.
#[derive(Default)]
pub struct RwLock<T: ?Sized>(sync::RwLock<T>);

impl<T> RwLock<T> {
    pub const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A condition to wait for.
#[derive(Debug, Default)]
pub struct Condvar {
    inner: sync::Condvar,
    /// Idle threads wait here, of which each does what any other would.
    is_of_idle_threads: AtomicBool,
}

/// Whether a wait ended because its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub const fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    pub const fn new() -> Self {
        Self { inner: sync::Condvar::new(), is_of_idle_threads: AtomicBool::new(false) }
    }

    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        if let Some(held) = guard.0.take() {
            guard.0 = Some(self.inner.wait(held).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits no longer than this.
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: Duration) -> WaitTimeoutResult {
        let Some(held) = guard.0.take() else { return WaitTimeoutResult(true) };
        let (held, outcome) = self.inner.wait_timeout(held, time).unwrap_or_else(PoisonError::into_inner);
        guard.0 = Some(held);
        WaitTimeoutResult(outcome.timed_out())
    }

    /// Waits until then, and at least [`IDLE_WAIT`]: see the module text.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> WaitTimeoutResult {
        // Under the lock that whoever brings work has to take first.
        self.is_of_idle_threads.store(true, Ordering::Relaxed);
        self.wait_for(guard, until.saturating_duration_since(Instant::now()).max(IDLE_WAIT))
    }

    pub fn notify_one(&self) {
        self.inner.notify_one();
    }

    /// Wakes all who wait, or one of those to whom it does not matter which: see the module text.
    pub fn notify_all(&self) {
        if self.is_of_idle_threads.load(Ordering::Relaxed) {
            self.inner.notify_one();
        } else {
            self.inner.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn whoever_waits_is_woken_by_work_and_not_by_a_deadline_in_the_past() {
        let shared = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let waiter = thread::spawn(move || {
            let mut value = theirs.0.lock();
            while *value == 0 {
                assert!(!theirs.1.wait_until(&mut value, Instant::now()).timed_out());
            }
            *value
        });
        *shared.0.lock() = 7;
        shared.1.notify_all();
        assert_eq!(waiter.join().unwrap(), 7);
    }

    /// As sled's pool does it: one lock of work, one condition, all notified for each piece.
    #[test]
    fn each_piece_of_work_is_taken_though_one_idle_thread_is_woken_for_it() {
        const PIECES: usize = 20_000;
        let shared = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let idle: Vec<_> = (0..7)
            .map(|_| {
                let theirs = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut taken = 0;
                    loop {
                        let mut work = theirs.0.lock();
                        while work.is_empty() {
                            theirs.1.wait_until(&mut work, Instant::now());
                        }
                        match work.pop() {
                            Some(true) => taken += 1,
                            // The end is for one thread: the next is told in its turn.
                            _ => return taken,
                        }
                    }
                })
            })
            .collect();
        for piece in 0..PIECES {
            shared.0.lock().push(true);
            shared.1.notify_all();
            if piece % 64 == 0 {
                thread::yield_now();
            }
        }
        while !shared.0.lock().is_empty() {
            thread::yield_now();
        }
        for _ in 0..7 {
            shared.0.lock().push(false);
            shared.1.notify_all();
        }
        let taken: usize = idle.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(taken, PIECES);
    }

    #[test]
    fn all_who_wait_for_something_else_are_woken_at_once() {
        let shared = Arc::new((Mutex::new([0, 0]), Condvar::new()));
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let theirs = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut value = theirs.0.lock();
                    value[0] += 1;
                    while value[1] == 0 {
                        theirs.1.wait(&mut value);
                    }
                })
            })
            .collect();
        while shared.0.lock()[0] < waiting.len() {
            thread::yield_now();
        }
        shared.0.lock()[1] = 1;
        shared.1.notify_all();
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_bounded_wait_ends_and_holds_the_lock_again() {
        let (mutex, condition) = (Mutex::new(1), Condvar::new());
        let mut guard = mutex.lock();
        while !condition.wait_for(&mut guard, Duration::from_millis(1)).timed_out() {}
        *guard += 1;
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert_eq!(*mutex.try_lock().unwrap(), 2);
    }

    #[test]
    fn a_lock_outlives_the_panic_of_its_holder() {
        let shared = Arc::new((Mutex::new(1), RwLock::new(1)));
        let theirs = Arc::clone(&shared);
        let panicked = thread::spawn(move || {
            let _held = (theirs.0.lock(), theirs.1.write());
            panic!("as the test wants");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*shared.0.lock(), 1);
        assert_eq!(*shared.1.read(), 1);
        assert_eq!(*shared.1.write(), 1);
        assert!(shared.0.try_lock().is_some());
    }
}
