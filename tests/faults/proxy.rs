//! A wire between the service and the broker that can be blocked, slowed and cut on one side, and that writes down
//! which messages of the service the broker has acknowledged.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What becomes of what is sent over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Pass,
    /// A black hole: taken, and never delivered, in either direction. New connections are accepted and stay silent.
    Swallow,
    /// So many octets a second are taken from the service.
    Slow(usize),
}

/// A message of the service that the broker has.
#[derive(Debug, Clone)]
pub struct Published {
    pub topic: String,
    pub payload: Vec<u8>,
}

struct Shared {
    broker: u16,
    manner: Mutex<Manner>,
    /// Connections so far, open or not.
    links: Mutex<Vec<Link>>,
    acknowledged: Mutex<Vec<Published>>,
}

struct Link {
    service: TcpStream,
    /// None in a black hole.
    broker: Option<TcpStream>,
    /// One side is not told of the other's end.
    is_cut: Arc<AtomicBool>,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            broker,
            manner: Mutex::new(Manner::Pass),
            links: Mutex::default(),
            acknowledged: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for service in listener.incoming().flatten() {
                accepting.serve(service);
            }
        });
        Self { port, shared }
    }

    /// From now on; what was swallowed stays lost, so a connection that lost something never passes again.
    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// The broker's side is closed, as by a broker that went away; the service is told nothing.
    pub fn half_open(&self) {
        for link in self.shared.links.lock().unwrap().iter() {
            link.is_cut.store(true, Ordering::SeqCst);
            let _ = link.broker.as_ref().map(|broker| broker.shutdown(Shutdown::Both));
        }
    }

    /// The service is told that nothing more comes; what it sends is still taken.
    pub fn end_of_input(&self) {
        for link in self.shared.links.lock().unwrap().iter() {
            let _ = link.service.shutdown(Shutdown::Write);
        }
    }

    /// Connections that the service has made so far.
    pub fn connections(&self) -> usize {
        self.shared.links.lock().unwrap().len()
    }

    /// What the broker has acknowledged so far, in that order.
    pub fn acknowledged(&self) -> Vec<Published> {
        self.shared.acknowledged.lock().unwrap().clone()
    }
}

impl Shared {
    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }

    fn serve(self: &Arc<Self>, service: TcpStream) {
        if self.manner() == Manner::Swallow {
            // Held open, read by nobody.
            let is_cut = Arc::default();
            self.links.lock().unwrap().push(Link { service, broker: None, is_cut });
            return;
        }
        // The broker is down: so is the service's connection.
        let Ok(broker) = TcpStream::connect(("127.0.0.1", self.broker)) else { return };
        let _ = (service.set_nodelay(true), broker.set_nodelay(true));
        let is_cut = Arc::new(AtomicBool::new(false));
        let link = Link {
            service: service.try_clone().unwrap(),
            broker: Some(broker.try_clone().unwrap()),
            is_cut: Arc::clone(&is_cut),
        };
        self.links.lock().unwrap().push(link);
        let unacknowledged = Arc::new(Mutex::new(VecDeque::new()));
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        let sent = Arc::clone(&unacknowledged);
        let ends = (service.try_clone().unwrap(), broker.try_clone().unwrap());
        let cut = Arc::clone(&is_cut);
        std::thread::spawn(move || {
            up.pump(ends.0, ends.1, true, &cut, |kind, body| note_publish(kind, body, &sent));
        });
        std::thread::spawn(move || {
            let heard = Arc::clone(&down);
            let note = |kind: u8, body: &[u8]| heard.note_acknowledgement(kind, body, &unacknowledged);
            down.pump(broker, service, false, &is_cut, note);
        });
    }

    /// Until either side ends. A side that is told of the end is told by closing; one in a half-open connection is not.
    fn pump(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        is_from_service: bool,
        is_cut: &AtomicBool,
        mut note: impl FnMut(u8, &[u8]),
    ) {
        const SLICES_A_SECOND: usize = 10;
        let mut packets = Packets::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut swallowed = false;
        loop {
            let room = match self.manner() {
                Manner::Slow(rate) if is_from_service => {
                    std::thread::sleep(Duration::from_secs(1) / SLICES_A_SECOND as u32);
                    (rate / SLICES_A_SECOND).max(1)
                }
                _ => buffer.len(),
            };
            let Ok(count @ 1..) = from.read(&mut buffer[..room]) else { break };
            swallowed |= self.manner() == Manner::Swallow;
            if swallowed {
                continue;
            }
            // Before it is handed on: the answer may come at once.
            packets.take(&buffer[..count], &mut note);
            if to.write_all(&buffer[..count]).is_err() {
                if is_from_service {
                    swallowed = true;
                    continue;
                }
                break;
            }
        }
        if !swallowed && !is_cut.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Write);
        }
    }

    fn note_acknowledgement(
        &self,
        kind: u8,
        body: &[u8],
        unacknowledged: &Mutex<VecDeque<(u16, Published)>>,
    ) {
        const PUBACK: u8 = 4;
        const FIRST_REFUSAL: u8 = 0x80;
        if kind >> 4 != PUBACK || body.get(2).is_some_and(|reason| *reason >= FIRST_REFUSAL) {
            return;
        }
        let pkid = u16::from_be_bytes([body[0], body[1]]);
        let mut unacknowledged = unacknowledged.lock().unwrap();
        let at = unacknowledged.iter().position(|(sent, _)| *sent == pkid).expect("it was published");
        let (_, published) = unacknowledged.remove(at).unwrap();
        self.acknowledged.lock().unwrap().push(published);
    }
}

fn note_publish(kind: u8, body: &[u8], unacknowledged: &Mutex<VecDeque<(u16, Published)>>) {
    const PUBLISH: u8 = 3;
    if kind >> 4 != PUBLISH {
        return;
    }
    assert_eq!(kind & 0x06, 0x02, "everything goes out at QoS 1");
    let (length, rest) = (usize::from(u16::from_be_bytes([body[0], body[1]])), &body[2..]);
    let (topic, rest) = rest.split_at(length);
    let pkid = u16::from_be_bytes([rest[0], rest[1]]);
    // Properties are shorter than 128 octets: at most a correlation.
    let payload = rest[3 + usize::from(rest[2])..].to_vec();
    let topic = String::from_utf8(topic.to_vec()).unwrap();
    unacknowledged.lock().unwrap().push_back((pkid, Published { topic, payload }));
}

/// Finds the packets in a stream of octets.
#[derive(Default)]
struct Packets {
    octets: Vec<u8>,
}

impl Packets {
    fn take(&mut self, octets: &[u8], note: &mut impl FnMut(u8, &[u8])) {
        self.octets.extend_from_slice(octets);
        let mut done = 0;
        while let Some((header, length)) = length(&self.octets[done..]) {
            let end = done + header + length;
            if self.octets.len() < end {
                break;
            }
            note(self.octets[done], &self.octets[done + header..end]);
            done = end;
        }
        self.octets.drain(..done);
    }
}

/// Octets of the fixed header, and of what follows. [MQTT 5 2.1.4]
fn length(packet: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (at, octet) in packet.iter().enumerate().skip(1) {
        length |= usize::from(octet & 0x7F) << (7 * (at - 1));
        if octet & 0x80 == 0 {
            return Some((at + 1, length));
        }
    }
    None
}

/// Events that the broker has, by their numbers, and the numbers that reports of lost events name.
pub struct Sequence {
    pub events: Vec<(u64, Value)>,
    pub reported: u64,
}

/// Every number from 1 to the last stands in an event or in a report of lost ones.
pub fn without_a_silent_gap(acknowledged: &[Published]) -> Sequence {
    let mut known = std::collections::BTreeSet::new();
    let mut sequence = Sequence { events: Vec::new(), reported: 0 };
    for published in acknowledged.iter().filter(|published| published.topic.ends_with("/event")) {
        let event: Value = serde_json::from_slice(&published.payload).unwrap();
        let seq = event["seq"].as_u64().unwrap();
        if event["type"] == "events_dropped" {
            let number = |key: &str| event["data"][key].as_u64().unwrap();
            known.extend(number("first_seq")..=number("last_seq"));
            sequence.reported += number("count");
        } else {
            // At least once: a repetition says the same.
            known.insert(seq);
            sequence.events.push((seq, event));
        }
    }
    let last = known.last().copied().unwrap_or_default();
    let missing: Vec<u64> = (1..=last).filter(|seq| !known.contains(seq)).collect();
    assert!(missing.is_empty(), "events {missing:?} of {last} are missing without a report");
    sequence
}

/// Waits until the proxy has seen it acknowledged.
pub fn wait_acknowledged(proxy: &Proxy, what: &str, accept: impl Fn(&Published) -> bool) {
    let until = Instant::now() + super::observer::LIMIT;
    while !proxy.acknowledged().iter().any(&accept) {
        assert!(Instant::now() < until, "the broker has not got {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
