use super::*;
use crate::mgmt::filter;
use crate::mgmt::status::Status;
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};

/// The simulator's side: a real socket of sequenced packets. Std's stream type reads and writes one
/// packet a call.
struct Kernel {
    directory: tempfile::TempDir,
    listener: UnixListener,
}

impl Kernel {
    fn new(channel: Channel) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fd = super::listen(&directory.path().join(channel.file_name())).unwrap();
        Self { directory, listener: UnixListener::from(fd) }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.directory.path().to_owned())
    }

    fn accept(&self) -> Peer {
        Peer(self.listener.accept().unwrap().0)
    }
}

struct Peer(UnixStream);

impl Peer {
    fn send(&self, frame: &[u8]) {
        transmit(self.0.as_fd(), frame).unwrap();
    }

    fn recv(&self) -> Vec<u8> {
        let mut buffer = vec![0; 2 * DATAGRAM_OCTETS_MAX];
        let octets = receive(self.0.as_fd(), &mut buffer).unwrap();
        buffer.truncate(octets);
        buffer
    }
}

/// Long enough for a busy machine; only a broken build waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn recv(socket: &mut MgmtSocket) -> io::Result<Vec<u8>> {
    let received = tokio::time::timeout(PATIENCE, socket.recv()).await;
    received.expect("no frame arrived").map(<[u8]>::to_vec)
}

fn open(program: &[Instruction]) -> (MgmtSocket, Peer) {
    let kernel = Kernel::new(Channel::Control);
    let socket = MgmtSocket::open(&kernel.endpoint(), Channel::Control, program).unwrap();
    let peer = kernel.accept();
    assert_eq!(hex::encode(peer.recv()), "01ffffff0200ffff", "the frame that raises the send limit");
    (socket, peer)
}

fn frame(code: u16, index: u16, parameters: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    put_header(&mut frame, code, index, u16::try_from(parameters.len()).unwrap());
    frame.extend_from_slice(parameters);
    frame
}

#[tokio::test]
async fn one_datagram_is_one_frame_in_both_directions() {
    let (mut socket, peer) = open(&[]);
    assert_eq!(socket.try_recv().unwrap(), None);
    peer.send(&frame(4, 0, &[]));
    peer.send(&frame(6, 1, &[1, 0, 0, 0]));
    assert_eq!(recv(&mut socket).await.unwrap(), frame(4, 0, &[]));
    assert_eq!(socket.try_recv().unwrap(), Some(&frame(6, 1, &[1, 0, 0, 0])[..]));
    assert_eq!(socket.try_recv().unwrap(), None);
    socket.send(&frame(3, INDEX_NONE, &[])).await.unwrap();
    socket.sender().try_send(&frame(4, 2, &[])).unwrap();
    assert_eq!(peer.recv(), frame(3, INDEX_NONE, &[]));
    assert_eq!(peer.recv(), frame(4, 2, &[]));
    assert_eq!(socket.sender().send_octets_max(), 65_535);
}

#[tokio::test]
async fn frames_that_the_filter_rejects_never_arrive() {
    let (mut socket, peer) = open(&filter::adapter(1));
    let device_found = 0x0012;
    peer.send(&frame(device_found, 1, &[0; 20]));
    peer.send(&frame(0x0A, 0, &[0; 37]));
    peer.send(&[1]);
    peer.send(&frame(0x06, 1, &[1, 0, 0, 0]));
    assert_eq!(recv(&mut socket).await.unwrap(), frame(0x06, 1, &[1, 0, 0, 0]));
    assert_eq!(socket.try_recv().unwrap(), None);
}

#[tokio::test]
async fn the_monitor_channel_has_its_own_socket_and_filter() {
    let kernel = Kernel::new(Channel::Monitor);
    let mut socket = MgmtSocket::open(&kernel.endpoint(), Channel::Monitor, &filter::monitor()).unwrap();
    let peer = kernel.accept();
    peer.send(&frame(2, 0, &[3, 0x0C, 0]));
    peer.send(&frame(15, INDEX_NONE, &[1, 0, 0, 0]));
    assert_eq!(recv(&mut socket).await.unwrap(), frame(15, INDEX_NONE, &[1, 0, 0, 0]));
}

#[tokio::test]
async fn the_longest_frames_pass_whole() {
    let (mut socket, peer) = open(&[]);
    let longest = frame(0x0001, 0, &vec![0x5A; usize::from(u16::MAX)]);
    peer.send(&longest);
    assert!(recv(&mut socket).await.unwrap() == longest);
    let longest = &longest[..usize::from(u16::MAX)];
    socket.send(longest).await.unwrap();
    assert!(peer.recv() == longest);
}

#[tokio::test]
async fn a_cut_frame_is_an_error_and_the_next_one_is_read() {
    let (mut socket, peer) = open(&[]);
    peer.send(&vec![0; DATAGRAM_OCTETS_MAX + 1]);
    peer.send(&frame(4, 0, &[]));
    let error = recv(&mut socket).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("65541"), "{error}");
    assert_eq!(recv(&mut socket).await.unwrap(), frame(4, 0, &[]));
}

#[tokio::test]
async fn a_closed_socket_is_the_end_of_the_file() {
    let (mut socket, peer) = open(&[]);
    drop(peer);
    assert_eq!(recv(&mut socket).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(socket.send(&[1]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn sending_waits_while_the_queue_is_full() {
    let (socket, peer) = open(&[]);
    let sender = socket.sender();
    let big = vec![7; 60_000];
    let mut queued = 0;
    let full = loop {
        match sender.try_send(&big) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let drain = async {
        for _ in 0..queued {
            assert_eq!(peer.recv().len(), big.len());
            tokio::task::yield_now().await;
        }
    };
    let (sent, ()) = tokio::join!(sender.send(&[1, 2, 3]), drain);
    sent.unwrap();
    assert_eq!(peer.recv(), [1, 2, 3]);
}

#[tokio::test]
async fn trust_is_what_the_kernel_says() {
    let (mut socket, peer) = open(&filter::registry());
    for (status, trusted) in [(Status::InvalidIndex, true), (Status::PermissionDenied, false)] {
        peer.send(&frame(4, 0, &[]));
        peer.send(&frame(2, INDEX_NONE, &[0x03, 0x00, 0x14]));
        peer.send(&frame(2, INDEX_NONE, &[0x15, 0x00, status.code()]));
        let answer = socket.check_trust(Duration::from_secs(10)).await;
        assert_eq!(hex::encode(peer.recv()), "1500ffff0000");
        match answer {
            Ok(()) => assert!(trusted),
            Err(error) => assert!(!trusted && matches!(error, SocketError::MissingNetAdmin), "{error}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_does_not_say_is_not_waited_for_for_ever() {
    let (mut socket, _peer) = open(&filter::registry());
    let answer = socket.check_trust(Duration::from_secs(5)).await;
    assert!(matches!(answer, Err(SocketError::NoAnswer(_))), "{answer:?}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: PathBuf| MgmtSocket::open(&Endpoint::Unix(path), Channel::Control, &[]).err().unwrap();
    let error = open(directory.path().join("nobody"));
    assert!(matches!(&error, SocketError::Simulator { .. }), "{error}");
    assert!(error.to_string().contains("nobody/control"), "{error}");
    let error = open(directory.path().join("x".repeat(120)));
    assert!(matches!(error, SocketError::PathTooLong { .. }), "{error}");
}

#[test]
fn the_thread_carries_our_name_only_while_it_binds() {
    let name = || fs::read_to_string("/proc/thread-self/comm").unwrap();
    let before = name();
    {
        let _name = ThreadName::borrow(SOCKET_NAME);
        assert_eq!(name().trim_end(), SOCKET_NAME);
    }
    assert_eq!(name(), before);
}

#[test]
fn the_address_of_a_bluetooth_socket_has_the_kernels_layout() {
    assert_eq!(mem::size_of::<HciAddress>(), 6);
    assert_eq!(mem::offset_of!(HciAddress, channel), 4);
    assert_eq!((Channel::Monitor.number(), Channel::Control.number()), (2, 3));
    assert_eq!(mem::size_of::<Instruction>(), mem::size_of::<libc::sock_filter>());
}
