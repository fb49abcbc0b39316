//! The rules, held to their vectors, to properties, and to public trade data.
//!
//! One binary, one file a component; `given` makes the strategies, trades and orders that tests start from,
//! `histories` the random ones.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it stands"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one event or reason among all")]
#![expect(clippy::float_cmp, reason = "the figures compared are steps of a table, not results of sums")]

mod approval;
mod canary;
mod commands;
mod drift;
mod gate;
mod given;
mod health;
mod histories;
mod impact;
mod kill;
mod maturity;
mod netting;
mod pieces;
mod policy;
mod properties;
mod public_data;
mod public_fills;
mod token;
