//! The pure gate that decides every load.

use crate::bond::Mode;

/// What the gate is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateFacts<'a> {
    pub mode: Mode,
    /// Names of other managers at this adapter; `None` when the monitor channel cannot be read.
    pub managers: Option<&'a [String]>,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No other manager is here: load ours.
    Own,
    /// Another manager is here and all its keys are known: load the union.
    Merge,
    /// Send no load.
    Hold(HoldReason),
}

/// Why no load is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldReason {
    /// The user wants this adapter observed only.
    ModeObserve,
    /// Another manager keeps this adapter and a load of ours would wipe its keys.
    Manager { name: String },
    /// The monitor channel cannot be read: whether another manager is here is not known.
    CannotSee,
}

impl HoldReason {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ModeObserve => "mode_observe",
            Self::Manager { .. } => "manager_present",
            Self::CannotSee => "monitor_unreadable",
        }
    }

    /// One sentence for people.
    pub fn words(&self) -> String {
        match self {
            Self::ModeObserve => "this adapter is only observed, as its mode says".to_owned(),
            Self::Manager { name } => format!(
                "{name} manages this adapter, and loading our keys would remove its keys from the kernel"
            ),
            Self::CannotSee => "whether another program manages this adapter cannot be seen, as the capability NET_RAW is missing".to_owned(),
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::ModeObserve => "Set the mode to auto or own if bonds are to be loaded.".to_owned(),
            Self::Manager { name } => format!(
                "Every new bond is still captured and stored. To let bondkeeper load them, stop {name} on this host and plug the adapter in again, or set the mode to own, which lets {name} lose the keys it has loaded."
            ),
            Self::CannotSee => "Give the service the capability NET_RAW, or, if no other program manages Bluetooth on this host, set the mode to own.".to_owned(),
        }
    }
}

impl Verdict {
    /// The word that topics use.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Merge => "merge",
            Self::Hold(_) => "hold",
        }
    }

    /// A load may be sent.
    pub const fn may_load(&self) -> bool {
        matches!(self, Self::Own | Self::Merge)
    }
}

/// Decides.
pub fn decide(facts: GateFacts<'_>) -> Verdict {
    match (facts.mode, facts.managers) {
        (Mode::Observe, _) => Verdict::Hold(HoldReason::ModeObserve),
        (Mode::Own, _) => Verdict::Own,
        (Mode::Auto, None) => Verdict::Hold(HoldReason::CannotSee),
        (Mode::Auto, Some([])) => Verdict::Own,
        (Mode::Auto, Some([name, ..])) => Verdict::Hold(HoldReason::Manager { name: name.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_mode_and_managers_has_its_verdict() {
        let bluetoothd = ["bluetoothd".to_owned()];
        let manager = || Verdict::Hold(HoldReason::Manager { name: "bluetoothd".to_owned() });
        let observe = || Verdict::Hold(HoldReason::ModeObserve);
        for (mode, managers, expected) in [
            (Mode::Auto, Some(&[][..]), Verdict::Own),
            (Mode::Auto, Some(&bluetoothd[..]), manager()),
            (Mode::Auto, None, Verdict::Hold(HoldReason::CannotSee)),
            (Mode::Own, Some(&bluetoothd[..]), Verdict::Own),
            (Mode::Own, None, Verdict::Own),
            (Mode::Observe, Some(&[][..]), observe()),
            (Mode::Observe, None, observe()),
        ] {
            assert_eq!(decide(GateFacts { mode, managers }), expected, "{mode:?} {managers:?}");
        }
    }
}
