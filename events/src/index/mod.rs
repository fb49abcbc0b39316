//! The index: derived from the log, deletable, kept as a few immutable runs in sled.
//!
//! What is newer than the last checkpoint is in memory ([`crate::tail`]). A checkpoint makes a run
//! of it; runs of one level are merged when there are enough of them, so their number grows with the
//! logarithm of the log's length.

pub(crate) mod build;
pub(crate) mod compare;
#[cfg(test)]
mod damage;
pub(crate) mod disk;
mod keeper;
pub(crate) mod list;
mod open;
mod run;
mod section;

use std::sync::Arc;

pub(crate) use build::Frozen;
pub(crate) use keeper::Keeper;
pub(crate) use open::{Found, Inspected, find, inspect};
pub(crate) use run::Run;
pub(crate) use section::{Name, StreamHead};

use crate::tail::{End, Mark, Posting};
use crate::{Block, Seq, Version};

/// All runs, oldest first; each begins where the one before ends.
#[derive(Clone, Default)]
pub(crate) struct Runs(pub(crate) Vec<Arc<Run>>);

impl Runs {
    pub(crate) fn end(&self) -> End {
        self.0.last().map_or_else(End::empty, |run| run.head.to)
    }

    pub(crate) fn mark_at_seq(&self, seq: Seq) -> Result<Option<Mark>, Block> {
        let at = self.0.partition_point(|run| run.head.to.head.seq < seq);
        match self.0.get(at).or(self.0.last()) {
            Some(run) => run.mark_at_seq(seq.0),
            None => Ok(None),
        }
    }

    pub(crate) fn mark_at_time(&self, time: i64) -> Result<Option<Mark>, Block> {
        for run in self.0.iter().rev() {
            if let Some(mark) = run.mark_at_time(time)? {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    pub(crate) fn postings(&self, stream: u32, from: Version, max: usize, out: &mut Vec<Posting>) -> Result<(), Block> {
        // The newest run that begins at or before `from` is where to start; most readers want the end.
        let mut start = 0;
        for (at, run) in self.0.iter().enumerate().rev() {
            if run.first_version(stream)?.is_some_and(|first| first <= from) {
                start = at;
                break;
            }
        }
        for run in self.0.iter().skip(start) {
            if out.len() >= max {
                break;
            }
            run.postings(stream, from, max, out)?;
        }
        Ok(())
    }
}
