//! History as it is asked about: folded, found, judged again, explained. One binary, one file a question.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod at;
mod audit;
mod fold;
mod what_if;
mod why;
mod world;
