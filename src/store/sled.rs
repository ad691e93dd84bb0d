//! The database: sled, used in the one way that was measured to be safe.
//!
//! * sled's `flush` alone is not durable on Linux: a commit ends with `fdatasync` on the file `db`.
//! * A database is made whole under another name, synced, and renamed: one cut off in its first
//!   moments may never open again.
//! * Left-overs `snap.*.generating` make opening fail for ever: they go first.
//! * Opening a damaged database succeeds and gives back less. Every tree has a seal that tells.
//! * After an error nothing is retried on the same descriptors: the whole is written anew.
//!
//! One tree an adapter, named by its address, and the tree `meta` for what is known of adapters.
//! Must never be called from the event loop. Driven by `engine`, which decides what to do about errors.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::sled::{Batch, Db, Tree};

use super::files::{Files, Step, make_private, parent, sync_tree};
use super::guard::guarded;
use super::record::{Content, ContentRef, HEADER_KEY, RecordError, SEAL_KEY, Seal, peer_key, peer_of_key};
use super::sealing::Sealing;
use super::snapshot::Age;
use super::watchdog::Watchdog;
use crate::bond::{AdapterAddress, AdapterRecord, Bond, BondTable, PeerAddress, Tombstone};

/// Memory for the engine's pages; its own default is 1 GiB.
const CACHE_OCTETS: u64 = 1 << 20;

/// The engine's file grows by pieces of this size; its own default.
const SEGMENT_OCTETS: usize = 512 * 1024;

/// The file is never shorter: the engine fills the piece that it writes in with zeros each time it opens, all but the
/// last octet, and a new database is made as long.
const FILE_OCTETS_MIN: u64 = SEGMENT_OCTETS as u64 - 1;

/// How long a database that was just closed may keep its lock: threads of the engine let go late.
/// Nobody else can hold it, as the folder has a lock of ours.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Tree of adapter records and of the header.
const META: &str = "meta";

/// What the store keeps of one adapter.
#[derive(Clone, Default)]
pub(super) struct Held {
    pub table: Arc<BondTable>,
    pub record: AdapterRecord,
    /// Rises with every commit, whatever has changed: tells which of two copies is the older one where no bond
    /// has changed in between. 0 where nobody counted.
    pub revision: u64,
}

/// What went wrong in the engine. Never its own words, which may hold what was stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("the database: {0}")]
    Io(#[from] io::Error),
    #[error("the database is damaged")]
    Damaged,
    #[error("the database engine panicked")]
    Panicked,
}

/// A record that could not be sealed.
impl From<RecordError> for EngineError {
    fn from(_: RecordError) -> Self {
        Self::Damaged
    }
}

impl From<::sled::Error> for EngineError {
    fn from(error: ::sled::Error) -> Self {
        match error {
            ::sled::Error::Io(error) => Self::Io(error),
            _ => Self::Damaged,
        }
    }
}

/// What a database gave back of one adapter.
#[derive(Clone, Default)]
pub(super) struct Found {
    pub table: BondTable,
    pub record: Option<AdapterRecord>,
    /// The record's; 0 where nobody counted.
    pub revision: u64,
    /// The seal is there and fits: nothing is missing.
    pub intact: bool,
    /// Records that could not be read, by name.
    pub lost: Vec<String>,
}

impl Found {
    pub fn age(&self) -> Age {
        Age { generation: self.table.generation(), revision: self.revision }
    }
}

/// What a database gave back.
#[derive(Clone, Default)]
pub(super) struct Contents {
    /// The header is there; without it the database has lost its beginning.
    pub has_header: bool,
    /// It is on the disk, not only readable.
    pub is_synced: bool,
    /// Its file is shorter than any that was left here.
    pub is_cut_short: bool,
    /// Something in it is sealed, and it is read without a key.
    pub lacks_key: bool,
    pub adapters: BTreeMap<AdapterAddress, Found>,
}

impl Contents {
    /// Nothing of the database itself is in doubt, whatever became of single adapters.
    pub const fn is_whole(&self) -> bool {
        self.has_header && self.is_synced && !self.is_cut_short
    }
}

/// What an entry of a tree was when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    generation: u64,
    is_removal: bool,
}

type Stamps = BTreeMap<PeerAddress, Stamp>;

/// An open database.
pub(super) struct Database {
    /// First, so that it lets go of the engine before the others do.
    watchdog: Arc<Watchdog>,
    db: Db,
    meta: Tree,
    trees: BTreeMap<AdapterAddress, (Tree, Stamps)>,
    /// `db` once more, for `fdatasync`: sled does not lend its own.
    file: File,
    path: PathBuf,
    files: Files,
}

impl Database {
    /// Opens a database that is there, and reads all of it.
    pub fn open(files: &Files, path: &Path) -> Result<(Self, Contents), EngineError> {
        remove_half_snapshots(path)?;
        if !path.join("db").is_file() {
            // sled would make a new one here, and take the place of what was lost.
            return Err(EngineError::Damaged);
        }
        // The engine makes it longer as it opens.
        let is_cut_short = fs::metadata(path.join("db"))?.len() < FILE_OCTETS_MIN;
        let opened = guarded(|| Self::open_unguarded(files, path)).unwrap_or(Err(EngineError::Panicked));
        opened.map(|(database, contents)| (database, Contents { is_cut_short, ..contents }))
    }

    /// Makes a database at `path`, where nothing is, and closes it: complete and synced.
    pub fn create(
        files: &Files,
        path: &Path,
        held: &BTreeMap<AdapterAddress, Held>,
    ) -> Result<(), EngineError> {
        let mut database = guarded(|| Self::start(files, path)).unwrap_or(Err(EngineError::Panicked))?;
        let made = database.watched(|database| {
            let header = files.sealing.encode(None, HEADER_KEY, 0, ContentRef::Header)?;
            database.meta.insert(HEADER_KEY, header.as_slice())?;
            for (adapter, held) in held {
                database.write(*adapter, held)?;
            }
            database.sync()
        });
        database.close();
        made?;
        fill_up(&path.join("db"))?;
        make_private(path)?;
        sync_tree(path)?;
        files.sync_folder(parent(path))?;
        Ok(())
    }

    /// It has a tree of this adapter.
    pub fn knows(&self, adapter: AdapterAddress) -> bool {
        self.trees.contains_key(&adapter)
    }

    /// Writes what is different, of adapters that it knows, and makes it last. After an error nothing of
    /// this database is to be trusted.
    pub fn commit(&mut self, changed: &[(AdapterAddress, Held)]) -> Result<(), EngineError> {
        self.watched(|database| {
            for (adapter, held) in changed {
                database.write(*adapter, held)?;
            }
            database.sync()
        })
    }

    /// Drops everything of one adapter. The record goes first: a tree without one is harmless.
    pub fn drop_adapter(&mut self, adapter: AdapterAddress) -> Result<(), EngineError> {
        self.watched(|database| {
            database.meta.remove(adapter.to_wire())?;
            database.trees.remove(&adapter);
            database.db.drop_tree(tree_name(adapter))?;
            database.sync()
        })
    }

    /// A change: it may panic or hang, and neither gets further than here.
    fn watched(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        self.files.step(Step::Database, &self.path)?;
        let watchdog = Arc::clone(&self.watchdog);
        watchdog.during(|| guarded(|| change(self))).unwrap_or(Err(EngineError::Panicked))
    }

    /// Closes; the engine may panic at that too.
    pub fn close(self) {
        let _ = guarded(move || drop(self));
    }

    fn open_unguarded(files: &Files, path: &Path) -> Result<(Self, Contents), EngineError> {
        let mut database = Self::start(files, path)?;
        let mut contents = Contents::default();
        let sealing = &files.sealing;
        contents.has_header = database.has_header(&mut contents.lacks_key)?;
        for name in database.db.tree_names() {
            let Some(adapter) = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let tree = database.db.open_tree(&name)?;
            let (found, stamps) = read_tree(sealing, adapter, &tree, &mut contents.lacks_key)?;
            contents.adapters.insert(adapter, found);
            database.trees.insert(adapter, (tree, stamps));
        }
        for entry in &database.meta {
            let (key, value) = entry?;
            read_meta(sealing, &mut contents, &key, &value);
        }
        // What is there may be in the system's memory only: whoever wrote it was killed before the sync.
        contents.is_synced = database.sync_file().is_ok();
        Ok((database, contents))
    }

    fn start(files: &Files, path: &Path) -> Result<Self, EngineError> {
        let config = ::sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_OCTETS)
            .cache_capacity(CACHE_OCTETS)
            .flush_every_ms(None);
        let give_up = Instant::now() + LOCK_WAIT;
        let db = loop {
            match config.open() {
                Err(error) if is_lock_error(&error) && Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                outcome => break outcome?,
            }
        };
        make_private(path)?;
        Ok(Self {
            watchdog: Arc::new(Watchdog::new(&db)),
            meta: db.open_tree(META)?,
            db,
            trees: BTreeMap::new(),
            file: File::open(path.join("db"))?,
            path: path.to_owned(),
            files: files.clone(),
        })
    }

    fn has_header(&self, lacks_key: &mut bool) -> Result<bool, EngineError> {
        let Some(bytes) = self.meta.get(HEADER_KEY)? else { return Ok(false) };
        let record = self.files.sealing.decode(None, HEADER_KEY, &bytes);
        *lacks_key |= matches!(record, Err(RecordError::Sealed));
        Ok(record.is_ok_and(|record| record.content == Content::Header))
    }

    fn write(&mut self, adapter: AdapterAddress, held: &Held) -> Result<(), EngineError> {
        if !self.trees.contains_key(&adapter) {
            let tree = self.db.open_tree(tree_name(adapter))?;
            self.trees.insert(adapter, (tree, Stamps::new()));
        }
        if let Some((tree, stamps)) = self.trees.get_mut(&adapter) {
            let wanted = stamps_of(&held.table);
            tree.apply_batch(batch(&self.files.sealing, adapter, &held.table, stamps, &wanted)?)?;
            *stamps = wanted;
        }
        let key = adapter.to_wire();
        let content = ContentRef::Adapter { record: &held.record, revision: held.revision };
        let generation = held.table.generation();
        let record = self.files.sealing.encode(Some(adapter), &key, generation, content)?;
        self.meta.insert(key, record.as_slice())?;
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush()?;
        Ok(self.sync_file()?)
    }

    fn sync_file(&self) -> io::Result<()> {
        self.files.step(Step::SyncDatabase, &self.path)?;
        self.file.sync_data()
    }
}

fn is_lock_error(error: &::sled::Error) -> bool {
    matches!(error, ::sled::Error::Io(error)
        if error.kind() == io::ErrorKind::Other && error.to_string().starts_with("could not acquire lock"))
}

/// Makes a database's file as long as those are that were opened once: one that is shorter was cut short.
fn fill_up(path: &Path) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    if file.metadata()?.len() < FILE_OCTETS_MIN { file.set_len(FILE_OCTETS_MIN) } else { Ok(()) }
}

fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(is_half_snapshot) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A file that the engine was writing when it was stopped.
pub(super) fn is_half_snapshot(name: &str) -> bool {
    name.starts_with("snap.") && (name.ends_with(".generating") || name.ends_with(".in___motion"))
}

fn tree_name(adapter: AdapterAddress) -> String {
    adapter.to_string()
}

fn stamps_of(table: &BondTable) -> Stamps {
    let bonds = table
        .entries()
        .map(|entry| (entry.bond.peer, Stamp { generation: entry.generation, is_removal: false }));
    let removals = table
        .tombstones()
        .map(|tombstone| (tombstone.peer, Stamp { generation: tombstone.generation, is_removal: true }));
    bonds.chain(removals).collect()
}

fn seal_of(stamps: &Stamps) -> Seal {
    let mut hash = crc32fast::Hasher::new();
    let mut removal_count = 0;
    for (peer, stamp) in stamps {
        hash.update(&peer_key(*peer));
        hash.update(&stamp.generation.to_le_bytes());
        hash.update(&[u8::from(stamp.is_removal)]);
        removal_count += u32::from(stamp.is_removal);
    }
    let count = u32::try_from(stamps.len()).unwrap_or(u32::MAX);
    Seal { bond_count: count - removal_count, removal_count, stamps: hash.finalize() }
}

/// What has to be written to bring a tree from one state to the next: all of it or nothing.
fn batch(
    sealing: &Sealing,
    adapter: AdapterAddress,
    table: &BondTable,
    present: &Stamps,
    wanted: &Stamps,
) -> Result<Batch, RecordError> {
    let mut batch = Batch::default();
    let mut put = |key: &[u8], generation, content: ContentRef<'_>| {
        batch.insert(key, sealing.encode(Some(adapter), key, generation, content)?.as_slice());
        Ok::<_, RecordError>(())
    };
    for entry in table.entries() {
        let peer = entry.bond.peer;
        if present.get(&peer) != wanted.get(&peer) {
            put(&peer_key(peer), entry.generation, ContentRef::Bond(&entry.bond))?;
        }
    }
    for tombstone in table.tombstones() {
        let peer = tombstone.peer;
        if present.get(&peer) != wanted.get(&peer) {
            put(&peer_key(peer), tombstone.generation, ContentRef::Removal)?;
        }
    }
    put(&SEAL_KEY, table.generation(), ContentRef::Seal(seal_of(wanted)))?;
    for peer in present.keys().filter(|peer| !wanted.contains_key(peer)) {
        batch.remove(&peer_key(*peer));
    }
    Ok(batch)
}

fn read_tree(
    sealing: &Sealing,
    adapter: AdapterAddress,
    tree: &Tree,
    lacks_key: &mut bool,
) -> Result<(Found, Stamps), EngineError> {
    let mut bonds: Vec<(Arc<Bond>, u64)> = Vec::new();
    let mut tombstones = Vec::new();
    let (mut generation, mut seal, mut lost) = (0, None, Vec::new());
    for entry in tree {
        let (key, bytes) = entry?;
        let peer = peer_of_key(&key);
        let record = match sealing.decode(Some(adapter), &key, &bytes) {
            Ok(record) => record,
            Err(error) => {
                *lacks_key |= error == RecordError::Sealed;
                let name = peer.map_or_else(|| "a record without a name".to_owned(), |peer| peer.to_string());
                lost.push(format!("{name}: {error}"));
                continue;
            }
        };
        match (record.content, peer) {
            (Content::Bond(bond), _) => bonds.push((bond, record.generation)),
            (Content::Removal, Some(peer)) => {
                tombstones.push(Tombstone { peer, generation: record.generation });
            }
            (Content::Seal(found), _) => {
                seal = Some(found);
                generation = record.generation;
            }
            _ => lost.push("a record that does not belong there".to_owned()),
        }
    }
    let table = BondTable::from_stored(generation, bonds, tombstones);
    let stamps = stamps_of(&table);
    let intact = seal == Some(seal_of(&stamps)) && lost.is_empty();
    Ok((Found { table, intact, lost, ..Found::default() }, stamps))
}

fn read_meta(sealing: &Sealing, contents: &mut Contents, key: &[u8], bytes: &[u8]) {
    let Some(adapter) = key.try_into().ok().and_then(|key| AdapterAddress::from_wire(key).ok()) else {
        return;
    };
    // A record whose tree is missing makes an adapter that is not intact.
    let found = contents.adapters.entry(adapter).or_default();
    match sealing.decode(Some(adapter), key, bytes).map(|record| record.content) {
        Ok(Content::Adapter { record, revision }) => {
            found.record = Some(*record);
            found.revision = revision;
        }
        Ok(_) => found.lost.push("its own record".to_owned()),
        Err(error) => found.lost.push(format!("its own record: {error}")),
    }
}

#[cfg(test)]
mod tests;
