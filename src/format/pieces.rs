//! Gathers what a serializer writes in pieces of a few octets.
//!
//! A hash and a file both cost by the call. What waits may hold keys: it never grows, which would leave a copy behind,
//! and is wiped on drop. Nothing reaches its end without [`Pieces::finish`].

use std::io::{self, Write};

use zeroize::Zeroizing;

/// A writer that hands on pieces of up to `room` octets.
pub struct Pieces<W> {
    out: W,
    waiting: Zeroizing<Box<[u8]>>,
    /// So many octets of it wait.
    filled: usize,
}

impl<W: Write> Pieces<W> {
    pub fn new(out: W, room: usize) -> Self {
        Self { out, waiting: Zeroizing::new(vec![0; room].into_boxed_slice()), filled: 0 }
    }

    /// Hands on what waits, and gives the end back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        Ok(self.out)
    }

    #[cold]
    fn write_behind(&mut self, octets: &[u8]) -> io::Result<()> {
        self.flush()?;
        if octets.len() > self.waiting.len() {
            return self.out.write_all(octets);
        }
        self.waiting[..octets.len()].copy_from_slice(octets);
        self.filled = octets.len();
        Ok(())
    }
}

impl<W: Write> Write for Pieces<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets)?;
        Ok(octets.len())
    }

    // In place, as a serializer calls it five times a field, mostly with a single octet that is known: a call each was
    // a third of an export.
    #[inline(always)]
    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        let end = self.filled + octets.len();
        match self.waiting.get_mut(self.filled..end) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.filled = end;
                Ok(())
            }
            None => self.write_behind(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let waiting = &self.waiting[..self.filled];
        self.filled = 0;
        self.out.write_all(waiting)
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
        let room = pieces.waiting.as_ptr_range();
        for _ in 0..100 {
            pieces.write_all(&[7; 13]).unwrap();
        }
        assert_eq!(pieces.waiting.as_ptr_range(), room);
    }
}
