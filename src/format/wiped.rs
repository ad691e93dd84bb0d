//! Text that may hold keys, used again and again.
//!
//! It is wiped on drop, and so is what it leaves behind when it grows.

use std::io::{self, Write};

use serde::Serialize;
use zeroize::Zeroizing;

/// See the module text.
pub struct Wiped {
    octets: Zeroizing<Box<[u8]>>,
    /// So many octets of it are text.
    filled: usize,
}

impl Wiped {
    pub fn with_capacity(octets: usize) -> Self {
        Self { octets: zeros(octets), filled: 0 }
    }

    /// The value's compact text, instead of what was there.
    pub fn text_of(&mut self, value: &impl Serialize) -> io::Result<&[u8]> {
        self.filled = 0;
        serde_json::to_writer(&mut *self, value)?;
        Ok(&self.octets[..self.filled])
    }

    #[cold]
    fn grow_for(&mut self, octets: &[u8]) {
        let mut larger = zeros((self.filled + octets.len()).next_power_of_two());
        larger[..self.filled].copy_from_slice(&self.octets[..self.filled]);
        larger[self.filled..self.filled + octets.len()].copy_from_slice(octets);
        self.octets = larger;
        self.filled += octets.len();
    }
}

fn zeros(octets: usize) -> Zeroizing<Box<[u8]>> {
    Zeroizing::new(vec![0; octets].into_boxed_slice())
}

impl Write for Wiped {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets)?;
        Ok(octets.len())
    }

    // In place, as in [`Pieces`](super::pieces::Pieces).
    #[inline(always)]
    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        let end = self.filled + octets.len();
        match self.octets.get_mut(self.filled..end) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.filled = end;
            }
            None => self.grow_for(octets),
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_the_place_of_the_last_one_however_long_each_is() {
        let mut wiped = Wiped::with_capacity(4);
        for text in ["a", "longer than the room", "b", "longer than the room by more than a factor of two"] {
            assert_eq!(wiped.text_of(&text).unwrap(), format!("\"{text}\"").as_bytes());
        }
    }
}
