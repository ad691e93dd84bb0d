//! A command that is under way: what it does, what it waits for, and how it is answered.

use std::time::{Duration, Instant};

use super::{AdapterMachine, Now, Output, Reply, RequestId};
use crate::adapter::messages::{
    AdoptReport, CommandError, ForgetBond, ForgetReport, KernelSide, KernelSideState, RestoreReport, Undo,
};
use crate::bond::plan::RestorePlan;
use crate::bond::{LocalIdentity, OpaqueItem, Operation, PeerAddress, UndoPoint};
use crate::store::messages::StoreFault;

/// Longest that a command may take: a slow SD card's commit and every load command's own deadline fit.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

/// What is being carried out.
pub(super) enum Work {
    /// `generation`: the table that the plan was made from.
    Restore {
        plan: Box<RestorePlan>,
        report: Box<RestoreReport>,
        generation: u64,
        operation: Operation,
        /// Bonds of ours that the table has lost by it.
        dropped: Vec<PeerAddress>,
        /// What the input knows of the adapter itself.
        local_identity: Option<LocalIdentity>,
        opaque: Vec<OpaqueItem>,
    },
    /// Until the copy is read; then it goes on as a restore does.
    Undo(Undo),
    /// `transports`: what is still to be unpaired, true for BR/EDR. A dual-mode peer needs both.
    Forget {
        request: ForgetBond,
        report: ForgetReport,
        transports: Vec<bool>,
    },
    Reload,
    Adopt(AdoptReport),
}

impl Work {
    pub(super) fn refusal(&self, error: CommandError) -> Reply {
        match self {
            Self::Restore { .. } | Self::Undo(_) => Reply::Restore(Err(error)),
            Self::Forget { .. } => Reply::Forget(Err(error)),
            Self::Reload => Reply::Reload(Err(error)),
            Self::Adopt(_) => Reply::Adopt(Err(error)),
        }
    }
}

/// What it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Of the copy from before what is undone.
    Copy,
    Checkpoint,
    Persisted(u64),
    Load,
    Unpair,
}

/// A command that has begun and is not done yet.
pub(super) struct PendingCommand {
    /// None once it is answered: see [`overdue`](super::overdue).
    pub id: Option<RequestId>,
    pub work: Work,
    pub step: Step,
    pub deadline: Instant,
}

impl PendingCommand {
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}

pub(super) fn side(state: KernelSideState, reason: impl Into<Option<&'static str>>) -> KernelSide {
    because(state, reason.into().map(str::to_owned))
}

pub(super) const fn because(state: KernelSideState, reason: Option<String>) -> KernelSide {
    KernelSide { state, reason, lists: Vec::new() }
}

/// What a plan would do.
pub(super) fn report_of(plan: &RestorePlan, undone: Option<Box<UndoPoint>>) -> RestoreReport {
    RestoreReport {
        plan_id: plan.plan_id.clone(),
        applied: false,
        added: plan.added.clone(),
        replaced: plan.replaced.clone(),
        unchanged: plan.unchanged.clone(),
        lost: plan.lost.clone(),
        kept: plan.kept.clone(),
        hazards: plan.hazards.clone(),
        kernel: None,
        checkpoint: None,
        undone,
    }
}

impl AdapterMachine {
    pub(super) fn command_load_ended(&mut self, kernel: KernelSide) {
        if self.command.as_ref().is_some_and(|command| command.step == Step::Load) {
            self.finish_command(kernel);
        }
    }

    pub(super) fn command_lost_the_adapter(&mut self) {
        if self.command.as_ref().is_some_and(|command| matches!(command.step, Step::Load | Step::Unpair)) {
            self.finish_command(side(KernelSideState::Absent, "the adapter was pulled out meanwhile"));
        }
    }

    pub(super) fn expire_command(&mut self, now: Now) {
        let Some(command) = self.command.as_ref().filter(|command| command.deadline <= now.instant) else {
            return;
        };
        let slow_disk = || StoreFault::Io("the disk did not answer in time".to_owned());
        let error = match command.step {
            Step::Persisted(_) => return self.command_is_overdue(slow_disk()),
            Step::Copy | Step::Checkpoint => CommandError::Store(slow_disk()),
            Step::Load | Step::Unpair => CommandError::KernelTimeout,
        };
        self.fail_command(error);
    }

    pub(super) fn finish_command(&mut self, kernel: KernelSide) {
        let Some(PendingCommand { id, work, .. }) = self.command.take() else { return };
        let reply = match work {
            Work::Restore { mut report, .. } => {
                report.applied = true;
                report.kernel = Some(kernel);
                Reply::Restore(Ok(*report))
            }
            Work::Forget { mut report, .. } => {
                report.kernel = kernel;
                Reply::Forget(Ok(report))
            }
            // It never gets as far as the kernel in this form.
            Work::Undo(_) => Reply::Restore(Err(CommandError::PlanStale)),
            Work::Reload if kernel.state == KernelSideState::Refused => {
                let what = kernel.reason.unwrap_or_default();
                Reply::Reload(Err(CommandError::KernelRefused(what)))
            }
            Work::Reload if kernel.state == KernelSideState::Absent => {
                Reply::Reload(Err(CommandError::AdapterAbsent))
            }
            Work::Reload => Reply::Reload(Ok(kernel)),
            Work::Adopt(mut report) => {
                report.kernel = kernel;
                Reply::Adopt(Ok(report))
            }
        };
        if let Some(id) = id {
            self.reply(id, reply);
        }
    }

    pub(super) fn fail_command(&mut self, error: CommandError) {
        let Some(PendingCommand { id, work, .. }) = self.command.take() else { return };
        if let Some(id) = id {
            self.reply(id, work.refusal(error));
        }
    }

    pub(super) fn reply(&mut self, id: RequestId, reply: Reply) {
        self.outputs.push_back(Output::Reply(id, Box::new(reply)));
    }
}
