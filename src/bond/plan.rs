//! Planning a restore: what an incoming set of bonds would do to a table, before
//! anything is done.

use hmac::Mac;

use super::address::PeerAddress;
use super::bond::{Bond, UnixMillis};
use super::custody::{Custody, Source};
use super::details::PeerDetails;
use super::fingerprint::{FingerprintKey, feed_bond};
use super::key::{Csrk, LinkKey};
use super::table::{BondTable, TableFull};

/// How incoming bonds meet the present ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreMode {
    /// Incoming keys are laid over the present ones; whatever the input does not carry stays.
    Merge,
    /// The table becomes the input; what it does not carry is lost.
    Replace,
}

impl RestoreMode {
    /// The word that requests use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Replace => "replace",
        }
    }
}

/// Something a user should know before the plan is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hazard {
    /// Bonds that are in the table and not in the input go.
    LosesBonds { count: usize },
    /// Keys of a bond that stays go, because the input does not carry them.
    LosesKeys { peer: PeerAddress, keys: Vec<&'static str> },
    /// The peer is connected at this moment: its link goes on with the old key until it reconnects.
    PeerConnected { peer: PeerAddress },
    /// The present bond was changed after the incoming one.
    OlderThanStored { peer: PeerAddress },
    /// The input was made for another adapter.
    AdapterMismatch,
    /// The gate holds this adapter: the store changes, the kernel does not.
    AdapterHeld,
    /// The service came to an adapter that was plugged in already, and has loaded nothing since: what was
    /// paired before that is in the kernel only, and a load takes it away.
    WipesUnseen,
    /// The peer was paired or removed after the operation that is undone.
    ChangedSince { peer: PeerAddress },
}

impl Hazard {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LosesBonds { .. } => "loses_bonds",
            Self::LosesKeys { .. } => "loses_keys",
            Self::PeerConnected { .. } => "peer_connected",
            Self::OlderThanStored { .. } => "older_than_stored",
            Self::AdapterMismatch => "adapter_mismatch",
            Self::AdapterHeld => "adapter_held",
            Self::WipesUnseen => "wipes_unseen",
            Self::ChangedSince { .. } => "changed_since",
        }
    }

    /// One sentence for people: what happens to their devices.
    pub fn words(&self) -> String {
        match self {
            Self::LosesBonds { count } => format!(
                "{count} bond(s) that are stored now are not in the input and would be forgotten; those devices would have to be paired again"
            ),
            Self::LosesKeys { peer, keys } => format!(
                "{peer} would lose its {}, which the input does not carry",
                keys.join(" and ")
            ),
            Self::PeerConnected { peer } => format!(
                "{peer} is connected now; the restored key is used from its next connection on"
            ),
            Self::OlderThanStored { peer } => format!(
                "the stored bond of {peer} is newer than the incoming one; if the device was paired again since, the incoming key no longer works"
            ),
            Self::AdapterMismatch => "the input was made for another adapter: its devices know that adapter's address, and will not answer this one unless it has the same address".to_owned(),
            Self::AdapterHeld => "this adapter is held: the bonds are stored, and loaded into the kernel only when the hold ends".to_owned(),
            Self::WipesUnseen => "this adapter was plugged in already when the service started: what was paired while the service was not running is in the kernel only, and loading takes it away; those devices would have to be paired again".to_owned(),
            Self::ChangedSince { peer } => format!(
                "{peer} was paired or removed after what is undone; it stays as it is"
            ),
        }
    }
}

/// What the planner has to know besides the two tables.
#[derive(Debug, Clone, Default)]
pub struct PlanFacts {
    pub connected: Vec<PeerAddress>,
    pub adapter_mismatch: bool,
    pub held: bool,
    /// The kernel may hold keys that were made before the service saw the adapter.
    pub unseen: bool,
}

impl PlanFacts {
    /// What concerns the whole plan.
    pub(super) fn general_hazards(&self) -> Vec<Hazard> {
        let all = [
            (self.adapter_mismatch, Hazard::AdapterMismatch),
            (self.held, Hazard::AdapterHeld),
            // A held adapter is not loaded, so nothing is wiped.
            (self.unseen && !self.held, Hazard::WipesUnseen),
        ];
        all.into_iter().filter(|(applies, _)| *applies).map(|(_, hazard)| hazard).collect()
    }
}

/// The plan: what applying it would do.
#[derive(Clone)]
pub struct RestorePlan {
    pub mode: RestoreMode,
    pub added: Vec<PeerAddress>,
    pub replaced: Vec<PeerAddress>,
    pub unchanged: Vec<PeerAddress>,
    pub lost: Vec<PeerAddress>,
    /// Of an undo: changed since, and left as they are.
    pub kept: Vec<PeerAddress>,
    pub hazards: Vec<Hazard>,
    /// Binds the plan to the table's generation, the mode and every incoming key.
    pub plan_id: String,
    /// The time that changed bonds are given.
    pub at: UnixMillis,
    pub(super) outcome: Vec<Bond>,
}

impl RestorePlan {
    pub(super) const fn empty(
        mode: RestoreMode,
        plan_id: String,
        hazards: Vec<Hazard>,
        at: UnixMillis,
    ) -> Self {
        Self {
            mode,
            added: Vec::new(),
            replaced: Vec::new(),
            unchanged: Vec::new(),
            lost: Vec::new(),
            kept: Vec::new(),
            hazards,
            plan_id,
            at,
            outcome: Vec::new(),
        }
    }

    /// No key would change.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.replaced.is_empty() && self.lost.is_empty()
    }

    /// Neither a key would change, nor whose a bond is, nor what is known of it.
    pub fn changes_nothing(&self) -> bool {
        self.is_empty() && self.outcome.is_empty()
    }

    /// Carries the plan out on the table it was made from. Nothing is changed when the table
    /// cannot hold the outcome.
    pub fn apply(&self, table: &mut BondTable) -> Result<(), TableFull> {
        let mut next = table.clone();
        for peer in &self.lost {
            next.remove(*peer);
        }
        for bond in &self.outcome {
            next.insert(bond.clone())?;
        }
        *table = next;
        Ok(())
    }
}

/// Plans a restore of `incoming` into `table`. Restored bonds come into our custody.
pub fn plan_restore(
    table: &BondTable,
    incoming: &[Bond],
    mode: RestoreMode,
    source: Source,
    facts: &PlanFacts,
    id_key: &FingerprintKey,
    now: UnixMillis,
) -> RestorePlan {
    let id = plan_id(table, incoming, mode.as_str(), id_key);
    let mut plan = RestorePlan::empty(mode, id, facts.general_hazards(), now);
    for bond in incoming {
        plan_bond(&mut plan, table.get(bond.peer), bond, source, facts, now);
    }
    if mode == RestoreMode::Replace {
        let kept = |peer: PeerAddress| incoming.iter().any(|bond| bond.peer == peer);
        plan.lost = table.bonds().map(|bond| bond.peer).filter(|peer| !kept(*peer)).collect();
        if !plan.lost.is_empty() {
            plan.hazards.push(Hazard::LosesBonds { count: plan.lost.len() });
        }
    }
    plan
}

fn plan_bond(
    plan: &mut RestorePlan,
    present: Option<&Bond>,
    incoming: &Bond,
    source: Source,
    facts: &PlanFacts,
    now: UnixMillis,
) {
    let peer = incoming.peer;
    let mut outcome = match (present, plan.mode) {
        (Some(present), RestoreMode::Merge) => overlay(present, incoming),
        _ => incoming.clone(),
    };
    outcome.metadata.custody = Custody::Ours;
    match present {
        None => {
            outcome.metadata.source = source;
            outcome.metadata.updated_at = now;
            plan.added.push(peer);
        }
        Some(present) if present.same_keys(&outcome) => {
            plan.unchanged.push(peer);
            // The keys stay; the bond comes into our custody, with what is newly known of the peer.
            let mut metadata = present.metadata.clone();
            metadata.custody = Custody::Ours;
            metadata.name = metadata.name.or(outcome.metadata.name);
            metadata.details = outcome.metadata.details.or(metadata.details);
            if metadata == present.metadata {
                return;
            }
            outcome.metadata = metadata;
        }
        Some(present) => {
            outcome.metadata.source = source;
            outcome.metadata.created_at = present.metadata.created_at.min(outcome.metadata.created_at);
            let newer = present.metadata.updated_at > incoming.metadata.updated_at;
            outcome.metadata.updated_at = now;
            plan.replaced.push(peer);
            if newer {
                plan.hazards.push(Hazard::OlderThanStored { peer });
            }
            let keys = lost_keys(present, &outcome);
            if !keys.is_empty() {
                plan.hazards.push(Hazard::LosesKeys { peer, keys });
            }
            if facts.connected.contains(&peer) {
                plan.hazards.push(Hazard::PeerConnected { peer });
            }
        }
    }
    plan.outcome.push(outcome);
}

/// Lays the parts that `incoming` carries over `present`. LTKs go as a set: those of two pairings
/// never stand together.
fn overlay(present: &Bond, incoming: &Bond) -> Bond {
    let mut outcome = present.clone();
    if !incoming.ltks().is_empty() {
        outcome.retain_ltks(|_| false);
        for ltk in incoming.ltks() {
            outcome.put_ltk(ltk.clone());
        }
    }
    outcome.irk = incoming.irk.clone().or(outcome.irk);
    outcome.csrk_local = overlay_csrk(outcome.csrk_local, incoming.csrk_local.as_ref());
    outcome.csrk_remote = overlay_csrk(outcome.csrk_remote, incoming.csrk_remote.as_ref());
    outcome.link_key = overlay_link_key(outcome.link_key, incoming.link_key.as_ref());
    outcome.connection_parameters = incoming.connection_parameters.or(outcome.connection_parameters);
    outcome.metadata.name = incoming.metadata.name.clone().or(outcome.metadata.name);
    if let Some(incoming) = &incoming.metadata.details {
        let known = outcome.metadata.details.take().map_or_else(PeerDetails::default, |known| *known);
        outcome.metadata.details = known.overlaid(incoming).boxed();
    }
    outcome
}

/// Of the same key, what only the present copy knows stays known.
fn overlay_csrk(present: Option<Csrk>, incoming: Option<&Csrk>) -> Option<Csrk> {
    let Some(incoming) = incoming else { return present };
    let mut outcome = incoming.clone();
    if let Some(present) = present.filter(|present| present.key == incoming.key) {
        outcome.authenticated = outcome.authenticated.or(present.authenticated);
        outcome.counter = outcome.counter.max(present.counter);
    }
    Some(outcome)
}

/// Of the same key, what only the present copy knows stays known.
fn overlay_link_key(present: Option<LinkKey>, incoming: Option<&LinkKey>) -> Option<LinkKey> {
    let Some(incoming) = incoming else { return present };
    let mut outcome = incoming.clone();
    if let Some(present) = present.filter(|present| present.key == incoming.key) {
        outcome.pin_length = outcome.pin_length.or(present.pin_length);
    }
    Some(outcome)
}

fn lost_keys(present: &Bond, outcome: &Bond) -> Vec<&'static str> {
    let mut lost = Vec::new();
    let mut check = |had: bool, has: bool, name| {
        if had && !has {
            lost.push(name);
        }
    };
    check(!present.ltks().is_empty(), !outcome.ltks().is_empty(), "LTK");
    check(present.irk.is_some(), outcome.irk.is_some(), "IRK");
    check(present.csrk_local.is_some(), outcome.csrk_local.is_some(), "local CSRK");
    check(present.csrk_remote.is_some(), outcome.csrk_remote.is_some(), "remote CSRK");
    check(present.link_key.is_some(), outcome.link_key.is_some(), "link key");
    lost
}

/// `mode`: keeps plans of different ways apart.
pub(super) fn plan_id(table: &BondTable, incoming: &[Bond], mode: &str, key: &FingerprintKey) -> String {
    let mut hash = key.hash(b"plan");
    hash.update(&table.generation().to_le_bytes());
    hash.update(mode.as_bytes());
    for bond in incoming {
        feed_bond(&mut hash, bond);
    }
    let out = hash.finalize().into_bytes();
    out[..16].iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{irk, peer, secure_bond, secure_ltk};

    const PEER: &str = "C0:FF:EE:00:00:01";
    const OTHER: &str = "C0:FF:EE:00:00:02";

    fn table(bonds: &[Bond]) -> BondTable {
        let mut table = BondTable::new();
        for bond in bonds {
            table.insert(bond.clone()).unwrap();
        }
        table
    }

    fn plan(table: &BondTable, incoming: &[Bond], mode: RestoreMode) -> RestorePlan {
        let key = FingerprintKey::new([1; 32]);
        plan_restore(table, incoming, mode, Source::Restored, &PlanFacts::default(), &key, UnixMillis(2_000))
    }

    #[test]
    fn merging_a_list_without_irks_keeps_the_irk_that_is_stored() {
        let mut stored = secure_bond(PEER, 1);
        stored.irk = Some(irk(7));
        let mut table = table(&[stored]);
        let plan = plan(&table, &[secure_bond(PEER, 2)], RestoreMode::Merge);
        assert_eq!(plan.replaced, [peer(PEER)]);
        plan.apply(&mut table).unwrap();
        let bond = table.get(peer(PEER)).unwrap();
        assert!(bond.irk == Some(irk(7)));
        assert!(bond.ltks() == [secure_ltk(2)]);
    }

    #[test]
    fn replacing_says_which_keys_and_bonds_it_would_lose() {
        let mut stored = secure_bond(PEER, 1);
        stored.irk = Some(irk(7));
        let table = table(&[stored, secure_bond(OTHER, 3)]);
        let plan = plan(&table, &[secure_bond(PEER, 1)], RestoreMode::Replace);
        assert_eq!(plan.lost, [peer(OTHER)]);
        let keys = Hazard::LosesKeys { peer: peer(PEER), keys: vec!["IRK"] };
        assert_eq!(plan.hazards, [keys, Hazard::LosesBonds { count: 1 }]);
    }

    #[test]
    fn a_plan_for_what_is_there_already_changes_nothing() {
        let mut table = table(&[secure_bond(PEER, 1)]);
        let plan = plan(&table, &[secure_bond(PEER, 1)], RestoreMode::Merge);
        assert!(plan.is_empty());
        assert_eq!(plan.unchanged, [peer(PEER)]);
        let generation = table.generation();
        plan.apply(&mut table).unwrap();
        assert_eq!(table.generation(), generation);
    }

    #[test]
    fn a_plan_id_follows_the_generation_the_mode_and_the_keys() {
        let before = table(&[]);
        let after = table(&[secure_bond(OTHER, 9)]);
        let input = [secure_bond(PEER, 1)];
        let id = |table: &BondTable, input: &[Bond], mode| plan(table, input, mode).plan_id;
        let reference = id(&before, &input, RestoreMode::Merge);
        assert_eq!(reference, id(&before, &input, RestoreMode::Merge));
        assert_ne!(reference, id(&after, &input, RestoreMode::Merge));
        assert_ne!(reference, id(&before, &input, RestoreMode::Replace));
        assert_ne!(reference, id(&before, &[secure_bond(PEER, 2)], RestoreMode::Merge));
    }

    #[test]
    fn a_plan_says_that_its_load_would_wipe_what_nobody_saw_unless_nothing_is_loaded() {
        let hazards = |held| PlanFacts { unseen: true, held, ..PlanFacts::default() }.general_hazards();
        assert_eq!(hazards(false), [Hazard::WipesUnseen]);
        assert_eq!(hazards(true), [Hazard::AdapterHeld]);
    }

    #[test]
    fn restoring_takes_a_foreign_bond_into_our_custody() {
        let mut foreign = secure_bond(PEER, 1);
        foreign.metadata.custody = Custody::Foreign;
        let mut table = table(&[foreign]);
        plan(&table, &[secure_bond(PEER, 1)], RestoreMode::Merge).apply(&mut table).unwrap();
        assert_eq!(table.get(peer(PEER)).unwrap().metadata.custody, Custody::Ours);
    }
}
