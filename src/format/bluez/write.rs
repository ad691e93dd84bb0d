//! Writes a peer's `info` and an adapter's `identity`, in the order in which bluetoothd does.

use zeroize::Zeroizing;

use super::super::check::shortened;
use super::super::report::PeerReport;
use super::super::{FormatId, canonical};
use super::keyfile::{self, Entry, Group, Writer, escaped};
use super::{
    ADAPTER_IRK, CONNECTION_PARAMETERS, GENERAL, GENERAL_ORDER, IRK, LINK_KEY, LOCAL_CSRK, LTK_CENTRAL,
    LTK_PERIPHERAL, LTK_PERIPHERAL_OLD, REMOTE_CSRK, Technologies, is_known_group, known_keys,
};
use crate::bond::{Bond, Csrk, LocalIdentity, Ltk, LtkSlot, OpaqueItem, PeerAddressType, PeerDetails, Role};

/// Room for everything but names, services and what is passed through.
const FIXED_OCTETS: usize = 2_048;

/// Octets of one service in the list.
const SERVICE_OCTETS: usize = 37;

/// Largest counter that a key file holds: GLib's integers have 32 bits with a sign.
const COUNTER_MAX: u64 = i32::MAX as u64;

/// Writes an `info`; what does not go into it is added to the report.
pub(super) fn write_info(bond: &Bond, report: &mut PeerReport) -> Zeroizing<Vec<u8>> {
    let none = PeerDetails::default();
    let details = bond.metadata.details.as_deref().unwrap_or(&none);
    let names: usize =
        [&bond.metadata.name, &details.alias].into_iter().flatten().map(|name| 2 * name.len()).sum();
    let extras = Extras::of(details, report);
    let room = FIXED_OCTETS + names + details.services.len() * SERVICE_OCTETS + extras.octets();
    let mut out = Writer::new(room);
    write_general(&mut out, bond, details, &extras, report);
    if let Some(link_key) = &bond.link_key {
        out.group(LINK_KEY);
        out.octets("Key", link_key.key.expose());
        out.number("Type", link_key.key_type.code());
        if let Some(length) = link_key.pin_length {
            out.number("PINLength", length);
        }
        extras.write(&mut out, LINK_KEY);
    }
    for (group, csrk) in [(LOCAL_CSRK, &bond.csrk_local), (REMOTE_CSRK, &bond.csrk_remote)] {
        if let Some(csrk) = csrk {
            write_csrk(&mut out, group, csrk, report);
            extras.write(&mut out, group);
        }
    }
    for ltk in bond.ltks() {
        // The kernel reports Secure Connections keys as the peripheral's, so that is where bluetoothd has them.
        let groups = match ltk.slot() {
            LtkSlot::Legacy(Role::Central) => &[LTK_CENTRAL][..],
            LtkSlot::Legacy(Role::Peripheral) | LtkSlot::SecureConnections => {
                &[LTK_PERIPHERAL, LTK_PERIPHERAL_OLD]
            }
        };
        for group in groups {
            write_ltk(&mut out, group, ltk);
            extras.write(&mut out, group);
        }
    }
    if let Some(irk) = &bond.irk {
        out.group(IRK);
        out.octets("Key", irk.key.expose());
        extras.write(&mut out, IRK);
    }
    if let Some(parameters) = bond.connection_parameters {
        out.group(CONNECTION_PARAMETERS);
        out.number("MinInterval", parameters.min_interval);
        out.number("MaxInterval", parameters.max_interval);
        out.number("Latency", parameters.latency);
        out.number("Timeout", parameters.supervision_timeout);
        extras.write(&mut out, CONNECTION_PARAMETERS);
    }
    for group in extras.groups() {
        if out.has(group) {
            continue;
        }
        if is_known_group(group) {
            report.drop("opaque", "the key that it belongs to is gone");
            continue;
        }
        out.group(group);
        extras.write(&mut out, group);
    }
    out.finish()
}

/// Writes an `identity`.
pub(super) fn write_identity(identity: &LocalIdentity) -> Zeroizing<Vec<u8>> {
    let mut out = Writer::new(FIXED_OCTETS);
    out.group(GENERAL);
    // Lower case, unlike everywhere else.
    out.raw(ADAPTER_IRK, &Zeroizing::new(hex::encode(identity.irk.key.expose())));
    out.finish()
}

fn write_general(
    out: &mut Writer,
    bond: &Bond,
    details: &PeerDetails,
    extras: &Extras<'_>,
    report: &mut PeerReport,
) {
    out.group(GENERAL);
    let kept =
        extras.value(GENERAL, "SupportedTechnologies").and_then(Technologies::parse).unwrap_or_default();
    let technologies = Technologies::of(bond).and(kept);
    let services: String = details.services.iter().map(|uuid| canonical::uuid_text(uuid) + ";").collect();
    for key in GENERAL_ORDER {
        match key {
            "Name" => write_name(out, key, bond.metadata.name.as_deref(), "name", report),
            "Alias" => write_name(out, key, details.alias.as_deref(), "alias", report),
            "AddressType" if technologies.le => {
                let random = bond.peer.kind() == PeerAddressType::StaticRandom;
                out.raw(key, if random { "static" } else { "public" });
            }
            "SupportedTechnologies" => out.raw(key, technologies.as_str()),
            "Trusted" => details.trusted.into_iter().for_each(|trusted| out.flag(key, trusted)),
            "Blocked" => details.blocked.into_iter().for_each(|blocked| out.flag(key, blocked)),
            "Services" if !services.is_empty() => out.raw(key, &services),
            _ => extras.value(GENERAL, key).into_iter().for_each(|value| out.raw(key, value)),
        }
    }
    for entry in extras.entries(GENERAL).filter(|entry| !GENERAL_ORDER.contains(&entry.key)) {
        out.raw(entry.key, entry.value);
    }
}

fn write_name(out: &mut Writer, key: &str, name: Option<&str>, field: &'static str, report: &mut PeerReport) {
    let Some(name) = name else { return };
    let cut = shortened(name);
    if !keyfile::is_writable(cut) {
        report.taken.retain(|part| *part != field);
        report.drop(field, "it holds control characters that a key file has no way to write");
        return;
    }
    if cut.len() < name.len() {
        report.drop(field, "it is longer than the 248 octets that bluetoothd has room for, and was cut");
    }
    out.raw(key, &escaped(cut));
}

fn write_ltk(out: &mut Writer, group: &str, ltk: &Ltk) {
    out.group(group);
    out.octets("Key", ltk.key.expose());
    out.number("Authenticated", ltk.key_type.code());
    out.number("EncSize", ltk.encryption_size.octets());
    out.number("EDiv", ltk.ediv);
    out.number("Rand", u64::from_le_bytes(ltk.rand));
}

fn write_csrk(out: &mut Writer, group: &str, csrk: &Csrk, report: &mut PeerReport) {
    out.group(group);
    out.octets("Key", csrk.key.expose());
    match csrk.counter {
        Some(counter) if counter > COUNTER_MAX => {
            report.drop("csrk_counter", "it is beyond the 31 bits that a key file's numbers have");
        }
        Some(counter) => out.number("Counter", counter),
        None => {}
    }
    if let Some(authenticated) = csrk.authenticated {
        out.flag("Authenticated", authenticated);
    }
}

/// What an earlier import kept of groups and keys that have no meaning here. Read again as strictly
/// as any file: an item may come from anywhere.
struct Extras<'a>(Vec<Group<'a>>);

impl<'a> Extras<'a> {
    fn of(details: &'a PeerDetails, report: &mut PeerReport) -> Self {
        let mut groups: Vec<Group<'a>> = Vec::new();
        for item in details.opaque.iter().filter(|item| item.format == FormatId::Bluez.as_str()) {
            match foreign_group(item).filter(|new| groups.iter().all(|group| group.name != new.name)) {
                Some(group) => groups.push(group),
                None => report.drop("opaque", "it is not what a group of a key file can hold"),
            }
        }
        Self(groups)
    }

    fn octets(&self) -> usize {
        let entry = |entry: &Entry<'_>| entry.key.len() + entry.value.len() + 2;
        self.0.iter().map(|group| group.name.len() + 4 + group.entries.iter().map(entry).sum::<usize>()).sum()
    }

    fn entries(&self, group: &str) -> impl Iterator<Item = &Entry<'a>> {
        self.0.iter().filter(move |found| found.name == group).flat_map(|group| &group.entries)
    }

    fn value(&self, group: &str, key: &str) -> Option<&'a str> {
        self.entries(group).find(|entry| entry.key == key).map(|entry| entry.value)
    }

    fn write(&self, out: &mut Writer, group: &str) {
        self.entries(group).for_each(|entry| out.raw(entry.key, entry.value));
    }

    fn groups(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|group| group.name)
    }
}

fn foreign_group(item: &OpaqueItem) -> Option<Group<'_>> {
    let group = Group::parse(&item.name, &item.value)?;
    let known = known_keys(group.name);
    let is_free = |entry: &Entry<'_>| !known.contains(&entry.key);
    group.entries.iter().all(is_free).then_some(group)
}
