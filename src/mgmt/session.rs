//! Commands in flight: which reply belongs to which command, and which never came.
//!
//! The protocol has no sequence numbers: a reply names its opcode and controller, so one command of
//! each may be in flight at a time. Replies come in the order of the commands. When a command has
//! timed out and the same one is sent again, the next reply is taken for the one that was missed, and
//! the one after it for the answer. A kernel that swallowed a reply would fool that once: when the
//! second command then times out as well, the count starts anew.
//!
//! Sans-io: time comes in, frames go out. Driven by the actor that owns the socket.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::command::Command;
use super::event::Event;
use super::frame::DecodeError;
use super::opcode::{CommandSpec, Opcode};
use super::reply::Reply;
use super::status::Status;

/// Commands in flight at most. One actor sends a handful; more is a loop gone wild.
pub const IN_FLIGHT_MAX: usize = 32;

/// How long a missed reply is expected. Past it the kernel has lost the command.
pub const LATE_REPLY_HORIZON: Duration = Duration::from_secs(120);

/// Missed replies remembered at most; past it the oldest is forgotten.
pub const LATE_MAX: usize = 64;

/// Names one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Octets to send now, as one datagram.
pub struct Submitted {
    pub ticket: Ticket,
    pub frame: Zeroizing<Vec<u8>>,
}

/// Why a command was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error("{0} is in flight already for this controller")]
    InFlight(Opcode),
    #[error("{IN_FLIGHT_MAX} commands are in flight, which is the most")]
    Full,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub ticket: Ticket,
    pub opcode: Opcode,
    pub index: u16,
    pub result: Result<Reply, CommandFailure>,
}

/// Why a command did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandFailure {
    #[error("the kernel answered: {0}")]
    Refused(Status),
    #[error("the kernel did not answer in time")]
    TimedOut,
    #[error("the controller went away")]
    Gone,
    /// It succeeded, but its reply cannot be read.
    #[error("reading the reply")]
    Malformed(#[source] DecodeError),
}

/// What an event is to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reception {
    Answer(Outcome),
    /// The reply to a command that has timed out: dropped.
    Late(Opcode),
    /// A reply that nothing was sent for: dropped.
    Unsolicited(Opcode),
    /// No reply at all: an event for somebody else to read.
    NotAReply,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    ticket: Ticket,
    spec: &'static CommandSpec,
    deadline: Instant,
    /// A reply came while this was in flight and was taken for one that had been missed.
    passed_one: bool,
}

#[derive(Debug, Clone, Copy)]
struct Missed {
    count: u32,
    until: Instant,
}

type Key = (Opcode, u16);

/// See the module text.
#[derive(Debug, Default)]
pub struct Session {
    next_ticket: u64,
    in_flight: BTreeMap<Key, InFlight>,
    missed: BTreeMap<Key, Missed>,
}

impl Session {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a command; its frame is to be sent at once.
    pub fn submit(&mut self, index: u16, command: &Command, now: Instant) -> Result<Submitted, SubmitError> {
        let opcode = command.opcode();
        if self.in_flight.contains_key(&(opcode, index)) {
            return Err(SubmitError::InFlight(opcode));
        }
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return Err(SubmitError::Full);
        }
        self.missed.retain(|_, missed| missed.until > now);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let spec = command.spec();
        let deadline = now + spec.deadline;
        self.in_flight.insert((opcode, index), InFlight { ticket, spec, deadline, passed_one: false });
        Ok(Submitted { ticket, frame: command.encode(index) })
    }

    /// The frame could not be sent: forget it. True when it was in flight.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        let before = self.in_flight.len();
        self.in_flight.retain(|_, in_flight| in_flight.ticket != ticket);
        self.in_flight.len() < before
    }

    /// Shows it an event that came for this controller index.
    pub fn receive(&mut self, index: u16, event: &Event, now: Instant) -> Reception {
        let (opcode, status, parameters) = match event {
            Event::CommandComplete(complete) => {
                (complete.opcode, complete.status, Some(&complete.parameters))
            }
            Event::CommandStatus { opcode, status } => (*opcode, *status, None),
            _ => return Reception::NotAReply,
        };
        let key = (opcode, index);
        if self.is_missed_reply(key, now) {
            if let Some(in_flight) = self.in_flight.get_mut(&key) {
                in_flight.passed_one = true;
            }
            return Reception::Late(opcode);
        }
        let Some(in_flight) = self.in_flight.remove(&key) else { return Reception::Unsolicited(opcode) };
        let result = if status.is_success() {
            let parameters = parameters.map_or(&[][..], Vec::as_slice);
            Reply::decode(in_flight.spec, parameters).map_err(CommandFailure::Malformed)
        } else {
            Err(CommandFailure::Refused(status))
        };
        Reception::Answer(Outcome { ticket: in_flight.ticket, opcode, index, result })
    }

    /// When to call [`expire`](Self::expire) next.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.in_flight.values().map(|in_flight| in_flight.deadline).min()
    }

    /// Ends the commands whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<Outcome> {
        let over = self.take(|_, in_flight| in_flight.deadline <= now);
        for (key, in_flight) in &over {
            self.expect_late_reply(*key, *in_flight, now);
        }
        outcomes(over, CommandFailure::TimedOut)
    }

    /// The controller is gone: ends its commands and expects nothing of it any more. Its index may be
    /// another controller's a moment later.
    pub fn abandon(&mut self, index: u16) -> Vec<Outcome> {
        self.missed.retain(|(_, missed_index), _| *missed_index != index);
        outcomes(self.take(|(_, in_flight_index), _| *in_flight_index == index), CommandFailure::Gone)
    }

    /// Nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// This command is in flight.
    pub fn is_in_flight(&self, index: u16, opcode: Opcode) -> bool {
        self.in_flight.contains_key(&(opcode, index))
    }

    fn take(&mut self, wanted: impl Fn(&Key, &InFlight) -> bool) -> Vec<(Key, InFlight)> {
        let all = std::mem::take(&mut self.in_flight);
        let (taken, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, value)| wanted(key, value));
        self.in_flight = kept.into_iter().collect();
        taken
    }

    fn is_missed_reply(&mut self, key: Key, now: Instant) -> bool {
        let Some(missed) = self.missed.get_mut(&key) else { return false };
        let expected = missed.until > now;
        missed.count -= 1;
        if !expected || missed.count == 0 {
            self.missed.remove(&key);
        }
        expected
    }

    fn expect_late_reply(&mut self, key: Key, in_flight: InFlight, now: Instant) {
        if in_flight.passed_one {
            // The reply that was passed over was this one's, most likely.
            self.missed.remove(&key);
            return;
        }
        let until = now + LATE_REPLY_HORIZON;
        let missed = self.missed.entry(key).or_insert(Missed { count: 0, until });
        *missed = Missed { count: missed.count.saturating_add(1), until };
        if self.missed.len() > LATE_MAX {
            let oldest = self.missed.iter().min_by_key(|(_, missed)| missed.until);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.missed.remove(&oldest);
            }
        }
    }
}

fn outcomes(ended: Vec<(Key, InFlight)>, failure: CommandFailure) -> Vec<Outcome> {
    let outcome = |((opcode, index), in_flight): (Key, InFlight)| Outcome {
        ticket: in_flight.ticket,
        opcode,
        index,
        result: Err(failure),
    };
    ended.into_iter().map(outcome).collect()
}

#[cfg(test)]
mod tests;
