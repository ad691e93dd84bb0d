//! bluetoothd's objects → paired peers. [BLUEZ doc/org.bluez.Device.rst, doc/org.bluez.Adapter.rst]

use std::collections::BTreeMap;

use crate::adapter::messages::PairedPeers;
use crate::bond::{AdapterAddress, PeerAddress, PeerAddressType};

/// Octets of a name that are kept. [CORE Vol 4 Part E 7.3.11]
const NAME_OCTETS_MAX: usize = 248;

/// One property, as far as any is of use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    Text(String),
    Flag(bool),
    Other,
}

/// Object path → interface → property.
pub type Objects = BTreeMap<String, BTreeMap<String, BTreeMap<String, Property>>>;

/// The paired peers of every adapter that bluetoothd manages.
pub fn paired(objects: &Objects) -> BTreeMap<AdapterAddress, PairedPeers> {
    let mut adapters: BTreeMap<&str, AdapterAddress> = BTreeMap::new();
    for (path, interfaces) in objects {
        let address = interfaces.get("org.bluez.Adapter1").and_then(|adapter| text(adapter, "Address"));
        if let Some(address) = address.and_then(|address| address.parse().ok()) {
            adapters.insert(path, address);
        }
    }
    let mut found: BTreeMap<AdapterAddress, PairedPeers> =
        adapters.values().map(|address| (*address, PairedPeers::default())).collect();
    for interfaces in objects.values() {
        let Some(device) = interfaces.get("org.bluez.Device1") else { continue };
        if device.get("Paired") != Some(&Property::Flag(true)) {
            continue;
        }
        let adapter = text(device, "Adapter").and_then(|path| adapters.get(path));
        let Some(peers) = adapter.and_then(|address| found.get_mut(address)) else { continue };
        match peer(device) {
            Some(peer) => drop(peers.peers.insert(peer, name(device))),
            None => peers.unreadable_count += 1,
        }
    }
    found
}

fn text<'a>(properties: &'a BTreeMap<String, Property>, name: &str) -> Option<&'a str> {
    match properties.get(name) {
        Some(Property::Text(text)) => Some(text),
        _ => None,
    }
}

/// None for an address that is no identity: a peer that keeps its own to itself cannot be one of ours.
fn peer(device: &BTreeMap<String, Property>) -> Option<PeerAddress> {
    let kind = match text(device, "AddressType") {
        Some("random") => PeerAddressType::StaticRandom,
        // Older ones do not say it of BR/EDR devices, whose addresses are public.
        Some("public") | None => PeerAddressType::Public,
        Some(_) => return None,
    };
    PeerAddress::parse(text(device, "Address")?, kind).ok()
}

/// The name that the peer has given itself; the alias is the user's, and bluetoothd makes one up from the address.
fn name(device: &BTreeMap<String, Property>) -> Option<String> {
    let name = text(device, "Name")?;
    (!name.is_empty() && name.len() <= NAME_OCTETS_MAX).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "00:1A:7D:DA:71:11";

    fn object(
        interface: &str,
        properties: &[(&str, Property)],
    ) -> BTreeMap<String, BTreeMap<String, Property>> {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        BTreeMap::from([(interface.to_owned(), properties.collect())])
    }

    fn said(text: &str) -> Property {
        Property::Text(text.to_owned())
    }

    fn device(
        address: &str,
        kind: &str,
        paired: bool,
        name: &str,
    ) -> BTreeMap<String, BTreeMap<String, Property>> {
        let properties = [
            ("Adapter", said("/org/bluez/hci0")),
            ("Address", said(address)),
            ("AddressType", said(kind)),
            ("Paired", Property::Flag(paired)),
            ("Name", said(name)),
            ("RSSI", Property::Other),
        ];
        object("org.bluez.Device1", &properties)
    }

    fn objects(devices: &[BTreeMap<String, BTreeMap<String, Property>>]) -> Objects {
        let mut objects = Objects::new();
        objects.insert("/org/bluez/hci0".to_owned(), object("org.bluez.Adapter1", &[("Address", said(HUB))]));
        for (number, device) in devices.iter().enumerate() {
            objects.insert(format!("/org/bluez/hci0/dev_{number}"), device.clone());
        }
        objects
    }

    fn peers(devices: &[BTreeMap<String, BTreeMap<String, Property>>]) -> PairedPeers {
        paired(&objects(devices)).remove(&HUB.parse().unwrap()).unwrap()
    }

    #[test]
    fn only_paired_devices_count() {
        let found = peers(&[
            device("A4:C1:38:0B:1C:2D", "public", true, "Scale"),
            device("D4:12:43:9A:BC:DE", "random", true, ""),
            device("A4:C1:38:0B:1C:2E", "public", false, "Passer-by"),
        ]);
        let listed: Vec<_> =
            found.peers.iter().map(|(peer, name)| (peer.to_string(), name.as_deref())).collect();
        let wanted =
            [("A4:C1:38:0B:1C:2D".to_owned(), Some("Scale")), ("D4:12:43:9A:BC:DE".to_owned(), None)];
        assert_eq!(listed, wanted);
        assert_eq!(found.unreadable_count, 0);
    }

    #[test]
    fn a_paired_device_under_a_private_address_is_counted_and_not_named() {
        let found = peers(&[device("70:81:94:0D:FB:AA", "random", true, "Phone")]);
        assert_eq!((found.peers.len(), found.unreadable_count), (0, 1));
    }

    #[test]
    fn an_adapter_without_devices_is_an_empty_list_and_not_an_unknown_one() {
        assert_eq!(peers(&[]), PairedPeers::default());
        assert!(paired(&Objects::new()).is_empty());
    }

    #[test]
    fn a_device_of_an_adapter_that_is_not_listed_belongs_to_nobody() {
        let mut stray = device("A4:C1:38:0B:1C:2D", "public", true, "Scale");
        stray.get_mut("org.bluez.Device1").unwrap().insert("Adapter".to_owned(), said("/org/bluez/hci9"));
        assert_eq!(peers(&[stray]), PairedPeers::default());
    }
}
