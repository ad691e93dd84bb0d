//! The life of one adapter: what is captured, what is loaded, what is said.
//!
//! Sans-io: every input comes as a method call with the time as an argument, everything that is
//! to be done is taken out with [`AdapterMachine::take_output`]. The contract: one input, then take
//! outputs until there are none, then arm a timer for [`AdapterMachine::next_deadline`]. It must never
//! answer a confirmation or a passkey, never send a load against the gate's word, and never announce a bond
//! that is not durable. Driven by `adapter::actor`.

mod adopt;
mod audit;
mod capture;
mod command;
mod drift;
#[cfg(test)]
mod drift_tests;
mod foreign;
#[cfg(test)]
mod foreign_tests;
mod health;
mod identity;
#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod interleavings;
mod learn;
mod load;
#[cfg(test)]
mod model_tests;
mod overdue;
mod paired;
mod pending;
mod report;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::gate::{self, GateFacts, Verdict};
use super::load::LoadRun;
use super::messages::{
    AdapterEvent, AdapterStateChanged, AdoptReport, Attach, BondsDescription, CommandError, EventKind,
    ForgetReport, KernelSide, Neighbours, PairedPeers, RestoreReport,
};
use super::pace::Pace;
use super::pairing::Pairings;
use super::shadow::Shadow;
use super::theirs::Theirs;
use crate::audit::messages::Entry;
use crate::bond::{
    AdapterAddress, AdapterRecord, Appearance, BondTable, CapturedKey, Fingerprint, FingerprintKey, Mode,
    PeerAddress, UnixMillis,
};
use crate::mgmt::{LoadKind, LoadList, PrivacySetting};
use crate::store::messages::{StoreFault, StoredAdapter};
pub use identity::IdentityOutcome;
use pending::PendingCommand;

/// One point in time, on both clocks. Decisions use `instant`; `wall` is for people.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub wall: UnixMillis,
}

/// What the kernel told of this adapter, in the domain's words.
#[derive(Clone)]
pub enum KernelEvent {
    /// A key to keep: the store hint was set and every field is valid.
    Key {
        peer: PeerAddress,
        key: CapturedKey,
    },
    /// A key that the kernel holds and that must not be kept, and why.
    PassingKey {
        peer: PeerAddress,
        key: CapturedKey,
        reason: &'static str,
    },
    /// Something that is no key of a bond, and why.
    Skipped {
        reason: &'static str,
    },
    /// A link is up. None for a private address that the kernel did not resolve.
    Connected {
        peer: Option<PeerAddress>,
        name: Option<String>,
    },
    Disconnected {
        peer: Option<PeerAddress>,
        /// Because the peer has no key any more.
        key_missing: bool,
    },
    /// Another process unpaired the peer on one transport; the other transport's keys stay.
    Unpaired {
        peer: PeerAddress,
        bredr: bool,
    },
    /// The controller's settings have changed.
    Settings {
        powered: bool,
        privacy: bool,
    },
    Renamed(String),
}

/// What an Unpair Device command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnpairOutcome {
    /// The kernel holds no key of the peer any more (it was unpaired, or was not paired).
    Gone,
    Failed(String),
    Silent,
}

/// Names a request whose answer is still out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Something for the shell to do.
pub enum Output {
    /// Load this list; answer with [`AdapterMachine::list_outcome`].
    SendList(LoadList),
    /// Give the controller its identity; answer with [`AdapterMachine::identity_outcome`].
    SetPrivacy(PrivacySetting),
    /// Read the kernel's tables, if it shows them; answer with [`AdapterMachine::tables_read`].
    ReadTables,
    /// Unpair; answer with [`AdapterMachine::unpair_outcome`].
    SendUnpair {
        peer: PeerAddress,
        bredr: bool,
    },
    /// To the store.
    SaveBonds(Arc<BondTable>),
    SaveRecord(AdapterRecord),
    /// To the store; answer with [`AdapterMachine::checkpoint_outcome`] if `awaited`.
    SaveCheckpoint {
        table: Arc<BondTable>,
        reason: &'static str,
        awaited: bool,
    },
    /// To the store; answer with [`AdapterMachine::copy_outcome`].
    ReadCheckpoint(String),
    /// To the audit log.
    Audit(Box<Entry>),
    /// To whoever publishes.
    State(Box<AdapterStateChanged>),
    Bonds(BondsDescription),
    Event(Box<AdapterEvent>),
    /// An event was given up before it could be told.
    EventDropped,
    /// To whoever asked.
    Reply(RequestId, Box<Reply>),
}

/// An answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of an undo, too.
    Restore(Result<RestoreReport, CommandError>),
    Forget(Result<ForgetReport, CommandError>),
    Reload(Result<KernelSide, CommandError>),
    Adopt(Result<AdoptReport, CommandError>),
}

/// What the configuration says of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterOptions {
    pub default_mode: Mode,
    /// Store the keys that other managers load.
    pub learn: bool,
}

/// The adapter while it is plugged in.
struct Attachment {
    index: u16,
    powered: bool,
    identity: identity::Identity,
    drift: drift::DriftCheck,
    dual_mode: bool,
    appearance: Option<Appearance>,
    shadow: Shadow,
    theirs: Theirs,
    /// Everybody who has managed it in this appearance, gone or not: what they loaded stays.
    managers: BTreeSet<String>,
    pace: Pace,
    connected: BTreeSet<PeerAddress>,
    run: Option<LoadRun>,
    /// Loads of ours that the monitor channel has not shown yet.
    unseen: foreign::Unseen,
    /// When each list was last replaced, by anybody.
    replaced_at: BTreeMap<LoadKind, Instant>,
    /// Lists in which something may be missing.
    unchecked: BTreeSet<LoadKind>,
    /// The same, once no pairing is under way: more keys may come.
    unchecked_after_pairing: BTreeSet<LoadKind>,
    /// Peers that were unpaired in this appearance and not paired again: a list of ours that was on its way, or
    /// a load that was read late, may bring them back.
    unpaired: BTreeSet<PeerAddress>,
    /// Peers of which the kernel refused a record.
    refused: BTreeSet<PeerAddress>,
    /// A load is wanted as soon as nothing stands against it, and why.
    wanted: Option<load::Wanted>,
    retry: load::Retry,
    last_error: Option<String>,
}

/// See the module text.
pub struct AdapterMachine {
    address: AdapterAddress,
    options: AdapterOptions,
    fingerprint_key: FingerprintKey,
    record: AdapterRecord,
    table: BondTable,
    persisted_generation: u64,
    last_persisted: Option<UnixMillis>,
    persist_fault: Option<StoreFault>,
    attachment: Option<Attachment>,
    neighbours: Option<Neighbours>,
    /// What bluetoothd says of this adapter, where it can be asked.
    paired: Option<PairedPeers>,
    pairings: Pairings,
    learned: learn::Learned,
    /// Peers whose keys were made or chosen while this service watched: a manager that loads
    /// others has older ones.
    keys_watched: BTreeSet<PeerAddress>,
    announcements: Vec<report::Announcement>,
    last_seen: BTreeMap<PeerAddress, UnixMillis>,
    /// Names that connections told, of peers without a bond yet.
    names: BTreeMap<PeerAddress, String>,
    skipped: BTreeMap<&'static str, u64>,
    /// The fingerprint of each bond when the audit log was last told of it.
    audited: BTreeMap<PeerAddress, Fingerprint>,
    command: Option<PendingCommand>,
    /// A command whose change is not stored yet, though it should be.
    overdue: Option<PendingCommand>,
    outputs: VecDeque<Output>,
    bonds_dirty: bool,
    last_state: Option<AdapterStateChanged>,
    last_verdict: Option<Verdict>,
}

impl AdapterMachine {
    /// An adapter as it was stored, not plugged in.
    pub fn new(
        stored: StoredAdapter,
        options: AdapterOptions,
        fingerprint_key: FingerprintKey,
        now: Now,
    ) -> Self {
        let StoredAdapter { address, table, record } = stored;
        let audited =
            table.entries().map(|entry| (entry.bond.peer, entry.fingerprint(&fingerprint_key))).collect();
        let mut machine = Self {
            address,
            options,
            fingerprint_key,
            record,
            persisted_generation: table.generation(),
            table,
            last_persisted: None,
            persist_fault: None,
            attachment: None,
            neighbours: None,
            paired: None,
            pairings: Pairings::default(),
            learned: learn::Learned::default(),
            keys_watched: BTreeSet::new(),
            announcements: Vec::new(),
            last_seen: BTreeMap::new(),
            names: BTreeMap::new(),
            skipped: BTreeMap::new(),
            audited,
            command: None,
            overdue: None,
            outputs: VecDeque::new(),
            bonds_dirty: true,
            last_state: None,
            last_verdict: None,
        };
        machine.settle(now);
        machine
    }

    /// Next thing to do, if any.
    pub fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`tick`](Self::tick) is due next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let loads = self.attachment.as_ref().and_then(|attachment| self.next_load(attachment));
        let truce = self.attachment.as_ref().and_then(|attachment| attachment.pace.truce_ends());
        let command = self.command.as_ref().map(PendingCommand::deadline);
        let learned = self.learned.deadline();
        let drift = self.attachment.as_ref().and_then(|attachment| attachment.drift.next());
        [drift, self.pairings.next_deadline(), loads, truce, learned, command].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        if let Some(attachment) = &mut self.attachment {
            attachment.pace.tick(now.instant);
        }
        self.announce_finished_pairings(now);
        self.finish_learning(now);
        self.expire_command(now);
        self.settle(now);
    }

    /// The adapter was plugged in, or was there when the service started.
    pub fn attach(&mut self, attach: Attach, now: Now) {
        let Attach { index, info, appearance, seen_appearing, lately } = attach;
        let held = self.record.identity_held.as_deref();
        let mut attachment = Attachment {
            index,
            powered: info.powered,
            identity: identity::Identity::at_attach(&info, held, appearance.as_ref()),
            drift: drift::DriftCheck::default(),
            dual_mode: info.bredr,
            shadow: if seen_appearing { Shadow::of_new_appearance() } else { Shadow::unknown() },
            appearance,
            theirs: Theirs::default(),
            managers: self.neighbours.iter().flat_map(|seen| seen.managers.iter().cloned()).collect(),
            pace: Pace::default(),
            connected: BTreeSet::new(),
            run: None,
            unseen: foreign::Unseen::default(),
            replaced_at: BTreeMap::new(),
            unchecked: BTreeSet::new(),
            unchecked_after_pairing: BTreeSet::new(),
            unpaired: BTreeSet::new(),
            refused: BTreeSet::new(),
            wanted: None,
            retry: load::Retry::default(),
            last_error: None,
        };
        if self.is_inherited(&attachment) {
            self.inherit(&mut attachment);
        } else {
            attachment.wanted = Some(load::Wanted::cause(LoadRun::PLUGGED_IN));
        }
        self.attachment = Some(attachment);
        let record = &mut self.record;
        if record.name.as_deref() != Some(info.name.as_str()) || record.last_index != Some(index) {
            record.name = Some(info.name);
            record.last_index = Some(index);
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
        }
        self.bonds_dirty = true;
        // Before anything is composed.
        for observed in lately {
            self.observe(observed.activity, now);
        }
        self.settle(now);
    }

    /// The adapter was pulled out: its kernel tables are gone.
    pub fn detach(&mut self, now: Now) {
        if self.attachment.take().is_none() {
            return;
        }
        self.bonds_dirty = true;
        self.last_verdict = None;
        self.command_lost_the_adapter();
        self.settle(now);
    }

    /// Who else is at this adapter; `None` when that cannot be seen.
    pub fn neighbours_changed(&mut self, seen: Option<Neighbours>, now: Now) {
        // Somebody new brings no keys by being there: its loads are seen.
        if let (Some(seen), Some(attachment)) = (&seen, &mut self.attachment) {
            attachment.managers.extend(seen.managers.iter().cloned());
        }
        self.neighbours = seen;
        self.settle(now);
    }

    /// The user's choice for this adapter.
    pub fn set_mode(&mut self, mode: Mode, now: Now) -> Verdict {
        if self.record.mode != Some(mode) {
            self.record.mode = Some(mode);
            self.outputs.push_back(Output::SaveRecord(self.record.clone()));
            if let Some(attachment) = &mut self.attachment {
                if mode == Mode::Own {
                    attachment.identity.want("mode");
                }
                // A hold may have kept a load back.
                let (shadow, dual_mode) = (&attachment.shadow, attachment.dual_mode);
                let missing = self.table.bonds().any(|bond| shadow.holds_bond(bond, dual_mode) != Some(true));
                if missing && attachment.wanted.is_none() {
                    attachment.wanted = Some(load::Wanted::cause("mode"));
                }
            }
        }
        if let Some(attachment) = &mut self.attachment {
            attachment.pace.make_peace();
        }
        self.settle(now);
        self.verdict()
    }

    /// The gate's word for the facts as they are: of the two lists without which no bond works.
    pub fn verdict(&self) -> Verdict {
        match (self.verdict_of(LoadKind::Ltks), self.verdict_of(LoadKind::Irks)) {
            (Verdict::Hold(reason), _) | (_, Verdict::Hold(reason)) => Verdict::Hold(reason),
            (verdict, _) => verdict,
        }
    }

    /// The gate's word for one list. What one manager does with a list says nothing of another list.
    fn verdict_of(&self, kind: LoadKind) -> Verdict {
        let attachment = self.attachment.as_ref();
        let complete = attachment.is_none_or(|attachment| attachment.shadow.is_complete(kind));
        let managers = self.neighbours.as_ref().map(|neighbours| match attachment {
            Some(attachment) if !complete => attachment.keepers_of(kind),
            _ => neighbours.managers.clone(),
        });
        let quarrel = attachment.and_then(|attachment| attachment.pace.quarrel());
        gate::decide(GateFacts { mode: self.mode(), managers: managers.as_deref(), complete, quarrel })
    }

    /// The bonds as they stand.
    pub const fn table(&self) -> &BondTable {
        &self.table
    }

    /// What is remembered of the adapter besides its bonds.
    pub const fn record(&self) -> &AdapterRecord {
        &self.record
    }

    /// Plugged in under some index.
    pub const fn is_attached(&self) -> bool {
        self.attachment.is_some()
    }

    fn mode(&self) -> Mode {
        self.record.mode.unwrap_or(self.options.default_mode)
    }

    /// Whatever follows from the facts, once after every input: loads that may start, then what is
    /// to be said, state before events.
    fn settle(&mut self, now: Now) {
        self.take_bluetoothds_word();
        self.resume_overdue(now);
        self.note_verdict(now);
        self.restore_identity();
        self.start_wanted_load(now);
        self.read_tables(now);
        self.publish(now);
    }

    fn note_verdict(&mut self, now: Now) {
        let verdict = self.verdict();
        if self.last_verdict.as_ref() == Some(&verdict) {
            return;
        }
        // Said once the adapter is there, not before.
        if !self.is_attached() {
            return;
        }
        if verdict.may_load() {
            // What a hold kept back, or what others have done meanwhile.
            self.check_all_lists();
        }
        if let Verdict::Hold(reason) = &verdict {
            let kind = EventKind::AdapterHeld { reason: reason.words(), advice: reason.advice() };
            self.push_event(kind, "gate", now);
        }
        self.last_verdict = Some(verdict);
    }
}
