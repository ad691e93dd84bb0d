//! Writes into the audit log what was found damaged in the store: at its opening, or when the rest of it was read.
//!
//! Must never hold the store up. Told by the store, as everybody who hears of its state.

use actix::prelude::*;

use super::wall_clock;
use crate::audit::messages::{Action, Entry, Record};
use crate::store::messages::{StoreState, StoreStateChanged};

/// See the module text.
pub(super) struct Witness {
    audit: Recipient<Record>,
    /// What was written last: the state is told again with every change of anything else.
    written: Option<String>,
}

impl Witness {
    pub const fn new(audit: Recipient<Record>) -> Self {
        Self { audit, written: None }
    }
}

impl Actor for Witness {
    type Context = Context<Self>;
}

impl Handler<StoreStateChanged> for Witness {
    type Result = ();

    fn handle(&mut self, message: StoreStateChanged, _: &mut Self::Context) {
        let StoreState::Rebuilt { detail } = message.state else { return };
        if self.written.as_ref() == Some(&detail) {
            return;
        }
        let mut entry = Entry::new(wall_clock(), Action::StoreRebuilt, "start");
        entry.detail = Some(detail.clone());
        // A mailbox that is full now takes it with the next word of the store.
        if self.audit.try_send(Record(entry)).is_ok() {
            self.written = Some(detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Default, Clone)]
    struct Ear(Arc<Mutex<Vec<Option<String>>>>);

    impl Actor for Ear {
        type Context = Context<Self>;
    }

    impl Handler<Record> for Ear {
        type Result = ();

        fn handle(&mut self, Record(entry): Record, _: &mut Self::Context) {
            self.0.lock().unwrap().push(entry.detail);
        }
    }

    #[actix::test]
    async fn each_finding_is_written_once() {
        let ear = Ear::default();
        let listening = ear.clone().start();
        let witness = Witness::new(listening.clone().recipient()).start();
        let rebuilt = |detail: &str| StoreState::Rebuilt { detail: detail.to_owned() };
        for state in
            [StoreState::Ok, rebuilt("a"), rebuilt("a"), StoreState::Ok, rebuilt("a"), rebuilt("a; b")]
        {
            witness.send(StoreStateChanged { state, last_commit_us: 0, max_commit_us: 0 }).await.unwrap();
        }
        // Behind what it was told.
        listening.send(Record(Entry::new(wall_clock(), Action::StoreRebuilt, "end"))).await.unwrap();
        let written = ear.0.lock().unwrap().clone();
        assert_eq!(written, [Some("a".to_owned()), Some("a; b".to_owned()), None]);
    }
}
