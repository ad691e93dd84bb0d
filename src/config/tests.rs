use std::time::Duration;

use super::*;

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.json");
    std::fs::write(&path, file).unwrap();
    let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let sources = Sources {
        file: Some(path),
        addon_options: None,
        environment: environment.collect(),
        supervisor_token: None,
    };
    Settings::load(&sources, "Living-Room.local")
}

fn message(result: Result<Settings, ConfigError>) -> String {
    result.expect_err("was accepted").to_string()
}

#[test]
fn without_any_option_the_defaults_hold() {
    let settings = load("{}", &[]).unwrap();
    assert_eq!(settings.node, "living-roomlocal");
    assert_eq!(settings.base_topic, "bondkeeper");
    assert_eq!((settings.mqtt.host.as_deref(), settings.mqtt.port), (Some("localhost"), 1883));
    assert_eq!(settings.store.quiet, Duration::from_millis(50));
    assert_eq!(settings.store.ceiling, Duration::from_millis(250));
    assert_eq!(settings.adapters.default_mode, Mode::Auto);
    assert_eq!(settings.commands, Commands::All);
    assert_eq!(settings.mgmt_endpoint, EndpointSetting::Kernel);
}

#[test]
fn the_environment_wins_over_the_options_file_and_that_over_the_named_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, options) = (folder.path().join("a.json"), folder.path().join("b.json"));
    std::fs::write(&file, r#"{"mqtt":{"host":"one","port":1,"username":"u"}}"#).unwrap();
    std::fs::write(&options, r#"{"mqtt":{"host":"two","port":2}}"#).unwrap();
    let environment = vec![("BONDKEEPER__MQTT__HOST".to_owned(), "three".to_owned())];
    let sources =
        Sources { file: Some(file), addon_options: Some(options), environment, supervisor_token: None };
    let mqtt = Settings::load(&sources, "h").unwrap().mqtt;
    assert_eq!((mqtt.host.as_deref(), mqtt.port, mqtt.username.as_deref()), (Some("three"), 2, Some("u")));
}

#[test]
fn an_options_file_that_is_not_there_is_no_error_but_a_named_file_is() {
    let sources = Sources { addon_options: Some(PathBuf::from("/nonexistent/o.json")), ..Sources::default() };
    assert!(Settings::load(&sources, "h").is_ok());
    let sources = Sources { file: Some(PathBuf::from("/nonexistent/o.json")), ..Sources::default() };
    assert!(message(Settings::load(&sources, "h")).contains("/nonexistent/o.json"));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_keys_beside_it() {
    let text = message(load(r#"{"mqtt":{"hots":"x"}}"#, &[]));
    assert!(
        text.contains("settings.json") && text.contains("mqtt.hots") && text.contains("mqtt.host"),
        "{text}"
    );
    let text = message(load("{}", &[("BONDKEEPER__LOGLEVEL", "info")]));
    assert!(text.contains("BONDKEEPER__LOGLEVEL") && text.contains("loglevel"), "{text}");
}

#[test]
fn a_value_out_of_range_names_the_key_and_the_range() {
    for (file, key) in [
        (r#"{"mqtt":{"port":0}}"#, "mqtt.port"),
        (r#"{"mqtt":{"port":65536}}"#, "mqtt.port"),
        (r#"{"mqtt":{"port":1.5}}"#, "mqtt.port"),
        (r#"{"store":{"quiet_ms":-1}}"#, "store.quiet_ms"),
        (r#"{"store":{"quiet_ms":300}}"#, "store.quiet_ms"),
        (r#"{"discovery":"maybe"}"#, "discovery"),
        (r#"{"log_level":"loud"}"#, "log_level"),
        (r#"{"base_topic":"a/b"}"#, "base_topic"),
        (r#"{"node":"fleet"}"#, "node"),
        (r#"{"adapters":{"hci0":{"mode":"own"}}}"#, "adapters.hci0"),
        (r#"{"adapters":{"00:00:00:00:00:00":{"mode":"own"}}}"#, "adapters.00:00:00:00:00:00"),
        (r#"{"clear_exports":"yes"}"#, "clear_exports"),
        (r#"{"export_passphrase":"elevenchars"}"#, "export_passphrase"),
        (r#"{"store":{"seal_passphrase":"elevenchars"}}"#, "store.seal_passphrase"),
        (r#"{"store":{"seal":true}}"#, "store.seal_passphrase_file"),
        (
            r#"{"store":{"seal_passphrase":"twelve chars","seal_passphrase_file":"/x"}}"#,
            "store.seal_passphrase",
        ),
        (
            r#"{"automatic_copies":"clear","store":{"seal_passphrase":"twelve chars"}}"#,
            "automatic_copies is clear, which would write the keys in clear text beside a sealed store",
        ),
        (r#"{"automatic_copies":"often"}"#, "automatic_copies"),
        (r#"{"automatic_copies":"clear","clear_exports":false}"#, "automatic_copies"),
        (r#"{"adapter_modes":{"00:1A:7D:DA:71:11":"own"}}"#, "adapter_modes"),
        (r#"{"adapter_modes":[{"address":"hci0","mode":"own"}]}"#, "adapter_modes[0].address"),
        (r#"{"adapter_modes":[{"address":"00:1A:7D:DA:71:11","mode":"on"}]}"#, "adapter_modes[0].mode"),
        (r#"{"adapter_modes":[{"address":"00:1A:7D:DA:71:11"}]}"#, "adapter_modes[0]"),
        (
            r#"{"adapter_modes":[{"address":"00:1A:7D:DA:71:11","mode":"own"},{"address":"00:1a:7d:da:71:11","mode":"auto"}]}"#,
            "adapter_modes[1].address",
        ),
        (r#"{"mqtt":{"cert_file":"x","tls":true}}"#, "mqtt.cert_file"),
    ] {
        let text = message(load(file, &[]));
        assert!(text.contains(key), "{file}: {text}");
    }
}

#[test]
fn a_passphrase_seals_the_store_unless_that_is_switched_off_and_is_never_printed() {
    let of = |file: &str| load(file, &[]).unwrap().store;
    assert!(!of("{}").seal);
    assert!(of(r#"{"store":{"seal_passphrase_file":"/x"}}"#).seal);
    let off = of(r#"{"store":{"seal_passphrase_file":"/x","seal":false}}"#);
    assert_eq!((off.seal, off.seal_passphrase), (false, Some(SealPassphrase::InFile(PathBuf::from("/x")))));
    let environment = [("BONDKEEPER__STORE__SEAL_PASSPHRASE", "kumquat ballast")];
    let settings = load("{}", &environment).unwrap();
    assert!(settings.store.seal);
    assert!(!format!("{settings:?}").contains("kumquat"));
    assert!(!settings.to_public_json().to_string().contains("kumquat"));
    assert_eq!(settings.to_public_json()["store"]["seal"], true);
    let refused = load(r#"{"store":{"seal_passphrase":"kumquat"}}"#, &[]);
    assert!(!message(refused).contains("kumquat"));
}

#[test]
fn a_password_of_digits_stays_text_and_is_never_printed() {
    let environment = [
        ("BONDKEEPER__MQTT__USERNAME", "u"),
        ("BONDKEEPER__MQTT__PASSWORD", "0123"),
        ("BONDKEEPER__MQTT__PORT", "99"),
    ];
    let settings = load("{}", &environment).unwrap();
    assert_eq!(settings.mqtt.password.as_ref().unwrap().expose(), "0123");
    assert_eq!(settings.mqtt.port, 99);
    assert!(!format!("{settings:?}").contains("0123"));
}

#[test]
fn an_adapter_is_named_by_address_in_a_file_and_with_underscores_in_the_environment() {
    let file = r#"{"adapters":{"default_mode":"observe","00:1a:7d:da:71:11":{"mode":"own"}}}"#;
    let environment = [("BONDKEEPER__ADAPTERS__00_1A_7D_DA_71_12__MODE", "auto")];
    let adapters = load(file, &environment).unwrap().adapters;
    assert_eq!(adapters.default_mode, Mode::Observe);
    assert_eq!(adapters.modes.get(&"00:1A:7D:DA:71:11".parse().unwrap()), Some(&Mode::Own));
    assert_eq!(adapters.modes.get(&"00:1A:7D:DA:71:12".parse().unwrap()), Some(&Mode::Auto));
}

#[test]
fn the_endpoint_can_only_be_set_in_the_environment() {
    let text = message(load(r#"{"mgmt":{"endpoint":"unix:/tmp/x"}}"#, &[]));
    assert!(text.contains("mgmt.endpoint") && text.contains("environment"), "{text}");
    let settings = load("{}", &[("BONDKEEPER__MGMT__ENDPOINT", "unix:/tmp/x")]).unwrap();
    assert_eq!(settings.mgmt_endpoint, EndpointSetting::Simulated(PathBuf::from("/tmp/x")));
}

#[test]
fn what_is_published_of_the_options_holds_no_secret() {
    let environment = [("BONDKEEPER__MQTT__USERNAME", "person"), ("BONDKEEPER__MQTT__PASSWORD", "hunter2")];
    let text = load("{}", &environment).unwrap().to_public_json().to_string();
    assert!(text.contains("localhost") && !text.contains("hunter2") && !text.contains("person"), "{text}");
}

/// As the Supervisor runs us: its token, and the options file that it writes.
fn load_supervised(options: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("options.json");
    std::fs::write(&path, options).unwrap();
    let environment = environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let sources = Sources {
        addon_options: Some(path),
        environment: environment.collect(),
        supervisor_token: Some("t0ken".to_owned()),
        ..Sources::default()
    };
    Settings::load(&sources, "h")
}

#[test]
fn an_empty_host_leaves_the_broker_to_the_supervisor_and_a_set_one_counts() {
    let settings = load_supervised(r#"{"mqtt":{"host":""}}"#, &[]).unwrap();
    assert_eq!(settings.mqtt.host, None);
    assert_eq!(settings.supervisor.as_ref().unwrap().url, "http://supervisor");
    assert!(!format!("{settings:?}").contains("t0ken"));
    let settings = load_supervised(r#"{"mqtt":{"host":"broker.lan"}}"#, &[]).unwrap();
    assert_eq!(settings.mqtt.host.as_deref(), Some("broker.lan"));
}

#[test]
fn what_an_empty_host_would_leave_unused_is_named() {
    for (options, key) in [
        (r#"{"mqtt":{"port":1884}}"#, "mqtt.port"),
        (r#"{"mqtt":{"username":"u","password":"p"}}"#, "mqtt.username"),
        (r#"{"mqtt":{"tls":true}}"#, "mqtt.tls"),
    ] {
        let text = message(load_supervised(options, &[]));
        assert!(text.contains(key) && text.contains("mqtt.host"), "{options}: {text}");
    }
    // Only the certificates: the Supervisor may announce a broker that speaks TLS.
    load_supervised(r#"{"mqtt":{"ca_file":"/share/bondkeeper/ca.pem","tls":false}}"#, &[]).unwrap();
}

#[test]
fn without_a_token_there_is_no_supervisor() {
    assert!(load("{}", &[]).unwrap().supervisor.is_none());
    let sources = Sources { supervisor_token: Some(String::new()), ..Sources::default() };
    assert!(Settings::load(&sources, "h").unwrap().supervisor.is_none());
}

#[test]
fn adapters_of_the_options_page_are_a_list_and_the_environment_wins() {
    let options = r#"{"adapters":{"default_mode":"observe"},"adapter_modes":[
        {"address":"00:1a:7d:da:71:11","mode":"own"},{"address":"00:1A:7D:DA:71:12","mode":"own"}]}"#;
    let environment = [("BONDKEEPER__ADAPTERS__00_1A_7D_DA_71_12__MODE", "auto")];
    let adapters = load_supervised(options, &environment).unwrap().adapters;
    assert_eq!(adapters.default_mode, Mode::Observe);
    assert_eq!(adapters.modes.get(&"00:1A:7D:DA:71:11".parse().unwrap()), Some(&Mode::Own));
    assert_eq!(adapters.modes.get(&"00:1A:7D:DA:71:12".parse().unwrap()), Some(&Mode::Auto));
}
