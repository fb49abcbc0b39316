//! A stream's state, from the nearest keyframe and the events after it.
//!
//! How an event changes a state is the caller's to say: what is kept here is only which events those
//! are, and that none is left out.

use ephor_events::codec::{DecodeError, decode_all};
use ephor_events::{ReadError, Reader, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::units::Timestamp;
use serde::de::DeserializeOwned;

use crate::keyframes::Keyframes;

/// How one recorded event changes a state; the time is when it was decided.
pub type Evolve<S> = fn(S, &Event, Timestamp) -> S;

/// A state and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored<S> {
    /// The state.
    pub state: S,
    /// The version of the last event in it; 0 for a stream that does not exist.
    pub version: Version,
    /// When that event was decided.
    pub at: Timestamp,
    /// Events that had to be folded.
    pub folded: u64,
}

/// Why a state could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The log could not be read.
    #[error("restore {stream} failed")]
    Read {
        /// Which stream.
        stream: StreamId,
        /// What was wrong.
        source: ReadError,
    },
    /// An event is not known to this version.
    #[error("restore {stream} failed")]
    Decode {
        /// Which stream.
        stream: StreamId,
        /// What was wrong.
        source: DecodeError,
    },
}

impl RestoreError {
    /// Whether the same call may go through later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_retryable(),
            Self::Decode { source, .. } => source.is_retryable(),
        }
    }
}

/// Folds a stream up to and with `upto` (all of it where `None`), from the nearest keyframe before.
///
/// # Errors
/// [`RestoreError`]; a state is never given with an event left out.
pub fn restore<S: Default + DeserializeOwned>(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    stream: &StreamId,
    upto: Option<Version>,
    evolve: impl Fn(S, &Event, Timestamp) -> S,
) -> Result<Restored<S>, RestoreError> {
    let read = |source| RestoreError::Read { stream: stream.clone(), source };
    let mut restored = keyframes
        .and_then(|keyframes| keyframes.nearest(reader, stream, upto))
        .unwrap_or_else(|| Restored { state: S::default(), version: Version(0), at: Timestamp::default(), folded: 0 });
    let mut cursor = reader.stream(stream, Version(restored.version.0 + 1)).map_err(read)?;
    while let Some(commit) = cursor.next().map_err(read)? {
        let at = Timestamp::from_nanos(commit.decided_at);
        for (event, version) in decode_all(&commit).zip(commit.version.0..) {
            if upto.is_some_and(|upto| version > upto.0) {
                return Ok(restored);
            }
            let event = event.map_err(|source| RestoreError::Decode { stream: stream.clone(), source })?;
            restored.state = evolve(restored.state, &event, at);
            restored.version = Version(version);
            restored.at = at;
            restored.folded += 1;
        }
    }
    Ok(restored)
}
