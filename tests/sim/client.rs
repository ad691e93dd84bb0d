//! A plain client of the management socket, as any other program on the host
//! could be: for fake processes and for the tests.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Tie;
use super::seqpacket::{Conn, MAX_FRAME_OCTETS, Sent};
use super::wire::{ev, frame, op, read_u16, split};

/// Nothing here takes long; on a busy machine it may.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A frame taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub code: u16,
    pub index: u16,
    pub parameters: Vec<u8>,
}

#[derive(Debug)]
pub struct Client {
    conn: Conn,
    /// For a client made by the simulator itself: what its end waits for.
    tie: Option<Tie>,
    buffer: Vec<u8>,
    /// Events that came while a reply was awaited.
    pending: VecDeque<Packet>,
}

impl Client {
    /// Connects to `control` or `monitor` in a simulator's directory.
    pub fn connect(socket: &Path) -> Self {
        let conn = Conn::connect(socket).unwrap_or_else(|e| panic!("connect {}: {e}", socket.display()));
        Self::over(conn, None)
    }

    pub(super) fn over(conn: Conn, tie: Option<Tie>) -> Self {
        Self { conn, tie, buffer: vec![0; MAX_FRAME_OCTETS], pending: VecDeque::new() }
    }

    /// What a real client does with `setsockopt(BT_SNDMTU)`.
    pub fn raise_send_mtu(&self) {
        self.send(op::SIMULATOR_SEND_MTU, super::wire::NO_INDEX, &u16::MAX.to_le_bytes());
    }

    pub fn send(&self, opcode: u16, index: u16, parameters: &[u8]) {
        self.send_raw(&frame(opcode, index, parameters));
    }

    pub fn send_raw(&self, frame: &[u8]) {
        assert_ne!(self.conn.offer(frame), Sent::Dropped, "the simulator does not read");
    }

    /// The next frame within the time given; none at the end of the connection, too.
    pub fn receive(&mut self, within: Duration) -> Option<Packet> {
        self.pending.pop_front().or_else(|| self.receive_new(within))
    }

    fn receive_new(&mut self, within: Duration) -> Option<Packet> {
        if !self.conn.readable(within) {
            return None;
        }
        let frame = self.conn.recv(&mut self.buffer).ok()?;
        let (code, index, parameters) = split(frame)?;
        Some(Packet { code, index, parameters: parameters.to_vec() })
    }

    /// Sends a command and waits for its reply: status and data. None when there is none in time.
    pub fn try_command(
        &mut self,
        opcode: u16,
        index: u16,
        parameters: &[u8],
        within: Duration,
    ) -> Option<(u8, Vec<u8>)> {
        self.send(opcode, index, parameters);
        let end = Instant::now() + within;
        loop {
            let packet = self.receive_new(end.saturating_duration_since(Instant::now()))?;
            let reply = matches!(packet.code, ev::COMMAND_COMPLETE | ev::COMMAND_STATUS);
            if reply && packet.index == index && read_u16(&packet.parameters, 0) == Some(opcode) {
                return Some((packet.parameters[2], packet.parameters[3..].to_vec()));
            }
            self.pending.push_back(packet);
        }
    }

    pub fn command(&mut self, opcode: u16, index: u16, parameters: &[u8]) -> (u8, Vec<u8>) {
        let reply = self.try_command(opcode, index, parameters, PATIENCE);
        reply.unwrap_or_else(|| panic!("no reply to command {opcode:#06x} on controller {index}"))
    }

    /// A command that must succeed.
    pub fn succeed(&mut self, opcode: u16, index: u16, parameters: &[u8]) -> Vec<u8> {
        let (status, data) = self.command(opcode, index, parameters);
        assert_eq!(status, 0, "command {opcode:#06x} on controller {index} failed");
        data
    }

    /// Everything that is there. What an earlier command caused is there.
    pub fn drain(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.receive(Duration::ZERO)).collect()
    }

    /// The next packet with this code, skipping others.
    pub fn expect(&mut self, code: u16) -> Packet {
        let end = Instant::now() + PATIENCE;
        loop {
            let packet = self.receive(end.saturating_duration_since(Instant::now()));
            let packet = packet.unwrap_or_else(|| panic!("no packet {code:#06x} came"));
            if packet.code == code {
                return packet;
            }
        }
    }
}

impl Drop for Client {
    /// A kernel has forgotten a socket when `close()` returns. So has the simulator
    /// for its own clients; for one by path it takes a moment.
    fn drop(&mut self) {
        self.conn.close();
        if let Some(tie) = &self.tie {
            tie.wait_closed();
        }
    }
}

/// The parameters of a Load command other than Load Link Keys.
pub fn list(records: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(records.len()).expect("a list's length fits 16 bits");
    [&count.to_le_bytes()[..], &records.concat()].concat()
}
