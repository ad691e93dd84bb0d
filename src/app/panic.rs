//! What a panic does.

use std::panic;
use std::process;

/// The exit code of a process that panicked, as Rust's own.
const EXIT_CODE: i32 = 101;

/// From now on a panic on any thread ends the process with its message, except one inside the store's guard
/// around the database, which turns it into an error.
pub fn end_process_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if crate::store::is_guarded_panic() {
            tracing::error!("the database panicked; the store deals with it");
            return;
        }
        report(info);
        process::exit(EXIT_CODE);
    }));
}
