//! Where an answer goes. Pure.

use serde_json::Value;

use super::topics::Topics;

/// Octets of the correlation data of a request: room for any identifier.
pub const CORRELATION_OCTETS_MAX: usize = 256;

/// What the MQTT 5 properties of a request say about its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
}

/// Where an answer goes besides the verb's own response topic, and what comes back with it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyTo {
    pub verb: String,
    pub transaction: Option<Value>,
    /// Checked: it can be published to.
    pub own_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
}

impl ReplyTo {
    /// A response topic that cannot be honoured is left out: the verb's own still gets the answer.
    pub fn new(topics: &Topics, verb: &str, transaction: Option<Value>, wanted: Wanted) -> Self {
        let fits = wanted.correlation.as_ref().is_none_or(|data| data.len() <= CORRELATION_OCTETS_MAX);
        let own_topic = wanted.response_topic.filter(|topic| fits && topics.may_answer_on(topic));
        let correlation = if own_topic.is_some() { wanted.correlation } else { None };
        Self { verb: verb.to_owned(), transaction, own_topic, correlation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(topic: &str, correlation: Option<usize>) -> ReplyTo {
        let topics = Topics::new("bondkeeper", "attic").unwrap();
        let wanted = Wanted {
            response_topic: Some(topic.to_owned()),
            correlation: correlation.map(|octets| vec![7; octets]),
        };
        ReplyTo::new(&topics, "bonds/list", None, wanted)
    }

    #[test]
    fn a_response_topic_is_honoured_with_its_correlation_data() {
        let reply = reply("client/answers", Some(CORRELATION_OCTETS_MAX));
        assert_eq!(reply.own_topic.as_deref(), Some("client/answers"));
        assert_eq!(reply.correlation.unwrap().len(), CORRELATION_OCTETS_MAX);
    }

    #[test]
    fn a_response_topic_that_cannot_be_honoured_is_left_out() {
        for (topic, correlation) in [
            ("a/#", None),
            ("bondkeeper/attic/bridge/state", Some(1)),
            ("a", Some(CORRELATION_OCTETS_MAX + 1)),
        ] {
            let reply = reply(topic, correlation);
            assert_eq!((reply.own_topic, reply.correlation), (None, None), "{topic}");
        }
    }
}
