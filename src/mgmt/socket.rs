//! The management socket: the only IO of `mgmt/`, and the only `unsafe` of the crate.
//!
//! Raw system calls, because no crate knows the address of a Bluetooth socket. Every call is wrapped
//! in one small function whose safety does not depend on its callers. One datagram in is one frame;
//! one frame out is one datagram.
//!
//! Must never leave a socket without its filter while frames can arrive: the filter is attached
//! before the socket is bound. Must never run out of buffer silently: a cut frame is an error.
//! Driven by the actors that own a socket each.

#![allow(unsafe_code)]

mod endpoint;
mod error;
pub mod privilege;

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

pub use self::endpoint::{Channel, Endpoint, EndpointSyntax};
pub use self::error::SocketError;
use self::privilege::NamespaceEvidence;
use super::command::{FRAME_OCTETS_MAX, TRUST_PROBE, is_trusted};
use super::event::{Event, Incoming};
use super::filter::Instruction;
use super::frame::{INDEX_NONE, put_header};
use super::opcode::Opcode;

/// The name that the monitor channel shows for our sockets: the thread carries it while it binds.
pub const SOCKET_NAME: &str = "bondkeeper";

/// Bluetooth's protocol number for controllers. [LINUX include/net/bluetooth/bluetooth.h]
const BTPROTO_HCI: libc::c_int = 1;
const SOL_BLUETOOTH: libc::c_int = 274;
/// Largest frame that may be sent, since Linux 5.16.
const BT_SNDMTU: libc::c_int = 12;

/// What the kernel takes in one send until told otherwise (HCI_MAX_FRAME_SIZE): 28 LTKs.
pub const SEND_OCTETS_DEFAULT: usize = 1028;
/// What it is told: the option is a u16.
pub const SEND_OCTETS_RAISED: u16 = u16::MAX;

/// Room for what arrives while the service is busy. The kernel drops what does not fit without a
/// word, and its default held some 250 small events when measured.
const RECEIVE_BUFFER_OCTETS: libc::c_int = 2 * 1024 * 1024;

/// A monitor record of the longest command: its header, cookie and opcode in place of the command's own
/// header, so six octets more than the longest frame that can be sent.
const DATAGRAM_OCTETS_MAX: usize = FRAME_OCTETS_MAX;

/// Opcode of the frame that stands for BT_SNDMTU at the simulator, which no socket option reaches: for no
/// controller, one u16 parameter, little endian: the octets of the largest frame. The simulator sends
/// no reply and takes frames of 1,028 octets until it has come. The kernel is never sent this.
pub const SIMULATOR_RAISE_SEND_OCTETS: u16 = 0xFF01;

/// A socket, its reading half. Writing goes through [`MgmtSender`], which can be cloned; the socket
/// is closed when the last of them is gone.
pub struct MgmtSocket {
    sender: MgmtSender,
    /// Holds keys after a key event; wiped on drop.
    buffer: Zeroizing<Vec<u8>>,
}

/// The writing half of a socket.
#[derive(Clone)]
pub struct MgmtSender {
    fd: Arc<AsyncFd<OwnedFd>>,
    send_octets_max: usize,
}

impl MgmtSocket {
    /// Opens a socket that receives what `filter` lets through; an empty program lets everything. Must
    /// be called inside a tokio runtime. On the control channel a success does not mean that we are
    /// trusted: see [`check_trust`](Self::check_trust).
    pub fn open(endpoint: &Endpoint, channel: Channel, filter: &[Instruction]) -> Result<Self, SocketError> {
        let fd = match endpoint {
            Endpoint::Kernel => new_socket(libc::AF_BLUETOOTH, libc::SOCK_RAW, BTPROTO_HCI)
                .map_err(|source| SocketError::from_creation(source, NamespaceEvidence::gather))?,
            Endpoint::Unix(_) => new_socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)
                .map_err(|source| SocketError::Io { operation: "opening a Unix socket", source })?,
        };
        raise_receive_buffer(fd.as_fd());
        if !filter.is_empty() {
            attach_filter(fd.as_fd(), filter)
                .map_err(|source| SocketError::Io { operation: "attaching the socket filter", source })?;
        }
        match endpoint {
            Endpoint::Kernel => {
                bind_named(fd.as_fd(), channel).map_err(|error| SocketError::from_binding(error, channel))?;
            }
            Endpoint::Unix(directory) => connect(fd.as_fd(), directory.join(channel.file_name()))?,
        }
        let send_octets_max = match channel {
            Channel::Control => raise_send_octets(fd.as_fd(), endpoint)?,
            Channel::Monitor => SEND_OCTETS_DEFAULT,
        };
        // SAFETY: the descriptor is owned by the AsyncFd, and nothing takes it out or closes it before.
        let fd = unsafe { AsyncFd::register(fd) }.map_err(|error| SocketError::Io {
            operation: "watching the socket for readiness",
            source: error.into(),
        })?;
        let sender = MgmtSender { fd: Arc::new(fd), send_octets_max };
        Ok(Self { sender, buffer: Zeroizing::new(vec![0; DATAGRAM_OCTETS_MAX]) })
    }

    /// A writing half.
    pub fn sender(&self) -> MgmtSender {
        self.sender.clone()
    }

    /// Waits for one frame. Dropping the future loses nothing. An error of kind `InvalidData` has cost
    /// one frame and the socket goes on; any other one is its end.
    pub async fn recv(&mut self) -> io::Result<&[u8]> {
        let Self { sender, buffer } = self;
        let octets = sender.fd.async_io(Interest::READABLE, |fd| receive(fd.as_fd(), buffer)).await?;
        Ok(&self.buffer[..octets])
    }

    /// One frame if there is one now.
    pub fn try_recv(&mut self) -> io::Result<Option<&[u8]>> {
        match receive(self.sender.fd.as_fd(), &mut self.buffer) {
            Ok(octets) => Ok(Some(&self.buffer[..octets])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends one frame; see [`MgmtSender::send`].
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.sender.send(frame).await
    }

    /// Asks the kernel whether this control socket may see and load keys: binding succeeds without that.
    /// Only right after [`open`](Self::open), and with a filter that lets replies for no controller
    /// through: every other frame that comes meanwhile is dropped.
    pub async fn check_trust(&mut self, patience: Duration) -> Result<(), SocketError> {
        let answer = tokio::time::timeout(patience, self.ask_for_trust()).await;
        let trusted = answer.map_err(|_| SocketError::NoAnswer(patience))?;
        let operation = "asking the kernel for our permissions";
        match trusted.map_err(|source| SocketError::Io { operation, source })? {
            true => Ok(()),
            false => Err(SocketError::MissingNetAdmin),
        }
    }

    async fn ask_for_trust(&mut self) -> io::Result<bool> {
        self.send(&TRUST_PROBE.encode(INDEX_NONE)).await?;
        loop {
            let Ok(Incoming { index: INDEX_NONE, event }) = Incoming::decode(self.recv().await?) else {
                continue;
            };
            let (opcode, status) = match event {
                Event::CommandComplete(complete) => (complete.opcode, complete.status),
                Event::CommandStatus { opcode, status } => (opcode, status),
                _ => continue,
            };
            if opcode == Opcode::GET_CONNECTIONS {
                return Ok(is_trusted(status));
            }
        }
    }
}

impl MgmtSender {
    /// Octets of the largest frame that can be sent: 1,028 on kernels before 5.16.
    pub const fn send_octets_max(&self) -> usize {
        self.send_octets_max
    }

    /// Sends one frame as one datagram; waits while the socket's queue is full.
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.fd.async_io(Interest::WRITABLE, |fd| transmit(fd.as_fd(), frame)).await
    }

    /// Sends one frame now or fails with `WouldBlock`. The kernel's own sockets never make one wait.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        transmit(self.fd.as_fd(), frame)
    }
}

/// The address of a Bluetooth socket. [LINUX include/net/bluetooth/hci_sock.h sockaddr_hci]
#[repr(C)]
struct HciAddress {
    family: libc::sa_family_t,
    device: u16,
    channel: u16,
}

/// The result of a system call that says -1 for an error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn new_socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let fd = check(unsafe { libc::socket(family, kind, protocol) })?;
    // SAFETY: `fd` was made by the call above and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option<T>(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let octets = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `octets` octets from a live reference of that size.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(value).cast(), octets) })?;
    Ok(())
}

/// As much as the kernel allows: past the system's limit only with CAP_NET_ADMIN. A smaller buffer is
/// no reason to fail, what is lost in it is found again by re-reading.
fn raise_receive_buffer(fd: BorrowedFd<'_>) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        if set_option(fd, libc::SOL_SOCKET, option, &RECEIVE_BUFFER_OCTETS).is_ok() {
            return;
        }
    }
}

fn attach_filter(fd: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|one| libc::sock_filter {
            code: one.code,
            jt: one.jump_true,
            jf: one.jump_false,
            k: one.operand,
        })
        .collect();
    let len = u16::try_from(filter.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // `filter` outlives the call, and the kernel copies the program during it.
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Binds while this thread carries our name: the kernel notes it at this moment.
fn bind_named(fd: BorrowedFd<'_>, channel: Channel) -> io::Result<()> {
    let address = HciAddress {
        family: libc::AF_BLUETOOTH as libc::sa_family_t,
        device: INDEX_NONE,
        channel: channel.number(),
    };
    let _name = ThreadName::borrow(SOCKET_NAME);
    let octets = mem::size_of::<HciAddress>() as libc::socklen_t;
    // SAFETY: the kernel reads `octets` octets from a live value of that size.
    check(unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), octets) })?;
    Ok(())
}

fn unix_address(path: &Path) -> Option<libc::sockaddr_un> {
    // SAFETY: sockaddr_un is plain numbers, for which all zeros is a value.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let octets = path.as_os_str().as_bytes();
    // The last octet stays zero.
    if octets.len() >= address.sun_path.len() {
        return None;
    }
    for (target, octet) in address.sun_path.iter_mut().zip(octets) {
        *target = *octet as libc::c_char;
    }
    Some(address)
}

fn connect(fd: BorrowedFd<'_>, path: PathBuf) -> Result<(), SocketError> {
    let Some(address) = unix_address(&path) else { return Err(SocketError::PathTooLong { path }) };
    let octets = mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    let _name = ThreadName::borrow(SOCKET_NAME);
    // SAFETY: the kernel reads `octets` octets from a live value of that size.
    let result = unsafe { libc::connect(fd.as_raw_fd(), ptr::from_ref(&address).cast(), octets) };
    check(result).map_err(|source| SocketError::Simulator { path, source })?;
    Ok(())
}

/// Raises what may be sent at once; the number that holds afterwards.
fn raise_send_octets(fd: BorrowedFd<'_>, endpoint: &Endpoint) -> Result<usize, SocketError> {
    let raised = usize::from(SEND_OCTETS_RAISED);
    match endpoint {
        Endpoint::Kernel => {
            // Kernels before 5.16 do not know the option: then lists of more than 28 LTKs cannot be sent.
            let set = set_option(fd, SOL_BLUETOOTH, BT_SNDMTU, &SEND_OCTETS_RAISED);
            Ok(if set.is_ok() { raised } else { SEND_OCTETS_DEFAULT })
        }
        Endpoint::Unix(path) => {
            let mut frame = Vec::new();
            put_header(&mut frame, SIMULATOR_RAISE_SEND_OCTETS, INDEX_NONE, 2);
            frame.extend_from_slice(&SEND_OCTETS_RAISED.to_le_bytes());
            let path = path.clone();
            transmit(fd, &frame).map_err(|source| SocketError::Simulator { path, source })?;
            Ok(raised)
        }
    }
}

/// One datagram into the buffer; its octets.
fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is numbers and pointers, for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    let octets = loop {
        // SAFETY: `message` names one part, which is the whole of a buffer that we hold exclusively;
        // both outlive the call.
        let result = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
        if let Ok(octets) = usize::try_from(result) {
            break octets;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    };
    if message.msg_flags & libc::MSG_TRUNC != 0 {
        let text = format!("a frame longer than {} octets was cut", buffer.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if octets == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end closed the socket"));
    }
    Ok(octets)
}

/// One datagram out. The kernel returns the number of octets, or 0 when it queued an error reply while
/// it read the frame: both are successes.
fn transmit(fd: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
    loop {
        // SAFETY: the kernel reads `frame.len()` octets from a live slice of that length.
        let result =
            unsafe { libc::send(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_NOSIGNAL) };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EINVAL | libc::EMSGSIZE) => {
                let text = format!("the kernel takes no frame of {} octets on this socket", frame.len());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            _ => return Err(error),
        }
    }
}

/// Gives this thread another name until dropped.
struct ThreadName {
    before: [u8; 16],
}

impl ThreadName {
    /// None when the present name cannot be read: then it is left alone.
    fn borrow(name: &str) -> Option<Self> {
        let mut before = [0u8; 16];
        // SAFETY: the kernel writes 16 octets at most, a terminating zero among them.
        check(unsafe { libc::prctl(libc::PR_GET_NAME, before.as_mut_ptr()) }).ok()?;
        let mut wanted = [0u8; 16];
        for (target, octet) in wanted[..15].iter_mut().zip(name.bytes()) {
            *target = octet;
        }
        set_thread_name(&wanted);
        Some(Self { before })
    }
}

impl Drop for ThreadName {
    fn drop(&mut self) {
        set_thread_name(&self.before);
    }
}

fn set_thread_name(name: &[u8; 16]) {
    // SAFETY: the kernel reads at most 16 octets of a live array of 16. A failure leaves the old name.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// A listening socket of sequenced packets: the simulator's side, for tests.
#[cfg(test)]
fn listen(path: &Path) -> io::Result<OwnedFd> {
    let fd = new_socket(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0)?;
    let address = unix_address(path).ok_or(io::ErrorKind::InvalidInput)?;
    let octets = mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the kernel reads `octets` octets from a live value of that size.
    check(unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), octets) })?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::listen(fd.as_raw_fd(), 4) })?;
    Ok(fd)
}

#[cfg(test)]
mod tests;
