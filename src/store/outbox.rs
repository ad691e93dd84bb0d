//! What the store has to tell, until every listener has taken it.
//!
//! A mailbox may be full; the newest word on each thing is kept for it and nothing older. A listener
//! that is gone is not missed.

use std::collections::BTreeMap;

use actix::{Message, Recipient, prelude::SendError};

use super::messages::{BondsPersisted, PersistFailed, StoreListeners, StoreStateChanged};
use crate::bond::AdapterAddress;

/// See the module text.
pub(super) struct Outbox {
    persisted: Vec<Slot<AdapterAddress, BondsPersisted>>,
    failed: Vec<Slot<AdapterAddress, PersistFailed>>,
    state: Vec<Slot<(), StoreStateChanged>>,
}

/// One listener and what it has not taken yet.
struct Slot<K: Ord, M: Message<Result = ()> + Clone + Send + 'static> {
    listener: Recipient<M>,
    waiting: BTreeMap<K, M>,
}

impl Outbox {
    pub fn new(listeners: StoreListeners) -> Self {
        Self {
            persisted: slots(listeners.persisted),
            failed: slots(listeners.failed),
            state: slots(listeners.state),
        }
    }

    /// A failure that nobody has heard of yet is no news any more.
    pub fn persisted(&mut self, message: BondsPersisted) {
        for slot in &mut self.failed {
            slot.waiting.remove(&message.adapter);
        }
        for slot in &mut self.persisted {
            slot.waiting.insert(message.adapter, message);
        }
    }

    pub fn failed(&mut self, message: PersistFailed) {
        for slot in &mut self.failed {
            slot.waiting.insert(message.adapter, message.clone());
        }
    }

    pub fn state(&mut self, message: StoreStateChanged) {
        for slot in &mut self.state {
            slot.waiting.insert((), message.clone());
        }
    }

    /// Nothing more is to be said of an adapter.
    pub fn forget(&mut self, adapter: AdapterAddress) {
        for slot in &mut self.persisted {
            slot.waiting.remove(&adapter);
        }
        for slot in &mut self.failed {
            slot.waiting.remove(&adapter);
        }
    }

    /// Hands over what can be handed over.
    pub fn deliver(&mut self) {
        self.failed.iter_mut().for_each(Slot::deliver);
        self.persisted.iter_mut().for_each(Slot::deliver);
        self.state.iter_mut().for_each(Slot::deliver);
    }

    /// Something is left that a full mailbox did not take.
    pub fn is_waiting(&self) -> bool {
        self.failed.iter().any(Slot::is_waiting)
            || self.persisted.iter().any(Slot::is_waiting)
            || self.state.iter().any(Slot::is_waiting)
    }
}

fn slots<K: Ord, M: Message<Result = ()> + Clone + Send + 'static>(
    listeners: Vec<Recipient<M>>,
) -> Vec<Slot<K, M>> {
    listeners.into_iter().map(|listener| Slot { listener, waiting: BTreeMap::new() }).collect()
}

impl<K: Ord, M: Message<Result = ()> + Clone + Send + 'static> Slot<K, M> {
    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn deliver(&mut self) {
        while let Some((key, message)) = self.waiting.pop_first() {
            if let Err(SendError::Full(message)) = self.listener.try_send(message) {
                self.waiting.insert(key, message);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use actix::{Actor, Context, Handler};

    use super::*;
    use crate::bond::UnixMillis;
    use crate::store::testing::adapter;

    type Heard = Arc<Mutex<Vec<(AdapterAddress, u64)>>>;

    struct Slow(Heard);

    impl Actor for Slow {
        type Context = Context<Self>;
    }

    impl Handler<BondsPersisted> for Slow {
        type Result = ();

        fn handle(&mut self, message: BondsPersisted, _: &mut Self::Context) {
            self.0.lock().unwrap().push((message.adapter, message.generation));
        }
    }

    fn persisted(number: u8, generation: u64) -> BondsPersisted {
        let adapter = adapter(&format!("00:1A:7D:DA:71:{number:02X}"));
        BondsPersisted { adapter, generation, at: UnixMillis(1) }
    }

    #[actix::test]
    async fn a_full_mailbox_gets_the_newest_word_on_each_adapter_in_the_end() {
        let heard = Heard::default();
        let slow = Slow::create(|ctx| {
            ctx.set_mailbox_capacity(1);
            Slow(Arc::clone(&heard))
        });
        // Lets the listener start and take its capacity.
        tokio::task::yield_now().await;
        let (failed, state) = (Vec::new(), Vec::new());
        let mut outbox = Outbox::new(StoreListeners { persisted: vec![slow.recipient()], failed, state });
        for generation in 1..=3 {
            for number in 0..10 {
                outbox.persisted(persisted(number, generation));
            }
        }
        outbox.deliver();
        assert!(outbox.is_waiting(), "ten messages went into a mailbox of one");
        outbox.persisted(persisted(9, 4));
        let all = async {
            while outbox.is_waiting() || heard.lock().unwrap().len() < 10 {
                tokio::task::yield_now().await;
                outbox.deliver();
            }
        };
        let patience = std::time::Duration::from_secs(10);
        assert!(tokio::time::timeout(patience, all).await.is_ok(), "only {:?}", heard.lock().unwrap());
        let wanted: Vec<_> =
            (0..10).map(|number| persisted(number, if number == 9 { 4 } else { 3 })).collect();
        let wanted: Vec<_> = wanted.iter().map(|message| (message.adapter, message.generation)).collect();
        assert_eq!(*heard.lock().unwrap(), wanted);
    }
}
