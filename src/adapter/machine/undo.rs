//! Undoing the last thing that a user did to the bonds: planned from the copy that was taken before it, and
//! carried out as a restore is. An undo can be undone in turn, which does the thing again.

use super::pending::{COMMAND_DEADLINE, PendingCommand, Step, Work, report_of};
use super::{AdapterMachine, Now, Output, Reply, RequestId};
use crate::adapter::messages::{CommandError, Undo};
use crate::bond::plan::PlanFacts;
use crate::bond::undo::plan_undo;
use crate::bond::{BondTable, Operation, UndoPoint, UnixMillis};
use crate::mgmt::LoadKind;
use crate::store::messages::StoreFault;

/// Nothing was ever done, or it was done by an earlier release.
const NOTHING: &str = "nothing that could be undone was done on this adapter";

/// It was done, and nothing is left of it.
const OVERTAKEN: &str = "nothing is left to undo: every bond that the last operation changed was paired or removed since, or is as it was before";

impl AdapterMachine {
    /// Plans the way back and, unless it is a dry run, goes it.
    pub fn undo(&mut self, id: RequestId, request: Undo, now: Now) {
        let Some(point) = &self.record.undo else {
            return self.reply(id, Reply::Restore(Err(CommandError::NothingToUndo(NOTHING))));
        };
        if let Some(refusal) = self.change_refusal() {
            return self.reply(id, Reply::Restore(Err(refusal)));
        }
        self.outputs.push_back(Output::ReadCheckpoint(point.checkpoint.clone()));
        let deadline = now.instant + COMMAND_DEADLINE;
        self.command =
            Some(PendingCommand { id: Some(id), work: Work::Undo(request), step: Step::Copy, deadline });
        self.settle(now);
    }

    /// The copy that was asked for is read, or could not be.
    pub fn copy_outcome(&mut self, outcome: Result<BondTable, StoreFault>, now: Now) {
        if self.command.as_ref().is_some_and(|command| command.step == Step::Copy) {
            match outcome {
                Ok(copy) => self.plan_way_back(&copy, now),
                Err(fault) => self.fail_command(CommandError::Store(fault)),
            }
        }
        self.settle(now);
    }

    fn plan_way_back(&mut self, copy: &BondTable, now: Now) {
        let (Some(command), Some(point)) = (self.command.take(), self.record.undo.clone()) else { return };
        let PendingCommand { id: Some(id), work: Work::Undo(request), deadline, .. } = command else {
            return;
        };
        let facts = self.plan_facts();
        let plan = plan_undo(&self.table, copy, &point, &facts, &self.fingerprint_key, now.wall);
        let report = report_of(&plan, Some(Box::new(point)));
        if request.dry_run {
            return self.reply(id, Reply::Restore(Ok(report)));
        }
        let refusal = if request.plan_id.is_some_and(|expected| expected != plan.plan_id) {
            Some(CommandError::PlanStale)
        } else {
            plan.changes_nothing().then_some(CommandError::NothingToUndo(OVERTAKEN))
        };
        if let Some(refusal) = refusal {
            return self.reply(id, Reply::Restore(Err(refusal)));
        }
        let generation = self.table.generation();
        let work = Work::Restore {
            plan: Box::new(plan),
            report: Box::new(report),
            generation,
            operation: Operation::Undo,
            dropped: Vec::new(),
            // What an import told of the adapter itself is no bond, and stays.
            local_identity: None,
            opaque: Vec::new(),
        };
        self.command = Some(PendingCommand { id: Some(id), work, step: Step::Checkpoint, deadline });
        self.checkpoint("before_undo");
    }

    /// What the next undo goes back on. Goes to the store with the table that it belongs to.
    pub(super) fn can_be_undone(
        &mut self,
        operation: Operation,
        checkpoint: Option<String>,
        before: u64,
        at: UnixMillis,
    ) {
        let after = self.table.generation();
        if let Some(checkpoint) = checkpoint.filter(|_| after != before) {
            self.record.undo = Some(UndoPoint { operation, checkpoint, before, after, at });
        }
    }

    /// What a plan has to know of the adapter.
    pub(super) fn plan_facts(&self) -> PlanFacts {
        let attachment = self.attachment.as_ref();
        PlanFacts {
            connected: attachment
                .map_or_else(Vec::new, |attachment| attachment.connected.iter().copied().collect()),
            adapter_mismatch: false,
            held: self.is_attached() && !self.verdict().may_load(),
            unseen: attachment.is_some_and(|attachment| {
                !attachment.shadow.is_complete(LoadKind::Ltks)
                    || (attachment.dual_mode && !attachment.shadow.is_complete(LoadKind::LinkKeys))
            }),
        }
    }
}
