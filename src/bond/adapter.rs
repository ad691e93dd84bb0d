//! What is remembered of an adapter besides its bonds.

use super::bond::UnixMillis;
use super::details::{LocalIdentity, OpaqueItem};

/// How far an adapter may be kept. Set by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Load where that is safe; hold beside another manager where it is not.
    #[default]
    Auto,
    /// This adapter is ours: always load.
    Own,
    /// Capture and back up only; never send a load.
    Observe,
}

impl Mode {
    /// Every mode, in the order that people are shown.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Own, Self::Observe];

    /// The word that options, topics and requests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Own => "own",
            Self::Observe => "observe",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// One life of a controller's kernel tables, from plug-in to unplug.
///
/// The kernel gives the controller a new sysfs inode at each plug-in and keeps it over power
/// cycles; the boot id tells one run of the kernel from the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Appearance {
    /// `/proc/sys/kernel/random/boot_id`, without the line end.
    pub boot_id: String,
    /// Inode of `/sys/class/bluetooth/hciN`.
    pub inode: u64,
}

/// What the kernel was last given for an adapter, and in which appearance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadRecord {
    pub appearance: Appearance,
    /// Table generation that was loaded.
    pub generation: u64,
    pub at: UnixMillis,
}

/// What is remembered of an adapter besides its bonds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdapterRecord {
    /// The user's own choice; none = the configured default.
    pub mode: Option<Mode>,
    /// The controller's name when it was last seen.
    pub name: Option<String>,
    /// Controller index when it was last seen: a hint for people, never a key.
    pub last_index: Option<u16>,
    pub last_load: Option<LoadRecord>,
    /// The adapter's own identity, where it was seen or imported.
    pub local_identity: Option<LocalIdentity>,
    /// Of formats that keep something of their own beside the bonds.
    pub opaque: Vec<OpaqueItem>,
}
