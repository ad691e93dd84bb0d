//! Where the kernel is found: here, or played by a simulator.

#![forbid(unsafe_code)]

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The other end of a management socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Endpoint {
    #[default]
    Kernel,
    /// A directory that holds the simulator's listening sockets `control` and `monitor`. Each takes
    /// sequenced packets, one frame a packet, as the kernel's sockets do.
    Unix(PathBuf),
}

/// Which of the kernel's channels. [LINUX include/net/bluetooth/hci_sock.h HCI_CHANNEL_*]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Management commands and events.
    Control,
    /// What every process does. Needs CAP_NET_RAW.
    Monitor,
}

impl Channel {
    /// The kernel's number.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Monitor => 2,
            Self::Control => 3,
        }
    }

    /// The simulator's socket.
    pub(super) const fn file_name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Monitor => "monitor",
        }
    }
}

/// Text that names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint is `kernel` or `unix:` and the path of a directory")]
pub struct EndpointSyntax;

impl FromStr for Endpoint {
    type Err = EndpointSyntax;

    fn from_str(text: &str) -> Result<Self, EndpointSyntax> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            None if text == "kernel" => Ok(Self::Kernel),
            _ => Err(EndpointSyntax),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_read_as_it_is_written() {
        for text in ["kernel", "unix:/tmp/simulator"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "tcp:1", "Kernel"] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointSyntax), "{text}");
        }
    }
}
