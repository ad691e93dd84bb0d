//! The records of the kernel's lists, and where each stands. Pure.

use std::collections::BTreeMap;

use crate::bond::{Bond, CapturedKey, ConnectionParameters, Irk, LinkKey, Ltk, LtkSlot, PeerAddress};
use crate::mgmt::{KeyRecord, LoadKind, RecordError};

/// One record of a list.
#[derive(Clone)]
pub enum LoadItem {
    Irk(Irk),
    LinkKey(LinkKey),
    Ltk(Ltk),
    ConnectionParameters(ConnectionParameters),
}

/// Where a record stands in its list: the kernel holds one for each.
pub type Place = (PeerAddress, Option<LtkSlot>);

/// The records of one list.
pub type Records = BTreeMap<Place, LoadItem>;

impl LoadItem {
    /// The same to a peer. The length of a PIN is a note, which not every source has.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Irk(one), Self::Irk(other)) => one == other,
            (Self::LinkKey(one), Self::LinkKey(other)) => {
                one.key == other.key && one.key_type == other.key_type
            }
            (Self::Ltk(one), Self::Ltk(other)) => one == other,
            (Self::ConnectionParameters(one), Self::ConnectionParameters(other)) => one == other,
            _ => false,
        }
    }

    /// The list it belongs to, and its slot there.
    pub fn slot(&self) -> (LoadKind, Option<LtkSlot>) {
        match self {
            Self::Irk(_) => (LoadKind::Irks, None),
            Self::LinkKey(_) => (LoadKind::LinkKeys, None),
            Self::Ltk(ltk) => (LoadKind::Ltks, Some(ltk.slot())),
            Self::ConnectionParameters(_) => (LoadKind::ConnectionParameters, None),
        }
    }

    /// What a captured key is in a list; none for what the kernel has no list of.
    pub fn of_key(key: &CapturedKey) -> Option<Self> {
        Some(match key {
            CapturedKey::Ltk(ltk) => Self::Ltk(ltk.clone()),
            CapturedKey::Irk(irk) => Self::Irk(irk.clone()),
            CapturedKey::LinkKey(key) => Self::LinkKey(key.clone()),
            CapturedKey::ConnectionParameters(parameters) => Self::ConnectionParameters(*parameters),
            CapturedKey::CsrkLocal(_) | CapturedKey::CsrkRemote(_) => return None,
        })
    }

    /// Everything of a bond that can be loaded. `dual_mode`: the controller has BR/EDR.
    pub fn of_bond(bond: &Bond, dual_mode: bool) -> Vec<(LoadKind, Place, Self)> {
        let mut items = Vec::new();
        items.extend(bond.irk.clone().map(Self::Irk));
        items.extend(bond.ltks().iter().cloned().map(Self::Ltk));
        items.extend(bond.link_key.clone().filter(|_| dual_mode).map(Self::LinkKey));
        let parameters = bond.connection_parameters.filter(|_| bond.has_le_keys());
        items.extend(parameters.map(Self::ConnectionParameters));
        let placed = |item: Self| {
            let (kind, slot) = item.slot();
            (kind, (bond.peer, slot), item)
        };
        items.into_iter().map(placed).collect()
    }
}

/// A list that another process loaded, as the kernel took it.
pub struct TakenList {
    pub records: Records,
    /// Records that the kernel takes and that can be kept nowhere here, such as an all-zero key.
    pub beyond_us: usize,
}

/// What the kernel makes of the records of a load: of two for a place the last one counts, and some
/// are passed over without a word. [LINUX net/bluetooth/mgmt.c load_long_term_keys and siblings]
pub fn taken_list(records: &[KeyRecord]) -> TakenList {
    let mut taken = TakenList { records: Records::new(), beyond_us: 0 };
    for record in records {
        match &record.key {
            Ok((peer, key)) => {
                if let Some(item) = LoadItem::of_key(key) {
                    taken.records.insert((*peer, item.slot().1), item);
                }
            }
            Err(error) => taken.beyond_us += usize::from(is_taken_by_kernel(*error)),
        }
    }
    taken
}

/// Of what cannot be a key of a bond, whether the kernel loads it all the same.
const fn is_taken_by_kernel(error: RecordError) -> bool {
    match error {
        RecordError::NoIdentity
        | RecordError::UniformAddress
        | RecordError::AllZeroKey
        | RecordError::PinLength(_) => true,
        RecordError::EncryptionSize(octets) => octets <= 16,
        RecordError::PrivateAddress
        | RecordError::BredrAddress
        | RecordError::LeAddress
        | RecordError::AddressType(_)
        | RecordError::DebugKey
        | RecordError::KeyType(_)
        | RecordError::Role(_)
        | RecordError::ConnectionParameters => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{peer, secure_ltk};
    use crate::mgmt::RawAddress;

    fn record(key: Result<u8, RecordError>) -> KeyRecord {
        let peer = peer("C0:FF:EE:00:00:01");
        let key = key.map(|last| (peer, CapturedKey::Ltk(secure_ltk(last))));
        KeyRecord { address: RawAddress::le(peer), key }
    }

    #[test]
    fn of_two_records_for_one_place_the_last_one_counts() {
        let taken = taken_list(&[record(Ok(1)), record(Ok(2))]);
        let items: Vec<&LoadItem> = taken.records.values().collect();
        assert!(matches!(items[..], [item] if item.same(&LoadItem::Ltk(secure_ltk(2)))));
        assert_eq!(taken.beyond_us, 0);
    }

    #[test]
    fn what_the_kernel_takes_and_we_cannot_keep_is_counted_and_what_it_skips_is_not() {
        let taken = taken_list(&[
            record(Err(RecordError::AllZeroKey)),
            record(Err(RecordError::EncryptionSize(5))),
            record(Err(RecordError::EncryptionSize(17))),
            record(Err(RecordError::DebugKey)),
            record(Err(RecordError::PrivateAddress)),
        ]);
        assert_eq!(taken.beyond_us, 2);
        assert!(taken.records.is_empty());
    }

    #[test]
    fn the_same_link_key_with_another_pin_length_is_the_same_to_a_peer() {
        let key = |pin_length| {
            let key = crate::bond::testing::material(1);
            let key_type = crate::bond::LinkKeyType::UnauthenticatedP256;
            LoadItem::LinkKey(LinkKey { key, key_type, pin_length })
        };
        assert!(key(None).same(&key(Some(0))));
    }
}
