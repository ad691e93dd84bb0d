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
    child: Option<Child>,
}

impl Broker {
    /// On a free port of the loopback interface, with its files in `folder`.
    pub fn start(folder: &Path, persistent: bool) -> Self {
        let port = free_port();
        let folder = folder.join("broker");
        std::fs::create_dir_all(&folder).unwrap();
        let mut broker = Self { folder, port, persistent, tls: None, guarded: None, child: None };
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
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&file)
            .args([user, password])
            .status()
            .expect("mosquitto_passwd comes with mosquitto");
        assert!(made.success());
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
        let text = format!(
            "per_listener_settings true\nuser root\nlistener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n{persistence}{tls}{guarded}",
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

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
