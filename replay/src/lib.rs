//! History, folded and judged again: the state at any point, and whether every decision follows.
//!
//! Folding goes through the log itself and the same pure rules that wrote it; no mailbox, no clock. So
//! what comes out is the same on every machine, and a recorded decision can be made again and compared.
//!
//! Invariants: no event is left out of a state; nothing here writes; memory grows with the strategies,
//! never with the log.

pub mod at;
pub mod audit;
pub mod bisect;
pub mod diff;
mod error;
pub mod fold;
pub mod happened;
pub mod keyframes;
mod nearest;
pub mod passage;
mod shares;
pub mod states;
mod streams;
mod system;
pub mod timeline;
pub mod what_if;
pub mod why;

pub use ephor_snapshots::{KillView, ProposalView, SystemView};
pub use error::ReplayError;
pub use nearest::nearest;
pub use system::covers;

use ephor_events::codec::decode_all;
use ephor_events::{CommitView, Seq};
use ephor_governance::event::Event;
use ephor_governance::units::Timestamp;

/// How far a pass over the log has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last seq done.
    pub done: Seq,
    /// The last seq there is to do.
    pub total: Seq,
}

/// Commits between two reports of progress.
const PROGRESS_EVERY: u64 = 16_384;

/// When a commit was decided: the time its command carried, which its state was evolved with.
fn decided_at(commit: &CommitView<'_>) -> Timestamp {
    Timestamp::from_nanos(commit.decided_at)
}

/// The events of a commit in place of what the buffer held: a pass over the log needs one.
fn decode_into(commit: &CommitView<'_>, events: &mut Vec<Event>) -> Result<(), ReplayError> {
    events.clear();
    for event in decode_all(commit) {
        events.push(event?);
    }
    Ok(())
}
