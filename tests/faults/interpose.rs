//! The library that is preloaded into the service (`interpose.c`), and its controls.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::service::Setup;

/// Kinds of calls that can be made to fail, by their bits in the control page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Writing and cutting.
    Write = 0,
    /// fsync, fdatasync, sync_file_range.
    Sync = 1,
    /// New names: files, folders, links, renames.
    Name = 2,
    /// Removing files and folders.
    Remove = 3,
}

pub const KINDS: [Kind; 4] = [Kind::Write, Kind::Sync, Kind::Name, Kind::Remove];

/// Every call of the kind.
pub const ALL: u32 = u32::MAX;

/// Instead of an error: the process is killed as it comes to the call.
pub const DIE: i32 = 0xFFFF;

/// Octets of the control page: eleven fields.
const CONTROL_OCTETS: usize = 44;

/// How calls fail.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    pub kind: Kind,
    pub error: i32,
    /// So many pass first.
    pub skip: u32,
    /// So many fail then, or [`ALL`].
    pub times: u32,
    /// A failing write writes half first.
    pub tear: bool,
}

/// A service's disk, watched from outside.
pub struct Interposed {
    pub log: PathBuf,
    control: File,
}

impl Interposed {
    /// Every service that this setup starts is watched from now on.
    pub fn new(setup: &mut Setup) -> Self {
        let log = setup.folder.join("disk.log");
        let control_path = setup.folder.join("disk.control");
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&control_path)
            .unwrap();
        control.write_all_at(&[0; CONTROL_OCTETS], 0).unwrap();
        let folder = std::fs::canonicalize(&setup.folder).unwrap().join("data");
        assert_eq!(folder, setup.data_dir(), "the folder is named as the kernel names it");
        let mut set = |name: &str, value: &Path| {
            setup.environment.push((name.to_owned(), value.display().to_string()));
        };
        set("LD_PRELOAD", library());
        set("FAULTS_FOLDER", &folder);
        set("FAULTS_LOG", &log);
        set("FAULTS_CONTROL", &control_path);
        Self { log, control }
    }

    /// Octets logged so far: the clock of the disk.
    pub fn clock(&self) -> impl Fn() -> u64 + Send + use<> {
        let log = self.log.clone();
        move || std::fs::metadata(&log).map_or(0, |file| file.len())
    }

    /// From the next call on.
    pub fn fail(&self, failure: Failure) {
        // The error is written last: until then nothing fails.
        self.set(1, 0);
        self.set(0, 1 << failure.kind as u32);
        self.set(2, failure.skip);
        self.set(3, failure.times);
        self.set(4, u32::from(failure.tear));
        self.set(5, 0);
        self.set(1, failure.error.unsigned_abs());
    }

    /// Every call of every kind fails from now on.
    pub fn fail_all(&self, error: i32) {
        self.fail(Failure { kind: Kind::Write, error, skip: 0, times: ALL, tear: false });
        self.set(0, u32::MAX);
    }

    /// The service's wall clock is this many seconds ahead, or behind.
    pub fn shift_clock(&self, seconds: i32) {
        self.set(10, seconds.cast_unsigned());
    }

    /// Nothing fails any more.
    pub fn mend(&self) {
        self.set(1, 0);
    }

    /// How many calls failed since [`fail`](Self::fail).
    pub fn struck(&self) -> u32 {
        self.get(5)
    }

    /// Calls of a kind so far.
    pub fn count(&self, kind: Kind) -> u32 {
        self.get(6 + kind as u64)
    }

    fn set(&self, field: u64, value: u32) {
        self.control.write_all_at(&value.to_le_bytes(), 4 * field).unwrap();
    }

    fn get(&self, field: u64) -> u32 {
        let mut octets = [0; 4];
        self.control.read_exact_at(&mut octets, 4 * field).unwrap();
        u32::from_le_bytes(octets)
    }
}

/// Built once a run, with the compiler that the Rust one links with.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/interpose.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join(format!("interpose-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-lpthread")
            .status()
            .expect("a C compiler, which Rust needs as well");
        assert!(built.success(), "{} could not be built", source.display());
        library
    })
}
