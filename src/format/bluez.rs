//! The folder in which BlueZ keeps its adapters (`/var/lib/bluetooth`), or one `info` of it.
//!
//! | file | what |
//! |---|---|
//! | `<adapter>/<peer>/info` | one peer, see [`read`] and [`write`] |
//! | `<adapter>/identity` | `[General] IdentityResolvingKey`, 32 digits: the adapter's own IRK |
//!
//! `<adapter>` is an address in capitals, with `static-` before it where the adapter's identity is a static random address.
//! All else in the folder belongs to bluetoothd alone and is passed over. Keys are hexadecimal digits in
//! the order of the management structures, `Rand` and `EDiv` decimal numbers. [BLUEZ `src/device.c`,
//! `src/adapter.c`, `doc/settings-storage.txt`]
//!
//! bluetoothd bends what it cannot read: a short key is dropped, a size is taken as it is, digits that are none become
//! zeros. All of that is refused here, with its file, group and key. It rewrites files from memory, so its folder may only be changed while it is stopped.

use super::draft::refuse;
use super::json::Bad;
use super::report::{PeerReport, Report};
use super::tree::{TAR_OCTETS_MAX, looks_like_tar};
use super::{
    Codec, Content, ExportAdapter, ExportOptions, Exported, FormatError, FormatId, ImportOptions, Imported,
    ImportedAdapter, Input, OptionSpec, Probe, Tree,
};
use crate::bond::table::BONDS_PER_ADAPTER_MAX;
use crate::bond::{AdapterAddress, Bond, ServiceUuid};

mod keyfile;
mod read;
mod write;

const GENERAL: &str = "General";
const LTK_CENTRAL: &str = "LongTermKey";
const LTK_PERIPHERAL: &str = "PeripheralLongTermKey";
/// Its name before BlueZ 5.63; newer releases write both.
const LTK_PERIPHERAL_OLD: &str = "SlaveLongTermKey";
const IRK: &str = "IdentityResolvingKey";
const LOCAL_CSRK: &str = "LocalSignatureKey";
const REMOTE_CSRK: &str = "RemoteSignatureKey";
const LINK_KEY: &str = "LinkKey";
const CONNECTION_PARAMETERS: &str = "ConnectionParameters";
/// In an adapter's `identity`.
const ADAPTER_IRK: &str = "IdentityResolvingKey";

const LTK_KEYS: &[&str] = &["Key", "Authenticated", "EncSize", "EDiv", "Rand"];

/// Groups with the keys that have a meaning here.
const KNOWN_KEYS: [(&str, &[&str]); 9] = [
    (GENERAL, &["Name", "Alias", "AddressType", "Trusted", "Blocked", "Services"]),
    (LINK_KEY, &["Key", "Type", "PINLength"]),
    (LOCAL_CSRK, &["Key", "Counter", "Authenticated"]),
    (REMOTE_CSRK, &["Key", "Counter", "Authenticated"]),
    (LTK_CENTRAL, LTK_KEYS),
    (LTK_PERIPHERAL, LTK_KEYS),
    (LTK_PERIPHERAL_OLD, LTK_KEYS),
    (IRK, &["Key"]),
    (CONNECTION_PARAMETERS, &["MinInterval", "MaxInterval", "Latency", "Timeout"]),
];

/// The order in which bluetoothd writes this group.
const GENERAL_ORDER: [&str; 13] = [
    "Name",
    "Alias",
    "Class",
    "Appearance",
    "AddressType",
    "SupportedTechnologies",
    "Trusted",
    "Blocked",
    "CablePairing",
    "WakeAllowed",
    "PreferredBearer",
    "LastUsedBearer",
    "Services",
];

/// Parts of a bond that the format carries, by the names of reports.
const CARRIES: &[&str] = &[
    "ltk",
    "irk",
    "csrk_local",
    "csrk_remote",
    "link_key",
    "conn_param",
    "name",
    "csrk_authenticated",
    "csrk_counter",
    "pin_length",
    "alias",
    "trusted",
    "blocked",
    "services",
    "local_irk",
];

const PEER: OptionSpec = OptionSpec {
    name: "peer",
    values: &[],
    meaning: "the peer's address, for a single info file: it does not say whose it is",
};

pub(super) const CODEC: Codec = Codec {
    word: "bluez",
    extension: "tar",
    input_octets_max: TAR_OCTETS_MAX,
    is_tree: true,
    import_options: &[PEER],
    export_options: &[],
    claims,
    import: Some(import),
    export,
};

/// What a peer is reached by.
#[derive(Clone, Copy, Default)]
struct Technologies {
    bredr: bool,
    le: bool,
}

impl Technologies {
    fn of(bond: &Bond) -> Self {
        let le = bond.has_le_keys() || bond.connection_parameters.is_some();
        Self { bredr: bond.link_key.is_some(), le }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [(true, false), (false, true), (true, true)].map(|(bredr, le)| Self { bredr, le });
        all.into_iter().find(|technologies| technologies.as_str() == text)
    }

    const fn and(self, other: Self) -> Self {
        Self { bredr: self.bredr || other.bredr, le: self.le || other.le }
    }

    const fn as_str(self) -> &'static str {
        match (self.bredr, self.le) {
            (true, true) => "BR/EDR;LE;",
            (true, false) => "BR/EDR;",
            (false, _) => "LE;",
        }
    }
}

fn known_keys(group: &str) -> &'static [&'static str] {
    KNOWN_KEYS.iter().find(|(name, _)| *name == group).map_or(&[], |(_, keys)| keys)
}

fn is_known_group(group: &str) -> bool {
    KNOWN_KEYS.iter().any(|(name, _)| *name == group)
}

/// A UUID of five groups of digits.
fn uuid(text: &str) -> Option<ServiceUuid> {
    let groups: Vec<_> = text.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    if groups.len() != lengths.len()
        || groups.iter().zip(lengths).any(|(group, length)| group.len() != length)
    {
        return None;
    }
    let mut uuid = [0; 16];
    hex::decode_to_slice(groups.concat(), &mut uuid).ok()?;
    Some(uuid)
}

/// The part of a path that BlueZ gives a meaning to.
enum Place<'a> {
    Info {
        adapter: &'a str,
        peer: AdapterAddress,
    },
    Identity {
        adapter: &'a str,
    },
    /// Anything else of an adapter.
    Other {
        adapter: &'a str,
    },
}

/// An adapter's folder: its address, and whether the adapter's identity is a static random one.
fn adapter_folder(name: &str) -> Option<(AdapterAddress, bool)> {
    let address = name.strip_prefix("static-");
    address.unwrap_or(name).parse().ok().map(|parsed| (parsed, address.is_some()))
}

impl<'a> Place<'a> {
    /// One folder may stand above those of the adapters.
    fn of(path: &'a str) -> Option<Self> {
        let names: Vec<_> = path.split('/').collect();
        let at = names.iter().take(2).position(|name| adapter_folder(name).is_some())?;
        let adapter = names[at];
        Some(match names[at + 1..] {
            ["identity"] => Self::Identity { adapter },
            [peer, "info"] => match peer.parse() {
                Ok(peer) => Self::Info { adapter, peer },
                Err(_) => Self::Other { adapter },
            },
            _ => Self::Other { adapter },
        })
    }

    const fn adapter(&self) -> &'a str {
        match self {
            Self::Info { adapter, .. } | Self::Identity { adapter } | Self::Other { adapter } => adapter,
        }
    }
}

/// A folder with a peer's `info`, an archive of one, or a key file with one of the groups that hold keys.
fn claims(probe: &Probe<'_>) -> bool {
    let holds_info =
        |tree: &Tree| tree.files().any(|(path, _)| matches!(Place::of(path), Some(Place::Info { .. })));
    match probe {
        Probe::Tree(tree) => holds_info(tree),
        Probe::Octets(bytes) if looks_like_tar(bytes) => {
            Tree::from_tar(bytes).is_ok_and(|tree| holds_info(&tree))
        }
        Probe::Octets(bytes) => keyfile::KeyFile::parse(bytes).is_ok_and(|file| {
            file.groups.iter().any(|group| group.name != GENERAL && is_known_group(group.name))
        }),
        Probe::Json(_) => false,
    }
}

fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    match input {
        Input::Tree(tree) => import_tree(tree, options),
        Input::Document(bytes) if looks_like_tar(bytes) => {
            let tree = Tree::from_tar(bytes).map_err(|error| FormatError::Invalid {
                place: "the archive".to_owned(),
                reason: error.to_string(),
            })?;
            import_tree(&tree, options)
        }
        Input::Document(bytes) => import_info(bytes, options),
    }
}

fn import_tree(tree: &Tree, options: &ImportOptions) -> Result<Imported, FormatError> {
    let mut imported = Imported::default();
    let mut folder = "";
    for (path, content) in tree.files() {
        let Some(place) = Place::of(path) else { continue };
        if place.adapter() != folder || imported.adapters.is_empty() {
            folder = place.adapter();
            begin_adapter(folder, &mut imported)?;
        }
        let Some(adapter) = imported.adapters.last_mut() else { continue };
        let outcome = match place {
            Place::Other { .. } => Ok(()),
            Place::Identity { .. } => {
                read::read_identity(content).map(|identity| adapter.local_identity = identity)
            }
            Place::Info { peer, .. } => {
                take_info(content, peer, path, options, adapter, &mut imported.report)
            }
        };
        if let Err(bad) = outcome {
            let place = format!("{path} {}", bad.place);
            refuse(&mut imported.report, Bad { place, reason: bad.reason });
        }
    }
    if imported.adapters.is_empty() {
        let reason = "it holds no adapter's folder; the folder that is meant is the one that holds those of the adapters";
        return Err(FormatError::WrongFormat { format: FormatId::Bluez, reason });
    }
    Ok(imported)
}

/// The paths come in order, so a folder comes again only where it is written in two ways.
fn begin_adapter(folder: &str, imported: &mut Imported) -> Result<(), FormatError> {
    let Some((address, is_static)) = adapter_folder(folder) else { return Ok(()) };
    if imported.adapters.iter().any(|adapter| adapter.address == Some(address)) {
        let reason = "has two folders".to_owned();
        return Err(FormatError::Invalid { place: address.to_string(), reason });
    }
    if is_static {
        imported.report.notes.push(format!(
            "{address} is a static random address: it is kept as an adapter's address like any other"
        ));
    }
    imported.adapters.push(ImportedAdapter { address: Some(address), ..ImportedAdapter::default() });
    Ok(())
}

/// A single `info` names neither its adapter nor its peer: the caller has to know both.
fn import_info(bytes: &[u8], options: &ImportOptions) -> Result<Imported, FormatError> {
    let invalid =
        |reason: &str| FormatError::Option { name: PEER.name.to_owned(), reason: reason.to_owned() };
    let peer = options.options.get(PEER.name).ok_or_else(|| {
        invalid("is missing: a single info file does not name its peer, whose address must be given")
    })?;
    let peer: AdapterAddress = peer.parse().map_err(|_| invalid("is no address"))?;
    let mut adapter =
        ImportedAdapter { address: options.adapter_of(None, true), ..ImportedAdapter::default() };
    let mut report = Report::default();
    if let Err(bad) = take_info(bytes, peer, "info", options, &mut adapter, &mut report) {
        refuse(&mut report, Bad { place: format!("info {}", bad.place), reason: bad.reason });
    }
    Ok(Imported { adapters: vec![adapter], report })
}

fn take_info(
    bytes: &[u8],
    peer: AdapterAddress,
    path: &str,
    options: &ImportOptions,
    adapter: &mut ImportedAdapter,
    report: &mut Report,
) -> Result<(), Bad> {
    if adapter.bonds.len() + adapter.unusable.len() >= BONDS_PER_ADAPTER_MAX {
        return Err(Bad::new(format!(
            "is beyond the {BONDS_PER_ADAPTER_MAX} bonds that an adapter may have"
        )));
    }
    let draft = read::read_info(bytes, adapter.address, peer.to_wire(), options.now)?;
    draft.settle(|| format!("{path} [{GENERAL}] AddressType"), adapter, report);
    Ok(())
}

fn export(adapters: &[ExportAdapter<'_>], _: &ExportOptions) -> Result<Exported, FormatError> {
    let mut tree = Tree::default();
    let mut report = Report::default();
    let mut bond_count = 0;
    for adapter in adapters {
        let address = adapter.named()?;
        report.note_adapter_losses(adapter, CODEC.word, CARRIES);
        if adapter.entries().next().is_none() && adapter.record.local_identity.is_none() {
            report.notes.push(format!("adapter {address} has neither a bond nor an IRK: it gets no folder"));
        }
        if let Some(identity) = &adapter.record.local_identity {
            let path = format!("{address}/identity");
            tree.insert(&path, write::write_identity(identity)).map_err(|_| FormatError::Write)?;
        }
        for (bond, _) in adapter.entries() {
            let mut peer = PeerReport::of_export(adapter.address, bond, CODEC.word, CARRIES);
            let path = format!("{address}/{}/info", bond.peer);
            if tree.get(&path).is_some() {
                lose(&mut peer, &mut report);
            } else {
                let info = write::write_info(bond, &mut peer);
                tree.insert(&path, info).map_err(|_| FormatError::Write)?;
                bond_count += 1;
            }
            report.peers.push(peer);
        }
    }
    Ok(Exported { content: Content::Tree(tree), bond_count, report })
}

/// Public comes before static random in a table, so it is the latter that has no place.
fn lose(peer: &mut PeerReport, report: &mut Report) {
    let reason = "BlueZ has one folder for an address, and the public one of the same digits is in it";
    for part in std::mem::take(&mut peer.taken) {
        peer.drop(part, reason);
    }
    report.lost_peers.push(peer.peer);
}

#[cfg(test)]
mod tests;
