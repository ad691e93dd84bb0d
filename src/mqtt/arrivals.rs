//! Requests as they come in, and their answers as they go out.

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use rumqttc::v5::mqttbytes::v5::Publish;
use tracing::info;

use super::actor::{MqttActor, Payload};
use super::audit::About;
use super::discovery::BIRTH_TOPIC;
use super::dispatch::Dispatcher;
use super::outbox::Worth;
use super::reply::{ReplyTo, Wanted};
use crate::adapter::messages::CheckDrift;
use crate::api::bridge::{BridgeEventData, BridgeEventDto};
use crate::api::limits::REQUESTS_IN_PROGRESS_MAX;
use crate::api::{Answer, ApiError, Code, Incoming, Outcome, Request, response, route};

/// Events that wait, past which nothing is carried out that would make more of them: a flood of commands must not push
/// out what there is to say of bonds. More than a kernel's whole table makes when it pairs at once.
pub(super) const EVENTS_BUSY: usize = 4_000;

pub(super) type Answered = Result<Answer, ApiError>;

impl MqttActor {
    pub(super) fn arrived(&mut self, publish: &Publish, ctx: &mut Context<Self>) {
        let topic = String::from_utf8_lossy(&publish.topic);
        if topic == BIRTH_TOPIC {
            return self.heard_birth(publish, ctx);
        }
        let Some(verb) = self.setup.topics.verb(&topic) else {
            return self.came_back(&topic, publish, ctx);
        };
        let incoming = Incoming { verb, body: &publish.payload, retained: publish.retain };
        let routed = route(incoming, self.board.commands());
        let reply = ReplyTo::new(&self.setup.topics, verb, routed.transaction, wanted(publish));
        match routed.outcome {
            Outcome::Ignore => {}
            Outcome::Refuse(error) => self.answer(&reply, &Err(error)),
            Outcome::Accept(request) => self.accept(request, reply, ctx),
        }
    }

    fn accept(&mut self, request: Request, reply: ReplyTo, ctx: &mut Context<Self>) {
        if self.stopping {
            let error = ApiError::new(Code::ShuttingDown, "the service is shutting down");
            return self.answer(&reply, &Err(error));
        }
        if request == Request::HealthCheck {
            for adapter in self.adapters.values() {
                // An adapter that is busy is looked at later all the same.
                let _ = adapter.check_drift.try_send(CheckDrift);
            }
            let health = Answer::Health(Box::new(self.health()));
            return self.answer(&reply, &Ok(health));
        }
        let Some(services) = self.services.clone().filter(|_| self.in_progress < REQUESTS_IN_PROGRESS_MAX)
        else {
            let message =
                format!("{REQUESTS_IN_PROGRESS_MAX} requests are in progress: try again in a moment");
            return self.answer(&reply, &Err(ApiError::new(Code::Busy, message)));
        };
        if !request.is_read_only() && self.outbox.events_queued() >= EVENTS_BUSY {
            let message = "too much waits to be published: try again in a moment";
            return self.answer(&reply, &Err(ApiError::new(Code::Busy, message)));
        }
        self.in_progress += 1;
        let dispatcher = Dispatcher {
            adapters: self.adapters.clone(),
            exchange: self.setup.exchange.clone(),
            services,
            set_log_level: self.setup.set_log_level.clone(),
            exchanges: self.exchanges.clone(),
        };
        let new_level = if let Request::SetLogLevel(level) = request { Some(level) } else { None };
        let read_only = request.is_read_only();
        let told = About::request(&request);
        let work = dispatcher.carry_out(request).into_actor(self).map(move |answer, actor, _| {
            actor.in_progress -= 1;
            if let (Some(level), Ok(_)) = (new_level, &answer) {
                actor.board.log_level_set(level);
                actor.put_info();
            }
            actor.answer(&reply, &answer);
            if !read_only {
                actor.command_done(&reply, told, &answer);
            }
            actor.pump();
        });
        ctx.spawn(work);
    }

    fn answer(&mut self, reply: &ReplyTo, answer: &Answered) {
        let octets = response(answer, reply.transaction.as_ref(), self.answer_octets_max());
        let count = octets.len();
        let is_refusal = matches!(answer, Err(error) if error.code == Code::Busy);
        let worth = if is_refusal { Worth::Refusal } else { Worth::Result };
        let plain = Payload::from(octets);
        if let (Some(topic), Payload::Octets { octets, .. }) = (&reply.own_topic, &plain) {
            let own = Payload::Octets { octets: octets.clone(), correlation: reply.correlation.clone() };
            self.outbox.push_response(topic, own, count, worth);
        }
        self.outbox.push_response(&self.setup.topics.response(&reply.verb), plain, count, worth);
    }

    fn command_done(&mut self, reply: &ReplyTo, told: About, answer: &Answered) {
        let verb = &reply.verb;
        let (status, code) = match answer {
            Ok(_) => ("ok", None),
            Err(error) => ("error", Some(error.code.as_str())),
        };
        info!(verb, status, code, "MQTT: a request was carried out");
        let data = BridgeEventData::Command { verb: verb.clone(), status, code };
        self.bridge_event(BridgeEventDto::COMMAND_DONE, data);
        self.audit_command(reply, told, answer);
    }
}

fn wanted(publish: &Publish) -> Wanted {
    publish.properties.as_ref().map_or_else(Wanted::default, |properties| Wanted {
        response_topic: properties.response_topic.clone(),
        correlation: properties.correlation_data.as_ref().map(|data| data.to_vec()),
    })
}
