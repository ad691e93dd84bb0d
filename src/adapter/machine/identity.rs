//! The adapter's own identity: seen when another manager sets it, and put back where nobody else does.
//!
//! The kernel forgets it with the controller, takes it only while the controller is powered off, and shows in its
//! settings that there is one, but not which. Nothing here ever switches a controller on or off.

use super::{AdapterMachine, Attachment, Now, Output};
use crate::adapter::messages::{ControllerInfo, EventKind, IdentityState, NotRestored};
use crate::bond::{Appearance, IdentityRecord, LocalIdentity, Mode, Privacy};
use crate::mgmt::PrivacySetting;

/// What Set Privacy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityOutcome {
    Taken,
    /// The controller is powered on.
    Rejected,
    Failed(String),
}

/// Which identity the kernel has for the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InKernel {
    /// None: it shows its identity address.
    None,
    /// The stored one.
    Stored,
    /// One that nobody here has seen.
    Unseen,
}

/// Whether the stored identity is to be put back now.
enum Need {
    /// The kernel has it, or there is nothing to put back.
    None,
    Unmet(NotRestored),
    /// Nothing stands against it.
    Free(PrivacySetting),
}

/// The adapter's own identity in this appearance.
pub(super) struct Identity {
    in_kernel: InKernel,
    /// The stored one should be put back as soon as the gate can be asked.
    wanted: Option<&'static str>,
    /// It was sent, and for what; the kernel has not answered.
    sent: Option<(PrivacySetting, &'static str)>,
    refused: Option<String>,
}

impl Identity {
    /// Of a controller that was just attached.
    pub fn at_attach(
        info: &ControllerInfo,
        held: Option<&IdentityRecord>,
        appearance: Option<&Appearance>,
    ) -> Self {
        let is_stored = held.is_some_and(|held| Some(&held.appearance) == appearance);
        let in_kernel = match (info.privacy, is_stored) {
            (false, _) => InKernel::None,
            (true, true) => InKernel::Stored,
            (true, false) => InKernel::Unseen,
        };
        Self { in_kernel, wanted: (!info.powered).then_some("plugged_in"), sent: None, refused: None }
    }

    /// The user has asked for what the kernel should hold.
    pub fn want(&mut self, cause: &'static str) {
        self.wanted = Some(cause);
    }

    /// The controller's setting has changed. Whoever did it, and with which key, the monitor channel shows, before
    /// this or after it.
    pub fn setting(&mut self, privacy: bool) {
        match (privacy, self.in_kernel) {
            (false, _) => self.in_kernel = InKernel::None,
            (true, InKernel::None) => self.in_kernel = InKernel::Unseen,
            (true, _) => {}
        }
    }
}

impl AdapterMachine {
    /// Puts the stored identity back if that was asked for and nothing stands against it. Before the keys, as
    /// bluetoothd does: whoever connects next must find both.
    pub(super) fn restore_identity(&mut self) {
        let Some(cause) = self.attachment.as_mut().and_then(|attachment| attachment.identity.wanted.take())
        else {
            return;
        };
        let Some(attachment) = &self.attachment else { return };
        let Need::Free(setting) = self.need_of_identity(attachment) else { return };
        if attachment.identity.sent.is_some() {
            return;
        }
        if let Some(attachment) = &mut self.attachment {
            attachment.identity.refused = None;
            attachment.identity.sent = Some((setting.clone(), cause));
        }
        self.outputs.push_back(Output::SetPrivacy(setting));
    }

    fn need_of_identity(&self, attachment: &Attachment) -> Need {
        let Some(identity) = &self.record.local_identity else { return Need::None };
        let in_kernel = attachment.identity.in_kernel;
        let setting = match PrivacySetting::of(identity) {
            None => return Need::Unmet(NotRestored::PrivacyUnknown),
            Some(setting) if setting.privacy == Privacy::Off => return Need::None,
            Some(setting) => setting,
        };
        // It decides about the identity by itself, at each plug-in.
        let keeper = self.neighbours.as_ref().and_then(|neighbours| neighbours.keepers.first());
        Need::Unmet(match (in_kernel, keeper) {
            (InKernel::Stored, _) => return Need::None,
            _ if self.mode() != Mode::Own => NotRestored::Mode,
            (_, Some(manager)) => NotRestored::Manager { manager: manager.clone() },
            (InKernel::Unseen, None) => NotRestored::OtherIdentity,
            _ if !self.verdict().may_load() => NotRestored::Held,
            _ if attachment.powered => NotRestored::PoweredOn,
            (InKernel::None, None) => return Need::Free(setting),
        })
    }

    /// The kernel's answer.
    pub fn identity_outcome(&mut self, outcome: IdentityOutcome, now: Now) {
        let Some(attachment) = &mut self.attachment else { return };
        let Some((setting, cause)) = attachment.identity.sent.take() else { return };
        match outcome {
            IdentityOutcome::Taken => {
                // Another manager may have set its own meanwhile.
                let stored = self.record.local_identity.as_ref().and_then(PrivacySetting::of);
                if stored == Some(setting) {
                    attachment.identity.in_kernel = InKernel::Stored;
                    self.identity_is_held(true, now);
                    self.announce_identity(cause, None, now);
                }
            }
            // Somebody has switched it on since it was read.
            IdentityOutcome::Rejected => attachment.powered = true,
            IdentityOutcome::Failed(what) => attachment.identity.refused = Some(what),
        }
        self.settle(now);
    }

    /// Another manager has set this adapter's identity, or taken it away.
    pub(super) fn identity_shown(&mut self, process: &str, setting: PrivacySetting, now: Now) {
        let learn = self.options.learn;
        let Some(attachment) = &mut self.attachment else { return };
        let identity = &mut attachment.identity;
        let known = self.record.local_identity.as_ref();
        let shown = match (setting.privacy, setting.irk) {
            (Privacy::Off, _) => {
                identity.in_kernel = InKernel::None;
                // The key is kept: whoever knows the adapter by it still does, should it hide again.
                known.map(|known| LocalIdentity { irk: known.irk.clone(), privacy: Some(Privacy::Off) })
            }
            (privacy, Some(irk)) => {
                let shown = LocalIdentity { irk, privacy: Some(privacy) };
                let is_known = known == Some(&shown);
                identity.in_kernel = if learn || is_known { InKernel::Stored } else { InKernel::Unseen };
                Some(shown)
            }
            (_, None) => {
                identity.in_kernel = InKernel::Unseen;
                return self.count_skipped("foreign_record");
            }
        };
        let Some(shown) = shown.filter(|_| learn) else { return };
        let is_known = known == Some(&shown);
        if !is_known {
            self.record.local_identity = Some(shown);
            self.record.identity_held = None;
        }
        if setting.privacy != Privacy::Off {
            self.identity_is_held(false, now);
        } else if !is_known {
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
        }
        if !is_known {
            self.announce_identity("learned", Some(process), now);
        }
    }

    /// The kernel has the stored identity. Of one that another manager has set this is written down once an
    /// appearance.
    fn identity_is_held(&mut self, restored: bool, now: Now) {
        let appearance = self.attachment.as_ref().and_then(|attachment| attachment.appearance.clone());
        let known = self.record.identity_held.as_ref();
        if !restored && known.is_some_and(|known| Some(&known.appearance) == appearance.as_ref()) {
            return;
        }
        self.record.identity_held =
            appearance.map(|appearance| Box::new(IdentityRecord { appearance, at: now.wall, restored }));
        self.outputs.push_back(Output::SaveRecord(self.record.clone()));
    }

    fn announce_identity(&mut self, cause: &'static str, manager: Option<&str>, now: Now) {
        let Some(identity) = &self.record.local_identity else { return };
        let fingerprint = self.fingerprint_key.fingerprint_of_identity(identity);
        let privacy = identity.privacy;
        let manager = manager.map(str::to_owned);
        let kind = match manager {
            Some(manager) => EventKind::IdentityCaptured { fingerprint, privacy, manager },
            None => EventKind::IdentityRestored { fingerprint, privacy },
        };
        self.push_event(kind, cause, now);
    }

    /// What there is to say about it; none where none is known.
    pub(super) fn identity_state(&self) -> Option<IdentityState> {
        let identity = self.record.local_identity.as_ref()?;
        let attachment = self.attachment.as_ref();
        let held = self.record.identity_held.as_ref();
        let in_force = |attachment: &Attachment| attachment.identity.in_kernel == InKernel::Stored;
        Some(IdentityState {
            fingerprint: self.fingerprint_key.fingerprint_of_identity(identity),
            privacy: identity.privacy,
            in_force: attachment.is_some_and(in_force),
            restored_at: held.filter(|held| held.restored).map(|held| held.at),
            not_restored: attachment.and_then(|attachment| self.not_restored(attachment)),
        })
    }

    fn not_restored(&self, attachment: &Attachment) -> Option<NotRestored> {
        let identity = &attachment.identity;
        match self.need_of_identity(attachment) {
            Need::None => None,
            Need::Unmet(why) => Some(why),
            Need::Free(_) if identity.sent.is_some() => None,
            Need::Free(_) => Some(match &identity.refused {
                Some(what) => NotRestored::Refused { what: what.clone() },
                None => NotRestored::NotAsked,
            }),
        }
    }
}
