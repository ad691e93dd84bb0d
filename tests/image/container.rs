//! A container of the image under test, run by buildah in a chroot: the host's network, the image's own
//! entry point, command and health check, `/data` as the Supervisor prepares it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

/// Where the simulated kernel is, inside.
pub const KERNEL: &str = "/kernel";

/// What the Supervisor gives our stop.
const STOP_LIMIT: Duration = Duration::from_secs(20);

pub struct Container {
    buildah: String,
    id: String,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// The image's configuration, as Docker would read it.
    pub config: Value,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: tests/image/run.sh runs this"))
}

fn text(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(hash) => {
            hash.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value))).collect()
        }
        Yaml::Array(list) => list.iter().map(to_json).collect(),
        Yaml::Integer(number) => json!(number),
        Yaml::Boolean(flag) => json!(flag),
        other => json!(other.as_str()),
    }
}

impl Container {
    /// With the manifest's environment, and its default options in `/data/options.json`: nothing was set by anybody.
    pub fn new() -> Self {
        let (buildah, image) = (variable("BONDKEEPER_TEST_BUILDAH"), variable("BONDKEEPER_TEST_IMAGE"));
        let id = text(Command::new(&buildah).args(["from", "--pull-never", &image])).trim().to_owned();
        // In a chroot, buildah would cover our folder with one of its own.
        text(Command::new(&buildah).args(["config", "--volume", "/data-", &id]));
        let known = text(Command::new(&buildah).args(["inspect", "--type", "image", &image]));
        let known: Value = serde_json::from_str(&known).unwrap();
        let folder = tempfile::Builder::new().prefix("bk").tempdir().unwrap();
        for name in ["data", "share", "kernel"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.yaml")).unwrap();
        let manifest = to_json(&YamlLoader::load_from_str(&manifest).unwrap()[0]);
        std::fs::write(folder.path().join("data/options.json"), manifest["options"].to_string()).unwrap();
        let pairs = manifest["environment"].as_object().unwrap().iter();
        let environment =
            pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
        Self { buildah, id, folder, environment, config: known["Docker"]["config"].clone() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn kernel_folder(&self) -> PathBuf {
        self.folder.path().join("kernel")
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A list of the image's configuration, such as `Entrypoint`.
    pub fn words(&self, key: &str) -> Vec<&str> {
        let list = self.config[key].as_array().unwrap_or_else(|| panic!("the image has no {key}"));
        list.iter().map(|word| word.as_str().unwrap()).collect()
    }

    fn exec(&self, wrapper: &[&str], words: &[&str]) -> Command {
        let (program, rest) = [wrapper, &[self.buildah.as_str()]]
            .concat()
            .split_first()
            .map(|(first, rest)| (*first, rest.to_vec()))
            .unwrap();
        let mut command = Command::new(program);
        command.args(rest).args(["run", "--isolation", "chroot"]);
        for (outside, inside) in [("data", "/data"), ("share", "/share"), ("kernel", KERNEL)] {
            command.arg("--volume").arg(format!("{}:{inside}", self.folder.path().join(outside).display()));
        }
        for (name, value) in &self.environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg(&self.id).arg("--").args(words).stdin(Stdio::null());
        command
    }

    fn with_entry_point<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&self.words("Entrypoint"), arguments].concat()
    }

    /// Runs the image's entry point with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.exec(&[], &self.with_entry_point(arguments)).output().unwrap()
    }

    /// The same without the host's network, which the add-on is never to be.
    pub fn run_without_network(&self, arguments: &[&str]) -> Output {
        self.exec(&["unshare", "--net"], &self.with_entry_point(arguments)).output().unwrap()
    }

    /// What the engine runs once a minute.
    pub fn health_check(&self) -> ExitStatus {
        let test = self.config["Healthcheck"]["Test"].as_array().expect("the image has a health check");
        assert_eq!(test[0], "CMD", "a shell is not needed");
        let words: Vec<&str> = test[1..].iter().map(|word| word.as_str().unwrap()).collect();
        self.exec(&[], &words).stderr(Stdio::null()).status().unwrap()
    }

    /// Starts the image's entry point with its command.
    pub fn start(&self) -> Running {
        let path = self.folder.path().join("log");
        let log = std::fs::File::create(&path).unwrap();
        let child = self
            .exec(&[], &self.with_entry_point(&self.words("Cmd")))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { engine: child, log: path }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new(&self.buildah).args(["rm", &self.id]).stdout(Stdio::null()).status();
    }
}

/// The container's process, and the engine that waits for it.
pub struct Running {
    engine: Child,
    log: PathBuf,
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

impl Running {
    /// Of the program in the container: the last of the line that the engine begins. Waits until it has been started.
    pub fn pid(&self) -> u32 {
        let until = Instant::now() + STOP_LIMIT;
        loop {
            let mut pid = self.engine.id();
            while let Some(child) = children(pid).first() {
                pid = *child;
            }
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.trim() == "bondkeeper" {
                return pid;
            }
            assert!(Instant::now() < until, "the container's process is not there:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// As the engine stops a container; it must end well. What it had to say.
    pub fn stop(mut self) -> String {
        // Buildah itself would kill it.
        assert!(Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status().unwrap().success());
        let until = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.engine.try_wait().unwrap() {
                assert!(status.success(), "{status}:\n{}", self.text());
                return self.text();
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.engine.kill();
        let _ = self.engine.wait();
        if std::thread::panicking() {
            eprintln!("---- the container's log\n{}", self.text());
        }
    }
}
