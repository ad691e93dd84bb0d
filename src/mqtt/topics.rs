//! Names of topics. Pure.

use crate::api::limits::VERB_OCTETS_MAX;
use crate::bond::AdapterAddress;

/// Octets of the base topic: with everything below it, topics stay far under the 65,535 that the
/// protocol allows and short enough to be read.
pub const BASE_TOPIC_OCTETS_MAX: usize = 128;

/// Octets of a node's name: as long as a host's name may be.
pub const NODE_OCTETS_MAX: usize = 63;

/// Octets of a topic that a client wants its answer on.
const RESPONSE_TOPIC_OCTETS_MAX: usize = 512;

/// Names that no node may take: they are kept for topics that belong to all nodes.
const RESERVED_NODES: [&str; 2] = ["vault", "fleet"];

/// The name of a node whose host's name has nothing that a topic could use.
const NODE_FALLBACK: &str = "node";

/// Why a name cannot be part of our topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error(
        "the base topic must have 1 to {BASE_TOPIC_OCTETS_MAX} octets, no `+`, `#` or control character, \
         no empty level, and must not begin with `$`"
    )]
    BaseTopic,
    #[error("the node's name must have 1 to {NODE_OCTETS_MAX} characters out of a-z, 0-9, `_` and `-`")]
    Node,
    #[error("`vault` and `fleet` are reserved: give the node another name")]
    ReservedNode,
}

/// The topics of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    root: String,
    node: String,
}

impl Topics {
    pub fn new(base_topic: &str, node: &str) -> Result<Self, TopicError> {
        let bad_level = |level: &str| level.is_empty();
        if base_topic.len() > BASE_TOPIC_OCTETS_MAX
            || !is_plain_topic(base_topic)
            || base_topic.split('/').any(bad_level)
        {
            return Err(TopicError::BaseTopic);
        }
        let allowed = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if node.is_empty() || node.len() > NODE_OCTETS_MAX || !node.bytes().all(allowed) {
            return Err(TopicError::Node);
        }
        if RESERVED_NODES.contains(&node) {
            return Err(TopicError::ReservedNode);
        }
        Ok(Self { root: format!("{base_topic}/{node}"), node: node.to_owned() })
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    /// `<base_topic>/<node>`.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// What the broker knows us by. Two services with the same root would throw each other out,
    /// which is better than both writing the same topics.
    pub fn client_id(&self) -> String {
        self.root.replace('/', "-")
    }

    pub fn bridge_state(&self) -> String {
        format!("{}/bridge/state", self.root)
    }

    pub fn bridge_info(&self) -> String {
        format!("{}/bridge/info", self.root)
    }

    pub fn bridge_health(&self) -> String {
        format!("{}/bridge/health", self.root)
    }

    pub fn bridge_event(&self) -> String {
        format!("{}/bridge/event", self.root)
    }

    pub fn response(&self, verb: &str) -> String {
        format!("{}/bridge/response/{verb}", self.root)
    }

    pub fn adapter_state(&self, adapter: AdapterAddress) -> String {
        format!("{}/adapter/{adapter}/state", self.root)
    }

    pub fn adapter_bonds(&self, adapter: AdapterAddress) -> String {
        format!("{}/adapter/{adapter}/bonds", self.root)
    }

    pub fn adapter_event(&self, adapter: AdapterAddress) -> String {
        format!("{}/adapter/{adapter}/event", self.root)
    }

    /// Where a verb is asked.
    pub fn request(&self, verb: &str) -> String {
        format!("{}/bridge/request/{verb}", self.root)
    }

    /// Everything that is retained, and the events beside it; no request.
    pub fn retained_filters(&self) -> [String; 2] {
        [format!("{}/bridge/+", self.root), format!("{}/adapter/+/+", self.root)]
    }

    /// What to subscribe to.
    pub fn request_filter(&self) -> String {
        format!("{}/bridge/request/#", self.root)
    }

    /// The verb of a request's topic; none where there is none that an answer's topic could repeat.
    pub fn verb<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let verb = topic.strip_prefix(self.root.as_str())?.strip_prefix("/bridge/request/")?;
        (verb.len() <= VERB_OCTETS_MAX && is_plain_topic(verb)).then_some(verb)
    }

    /// Whether an answer may be published where a client asks for it. Our own topics are out of
    /// bounds but for the answers: a client must not be able to make us overwrite our own state or
    /// send ourselves a request.
    pub fn may_answer_on(&self, topic: &str) -> bool {
        let ours = topic
            .strip_prefix(self.root.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        topic.len() <= RESPONSE_TOPIC_OCTETS_MAX
            && is_plain_topic(topic)
            && (!ours || topic.starts_with(&self.response("")))
    }
}

/// Something that can be published to: no wildcard, no control character, and not one of the
/// broker's own topics.
fn is_plain_topic(topic: &str) -> bool {
    !topic.is_empty()
        && !topic.starts_with('$')
        && !topic.chars().any(|c| c.is_control() || c == '+' || c == '#')
}

/// The node's name where none is configured: the host's, reduced to what a topic level may hold.
pub fn node_from_host_name(host_name: &str) -> String {
    let mut node = String::new();
    for c in host_name.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' | '_' => node.push(c),
            _ if node.ends_with('-') || node.is_empty() => {}
            _ => node.push('-'),
        }
    }
    node.truncate(NODE_OCTETS_MAX);
    let node = node.trim_end_matches('-');
    match node {
        "" => NODE_FALLBACK.to_owned(),
        reserved if RESERVED_NODES.contains(&reserved) => format!("{reserved}-{NODE_FALLBACK}"),
        node => node.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new("bondkeeper", "attic").unwrap()
    }

    #[test]
    fn a_base_topic_may_have_levels_but_nothing_that_a_topic_cannot() {
        for good in ["bondkeeper", "home/bluetooth", "Büro", "a b"] {
            assert!(Topics::new(good, "attic").is_ok(), "{good}");
        }
        let long = "x".repeat(BASE_TOPIC_OCTETS_MAX + 1);
        for bad in ["", "/", "/a", "a/", "a//b", "a/+", "#", "$SYS", "a\nb", "a\0", long.as_str()] {
            assert_eq!(Topics::new(bad, "attic"), Err(TopicError::BaseTopic), "{bad:?}");
        }
    }

    #[test]
    fn a_node_is_one_plain_word_that_is_not_reserved() {
        let long = "x".repeat(NODE_OCTETS_MAX + 1);
        for bad in ["", "Attic", "a/b", "a b", "a+", "büro", long.as_str()] {
            assert_eq!(Topics::new("bondkeeper", bad), Err(TopicError::Node), "{bad:?}");
        }
        for reserved in RESERVED_NODES {
            assert_eq!(Topics::new("bondkeeper", reserved), Err(TopicError::ReservedNode));
        }
    }

    #[test]
    fn a_host_name_becomes_a_node_that_is_allowed() {
        let cases = [
            ("homeassistant", "homeassistant"),
            ("Attic.Local", "attic-local"),
            ("--my  Büro--", "my-b-ro"),
            ("vault", "vault-node"),
            ("", "node"),
            ("ÄÖÜ", "node"),
        ];
        for (host, node) in cases {
            assert_eq!(node_from_host_name(host), node);
            assert!(Topics::new("bondkeeper", node).is_ok());
        }
        assert!(Topics::new("b", &node_from_host_name(&"a.".repeat(100))).is_ok());
    }

    #[test]
    fn a_verb_is_what_follows_the_request_prefix() {
        let cases = [
            ("bondkeeper/attic/bridge/request/bonds/list", Some("bonds/list")),
            ("bondkeeper/attic/bridge/request/health_check", Some("health_check")),
            ("bondkeeper/attic/bridge/request/", None),
            ("bondkeeper/attic/bridge/request", None),
            ("bondkeeper/attic/bridge/response/bonds/list", None),
            ("bondkeeper/attic2/bridge/request/bonds/list", None),
            ("bondkeeper/attic/bridge/request/a\u{7}", None),
        ];
        for (topic, verb) in cases {
            assert_eq!(topics().verb(topic), verb, "{topic}");
        }
        let long = format!("bondkeeper/attic/bridge/request/{}", "x".repeat(VERB_OCTETS_MAX + 1));
        assert_eq!(topics().verb(&long), None);
    }

    #[test]
    fn an_answer_never_goes_to_a_wildcard_or_to_our_own_state() {
        for good in
            ["client/answers/1", "bondkeeper/attic/bridge/response/x", "bondkeeper/attic2/bridge/state"]
        {
            assert!(topics().may_answer_on(good), "{good}");
        }
        let long = "x".repeat(RESPONSE_TOPIC_OCTETS_MAX + 1);
        for bad in [
            "",
            "a/+",
            "#",
            "$SYS/x",
            "a\0",
            "bondkeeper/attic",
            "bondkeeper/attic/bridge/state",
            "bondkeeper/attic/bridge/request/bonds/list",
            "bondkeeper/attic/adapter/x/state",
            long.as_str(),
        ] {
            assert!(!topics().may_answer_on(bad), "{bad}");
        }
    }
}
