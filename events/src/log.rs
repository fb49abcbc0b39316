//! The single writer of a log.
//!
//! An append is: encode the group, one write, one `fdatasync` if asked, then publish. After a failure
//! of the disk nothing is known about what it holds, so the log takes nothing more until it is
//! opened again and reads what is really there.

use std::path::Path;
use std::sync::Arc;

use crate::batch::Batch;
use crate::derived::Derived;
use crate::index::{self, Found, Keeper};
use crate::ledger::Ledger;
use crate::opening::{LOG_DIR, SLED_DIR, check_witness, lock, read_tail, refuse_other, witness_path};
use crate::shared::{Held, Shared, State, freeze};
use crate::store::{Chunks, Group, Memory, Sled, Store};
use crate::tail::Tail;
use crate::witness::{Witness, WitnessFile};
use crate::{
    AppendError, Backend, CheckpointError, Draft, Durability, Head, OpenError, Opened, Options, Position, Progress,
    Reader, Seq, Stage, Torn,
};

/// Commits between two reports of progress.
pub(crate) const PROGRESS_EVERY: u64 = 16_384;

/// How many checkpoints' worth of commits the index may be behind before the writer waits.
const TAILS_MAX: u64 = 16;

/// The log, open for appending. There is one in a directory at a time.
pub struct EventLog {
    store: Box<dyn Store>,
    shared: Arc<Shared>,
    batch: Batch,
    /// The last seq known to be on disk.
    synced: Seq,
    stopped: bool,
    /// The witness of the head, where the store does not keep one itself.
    witness: Option<Arc<WitnessFile>>,
    keeper: Option<Keeper>,
    derived: Derived,
    checkpoint_commits: u64,
    /// How long the tail must be for the next attempt to write the index.
    attempt_at: u64,
}

impl EventLog {
    /// A log in memory, empty.
    #[must_use]
    pub fn memory() -> Self {
        let store = Box::new(Memory::default());
        let shared = Arc::new(Shared::new(store.source(), State::empty(), None));
        Self {
            store,
            shared,
            batch: Batch::default(),
            synced: Seq(0),
            stopped: false,
            witness: None,
            keeper: None,
            derived: Derived::memory(),
            checkpoint_commits: u64::MAX,
            attempt_at: u64::MAX,
        }
    }

    /// Opens the log in `dir`, or begins one there.
    ///
    /// What is newer than the index is read and checked; the index is built anew where it does not
    /// fit the log. The directory stays locked until this log and all its readers are gone.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while another has it; anything that does not check, named;
    /// [`OpenError::Storage`] when the disk refuses.
    pub fn open(
        dir: &Path,
        options: &Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Opened), OpenError> {
        if options.backend == Backend::Memory {
            let log = Self::memory();
            let opened = Opened::of(&log, None);
            return Ok((log, opened));
        }
        let lock = Arc::new(lock(dir)?);
        let path = dir.join(LOG_DIR);
        let inside_sled = options.backend == Backend::Sled;
        refuse_other(dir, options.backend)?;
        let head = witness_path(dir, inside_sled);
        let witness = Witness::read(&head)?;
        let mut store: Box<dyn Store> = if inside_sled {
            Box::new(Sled::open(&dir.join(SLED_DIR), &head, options.sled_cache_bytes)?)
        } else {
            Box::new(Chunks::open(&path, options.chunk_bytes, options.preallocate_bytes)?)
        };
        let witness_file = (!inside_sled).then(|| Arc::new(WitnessFile::new(head, witness)));
        let found = index::find(dir, witness_file.clone(), options, &store.source())?;
        let Found { mut files, runs, ledger, rebuilt } = found;
        let mut state = State::new(ledger, runs);
        let indexed_before = state.ledger.end.head.commits;
        let limit = u64::from(options.checkpoint_commits.max(1));
        let doing = if rebuilt.is_some() { Stage::Rebuild } else { Stage::Tail };
        let torn = {
            let mut refused = None;
            let source = store.source();
            let State { ledger, tail, runs, .. } = &mut state;
            let mut full = |ledger: &mut Ledger, tail: &mut Tail| {
                if ledger.end.head.commits.is_multiple_of(PROGRESS_EVERY) {
                    progress(Progress { stage: doing, done: ledger.end.address, total: source.end() });
                }
                if tail.commits >= limit && refused.is_none() {
                    refused = source
                        .sync()
                        .err()
                        .map(|source| CheckpointError::Storage { doing: "bring the log to the disk", source });
                    let frozen = freeze(ledger, tail);
                    let written = files.add(runs, &frozen).and_then(|mut now| {
                        while let Some(merged) = files.merge(&now)? {
                            files.retire(&now, &merged);
                            now = merged;
                        }
                        Ok(now)
                    });
                    match written {
                        Ok(now) => {
                            *runs = Arc::new(now);
                            refused = files.sweep().err();
                        }
                        Err(error) => refused = Some(error),
                    }
                }
            };
            let torn = read_tail(&mut *store, ledger, tail, witness, &path, &mut full)?;
            if let Some(error) = refused {
                let source = std::io::Error::other(error);
                return Err(OpenError::storage("write the index in", dir)(source));
            }
            torn
        };
        check_witness(&state, &store.source(), witness, &path)?;
        let end = state.ledger.end.head;
        if witness.map(|witness| witness.seq) != Some(end.seq) {
            // What a killed process has written may still be nowhere but in memory.
            store.sync(end.seq, end.hash).map_err(OpenError::storage("bring to disk", &path))?;
        }
        let derived = Derived::sled(files.disk.clone(), lock.clone());
        let list = files.list.clone();
        let shared = Arc::new(Shared::new(store.source(), state, Some(Held { list, _lock: lock })));
        let keeper = Keeper::start(shared.clone(), files);
        let keeper = keeper.map_err(OpenError::storage("start the index's thread for", dir))?;
        let log = Self {
            store,
            shared,
            batch: Batch::default(),
            synced: end.seq,
            stopped: false,
            witness: witness_file,
            keeper: Some(keeper),
            derived,
            checkpoint_commits: limit,
            attempt_at: limit,
        };
        let opened = Opened {
            rebuilt,
            indexed_commits: end.commits - indexed_before,
            witness_missing: witness.is_none() && end.seq.0 > 0,
            ..Opened::of(&log, torn)
        };
        Ok((log, opened))
    }

    /// Appends a group of commits: all of them, or none.
    ///
    /// Versions are checked against the log and against the drafts before them in the group. A
    /// `recorded_at` that would go back is raised to the last one's.
    ///
    /// # Errors
    /// [`AppendError::WrongVersion`], [`AppendError::Malformed`] and [`AppendError::TooLarge`] leave
    /// the log as it was. After [`AppendError::Storage`] every append is [`AppendError::Stopped`].
    pub fn append(&mut self, drafts: &[Draft], durability: Durability) -> Result<Vec<Position>, AppendError> {
        if self.stopped {
            return Err(AppendError::Stopped);
        }
        let (positions, before) = {
            let state = self.shared.read();
            let positions = self.batch.fill(&state.ledger, drafts, self.synced)?;
            (positions, state.ledger.end.head)
        };
        if positions.is_empty() {
            return Ok(positions);
        }
        if let Err(source) = self.write(before, durability, &positions) {
            self.stopped = true;
            return Err(AppendError::Storage { last: before.seq, source });
        }
        let in_memory = {
            let mut state = self.shared.write();
            let State { ledger, tail, .. } = &mut *state;
            self.batch.publish(ledger, tail);
            state.tail.commits
        };
        if in_memory >= self.attempt_at {
            self.index_in_background(in_memory);
        }
        Ok(positions)
    }

    /// Lets the index's thread write what has gathered. Waits for it only when the log grows faster
    /// than sled can follow for a long time, because memory ends somewhere.
    fn index_in_background(&mut self, in_memory: u64) {
        let Some(keeper) = &self.keeper else { return };
        self.attempt_at = in_memory + self.checkpoint_commits / 4;
        if keeper.is_busy() && in_memory < self.checkpoint_commits.saturating_mul(TAILS_MAX) {
            return;
        }
        if keeper.is_busy()
            && let Err(error) = keeper.finish()
        {
            tracing::warn!(%error, "the index stays in memory");
        }
        self.stopped |= keeper.has_failed();
        let mut state = self.shared.write();
        if state.frozen.is_none() {
            state.freeze();
            self.attempt_at = self.checkpoint_commits;
        }
        drop(state);
        keeper.begin();
    }

    fn write(&mut self, before: Head, durability: Durability, positions: &[Position]) -> std::io::Result<()> {
        let seq = Seq(before.seq.0 + 1);
        self.store.append(&Group { frames: &self.batch.frames, seq, prev: before.hash })?;
        match durability {
            Durability::Written => Ok(()),
            Durability::Fsync => {
                let Some(last) = positions.last() else { return Ok(()) };
                let seq = Seq(last.seq.0 + u64::from(last.count) - 1);
                self.store.sync(seq, last.hash)?;
                self.synced = seq;
                Ok(())
            }
        }
    }

    /// The end of the log.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.read().ledger.end.head
    }

    /// A reader of what this log publishes.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// Where others keep what they derive from this log.
    #[must_use]
    pub fn derived(&self) -> Derived {
        self.derived.clone()
    }

    /// Brings log and index to the disk, and lets the witness remember the head.
    ///
    /// # Errors
    /// [`CheckpointError::Stopped`] after a failed append, [`CheckpointError::Storage`] when the
    /// disk refuses, [`CheckpointError::Index`] when sled does: then the index stays in memory.
    pub fn checkpoint(&mut self) -> Result<(), CheckpointError> {
        if self.stopped {
            return Err(CheckpointError::Stopped);
        }
        let head = self.head();
        if head.seq > self.synced {
            let synced = self.store.sync(head.seq, head.hash);
            self.stopped = synced.is_err();
            synced.map_err(CheckpointError::storage("bring the log to the disk"))?;
            self.synced = head.seq;
        }
        if let Some(witness) = &self.witness {
            let written = witness.write(&head);
            written.map_err(CheckpointError::storage("write the witness of the head"))?;
        }
        let Some(keeper) = &self.keeper else { return Ok(()) };
        // Twice: what was frozen before, and what has come since.
        for _ in 0..2 {
            self.shared.write().freeze();
            let finished = keeper.finish();
            self.stopped |= keeper.has_failed();
            finished?;
        }
        self.attempt_at = self.checkpoint_commits;
        Ok(())
    }

    /// Checkpoint, and give back the space reserved ahead.
    ///
    /// # Errors
    /// As [`EventLog::checkpoint`].
    pub fn close(mut self) -> Result<Head, CheckpointError> {
        self.checkpoint()?;
        let end = self.shared.read().ledger.end;
        self.store.cut(end.address).map_err(CheckpointError::storage("give back reserved space"))?;
        Ok(end.head)
    }
}

#[cfg(test)]
impl EventLog {
    /// Puts something between the log and its store.
    pub(crate) fn wrap(&mut self, wrap: impl FnOnce(Box<dyn Store>) -> Box<dyn Store>) {
        let store = std::mem::replace(&mut self.store, Box::new(Memory::default()));
        self.store = wrap(store);
    }
}

impl Opened {
    fn of(log: &EventLog, torn: Option<Torn>) -> Self {
        Self {
            head: log.head(),
            torn,
            rebuilt: None,
            indexed_commits: 0,
            chunks: log.store.chunks(),
            witness_missing: false,
        }
    }
}
