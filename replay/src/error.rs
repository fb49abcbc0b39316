//! What replaying a log can meet: a log that cannot be read, or a question it has no answer to.

use ephor_events::codec::{DecodeError, EncodeError};
use ephor_events::{ReadError, Seq, SledError, StreamId, Version};
use ephor_governance::units::Timestamp;
use ephor_snapshots::{RestoreError, SaveError};

use crate::bisect::ConditionError;

/// Why a question about the past has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error("read the log failed")]
    Read(#[from] ReadError),
    /// An event is not known to this version.
    #[error("decode the log failed")]
    Decode(#[from] DecodeError),
    /// A derived event could not be written down to be compared.
    #[error("encode what was derived for seq {seq} failed")]
    Encode {
        /// Of the commit it was derived for.
        seq: Seq,
        /// What the encoder said.
        source: EncodeError,
    },
    /// A state could not be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A digest could not be taken.
    #[error("take the digest of {stream} failed")]
    Digest {
        /// Of which stream.
        stream: StreamId,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The store of what is derived from the log refused.
    #[error("read or remove the keyframes failed")]
    Keyframes(#[from] SledError),
    /// A keyframe could not be made.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The system refused a thread that was to do a part of the work. Fewer may do.
    #[error("start thread {number} of {threads} failed: fewer may do, or the work comes through another time")]
    Thread {
        /// Which one, from 1; the first is there already.
        number: usize,
        /// Of how many.
        threads: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log is empty.
    #[error("the log holds no events yet")]
    EmptyLog,
    /// The log has no such strategy.
    #[error("the log has no strategy {name:?}; {}", offered(nearest, "`ephor strategies` lists them"))]
    UnknownStrategy {
        /// What was asked for.
        name: String,
        /// Known names close to it.
        nearest: Vec<String>,
    },
    /// A time before the first event.
    #[error("{at} is before the log, which goes from {first} to {last}")]
    TimeBeforeLog {
        /// What was asked for.
        at: Timestamp,
        /// The first event's time.
        first: Timestamp,
        /// The last event's time.
        last: Timestamp,
    },
    /// The log has no such event.
    #[error("the log has no seq {seq}: it goes from 1 to {last}")]
    SeqOutside {
        /// What was asked for.
        seq: Seq,
        /// The last there is.
        last: Seq,
    },
    /// The stream has no such version.
    #[error("{stream} has no version {version}: it goes from 1 to {last}")]
    VersionOutside {
        /// Which stream.
        stream: StreamId,
        /// What was asked for.
        version: Version,
        /// The last there is.
        last: Version,
    },
    /// A point before the strategy came under governance.
    #[error("{stream} was not governed yet: its first event is seq {first}, recorded {recorded_at}")]
    NotGovernedYet {
        /// Which strategy.
        stream: StreamId,
        /// Its first event.
        first: Seq,
        /// When that was recorded.
        recorded_at: Timestamp,
    },
    /// A time before anything of the strategy had happened, in the source's time.
    #[error("nothing of {stream} had happened by {at}: by the source's time it begins {first}")]
    NotHappenedYet {
        /// Which strategy.
        stream: StreamId,
        /// What was asked for.
        at: Timestamp,
        /// When its first event happened.
        first: Timestamp,
    },
    /// The earlier of two moments is the later one.
    #[error("the first moment (seq {from}) is after the second (seq {to}): name the earlier one first")]
    Backwards {
        /// Where the first moment ends.
        from: Seq,
        /// Where the second does.
        to: Seq,
    },
    /// A condition cannot be asked of the states.
    #[error(transparent)]
    Condition(#[from] ConditionError),
    /// No decision, order or trace goes by this id.
    #[error("nothing in the log goes by {id:?}: give a seq, a trace id, or the id of an order, signal or trade")]
    UnknownId {
        /// What was asked for.
        id: String,
    },
    /// The strategy has never been through what was asked about.
    #[error("{stream} has no {what} in the log")]
    NeverHappened {
        /// Which strategy.
        stream: StreamId,
        /// What was asked for.
        what: &'static str,
    },
}

fn offered(nearest: &[String], otherwise: &str) -> String {
    if nearest.is_empty() { otherwise.to_owned() } else { format!("did you mean {}?", nearest.join(", ")) }
}

impl ReplayError {
    /// Whether the same call may go through later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read(source) => source.is_retryable(),
            Self::Restore(source) => source.is_retryable(),
            Self::Keyframes(source) => source.is_retryable(),
            Self::Save(source) => source.is_retryable(),
            Self::Thread { .. } => true,
            Self::Decode(_)
            | Self::Encode { .. }
            | Self::Digest { .. }
            | Self::EmptyLog
            | Self::UnknownStrategy { .. }
            | Self::TimeBeforeLog { .. }
            | Self::SeqOutside { .. }
            | Self::VersionOutside { .. }
            | Self::NotGovernedYet { .. }
            | Self::NotHappenedYet { .. }
            | Self::Backwards { .. }
            | Self::Condition(_)
            | Self::UnknownId { .. }
            | Self::NeverHappened { .. } => false,
        }
    }

    /// Whether the question was at fault, not the log: asking another way helps.
    #[must_use]
    pub const fn is_callers(&self) -> bool {
        match self {
            Self::Read(_)
            | Self::Decode(_)
            | Self::Encode { .. }
            | Self::Restore(_)
            | Self::Digest { .. }
            | Self::Keyframes(_)
            | Self::Save(_)
            | Self::Thread { .. } => false,
            Self::EmptyLog
            | Self::UnknownStrategy { .. }
            | Self::TimeBeforeLog { .. }
            | Self::SeqOutside { .. }
            | Self::VersionOutside { .. }
            | Self::NotGovernedYet { .. }
            | Self::NotHappenedYet { .. }
            | Self::Backwards { .. }
            | Self::Condition(_)
            | Self::UnknownId { .. }
            | Self::NeverHappened { .. } => true,
        }
    }
}
