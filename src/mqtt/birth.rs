//! Home Assistant's devices, put into the outbox; and the look at what the broker still retains,
//! some seconds after Home Assistant has said that it started.
//!
//! The look asks for everything on our own retained topics for a moment; before and after it, only for what others
//! publish there (`guard`). What does not come back as it was
//! published is published again; a broker that lets us read nothing is given everything again.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{AsyncContext, Context, SpawnHandle};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish};
use serde_json::Value;
use tracing::{debug, info};

use super::actor::MqttActor;
use super::client::LOOK_FILTERS_MAX;
use super::discovery::{BIRTH_PAYLOAD, Discovery, adapter_topic, birth_delay, node_topic};
use super::guard::foreign;
use super::outbox::Rank;
use crate::api::answers::to_octets;
use crate::bond::AdapterAddress;

/// How long the broker gets to send what it retains: a few hundred kilobytes at most.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// A look that is due or under way.
#[derive(Default)]
pub(super) struct Look {
    timer: Option<SpawnHandle>,
    filters: Vec<String>,
    /// Topics whose latest payload the broker has.
    found: BTreeSet<String>,
}

impl MqttActor {
    pub(super) fn put_node_discovery(&mut self) {
        let document = self.discovery().node();
        self.put_discovery(&node_topic(&self.setup.topics), &document);
    }

    pub(super) fn put_adapter_discovery(&mut self, adapter: AdapterAddress) {
        let document = self.discovery().adapter(adapter);
        self.put_discovery(&adapter_topic(&self.setup.topics, adapter), &document);
    }

    /// Takes the adapter's device away.
    pub(super) fn clear_adapter_discovery(&mut self, adapter: AdapterAddress) {
        self.outbox.clear_state(&adapter_topic(&self.setup.topics, adapter));
    }

    fn discovery(&self) -> Discovery<'_> {
        Discovery {
            topics: &self.setup.topics,
            version: &self.setup.facts.version,
            commands: self.setup.facts.commands,
        }
    }

    fn put_discovery(&mut self, topic: &str, document: &Value) {
        if self.setup.discovery {
            self.outbox.put_state(topic, to_octets(document).into(), Rank::Ordinary);
        } else {
            // An earlier run may have had the option on.
            self.outbox.erase_state(topic);
        }
    }

    /// Home Assistant says that it has started, or that it is about to stop.
    pub(super) fn heard_birth(&mut self, publish: &Publish, ctx: &mut Context<Self>) {
        // One that was retained is older than our connection, after which all was published. A look
        // that is due serves this start as well.
        if publish.payload != BIRTH_PAYLOAD || publish.retain || self.look.timer.is_some() {
            return;
        }
        let delay = birth_delay((self.setup.random)());
        debug!(delay_ms = delay.as_millis(), "MQTT: Home Assistant has started");
        self.look.timer = Some(ctx.run_later(delay, Self::begin_look));
    }

    fn begin_look(&mut self, ctx: &mut Context<Self>) {
        self.look = Look::default();
        let Some(link) = self.link.as_ref().filter(|_| !self.stopping) else { return };
        let topics = &self.setup.topics;
        let devices = self.adapters.keys().map(|adapter| adapter_topic(topics, *adapter));
        let filters = topics.retained_filters().into_iter().chain([node_topic(topics)]).chain(devices);
        let filters: Vec<String> = filters.take(LOOK_FILTERS_MAX).collect();
        // What was lost on the way is only published once more.
        let wanted = filters.iter().map(|filter| Filter::new(filter.as_str(), QoS::AtMostOnce));
        if let Err(error) = link.client.try_subscribe_many(wanted) {
            debug!("MQTT: what is retained cannot be asked for: {error}");
            return;
        }
        self.look.filters = filters;
        self.look.timer = Some(ctx.run_later(LOOK_PATIENCE, Self::end_look));
    }

    /// Something on a topic of ours. During a look it is what the broker retains, and what we publish meanwhile;
    /// else it is somebody else's.
    pub(super) fn came_back(&mut self, topic: &str, publish: &Publish, ctx: &mut Context<Self>) {
        if self.look.filters.is_empty() {
            return self.foreign_message(topic, publish, ctx);
        }
        let Some(payload) = self.outbox.retained(topic) else { return };
        if payload.octets() == publish.payload {
            self.look.found.insert(topic.to_owned());
        } else {
            self.look.found.remove(topic);
        }
    }

    fn end_look(&mut self, _: &mut Context<Self>) {
        let look = std::mem::take(&mut self.look);
        if let Some(link) = &self.link {
            // From now on what others publish, and nothing else.
            let guarded: Vec<_> = look.filters.into_iter().map(foreign).collect();
            if let Err(error) = link.client.try_subscribe_many(guarded) {
                debug!("MQTT: what is retained cannot be left alone: {error}");
            }
        }
        // Nobody who takes leave starts over.
        if self.stopping {
            return;
        }
        let missing: Vec<String> = self
            .outbox
            .retained_topics()
            .filter(|topic| !look.found.contains(*topic))
            .map(str::to_owned)
            .collect();
        if !missing.is_empty() {
            info!(count = missing.len(), "MQTT: publishing again what the broker no longer retains");
        }
        for topic in missing {
            self.outbox.put_again(&topic);
        }
        self.pump();
    }

    /// The connection has ended: after the next one everything is published anyway.
    pub(super) fn abandon_look(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = std::mem::take(&mut self.look).timer {
            ctx.cancel_future(timer);
        }
    }
}
