//! The demo: the real service between a simulated kernel and a real MQTT broker,
//! all in this process. It needs no Bluetooth hardware, no broker and no rights,
//! and changes nothing on the machine.
//!
//! `cargo run --release --example demo` tells a story and goes on until Ctrl-C;
//! with `-- --seconds N` it ends by itself, with exit code 0 only if a bond was
//! captured, made durable, announced, lost by an unplug and loaded back.

#[path = "demo/broker.rs"]
mod broker;
#[path = "demo/listener.rs"]
mod listener;
#[path = "demo/service.rs"]
mod service;
#[path = "mod.rs"]
mod sim;
#[path = "demo/story.rs"]
mod story;

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use story::Story;

const USAGE: &str = "\
The bondkeeper demo.

Usage: cargo run --release --example demo [-- [--seconds N] [--verbose]]

  --seconds N   end after N seconds (but not before the story is told);
                exit code 0 only if everything in it came true
  --verbose     show the service's own log, too
";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wishes {
    length: Option<Duration>,
    verbose: bool,
    help: bool,
}

fn read_wishes(mut arguments: impl Iterator<Item = String>) -> Result<Wishes, String> {
    let mut wishes = Wishes::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let seconds = arguments.next().and_then(|text| text.parse().ok());
                let seconds = seconds.ok_or("--seconds needs a number of seconds")?;
                wishes.length = Some(Duration::from_secs(seconds));
            }
            "--verbose" => wishes.verbose = true,
            "--help" | "-h" => wishes.help = true,
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(wishes)
}

fn main() -> ExitCode {
    let wishes = match read_wishes(std::env::args().skip(1)) {
        Ok(wishes) => wishes,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if wishes.help {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match tell(&wishes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("\nThe demo failed: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Sets the scene, tells the story and leaves nothing behind.
fn tell(wishes: &Wishes) -> Result<(), String> {
    let began = Instant::now();
    let end = TheEnd { at: wishes.length.map(|length| began + length), interrupted: on_interrupt()? };
    let scene = tempfile::Builder::new().prefix("bk-demo").tempdir();
    let scene = scene.map_err(|e| format!("making a folder: {e}"))?;
    let kernel = sim::SimKernel::start(&scene.path().join("kernel"));
    let broker = broker::start()?;
    let listener = listener::Listener::start(broker.v5_port)?;
    story::introduce(&broker);
    service::start_log(wishes.verbose)?;
    let settings = service::settings(scene.path(), kernel.dir(), broker.v5_port, wishes.verbose)?;
    let service = service::start_service(settings)?;
    let told = Story::new(&kernel, &listener, began).tell(&end);
    println!("\nThe end: bondkeeper is asked to stop.");
    let stopped = service.stop();
    told.and(stopped)
}

/// When to stop.
struct TheEnd {
    at: Option<Instant>,
    interrupted: Receiver<()>,
}

impl TheEnd {
    /// Waits this long, whatever the time. True when somebody interrupts.
    fn interrupts_within(&self, wait: Duration) -> bool {
        self.interrupted.recv_timeout(wait).is_ok()
    }

    /// Waits, at most this long. True when it is time to stop.
    fn comes_within(&self, wait: Duration) -> bool {
        let now = Instant::now();
        let until = self.at.map_or(now + wait, |at| at.min(now + wait));
        match self.interrupted.recv_timeout(until.saturating_duration_since(now)) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => self.at.is_some_and(|at| Instant::now() >= at),
        }
    }
}

/// A message for each Ctrl-C, so that the demo can clean up behind itself.
fn on_interrupt() -> Result<Receiver<()>, String> {
    let (sender, receiver) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("starting a runtime: {e}"))?;
    std::thread::spawn(move || {
        runtime.block_on(async { while tokio::signal::ctrl_c().await.is_ok() && sender.send(()).is_ok() {} });
    });
    Ok(receiver)
}
