//! Whose link a controller's handle is, and what happened to it. Sans-io.
//!
//! A controller names a link by a handle, and a peer with a private address by that address. The kernel resolves it and
//! tells the identity a moment later, in Device Connected, which the monitor channel shows in order with
//! the controller's own events.

use std::collections::BTreeMap;

use crate::bond::PeerAddress;
use crate::bond::health::EvidenceKind;
use crate::mgmt::RawAddress;
use crate::mgmt::hci::{Handle, HciEvent};

/// Links that are remembered at once: a controller has a few dozen at most. Those beyond say nothing.
const LINKS_MAX: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Link {
    /// As the controller said.
    address: RawAddress,
    whose: Whose,
    /// For the order in which links came.
    number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Known(PeerAddress),
    /// The kernel has not told yet.
    Open,
    /// The kernel could not resolve the address either.
    Nobodys,
}

/// See the module text.
#[derive(Default)]
pub struct Links {
    links: BTreeMap<(u16, Handle), Link>,
    last_number: u64,
}

impl Links {
    /// Takes an event of the controller at this index; gives whose key it speaks for or against.
    pub fn event(&mut self, index: u16, event: HciEvent) -> Option<(PeerAddress, EvidenceKind)> {
        match event {
            HciEvent::Connected { handle, address } => {
                let is_new = !self.links.contains_key(&(index, handle));
                if is_new && self.links.len() >= LINKS_MAX {
                    return None;
                }
                self.last_number += 1;
                let whose = address.peer().map_or(Whose::Open, Whose::Known);
                self.links.insert((index, handle), Link { address, whose, number: self.last_number });
                None
            }
            HciEvent::Encrypted { handle } => {
                self.peer(index, handle).map(|peer| (peer, EvidenceKind::Encrypted))
            }
            HciEvent::Disconnected { handle, mic_failure } => {
                let peer = self.peer(index, handle);
                self.links.remove(&(index, handle));
                peer.filter(|_| mic_failure).map(|peer| (peer, EvidenceKind::KeyMismatch))
            }
            HciEvent::Other => None,
        }
    }

    /// The kernel says who is connected. Several sockets are told, so it may come several times.
    pub fn named(&mut self, index: u16, address: RawAddress) {
        let links = self.links.iter_mut().filter(|((of, _), _)| *of == index).map(|(_, link)| link);
        let mut links: Vec<&mut Link> = links.collect();
        let Ok(peer) = address.peer() else {
            // Not resolved: the link goes under the same private address.
            let same = links.iter_mut().find(|link| link.whose == Whose::Open && link.address == address);
            if let Some(link) = same {
                link.whose = Whose::Nobodys;
            }
            return;
        };
        if links.iter().any(|link| link.whose == Whose::Known(peer)) {
            return;
        }
        links.sort_by_key(|link| link.number);
        if let Some(link) = links.into_iter().find(|link| link.whose == Whose::Open) {
            link.whose = Whose::Known(peer);
        }
    }

    /// The controller is gone, and its links with it.
    pub fn reset(&mut self, index: u16) {
        self.links.retain(|(of, _), _| *of != index);
    }

    fn peer(&self, index: u16, handle: Handle) -> Option<PeerAddress> {
        match self.links.get(&(index, handle))?.whose {
            Whose::Known(peer) => Some(peer),
            Whose::Open | Whose::Nobodys => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::peer;

    const LOCK: &str = "C0:FF:EE:00:00:99";
    const RING: &str = "C0:FF:EE:00:00:77";

    fn public(address: &str) -> RawAddress {
        RawAddress::le(peer(address))
    }

    /// Resolvable: its top bits are 01.
    fn private(last: u8) -> RawAddress {
        RawAddress { octets: [last, 1, 2, 3, 4, 0x47], kind: RawAddress::LE_RANDOM }
    }

    fn connected(handle: Handle, address: RawAddress) -> HciEvent {
        HciEvent::Connected { handle, address }
    }

    fn failed(handle: Handle) -> HciEvent {
        HciEvent::Disconnected { handle, mic_failure: true }
    }

    #[test]
    fn an_encrypted_link_speaks_for_its_peer_and_a_mic_failure_against() {
        let mut links = Links::default();
        assert_eq!(links.event(0, connected(64, public(LOCK))), None);
        let encrypted = HciEvent::Encrypted { handle: 64 };
        assert_eq!(links.event(0, encrypted), Some((peer(LOCK), EvidenceKind::Encrypted)));
        assert_eq!(links.event(1, encrypted), None, "another controller's");
        assert_eq!(links.event(0, failed(64)), Some((peer(LOCK), EvidenceKind::KeyMismatch)));
        assert_eq!(links.event(0, failed(64)), None, "the link is gone");
        links.event(0, connected(64, public(LOCK)));
        let away = HciEvent::Disconnected { handle: 64, mic_failure: false };
        assert_eq!(links.event(0, away), None, "a peer that goes away says nothing");
    }

    #[test]
    fn a_private_peer_is_known_once_the_kernel_names_it() {
        let mut links = Links::default();
        links.event(0, connected(1, private(1)));
        links.event(0, connected(2, private(2)));
        assert_eq!(links.event(0, HciEvent::Encrypted { handle: 1 }), None);
        links.named(0, public(LOCK));
        links.named(0, public(LOCK));
        links.named(0, public(RING));
        assert_eq!(links.event(0, failed(1)), Some((peer(LOCK), EvidenceKind::KeyMismatch)));
        assert_eq!(links.event(0, failed(2)), Some((peer(RING), EvidenceKind::KeyMismatch)));
    }

    #[test]
    fn a_link_that_the_kernel_cannot_resolve_is_taken_for_nobody_elses() {
        let mut links = Links::default();
        links.event(0, connected(1, private(1)));
        links.named(0, private(1));
        links.event(0, connected(2, private(2)));
        links.named(0, public(LOCK));
        assert_eq!(links.event(0, HciEvent::Encrypted { handle: 1 }), None);
        let encrypted = Some((peer(LOCK), EvidenceKind::Encrypted));
        assert_eq!(links.event(0, HciEvent::Encrypted { handle: 2 }), encrypted);
    }

    #[test]
    fn links_go_with_their_controller_and_do_not_pile_up() {
        let mut links = Links::default();
        links.event(0, connected(1, public(LOCK)));
        links.reset(0);
        assert_eq!(links.event(0, failed(1)), None);
        for handle in 0..2_000 {
            links.event(0, connected(handle, public(LOCK)));
        }
        assert_eq!(links.links.len(), LINKS_MAX);
    }
}
