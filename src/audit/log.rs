//! The files of the log: appended to by one service, read by anybody at any time.
//!
//! A line that a power cut has left half-written is closed by the next one, so that it spoils itself only.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::entry::Line;

pub const FILE: &str = "audit.jsonl";
pub const PREDECESSOR: &str = "audit.jsonl.1";

/// A file that has grown to this becomes the predecessor. The two hold some thousand lines: the years of a
/// usual house, and little enough for a backup.
pub const FILE_OCTETS_MAX: u64 = 1 << 20;

/// Longest line that is read back. The longest that is written names 200 bonds, which takes 26 KiB.
pub const LINE_OCTETS_MAX: u64 = 64 << 10;

/// Nobody else needs to know who has which devices.
const FILE_MODE: u32 = 0o600;

/// The writing end. Opens its file when there is something to write.
pub struct AuditLog {
    folder: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    octets: u64,
}

impl AuditLog {
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder, open: None }
    }

    /// Writes lines and syncs them, all or none as far as the disk lets that be.
    pub fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut octets = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut octets, line)?;
            octets.push(b'\n');
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::at(&self.folder)?,
        };
        if open.octets > 0 && open.octets + octets.len() as u64 > FILE_OCTETS_MAX {
            drop(open);
            std::fs::rename(self.folder.join(FILE), self.folder.join(PREDECESSOR))?;
            open = Open::at(&self.folder)?;
        }
        let written = open.file.write_all(&octets).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // They are written again later; what is there of them now would be there twice. If it stays
            // all the same, it is closed when the file is opened next.
            let _ = open.file.set_len(open.octets);
            return Err(error);
        }
        open.octets += octets.len() as u64;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn at(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(FILE_MODE).open(path)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        if is_new {
            File::open(folder)?.sync_all()?;
        }
        let mut octets = file.metadata()?.len();
        if octets > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                octets += 1;
            }
        }
        Ok(Self { file, octets })
    }
}

/// What the log holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// The oldest first.
    pub lines: Vec<Line>,
    /// Places of lines that cannot be read, as in `audit.jsonl:17`.
    pub damaged: Vec<String>,
}

/// Reads the log of a data folder. There is none before the first thing has happened; anything else that
/// keeps it from being read is an error.
pub fn read(folder: &Path) -> io::Result<History> {
    // The service may turn the file into the predecessor between the two openings.
    for _ in 0..3 {
        let current = open(folder, FILE)?;
        let before = open(folder, PREDECESSOR)?;
        if current.is_some() && id(current.as_ref())? == id(before.as_ref())? {
            continue;
        }
        let mut history = History::default();
        for (name, file) in [(PREDECESSOR, before), (FILE, current)] {
            if let Some(file) = file {
                read_file(name, file, &mut history)?;
            }
        }
        return Ok(history);
    }
    Err(io::Error::other("the log was replaced again and again while it was read"))
}

fn open(folder: &Path, name: &str) -> io::Result<Option<File>> {
    match File::open(folder.join(name)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn id(file: Option<&File>) -> io::Result<Option<(u64, u64)>> {
    let Some(file) = file else { return Ok(None) };
    let metadata = file.metadata()?;
    Ok(Some((metadata.dev(), metadata.ino())))
}

fn read_file(name: &str, file: File, history: &mut History) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    for number in 1.. {
        let mut octets = Vec::new();
        let read = (&mut reader).take(LINE_OCTETS_MAX).read_until(b'\n', &mut octets)?;
        if read == 0 {
            return Ok(());
        }
        // Of a longer one every piece counts as a line of its own: none of them can be read.
        match serde_json::from_slice(&octets) {
            Ok(line) if octets.ends_with(b"\n") => history.lines.push(line),
            _ => history.damaged.push(format!("{name}:{number}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::{Action, Entry};
    use crate::bond::UnixMillis;

    fn line(detail: &str) -> Line {
        let mut entry = Entry::new(UnixMillis(1_795_225_339_120), Action::StoreRebuilt, "start");
        entry.detail = Some(detail.to_owned());
        entry.line()
    }

    fn details(folder: &Path) -> Vec<String> {
        read(folder).unwrap().lines.into_iter().filter_map(|line| line.detail).collect()
    }

    #[test]
    fn lines_come_back_in_order_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), History::default());
        AuditLog::new(folder.path().to_owned()).append(&[line("a"), line("b")]).unwrap();
        AuditLog::new(folder.path().to_owned()).append(&[line("c")]).unwrap();
        assert_eq!(details(folder.path()), ["a", "b", "c"]);
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_a_power_cut_left_half_written_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::new(folder.path().to_owned());
        log.append(&[line("a"), line("b")]).unwrap();
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert_eq!(
            (details(folder.path()), read(folder.path()).unwrap().damaged.len()),
            (vec!["a".into()], 1)
        );
        AuditLog::new(folder.path().to_owned()).append(&[line("c")]).unwrap();
        assert_eq!(details(folder.path()), ["a", "c"]);
        assert_eq!(read(folder.path()).unwrap().damaged, ["audit.jsonl:2"]);
    }

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::new(folder.path().to_owned());
        let long = "x".repeat(40_000);
        for number in 0..100 {
            log.append(&[line(&format!("{number} {long}"))]).unwrap();
        }
        for name in [FILE, PREDECESSOR] {
            assert!(std::fs::metadata(folder.path().join(name)).unwrap().len() <= FILE_OCTETS_MAX);
        }
        let kept = details(folder.path());
        assert!(kept.len() > 25 && kept.last().unwrap().starts_with("99 "));
        let numbers: Vec<u32> =
            kept.iter().map(|detail| detail.split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted());
        assert_eq!(read(folder.path()).unwrap().damaged, [""; 0]);
    }

    #[test]
    fn a_log_that_cannot_be_read_is_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FILE)).unwrap();
        assert!(read(folder.path()).is_err());
        assert!(AuditLog::new(folder.path().to_owned()).append(&[line("a")]).is_err());
    }
}
