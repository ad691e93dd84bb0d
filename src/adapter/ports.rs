//! What an adapter actor talks to, and what of it waits because a mailbox is full.

use std::collections::VecDeque;

use actix::Recipient;
use actix::prelude::SendError;

use super::messages::{AdapterEvent, AdapterEvents, AdapterStateChanged, BondsDescription};
use crate::audit::messages::{Entry, Records};
use crate::store::messages::{AdapterRecordChanged, BondsChanged, ReadCheckpoint, SaveCheckpoint};

/// Events, and entries of the audit log, that wait for a full mailbox at most. Past it the oldest go, which is
/// reported. All bonds that a kernel's table can hold (1,820), each told of twice, at some 200 octets.
const WAITING_MAX: usize = 4_096;

/// The recipients of one adapter.
#[derive(Clone)]
pub struct AdapterPorts {
    pub bonds_changed: Recipient<BondsChanged>,
    pub record_changed: Recipient<AdapterRecordChanged>,
    pub save_checkpoint: Recipient<SaveCheckpoint>,
    pub read_checkpoint: Recipient<ReadCheckpoint>,
    pub audit: Recipient<Records>,
    pub state: Recipient<AdapterStateChanged>,
    pub bonds: Recipient<BondsDescription>,
    pub events: Recipient<AdapterEvents>,
}

/// Things that each matter, in their order, and how many before them were given up.
struct Series<T> {
    items: VecDeque<T>,
    dropped_count: u64,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), dropped_count: 0 }
    }
}

impl<T> Series<T> {
    fn push(&mut self, item: T, what: &str) {
        if self.items.len() >= WAITING_MAX {
            self.items.pop_front();
            if self.dropped_count == 0 {
                tracing::warn!("{what} are given up: nobody has taken {WAITING_MAX} of them");
            }
            self.dropped_count += 1;
        }
        self.items.push_back(item);
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.dropped_count == 0
    }

    /// Hands all of it on as one message. One that is not taken is taken apart again.
    fn offer<M>(
        &mut self,
        recipient: &Recipient<M>,
        wrap: impl FnOnce(Vec<T>, u64) -> M,
        unwrap: impl FnOnce(M) -> (Vec<T>, u64),
    ) where
        M: actix::Message + Send,
        M::Result: Send,
    {
        if self.is_empty() {
            return;
        }
        let Self { items, dropped_count } = std::mem::take(self);
        let mut slot = Some(wrap(items.into(), dropped_count));
        offer(recipient, &mut slot);
        if let Some(message) = slot {
            let (items, dropped_count) = unwrap(message);
            *self = Self { items: items.into(), dropped_count };
        }
    }
}

/// The newest of each kind that has not been taken yet. State and lists are whole, so an older one that
/// is overtaken is no loss.
#[derive(Default)]
pub(super) struct Waiting {
    pub save: Option<BondsChanged>,
    pub record: Option<AdapterRecordChanged>,
    pub state: Option<AdapterStateChanged>,
    pub bonds: Option<BondsDescription>,
    events: Series<AdapterEvent>,
    audit: Series<Entry>,
}

impl Waiting {
    pub fn push_event(&mut self, event: AdapterEvent) {
        self.events.push(event, "events");
    }

    /// One was given up before it came here; what waits is younger.
    pub const fn event_dropped(&mut self) {
        self.events.dropped_count += 1;
    }

    pub fn push_audit(&mut self, entry: Entry) {
        self.audit.push(entry, "entries of the audit log");
    }

    /// Hands on what is taken; true when something still waits. The store first; a list before the
    /// events that speak of it.
    pub fn flush(&mut self, ports: &AdapterPorts) -> bool {
        offer(&ports.bonds_changed, &mut self.save);
        offer(&ports.record_changed, &mut self.record);
        offer(&ports.state, &mut self.state);
        offer(&ports.bonds, &mut self.bonds);
        self.audit.offer(
            &ports.audit,
            |entries, dropped_count| Records { entries, dropped_count },
            |records| (records.entries, records.dropped_count),
        );
        if self.bonds.is_none() {
            self.events.offer(
                &ports.events,
                |events, dropped_count| AdapterEvents { dropped_count, events },
                |events| (events.events, events.dropped_count),
            );
        }
        self.save.is_some()
            || self.record.is_some()
            || self.state.is_some()
            || self.bonds.is_some()
            || !self.events.is_empty()
            || !self.audit.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::messages::EventKind;
    use crate::bond::UnixMillis;
    use actix::{Actor, Context, Handler};

    const ONE: usize = 1;

    /// Takes one message at a time.
    #[derive(Default)]
    struct Busy {
        heard: Vec<(u64, Vec<u64>)>,
    }

    impl Actor for Busy {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            ctx.set_mailbox_capacity(ONE);
        }
    }

    impl Handler<AdapterEvents> for Busy {
        type Result = ();

        fn handle(&mut self, message: AdapterEvents, _: &mut Self::Context) {
            let numbers = message.events.iter().map(|event| event.at.0).collect();
            self.heard.push((message.dropped_count, numbers));
        }
    }

    #[derive(actix::Message)]
    #[rtype(result = "Vec<(u64, Vec<u64>)>")]
    struct Told;

    impl Handler<Told> for Busy {
        type Result = Vec<(u64, Vec<u64>)>;

        fn handle(&mut self, _: Told, _: &mut Self::Context) -> Self::Result {
            std::mem::take(&mut self.heard)
        }
    }

    fn event(number: u64) -> AdapterEvent {
        let kind = EventKind::AdapterLoaded { ltk_count: 1, irk_count: 0, link_key_count: 0 };
        let adapter = "00:1A:7D:DA:71:11".parse().unwrap();
        AdapterEvent { adapter, at: UnixMillis(number), kind, cause: "test" }
    }

    fn offer_events(events: &mut Series<AdapterEvent>, to: &Recipient<AdapterEvents>) {
        events.offer(
            to,
            |events, dropped_count| AdapterEvents { dropped_count, events },
            |events| (events.events, events.dropped_count),
        );
    }

    #[actix::test]
    async fn what_a_full_mailbox_does_not_take_goes_with_the_next_in_its_order() {
        let busy = Busy::default().start();
        // It has set its capacity.
        busy.send(Told).await.unwrap();
        // One, as an adapter has: each has room of its own.
        let port = busy.clone().recipient();
        let mut events: Series<AdapterEvent> = Series::default();
        let mut number = 0;
        while events.is_empty() && number < 100 {
            number += 1;
            events.push(event(number), "events");
            offer_events(&mut events, &port);
        }
        events.push(event(number + 1), "events");
        offer_events(&mut events, &port);
        assert_eq!(events.items.len(), 2);
        let mut told: Vec<u64> =
            busy.send(Told).await.unwrap().into_iter().flat_map(|(_, numbers)| numbers).collect();
        offer_events(&mut events, &port);
        told.extend(busy.send(Told).await.unwrap().into_iter().flat_map(|(_, numbers)| numbers));
        assert_eq!(told, (1..=number + 1).collect::<Vec<_>>());
    }

    #[actix::test]
    async fn what_had_to_be_given_up_is_counted_in_front_of_what_is_left() {
        let busy = Busy::default().start();
        let mut events: Series<AdapterEvent> = Series::default();
        for number in 0..WAITING_MAX as u64 + 2 {
            events.push(event(number), "events");
        }
        events.dropped_count += 1;
        offer_events(&mut events, &busy.clone().recipient());
        let told = busy.send(Told).await.unwrap();
        assert_eq!((told[0].0, told[0].1.len(), told[0].1[0]), (3, WAITING_MAX, 2));
        assert!(events.is_empty());
    }
}
