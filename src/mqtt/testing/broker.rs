//! A scripted broker for unit tests: speaks just enough MQTT 5 at the other end of a real socket,
//! and does nothing that the test does not tell it to.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::mqtt::broker::{Broker, BrokerSource, fixed};

const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// The bit of a subscription's options. [MQTT 5 3.8.3.1]
pub(in crate::mqtt) const NO_LOCAL: u8 = 4;

/// What the client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mqtt) enum Received {
    Connect(Vec<u8>),
    Subscribe {
        pkid: u16,
        /// With their options.
        filters: Vec<(String, u8)>,
    },
    /// A subscription to what others publish, and only to that.
    Guard(Vec<String>),
    /// From one filter.
    Unsubscribe(String),
    Publish(Published),
    PubAck,
    Ping,
    Disconnect,
    /// The client closed the socket.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mqtt) struct Published {
    pub(in crate::mqtt) topic: String,
    pub(in crate::mqtt) payload: Vec<u8>,
    pub(in crate::mqtt) retain: bool,
    pub(in crate::mqtt) pkid: u16,
    pub(in crate::mqtt) correlation: Option<Vec<u8>>,
}

impl Published {
    pub(in crate::mqtt) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// Where clients connect to.
pub(in crate::mqtt) struct Listener(TcpListener);

impl Listener {
    pub(in crate::mqtt) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(in crate::mqtt) fn source(&self) -> BrokerSource {
        let port = self.0.local_addr().unwrap().port();
        fixed(Broker { host: "127.0.0.1".to_owned(), port, credentials: None, tls: None })
    }

    /// The next connection, before any greeting.
    pub(in crate::mqtt) async fn connection(&self) -> Connection {
        let (stream, _) = self.0.accept().await.unwrap();
        Connection { stream }
    }

    /// The next connection, greeted and subscribed.
    pub(in crate::mqtt) async fn accept(&self) -> Connection {
        let mut connection = self.connection().await;
        assert!(matches!(connection.receive().await, Received::Connect(_)));
        connection.send(&CONNACK).await;
        let subscription = connection.receive().await;
        connection.grant(&subscription).await;
        connection
    }
}

/// One connection.
pub(in crate::mqtt) struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub(in crate::mqtt) async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
    }

    pub(in crate::mqtt) async fn accept_connect(&mut self) {
        self.send(&CONNACK).await;
    }

    /// Grants each filter of a subscription QoS 1.
    pub(in crate::mqtt) async fn grant(&mut self, subscription: &Received) {
        let Received::Subscribe { pkid, filters } = subscription else { panic!("{subscription:?}") };
        let mut packet = vec![0x90, u8::try_from(3 + filters.len()).unwrap()];
        packet.extend(pkid.to_be_bytes());
        packet.push(0);
        packet.extend(filters.iter().map(|_| 1));
        self.send(&packet).await;
    }

    pub(in crate::mqtt) async fn answer_ping(&mut self) {
        self.send(&PINGRESP).await;
    }

    pub(in crate::mqtt) async fn acknowledge(&mut self, pkid: u16) {
        let [high, low] = pkid.to_be_bytes();
        self.send(&[0x40, 2, high, low]).await;
    }

    /// Delivers a message to the client, with the properties that are given.
    pub(in crate::mqtt) async fn deliver(
        &mut self,
        topic: &str,
        payload: &[u8],
        retain: bool,
        properties: &[u8],
    ) {
        let mut body = text(topic);
        body.push(0);
        body.push(7);
        body.extend(variable(properties.len()));
        body.extend(properties);
        body.extend(payload);
        let mut packet = vec![0x32 | u8::from(retain)];
        packet.extend(variable(body.len()));
        packet.extend(body);
        self.send(&packet).await;
    }

    /// The next publish, acknowledged; acknowledgements of what we delivered and devices that are
    /// taken away are passed over.
    pub(in crate::mqtt) async fn published(&mut self) -> Published {
        loop {
            match self.receive().await {
                Received::Publish(published) => {
                    self.acknowledge(published.pkid).await;
                    // Devices that an earlier run may have left are taken away with each start.
                    if !(published.topic.starts_with("homeassistant/") && published.payload.is_empty()) {
                        return published;
                    }
                }
                Received::PubAck | Received::Guard(_) => {}
                other => panic!("a publish was due, not {other:?}"),
            }
        }
    }

    /// Publishes up to and with the one on this topic, all acknowledged.
    pub(in crate::mqtt) async fn published_until(&mut self, topic: &str) -> Vec<Published> {
        let mut all = Vec::new();
        loop {
            let published = self.published().await;
            let last = published.topic.ends_with(topic);
            all.push(published);
            if last {
                return all;
            }
        }
    }

    /// The next packet, whatever it is.
    pub(in crate::mqtt) async fn receive(&mut self) -> Received {
        let Ok(first) = self.stream.read_u8().await else { return Received::Closed };
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let octet = self.stream.read_u8().await.unwrap();
            length |= usize::from(octet & 0x7F) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        match first >> 4 {
            1 => Received::Connect(body),
            3 => Received::Publish(published(first, &body)),
            4 => Received::PubAck,
            8 => {
                let filters = filters(&body[3 + usize::from(body[2])..], true);
                if filters.iter().all(|(_, options)| options & NO_LOCAL != 0) {
                    return Received::Guard(filters.into_iter().map(|(filter, _)| filter).collect());
                }
                Received::Subscribe { pkid: u16::from_be_bytes([body[0], body[1]]), filters }
            }
            10 => Received::Unsubscribe(filters(&body[3 + usize::from(body[2])..], false).remove(0).0),
            12 => Received::Ping,
            14 => Received::Disconnect,
            kind => panic!("a client does not send packets of kind {kind}"),
        }
    }
}

fn filters(mut rest: &[u8], with_options: bool) -> Vec<(String, u8)> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (filter, after) = rest[2..].split_at(usize::from(u16::from_be_bytes([rest[0], rest[1]])));
        let (options, after) = if with_options { (after[0], &after[1..]) } else { (0, after) };
        all.push((String::from_utf8(filter.to_vec()).unwrap(), options));
        rest = after;
    }
    all
}

fn published(first: u8, body: &[u8]) -> Published {
    assert_eq!(first & 0x06, 0x02, "everything goes out at QoS 1");
    let (length, rest) = (usize::from(u16::from_be_bytes([body[0], body[1]])), &body[2..]);
    let (topic, rest) = rest.split_at(length);
    let pkid = u16::from_be_bytes([rest[0], rest[1]]);
    let (properties_octets, rest) = (usize::from(rest[2]), &rest[3..]);
    assert!(properties_octets < 0x80, "longer than the tests know how to read");
    let (properties, payload) = rest.split_at(properties_octets);
    // Correlation data (9) is the only property that is ever sent.
    let correlation = properties.strip_prefix(&[9]).map(|rest| rest[2..].to_vec());
    Published {
        topic: String::from_utf8(topic.to_vec()).unwrap(),
        payload: payload.to_vec(),
        retain: first & 1 == 1,
        pkid,
        correlation,
    }
}

/// Response topic and correlation data as properties.
pub(in crate::mqtt) fn answer_properties(topic: &str, correlation: &[u8]) -> Vec<u8> {
    let mut properties = vec![8];
    properties.extend(text(topic));
    properties.push(9);
    properties.extend(u16::try_from(correlation.len()).unwrap().to_be_bytes());
    properties.extend(correlation);
    properties
}

fn text(text: &str) -> Vec<u8> {
    let mut octets = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    octets.extend(text.as_bytes());
    octets
}

fn variable(mut length: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        if length == 0 {
            octets.push(low);
            return octets;
        }
        octets.push(low | 0x80);
    }
}
