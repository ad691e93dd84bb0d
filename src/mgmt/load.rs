//! The lists that load commands carry.
//!
//! | command | opcode | parameters |
//! |---|---|---|
//! | Load Link Keys | 0x0012 | debug keys u8 (0), count u16, link key records \[25\] |
//! | Load Long Term Keys | 0x0013 | count u16, LTK records \[36\] |
//! | Load Identity Resolving Keys | 0x0030 | count u16, IRK records \[23\] |
//! | Load Connection Parameters | 0x0035 | count u16, connection parameter records \[15\] |
//!
//! Source: the commands of these names in `[MGMT]`.
//!
//! Each load *replaces* the kernel's list. What the kernel does with a bad record depends on its age:
//! it drops that record and says success, or refuses everything after the list is gone. So a list is
//! built of domain values, each is judged here first, and whatever a kernel might refuse is left out
//! and reported by name. The octets are wiped when the list is dropped.

use std::collections::BTreeSet;
use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::opcode::Opcode;
use super::record::{
    CONNECTION_PARAMETERS_OCTETS, IRK_OCTETS, KeyKind, LINK_KEY_OCTETS, LTK_OCTETS, PIN_OCTETS_MAX, put_irk,
    put_link_key, put_ltk, put_parameters,
};
use crate::bond::{
    ConnectionParameters, Irk, KeyType, LinkKey, LinkKeyType, Ltk, LtkSlot, PeerAddress, PeerAddressType,
};

/// The parameters' length is a u16; the kernel computes its limits from the same number.
/// [LINUX net/bluetooth/mgmt.c max_key_count]
const PARAMETER_OCTETS_MAX: usize = u16::MAX as usize;

/// Most link keys that one Load Link Keys holds.
pub const LINK_KEYS_MAX: usize = (PARAMETER_OCTETS_MAX - 3) / LINK_KEY_OCTETS;
/// Most LTKs that one Load Long Term Keys holds.
pub const LTKS_MAX: usize = (PARAMETER_OCTETS_MAX - 2) / LTK_OCTETS;
/// Most IRKs that one Load Identity Resolving Keys holds.
pub const IRKS_MAX: usize = (PARAMETER_OCTETS_MAX - 2) / IRK_OCTETS;
/// Most records that one Load Connection Parameters holds.
pub const CONNECTION_PARAMETERS_MAX: usize = (PARAMETER_OCTETS_MAX - 2) / CONNECTION_PARAMETERS_OCTETS;

/// Which of the kernel's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LoadKind {
    Irks,
    LinkKeys,
    Ltks,
    ConnectionParameters,
}

impl LoadKind {
    /// Every list, in the order in which an adapter is best loaded: IRKs first, because they make the
    /// kernel ask peers for theirs, and because LTKs are found by the identity that an IRK gives.
    pub const ALL: [Self; 4] = [Self::Irks, Self::LinkKeys, Self::Ltks, Self::ConnectionParameters];

    pub const fn opcode(self) -> Opcode {
        match self {
            Self::LinkKeys => Opcode::LOAD_LINK_KEYS,
            Self::Ltks => Opcode::LOAD_LTKS,
            Self::Irks => Opcode::LOAD_IRKS,
            Self::ConnectionParameters => Opcode::LOAD_CONNECTION_PARAMETERS,
        }
    }

    /// The list that a command replaces.
    pub fn from_opcode(opcode: Opcode) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.opcode() == opcode)
    }

    /// What its records are.
    pub const fn record_kind(self) -> KeyKind {
        match self {
            Self::LinkKeys => KeyKind::LinkKey,
            Self::Ltks => KeyKind::Ltk,
            Self::Irks => KeyKind::Irk,
            Self::ConnectionParameters => KeyKind::ConnectionParameters,
        }
    }

    /// Most records in one command.
    pub const fn max_entries(self) -> usize {
        match self {
            Self::LinkKeys => LINK_KEYS_MAX,
            Self::Ltks => LTKS_MAX,
            Self::Irks => IRKS_MAX,
            Self::ConnectionParameters => CONNECTION_PARAMETERS_MAX,
        }
    }

    /// The debug keys flag that stands before the count of link keys.
    pub(super) const fn has_debug_flag(self) -> bool {
        matches!(self, Self::LinkKeys)
    }
}

/// Why a record was left out of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum RefusalReason {
    #[error("made with the published debug keys, which the kernel never loads")]
    DebugKey,
    #[error("a BR/EDR key of a peer whose address is random")]
    RandomAddress,
    #[error("a PIN length of more than 16")]
    PinLength,
    #[error("connection parameters outside what a controller takes")]
    ConnectionParameters,
    #[error("the list holds a key for the same peer and place already")]
    Duplicate,
    #[error("one load command holds no more records of this kind")]
    TooMany,
}

impl RefusalReason {
    /// A stable word for counters.
    pub const fn code(self) -> &'static str {
        match self {
            Self::DebugKey => "debug_key",
            Self::RandomAddress => "random_address",
            Self::PinLength => "pin_length",
            Self::ConnectionParameters => "connection_parameters",
            Self::Duplicate => "duplicate",
            Self::TooMany => "too_many",
        }
    }
}

/// A record that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in what was given, counted from 0.
    pub position: usize,
    pub peer: PeerAddress,
    pub reason: RefusalReason,
}

/// A list and what is not in it.
#[derive(Debug)]
pub struct Built {
    pub list: LoadList,
    pub refusals: Vec<Refusal>,
}

/// Records ready to be sent. Shows no key; wiped on drop.
#[derive(Clone)]
pub struct LoadList {
    kind: LoadKind,
    count: u16,
    records: Zeroizing<Vec<u8>>,
}

impl LoadList {
    /// The list that empties the kernel's. An empty list of IRKs still tells the kernel to ask peers
    /// for theirs.
    pub fn empty(kind: LoadKind) -> Self {
        Self { kind, count: 0, records: Zeroizing::new(Vec::new()) }
    }

    /// Of LTKs. When there are too many, the last ones are left out.
    pub fn ltks<'a>(ltks: impl IntoIterator<Item = (PeerAddress, &'a Ltk)>) -> Built {
        build(LoadKind::Ltks, ltks, |_, ltk| check_ltk(ltk), |ltk| Some(ltk.slot()), put_ltk)
    }

    /// Of IRKs.
    pub fn irks<'a>(irks: impl IntoIterator<Item = (PeerAddress, &'a Irk)>) -> Built {
        build(LoadKind::Irks, irks, |_, _| Ok(()), |_| None, put_irk)
    }

    /// Of link keys.
    pub fn link_keys<'a>(link_keys: impl IntoIterator<Item = (PeerAddress, &'a LinkKey)>) -> Built {
        build(LoadKind::LinkKeys, link_keys, check_link_key, |_| None, put_link_key)
    }

    /// Of connection parameters.
    pub fn connection_parameters<'a>(
        parameters: impl IntoIterator<Item = (PeerAddress, &'a ConnectionParameters)>,
    ) -> Built {
        let check = |_, parameters: &ConnectionParameters| {
            if parameters.is_valid() { Ok(()) } else { Err(RefusalReason::ConnectionParameters) }
        };
        build(LoadKind::ConnectionParameters, parameters, check, |_| None, put_parameters)
    }

    pub const fn kind(&self) -> LoadKind {
        self.kind
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Octets of the command's parameters.
    pub(super) fn parameter_octets(&self) -> usize {
        usize::from(self.kind.has_debug_flag()) + 2 + self.records.len()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        if self.kind.has_debug_flag() {
            // Debug keys are never asked for.
            out.push(0);
        }
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.records);
    }
}

/// In a time that does not depend on the keys.
impl PartialEq for LoadList {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && bool::from(self.records.ct_eq(&other.records))
    }
}

impl Eq for LoadList {}

impl fmt::Debug for LoadList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadList({:?}, {} records)", self.kind, self.count)
    }
}

fn check_ltk(ltk: &Ltk) -> Result<(), RefusalReason> {
    if ltk.key_type == KeyType::P256Debug { Err(RefusalReason::DebugKey) } else { Ok(()) }
}

fn check_link_key(peer: PeerAddress, link_key: &LinkKey) -> Result<(), RefusalReason> {
    if peer.kind() != PeerAddressType::Public {
        return Err(RefusalReason::RandomAddress);
    }
    if link_key.key_type == LinkKeyType::Debug {
        return Err(RefusalReason::DebugKey);
    }
    if link_key.pin_length.is_some_and(|length| length > PIN_OCTETS_MAX) {
        Err(RefusalReason::PinLength)
    } else {
        Ok(())
    }
}

/// Judges every value, then writes the good ones. Two passes, so that the buffer is allocated once:
/// one that grows would leave copies of keys behind.
fn build<'a, T: 'a>(
    kind: LoadKind,
    values: impl IntoIterator<Item = (PeerAddress, &'a T)>,
    check: impl Fn(PeerAddress, &T) -> Result<(), RefusalReason>,
    slot: impl Fn(&T) -> Option<LtkSlot>,
    put: impl Fn(&mut Vec<u8>, PeerAddress, &T),
) -> Built {
    let (mut taken, mut refusals, mut places) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (position, (peer, value)) in values.into_iter().enumerate() {
        let judged = check(peer, value).and_then(|()| {
            if places.contains(&(peer, slot(value))) {
                Err(RefusalReason::Duplicate)
            } else if taken.len() == kind.max_entries() {
                Err(RefusalReason::TooMany)
            } else {
                Ok(())
            }
        });
        match judged {
            Ok(()) => {
                places.insert((peer, slot(value)));
                taken.push((peer, value));
            }
            Err(reason) => refusals.push(Refusal { position, peer, reason }),
        }
    }
    let octets = taken.len() * kind.record_kind().record_octets();
    let mut records = Zeroizing::new(Vec::with_capacity(octets));
    for (peer, value) in &taken {
        put(&mut records, *peer, value);
    }
    debug_assert_eq!(records.len(), octets);
    // max_entries is far below u16::MAX for every kind.
    let count = u16::try_from(taken.len()).unwrap_or(u16::MAX);
    Built { list: LoadList { kind, count, records }, refusals }
}

#[cfg(test)]
mod tests;
