//! What bluetoothd calls paired.

use std::collections::BTreeMap;

use actix::Message;

use crate::bond::{AdapterAddress, PeerAddress};

/// What bluetoothd says over D-Bus, for the registry to hand to each adapter.
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct BluetoothdSeen {
    /// The adapters that it manages; none where it cannot be asked.
    pub adapters: Option<BTreeMap<AdapterAddress, PairedPeers>>,
}

/// The peers that bluetoothd calls paired on one adapter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PairedPeers {
    /// Which bluetoothd says so: its own name on the bus, which no other ever has while the bus lives.
    pub instance: String,
    /// With the names that they gave themselves.
    pub peers: BTreeMap<PeerAddress, Option<String>>,
    /// Paired under an address that is no identity: not to be compared with our bonds.
    pub unreadable_count: usize,
}

/// What bluetoothd calls paired on this adapter; none where it cannot be asked or does not manage it.
#[derive(Message, Clone, Debug, PartialEq, Eq)]
#[rtype(result = "()")]
pub struct PairedPeersSeen {
    pub seen: Option<PairedPeers>,
}
