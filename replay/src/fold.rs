//! The whole log into states, in one pass.
//!
//! Ends with a digest a strategy and one for all: two machines that folded the same log print the same,
//! and a state that was kept elsewhere can be held against it.
//!
//! More threads share the streams among them. Each reads the whole log for itself and decodes only its own
//! streams: the reading is cheap, decoding and folding are not, and nothing is handed from one to another.
//!
//! Invariants: the digests do not depend on the number of threads; memory holds one state a stream.

mod kept;
mod share;

use std::collections::BTreeMap;

use ephor_events::{Head, Reader, Seq, StreamId, Version};
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
pub use ephor_snapshots::Digest;
use ephor_snapshots::Digested;

pub use kept::{Held, Kept, kept};

use crate::shares::Shares;
pub use crate::shares::THREADS_PER_CORE_MAX;
use crate::{Progress, ReplayError, at};
use share::Part;

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
}

/// The log, folded.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Every strategy, by name.
    pub strategies: Vec<Stream<strategy::State>>,
    /// The system.
    pub system: Stream<system::State>,
    /// Where the fold ended. Its seq may stand within its last commit.
    pub head: Head,
    /// One for all: the names, versions and digests of every stream.
    pub digest: Digest,
    /// The states that were to be held against, by the name of their stream.
    pub held: Vec<Held>,
    /// How many threads folded it.
    pub threads: usize,
}

/// How far a log is folded, by how many threads, and what the states are held against on the way.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Up to and with this seq; the end of the log where `None`.
    pub to: Option<Seq>,
    /// How many threads; one where 0. Never more than there are streams, or
    /// [`THREADS_PER_CORE_MAX`] a core.
    pub threads: usize,
    /// Digests of states kept elsewhere, by stream, none beyond `to`.
    pub kept: BTreeMap<StreamId, Kept>,
}

/// Folds the whole log on this thread.
///
/// # Errors
/// [`ReplayError::Read`] and [`ReplayError::Decode`]; a state is never given with an event left out.
pub fn fold(reader: &Reader, progress: &mut dyn FnMut(Progress)) -> Result<Folded, ReplayError> {
    fold_with(reader, &Plan::default(), progress)
}

/// Folds the log as planned. What is appended meanwhile is left alone.
///
/// # Errors
/// As [`fold`], [`ReplayError::SeqOutside`] where the log does not have [`Plan::to`], and
/// [`ReplayError::Thread`] where the system has no thread to give.
pub fn fold_with(reader: &Reader, plan: &Plan, progress: &mut dyn FnMut(Progress)) -> Result<Folded, ReplayError> {
    let end = plan.to.map_or_else(|| Ok(reader.head().seq), |to| at::within(reader, to))?;
    let shares = Shares::of(reader, plan.threads);
    let parts = shares
        .work(progress, |share, stop, progress| share::fold(reader, &shares, share, plan, end, stop, progress))?;
    let mut all = Part::empty();
    for part in parts {
        all.take(part);
    }
    let Part { mut strategies, system, head, mut held } = all;
    strategies.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
    held.sort_unstable_by(|a, b| a.kept.stream.cmp(&b.kept.stream));
    let system = match system {
        Some(system) => system,
        None => Stream { digest: digest_of_system(&system::State::default())?, ..Stream::empty(StreamId::system()) },
    };
    let mut hasher = blake3::Hasher::new();
    for strategy in &strategies {
        add(&mut hasher, strategy);
    }
    add(&mut hasher, &system);
    Ok(Folded {
        strategies,
        system,
        head,
        digest: Digest(*hasher.finalize().as_bytes()),
        held,
        threads: shares.threads(),
    })
}

fn add<S>(all: &mut blake3::Hasher, stream: &Stream<S>) {
    let name = stream.stream.as_str();
    all.update(&(name.len() as u64).to_le_bytes());
    all.update(name.as_bytes());
    all.update(&stream.version.0.to_le_bytes());
    all.update(&stream.digest.0);
}
