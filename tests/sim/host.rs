//! What the simulator shows of its host, and sees of it: the folder with its
//! sockets, the boot, the names of processes.

use std::path::Path;
use std::time::SystemTime;
use std::{fs, io};

use super::peer::Random;
use super::seqpacket::Conn;
use super::wire::hex;

/// Clears what an earlier simulator left and names this boot.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    for name in ["control", "monitor"] {
        ignore_missing(fs::remove_file(dir.join(name)))?;
    }
    for name in ["sysfs", "sysfs-gone"] {
        ignore_missing(fs::remove_dir_all(dir.join(name)))?;
    }
    fs::create_dir_all(dir.join("sysfs"))?;
    fs::write(dir.join("boot_id"), boot_id())
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Another one at each start, in the form of the kernel's.
fn boot_id() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut random = Random::new(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40);
    let text = hex(&random.octets::<16>());
    format!("{}-{}-{}-{}-{}\n", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// The name of the process at the other end, as the monitor channel shows it.
pub(super) fn process_name(conn: &Conn, own: &str) -> String {
    let Some(pid) = conn.peer_pid() else { return "unknown".to_owned() };
    if pid == std::process::id() {
        return own.to_owned();
    }
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim_end().to_owned())
}
