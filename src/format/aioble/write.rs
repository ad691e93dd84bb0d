//! Bonds → entries.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::record::{Layout, RECORD_OCTETS_MAX, Record};
use super::{
    CODEC, EXPORT_LAYOUT, LOCAL_IRK, LOCAL_IRK_KEY, OUR_IRK, OUR_SECRETS, PEER_KEY_OCTETS, PEER_SECRETS,
    bond_count, kept,
};
use crate::bond::{Bond, Csrk, KeyType, Ltk, LtkSlot, PeerAddressType, Role};
use crate::format::report::{NO_PLACE, PeerReport, Report};
use crate::format::{Content, ExportAdapter, ExportOptions, Exported, FormatError, base64};

/// A counter that cannot be carried is named where it is written.
const CARRIES: [&str; 5] = ["ltk", "irk", "csrk_local", "csrk_remote", "csrk_counter"];

/// Room to set aside for an entry, so that a buffer with keys need not grow and leave copies behind:
/// a record in base64, its key and what stands around them.
const ENTRY_OCTETS_MAX: usize = RECORD_OCTETS_MAX * 4 / 3 + 64;

/// Rooms for all entries, each written as aioble writes it.
struct Writer {
    bytes: Zeroizing<Vec<u8>>,
}

impl Writer {
    fn entry(&mut self, kind: u8, key: &[u8], value: &[u8]) {
        let joint: &[u8] = if self.bytes.is_empty() { b"[" } else { b", " };
        self.bytes.extend_from_slice(joint);
        let (key, value) = (base64::encode(key), base64::encode(value));
        self.bytes.extend_from_slice(format!("[{kind}, \"").as_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(b"\\n\", \"");
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(b"\\n\"]");
    }

    fn finish(mut self) -> Zeroizing<Vec<u8>> {
        let end: &[u8] = if self.bytes.is_empty() { b"[]" } else { b"]" };
        self.bytes.extend_from_slice(end);
        self.bytes
    }
}

pub(super) fn export(
    adapters: &[ExportAdapter<'_>],
    options: &ExportOptions,
) -> Result<Exported, FormatError> {
    let [adapter] = adapters else { return Err(FormatError::OneAdapterOnly { count: adapters.len() }) };
    let Some(layout) = options.options.get(EXPORT_LAYOUT.name).and_then(Layout::by_name) else {
        let reason = format!("must be given; it is one of: {}", EXPORT_LAYOUT.values.join(", "));
        return Err(FormatError::Option { name: EXPORT_LAYOUT.name.to_owned(), reason });
    };
    let mut report = Report::default();
    let opaque = adapter.record.opaque.iter().filter(|item| item.format == CODEC.word);
    let extra: usize = opaque.clone().map(|item| item.value.len() * 2 + item.name.len() + 32).sum();
    let room = 2 * ENTRY_OCTETS_MAX * (adapter.entries().count() + 1) + extra;
    let mut writer = Writer { bytes: Zeroizing::new(Vec::with_capacity(room)) };
    let mut counts = BondCounts::of(adapter);
    for (bond, _) in adapter.entries() {
        let mut said = PeerReport::of_export(adapter.address, bond, CODEC.word, &CARRIES);
        said.drop_debug_ltks(bond);
        if said.taken.is_empty() {
            report.lost_peers.push(bond.peer);
        } else {
            write_peer(bond, layout, &mut counts, &mut said, &mut writer);
        }
        report.peers.push(said);
    }
    if let Some(identity) = &adapter.record.local_identity {
        writer.entry(LOCAL_IRK, LOCAL_IRK_KEY, identity.irk.key.expose());
    }
    for item in opaque {
        let parsed = item
            .name
            .split_once(':')
            .and_then(|(kind, key)| Some((kind.parse().ok()?, hex::decode(key).ok()?)));
        // What has a meaning is written from the bonds alone.
        if let Some((kind, key)) = parsed.filter(|(kind, key)| !has_meaning(*kind, key, item.value.len())) {
            writer.entry(kind, &key, &item.value);
        }
    }
    report.note_adapter_losses(adapter, CODEC.word, &["local_irk"]);
    let bond_count = report.peers.len() - report.lost_peers.len();
    Ok(Exported { content: Content::Document(writer.finish()), bond_count, report })
}

/// Whether the device would take such an entry for keys.
fn has_meaning(kind: u8, key: &[u8], octets: usize) -> bool {
    match kind {
        LOCAL_IRK => key == LOCAL_IRK_KEY,
        OUR_SECRETS | PEER_SECRETS => key.len() == PEER_KEY_OCTETS && Layout::has_length(octets),
        _ => false,
    }
}

/// What the peer distributed, and what this side did where anything of it is known.
fn write_peer(
    bond: &Bond,
    layout: &'static Layout,
    counts: &mut BondCounts,
    said: &mut PeerReport,
    writer: &mut Writer,
) {
    let key = peer_key(bond);
    let bond_count = if layout.bond_count.is_some() { counts.next(bond, said) } else { 0 };
    let ltk = |role: Role| {
        let wanted = |ltk: &&Ltk| {
            ltk.key_type != KeyType::P256Debug
                && (ltk.slot() == LtkSlot::SecureConnections || ltk.slot() == LtkSlot::Legacy(role))
        };
        bond.ltks().iter().find(wanted)
    };
    let mut record = |role: Role, irk: Option<[u8; 16]>, csrk: Option<&Csrk>| {
        let ltk = ltk(role);
        Record {
            peer: key,
            bond_count,
            key_size: ltk.map_or(0, |ltk| ltk.encryption_size.octets()),
            ediv: ltk.map_or(0, |ltk| ltk.ediv),
            rand: ltk.map_or([0; 8], |ltk| ltk.rand),
            ltk: ltk.map(|ltk| *ltk.key.expose()),
            irk,
            csrk: csrk.map(|csrk| *csrk.key.expose()),
            sign_counter: csrk.map_or(0, |csrk| sign_counter(csrk, layout, said)),
            authenticated: ltk.is_some_and(|ltk| ltk.key_type.is_authenticated()),
            secure_connections: ltk.is_some_and(|ltk| ltk.key_type.is_secure_connections()),
            has_more: false,
        }
    };
    let theirs =
        record(Role::Central, bond.irk.as_ref().map(|irk| *irk.key.expose()), bond.csrk_remote.as_ref());
    let our_irk = kept(bond, OUR_IRK).and_then(|value| <[u8; 16]>::try_from(value).ok());
    let ours = record(Role::Peripheral, our_irk, bond.csrk_local.as_ref());
    writer.entry(PEER_SECRETS, &key, &layout.write(&theirs));
    if ours.ltk.is_some() || ours.irk.is_some() || ours.csrk.is_some() {
        writer.entry(OUR_SECRETS, &key, &layout.write(&ours));
    }
}

/// Type and address, least significant octet first.
fn peer_key(bond: &Bond) -> [u8; PEER_KEY_OCTETS] {
    let mut key = [0; PEER_KEY_OCTETS];
    key[0] = u8::from(bond.peer.kind() == PeerAddressType::StaticRandom);
    key[1..].copy_from_slice(&bond.peer.to_wire());
    key
}

/// The counter as far as the layout has a place for it.
fn sign_counter(csrk: &Csrk, layout: &Layout, said: &mut PeerReport) -> u32 {
    let Some(counter) = csrk.counter else { return 0 };
    let reason = match (layout.sign_counter, u32::try_from(counter)) {
        (None, _) => NO_PLACE,
        (Some(_), Ok(0)) => "a counter of zero is not told from one that is not known",
        (Some(_), Ok(counter)) => return counter,
        (Some(_), Err(_)) => "the counter does not fit 32 bits",
    };
    said.drop("csrk_counter", reason);
    0
}

/// Which number each bond has among the device's: the order in which it would give them up.
struct BondCounts {
    taken: BTreeSet<u16>,
    next: u16,
}

impl BondCounts {
    fn of(adapter: &ExportAdapter<'_>) -> Self {
        let taken: BTreeSet<u16> = adapter.entries().filter_map(|(bond, _)| bond_count(bond)).collect();
        Self { next: taken.last().copied().unwrap_or_default(), taken }
    }

    fn next(&mut self, bond: &Bond, said: &mut PeerReport) -> u16 {
        bond_count(bond).unwrap_or_else(|| {
            said.assume(
                "bond_count",
                "bonds are numbered in the order of their addresses, behind those that have a number",
            );
            self.next = (1..=u16::MAX)
                .map(|step| self.next.wrapping_add(step))
                .find(|count| *count != 0 && !self.taken.contains(count))
                .unwrap_or_default();
            self.taken.insert(self.next);
            self.next
        })
    }
}
