//! Notes when the service's `fdatasync` calls return, and what its writes dirty. Preloaded into the measured process.
//!
//! Built by `benches/run.sh` into a shared library; no part of the product. Both files are on a memory file system, so that
//! they dirty no disk, and hold numbers of eight octets, little endian:
//!
//! * `SYNC_TIMES`, one a call: the monotonic clock in nanoseconds when an `fdatasync` has returned, or a `rename` to a file
//!   that holds the text in `RENAMED_HOLDS`.
//! * `WRITTEN`, two a call, and then what was written: the clock before a `pwrite`, and how much it is.
//! * `DIRTIED`, only one: the octets of all pages of 4 KiB that writes to files have touched so far. A page is counted
//!   for each write to it. The kernel's own count (`write_bytes`) has whole folios, 256 KiB for a record of 200 octets,
//!   of which the file system then writes one block.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int;
    fn lseek(fd: c_int, offset: i64, whence: c_int) -> i64;
}

const CLOCK_MONOTONIC: c_int = 1;

const SEEK_CUR: c_int = 1;
const STDERR: c_int = 2;
const PAGE: i64 = 4096;

/// fdatasync, write, pwrite64, renameat2.
#[cfg(target_arch = "x86_64")]
const CALLS: [c_long; 4] = [75, 1, 18, 316];
#[cfg(target_arch = "aarch64")]
const CALLS: [c_long; 4] = [83, 64, 68, 276];
const AT_FDCWD: c_int = -100;

static TIMES: OnceLock<Option<File>> = OnceLock::new();
static WRITTEN: OnceLock<Option<File>> = OnceLock::new();
static DIRTIED: OnceLock<Option<File>> = OnceLock::new();
static OCTETS: AtomicI64 = AtomicI64::new(0);

/// The file that this variable names; none where it is not set.
fn named(variable: &str) -> Option<File> {
    let path = std::env::var_os(variable)?;
    OpenOptions::new().create(true).write(true).append(variable != "DIRTIED").open(path).ok()
}

fn clock() -> i64 {
    let mut now = [0_i64; 2];
    // SAFETY: `now` has room for the two words of a timespec.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut now) };
    now[0] * 1_000_000_000 + now[1]
}

fn note_time(nanos: i64) {
    if let Some(mut out) = TIMES.get_or_init(|| named("SYNC_TIMES")).as_ref() {
        let _ = out.write_all(&nanos.to_le_bytes());
    }
}

/// So many octets were written, which end here. What is no file has no place in it.
fn note_write(fd: c_int, end: i64, written: i64) {
    if fd == STDERR || written <= 0 || end < written {
        return;
    }
    let Some(out) = DIRTIED.get_or_init(|| named("DIRTIED")).as_ref() else { return };
    let pages = (end - 1) / PAGE - (end - written) / PAGE + 1;
    let sum = OCTETS.fetch_add(pages * PAGE, Ordering::SeqCst) + pages * PAGE;
    let _ = out.write_all_at(&sum.to_le_bytes(), 0);
}

/// Takes the place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: takes numbers only.
    let outcome = unsafe { syscall(CALLS[0], fd) };
    note_time(clock());
    outcome as c_int
}

/// Takes the place of the C library's.
///
/// # Safety
///
/// As that one's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, from: *const c_void, count: usize) -> isize {
    // SAFETY: the caller's promise.
    let outcome = unsafe { syscall(CALLS[1], fd, from, count) };
    // Its own notes of times are written with this, too, and are no dirt on a disk.
    if count != 8 && outcome > 0 {
        // SAFETY: takes numbers only.
        let end = unsafe { lseek(fd, 0, SEEK_CUR) };
        note_write(fd, end, outcome);
    }
    outcome as isize
}

/// Takes the place of the C library's.
///
/// # Safety
///
/// As that one's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, from: *const c_void, count: usize, offset: i64) -> isize {
    if let Some(mut out) = WRITTEN.get_or_init(|| named("WRITTEN")).as_ref() {
        // SAFETY: the caller's promise.
        let octets = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), count) };
        let head = [clock().to_le_bytes(), (count as i64).to_le_bytes()];
        let _ = out.write_all(&[head.as_flattened(), octets].concat());
    }
    // SAFETY: the caller's promise.
    let outcome = unsafe { syscall(CALLS[2], fd, from, count, offset) };
    if count != 8 {
        note_write(fd, offset + outcome, outcome);
    }
    outcome as isize
}

/// Takes the place of the C library's.
///
/// # Safety
///
/// As that one's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let outcome = unsafe { syscall(CALLS[3], AT_FDCWD, from, AT_FDCWD, to, 0) };
    let Ok(text) = std::env::var("RENAMED_HOLDS") else { return outcome as c_int };
    let now = clock();
    // SAFETY: the call would have failed had it not been a text.
    let path = unsafe { CStr::from_ptr(to) }.to_string_lossy().into_owned();
    if outcome == 0 && std::fs::read_to_string(path).is_ok_and(|content| content.contains(&text)) {
        note_time(now);
    }
    outcome as c_int
}
