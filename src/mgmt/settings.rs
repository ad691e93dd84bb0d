//! The settings of a controller: 32 bits, little endian.
//!
//! Source: `[MGMT Read Controller Information]`, `[LINUX include/net/bluetooth/mgmt.h MGMT_SETTING_*]`.

use std::fmt;

/// Which settings are on, or supported. Bits without a name are kept.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings(pub u32);

impl Settings {
    pub const POWERED: Self = Self(1 << 0);
    pub const CONNECTABLE: Self = Self(1 << 1);
    pub const FAST_CONNECTABLE: Self = Self(1 << 2);
    pub const DISCOVERABLE: Self = Self(1 << 3);
    pub const BONDABLE: Self = Self(1 << 4);
    pub const LINK_SECURITY: Self = Self(1 << 5);
    pub const SECURE_SIMPLE_PAIRING: Self = Self(1 << 6);
    pub const BREDR: Self = Self(1 << 7);
    pub const HIGH_SPEED: Self = Self(1 << 8);
    pub const LOW_ENERGY: Self = Self(1 << 9);
    pub const ADVERTISING: Self = Self(1 << 10);
    pub const SECURE_CONNECTIONS: Self = Self(1 << 11);
    pub const DEBUG_KEYS: Self = Self(1 << 12);
    pub const PRIVACY: Self = Self(1 << 13);
    pub const CONFIGURATION: Self = Self(1 << 14);
    pub const STATIC_ADDRESS: Self = Self(1 << 15);
    pub const PHY_CONFIGURATION: Self = Self(1 << 16);
    pub const WIDEBAND_SPEECH: Self = Self(1 << 17);

    const NAMES: [(Self, &'static str); 18] = [
        (Self::POWERED, "powered"),
        (Self::CONNECTABLE, "connectable"),
        (Self::FAST_CONNECTABLE, "fast_connectable"),
        (Self::DISCOVERABLE, "discoverable"),
        (Self::BONDABLE, "bondable"),
        (Self::LINK_SECURITY, "link_security"),
        (Self::SECURE_SIMPLE_PAIRING, "secure_simple_pairing"),
        (Self::BREDR, "bredr"),
        (Self::HIGH_SPEED, "high_speed"),
        (Self::LOW_ENERGY, "low_energy"),
        (Self::ADVERTISING, "advertising"),
        (Self::SECURE_CONNECTIONS, "secure_connections"),
        (Self::DEBUG_KEYS, "debug_keys"),
        (Self::PRIVACY, "privacy"),
        (Self::CONFIGURATION, "configuration"),
        (Self::STATIC_ADDRESS, "static_address"),
        (Self::PHY_CONFIGURATION, "phy_configuration"),
        (Self::WIDEBAND_SPEECH, "wideband_speech"),
    ];

    /// All of `wanted` are among these.
    pub const fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    pub const fn is_powered(self) -> bool {
        self.contains(Self::POWERED)
    }

    /// The names of the settings that are on and have one.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| name)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)?;
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_names_of_the_interface() {
        let settings = Settings(0x0000_8A91);
        let names: Vec<_> = settings.names().collect();
        assert_eq!(
            names,
            ["powered", "bondable", "bredr", "low_energy", "secure_connections", "static_address"]
        );
        assert!(settings.is_powered());
        assert!(!Settings(0x8000_0000).is_powered());
        assert!(!settings.contains(Settings(Settings::POWERED.0 | Settings::PRIVACY.0)));
    }
}
