//! What other systems know of a peer or an adapter besides its keys, kept so that it can be given back.

use std::fmt;

use zeroize::Zeroizing;

use super::fingerprint::Fingerprint;
use super::key::Irk;
use super::ltk::EncryptionSize;

/// Opaque items of one peer or adapter. Real files have a handful; past it an import says what it leaves out.
pub const OPAQUE_ITEMS_MAX: usize = 32;

/// Octets of one opaque item's value: a group of a key file or a blob of a small device's flash.
pub const OPAQUE_ITEM_OCTETS_MAX: usize = 1_024;

/// Octets of an opaque item's name: a group's or a store key's.
pub const OPAQUE_NAME_OCTETS_MAX: usize = 128;

/// Services of a peer that are kept, for each list. Real peers have about a dozen.
pub const SERVICES_MAX: usize = 64;

/// A 128-bit UUID as its sixteen octets in the order they are written as text.
pub type ServiceUuid = [u8; 16];

/// How strong the key is that something was distributed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySecurity {
    pub authenticated: bool,
    pub secure_connections: bool,
    pub encryption_size: EncryptionSize,
}

/// The role of a BR/EDR link that the local side prefers, in Fuchsia's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolePreference {
    Leader,
    Follower,
}

impl RolePreference {
    /// The word that formats use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        }
    }

    /// Back from that word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Leader, Self::Follower].into_iter().find(|role| role.as_str() == word)
    }
}

/// Something of a foreign format that has no meaning here: kept as it is, and written back to the
/// same format. It may hold key octets, so it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct OpaqueItem {
    /// The word of the format it came in.
    pub format: String,
    /// Its place in that format: a group, a store key.
    pub name: String,
    pub value: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for OpaqueItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpaqueItem").field("format", &self.format).finish_non_exhaustive()
    }
}

/// What is known of a peer besides its keys and its name. Most bonds have none of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerDetails {
    /// The name that the user gave the peer.
    pub alias: Option<String>,
    /// What BlueZ keeps of the user's word on the peer.
    pub trusted: Option<bool>,
    pub blocked: Option<bool>,
    /// All services, as BlueZ keeps them.
    pub services: Vec<ServiceUuid>,
    /// BR/EDR services, as Fuchsia keeps them.
    pub bredr_services: Vec<ServiceUuid>,
    pub role_preference: Option<RolePreference>,
    /// Fuchsia's number of the peer.
    pub identifier: Option<u64>,
    /// Name of the process from whose load the bond was learned.
    pub manager: Option<String>,
    /// That process has since loaded its list without this peer.
    pub orphaned: bool,
    /// Keys that some process loads for this peer and that are older than ours.
    pub outdated: Option<Fingerprint>,
    pub irk_security: Option<KeySecurity>,
    pub csrk_security: Option<KeySecurity>,
    /// Effective octets of the link key, where the source says.
    pub link_key_size: Option<EncryptionSize>,
    pub opaque: Vec<OpaqueItem>,
}

impl PeerDetails {
    /// None where nothing is known.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// Lays what `incoming` knows over what is known already.
    #[must_use]
    pub fn overlaid(mut self, incoming: &Self) -> Self {
        let newer = incoming.clone();
        self.alias = newer.alias.or(self.alias);
        self.trusted = newer.trusted.or(self.trusted);
        self.blocked = newer.blocked.or(self.blocked);
        if !newer.services.is_empty() {
            self.services = newer.services;
        }
        if !newer.bredr_services.is_empty() {
            self.bredr_services = newer.bredr_services;
        }
        self.role_preference = newer.role_preference.or(self.role_preference);
        self.identifier = newer.identifier.or(self.identifier);
        self.manager = newer.manager.or(self.manager);
        self.orphaned |= newer.orphaned;
        self.outdated = newer.outdated.or(self.outdated);
        self.irk_security = newer.irk_security.or(self.irk_security);
        self.csrk_security = newer.csrk_security.or(self.csrk_security);
        self.link_key_size = newer.link_key_size.or(self.link_key_size);
        for item in newer.opaque {
            self.opaque.retain(|known| (&known.format, &known.name) != (&item.format, &item.name));
            self.opaque.push(item);
        }
        self.opaque.truncate(OPAQUE_ITEMS_MAX);
        self
    }
}

/// Whether an adapter hides behind private addresses. [MGMT Set Privacy]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// It shows its identity address.
    Off,
    /// It always uses private addresses.
    On,
    /// It uses them, except while it is discoverable.
    Limited,
}

impl Privacy {
    /// As the kernel's command has it.
    pub const fn code(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::Limited => 2,
        }
    }

    /// Back from that; none for what the kernel refuses.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Off),
            1 => Some(Self::On),
            2 => Some(Self::Limited),
            _ => None,
        }
    }

    /// The word that topics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Limited => "limited",
        }
    }
}

/// What makes the adapter itself recognisable to its peers: the key under which it makes its
/// own private addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalIdentity {
    pub irk: Irk,
    /// None where the source does not say.
    pub privacy: Option<Privacy>,
}

impl fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalIdentity").field("privacy", &self.privacy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, value: u8) -> OpaqueItem {
        OpaqueItem { format: "bluez".to_owned(), name: name.to_owned(), value: Zeroizing::new(vec![value]) }
    }

    #[test]
    fn what_is_known_later_is_laid_over_and_nothing_else_is_lost() {
        let known = PeerDetails {
            trusted: Some(true),
            identifier: Some(7),
            services: vec![[1; 16]],
            opaque: vec![item("DeviceID", 1), item("ServiceChanged", 2)],
            ..PeerDetails::default()
        };
        let incoming =
            PeerDetails { trusted: Some(false), opaque: vec![item("DeviceID", 9)], ..PeerDetails::default() };
        let both = known.clone().overlaid(&incoming);
        assert_eq!((both.trusted, both.identifier), (Some(false), Some(7)));
        assert_eq!(both.services, known.services);
        assert_eq!(both.opaque, [item("ServiceChanged", 2), item("DeviceID", 9)]);
    }

    #[test]
    fn nothing_that_may_hold_a_key_is_shown() {
        let details = PeerDetails { opaque: vec![item("DeviceID", 0xE7)], ..PeerDetails::default() };
        let shown = format!("{details:?}");
        assert!(shown.contains("bluez") && !shown.contains("231"), "{shown}");
        let identity = LocalIdentity {
            irk: Irk { key: crate::bond::KeyMaterial::new([0xE7; 16]).unwrap() },
            privacy: None,
        };
        let shown = format!("{identity:?}");
        assert!(shown.contains("privacy") && !shown.contains("231") && !shown.contains("e7"), "{shown}");
    }
}
