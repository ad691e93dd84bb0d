//! What adapters and the store tell, put into the outbox.

use std::rc::Rc;

use actix::{Context, Handler};

use super::actor::{MqttActor, Payload};
use super::board::Presence;
use super::messages::KernelKnown;
use super::outbox::Rank;
use super::render;
use crate::adapter::messages::{
    AdapterEvent, AdapterEvents, AdapterForgotten, AdapterKnown, AdapterStateChanged, BondsDescription,
    EventKind,
};
use crate::api::answers::to_octets;
use crate::api::bridge::{BridgeEventData, BridgeEventDto};
use crate::bond::{Bond, PeerAddress};
use crate::store::messages::{StoreState, StoreStateChanged};

/// A bond of its own, once the table has a newer one: it and its keys on the heap, a name, and what the allocator
/// adds.
const BOND_OCTETS: usize = size_of::<Bond>() + 128;

impl Handler<AdapterKnown> for MqttActor {
    type Result = ();

    fn handle(&mut self, AdapterKnown(handle): AdapterKnown, _: &mut Context<Self>) {
        let address = handle.address;
        // A handle that comes again is newer: the adapter's actor was started anew.
        self.adapters.insert(address, handle);
        if self.board.adapter_known(address) {
            self.put_adapter_discovery(address);
            self.guard_devices([address]);
            self.put_info();
        }
        self.pump();
    }
}

impl Handler<AdapterForgotten> for MqttActor {
    type Result = ();

    fn handle(&mut self, forgotten: AdapterForgotten, _: &mut Context<Self>) {
        let adapter = forgotten.adapter;
        self.adapters.remove(&adapter);
        self.board.adapter_forgotten(adapter);
        // First, so that no entity is left to make something of the empty state.
        self.clear_adapter_discovery(adapter);
        self.outbox.clear_state(&self.setup.topics.adapter_state(adapter));
        self.outbox.clear_state(&self.setup.topics.adapter_bonds(adapter));
        self.put_info();
        let data = BridgeEventData::Adapter { adapter: adapter.to_string() };
        self.bridge_event(BridgeEventDto::ADAPTER_FORGOTTEN, data);
        self.pump();
    }
}

impl Handler<AdapterStateChanged> for MqttActor {
    type Result = ();

    fn handle(&mut self, state: AdapterStateChanged, _: &mut Context<Self>) {
        if self.board.is_forgotten(state.adapter) {
            return;
        }
        let octets = to_octets(&render::adapter_state(&state));
        self.outbox.put_state(&self.setup.topics.adapter_state(state.adapter), octets.into(), Rank::Ordinary);
        let kind = match self.board.adapter_state(&state) {
            Presence::Appeared => Some(BridgeEventDto::ADAPTER_ADDED),
            Presence::Vanished => Some(BridgeEventDto::ADAPTER_REMOVED),
            Presence::Same => None,
        };
        if let Some(kind) = kind {
            self.bridge_event(kind, BridgeEventData::Adapter { adapter: state.adapter.to_string() });
        }
        self.pump();
    }
}

impl Handler<BondsDescription> for MqttActor {
    type Result = ();

    fn handle(&mut self, description: BondsDescription, _: &mut Context<Self>) {
        if self.board.is_forgotten(description.adapter) {
            return;
        }
        let topic = self.setup.topics.adapter_bonds(description.adapter);
        self.outbox.put_state(&topic, Payload::Bonds(Rc::new(description)), Rank::Ordinary);
        self.pump();
    }
}

impl Handler<AdapterEvents> for MqttActor {
    type Result = ();

    fn handle(&mut self, AdapterEvents { dropped_count, events }: AdapterEvents, _: &mut Context<Self>) {
        self.outbox.lose_events(dropped_count);
        for event in events {
            let seq = self.outbox.take_seq();
            let topic = self.setup.topics.adapter_event(event.adapter);
            let octets = octets_held(&event);
            self.outbox.push_event(&topic, Payload::Event(Box::new(event), seq), seq, octets);
        }
        self.pump();
    }
}

/// What an event takes while it waits: a fifth of its text, as long as its bond is the table's as well.
fn octets_held(event: &AdapterEvent) -> usize {
    let peers = |peers: &Vec<PeerAddress>| size_of_val(peers.as_slice());
    let more = match &event.kind {
        EventKind::BondAdded(bond)
        | EventKind::BondUpdated(bond)
        | EventKind::BondSuspect(bond)
        | EventKind::BondRecovered(bond)
        | EventKind::BondOrphaned(bond) => BOND_OCTETS + size_of_val(bond.evidence.as_slice()),
        EventKind::BondsRestored { added, replaced, lost, adopted } => {
            [added, replaced, lost, adopted].into_iter().map(peers).sum()
        }
        EventKind::BondsLearned { peers: all } | EventKind::BondsOrphaned { peers: all } => peers(all),
        EventKind::AdapterHeld { reason, advice } => reason.len() + advice.len(),
        EventKind::IdentityCaptured { manager, .. } => manager.len(),
        EventKind::DriftFound { drift, .. } => drift.octets_held(),
        EventKind::BondRemoved { .. }
        | EventKind::IdentityRestored { .. }
        | EventKind::AdapterLoaded { .. } => 0,
    };
    size_of::<AdapterEvent>() + more
}

impl Handler<StoreStateChanged> for MqttActor {
    type Result = ();

    fn handle(&mut self, change: StoreStateChanged, _: &mut Context<Self>) {
        if self.board.store_state(&change) {
            self.put_info();
            if matches!(change.state, StoreState::Rebuilt { .. }) {
                let detail = self.board.store().detail.clone();
                self.bridge_event(BridgeEventDto::STORE_REBUILT, BridgeEventData::Store { detail });
            }
        }
        self.pump();
    }
}

impl Handler<KernelKnown> for MqttActor {
    type Result = ();

    fn handle(&mut self, kernel: KernelKnown, _: &mut Context<Self>) {
        self.board.kernel_known(kernel.mgmt_version);
        self.put_info();
        self.pump();
    }
}
