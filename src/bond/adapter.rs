//! What is remembered of an adapter besides its bonds.

use std::collections::BTreeMap;

use super::address::PeerAddress;
use super::bond::UnixMillis;
use super::details::{LocalIdentity, OPAQUE_ITEMS_MAX, OpaqueItem};
use super::health::Track;
use super::undo::UndoPoint;

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

/// When the kernel last had the adapter's own identity, and in which appearance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRecord {
    pub appearance: Appearance,
    pub at: UnixMillis,
    /// We put it there; else another manager did.
    pub restored: bool,
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
    /// The bluetoothd whose loads are all accounted for in what is taken to be in the kernel: its own name on the
    /// bus. Another one has loaded since.
    pub bluetoothd: Option<String>,
    /// The adapter's own identity, where it was seen or imported.
    pub local_identity: Option<LocalIdentity>,
    pub identity_held: Option<Box<IdentityRecord>>,
    /// Of formats that keep something of their own beside the bonds.
    pub opaque: Vec<OpaqueItem>,
    /// What `bonds/undo` undoes.
    pub undo: Option<UndoPoint>,
    /// What the evidence says of the bonds.
    pub health: BTreeMap<PeerAddress, Track>,
}

impl AdapterRecord {
    /// What an export carries: what holds wherever the adapter is plugged in, and not this host's own notes.
    #[must_use]
    pub fn portable(&self) -> Self {
        Self {
            name: self.name.clone(),
            local_identity: self.local_identity.clone(),
            opaque: self.opaque.clone(),
            ..Self::default()
        }
    }

    /// Takes from an import what is not known here yet; true when anything was taken. What is known
    /// stays: it was seen on this adapter, or the user brought it in before.
    pub fn complete(&mut self, local_identity: Option<&LocalIdentity>, opaque: &[OpaqueItem]) -> bool {
        let known = |record: &Self| {
            let privacy = record.local_identity.as_ref().map(|identity| identity.privacy);
            (privacy, record.opaque.len())
        };
        let before = known(self);
        match (&mut self.local_identity, local_identity) {
            (None, Some(_)) => self.local_identity = local_identity.cloned(),
            // Some sources have the key alone.
            (Some(known), Some(identity)) if known.irk == identity.irk => {
                known.privacy = known.privacy.or(identity.privacy);
            }
            _ => {}
        }
        for item in opaque {
            let known = |known: &OpaqueItem| (&known.format, &known.name) == (&item.format, &item.name);
            if self.opaque.len() < OPAQUE_ITEMS_MAX && !self.opaque.iter().any(known) {
                self.opaque.push(item.clone());
            }
        }
        before != known(self)
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::bond::Privacy;
    use crate::bond::testing::irk;

    #[test]
    fn an_import_completes_a_record_and_changes_nothing_that_is_known() {
        let item = |name: &str, value: u8| OpaqueItem {
            format: "bluez".to_owned(),
            name: name.to_owned(),
            value: Zeroizing::new(vec![value]),
        };
        let identity = |seed| LocalIdentity { irk: irk(seed), privacy: None };
        let with = |privacy| LocalIdentity { privacy: Some(privacy), ..identity(1) };
        let mut record = AdapterRecord::default();
        assert!(record.complete(Some(&identity(1)), &[item("General", 1)]));
        assert!(!record.complete(Some(&identity(2)), &[item("General", 2)]));
        assert!(record.complete(None, &[item("Other", 3)]));
        assert!(record.local_identity == Some(identity(1)));
        assert!(record.opaque == [item("General", 1), item("Other", 3)]);
        assert!(!record.complete(None, &[]));
        let another = LocalIdentity { privacy: Some(Privacy::Limited), ..identity(2) };
        assert!(!record.complete(Some(&another), &[]), "how another key was used says nothing of this one");
        assert!(record.complete(Some(&with(Privacy::On)), &[]));
        assert!(!record.complete(Some(&with(Privacy::Off)), &[]));
        assert!(record.local_identity == Some(with(Privacy::On)));
    }

    #[test]
    fn what_belongs_to_this_host_is_not_portable() {
        let record = AdapterRecord { mode: Some(Mode::Own), last_index: Some(3), ..AdapterRecord::default() };
        assert_eq!(record.portable(), AdapterRecord::default());
    }
}
