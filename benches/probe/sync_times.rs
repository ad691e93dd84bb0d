//! Notes when the service's `fdatasync` calls return. Preloaded into the measured process.
//!
//! Built by `benches/run.sh` into a shared library; no part of the product. One line a call goes to the
//! file that `SYNC_TIMES` names (on a memory file system, so that it dirties no disk): the monotonic clock in
//! nanoseconds, eight octets, little endian.

use std::ffi::{c_int, c_long};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
}

const CLOCK_MONOTONIC: c_int = 1;

#[cfg(target_arch = "x86_64")]
const SYS_FDATASYNC: c_long = 75;
#[cfg(target_arch = "aarch64")]
const SYS_FDATASYNC: c_long = 83;

static OUT: OnceLock<Option<File>> = OnceLock::new();

/// Takes the place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: takes numbers only.
    let outcome = unsafe { syscall(SYS_FDATASYNC, fd) };
    let mut now = [0_i64; 2];
    // SAFETY: `now` has room for the two words of a timespec.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut now) };
    let out = OUT.get_or_init(|| {
        let path = std::env::var_os("SYNC_TIMES")?;
        OpenOptions::new().create(true).append(true).open(path).ok()
    });
    if let Some(mut out) = out.as_ref() {
        let nanos = now[0] * 1_000_000_000 + now[1];
        let _ = out.write_all(&nanos.to_le_bytes());
    }
    outcome as c_int
}
