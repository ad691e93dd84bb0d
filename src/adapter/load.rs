//! One run of loading an adapter's lists into the kernel: which lists, in which
//! order, and what happens when the kernel refuses one.
//!
//! Sans-io. A refused list is halved until the records that the kernel will not take are found, so
//! that one bad record never costs the others; the good ones are then loaded together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::bond::{Bond, BondTable, ConnectionParameters, Irk, LinkKey, Ltk, PeerAddress};
use crate::mgmt::{Built, LoadKind, LoadList, RefusalReason};

/// One record of a list.
#[derive(Clone)]
pub enum LoadItem {
    Irk(Irk),
    LinkKey(LinkKey),
    Ltk(Ltk),
    ConnectionParameters(ConnectionParameters),
}

/// A record and whose it is.
#[derive(Clone)]
pub struct LoadEntry {
    pub peer: PeerAddress,
    pub item: LoadItem,
}

/// Makes the kernel's list of these records, all of one kind.
fn build(kind: LoadKind, entries: &[LoadEntry]) -> Built {
    macro_rules! of {
        ($build:path, $variant:path) => {
            $build(entries.iter().filter_map(|entry| match &entry.item {
                $variant(item) => Some((entry.peer, item)),
                _ => None,
            }))
        };
    }
    match kind {
        LoadKind::Irks => of!(LoadList::irks, LoadItem::Irk),
        LoadKind::LinkKeys => of!(LoadList::link_keys, LoadItem::LinkKey),
        LoadKind::Ltks => of!(LoadList::ltks, LoadItem::Ltk),
        LoadKind::ConnectionParameters => {
            of!(LoadList::connection_parameters, LoadItem::ConnectionParameters)
        }
    }
}

/// The lists to load and what had to be left out of them.
#[derive(Clone, Default)]
pub struct Lists {
    entries: BTreeMap<LoadKind, Vec<LoadEntry>>,
    pub left_out: Vec<(PeerAddress, RefusalReason)>,
}

impl Lists {
    /// Composes the lists for the wanted bonds. `dual_mode`: the controller has BR/EDR.
    /// `may_empty`: an empty list of keys is sent too, because something must go from the kernel's;
    /// otherwise it is left out, as all it could do is take away keys that we do not know of.
    pub fn compose(
        table: &BondTable,
        wanted: impl Fn(&Bond) -> bool,
        dual_mode: bool,
        may_empty: bool,
    ) -> Self {
        let mut lists = Self::default();
        // Always, even empty: only a kernel that was given a list of IRKs asks peers for theirs.
        lists.entries.insert(LoadKind::Irks, Vec::new());
        if may_empty {
            lists.entries.insert(LoadKind::Ltks, Vec::new());
            if dual_mode {
                lists.entries.insert(LoadKind::LinkKeys, Vec::new());
            }
        }
        let mut bonds: Vec<&Bond> = table.bonds().filter(|bond| wanted(bond)).collect();
        // Where not all fit, the ones changed last are the ones in use.
        bonds.sort_by_key(|bond| (std::cmp::Reverse(bond.metadata.updated_at), bond.peer));
        for bond in bonds {
            lists.add_bond(bond, dual_mode);
        }
        lists.leave_out_refused();
        lists
    }

    fn add_bond(&mut self, bond: &Bond, dual_mode: bool) {
        let mut add = |kind: LoadKind, item: LoadItem| {
            self.entries.entry(kind).or_default().push(LoadEntry { peer: bond.peer, item });
        };
        if let Some(irk) = &bond.irk {
            add(LoadKind::Irks, LoadItem::Irk(irk.clone()));
        }
        for ltk in bond.ltks() {
            add(LoadKind::Ltks, LoadItem::Ltk(ltk.clone()));
        }
        if let (Some(link_key), true) = (&bond.link_key, dual_mode) {
            add(LoadKind::LinkKeys, LoadItem::LinkKey(link_key.clone()));
        }
        if let (Some(parameters), true) = (bond.connection_parameters, bond.has_le_keys()) {
            add(LoadKind::ConnectionParameters, LoadItem::ConnectionParameters(parameters));
        }
    }

    /// Takes out what the kernel would refuse, or has no room for.
    fn leave_out_refused(&mut self) {
        for (kind, entries) in &mut self.entries {
            let refusals = build(*kind, entries).refusals;
            let mut positions: BTreeSet<usize> = BTreeSet::new();
            for refusal in refusals {
                positions.insert(refusal.position);
                self.left_out.push((refusal.peer, refusal.reason));
            }
            let mut position = 0;
            entries.retain(|_| {
                position += 1;
                !positions.contains(&(position - 1))
            });
        }
    }

    /// Records of one list.
    pub fn count(&self, kind: LoadKind) -> usize {
        self.entries.get(&kind).map_or(0, Vec::len)
    }
}

/// What a list that was sent came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListOutcome {
    Taken,
    /// Invalid Parameters: some record is not to the kernel's liking, the table is as it was.
    Refused,
    /// Any other status: trying parts of it would not help.
    Failed(String),
    /// No answer in time.
    Silent,
}

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Every list was taken, less the refused records.
    Done,
    Failed(String),
    Silent(LoadKind),
}

/// What people call a list.
pub const fn kind_words(kind: LoadKind) -> &'static str {
    match kind {
        LoadKind::Irks => "IRKs",
        LoadKind::LinkKeys => "link keys",
        LoadKind::Ltks => "LTKs",
        LoadKind::ConnectionParameters => "connection parameters",
    }
}

/// How far a list is.
enum Stage {
    /// The whole list.
    Whole,
    /// A part of a refused list. The halves still to try wait in `rest`.
    Part { rest: Vec<Vec<LoadEntry>>, good: Vec<LoadEntry> },
    /// All the good records of a refused list.
    Good,
}

/// A run in progress. Drive: [`current`](Self::current) → send → [`outcome`](Self::outcome) → …
pub struct LoadRun {
    /// Table generation that the lists were composed from.
    pub generation: u64,
    /// What brought the run about.
    pub cause: &'static str,
    waiting: VecDeque<(LoadKind, Vec<LoadEntry>)>,
    current: Option<(LoadKind, Vec<LoadEntry>, Stage)>,
    taken: BTreeMap<LoadKind, usize>,
    /// Peers of which the kernel refused a record.
    pub refused: BTreeSet<PeerAddress>,
    /// Peers of which a record had to be left out, and why.
    pub left_out: Vec<(PeerAddress, RefusalReason)>,
}

impl LoadRun {
    pub fn new(lists: Lists, generation: u64, cause: &'static str) -> Self {
        let mut run = Self {
            generation,
            cause,
            waiting: lists.entries.into_iter().collect(),
            current: None,
            taken: BTreeMap::new(),
            refused: BTreeSet::new(),
            left_out: lists.left_out,
        };
        run.advance();
        run
    }

    /// The list to send now; none when the run has ended.
    pub fn current(&self) -> Option<LoadList> {
        self.current.as_ref().map(|(kind, entries, _)| build(*kind, entries).list)
    }

    /// Whose records the list to send now holds.
    #[cfg(test)]
    pub(super) fn current_peers(&self) -> Option<(LoadKind, Vec<PeerAddress>)> {
        let current = self.current.as_ref();
        current.map(|(kind, entries, _)| (*kind, entries.iter().map(|entry| entry.peer).collect()))
    }

    /// Records the kernel has taken of one list.
    pub fn taken(&self, kind: LoadKind) -> usize {
        self.taken.get(&kind).copied().unwrap_or(0)
    }

    /// Some record of this peer is not in the kernel.
    pub fn is_missing(&self, peer: PeerAddress) -> bool {
        self.refused.contains(&peer) || self.left_out.iter().any(|(left_out, _)| *left_out == peer)
    }

    /// Takes the kernel's answer to the current list; says when the run has ended.
    pub fn outcome(&mut self, outcome: ListOutcome) -> Option<RunEnd> {
        let Some((kind, entries, stage)) = self.current.take() else { return Some(RunEnd::Done) };
        match (outcome, stage) {
            (ListOutcome::Silent, _) => return Some(RunEnd::Silent(kind)),
            (ListOutcome::Failed(what), _) => {
                return Some(RunEnd::Failed(format!("{}: {what}", kind_words(kind))));
            }
            (ListOutcome::Taken, Stage::Whole | Stage::Good) => {
                self.taken.insert(kind, entries.len());
                self.advance();
            }
            (ListOutcome::Taken, Stage::Part { rest, mut good }) => {
                good.extend(entries);
                self.next_part(kind, rest, good);
            }
            (ListOutcome::Refused, Stage::Whole) => self.halve(kind, entries, Vec::new(), Vec::new()),
            (ListOutcome::Refused, Stage::Part { rest, good }) => self.halve(kind, entries, rest, good),
            (ListOutcome::Refused, Stage::Good) => {
                return Some(RunEnd::Failed(format!("{}: refused together", kind_words(kind))));
            }
        }
        self.current.is_none().then_some(RunEnd::Done)
    }

    fn halve(
        &mut self,
        kind: LoadKind,
        mut entries: Vec<LoadEntry>,
        mut rest: Vec<Vec<LoadEntry>>,
        good: Vec<LoadEntry>,
    ) {
        if entries.len() <= 1 {
            self.refused.extend(entries.iter().map(|entry| entry.peer));
        } else {
            let second = entries.split_off(entries.len() / 2);
            rest.push(second);
            rest.push(entries);
        }
        self.next_part(kind, rest, good);
    }

    fn next_part(&mut self, kind: LoadKind, mut rest: Vec<Vec<LoadEntry>>, good: Vec<LoadEntry>) {
        self.current = Some(match rest.pop() {
            Some(part) => (kind, part, Stage::Part { rest, good }),
            None => (kind, good, Stage::Good),
        });
    }

    fn advance(&mut self) {
        self.current = self.waiting.pop_front().map(|(kind, entries)| (kind, entries, Stage::Whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::LinkKeyType;
    use crate::bond::testing::{irk, material, peer, secure_bond};

    fn table(count: usize) -> BondTable {
        let mut table = BondTable::new();
        for number in 0..count {
            let address = format!("C0:FF:EE:00:{:02X}:{:02X}", number >> 8, number & 0xFF);
            table.insert(secure_bond(&address, 1)).unwrap();
        }
        table
    }

    fn kinds(run: &mut LoadRun) -> Vec<LoadKind> {
        let mut kinds = Vec::new();
        while let Some((kind, _)) = run.current_peers() {
            kinds.push(kind);
            run.outcome(ListOutcome::Taken);
        }
        kinds
    }

    fn run(table: &BondTable, dual_mode: bool, may_empty: bool) -> LoadRun {
        LoadRun::new(Lists::compose(table, |_| true, dual_mode, may_empty), 0, "test")
    }

    #[test]
    fn an_empty_list_of_irks_is_always_loaded_and_one_of_keys_only_to_remove() {
        let none = BondTable::new();
        assert_eq!(kinds(&mut run(&none, true, false)), [LoadKind::Irks]);
        let expected = [LoadKind::Irks, LoadKind::LinkKeys, LoadKind::Ltks];
        assert_eq!(kinds(&mut run(&none, true, true)), expected);
        assert_eq!(kinds(&mut run(&none, false, true)), [LoadKind::Irks, LoadKind::Ltks]);
    }

    #[test]
    fn link_keys_go_to_dual_mode_controllers_only() {
        let mut bond = secure_bond("C0:FF:EE:00:00:01", 1);
        bond.link_key = Some(LinkKey {
            key: material(1),
            key_type: LinkKeyType::UnauthenticatedP256,
            pin_length: Some(0),
        });
        let mut table = BondTable::new();
        table.insert(bond).unwrap();
        assert_eq!(kinds(&mut run(&table, false, false)), [LoadKind::Irks, LoadKind::Ltks]);
        let expected = [LoadKind::Irks, LoadKind::LinkKeys, LoadKind::Ltks];
        assert_eq!(kinds(&mut run(&table, true, false)), expected);
    }

    #[test]
    fn what_does_not_fit_the_kernels_list_is_left_out_by_name() {
        let lists = Lists::compose(&table(1_821), |_| true, false, false);
        assert_eq!(lists.count(LoadKind::Ltks), 1_820);
        assert_eq!(lists.left_out.len(), 1);
    }

    #[test]
    fn a_refused_list_is_loaded_without_exactly_the_refused_records() {
        let bad = [peer("C0:FF:EE:00:00:03"), peer("C0:FF:EE:00:00:09")];
        let mut run = run(&table(10), false, false);
        let mut kernel: Vec<PeerAddress> = Vec::new();
        let mut command_count = 0;
        let end = loop {
            let (kind, peers) = run.current_peers().expect("the run stopped without an end");
            command_count += 1;
            let refuse = kind == LoadKind::Ltks && peers.iter().any(|peer| bad.contains(peer));
            if kind == LoadKind::Ltks && !refuse {
                kernel = peers;
            }
            let outcome = if refuse { ListOutcome::Refused } else { ListOutcome::Taken };
            if let Some(end) = run.outcome(outcome) {
                break end;
            }
        };
        assert_eq!(end, RunEnd::Done);
        assert_eq!(kernel.len(), 8);
        assert!(bad.iter().all(|peer| !kernel.contains(peer)));
        assert_eq!(run.refused.iter().copied().collect::<Vec<_>>(), bad);
        assert!(command_count < 20, "{command_count} commands");
    }

    #[test]
    fn silence_ends_the_run_and_names_the_list() {
        let mut bond = secure_bond("C0:FF:EE:00:00:01", 1);
        bond.irk = Some(irk(1));
        let mut table = BondTable::new();
        table.insert(bond).unwrap();
        let mut run = run(&table, false, false);
        assert_eq!(run.outcome(ListOutcome::Taken), None);
        assert_eq!(run.outcome(ListOutcome::Silent), Some(RunEnd::Silent(LoadKind::Ltks)));
        assert!(run.current().is_none());
    }
}
