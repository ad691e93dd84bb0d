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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "BONDKEEPER_TEST_PANICS";

    /// What stands in the text of a panic of the database: octets that it has read.
    const CANARY: &str = "e7a5e7a5e7a5e7a5";

    /// In a process of its own, since the hook is everybody's.
    #[test]
    fn the_text_of_a_panic_in_the_database_is_printed_nowhere() {
        if std::env::var_os(CHILD).is_some() {
            crate::telemetry::start(crate::api::LogLevel::Trace);
            end_process_on_panic();
            let thread = std::thread::Builder::new().name("sled-io-0".to_owned());
            let _ = thread.spawn(|| panic!("damaged: {CANARY}")).unwrap().join();
            panic!("a mistake of ours");
        }
        let name = "app::panic::tests::the_text_of_a_panic_in_the_database_is_printed_nowhere";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned();
        assert_eq!(child.status.code(), Some(EXIT_CODE), "{said}");
        assert!(said.contains("the database panicked") && said.contains("a mistake of ours"), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
}
