//! Which broker to use: that of the options, or the one that the Supervisor announces.

use std::rc::Rc;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::{MqttSettings, Settings, SupervisorSettings};
use crate::mqtt::broker::{Broker, BrokerSource, Credentials, fixed};
use crate::mqtt::tls::{ClientFiles, TlsError, TlsFiles, client_config};
use crate::supervisor::{MqttService, Supervisor};

/// MQTT's own, should the Supervisor leave it out.
const PORT: u16 = 1883;

/// The source that is asked before each attempt to connect.
pub fn source(settings: &Settings) -> Result<BrokerSource, TlsError> {
    let mqtt = &settings.mqtt;
    match (&mqtt.host, &settings.supervisor) {
        (None, Some(supervisor)) => Ok(announced(supervisor, mqtt)),
        (host, _) => of_options(host.as_deref().unwrap_or("localhost"), mqtt),
    }
}

fn of_options(host: &str, mqtt: &MqttSettings) -> Result<BrokerSource, TlsError> {
    let tls = mqtt.tls.then(|| tls_files(mqtt));
    // Once here, so that a wrong file stops the start instead of every connection.
    if let Some(files) = &tls {
        client_config(files)?;
    }
    let credentials = mqtt.username.as_ref().map(|username| Credentials {
        username: username.clone(),
        password: Zeroizing::new(
            mqtt.password.as_ref().map_or(String::new(), |password| password.expose().to_owned()),
        ),
    });
    Ok(fixed(Broker { host: host.to_owned(), port: mqtt.port, credentials, tls }))
}

fn tls_files(mqtt: &MqttSettings) -> TlsFiles {
    let client = match (&mqtt.cert_file, &mqtt.key_file) {
        (Some(certificate), Some(key)) => {
            Some(ClientFiles { certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    TlsFiles { authorities: mqtt.ca_file.clone(), client }
}

/// Asked anew each time: the broker's add-on may come later than we, and has a new password after it was installed
/// again. What goes wrong is one sentence; the connection is tried again.
fn announced(settings: &SupervisorSettings, mqtt: &MqttSettings) -> BrokerSource {
    let supervisor = Arc::new(Supervisor::new(&settings.url, settings.token.expose()));
    let authorities = mqtt.ca_file.clone();
    Rc::new(move || {
        let (supervisor, authorities) = (supervisor.clone(), authorities.clone());
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || supervisor.mqtt_service()).await;
            let service =
                asked.map_err(|error| error.to_string())?.map_err(|error| crate::cli::chain(&error))?;
            Ok(broker(service, TlsFiles { authorities, client: None }))
        })
    })
}

fn broker(service: MqttService, files: TlsFiles) -> Broker {
    let MqttService { host, port, username, password, ssl } = service;
    let credentials =
        username.map(|username| Credentials { username, password: password.unwrap_or_default() });
    Broker { host, port: port.unwrap_or(PORT), credentials, tls: ssl.then_some(files) }
}
