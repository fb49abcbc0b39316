//! Recorded streams: bytes in, lines, commands out.
//!
//! Everything that comes in is bounded before it is looked at: a line, a text, a nesting. What is wrong
//! with a line is a [`Refusal`] with a code and the field's name, never an end of the stream.
//!
//! Invariant: no number passes through a float on its way to an exact amount.

mod fields;
mod lines;
mod moment;
mod parse;
mod refusal;
mod source;

pub(crate) use fields::{Fields, Range, amount_of, quoted, required};
pub use lines::{LINE_BYTES_MAX, Line, Lines, SHOWN_BYTES};
pub(crate) use moment::moment;
pub use parse::{Asked, Check, Entry, Parser};
pub(crate) use parse::{SIDES, plausible, text};
pub use refusal::{Code, Refusal};
pub use source::{Input, open};
