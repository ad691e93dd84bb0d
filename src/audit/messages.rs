//! What the audit log is told, and what it tells.

use actix::{Message, Recipient};

pub use super::entry::{Action, BondChange, CommandFacts, Entry, Line};

/// Write this down. Whoever tells it does not wait.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Record(pub Entry);

/// Write all of these down, in this order: what one adapter has to tell at once, in one message, so that a storm does
/// not fill the mailbox.
#[derive(Message, Clone, Debug, Default)]
#[rtype(result = "()")]
pub struct Records {
    pub entries: Vec<Entry>,
    /// Entries that had to be given up before these.
    pub dropped_count: u64,
}

/// These lines are on disk.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Recorded(pub Vec<Line>);

/// The log can be written again, or cannot any more.
#[derive(Message, Clone, Debug, PartialEq, Eq, Default)]
#[rtype(result = "()")]
pub struct AuditStateChanged {
    /// One sentence; none while all is well.
    pub fault: Option<String>,
    /// Entries that were given up because too many waited, since the service started.
    pub lost_count: u64,
}

/// Write what still waits; answered when it is on disk, or cannot be written now.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct DrainAudit;

/// Who hears of the log.
#[derive(Clone)]
pub struct AuditListeners {
    pub recorded: Recipient<Recorded>,
    pub state: Recipient<AuditStateChanged>,
}
