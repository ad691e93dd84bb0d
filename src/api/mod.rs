//! The public contract, whatever carries it: verbs, documents, error codes, limits.
//!
//! [`router`] turns a verb and its octets into a [`Request`] in domain types, or into an
//! [`ApiError`] that says what is wrong; [`dto`], [`bridge`] and [`answers`] are the documents that
//! are published. Pure of transport: nothing here knows MQTT, an actor or a clock, and no document
//! has a field that could hold key octets. Must never repeat a value that a client sent in an
//! error text: people paste keys into the wrong field. Driven by `mqtt/`.

pub mod answers;
pub mod bridge;
pub mod codes;
pub mod dto;
mod fields;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod request;
pub mod rfc3339;
pub mod router;
mod strict_json;
mod verbs;

pub use answers::{Answer, response};
pub use codes::{ApiError, Code};
pub use request::{LogLevel, Request};
pub use router::{Commands, Incoming, Outcome, Routed, route};
