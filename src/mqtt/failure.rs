//! What to tell people when there is no connection. Pure.

use std::error::Error;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};

use super::broker::Broker;

/// One sentence: what went wrong and, where there is something to be done, what. `was_up`: the
/// broker had accepted us.
pub(super) fn connection_failure(broker: &Broker, error: &ConnectionError, was_up: bool) -> String {
    let broken = |cause: String| {
        if was_up {
            format!("the connection to {broker} broke: {cause}")
        } else {
            format!("no connection to {broker}: {cause}")
        }
    };
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => format!("{broker} refuses our user name or password: check them"),
        ConnectionError::ConnectionRefused(code) => format!("{broker} refuses the connection: {code:?}"),
        ConnectionError::Timeout(_) => format!("{broker} does not answer"),
        ConnectionError::MqttState(state) => match state {
            StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
                format!(
                    "{broker} has closed the connection because another client has our name: \
                 give each instance a node name of its own"
                )
            }
            StateError::ServerDisconnect { reason_code, .. } => {
                format!("{broker} has closed the connection: {reason_code:?}")
            }
            StateError::ConnectionAborted => format!("{broker} has closed the connection{}", hint(was_up)),
            StateError::AwaitPingResp => format!("{broker} no longer answers"),
            StateError::Io(cause) | StateError::Deserialization(PacketError::Io(cause)) => {
                broken(format!("{cause}{}", hint(was_up)))
            }
            other => broken(chain(other)),
        },
        ConnectionError::Io(cause) => broken(cause.to_string()),
        other => broken(chain(other)),
    }
}

/// A broker that ends the connection before it has greeted us mostly expected another language.
const fn hint(was_up: bool) -> &'static str {
    if was_up { "" } else { " before it had greeted us: does its port expect TLS, or MQTT 5?" }
}

/// An error with its causes. A cause whose text the error repeats already is left out.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use zeroize::Zeroizing;

    use super::*;
    use crate::mqtt::broker::Credentials;

    fn broker() -> Broker {
        let credentials =
            Credentials { username: "addons".to_owned(), password: Zeroizing::new("5ec2e7".to_owned()) };
        Broker { host: "core-mosquitto".to_owned(), port: 1883, credentials: Some(credentials), tls: None }
    }

    fn reset() -> ConnectionError {
        let cause = io::Error::from(io::ErrorKind::ConnectionReset);
        ConnectionError::MqttState(StateError::Deserialization(PacketError::Io(cause)))
    }

    #[test]
    fn failures_are_told_in_words_that_help() {
        let server = |reason_code| StateError::ServerDisconnect { reason_code, reason_string: None };
        let cases = [
            (ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized), "user name or password"),
            (ConnectionError::ConnectionRefused(ConnectReturnCode::Banned), "Banned"),
            (server(DisconnectReasonCode::SessionTakenOver).into(), "node name of its own"),
            (server(DisconnectReasonCode::ServerShuttingDown).into(), "ServerShuttingDown"),
            (StateError::ConnectionAborted.into(), "expect TLS"),
            (
                reset(),
                "no connection to mqtt://core-mosquitto:1883: connection reset before it had greeted us",
            ),
            (io::Error::from(io::ErrorKind::ConnectionRefused).into(), "connection refused"),
        ];
        for (error, words) in cases {
            let told = connection_failure(&broker(), &error, false);
            assert!(told.contains(words), "{told}");
            assert!(!told.contains("5ec2e7") && !told.contains("addons"), "{told}");
        }
        let told = connection_failure(&broker(), &reset(), true);
        assert_eq!(told, "the connection to mqtt://core-mosquitto:1883 broke: connection reset");
    }
}
