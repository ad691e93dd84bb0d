//! The least that an MQTT 3.1.1 client needs, on one thread and one socket, so that what is measured is
//! the service and the broker and not a client library. Panics when the broker does not do as told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const PUBLISH: u8 = 3;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    next_id: u16,
}

/// What came in.
pub enum Packet {
    Publish { topic: String, payload: Vec<u8> },
    Other,
}

impl Client {
    pub fn connect(port: u16, name: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect to the broker");
        stream.set_nodelay(true).expect("set nodelay");
        let mut client = Self { stream, buffer: Vec::new(), next_id: 1 };
        let mut body = vec![0, 4];
        body.extend_from_slice(b"MQTT");
        // Protocol level 4, clean session, keep-alive of ten minutes.
        body.extend_from_slice(&[4, 2, 2, 0x58]);
        body.extend(text(name));
        client.send(0x10, &body);
        assert!(client.next(Duration::from_secs(5)).is_some(), "no CONNACK");
        client
    }

    /// With QoS 0: what is delivered is not slowed by acknowledgements.
    pub fn subscribe(&mut self, filter: &str) {
        let mut body = self.id().to_be_bytes().to_vec();
        body.extend(text(filter));
        body.push(0);
        self.send(0x82, &body);
    }

    /// With QoS 0, as Home Assistant publishes: an acknowledgement before the answer would make the broker's
    /// answer wait for ours (Nagle's algorithm meets the delayed acknowledgement, 40 ms).
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        let mut body = text(topic);
        body.extend_from_slice(payload);
        self.send(0x30, &body);
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1).max(1);
        self.next_id
    }

    fn send(&mut self, head: u8, body: &[u8]) {
        let mut packet = vec![head];
        let mut rest = body.len();
        loop {
            let low = (rest % 128) as u8;
            rest /= 128;
            packet.push(if rest > 0 { low | 0x80 } else { low });
            if rest == 0 {
                break;
            }
        }
        packet.extend_from_slice(body);
        self.stream.write_all(&packet).expect("write to the broker");
    }

    /// The next packet within the time given.
    pub fn next(&mut self, within: Duration) -> Option<Packet> {
        let until = Instant::now() + within;
        let mut chunk = vec![0; 256 * 1024];
        loop {
            if let Some(packet) = self.take() {
                return Some(packet);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).expect("set the timeout");
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("the broker closed the connection"),
                Ok(octets) => self.buffer.extend_from_slice(&chunk[..octets]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("reading from the broker: {error}"),
            }
        }
    }

    /// The next message that `wanted` takes; others are dropped.
    pub fn wait<T>(
        &mut self,
        within: Duration,
        mut wanted: impl FnMut(&str, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + within;
        loop {
            match self.next(until.saturating_duration_since(Instant::now()))? {
                Packet::Publish { topic, payload } => {
                    if let Some(found) = wanted(&topic, &payload) {
                        return Some(found);
                    }
                }
                Packet::Other => {}
            }
        }
    }

    /// Everything that has come so far is dropped.
    pub fn drain(&mut self, quiet: Duration) {
        while self.next(quiet).is_some() {}
    }

    fn take(&mut self) -> Option<Packet> {
        let head = *self.buffer.first()?;
        let (mut length, mut at) = (0usize, 1);
        loop {
            let octet = *self.buffer.get(at)?;
            length |= usize::from(octet & 0x7F) << (7 * (at - 1));
            at += 1;
            if octet & 0x80 == 0 {
                break;
            }
        }
        let end = at + length;
        if self.buffer.len() < end {
            return None;
        }
        let body: Vec<u8> = self.buffer[at..end].to_vec();
        self.buffer.drain(..end);
        Some(match head >> 4 {
            // What an earlier service left with the broker is not about the one under measure.
            PUBLISH if head & 1 == 1 => Packet::Other,
            PUBLISH => {
                let octets = usize::from(u16::from_be_bytes([body[0], body[1]]));
                let topic = String::from_utf8_lossy(&body[2..2 + octets]).into_owned();
                let from = 2 + octets + if head & 0x06 == 0 { 0 } else { 2 };
                Packet::Publish { topic, payload: body[from..].to_vec() }
            }
            _ => Packet::Other,
        })
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut octets = u16::try_from(text.len()).expect("a topic fits 16 bits").to_be_bytes().to_vec();
    octets.extend_from_slice(text.as_bytes());
    octets
}
