//! IRKs as Home Assistant's integration "Private BLE Device" asks for them. Written only.
//!
//! A JSON list of `address`, `name` (null where it is not known) and `irk`: 32 digits, **most significant octet
//! first**, the reverse of every other place here. [Home Assistant `private_ble_device/config_flow.py`]

use super::json::{self, Json};
use super::report::{PeerReport, Report};
use super::{
    Codec, Content, ExportAdapter, ExportOptions, Exported, FOREIGN_OCTETS_MAX, FormatError, OptionSpec,
    base64,
};
use crate::bond::Irk;

const CARRIES: &[&str] = &["irk", "name"];

const IRK_FORM: OptionSpec = OptionSpec {
    name: "irk_form",
    values: &["hex", "base64"],
    meaning: "how an IRK is written: 32 digits, or the base64 that Home Assistant takes as well",
};

pub(super) const CODEC: Codec = Codec {
    word: "private-ble",
    extension: "json",
    input_octets_max: FOREIGN_OCTETS_MAX,
    is_tree: false,
    import_options: &[],
    export_options: &[IRK_FORM],
    claims: |_| false,
    import: None,
    export,
};

fn export(adapters: &[ExportAdapter<'_>], options: &ExportOptions) -> Result<Exported, FormatError> {
    let as_base64 = options.options.get(IRK_FORM.name) == Some("base64");
    let mut report = Report::default();
    let mut entries = Vec::new();
    for adapter in adapters {
        report.note_adapter_losses(adapter, CODEC.word, CARRIES);
        for (bond, _) in adapter.entries() {
            let mut peer = PeerReport::of_export(adapter.address, bond, CODEC.word, CARRIES);
            match &bond.irk {
                Some(irk) => entries.push(Json::object([
                    ("address", Json::text(bond.peer.to_string())),
                    ("name", bond.metadata.name.as_deref().map_or(Json::Null, Json::text)),
                    ("irk", irk_text(irk, as_base64)),
                ])),
                None => {
                    for part in std::mem::take(&mut peer.taken) {
                        peer.drop(part, "the peer has no IRK, and nothing else is written");
                    }
                    report.lost_peers.push(peer.peer);
                }
            }
            report.peers.push(peer);
        }
    }
    let bond_count = entries.len();
    let bytes = json::write(&Json::List(entries), Some(b"  "))?;
    Ok(Exported { content: Content::Document(bytes), bond_count, report })
}

/// Digits are most significant first; base64, in Home Assistant's reading, is not.
fn irk_text(irk: &Irk, as_base64: bool) -> Json {
    if as_base64 {
        return Json::Text(base64::encode(irk.key.expose()));
    }
    let mut digits = zeroize::Zeroizing::new(String::with_capacity(32));
    for octet in irk.key.expose().iter().rev() {
        digits.push(char::from(b"0123456789abcdef"[usize::from(octet >> 4)]));
        digits.push(char::from(b"0123456789abcdef"[usize::from(octet & 15)]));
    }
    Json::Text(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::testing::{metadata, secure_bond};
    use crate::bond::{AdapterRecord, Bond, KeyMaterial, PeerAddress, PeerAddressType};
    use crate::format::testing::round_trip;
    use crate::format::{self, FormatId, ImportOptions, Input};

    /// The sample of the Core Specification: this IRK resolves 70:81:94:0D:FB:AA. [CORE Vol 3 Part H D.7]
    fn sample() -> Bond {
        let mut octets = [0; 16];
        hex::decode_to_slice("9b7d390aa610103405adc857a33402ec", &mut octets).unwrap();
        let peer = PeerAddress::parse("C0:FF:EE:00:00:01", PeerAddressType::StaticRandom).unwrap();
        let mut bond = Bond::new(peer, metadata());
        bond.irk = Some(Irk { key: KeyMaterial::new(octets).unwrap() });
        bond.metadata.name = Some("a \"ring\"".to_owned());
        bond
    }

    fn written(words: &[(&str, &str)]) -> String {
        let exported =
            round_trip::export(FormatId::PrivateBle, &[sample()], &AdapterRecord::default(), words);
        assert_eq!(exported.bond_count, 1);
        String::from_utf8(exported.document().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn an_irk_is_written_as_the_specification_prints_it() {
        let expected = "[\n  {\n    \"address\": \"C0:FF:EE:00:00:01\",\n    \"name\": \"a \\\"ring\\\"\",\n    \
                        \"irk\": \"ec0234a357c8ad05341010a60a397d9b\"\n  }\n]";
        assert_eq!(written(&[]), expected);
        assert!(written(&[("irk_form", "base64")]).contains("\"irk\": \"m305CqYQEDQFrchXozQC7A==\""));
    }

    #[test]
    fn a_peer_without_irk_is_named() {
        let bond = secure_bond("C0:FF:EE:00:00:01", 1);
        let bonds = [bond.clone()];
        let exported = round_trip::export(FormatId::PrivateBle, &bonds, &AdapterRecord::default(), &[]);
        assert_eq!(exported.report.lost_peers, [bond.peer]);
        assert_eq!(exported.document().unwrap().as_slice(), b"[]");
    }

    #[test]
    fn it_is_never_read() {
        let error = format::import(FormatId::PrivateBle, Input::Document(b"[]"), &ImportOptions::default());
        assert_eq!(error.err(), Some(FormatError::ExportOnly(FormatId::PrivateBle)));
    }
}
