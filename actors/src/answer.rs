//! What comes back from the governor: what was recorded, or why nothing was.

use std::sync::Arc;

use ephor_events::codec::{DecodeError, EncodeError};
use ephor_events::{ReadError, Seq, Version};
use ephor_governance::event::Event;
use ephor_governance::gate::Decision;
use ephor_governance::rejection::Rejection;
use ephor_governance::units::Timestamp;
use ephor_governance::verdict::Reason;
use ephor_snapshots::RestoreError;

use crate::journal::JournalError;

/// A commit that answers a request.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its events, in order.
    pub events: Arc<[Event]>,
    /// Of the first event in the whole log; 0 until the receipt is there.
    pub seq: Seq,
    /// Of the first event in its stream.
    pub version: Version,
    /// When it was decided.
    pub at: Timestamp,
    /// The system version that it stood on.
    pub system: Version,
    /// Whether it had been recorded before, so that this request added nothing.
    pub repeat: bool,
}

impl Recorded {
    pub(crate) fn new(events: Vec<Event>, version: Version, at: Timestamp, system: Version) -> Self {
        Self { events: events.into(), seq: Seq(0), version, at, system, repeat: false }
    }

    pub(crate) fn placed(mut self, seq: Seq) -> Self {
        self.seq = seq;
        self
    }

    pub(crate) fn as_repeat(&self) -> Self {
        Self { repeat: true, ..self.clone() }
    }

    /// The decision among the events, where the request asked for one.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.events.iter().find_map(Event::decision)
    }
}

/// Why a request has no recorded answer. An order that meets one is blocked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// A rule said no.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The journal could not take it or could not write it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The log could not be read.
    #[error("the log could not be read: {problem}")]
    Unreadable {
        /// What was wrong.
        problem: Arc<str>,
    },
    /// The events could not be encoded.
    #[error("the events could not be encoded: {problem}")]
    Unencodable {
        /// What was wrong.
        problem: Arc<str>,
    },
    /// The strategy's actor failed; it is recovered from the log.
    #[error("the strategy's actor failed: {message}")]
    Faulted {
        /// What it said.
        message: String,
    },
    /// Nobody answered in time. What was asked may still be recorded.
    #[error("no answer within {millis} ms")]
    TimedOut {
        /// How long was waited.
        millis: u64,
    },
    /// Too much is waiting already.
    #[error("too many requests are waiting")]
    Overloaded,
    /// New exposure is held back: what must be there beside the log is not.
    #[error("new exposure is held back: {why}")]
    Held {
        /// What is not there.
        why: Arc<str>,
    },
    /// The governor is shutting down, or the gate has died.
    #[error("the governor does not take requests")]
    Stopped,
}

impl Failure {
    pub(crate) fn encode(error: &EncodeError) -> Self {
        Self::Unencodable { problem: format!("{error}: {}", error.source).into() }
    }

    /// Whether the same request may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_retryable(),
            Self::Faulted { .. } | Self::TimedOut { .. } | Self::Overloaded | Self::Held { .. } => true,
            Self::Rejected(_) | Self::Unreadable { .. } | Self::Unencodable { .. } | Self::Stopped => false,
        }
    }

    /// The reason code of the BLOCK that an order gets instead of a decision.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Rejected(Rejection::UnknownStrategy | Rejection::NoStrategy { .. }) => Reason::StrategyUnknown,
            Self::Faulted { .. } => Reason::ActorFaulted,
            Self::TimedOut { .. } | Self::Overloaded => Reason::GateTimeout,
            Self::Rejected(_)
            | Self::Journal(_)
            | Self::Unreadable { .. }
            | Self::Unencodable { .. }
            | Self::Held { .. }
            | Self::Stopped => Reason::JournalUnavailable,
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Unreadable { problem: error.to_string().into() }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Unreadable { problem: error.to_string().into() }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self::Unreadable { problem: error.to_string().into() }
    }
}
