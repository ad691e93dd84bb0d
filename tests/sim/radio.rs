//! What happens between an adapter and a peer: pairing, connecting, encrypting,
//! and the events that come of it, in the order a kernel sends them.

use super::controller::Link;
use super::kernel::{Audience, Kernel};
use super::monitor;
use super::peer::{Peer, PeerBond};
use super::records::{
    Irk, Key, LEGACY_UNAUTHENTICATED, LinkKey, Ltk, P256_AUTHENTICATED, P256_DEBUG, P256_UNAUTHENTICATED,
};
use super::wire::{Address, BREDR, ev, op, reason, setting, status};

/// What the protected characteristic of every peer reads as.
pub const PROTECTED_VALUE: &str = "secret";

/// Security Manager packets of one pairing, as counted on real links.
const SMP_PACKETS_SECURE_CONNECTIONS: u32 = 9;
const SMP_PACKETS_LEGACY: u32 = 10;
/// A request, a response, a failure.
const SMP_PACKETS_FAILED: u32 = 3;

/// Device Connected: the local side asked for the link.
const LOCALLY_INITIATED: u32 = 1 << 3;
/// The value that a confirmation shows; any number will do.
const CONFIRMATION_VALUE: u32 = 123_456;

/// What a program asks of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// No encryption wanted.
    Low,
    /// Encrypted, by a new pairing if there is no key.
    Medium,
}

/// What became of a connection attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The peer was not found under its identity address: nothing resolves its private one.
    NotFound,
    /// A link without encryption.
    Plain,
    /// Encrypted with the key both sides had.
    Encrypted,
    /// The kernel had no key and paired anew, unasked.
    PairedAnew { smp_packet_count: u32 },
    /// A pairing was tried and failed.
    PairingFailed { smp_packet_count: u32 },
    /// The peer has no key for this adapter any more.
    PeerLostKey,
    /// Both sides have a key, but not the same.
    WrongKey,
    /// A new pairing waits for somebody to confirm it.
    AwaitsConfirmation,
}

/// A pairing that waits for an answer.
#[derive(Debug, Clone)]
pub(super) struct Pairing {
    pub index: u16,
    pub peer: String,
    pub address: Address,
    /// The socket whose Pair Device it is; none when a connection started it.
    pub issuer: Option<u32>,
}

impl Kernel {
    /// The address under which the kernel knows the peer that is on the air:
    /// the identity when it can resolve it.
    pub fn known_as(&self, index: u16, peer: &Peer) -> Address {
        let resolved = |irk: &Irk| irk.address == peer.config.address && irk.value == peer.irk;
        match self.controller(index) {
            Some(controller) if controller.irks.iter().any(resolved) => peer.config.address,
            _ => peer.on_air(),
        }
    }

    pub fn peer(&self, name: &str) -> &Peer {
        self.peers.get(name).unwrap_or_else(|| panic!("there is no peer {name}"))
    }

    /// The peer that is on the air under this address, as this adapter sees it.
    pub fn peer_at(&self, index: u16, address: Address) -> Option<String> {
        let found = self.peers.values().find(|p| self.known_as(index, p) == address || p.on_air() == address);
        found.map(|peer| peer.config.name.clone())
    }

    fn link_up(&mut self, index: u16, peer: &str) -> Address {
        let known_as = self.known_as(index, self.peer(peer));
        let Some(controller) = self.controller(index) else { return known_as };
        if !controller.links.contains_key(&known_as) {
            let handle = self.next_handle;
            self.next_handle += 1;
            let on_air = self.peer(peer).on_air();
            self.show(&monitor::le_connection(index, handle, on_air));
            let Some(controller) = self.controller_mut(index) else { return known_as };
            controller.links.insert(known_as, Link { peer: peer.to_owned(), handle });
            let name = peer.as_bytes().iter().take(20).copied().collect::<Vec<u8>>();
            let advertised = [&[name.len() as u8 + 1, 0x09], &name[..]].concat();
            let mut parameters = known_as.write().to_vec();
            parameters.extend_from_slice(&LOCALLY_INITIATED.to_le_bytes());
            parameters.extend_from_slice(&(advertised.len() as u16).to_le_bytes());
            parameters.extend_from_slice(&advertised);
            self.tell(Audience::Trusted, ev::DEVICE_CONNECTED, index, &parameters);
        }
        known_as
    }

    /// Ends the link to an address. False when there is none.
    pub fn link_down(&mut self, index: u16, address: Address, reason: u8) -> bool {
        let Some(controller) = self.controller_mut(index) else { return false };
        let Some(link) = controller.links.remove(&address) else { return false };
        self.show(&monitor::disconnection(index, link.handle, reason));
        self.tell(
            Audience::Trusted,
            ev::DEVICE_DISCONNECTED,
            index,
            &[&address.write()[..], &[reason]].concat(),
        );
        let private_address = self.random.private_address();
        if let Some(peer) = self.peers.get_mut(&link.peer) {
            peer.private_address = private_address;
        }
        true
    }

    /// The link to a peer, under whatever address.
    pub fn link_of(&self, index: u16, peer: &str) -> Option<Address> {
        let mut links = self.controller(index)?.links.iter();
        links.find(|(_, link)| link.peer == peer).map(|(address, _)| *address)
    }

    pub fn drop_links(&mut self, index: u16) {
        let addresses: Vec<Address> =
            self.controller(index).map_or_else(Vec::new, |c| c.links.keys().copied().collect());
        for address in addresses {
            self.link_down(index, address, reason::LOCAL_HOST);
        }
    }

    /// A program connects by identity address.
    pub fn connect(&mut self, index: u16, peer: &str, security: Security) -> Outcome {
        let identity = self.peer(peer).config.address;
        if self.known_as(index, self.peer(peer)) != identity {
            let parameters = [&identity.write()[..], &[status::DISCONNECTED]].concat();
            self.tell(Audience::Trusted, ev::CONNECT_FAILED, index, &parameters);
            return Outcome::NotFound;
        }
        self.link_up(index, peer);
        if security == Security::Low {
            return Outcome::Plain;
        }
        self.encrypt(index, peer)
    }

    /// The kernel encrypts with the key it has or, having none, pairs.
    fn encrypt(&mut self, index: u16, name: &str) -> Outcome {
        let peer = self.peer(name);
        let identity = peer.config.address;
        let Some(controller) = self.controller(index) else { return Outcome::NotFound };
        let Some(ours) = controller.ltk_as_central(identity) else {
            return self.begin_pairing(index, name, None);
        };
        let theirs = controller.identity().and_then(|adapter| peer.bonds.get(&adapter));
        let Some(theirs) = theirs else {
            self.link_down(index, identity, reason::AUTHENTICATION_FAILURE);
            return Outcome::PeerLostKey;
        };
        if (ours.ediv, ours.rand) != (theirs.ediv, theirs.rand) {
            // The peer finds no key under these.
            self.link_down(index, identity, reason::AUTHENTICATION_FAILURE);
            return Outcome::PeerLostKey;
        }
        if ours.value != theirs.value {
            self.link_down(index, identity, reason::UNKNOWN);
            return Outcome::WrongKey;
        }
        self.encrypted(index, identity);
        Outcome::Encrypted
    }

    fn encrypted(&mut self, index: u16, address: Address) {
        let link = self.controller(index).and_then(|controller| controller.links.get(&address));
        if let Some(handle) = link.map(|link| link.handle) {
            self.show(&monitor::encryption(index, handle));
        }
    }

    /// Starts a pairing: asks for confirmation and, unless somebody has to give
    /// it, goes through with it.
    pub fn begin_pairing(&mut self, index: u16, peer: &str, issuer: Option<u32>) -> Outcome {
        let address = self.link_up(index, peer);
        let hint = u8::from(!self.peer(peer).config.numeric_comparison);
        let mut parameters = address.write().to_vec();
        parameters.push(hint);
        parameters.extend_from_slice(&CONFIRMATION_VALUE.to_le_bytes());
        self.tell(Audience::Trusted, ev::CONFIRM_REQUEST, index, &parameters);
        let pairing = Pairing { index, peer: peer.to_owned(), address, issuer };
        if self.options.await_confirmation {
            self.pairings.push(pairing);
            return Outcome::AwaitsConfirmation;
        }
        self.finish_pairing(pairing, true)
    }

    /// The answer to a waiting pairing. False when there is none.
    pub fn answer_pairing(&mut self, index: u16, address: Address, accept: bool) -> bool {
        self.counters.pairing_answers += 1;
        let found = self.pairings.iter().position(|p| p.index == index && p.address == address);
        let Some(at) = found else { return false };
        let pairing = self.pairings.remove(at);
        self.finish_pairing(pairing, accept);
        true
    }

    /// Ends whatever pairings wait at a controller.
    pub fn fail_pairings(&mut self, index: u16, status: u8) {
        let (failed, kept) = self.pairings.drain(..).partition(|p: &Pairing| p.index == index);
        self.pairings = kept;
        let failed: Vec<Pairing> = failed;
        for pairing in failed {
            if let Some(issuer) = pairing.issuer {
                self.complete(issuer, index, op::PAIR_DEVICE, status, &pairing.address.write());
            }
            let outcome = Outcome::PairingFailed { smp_packet_count: SMP_PACKETS_FAILED };
            self.last_pairing.insert((index, pairing.peer), outcome);
        }
    }

    fn finish_pairing(&mut self, pairing: Pairing, accept: bool) -> Outcome {
        let outcome = self.pairing_outcome(&pairing, accept);
        self.last_pairing.insert((pairing.index, pairing.peer), outcome.clone());
        outcome
    }

    fn pairing_outcome(&mut self, pairing: &Pairing, accept: bool) -> Outcome {
        let Pairing { index, address, issuer, .. } = *pairing;
        let config = self.peer(&pairing.peer).config.clone();
        let adapter = self.controller(index).and_then(|c| c.identity());
        let known = adapter.is_some_and(|a| self.peer(&pairing.peer).bonds.contains_key(&a));
        if !accept || (known && !config.permissive) {
            let parameters = [&address.write()[..], &[status::AUTHENTICATION_FAILED]].concat();
            self.tell(Audience::Trusted, ev::AUTHENTICATION_FAILED, index, &parameters);
            if let Some(issuer) = issuer {
                let failed = status::AUTHENTICATION_FAILED;
                self.complete(issuer, index, op::PAIR_DEVICE, failed, &address.write());
            }
            self.link_down(index, address, reason::LOCAL_HOST);
            return Outcome::PairingFailed { smp_packet_count: SMP_PACKETS_FAILED };
        }
        let smp_packet_count = self.exchange_keys(index, &pairing.peer, address);
        if let Some(issuer) = issuer {
            let identity = self.link_of(index, &pairing.peer).unwrap_or(address);
            self.complete(issuer, index, op::PAIR_DEVICE, status::SUCCESS, &identity.write());
        }
        Outcome::PairedAnew { smp_packet_count }
    }

    /// Both sides make and keep keys; the kernel announces its own: IRK, CSRKs, LTKs.
    fn exchange_keys(&mut self, index: u16, name: &str, on_link: Address) -> u32 {
        // The keys are handed out on an encrypted link.
        self.encrypted(index, on_link);
        let peer = self.peer(name);
        let (config, peer_irk) = (peer.config.clone(), peer.irk);
        let Some(controller) = self.controller(index) else { return 0 };
        let Some(adapter) = controller.identity() else { return 0 };
        let bonding = controller.has(setting::BONDABLE) && config.bonding;
        let secure = controller.has(setting::SECURE_CONNECTIONS) && config.secure_connections;
        let debug = controller.has(setting::DEBUG_KEYS);
        let mut address = on_link;
        if config.distributes_irk && controller.asks_for_irks {
            let rpa = if on_link == config.address { [0; 6] } else { on_link.octets };
            address = config.address;
            self.learn_irk(index, bonding, rpa, Irk { address, value: peer_irk });
            self.rename_link(index, on_link, address);
        }
        if config.signing {
            // 1: the peer's; 0: ours.
            for csrk_type in [1, 0] {
                self.make_csrk(index, bonding, address, csrk_type);
            }
        }
        let bond = if secure {
            let key_type = match (debug, config.numeric_comparison) {
                (true, _) => P256_DEBUG,
                (false, true) => P256_AUTHENTICATED,
                (false, false) => P256_UNAUTHENTICATED,
            };
            let value = self.random.octets();
            let ltk = Ltk { address, key_type, central: 0, size: 16, ediv: 0, rand: [0; 8], value };
            self.learn_ltk(index, bonding, ltk);
            PeerBond { ediv: 0, rand: [0; 8], value }
        } else {
            // First the key the peer gave out (of use while it is peripheral), then ours.
            let made = [1, 0].map(|central| self.legacy_ltk(address, central));
            let Ltk { ediv, rand, value, .. } = made[0];
            for ltk in made {
                self.learn_ltk(index, bonding, ltk);
            }
            PeerBond { ediv, rand, value }
        };
        self.peers.entry(name.to_owned()).and_modify(|peer| {
            if bonding {
                peer.bonds.insert(adapter, bond);
            } else {
                peer.bonds.remove(&adapter);
            }
        });
        if secure { SMP_PACKETS_SECURE_CONNECTIONS } else { SMP_PACKETS_LEGACY }
    }

    fn legacy_ltk(&mut self, address: Address, central: u8) -> Ltk {
        Ltk {
            address,
            key_type: LEGACY_UNAUTHENTICATED,
            central,
            size: 16,
            ediv: self.random.next() as u16,
            rand: self.random.octets(),
            value: self.random.octets(),
        }
    }

    fn rename_link(&mut self, index: u16, from: Address, to: Address) {
        if let Some(controller) = self.controller_mut(index)
            && let Some(link) = controller.links.remove(&from)
        {
            controller.links.insert(to, link);
        }
    }

    /// Nothing under a private address is worth storing.
    fn store_hint(bonding: bool, address: Address) -> u8 {
        u8::from(bonding && (address.kind == BREDR || address.is_le_identity()))
    }

    fn learn_irk(&mut self, index: u16, bonding: bool, rpa: [u8; 6], irk: Irk) {
        self.remember_key(&irk.value);
        let parameters = [&[u8::from(bonding)], &rpa[..], &irk.write()].concat();
        self.tell(Audience::Trusted, ev::NEW_IRK, index, &parameters);
        if let Some(controller) = self.controller_mut(index) {
            irk.file_into(&mut controller.irks);
        }
    }

    fn make_csrk(&mut self, index: u16, bonding: bool, address: Address, csrk_type: u8) {
        let value: Key = self.random.octets();
        self.remember_key(&value);
        let hint = Self::store_hint(bonding, address);
        let parameters = [&[hint], &address.write()[..], &[csrk_type], &value].concat();
        self.tell(Audience::Trusted, ev::NEW_CSRK, index, &parameters);
    }

    /// A new LTK: into the kernel's table, whatever its store hint, and announced.
    pub fn learn_ltk(&mut self, index: u16, bonding: bool, ltk: Ltk) {
        self.remember_key(&ltk.value);
        let hint = Self::store_hint(bonding, ltk.address);
        if let Some(controller) = self.controller_mut(index) {
            ltk.clone().file_into(&mut controller.ltks);
        }
        self.tell(Audience::Trusted, ev::NEW_LTK, index, &[&[hint], &ltk.write()[..]].concat());
    }

    /// A BR/EDR pairing, as far as the kernel's table and its events go.
    pub fn learn_link_key(&mut self, index: u16, address: Address) {
        const UNAUTHENTICATED_P192: u8 = 4;
        let value = self.random.octets();
        self.remember_key(&value);
        let key = LinkKey { address, key_type: UNAUTHENTICATED_P192, value, pin_length: 0 };
        let hint = self.controller(index).is_some_and(|c| c.has(setting::BONDABLE));
        let parameters = [&[u8::from(hint)], &key.write()[..]].concat();
        if let Some(controller) = self.controller_mut(index) {
            key.file_into(&mut controller.link_keys);
        }
        self.tell(Audience::Trusted, ev::NEW_LINK_KEY, index, &parameters);
    }
}
