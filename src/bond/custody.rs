//! Whose a bond is, and how it came here.

/// Who keeps a bond loaded in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Custody {
    /// We do: captured on an adapter that no other manager keeps, imported, restored,
    /// adopted or paired by us.
    Ours,
    /// Another manager does; here it is backed up and watched.
    Foreign,
}

impl Custody {
    /// The word that topics and formats use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Foreign => "foreign",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ours, Self::Foreign].into_iter().find(|custody| custody.as_str() == word)
    }
}

/// How a bond came into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// From a key event of the kernel.
    Captured,
    /// From another manager's load.
    Learned,
    /// From a file of another system.
    Imported,
    /// From one of our own copies.
    Restored,
    /// From a pairing that we ran.
    Paired,
}

impl Source {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Captured, "captured"),
        (Self::Learned, "learned"),
        (Self::Imported, "imported"),
        (Self::Restored, "restored"),
        (Self::Paired, "paired"),
    ];

    /// The word that topics and formats use.
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(source, _)| *source)
    }
}
