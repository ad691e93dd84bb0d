//! The program: reads the command line and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    bondkeeper::cli::run()
}
