//! The adapter's own identity, as far as it may be told: never its key.

use crate::bond::{Fingerprint, Privacy, UnixMillis};

/// What is known of the adapter's own identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityState {
    pub fingerprint: Fingerprint,
    /// None where its source did not say.
    pub privacy: Option<Privacy>,
    /// The kernel has it.
    pub in_force: bool,
    /// When it was last put back.
    pub restored_at: Option<UnixMillis>,
    /// Why it is not in force; none where it need not be, and while the adapter is unplugged.
    pub not_restored: Option<NotRestored>,
}

impl IdentityState {
    /// The word that topics use.
    pub const fn as_str(&self) -> &'static str {
        match (self.in_force, &self.not_restored, self.privacy) {
            (true, _, _) => "in_force",
            (false, Some(_), _) => "not_restored",
            (false, None, Some(Privacy::Off)) => "off",
            (false, None, _) => "stored",
        }
    }
}

/// Why the stored identity was not put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRestored {
    /// The mode is not `own`.
    Mode,
    /// The kernel takes an identity only while the controller is powered off.
    PoweredOn,
    /// Another manager sets the identity of every adapter.
    Manager { manager: String },
    /// The controller has one already that was not seen.
    OtherIdentity,
    /// Its source did not say whether it was used.
    PrivacyUnknown,
    /// The gate holds.
    Held,
    /// What stood against it when the adapter was plugged in, such as that it was powered on, is gone.
    NotAsked,
    /// The kernel refused, or did not answer.
    Refused { what: String },
}

impl NotRestored {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::PoweredOn => "powered_on",
            Self::Manager { .. } => "manager",
            Self::OtherIdentity => "other_identity",
            Self::PrivacyUnknown => "privacy_unknown",
            Self::Held => "held",
            Self::NotAsked => "not_asked",
            Self::Refused { .. } => "refused",
        }
    }

    /// One sentence for people.
    pub fn words(&self) -> String {
        match self {
            Self::Mode => "the adapter's own identity is put back in mode own only".to_owned(),
            Self::PoweredOn => "the adapter is powered on, and the kernel takes an identity only while it is off".to_owned(),
            Self::Manager { manager } => format!("{manager} is running and decides about the identity of this adapter"),
            Self::OtherIdentity => "the adapter has an identity already that bondkeeper has not seen being set".to_owned(),
            Self::PrivacyUnknown => "the identity was imported from a source that does not say whether the adapter hid behind private addresses".to_owned(),
            Self::Held => "this adapter is held".to_owned(),
            Self::NotAsked => "what stood against it when the adapter was plugged in is gone, and nobody has asked for it since".to_owned(),
            Self::Refused { what } => format!("the kernel did not take the identity: {what}"),
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> String {
        const OFF: &str = "Switch the adapter off with the program that switches it on and use bonds/reload, or plug it in again while that program is stopped. bondkeeper never switches an adapter on or off.";
        match self {
            Self::Mode => "Set the mode to own if no other program manages this adapter and its devices knew it by private addresses.".to_owned(),
            Self::PoweredOn => OFF.to_owned(),
            Self::Manager { manager } => format!("To use the stored identity, stop {manager}, or give it the same one: restore BlueZ's folder from an export."),
            Self::OtherIdentity => "Plug the adapter in again while bondkeeper runs.".to_owned(),
            Self::PrivacyUnknown => "Nothing needs to be done unless the adapter used private addresses. If it did, export its bonds in bondkeeper's own format on the host where bondkeeper has seen that.".to_owned(),
            Self::Held => "See what the gate advises.".to_owned(),
            Self::NotAsked | Self::Refused { .. } => "Use bonds/reload while the adapter is off.".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_says_what_to_do() {
        let manager = || "bluetoothd".to_owned();
        for reason in [
            NotRestored::Mode,
            NotRestored::PoweredOn,
            NotRestored::Manager { manager: manager() },
            NotRestored::OtherIdentity,
            NotRestored::PrivacyUnknown,
            NotRestored::Held,
            NotRestored::NotAsked,
            NotRestored::Refused { what: "busy".to_owned() },
        ] {
            assert!(!reason.words().is_empty() && reason.advice().ends_with('.'), "{}", reason.code());
        }
    }
}
