//! The engine's panics, caught.
//!
//! sled panics on some damage and on some failing disks. That must cost an operation, not the
//! service: every call into it runs in here, and the service's panic hook asks
//! [`is_guarded_panic`] before it ends the process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How the threads of sled's own pool are called.
const ENGINE_THREADS: &str = "sled-io-";

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The panic that a hook is looking at will be caught, or happens on one of the engine's own
/// threads: it must not end the process. Its text may hold what was stored: print the place alone.
pub fn is_guarded_panic() -> bool {
    let thread = std::thread::current();
    GUARDED.get() || thread.name().is_some_and(|name| name.starts_with(ENGINE_THREADS))
}

/// Runs a call into the engine; none when it panicked, in which case the database is in doubt.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    let before = GUARDED.replace(true);
    // Nothing of a database in doubt is used again but its files, so no broken state is seen.
    let outcome = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_caught_and_known_as_guarded() {
        assert!(!is_guarded_panic());
        assert_eq!(guarded(is_guarded_panic), Some(true));
        assert_eq!(guarded(|| -> u8 { std::panic::resume_unwind(Box::new("engine")) }), None);
        assert!(!is_guarded_panic());
    }
}
