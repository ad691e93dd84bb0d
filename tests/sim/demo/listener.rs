//! Somebody else who listens to the broker, as Home Assistant would: what the
//! demo believes, it believes because it was published.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde_json::Value;

/// Events that are kept: far more than the story waits for at a time.
const EVENTS_MAX: usize = 1000;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const QUEUE: usize = 100;
/// A large table of bonds is still smaller.
const PACKET_OCTETS_MAX: u32 = 1024 * 1024;

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    pub payload: Value,
}

#[derive(Debug, Default)]
struct Heard {
    /// The newest message of each topic that is a state.
    states: BTreeMap<String, Message>,
    /// The newest messages of topics that end in `/event`.
    events: Vec<Message>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

pub struct Listener {
    shared: Arc<Shared>,
    /// Its end would end the connection.
    _client: Client,
}

impl Listener {
    pub fn start(port: u16) -> Result<Self, String> {
        let mut options = MqttOptions::new("demo-listener", "127.0.0.1", port);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_max_packet_size(Some(PACKET_OCTETS_MAX));
        let (client, connection) = Client::new(options, QUEUE);
        client.subscribe("bondkeeper/#", QoS::AtLeastOnce).map_err(|e| format!("subscribing: {e}"))?;
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        thread::Builder::new()
            .name("listener".to_owned())
            .spawn(move || listen(connection, &told))
            .map_err(|e| format!("starting the listener: {e}"))?;
        Ok(Self { shared, _client: client })
    }

    /// Waits for a state message that fits.
    pub fn await_state(
        &self,
        topic: &str,
        within: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Message, String> {
        let newest =
            |heard: &Heard| heard.states.get(topic).filter(|message| fits(&message.payload)).cloned();
        self.wait(within, newest).ok_or_else(|| {
            let heard = self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let last =
                heard.states.get(topic).map_or_else(|| "nothing".to_owned(), |m| m.payload.to_string());
            format!("{topic} did not say what was expected within {within:?}; the last it said: {last}")
        })
    }

    /// Waits for an event that fits, from the first one on.
    pub fn await_event(
        &self,
        topic: &str,
        within: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Message, String> {
        let first = |heard: &Heard| {
            heard.events.iter().find(|message| message.topic == topic && fits(&message.payload)).cloned()
        };
        self.wait(within, first)
            .ok_or_else(|| format!("{topic}: the expected event did not come within {within:?}"))
    }

    fn wait<T>(&self, within: Duration, look: impl Fn(&Heard) -> Option<T>) -> Option<T> {
        let end = Instant::now() + within;
        let mut heard = self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&heard) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.shared.changed.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn listen(mut connection: Connection, shared: &Shared) {
    for notice in connection.iter() {
        match notice {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                // An empty payload clears a topic: nothing is said there any more.
                let payload = serde_json::from_slice(&publish.payload).unwrap_or(Value::Null);
                shared.hear(Message { topic, payload });
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("The demo's listener lost the broker: {error}");
                return;
            }
        }
    }
}

impl Shared {
    fn hear(&self, message: Message) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if message.topic.ends_with("/event") {
            if heard.events.len() == EVENTS_MAX {
                heard.events.remove(0);
            }
            heard.events.push(message);
        } else {
            heard.states.insert(message.topic.clone(), message);
        }
        drop(heard);
        self.changed.notify_all();
    }
}
