//! Automatic copies of the bonds in the export folder, so that a backup survives the loss of the add-on.
//!
//! A copy is made when an adapter's bonds have changed, an hour after the last one at the earliest, and before
//! something destructive. Sealed where the options have a passphrase, in clear text only where they ask
//! for that, else none at all. Must never hold up a checkpoint or a commit: what goes wrong here is logged, and tried
//! again with the next change. Driven by the store's word of what is durable, and by whoever saves a checkpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use zeroize::Zeroizing;

use crate::bond::{AdapterAddress, BondTable, UnixMillis};
use crate::config::{AutomaticCopies, Settings};
use crate::format::sealed::{self, Form, Passphrase, SealFor};
use crate::format::{self, Content, ExportAdapter, ExportOptions, FormatId};
use crate::store::exchange::rotation::{
    COPY_INTERVAL_BEFORE_LOSS_MS, COPY_INTERVAL_MS, CopyName, Due, copies, due, prune,
};
use crate::store::exchange::write_export;
use crate::store::messages::{
    BondsPersisted, Checkpoint, ReadAdapter, SaveCheckpoint, StoreFault, StoredAdapter,
};

/// A bond comes with several keys, each committed by itself: one copy of all of them.
const SETTLING: Duration = Duration::from_secs(2);

/// Where copies go and how they are sealed.
struct Shelf {
    folder: PathBuf,
    passphrase: Option<Passphrase>,
}

/// See the module text.
pub struct CopyKeeper {
    /// None where the options allow no copies.
    shelf: Option<Arc<Shelf>>,
    store: Option<UseStore>,
    timers: BTreeMap<AdapterAddress, SpawnHandle>,
}

/// The store, which is started after whoever listens to it.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct UseStore {
    pub read: Recipient<ReadAdapter>,
    pub save_checkpoint: Recipient<SaveCheckpoint>,
    /// Looked at when the service starts: a change may have come shortly before it stopped.
    pub adapters: Vec<AdapterAddress>,
}

impl CopyKeeper {
    pub fn new(settings: &Settings) -> Self {
        let passphrase = super::exchange::configured_passphrase(settings);
        let allowed = match settings.automatic_copies {
            AutomaticCopies::None => false,
            AutomaticCopies::Sealed => passphrase.is_some(),
            AutomaticCopies::Clear => passphrase.is_some() || settings.clear_exports,
        };
        let shelf = allowed.then(|| Arc::new(Shelf { folder: settings.export_dir.clone(), passphrase }));
        Self { shelf, store: None, timers: BTreeMap::new() }
    }

    /// Looks at an adapter after a while. One timer an adapter: whichever is set last counts.
    fn look_later(&mut self, adapter: AdapterAddress, after: Duration, ctx: &mut Context<Self>) {
        if self.shelf.is_none() {
            return;
        }
        let timer = ctx.run_later(after, move |keeper, ctx| {
            keeper.timers.remove(&adapter);
            keeper.copy(adapter, None, COPY_INTERVAL_MS, ctx);
        });
        if let Some(before) = self.timers.insert(adapter, timer) {
            ctx.cancel_future(before);
        }
    }

    /// Copies what is stored of an adapter, or `table` in its place, if that is due.
    fn copy(
        &self,
        adapter: AdapterAddress,
        table: Option<Arc<BondTable>>,
        interval_ms: u64,
        ctx: &mut Context<Self>,
    ) {
        let (Some(shelf), Some(store)) = (self.shelf.clone(), &self.store) else { return };
        let stored = store.read.send(ReadAdapter { adapter });
        let work = async move {
            let mut stored = stored.await.ok().flatten()?;
            if let Some(table) = table {
                stored.table = (*table).clone();
            }
            let now = super::wall_clock();
            let outcome =
                tokio::task::spawn_blocking(move || shelf.put(&stored, interval_ms, now)).await.ok()?;
            Some(outcome)
        };
        let done = work.into_actor(self).map(move |outcome, keeper: &mut Self, ctx| match outcome {
            Some(Ok(Due::Later(milliseconds))) if interval_ms == COPY_INTERVAL_MS => {
                keeper.look_later(adapter, Duration::from_millis(milliseconds), ctx);
            }
            Some(Err(error)) => {
                tracing::warn!(%adapter, error, "the automatic copy of the bonds could not be written");
            }
            Some(Ok(_)) | None => {}
        });
        ctx.spawn(done);
    }
}

impl Shelf {
    /// Writes a copy if that is due. The error is one sentence.
    fn put(&self, stored: &StoredAdapter, interval_ms: u64, now: UnixMillis) -> Result<Due, String> {
        let text = |error: &dyn std::error::Error| crate::cli::chain(error);
        if stored.table.is_empty() && stored.table.tombstones().next().is_none() {
            return Ok(Due::Never);
        }
        let adapter = stored.address;
        let compose = |created_at| {
            let record = stored.record.portable();
            let adapter =
                ExportAdapter { address: Some(adapter), record: &record, table: &stored.table, peers: None };
            let options = ExportOptions { created_at, ..ExportOptions::default() };
            format::export(FormatId::Bondkeeper, &[adapter], &options).map_err(|error| text(&error))
        };
        // Without the time, which differs between two files of the same bonds.
        let digest = CopyName::digits(&compose(UnixMillis(0))?.sha256());
        let wanted = CopyName { adapter, at: now, digest, is_sealed: self.passphrase.is_some() };
        let present = copies(&self.folder, adapter).map_err(|error| text(&error))?;
        let due = due(present.first(), &wanted, interval_ms);
        if due != Due::Now {
            return Ok(due);
        }
        let file = compose(now)?.content.as_file().map_err(|error| text(&error))?;
        let octets = match &self.passphrase {
            Some(passphrase) => {
                let seal_for = SealFor::Passphrase(passphrase.clone());
                let sealed = sealed::seal(&file, &seal_for, Form::Binary);
                Zeroizing::new(sealed.map_err(|error| text(&error))?)
            }
            None => file,
        };
        let content = Content::Document(octets);
        let name = write_export(&self.folder, &wanted.file_name(), &content).map_err(|error| text(&error))?;
        tracing::info!(%adapter, name, "the bonds were copied");
        if let Err(error) = prune(&self.folder, adapter, now) {
            tracing::warn!(%adapter, %error, "an old automatic copy could not be removed");
        }
        Ok(Due::Now)
    }
}

impl Actor for CopyKeeper {
    type Context = Context<Self>;
}

impl Handler<UseStore> for CopyKeeper {
    type Result = ();

    fn handle(&mut self, mut store: UseStore, ctx: &mut Context<Self>) {
        for adapter in std::mem::take(&mut store.adapters) {
            self.look_later(adapter, SETTLING, ctx);
        }
        self.store = Some(store);
    }
}

impl Handler<BondsPersisted> for CopyKeeper {
    type Result = ();

    fn handle(&mut self, persisted: BondsPersisted, ctx: &mut Context<Self>) {
        // An earlier look that waits for its hour has nothing to add: this one finds out how long is left.
        self.look_later(persisted.adapter, SETTLING, ctx);
    }
}

impl Handler<SaveCheckpoint> for CopyKeeper {
    type Result = ResponseFuture<Result<Checkpoint, StoreFault>>;

    /// Hands it on to the store; the copy is made beside it.
    fn handle(&mut self, order: SaveCheckpoint, ctx: &mut Context<Self>) -> Self::Result {
        let (adapter, table) = (order.adapter, Arc::clone(&order.table));
        let Some(store) = &self.store else {
            return Box::pin(std::future::ready(Err(StoreFault::ShuttingDown)));
        };
        let saved = store.save_checkpoint.send(order);
        self.copy(adapter, Some(table), COPY_INTERVAL_BEFORE_LOSS_MS, ctx);
        Box::pin(async move { saved.await.unwrap_or(Err(StoreFault::ShuttingDown)) })
    }
}
