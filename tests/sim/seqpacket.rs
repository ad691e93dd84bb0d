//! Unix sockets of type SOCK_SEQPACKET: whole frames, in order, as the kernel's
//! own Bluetooth sockets give them. `std` has no such type, so this is the one
//! file of the simulator with system calls in it.
//!
//! It must never wait while it sends: a kernel does not wait for a slow reader,
//! it drops.
#![allow(unsafe_code)]

use std::ffi::{OsStr, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The largest frame there is: a header and a 16-bit length of parameters.
pub const MAX_FRAME_OCTETS: usize = 6 + 0xFFFF;

/// Connections that may wait to be accepted.
const BACKLOG: c_int = 64;

/// One end of a connection. Shared by reference between threads.
#[derive(Debug)]
pub struct Conn(OwnedFd);

/// A listening socket.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// What came of a send that must not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Queued,
    /// The reader's queue is full.
    Dropped,
    /// The reader is gone.
    Closed,
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn new_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a descriptor the kernel has just handed out and nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(path: &Path) -> io::Result<libc::sockaddr_un> {
    // SAFETY: sockaddr_un is plain old data; all zeroes is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let octets = OsStr::as_bytes(path.as_os_str());
    if octets.len() >= address.sun_path.len() {
        let text = format!("{} is too long for a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for (to, from) in address.sun_path.iter_mut().zip(octets) {
        *to = *from as libc::c_char;
    }
    Ok(address)
}

const ADDRESS_OCTETS: libc::socklen_t = size_of::<libc::sockaddr_un>() as libc::socklen_t;

impl Listener {
    /// Listens at a path, which must not exist.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let fd = new_socket()?;
        let address = address(path)?;
        // SAFETY: `address` outlives the call and its length is the type's.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_OCTETS) })?;
        // SAFETY: no pointers.
        check(unsafe { libc::listen(fd.as_raw_fd(), BACKLOG) })?;
        Ok(Self(fd))
    }

    /// Waits for a client. Fails once [`Listener::close`] was called.
    pub fn accept(&self) -> io::Result<Conn> {
        // SAFETY: null for the peer's address is allowed.
        let fd = check(unsafe {
            let none = std::ptr::null_mut();
            libc::accept4(self.0.as_raw_fd(), none, std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        })?;
        // SAFETY: a descriptor the kernel has just handed out and nobody else owns.
        Ok(Conn(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Wakes the thread in [`Listener::accept`].
    pub fn close(&self) {
        shut(self.0.as_raw_fd());
    }
}

fn shut(fd: RawFd) {
    // SAFETY: no pointers. It fails only where the other side is gone: fine.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}

impl Conn {
    pub fn connect(path: &Path) -> io::Result<Self> {
        let fd = new_socket()?;
        let address = address(path)?;
        // SAFETY: `address` outlives the call and its length is the type's.
        check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const address).cast(), ADDRESS_OCTETS) })?;
        Ok(Self(fd))
    }

    /// Two ends of one connection.
    pub fn pair() -> io::Result<(Self, Self)> {
        let mut fds = [-1; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
        // SAFETY: `fds` is an array of two, as the call wants.
        check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
        // SAFETY: two descriptors the kernel has just handed out and nobody else owns.
        Ok(unsafe { (Self(OwnedFd::from_raw_fd(fds[0])), Self(OwnedFd::from_raw_fd(fds[1]))) })
    }

    /// Waits for one frame. An empty one means that the other end is closed.
    pub fn recv<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        loop {
            let to = buffer.as_mut_ptr().cast::<c_void>();
            // SAFETY: `to` is valid for `buffer.len()` octets for the length of the call.
            let count = unsafe { libc::recv(self.0.as_raw_fd(), to, buffer.len(), 0) };
            if count >= 0 {
                return Ok(&buffer[..count.unsigned_abs()]);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// True when there is something to receive within the time given.
    pub fn readable(&self, within: Duration) -> bool {
        let millis = within.as_millis().min(60_000) as c_int;
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, as the count says. A signal counts as "nothing yet".
        unsafe { libc::poll(&raw mut poll, 1, millis) > 0 }
    }

    /// Sends one frame or drops it.
    pub fn offer(&self, frame: &[u8]) -> Sent {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `frame` is valid for its length for the length of the call.
        let count = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), flags) };
        if count >= 0 {
            return Sent::Queued;
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::EMSGSIZE) => Sent::Dropped,
            _ => Sent::Closed,
        }
    }

    /// Bounds what may wait in the other end's queue (the sender pays for it here).
    pub fn bound_queue(&self, octets: usize) {
        let octets = octets as c_int;
        let length = size_of::<c_int>() as libc::socklen_t;
        let value = (&raw const octets).cast::<c_void>();
        // SAFETY: an int and its length. A kernel that clips the value is fine.
        unsafe { libc::setsockopt(self.0.as_raw_fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, value, length) };
    }

    /// The process at the other end, as it was when it connected.
    pub fn peer_pid(&self) -> Option<u32> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
        let to = (&raw mut credentials).cast::<c_void>();
        // SAFETY: `to` points to a ucred and `length` says so.
        check(unsafe { libc::getsockopt(self.0.as_raw_fd(), level, name, to, &raw mut length) }).ok()?;
        u32::try_from(credentials.pid).ok()
    }

    /// Ends the connection for both sides and wakes whoever waits in it.
    pub fn close(&self) {
        shut(self.0.as_raw_fd());
    }
}
