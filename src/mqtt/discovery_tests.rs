//! The documents as snapshots, and Home Assistant's rules for them, stated again: one wrong key
//! costs the user the whole device, and nobody would tell us.

use std::collections::BTreeSet;

use super::*;
use crate::adapter::messages::AdapterEvent;
use crate::api::bridge::{BridgeStateDto, FormatDto};
use crate::api::{Incoming, Outcome, route};
use crate::bond::UnixMillis;
use crate::bond::testing::{peer, secure_bond};
use crate::mqtt::board::{Board, ServiceFacts};
use crate::mqtt::render;
use crate::mqtt::testing::adapter::{ADAPTER, PEER, address, described, description, state, two_bonds};
use crate::store::messages::{StoreFault, StoreState};

const AT: UnixMillis = UnixMillis(1_795_249_800_125);

/// Verbs that an entity may send: none forgets, unpairs or replaces.
const SAFE_VERBS: [&str; 5] =
    ["checkpoint/create", "log_level", "adapter/mode", "bonds/reload", "bonds/export"];

fn topics() -> Topics {
    Topics::new("bondkeeper", "attic").unwrap()
}

fn documents(commands: Commands) -> [Value; 2] {
    let topics = topics();
    let discovery = Discovery { topics: &topics, version: "1.2.3", commands };
    [discovery.node(), discovery.adapter(address(ADAPTER))]
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What stands on each topic that an entity can read.
fn published() -> Vec<(String, Value)> {
    let (topics, adapter) = (topics(), address(ADAPTER));
    let facts = ServiceFacts {
        version: "1.2.3".to_owned(),
        endpoint: "kernel",
        started_at: AT,
        config: json!({}),
        commands: Commands::All,
        log_level: LogLevel::Info,
    };
    let board =
        Board::new("attic", facts, vec![FormatDto { name: "bondkeeper", import: true, export: true }]);
    let kind = EventKind::BondAdded(described(secure_bond(PEER, 1)));
    let event = AdapterEvent { adapter, at: AT, kind, cause: "pairing" };
    vec![
        (topics.bridge_state(), json!(BridgeStateDto::ONLINE)),
        (topics.bridge_info(), json!(board.info())),
        (topics.adapter_state(adapter), json!(render::adapter_state(&state(adapter, Some(0))))),
        (topics.adapter_bonds(adapter), json!(render::bond_list(&description(adapter, &two_bonds())))),
        (topics.adapter_event(adapter), json!(render::adapter_event(&event, 1))),
    ]
}

/// Paths below `variable` that a template reads, as `a.b`.
fn paths_read(template: &str, variable: &str) -> Vec<String> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let dotted = format!("{variable}.");
    template
        .match_indices(&dotted)
        .filter(|(at, _)| !template[..*at].ends_with(is_path))
        .map(|(at, found)| template[at + found.len()..].chars().take_while(|c| is_path(*c)).collect())
        .collect()
}

fn has(document: &Value, path: &str) -> bool {
    path.split('.').try_fold(document, |value, key| value.get(key)).is_some()
}

/// Everything that Home Assistant or our own contract would not take.
struct Check<'a> {
    published: &'a [(String, Value)],
    wrong: Vec<String>,
}

impl Check<'_> {
    fn that(&mut self, holds: bool, what: &str) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    fn only(&mut self, value: &Value, allowed: &[&str], place: &str) {
        for key in keys(value) {
            self.that(allowed.contains(&key), &format!("{place}: unknown key {key}"));
        }
    }

    /// A topic that is read, with the template that reads it.
    fn reads(&mut self, owner: &Value, topic_key: &str, template_key: &str, place: &str) {
        let Some(topic) = owner[topic_key].as_str() else { return };
        let found = self.published.iter().find(|(known, _)| known == topic).map(|(_, document)| document);
        self.that(found.is_some(), &format!("{place}: nothing is published on {topic}"));
        let (Some(document), template) = (found, text(owner, template_key)) else { return };
        for path in paths_read(template, "value_json") {
            self.that(has(document, &path), &format!("{place}: {topic} has no {path}"));
        }
        for path in paths_read(template, "bond") {
            self.that(has(&document["bonds"][0], &path), &format!("{place}: a bond has no {path}"));
        }
        let open = template.matches("{{").count() + template.matches("{%").count();
        let closed = template.matches("}}").count() + template.matches("%}").count();
        self.that(open == closed, &format!("{place}: a template that does not end"));
    }

    fn availability(&mut self, list: &Value, place: &str) {
        for entry in list.as_array().into_iter().flatten() {
            self.only(entry, &["t", "val_tpl", "pl_avail", "pl_not_avail"], place);
            self.reads(entry, "t", "val_tpl", place);
        }
    }

    fn document(&mut self, document: &Value) {
        self.only(document, &["dev", "o", "cmps", "avty", "avty_mode", "qos"], "top");
        let dev = ["ids", "cns", "name", "mf", "mdl", "mdl_id", "sw", "hw", "sn", "cu", "sa", "via_device"];
        self.only(&document["dev"], &dev, "dev");
        let named = document["dev"]["ids"].as_array().is_some_and(|ids| !ids.is_empty());
        self.that(named, "dev: no ids");
        self.only(&document["o"], &["name", "sw", "url"], "o");
        self.that(!text(&document["o"], "name").is_empty(), "o: no name");
        self.that(document["avty_mode"] == "all", "top: one availability would do");
        self.that(document["qos"] == 1, "top: not QoS 1");
        self.availability(&document["avty"], "top");
        let mut ids = BTreeSet::new();
        for (id, component) in document["cmps"].as_object().into_iter().flatten() {
            self.component(id, component);
            self.that(ids.insert(text(component, "uniq_id")), &format!("{id}: uniq_id is not unique"));
        }
    }

    fn component(&mut self, id: &str, component: &Value) {
        let platform = text(component, "p");
        let own: &[&str] = match platform {
            "sensor" => &["stat_t", "val_tpl", "dev_cla", "stat_cla", "ops", "json_attr_t", "json_attr_tpl"],
            "binary_sensor" => {
                &["stat_t", "val_tpl", "dev_cla", "pl_on", "pl_off", "json_attr_t", "json_attr_tpl"]
            }
            "event" => &["stat_t", "evt_typ"],
            "button" => &["cmd_t", "pl_prs"],
            "select" => &["stat_t", "val_tpl", "cmd_t", "cmd_tpl", "ops"],
            _ => return self.wrong.push(format!("{id}: unknown platform {platform}")),
        };
        let shared = ["p", "uniq_id", "name", "def_ent_id", "ent_cat", "avty"];
        self.only(component, &[&shared[..], own].concat(), id);
        for key in ["uniq_id", "name", "def_ent_id"] {
            self.that(!text(component, key).is_empty(), &format!("{id}: no {key}"));
        }
        self.entity_id(id, platform, text(component, "def_ent_id"));
        let categories: &[&str] =
            if platform.ends_with("sensor") { &["diagnostic"] } else { &["diagnostic", "config"] };
        let category = component.get("ent_cat").is_none_or(|known| categories.iter().any(|c| known == c));
        self.that(category, &format!("{id}: a category that this platform cannot have"));
        self.availability(&component["avty"], id);
        self.reads(component, "stat_t", "val_tpl", id);
        self.reads(component, "json_attr_t", "json_attr_tpl", id);
        self.that(platform == "button" || component.get("stat_t").is_some(), &format!("{id}: no state"));
        match platform {
            "sensor" => self.sensor(id, component),
            "event" => {
                let types: Vec<&str> =
                    component["evt_typ"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                self.that(types == EventKind::EVENT_TYPES, &format!("{id}: not every event type"));
            }
            "button" => self.command(id, component, text(component, "pl_prs")),
            "select" => {
                self.that(has_options(component), &format!("{id}: nothing to choose from"));
                for option in component["ops"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let body = text(component, "cmd_tpl").replace("{{ value }}", option);
                    self.command(id, component, &body);
                }
            }
            _ => {}
        }
    }

    fn entity_id(&mut self, id: &str, platform: &str, entity: &str) {
        let good =
            entity.strip_prefix(platform).and_then(|rest| rest.strip_prefix('.')).is_some_and(|name| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                name.chars().all(plain)
                    && !name.contains("__")
                    && !name.starts_with('_')
                    && !name.ends_with('_')
            });
        self.that(good, &format!("{id}: {entity} cannot be an entity's name"));
    }

    fn sensor(&mut self, id: &str, component: &Value) {
        let class = component.get("dev_cla").and_then(Value::as_str);
        let known = [None, Some("enum"), Some("timestamp")].contains(&class);
        self.that(known, &format!("{id}: unknown class"));
        self.that(
            (class == Some("enum")) == has_options(component),
            &format!("{id}: enum and ops belong together"),
        );
        let counts = component.get("stat_cla").is_none_or(|known| known == "measurement" && class.is_none());
        self.that(counts, &format!("{id}: no measurement"));
        if class == Some("timestamp") {
            let topic = text(component, "stat_t");
            let document =
                self.published.iter().find(|(known, _)| known == topic).map(|(_, document)| document);
            for path in paths_read(text(component, "val_tpl"), "value_json") {
                let value = document.map_or(&Value::Null, |document| &document[path.as_str()]);
                let zoned = value.as_str().is_none_or(|at| at.contains('T') && at.ends_with('Z'));
                self.that(zoned && !value.is_number(), &format!("{id}: {path} is no time with a zone"));
            }
        }
    }

    /// What an entity sends must be a request that we take.
    fn command(&mut self, id: &str, component: &Value, body: &str) {
        let topics = topics();
        let verb = topics.verb(text(component, "cmd_t")).unwrap_or_default();
        self.that(SAFE_VERBS.contains(&verb), &format!("{id}: may not ask for {verb:?}"));
        let incoming = Incoming { verb, body: body.as_bytes(), retained: false };
        let taken = matches!(route(incoming, Commands::All).outcome, Outcome::Accept(_));
        self.that(taken, &format!("{id}: {verb} does not take {body}"));
    }
}

fn has_options(component: &Value) -> bool {
    component["ops"].as_array().is_some_and(|options| !options.is_empty())
}

fn wrong(document: &Value) -> Vec<String> {
    let published = published();
    let mut check = Check { published: &published, wrong: Vec::new() };
    check.document(document);
    check.wrong
}

#[test]
fn the_devices() {
    let [node, adapter] = documents(Commands::All);
    insta::assert_json_snapshot!("discovery_node", node);
    insta::assert_json_snapshot!("discovery_adapter", adapter);
}

#[test]
fn the_devices_keep_every_rule() {
    for document in documents(Commands::All) {
        assert_eq!(wrong(&document), Vec::<String>::new());
    }
}

#[test]
fn each_violation_is_noticed() {
    /// What is broken: in the node's document or the adapter's, where, and how.
    type Case = (usize, &'static str, &'static str, Value);
    let cases: [Case; 34] = [
        (0, "", "unknown", json!(1)),
        (0, "", "cdevs", json!({})),
        (0, "", "qos", json!(0)),
        (0, "", "avty_mode", json!("any")),
        (0, "/dev", "model", json!("x")),
        (0, "/dev", "ids", json!([])),
        (0, "/o", "name", Value::Null),
        (0, "/o", "maintainer", json!("x")),
        (0, "/avty/0", "t", json!("bondkeeper/attic/bridge/status")),
        (0, "/avty/0", "val_tpl", json!("{{ value_json.status }}")),
        (0, "/avty/0", "mode", json!("all")),
        (0, "/cmps/version", "uniq_id", Value::Null),
        (0, "/cmps/version", "uniq_id", json!("bondkeeper-attic_connection")),
        (0, "/cmps/version", "ent_cat", json!("config")),
        (0, "/cmps/connection", "ent_cat", json!("config")),
        (0, "/cmps/version", "p", json!("vacuum")),
        (0, "/cmps/version", "obj_id", json!("x")),
        (0, "/cmps/version", "vis", json!(true)),
        (0, "/cmps/version", "def_ent_id", json!("sensor.bondkeeper__version")),
        (0, "/cmps/version", "val_tpl", json!("{{ value_json.sw }}")),
        (0, "/cmps/version", "val_tpl", json!("{{ value_json.version }")),
        (0, "/cmps/version", "dev_cla", json!("timestamp")),
        (0, "/cmps/store_state", "ops", Value::Null),
        (0, "/cmps/store_state", "json_attr_tpl", json!("{{ value_json.store.reason }}")),
        (0, "/cmps/checkpoint", "cmd_t", json!("bondkeeper/attic/bridge/request/bonds/forget")),
        (0, "/cmps/checkpoint", "pl_prs", json!("PRESS")),
        (0, "/cmps/log_level", "cmd_tpl", json!("{\"value\": \"{{ value }}\"}")),
        (0, "/cmps/log_level", "ops", json!(["loud"])),
        (1, "/cmps/bond_changed", "evt_typ", json!(["bond_added"])),
        (1, "/cmps/bond_changed", "stat_t", json!("bondkeeper/attic/adapter/event")),
        (1, "/cmps/bonded_devices", "json_attr_tpl", json!("{{ bond.address }}")),
        (1, "/cmps/bonded_devices", "stat_cla", json!("total")),
        (1, "/cmps/last_saved", "val_tpl", json!("{{ value_json.generation }}")),
        (1, "/cmps/restore_bonds", "cmd_t", json!("bondkeeper/attic/bridge/request/bonds/restore")),
    ];
    for (document, place, key, value) in cases {
        let mut broken = documents(Commands::All)[document].clone();
        let object = broken.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
        if value.is_null() {
            object.remove(key);
        } else {
            object.insert(key.to_owned(), value.clone());
        }
        assert!(!wrong(&broken).is_empty(), "nobody noticed {place}/{key} = {value}");
    }
}

#[test]
fn every_event_that_is_published_was_announced() {
    let none = Vec::new;
    let fingerprint = crate::bond::Fingerprint::from_octets([0; 4]);
    let kinds = [
        EventKind::BondAdded(described(secure_bond(PEER, 1))),
        EventKind::BondUpdated(described(secure_bond(PEER, 1))),
        EventKind::BondRemoved { peer: peer(PEER), bredr_only: false },
        EventKind::BondsRestored { added: none(), replaced: none(), lost: none(), adopted: none() },
        EventKind::BondsLearned { peers: none() },
        EventKind::BondOrphaned(described(secure_bond(PEER, 1))),
        EventKind::BondsOrphaned { peers: none() },
        EventKind::BondSuspect(described(secure_bond(PEER, 1))),
        EventKind::BondRecovered(described(secure_bond(PEER, 1))),
        EventKind::IdentityCaptured { fingerprint, privacy: None, manager: String::new() },
        EventKind::IdentityRestored { fingerprint, privacy: None },
        EventKind::DriftFound { drift: crate::adapter::messages::Drift::default(), reloaded: false },
        EventKind::AdapterLoaded { ltk_count: 0, irk_count: 0, link_key_count: 0 },
        EventKind::AdapterHeld { reason: String::new(), advice: String::new() },
    ];
    for kind in &kinds {
        // A kind that is added has to be added above, too.
        match kind {
            EventKind::BondAdded(_)
            | EventKind::BondUpdated(_)
            | EventKind::BondRemoved { .. }
            | EventKind::BondsRestored { .. }
            | EventKind::BondsLearned { .. }
            | EventKind::BondOrphaned(_)
            | EventKind::BondSuspect(_)
            | EventKind::BondRecovered(_)
            | EventKind::BondsOrphaned { .. }
            | EventKind::IdentityCaptured { .. }
            | EventKind::IdentityRestored { .. }
            | EventKind::DriftFound { .. }
            | EventKind::AdapterLoaded { .. }
            | EventKind::AdapterHeld { .. } => {}
        }
    }
    let types: Vec<&str> = kinds.iter().map(EventKind::event_type).collect();
    assert_eq!(types, EventKind::EVENT_TYPES);
}

#[test]
fn every_word_of_the_store_can_be_shown() {
    let failing = |fault| StoreState::Failing { fault };
    let states = [
        StoreState::Ok,
        StoreState::Rebuilt { detail: String::new() },
        failing(StoreFault::DiskFull),
        failing(StoreFault::ReadOnly),
        failing(StoreFault::Io("x".to_owned())),
    ];
    for state in &states {
        assert!(StoreDto::STATES.contains(&render::store(state).state));
    }
}

#[test]
fn without_commands_the_controls_are_taken_away_and_the_rest_stays() {
    for commands in [Commands::None, Commands::Read] {
        for (all, fewer) in documents(Commands::All).iter().zip(documents(commands)) {
            assert_eq!(keys(&all["cmps"]), keys(&fewer["cmps"]));
            for (id, component) in fewer["cmps"].as_object().unwrap() {
                if all["cmps"][id].get("cmd_t").is_some() {
                    assert_eq!(component, &json!({ "p": all["cmps"][id]["p"] }), "{id}");
                } else {
                    assert_eq!(component, &all["cmps"][id], "{id}");
                }
            }
        }
    }
}

#[test]
fn identifiers_are_such_that_a_topic_and_home_assistant_take_them() {
    let topics = Topics::new("Büro/bluetooth", "living-room_2").unwrap();
    assert_eq!(node_topic(&topics), "homeassistant/device/B_c3_bcro-bluetooth-living-room_2/config");
    let adapter = adapter_topic(&topics, address(ADAPTER));
    assert_eq!(adapter, "homeassistant/device/B_c3_bcro-bluetooth-living-room_2-001a7dda7111/config");
    let discovery = Discovery { topics: &topics, version: "1", commands: Commands::All };
    let entity = discovery.node()["cmps"]["version"]["def_ent_id"].clone();
    assert_eq!(entity, "sensor.b_c3_bcro_bluetooth_living_room_2_version");
}

#[test]
fn attributes_stay_below_what_the_history_takes() {
    const HISTORY_OCTETS_MAX: usize = 16_384;
    /// Friendly name, class and the like, which Home Assistant adds.
    const ADDED_OCTETS: usize = 1_024;
    const ESCAPE_OCTETS: usize = 6;
    // An address, a blank, the name, quotes and a comma.
    const BOND_OCTETS: usize = 17 + 1 + LISTED_NAME_CHARS * ESCAPE_OCTETS + 3;
    const { assert!(LISTED_BONDS_MAX * BOND_OCTETS + ADDED_OCTETS <= HISTORY_OCTETS_MAX) }
    // Three texts at most stand among the attributes of one entity.
    const { assert!(3 * TEXT_CHARS * ESCAPE_OCTETS + ADDED_OCTETS <= HISTORY_OCTETS_MAX) }
    let [node, adapter] = documents(Commands::All);
    let bonded = text(&adapter["cmps"]["bonded_devices"], "json_attr_tpl");
    assert!(bonded.contains("value_json.bonds[:80]") && bonded.contains("bond.name[:24]"), "{bonded}");
    let problem = text(&adapter["cmps"]["problem"], "json_attr_tpl");
    assert_eq!(problem.matches("[:500]").count(), 3, "{problem}");
    let sync = text(&adapter["cmps"]["sync"], "json_attr_tpl");
    assert_eq!(sync.matches("[:500]").count(), 2, "{sync}");
    assert!(text(&node["cmps"]["store_state"], "json_attr_tpl").contains("[:500]"));
}

#[test]
fn the_answer_to_a_start_comes_after_two_to_thirty_seconds() {
    let delays: BTreeSet<Duration> = (0..=28_000).map(birth_delay).collect();
    assert_eq!(delays.first(), Some(&Duration::from_secs(2)));
    assert_eq!(delays.last(), Some(&Duration::from_secs(30)));
    assert_eq!(birth_delay(28_001), Duration::from_secs(2));
    assert!(birth_delay(u64::MAX) <= Duration::from_secs(30));
}
