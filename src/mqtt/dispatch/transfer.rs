//! Requests that carry bonds out of the service or into it.

use std::sync::Arc;

use super::bonds::{peer_unknown, reload_gently};
use super::{Carried, Dispatcher, ask};
use crate::adapter::messages::{AdapterHandle, DescribeBonds, ExportBonds, ExportedBonds, Restore, Undo};
use crate::api::answers::{ExportedDto, PlanDto, PlanPeers, ReportDto, RestoreDto, ResultDto};
use crate::api::request::{self, PeerSelector, RestoreBonds, RestoreFrom};
use crate::api::{Answer, ApiError, Code};
use crate::bond::plan::RestoreMode;
use crate::bond::{AdapterAddress, BondTable, PeerAddress, Source};
use crate::mqtt::exchange::{ExportOrder, ImportFrom, ImportOrder, ImportedBonds};
use crate::mqtt::render;

/// The plan of a restore from what is stored already: it changes nothing, so any time will do.
const STORED_PLAN_ID: &str = "stored";

impl Dispatcher {
    pub(super) async fn export_bonds(&self, export: request::ExportBonds) -> Carried<Answer> {
        let mut adapters = Vec::new();
        for handle in self.one_or_all(export.adapter)? {
            adapters.push(ask(&handle.export, ExportBonds).await?);
        }
        if adapters.is_empty() {
            return Err(ApiError::new(
                Code::AdapterUnknown,
                "no adapter is known yet: there is nothing to export",
            ));
        }
        if let Some(peers) = &export.peers {
            adapters = only(adapters, peers)?;
        }
        let order = ExportOrder {
            adapters,
            format: export.format,
            options: export.options,
            deliver: export.deliver,
            seal: export.seal,
            allow_loss: export.allow_loss,
            dry_run: export.dry_run,
        };
        let outcome = self.exchange(move |exchange| exchange.export(order)).await?;
        Ok(Answer::Exported(ExportedDto {
            format: outcome.format,
            file: outcome.file,
            folder: outcome.folder,
            sealed: outcome.sealed,
            is_sealed: outcome.is_sealed,
            count: outcome.count,
            sha256: outcome.sha256,
            report: outcome.report.bounded(),
        }))
    }

    pub(super) async fn restore_bonds(&self, restore: RestoreBonds) -> Carried<Answer> {
        let RestoreBonds { adapter, mode, dry_run, plan_id, allow_adapter_mismatch, .. } = restore;
        let from = match restore.from {
            RestoreFrom::File(name) => ImportFrom::File(name),
            RestoreFrom::Inline(input) => ImportFrom::Inline(input),
            RestoreFrom::Checkpoint(label) => ImportFrom::Checkpoint(label),
            RestoreFrom::Store => {
                let adapter =
                    adapter.ok_or_else(|| adapter_needed("the store does not name one", Vec::new()))?;
                return self.restore_stored(self.adapter(adapter)?, mode.as_str(), dry_run).await;
            }
        };
        let RestoreBonds { format, options, adapters, salvage, .. } = restore;
        let order = ImportOrder { from, format, options, salvage, adapters, adapter };
        let outcome = self.exchange(move |exchange| exchange.import(order)).await?;
        let (target, input) = choose(adapter, outcome.adapters)?;
        check_refused(&input, &outcome.report, mode, dry_run || plan_id.is_some())?;
        let handle = self.adapter(target)?;
        let adapter_mismatch = input.adapter.is_some_and(|made_for| made_for != target);
        // A dry run may be made: its plan says what the hazard is.
        if adapter_mismatch && !allow_adapter_mismatch && !dry_run {
            return Err(mismatch(target, input.adapter));
        }
        let command = Restore {
            bonds: input.bonds,
            // Of another adapter it would make this one recognisable as that one.
            local_identity: input.local_identity.filter(|_| !adapter_mismatch),
            opaque: if adapter_mismatch { Vec::new() } else { input.opaque },
            source: outcome.source,
            mode,
            dry_run,
            plan_id,
            adapter_mismatch,
        };
        let report = ask(&handle.restore, command).await?.map_err(|error| render::command_error(&error))?;
        Ok(Answer::Restored(Box::new(render::restore(target, mode, &report, Some(outcome.report)))))
    }

    pub(super) async fn undo_bonds(&self, undo: request::UndoBonds) -> Carried<Answer> {
        let handle = self.adapter(undo.adapter)?;
        let command = Undo { dry_run: undo.dry_run, plan_id: undo.plan_id };
        let report = ask(&handle.undo, command).await?.map_err(|error| render::command_error(&error))?;
        let undone = render::undone(undo.adapter, &report).ok_or_else(super::internal)?;
        Ok(Answer::Undone(Box::new(undone)))
    }

    /// Nothing changes in the store; the kernel is given again what it holds.
    async fn restore_stored(
        &self,
        handle: &AdapterHandle,
        mode: &'static str,
        dry_run: bool,
    ) -> Carried<Answer> {
        let described = ask(&handle.describe, DescribeBonds).await?;
        let stored: Vec<PeerAddress> =
            described.bonds.iter().map(|description| description.bond.peer).collect();
        let peers = PlanPeers { added: &[], replaced: &[], unchanged: &stored, lost: &[] };
        // What a load would do to the kernel is known to the adapter only.
        let nothing = Restore {
            bonds: Vec::new(),
            local_identity: None,
            opaque: Vec::new(),
            source: Source::Restored,
            mode: RestoreMode::Merge,
            dry_run: true,
            plan_id: None,
            adapter_mismatch: false,
        };
        let planned = ask(&handle.restore, nothing).await?.map_err(|error| render::command_error(&error))?;
        let kernel = if dry_run { None } else { Some(reload_gently(handle).await?) };
        Ok(Answer::Restored(Box::new(RestoreDto {
            adapter: handle.address.to_string(),
            plan: PlanDto::of(STORED_PLAN_ID, mode, peers, &[], &planned.hazards),
            applied: !dry_run,
            results: (!dry_run).then(|| ResultDto::all(peers)),
            kernel,
            checkpoint: None,
            report: None::<ReportDto>,
        })))
    }
}

/// Leaves only the peers that are named; each has to be on one of the adapters.
fn only(adapters: Vec<ExportedBonds>, peers: &[PeerSelector]) -> Carried<Vec<ExportedBonds>> {
    let has = |exported: &ExportedBonds, peer: &PeerSelector| {
        exported.table.bonds().any(|bond| peer.matches(bond.peer))
    };
    if let Some(missing) = peers.iter().find(|peer| !adapters.iter().any(|exported| has(exported, peer))) {
        return Err(match &adapters[..] {
            [one] => peer_unknown(one.adapter, *missing),
            _ => peer_unknown("any adapter", *missing),
        });
    }
    let named = |peer: PeerAddress| peers.iter().any(|selector| selector.matches(peer));
    let keep = |exported: ExportedBonds| {
        let entries = exported.table.entries().filter(|entry| named(entry.bond.peer));
        let entries = entries.map(|entry| (Arc::clone(&entry.bond), entry.generation));
        // Without the removals: a part of a table must not remove anything where it is read.
        let table = BondTable::from_stored(exported.table.generation(), entries, []);
        ExportedBonds { table: Arc::new(table), ..exported }
    };
    Ok(adapters.into_iter().map(keep).filter(|exported| !exported.table.is_empty()).collect())
}

/// Which adapter the bonds go to, and which part of the input.
fn choose(
    named: Option<AdapterAddress>,
    mut input: Vec<ImportedBonds>,
) -> Carried<(AdapterAddress, ImportedBonds)> {
    let addresses: Vec<_> =
        input.iter().filter_map(|part| part.adapter).map(|adapter| adapter.to_string()).collect();
    let several = |named: &str| {
        let message = format!("the input holds the bonds of {} adapters{named}", addresses.len());
        ApiError::new(Code::AdapterMismatch, message).with("adapters", addresses.clone())
    };
    if let Some(named) = named {
        if let Some(at) = input.iter().position(|part| part.adapter == Some(named)) {
            return Ok((named, input.swap_remove(at)));
        }
        return match input.pop() {
            Some(only) if input.is_empty() => Ok((named, only)),
            Some(_) => Err(several(", none of them the one that the request names")),
            None => Err(no_bonds()),
        };
    }
    match input.pop() {
        None => Err(no_bonds()),
        Some(_) if !input.is_empty() => {
            Err(adapter_needed("the input holds the bonds of several", addresses))
        }
        Some(only) => match only.adapter {
            Some(adapter) => Ok((adapter, only)),
            None => Err(adapter_needed("the input does not name one", Vec::new())),
        },
    }
}

/// Unreadable is never empty: where records were refused, a replacement would drop the bonds that
/// they stand for. `seen`: the user has seen the plan, or asks for it now.
fn check_refused(input: &ImportedBonds, read: &ReportDto, mode: RestoreMode, seen: bool) -> Carried<()> {
    let Some(first) = read.refused.first() else { return Ok(()) };
    let count = read.refused.len();
    if input.bonds.is_empty() {
        let message =
            format!("none of the records could be taken, {count} were refused; the first: {}", first.reason);
        return Err(ApiError::new(Code::FormatInvalid, message).with("place", first.place.clone()));
    }
    if mode == RestoreMode::Replace && !seen {
        let message = format!(
            "{count} record(s) of the input were refused, and a replacement would lose the bonds that they stand for: \
             look at the plan with `dry_run`, then send its `plan_id`"
        );
        return Err(ApiError::new(Code::PlanNeeded, message));
    }
    Ok(())
}

fn no_bonds() -> ApiError {
    ApiError::new(Code::FormatInvalid, "the input holds no bonds at all")
}

fn adapter_needed(why: &str, adapters: Vec<String>) -> ApiError {
    ApiError::new(Code::MissingField, format!("`adapter` is needed: {why}"))
        .with("field", "adapter")
        .with("adapters", adapters)
}

fn mismatch(target: AdapterAddress, made_for: Option<AdapterAddress>) -> ApiError {
    let made_for = made_for.map(|adapter| adapter.to_string());
    let message = format!(
        "these bonds were made by {}, not by {target}: devices know their adapter's address and will not answer \
         another. If it is the same radio with a new address, set `allow_adapter_mismatch`",
        made_for.as_deref().unwrap_or("another adapter")
    );
    ApiError::new(Code::AdapterMismatch, message).with("made_for", made_for)
}
