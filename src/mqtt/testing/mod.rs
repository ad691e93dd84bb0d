//! Stand-ins for unit tests: whoever is at the other end of the MQTT actor.

pub(super) mod adapter;
pub(super) mod broker;
