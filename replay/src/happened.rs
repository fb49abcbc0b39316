//! One stream as it had happened by a time: in the source's own time, not in ours.
//!
//! A trade that reaches us late happened before we knew of it. Here each recorded commit stands where the
//! source says that it happened, and among them those that were recorded later. That is a reading of the
//! record, not a decision made again: what followed from a trade when it was recorded (health, an alert, a
//! demotion) goes with its commit, and nothing is derived anew.
//!
//! Commits that came in order need no more than their headers looked at, and the state is restored as at
//! any other moment. Those that did not are folded where they belong, in a pass over the stream.
//!
//! Invariants: ties are in the order of the log; memory grows with the late commits of one stream only.

use ephor_events::codec::decode_all;
use ephor_events::{CommitView, Reader, Seq, StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_snapshots::{Evolve, Keyframes, restore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::at::{Moment, known, place_of};
use crate::{ReplayError, decided_at};

/// A stream as it had happened by a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened<S> {
    /// What it had become. Version, seq and time are those of the event that happened last, which need not be
    /// the one recorded last; 0 where nothing had happened yet.
    pub moment: Moment<S>,
    /// How it differs from what was known.
    pub reading: Reading,
}

/// How what had happened by a time differs from what was recorded by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// By when.
    pub at: Timestamp,
    /// Commits that had happened by then.
    pub commits: u64,
    /// Those among them that were recorded after that time.
    pub late: u64,
    /// Commits recorded by that time which the source says happened after it: they are left out.
    pub ahead: u64,
    /// Commits that were recorded behind one that happened later, and stand before it here.
    pub moved: u64,
}

/// A strategy as it had happened by a time.
///
/// # Errors
/// [`ReplayError::UnknownStrategy`], [`ReplayError::NotHappenedYet`], and as reading.
pub fn strategy_by(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    id: &StrategyId,
    at: Timestamp,
) -> Result<Happened<strategy::State>, ReplayError> {
    known(reader, id)?;
    happened(reader, keyframes, &StreamId::new(id.as_str()), at, strategy::evolve)
}

/// The system as it had happened by a time; the state it begins with where nothing had.
///
/// # Errors
/// As reading.
pub fn system_by(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    at: Timestamp,
) -> Result<Happened<system::State>, ReplayError> {
    happened(reader, keyframes, &StreamId::system(), at, system::evolve)
}

/// A commit that was recorded after one that happened later.
type Late = (i64, Version);

/// What the headers of a stream say about a time.
#[derive(Default)]
struct Order {
    commits: u64,
    late: u64,
    ahead: u64,
    /// Happened by the time, but recorded behind something that happened later; in the order they happened.
    behind: Vec<Late>,
    /// Those of them that were recorded behind something that had happened by the time as well.
    moved: u64,
    /// The end of the last commit that is in order and had happened.
    last: Version,
    /// When the stream's first event happened.
    first: Option<i64>,
}

impl Order {
    fn of(reader: &Reader, stream: &StreamId, newest: Version, at: i64) -> Result<Self, ReplayError> {
        let mut order = Self::default();
        let (mut latest, mut latest_by) = (i64::MIN, i64::MIN);
        let mut cursor = reader.stream(stream, Version(1))?;
        while let Some(commit) = cursor.next()?.filter(|commit| commit.version <= newest) {
            let occurred = commit.occurred_at;
            order.first = Some(order.first.map_or(occurred, |first| first.min(occurred)));
            order.ahead += u64::from(occurred > at && commit.recorded_at <= at);
            let in_order = occurred >= latest;
            latest = latest.max(occurred);
            if occurred > at {
                continue;
            }
            order.commits += 1;
            order.late += u64::from(commit.recorded_at > at);
            if in_order {
                order.last = commit.last_version();
            } else {
                order.behind.push((occurred, commit.version));
            }
            order.moved += u64::from(occurred < latest_by);
            latest_by = latest_by.max(occurred);
        }
        order.behind.sort_unstable();
        Ok(order)
    }
}

fn happened<S: Default + DeserializeOwned>(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    stream: &StreamId,
    at: Timestamp,
    evolve: Evolve<S>,
) -> Result<Happened<S>, ReplayError> {
    let newest = reader.version_of(stream);
    let order = Order::of(reader, stream, newest, at.nanos())?;
    if order.commits == 0 && !stream.is_system() {
        let first = Timestamp::from_nanos(order.first.unwrap_or_default());
        return Err(ReplayError::NotHappenedYet { stream: stream.clone(), at, first });
    }
    let (state, version) = if order.behind.is_empty() {
        (restore(reader, keyframes, stream, Some(order.last), evolve)?.state, order.last)
    } else {
        let mut folding = Folding { state: S::default(), version: Version(0), evolve };
        in_order_of_happening(reader, stream, newest, at.nanos(), &order.behind, &mut folding)?;
        (folding.state, folding.version)
    };
    let nowhere = (Seq(0), Timestamp::default());
    let (seq, recorded_at) = if version.0 == 0 { nowhere } else { place_of(reader, stream, version)? };
    Ok(Happened {
        moment: Moment { stream: stream.clone(), state, version, seq, recorded_at, newest },
        reading: Reading { at, commits: order.commits, late: order.late, ahead: order.ahead, moved: order.moved },
    })
}

struct Folding<S> {
    state: S,
    version: Version,
    evolve: Evolve<S>,
}

impl<S: Default> Folding<S> {
    fn fold(&mut self, commit: &CommitView<'_>) -> Result<(), ReplayError> {
        let at = decided_at(commit);
        for event in decode_all(commit) {
            self.state = (self.evolve)(std::mem::take(&mut self.state), &event?, at);
        }
        self.version = commit.last_version();
        Ok(())
    }
}

/// Folds what happened by `at`: the commits in order as they stand, and each one behind them before the first that
/// happened after it.
fn in_order_of_happening<S: Default>(
    reader: &Reader,
    stream: &StreamId,
    newest: Version,
    at: i64,
    behind: &[Late],
    folding: &mut Folding<S>,
) -> Result<(), ReplayError> {
    let mut behind = behind.iter().copied().peekable();
    let mut latest = i64::MIN;
    let mut cursor = reader.stream(stream, Version(1))?;
    while let Some(commit) = cursor.next()?.filter(|commit| commit.version <= newest) {
        if commit.occurred_at < latest {
            continue;
        }
        latest = commit.occurred_at;
        if latest > at {
            break;
        }
        while let Some((_, version)) = behind.next_if(|late| *late < (latest, commit.version)) {
            fold_one(reader, stream, version, folding)?;
        }
        folding.fold(&commit)?;
    }
    behind.try_for_each(|(_, version)| fold_one(reader, stream, version, folding))
}

fn fold_one<S: Default>(
    reader: &Reader,
    stream: &StreamId,
    version: Version,
    folding: &mut Folding<S>,
) -> Result<(), ReplayError> {
    let mut cursor = reader.stream(stream, version)?;
    let last = reader.version_of(stream);
    let outside = || ReplayError::VersionOutside { stream: stream.clone(), version, last };
    folding.fold(&cursor.next()?.ok_or_else(outside)?)
}
