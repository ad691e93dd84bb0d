//! Commands of users: restore, forget, reload. One at a time on an adapter; each is
//! answered within its deadline, also when it fails.

use std::sync::Arc;

use super::load::Wanted;
use super::pending::{COMMAND_DEADLINE, PendingCommand, Step, Work, because, report_of, side};
use super::report::{Announcement, Subject};
use super::{AdapterMachine, Now, Output, Reply, RequestId, UnpairOutcome};
use crate::adapter::gate::Verdict;
use crate::adapter::messages::{CommandError, ForgetBond, ForgetReport, KernelSideState, Restore};
use crate::bond::plan::{PlanFacts, RestoreMode, RestorePlan, plan_restore};
use crate::bond::{Custody, Operation, PeerAddress, UnixMillis};
use crate::store::messages::{Checkpoint, StoreFault};

/// Stands for the time that an operation gave bonds which has given none.
const NO_TIME: UnixMillis = UnixMillis(0);

impl AdapterMachine {
    /// Plans a restore and, unless it is a dry run, carries it out.
    pub fn restore(&mut self, id: RequestId, request: Restore, now: Now) {
        let plan = self.plan(&request, now);
        let report = report_of(&plan, None);
        if request.dry_run {
            return self.reply(id, Reply::Restore(Ok(report)));
        }
        if request.plan_id.is_some_and(|expected| expected != plan.plan_id) {
            return self.reply(id, Reply::Restore(Err(CommandError::PlanStale)));
        }
        if let Some(refusal) = self.change_refusal() {
            return self.reply(id, Reply::Restore(Err(refusal)));
        }
        let changes_nothing = plan.changes_nothing();
        let operation = match plan.mode {
            RestoreMode::Merge => Operation::Restore,
            RestoreMode::Replace => Operation::Replace,
        };
        self.command = Some(PendingCommand {
            id: Some(id),
            work: Work::Restore {
                plan: Box::new(plan),
                report: Box::new(report),
                generation: self.table.generation(),
                operation,
                dropped: Vec::new(),
                local_identity: request.local_identity,
                opaque: request.opaque,
            },
            step: Step::Checkpoint,
            deadline: now.instant + COMMAND_DEADLINE,
        });
        if changes_nothing {
            self.change_table(None);
        } else {
            self.checkpoint("before_restore");
        }
        self.settle(now);
    }

    fn plan(&self, request: &Restore, now: Now) -> RestorePlan {
        let facts = PlanFacts { adapter_mismatch: request.adapter_mismatch, ..self.plan_facts() };
        let key = &self.fingerprint_key;
        plan_restore(&self.table, &request.bonds, request.mode, request.source, &facts, key, now.wall)
    }

    /// Drops a bond.
    pub fn forget(&mut self, id: RequestId, request: ForgetBond, now: Now) {
        let peer = request.peer;
        let Some(bond) = self.table.get(peer) else {
            return self.reply(id, Reply::Forget(Err(CommandError::PeerUnknown(peer))));
        };
        let transports = [(bond.has_le_keys(), false), (bond.link_key.is_some(), true)];
        let transports = transports.into_iter().filter(|(has, _)| *has).map(|(_, bredr)| bredr).collect();
        if let Some(refusal) = self.change_refusal() {
            return self.reply(id, Reply::Forget(Err(refusal)));
        }
        let report = ForgetReport { peer, kernel: side(KernelSideState::Absent, None), checkpoint: None };
        self.command = Some(PendingCommand {
            id: Some(id),
            work: Work::Forget { request, report, transports },
            step: Step::Checkpoint,
            deadline: now.instant + COMMAND_DEADLINE,
        });
        self.checkpoint("before_forget");
        self.settle(now);
    }

    /// Reconciles now.
    pub fn reload(&mut self, id: RequestId, now: Now) {
        let error = match self.verdict() {
            _ if !self.is_attached() => Some(CommandError::AdapterAbsent),
            Verdict::Hold(reason) => {
                Some(CommandError::Held { reason: reason.words(), advice: reason.advice() })
            }
            _ if self.command.is_some() => Some(CommandError::Busy),
            _ => None,
        };
        if let Some(error) = error {
            return self.reply(id, Reply::Reload(Err(error)));
        }
        let deadline = now.instant + COMMAND_DEADLINE;
        self.command = Some(PendingCommand { id: Some(id), work: Work::Reload, step: Step::Load, deadline });
        if let Some(attachment) = &mut self.attachment {
            attachment.identity.want("reload");
        }
        self.want_load(Wanted::cause("reload"));
        self.settle(now);
    }

    pub(super) fn checkpoint(&mut self, reason: &'static str) {
        let table = Arc::new(self.table.clone());
        self.outputs.push_back(Output::SaveCheckpoint { table, reason, awaited: true });
    }

    /// The copy that a command asked for is taken, or could not be.
    pub fn checkpoint_outcome(&mut self, outcome: Result<Checkpoint, StoreFault>, now: Now) {
        if self.command.as_ref().is_some_and(|command| command.step == Step::Checkpoint) {
            match outcome {
                Ok(checkpoint) => self.change_table(Some(checkpoint.label)),
                Err(fault) => self.fail_command(CommandError::Store(fault)),
            }
        }
        self.settle(now);
    }

    /// Second step of a restore, a forget or an adoption: change the table, and wait until that is durable.
    pub(super) fn change_table(&mut self, label: Option<String>) {
        let Some(mut command) = self.command.take() else { return };
        let before = self.table.generation();
        match &mut command.work {
            Work::Restore { plan, report, generation, operation, dropped, local_identity, opaque } => {
                report.checkpoint.clone_from(&label);
                // A pairing came in while the checkpoint was written.
                if *generation != before {
                    self.command = Some(command);
                    return self.fail_command(CommandError::PlanStale);
                }
                let is_ours = |peer: &PeerAddress| {
                    self.table.get(*peer).is_some_and(|bond| bond.metadata.custody == Custody::Ours)
                };
                *dropped = plan.lost.iter().copied().filter(is_ours).collect();
                if let Err(full) = plan.apply(&mut self.table) {
                    self.command = Some(command);
                    return self.fail_command(CommandError::TableFull(full));
                }
                if self.record.complete(local_identity.as_ref(), opaque) {
                    self.outputs.push_back(Output::SaveRecord(self.record.clone()));
                }
                if !plan.is_empty() || (*operation == Operation::Undo && !plan.changes_nothing()) {
                    let (added, replaced, lost) =
                        (plan.added.clone(), plan.replaced.clone(), plan.lost.clone());
                    self.keys_watched.extend(added.iter().chain(&replaced));
                    let subject = Subject::Restored { added, replaced, lost };
                    let generation = self.table.generation();
                    let cause = if *operation == Operation::Undo { "undo" } else { "restore" };
                    self.announce(Announcement { generation, subject, cause });
                }
                let (operation, at) = (*operation, plan.at);
                self.can_be_undone(operation, label, before, at);
            }
            Work::Forget { request, report, .. } => {
                report.checkpoint.clone_from(&label);
                self.remove_bond(request.peer, "forget");
                self.can_be_undone(Operation::Forget, label, before, NO_TIME);
            }
            Work::Adopt(report) => {
                report.checkpoint.clone_from(&label);
                let adopted = report.adopted.clone();
                self.take_into_custody(&adopted);
                self.can_be_undone(Operation::Adopt, label, before, NO_TIME);
            }
            Work::Undo(_) | Work::Reload => {}
        }
        let changed = self.table.generation() != before;
        command.step = Step::Persisted(self.table.generation());
        self.command = Some(command);
        if changed {
            self.bonds_dirty = true;
            self.save_bonds();
        }
        self.command_persisted();
    }

    /// Third step: the kernel.
    pub(super) fn command_persisted(&mut self) {
        let Some(command) = &mut self.command else { return };
        let Step::Persisted(generation) = command.step else { return };
        if generation > self.persisted_generation {
            return;
        }
        match &command.work {
            Work::Forget { request, .. } => {
                let request = *request;
                self.forget_in_kernel(request);
            }
            Work::Restore { plan, dropped, .. } => {
                let removes = !plan.lost.is_empty();
                if let Some(attachment) = &mut self.attachment {
                    // A key that the kernel made is kept for whoever may want it. Nobody does now.
                    for peer in dropped {
                        attachment.theirs.drop_made(*peer);
                    }
                }
                self.load_for_command(if removes {
                    Wanted::removal("restore")
                } else {
                    Wanted::cause("restore")
                });
            }
            Work::Adopt(_) => self.load_for_command(Wanted::cause("adopt")),
            Work::Undo(_) | Work::Reload => {}
        }
    }

    fn load_for_command(&mut self, wanted: Wanted) {
        if !self.is_attached() {
            return self.finish_command(side(
                KernelSideState::Absent,
                "the adapter is not plugged in; the bonds are loaded when it is",
            ));
        }
        if let Verdict::Hold(reason) = self.verdict() {
            let reason = Some(format!("{}. {}", reason.words(), reason.advice()));
            return self.finish_command(because(KernelSideState::Held, reason));
        }
        if let Some(command) = &mut self.command {
            command.step = Step::Load;
        }
        self.want_load(wanted);
    }

    fn forget_in_kernel(&mut self, request: ForgetBond) {
        let Some(attachment) = &self.attachment else {
            return self.finish_command(side(KernelSideState::Absent, None));
        };
        if !request.unpair {
            let reason = "the kernel keeps its key until the adapter is pulled out or loaded again, as unpair was not asked for";
            return self.finish_command(side(KernelSideState::Held, reason));
        }
        if self.table.get(request.peer).is_some() {
            // Unpairing would take the key of a pairing that is wanted.
            let reason = "the peer was paired again meanwhile: its new key stays";
            return self.finish_command(side(KernelSideState::Held, reason));
        }
        let powered = attachment.powered;
        if let Verdict::Hold(reason) = self.verdict() {
            let reason = format!("the key stays in the kernel: {}", reason.words());
            return self.finish_command(because(KernelSideState::Held, Some(reason)));
        }
        if !powered {
            // An unpowered adapter cannot unpair: its list is loaded again without the peer.
            self.drop_from_lists(request.peer);
            return self.load_for_command(Wanted::removal("forget"));
        }
        if let Some(command) = &mut self.command {
            command.step = Step::Unpair;
        }
        self.unpair_next();
    }

    /// Unpairs the next transport; the forget is done when none is left.
    fn unpair_next(&mut self) {
        let Some(command) = &mut self.command else { return };
        let Work::Forget { request, transports, .. } = &mut command.work else { return };
        let peer = request.peer;
        if let Some(bredr) = transports.pop() {
            self.outputs.push_back(Output::SendUnpair { peer, bredr });
            return;
        }
        self.drop_from_lists(peer);
        if self.table.get(peer).is_some() {
            // Its new key came before the kernel had unpaired it, and went with the old one.
            self.want_load(Wanted::cause("paired_again"));
        }
        self.bonds_dirty = true;
        self.finish_command(side(KernelSideState::Loaded, None));
    }

    /// The user's word ends what others want of this peer in the kernel, until they load it again.
    fn drop_from_lists(&mut self, peer: PeerAddress) {
        if let Some(attachment) = &mut self.attachment {
            for bredr in [false, true] {
                attachment.shadow.drop_peer(peer, bredr);
                attachment.theirs.drop_peer(peer, bredr);
            }
        }
    }

    /// What Unpair Device came to.
    pub fn unpair_outcome(&mut self, outcome: UnpairOutcome, now: Now) {
        if self.command.as_ref().is_some_and(|command| command.step == Step::Unpair) {
            match outcome {
                UnpairOutcome::Gone => self.unpair_next(),
                UnpairOutcome::Failed(what) => {
                    let reason = Some(format!("the kernel did not unpair: {what}"));
                    self.finish_command(because(KernelSideState::Refused, reason));
                }
                UnpairOutcome::Silent => {
                    self.finish_command(side(KernelSideState::Refused, "the kernel did not answer in time"));
                }
            }
        }
        self.settle(now);
    }
}
