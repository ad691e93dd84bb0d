//! The key tables as the kernel shows them in debugfs, on hosts that let the service read them.
//!
//! `/sys/kernel/debug/bluetooth/hciN/`, one line a key. [LINUX net/bluetooth/hci_debugfs.c]
//!
//! | file | columns |
//! |---|---|
//! | `long_term_keys` | address, `(type T)`, authenticated, `0xKIND`, size, EDIV, Rand, value |
//! | `identity_resolving_keys` | address, `(type T)`, value, last private address |
//! | `link_keys` | address, type, value, length of the PIN |
//!
//! T is 0 for public, 1 for random. KIND is 1 for a legacy key of the central role, 2 of the peripheral's, 3 for
//! Secure Connections, 4 for a debug key. EDIV and Rand are numbers, values octets in management order. The texts
//! hold keys: nothing here quotes them. Pure.

use std::str::FromStr;

use zeroize::Zeroizing;

use super::load::LoadKind;
use crate::bond::{
    CapturedKey, EncryptionSize, Irk, KeyMaterial, KeyType, LinkKey, LinkKeyType, Ltk, PeerAddress,
    PeerAddressType, Role,
};

/// A line that is not as it should be, counted from 1: the kernel is of a kind that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0} of the kernel's table cannot be read")]
pub struct UnreadableLine(pub usize);

/// Name of a list's file; none for a list that the kernel does not show.
pub const fn file_name(kind: LoadKind) -> Option<&'static str> {
    match kind {
        LoadKind::Ltks => Some("long_term_keys"),
        LoadKind::Irks => Some("identity_resolving_keys"),
        LoadKind::LinkKeys => Some("link_keys"),
        LoadKind::ConnectionParameters => None,
    }
}

/// Reads a table. Keys that can be no part of a bond, such as one under a private address, are left out.
pub fn read(kind: LoadKind, text: &str) -> Result<Vec<(PeerAddress, CapturedKey)>, UnreadableLine> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut columns = Columns(line.split_ascii_whitespace());
        let key = match kind {
            LoadKind::Ltks => columns.ltk(),
            LoadKind::Irks => columns.irk(),
            LoadKind::LinkKeys => columns.link_key(),
            LoadKind::ConnectionParameters => None,
        };
        match key {
            Some(Some(key)) => keys.push(key),
            Some(None) => {}
            None => return Err(UnreadableLine(number + 1)),
        }
    }
    Ok(keys)
}

/// None: not a column of ours.
struct Columns<'a>(std::str::SplitAsciiWhitespace<'a>);

/// Inside: none for a key that can be no part of a bond.
type Found = Option<Option<(PeerAddress, CapturedKey)>>;

impl Columns<'_> {
    fn ltk(&mut self) -> Found {
        let peer = self.le_peer()?;
        let authenticated = self.number::<u8>()? != 0;
        let kind = u8::from_str_radix(self.0.next()?.strip_prefix("0x")?, 16).ok()?;
        let size = self.number::<u8>()?;
        let ediv = u16::from_str_radix(self.0.next()?, 16).ok()?;
        let rand = u64::from_str_radix(self.0.next()?, 16).ok()?;
        let value = self.value()?;
        let (key_type, role) = match (kind, authenticated) {
            (1, false) => (KeyType::LegacyUnauthenticated, Role::Central),
            (1, true) => (KeyType::LegacyAuthenticated, Role::Central),
            (2, false) => (KeyType::LegacyUnauthenticated, Role::Peripheral),
            (2, true) => (KeyType::LegacyAuthenticated, Role::Peripheral),
            (3, false) => (KeyType::P256Unauthenticated, Role::Peripheral),
            (3, true) => (KeyType::P256Authenticated, Role::Peripheral),
            (4, _) => (KeyType::P256Debug, Role::Peripheral),
            // The short-term key of a pairing under way.
            (0, _) => return Some(None),
            _ => return None,
        };
        let (Some(peer), Ok(size), Some(key)) = (peer, EncryptionSize::new(size), value) else {
            return Some(None);
        };
        let ltk = Ltk::new(key_type, role, size, ediv, rand.to_le_bytes(), key);
        Some(Some((peer, CapturedKey::Ltk(ltk))))
    }

    fn irk(&mut self) -> Found {
        let peer = self.le_peer()?;
        let value = self.value()?;
        self.0.next()?;
        Some(peer.zip(value).map(|(peer, key)| (peer, CapturedKey::Irk(Irk { key }))))
    }

    fn link_key(&mut self) -> Found {
        let peer = PeerAddress::parse(self.0.next()?, PeerAddressType::Public).ok();
        let key_type = LinkKeyType::from_code(self.number()?).ok()?;
        let value = self.value()?;
        // What stands in the column differs between kernels.
        self.0.next()?;
        let key = |key| CapturedKey::LinkKey(LinkKey { key, key_type, pin_length: None });
        Some(peer.zip(value).map(|(peer, value)| (peer, key(value))))
    }

    /// Inside: none for an address that is no identity.
    fn le_peer(&mut self) -> Option<Option<PeerAddress>> {
        let address = self.0.next()?;
        let kind = match (self.0.next()?, self.0.next()?) {
            ("(type", "0)") => PeerAddressType::Public,
            ("(type", "1)") => PeerAddressType::StaticRandom,
            _ => return None,
        };
        Some(PeerAddress::parse(address, kind).ok())
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    /// Inside: none for an all-zero key.
    fn value(&mut self) -> Option<Option<KeyMaterial>> {
        let mut octets = Zeroizing::new([0; 16]);
        hex::decode_to_slice(self.0.next()?, &mut *octets).ok()?;
        Some(KeyMaterial::new(*octets).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::LtkSlot;

    const LTKS: &str = "\
a4:c1:38:0b:1c:2d (type 0) 0 0x01 16 bcb5 8eb755588aed4eb6 1ba2753c4920413345fa76a0b44f6083
a4:c1:38:0b:1c:2d (type 0) 1 0x02 16 4b20 3b74cca8a8b31209 e5b5da185b69879523b52eb012122373
d4:12:43:9a:bc:de (type 1) 1 0x03 16 0000 0000000000000000 2a425525452c09050f0dc83e1c9b1948
70:81:94:0d:fb:aa (type 1) 0 0x03 16 0000 0000000000000000 2a425525452c09050f0dc83e1c9b1949
d4:12:43:9a:bc:df (type 1) 0 0x04 16 0000 0000000000000000 2a425525452c09050f0dc83e1c9b194a
";

    fn ltks(text: &str) -> Vec<(String, Ltk)> {
        let keys = read(LoadKind::Ltks, text).unwrap();
        let ltk = |(peer, key): (PeerAddress, CapturedKey)| match key {
            CapturedKey::Ltk(ltk) => (peer.to_string(), ltk),
            _ => panic!("another kind of key"),
        };
        keys.into_iter().map(ltk).collect()
    }

    #[test]
    fn ltks_are_read_with_their_roles_and_types_and_only_those_under_an_identity() {
        let found = ltks(LTKS);
        let peers: Vec<&str> = found.iter().map(|(peer, _)| peer.as_str()).collect();
        let legacy = "A4:C1:38:0B:1C:2D";
        assert_eq!(peers, [legacy, legacy, "D4:12:43:9A:BC:DE", "D4:12:43:9A:BC:DF"]);
        let slots: Vec<_> = found.iter().map(|(_, ltk)| (ltk.slot(), ltk.key_type)).collect();
        let wanted = [
            (LtkSlot::Legacy(Role::Central), KeyType::LegacyUnauthenticated),
            (LtkSlot::Legacy(Role::Peripheral), KeyType::LegacyAuthenticated),
            (LtkSlot::SecureConnections, KeyType::P256Authenticated),
            (LtkSlot::SecureConnections, KeyType::P256Debug),
        ];
        assert_eq!(slots, wanted);
        assert_eq!((found[0].1.ediv, hex::encode(found[0].1.rand)), (48_309, "b64eed8a5855b78e".to_owned()));
    }

    #[test]
    fn irks_and_link_keys_are_read() {
        let irks = "d4:12:43:9a:bc:de (type 1) 66a65cc3bdaa447f116a8c689e16c9ea 00:00:00:00:00:00\n";
        assert_eq!(read(LoadKind::Irks, irks).unwrap().len(), 1);
        let link_keys = "60:ab:d2:40:51:62 4 0e38ebdc8905b9555b23af23e348f72c 16\n";
        let found = read(LoadKind::LinkKeys, link_keys).unwrap();
        let wanted = LinkKeyType::UnauthenticatedP192;
        assert!(matches!(&found[0].1, CapturedKey::LinkKey(key) if key.key_type == wanted));
    }

    #[test]
    fn an_empty_table_is_empty_and_a_strange_one_is_not_taken_for_it() {
        assert!(read(LoadKind::Ltks, "").unwrap().is_empty());
        for strange in ["hello", "a4:c1:38:0b:1c:2d (type 0) 0 0x09 16 0 0 00", "a4:c1:38:0b:1c:2d [type 0]"]
        {
            let text = format!("{}{strange}\n", LTKS.lines().next().unwrap().to_owned() + "\n");
            assert_eq!(read(LoadKind::Ltks, &text).err(), Some(UnreadableLine(2)), "{strange}");
        }
    }
}
