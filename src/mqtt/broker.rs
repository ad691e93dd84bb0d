//! Which broker, and how we present ourselves to it.

use std::fmt;
use std::future::Future;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::{NetworkOptions, Transport};
use zeroize::Zeroizing;

use super::tls::{TlsError, TlsFiles, client_config};
use super::topics::Topics;
use crate::api::answers::to_octets;
use crate::api::bridge::BridgeStateDto;
use crate::api::limits::RESTORE_OCTETS_MAX;

/// Octets of the largest packet that we take. The broker is told and keeps larger ones from us:
/// without that, one would break the connection each time it is delivered. The room above the
/// largest body lets us answer `too_large` to what is only a little over.
pub const PACKET_OCTETS_MAX: u32 = RESTORE_OCTETS_MAX as u32 + 64 * 1024;

/// How long the name look-up, the connection and the greeting may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages of ours that may be unacknowledged, as the client library counts them. It keeps a slot
/// for each; left alone it would take 65,535 of them, some ten megabytes.
pub(super) const LIBRARY_WINDOW: u16 = 32;

/// A broker.
#[derive(Clone)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub credentials: Option<Credentials>,
    pub tls: Option<TlsFiles>,
}

/// A name and a password. The password is never shown.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: Zeroizing<String>,
}

/// Asked before each attempt to connect: the Supervisor makes a new password when the broker's
/// add-on is installed again. The error is one sentence for the log.
pub type BrokerSource = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Broker, String>>>>>;

/// The same broker each time.
pub fn fixed(broker: Broker) -> BrokerSource {
    Rc::new(move || {
        let broker = broker.clone();
        Box::pin(async move { Ok(broker) })
    })
}

/// Why a broker cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("TLS needs the broker's name: its certificate cannot be checked against an IPv6 address")]
    TlsToIpv6,
    #[error("TLS to the broker cannot be set up")]
    Tls(#[from] TlsError),
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}:{}", socket_host(&self.host), self.port)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An IPv6 address needs brackets where a port follows.
fn socket_host(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// The options of one connection: clean start, no session that outlives it, and a will that says
/// `offline`.
pub(super) fn connect_options(
    broker: &Broker,
    topics: &Topics,
    keep_alive: Duration,
) -> Result<MqttOptions, BrokerError> {
    let mut options = MqttOptions::new(topics.client_id(), socket_host(&broker.host), broker.port);
    if let Some(files) = &broker.tls {
        if broker.host.parse::<Ipv6Addr>().is_ok() {
            return Err(BrokerError::TlsToIpv6);
        }
        options.set_transport(Transport::tls_with_config(client_config(files)?.into()));
    }
    if let Some(credentials) = &broker.credentials {
        options.set_credentials(credentials.username.as_str(), credentials.password.as_str());
    }
    let offline = to_octets(&BridgeStateDto::OFFLINE);
    let mut network = NetworkOptions::new();
    // Answers are small and awaited: they must not wait for more to send.
    network.set_tcp_nodelay(true);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(0);
    properties.max_packet_size = Some(PACKET_OCTETS_MAX);
    options
        .set_network_options(network)
        .set_keep_alive(keep_alive)
        .set_clean_start(true)
        .set_connect_properties(properties)
        .set_connection_timeout(CONNECT_TIMEOUT.as_secs())
        .set_outgoing_inflight_upper_limit(LIBRARY_WINDOW)
        .set_last_will(LastWill::new(topics.bridge_state(), offline, QoS::AtLeastOnce, true, None));
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(host: &str, tls: bool) -> Broker {
        let credentials =
            Credentials { username: "addons".to_owned(), password: Zeroizing::new("5ec2e7".to_owned()) };
        let tls = tls.then(TlsFiles::default);
        Broker { host: host.to_owned(), port: 1883, credentials: Some(credentials), tls }
    }

    fn options(broker: &Broker) -> Result<MqttOptions, BrokerError> {
        let topics = Topics::new("home/bondkeeper", "attic").unwrap();
        connect_options(broker, &topics, Duration::from_secs(30))
    }

    #[test]
    fn a_broker_is_shown_without_its_credentials() {
        let shown = format!("{:?} {}", broker("core-mosquitto", false), broker("::1", true));
        assert_eq!(shown, "mqtt://core-mosquitto:1883 mqtts://[::1]:1883");
    }

    #[test]
    fn a_connection_starts_clean_and_leaves_no_session() {
        let options = options(&broker("core-mosquitto", false)).unwrap();
        assert!(options.clean_start());
        assert_eq!(options.session_expiry_interval(), Some(0));
        assert_eq!(options.max_packet_size(), Some(PACKET_OCTETS_MAX));
        assert_eq!(options.client_id(), "home-bondkeeper-attic");
        let will = options.last_will().unwrap();
        assert_eq!((&will.topic[..], will.retain), (&b"home/bondkeeper/attic/bridge/state"[..], true));
        assert_eq!(&will.message[..], br#"{"state":"offline"}"#);
    }

    #[test]
    fn an_ipv6_address_gets_its_brackets_and_no_tls() {
        assert_eq!(options(&broker("::1", false)).unwrap().broker_address().0, "[::1]");
        assert!(matches!(options(&broker("::1", true)), Err(BrokerError::TlsToIpv6)));
    }
}
