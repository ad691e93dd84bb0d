//! The field that names what can be undone.
//!
//! | offset | octets | field | order |
//! |---|---|---|---|
//! | 0 | 8 | table generation before the operation | little endian |
//! | 8 | 8 | table generation after it | little endian |
//! | 16 | 8 | time of the operation, in milliseconds since 1970 | little endian |
//! | 24 | 1 | length w of the operation's word | |
//! | 25 | w | the word | |
//! | 25 + w | n | label of the checkpoint | |

use super::{Writer, number, tag, text};
use crate::bond::{Operation, UndoPoint, UnixMillis};

impl Writer {
    pub(super) fn undo_point(&mut self, point: &UndoPoint) {
        let numbers = [point.before, point.after, point.at.0].map(u64::to_le_bytes);
        let word = point.operation.as_str().as_bytes();
        let length = u8::try_from(word.len()).unwrap_or(u8::MAX);
        self.field(tag::UNDO, &[numbers.as_flattened(), &[length], word, point.checkpoint.as_bytes()]);
    }
}

pub(super) fn read(octets: &[u8]) -> Option<UndoPoint> {
    let (before, rest) = octets.split_at_checked(8)?;
    let (after, rest) = rest.split_at_checked(8)?;
    let (at, rest) = rest.split_at_checked(8)?;
    let (length, rest) = rest.split_first()?;
    let (word, label) = rest.split_at_checked(usize::from(*length))?;
    Some(UndoPoint {
        operation: Operation::from_word(text(word)?)?,
        checkpoint: text(label)?.to_owned(),
        before: number(before)?,
        after: number(after)?,
        at: UnixMillis(number(at)?),
    })
}
