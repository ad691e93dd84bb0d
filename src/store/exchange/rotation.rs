//! Automatic copies in the export folder: how they are named, when one is due, and which of them go.
//!
//! A name says when, whose and of what: `auto-001A7DDA7111-20261121T014239120Z-9c1f03ab.json.age`. The folder itself
//! is the memory: what a restart, another host or a user did to it counts. Nothing but files with such names
//! is ever removed.

use std::fs;
use std::io;
use std::path::Path;

use crate::bond::{AdapterAddress, UnixMillis};
use crate::format::rfc3339;

/// Time between two copies of one adapter. A day of pairing then leaves a dozen, and what a lost disk costs is an
/// hour at the most.
pub const COPY_INTERVAL_MS: u64 = 3_600_000;

/// The same where something destructive follows. A series of such steps is covered by the copy before its first.
pub const COPY_INTERVAL_BEFORE_LOSS_MS: u64 = 60_000;

/// Copies kept of one adapter.
pub const COPIES_PER_ADAPTER_MAX: usize = 30;

/// Older copies go, but for the newest few.
pub const COPY_AGE_MAX_MS: u64 = 365 * 24 * 3_600_000;

/// The newest copies, which no age removes: the clock may be wrong.
pub const COPIES_ALWAYS_KEPT: usize = 5;

const PREFIX: &str = "auto-";
const ENDINGS: [&str; 2] = [".json.age", ".json"];

/// Digits of the digest in a name.
const DIGEST_DIGITS: usize = 8;

/// See the module text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyName {
    pub adapter: AdapterAddress,
    pub at: UnixMillis,
    /// The first digits of a digest of the content.
    pub digest: String,
    pub is_sealed: bool,
}

/// Whether a copy is made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now,
    /// The newest copy is too young: in so many milliseconds.
    Later(u64),
    /// The newest copy holds the same.
    Never,
}

impl CopyName {
    pub fn file_name(&self) -> String {
        let address = self.adapter.to_string().replace(':', "");
        let ending = ENDINGS[usize::from(!self.is_sealed)];
        format!("{PREFIX}{address}-{}-{}{ending}", compact(self.at), self.digest)
    }

    /// None when it is not a name of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let ending = ENDINGS.into_iter().find(|ending| name.ends_with(ending))?;
        let mut parts = name.strip_prefix(PREFIX)?.strip_suffix(ending)?.split('-');
        let (address, time, digest) = (parts.next()?, parts.next()?, parts.next()?);
        let octets: Option<Vec<&str>> = (0..6).map(|at| address.get(2 * at..2 * at + 2)).collect();
        let copy = Self {
            adapter: octets?.join(":").parse().ok()?,
            at: crate::store::history::parse_time(time)?,
            digest: digest.to_owned(),
            is_sealed: ending == ENDINGS[0],
        };
        // Only what would be written again the same way.
        (copy.file_name() == name && digest.len() == DIGEST_DIGITS).then_some(copy)
    }

    /// The digits of a content's digest that a name holds.
    pub fn digits(sha256: &str) -> String {
        sha256.chars().take(DIGEST_DIGITS).collect()
    }
}

/// Whether a copy with this digest is made now. A newest copy from the future tells of a wrong clock and not of a
/// copy just made.
pub fn due(newest: Option<&CopyName>, wanted: &CopyName, interval_ms: u64) -> Due {
    let Some(newest) = newest else { return Due::Now };
    if (&newest.digest, newest.is_sealed) == (&wanted.digest, wanted.is_sealed) {
        return Due::Never;
    }
    match wanted.at.0.checked_sub(newest.at.0) {
        Some(age) if age < interval_ms => Due::Later(interval_ms - age),
        _ => Due::Now,
    }
}

/// The copies of an adapter, the newest first. A folder that is not there has none.
pub fn copies(folder: &Path, adapter: AdapterAddress) -> io::Result<Vec<CopyName>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        outcome => outcome?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(CopyName::parse).filter(|copy| copy.adapter == adapter));
    }
    found.sort_by_key(|copy| std::cmp::Reverse(copy.at));
    Ok(found)
}

/// Removes what is too much or too old.
pub fn prune(folder: &Path, adapter: AdapterAddress, now: UnixMillis) -> io::Result<()> {
    for (rank, copy) in copies(folder, adapter)?.iter().enumerate() {
        let old = now.0.saturating_sub(copy.at.0) > COPY_AGE_MAX_MS;
        if rank >= COPIES_PER_ADAPTER_MAX || (rank >= COPIES_ALWAYS_KEPT && old) {
            crate::store::files::missing_is_fine(fs::remove_file(folder.join(copy.file_name())))?;
        }
    }
    Ok(())
}

fn compact(at: UnixMillis) -> String {
    rfc3339(at).chars().filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_225_339_120;

    fn copy(at: u64, digest: &str) -> CopyName {
        CopyName {
            adapter: "00:1A:7D:DA:71:11".parse().unwrap(),
            at: UnixMillis(at),
            digest: digest.to_owned(),
            is_sealed: true,
        }
    }

    #[test]
    fn a_name_is_read_back_and_nobody_elses_is_taken_for_one() {
        let name = copy(NOW, "9c1f03ab").file_name();
        assert_eq!(name, "auto-001A7DDA7111-20261121T014219120Z-9c1f03ab.json.age");
        assert_eq!(CopyName::parse(&name), Some(copy(NOW, "9c1f03ab")));
        let clear = CopyName { is_sealed: false, ..copy(NOW, "9c1f03ab") };
        assert_eq!(CopyName::parse(&clear.file_name()), Some(clear));
        for other in [
            "auto-.json",
            "auto-001A7DDA7111-20261121T014219120Z-9c1f03ab.json.age.new",
            "auto-001A7DDA7111-20261121T014219120Z-9c1f03ab-2.json.age",
            "auto-001a7dda7111-20261121T014219120Z-9c1f03ab.json.age",
            "auto-001A7DDA7111-20261121T014219120Z-9c.json.age",
            "auto-é01A7DDA7111-20261121T014219120Z-9c1f03ab.json",
            "bonds-001A7DDA7111-bondkeeper-20261121T014219120Z.json",
        ] {
            assert_eq!(CopyName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_copy_is_made_of_what_is_new_and_at_most_once_an_interval() {
        let due =
            |newest: Option<CopyName>, digest| due(newest.as_ref(), &copy(NOW, digest), COPY_INTERVAL_MS);
        assert_eq!(due(None, "aaaaaaaa"), Due::Now);
        assert_eq!(due(Some(copy(NOW - 1, "aaaaaaaa")), "aaaaaaaa"), Due::Never);
        assert_eq!(due(Some(copy(NOW - 1, "aaaaaaaa")), "bbbbbbbb"), Due::Later(COPY_INTERVAL_MS - 1));
        assert_eq!(due(Some(copy(NOW - COPY_INTERVAL_MS, "aaaaaaaa")), "bbbbbbbb"), Due::Now);
        assert_eq!(due(Some(copy(NOW + 1, "aaaaaaaa")), "bbbbbbbb"), Due::Now, "a clock that was wrong");
        let clear = CopyName { is_sealed: false, ..copy(NOW - COPY_INTERVAL_MS, "aaaaaaaa") };
        assert_eq!(due(Some(clear), "aaaaaaaa"), Due::Now, "the passphrase is new");
    }

    #[test]
    fn surplus_and_old_copies_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(folder.path().join(name), b"x").unwrap();
        for at in 0..COPIES_PER_ADAPTER_MAX as u64 + 3 {
            write(&copy(NOW + at, "aaaaaaaa").file_name());
        }
        write("auto-mine.json");
        let other = CopyName { adapter: "00:1A:7D:DA:71:12".parse().unwrap(), ..copy(0, "aaaaaaaa") };
        write(&other.file_name());
        let adapter = copy(0, "").adapter;
        let count = || copies(folder.path(), adapter).unwrap().len();
        prune(folder.path(), adapter, UnixMillis(NOW)).unwrap();
        assert_eq!(count(), COPIES_PER_ADAPTER_MAX);
        assert_eq!(copies(folder.path(), adapter).unwrap()[0].at.0, NOW + COPIES_PER_ADAPTER_MAX as u64 + 2);
        prune(folder.path(), adapter, UnixMillis(NOW + 2 * COPY_AGE_MAX_MS)).unwrap();
        assert_eq!(count(), COPIES_ALWAYS_KEPT);
        assert!(folder.path().join("auto-mine.json").exists());
        assert!(folder.path().join(other.file_name()).exists());
    }
}
