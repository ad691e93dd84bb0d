//! What is written down, and how a line of it looks.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bond::{AdapterAddress, Fingerprint, PeerAddress, UnixMillis};
use crate::format::rfc3339;

/// Bonds that one line names. A restore of more is told with how many more there were: the checkpoint
/// taken before it has them all.
pub const BONDS_PER_LINE_MAX: usize = 200;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    BondAdded,
    BondUpdated,
    BondRemoved,
    /// Another manager's load held bonds that were not known.
    BondsLearned,
    /// A manager has loaded its list without them.
    BondOrphaned,
    /// Bonds were restored, imported, adopted or undone; the cause says which.
    BondsRestored,
    /// Another manager has set the adapter's own identity.
    IdentityCaptured,
    /// It was put back.
    IdentityRestored,
    /// A client's command that may have changed something was answered.
    Command,
    StoreRebuilt,
}

impl Action {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BondAdded => "bond_added",
            Self::BondUpdated => "bond_updated",
            Self::BondRemoved => "bond_removed",
            Self::BondsLearned => "bonds_learned",
            Self::BondOrphaned => "bond_orphaned",
            Self::BondsRestored => "bonds_restored",
            Self::IdentityCaptured => "identity_captured",
            Self::IdentityRestored => "identity_restored",
            Self::Command => "command",
            Self::StoreRebuilt => "store_rebuilt",
        }
    }
}

/// One bond, before and after. Fingerprints, never keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BondChange {
    pub peer: PeerAddress,
    pub before: Option<Fingerprint>,
    pub after: Option<Fingerprint>,
}

/// What is known of a client's command.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandFacts {
    pub verb: String,
    /// The client's own mark, as it was sent.
    pub transaction: Option<Value>,
    /// None: it was carried out; else the error's code.
    pub error: Option<&'static str>,
}

/// Something to write down.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at: UnixMillis,
    pub action: Action,
    /// What brought it about: `pairing`, `unpaired`, `forget`, `restore`, `undo`, …
    pub cause: &'static str,
    pub adapter: Option<AdapterAddress>,
    pub bonds: Vec<BondChange>,
    pub checkpoint: Option<String>,
    pub command: Option<CommandFacts>,
    /// One sentence for people.
    pub detail: Option<String>,
}

impl Entry {
    pub const fn new(at: UnixMillis, action: Action, cause: &'static str) -> Self {
        Self {
            at,
            action,
            cause,
            adapter: None,
            bonds: Vec::new(),
            checkpoint: None,
            command: None,
            detail: None,
        }
    }

    /// As it is written and published.
    pub fn line(&self) -> Line {
        let command = self.command.as_ref();
        Line {
            at: rfc3339(self.at),
            action: self.action.as_str().to_owned(),
            cause: self.cause.to_owned(),
            adapter: self.adapter.map(|adapter| adapter.to_string()),
            bonds: self.bonds.iter().take(BONDS_PER_LINE_MAX).map(BondLine::of).collect(),
            more: self.bonds.len().saturating_sub(BONDS_PER_LINE_MAX),
            checkpoint: self.checkpoint.clone(),
            verb: command.map(|command| command.verb.clone()),
            transaction: command.and_then(|command| command.transaction.clone()),
            outcome: command.and_then(|command| command.error).unwrap_or("ok").to_owned(),
            detail: self.detail.clone(),
        }
    }
}

/// One line of the log: also what is published and what `bondkeeper history --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub at: String,
    pub action: String,
    pub cause: String,
    pub adapter: Option<String>,
    pub bonds: Vec<BondLine>,
    /// Bonds beyond those that are named.
    pub more: usize,
    pub checkpoint: Option<String>,
    pub verb: Option<String>,
    pub transaction: Option<Value>,
    /// `ok`, or the code of the error.
    pub outcome: String,
    pub detail: Option<String>,
}

/// One bond of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondLine {
    pub peer: String,
    pub address_type: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl BondLine {
    fn of(change: &BondChange) -> Self {
        Self {
            peer: change.peer.to_string(),
            address_type: change.peer.kind().as_str().to_owned(),
            before: change.before.map(|fingerprint| fingerprint.to_string()),
            after: change.after.map(|fingerprint| fingerprint.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::peer;

    #[test]
    fn a_line_names_a_bounded_number_of_bonds_and_counts_the_rest() {
        let change = BondChange { peer: peer("C0:FF:EE:00:00:01"), before: None, after: None };
        let mut entry = Entry::new(UnixMillis(0), Action::BondsRestored, "restore");
        entry.bonds = vec![change; BONDS_PER_LINE_MAX + 3];
        let line = entry.line();
        assert_eq!((line.bonds.len(), line.more), (BONDS_PER_LINE_MAX, 3));
    }

    #[test]
    fn a_command_that_failed_says_with_which_code() {
        let mut entry = Entry::new(UnixMillis(0), Action::Command, "command");
        assert_eq!(entry.line().outcome, "ok");
        let (verb, transaction) = ("bonds/undo".to_owned(), Some(Value::from(7)));
        entry.command = Some(CommandFacts { verb, transaction, error: Some("nothing_to_undo") });
        let line = entry.line();
        assert_eq!((line.outcome.as_str(), line.transaction), ("nothing_to_undo", Some(Value::from(7))));
    }
}
