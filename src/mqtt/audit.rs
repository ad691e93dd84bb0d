//! The audit log as MQTT has to do with it: commands are told to it, and its lines are published.

use actix::{Context, Handler};

use super::actor::MqttActor;
use super::arrivals::Answered;
use super::reply::ReplyTo;
use crate::api::bridge::{BridgeEventData, BridgeEventDto};
use crate::api::{Answer, Request};
use crate::audit::messages::{Action, AuditStateChanged, CommandFacts, Entry, Record, Recorded};
use crate::bond::AdapterAddress;

/// What the log is told of a request besides its verb and its outcome. No value that a client made up but
/// addresses, which are checked.
pub(super) struct About {
    adapter: Option<AdapterAddress>,
    detail: Option<String>,
}

impl About {
    pub(super) fn request(request: &Request) -> Self {
        let about = |adapter, detail| Self { adapter, detail };
        match request {
            Request::RestoreBonds(restore) => {
                let what = if restore.dry_run { "dry run, " } else { "" };
                about(restore.adapter, Some(format!("{what}{}", restore.mode.as_str())))
            }
            Request::UndoBonds(undo) => about(Some(undo.adapter), undo.dry_run.then(|| "dry run".to_owned())),
            Request::AdoptBonds(adopt) => about(Some(adopt.adapter), None),
            Request::ForgetBond(forget) => about(Some(forget.adapter), Some(forget.peer.to_string())),
            Request::SetMode { adapter, mode } => about(Some(*adapter), Some(mode.as_str().to_owned())),
            Request::Reload { adapter } | Request::ForgetAdapter { adapter } => about(Some(*adapter), None),
            Request::ExportBonds(export) => about(export.adapter, None),
            Request::CreateCheckpoint { adapter, .. } | Request::ListCheckpoints { adapter } => {
                about(*adapter, None)
            }
            Request::SetLogLevel(level) => about(None, Some(level.as_str().to_owned())),
            Request::ListBonds(list) => about(list.adapter, None),
            Request::HealthCheck => about(None, None),
        }
    }
}

/// The copy that was taken before.
fn checkpoint(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Restored(restored) => restored.checkpoint.clone(),
        Answer::Undone(undone) => undone.checkpoint.clone(),
        Answer::Adopted(adopted) => adopted.checkpoint.clone(),
        Answer::Forgotten(forgotten) => forgotten.checkpoint.clone(),
        Answer::AdapterForgotten(forgotten) => forgotten.checkpoint.clone(),
        _ => None,
    }
}

impl MqttActor {
    pub(super) fn audit_command(&mut self, reply: &ReplyTo, told: About, answer: &Answered) {
        let mut entry = Entry::new(self.now(), Action::Command, "command");
        entry.adapter = told.adapter;
        entry.detail = told.detail;
        entry.checkpoint = answer.as_ref().ok().and_then(checkpoint);
        entry.command = Some(CommandFacts {
            verb: reply.verb.clone(),
            transaction: reply.transaction.clone(),
            error: answer.as_ref().err().map(|error| error.code.as_str()),
        });
        let Some(services) = &self.services else { return };
        if services.audit.try_send(Record(entry)).is_err() {
            tracing::warn!(verb = reply.verb, "MQTT: the audit log did not take a command");
        }
    }
}

impl Handler<Recorded> for MqttActor {
    type Result = ();

    fn handle(&mut self, Recorded(lines): Recorded, _: &mut Context<Self>) {
        for line in lines {
            // A line is plain data: it was made into JSON a moment ago.
            if let Ok(line) = serde_json::to_value(line) {
                self.bridge_event(BridgeEventDto::AUDIT, BridgeEventData::Audit(line));
            }
        }
        self.pump();
    }
}

impl Handler<AuditStateChanged> for MqttActor {
    type Result = ();

    fn handle(&mut self, change: AuditStateChanged, _: &mut Context<Self>) {
        if self.board.audit_state(&change) {
            self.put_info();
            self.pump();
        }
    }
}
