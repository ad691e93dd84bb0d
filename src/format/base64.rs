//! Base64 of the standard alphabet with padding, for formats that write keys in it. [RFC 4648 4]
//!
//! Buffers are made in their final size and wiped on drop, as they hold keys.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With padding, without a line end.
pub(super) fn encode(octets: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(octets.len().div_ceil(3) * 4));
    for group in octets.chunks(3) {
        let at = |index: usize| group.get(index).copied().map_or(0, u32::from);
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let value = usize::try_from(bits >> (18 - 6 * digit) & 0x3F).unwrap_or_default();
            text.push(if digit <= group.len() { char::from(ALPHABET[value]) } else { '=' });
        }
    }
    text
}

/// Takes line ends anywhere, as some writers add them; everything else must be exact: whole groups, padding
/// only where it belongs and only zeros in the bits that padding leaves over.
pub(super) fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = || text.bytes().filter(|byte| !b"\r\n".contains(byte));
    let count = digits().count();
    let padding = digits().rev().take_while(|byte| *byte == b'=').count();
    if !count.is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(count / 4 * 3));
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits().take(count - padding) {
        let value = ALPHABET.iter().position(|known| *known == digit)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    (bits & ((1 << held) - 1) == 0).then_some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_go_both_ways() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(encode(plain.as_bytes()).as_str(), coded);
            assert_eq!(decode(coded).unwrap().as_slice(), plain.as_bytes());
        }
    }

    #[test]
    fn every_octet_comes_back_and_line_ends_do_not_matter() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = encode(&all).to_string();
        text.insert_str(40, "\r\n");
        text.push('\n');
        assert_eq!(decode(&text).unwrap().as_slice(), all);
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for text in
            ["Zg", "Zg=", "Zg===", "Z===", "=Zg=", "Zg==Zg==", "Zh==", "Zm9=", "Zm 9v", "Zm-v", "é==="]
        {
            assert!(decode(text).is_none(), "{text}");
        }
    }
}
