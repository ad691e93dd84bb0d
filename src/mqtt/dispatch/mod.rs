//! Carries a request out: asks whom it concerns, and makes the answer.
//!
//! Every request ends within its deadline, with an answer or an error. Must never change anything
//! itself: adapters, the registry and the [`Exchange`] do.

mod bonds;
mod transfer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use tokio::sync::Semaphore;
use tracing::error;

use super::exchange::Exchange;
use super::messages::Wire;
use super::render;
use crate::adapter::messages::{AdapterHandle, ForgetAdapter, SetMode};
use crate::api::answers::{AdapterForgottenDto, CheckpointsDto, ModeDto};
use crate::api::{Answer, ApiError, Code, LogLevel, Request};
use crate::bond::{AdapterAddress, Mode};
use crate::store::messages::SaveCheckpoint;

/// Sets the level of the log; the error is one sentence.
pub type LevelSetter = Arc<dyn Fn(LogLevel) -> Result<(), String> + Send + Sync>;

/// What only looks at memory.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);
/// What writes to the store or the export folder, on a slow card.
const DISK_DEADLINE: Duration = Duration::from_secs(15);
/// What also asks the kernel, several times where a list has to be loaded.
const KERNEL_DEADLINE: Duration = Duration::from_secs(20);
/// What reads or writes a whole file of bonds besides.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(40);

/// Exports, imports and looks at files at once; more wait. Each may hold a file of a mebibyte and all that it is made into.
pub(super) const EXCHANGES_AT_ONCE: usize = 2;

/// What a checkpoint that a client asks for says about its reason.
const REQUESTED: &str = "requested";

type Carried<T> = Result<T, ApiError>;

/// Whom requests may concern, as it was when the request came.
#[derive(Clone)]
pub(super) struct Dispatcher {
    pub(super) adapters: BTreeMap<AdapterAddress, AdapterHandle>,
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) services: Wire,
    pub(super) set_log_level: LevelSetter,
    /// Room for what reads or writes whole files.
    pub(super) exchanges: Arc<Semaphore>,
}

/// How long a request may take, and what is wrong when it takes longer.
const fn deadline(request: &Request) -> (Duration, Code) {
    match request {
        Request::HealthCheck | Request::ListBonds(_) | Request::SetLogLevel(_) => (LOOK_DEADLINE, Code::Busy),
        Request::ListCheckpoints { .. }
        | Request::CreateCheckpoint { .. }
        | Request::ForgetAdapter { .. } => (DISK_DEADLINE, Code::Busy),
        Request::ForgetBond(_)
        | Request::Reload { .. }
        | Request::AdoptBonds(_)
        | Request::SetMode { .. } => (KERNEL_DEADLINE, Code::KernelTimeout),
        Request::ExportBonds(_) => (TRANSFER_DEADLINE, Code::Busy),
        Request::RestoreBonds(_) | Request::UndoBonds(_) => (TRANSFER_DEADLINE, Code::KernelTimeout),
    }
}

impl Dispatcher {
    /// The answer, within the deadline.
    pub(super) async fn carry_out(self, request: Request) -> Carried<Answer> {
        let (limit, code) = deadline(&request);
        let read_only = request.is_read_only();
        match tokio::time::timeout(limit, self.run(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = limit.as_secs();
                let more =
                    if read_only { "" } else { "; it may still be carried out: look at the adapter's state" };
                Err(ApiError::new(code, format!("there was no answer within {seconds} s{more}")))
            }
        }
    }

    async fn run(self, request: Request) -> Carried<Answer> {
        match request {
            Request::ListBonds(list) => self.list_bonds(list).await,
            Request::ExportBonds(export) => self.export_bonds(export).await,
            Request::RestoreBonds(restore) => self.restore_bonds(restore).await,
            Request::UndoBonds(undo) => self.undo_bonds(undo).await,
            Request::ForgetBond(forget) => self.forget_bond(forget).await,
            Request::Reload { adapter } => self.reload(adapter).await,
            Request::AdoptBonds(adopt) => self.adopt_bonds(adopt).await,
            Request::ListCheckpoints { adapter } => self.list_checkpoints(adapter).await,
            Request::CreateCheckpoint { adapter, label } => self.create_checkpoint(adapter, label).await,
            Request::SetMode { adapter, mode } => self.set_mode(adapter, mode).await,
            Request::ForgetAdapter { adapter } => self.forget_adapter(adapter).await,
            Request::SetLogLevel(level) => self.set_log_level(level),
            // The actor knows what it takes and answers by itself.
            Request::HealthCheck => Err(ApiError::new(Code::Internal, "not for the dispatcher")),
        }
    }

    fn adapter(&self, adapter: AdapterAddress) -> Carried<&AdapterHandle> {
        self.adapters.get(&adapter).ok_or_else(|| {
            let known: Vec<_> = self.adapters.keys().map(ToString::to_string).collect();
            ApiError::new(Code::AdapterUnknown, format!("no adapter {adapter} is known")).with("known", known)
        })
    }

    /// The one that is named, or all.
    fn one_or_all(&self, adapter: Option<AdapterAddress>) -> Carried<Vec<&AdapterHandle>> {
        match adapter {
            Some(adapter) => Ok(vec![self.adapter(adapter)?]),
            None => Ok(self.adapters.values().collect()),
        }
    }

    async fn list_checkpoints(&self, adapter: Option<AdapterAddress>) -> Carried<Answer> {
        let checkpoints = self.exchange(move |exchange| exchange.checkpoints(adapter)).await?;
        Ok(Answer::Checkpoints(CheckpointsDto::of(checkpoints.iter().map(render::checkpoint))))
    }

    async fn create_checkpoint(
        &self,
        adapter: Option<AdapterAddress>,
        label: Option<String>,
    ) -> Carried<Answer> {
        let reason = label.map_or(Cow::Borrowed(REQUESTED), Cow::Owned);
        let mut checkpoints = Vec::new();
        for handle in self.one_or_all(adapter)? {
            let exported = ask(&handle.export, crate::adapter::messages::ExportBonds).await?;
            let order =
                SaveCheckpoint { adapter: handle.address, table: exported.table, reason: reason.clone() };
            let saved = ask(&self.services.save_checkpoint, order).await?;
            checkpoints.push(saved.map_err(|fault| render::store_fault(&fault))?);
        }
        Ok(Answer::Checkpoints(CheckpointsDto::of(checkpoints.iter().map(render::checkpoint))))
    }

    async fn set_mode(&self, adapter: AdapterAddress, mode: Mode) -> Carried<Answer> {
        let handle = self.adapter(adapter)?;
        let verdict =
            ask(&handle.set_mode, SetMode { mode }).await?.map_err(|error| render::command_error(&error))?;
        let gate = render::gate(&verdict);
        Ok(Answer::Mode(ModeDto { adapter: adapter.to_string(), mode: mode.as_str(), gate }))
    }

    async fn forget_adapter(&self, adapter: AdapterAddress) -> Carried<Answer> {
        self.adapter(adapter)?;
        let report = ask(&self.services.forget_adapter, ForgetAdapter { adapter })
            .await?
            .map_err(|error| render::command_error(&error))?;
        Ok(Answer::AdapterForgotten(AdapterForgottenDto {
            adapter: adapter.to_string(),
            bond_count: report.bond_count,
            checkpoint: report.checkpoint,
        }))
    }

    fn set_log_level(&self, level: LogLevel) -> Carried<Answer> {
        (self.set_log_level)(level).map_err(|reason| ApiError::new(Code::Internal, reason))?;
        Ok(Answer::LogLevel { level: level.as_str() })
    }

    /// Runs something that may block.
    async fn exchange<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Exchange) -> Carried<T> + Send + 'static,
    ) -> Carried<T> {
        let exchange = Arc::clone(&self.exchange);
        let room = Arc::clone(&self.exchanges).acquire_owned().await.map_err(|_| internal())?;
        let work = move || {
            let done = work(&*exchange);
            // Only now: it outlives a request that has run out of time.
            drop(room);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(error) => {
                error!("MQTT: a request's blocking work has ended without a result: {error}");
                Err(internal())
            }
        }
    }
}

fn internal() -> ApiError {
    ApiError::new(Code::Internal, "the service could not carry this out; its log says more")
}

/// Asks an actor.
async fn ask<M>(recipient: &Recipient<M>, message: M) -> Carried<M::Result>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.send(message).await.map_err(|error| {
        error!("MQTT: whoever should carry out a request is gone: {error}");
        internal()
    })
}

#[cfg(test)]
mod tests;
