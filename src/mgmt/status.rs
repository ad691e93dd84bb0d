//! What a command came to, in the kernel's numbers and in words.
//!
//! Source: `[LINUX include/net/bluetooth/mgmt.h MGMT_STATUS_*]`.

use std::fmt;

macro_rules! statuses {
    ($($code:literal $name:ident $words:literal,)*) => {
        /// Status octet of Command Complete and Command Status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Status {
            $($name,)*
            /// A number that this version does not know.
            Unknown(u8),
        }

        impl Status {
            /// From the octet on the wire; every octet has a status.
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }

            /// The octet on the wire.
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Unknown(code) => code,
                }
            }

            /// What it means, in words.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                    Self::Unknown(_) => "unknown status",
                }
            }
        }
    };
}

statuses! {
    0x00 Success "success",
    0x01 UnknownCommand "unknown command",
    0x02 NotConnected "not connected",
    0x03 Failed "failed",
    0x04 ConnectFailed "connecting failed",
    0x05 AuthenticationFailed "authentication failed",
    0x06 NotPaired "not paired",
    0x07 NoResources "no resources",
    0x08 Timeout "time-out",
    0x09 AlreadyConnected "already connected",
    0x0A Busy "busy",
    0x0B Rejected "rejected",
    0x0C NotSupported "not supported",
    0x0D InvalidParameters "invalid parameters",
    0x0E Disconnected "disconnected",
    0x0F NotPowered "not powered",
    0x10 Cancelled "cancelled",
    0x11 InvalidIndex "invalid index",
    0x12 Blocked "blocked by rfkill",
    0x13 AlreadyPaired "already paired",
    0x14 PermissionDenied "permission denied",
}

impl Status {
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Success)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.words(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_keeps_its_number() {
        for code in 0..=u8::MAX {
            assert_eq!(Status::from_code(code).code(), code);
        }
        assert_eq!(Status::from_code(0x14), Status::PermissionDenied);
        assert_eq!(Status::from_code(0x15), Status::Unknown(0x15));
    }

    #[test]
    fn words_and_number_stand_together() {
        assert_eq!(Status::InvalidParameters.to_string(), "invalid parameters (0x0d)");
        assert_eq!(Status::Unknown(0x77).to_string(), "unknown status (0x77)");
    }
}
