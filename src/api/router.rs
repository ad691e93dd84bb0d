//! From a verb and its octets to a request, or to what is wrong with it. Pure.

use serde_json::Value;

use super::codes::{ApiError, Code};
use super::fields::{Fields, invalid};
use super::limits::{RESTORE_OCTETS_MAX, TRANSACTION_OCTETS_MAX};
use super::request::Request;
use super::strict_json::read_object;
use super::verbs::{VERBS, Verb};

/// Which verbs the service's options allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Commands {
    /// No verb at all.
    None,
    /// Verbs that change nothing. An export writes a file full of keys, so it is none of them.
    Read,
    #[default]
    All,
}

impl Commands {
    /// Every choice, the strictest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Read, Self::All];

    /// The word that options use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::All => "all",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|commands| commands.as_str() == word)
    }

    const fn permit(self, verb: &Verb) -> bool {
        match self {
            Self::None => false,
            Self::Read => verb.read_only,
            Self::All => true,
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// As in `bonds/list`.
    pub verb: &'a str,
    pub body: &'a [u8],
    /// Whoever sent it asked the broker to keep it.
    pub retained: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Carry it out, and answer.
    Accept(Request),
    /// Answer with the error.
    Refuse(ApiError),
    /// An empty body is how a retained message is cleared: no request, no answer.
    Ignore,
}

/// What becomes of a request, and the `transaction` to be echoed.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    pub transaction: Option<Value>,
    pub outcome: Outcome,
}

/// Decides. Where more than one thing is wrong, the error is the one that has to be mended first;
/// a `transaction` that can be read is echoed with any of them.
pub fn route(incoming: Incoming<'_>, commands: Commands) -> Routed {
    if incoming.body.is_empty() {
        return Routed { transaction: None, outcome: Outcome::Ignore };
    }
    let verb = VERBS.iter().find(|verb| verb.name == incoming.verb);
    // Nothing that is larger than the largest allowed body is even read.
    let body = if incoming.body.len() > RESTORE_OCTETS_MAX {
        Err(String::new())
    } else {
        read_object(incoming.body)
    };
    let (transaction, body) = match body {
        Ok(mut object) => match take_transaction(object.remove("transaction")) {
            Ok(transaction) => (transaction, Ok(Ok(object))),
            Err(error) => (None, Ok(Err(error))),
        },
        Err(error) => (None, Err(error)),
    };
    let checked = check(&incoming, verb, commands).and_then(|verb| {
        let object =
            body.map_err(|place| ApiError::new(Code::BadJson, format!("the body cannot be read: {place}")))??;
        let mut fields = Fields::new(object);
        let request = (verb.read)(&mut fields);
        // A misspelt field is the likelier cause of a missing one, so it is named first.
        fields.finish().and(request)
    });
    let outcome = match checked {
        Ok(request) => Outcome::Accept(request),
        Err(error) => Outcome::Refuse(error),
    };
    Routed { transaction, outcome }
}

fn check<'a>(
    incoming: &Incoming<'_>,
    verb: Option<&'a Verb>,
    commands: Commands,
) -> Result<&'a Verb, ApiError> {
    if incoming.retained {
        let message = "requests must not be retained: this one would run again at every start. \
                       Clear it with an empty retained message, and send it again without retain";
        return Err(ApiError::new(Code::RetainedRequest, message));
    }
    let Some(verb) = verb else {
        return Err(ApiError::new(Code::UnknownVerb, "there is no such verb"));
    };
    if !commands.permit(verb) {
        let message =
            format!("the option `commands` is `{}` and does not permit this verb", commands.as_str());
        return Err(ApiError::new(Code::NotPermitted, message));
    }
    if incoming.body.len() > verb.octets_max {
        let message = format!(
            "the body has {} octets; {} takes {} at most",
            incoming.body.len(),
            verb.name,
            verb.octets_max
        );
        return Err(ApiError::new(Code::TooLarge, message).with("octets_max", verb.octets_max));
    }
    Ok(verb)
}

fn take_transaction(value: Option<Value>) -> Result<Option<Value>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let scalar = !value.is_object() && !value.is_array();
    if scalar && value.to_string().len() <= TRANSACTION_OCTETS_MAX {
        return Ok(Some(value));
    }
    let expected = format!("a text, a number or a boolean of {TRANSACTION_OCTETS_MAX} octets at most");
    Err(invalid("transaction", &expected))
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
