//! An MQTT client that hears everything, remembers all of it in order, and waits for
//! what a test expects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, RetainForwardRule};
use rumqttc::v5::{Client, Event, Incoming, MqttOptions};
use serde_json::Value;

/// Longest wait for anything. A guest without hardware virtualisation is slow.
pub const LIMIT: Duration = Duration::from_secs(40);

/// One message, as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retained: bool,
    /// What the test's own clock showed when it came; see [`Observer::stamp_with`].
    pub at: u64,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }
}

#[derive(Default)]
struct Memory {
    heard: Vec<Heard>,
    /// Latest payload of every topic; an empty one clears it.
    latest: BTreeMap<String, Value>,
    connect_count: u32,
    clock: Option<Box<dyn Fn() -> u64 + Send>>,
}

pub struct Observer {
    client: Client,
    memory: Arc<(Mutex<Memory>, Condvar)>,
    transaction: std::cell::Cell<u64>,
    over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Observer {
    pub fn connect(port: u16) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut options =
            MqttOptions::new(format!("observer-{}-{number}", std::process::id()), "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(16 * 1024 * 1024));
        let (client, mut connection) = Client::new(options, 10_000);
        let memory: Arc<(Mutex<Memory>, Condvar)> = Arc::default();
        let (subscriber, remembered) = (client.clone(), Arc::clone(&memory));
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let listener = std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    // What follows a disconnect is a new connection, for ever.
                    _ if ended.load(Ordering::Acquire) => return,
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        let mut filter = Filter::new("#", QoS::AtLeastOnce);
                        // Live messages that are published as retained stay recognisable.
                        filter.preserve_retain = true;
                        filter.retain_forward_rule = RetainForwardRule::OnEverySubscribe;
                        let _ = subscriber.try_subscribe_many([filter]);
                        let mut memory = remembered.0.lock().unwrap();
                        memory.latest.clear();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        remembered.0.lock().unwrap().connect_count += 1;
                        remembered.1.notify_all();
                    }
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        let (payload, retained) = (publish.payload.to_vec(), publish.retain);
                        remembered.0.lock().unwrap().remember(Heard { topic, payload, retained, at: 0 });
                        remembered.1.notify_all();
                    }
                    Ok(_) => {}
                    // The broker was killed by the test: come back.
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                }
            }
        });
        let transaction = std::cell::Cell::new(0);
        let observer = Self { client, memory, transaction, over, listener: Some(listener) };
        observer.wait_for("the observer to subscribe", |_, _, connects| (connects > 0).then_some(()));
        observer
    }

    /// From now on every message is stamped with what this gives at the moment it comes.
    pub fn stamp_with(&self, clock: impl Fn() -> u64 + Send + 'static) {
        self.memory.0.lock().unwrap().clock = Some(Box::new(clock));
    }

    /// Waits until `look` finds something in (all messages, latest by topic, times connected).
    pub fn wait_for<T>(
        &self,
        what: &str,
        look: impl Fn(&[Heard], &BTreeMap<String, Value>, u32) -> Option<T>,
    ) -> T {
        let (lock, changed) = &*self.memory;
        let until = Instant::now() + LIMIT;
        let mut memory = lock.lock().unwrap();
        loop {
            if let Some(found) = look(&memory.heard, &memory.latest, memory.connect_count) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let tail: Vec<String> = memory
                    .heard
                    .iter()
                    .rev()
                    .take(15)
                    .map(|heard| format!("{} {}", heard.topic, String::from_utf8_lossy(&heard.payload)))
                    .collect();
                panic!(
                    "waited {LIMIT:?} for {what}; the latest messages, newest first:\n{}",
                    tail.join("\n")
                );
            }
            memory = changed.wait_timeout(memory, left).unwrap().0;
        }
    }

    /// The topic's latest payload, once `accept` holds for it.
    pub fn wait_latest(&self, what: &str, suffix: &str, accept: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, |_, latest, _| {
            let found = latest.iter().find(|(topic, _)| topic.ends_with(suffix));
            found.map(|(_, value)| value).filter(|value| accept(value)).cloned()
        })
    }

    /// Like [`wait_latest`](Self::wait_latest), but only what has come since message number `since` counts: what
    /// was retained before a restart may say the same.
    pub fn wait_latest_since(
        &self,
        what: &str,
        suffix: &str,
        since: usize,
        accept: impl Fn(&Value) -> bool,
    ) -> Value {
        self.wait_for(what, |heard, _, _| {
            let since = since.min(heard.len());
            let latest = heard[since..].iter().rev().find(|heard| heard.topic.ends_with(suffix));
            latest.map(Heard::json).filter(|value| accept(value))
        })
    }

    /// Events of an adapter, in order, since message number `since`.
    pub fn events(&self, since: usize) -> Vec<Value> {
        let memory = self.memory.0.lock().unwrap();
        let events = memory.heard[since.min(memory.heard.len())..].iter();
        events
            .filter(|heard| heard.topic.contains("/adapter/") && heard.topic.ends_with("/event"))
            .map(Heard::json)
            .collect()
    }

    /// Waits for an event of this type since message number `since`.
    pub fn wait_event(&self, event_type: &str, since: usize) -> Value {
        self.wait_for(&format!("the event {event_type}"), |heard, _, _| {
            heard[since.min(heard.len())..]
                .iter()
                .filter(|heard| heard.topic.contains("/adapter/") && heard.topic.ends_with("/event"))
                .map(Heard::json)
                .find(|event| event["event_type"] == event_type)
        })
    }

    /// How many messages have come so far: a mark for "since".
    pub fn mark(&self) -> usize {
        self.memory.0.lock().unwrap().heard.len()
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.memory.0.lock().unwrap().heard.clone()
    }

    pub fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload.to_vec()).unwrap();
    }

    /// Asks and waits for the answer with the same transaction.
    pub fn request(&self, root: &str, verb: &str, mut request: Value) -> Value {
        let transaction = format!("t{}", self.transaction.get());
        self.transaction.set(self.transaction.get() + 1);
        request["transaction"] = Value::String(transaction.clone());
        let since = self.mark();
        self.publish(&format!("{root}/bridge/request/{verb}"), request.to_string().as_bytes(), false);
        let topic = format!("{root}/bridge/response/{verb}");
        self.wait_for(&format!("the answer to {verb}"), |heard, _, _| {
            let answers = heard[since.min(heard.len())..].iter().filter(|heard| heard.topic == topic);
            answers.map(Heard::json).find(|answer| answer["transaction"] == transaction.as_str())
        })
    }

    /// Asks, and the answer must be `ok`; its data.
    pub fn ask(&self, root: &str, verb: &str, request: Value) -> Value {
        let answer = self.request(root, verb, request);
        assert_eq!(answer["status"], "ok", "{verb}: {answer}");
        answer["data"].clone()
    }

    /// Asks, and the answer must be this error; its message.
    pub fn refused(&self, root: &str, verb: &str, request: Value, code: &str) -> String {
        let answer = self.request(root, verb, request);
        assert_eq!(answer["error"]["code"], code, "{verb}: {answer}");
        answer["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Memory {
    fn remember(&mut self, mut heard: Heard) {
        heard.at = self.clock.as_ref().map_or(0, |clock| clock());
        if heard.payload.is_empty() {
            self.latest.remove(&heard.topic);
        } else {
            self.latest.insert(heard.topic.clone(), heard.json());
        }
        self.heard.push(heard);
    }
}

impl Drop for Observer {
    /// Ends its thread: a guest has no memory for the observer of every test before.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = self.client.disconnect();
        if let Some(listener) = self.listener.take() {
            // A listener that panicked has said so on standard error.
            let _ = listener.join();
        }
    }
}
