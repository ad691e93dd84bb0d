//! A broker that wants a client certificate, with certificates made on the spot.

use std::path::Path;
use std::process::{Command, Stdio};

use super::simulated_scene;

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stderr(Stdio::piped())
        .output()
        .expect("openssl could not be started: is it installed? tests/run.sh installs it");
    assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
}

/// An authority, a certificate for the broker at 127.0.0.1, and one for the client.
fn make_certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    std::fs::write(folder.join("broker.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    std::fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    for name in ["broker", "client"] {
        openssl(folder, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile {name}.ext"
            ),
        );
    }
}

#[test]
fn a_broker_that_wants_a_client_certificate_is_served() {
    let mut scene = simulated_scene();
    let folder = scene.folder.path().to_owned();
    make_certificates(&folder);
    let port = scene.broker.listen_tls(&folder);
    scene.setup.set("MQTT__TLS", "true");
    scene.setup.set("MQTT__PORT", &port.to_string());
    scene.setup.set("MQTT__CA_FILE", &folder.join("ca.pem").display().to_string());
    scene.setup.set("MQTT__CERT_FILE", &folder.join("client.pem").display().to_string());
    scene.setup.set("MQTT__KEY_FILE", &folder.join("client.key").display().to_string());
    scene.start();
    scene.ask("health_check", serde_json::json!({}));
}

#[test]
fn a_certificate_file_that_is_not_there_stops_the_start_and_is_named() {
    let mut scene = simulated_scene();
    scene.setup.set("MQTT__TLS", "true");
    scene.setup.set("MQTT__CA_FILE", "/nonexistent/ca.pem");
    let refused = scene.setup.run(&["run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("/nonexistent/ca.pem"), "{said}");
}
