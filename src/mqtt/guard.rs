//! Somebody else publishes on a retained topic of ours: what he says is published over.
//!
//! The broker is asked for what others publish there, and only for that (*No Local*), so that it costs nothing while
//! nobody does. Must never be made to publish faster than [`OVERWRITE_WAIT`] lets it: whoever floods a topic costs one
//! message a second, not one each. A broker that does not let us read our own topics leaves them unguarded until the
//! next change, connection or look.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{AsyncContext, Context, SpawnHandle};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, RetainForwardRule};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::actor::MqttActor;
use super::discovery::adapter_topic;
use crate::bond::AdapterAddress;

/// From the first foreign message to the answer to it and to all that follow.
pub(super) const OVERWRITE_WAIT: Duration = Duration::from_secs(1);

/// A flood is worth a line in the log now and then.
const WARN_APART: Duration = Duration::from_secs(300);

/// Foreign messages that are to be published over.
#[derive(Default)]
pub(super) struct Guard {
    /// Topics, all of them ours.
    spoilt: BTreeSet<String>,
    timer: Option<SpawnHandle>,
    warned_at: Option<Instant>,
    overwritten: u64,
}

/// What others publish there, from now on.
pub(super) fn foreign(filter: String) -> Filter {
    let mut filter = Filter::new(filter, QoS::AtMostOnce);
    filter.nolocal = true;
    // After each connect everything retained is published anyway.
    filter.retain_forward_rule = RetainForwardRule::Never;
    filter
}

impl MqttActor {
    /// Everything that is published under topics of adapters and of the bridge is asked for with the connection; the
    /// devices of adapters, which share a folder with everybody's, one by one.
    pub(super) fn guard_devices(&self, adapters: impl IntoIterator<Item = AdapterAddress>) {
        let Some(link) = self.link.as_ref().filter(|_| self.setup.discovery) else { return };
        let topics = &self.setup.topics;
        let filters: Vec<_> =
            adapters.into_iter().map(|adapter| foreign(adapter_topic(topics, adapter))).collect();
        if !filters.is_empty()
            && let Err(error) = link.client.try_subscribe_many(filters)
        {
            debug!("MQTT: devices are not guarded: {error}");
        }
    }

    /// Messages of others that were published over.
    pub(super) const fn overwritten(&self) -> u64 {
        self.guard.overwritten
    }

    /// A message on a topic that may be one of ours.
    pub(super) fn foreign_message(&mut self, topic: &str, publish: &Publish, ctx: &mut Context<Self>) {
        if self.guard.spoilt.contains(topic) {
            return;
        }
        let Some(payload) = self.outbox.retained(topic) else { return };
        // A broker that does not know of No Local, or one behind a bridge, sends us our own.
        if payload.octets() == publish.payload {
            return;
        }
        self.guard.spoilt.insert(topic.to_owned());
        if self.guard.timer.is_none() {
            self.guard.timer = Some(ctx.run_later(OVERWRITE_WAIT, |actor, _| actor.overwrite()));
        }
    }

    fn overwrite(&mut self) {
        self.guard.timer = None;
        let spoilt = std::mem::take(&mut self.guard.spoilt);
        if self.guard.warned_at.is_none_or(|warned_at| warned_at.elapsed() >= WARN_APART) {
            self.guard.warned_at = Some(Instant::now());
            warn!(
                count = spoilt.len(),
                topic = spoilt.first(),
                "MQTT: somebody else publishes on our topics; what we have to say is published over it. \
                 Check who may publish there"
            );
        }
        self.guard.overwritten += spoilt.len() as u64;
        for topic in spoilt {
            self.outbox.put_again(&topic);
        }
        self.pump();
    }

    /// The connection has ended: after the next one everything is published anyway.
    pub(super) fn abandon_guard(&mut self, ctx: &mut Context<Self>) {
        self.guard.spoilt.clear();
        if let Some(timer) = self.guard.timer.take() {
            ctx.cancel_future(timer);
        }
    }
}
