//! The header that every frame begins with, and a cursor that never reads past its end.
//!
//! | offset | octets | field | |
//! |---|---|---|---|
//! | 0 | 2 | command or event code | little endian |
//! | 2 | 2 | controller index, 0xFFFF for none | little endian |
//! | 4 | 2 | octets of the parameters | little endian |
//!
//! Source: `[LINUX include/net/bluetooth/mgmt.h mgmt_hdr]`. Records of the monitor channel begin
//! with the same six octets `[LINUX include/net/bluetooth/hci_mon.h hci_mon_hdr]`.

/// Octets of the header.
pub const HEADER_OCTETS: usize = 6;

/// The controller index of a frame that concerns no controller.
pub const INDEX_NONE: u16 = 0xFFFF;

/// Why octets could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not even a header.
    #[error("reading a frame: {octets} octets are less than the header of {HEADER_OCTETS}")]
    Header { octets: usize },
    /// The header announces more than came.
    #[error(
        "reading a frame with code {code:#06x}: {announced} octets of parameters announced, {present} came"
    )]
    Length { code: u16, announced: usize, present: usize },
    /// The parameters end before the last field.
    #[error("reading {what}: {octets} octets of parameters are too few")]
    Short { what: &'static str, octets: usize },
    /// A count and the octets that follow it do not agree.
    #[error("reading {what}: {count} entries announced, which {octets} octets of parameters do not hold")]
    Count { what: &'static str, count: usize, octets: usize },
}

/// One frame, its parameters still octets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Command opcode, event code or monitor opcode.
    pub code: u16,
    pub index: u16,
    pub parameters: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits one datagram. Octets after the announced length are left alone.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let octets = datagram.len();
        let mut cursor = Cursor::new(datagram);
        let mut word = || cursor.u16().map_err(|_| DecodeError::Header { octets });
        let (code, index, announced) = (word()?, word()?, usize::from(word()?));
        let parameters = cursor.take(announced).map_err(|_| DecodeError::Length {
            code,
            announced,
            present: octets - HEADER_OCTETS,
        })?;
        Ok(Self { code, index, parameters })
    }
}

/// Writes the header. `parameter_octets` is at most 65,535 for every command that can be built.
pub fn put_header(out: &mut Vec<u8>, code: u16, index: u16, parameter_octets: u16) {
    for field in [code, index, parameter_octets] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

/// The octets ended before the field did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short;

/// Reads fields one after the other.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What has not been read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn take(&mut self, octets: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.rest.split_at_checked(octets).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub fn array<const OCTETS: usize>(&mut self) -> Result<[u8; OCTETS], Short> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array().map(|[octet]| octet)
    }

    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }
}

/// Text in a field of fixed length: ends at the first zero; what is no UTF-8 is replaced.
pub fn text(octets: &[u8]) -> String {
    let end = octets.iter().position(|octet| *octet == 0).unwrap_or(octets.len());
    String::from_utf8_lossy(&octets[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_is_split_at_its_announced_length() {
        // Index Removed of controller 1 with two octets too many.
        let frame = Frame::decode(&[0x05, 0x00, 0x01, 0x00, 0x01, 0x00, 0xAA, 0xBB]).ok().unwrap();
        assert_eq!((frame.code, frame.index, frame.parameters), (5, 1, &[0xAA][..]));
    }

    #[test]
    fn a_datagram_shorter_than_it_says_is_an_error_with_its_numbers() {
        assert_eq!(Frame::decode(&[1, 0, 0]).err(), Some(DecodeError::Header { octets: 3 }));
        let short = Frame::decode(&[0x0A, 0, 0, 0, 4, 0, 1]).err();
        assert_eq!(short, Some(DecodeError::Length { code: 10, announced: 4, present: 1 }));
    }

    #[test]
    fn the_header_is_written_as_it_is_read() {
        let mut out = Vec::new();
        put_header(&mut out, 0x1234, 0xFFFE, 3);
        out.extend_from_slice(&[7, 8, 9]);
        let frame = Frame::decode(&out).ok().unwrap();
        assert_eq!((frame.code, frame.index, frame.parameters), (0x1234, 0xFFFE, &[7, 8, 9][..]));
    }

    #[test]
    fn text_ends_at_the_first_zero() {
        assert_eq!(text(b"hci0\0garbage"), "hci0");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(&[0xFF, b'a', 0]), "\u{FFFD}a");
    }

    proptest! {
        #[test]
        fn no_octets_make_the_splitter_panic(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Frame::decode(&octets);
        }
    }
}
