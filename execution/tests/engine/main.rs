//! The engine from signal to order to fill, with a gate that says what it is told to and a venue that fills at once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod after;
mod again;
mod exits;
mod guards;
mod house;
mod orphans;
mod promises;
mod properties;
mod replaced;
mod risk;
