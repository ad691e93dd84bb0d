//! What the kernel's tables of one adapter hold of the stored bonds, as far as
//! that can be known: there is no command that reads keys back.

use std::collections::BTreeSet;

use crate::bond::PeerAddress;

/// See the module text. Lives as long as one appearance of the adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadow {
    held: BTreeSet<PeerAddress>,
    complete: bool,
}

impl Shadow {
    /// Of a controller that has just been plugged in: its tables are empty.
    pub const fn of_new_appearance() -> Self {
        Self { held: BTreeSet::new(), complete: true }
    }

    /// Of a controller whose history is not known.
    pub const fn unknown() -> Self {
        Self { held: BTreeSet::new(), complete: false }
    }

    /// Exactly these are held.
    pub fn set(&mut self, peers: impl IntoIterator<Item = PeerAddress>) {
        self.held = peers.into_iter().collect();
        self.complete = true;
    }

    /// The kernel made or took a key of this peer.
    pub fn add(&mut self, peer: PeerAddress) {
        self.held.insert(peer);
    }

    /// The kernel dropped this peer's keys.
    pub fn remove(&mut self, peer: PeerAddress) {
        self.held.remove(&peer);
    }

    /// Another process replaced a list.
    pub fn forget(&mut self) {
        *self = Self::unknown();
    }

    /// Whether the kernel holds this peer's keys; none when that cannot be known.
    pub fn holds(&self, peer: PeerAddress) -> Option<bool> {
        if self.held.contains(&peer) { Some(true) } else { self.complete.then_some(false) }
    }

    /// Nothing that is not in [`Self::holds`] is held.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::peer;

    #[test]
    fn what_is_not_known_is_neither_held_nor_missing() {
        let one = peer("C0:FF:EE:00:00:01");
        let mut shadow = Shadow::unknown();
        assert_eq!(shadow.holds(one), None);
        shadow.add(one);
        assert_eq!(shadow.holds(one), Some(true));
        shadow.set([peer("C0:FF:EE:00:00:02")]);
        assert_eq!(shadow.holds(one), Some(false));
        shadow.forget();
        assert_eq!(shadow.holds(one), None);
        assert_eq!(Shadow::of_new_appearance().holds(one), Some(false));
    }
}
