//! The product itself, started as a user starts it: the binary, its environment, its
//! data folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest that a clean stop may take: what a container is given before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

pub struct Service {
    child: Child,
    log: PathBuf,
}

/// How the service is set up for a test.
#[derive(Clone)]
pub struct Setup {
    pub folder: PathBuf,
    pub environment: Vec<(String, String)>,
    /// A program and its arguments through which the service is started.
    pub wrapper: Vec<String>,
    /// The product, where it is installed.
    pub program: PathBuf,
}

impl Setup {
    pub fn new(folder: &Path, broker_port: u16, world: Vec<(String, String)>) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_bondkeeper"));
        let mut setup = Self { folder: folder.to_owned(), environment: world, wrapper: Vec::new(), program };
        setup.set("NODE", "test");
        setup.set("MQTT__HOST", "127.0.0.1");
        setup.set("MQTT__PORT", &broker_port.to_string());
        setup.set("DATA_DIR", &setup.data_dir().display().to_string());
        setup.set("EXPORT_DIR", &setup.export_dir().display().to_string());
        setup.set("LOG_LEVEL", "debug");
        setup
    }

    pub fn set(&mut self, key: &str, value: &str) {
        let name = format!("BONDKEEPER__{key}");
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.to_owned()));
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn export_dir(&self) -> PathBuf {
        self.folder.join("exports")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("service.log")
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.wrapper.split_first() {
            Some((wrapper, rest)) => {
                let mut command = Command::new(wrapper);
                command.args(rest).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command.args(arguments).env_clear().env("PATH", path).envs(self.environment.iter().cloned());
        command
    }

    /// Runs another command of the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    pub fn start(&self) -> Service {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let child = self
            .command(&["run"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Service { child, log: self.log() }
    }
}

impl Service {
    /// SIGKILL.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        self.wait_for_end(STOP_LIMIT)
    }

    /// It must end by itself.
    pub fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the service did not end within {limit:?}:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.log_text();
            let from = text.len().saturating_sub(6_000);
            let from = (from..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            eprintln!("---- the end of the service's log\n{}", &text[from..]);
        }
    }
}
