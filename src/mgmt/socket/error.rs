//! Why a management socket could not be opened, and what its user can do about it.

#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use super::Channel;
use super::privilege::NamespaceEvidence;

/// Why a socket is not there. [`advice`](Self::advice) says how to get it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel hands out Bluetooth sockets in its first network namespace only.
    #[error("opening a Bluetooth socket: this process is not in the host's network namespace")]
    ForeignNetworkNamespace,
    #[error("opening a Bluetooth socket: this kernel has no Bluetooth support")]
    NoBluetooth,
    /// The kernel gives one number for both, and nothing readable tells them apart.
    #[error(
        "opening a Bluetooth socket: either this process is not in the host's network namespace, or the kernel has no Bluetooth support"
    )]
    NoBluetoothOrForeignNamespace,
    /// A security profile, not a capability: the kernel itself lets anybody make such a socket.
    #[error("opening a Bluetooth socket: forbidden by a security profile (AppArmor, SELinux or seccomp)")]
    Forbidden(#[source] io::Error),
    #[error("using the management channel: this process lacks the capability NET_ADMIN")]
    MissingNetAdmin,
    #[error("opening the monitor channel: this process lacks the capability NET_RAW")]
    MissingNetRaw,
    #[error("connecting to the simulator at {path}")]
    Simulator { path: PathBuf, source: io::Error },
    #[error("using {path} as a socket: the path is longer than a socket address holds")]
    PathTooLong { path: PathBuf },
    #[error("asking the kernel for our permissions: no answer within {0:?}")]
    NoAnswer(std::time::Duration),
    #[error("{operation}")]
    Io { operation: &'static str, source: io::Error },
}

const GIVE_NETWORK: &str = "Give it the host's network: `host_network: true` for an add-on, `--network host` for docker run, no PrivateNetwork= or NetworkNamespacePath= in a systemd unit.";
const GIVE_BLUETOOTH: &str =
    "Use a kernel with Bluetooth support (CONFIG_BT) and see that its module `bluetooth` can be loaded.";
const GIVE_EITHER: &str = "Give it the host's network (`host_network: true` for an add-on, `--network host` for docker run). If it has that already, use a kernel with Bluetooth support (CONFIG_BT) whose module `bluetooth` can be loaded.";
const GIVE_PROFILE: &str = "Let the profile allow `network bluetooth` and the capabilities NET_ADMIN and NET_RAW; for a test, run without the profile.";
const GIVE_NET_ADMIN: &str = "Give it NET_ADMIN on the host itself: `privileged: [NET_ADMIN]` for an add-on, `--network host --cap-add NET_ADMIN` for docker run (not rootless), `AmbientCapabilities=CAP_NET_ADMIN` in a systemd unit. Without it no key can be seen or loaded.";
const GIVE_NET_RAW: &str = "Give it NET_RAW on the host itself: `privileged: [NET_RAW]` for an add-on, `--cap-add NET_RAW` for docker run (not rootless), `AmbientCapabilities=CAP_NET_RAW` in a systemd unit. Without it other programs that load keys cannot be seen.";

impl SocketError {
    /// What to do about it, where there is something to do.
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::ForeignNetworkNamespace => Some(GIVE_NETWORK),
            Self::NoBluetooth => Some(GIVE_BLUETOOTH),
            Self::NoBluetoothOrForeignNamespace => Some(GIVE_EITHER),
            Self::Forbidden(_) => Some(GIVE_PROFILE),
            Self::MissingNetAdmin => Some(GIVE_NET_ADMIN),
            Self::MissingNetRaw => Some(GIVE_NET_RAW),
            Self::Simulator { .. } | Self::PathTooLong { .. } | Self::NoAnswer(_) | Self::Io { .. } => None,
        }
    }

    /// `socket()` failed.
    pub(super) fn from_creation(source: io::Error, evidence: impl FnOnce() -> NamespaceEvidence) -> Self {
        match source.raw_os_error() {
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => evidence().explain(),
            Some(libc::EACCES | libc::EPERM) => Self::Forbidden(source),
            _ => Self::Io { operation: "opening a Bluetooth socket", source },
        }
    }

    /// `bind()` failed.
    pub(super) fn from_binding(source: io::Error, channel: Channel) -> Self {
        match (source.raw_os_error(), channel) {
            (Some(libc::EPERM | libc::EACCES), Channel::Control) => Self::MissingNetAdmin,
            (Some(libc::EPERM | libc::EACCES), Channel::Monitor) => Self::MissingNetRaw,
            (_, Channel::Control) => Self::Io { operation: "binding to the control channel", source },
            (_, Channel::Monitor) => Self::Io { operation: "binding to the monitor channel", source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn a_refused_binding_names_the_capability_of_its_channel() {
        let control = SocketError::from_binding(os(libc::EPERM), Channel::Control);
        assert!(matches!(control, SocketError::MissingNetAdmin));
        let monitor = SocketError::from_binding(os(libc::EPERM), Channel::Monitor);
        assert!(matches!(monitor, SocketError::MissingNetRaw));
        let other = SocketError::from_binding(os(libc::ENODEV), Channel::Monitor);
        assert!(matches!(other, SocketError::Io { .. }));
    }

    #[test]
    fn a_refused_creation_is_a_profile_or_a_namespace() {
        let evidence = || NamespaceEvidence { bluetooth_in_sysfs: Some(true), same_as_init: None };
        let foreign = SocketError::from_creation(os(libc::EAFNOSUPPORT), evidence);
        assert!(matches!(foreign, SocketError::ForeignNetworkNamespace));
        let profile = SocketError::from_creation(os(libc::EACCES), evidence);
        assert!(matches!(profile, SocketError::Forbidden(_)));
    }

    #[test]
    fn whatever_a_user_can_mend_comes_with_advice() {
        assert!(SocketError::MissingNetAdmin.advice().unwrap().contains("NET_ADMIN"));
        assert!(SocketError::MissingNetRaw.advice().unwrap().contains("NET_RAW"));
        assert!(SocketError::ForeignNetworkNamespace.advice().unwrap().contains("host_network"));
        assert!(SocketError::NoBluetoothOrForeignNamespace.advice().unwrap().contains("CONFIG_BT"));
    }
}
