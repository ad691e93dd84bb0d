//! One handler a message: hand it to the machine, carry out what follows.

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{AdapterActor, FramesReceived, LinkEnded, SendFailed};
use crate::adapter::gate::Verdict;
use crate::adapter::machine::{IdentityOutcome, Reply};
use crate::adapter::messages::{
    Adopt, AdoptReport, Attach, BondsDescription, CheckDrift, CommandError, DescribeBonds, Detach,
    DrainAdapter, ExportBonds, ExportedBonds, ForgetBond, ForgetReport, KernelSide, ManagersChanged,
    Observed, PairedPeersSeen, Reload, Restore, RestoreReport, SetMode, StopAdapter, Undo,
};
use crate::store::messages::{AdapterRecordChanged, BondsPersisted, PersistFailed, StoreFault};

/// Messages that the machine takes as they are and that answer nothing.
macro_rules! tell_machine {
    ($message:ty, |$machine:ident, $value:ident, $now:ident| $body:expr) => {
        impl Handler<$message> for AdapterActor {
            type Result = ();

            fn handle(&mut self, $value: $message, ctx: &mut Context<Self>) {
                let $now = self.now();
                let $machine = &mut self.machine;
                $body;
                self.settle(ctx);
            }
        }
    };
}

tell_machine!(PairedPeersSeen, |machine, message, now| machine.paired_peers(message.seen, now));
tell_machine!(ManagersChanged, |machine, message, now| machine.neighbours_changed(message.seen, now));
tell_machine!(Observed, |machine, message, now| machine.observed(message.activity, now));
tell_machine!(BondsPersisted, |machine, message, now| {
    machine.persisted(message.generation, message.at, now)
});
tell_machine!(PersistFailed, |machine, message, now| machine.persist_failed(message.fault, now));
tell_machine!(CheckDrift, |machine, _message, now| machine.check_drift(now));
tell_machine!(DrainAdapter, |machine, _message, now| machine.drain(now));

/// Requests that the machine answers later.
macro_rules! ask_machine {
    ($message:ty => $reply:path as $result:ty, |$machine:ident, $id:ident, $value:ident, $now:ident| $body:expr) => {
        impl Handler<$message> for AdapterActor {
            type Result = ResponseFuture<Result<$result, CommandError>>;

            fn handle(&mut self, $value: $message, ctx: &mut Context<Self>) -> Self::Result {
                let ($id, receiver) = self.request();
                let $now = self.now();
                let $machine = &mut self.machine;
                $body;
                self.settle(ctx);
                Box::pin(answer(receiver, |reply| match reply {
                    $reply(result) => Some(result),
                    _ => None,
                }))
            }
        }
    };
}

ask_machine!(Restore => Reply::Restore as RestoreReport, |machine, id, request, now| machine.restore(id, request, now));
ask_machine!(Undo => Reply::Restore as RestoreReport, |machine, id, request, now| machine.undo(id, request, now));
ask_machine!(ForgetBond => Reply::Forget as ForgetReport, |machine, id, request, now| machine.forget(id, request, now));
ask_machine!(Reload => Reply::Reload as KernelSide, |machine, id, _request, now| machine.reload(id, now));

ask_machine!(Adopt => Reply::Adopt as AdoptReport, |machine, id, request, now| machine.adopt(id, request, now));

/// The sender is dropped only when the actor is: the service stops.
async fn answer<T>(
    receiver: oneshot::Receiver<Reply>,
    take: impl FnOnce(Reply) -> Option<Result<T, CommandError>>,
) -> Result<T, CommandError> {
    receiver.await.ok().and_then(take).unwrap_or(Err(CommandError::ShuttingDown))
}

impl Handler<Attach> for AdapterActor {
    type Result = bool;

    fn handle(&mut self, attach: Attach, ctx: &mut Context<Self>) -> bool {
        self.close_link(ctx);
        self.open_link(attach, ctx);
        self.link.is_some()
    }
}

impl Handler<Detach> for AdapterActor {
    type Result = ();

    fn handle(&mut self, _: Detach, ctx: &mut Context<Self>) {
        self.close_link(ctx);
    }
}

impl Handler<SetMode> for AdapterActor {
    type Result = ResponseFuture<Result<Verdict, CommandError>>;

    /// Answered when the choice is on disk: it must survive whatever comes next.
    fn handle(&mut self, request: SetMode, ctx: &mut Context<Self>) -> Self::Result {
        tracing::info!(adapter = %self.address, mode = request.mode.as_str(), "mode set");
        let now = self.now();
        let verdict = self.machine.set_mode(request.mode, now);
        let record = AdapterRecordChanged { adapter: self.address, record: self.machine.record().clone() };
        let saving = self.ports.record_changed.send(record);
        self.settle(ctx);
        Box::pin(async move {
            let saved = saving.await.unwrap_or(Err(StoreFault::ShuttingDown));
            saved.map(|()| verdict).map_err(CommandError::of_late_commit)
        })
    }
}

impl Handler<DescribeBonds> for AdapterActor {
    type Result = MessageResult<DescribeBonds>;

    fn handle(&mut self, _: DescribeBonds, _: &mut Context<Self>) -> Self::Result {
        let description: BondsDescription = self.machine.describe_bonds();
        MessageResult(description)
    }
}

impl Handler<ExportBonds> for AdapterActor {
    type Result = MessageResult<ExportBonds>;

    fn handle(&mut self, _: ExportBonds, _: &mut Context<Self>) -> Self::Result {
        MessageResult(ExportedBonds {
            adapter: self.address,
            record: self.machine.record().portable(),
            table: Arc::new(self.machine.table().clone()),
        })
    }
}

impl Handler<StopAdapter> for AdapterActor {
    type Result = ();

    fn handle(&mut self, _: StopAdapter, ctx: &mut Context<Self>) {
        self.link = None;
        ctx.stop();
    }
}

impl Handler<FramesReceived> for AdapterActor {
    type Result = ();

    fn handle(&mut self, message: FramesReceived, ctx: &mut Context<Self>) {
        if message.link_number == self.link_number && self.link.is_some() {
            self.frames(message.batch, ctx);
        }
    }
}

impl Handler<LinkEnded> for AdapterActor {
    type Result = ();

    /// A management socket does not end while the kernel lives. Going on without it would mean missing
    /// bonds in silence; a restart costs milliseconds and loses nothing.
    fn handle(&mut self, ended: LinkEnded, _: &mut Context<Self>) {
        if ended.link_number == self.link_number {
            panic!("the management socket of adapter {} ended: {}", self.address, ended.error);
        }
    }
}

impl Handler<SendFailed> for AdapterActor {
    type Result = ();

    fn handle(&mut self, failed: SendFailed, ctx: &mut Context<Self>) {
        if !self.session.withdraw(failed.ticket) {
            return;
        }
        let what = failed.error.to_string();
        let now = self.now();
        match self.awaited.remove(&failed.ticket) {
            Some(super::Awaited::List) => {
                self.machine.list_outcome(super::ListOutcome::Failed(what), now);
            }
            Some(super::Awaited::Identity) => {
                self.machine.identity_outcome(IdentityOutcome::Failed(what), now);
            }
            Some(super::Awaited::Unpair) => {
                self.machine.unpair_outcome(super::UnpairOutcome::Failed(what), now);
            }
            None => {}
        }
        self.settle(ctx);
    }
}
