use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What damage does to a file.
#[derive(Debug, Clone)]
enum Damage {
    /// Turns bits over.
    Flip(Index, u8),
    /// Cuts everything behind.
    Cut(Index),
    /// Takes a piece out.
    Remove(Index, usize),
    /// Repeats a piece.
    Repeat(Index, usize),
    /// Puts something in that readers have been wrong about.
    Insert(Index, Index),
}

/// Numbers, words and marks on the edges of what is allowed.
const ODD: [&[u8]; 20] = [
    b"0",
    b"-1",
    b"1.5",
    b"1e9",
    b"16",
    b"17",
    b"255",
    b"65536",
    b"18446744073709551616",
    b"null",
    b"true",
    b"\"\"",
    b"[]",
    b"{}",
    b"\n[LinkKey]\n",
    b"\\",
    b"\"",
    b"\0",
    b"\xff\xfe",
    b"00000000000000000000000000000000",
];

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        (index(), 1_u8..).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        index().prop_map(Damage::Cut),
        (index(), 1_usize..40).prop_map(|(at, length)| Damage::Remove(at, length)),
        (index(), 1_usize..200).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (index(), index()).prop_map(|(at, what)| Damage::Insert(at, what)),
    ]
}

fn spoil(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    let piece = |at: usize, octets: usize| at..(at + octets).min(length);
    match damage {
        Damage::Flip(at, bits) => bytes[at.index(length)] ^= bits,
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Remove(at, length) => {
            let piece = piece(at.index(bytes.len()), *length);
            bytes.drain(piece);
        }
        Damage::Repeat(at, length) => {
            let piece = piece(at.index(bytes.len()), *length);
            let copy = bytes[piece.clone()].to_vec();
            bytes.splice(piece.end..piece.end, copy);
        }
        Damage::Insert(at, what) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, ODD[what.index(ODD.len())].iter().copied());
        }
    }
}

/// Every file of the format's fixtures but the truth about it.
fn fixtures(format: FormatId) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(format.as_str());
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let is_file_of_format = !path.ends_with("expected.json") && !path.ends_with("README.md");
            if path.is_dir() {
                folders.push(path);
            } else if is_file_of_format {
                files.push(std::fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn every_format_that_is_read_has_fixtures_and_withstands_them() {
    for format in FormatId::ALL.into_iter().filter(|format| format.is_readable()) {
        let files = fixtures(format);
        assert!(!files.is_empty() || format == FormatId::Bondkeeper, "{}", format.as_str());
        for file in files {
            import_any(format, &file);
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_file_never_makes_a_reader_panic(
        at in any::<Index>(), damages in vec(damage(), 1..5)
    ) {
        for format in FormatId::ALL {
            let files = fixtures(format);
            if files.is_empty() {
                continue;
            }
            let mut bytes = files[at.index(files.len())].clone();
            for damage in &damages {
                spoil(&mut bytes, damage);
            }
            import_any(format, &bytes);
        }
    }

    #[test]
    fn octets_without_any_order_never_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        for format in FormatId::ALL {
            import_any(format, &bytes);
        }
    }
}
