//! A model of the disk below the data folder: what a power cut would leave of it.
//!
//! Fed with the calls that `interpose.c` has seen. It believes in as little as POSIX promises: a file's
//! octets are safe after a sync of the file, a name after a sync of the folder it stands in, and of the
//! rest any page may be there or not, in any order. After a sync that failed the octets it was for never
//! reach the disk, not with a later sync either, as Linux has it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::random::Random;

const PAGE: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Octets of a record of the log before its paths; see `interpose.c`.
const HEAD: usize = 36;

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All of it is lost.
    Lost,
    /// All of it was written just in time.
    Kept,
    /// Pages survive or not, each by itself, some in part; of the names in a folder the first so many.
    Torn,
}

type Id = usize;

enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Default)]
struct File {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLength(usize),
}

#[derive(Default, Clone)]
struct Folder {
    current: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
    /// Each is done as a whole or not at all.
    pending: Vec<Vec<(String, Option<Id>)>>,
}

/// One call of the log.
pub struct Call {
    /// Where its record ends: when it had happened.
    pub end: u64,
    kind: u8,
    succeeded: bool,
    inode: u64,
    offset: usize,
    first: String,
    second: String,
    data: Vec<u8>,
}

/// Reads a log from a record's end on; a record that was cut off with the process is left out.
pub fn read_log(path: &Path, from: u64) -> Vec<Call> {
    let mut bytes = Vec::new();
    let mut log = fs::File::open(path).unwrap();
    log.seek(SeekFrom::Start(from)).unwrap();
    log.read_to_end(&mut bytes).unwrap();
    let mut calls = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + HEAD) {
        let number = |from: usize| u32::from_le_bytes(head[from..from + 4].try_into().unwrap()) as usize;
        let long = |from: usize| u64::from_le_bytes(head[from..from + 8].try_into().unwrap());
        let Some(body) = bytes.get(at + HEAD..at + number(0)) else { break };
        let (first, rest) = body.split_at(number(24));
        let (second, data) = rest.split_at(number(28));
        assert_eq!(data.len(), number(32), "the log is what it says");
        at += number(0);
        calls.push(Call {
            end: from + at as u64,
            kind: head[4],
            succeeded: head[5] == 1,
            inode: long(8),
            offset: usize::try_from(long(16)).unwrap(),
            first: String::from_utf8(first.to_vec()).unwrap(),
            second: String::from_utf8(second.to_vec()).unwrap(),
            data: data.to_vec(),
        });
    }
    calls
}

pub struct Disk {
    nodes: Vec<Node>,
    by_inode: HashMap<u64, Id>,
}

const ROOT: Id = 0;

impl Disk {
    /// What is in a folder, all of it safe. A folder that is missing is an empty one.
    pub fn of(folder: &Path) -> Self {
        let mut disk = Self { nodes: vec![Node::Folder(Folder::default())], by_inode: HashMap::new() };
        if folder.is_dir() {
            disk.read_folder(ROOT, folder);
        }
        disk
    }

    fn read_folder(&mut self, id: Id, path: &Path) {
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let child = if entry.file_type().unwrap().is_dir() {
                let child = self.add(Node::Folder(Folder::default()));
                self.read_folder(child, &entry.path());
                child
            } else {
                let inode = entry.metadata().unwrap().ino();
                let known = self.by_inode.get(&inode).copied();
                known.unwrap_or_else(|| {
                    let bytes = fs::read(entry.path()).unwrap();
                    let file = File { current: bytes.clone(), durable: bytes, pending: Vec::new() };
                    let child = self.add(Node::File(file));
                    self.by_inode.insert(inode, child);
                    child
                })
            };
            entries.insert(entry.file_name().into_string().unwrap(), child);
        }
        *self.folder(id) = Folder { current: entries.clone(), durable: entries, pending: Vec::new() };
    }

    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn folder(&mut self, id: Id) -> &mut Folder {
        match &mut self.nodes[id] {
            Node::Folder(folder) => folder,
            Node::File(_) => panic!("node {id} is no folder"),
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        let id = *self.by_inode.get(&inode).unwrap_or_else(|| panic!("inode {inode} was never seen"));
        match &mut self.nodes[id] {
            Node::File(file) => file,
            Node::Folder(_) => panic!("inode {inode} is no file"),
        }
    }

    /// The folder that a path stands in, and its last name.
    fn parent<'a>(&mut self, path: &'a str) -> (Id, &'a str) {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(folders), name)
    }

    fn find(&mut self, path: &str) -> Id {
        path.split('/').filter(|name| !name.is_empty()).fold(ROOT, |id, name| {
            let entries = &self.folder(id).current;
            *entries.get(name).unwrap_or_else(|| panic!("the recorder never saw {path}"))
        })
    }

    fn rename_entries(&mut self, folder: Id, changes: Vec<(String, Option<Id>)>) {
        let folder = self.folder(folder);
        apply_names(&mut folder.current, &changes);
        folder.pending.push(changes);
    }

    /// The next call of the log.
    pub fn apply(&mut self, call: &Call) {
        match call.kind {
            1 => {
                let id = self.add(Node::File(File::default()));
                self.by_inode.insert(call.inode, id);
                let (folder, name) = self.parent(&call.first);
                self.rename_entries(folder, vec![(name.to_owned(), Some(id))]);
            }
            2 => self.file(call.inode).change(Change::Write { offset: call.offset, data: call.data.clone() }),
            3 => self.file(call.inode).change(Change::SetLength(call.offset)),
            4 => self.file(call.inode).sync(call.succeeded),
            5 if call.succeeded => {
                let id = self.find(&call.first);
                let folder = self.folder(id);
                folder.pending.clear();
                folder.durable = folder.current.clone();
            }
            5 => {}
            6 => {
                let (from, old) = self.parent(&call.first);
                let (to, new) = self.parent(&call.second);
                assert_eq!(from, to, "the service renames within a folder only");
                let id = self.folder(from).current[old];
                let same = self.folder(to).current.get(new) == Some(&id);
                if !same {
                    self.rename_entries(from, vec![(old.to_owned(), None), (new.to_owned(), Some(id))]);
                }
            }
            7 => {
                let id = self.find(&call.first);
                let (folder, name) = self.parent(&call.second);
                self.rename_entries(folder, vec![(name.to_owned(), Some(id))]);
            }
            8 | 10 => {
                let (folder, name) = self.parent(&call.first);
                self.rename_entries(folder, vec![(name.to_owned(), None)]);
            }
            9 => {
                let id = self.add(Node::Folder(Folder::default()));
                let (folder, name) = self.parent(&call.first);
                self.rename_entries(folder, vec![(name.to_owned(), Some(id))]);
            }
            kind => panic!("call of unknown kind {kind}"),
        }
    }

    /// Makes a folder with what a power cut at this moment leaves.
    pub fn write_image(&self, target: &Path, fate: Fate, random: &mut Random) {
        if target.exists() {
            fs::remove_dir_all(target).unwrap();
        }
        let mut written = HashMap::new();
        self.write_folder(ROOT, target, fate, random, &mut written);
    }

    fn write_folder(
        &self,
        id: Id,
        target: &Path,
        fate: Fate,
        random: &mut Random,
        written: &mut HashMap<Id, Vec<u8>>,
    ) {
        fs::create_dir(target).unwrap();
        let Node::Folder(folder) = &self.nodes[id] else { panic!("node {id} is no folder") };
        let surviving = match fate {
            Fate::Lost => 0,
            Fate::Kept => folder.pending.len(),
            Fate::Torn => random.index(folder.pending.len() + 1),
        };
        let mut entries = folder.durable.clone();
        for changes in &folder.pending[..surviving] {
            apply_names(&mut entries, changes);
        }
        for (name, child) in entries {
            match &self.nodes[child] {
                Node::Folder(_) => self.write_folder(child, &target.join(name), fate, random, written),
                // Two names of one file have one content.
                Node::File(file) => {
                    let bytes = written.entry(child).or_insert_with(|| file.after_cut(fate, random));
                    fs::write(target.join(name), bytes).unwrap();
                }
            }
        }
    }

    /// Everything in the folder is as the calls have made it: none was missed.
    pub fn assert_is(&self, folder: &Path) {
        self.assert_folder_is(ROOT, folder);
    }

    fn assert_folder_is(&self, id: Id, path: &Path) {
        let Node::Folder(folder) = &self.nodes[id] else { panic!("node {id} is no folder") };
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, folder.current.keys().cloned().collect::<Vec<_>>(), "names in {}", path.display());
        for (name, child) in &folder.current {
            match &self.nodes[*child] {
                Node::Folder(_) => self.assert_folder_is(*child, &path.join(name)),
                Node::File(file) => {
                    let is_same = fs::read(path.join(name)).unwrap() == file.current;
                    assert!(is_same, "{name} is not what its writes have made it");
                }
            }
        }
    }
}

fn apply_names(entries: &mut BTreeMap<String, Id>, changes: &[(String, Option<Id>)]) {
    for (name, id) in changes {
        match id {
            Some(id) => drop(entries.insert(name.clone(), *id)),
            None => drop(entries.remove(name)),
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLength(length) => bytes.resize(*length, 0),
            Self::Write { offset, data } => {
                if bytes.len() < offset + data.len() {
                    bytes.resize(offset + data.len(), 0);
                }
                bytes[*offset..offset + data.len()].copy_from_slice(data);
            }
        }
    }

    fn pages(&self) -> std::ops::Range<usize> {
        match self {
            Self::SetLength(_) => 0..0,
            Self::Write { offset, data } => offset / PAGE..(offset + data.len()).div_ceil(PAGE),
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    fn sync(&mut self, succeeded: bool) {
        for change in self.pending.drain(..).filter(|_| succeeded) {
            change.apply(&mut self.durable);
        }
    }

    fn after_cut(&self, fate: Fate, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        match fate {
            Fate::Lost => {}
            Fate::Kept => self.pending.iter().for_each(|change| change.apply(&mut bytes)),
            Fate::Torn => self.tear(&mut bytes, random),
        }
        bytes
    }

    /// Each page has its own last moment, and so has the length.
    fn tear(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let mut lengths = vec![bytes.len()];
        let mut writes_of: BTreeMap<usize, usize> = BTreeMap::new();
        for change in &self.pending {
            let before = *lengths.last().unwrap();
            lengths.push(match change {
                Change::SetLength(length) => *length,
                Change::Write { offset, data } => before.max(offset + data.len()),
            });
            change.pages().for_each(|page| *writes_of.entry(page).or_default() += 1);
        }
        let mut left: BTreeMap<usize, usize> =
            writes_of.into_iter().map(|(page, count)| (page, random.index(count + 1))).collect();
        for change in &self.pending {
            let Change::Write { offset, data } = change else {
                let Change::SetLength(length) = change else { continue };
                let length = (*length).min(bytes.len());
                bytes[length..].fill(0);
                continue;
            };
            for page in change.pages() {
                let Some(count) = left.get_mut(&page).filter(|count| **count > 0) else { continue };
                *count -= 1;
                let is_last = *count == 0;
                let from = (page * PAGE).max(*offset);
                let mut to = ((page + 1) * PAGE).min(offset + data.len());
                if is_last && random.one_in(4) {
                    // The power went while this page was written.
                    let sectors = (to - page * PAGE).div_ceil(SECTOR);
                    to = to.min(page * PAGE + random.index(sectors + 1) * SECTOR).max(from);
                }
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(&data[from - offset..to - offset]);
            }
        }
        bytes.resize(lengths[random.index(lengths.len())], 0);
    }
}
