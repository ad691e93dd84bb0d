//! Gathers what a serializer writes in pieces of a few octets.
//!
//! A hash and a file both cost by the call. What waits may hold keys: it never grows, which would leave a copy behind,
//! and is wiped on drop. Nothing reaches its end without [`Pieces::finish`].

use std::io::{self, Write};

use zeroize::Zeroizing;

/// A writer that hands on pieces of up to `room` octets.
pub struct Pieces<W> {
    out: W,
    room: usize,
    waiting: Zeroizing<Vec<u8>>,
}

impl<W: Write> Pieces<W> {
    pub fn new(out: W, room: usize) -> Self {
        Self { out, room, waiting: Zeroizing::new(Vec::with_capacity(room)) }
    }

    /// Hands on what waits, and gives the end back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.waiting.len() + octets.len() > self.room {
            self.flush()?;
        }
        if octets.len() > self.room {
            return self.out.write(octets);
        }
        self.waiting.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what each call brings.
    #[derive(Default)]
    struct Calls(Vec<Vec<u8>>);

    impl Write for Calls {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if !octets.is_empty() {
                self.0.push(octets.to_vec());
            }
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn small_pieces_become_larger_ones_in_their_order_and_none_is_left() {
        let mut pieces = Pieces::new(Calls::default(), 4);
        for part in ["ab", "cd", "e", "fghijk", "l"] {
            pieces.write_all(part.as_bytes()).unwrap();
        }
        let calls = pieces.finish().unwrap().0;
        assert_eq!(calls, [&b"abcd"[..], b"e", b"fghijk", b"l"]);
    }

    #[test]
    fn the_room_never_grows() {
        let mut pieces = Pieces::new(Calls::default(), 64);
        let room = pieces.waiting.as_ptr();
        for _ in 0..100 {
            pieces.write_all(&[7; 13]).unwrap();
        }
        assert_eq!((pieces.waiting.as_ptr(), pieces.waiting.capacity()), (room, 64));
    }
}
