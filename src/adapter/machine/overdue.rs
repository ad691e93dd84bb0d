//! A change of a user that could not be stored in time. It stands, the store goes on trying, and who asked has been told
//! so; what the kernel is to be told of it waits until it is durable.

use super::pending::{COMMAND_DEADLINE, Step};
use super::{AdapterMachine, Now};
use crate::adapter::messages::CommandError;
use crate::store::messages::StoreFault;

impl AdapterMachine {
    /// Answers the command whose change waits for its commit, and keeps what is left of it to do.
    pub(super) fn command_is_overdue(&mut self, fault: StoreFault) {
        let waits = self.command.take_if(|command| matches!(command.step, Step::Persisted(_)));
        let Some(mut command) = waits else { return };
        if let Some(id) = command.id.take() {
            self.reply(id, command.work.refusal(CommandError::of_late_commit(fault)));
        }
        self.overdue = Some(command);
    }

    /// Goes on with it once the disk has taken the change.
    pub(super) fn resume_overdue(&mut self, now: Now) {
        if self.command.is_some() {
            return;
        }
        let persisted = self.persisted_generation;
        let is_durable = |step| matches!(step, Step::Persisted(generation) if generation <= persisted);
        let Some(mut command) = self.overdue.take_if(|command| is_durable(command.step)) else { return };
        command.deadline = now.instant + COMMAND_DEADLINE;
        self.command = Some(command);
        self.command_persisted();
    }

    /// Why no other change may begin now.
    pub(super) fn change_refusal(&self) -> Option<CommandError> {
        if self.command.is_some() {
            return Some(CommandError::Busy);
        }
        self.overdue.as_ref()?;
        Some(self.persist_fault.clone().map_or(CommandError::Busy, CommandError::Store))
    }
}
