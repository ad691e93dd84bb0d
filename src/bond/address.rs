//! Identity addresses of adapters and peers.
//!
//! Octets are kept as they stand on the wire (least significant first); text is
//! `AA:BB:CC:DD:EE:FF`, most significant first. A [`PeerAddress`] is public or static
//! random and cannot be built from a private address: a bond filed under one would be
//! lost at the peer's next address change. [CORE Vol 6 Part B 1.3]

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Octets of a Bluetooth device address.
pub const ADDRESS_OCTETS: usize = 6;

/// Length of its text.
pub const ADDRESS_TEXT_OCTETS: usize = ADDRESS_OCTETS * 3 - 1;

/// Why an address cannot name an adapter or a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not six pairs of hexadecimal digits separated by colons.
    #[error("an address is six pairs of hexadecimal digits separated by colons")]
    Syntax,
    /// 00:00:00:00:00:00 or FF:FF:FF:FF:FF:FF: a controller that has no address yet.
    #[error("00:00:00:00:00:00 and FF:FF:FF:FF:FF:FF name no device")]
    NoIdentity,
    /// The two top bits of a random address are not 11: it is resolvable or
    /// non-resolvable private, and will change.
    #[error("a random address that is not static (first digit C to F) is private and names no bond")]
    Private,
    /// The two top bits say static, but all the random bits are alike.
    #[error("the random part of a static address must not be all zeros or all ones")]
    StaticUniform,
}

/// How the kernel and the peer tell one address space from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAddressType {
    /// Assigned by the IEEE; also the type of a BR/EDR address.
    Public,
    /// Random, and fixed for the life of the device (top bits 11).
    StaticRandom,
}

impl PeerAddressType {
    /// `public` or `random`, as topics and formats spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::StaticRandom => "random",
        }
    }
}

/// The identity address of an adapter: what everything is stored under, never `hciN`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterAddress([u8; ADDRESS_OCTETS]);

/// The identity address of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    // Most significant first, in the order people read and sort by.
    octets: [u8; ADDRESS_OCTETS],
    kind: PeerAddressType,
}

impl AdapterAddress {
    /// From the six octets of a management frame (least significant first).
    pub fn from_wire(octets: [u8; ADDRESS_OCTETS]) -> Result<Self, AddressError> {
        if is_no_identity(&octets) {
            return Err(AddressError::NoIdentity);
        }
        Ok(Self(reversed(octets)))
    }

    /// The six octets as a management frame carries them.
    pub fn to_wire(self) -> [u8; ADDRESS_OCTETS] {
        reversed(self.0)
    }
}

impl PeerAddress {
    /// From the six octets of a management frame (least significant first).
    pub fn from_wire(octets: [u8; ADDRESS_OCTETS], kind: PeerAddressType) -> Result<Self, AddressError> {
        if is_no_identity(&octets) {
            return Err(AddressError::NoIdentity);
        }
        let octets = reversed(octets);
        if kind == PeerAddressType::StaticRandom {
            check_static(&octets)?;
        }
        Ok(Self { octets, kind })
    }

    /// From text and a type that stands beside it.
    pub fn parse(text: &str, kind: PeerAddressType) -> Result<Self, AddressError> {
        Self::from_wire(reversed(parse_octets(text)?), kind)
    }

    /// The six octets as a management frame carries them.
    pub fn to_wire(self) -> [u8; ADDRESS_OCTETS] {
        reversed(self.octets)
    }

    /// Public or static random.
    pub const fn kind(self) -> PeerAddressType {
        self.kind
    }

    /// The octets as people read them, then the type.
    const fn as_number(self) -> u64 {
        let [a, b, c, d, e, f] = self.octets;
        u64::from_be_bytes([0, a, b, c, d, e, f, self.kind as u8])
    }
}

fn reversed(mut octets: [u8; ADDRESS_OCTETS]) -> [u8; ADDRESS_OCTETS] {
    octets.reverse();
    octets
}

fn is_no_identity(octets: &[u8; ADDRESS_OCTETS]) -> bool {
    octets.iter().all(|octet| *octet == 0x00) || octets.iter().all(|octet| *octet == 0xFF)
}

/// Takes the octets most significant first.
fn check_static(octets: &[u8; ADDRESS_OCTETS]) -> Result<(), AddressError> {
    if octets[0] & 0xC0 != 0xC0 {
        return Err(AddressError::Private);
    }
    let random_all = |value: u8| octets[1..].iter().all(|octet| *octet == value);
    let top = octets[0] & 0x3F;
    if (top == 0x00 && random_all(0x00)) || (top == 0x3F && random_all(0xFF)) {
        return Err(AddressError::StaticUniform);
    }
    Ok(())
}

/// Most significant first.
fn parse_octets(text: &str) -> Result<[u8; ADDRESS_OCTETS], AddressError> {
    let mut octets = [0u8; ADDRESS_OCTETS];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next().ok_or(AddressError::Syntax)?;
        // from_str_radix alone would take "+1".
        if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(AddressError::Syntax);
        }
        *octet = u8::from_str_radix(part, 16).map_err(|_| AddressError::Syntax)?;
    }
    match parts.next() {
        None => Ok(octets),
        Some(_) => Err(AddressError::Syntax),
    }
}

fn write_octets(octets: &[u8; ADDRESS_OCTETS], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    // A list of bonds has each address in it several times: formatting octets one by one took a tenth of an export.
    let mut text = [b':'; ADDRESS_TEXT_OCTETS];
    for (digits, octet) in text.chunks_mut(3).zip(octets) {
        digits[0] = DIGITS[usize::from(octet >> 4)];
        digits[1] = DIGITS[usize::from(octet & 15)];
    }
    f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

impl FromStr for AdapterAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::from_wire(reversed(parse_octets(text)?))
    }
}

impl fmt::Display for AdapterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_octets(&self.0, f)
    }
}

impl fmt::Debug for AdapterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// As derived, but as numbers: every map of bonds is sorted by this.
impl Ord for PeerAddress {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_number().cmp(&other.as_number())
    }
}

impl PartialOrd for PeerAddress {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_octets(&self.octets, f)
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}/{}", self.kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(text: &str) -> Result<PeerAddress, AddressError> {
        PeerAddress::parse(text, PeerAddressType::StaticRandom)
    }

    #[test]
    fn a_resolvable_or_non_resolvable_private_address_is_no_peer() {
        for text in ["70:81:94:0D:FB:AA", "00:11:22:33:44:55", "BF:FF:FF:FF:FF:FE"] {
            assert_eq!(random(text), Err(AddressError::Private), "{text}");
        }
        assert!(random("C1:AA:00:00:00:01").is_ok());
    }

    #[test]
    fn a_static_address_with_a_uniform_random_part_is_refused() {
        assert_eq!(random("C0:00:00:00:00:00"), Err(AddressError::StaticUniform));
        assert!(random("FF:FF:FF:FF:FF:FE").is_ok());
    }

    #[test]
    fn the_top_bits_never_decide_the_type() {
        let public = PeerAddress::parse("C0:FF:EE:00:00:01", PeerAddressType::Public).unwrap();
        assert_eq!(public.kind(), PeerAddressType::Public);
    }

    #[test]
    fn peers_are_sorted_as_people_read_them_and_by_type_then() {
        let public = |text| PeerAddress::parse(text, PeerAddressType::Public).unwrap();
        let sorted = [
            public("00:00:00:00:00:02"),
            public("00:00:00:00:01:00"),
            public("10:00:00:00:00:00"),
            public("FF:FF:FF:FF:FF:FE"),
            random("FF:FF:FF:FF:FF:FE").unwrap(),
        ];
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn an_adapter_without_identity_is_refused() {
        for text in ["00:00:00:00:00:00", "FF:FF:FF:FF:FF:FF"] {
            assert_eq!(text.parse::<AdapterAddress>(), Err(AddressError::NoIdentity));
        }
    }

    #[test]
    fn text_is_most_significant_first_and_the_wire_is_reversed() {
        let address: AdapterAddress = "00:1a:7D:DA:71:11".parse().unwrap();
        assert_eq!(address.to_wire(), [0x11, 0x71, 0xDA, 0x7D, 0x1A, 0x00]);
        assert_eq!(address.to_string(), "00:1A:7D:DA:71:11");
        assert_eq!(AdapterAddress::from_wire(address.to_wire()), Ok(address));
    }

    #[test]
    fn malformed_text_is_a_syntax_error() {
        for text in [
            "",
            "00:11:22:33:44",
            "00:11:22:33:44:55:66",
            "0:11:22:33:44:55",
            "+1:11:22:33:44:55",
            "00-11-22-33-44-55",
        ] {
            assert_eq!(text.parse::<AdapterAddress>(), Err(AddressError::Syntax), "{text}");
        }
    }
}
