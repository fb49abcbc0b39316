//! Message buses: what engines publish comes in, and is acknowledged when its record is durable.
//!
//! The port is small: an [`Inbound`] opens a [`Source`], which gives messages and takes back what became of each.
//! Everything else (reading, asking, order, retries, figures) is in one place, [`pump`]; an adapter only knows its
//! transport.
//!
//! Invariant: a message is settled as [`Outcome::Done`] only when what it reports is durable in the log.

pub mod jsonl;
pub mod mqtt;
pub mod nats;
pub mod outward;
pub mod pump;
pub mod redis;
pub mod setup;
mod start;
mod status;

use std::time::Duration;

use actix_web::web::Bytes;
use futures::future::BoxFuture;
use smol_str::SmolStr;

pub use start::Buses;
pub use status::{Figures, Status};

use crate::canary::Fault;

/// What a source knows a message by until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// A message as its transport delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// To be settled by.
    pub receipt: Receipt,
    /// Where it stands, in the transport's words: what a dead letter and a log line name.
    pub place: SmolStr,
    /// What it came on: a subject, a topic, a stream's key, a file.
    pub subject: SmolStr,
    /// Names in lower case, and values.
    pub headers: Vec<(SmolStr, SmolStr)>,
    /// Its bytes.
    pub payload: Bytes,
    /// How often it has been delivered, from 1.
    pub attempt: u32,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that it reports is durable, or was before.
    Done,
    /// It could not be taken now: deliver it again, not before this time has passed.
    Later(Duration),
    /// It cannot be taken: keep it apart, with the reason.
    Dead {
        /// The code of what is wrong.
        code: &'static str,
        /// What is wrong, in words.
        reason: String,
    },
}

impl Outcome {
    /// Whether it is to be delivered again.
    #[must_use]
    pub const fn waits(&self) -> bool {
        match self {
            Self::Later(_) => true,
            Self::Done | Self::Dead { .. } => false,
        }
    }
}

/// Why a bus does not work.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It cannot be reached, or the connection ended.
    #[error("{doing} failed")]
    Unreachable {
        /// What was tried.
        doing: &'static str,
        /// What the transport said.
        source: Fault,
    },
    /// It is not as it must be: a stream or a consumer is missing, a credential is refused.
    #[error("{problem}")]
    NotSetUp {
        /// What is missing, and what would do.
        problem: String,
    },
}

impl BusError {
    /// What was tried, and what was said.
    pub fn unreachable(doing: &'static str) -> impl FnOnce(Fault) -> Self {
        move |source| Self::Unreachable { doing, source }
    }

    /// Always: somebody may set it up meanwhile, and nothing is lost by asking again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotSetUp { .. } => true,
        }
    }
}

/// Messages that come in, in their order.
pub trait Source: Send {
    /// The next message; `None` at an end, where there is one. May be dropped at any time without loss.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, BusError>>;

    /// Takes back what became of messages, in the order in which they came.
    fn settle(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> BoxFuture<'_, Result<(), BusError>>;
}

/// A way in: opens a source, again after it has broken. What was not settled then comes again.
pub trait Inbound: Send + Sync {
    /// Connects and begins where the last one has left off.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>>;
}

/// Words for a header or a property: it ends with its line, and brokers hang up on what is not visible.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
