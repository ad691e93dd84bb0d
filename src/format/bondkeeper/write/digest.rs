//! The bonds' own checks and the digest over everything, in one go: each bond is turned into text once for both.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::{AdapterDto, BOND_OCTETS_EXPECTED as ROOM_OCTETS};
use crate::bond::address::ADDRESS_TEXT_OCTETS;
use crate::format::FormatError;
use crate::format::bondkeeper::read::CHECK_OCTETS;
use crate::format::pieces::Pieces;
use crate::format::wiped::Wiped;

/// What is hashed at once: a dozen bonds.
const HASHED_OCTETS: usize = 8 << 10;

/// Follows the addresses of an adapter; its bonds follow that.
const BONDS: &[u8] = b",\"bonds\":[";

/// Follows the addresses of a bond; its check comes before that.
const BEHIND_CHECK: &[u8] = b",\"conn_param\":";

/// Gives every bond its check, and returns the digest of the canonical text with them.
pub(super) fn seal(adapters: &mut [AdapterDto<'_>]) -> Result<[u8; 32], FormatError> {
    let mut hash = Pieces::new(Sha256::new(), HASHED_OCTETS);
    let outcome = seal_into(adapters, &mut hash).and_then(|()| hash.finish());
    Ok(outcome.map_err(|_| FormatError::Write)?.finalize().into())
}

fn seal_into(adapters: &mut [AdapterDto<'_>], hash: &mut Pieces<Sha256>) -> io::Result<()> {
    let (mut frame, mut room) = (Wiped::with_capacity(ROOM_OCTETS), Wiped::with_capacity(ROOM_OCTETS));
    hash.write_all(b"[")?;
    let mut comma: &[u8] = b"";
    for adapter in adapters {
        adapter.bonds.checks.clear();
        let text = frame.text_of(&*adapter)?;
        let bonds_at = octets_of_addresses(adapter.address_type) + BONDS.len();
        let (before, after) = parted(text, bonds_at, |before, _| before.ends_with(BONDS))?;
        hash.write_all(comma)?;
        hash.write_all(before)?;
        seal_bonds(adapter, &mut room, hash)?;
        hash.write_all(after)?;
        comma = b",";
    }
    hash.write_all(b"]")
}

fn seal_bonds(adapter: &mut AdapterDto<'_>, room: &mut Wiped, hash: &mut Pieces<Sha256>) -> io::Result<()> {
    let mut comma: &[u8] = b"";
    for bond in adapter.bonds.dtos() {
        let text = room.text_of(&bond)?;
        let mut check = [0; CHECK_OCTETS];
        check.copy_from_slice(&Sha256::digest(text)[..CHECK_OCTETS]);
        adapter.bonds.checks.push(check);
        let mut digits = [0; CHECK_OCTETS * 2];
        hex::encode_to_slice(check, &mut digits).map_err(io::Error::other)?;
        let check_at = octets_of_addresses(bond.address_type);
        let (before, after) = parted(text, check_at, |_, after| after.starts_with(BEHIND_CHECK))?;
        for part in [comma, before, b",\"check\":\"", &digits, b"\"", after] {
            hash.write_all(part)?;
        }
        comma = b",";
    }
    Ok(())
}

/// Of what the text of an adapter or a bond begins with.
const fn octets_of_addresses(kind: &str) -> usize {
    r#"{"address":"","address_type":"""#.len() + ADDRESS_TEXT_OCTETS + kind.len()
}

/// Before and behind the place for more, which must look as expected.
fn parted(text: &[u8], at: usize, is_place: impl Fn(&[u8], &[u8]) -> bool) -> io::Result<(&[u8], &[u8])> {
    let parts = text.split_at_checked(at).filter(|(before, after)| is_place(before, after));
    parts.ok_or_else(|| io::Error::other("the addresses are not where they should be"))
}
