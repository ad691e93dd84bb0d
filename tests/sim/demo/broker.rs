//! An MQTT broker inside this process, on loopback ports that are free.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// For the broker to listen.
const START_LIMIT: Duration = Duration::from_secs(10);
/// More than any message of the service.
const PAYLOAD_OCTETS_MAX: usize = 1024 * 1024;

/// Where the broker listens. It speaks the two versions of MQTT at two ports.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// For the service.
    pub v5_port: u16,
    /// For people: what most tools speak unless told otherwise.
    pub v4_port: u16,
}

pub fn start() -> Result<Ports, String> {
    let ports = Ports { v5_port: free_port()?, v4_port: free_port()? };
    let router = RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 1000,
        max_segment_size: 10 * PAYLOAD_OCTETS_MAX,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let config = Config {
        router,
        v5: Some(server("v5", ports.v5_port)),
        v4: Some(server("v4", ports.v4_port)),
        ..Config::default()
    };
    // It ends with the process: the broker has no other way.
    thread::Builder::new()
        .name("broker".to_owned())
        .spawn(move || {
            if let Err(error) = Broker::new(config).start() {
                eprintln!("The broker ended: {error}");
            }
        })
        .map_err(|e| format!("starting the broker: {e}"))?;
    for port in [ports.v5_port, ports.v4_port] {
        await_listening(port)?;
    }
    Ok(ports)
}

fn server(name: &str, port: u16) -> HashMap<String, ServerSettings> {
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: PAYLOAD_OCTETS_MAX,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let settings = ServerSettings {
        name: name.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    HashMap::from([(name.to_owned(), settings)])
}

/// A port that was free a moment ago; the broker cannot choose one itself.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|e| format!("looking for a free port: {e}"))
}

fn await_listening(port: u16) -> Result<(), String> {
    let end = Instant::now() + START_LIMIT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() >= end {
            return Err(format!("the broker does not listen at port {port}"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
