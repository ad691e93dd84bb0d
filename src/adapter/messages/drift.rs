//! Whether the kernel's tables are what they should be, where that can be seen.

use actix::Message;

pub use crate::adapter::drift::Drift;
use crate::adapter::tables::Unreadable;

/// It is time to look at the kernel's tables.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct CheckDrift;

/// What the last check came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriftState {
    InAgreement,
    Drifted(Drift),
    Unknown(DriftUnknown),
}

/// Why nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftUnknown {
    /// The adapter is not plugged in.
    Absent,
    /// No check has been made yet.
    NotChecked,
    Unreadable(Unreadable),
}

impl DriftState {
    /// The word that topics use.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::InAgreement => "in_agreement",
            Self::Drifted(_) => "drifted",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl DriftUnknown {
    /// A stable word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::NotChecked => "not_checked",
            Self::Unreadable(Unreadable::NotMounted) => "not_mounted",
            Self::Unreadable(Unreadable::NoPermission) => "no_permission",
            Self::Unreadable(Unreadable::NotUnderstood) => "not_understood",
            Self::Unreadable(Unreadable::Failed) => "failed",
        }
    }
}
