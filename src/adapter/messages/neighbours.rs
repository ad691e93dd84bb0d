//! Who else is at the management interface, and what they do there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::Message;

use crate::bond::PeerAddress;
use crate::bond::health::EvidenceKind;
use crate::mgmt::{ForeignLoad, LoadKind, PrivacySetting, RawAddress};

/// Who else is at this adapter, as the monitor channel shows it. `None`: it cannot be read.
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct ManagersChanged {
    pub seen: Option<Neighbours>,
}

/// Other processes that hold control sockets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Neighbours {
    /// bluetoothd, or any process that has sent a load for this adapter in this appearance.
    pub managers: Vec<String>,
    /// Those of them that store every bond which is made while they run.
    pub keepers: Vec<String>,
    /// The others.
    pub listeners: Vec<String>,
}

/// Who else talks to the kernel's management interface, for the registry to hand to each adapter.
#[derive(Message, Clone, Debug, PartialEq, Eq, Default)]
#[rtype(result = "()")]
pub struct NeighbourhoodChanged {
    /// None where the monitor channel cannot be read.
    pub seen: Option<Neighbourhood>,
}

/// See [`NeighbourhoodChanged`]. Process names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Neighbourhood {
    /// Managers of every adapter, which also keep what is paired.
    pub managers: BTreeSet<String>,
    pub listeners: BTreeSet<String>,
    /// Who has replaced a list of the adapter at this index, in its present appearance.
    pub loaders: BTreeMap<u16, BTreeSet<String>>,
}

impl Neighbourhood {
    /// As one adapter sees it.
    pub fn at(&self, index: u16) -> Neighbours {
        let loaders = self.loaders.get(&index).into_iter().flatten();
        let managers: BTreeSet<&String> = self.managers.iter().chain(loaders).collect();
        let listeners = self.listeners.iter().filter(|name| !managers.contains(name)).cloned().collect();
        Neighbours {
            managers: managers.into_iter().cloned().collect(),
            keepers: self.managers.iter().cloned().collect(),
            listeners,
        }
    }
}

/// Something that was done to the lists of the adapter at `index`, in the order in which the kernel
/// did it. From the watch to the registry, and on to the adapter.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Observed {
    pub index: u16,
    /// Address of the controller that had the index then, as on the wire; none where the monitor channel had
    /// not shown it yet.
    pub address: Option<[u8; 6]>,
    pub activity: Activity,
}

/// See [`Observed`]. Only what the kernel has carried out.
#[derive(Debug, Clone)]
pub enum Activity {
    /// A controller took the index or gave it up: whatever was loaded there is gone.
    Reset,
    /// Another process has put its list in place of the kernel's.
    Loaded { process: String, load: Arc<ForeignLoad> },
    /// A load of our own was answered; `taken`: the kernel holds that list now.
    OwnLoadEnded { kind: LoadKind, taken: bool },
    /// Another process has unpaired a peer.
    Unpaired { address: RawAddress },
    /// Another process has given the adapter its own identity, or taken it away.
    PrivacySet { process: String, setting: PrivacySetting },
    /// A link spoke for or against a peer's key.
    Evidence { peer: PeerAddress, evidence: EvidenceKind },
}
