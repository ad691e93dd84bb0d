//! What the MQTT actor is told by whoever builds and ends the service. Facts about adapters and the
//! store come in the messages of those modules.

use std::time::Duration;

use actix::{Message, Recipient};

use crate::adapter::messages::ForgetAdapter;
use crate::audit::messages::Record;
use crate::store::messages::SaveCheckpoint;

/// Who carries out what no single adapter can. Sent once, when they are all there; until then the
/// actor does not connect, so that nobody is told `online` too early.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Wire {
    pub forget_adapter: Recipient<ForgetAdapter>,
    pub save_checkpoint: Recipient<SaveCheckpoint>,
    pub audit: Recipient<Record>,
}

/// What the kernel says of its management interface, as in `1.22`.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct KernelKnown {
    pub mgmt_version: String,
}

/// Take no more requests: each is answered with `shutting_down` from now on. The first step of a
/// shutdown, before the adapters are drained.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct StopRequests;

/// The last step of a shutdown: finish the requests in progress, publish what waits and `offline`,
/// and take leave of the broker so that it does not publish our will. Answered when that is done,
/// or when the deadline has passed; then the will says `offline` in our place.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Drained")]
pub struct Drain {
    pub deadline: Duration,
}

/// How the leave-taking went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The broker has acknowledged everything and `offline`.
    pub said_goodbye: bool,
    /// Events and answers that nobody will get.
    pub unsent: usize,
}
