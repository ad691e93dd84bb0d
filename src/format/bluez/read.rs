//! Reads a peer's `info` and an adapter's `identity`.

use zeroize::Zeroizing;

use super::super::check::{self, NamedPeer};
use super::super::draft::Draft;
use super::super::json::Bad;
use super::super::{FormatId, NAME_OCTETS_MAX};
use super::keyfile::{self, Broken, Entry, Group, KeyFile};
use super::{
    ADAPTER_IRK, CONNECTION_PARAMETERS, GENERAL, IRK, LINK_KEY, LOCAL_CSRK, LTK_CENTRAL, LTK_PERIPHERAL,
    LTK_PERIPHERAL_OLD, REMOTE_CSRK, Technologies, known_keys, uuid,
};
use crate::bond::details::SERVICES_MAX;
use crate::bond::{
    AdapterAddress, ConnectionParameters, Csrk, EncryptionSize, Irk, KeyMaterial, KeyType, LinkKey,
    LinkKeyType, LocalIdentity, Ltk, PeerAddressType, Role, ServiceUuid, UnixMillis,
};

impl From<Broken> for Bad {
    fn from(broken: Broken) -> Self {
        Self { place: broken.place, reason: broken.reason }
    }
}

/// The address of the folder that an `info` stands in, least significant octet first.
pub(super) type FolderAddress = [u8; 6];

/// One value and its place, for errors.
struct Value<'a> {
    group: &'a str,
    key: &'static str,
    text: &'a str,
}

impl<'a> Value<'a> {
    fn of(group: &Group<'a>, key: &'static str) -> Option<Self> {
        group.get(key).map(|text| Self { group: group.name, key, text })
    }

    fn required(group: &Group<'a>, key: &'static str) -> Result<Self, Bad> {
        Self::of(group, key).ok_or_else(|| bad(group.name, key, "is missing"))
    }

    fn bad(&self, reason: impl std::fmt::Display) -> Bad {
        bad(self.group, self.key, reason)
    }

    /// An unsigned decimal number. GLib lets white space follow.
    fn number<T: TryFrom<u64>>(&self) -> Result<T, Bad> {
        let digits = self.text.trim_end_matches([' ', '\t']);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number =
            plain.then(|| digits.parse::<u64>().ok()).flatten().and_then(|value| T::try_from(value).ok());
        let bits = size_of::<T>() * 8;
        number.ok_or_else(|| self.bad(format!("is not a decimal number of {bits} bits without sign")))
    }

    fn flag(&self) -> Result<bool, Bad> {
        match self.text.trim_end_matches([' ', '\t']) {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(self.bad("is neither true nor false")),
        }
    }

    /// Sixteen octets as digits of either case, with `0x` before them where an old file has that.
    fn octets(&self) -> Result<Zeroizing<[u8; 16]>, Bad> {
        let mut octets = Zeroizing::new([0; 16]);
        let digits = self.text.strip_prefix("0x").unwrap_or(self.text);
        hex::decode_to_slice(digits, &mut *octets)
            .map_err(|_| self.bad("is not 16 octets as 32 hexadecimal digits"))?;
        Ok(octets)
    }

    fn key(&self) -> Result<KeyMaterial, Bad> {
        KeyMaterial::new(*self.octets()?).map_err(|error| self.bad(error))
    }

    /// A number in decimal, or in old files its octets behind `0x`.
    fn rand(&self) -> Result<[u8; 8], Bad> {
        let Some(digits) = self.text.strip_prefix("0x") else {
            return Ok(self.number::<u64>()?.to_le_bytes());
        };
        let mut octets = [0; 8];
        hex::decode_to_slice(digits, &mut octets)
            .map_err(|_| self.bad("is not 8 octets as 16 hexadecimal digits"))?;
        Ok(octets)
    }

    /// A name. bluetoothd overruns a buffer with a longer one.
    fn name(&self) -> Result<String, Bad> {
        let name =
            keyfile::unescaped(self.text).ok_or_else(|| self.bad("has an escape that means nothing"))?;
        if name.len() > NAME_OCTETS_MAX {
            return Err(self.bad(format!("is longer than {NAME_OCTETS_MAX} octets")));
        }
        Ok(name)
    }
}

fn bad(group: &str, key: &str, reason: impl std::fmt::Display) -> Bad {
    Bad { place: format!("[{}] {key}", keyfile::shown(group)), reason: reason.to_string() }
}

/// Puts the place of a shared check's refusal into this format's words.
fn at<'a>(value: &'a Value<'_>) -> impl Fn(Bad) -> Bad + 'a {
    |refusal| value.bad(refusal.reason)
}

/// Reads an `info`.
pub(super) fn read_info(
    bytes: &[u8],
    adapter: Option<AdapterAddress>,
    folder: FolderAddress,
    now: UnixMillis,
) -> Result<Draft, Bad> {
    let file = KeyFile::parse(bytes)?;
    let general = file.group(GENERAL);
    let kind = general.and_then(|group| Value::of(group, "AddressType"));
    let kind = kind.as_ref().map(|value| match value.text {
        "public" => Ok(PeerAddressType::Public),
        "static" => Ok(PeerAddressType::StaticRandom),
        _ => Err(value.bad("is neither public nor static")),
    });
    let kind = kind.transpose()?;
    let named: NamedPeer = check::named_peer(folder, kind.unwrap_or(PeerAddressType::Public))
        .map_err(|refusal| bad(GENERAL, "AddressType", refusal.reason))?;
    let mut draft = Draft::new(adapter, named, now);
    read_le_keys(&file, &mut draft)?;
    if draft.bond.has_le_keys() && kind.is_none() {
        return Err(bad(GENERAL, "AddressType", "is missing beside keys of LE"));
    }
    if let Some(group) = file.group(LINK_KEY) {
        if kind == Some(PeerAddressType::StaticRandom) {
            return Err(bad(LINK_KEY, "Key", "belongs to a public address, and the peer's is static random"));
        }
        draft.bond.link_key = Some(read_link_key(group)?);
    }
    if let Some(group) = general {
        read_general(group, &mut draft)?;
    }
    keep_the_rest(&file, &mut draft);
    Ok(draft)
}

fn read_le_keys(file: &KeyFile<'_>, draft: &mut Draft) -> Result<(), Bad> {
    let mut ltks = Vec::new();
    if let Some(group) = file.group(LTK_CENTRAL) {
        let ltk = read_ltk(group, Role::Central)?;
        if ltk.key_type.is_secure_connections() {
            draft.report.assume("ltk", "a Secure Connections key under LongTermKey serves both roles");
        }
        ltks.push(ltk);
    }
    let peripheral = file.group(LTK_PERIPHERAL).map(|group| read_ltk(group, Role::Peripheral)).transpose()?;
    let old = file.group(LTK_PERIPHERAL_OLD).map(|group| read_ltk(group, Role::Peripheral)).transpose()?;
    if let (Some(one), Some(other)) = (&peripheral, &old)
        && one != other
    {
        let reason = "is another key than PeripheralLongTermKey, which hides it: remove the wrong one";
        return Err(bad(LTK_PERIPHERAL_OLD, "Key", reason));
    }
    ltks.extend(peripheral.or(old).filter(|ltk| !ltks.contains(ltk)));
    draft.put_ltks(ltks);
    if let Some(group) = file.group(IRK) {
        draft.bond.irk = Some(read_irk(group, "Key")?);
    }
    draft.bond.csrk_local = file.group(LOCAL_CSRK).map(read_csrk).transpose()?;
    draft.bond.csrk_remote = file.group(REMOTE_CSRK).map(read_csrk).transpose()?;
    if let Some(group) = file.group(CONNECTION_PARAMETERS) {
        let number = |key| Value::required(group, key).and_then(|value| value.number::<u16>());
        draft.bond.connection_parameters = Some(ConnectionParameters {
            min_interval: number("MinInterval")?,
            max_interval: number("MaxInterval")?,
            latency: number("Latency")?,
            supervision_timeout: number("Timeout")?,
        });
    }
    Ok(())
}

fn read_ltk(group: &Group<'_>, role: Role) -> Result<Ltk, Bad> {
    let value = Value::required(group, "Key")?;
    let key = check::ltk(*value.octets()?).map_err(at(&value))?;
    let value = Value::required(group, "Authenticated")?;
    let key_type =
        value.number::<u8>().and_then(|code| KeyType::from_code(code).map_err(|error| value.bad(error)))?;
    let value = Value::required(group, "EncSize")?;
    let size =
        value.number::<u8>().and_then(|size| EncryptionSize::new(size).map_err(|error| value.bad(error)))?;
    let ediv_value = Value::required(group, "EDiv")?;
    let ediv = ediv_value.number::<u16>()?;
    let rand_value = Value::required(group, "Rand")?;
    let rand = rand_value.rand()?;
    if key_type.is_secure_connections() {
        let wrong = if ediv == 0 { &rand_value } else { &ediv_value };
        check::no_diversifier(ediv, rand).map_err(at(wrong))?;
    }
    Ok(Ltk::new(key_type, role, size, ediv, rand, key))
}

fn read_irk(group: &Group<'_>, key: &'static str) -> Result<Irk, Bad> {
    let value = Value::required(group, key)?;
    check::irk(*value.octets()?).map_err(at(&value))
}

fn read_csrk(group: &Group<'_>) -> Result<Csrk, Bad> {
    let counter = Value::of(group, "Counter").map(|value| value.number::<u32>()).transpose()?;
    Ok(Csrk {
        key: Value::required(group, "Key")?.key()?,
        authenticated: Value::of(group, "Authenticated").map(|value| value.flag()).transpose()?,
        counter: counter.map(u64::from),
    })
}

fn read_link_key(group: &Group<'_>) -> Result<LinkKey, Bad> {
    let value = Value::required(group, "Type")?;
    let code = value.number::<u8>()?;
    let key_type = LinkKeyType::from_code(code).map_err(|error| value.bad(error))?;
    let pin_length = match Value::of(group, "PINLength") {
        None => None,
        Some(value) => match value.number::<u8>()? {
            length @ 0..=16 => Some(length),
            _ => return Err(value.bad("is longer than the 16 octets that a PIN may have")),
        },
    };
    Ok(LinkKey { key: Value::required(group, "Key")?.key()?, key_type, pin_length })
}

fn read_general(group: &Group<'_>, draft: &mut Draft) -> Result<(), Bad> {
    draft.bond.metadata.name = Value::of(group, "Name").map(|value| value.name()).transpose()?;
    let details = &mut draft.details;
    details.alias = Value::of(group, "Alias").map(|value| value.name()).transpose()?;
    details.trusted = Value::of(group, "Trusted").map(|value| value.flag()).transpose()?;
    details.blocked = Value::of(group, "Blocked").map(|value| value.flag()).transpose()?;
    let Some(services) = Value::of(group, "Services") else { return Ok(()) };
    let reason = "is not a list of 128-bit UUIDs with a semicolon after each";
    let all = services.text.split_terminator(';').map(uuid).collect::<Option<Vec<ServiceUuid>>>();
    let mut all = all.ok_or_else(|| services.bad(reason))?;
    if all.len() > SERVICES_MAX {
        all.truncate(SERVICES_MAX);
        draft.report.drop("services", "more than are kept of one peer");
    }
    draft.details.services = all;
    Ok(())
}

/// What has no meaning here goes back into the same place of an export.
fn keep_the_rest(file: &KeyFile<'_>, draft: &mut Draft) {
    let derived = Technologies::of(&draft.bond).as_str();
    for group in &file.groups {
        let known = known_keys(group.name);
        let is_kept = |entry: &&Entry<'_>| {
            let is_derived = entry.key == "SupportedTechnologies" && entry.value == derived;
            !(known.contains(&entry.key) || (group.name == GENERAL && is_derived))
        };
        let kept = || group.entries.iter().filter(is_kept);
        if group.entries.is_empty() || kept().next().is_some() {
            let body = keyfile::body(kept());
            draft.keep(FormatId::Bluez.as_str(), group.name.to_owned(), body);
        }
    }
}

/// Reads an adapter's `identity`: the key under which it makes its own private addresses.
pub(super) fn read_identity(bytes: &[u8]) -> Result<Option<LocalIdentity>, Bad> {
    let file = KeyFile::parse(bytes)?;
    let Some(group) = file.group(GENERAL).filter(|group| group.get(ADAPTER_IRK).is_some()) else {
        return Ok(None);
    };
    Ok(Some(LocalIdentity { irk: read_irk(group, ADAPTER_IRK)?, privacy: None }))
}
