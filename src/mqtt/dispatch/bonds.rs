//! Requests about bonds that are stored here.

use super::{Carried, Dispatcher, ask};
use crate::adapter::messages::{
    AdapterHandle, Adopt, BondDescription, BondsDescription, CommandError, DescribeBonds, ForgetBond,
    KernelSide, KernelSideState, Reload,
};
use crate::api::answers::{
    AdoptedDto, BondPageDto, ForgottenDto, KernelDto, ListedAdapterDto, ListedBondDto, ReloadedDto,
};
use crate::api::dto::PeersDto;
use crate::api::request::{self, PeerSelector};
use crate::api::{Answer, ApiError, Code};
use crate::bond::AdapterAddress;
use crate::mqtt::render;

impl Dispatcher {
    pub(super) async fn list_bonds(&self, list: request::ListBonds) -> Carried<Answer> {
        let mut page = BondPageDto {
            total: 0,
            offset: list.offset,
            limit: list.limit,
            adapters: Vec::new(),
            bonds: Vec::new(),
        };
        for handle in self.one_or_all(list.adapter)? {
            let described = ask(&handle.describe, DescribeBonds).await?;
            let adapter = handle.address.to_string();
            page.adapters.push(ListedAdapterDto {
                adapter: adapter.clone(),
                generation: described.generation,
                bond_count: described.bonds.len(),
            });
            for description in &described.bonds {
                if !list.peer.is_none_or(|peer| peer.matches(description.bond.peer)) {
                    continue;
                }
                if page.total >= list.offset && page.bonds.len() < list.limit {
                    page.bonds
                        .push(ListedBondDto { adapter: adapter.clone(), bond: render::bond(description) });
                }
                page.total += 1;
            }
        }
        Ok(Answer::Bonds(page))
    }

    pub(super) async fn forget_bond(&self, forget: request::ForgetBond) -> Carried<Answer> {
        let handle = self.adapter(forget.adapter)?;
        let described = ask(&handle.describe, DescribeBonds).await?;
        let found = the_bond(&described, forget.adapter, forget.peer)?;
        let command = ForgetBond { peer: found.bond.peer, unpair: forget.unpair };
        let report = ask(&handle.forget, command).await?.map_err(|error| render::command_error(&error))?;
        Ok(Answer::Forgotten(Box::new(ForgottenDto {
            adapter: forget.adapter.to_string(),
            removed: render::bond(found),
            kernel: render::kernel_side(&report.kernel),
            checkpoint: report.checkpoint,
        })))
    }

    pub(super) async fn adopt_bonds(&self, adopt: request::AdoptBonds) -> Carried<Answer> {
        let handle = self.adapter(adopt.adapter)?;
        let peers = match &adopt.peers {
            None => None,
            Some(peers) => {
                let described = ask(&handle.describe, DescribeBonds).await?;
                let found = peers.iter().map(|peer| the_bond(&described, adopt.adapter, *peer));
                Some(found.map(|found| found.map(|found| found.bond.peer)).collect::<Carried<Vec<_>>>()?)
            }
        };
        let report =
            ask(&handle.adopt, Adopt { peers }).await?.map_err(|error| render::command_error(&error))?;
        Ok(Answer::Adopted(AdoptedDto {
            adapter: adopt.adapter.to_string(),
            adopted: PeersDto::of(&report.adopted),
            kernel: render::kernel_side(&report.kernel),
            checkpoint: report.checkpoint,
        }))
    }

    pub(super) async fn reload(&self, adapter: AdapterAddress) -> Carried<Answer> {
        let handle = self.adapter(adapter)?;
        let side = ask(&handle.reload, Reload).await?.map_err(|error| render::command_error(&error))?;
        // A reload was asked for and nothing else: a kernel that was left alone is a failure here.
        match side.state {
            KernelSideState::Loaded => Ok(Answer::Reloaded(ReloadedDto {
                adapter: adapter.to_string(),
                kernel: render::kernel_side(&side),
            })),
            KernelSideState::Held => Err(not_loaded(Code::Held, side)),
            KernelSideState::Refused => Err(not_loaded(Code::KernelRefused, side)),
            KernelSideState::Absent => Err(not_loaded(Code::AdapterAbsent, side)),
        }
    }
}

fn not_loaded(code: Code, side: KernelSide) -> ApiError {
    ApiError::new(code, side.reason.unwrap_or_else(|| format!("nothing was loaded: {}", side.state.as_str())))
}

/// The one bond that is meant.
fn the_bond(
    described: &BondsDescription,
    adapter: AdapterAddress,
    peer: PeerSelector,
) -> Carried<&BondDescription> {
    let mut matching = described.bonds.iter().filter(|description| peer.matches(description.bond.peer));
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(peer_unknown(adapter, peer)),
        (Some(_), Some(_)) => {
            let message =
                format!("{adapter} has a public and a random peer {peer}: say which with `address_type`");
            Err(ApiError::new(Code::PeerAmbiguous, message))
        }
    }
}

pub(super) fn peer_unknown(adapter: impl std::fmt::Display, peer: PeerSelector) -> ApiError {
    ApiError::new(Code::PeerUnknown, format!("no bond with {peer} is stored on {adapter}"))
}

/// Reconciles as part of something larger, for which a kernel that was left alone is no failure.
pub(super) async fn reload_gently(handle: &AdapterHandle) -> Carried<KernelDto> {
    let state = |state: KernelSideState, reason: String| KernelDto {
        state: state.as_str(),
        reason: Some(reason),
        lists: None,
    };
    match ask(&handle.reload, Reload).await? {
        Ok(side) => Ok(render::kernel_side(&side)),
        Err(error @ CommandError::Held { .. }) => Ok(state(KernelSideState::Held, error.to_string())),
        Err(error @ CommandError::AdapterAbsent) => Ok(state(KernelSideState::Absent, error.to_string())),
        Err(error @ (CommandError::KernelRefused(_) | CommandError::KernelTimeout)) => {
            Ok(state(KernelSideState::Refused, error.to_string()))
        }
        Err(error) => Err(render::command_error(&error)),
    }
}
