//! Reads what Windows keeps of an adapter's peers.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::super::draft::{Draft, keep, refuse};
use super::super::json::Bad;
use super::super::report::Report;
use super::super::{FormatError, FormatId, ImportOptions, Imported, ImportedAdapter, NAME_OCTETS_MAX, check};
use super::keys::{Key, Set, collect};
use super::registry::{self, Value};
use super::{ADDRESS_TYPE, AUTHENTICATED, Digits, IRK_ORDER, LINK_KEY_TYPE, is_reversed};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{
    AdapterAddress, Csrk, EncryptionSize, Irk, KeyMaterial, KeyType, LinkKey, LinkKeyType, LocalIdentity,
    Ltk, PeerAddressType, Role,
};

/// Reads one file.
pub(super) fn read(text: &str, options: &ImportOptions) -> Result<Imported, FormatError> {
    let mut sets = collect(text).map_err(|broken| FormatError::Invalid {
        place: format!("line {}", broken.line),
        reason: broken.reason.to_owned(),
    })?;
    let mut imported = Imported::default();
    let current = sets.keys().find(|name| name.ends_with("currentcontrolset")).cloned();
    let chosen = current.or_else(|| sets.keys().next().cloned());
    let Some(set) = chosen.and_then(|name| sets.remove(&name)) else {
        let reason = "it has no key of BTHPORT\\Parameters\\Keys with an adapter in it";
        return Err(FormatError::WrongFormat { format: FormatId::Windows, reason });
    };
    if !sets.is_empty() {
        let note = "the file holds several control sets: the current one, else the first one, was read";
        imported.report.notes.push(note.to_owned());
    }
    for (digits, key) in &set.adapters {
        read_adapter(*digits, key, &set, options, &mut imported)?;
    }
    Ok(imported)
}

fn read_adapter(
    digits: Digits,
    key: &Key,
    set: &Set,
    options: &ImportOptions,
    imported: &mut Imported,
) -> Result<(), FormatError> {
    let address = from_digits(digits).ok_or_else(|| {
        FormatError::from(Bad {
            place: format!("[{}]", key.path),
            reason: "is no adapter's address".to_owned(),
        })
    })?;
    let mut adapter = ImportedAdapter { address: Some(address), ..ImportedAdapter::default() };
    let report = &mut imported.report;
    match local_irk(key, options) {
        Ok(None) => {}
        Ok(Some(irk)) => {
            adapter.local_identity = Some(LocalIdentity { irk, privacy: None });
            let how = if is_reversed(&options.options) {
                "taken as reversed, as those of peers"
            } else {
                "taken as it stands"
            };
            report.notes.push(format!(
                "the order of the octets of {address}'s own IRK is not known for sure: it was {how}"
            ));
        }
        Err(bad) => refuse(report, bad),
    }
    let mut drafts: Vec<(Draft, String)> = Vec::new();
    let peers = set.peers.range((digits, [0; 6])..=(digits, [0xFF; 6]));
    for ((_, peer), values) in peers {
        if drafts.len() >= BONDS_PER_ADAPTER_MAX {
            let reason = format!("is beyond the {BONDS_PER_ADAPTER_MAX} bonds that an adapter may have");
            refuse(report, Bad { place: format!("[{}]", values.path), reason });
            break;
        }
        match read_peer(address, *peer, values, set.devices.get(peer), options) {
            Ok(draft) => drafts.push((draft, values.path.clone())),
            Err(bad) => refuse(report, bad),
        }
    }
    read_link_keys(key, set, options, &mut adapter, &mut drafts, report);
    for (draft, place) in drafts {
        draft.settle(|| format!("[{place}]"), &mut adapter, report);
    }
    imported.adapters.push(adapter);
    Ok(())
}

/// The name of the value has changed with the words of the specification.
fn local_irk(key: &Key, options: &ImportOptions) -> Result<Option<Irk>, Bad> {
    let reversed = is_reversed(&options.options);
    let (irk, older) = (key.irk("CentralIRK", reversed)?, key.irk("MasterIRK", reversed)?);
    if irk.is_some() && older.is_some() && irk != older {
        return Err(key.bad("MasterIRK", "is another key than CentralIRK"));
    }
    Ok(irk.or(older))
}

/// Values whose names are twelve digits; the rest of an adapter's values is kept as it is.
fn read_link_keys(
    key: &Key,
    set: &Set,
    options: &ImportOptions,
    adapter: &mut ImportedAdapter,
    drafts: &mut Vec<(Draft, String)>,
    report: &mut Report,
) {
    let mut known: BTreeMap<_, _> =
        drafts.iter().enumerate().map(|(at, (draft, _))| (draft.bond.peer, at)).collect();
    for value in &key.values {
        let name = &value.name;
        let Some(digits) = super::digits(name) else {
            let is_known = ["CentralIRK", "MasterIRK"].iter().any(|known| known.eq_ignore_ascii_case(name));
            let data = Zeroizing::new(value.data.as_bytes().to_vec());
            if !is_known && !keep(&mut adapter.opaque, FormatId::Windows.as_str(), name.clone(), data) {
                report.notes.push(format!("[{}] has more, or longer, values than are kept", key.path));
            }
            continue;
        };
        let place = || format!("[{}] {name}", key.path);
        let octets =
            registry::binary(&value.data).and_then(|octets| <[u8; 16]>::try_from(octets.as_slice()).ok());
        let link_key = octets.map(Zeroizing::new).ok_or_else(|| "is not 16 octets as hex:".to_owned());
        let link_key =
            link_key.and_then(|octets| KeyMaterial::new(*octets).map_err(|error| error.to_string()));
        let mut wire = digits;
        wire.reverse();
        let named = check::named_peer(wire, PeerAddressType::Public).map_err(|bad| bad.reason);
        match link_key.and_then(|link_key| named.map(|named| (link_key, named))) {
            Err(reason) => refuse(report, Bad { place: place(), reason }),
            Ok((link_key, named)) => {
                let at = *known.entry(named.peer).or_insert_with(|| {
                    let mut draft = Draft::new(adapter.address, named, options.now);
                    if let Some(device) = set.devices.get(&digits)
                        && let Err(bad) = read_device(device, &mut draft)
                    {
                        refuse(report, bad);
                    }
                    drafts.push((draft, format!("{}] {name}", key.path)));
                    drafts.len() - 1
                });
                put_link_key(&mut drafts[at].0, link_key, options, place, report);
            }
        }
    }
}

fn put_link_key(
    draft: &mut Draft,
    key: KeyMaterial,
    options: &ImportOptions,
    place: impl Fn() -> String,
    report: &mut Report,
) {
    if draft.bond.link_key.is_some() {
        let reason = "is a value that came before".to_owned();
        return refuse(report, Bad { place: place(), reason });
    }
    let chosen = options.options.get(LINK_KEY_TYPE.name).and_then(|code| code.parse().ok());
    if chosen.is_none() {
        draft.report.assume("link_key_type", "Windows does not keep the type of a link key: 4 is taken");
    }
    let key_type = chosen.and_then(|code| LinkKeyType::from_code(code).ok());
    let key_type = key_type.unwrap_or(LinkKeyType::UnauthenticatedP192);
    draft.bond.link_key = Some(LinkKey { key, key_type, pin_length: None });
}

pub(super) const KNOWN: [&str; 11] = [
    "LTK",
    "KeyLength",
    "EDIV",
    "ERand",
    "IRK",
    "Address",
    "AddressType",
    "CSRK",
    "OutboundSignCounter",
    "CSRKInbound",
    "InboundSignCounter",
];

fn read_peer(
    adapter: AdapterAddress,
    folder: Digits,
    key: &Key,
    device: Option<&Key>,
    options: &ImportOptions,
) -> Result<Draft, Bad> {
    let (digits, renamed) = match key.qword("Address")? {
        None => (folder, false),
        Some(number) => {
            let [0, 0, digits @ ..] = number.to_be_bytes() else {
                return Err(key.bad("Address", "does not fit the 48 bits of an address"));
            };
            (digits, digits != folder)
        }
    };
    let (kind, chosen) = address_type(key, device, options)?;
    let mut wire = digits;
    wire.reverse();
    let named = check::named_peer(wire, kind).map_err(|bad| key.bad("Address", bad.reason))?;
    let mut draft = Draft::new(Some(adapter), named, options.now);
    if renamed {
        draft
            .report
            .assume("address", "Address is the peer's identity, and the key's name one it had while pairing");
    }
    if chosen {
        draft.report.assume("address_type", "the file does not say it: it is what the caller chose");
    }
    read_ltk(key, options, &mut draft)?;
    let reversed = is_reversed(&options.options);
    draft.bond.irk = key.irk("IRK", reversed)?;
    if draft.bond.irk.is_some() && options.options.get(IRK_ORDER.name).is_none() {
        draft
            .report
            .assume("irk", "Windows keeps the most significant octet of an IRK first: it is reversed here");
    }
    draft.bond.csrk_local = read_csrk(key, "CSRK", key.dword("OutboundSignCounter")?.map(u64::from))?;
    // All ones: nothing signed came yet.
    let counter =
        key.qword("InboundSignCounter")?.map(|counter| if counter == u64::MAX { 0 } else { counter });
    draft.bond.csrk_remote = read_csrk(key, "CSRKInbound", counter)?;
    let unsure = "the order of the octets is not known for sure: they are taken as they stand";
    for (part, csrk) in [("csrk_local", &draft.bond.csrk_local), ("csrk_remote", &draft.bond.csrk_remote)] {
        if csrk.is_some() {
            draft.report.assume(part, unsure);
        }
    }
    for value in
        key.values.iter().filter(|value| !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&value.name)))
    {
        keep_value(&mut draft, String::new(), value);
    }
    if let Some(device) = device {
        read_device(device, &mut draft)?;
    }
    Ok(draft)
}

fn address_type(
    key: &Key,
    device: Option<&Key>,
    options: &ImportOptions,
) -> Result<(PeerAddressType, bool), Bad> {
    let of = |key: &Key, name| match key.dword(name)? {
        None => Ok(None),
        Some(0) => Ok(Some(PeerAddressType::Public)),
        Some(1) => Ok(Some(PeerAddressType::StaticRandom)),
        Some(_) => Err(key.bad(name, "is neither 0 (public) nor 1 (random)")),
    };
    let stated = match (of(key, "AddressType")?, device) {
        (Some(kind), _) => Some(kind),
        (None, Some(device)) => of(device, "LEAddressType")?,
        (None, None) => None,
    };
    match (stated, options.options.get(ADDRESS_TYPE.name)) {
        (Some(kind), _) => Ok((kind, false)),
        (None, Some("public")) => Ok((PeerAddressType::Public, true)),
        (None, Some(_)) => Ok((PeerAddressType::StaticRandom, true)),
        (None, None) => Err(key.bad(
            "AddressType",
            "is missing, and so is LEAddressType of the device: the option address_type says what to take",
        )),
    }
}

fn read_ltk(key: &Key, options: &ImportOptions, draft: &mut Draft) -> Result<(), Bad> {
    let Some(octets) = key.octets("LTK")? else { return Ok(()) };
    let material = check::ltk(*octets).map_err(|bad| key.bad("LTK", bad.reason))?;
    let size = match key.dword("KeyLength")? {
        None | Some(0) => {
            draft.report.assume("enc_size", "a KeyLength that is 0 or missing means 16");
            EncryptionSize::FULL
        }
        Some(length) => {
            let size = u8::try_from(length).ok().and_then(|size| EncryptionSize::new(size).ok());
            size.ok_or_else(|| key.bad("KeyLength", "is outside 7 to 16 octets"))?
        }
    };
    let ediv = key.dword("EDIV")?.ok_or_else(|| key.bad("EDIV", "is missing"))?;
    let ediv = u16::try_from(ediv).map_err(|_| key.bad("EDIV", "does not fit 16 bits"))?;
    let rand = key.qword("ERand")?.ok_or_else(|| key.bad("ERand", "is missing"))?.to_le_bytes();
    let authenticated = options.options.get(AUTHENTICATED.name);
    if authenticated.is_none() {
        draft
            .report
            .assume("key_type", "Windows does not keep whether a key is authenticated: it is taken as not");
    }
    let key_type = match (ediv == 0 && rand == [0; 8], authenticated == Some("yes")) {
        (true, false) => KeyType::P256Unauthenticated,
        (true, true) => KeyType::P256Authenticated,
        (false, false) => KeyType::LegacyUnauthenticated,
        (false, true) => KeyType::LegacyAuthenticated,
    };
    if !key_type.is_secure_connections() {
        draft.report.assume("ltk", "the only legacy key that Windows keeps is the central's");
    }
    draft.put_ltks([Ltk::new(key_type, Role::Central, size, ediv, rand, material)]);
    Ok(())
}

fn read_csrk(key: &Key, name: &str, counter: Option<u64>) -> Result<Option<Csrk>, Bad> {
    Ok(key.key(name)?.map(|key| Csrk { key, authenticated: None, counter }))
}

fn read_device(device: &Key, draft: &mut Draft) -> Result<(), Bad> {
    for value in &device.values {
        if value.name.eq_ignore_ascii_case("Name") {
            draft.bond.metadata.name = Some(name(device, &value.data)?);
        } else if !value.name.eq_ignore_ascii_case("LEAddressType") {
            keep_value(draft, super::DEVICE_PREFIX.to_owned(), value);
        }
    }
    Ok(())
}

/// UTF-8 with a zero octet behind it.
fn name(device: &Key, data: &str) -> Result<String, Bad> {
    let text = match registry::text(data) {
        Some(text) => text,
        None => {
            let octets =
                registry::binary(data).ok_or_else(|| device.bad("Name", "is neither octets nor text"))?;
            let text = String::from_utf8(octets.to_vec()).map_err(|_| device.bad("Name", "is not UTF-8"))?;
            text.split('\0').next().unwrap_or_default().to_owned()
        }
    };
    if text.len() > NAME_OCTETS_MAX {
        return Err(device.bad("Name", format!("is longer than {NAME_OCTETS_MAX} octets")));
    }
    Ok(text)
}

fn keep_value(draft: &mut Draft, prefix: String, value: &Value) {
    let data = Zeroizing::new(value.data.as_bytes().to_vec());
    draft.keep(FormatId::Windows.as_str(), prefix + &value.name, data);
}

fn from_digits(mut digits: Digits) -> Option<AdapterAddress> {
    digits.reverse();
    AdapterAddress::from_wire(digits).ok()
}
