//! A stand-in for Home Assistant's Supervisor, as an add-on sees it: one question, with the status codes and
//! bodies of the Supervisor's own handlers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

pub const TOKEN: &str = "t0ken-of-the-stand-in";
pub const USER: &str = "addons";
pub const PASSWORD: &str = "pa55word-of-the-broker";

/// What the stand-in answers to `GET /services/mqtt`.
#[derive(Clone)]
pub enum Answer {
    NotReady,
    NotEnabled,
    NoAccess,
    /// Where the broker is, the password of [`USER`], and whether it wants TLS.
    Broker {
        host: &'static str,
        port: u16,
        password: &'static str,
        ssl: bool,
    },
}

impl Answer {
    /// A broker on this machine, without TLS.
    pub fn broker(port: u16, password: &'static str) -> Self {
        Self::Broker { host: "127.0.0.1", port, password, ssl: false }
    }

    fn status_and_body(&self) -> (&'static str, String) {
        let error = |words: &str| json!({ "result": "error", "message": words }).to_string();
        match self {
            Self::NotReady => ("400 Bad Request", error("System is not ready with state: setup")),
            Self::NotEnabled => ("400 Bad Request", error("Service not enabled")),
            Self::NoAccess => ("403 Forbidden", error("No access to mqtt service!")),
            Self::Broker { host, port, password, ssl } => {
                let data = json!({ "host": host, "port": port, "username": USER, "password": password,
                    "ssl": ssl, "protocol": "3.1.1", "addon": "core_mosquitto" });
                ("200 OK", json!({ "result": "ok", "data": data }).to_string())
            }
        }
    }
}

/// It answers until the process ends.
pub struct StandIn {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<u32>>,
}

impl StandIn {
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(0)));
        let (answers, counter) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(&stream, &answers.lock().unwrap().clone());
                *counter.lock().unwrap() += 1;
            }
        });
        Self { port, answer, asked }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }
}

fn serve(mut stream: &TcpStream, answer: &Answer) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let request = lines.next().unwrap_or_default();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let authorized = head.iter().any(|line| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        name.eq_ignore_ascii_case("authorization") && value.trim() == format!("Bearer {TOKEN}")
    });
    let (status, body) = match (authorized, request.as_str()) {
        (false, _) => ("403 Forbidden", "403: Forbidden".to_owned()),
        (true, "GET /services/mqtt HTTP/1.1") => answer.status_and_body(),
        (true, _) => ("404 Not Found", "404: Not Found".to_owned()),
    };
    let length = body.len();
    let _ =
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}
