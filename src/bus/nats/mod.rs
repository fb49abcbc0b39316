//! NATS with JetStream: reports come in from a stream, recorded events go out to another, orders are answered.
//!
//! A connection is made for each use and never mended: when it is lost it is given up, and whoever used it makes a new
//! one and asks where things stand. So nothing is left over from before that could come in between.

mod events;
mod input;
mod line;
mod orders;
mod publisher;
mod streams;
mod subject;

pub use events::Events;
pub use input::Input;
pub use line::Line;
pub use orders::Orders;
pub use publisher::Publisher;
pub use streams::{look, set_up};
pub use subject::{decode, encode};

use std::error::Error;

use super::BusError;
use crate::canary::Fault;

/// The header with the seq of an event.
pub const SEQ: &str = "Ephor-Seq";
/// The header with what tells one log from another: the hash of its first commit.
pub const LOG: &str = "Ephor-Log";

fn failed<E: Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> BusError {
    move |source| BusError::Unreachable { doing, source: Box::new(source) }
}

fn said(doing: &'static str) -> impl FnOnce(Fault) -> BusError {
    BusError::unreachable(doing)
}
