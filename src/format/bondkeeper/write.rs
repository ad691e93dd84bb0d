//! Domain → document.
//!
//! The fields of everything under `adapters` are declared in the order of their names: so the compact
//! text is the canonical text, of which the digest is taken. Bonds are turned into text one after the
//! other: ten thousand take no more memory than one.

mod digest;

use std::io::Write;

use serde::{Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use super::details::{DetailsDto, LocalIdentityDto, ObservedDto, OpaqueDto};
use super::glance::SummaryDto;
use super::read::CHECK_OCTETS;
use super::{BYTE_ORDER, DIGEST_KIND, FORMAT, Layout, VERSION};
use crate::bond::{
    Bond, ConnectionParameters, Csrk, LinkKey, LoadRecord, Ltk, PeerAddress, UndoPoint, UnixMillis,
};
use crate::format::pieces::Pieces;
use crate::format::report::{PeerReport, Report, parts};
use crate::format::{ExportAdapter, FormatError, NAME_OCTETS_MAX, check, rfc3339};

/// Room to set aside for a bond, so that a buffer with keys need not grow and leave copies behind.
const BOND_OCTETS_EXPECTED: usize = 1_024;

/// What is handed on at once: a call for each hundred bonds.
const WRITTEN_OCTETS: usize = 64 << 10;

#[derive(Serialize)]
struct DocumentDto<'a> {
    format: &'static str,
    version: u64,
    source: &'static str,
    byte_order: &'static str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<SummaryDto>,
    adapters: Vec<AdapterDto<'a>>,
    digest: String,
}

#[derive(Serialize)]
struct AdapterDto<'a> {
    address: String,
    address_type: &'static str,
    bonds: Bonds<'a>,
    generation: u64,
    last_index: Option<u16>,
    last_load: Option<LoadDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_identity: Option<LocalIdentityDto<'a>>,
    mode: Option<&'static str>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    opaque: Vec<OpaqueDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    tombstones: Vec<TombstoneDto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<UndoDto<'a>>,
}

/// The bonds of an adapter, each made when it is written.
struct Bonds<'a> {
    adapter: ExportAdapter<'a>,
    layout: Layout,
    /// Each bond's own check, in their order. A bond without one is not written.
    checks: Vec<[u8; CHECK_OCTETS]>,
}

impl<'a> Bonds<'a> {
    const fn unchecked(adapter: &ExportAdapter<'a>, layout: Layout) -> Self {
        Self { adapter: *adapter, layout, checks: Vec::new() }
    }

    /// Each bond without its check.
    fn dtos(&self) -> impl Iterator<Item = BondDto<'a>> + use<'a> {
        let (adapter, layout) = (self.adapter, self.layout);
        adapter.entries().map(move |(bond, generation)| bond_dto(bond, generation, layout, None))
    }
}

impl Serialize for Bonds<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bonds = self.dtos().zip(&self.checks);
        serializer.collect_seq(bonds.map(|(bond, check)| BondDto { check: Some(Hex(check)), ..bond }))
    }
}

#[derive(Serialize)]
struct UndoDto<'a> {
    after: u64,
    at_ms: u64,
    before: u64,
    checkpoint: &'a str,
    operation: &'static str,
}

#[derive(Serialize)]
struct LoadDto<'a> {
    at_ms: u64,
    boot_id: &'a str,
    generation: u64,
    inode: u64,
}

#[derive(Serialize)]
struct TombstoneDto {
    address: String,
    address_type: &'static str,
    generation: u64,
}

#[derive(Serialize)]
struct BondDto<'a> {
    address: Shown<PeerAddress>,
    address_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<Hex<'a>>,
    conn_param: Option<ParametersDto>,
    created_at_ms: u64,
    csrk_local: Option<CsrkDto<'a>>,
    csrk_remote: Option<CsrkDto<'a>>,
    custody: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<DetailsDto<'a>>,
    generation: u64,
    irk: Option<Hex<'a>>,
    last_seen_at_ms: Option<u64>,
    link_key: Option<LinkKeyDto<'a>>,
    ltks: Ltks<'a>,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<ObservedDto>,
    source: &'static str,
    updated_at_ms: u64,
}

#[derive(Serialize)]
struct LtkDto<'a> {
    central: bool,
    ediv: u16,
    enc_size: u8,
    key_type: u8,
    rand: Hex<'a>,
    value: Hex<'a>,
}

#[derive(Serialize)]
struct CsrkDto<'a> {
    authenticated: Option<bool>,
    counter: Option<u64>,
    value: Hex<'a>,
}

#[derive(Serialize)]
struct LinkKeyDto<'a> {
    key_type: u8,
    pin_length: Option<u8>,
    value: Hex<'a>,
}

#[derive(Serialize)]
struct ParametersDto {
    latency: u16,
    max_interval: u16,
    min_interval: u16,
    supervision_timeout: u16,
}

/// Written as it is shown, without a copy on the heap.
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The long-term keys of a bond, each made when it is written.
struct Ltks<'a>(&'a [Ltk]);

impl Serialize for Ltks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ltk_dto))
    }
}

/// Up to sixteen octets, written as hexadecimal digits without leaving a copy on the heap.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = [0_u8; 32];
        let used = &mut digits[..self.0.len() * 2];
        hex::encode_to_slice(self.0, used).map_err(serde::ser::Error::custom)?;
        let text = std::str::from_utf8(used).map_err(serde::ser::Error::custom)?;
        let outcome = serializer.serialize_str(text);
        digits.zeroize();
        outcome
    }
}

pub(super) fn document(
    adapters: &[ExportAdapter<'_>],
    created_at: UnixMillis,
    layout: Layout,
) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let mut bytes = room(adapters, layout);
    let adapters = adapters.iter().map(|adapter| adapter_dto(adapter, layout)).collect::<Result<_, _>>()?;
    dto_to(adapters, created_at, layout, &mut *bytes)?;
    Ok(bytes)
}

/// One of our own copies, which says how many times the state was stored.
pub(super) fn copy(
    adapter: &ExportAdapter<'_>,
    revision: u64,
    created_at: UnixMillis,
) -> Result<Zeroizing<Vec<u8>>, FormatError> {
    let mut bytes = room(std::slice::from_ref(adapter), Layout::Compact);
    let adapters = vec![copy_dto(adapter, revision)?];
    dto_to(adapters, created_at, Layout::Compact, &mut *bytes)?;
    Ok(bytes)
}

fn room(adapters: &[ExportAdapter<'_>], layout: Layout) -> Zeroizing<Vec<u8>> {
    let bond_count: usize = adapters.iter().map(|adapter| adapter.entries().count()).sum();
    let room = BOND_OCTETS_EXPECTED * (bond_count + 4) * if layout == Layout::Pretty { 2 } else { 1 };
    Zeroizing::new(Vec::with_capacity(room))
}

/// Writes it in pieces of [`WRITTEN_OCTETS`]; a failure to write is [`FormatError::Write`].
pub(super) fn document_to(
    adapters: &[ExportAdapter<'_>],
    created_at: UnixMillis,
    layout: Layout,
    out: &mut dyn Write,
) -> Result<(), FormatError> {
    let mut pieces = Pieces::new(out, WRITTEN_OCTETS);
    let adapters = adapters.iter().map(|adapter| adapter_dto(adapter, layout)).collect::<Result<_, _>>()?;
    dto_to(adapters, created_at, layout, &mut pieces)?;
    pieces.finish().map(drop).map_err(|_| FormatError::Write)
}

fn dto_to(
    mut adapters: Vec<AdapterDto<'_>>,
    created_at: UnixMillis,
    layout: Layout,
    out: &mut impl Write,
) -> Result<(), FormatError> {
    let digest = digest::seal(&mut adapters)?;
    let summary = match (&adapters[..], layout) {
        ([adapter], Layout::Compact) => {
            Some(SummaryDto::new(&adapter.address, adapter.generation, adapter.revision, &digest))
        }
        _ => None,
    };
    let document = DocumentDto {
        format: FORMAT,
        version: VERSION,
        source: concat!("bondkeeper ", env!("CARGO_PKG_VERSION")),
        byte_order: BYTE_ORDER,
        created_at: rfc3339(created_at),
        summary,
        digest: format!("{DIGEST_KIND}{}", hex::encode(digest)),
        adapters,
    };
    let written = match layout {
        Layout::Compact => serde_json::to_writer(&mut *out, &document),
        Layout::Pretty => serde_json::to_writer_pretty(&mut *out, &document),
    };
    written.map_err(|_| FormatError::Write)?;
    out.write_all(b"\n").map_err(|_| FormatError::Write)
}

/// The digest that [`copy`] writes.
pub(super) fn digest_copy(adapter: &ExportAdapter<'_>, revision: u64) -> Result<[u8; 32], FormatError> {
    digest::seal(&mut [copy_dto(adapter, revision)?])
}

fn copy_dto<'a>(adapter: &ExportAdapter<'a>, revision: u64) -> Result<AdapterDto<'a>, FormatError> {
    Ok(AdapterDto {
        revision: Some(revision).filter(|revision| *revision > 0),
        ..adapter_dto(adapter, Layout::Compact)?
    })
}

/// What a document of these adapters carries, for the caller's report.
pub(super) fn report(adapters: &[ExportAdapter<'_>]) -> Report {
    let mut report = Report::default();
    for adapter in adapters {
        for (bond, _) in adapter.entries() {
            let mut peer = peer_report(adapter, bond);
            peer.taken = parts(bond);
            report.peers.push(peer);
        }
    }
    report
}

/// The same, without the peers that lose nothing.
pub(super) fn losses(adapters: &[ExportAdapter<'_>]) -> Report {
    let mut report = Report::default();
    for adapter in adapters {
        let peers = adapter.entries().map(|(bond, _)| peer_report(adapter, bond));
        report.peers.extend(peers.filter(|peer| !peer.dropped.is_empty()));
    }
    report
}

fn peer_report(adapter: &ExportAdapter<'_>, bond: &Bond) -> PeerReport {
    let mut peer = PeerReport::new(adapter.address, bond.peer);
    if bond.metadata.name.as_ref().is_some_and(|name| name.len() > NAME_OCTETS_MAX) {
        peer.drop("name", "longer than the format allows; its beginning was written");
    }
    peer
}

fn adapter_dto<'a>(adapter: &ExportAdapter<'a>, layout: Layout) -> Result<AdapterDto<'a>, FormatError> {
    let record = adapter.record;
    // A choice of peers is no copy of the table: what was removed is no part of it.
    let tombstones = adapter.table.tombstones().filter(|_| adapter.peers.is_none());
    Ok(AdapterDto {
        address: adapter.named()?.to_string(),
        address_type: "public",
        bonds: Bonds::unchecked(adapter, layout),
        generation: adapter.table.generation(),
        last_index: record.last_index,
        last_load: record.last_load.as_ref().map(load_dto),
        local_identity: record.local_identity.as_ref().map(LocalIdentityDto::of),
        mode: record.mode.map(crate::bond::Mode::as_str),
        name: record.name.as_deref().map(check::shortened),
        opaque: record.opaque.iter().map(OpaqueDto::of).collect(),
        revision: None,
        tombstones: tombstones
            .map(|tombstone| TombstoneDto {
                address: tombstone.peer.to_string(),
                address_type: kind(tombstone.peer),
                generation: tombstone.generation,
            })
            .collect(),
        undo: record.undo.as_ref().map(undo_dto),
    })
}

fn undo_dto(point: &UndoPoint) -> UndoDto<'_> {
    UndoDto {
        after: point.after,
        at_ms: point.at.0,
        before: point.before,
        checkpoint: &point.checkpoint,
        operation: point.operation.as_str(),
    }
}

fn load_dto(load: &LoadRecord) -> LoadDto<'_> {
    LoadDto {
        at_ms: load.at.0,
        boot_id: check::shortened(&load.appearance.boot_id),
        generation: load.generation,
        inode: load.appearance.inode,
    }
}

fn bond_dto<'a>(
    bond: &'a Bond,
    generation: u64,
    layout: Layout,
    check: Option<&'a [u8; CHECK_OCTETS]>,
) -> BondDto<'a> {
    let metadata = &bond.metadata;
    BondDto {
        address: Shown(bond.peer),
        address_type: kind(bond.peer),
        check: check.map(|octets| Hex(octets)),
        conn_param: bond.connection_parameters.map(parameters_dto),
        created_at_ms: metadata.created_at.0,
        csrk_local: bond.csrk_local.as_ref().map(csrk_dto),
        csrk_remote: bond.csrk_remote.as_ref().map(csrk_dto),
        custody: metadata.custody.as_str(),
        details: metadata.details.as_deref().map(DetailsDto::of),
        generation,
        irk: bond.irk.as_ref().map(|irk| Hex(irk.key.expose())),
        last_seen_at_ms: metadata.last_seen_at.map(|at| at.0),
        link_key: bond.link_key.as_ref().map(link_key_dto),
        ltks: Ltks(bond.ltks()),
        name: metadata.name.as_deref().map(check::shortened),
        observed: metadata.details.as_deref().filter(|_| layout == Layout::Compact).and_then(ObservedDto::of),
        source: metadata.source.as_str(),
        updated_at_ms: metadata.updated_at.0,
    }
}

fn ltk_dto(ltk: &Ltk) -> LtkDto<'_> {
    LtkDto {
        central: ltk.central_flag() == 1,
        ediv: ltk.ediv,
        enc_size: ltk.encryption_size.octets(),
        key_type: ltk.key_type.code(),
        rand: Hex(&ltk.rand),
        value: Hex(ltk.key.expose()),
    }
}

fn csrk_dto(csrk: &Csrk) -> CsrkDto<'_> {
    CsrkDto { authenticated: csrk.authenticated, counter: csrk.counter, value: Hex(csrk.key.expose()) }
}

fn link_key_dto(key: &LinkKey) -> LinkKeyDto<'_> {
    LinkKeyDto { key_type: key.key_type.code(), pin_length: key.pin_length, value: Hex(key.key.expose()) }
}

const fn parameters_dto(parameters: ConnectionParameters) -> ParametersDto {
    ParametersDto {
        latency: parameters.latency,
        max_interval: parameters.max_interval,
        min_interval: parameters.min_interval,
        supervision_timeout: parameters.supervision_timeout,
    }
}

const fn kind(peer: PeerAddress) -> &'static str {
    peer.kind().as_str()
}
