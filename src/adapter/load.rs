//! One run of loading an adapter's lists into the kernel: which lists, in which
//! order, and what happens when the kernel refuses one.
//!
//! Sans-io. A refused list is halved until the records that the kernel will not take are found, so
//! that one bad record never costs the others; the good ones are then loaded together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::messages::ListSide;
use super::records::{LoadItem, Place, Records};
use crate::bond::{Bond, PeerAddress};
use crate::mgmt::{Built, LoadKind, LoadList, RefusalReason};

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
    /// Composes the lists. `theirs`: records of others that go along, first, so that they are never those for
    /// which there is no room; where a bond has records of the same kind for the peer, those stand.
    /// `dual_mode`: the controller has BR/EDR.
    pub fn compose<'a>(
        theirs: &BTreeMap<LoadKind, Records>,
        bonds: impl IntoIterator<Item = &'a Bond>,
        dual_mode: bool,
    ) -> Self {
        let mut bonds: Vec<&Bond> = bonds.into_iter().collect();
        // Where not all fit, the ones changed last are the ones in use.
        bonds.sort_by_key(|bond| (std::cmp::Reverse(bond.metadata.updated_at), bond.peer));
        let of_bonds: Vec<(LoadKind, Place, LoadItem)> =
            bonds.into_iter().flat_map(|bond| LoadItem::of_bond(bond, dual_mode)).collect();
        let known: BTreeSet<(LoadKind, PeerAddress)> =
            of_bonds.iter().map(|(kind, (peer, _), _)| (*kind, *peer)).collect();
        let mut lists = Self::default();
        for (kind, records) in theirs {
            for ((peer, _), item) in records {
                if !known.contains(&(*kind, *peer)) && (dual_mode || *kind != LoadKind::LinkKeys) {
                    lists.push(*kind, *peer, item.clone());
                }
            }
        }
        for (kind, (peer, _), item) in of_bonds {
            lists.push(kind, peer, item);
        }
        lists.leave_out_refused();
        lists
    }

    fn push(&mut self, kind: LoadKind, peer: PeerAddress, item: LoadItem) {
        self.entries.entry(kind).or_default().push(LoadEntry { peer, item });
    }

    /// As plug-in wants it: the list of IRKs goes out even when it is empty, because only a kernel that was
    /// given one asks peers for theirs.
    #[must_use]
    pub fn priming(mut self) -> Self {
        self.entries.entry(LoadKind::Irks).or_default();
        self
    }

    /// As a removal wants it: the lists of keys go out even when they are empty, because something must
    /// go from the kernel's. Otherwise an empty one is left out: all it could do is take away keys that
    /// we do not know of.
    #[must_use]
    pub fn emptying(mut self, dual_mode: bool) -> Self {
        self.entries.entry(LoadKind::Ltks).or_default();
        if dual_mode {
            self.entries.entry(LoadKind::LinkKeys).or_default();
        }
        self
    }

    /// Only the lists that `wanted` says.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(LoadKind) -> bool) -> Self {
        self.entries.retain(|kind, _| wanted(*kind));
        self
    }

    /// These lists, empty or not.
    #[must_use]
    pub fn exactly(mut self, wanted: &[LoadKind]) -> Self {
        for kind in wanted {
            self.entries.entry(*kind).or_default();
        }
        self.only(|kind| wanted.contains(&kind))
    }

    /// The records of one list.
    pub fn records(&self, kind: LoadKind) -> Records {
        records_of(self.entries.get(&kind).map_or(&[], Vec::as_slice))
    }

    /// No list at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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

fn records_of(entries: &[LoadEntry]) -> Records {
    entries.iter().map(|entry| ((entry.peer, entry.item.slot().1), entry.item.clone())).collect()
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

/// A stable word for programs.
pub const fn kind_code(kind: LoadKind) -> &'static str {
    match kind {
        LoadKind::Irks => "irks",
        LoadKind::LinkKeys => "link_keys",
        LoadKind::Ltks => "ltks",
        LoadKind::ConnectionParameters => "connection_parameters",
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
    offered: BTreeMap<LoadKind, usize>,
    taken: BTreeMap<LoadKind, usize>,
    /// Peers of which the kernel refused a record.
    pub refused: BTreeSet<PeerAddress>,
    /// Peers of which a record had to be left out, and why.
    pub left_out: Vec<(PeerAddress, RefusalReason)>,
}

impl LoadRun {
    /// The cause of a run that puts back what another process's load has left out.
    pub const ANSWER: &'static str = "foreign_load";

    /// The cause of the first run after a plug-in.
    pub const PLUGGED_IN: &'static str = "plugged_in";

    pub fn new(lists: Lists, generation: u64, cause: &'static str) -> Self {
        let mut run = Self {
            generation,
            cause,
            offered: lists.entries.iter().map(|(kind, entries)| (*kind, entries.len())).collect(),
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

    /// The list to send now, record by record.
    pub fn current_records(&self) -> Option<(LoadKind, Records)> {
        self.current.as_ref().map(|(kind, entries, _)| (*kind, records_of(entries)))
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

    /// What became of each list.
    pub fn lists(&self) -> Vec<ListSide> {
        let side = |(kind, offered): (&LoadKind, &usize)| {
            let loaded_count = self.taken(*kind);
            ListSide {
                list: kind_code(*kind),
                loaded: self.taken.contains_key(kind),
                loaded_count,
                refused_count: offered - loaded_count,
            }
        };
        self.offered.iter().map(side).collect()
    }

    /// Puts back what another process's load has left out.
    pub fn is_answer(&self) -> bool {
        self.cause == Self::ANSWER
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
mod tests;
