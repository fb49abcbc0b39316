//! One thread's share of a fold: some of the streams, each folded from its first event to the end.

use std::sync::atomic::{AtomicBool, Ordering};

use ephor_events::codec::decode_all;
use ephor_events::{CommitView, Head, Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};

use super::{Digest, Held, Kept, Plan, Stream, digest_of, digest_of_system};
use crate::shares::Shares;
use crate::streams::Streams;
use crate::{PROGRESS_EVERY, Progress, ReplayError, decided_at};

/// What a thread has folded.
pub(super) struct Part {
    pub(super) strategies: Vec<Stream<strategy::State>>,
    pub(super) system: Option<Stream<system::State>>,
    pub(super) head: Head,
    pub(super) held: Vec<Held>,
}

impl Part {
    pub(super) fn empty() -> Self {
        let head = Head { seq: Seq(0), hash: ephor_events::Hash::genesis(), recorded_at: i64::MIN, commits: 0 };
        Self { strategies: Vec::new(), system: None, head, held: Vec::new() }
    }

    /// Takes another part in: every thread came to the same end.
    pub(super) fn take(&mut self, other: Self) {
        self.strategies.extend(other.strategies);
        self.system = self.system.take().or(other.system);
        self.head = other.head;
        self.held.extend(other.held);
    }
}

/// A stream on its way, and what it is to be held against.
struct Own<S> {
    stream: Stream<S>,
    kept: Option<Kept>,
}

/// How a state of one kind goes on and what it is known by.
struct Kind<S> {
    evolve: fn(S, &Event, Timestamp) -> S,
    digest: fn(&StreamId, &S) -> Result<Digest, ReplayError>,
}

const STRATEGY: Kind<strategy::State> = Kind { evolve: strategy::evolve, digest: digest_of };
const SYSTEM: Kind<system::State> = Kind { evolve: system::evolve, digest: |_, state| digest_of_system(state) };

impl<S: Default> Own<S> {
    fn new(stream: &StreamId, plan: &Plan) -> Self {
        let kept = plan.kept.get(stream).cloned();
        Self { stream: Stream::empty(stream.clone()), kept }
    }

    /// Folds the events of a commit up to `end`.
    fn fold(
        &mut self,
        commit: &CommitView<'_>,
        end: Seq,
        kind: &Kind<S>,
        held: &mut Vec<Held>,
    ) -> Result<(), ReplayError> {
        let at = decided_at(commit);
        let last = commit.last_seq().min(end);
        let stream = &mut self.stream;
        let mut state = std::mem::take(&mut stream.state);
        for (event, _) in decode_all(commit).zip(commit.seq.0..=last.0) {
            state = (kind.evolve)(state, &event?, at);
        }
        stream.state = state;
        stream.version = Version(commit.version.0 + (last.0 - commit.seq.0));
        stream.seq = last;
        stream.recorded_at = Timestamp::from_nanos(commit.recorded_at);
        if let Some(kept) = self.kept.take_if(|kept| kept.version <= stream.version) {
            let folded =
                if kept.version == stream.version { Some((kind.digest)(&stream.stream, &stream.state)?) } else { None };
            held.push(Held { kept, seq: last, folded });
        }
        Ok(())
    }

    fn finish(mut self, kind: &Kind<S>) -> Result<Stream<S>, ReplayError> {
        self.stream.digest = (kind.digest)(&self.stream.stream, &self.stream.state)?;
        Ok(self.stream)
    }
}

/// Folds one share of the log, up to and with `end`; gives up where another has failed.
pub(super) fn fold(
    reader: &Reader,
    shares: &Shares,
    share: usize,
    plan: &Plan,
    end: Seq,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Part, ReplayError> {
    let mut strategies: Streams<Own<strategy::State>> = Streams::new();
    let mut system: Option<Own<system::State>> = None;
    let mut part = Part::empty();
    let mut cursor = reader.cursor(Seq(1))?;
    while part.head.seq < end {
        let Some(commit) = cursor.next()? else { break };
        if commit.stream.is_system() {
            if shares.holds(share, commit.stream) {
                let own = system.get_or_insert_with(|| Own::new(commit.stream, plan));
                own.fold(&commit, end, &SYSTEM, &mut part.held)?;
            }
        } else {
            let new = || shares.holds(share, commit.stream).then(|| Own::new(commit.stream, plan));
            if let Some(own) = strategies.own(commit.stream_no, new) {
                own.fold(&commit, end, &STRATEGY, &mut part.held)?;
            }
        }
        let head = &mut part.head;
        head.seq = commit.last_seq().min(end);
        head.commits += 1;
        head.recorded_at = commit.recorded_at;
        if head.seq == end {
            head.hash = commit.hash();
        }
        if head.commits.is_multiple_of(PROGRESS_EVERY) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            progress(Progress { done: head.seq, total: end });
        }
    }
    progress(Progress { done: part.head.seq, total: part.head.seq });
    for own in strategies.into_values() {
        part.strategies.push(own.finish(&STRATEGY)?);
    }
    part.system = system.map(|own| own.finish(&SYSTEM)).transpose()?;
    Ok(part)
}
