//! What changed in a stream between two moments, field by field, and which events changed it.
//!
//! Both states are compared as the JSON that programs read. A list that moved like a window (entries gone
//! from its front, others come at its end) is one change that names those entries; a list of numbers of the
//! same length is compared place by place.
//!
//! Invariant: the changes applied to the earlier state give the later one.

mod path;
mod touch;

use std::collections::VecDeque;
use std::sync::Arc;

use ephor_events::codec::decode_all;
use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_snapshots::{Keyframes, restore};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use path::{Path, Step};
use touch::Subject;

use crate::at::{Point, known, place_of, version_of};
use crate::{ReplayError, decided_at};

/// How one field differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Another value stands there; `None` where the field is not there at all.
    Set {
        /// The value before.
        before: Option<Value>,
        /// The value after.
        after: Option<Value>,
    },
    /// Entries of a list went from its front, and others came at its end.
    Slid {
        /// Gone from the front, oldest first.
        removed: Vec<Value>,
        /// Come at the end, oldest first.
        added: Vec<Value>,
    },
}

/// An event that changed something.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Its place in the whole log.
    pub seq: Seq,
    /// Its place in the stream.
    pub version: Version,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// What it says.
    pub event: Event,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Where it stands in the state.
    pub path: Path,
    /// How it differs.
    pub change: Change,
    /// How many events changed it, or a part of it.
    pub events: u64,
    /// The newest of them, oldest first; at most [`CAUSES_MAX`].
    pub causes: Vec<Arc<Cause>>,
}

/// How many events are kept a field.
pub const CAUSES_MAX: usize = 100;

/// One end of what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The version of the last event in it; 0 before the first.
    pub version: Version,
    /// The seq of that event.
    pub seq: Seq,
    /// When that was recorded.
    pub recorded_at: Timestamp,
}

/// What changed between two moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Diff {
    /// In which stream.
    pub stream: StreamId,
    /// The earlier moment.
    pub from: End,
    /// The later one.
    pub to: End,
    /// The fields that differ, in the order of the state's JSON.
    pub fields: Vec<Field>,
}

impl Diff {
    /// Events between the two moments.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.to.version.0 - self.from.version.0
    }
}

/// What changed in a strategy from one moment to a later one; from before its first event where `from` is
/// `None`.
///
/// # Errors
/// [`ReplayError::Backwards`] where `from` is after `to`; as [`crate::at::strategy_at`].
pub fn strategy(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    id: &StrategyId,
    from: Option<Point>,
    to: Point,
) -> Result<Diff, ReplayError> {
    known(reader, id)?;
    between::<strategy::State>(reader, keyframes, &StreamId::new(id.as_str()), from, to)
}

/// What changed in the system; as [`strategy()`].
///
/// # Errors
/// As [`strategy()`], without the strategy's own.
pub fn system(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    from: Option<Point>,
    to: Point,
) -> Result<Diff, ReplayError> {
    between::<system::State>(reader, keyframes, &StreamId::system(), from, to)
}

fn between<S: Subject + Default + Clone + DeserializeOwned>(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    stream: &StreamId,
    from: Option<Point>,
    to: Point,
) -> Result<Diff, ReplayError> {
    let from = from.map_or(Ok(Version(0)), |from| version_of(reader, stream, from))?;
    let from = end(reader, stream, from)?;
    let to = end(reader, stream, version_of(reader, stream, to)?)?;
    if from.version > to.version {
        return Err(ReplayError::Backwards { from: from.seq, to: to.seq });
    }
    let mut state = restore(reader, keyframes, stream, Some(from.version), S::EVOLVE)?.state;
    let after = restore(reader, keyframes, stream, Some(to.version), S::EVOLVE)?.state;
    let mut found: Vec<Found> =
        compare(&state.json(), &after.json()).into_iter().map(|(path, change)| Found::new(path, change)).collect();
    let mut cursor = reader.stream(stream, Version(from.version.0 + 1))?;
    while let Some(commit) = cursor.next()?.filter(|commit| !found.is_empty() && commit.version <= to.version) {
        let at = decided_at(&commit);
        for (index, event) in (0_u64..).zip(decode_all(&commit)) {
            let event = event?;
            let version = Version(commit.version.0 + index);
            if version <= from.version || version > to.version {
                continue;
            }
            let before = state.clone();
            state = (S::EVOLVE)(state, &event, at);
            let touched = S::touched(&before, &state);
            let recorded_at = Timestamp::from_nanos(commit.recorded_at);
            let cause = Arc::new(Cause { seq: Seq(commit.seq.0 + index), version, recorded_at, event });
            for found in found.iter_mut().filter(|found| touched.iter().any(|path| path.overlaps(&found.path))) {
                found.add(&cause);
            }
        }
    }
    Ok(Diff { stream: stream.clone(), from, to, fields: found.into_iter().map(Found::into_field).collect() })
}

fn end(reader: &Reader, stream: &StreamId, version: Version) -> Result<End, ReplayError> {
    let nowhere = (Seq(0), Timestamp::default());
    let (seq, recorded_at) = if version.0 == 0 { nowhere } else { place_of(reader, stream, version)? };
    Ok(End { version, seq, recorded_at })
}

/// A field that differs, while its events are being looked for.
struct Found {
    path: Path,
    change: Change,
    events: u64,
    causes: VecDeque<Arc<Cause>>,
}

impl Found {
    const fn new(path: Path, change: Change) -> Self {
        Self { path, change, events: 0, causes: VecDeque::new() }
    }

    fn add(&mut self, cause: &Arc<Cause>) {
        self.events += 1;
        if self.causes.len() >= CAUSES_MAX {
            self.causes.pop_front();
        }
        self.causes.push_back(cause.clone());
    }

    fn into_field(self) -> Field {
        Field { path: self.path, change: self.change, events: self.events, causes: self.causes.into() }
    }
}

/// The fields in which two values differ, in the order of the first; what only the second has stands behind.
///
/// ```
/// use ephor_replay::diff::{Change, compare};
/// use serde_json::json;
/// let found = compare(&json!({"score": 1.0, "debt": 0.0}), &json!({"score": 0.5, "debt": 0.0}));
/// let (path, change) = &found[0];
/// assert_eq!(path.to_string(), "score");
/// assert_eq!(*change, Change::Set { before: Some(json!(1.0)), after: Some(json!(0.5)) });
/// assert_eq!(found.len(), 1);
/// ```
#[must_use]
pub fn compare(before: &Value, after: &Value) -> Vec<(Path, Change)> {
    let mut found = Vec::new();
    compare_at(&Path::default(), before, after, &mut found);
    found
}

fn compare_at(path: &Path, before: &Value, after: &Value, found: &mut Vec<(Path, Change)>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, before) in old {
                let path = path.with(Step::Field(name.clone()));
                match new.get(name) {
                    Some(after) => compare_at(&path, before, after, found),
                    None => found.push((path, Change::Set { before: Some(before.clone()), after: None })),
                }
            }
            for (name, after) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
                let path = path.with(Step::Field(name.clone()));
                found.push((path, Change::Set { before: None, after: Some(after.clone()) }));
            }
        }
        (Value::Array(old), Value::Array(new)) if old != new => {
            let plain = |value: &Value| !value.is_object() && !value.is_array();
            if old.len() == new.len() && old.iter().chain(new).all(plain) {
                for (index, (before, after)) in old.iter().zip(new).enumerate() {
                    compare_at(&path.with(Step::Entry(index)), before, after, found);
                }
            } else {
                found.push((path.clone(), slid(old, new)));
            }
        }
        (before, after) if before != after => {
            let change = Change::Set { before: Some(before.clone()), after: Some(after.clone()) };
            found.push((path.clone(), change));
        }
        (_same, _as_before) => {}
    }
}

/// The fewest entries to take from the front and put at the end.
fn slid(before: &[Value], after: &[Value]) -> Change {
    let stays = |gone: &usize| {
        before.get(*gone..).is_some_and(|kept| after.get(..kept.len()).is_some_and(|begins| begins == kept))
    };
    let gone = (0..before.len()).find(stays).unwrap_or(before.len());
    let (removed, kept) = before.split_at(gone);
    Change::Slid { removed: removed.to_vec(), added: after.get(kept.len()..).unwrap_or_default().to_vec() }
}
