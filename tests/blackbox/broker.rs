//! A real Mosquitto as a child process: what users run.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the broker may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

pub struct Broker {
    folder: PathBuf,
    pub port: u16,
    persistent: bool,
    /// Port and folder of a second listener that wants client certificates.
    tls: Option<(u16, PathBuf)>,
    /// Port and password file of a listener that lets in only who is in the file.
    guarded: Option<(u16, PathBuf)>,
    keep_alive: Option<u16>,
    child: Option<Child>,
}

impl Broker {
    /// On a free port of the loopback interface, with its files in `folder`.
    pub fn start(folder: &Path, persistent: bool) -> Self {
        let port = free_port();
        let folder = folder.join("broker");
        std::fs::create_dir_all(&folder).unwrap();
        let mut broker =
            Self { folder, port, persistent, tls: None, guarded: None, keep_alive: None, child: None };
        broker.start_again();
        broker
    }

    /// Restarts with a second listener that takes only clients with a certificate of the authority whose
    /// files are in `folder`; its port.
    pub fn listen_tls(&mut self, folder: &Path) -> u16 {
        let port = free_port();
        self.tls = Some((port, folder.to_owned()));
        self.kill();
        self.start_again();
        port
    }

    /// Restarts with another listener that wants this user name and password; its port.
    pub fn listen_guarded(&mut self, user: &str, password: &str) -> u16 {
        let port = free_port();
        let file = self.folder.join("passwords");
        write_password(&file, user, password);
        self.guarded = Some((port, file));
        self.kill();
        self.start_again();
        port
    }

    /// After a kill: the same port, and with persistence the same memory.
    pub fn start_again(&mut self) {
        let config = self.folder.join("broker.conf");
        let persistence = if self.persistent {
            // Every change is saved at once, as far as the broker is concerned.
            format!(
                "persistence true\npersistence_location {}/\nautosave_interval 1\nautosave_on_changes true\n",
                self.folder.display()
            )
        } else {
            "persistence false\n".to_owned()
        };
        let tls = self.tls.as_ref().map_or_else(String::new, |(port, folder)| {
            let folder = folder.display();
            format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\n\
                 keyfile {folder}/broker.key\nrequire_certificate true\n"
            )
        });
        let guarded = self.guarded.as_ref().map_or_else(String::new, |(port, file)| {
            format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\n", file.display())
        });
        let keep_alive =
            self.keep_alive.map_or_else(String::new, |seconds| format!("max_keepalive {seconds}\n"));
        let text = format!(
            "per_listener_settings true\nuser root\n{keep_alive}listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n{persistence}{tls}{guarded}",
            self.port
        );
        std::fs::write(&config, text).unwrap();
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .env("PATH", format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto could not be started: is it installed? tests/run.sh installs it");
        self.child = Some(child);
        let until = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Takes no more from anybody, without going away; `-CONT` lets it go on.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the broker runs").id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Another password for the user of [`listen_guarded`](Self::listen_guarded); the broker reads its file again.
    pub fn change_password(&self, user: &str, password: &str) {
        let (_, file) = self.guarded.as_ref().expect("a listener is guarded");
        write_password(file, user, password);
        self.signal("-HUP");
    }

    /// Asks clients to give a sign of life this often, from the next start on.
    pub fn keep_alive(&mut self, seconds: u16) {
        self.keep_alive = Some(seconds);
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write_password(file: &Path, user: &str, password: &str) {
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(file)
        .args([user, password])
        .status()
        .expect("mosquitto_passwd comes with mosquitto");
    assert!(made.success());
}

/// Below those that the system gives to outgoing connections: one of them could hold it when the broker comes back.
fn free_port() -> u16 {
    let mut random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8);
    loop {
        let port = 20_000 + (random % 12_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
        random = random.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
