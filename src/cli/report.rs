//! What became of each peer, for people.

use std::fmt::Write as _;

use crate::bond::plan::RestorePlan;
use crate::bond::{AdapterAddress, PeerAddress};
use crate::format::{FormatError, Refused, Report};

/// A report in lines. `step`: `read` or `written`.
pub fn lines(report: &Report, step: &str) -> String {
    let mut text = String::new();
    for peer in &report.peers {
        let taken = if peer.taken.is_empty() { "nothing".to_owned() } else { peer.taken.join(", ") };
        let _ = writeln!(text, "{step}: {}: {taken}", peer.peer);
        for assumed in &peer.assumed {
            let _ = writeln!(text, "  assumed: {}: {}", assumed.field, assumed.rule);
        }
        for dropped in &peer.dropped {
            let _ = writeln!(text, "  dropped: {}: {}", dropped.field, dropped.reason);
        }
    }
    text.push_str(&refused_lines(&report.refused));
    for peer in &report.lost_peers {
        let _ = writeln!(text, "lost: {peer}: nothing of it is in the output");
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn refused_lines(refused: &[Refused]) -> String {
    let mut text = String::new();
    for refused in refused {
        let peer = refused.peer.map(|peer| format!(" ({peer})")).unwrap_or_default();
        let _ = writeln!(text, "refused: {}{peer}: {}", refused.place, refused.reason);
    }
    text
}

/// What an error refers to one by one.
pub fn error_lines(error: &FormatError) -> String {
    match error {
        FormatError::Refused(refused) => refused_lines(refused),
        FormatError::LosesPeers(peers) => {
            peers.iter().map(|peer| format!("lost: {peer}: nothing of it would be in the output\n")).collect()
        }
        _ => String::new(),
    }
}

/// What an import would do to one adapter.
pub fn plan_lines(adapter: AdapterAddress, plan: &RestorePlan) -> String {
    let mut text = format!(
        "adapter {adapter}: {} added, {} replaced, {} unchanged, {} lost\n",
        plan.added.len(),
        plan.replaced.len(),
        plan.unchanged.len(),
        plan.lost.len()
    );
    let groups: [(&str, &[PeerAddress]); 3] =
        [("added", &plan.added), ("replaced", &plan.replaced), ("lost", &plan.lost)];
    for (word, peers) in groups {
        for peer in peers {
            let _ = writeln!(text, "  {word}: {peer}");
        }
    }
    for hazard in &plan.hazards {
        let _ = writeln!(text, "  take care: {}", hazard.words());
    }
    text
}
