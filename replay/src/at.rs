//! One stream at one moment: now, at a time, at a seq, at a version of its own.
//!
//! A moment is first turned into a version of the stream, and the state is restored up to there: so a
//! keyframe before it is used where there is one.

use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_snapshots::{Evolve, Keyframes, Restored, restore};
use serde::de::DeserializeOwned;

use crate::{ReplayError, nearest};

/// A moment of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Point {
    /// The end of the log.
    #[default]
    Now,
    /// As it was known at this time: what had been recorded at it or before.
    Time(Timestamp),
    /// After this event of the whole log.
    Seq(Seq),
    /// After this event of the stream.
    Version(Version),
}

/// A stream at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment<S> {
    /// Which stream.
    pub stream: StreamId,
    /// What it had become.
    pub state: S,
    /// The version of the last event in it.
    pub version: Version,
    /// The seq of that event.
    pub seq: Seq,
    /// When that was recorded.
    pub recorded_at: Timestamp,
    /// The version the stream has now.
    pub newest: Version,
}

/// A strategy at a moment, from the nearest keyframe before it where there are any.
///
/// # Errors
/// [`ReplayError::UnknownStrategy`], [`ReplayError::TimeBeforeLog`], [`ReplayError::SeqOutside`],
/// [`ReplayError::VersionOutside`], [`ReplayError::NotGovernedYet`], and as reading.
pub fn strategy_at(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    id: &StrategyId,
    point: Point,
) -> Result<Moment<strategy::State>, ReplayError> {
    known(reader, id)?;
    moment(reader, keyframes, &StreamId::new(id.as_str()), point, strategy::evolve)
}

/// The system at a moment.
///
/// # Errors
/// As [`strategy_at`], without the strategy's own.
pub fn system_at(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    point: Point,
) -> Result<Moment<system::State>, ReplayError> {
    moment(reader, keyframes, &StreamId::system(), point, system::evolve)
}

/// The strategy, if the log has it.
///
/// # Errors
/// [`ReplayError::UnknownStrategy`] with the nearest names.
pub fn known(reader: &Reader, id: &StrategyId) -> Result<(), ReplayError> {
    let stream = StreamId::new(id.as_str());
    if reader.version_of(&stream).0 > 0 && !stream.is_system() {
        return Ok(());
    }
    // All names are made for an error alone: an export asks for every strategy there is.
    let streams = reader.streams();
    let names = streams.iter().filter(|(stream, _)| stream.is_strategy()).map(|(stream, _)| stream.as_str());
    Err(ReplayError::UnknownStrategy { name: id.to_string(), nearest: nearest(id.as_str(), names) })
}

fn moment<S: Default + DeserializeOwned>(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    stream: &StreamId,
    point: Point,
    evolve: Evolve<S>,
) -> Result<Moment<S>, ReplayError> {
    let newest = reader.version_of(stream);
    let version = version_of(reader, stream, point)?;
    let Restored { state, version, .. } = restore(reader, keyframes, stream, Some(version), evolve)?;
    let nowhere = (Seq(0), Timestamp::default());
    let (seq, recorded_at) = if version.0 == 0 { nowhere } else { place_of(reader, stream, version)? };
    Ok(Moment { stream: stream.clone(), state, version, seq, recorded_at, newest })
}

/// The version a stream had at a point. 0 only for the system: it may have no events yet.
///
/// # Errors
/// As [`strategy_at`].
pub(crate) fn version_of(reader: &Reader, stream: &StreamId, point: Point) -> Result<Version, ReplayError> {
    let newest = reader.version_of(stream);
    let version = match point {
        Point::Now => newest,
        Point::Version(version) if version.0 == 0 || version > newest => {
            return Err(ReplayError::VersionOutside { stream: stream.clone(), version, last: newest });
        }
        Point::Version(version) => version,
        Point::Seq(seq) => version_at(reader, stream, within(reader, seq)?)?,
        Point::Time(at) => version_at(reader, stream, seq_at(reader, at)?)?,
    };
    if version.0 == 0 && newest.0 > 0 && !stream.is_system() {
        let (first, recorded_at) = place_of(reader, stream, Version(1))?;
        return Err(ReplayError::NotGovernedYet { stream: stream.clone(), first, recorded_at });
    }
    Ok(version)
}

/// The seq, if the log has it.
///
/// # Errors
/// [`ReplayError::SeqOutside`].
pub fn within(reader: &Reader, seq: Seq) -> Result<Seq, ReplayError> {
    let last = reader.head().seq;
    if seq.0 == 0 || seq > last { Err(ReplayError::SeqOutside { seq, last }) } else { Ok(seq) }
}

/// The last seq recorded at a time or before.
///
/// # Errors
/// [`ReplayError::TimeBeforeLog`] with the first and last time there is; [`ReplayError::EmptyLog`].
pub fn seq_at(reader: &Reader, at: Timestamp) -> Result<Seq, ReplayError> {
    let seq = reader.seq_at(at.nanos())?;
    if seq.0 > 0 {
        return Ok(seq);
    }
    let first = reader.commit_of(Seq(1))?.ok_or(ReplayError::EmptyLog)?;
    let (first, last) = (first.recorded_at, reader.head().recorded_at);
    Err(ReplayError::TimeBeforeLog { at, first: Timestamp::from_nanos(first), last: Timestamp::from_nanos(last) })
}

/// The version of the stream's last event at `seq` or before; 0 where there is none.
///
/// # Errors
/// As reading.
pub fn version_at(reader: &Reader, stream: &StreamId, seq: Seq) -> Result<Version, ReplayError> {
    // Versions rise with seqs, so the last one is found by halving.
    let (mut before, mut after) = (0, reader.version_of(stream).0 + 1);
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        let (found, _) = place_of(reader, stream, Version(middle))?;
        if found <= seq { before = middle } else { after = middle }
    }
    Ok(Version(before))
}

/// Where an event of a stream stands in the whole log, and when it was recorded.
///
/// # Errors
/// [`ReplayError::VersionOutside`], and as reading.
pub fn place_of(reader: &Reader, stream: &StreamId, version: Version) -> Result<(Seq, Timestamp), ReplayError> {
    let mut cursor = reader.stream(stream, version)?;
    let last = reader.version_of(stream);
    let outside = || ReplayError::VersionOutside { stream: stream.clone(), version, last };
    let commit = cursor.next()?.ok_or_else(outside)?;
    let seq = Seq(commit.seq.0 + (version.0.saturating_sub(commit.version.0)));
    Ok((seq, Timestamp::from_nanos(commit.recorded_at)))
}
