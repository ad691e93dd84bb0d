//! Carries the public contract over MQTT 5.
//!
//! [`actor`] is the shell: it takes what adapters and the store tell, puts the documents that follow
//! from it into the [`outbox`], and has requests carried out by `dispatch`. `client` keeps the
//! connection. Must never hold up whoever talks to it because a broker is slow or away, never lose a
//! retained state or an event without saying so, and never publish key octets. Driven by the
//! adapters', the registry's and the store's messages, and by the broker.

pub mod actor;
mod arrivals;
mod audit;
pub mod backoff;
mod birth;
pub mod board;
pub mod broker;
mod client;
mod discovery;
mod dispatch;
pub mod exchange;
mod facts;
mod failure;
mod guard;
pub mod messages;
pub mod outbox;
mod render;
pub mod reply;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod topics;

pub use actor::{MqttActor, MqttSetup};
pub use client::random;
pub use dispatch::LevelSetter;
