//! A disk with a volatile cache, for QEMU to use: a server of the NBD protocol on a Unix socket. What was written
//! since the last flush may be lost, kept or torn when the power goes, each write by itself. So that a cut finds such
//! writes, the disk can hold a flush: it is never answered, and what it was to make last is still in doubt.
//!
//! Source: [NBD doc/proto.md of the Network Block Device project], fixed newstyle, simple replies. One client at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::random::Random;

const SECTOR_OCTETS: usize = 512;
/// No client asks for more at once.
const REQUEST_OCTETS_MAX: usize = 32 << 20;

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_E889_0455_65A9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Fixed newstyle, no zeroes.
const HANDSHAKE_FLAGS: u16 = 1 | 2;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 1 << 31 | 1;
/// Has flags, takes flushes, takes forced unit access.
const EXPORT_FLAGS: u16 = 1 | 4 | 8;
const FORCED: u16 = 1;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const INVALID: u32 = 22;

/// See the module text.
pub struct Disk {
    socket: PathBuf,
    served: Arc<Served>,
}

struct Served {
    state: Mutex<State>,
    /// The power is about to go, or has gone.
    held: Condvar,
}

struct State {
    /// What no cut can take away.
    stable: File,
    /// What the guest reads: with every write.
    current: File,
    octets: u64,
    /// Since the last flush, in their order.
    unflushed: Vec<Unflushed>,
    /// So many flushes are still carried out that have something to make last.
    flushes_left: Option<usize>,
    is_held: bool,
}

struct Unflushed {
    offset: u64,
    octets: Vec<u8>,
    /// No cut takes it away.
    is_forced: bool,
}

/// What a cut has done.
#[derive(Debug, Default, Clone, Copy)]
pub struct Losses {
    pub kept: usize,
    pub torn: usize,
    pub lost: usize,
}

impl Losses {
    /// Writes that the cut has found in doubt.
    pub const fn count(self) -> usize {
        self.kept + self.torn + self.lost
    }
}

impl Disk {
    /// Serves the image, on a socket beside it.
    pub fn serve(image: &Path) -> Self {
        let socket = image.with_extension("socket");
        let _ = std::fs::remove_file(&socket);
        let current = image.with_extension("current");
        std::fs::copy(image, &current).unwrap();
        let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
        let state = State {
            stable: open(image),
            octets: std::fs::metadata(image).unwrap().len(),
            current: open(&current),
            unflushed: Vec::new(),
            flushes_left: None,
            is_held: false,
        };
        let served = Arc::new(Served { state: Mutex::new(state), held: Condvar::new() });
        let (listener, ours) = (UnixListener::bind(&socket).unwrap(), Arc::clone(&served));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The end of a connection is the end of a guest.
                let _ = negotiate(&client, &ours).and_then(|()| transmit(&client, &ours));
            }
        });
        Self { socket, served }
    }

    /// From now on so many flushes are carried out, of those that have something to make last; the next such is held,
    /// and nothing is answered any more.
    pub fn hold_after(&self, flushes: usize) {
        self.served.state.lock().unwrap().flushes_left = Some(flushes);
    }

    /// Until a flush is held; false when none was within this time.
    pub fn wait_held(&self, limit: Duration) -> bool {
        let state = self.served.state.lock().unwrap();
        let (state, _) = self.served.held.wait_timeout_while(state, limit, |state| !state.is_held).unwrap();
        state.is_held
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The power is gone: decides what becomes of every write that was not flushed.
    pub fn cut(&self, random: &mut Random) -> Losses {
        let mut state = self.served.state.lock().unwrap();
        let mut losses = Losses::default();
        for Unflushed { offset, octets, is_forced } in std::mem::take(&mut state.unflushed) {
            let kept = match random.below(3) {
                _ if is_forced => octets.len(),
                0 => octets.len(),
                1 => random.index(octets.len() / SECTOR_OCTETS + 1) * SECTOR_OCTETS,
                _ => 0,
            };
            state.stable.write_all_at(&octets[..kept], offset).unwrap();
            *(if kept == octets.len() {
                &mut losses.kept
            } else if kept == 0 {
                &mut losses.lost
            } else {
                &mut losses.torn
            }) += 1;
        }
        let mut image = vec![0; usize::try_from(state.octets).unwrap()];
        state.stable.read_exact_at(&mut image, 0).unwrap();
        state.current.write_all_at(&image, 0).unwrap();
        (state.flushes_left, state.is_held) = (None, false);
        self.served.held.notify_all();
        losses
    }
}

impl State {
    fn write(&mut self, offset: u64, octets: Vec<u8>, is_forced: bool) -> io::Result<()> {
        self.current.write_all_at(&octets, offset)?;
        self.unflushed.push(Unflushed { offset, octets, is_forced });
        Ok(())
    }

    /// This flush is the one that is held.
    fn holds_now(&mut self) -> bool {
        if !self.unflushed.iter().any(|write| !write.is_forced) {
            return false;
        }
        match &mut self.flushes_left {
            Some(0) => self.is_held = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.is_held
    }

    fn flush(&mut self) -> io::Result<()> {
        let stable = &self.stable;
        self.unflushed.drain(..).try_for_each(|write| stable.write_all_at(&write.octets, write.offset))
    }
}

fn take<const N: usize>(mut from: &UnixStream) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    from.read_exact(&mut octets)?;
    Ok(octets)
}

fn take_many(mut from: &UnixStream, count: usize) -> io::Result<Vec<u8>> {
    if count > REQUEST_OCTETS_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut octets = vec![0; count];
    from.read_exact(&mut octets)?;
    Ok(octets)
}

fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
}

fn negotiate(mut client: &UnixStream, served: &Served) -> io::Result<()> {
    let greeting = [&MAGIC.to_be_bytes()[..], &OPTION_MAGIC.to_be_bytes(), &HANDSHAKE_FLAGS.to_be_bytes()];
    client.write_all(&greeting.concat())?;
    let _flags: [u8; 4] = take(client)?;
    loop {
        let head: [u8; 16] = take(client)?;
        let option = number(&head[8..12]) as u32;
        take_many(client, number(&head[12..]) as usize)?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = data.len() as u32;
            let head = [option, kind, length].map(u32::to_be_bytes);
            client.write_all(&[&OPTION_REPLY_MAGIC.to_be_bytes()[..], head.as_flattened(), data].concat())
        };
        match option {
            OPTION_INFO | OPTION_GO => {
                let octets = served.state.lock().unwrap().octets;
                let export = [&[0, 0][..], &octets.to_be_bytes(), &EXPORT_FLAGS.to_be_bytes()].concat();
                reply(REPLY_INFO, &export)?;
                reply(REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(());
                }
            }
            OPTION_ABORT => {
                reply(REPLY_ACK, &[])?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            _ => reply(REPLY_UNSUPPORTED, &[])?,
        }
    }
}

fn transmit(mut client: &UnixStream, served: &Served) -> io::Result<()> {
    loop {
        let head: [u8; 28] = take(client)?;
        if number(&head[..4]) as u32 != REQUEST_MAGIC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let [flags, kind] = [number(&head[4..6]) as u16, number(&head[6..8]) as u16];
        let (offset, length) = (number(&head[16..24]), number(&head[24..]) as usize);
        let mut data = Vec::new();
        let written = if kind == WRITE { take_many(client, length)? } else { Vec::new() };
        let mut state = served.state.lock().unwrap();
        if kind == FLUSH && state.holds_now() {
            served.held.notify_all();
            drop(served.held.wait_while(state, |state| state.is_held).unwrap());
            return Ok(());
        }
        let done = match kind {
            READ if length <= REQUEST_OCTETS_MAX => {
                data = vec![0; length];
                state.current.read_exact_at(&mut data, offset)
            }
            WRITE => state.write(offset, written, flags & FORCED != 0),
            FLUSH => state.flush(),
            DISCONNECT => return Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        drop(state);
        let error = if done.is_ok() { 0 } else { INVALID };
        if done.is_err() {
            data.clear();
        }
        let answer = [REPLY_MAGIC, error].map(u32::to_be_bytes);
        client.write_all(&[answer.as_flattened(), &head[8..16], &data].concat())?;
    }
}
