//! What the writer and its readers have in common: the bytes, and the state published with them.
//!
//! The writer holds the lock for writing only to publish a group that is already as durable as was
//! asked; so a reader never sees a commit that could still vanish from under an answer.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::index::{Frozen, Runs};
use crate::ledger::Ledger;
use crate::store::Source;
use crate::tail::{End, Mark, Posting, Tail};
use crate::{Block, ReadError, Seq, Version};

/// The log as it is published.
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    /// Newer than the last checkpoint.
    pub(crate) tail: Tail,
    /// On its way to disk.
    pub(crate) frozen: Option<Arc<Frozen>>,
    /// On disk.
    pub(crate) runs: Arc<Runs>,
}

impl State {
    pub(crate) fn new(ledger: Ledger, runs: Runs) -> Self {
        let tail = Tail::new(ledger.end);
        Self { ledger, tail, frozen: None, runs: Arc::new(runs) }
    }

    pub(crate) fn empty() -> Self {
        Self::new(Ledger::new(), Runs::default())
    }

    /// Begins a new tail, if the last one that was frozen has reached the disk.
    pub(crate) fn freeze(&mut self) {
        if self.frozen.is_none() && self.tail.commits > 0 {
            self.frozen = Some(Arc::new(freeze(&self.ledger, &mut self.tail)));
        }
    }
}

/// Takes what is in the tail, and begins a new one behind it.
pub(crate) fn freeze(ledger: &Ledger, tail: &mut Tail) -> Frozen {
    let end: End = ledger.end;
    let tail = std::mem::replace(tail, Tail::new(end));
    let names = ledger.names.from(tail.from.names + 1).to_vec();
    Frozen { tail, to: end, names }
}

/// What a directory's index and lock are to those who read from it.
pub(crate) struct Held {
    /// The list of runs: removed when a block does not check, so that the next opening rebuilds.
    pub(crate) list: PathBuf,
    /// Held until the last reader is gone, because they read sled, which cannot be opened twice.
    pub(crate) _lock: Arc<File>,
}

/// Shared by the writer and every reader of a log.
pub(crate) struct Shared {
    pub(crate) source: Arc<dyn Source>,
    state: RwLock<State>,
    condemned: AtomicBool,
    held: Option<Held>,
}

impl Shared {
    pub(crate) fn new(source: Arc<dyn Source>, state: State, held: Option<Held>) -> Self {
        let condemned = AtomicBool::new(false);
        Self { source, state: RwLock::new(state), condemned, held }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the index was found damaged, and must not be written on.
    pub(crate) fn is_condemned(&self) -> bool {
        self.condemned.load(Ordering::Acquire)
    }

    fn condemn(&self, block: Block) -> ReadError {
        if !self.condemned.swap(true, Ordering::AcqRel)
            && let Some(held) = &self.held
            && let Err(error) = std::fs::remove_file(&held.list)
        {
            tracing::error!(%error, "cannot mark the index for rebuilding");
        }
        ReadError::Index { block }
    }

    /// The last mark whose commit begins at `seq` or before.
    pub(crate) fn mark_at_seq(&self, seq: Seq) -> Result<Option<Mark>, ReadError> {
        self.last_mark(|mark| mark.seq <= seq, |runs| runs.mark_at_seq(seq))
    }

    /// The last mark recorded at `time` or before.
    pub(crate) fn mark_at_time(&self, time: i64) -> Result<Option<Mark>, ReadError> {
        self.last_mark(|mark| mark.recorded_at <= time, |runs| runs.mark_at_time(time))
    }

    /// The last mark that is `before`: in memory, newest first, else where the runs have it.
    fn last_mark(
        &self,
        before: impl Fn(&Mark) -> bool + Copy,
        on_disk: impl FnOnce(&Runs) -> Result<Option<Mark>, Block>,
    ) -> Result<Option<Mark>, ReadError> {
        let (newer, runs) = {
            let state = self.read();
            let newer = state.tail.mark(before);
            let frozen = || state.frozen.as_ref().and_then(|frozen| frozen.tail.mark(before));
            (newer.or_else(frozen), state.runs.clone())
        };
        match newer {
            Some(mark) => Ok(Some(mark)),
            None => on_disk(&runs).map_err(|block| self.condemn(block)),
        }
    }

    /// Some of the commits of a stream that end at `from` or later, in order; none at its end.
    pub(crate) fn postings(
        &self,
        stream: u32,
        from: Version,
        max: usize,
        out: &mut Vec<Posting>,
    ) -> Result<(), ReadError> {
        let runs = {
            let state = self.read();
            if state.ledger.head_of(stream) < from {
                return Ok(());
            }
            let in_memory = [state.frozen.as_ref().map(|frozen| &frozen.tail), Some(&state.tail)];
            for tail in in_memory.into_iter().flatten() {
                tail.postings(stream, from, max.saturating_sub(out.len()), out);
            }
            if out.first().is_some_and(|posting| posting.version <= from) {
                return Ok(());
            }
            state.runs.clone()
        };
        let in_memory = std::mem::take(out);
        runs.postings(stream, from, max, out).map_err(|block| self.condemn(block))?;
        if out.len() < max {
            out.extend(in_memory);
        }
        Ok(())
    }

    /// Hands over addresses of commits whose key may have this hash, latest first, until `visit`
    /// says that it has found what it wants.
    pub(crate) fn addresses(
        &self,
        hash: u64,
        visit: &mut dyn FnMut(u64) -> Result<bool, ReadError>,
    ) -> Result<bool, ReadError> {
        let (in_memory, runs) = {
            let state = self.read();
            let frozen = state.frozen.iter().flat_map(|frozen| frozen.tail.find(hash));
            (state.tail.find(hash).chain(frozen).collect::<Vec<_>>(), state.runs.clone())
        };
        for address in in_memory {
            if visit(address)? {
                return Ok(true);
            }
        }
        for run in runs.0.iter().rev() {
            for address in run.find(hash).map_err(|block| self.condemn(block))? {
                if visit(address)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
