//! Keyframes held against the log, and made anew from it: each in one pass.
//!
//! What is kept beside the log is never trusted over it. Checking folds every stream from its first event and
//! compares at each keyframe; making anew folds the same way and keeps what a running house would have kept.

use std::collections::{HashMap, VecDeque};

use ephor_events::codec::decode_all;
use ephor_events::{CommitView, Reader, Seq, StreamId, Version};
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_snapshots::{Digest, Digested, Evolve, Kept, Keyframes, Misfit, Restored};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::streams::Streams;
use crate::{PROGRESS_EVERY, Progress, ReplayError, decided_at};

/// What a keyframe is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds the state that its events give.
    Same,
    /// It holds another, although its bytes check: the log is right.
    Differs {
        /// The digest of the state that its events give.
        folded: Digest,
        /// The digest of the state that it holds.
        held: Digest,
    },
    /// It is not used.
    Ignored(Misfit),
}

/// A keyframe and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The keyframe.
    pub kept: Kept,
    /// What it is worth.
    pub verdict: Verdict,
}

/// Folds every stream that has keyframes from its first event, and compares at each; by stream and version.
///
/// # Errors
/// [`ReplayError::Read`], [`ReplayError::Decode`], [`ReplayError::Keyframes`] and [`ReplayError::Digest`]. A
/// keyframe that does not fit is no error.
pub fn verify(
    reader: &Reader,
    keyframes: &Keyframes,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Checked>, ReplayError> {
    let verdict = |kept: &Kept| Verdict::Ignored(kept.misfit.unwrap_or(Misfit::Damaged));
    let all = keyframes.all(reader)?.into_iter();
    let mut all: Vec<Checked> = all.map(|kept| Checked { verdict: verdict(&kept), kept }).collect();
    let mut due: HashMap<StreamId, VecDeque<usize>> = HashMap::new();
    for (place, checked) in all.iter().enumerate().filter(|(_, checked)| checked.kept.misfit.is_none()) {
        due.entry(checked.kept.stream.clone()).or_default().push_back(place);
    }
    let mut left: usize = due.values().map(VecDeque::len).sum();
    let mut system = Held::<system::State>::due(due.remove(&StreamId::system()));
    let mut strategies: Streams<Held<strategy::State>> = Streams::new();
    let mut pass = Pass::new(reader, progress);
    let mut cursor = reader.cursor(Seq(1))?;
    while left > 0
        && let Some(commit) = cursor.next()?
    {
        pass.step(&commit);
        left -= if commit.stream.is_system() {
            system.step(reader, keyframes, &commit, system::evolve, &mut all)?
        } else {
            let held = strategies.of(commit.stream_no, || Held::due(due.remove(commit.stream)));
            held.step(reader, keyframes, &commit, strategy::evolve, &mut all)?
        };
    }
    pass.end();
    Ok(all)
}

/// A stream's state on the way, and the keyframes that are still to come.
struct Held<S> {
    state: S,
    due: VecDeque<usize>,
}

impl<S: Default + Digested + DeserializeOwned> Held<S> {
    fn due(due: Option<VecDeque<usize>>) -> Self {
        Self { state: S::default(), due: due.unwrap_or_default() }
    }

    /// Folds a commit and compares, if there is a keyframe at its end; how many there were.
    fn step(
        &mut self,
        reader: &Reader,
        keyframes: &Keyframes,
        commit: &CommitView<'_>,
        evolve: Evolve<S>,
        all: &mut [Checked],
    ) -> Result<usize, ReplayError> {
        let Some(next) = self.due.front().and_then(|place| all.get_mut(*place)) else { return Ok(0) };
        fold_commit(&mut self.state, commit, evolve)?;
        if next.kept.version > commit.last_version() {
            return Ok(0);
        }
        self.due.pop_front();
        let Some((state, stated)) = keyframes.read::<S>(reader, commit.stream, next.kept.version)? else {
            // Sealed, and of these rules, but no state.
            next.kept.misfit = Some(Misfit::Damaged);
            return Ok(1);
        };
        let (folded, held) = (digest(commit.stream, &self.state)?, digest(commit.stream, &state)?);
        let same = folded == held && folded == stated;
        next.verdict = if same { Verdict::Same } else { Verdict::Differs { folded, held } };
        Ok(1)
    }
}

/// What making keyframes anew has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Keyframes that were there before.
    pub removed: u64,
    /// Keyframes that are there now.
    pub kept: u64,
    /// Streams that they belong to.
    pub streams: u64,
    /// Events folded.
    pub events: u64,
}

/// Removes every keyframe, and makes those that a running house would have, with one at the end of each
/// stream.
///
/// # Errors
/// [`ReplayError::Read`], [`ReplayError::Decode`], [`ReplayError::Keyframes`] and [`ReplayError::Save`]. Those
/// made so far are good then, and what is missing costs time and nothing else.
pub fn rebuild(
    reader: &Reader,
    keyframes: &Keyframes,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rebuilt, ReplayError> {
    let removed = keyframes.clear()?;
    let mut system: Option<Kindled<system::State>> = None;
    let mut strategies: Streams<Kindled<strategy::State>> = Streams::new();
    let mut pass = Pass::new(reader, progress);
    let mut cursor = reader.cursor(Seq(1))?;
    while let Some(commit) = cursor.next()? {
        pass.step(&commit);
        if commit.stream.is_system() {
            let system = system.get_or_insert_with(|| Kindled::new(commit.stream));
            system.step(reader, keyframes, &commit, system::evolve)?;
        } else {
            let strategy = strategies.of(commit.stream_no, || Kindled::new(commit.stream));
            strategy.step(reader, keyframes, &commit, strategy::evolve)?;
        }
    }
    let mut streams = 0;
    for strategy in strategies.into_values() {
        keyframes.save(reader, &strategy.stream, &strategy.restored)?;
        streams += 1;
    }
    if let Some(system) = system {
        keyframes.save(reader, &system.stream, &system.restored)?;
        streams += 1;
    }
    keyframes.flush()?;
    let events = pass.end();
    Ok(Rebuilt { removed, kept: keyframes.all(reader)?.len() as u64, streams, events: events.0 })
}

/// A stream's state on the way, and its newest keyframe.
struct Kindled<S> {
    stream: StreamId,
    restored: Restored<S>,
    newest: Version,
}

impl<S: Default + Digested + Serialize> Kindled<S> {
    fn new(stream: &StreamId) -> Self {
        let at = Timestamp::default();
        let restored = Restored { state: S::default(), version: Version(0), at, folded: 0 };
        Self { stream: stream.clone(), restored, newest: Version(0) }
    }

    fn step(
        &mut self,
        reader: &Reader,
        keyframes: &Keyframes,
        commit: &CommitView<'_>,
        evolve: Evolve<S>,
    ) -> Result<(), ReplayError> {
        fold_commit(&mut self.restored.state, commit, evolve)?;
        self.restored.version = commit.last_version();
        self.restored.at = decided_at(commit);
        if keyframes.spacing().is_due(self.newest, commit.last_version()) {
            keyframes.save_after(reader, commit, &self.restored.state)?;
            self.newest = commit.last_version();
        }
        Ok(())
    }
}

fn fold_commit<S: Default>(state: &mut S, commit: &CommitView<'_>, evolve: Evolve<S>) -> Result<(), ReplayError> {
    let at = decided_at(commit);
    let mut now = std::mem::take(state);
    for event in decode_all(commit) {
        now = evolve(now, &event?, at);
    }
    *state = now;
    Ok(())
}

fn digest(stream: &StreamId, state: &impl Digested) -> Result<Digest, ReplayError> {
    state.digest().map_err(|source| ReplayError::Digest { stream: stream.clone(), source })
}

/// How far a pass has come, told now and then.
struct Pass<'a> {
    progress: &'a mut dyn FnMut(Progress),
    total: Seq,
    done: Seq,
    commits: u64,
}

impl<'a> Pass<'a> {
    fn new(reader: &Reader, progress: &'a mut dyn FnMut(Progress)) -> Self {
        Self { progress, total: reader.head().seq, done: Seq(0), commits: 0 }
    }

    fn step(&mut self, commit: &CommitView<'_>) {
        self.done = commit.last_seq();
        self.commits += 1;
        if self.commits.is_multiple_of(PROGRESS_EVERY) {
            (self.progress)(Progress { done: self.done, total: self.total.max(self.done) });
        }
    }

    fn end(self) -> Seq {
        (self.progress)(Progress { done: self.done, total: self.done });
        self.done
    }
}
