//! What is handed to the log, and what comes back: drafts and positions.
//!
//! A draft is not yet a fact. It has no seq, and the version it expects may be refused.

use smol_str::SmolStr;

use crate::{Hash, Key, Seq, StreamId, Version};

/// Where the cause of an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing in the log caused it: it came from outside.
    None,
    /// An event before it in the same commit, by index from 0.
    InCommit(u16),
    /// An event of an earlier commit.
    Earlier(Seq),
}

impl Cause {
    /// The cause's place in the whole log, given the first seq of the commit; `None` for no cause.
    #[must_use]
    pub fn seq(self, first: Seq) -> Option<Seq> {
        match self {
            Self::None => None,
            Self::InCommit(index) => Some(Seq(first.0 + u64::from(index))),
            Self::Earlier(seq) => Some(seq),
        }
    }
}

/// One encoded event. The log does not look into the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Which event it is.
    pub type_id: u16,
    /// Which version of that event's schema the payload has.
    pub schema: u16,
    /// What caused it.
    pub cause: Cause,
    /// The event's own bytes.
    pub payload: Vec<u8>,
}

/// One command's events, all or none, all of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The stream that grows.
    pub stream: StreamId,
    /// The head of the stream before this commit.
    pub expected: Version,
    /// When the command was decided, our time, nanoseconds UTC. It is recorded at this time, or at the last
    /// commit's where that is later: what is recorded never goes back, what was decided keeps its time.
    pub decided_at: i64,
    /// The source's time, nanoseconds UTC.
    pub occurred_at: i64,
    /// Ties order, decision, token and trade together; may be empty.
    pub trace: SmolStr,
    /// What makes the command idempotent.
    pub key: Option<Key>,
    /// The instrument that the events are about.
    pub instrument: Option<SmolStr>,
    /// The version of the system stream that this was decided on.
    pub system: Version,
    /// At least one.
    pub events: Vec<Encoded>,
}

/// Where a draft has come to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Of the first event.
    pub seq: Seq,
    /// Of the first event.
    pub version: Version,
    /// How many events.
    pub count: u32,
    /// Of the commit.
    pub hash: Hash,
}

/// What must have happened before an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The disk has it: survives a loss of power.
    Fsync,
    /// The operating system has it: survives a loss of the process.
    Written,
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the last event; 0 in an empty log.
    pub seq: Seq,
    /// Of the last commit; the genesis hash in an empty log.
    pub hash: Hash,
    /// Of the last commit; the smallest time in an empty log.
    pub recorded_at: i64,
    /// How many commits there are.
    pub commits: u64,
}

impl Head {
    pub(crate) fn empty() -> Self {
        Self { seq: Seq(0), hash: Hash::genesis(), recorded_at: i64::MIN, commits: 0 }
    }
}
