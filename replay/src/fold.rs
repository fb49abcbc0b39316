//! The whole log into states, in one pass.
//!
//! Ends with a digest a strategy and one for all: two machines that folded the same log print the same,
//! and a state that was kept elsewhere can be held against it.

use ephor_events::codec::decode_all;
use ephor_events::{CommitView, Head, Reader, Seq, StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
pub use ephor_snapshots::Digest;
use ephor_snapshots::Digested;

use crate::streams::Streams;
use crate::{PROGRESS_EVERY, Progress, ReplayError, decided_at};

/// The digest of a strategy's state.
///
/// # Errors
/// [`ReplayError::Digest`] where the state has no JSON form.
pub fn digest_of_strategy(id: &StrategyId, state: &strategy::State) -> Result<Digest, ReplayError> {
    digest_of(&StreamId::new(id.as_str()), state)
}

/// The digest of the system's state.
///
/// # Errors
/// [`ReplayError::Digest`] where the state has no JSON form.
pub fn digest_of_system(state: &system::State) -> Result<Digest, ReplayError> {
    digest_of(&StreamId::system(), state)
}

fn digest_of(stream: &StreamId, state: &impl Digested) -> Result<Digest, ReplayError> {
    state.digest().map_err(|source| ReplayError::Digest { stream: stream.clone(), source })
}

/// A stream, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream<S> {
    /// Its name.
    pub stream: StreamId,
    /// What it has become.
    pub state: S,
    /// The version of its last event; 0 where it has none.
    pub version: Version,
    /// The seq of its last event.
    pub seq: Seq,
    /// When that was recorded.
    pub recorded_at: Timestamp,
    /// What the state is known by.
    pub digest: Digest,
}

impl<S: Default> Stream<S> {
    fn empty(stream: StreamId) -> Self {
        Self {
            stream,
            state: S::default(),
            version: Version(0),
            seq: Seq(0),
            recorded_at: Timestamp::default(),
            digest: Digest::default(),
        }
    }

    fn fold(
        &mut self,
        commit: &CommitView<'_>,
        evolve: fn(S, &ephor_governance::event::Event, Timestamp) -> S,
    ) -> Result<(), ReplayError> {
        let at = decided_at(commit);
        let mut state = std::mem::take(&mut self.state);
        for event in decode_all(commit) {
            state = evolve(state, &event?, at);
        }
        self.state = state;
        self.version = commit.last_version();
        self.seq = commit.last_seq();
        self.recorded_at = Timestamp::from_nanos(commit.recorded_at);
        Ok(())
    }
}

/// The log, folded.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Every strategy, by name.
    pub strategies: Vec<Stream<strategy::State>>,
    /// The system.
    pub system: Stream<system::State>,
    /// Where the log ended.
    pub head: Head,
    /// One for all: the names, versions and digests of every stream.
    pub digest: Digest,
}

/// Folds the whole log.
///
/// # Errors
/// [`ReplayError::Read`] and [`ReplayError::Decode`]; a state is never given with an event left out.
pub fn fold(reader: &Reader, progress: &mut dyn FnMut(Progress)) -> Result<Folded, ReplayError> {
    let total = reader.head().seq;
    let mut strategies: Streams<Stream<strategy::State>> = Streams::new();
    let mut system = Stream::empty(StreamId::system());
    let mut head = Head { seq: Seq(0), commits: 0, ..reader.head() };
    let mut cursor = reader.cursor(Seq(1))?;
    while let Some(commit) = cursor.next()? {
        if commit.stream.is_system() {
            system.fold(&commit, system::evolve)?;
        } else {
            let stream = strategies.of(commit.stream_no, || Stream::empty(commit.stream.clone()));
            stream.fold(&commit, strategy::evolve)?;
        }
        head.seq = commit.last_seq();
        head.commits += 1;
        head.recorded_at = commit.recorded_at;
        if head.commits.is_multiple_of(PROGRESS_EVERY) {
            progress(Progress { done: head.seq, total: total.max(head.seq) });
        }
    }
    progress(Progress { done: head.seq, total: head.seq });

    let mut strategies: Vec<_> = strategies.into_values().collect();
    strategies.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
    let mut all = blake3::Hasher::new();
    for strategy in &mut strategies {
        strategy.digest = digest_of(&strategy.stream, &strategy.state)?;
        add(&mut all, strategy);
    }
    system.digest = digest_of_system(&system.state)?;
    add(&mut all, &system);
    Ok(Folded { strategies, system, head, digest: Digest(*all.finalize().as_bytes()) })
}

fn add<S>(all: &mut blake3::Hasher, stream: &Stream<S>) {
    let name = stream.stream.as_str();
    all.update(&(name.len() as u64).to_le_bytes());
    all.update(name.as_bytes());
    all.update(&stream.version.0.to_le_bytes());
    all.update(&stream.digest.0);
}
