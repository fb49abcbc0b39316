//! Lines of bounded length out of an unbounded stream.
//!
//! A line that is too long is passed over without being held: its beginning is kept to show, its
//! length is counted, and the next line is read as if nothing had been.

use std::io::{self, BufRead};

/// The longest line, bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// How much of a longer one is kept to show.
pub const SHOWN_BYTES: usize = 4 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A whole line.
    Whole(Vec<u8>),
    /// The beginning of one that is too long.
    TooLong {
        /// Its first bytes.
        start: Vec<u8>,
        /// How long it was.
        bytes: u64,
    },
}

/// Reads lines one by one.
pub struct Lines<R> {
    source: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Starts with line 1.
    pub const fn new(source: R) -> Self {
        Self { source, number: 0 }
    }

    /// The next line with its number from 1, or `None` at the end.
    ///
    /// # Errors
    /// What the source said; what was read of the present line is dropped.
    #[expect(
        clippy::should_implement_trait,
        reason = "an error ends the stream, so an iterator of results would mislead"
    )]
    pub fn next(&mut self) -> io::Result<Option<(u64, Line)>> {
        let mut held = Vec::new();
        let mut length: u64 = 0;
        let ended = loop {
            let available = match self.source.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break length > 0;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            length += part.len() as u64;
            if length <= LINE_BYTES_MAX as u64 {
                held.extend_from_slice(part);
            } else {
                let missing = SHOWN_BYTES.saturating_sub(held.len());
                held.extend_from_slice(part.get(..missing.min(part.len())).unwrap_or_default());
                held.truncate(SHOWN_BYTES);
                held.shrink_to(SHOWN_BYTES);
            }
            let used = part.len() + usize::from(end.is_some());
            self.source.consume(used);
            if end.is_some() {
                break true;
            }
        };
        if !ended {
            return Ok(None);
        }
        self.number += 1;
        if self.number == 1 && held.starts_with(BYTE_ORDER_MARK) {
            held.drain(..BYTE_ORDER_MARK.len());
        }
        let line = if length > LINE_BYTES_MAX as u64 {
            Line::TooLong { start: held, bytes: length }
        } else {
            Line::Whole(held)
        };
        Ok(Some((self.number, line)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn all(source: impl BufRead) -> Vec<(u64, Line)> {
        let mut lines = Lines::new(source);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn the_last_line_needs_no_end_and_a_byte_order_mark_is_no_part_of_the_first() {
        assert_eq!(all(&b"\xef\xbb\xbfa\n\nb"[..]), [(1, whole("a")), (2, whole("")), (3, whole("b"))]);
        assert_eq!(all(&b""[..]), []);
    }

    #[test]
    fn a_line_of_just_the_longest_length_is_whole_and_one_byte_more_is_not() {
        let mut text = vec![b'x'; LINE_BYTES_MAX];
        text.push(b'\n');
        text.extend(vec![b'y'; LINE_BYTES_MAX + 1]);
        text.extend(b"\nz");
        let lines = all(BufReader::with_capacity(1_000, &text[..]));
        assert_eq!(lines[0].1, Line::Whole(vec![b'x'; LINE_BYTES_MAX]));
        assert_eq!(lines[1].1, Line::TooLong { start: vec![b'y'; SHOWN_BYTES], bytes: LINE_BYTES_MAX as u64 + 1 });
        assert_eq!(lines[2], (3, whole("z")));
    }

    #[test]
    fn an_endless_line_is_counted_and_not_held() {
        let endless = std::io::repeat(b'{').take(300 << 20);
        let lines = all(BufReader::with_capacity(1 << 20, endless));
        assert_eq!(lines, [(1, Line::TooLong { start: vec![b'{'; SHOWN_BYTES], bytes: 300 << 20 })]);
    }
}
