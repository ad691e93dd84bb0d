//! Copies that are kept aside before something destructive: one file each, in the project's own format.
//!
//! A label names when, whose and why: `20261121T014239120Z-AA-BB-CC-DD-EE-FF-before_forget`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::{Files, fault};
use super::messages::{Checkpoint, CheckpointContent, StoreFault};
use super::sled::Held;
use super::snapshot::{encode, read_limited};
use crate::bond::{AdapterAddress, UnixMillis};
use crate::format::{bondkeeper, rfc3339};

const FOLDER: &str = "checkpoints";
const ENDING: &str = ".json";

/// Copies kept of one adapter: with a handful of changes a month, years.
pub const CHECKPOINTS_PER_ADAPTER_MAX: usize = 50;

/// Copies of one adapter together take no more than this: the largest tables still have a few.
pub const CHECKPOINT_OCTETS_PER_ADAPTER_MAX: u64 = 64 << 20;

/// Older copies go, but for the newest few: a clock that jumps must not empty the folder.
pub const CHECKPOINT_AGE_MAX_MS: u64 = 365 * 24 * 3600 * 1000;

/// The newest copies of an adapter, which no limit of age or size removes.
pub const CHECKPOINTS_ALWAYS_KEPT: usize = 5;

/// Longest reason in a label.
const REASON_OCTETS_MAX: usize = 40;

/// Copies that may fall into one millisecond for one reason.
const SAME_LABEL_MAX: usize = 100;

/// Length of `20261121T014239120Z-AA-BB-CC-DD-EE-FF-`.
const LABEL_HEAD_OCTETS: usize = 19 + 1 + 17 + 1;

/// Keeps a copy aside.
pub(super) fn save(
    files: &Files,
    store: &Path,
    adapter: AdapterAddress,
    held: &Held,
    reason: &str,
    now: UnixMillis,
) -> Result<Checkpoint, StoreFault> {
    let folder = store.join(FOLDER);
    let failed = |error: io::Error| fault(&error, "a checkpoint");
    if !folder.is_dir() {
        files.make_folder(&folder).map_err(failed)?;
    }
    let reason = plain(reason);
    let label = free_label(&folder, &format!("{}-{reason}", head(adapter, now))).map_err(failed)?;
    let bytes = files.sealing.seal_file(encode(adapter, held, now).map_err(failed)?).map_err(failed)?;
    files.replace(&path_of(store, &label), &bytes).map_err(failed)?;
    // The copy is there: that an older one could not be removed is no reason to fail.
    if let Err(error) = prune(files, store, adapter, now) {
        tracing::warn!(%adapter, %error, "an old checkpoint could not be removed");
    }
    Ok(Checkpoint {
        label,
        adapter,
        reason,
        bond_count: held.table.len(),
        generation: held.table.generation(),
        at: now,
    })
}

/// The copies, newest first. One that cannot be read is left out and logged.
pub(super) fn list(
    files: &Files,
    store: &Path,
    adapter: Option<AdapterAddress>,
) -> Result<Vec<Checkpoint>, StoreFault> {
    let labels = labels(store).map_err(|error| fault(&error, "the checkpoints"))?;
    let wanted = labels.iter().rev().filter(|(_, parsed)| adapter.is_none_or(|adapter| adapter == parsed.0));
    let mut found = Vec::new();
    for (label, _) in wanted {
        match load(files, store, label) {
            Ok(content) => found.push(content.checkpoint),
            Err(error) => tracing::warn!(label, %error, "a checkpoint cannot be read"),
        }
    }
    Ok(found)
}

/// One copy.
pub(super) fn load(files: &Files, store: &Path, label: &str) -> Result<CheckpointContent, StoreFault> {
    let unknown =
        || StoreFault::NoSuchCheckpoint(label.chars().take(LABEL_HEAD_OCTETS + REASON_OCTETS_MAX).collect());
    let (adapter, at, reason) = parse(label).ok_or_else(unknown)?;
    let bytes = match read_limited(files, &path_of(store, label)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
        outcome => outcome.map_err(|error| fault(&error, "the checkpoint"))?,
    };
    let unreadable =
        |reason: String| StoreFault::Io(format!("the checkpoint {label} cannot be read: {reason}"));
    let document = bondkeeper::read(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if files.sealing.binds_names() && document.created_at != rfc3339(at) {
        return Err(unreadable("it was written under another label".to_owned()));
    }
    let copy = document.adapters.into_iter().find(|copy| copy.address == adapter);
    let table = copy.ok_or_else(|| unreadable("it holds another adapter".to_owned()))?.table;
    let reason = reason.to_owned();
    let (bond_count, generation) = (table.len(), table.generation());
    let checkpoint = Checkpoint { label: label.to_owned(), adapter, reason, bond_count, generation, at };
    Ok(CheckpointContent { checkpoint, table })
}

fn path_of(store: &Path, label: &str) -> PathBuf {
    store.join(FOLDER).join(format!("{label}{ENDING}"))
}

fn plain(reason: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' };
    let text: String = reason.chars().take(REASON_OCTETS_MAX).map(plain).collect();
    if text.is_empty() { "manual".to_owned() } else { text }
}

fn head(adapter: AdapterAddress, at: UnixMillis) -> String {
    let time: String = rfc3339(at).chars().filter(|letter| !matches!(letter, '-' | ':' | '.')).collect();
    format!("{time}-{}", adapter.to_string().replace(':', "-"))
}

fn free_label(folder: &Path, wanted: &str) -> io::Result<String> {
    let numbered = (2..=SAME_LABEL_MAX).map(|number| format!("{wanted}_{number}"));
    let mut labels = std::iter::once(wanted.to_owned()).chain(numbered);
    labels
        .find(|label| !folder.join(format!("{label}{ENDING}")).exists())
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Adapter, time and reason of a label; none when it is not one of ours, which no path can be.
fn parse(label: &str) -> Option<(AdapterAddress, UnixMillis, &str)> {
    let (head, reason) = label.split_at_checked(LABEL_HEAD_OCTETS)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if reason.is_empty() || reason.len() > REASON_OCTETS_MAX + 4 || !reason.bytes().all(plain) {
        return None;
    }
    let (time, rest) = head.split_at_checked(19)?;
    let address = rest.strip_prefix('-')?.strip_suffix('-')?;
    Some((address.replace('-', ":").parse().ok()?, parse_time(time)?, reason))
}

/// `20261121T014239120Z` → milliseconds.
pub(super) fn parse_time(text: &str) -> Option<UnixMillis> {
    let digits = |from: usize, to: usize| text.get(from..to);
    let rebuilt = format!(
        "{}-{}-{}T{}:{}:{}.{}Z",
        digits(0, 4)?,
        digits(4, 6)?,
        digits(6, 8)?,
        digits(9, 11)?,
        digits(11, 13)?,
        digits(13, 15)?,
        digits(15, 18)?,
    );
    let format = &time::format_description::well_known::Rfc3339;
    let moment = time::OffsetDateTime::parse(&rebuilt, format).ok()?;
    let at = UnixMillis(u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()?);
    // Only what would be written again the same way.
    (head_time(at) == text).then_some(at)
}

fn head_time(at: UnixMillis) -> String {
    rfc3339(at).chars().filter(|letter| !matches!(letter, '-' | ':' | '.')).collect()
}

/// Labels of ours in the order of their names, which is that of their times.
type Labels = Vec<(String, (AdapterAddress, UnixMillis))>;

fn labels(store: &Path) -> io::Result<Labels> {
    let entries = match fs::read_dir(store.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        outcome => outcome?,
    };
    let mut labels = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(label) = name.to_str().and_then(|name| name.strip_suffix(ENDING)) else { continue };
        if let Some((adapter, at, _)) = parse(label) {
            labels.push((label.to_owned(), (adapter, at)));
        }
    }
    labels.sort();
    Ok(labels)
}

fn prune(files: &Files, store: &Path, adapter: AdapterAddress, now: UnixMillis) -> io::Result<()> {
    let mut octets = 0;
    let ours = labels(store)?;
    let newest_first = ours.iter().rev().filter(|(_, (owner, _))| *owner == adapter);
    for (rank, (label, (_, at))) in newest_first.enumerate() {
        let path = path_of(store, label);
        octets += fs::metadata(&path)?.len();
        let old = now.0.saturating_sub(at.0) > CHECKPOINT_AGE_MAX_MS;
        let large = octets > CHECKPOINT_OCTETS_PER_ADAPTER_MAX;
        let many = rank >= CHECKPOINTS_PER_ADAPTER_MAX;
        if rank >= CHECKPOINTS_ALWAYS_KEPT && (many || old || large) {
            files.remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::BondTable;
    use crate::bond::testing::secure_bond;
    use crate::store::testing::{ADAPTER, adapter, held};

    const NOW: UnixMillis = UnixMillis(1_795_225_339_120);

    fn table() -> Held {
        let mut table = BondTable::new();
        table.insert(secure_bond("C0:FF:EE:00:00:01", 1)).unwrap();
        held(table)
    }

    fn save_at(store: &Path, at: u64) -> Checkpoint {
        save(&Files::default(), store, adapter(ADAPTER), &table(), "before_forget", UnixMillis(at)).unwrap()
    }

    #[test]
    fn a_copy_comes_back_under_its_label() {
        let folder = tempfile::tempdir().unwrap();
        let saved = save_at(folder.path(), NOW.0);
        assert_eq!(saved.label, "20261121T014219120Z-00-1A-7D-DA-71-11-before_forget");
        let content = load(&Files::default(), folder.path(), &saved.label).unwrap();
        assert_eq!(content.checkpoint, saved);
        assert_eq!(content.table.len(), 1);
        let second = save_at(folder.path(), NOW.0);
        assert!(second.label.ends_with("before_forget_2"));
        assert_eq!(list(&Files::default(), folder.path(), None).unwrap().len(), 2);
        assert!(
            list(&Files::default(), folder.path(), Some(adapter("00:1A:7D:DA:71:12"))).unwrap().is_empty()
        );
    }

    #[test]
    fn the_newest_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for at in [3, 1, 2] {
            save_at(folder.path(), NOW.0 + at);
        }
        let times: Vec<_> = list(&Files::default(), folder.path(), None)
            .unwrap()
            .iter()
            .map(|copy| copy.at.0 - NOW.0)
            .collect();
        assert_eq!(times, [3, 2, 1]);
    }

    #[test]
    fn old_and_surplus_copies_go_and_the_newest_few_never() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..CHECKPOINTS_PER_ADAPTER_MAX as u64 + 3 {
            save_at(folder.path(), NOW.0 + at);
        }
        let kept = list(&Files::default(), folder.path(), None).unwrap();
        assert_eq!(kept.len(), CHECKPOINTS_PER_ADAPTER_MAX);
        assert_eq!(kept.last().unwrap().at.0, NOW.0 + 3);
        save_at(folder.path(), NOW.0 + 2 * CHECKPOINT_AGE_MAX_MS);
        assert_eq!(list(&Files::default(), folder.path(), None).unwrap().len(), CHECKPOINTS_ALWAYS_KEPT);
    }

    #[test]
    fn no_label_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let head = "20261121T014219120Z-00-1A-7D-DA-71-11-";
        for label in ["", "..", "../x", "/etc/passwd", &format!("{head}../../x"), &format!("{head}A"), head] {
            assert!(
                matches!(load(&Files::default(), folder.path(), label), Err(StoreFault::NoSuchCheckpoint(_))),
                "{label}"
            );
        }
    }

    #[test]
    fn a_damaged_copy_is_an_error_and_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (save_at(folder.path(), NOW.0), save_at(folder.path(), NOW.0 + 1));
        fs::write(path_of(folder.path(), &first.label), b"{}").unwrap();
        assert!(matches!(load(&Files::default(), folder.path(), &first.label), Err(StoreFault::Io(_))));
        assert_eq!(list(&Files::default(), folder.path(), None).unwrap(), [second]);
    }

    #[test]
    fn any_reason_makes_a_label_that_can_be_read_back() {
        let folder = tempfile::tempdir().unwrap();
        for reason in ["", "Größe/..", &"x".repeat(100)] {
            let saved =
                save(&Files::default(), folder.path(), adapter(ADAPTER), &table(), reason, NOW).unwrap();
            assert!(load(&Files::default(), folder.path(), &saved.label).is_ok(), "{}", saved.label);
        }
    }
}
