//! Moves what a socket receives to whoever decides, in order and in batches.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::DecodeError;
use super::socket::MgmtSocket;

/// Datagrams handed on together at most: enough that a storm is worth one message, few enough that a
/// command's answer is not kept waiting behind it.
const BATCH_MAX: usize = 256;

/// Datagrams that could not be read since the process started, for `bridge/health`.
static DROPPED_FRAME_COUNT: AtomicU64 = AtomicU64::new(0);

/// Datagrams that woke us since the process started, readable or not. What the socket filters reject is not
/// among them: it shows what a busy street costs.
static RECEIVED_FRAME_COUNT: AtomicU64 = AtomicU64::new(0);

/// See [`RECEIVED_FRAME_COUNT`].
pub fn received_frame_count() -> u64 {
    RECEIVED_FRAME_COUNT.load(Ordering::Relaxed)
}

/// See [`DROPPED_FRAME_COUNT`].
pub fn dropped_frame_count() -> u64 {
    DROPPED_FRAME_COUNT.load(Ordering::Relaxed)
}

/// What one wake-up brought.
pub struct Batch<T> {
    /// In the order of arrival.
    pub frames: Vec<T>,
    /// Datagrams that could not be read, or were cut.
    pub dropped_count: u64,
}

/// Reads until the socket ends or nobody takes the batches any more; none then. `deliver` is awaited
/// before more is read, so a busy receiver makes the datagrams wait in the kernel.
pub async fn pump<T, F>(
    mut socket: MgmtSocket,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    mut deliver: impl FnMut(Batch<T>) -> F,
) -> Option<io::Error>
where
    F: Future<Output = bool>,
{
    loop {
        let mut batch = Batch { frames: Vec::new(), dropped_count: 0 };
        let first = socket.recv().await.map(Some);
        if let Err(error) = take(&mut batch, first, &decode) {
            return Some(error);
        }
        while batch.frames.len() < BATCH_MAX {
            match socket.try_recv() {
                Ok(None) => break,
                more => {
                    if let Err(error) = take(&mut batch, more, &decode) {
                        return Some(error);
                    }
                }
            }
        }
        DROPPED_FRAME_COUNT.fetch_add(batch.dropped_count, Ordering::Relaxed);
        let received = batch.frames.len() as u64 + batch.dropped_count;
        RECEIVED_FRAME_COUNT.fetch_add(received, Ordering::Relaxed);
        if !deliver(batch).await {
            return None;
        }
    }
}

/// Only an error that ends the socket is an error here.
fn take<T>(
    batch: &mut Batch<T>,
    received: io::Result<Option<&[u8]>>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> io::Result<()> {
    match received {
        Ok(Some(datagram)) => match decode(datagram) {
            Ok(frame) => batch.frames.push(frame),
            Err(_) => batch.dropped_count += 1,
        },
        Ok(None) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => batch.dropped_count += 1,
        Err(error) => return Err(error),
    }
    Ok(())
}
