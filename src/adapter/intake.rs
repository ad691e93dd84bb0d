//! The kernel's events in the words of the machine. Pure.

use super::machine::KernelEvent;
use crate::mgmt::{DisconnectReason, Event, Settings};

/// What an event means to the adapter; none where it means nothing.
pub fn kernel_event(event: Event) -> Option<KernelEvent> {
    Some(match event {
        Event::NewKey(report) => match (report.skip_reason(), report.record.key) {
            (None, Ok((peer, key))) => KernelEvent::Key { peer, key },
            (Some(reason), Ok((peer, key))) => KernelEvent::PassingKey { peer, key, reason: reason.code() },
            (_, Err(error)) => KernelEvent::Skipped { reason: error.code() },
        },
        // A private address that the kernel could not resolve names nobody.
        Event::DeviceConnected { address, data, .. } => {
            KernelEvent::Connected { peer: address.peer().ok(), name: data.name() }
        }
        // The kernel gives this reason when the peer had no key, and for nothing else that a link dies of.
        Event::DeviceDisconnected { address, reason } => KernelEvent::Disconnected {
            peer: address.peer().ok(),
            key_missing: reason == DisconnectReason::AuthenticationFailure,
        },
        Event::DeviceUnpaired { address } => {
            KernelEvent::Unpaired { peer: address.peer().ok()?, bredr: address.is_bredr() }
        }
        Event::NewSettings(settings) => {
            let privacy = settings.contains(Settings::PRIVACY);
            KernelEvent::Settings { powered: settings.is_powered(), privacy }
        }
        Event::LocalNameChanged { name, .. } => KernelEvent::Renamed(name),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mgmt::RawAddress;

    #[test]
    fn a_private_address_connects_nobody_in_particular() {
        let address =
            RawAddress { octets: [0xAA, 0xFB, 0x0D, 0x94, 0x81, 0x70], kind: RawAddress::LE_RANDOM };
        let event = Event::DeviceUnpaired { address };
        assert!(kernel_event(event).is_none());
        let data = crate::mgmt::event::AdvertisingData::default();
        let event = kernel_event(Event::DeviceConnected { address, flags: 0, data });
        assert!(matches!(event, Some(KernelEvent::Connected { peer: None, .. })));
    }

    #[test]
    fn new_settings_tell_of_power_and_privacy() {
        let on = kernel_event(Event::NewSettings(Settings::POWERED));
        assert!(matches!(on, Some(KernelEvent::Settings { powered: true, privacy: false })));
        let off = kernel_event(Event::NewSettings(Settings::PRIVACY));
        assert!(matches!(off, Some(KernelEvent::Settings { powered: false, privacy: true })));
    }
}
