//! What an adapter actor talks to, and what of it waits because a mailbox is full.

use std::collections::VecDeque;

use actix::Recipient;
use actix::prelude::SendError;

use super::messages::{AdapterEvent, AdapterStateChanged, BondsDescription};
use crate::audit::messages::{Entry, Record};
use crate::store::messages::{AdapterRecordChanged, BondsChanged, ReadCheckpoint, SaveCheckpoint};

/// Events that wait for a full mailbox at most. They are for people; past this the oldest go, which
/// is logged.
const EVENTS_WAITING_MAX: usize = 1_000;

/// The recipients of one adapter.
#[derive(Clone)]
pub struct AdapterPorts {
    pub bonds_changed: Recipient<BondsChanged>,
    pub record_changed: Recipient<AdapterRecordChanged>,
    pub save_checkpoint: Recipient<SaveCheckpoint>,
    pub read_checkpoint: Recipient<ReadCheckpoint>,
    pub audit: Recipient<Record>,
    pub state: Recipient<AdapterStateChanged>,
    pub bonds: Recipient<BondsDescription>,
    pub event: Recipient<AdapterEvent>,
}

/// The newest of each kind that has not been taken yet. State and lists are whole, so an older one that
/// is overtaken is no loss.
#[derive(Default)]
pub(super) struct Waiting {
    pub save: Option<BondsChanged>,
    pub record: Option<AdapterRecordChanged>,
    pub state: Option<AdapterStateChanged>,
    pub bonds: Option<BondsDescription>,
    pub events: VecDeque<AdapterEvent>,
    audit: VecDeque<Record>,
}

impl Waiting {
    pub fn push_event(&mut self, event: AdapterEvent) {
        if self.events.len() >= EVENTS_WAITING_MAX {
            self.events.pop_front();
            tracing::warn!("an event was dropped: nobody has taken {EVENTS_WAITING_MAX} of them");
        }
        self.events.push_back(event);
    }

    pub fn push_audit(&mut self, entry: Entry) {
        if self.audit.len() >= EVENTS_WAITING_MAX {
            self.audit.pop_front();
            tracing::warn!(
                "an entry of the audit log was dropped: nobody has taken {EVENTS_WAITING_MAX} of them"
            );
        }
        self.audit.push_back(Record(entry));
    }

    /// Hands on what is taken; true when something still waits. The store first; a list before the
    /// events that speak of it.
    pub fn flush(&mut self, ports: &AdapterPorts) -> bool {
        offer(&ports.bonds_changed, &mut self.save);
        offer(&ports.record_changed, &mut self.record);
        offer(&ports.state, &mut self.state);
        offer(&ports.bonds, &mut self.bonds);
        offer_all(&ports.audit, &mut self.audit);
        if self.bonds.is_none() {
            offer_all(&ports.event, &mut self.events);
        }
        self.save.is_some()
            || self.record.is_some()
            || self.state.is_some()
            || self.bonds.is_some()
            || !self.events.is_empty()
            || !self.audit.is_empty()
    }
}

/// In order, as far as there is room.
fn offer_all<M>(recipient: &Recipient<M>, waiting: &mut VecDeque<M>)
where
    M: actix::Message + Send,
    M::Result: Send,
{
    while let Some(message) = waiting.pop_front() {
        let mut slot = Some(message);
        offer(recipient, &mut slot);
        if let Some(message) = slot {
            return waiting.push_front(message);
        }
    }
}

/// Leaves the message where it is when the mailbox is full. A closed one means that the service is
/// stopping: there is nobody left to tell.
fn offer<M>(recipient: &Recipient<M>, slot: &mut Option<M>)
where
    M: actix::Message + Send,
    M::Result: Send,
{
    let Some(message) = slot.take() else { return };
    if let Err(SendError::Full(message)) = recipient.try_send(message) {
        *slot = Some(message);
    }
}
