//! What the evidence says about a bond.

/// The verdict on a bond. Nothing is ever deleted because of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// No evidence either way yet.
    #[default]
    Unknown,
    /// The peer was seen to encrypt with it.
    Ok,
    /// The peer refused it once.
    Suspect,
    /// The peer refused it repeatedly: it has most likely lost its half.
    Stale,
}

impl Health {
    /// The word that topics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Suspect => "suspect",
            Self::Stale => "stale",
        }
    }
}
