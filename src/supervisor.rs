//! Asks Home Assistant's Supervisor which MQTT broker there is.
//!
//! One request, `GET /services/mqtt` with the add-on's token, that blocks: it runs on a thread for blocking work, driven
//! by the MQTT connection before each attempt. Must never show the token or the password, and never follow the answer
//! anywhere else.

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

/// For the whole request: the Supervisor is on the same host, and a stop of ours waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer has some 300 octets.
const ANSWER_OCTETS_MAX: u64 = 64 * 1024;

/// Octets of a Supervisor's words that are passed on.
const WORDS_OCTETS_MAX: usize = 200;

/// The broker that the Supervisor announces.
#[derive(Deserialize)]
pub struct MqttService {
    pub host: String,
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Zeroizing<String>>,
    #[serde(default)]
    pub ssl: bool,
}

/// Why there is no broker to try. Each is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error("Home Assistant's Supervisor does not answer")]
    Unreachable(#[source] Box<ureq::Error>),
    #[error(
        "the Supervisor has no MQTT broker for us yet ({0}): install and start the Mosquitto broker, or set the option \
         mqtt.host"
    )]
    NotYet(String),
    #[error(
        "the Supervisor does not tell us the MQTT broker ({0}): the add-on's config.yaml needs \"services: [mqtt:want]\""
    )]
    NoAccess(String),
    #[error("the Supervisor does not accept our token (status {0}): start the add-on again")]
    Token(u16),
    #[error("the Supervisor's answer was not expected: status {status}, {words}")]
    Unexpected { status: u16, words: String },
}

/// The Supervisor's API.
pub struct Supervisor {
    agent: ureq::Agent,
    url: String,
    authorization: Zeroizing<String>,
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(default = "Option::default")]
    data: Option<T>,
    #[serde(default)]
    message: Option<String>,
}

impl Supervisor {
    pub fn new(url: &str, token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // The token is for this host alone.
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(0)
            .build();
        Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: Zeroizing::new(format!("Bearer {token}")),
        }
    }

    /// Blocks.
    pub fn mqtt_service(&self) -> Result<MqttService, SupervisorError> {
        let unreachable = |error| SupervisorError::Unreachable(Box::new(error));
        let request = self.agent.get(format!("{}/services/mqtt", self.url));
        let mut response =
            request.header("Authorization", self.authorization.as_str()).call().map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_OCTETS_MAX).read_to_vec();
        read_answer(status, &Zeroizing::new(body.map_err(unreachable)?))
    }
}

/// From the status and the body of the answer.
fn read_answer(status: u16, body: &[u8]) -> Result<MqttService, SupervisorError> {
    if status == 200 {
        // The words of a JSON error could quote the password.
        let unexpected = || SupervisorError::Unexpected { status, words: "no broker in it".to_owned() };
        let envelope: Envelope<MqttService> = serde_json::from_slice(body).map_err(|_| unexpected())?;
        return envelope.data.filter(|service| !service.host.is_empty()).ok_or_else(unexpected);
    }
    let words = serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(body)
        .ok()
        .and_then(|envelope| envelope.message)
        .map(|words| words.chars().filter(|c| !c.is_control()).take(WORDS_OCTETS_MAX).collect::<String>());
    Err(match (status, words) {
        (400, words) => SupervisorError::NotYet(words.unwrap_or_else(|| "no reason given".to_owned())),
        (403, Some(words)) => SupervisorError::NoAccess(words),
        (401 | 403, None) => SupervisorError::Token(status),
        (_, words) => {
            SupervisorError::Unexpected { status, words: words.unwrap_or_else(|| "no words".to_owned()) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> SupervisorError {
        read_answer(status, body.as_bytes()).err().expect("was accepted")
    }

    #[test]
    fn a_broker_is_read_with_and_without_credentials() {
        let body = br#"{"result":"ok","data":{"host":"core-mosquitto","port":1883,"username":"addons",
            "password":"5ec2e7","ssl":false,"protocol":"3.1.1","addon":"core_mosquitto"}}"#;
        let service = read_answer(200, body).ok().unwrap();
        assert_eq!((service.host.as_str(), service.port, service.ssl), ("core-mosquitto", Some(1883), false));
        assert_eq!(service.username.as_deref(), Some("addons"));
        assert_eq!(service.password.as_ref().map(|password| password.as_str()), Some("5ec2e7"));
        let body = br#"{"result":"ok","data":{"host":"h","port":8883,"ssl":true,"app":"x"}}"#;
        let service = read_answer(200, body).ok().unwrap();
        assert!(service.ssl && service.username.is_none() && service.password.is_none());
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for message in ["Service not enabled", "System is not ready with state: setup"] {
            let error = refused(400, &format!(r#"{{"result":"error","message":"{message}"}}"#));
            assert!(matches!(error, SupervisorError::NotYet(_)) && error.to_string().contains(message));
        }
        let error = refused(403, r#"{"result":"error","message":"No access to mqtt service!"}"#);
        assert!(error.to_string().contains("services: [mqtt:want]"), "{error}");
        assert!(matches!(refused(403, "403: Forbidden"), SupervisorError::Token(403)));
        assert!(matches!(refused(401, "401: Unauthorized"), SupervisorError::Token(401)));
        let error = refused(404, r#"{"result":"error","message":"Service does not exist"}"#);
        assert!(error.to_string().contains("404") && error.to_string().contains("does not exist"), "{error}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_repeated() {
        for body in [r#"{"result":"ok","data":{"host":7,"password":"5ec2e7"}}"#, "5ec2e7", r#"{"data":null}"#]
        {
            assert!(!format!("{:?}", refused(200, body)).contains("5ec2e7"));
        }
        assert!(matches!(refused(502, "<html>"), SupervisorError::Unexpected { status: 502, .. }));
    }

    #[test]
    fn a_supervisor_that_is_not_there_is_said_to_be_unreachable() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let supervisor = Supervisor::new(&format!("http://127.0.0.1:{port}/"), "t0ken");
        assert!(matches!(supervisor.mqtt_service(), Err(SupervisorError::Unreachable(_))));
    }
}
