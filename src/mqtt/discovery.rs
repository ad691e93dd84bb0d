//! The documents from which Home Assistant makes devices and entities. Pure.
//!
//! One device for the node and one for each adapter, each in one retained document. Home Assistant
//! refuses a whole document for one unknown key at its top, in `dev` or in `o`, so nothing stands
//! here that its version 2025.10 does not know. Must never offer an entity that forgets, unpairs or
//! replaces: a tap on a dashboard must not cost a lock its key. Driven by `birth`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::topics::Topics;
use crate::adapter::messages::{EventKind, Sync};
use crate::api::bridge::StoreDto;
use crate::api::{Commands, LogLevel};
use crate::bond::{AdapterAddress, Mode};

/// Where Home Assistant listens, unless somebody has told it otherwise.
pub(super) const PREFIX: &str = "homeassistant";

/// Where Home Assistant says that it has started; not retained.
pub(super) const BIRTH_TOPIC: &str = "homeassistant/status";

/// What it says there.
pub(super) const BIRTH_PAYLOAD: &[u8] = b"online";

/// Nobody answers Home Assistant's start sooner: it still works through what is retained.
const BIRTH_DELAY_MIN: Duration = Duration::from_secs(2);

/// Nor later. Between the two, chance keeps all the services of a house from answering at once.
const BIRTH_DELAY_MAX: Duration = Duration::from_secs(30);

/// Bonds among the attributes of an adapter's counter. With [`LISTED_NAME_CHARS`] each has at most
/// 165 octets, so that all of them stay below the 16,384 that Home Assistant's history takes.
pub(super) const LISTED_BONDS_MAX: usize = 80;

/// Characters of a peer's name there. Each may have six octets, as an escape.
pub(super) const LISTED_NAME_CHARS: usize = 24;

/// Characters of a free text among attributes, for the same reason.
pub(super) const TEXT_CHARS: usize = 500;

/// How long to wait after Home Assistant's start.
pub(super) fn birth_delay(random: u64) -> Duration {
    let span_ms = (BIRTH_DELAY_MAX - BIRTH_DELAY_MIN).as_millis() as u64;
    BIRTH_DELAY_MIN + Duration::from_millis(random % (span_ms + 1))
}

/// Topic of the node's device.
pub(super) fn node_topic(topics: &Topics) -> String {
    config_topic(&node_id(topics))
}

/// Topic of an adapter's device.
pub(super) fn adapter_topic(topics: &Topics, adapter: AdapterAddress) -> String {
    config_topic(&adapter_id(topics, adapter))
}

fn config_topic(id: &str) -> String {
    format!("{PREFIX}/device/{id}/config")
}

/// From what the broker knows us by, and as unique; reduced to what an identifier may hold.
fn node_id(topics: &Topics) -> String {
    let mut id = String::new();
    for octet in topics.client_id().bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => id.push(char::from(octet)),
            _ => id.push_str(&format!("_{octet:02x}")),
        }
    }
    id
}

/// With the node's: an adapter that has moved is known at both places.
fn adapter_id(topics: &Topics, adapter: AdapterAddress) -> String {
    let address = adapter.to_string().replace(':', "").to_lowercase();
    format!("{}-{address}", node_id(topics))
}

/// What Home Assistant proposes entities' names from: lower-case letters and digits, and single
/// underscores between them.
fn slug(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let parts: Vec<String> =
        id.split(|c| plain(c) == '_').filter(|part| !part.is_empty()).map(str::to_lowercase).collect();
    parts.join("_")
}

/// What is the same in all the documents of one service.
pub(super) struct Discovery<'a> {
    pub(super) topics: &'a Topics,
    pub(super) version: &'a str,
    pub(super) commands: Commands,
}

/// The components of one device, as they are put together.
struct Components<'a> {
    device: String,
    commands: Commands,
    topics: &'a Topics,
    all: Map<String, Value>,
}

impl Components<'_> {
    /// `id` names the component for good: entities are recognised by it.
    fn add(&mut self, id: &str, platform: &str, name: &str, keys: Value) {
        let mut component = json!({
            "p": platform,
            "name": name,
            "uniq_id": format!("{}_{id}", self.device),
            "def_ent_id": format!("{platform}.{}_{id}", slug(&self.device)),
        });
        if let (Value::Object(component), Value::Object(keys)) = (&mut component, keys) {
            component.extend(keys);
        }
        self.all.insert(id.to_owned(), component);
    }

    /// One that sends a request. Where the options allow none, what an earlier run has put is taken
    /// away: a component with nothing but its platform is removed.
    fn add_control(&mut self, id: &str, platform: &str, name: &str, verb: &str, keys: Value) {
        if self.commands != Commands::All {
            self.all.insert(id.to_owned(), json!({ "p": platform }));
            return;
        }
        self.add(id, platform, name, keys);
        if let Some(Value::Object(component)) = self.all.get_mut(id) {
            component.insert("cmd_t".to_owned(), self.topics.request(verb).into());
        }
    }
}

impl<'a> Discovery<'a> {
    /// The node's device.
    pub(super) fn node(&self) -> Value {
        let id = node_id(self.topics);
        let device = json!({
            "ids": [id],
            "name": format!("bondkeeper {}", self.topics.node()),
            "mf": "bondkeeper",
            "mdl": "Bluetooth bond keeper",
            "sw": self.version,
        });
        let mut components = self.components(id);
        self.add_node_states(&mut components);
        let checkpoint = json!({ "ent_cat": "diagnostic", "pl_prs": "{}" });
        components.add_control("checkpoint", "button", "Checkpoint", "checkpoint/create", checkpoint);
        let log_level = json!({
            "ent_cat": "config",
            "stat_t": self.topics.bridge_info(),
            "val_tpl": "{{ value_json.log_level }}",
            "ops": LogLevel::ALL.map(LogLevel::as_str),
            "cmd_tpl": r#"{"level": "{{ value }}"}"#,
        });
        components.add_control("log_level", "select", "Log level", "log_level", log_level);
        self.document(device, components, &json!([self.node_availability()]))
    }

    fn add_node_states(&self, components: &mut Components) {
        let info = self.topics.bridge_info();
        let connection = json!({
            "dev_cla": "connectivity",
            "ent_cat": "diagnostic",
            "stat_t": self.topics.bridge_state(),
            "val_tpl": "{{ value_json.state }}",
            "pl_on": "online",
            "pl_off": "offline",
            // It says that the service is away instead of being away itself.
            "avty": [],
        });
        components.add("connection", "binary_sensor", "Connection", connection);
        let store = json!({
            "dev_cla": "enum",
            "ent_cat": "diagnostic",
            "ops": StoreDto::STATES,
            "stat_t": info,
            "val_tpl": "{{ value_json.store.state }}",
            "json_attr_t": info,
            "json_attr_tpl": format!(
                "{{{{ {{'detail': (value_json.store.detail or '')[:{TEXT_CHARS}]}} | to_json }}}}"
            ),
        });
        components.add("store_state", "sensor", "Store state", store);
        let version = json!({
            "ent_cat": "diagnostic",
            "stat_t": info,
            "val_tpl": "{{ value_json.version }}",
        });
        components.add("version", "sensor", "Version", version);
    }

    /// An adapter's device.
    pub(super) fn adapter(&self, adapter: AdapterAddress) -> Value {
        let id = adapter_id(self.topics, adapter);
        let device = json!({
            "ids": [id],
            "name": format!("Bluetooth adapter {adapter}"),
            "mf": "bondkeeper",
            "mdl": "Bluetooth adapter",
            "sn": adapter.to_string(),
            "via_device": node_id(self.topics),
        });
        let state = self.topics.adapter_state(adapter);
        let mut components = self.components(id);
        self.add_bonds(&mut components, adapter, &state);
        add_adapter_states(&mut components, &state);
        add_adapter_controls(&mut components, adapter, &state);
        let present = json!({
            "t": state,
            "val_tpl": "{{ 'online' if value_json.present else 'offline' }}",
        });
        self.document(device, components, &json!([self.node_availability(), present]))
    }

    fn add_bonds(&self, components: &mut Components, adapter: AdapterAddress, state: &str) {
        let bonded = json!({
            "stat_cla": "measurement",
            "stat_t": state,
            "val_tpl": "{{ value_json.bond_count }}",
            "json_attr_t": self.topics.adapter_bonds(adapter),
            "json_attr_tpl": format!(
                "{{% set all = namespace(bonds=[]) %}}\
                 {{% for bond in value_json.bonds[:{LISTED_BONDS_MAX}] %}}\
                 {{% set all.bonds = all.bonds + \
                 [bond.peer ~ (' ' ~ bond.name[:{LISTED_NAME_CHARS}] if bond.name else '')] %}}\
                 {{% endfor %}}\
                 {{{{ {{'bonds': all.bonds, 'truncated': value_json.bond_count > {LISTED_BONDS_MAX}}} | to_json }}}}"
            ),
        });
        components.add("bonded_devices", "sensor", "Bonded devices", bonded);
        let changed = json!({
            "stat_t": self.topics.adapter_event(adapter),
            "evt_typ": EventKind::EVENT_TYPES,
        });
        components.add("bond_changed", "event", "Bond changed", changed);
    }

    fn components(&self, device: String) -> Components<'a> {
        Components { device, commands: self.commands, topics: self.topics, all: Map::new() }
    }

    fn node_availability(&self) -> Value {
        json!({ "t": self.topics.bridge_state(), "val_tpl": "{{ value_json.state }}" })
    }

    fn document(&self, device: Value, components: Components, availability: &Value) -> Value {
        json!({
            "dev": device,
            "o": { "name": "bondkeeper", "sw": self.version },
            "avty": availability,
            "avty_mode": "all",
            "qos": 1,
            "cmps": components.all,
        })
    }
}

fn add_adapter_states(components: &mut Components, state: &str) {
    let problem = json!({
        "dev_cla": "problem",
        "stat_t": state,
        // A commit that is under way is no problem; `last_error` says when one has failed.
        "val_tpl": "{{ 'ON' if value_json.sync in ['held', 'failed'] \
            or value_json.orphaned > 0 or value_json.suspect > 0 or value_json.drift.state == 'drifted' \
            or (value_json.persisted_generation < value_json.generation and value_json.last_error) \
            else 'OFF' }}",
        "json_attr_t": state,
        "json_attr_tpl": format!(
            "{{{{ {{'reason': value_json.gate.reason, \
             'message': (value_json.gate.message or '')[:{TEXT_CHARS}], \
             'advice': (value_json.gate.advice or '')[:{TEXT_CHARS}], \
             'orphaned': value_json.orphaned, 'suspect': value_json.suspect, \
             'drift': value_json.drift.state, \
             'durable': value_json.persisted_generation >= value_json.generation, \
             'last_error': (value_json.last_error or '')[:{TEXT_CHARS}]}} | to_json }}}}"
        ),
    });
    components.add("problem", "binary_sensor", "Problem", problem);
    let sync = json!({
        "dev_cla": "enum",
        "ent_cat": "diagnostic",
        "ops": Sync::ALL.map(Sync::as_str),
        "stat_t": state,
        "val_tpl": "{{ value_json.sync }}",
        "json_attr_t": state,
        "json_attr_tpl": format!(
            "{{{{ {{'own_identity': value_json.local_identity.state, \
             'privacy': value_json.local_identity.privacy, \
             'own_identity_message': (value_json.local_identity.message or '')[:{TEXT_CHARS}], \
             'own_identity_advice': (value_json.local_identity.advice or '')[:{TEXT_CHARS}], \
             'drift': value_json.drift.state, 'drift_reason': value_json.drift.reason, \
             'drift_peer_count': value_json.drift.peer_count}} | to_json }}}}"
        ),
    });
    components.add("sync", "sensor", "Sync", sync);
    let moments = [
        ("last_saved", "Last saved", "{{ value_json.last_persisted }}"),
        ("last_loaded", "Last loaded", "{{ value_json.last_loaded }}"),
    ];
    for (id, name, template) in moments {
        let moment = json!({
            "dev_cla": "timestamp",
            "ent_cat": "diagnostic",
            "stat_t": state,
            "val_tpl": template,
        });
        components.add(id, "sensor", name, moment);
    }
}

fn add_adapter_controls(components: &mut Components, adapter: AdapterAddress, state: &str) {
    let mode = json!({
        "ent_cat": "config",
        "stat_t": state,
        "val_tpl": "{{ value_json.mode }}",
        "ops": Mode::ALL.map(Mode::as_str),
        "cmd_tpl": format!(r#"{{"adapter": "{adapter}", "mode": "{{{{ value }}}}"}}"#),
    });
    components.add_control("mode", "select", "Mode", "adapter/mode", mode);
    let this = json!({ "adapter": adapter.to_string() }).to_string();
    let restore = json!({ "pl_prs": this });
    components.add_control("restore_bonds", "button", "Restore bonds", "bonds/reload", restore);
    let export = json!({ "ent_cat": "diagnostic", "pl_prs": this });
    components.add_control("export_bonds", "button", "Export bonds", "bonds/export", export);
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
