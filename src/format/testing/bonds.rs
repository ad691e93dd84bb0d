//! Bonds of every kind that the domain can hold, for property tests.
//!
//! Strategies make plain numbers, which show themselves when a test fails; keys are built from
//! them last.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::bond::{
    AdapterRecord, Bond, BondMetadata, ConnectionParameters, Csrk, Custody, EncryptionSize, Irk, KeyMaterial,
    KeySecurity, KeyType, LinkKey, LinkKeyType, LocalIdentity, Ltk, OpaqueItem, PeerAddress, PeerAddressType,
    PeerDetails, Role, RolePreference, Source, UnixMillis,
};
use crate::format::canonical::{self, Keys};
use crate::format::{Imported, ImportedAdapter};

/// When the generated bonds began, and what imports have to be told to make equal ones.
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_225_339_120);

/// Bonds that a failing test shows.
#[derive(Clone)]
pub(crate) struct Bonds(pub Vec<Bond>);

impl std::fmt::Debug for Bonds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let adapters = vec![ImportedAdapter { bonds: self.0.clone(), ..ImportedAdapter::default() }];
        let written =
            canonical::write(&Imported { adapters, ..Imported::default() }, Keys::Revealed).unwrap();
        let details: Vec<_> = self.0.iter().map(|bond| &bond.metadata.details).collect();
        write!(f, "{}{details:?}", String::from_utf8_lossy(&written))
    }
}

/// Up to seven bonds of different peers, each with a key.
pub(crate) fn bonds() -> impl Strategy<Value = Bonds> {
    btree_map(peer(), parts(), 0..8)
        .prop_map(|peers| Bonds(peers.into_iter().map(|(peer, parts)| bond(peer, parts)).collect()))
}

/// What is remembered of an adapter, as far as files of other systems carry it.
pub(crate) fn record() -> impl Strategy<Value = AdapterRecord> {
    option::of(octets()).prop_map(|key| AdapterRecord {
        local_identity: key
            .map(|key| LocalIdentity { irk: Irk { key: KeyMaterial::new(key).unwrap() }, privacy: None }),
        ..AdapterRecord::default()
    })
}

/// A name as people and hostile files give it.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 ]{1,20}", "\\PC{1,40}", "[\\x00-\\x7f]{1,40}", "[=\\[\\]\\\\\";\r\n\tA ]{1,20}"]
}

type RawLtk = (bool, u8, u16, [u8; 8], [u8; 16]);
type RawCsrk = ([u8; 16], Option<bool>, Option<u64>);
type RawSecurity = (bool, bool, u8);

/// Which LTKs a bond has.
#[derive(Debug, Clone)]
enum Ltks {
    None,
    Legacy(Option<RawLtk>, Option<RawLtk>),
    Secure(RawLtk, bool),
}

/// What BlueZ and Fuchsia know besides.
type RawDetails = (
    Option<String>,
    Option<bool>,
    Option<bool>,
    Vec<[u8; 16]>,
    Vec<[u8; 16]>,
    Option<bool>,
    Option<u64>,
    Option<RawSecurity>,
    Option<RawSecurity>,
    Option<u8>,
);
type RawKeys = (Ltks, Option<[u8; 16]>, Option<RawCsrk>, Option<RawCsrk>, Option<([u8; 16], u8, Option<u8>)>);
type RawParts = (RawKeys, Option<[u16; 4]>, Option<String>, RawDetails);

fn peer() -> impl Strategy<Value = PeerAddress> {
    (any::<[u8; 6]>(), any::<bool>()).prop_filter_map("no identity", |(mut octets, public)| {
        let kind = if public { PeerAddressType::Public } else { PeerAddressType::StaticRandom };
        if !public {
            octets[5] |= 0xC0;
        }
        PeerAddress::from_wire(octets, kind).ok()
    })
}

fn octets() -> impl Strategy<Value = [u8; 16]> {
    any::<[u8; 16]>().prop_filter("an all-zero key is none", |octets| octets[..7] != [0; 7])
}

fn size() -> impl Strategy<Value = u8> {
    prop_oneof![Just(16_u8), 7_u8..=16]
}

fn ltk() -> impl Strategy<Value = RawLtk> {
    (any::<bool>(), size(), any::<u16>(), any::<[u8; 8]>(), octets())
}

fn csrk() -> impl Strategy<Value = RawCsrk> {
    (octets(), any::<Option<bool>>(), option::of(prop_oneof![0..10_u64, any::<u64>()]))
}

fn parts() -> impl Strategy<Value = RawParts> {
    let ltks = prop_oneof![
        Just(Ltks::None),
        (option::of(ltk()), option::of(ltk())).prop_map(|(one, other)| Ltks::Legacy(one, other)),
        (ltk(), prop::bool::weighted(0.1)).prop_map(|(ltk, debug)| Ltks::Secure(ltk, debug)),
    ];
    let link_key = (octets(), 0_u8..=8, option::of(0_u8..=16));
    let keys =
        (ltks, option::of(octets()), option::of(csrk()), option::of(csrk()), option::of(link_key.boxed()));
    let security = || option::of((any::<bool>(), any::<bool>(), size()));
    let services = || vec(any::<[u8; 16]>(), 0..3);
    let details = (
        option::of(name()),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        services(),
        services(),
        any::<Option<bool>>(),
        option::of(prop_oneof![1..3_u64, any::<u64>()]),
        security(),
        security(),
        option::of(size()),
    );
    (keys.boxed(), any::<Option<[u16; 4]>>(), option::of(name()), details.boxed())
}

/// What cannot be true of one bond is left out.
fn bond(peer: PeerAddress, (keys, parameters, name, details): RawParts) -> Bond {
    let (ltks, irk, csrk_local, csrk_remote, link_key) = keys;
    let mut bond = Bond::new(peer, BondMetadata::new(Custody::Ours, Source::Imported, NOW));
    put_ltks(&mut bond, ltks);
    bond.irk = irk.map(|key| Irk { key: material(key) });
    bond.csrk_local = csrk_local.map(csrk_of);
    bond.csrk_remote = csrk_remote.map(csrk_of);
    // Only a public address names a peer on both transports.
    let link_key = link_key.filter(|_| peer.kind() == PeerAddressType::Public);
    bond.link_key = link_key.map(|(key, kind, pin_length)| LinkKey {
        key: material(key),
        key_type: LinkKeyType::from_code(kind).unwrap(),
        pin_length,
    });
    if !bond.has_keys() {
        bond.irk = Some(Irk { key: material([0x5A; 16]) });
    }
    let parameters = parameters.filter(|_| bond.has_le_keys());
    bond.connection_parameters =
        parameters.map(|[one, other, latency, supervision_timeout]| ConnectionParameters {
            min_interval: one.min(other),
            max_interval: one.max(other),
            latency,
            supervision_timeout,
        });
    bond.metadata.name = name;
    bond.metadata.details = details_of(&mut bond, details).boxed();
    bond
}

fn material(octets: [u8; 16]) -> KeyMaterial {
    KeyMaterial::new(octets).unwrap()
}

fn put_ltks(bond: &mut Bond, ltks: Ltks) {
    let ltk = |kind, role, (_, size, ediv, rand, mut key): RawLtk| {
        // As the kernel does: nothing behind the size.
        key[usize::from(size)..].fill(0);
        Ltk::new(kind, role, EncryptionSize::new(size).unwrap(), ediv, rand, material(key))
    };
    match ltks {
        Ltks::None => {}
        Ltks::Legacy(central, peripheral) => {
            for (role, raw) in [(Role::Central, central), (Role::Peripheral, peripheral)] {
                let Some(raw) = raw else { continue };
                let kind = if raw.0 { KeyType::LegacyAuthenticated } else { KeyType::LegacyUnauthenticated };
                bond.put_ltk(ltk(kind, role, raw));
            }
        }
        Ltks::Secure((authenticated, size, _, _, key), debug) => {
            let kind = match (debug, authenticated) {
                (true, _) => KeyType::P256Debug,
                (false, true) => KeyType::P256Authenticated,
                (false, false) => KeyType::P256Unauthenticated,
            };
            bond.put_ltk(ltk(kind, Role::Peripheral, (authenticated, size, 0, [0; 8], key)));
        }
    }
}

fn csrk_of((key, authenticated, counter): RawCsrk) -> Csrk {
    Csrk { key: material(key), authenticated, counter }
}

fn details_of(bond: &mut Bond, raw: RawDetails) -> PeerDetails {
    let (alias, trusted, blocked, services, bredr_services, role, identifier, irk, csrk, link_key) = raw;
    let size = |size| EncryptionSize::new(size).unwrap();
    let security = |(authenticated, secure_connections, octets): RawSecurity| KeySecurity {
        authenticated,
        secure_connections,
        encryption_size: size(octets),
    };
    let csrk_security = csrk.map(security).filter(|_| bond.csrk_remote.is_some());
    if let (Some(security), Some(csrk)) = (csrk_security, &mut bond.csrk_remote) {
        csrk.authenticated = Some(security.authenticated);
    }
    let opaque = OpaqueItem {
        format: "elsewhere".to_owned(),
        name: "item".to_owned(),
        value: Zeroizing::new(vec![0, 0xFF]),
    };
    PeerDetails {
        orphaned: false,
        outdated: None,
        alias,
        trusted,
        blocked,
        services,
        bredr_services,
        role_preference: role
            .map(|leads| if leads { RolePreference::Leader } else { RolePreference::Follower }),
        identifier,
        manager: None,
        irk_security: irk.map(security).filter(|_| bond.irk.is_some()),
        csrk_security,
        link_key_size: link_key.map(size).filter(|_| bond.link_key.is_some()),
        opaque: if trusted == Some(true) { vec![opaque] } else { Vec::new() },
    }
}
