//! Adopting: foreign bonds come into our custody and are kept loaded from then on.

use super::pending::{COMMAND_DEADLINE, PendingCommand, Step, Work, side};
use super::report::{Announcement, Subject};
use super::{AdapterMachine, Now, Reply, RequestId};
use crate::adapter::messages::{Adopt, AdoptReport, CommandError, KernelSideState};
use crate::bond::{Custody, PeerAddress};

impl AdapterMachine {
    /// Takes foreign bonds into our custody.
    pub fn adopt(&mut self, id: RequestId, request: Adopt, now: Now) {
        let unknown = request.peers.iter().flatten().find(|peer| self.table.get(**peer).is_none());
        if let Some(unknown) = unknown {
            return self.reply(id, Reply::Adopt(Err(CommandError::PeerUnknown(*unknown))));
        }
        if let Some(refusal) = self.change_refusal() {
            return self.reply(id, Reply::Adopt(Err(refusal)));
        }
        let named = |peer: PeerAddress| request.peers.as_ref().is_none_or(|peers| peers.contains(&peer));
        let foreign = self.table.bonds().filter(|bond| bond.metadata.custody == Custody::Foreign);
        let adopted: Vec<PeerAddress> = foreign.map(|bond| bond.peer).filter(|peer| named(*peer)).collect();
        let changes_nothing = adopted.is_empty();
        let report = AdoptReport { adopted, kernel: side(KernelSideState::Absent, None), checkpoint: None };
        self.command = Some(PendingCommand {
            id: Some(id),
            work: Work::Adopt(report),
            step: Step::Checkpoint,
            deadline: now.instant + COMMAND_DEADLINE,
        });
        if changes_nothing {
            self.change_table(None);
        } else {
            self.checkpoint("before_adopt");
        }
        self.settle(now);
    }

    /// The table's part of it.
    pub(super) fn take_into_custody(&mut self, peers: &[PeerAddress]) {
        for peer in peers {
            self.table.touch(*peer, |metadata| {
                metadata.custody = Custody::Ours;
                metadata.note(|details| details.orphaned = false);
            });
        }
        if !peers.is_empty() {
            let (generation, subject) = (self.table.generation(), Subject::Adopted(peers.to_vec()));
            self.announce(Announcement { generation, subject, cause: "adopt" });
        }
    }
}
