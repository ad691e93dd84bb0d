//! Writes what Windows keeps of an adapter's peers.

use std::collections::BTreeSet;

use super::super::check::shortened;
use super::super::report::PeerReport;
use super::super::{ExportAdapter, FormatError, FormatId};
use super::read::KNOWN;
use super::registry::{Writer, is_data, quoted};
use super::{CARRIES, CODEC, DEVICE_PREFIX, digits, irk_octets};
use crate::bond::{
    Bond, Csrk, KeyType, LinkKeyType, Ltk, LtkSlot, OpaqueItem, PeerAddress, PeerAddressType, PeerDetails,
    Role,
};

/// Room for all values of one peer but those that were kept of an import: four keys with their paths and
/// a name of 248 octets, which takes four characters for each.
const PEER_OCTETS: usize = 3_072;

const ONE_ADDRESS: &str =
    "Windows files a peer under its address, and the public one of the same digits is there";
const NO_KEY: &str = "none of the peer's keys is in the file";
const ODD: &str = "it is not what a registry value can hold";

/// At least as many octets as an export comes to.
pub(super) fn room(adapters: &[ExportAdapter<'_>]) -> usize {
    let kept = |items: &[OpaqueItem]| {
        items.iter().map(|item| 2 * item.name.len() + item.value.len() + 8).sum::<usize>()
    };
    let peer =
        |bond: &Bond| PEER_OCTETS + bond.metadata.details.as_ref().map_or(0, |details| kept(&details.opaque));
    let adapter = |adapter: &ExportAdapter<'_>| {
        PEER_OCTETS
            + kept(&adapter.record.opaque)
            + adapter.entries().map(|(bond, _)| peer(bond)).sum::<usize>()
    };
    PEER_OCTETS + adapters.iter().map(adapter).sum::<usize>()
}

/// What of one bond goes where.
struct Plan<'a> {
    bond: &'a Bond,
    ltk: Option<&'a Ltk>,
    /// Of the peer's key and of its device.
    kept: Vec<(&'a str, &'a str)>,
    device_kept: Vec<(&'a str, &'a str)>,
    name: Option<&'a str>,
}

pub(super) fn write_adapter(
    out: &mut Writer,
    adapter: &ExportAdapter<'_>,
    control_set: &str,
    reversed: bool,
    reports: &mut Vec<PeerReport>,
    notes: &mut Vec<String>,
) -> Result<(), FormatError> {
    let address = adapter.named()?;
    let parameters = format!("HKEY_LOCAL_MACHINE\\SYSTEM\\{control_set}\\Services\\BTHPORT\\Parameters");
    let mut plans = Vec::new();
    let mut folders = BTreeSet::new();
    for (bond, _) in adapter.entries() {
        let mut report = PeerReport::of_export(adapter.address, bond, CODEC.word, CARRIES);
        if folders.insert(bond.peer.to_wire()) {
            plans.extend(plan(bond, &mut report));
        } else {
            drop_all(&mut report, ONE_ADDRESS);
        }
        reports.push(report);
    }
    let own = format!("{parameters}\\Keys\\{}", folder(address.to_wire()));
    out.key(&own);
    if let Some(identity) = &adapter.record.local_identity {
        out.binary("CentralIRK", &*irk_octets(identity.irk.key.expose(), reversed));
    }
    for item in adapter.record.opaque.iter().filter(|item| item.format == FormatId::Windows.as_str()) {
        let is_known = ["CentralIRK", "MasterIRK"].iter().any(|known| known.eq_ignore_ascii_case(&item.name));
        match data_of(item).filter(|_| !is_known && digits(&item.name).is_none()) {
            Some(data) => out.raw(&item.name, data),
            None => notes.push(format!(
                "a value that was kept for adapter {} is not in the file: {ODD}",
                adapter.shown()
            )),
        }
    }
    for plan in &plans {
        if let Some(link_key) = &plan.bond.link_key {
            out.binary(&folder(plan.bond.peer.to_wire()), link_key.key.expose());
        }
    }
    for plan in plans.iter().filter(|plan| plan.has_own_key()) {
        plan.write_keys(out, &own, reversed);
    }
    for plan in &plans {
        plan.write_device(out, &parameters);
    }
    Ok(())
}

fn folder(mut wire: [u8; 6]) -> String {
    wire.reverse();
    hex::encode(wire)
}

fn drop_all(report: &mut PeerReport, reason: &'static str) {
    for part in std::mem::take(&mut report.taken) {
        report.drop(part, reason);
    }
}

/// Decides what can be written of a bond and reports the rest; none where no key is left.
fn plan<'a>(bond: &'a Bond, report: &mut PeerReport) -> Option<Plan<'a>> {
    let ltk = central_ltk(bond, report);
    if bond.link_key.as_ref().is_some_and(|key| key.key_type != LinkKeyType::UnauthenticatedP192) {
        report.drop("link_key_type", "Windows does not keep it: a reader takes 4");
    }
    if bond
        .csrk_local
        .as_ref()
        .is_some_and(|csrk| csrk.counter.is_some_and(|counter| u32::try_from(counter).is_err()))
        || bond.csrk_remote.as_ref().is_some_and(|csrk| csrk.counter == Some(u64::MAX))
    {
        report.drop("csrk_counter", "it is beyond what Windows keeps");
    }
    let name = bond.metadata.name.as_deref().map(shortened);
    let name = name.filter(|name| {
        let writable = !name.contains('\0');
        if !writable {
            report.taken.retain(|part| *part != "name");
            report.drop("name", "it holds a zero octet, which ends a name in the registry");
        }
        writable
    });
    if name.is_some() && name != bond.metadata.name.as_deref() {
        report.drop("name", "it is longer than 248 octets and was cut");
    }
    let mut plan = Plan { bond, ltk, kept: Vec::new(), device_kept: Vec::new(), name };
    if !plan.has_own_key() && bond.link_key.is_none() {
        drop_all(report, NO_KEY);
        return None;
    }
    plan.keep(report);
    Some(plan)
}

/// The LTK that Windows has a place for: the central's, or that of Secure Connections.
fn central_ltk<'a>(bond: &'a Bond, report: &mut PeerReport) -> Option<&'a Ltk> {
    let is_central = |ltk: &&Ltk| ltk.slot() != LtkSlot::Legacy(Role::Peripheral);
    report.drop_debug_ltks(bond);
    let ltk = bond.ltks().iter().find(is_central).filter(|ltk| ltk.key_type != KeyType::P256Debug);
    let looks_secure = |ltk: &&Ltk| {
        let named = ltk.ediv == 0 && ltk.rand == [0; 8];
        named && !ltk.key_type.is_secure_connections()
    };
    let written = ltk.filter(|ltk| !looks_secure(ltk));
    if written.is_none() {
        report.taken.retain(|part| *part != "ltk");
    }
    if ltk.is_some() && written.is_none() {
        report.drop("ltk", "a legacy key without EDIV and Rand would be read as one of Secure Connections");
    }
    if bond.ltks().iter().any(|ltk| ltk.slot() == LtkSlot::Legacy(Role::Peripheral)) {
        report.drop("ltk", "Windows keeps legacy keys of the central role only");
    }
    if written.is_some_and(|ltk| ltk.key_type.is_authenticated()) {
        report.drop(
            "key_type",
            "Windows does not keep that a key is authenticated: a reader takes that it is not",
        );
    }
    written
}

/// An item's data, where it can stand in a file.
fn data_of(item: &OpaqueItem) -> Option<&str> {
    let name = item.name.strip_prefix(DEVICE_PREFIX).unwrap_or(&item.name);
    quoted(name)?;
    std::str::from_utf8(&item.value).ok().filter(|data| is_data(data))
}

impl<'a> Plan<'a> {
    /// Something stands in a registry key of the peer's own.
    fn has_own_key(&self) -> bool {
        let bond = self.bond;
        self.ltk.is_some() || bond.irk.is_some() || bond.csrk_local.is_some() || bond.csrk_remote.is_some()
    }

    /// Sorts what an import kept. It may come from anywhere, so it must not stand in for a key.
    fn keep(&mut self, report: &mut PeerReport) {
        let details: Option<&'a PeerDetails> = self.bond.metadata.details.as_deref();
        let mut names = BTreeSet::new();
        for item in details.into_iter().flat_map(|details| &details.opaque) {
            if item.format != FormatId::Windows.as_str() {
                continue;
            }
            let device = item.name.strip_prefix(DEVICE_PREFIX);
            let known: &[&str] = if device.is_some() { &["Name", "LEAddressType"] } else { &KNOWN };
            let name = device.unwrap_or(&item.name);
            let is_free = !known.iter().any(|known| known.eq_ignore_ascii_case(name))
                && names.insert((device.is_some(), name.to_ascii_lowercase()))
                && (device.is_some() || self.has_own_key());
            match data_of(item).filter(|_| is_free) {
                Some(data) if device.is_some() => self.device_kept.push((name, data)),
                Some(data) => self.kept.push((name, data)),
                None => report.drop("opaque", ODD),
            }
        }
    }

    fn write_keys(&self, out: &mut Writer, adapter: &str, reversed: bool) {
        let bond = self.bond;
        out.key(&format!("{adapter}\\{}", folder(bond.peer.to_wire())));
        if let Some(ltk) = self.ltk {
            out.binary("LTK", ltk.key.expose());
            out.dword("KeyLength", ltk.encryption_size.octets().into());
            out.qword("ERand", u64::from_le_bytes(ltk.rand));
            out.dword("EDIV", ltk.ediv.into());
        }
        if let Some(irk) = &bond.irk {
            out.binary("IRK", &*irk_octets(irk.key.expose(), reversed));
        }
        out.qword("Address", address_number(bond.peer));
        out.dword("AddressType", address_type(bond.peer));
        if let Some(csrk) = &bond.csrk_local {
            out.binary("CSRK", csrk.key.expose());
            if let Some(counter) = csrk.counter.and_then(|counter| u32::try_from(counter).ok()) {
                out.dword("OutboundSignCounter", counter);
            }
        }
        if let Some(csrk) = &bond.csrk_remote {
            out.binary("CSRKInbound", csrk.key.expose());
            if let Some(counter) = inbound_counter(csrk) {
                out.qword("InboundSignCounter", counter);
            }
        }
        for (name, data) in &self.kept {
            out.raw(name, data);
        }
    }

    fn write_device(&self, out: &mut Writer, parameters: &str) {
        let bond = self.bond;
        out.key(&format!("{parameters}\\Devices\\{}", folder(bond.peer.to_wire())));
        if let Some(name) = self.name {
            out.binary("Name", &[name.as_bytes(), &[0]].concat());
        }
        if self.has_own_key() {
            out.dword("LEAddressType", address_type(bond.peer));
        }
        for (name, data) in &self.device_kept {
            out.raw(name, data);
        }
    }
}

/// All ones stand for a counter that nothing has moved yet.
fn inbound_counter(csrk: &Csrk) -> Option<u64> {
    csrk.counter
        .filter(|counter| *counter != u64::MAX)
        .map(|counter| if counter == 0 { u64::MAX } else { counter })
}

fn address_number(peer: PeerAddress) -> u64 {
    let [a, b, c, d, e, f] = peer.to_wire();
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

fn address_type(peer: PeerAddress) -> u32 {
    match peer.kind() {
        PeerAddressType::Public => 0,
        PeerAddressType::StaticRandom => 1,
    }
}
