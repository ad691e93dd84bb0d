//! Entries → bonds.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::record::{Layout, Record};
use super::{
    BOND_COUNT, CODEC, IMPORT_LAYOUT, LOCAL_IRK, LOCAL_IRK_KEY, OUR_IRK, OUR_SECRETS, PEER_KEY_OCTETS,
    PEER_SECRETS,
};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{
    AdapterAddress, Csrk, EncryptionSize, KeyMaterial, KeyType, LocalIdentity, Ltk, PeerAddressType, Role,
};
use crate::format::draft::{Draft, keep};
use crate::format::json::{self, Bad, Json};
use crate::format::{
    FOREIGN_OCTETS_MAX, FormatError, FormatId, ImportOptions, Imported, ImportedAdapter, Input, Refused,
    base64, check,
};

/// Most entries: two for each peer, and what is not known.
const ENTRIES_MAX: usize = 2 * BONDS_PER_ADAPTER_MAX + 64;

type Octets = Zeroizing<Vec<u8>>;

/// The entries, of equal ones the last, by type and key. With each its number in the file.
type Entries = BTreeMap<(u8, Vec<u8>), (usize, Octets)>;

/// The two records of one peer, each with the number of its entry.
#[derive(Default)]
struct Pair {
    ours: Option<(usize, Record)>,
    theirs: Option<(usize, Record)>,
}

pub(super) fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let json = json::parse(input.document(FormatId::Aioble)?, FOREIGN_OCTETS_MAX)?;
    let reason = "it is not a list of entries";
    let wrong = FormatError::WrongFormat { format: FormatId::Aioble, reason };
    let list = json.as_list().map_err(|_| wrong)?;
    if list.len() > ENTRIES_MAX {
        return Err(Bad::new(format!("has more than {ENTRIES_MAX} entries")).into());
    }
    let mut imported = Imported::default();
    let mut refusals = Refusals::new();
    let entries = read_entries(list, &mut imported, &mut refusals);
    let address = options.adapter_of(None, true);
    let mut adapter = ImportedAdapter { address, ..ImportedAdapter::default() };
    let chosen = options.options.get(IMPORT_LAYOUT.name).and_then(Layout::by_name);
    let mut layouts: Vec<&'static str> = Vec::new();
    let mut pairs: BTreeMap<[u8; PEER_KEY_OCTETS], Pair> = BTreeMap::new();
    for ((kind, key), (at, value)) in entries {
        let outcome = match (kind, <[u8; PEER_KEY_OCTETS]>::try_from(key.as_slice())) {
            (LOCAL_IRK, _) if key == LOCAL_IRK_KEY => take_local_irk(&value, &mut adapter),
            (OUR_SECRETS | PEER_SECRETS, Ok(peer)) if Layout::has_length(value.len()) => {
                read_record(peer, &value, chosen).map(|(peer, layout, record)| {
                    if !layouts.contains(&layout.name) {
                        layouts.push(layout.name);
                    }
                    let pair = pairs.entry(peer).or_default();
                    let place = if kind == OUR_SECRETS { &mut pair.ours } else { &mut pair.theirs };
                    *place = Some((at, record));
                })
            }
            _ => {
                keep_unknown(kind, &key, value, at, &mut adapter, &mut imported);
                Ok(())
            }
        };
        if let Err(bad) = outcome {
            refusals.push((at, bad));
        }
    }
    if !layouts.is_empty() {
        let note = format!("the records have the layout {}", layouts.join(" and the layout "));
        imported.report.notes.push(note);
    }
    take_pairs(pairs, options, &mut adapter, &mut imported, &mut refusals);
    refusals.sort_by_key(|(at, _)| *at);
    imported.report.refused.extend(refusals.into_iter().map(|(at, bad)| refused(at, bad)));
    imported.adapters.push(adapter);
    Ok(imported)
}

/// What cannot be taken, each with the number of its entry.
type Refusals = Vec<(usize, Bad)>;

fn refused(at: usize, bad: Bad) -> Refused {
    let joint = if bad.place.is_empty() { "" } else { ", " };
    let place = format!("entry {at}{joint}{}", bad.place);
    Refused { place, peer: None, reason: bad.reason }
}

fn read_entries(list: &[Json], imported: &mut Imported, refusals: &mut Refusals) -> Entries {
    let mut entries = Entries::new();
    for (at, entry) in list.iter().enumerate() {
        match read_entry(entry) {
            Ok((kind, key, value)) => {
                let replaced = entries.insert((kind, key), (at, value));
                if let Some((earlier, _)) = replaced {
                    let note = format!(
                        "entry {earlier} is not taken: entry {at} is for the same thing, and the last one stands"
                    );
                    imported.report.notes.push(note);
                }
            }
            Err(bad) => refusals.push((at, bad)),
        }
    }
    entries
}

fn read_entry(entry: &Json) -> Result<(u8, Vec<u8>, Octets), Bad> {
    let [kind, key, value] = entry.as_list()? else {
        return Err(Bad::new("is not a list of type, key and value"));
    };
    let octets = |json: &Json, place: &str| {
        let text = json.as_text().map_err(|bad| bad.in_field(place))?;
        base64::decode(text).ok_or_else(|| Bad::new("is not base64 with its padding").in_field(place))
    };
    let kind = kind.as_integer::<u8>().map_err(|bad| bad.in_field("type"))?;
    Ok((kind, octets(key, "key")?.to_vec(), octets(value, "value")?))
}

fn take_local_irk(value: &[u8], adapter: &mut ImportedAdapter) -> Result<(), Bad> {
    let octets = <[u8; 16]>::try_from(value).map_err(|_| Bad::new("is not 16 octets"));
    let irk = octets.and_then(check::irk).map_err(|bad| bad.in_field("value"))?;
    adapter.local_identity = Some(LocalIdentity { irk, privacy: None });
    Ok(())
}

/// An entry whose meaning is not known here, or whose value has a length that no layout has.
fn keep_unknown(
    kind: u8,
    key: &[u8],
    value: Octets,
    at: usize,
    adapter: &mut ImportedAdapter,
    imported: &mut Imported,
) {
    let name = format!("{kind}:{}", hex::encode(key));
    let kept = keep(&mut adapter.opaque, CODEC.word, name, value);
    let outcome = if kept { "is kept as it is" } else { "is dropped: too much of that kind to keep" };
    imported.report.notes.push(format!("entry {at} has no meaning here and {outcome}"));
}

fn read_record(
    mut peer: [u8; PEER_KEY_OCTETS],
    octets: &[u8],
    chosen: Option<&'static Layout>,
) -> Result<([u8; PEER_KEY_OCTETS], &'static Layout, Record), Bad> {
    let in_value = |bad: Bad| bad.in_field("value");
    let layout = match chosen {
        Some(layout) if layout.octets != octets.len() => {
            let reason = format!(
                "is {} octets long and not the {} of layout {}",
                octets.len(),
                layout.octets,
                layout.name
            );
            return Err(in_value(Bad::new(reason)));
        }
        Some(layout) => layout,
        None => Layout::of(octets).map_err(in_value)?,
    };
    let record = layout.read(octets);
    let mut inner = record.peer;
    for kind in [&mut peer[0], &mut inner[0]] {
        // Types 2 and 3 are those of an identity behind a private address.
        *kind = match *kind {
            0 | 2 => 0,
            1 | 3 => 1,
            _ => return Err(Bad::new("has an address type that is none of 0 to 3")),
        };
    }
    if inner != peer {
        return Err(in_value(Bad::new("is about another peer than its key")));
    }
    Ok((peer, layout, record))
}

fn take_pairs(
    pairs: BTreeMap<[u8; PEER_KEY_OCTETS], Pair>,
    options: &ImportOptions,
    adapter: &mut ImportedAdapter,
    imported: &mut Imported,
    refusals: &mut Refusals,
) {
    for (peer, pair) in pairs {
        let at =
            [&pair.theirs, &pair.ours].into_iter().flatten().map(|(at, _)| *at).next().unwrap_or_default();
        match read_pair(peer, &pair, adapter.address, options) {
            Ok(mut draft) => {
                settle_local_irk(&pair, adapter, &mut draft);
                draft.settle(|| format!("entry {at}"), adapter, &mut imported.report);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
}

/// The local IRK that this peer was given. Without an entry of its own, the first peer's is taken for the adapter's.
fn settle_local_irk(pair: &Pair, adapter: &mut ImportedAdapter, draft: &mut Draft) {
    let Some(irk) = pair.ours.as_ref().and_then(|(_, record)| record.irk) else { return };
    draft.keep(CODEC.word, OUR_IRK.to_owned(), Zeroizing::new(irk.to_vec()));
    let Ok(irk) = check::irk(irk) else { return };
    match &adapter.local_identity {
        Some(identity) if identity.irk == irk => {}
        Some(_) => {
            draft.report.assume("local_irk", "the peer was given another local IRK than the adapter has now")
        }
        None => {
            draft.report.assume(
                "local_irk",
                "without an entry for it, the one that the first peer was given is the adapter's",
            );
            adapter.local_identity = Some(LocalIdentity { irk, privacy: None });
        }
    }
}

fn read_pair(
    peer: [u8; PEER_KEY_OCTETS],
    pair: &Pair,
    adapter: Option<AdapterAddress>,
    options: &ImportOptions,
) -> Result<Draft, (usize, Bad)> {
    let kind = if peer[0] == 0 { PeerAddressType::Public } else { PeerAddressType::StaticRandom };
    let first = pair.theirs.as_ref().or(pair.ours.as_ref()).map_or(0, |(at, _)| *at);
    let octets = std::array::from_fn(|at| peer[at + 1]);
    let named = check::named_peer(octets, kind).map_err(|bad| (first, bad.in_field("key")))?;
    let mut draft = Draft::new(adapter, named, options.now);
    let mut ltks = Vec::new();
    // Ours first: a Secure Connections key that both have is taken from the peer's record.
    for (role, side) in [(Role::Peripheral, &pair.ours), (Role::Central, &pair.theirs)] {
        let Some((at, record)) = side else { continue };
        ltks.extend(read_ltk(record, role).map_err(|bad| (*at, bad.in_field("value")))?);
        let csrk = record
            .csrk
            .map(|key| KeyMaterial::new(key).map_err(|error| (*at, Bad::new(error).in_field("value.csrk"))));
        // A counter that never counted is not told from one that is not kept.
        let counter = (record.sign_counter != 0).then_some(u64::from(record.sign_counter));
        let csrk = csrk.transpose()?.map(|key| Csrk { key, authenticated: None, counter });
        if role == Role::Peripheral {
            draft.bond.csrk_local = csrk;
        } else {
            draft.bond.csrk_remote = csrk;
            let irk = record.irk.map(check::irk).transpose();
            draft.bond.irk = irk.map_err(|bad| (*at, bad.in_field("value.irk")))?;
        }
    }
    let secure: Vec<&Ltk> = ltks.iter().filter(|ltk| ltk.key_type.is_secure_connections()).collect();
    if let [ours, theirs] = secure[..] {
        if ours != theirs {
            let reason = "holds another Secure Connections key than the other record of the peer";
            return Err((first, Bad::new(reason).in_field("value.ltk")));
        }
        ltks.pop();
    }
    draft.put_ltks(ltks);
    if [&pair.ours, &pair.theirs].into_iter().flatten().any(|(_, record)| record.has_more) {
        draft.report.drop("opaque", "octets of the record that none of its fields covers");
    }
    let count = [&pair.theirs, &pair.ours].into_iter().flatten().map(|(_, record)| record.bond_count).max();
    if let Some(count) = count.filter(|count| *count != 0) {
        draft.keep(CODEC.word, BOND_COUNT.to_owned(), Zeroizing::new(count.to_le_bytes().to_vec()));
    }
    Ok(draft)
}

fn read_ltk(record: &Record, role: Role) -> Result<Option<Ltk>, Bad> {
    let Some(key) = record.ltk else { return Ok(None) };
    let key = check::ltk(key).map_err(|bad| bad.in_field("ltk"))?;
    let size = EncryptionSize::new(record.key_size).map_err(|error| Bad::new(error).in_field("key_size"))?;
    if record.secure_connections {
        check::no_diversifier(record.ediv, record.rand)?;
    }
    let kind = match (record.secure_connections, record.authenticated) {
        (false, false) => KeyType::LegacyUnauthenticated,
        (false, true) => KeyType::LegacyAuthenticated,
        (true, false) => KeyType::P256Unauthenticated,
        (true, true) => KeyType::P256Authenticated,
    };
    Ok(Some(Ltk::new(kind, role, size, record.ediv, record.rand, key)))
}
