//! The states that strategies went through, one after each commit that moved one.
//!
//! One pass over the log; memory grows with the strategies and not with the log.

use ephor_events::codec::decode_all;
use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::strategy;
use ephor_governance::units::Timestamp;

use crate::streams::Streams;
use crate::{PROGRESS_EVERY, Progress, ReplayError, decided_at};

/// A strategy's state after a commit.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// Which strategy.
    pub stream: &'a StreamId,
    /// What it had become.
    pub state: &'a strategy::State,
    /// The version of the last event in it.
    pub version: Version,
    /// The seq of that event.
    pub seq: Seq,
    /// When that was recorded.
    pub recorded_at: Timestamp,
    /// The first event of the commit that moved it; `None` where a moment was asked for and not a commit.
    pub event: Option<&'static str>,
}

/// Whether an event changes more of a strategy than what it has been asked and where it stands in the market.
const fn moves(event: &Event) -> bool {
    !matches!(event, Event::SignalReceived(_) | Event::DecisionMade(_) | Event::OrderReported(_))
}

/// Visits the state of each wanted strategy after each commit between two seqs that moved it: a trade, a
/// transition, a pause, an operator's word. Signals, decisions and order reports alone do not. A commit that goes on beyond the second
/// seq is folded and shown up to it.
///
/// # Errors
/// As reading, and what `visit` says.
pub fn each<E: From<ReplayError>>(
    reader: &Reader,
    wanted: impl Fn(&StreamId) -> bool,
    (from, to): (Seq, Seq),
    progress: &mut dyn FnMut(Progress),
    visit: &mut dyn FnMut(&Stage<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut states: Streams<strategy::State> = Streams::new();
    let mut cursor = reader.cursor(Seq(1)).map_err(ReplayError::from)?;
    let mut commits = 0_u64;
    while let Some(commit) = cursor.next().map_err(ReplayError::from)? {
        if commit.seq > to {
            break;
        }
        commits += 1;
        if commits.is_multiple_of(PROGRESS_EVERY) {
            progress(Progress { done: commit.seq, total: to });
        }
        if !commit.stream.is_strategy() || !wanted(commit.stream) {
            continue;
        }
        let at = decided_at(&commit);
        let state = states.of(commit.stream_no, strategy::State::default);
        let last = commit.last_seq().min(to);
        let mut first = None;
        for (event, _) in decode_all(&commit).zip(commit.seq.0..=last.0) {
            let event = event.map_err(ReplayError::from)?;
            if first.is_none() && moves(&event) {
                first = Some(event.name());
            }
            *state = strategy::evolve(std::mem::take(state), &event, at);
        }
        if first.is_some() && last >= from {
            visit(&Stage {
                stream: commit.stream,
                state,
                version: Version(commit.version.0 + (last.0 - commit.seq.0)),
                seq: last,
                recorded_at: Timestamp::from_nanos(commit.recorded_at),
                event: first,
            })?;
        }
    }
    progress(Progress { done: to, total: to });
    Ok(())
}
