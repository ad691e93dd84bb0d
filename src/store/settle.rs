//! What an adapter's table is, when its copies do not agree. Pure.
//!
//! A copy that is intact at generation G knows everything up to G, removals that are no longer
//! remembered included: so the latest intact copy is the base, and of damaged ones only what is
//! newer than the base is believed. Without an intact copy the damaged ones are put together, since
//! a bond too many does less harm than one too few. Nothing readable is not the same as nothing.

use std::sync::Arc;

use super::sled::{Found, Held};
use super::snapshot::{Age, FileState, Snapshots, Which};
use crate::bond::{AdapterRecord, BondTable, Tombstone};
use crate::format::bondkeeper::AdapterCopy;

/// What the database said of an adapter.
#[derive(Clone, Copy)]
pub(super) enum DatabaseSide<'a> {
    /// There was none, or none that could be read.
    Absent,
    /// It is there and does not know the adapter.
    Unknown,
    Found(&'a Found),
}

/// What is to be served and what has to be mended.
pub(super) struct Settled {
    pub held: Held,
    /// The database holds exactly this.
    pub database_is_good: bool,
    /// The snapshot holds exactly this.
    pub snapshot_is_good: bool,
    /// What was found and done, one clause each.
    pub problems: Vec<String>,
}

struct Candidate<'a> {
    name: &'static str,
    table: &'a BondTable,
    record: Option<&'a AdapterRecord>,
    /// The record's; 0 where nobody counted.
    revision: u64,
    intact: bool,
}

/// None when there are copies and nothing of them could be read.
pub(super) fn settle(database: DatabaseSide<'_>, snapshots: &Snapshots) -> Option<Settled> {
    let candidates = candidates(database, snapshots);
    let mut problems = problems(database, snapshots);
    // The first of equals: the database, which is committed before its snapshot is written.
    let mut base: Option<&Candidate<'_>> = None;
    for candidate in candidates.iter().filter(|candidate| candidate.intact) {
        if base.is_none_or(|base| candidate.table.generation() > base.table.generation()) {
            base = Some(candidate);
        }
    }
    let mut table = base.map(|base| base.table.clone()).unwrap_or_default();
    let known_up_to = table.generation();
    let mut took_more = false;
    for candidate in candidates.iter().filter(|candidate| !candidate.intact) {
        let newer =
            if base.is_some() { newer_than(candidate.table, known_up_to) } else { candidate.table.clone() };
        took_more |= table.merge(&newer);
    }
    if base.is_none() && table.is_empty() {
        return None;
    }
    let base_name = base.map_or("", |base| base.name);
    let (record, record_name) = record(&candidates, base_name);
    let database_is_good = base_name == DATABASE
        && !took_more
        && !lost_anything(database)
        && newer_snapshot(database, snapshots).is_none();
    if !database_is_good {
        problems.push(taken(base, took_more, table.len()));
        if base.is_some() && record_name != base_name {
            problems.push(format!("what is known of the adapter itself was taken from {record_name}"));
        }
    }
    let is_one_copy = !took_more && record_name == base_name;
    let newest = candidates.iter().map(|candidate| candidate.revision).max().unwrap_or_default();
    // What was put together is no copy's state: it comes after all of them.
    let revision = if is_one_copy { newest } else { newest.saturating_add(1) };
    let age = Age { generation: table.generation(), revision };
    let snapshot_is_good = !took_more
        && match &snapshots.current {
            FileState::Intact(copy) => age_of(copy) == age && copy.record == record,
            // What else it holds is compared when it is read.
            FileState::Glanced(glanced) => *glanced == age,
            FileState::Missing | FileState::Damaged { .. } => false,
        };
    let held = Held { table: table.into(), record, revision };
    Some(Settled { held, database_is_good, snapshot_is_good, problems })
}

fn taken(base: Option<&Candidate<'_>>, took_more: bool, count: usize) -> String {
    match base {
        Some(base) if took_more && base.name != DATABASE => {
            format!("{count} bond(s) were taken from {} and what is newer", base.name)
        }
        Some(base) => format!("{count} bond(s) were taken from {}", base.name),
        None => format!("no copy was whole; {count} bond(s) were put together from what passed its check"),
    }
}

const DATABASE: &str = "the database";

fn candidates<'a>(database: DatabaseSide<'a>, snapshots: &'a Snapshots) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    if let DatabaseSide::Found(found) = database {
        candidates.push(Candidate {
            name: DATABASE,
            table: &found.table,
            record: found.record.as_ref(),
            revision: found.revision,
            intact: found.intact,
        });
    }
    for (state, name) in named(snapshots) {
        let (copy, intact) = match state {
            FileState::Intact(copy) => (copy, true),
            FileState::Damaged { salvaged: Some(copy), .. } => (copy, false),
            // No newer than the database, which is whole: else it would have been read.
            FileState::Glanced(_) => continue,
            FileState::Damaged { salvaged: None, .. } | FileState::Missing => continue,
        };
        // What passes only the checks of single bonds says nothing of the adapter.
        let record = intact.then_some(&copy.record);
        candidates.push(Candidate { name, table: &copy.table, record, revision: copy.revision, intact });
    }
    candidates
}

fn named(snapshots: &Snapshots) -> [(&FileState, &'static str); 2] {
    [(&snapshots.current, Which::Current.name()), (&snapshots.predecessor, Which::Predecessor.name())]
}

fn age_of(copy: &AdapterCopy) -> Age {
    Age { generation: copy.table.generation(), revision: copy.revision }
}

/// A snapshot that has something which a database that looks whole lacks, by its name. Snapshots follow the
/// database: it had it once.
fn newer_snapshot(database: DatabaseSide<'_>, snapshots: &Snapshots) -> Option<&'static str> {
    let DatabaseSide::Found(found) = database else { return None };
    let is_newer = |state: &FileState| match state {
        FileState::Intact(copy) => found.record.is_none() || found.age().is_before(age_of(copy)),
        _ => false,
    };
    let newer = named(snapshots).into_iter().find(|(state, _)| found.intact && is_newer(state));
    newer.map(|(_, name)| name)
}

/// What is known of the adapter itself, and whose word that is: the latest, and of equals the database's, then that
/// of the copy which the bonds are taken from. What no snapshot holds stays as the database has it: the evidence
/// of yesterday is better than none.
fn record(candidates: &[Candidate<'_>], base_name: &str) -> (AdapterRecord, &'static str) {
    let rank = |candidate: &Candidate<'_>| (candidate.name != DATABASE, candidate.name != base_name);
    let mut known: Vec<_> =
        candidates.iter().filter_map(|candidate| Some((candidate, candidate.record?))).collect();
    known.sort_by_key(|(candidate, _)| rank(candidate));
    let mut known = known.into_iter();
    let Some((mut best, mut record)) = known.next() else { return (AdapterRecord::default(), "") };
    let first = (best.name == DATABASE).then_some(record);
    for (candidate, other) in known {
        let is_later = if best.name == DATABASE && best.revision == 0 {
            best.intact && age(best).is_before(age(candidate))
        } else {
            best.revision < candidate.revision
        };
        if is_later {
            (best, record) = (candidate, other);
        }
    }
    let mut record = record.clone();
    if let Some(older) = first {
        record.health.clone_from(&older.health);
    }
    (record, best.name)
}

fn age(candidate: &Candidate<'_>) -> Age {
    Age { generation: candidate.table.generation(), revision: candidate.revision }
}

fn newer_than(table: &BondTable, generation: u64) -> BondTable {
    let entries = table.entries().filter(|entry| entry.generation > generation);
    let removals = table.tombstones().filter(|tombstone: &Tombstone| tombstone.generation > generation);
    BondTable::from_stored(0, entries.map(|entry| (Arc::clone(&entry.bond), entry.generation)), removals)
}

fn lost_anything(database: DatabaseSide<'_>) -> bool {
    matches!(database, DatabaseSide::Found(found) if !found.intact || !found.lost.is_empty())
}

fn problems(database: DatabaseSide<'_>, snapshots: &Snapshots) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(name) = newer_snapshot(database, snapshots) {
        problems.push(format!("the database was older than {name}"));
    }
    match database {
        DatabaseSide::Unknown => problems.push("the database had lost it".to_owned()),
        DatabaseSide::Found(found) if !found.intact => {
            problems.push(format!("the database was damaged ({} bond(s) left)", found.table.len()));
        }
        DatabaseSide::Found(_) | DatabaseSide::Absent => {}
    }
    if let DatabaseSide::Found(found) = database {
        problems.extend(
            found.lost.iter().take(LOST_NAMED_MAX).map(|lost| format!("lost in the database: {lost}")),
        );
    }
    for (state, name) in named(snapshots) {
        if let FileState::Damaged { detail, .. } = state {
            problems.push(format!("{name} was damaged: {detail}"));
        }
    }
    problems
}

/// Lost records that are named one by one; a report must not grow with the damage.
const LOST_NAMED_MAX: usize = 20;

#[cfg(test)]
mod tests;
