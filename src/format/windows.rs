//! The part of a Windows registry that holds its bonds, as a `.reg` file.
//!
//! Below `…\Services\BTHPORT\Parameters`:
//!
//! | key | value | data | meaning |
//! |---|---|---|---|
//! | `Keys\<adapter>` | `<peer>` | 16 octets | BR/EDR link key |
//! | | `CentralIRK`, older `MasterIRK` | 16 octets | the adapter's own IRK |
//! | `Keys\<adapter>\<peer>` | `LTK` | 16 octets | in management order |
//! | | `KeyLength` | dword | 0 means 16 |
//! | | `EDIV`, `ERand` | dword, qword | both 0: Secure Connections |
//! | | `IRK` | 16 octets | most significant first, unlike everything else |
//! | | `Address`, `AddressType` | qword, dword | identity; 0 public, 1 random |
//! | | `CSRK`, `OutboundSignCounter` | 16 octets, dword | local CSRK |
//! | | `CSRKInbound`, `InboundSignCounter` | 16 octets, qword | remote CSRK; all ones: none received yet |
//! | `Devices\<peer>` | `Name`, `LEAddressType` | UTF-8 and a zero, dword | |
//!
//! `<adapter>` and `<peer>` are twelve digits. Types of keys are not kept, and of legacy keys only the central's. What
//! is written is keys only: Windows makes the devices for a peer's services at pairing, from
//! more than this.

use std::fmt;

use zeroize::Zeroizing;

use super::report::{PeerReport, Report};
use super::{
    Codec, Content, ExportAdapter, ExportOptions, Exported, FOREIGN_OCTETS_MAX, FormatError, FormatId,
    FormatOptions, ImportOptions, Imported, Input, OptionSpec, Probe,
};

mod keys;
mod read;
mod registry;
mod write;

/// The address that a key's name is, most significant octet first.
type Digits = [u8; 6];

/// In the names of opaque items: a value of the device and not of its keys.
const DEVICE_PREFIX: &str = "Devices\\";

const CARRIES: &[&str] =
    &["ltk", "irk", "csrk_local", "csrk_remote", "link_key", "name", "csrk_counter", "local_irk"];

const IRK_ORDER: OptionSpec = OptionSpec {
    name: "irk_order",
    values: &["reversed", "as_is"],
    meaning: "the order of an IRK's octets in the registry: most significant first (reversed, which is what is \
              known of Windows) or as everywhere else (as_is)",
};

const AUTHENTICATED: OptionSpec = OptionSpec {
    name: "authenticated",
    values: &["no", "yes"],
    meaning: "whether LTKs were made in a pairing that authenticated the peer, which the registry does not say",
};

const LINK_KEY_TYPE: OptionSpec = OptionSpec {
    name: "link_key_type",
    values: &["4", "5", "7", "8"],
    meaning: "the type of link keys, which the registry does not say (4 unless it is given)",
};

const ADDRESS_TYPE: OptionSpec = OptionSpec {
    name: "address_type",
    values: &["public", "random"],
    meaning: "the type of the addresses of peers for which the registry has none",
};

const CONTROL_SET: OptionSpec = OptionSpec {
    name: "control_set",
    values: &["CurrentControlSet", "ControlSet001", "ControlSet002"],
    meaning: "where the keys go: CurrentControlSet for a running Windows, another for a hive that is edited offline",
};

pub(super) const CODEC: Codec = Codec {
    word: "windows",
    extension: "reg",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[IRK_ORDER, AUTHENTICATED, LINK_KEY_TYPE, ADDRESS_TYPE],
    export_options: &[IRK_ORDER, CONTROL_SET],
    claims,
    import: Some(import),
    export,
};

/// The registry keys that are read.
enum Place {
    Adapter(Digits),
    Peer(Digits, Digits),
    Device(Digits),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adapter(adapter) => write!(f, "Keys\\{}", hex::encode(adapter)),
            Self::Peer(adapter, peer) => write!(f, "Keys\\{}\\{}", hex::encode(adapter), hex::encode(peer)),
            Self::Device(peer) => write!(f, "Devices\\{}", hex::encode(peer)),
        }
    }
}

/// What a registry key is, with the control set above it in lower case.
fn place_of(path: &str) -> Option<(String, Place)> {
    const PARAMETERS: &str = "\\services\\bthport\\parameters\\";
    let lower = path.to_ascii_lowercase();
    let at = lower.find(PARAMETERS)?;
    let place = match lower[at + PARAMETERS.len()..].split('\\').collect::<Vec<_>>()[..] {
        ["keys", adapter] => Place::Adapter(digits(adapter)?),
        ["keys", adapter, peer] => Place::Peer(digits(adapter)?, digits(peer)?),
        ["devices", peer] => Place::Device(digits(peer)?),
        _ => return None,
    };
    Some((lower[..at].to_owned(), place))
}

/// Twelve digits of an address, most significant octet first.
fn digits(name: &str) -> Option<Digits> {
    let mut octets = [0; 6];
    hex::decode_to_slice(name, &mut octets).ok()?;
    Some(octets)
}

fn is_reversed(options: &FormatOptions) -> bool {
    options.get(IRK_ORDER.name) != Some("as_is")
}

/// From the order of the registry into that of the management structures, and back.
fn irk_octets(octets: &[u8; 16], reversed: bool) -> Zeroizing<[u8; 16]> {
    let mut octets = Zeroizing::new(*octets);
    if reversed {
        octets.reverse();
    }
    octets
}

/// The signature is the first line of every registry file.
fn claims(probe: &Probe<'_>) -> bool {
    let Probe::Octets(bytes) = probe else { return false };
    let wide: Vec<u8> = registry::SIGNATURE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let narrow = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    narrow.starts_with(registry::SIGNATURE.as_bytes())
        || bytes.strip_prefix(b"\xFF\xFE").is_some_and(|units| units.starts_with(&wide))
}

fn import(input: Input<'_>, options: &ImportOptions) -> Result<Imported, FormatError> {
    let bytes = input.document(FormatId::Windows)?;
    let wrong = |reason| FormatError::WrongFormat { format: FormatId::Windows, reason };
    let text = registry::decoded(bytes).ok_or_else(|| wrong("it is broken UTF-16"))?;
    if !registry::has_signature(&text) {
        return Err(wrong("its first line is not \"Windows Registry Editor Version 5.00\""));
    }
    read::read(&text, options)
}

fn export(adapters: &[ExportAdapter<'_>], options: &ExportOptions) -> Result<Exported, FormatError> {
    let reversed = is_reversed(&options.options);
    let control_set = options.options.get(CONTROL_SET.name).unwrap_or(CONTROL_SET.values[0]);
    let mut report = Report::default();
    let note = "keys only: Windows shows the peers as paired, and makes the devices of their services only at a pairing";
    report.notes.push(note.to_owned());
    let mut writer = registry::Writer::new(write::room(adapters));
    let mut bond_count = 0;
    for adapter in adapters {
        report.note_adapter_losses(adapter, CODEC.word, CARRIES);
        let mut peers: Vec<PeerReport> = Vec::new();
        write::write_adapter(&mut writer, adapter, control_set, reversed, &mut peers, &mut report.notes)?;
        for peer in peers {
            if peer.taken.iter().all(|part| *part == "name") {
                report.lost_peers.push(peer.peer);
                report.peers.push(PeerReport { taken: Vec::new(), ..peer });
            } else {
                bond_count += 1;
                report.peers.push(peer);
            }
        }
    }
    Ok(Exported { content: Content::Document(writer.finish()), bond_count, report })
}

#[cfg(test)]
mod tests;
