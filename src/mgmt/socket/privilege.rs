//! What this process may do, as /proc and /sys show it.
//!
//! A hint only: capabilities inside a user namespace look the same and count for nothing at the
//! Bluetooth sockets. The kernel's own answer is [`MgmtSocket::check_trust`](super::MgmtSocket::check_trust).

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use super::SocketError;

/// A capability of this process, by its number. [LINUX include/uapi/linux/capability.h]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// The management commands that read or change keys.
    NetAdmin = 12,
    /// The monitor channel.
    NetRaw = 13,
}

/// Whether the effective set holds it. `None`: /proc cannot tell.
pub fn has_capability(capability: Capability) -> Option<bool> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(effective_set(&status)? >> (capability as u32) & 1 == 1)
}

fn effective_set(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

/// What tells a foreign network namespace from a kernel without Bluetooth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceEvidence {
    /// /sys/class/bluetooth exists; none where /sys/class cannot be read. The kernel has tried to
    /// load its module by the time the socket is refused, so an absent class means no Bluetooth.
    pub bluetooth_in_sysfs: Option<bool>,
    /// Process 1 has the same network namespace. In a container process 1 is the container's own, so
    /// only a difference proves anything.
    pub same_as_init: Option<bool>,
}

impl NamespaceEvidence {
    /// Looks around.
    pub fn gather() -> Self {
        let sysfs = Path::new("/sys/class");
        let bluetooth_in_sysfs = sysfs.is_dir().then(|| sysfs.join("bluetooth").exists());
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let same_as_init = namespace("self").zip(namespace("1")).map(|(ours, init)| ours == init);
        Self { bluetooth_in_sysfs, same_as_init }
    }

    /// The likeliest reason of "address family not supported".
    pub fn explain(self) -> SocketError {
        match (self.bluetooth_in_sysfs, self.same_as_init) {
            (Some(true), _) | (_, Some(false)) => SocketError::ForeignNetworkNamespace,
            (Some(false), _) => SocketError::NoBluetooth,
            (None, _) => SocketError::NoBluetoothOrForeignNamespace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read_from_its_own_line() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000003000\nCapBnd:\t0\n";
        let set = effective_set(status).unwrap();
        assert_eq!(set >> (Capability::NetAdmin as u32) & 1, 1);
        assert_eq!(set >> (Capability::NetRaw as u32) & 1, 1);
        assert_eq!(set >> 11 & 1, 0);
        assert_eq!(effective_set("CapEff:\tzz"), None);
        assert_eq!(effective_set(""), None);
    }

    #[test]
    fn the_reason_follows_from_the_evidence() {
        let explain = |bluetooth_in_sysfs, same_as_init| {
            NamespaceEvidence { bluetooth_in_sysfs, same_as_init }.explain()
        };
        assert!(matches!(explain(Some(true), Some(true)), SocketError::ForeignNetworkNamespace));
        assert!(matches!(explain(Some(false), Some(false)), SocketError::ForeignNetworkNamespace));
        assert!(matches!(explain(Some(false), Some(true)), SocketError::NoBluetooth));
        assert!(matches!(explain(None, Some(true)), SocketError::NoBluetoothOrForeignNamespace));
    }
}
