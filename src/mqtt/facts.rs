//! What adapters and the store tell, put into the outbox.

use std::rc::Rc;

use actix::{Context, Handler};

use super::actor::{MqttActor, Payload};
use super::board::Presence;
use super::messages::KernelKnown;
use super::outbox::Rank;
use super::render;
use crate::adapter::messages::{
    AdapterEvent, AdapterForgotten, AdapterKnown, AdapterStateChanged, BondsDescription,
};
use crate::api::answers::to_octets;
use crate::api::bridge::{BridgeEventData, BridgeEventDto};
use crate::store::messages::{StoreState, StoreStateChanged};

impl Handler<AdapterKnown> for MqttActor {
    type Result = ();

    fn handle(&mut self, AdapterKnown(handle): AdapterKnown, _: &mut Context<Self>) {
        let address = handle.address;
        // A handle that comes again is newer: the adapter's actor was started anew.
        self.adapters.insert(address, handle);
        if self.board.adapter_known(address) {
            self.put_adapter_discovery(address);
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

impl Handler<AdapterEvent> for MqttActor {
    type Result = ();

    fn handle(&mut self, event: AdapterEvent, _: &mut Context<Self>) {
        let seq = self.outbox.take_seq();
        let octets = to_octets(&render::adapter_event(&event, seq));
        self.outbox.push_event(&self.setup.topics.adapter_event(event.adapter), octets.into(), seq);
        self.pump();
    }
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
