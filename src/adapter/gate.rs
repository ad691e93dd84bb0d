//! The pure gate that decides every load.

use crate::bond::Mode;

/// What the gate is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateFacts<'a> {
    pub mode: Mode,
    /// Names of other managers that may have put keys into the kernel; `None` when the monitor channel cannot
    /// be read.
    pub managers: Option<&'a [String]>,
    /// Everything that the kernel may hold is known.
    pub complete: bool,
    /// A process that answers each of our loads with its own.
    pub quarrel: Option<&'a str>,
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
    /// Another manager keeps this adapter, and which keys it has in the kernel was not seen: a load of ours
    /// would wipe them.
    KeysUnknown { manager: String },
    /// Another manager takes our keys out each time that we load them.
    Disagreement { manager: String },
    /// The monitor channel cannot be read: whether another manager is here is not known.
    CannotSee,
}

impl HoldReason {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ModeObserve => "mode_observe",
            Self::KeysUnknown { .. } => "keys_unknown",
            Self::Disagreement { .. } => "disagreement",
            Self::CannotSee => "monitor_unreadable",
        }
    }

    /// One sentence for people.
    pub fn words(&self) -> String {
        match self {
            Self::ModeObserve => "this adapter is only observed, as its mode says".to_owned(),
            Self::KeysUnknown { manager } => format!(
                "{manager} manages this adapter and loaded its keys before bondkeeper could see them; loading ours would remove them from the kernel"
            ),
            Self::Disagreement { manager } => format!(
                "{manager} and bondkeeper disagree: {manager} loads its own list over each of ours, so the keys of one of the two are always missing"
            ),
            Self::CannotSee => "whether another program manages this adapter cannot be seen, as the capability NET_RAW is missing".to_owned(),
        }
    }

    /// What the user can do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::ModeObserve => "Set the mode to auto or own if bonds are to be loaded.".to_owned(),
            Self::KeysUnknown { manager } => format!(
                "Restart {manager} on this host (on Home Assistant OS: reboot the host), or plug the adapter in again, while bondkeeper runs: it then sees the keys of {manager} and loads them together with its own. Until then every new bond is still captured and stored, and the kernel is left as it is."
            ),
            Self::Disagreement { manager } => format!(
                "Let only one of the two keep this adapter: stop {manager}, or set the mode to observe. bondkeeper tries again by itself after five minutes, and at once when the mode is set."
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
    let hold = Verdict::Hold;
    match (facts.mode, facts.managers, facts.quarrel) {
        (Mode::Observe, _, _) => hold(HoldReason::ModeObserve),
        // In every mode: two that do nothing but answer each other help nobody.
        (_, _, Some(name)) => hold(HoldReason::Disagreement { manager: name.to_owned() }),
        (Mode::Own, _, None) => Verdict::Own,
        (Mode::Auto, None, None) => hold(HoldReason::CannotSee),
        (Mode::Auto, Some([]), None) => Verdict::Own,
        (Mode::Auto, Some(_), None) if facts.complete => Verdict::Merge,
        (Mode::Auto, Some([name, ..]), None) => hold(HoldReason::KeysUnknown { manager: name.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_mode_and_managers_has_its_verdict() {
        let bluetoothd = ["bluetoothd".to_owned()];
        let unknown = || Verdict::Hold(HoldReason::KeysUnknown { manager: "bluetoothd".to_owned() });
        let observe = || Verdict::Hold(HoldReason::ModeObserve);
        let cannot_see = || Verdict::Hold(HoldReason::CannotSee);
        for (mode, managers, complete, expected) in [
            (Mode::Auto, Some(&[][..]), false, Verdict::Own),
            (Mode::Auto, Some(&[][..]), true, Verdict::Own),
            (Mode::Auto, Some(&bluetoothd[..]), false, unknown()),
            (Mode::Auto, Some(&bluetoothd[..]), true, Verdict::Merge),
            (Mode::Auto, None, false, cannot_see()),
            (Mode::Auto, None, true, cannot_see()),
            (Mode::Own, Some(&bluetoothd[..]), false, Verdict::Own),
            (Mode::Own, None, false, Verdict::Own),
            (Mode::Observe, Some(&[][..]), true, observe()),
            (Mode::Observe, None, false, observe()),
        ] {
            let facts = GateFacts { mode, managers, complete, quarrel: None };
            assert_eq!(decide(facts), expected, "{mode:?} {managers:?} {complete}");
        }
    }

    #[test]
    fn a_quarrel_holds_in_every_mode_and_names_the_other() {
        for mode in [Mode::Auto, Mode::Own] {
            let facts = GateFacts { mode, managers: Some(&[]), complete: true, quarrel: Some("keeper") };
            let Verdict::Hold(reason) = decide(facts) else { panic!("{mode:?} goes on quarrelling") };
            assert_eq!(reason.code(), "disagreement");
            assert!(reason.words().contains("keeper") && reason.words().contains("bondkeeper"));
        }
    }

    #[test]
    fn every_reason_says_what_to_do() {
        let manager = || "bluetoothd".to_owned();
        for reason in [
            HoldReason::ModeObserve,
            HoldReason::KeysUnknown { manager: manager() },
            HoldReason::Disagreement { manager: manager() },
            HoldReason::CannotSee,
        ] {
            assert!(!reason.words().is_empty() && reason.advice().ends_with('.'), "{}", reason.code());
        }
    }
}
