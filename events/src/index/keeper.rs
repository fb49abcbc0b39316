//! Keeps the index on disk up to date, on a thread of its own.
//!
//! sled takes tens of milliseconds for what the writer makes in a fraction of a second; no commit
//! may wait for it. What is being written stays readable in memory until the list of runs names it.
//!
//! Invariants: only what the log has on disk goes into a run; blocks are on disk before the list
//! names them; a run is removed only when the list no longer names it and no reader holds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::build::{self, BuildError, Frozen};
use super::disk::Disk;
use super::run::Run;
use super::{Runs, list};
use crate::shared::Shared;
use crate::witness::WitnessFile;
use crate::{Block, CheckpointError};

/// Merging ends at runs of this size: their ids are held in memory to make the filter.
const RUN_COMMITS_MAX: u64 = 16 << 20;

/// Everything that the index needs of the disk.
pub(crate) struct Files {
    pub(crate) disk: Disk,
    /// The list of runs.
    pub(crate) list: PathBuf,
    /// The witness of the log's head, where the log does not keep one itself.
    pub(crate) head: Option<Arc<WitnessFile>>,
    pub(crate) merge_runs: usize,
    next_run: u64,
    damaged: Option<Block>,
    /// Merged into others, and perhaps still being read.
    retired: Vec<Arc<Run>>,
}

impl Files {
    pub(crate) fn new(disk: Disk, list: PathBuf, head: Option<Arc<WitnessFile>>, merge_runs: usize) -> Self {
        Self { disk, list, head, merge_runs: merge_runs.max(2), next_run: 1, damaged: None, retired: Vec::new() }
    }

    /// Removes blocks of runs that the list does not name.
    pub(crate) fn tidy(&mut self, runs: &Runs) -> Result<(), super::disk::SledError> {
        let known = |id: &u64| runs.0.iter().any(|run| run.head.id == *id);
        for run in self.disk.runs()?.iter().filter(|id| !known(id)) {
            self.disk.remove_run(*run)?;
        }
        self.next_run = runs.0.iter().map(|run| run.head.id).max().unwrap_or(0) + 1;
        Ok(())
    }

    /// Makes a run of `frozen`, merges what has become too many, and gives the new list.
    pub(crate) fn add(&mut self, runs: &Runs, frozen: &Frozen) -> Result<Runs, CheckpointError> {
        if let Some(block) = self.damaged {
            return Err(CheckpointError::Index { detail: format!("{block} does not check") });
        }
        let run = self.make(|disk, id| build::from_memory(disk, id, frozen).map(Some))?;
        let mut list = runs.clone();
        list.0.extend(run.map(Arc::new));
        self.settle(&list)?;
        Ok(list)
    }

    /// Merges the newest runs as long as there are enough of one level; the new list, if any.
    pub(crate) fn merge(&mut self, runs: &Runs) -> Result<Option<Runs>, CheckpointError> {
        let Some(last) = runs.0.last() else { return Ok(None) };
        let same = |run: &&Arc<Run>| run.head.level == last.head.level;
        let count = runs.0.iter().rev().take_while(same).count();
        let (kept, small) = runs.0.split_at(runs.0.len() - count);
        let commits: u64 = small.iter().map(|run| run.commits()).sum();
        if count < self.merge_runs || commits > RUN_COMMITS_MAX {
            return Ok(None);
        }
        let run = self.make(|disk, id| build::merged(disk, id, small))?;
        let now = Runs(kept.iter().cloned().chain(run.map(Arc::new)).collect());
        self.settle(&now)?;
        Ok(Some(now))
    }

    fn make(
        &mut self,
        build: impl FnOnce(&Disk, u64) -> Result<Option<Run>, BuildError>,
    ) -> Result<Option<Run>, CheckpointError> {
        let id = self.next_run;
        self.next_run += 1;
        build(&self.disk, id).map_err(|error| match error {
            BuildError::Sled(error) => CheckpointError::Index { detail: error.detail },
            BuildError::Damaged(block) => {
                self.damaged = Some(block);
                // Without its list the index is built anew at the next opening.
                let removed = std::fs::remove_file(&self.list);
                let detail = format!("{block} does not check ({removed:?})");
                CheckpointError::Index { detail }
            }
        })
    }

    /// Brings the blocks to disk, then the list that names them.
    fn settle(&self, runs: &Runs) -> Result<(), CheckpointError> {
        let flushed = self.disk.flush();
        flushed.map_err(|error| CheckpointError::Index { detail: error.detail })?;
        let heads: Vec<_> = runs.0.iter().map(|run| run.head).collect();
        list::write(&self.list, &heads).map_err(CheckpointError::storage("write the list of runs"))
    }

    /// Notes the runs that a merge has replaced.
    pub(crate) fn retire(&mut self, before: &Runs, after: &Runs) {
        let kept = |id: u64| after.0.iter().any(|run| run.head.id == id);
        self.retired.extend(before.0.iter().filter(|run| !kept(run.head.id)).cloned());
    }

    /// Removes retired runs that nobody reads any more; the others wait for the next time.
    pub(crate) fn sweep(&mut self) -> Result<(), CheckpointError> {
        let retired = std::mem::take(&mut self.retired).into_iter();
        let (free, read): (Vec<_>, Vec<_>) = retired.partition(|run| Arc::strong_count(run) == 1);
        self.retired = read;
        for run in free {
            let removed = self.disk.remove_run(run.head.id);
            removed.map_err(|error| CheckpointError::Index { detail: error.detail })?;
        }
        Ok(())
    }
}

enum Job {
    /// Write what is frozen, and answer if asked.
    Write(Option<Sender<Result<(), CheckpointError>>>),
}

/// The thread, and the way to it.
pub(crate) struct Keeper {
    jobs: Option<Sender<Job>>,
    busy: Arc<AtomicBool>,
    /// Set when the log itself could not be brought to disk: the writer must stop.
    failed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(shared: Arc<Shared>, files: Files) -> std::io::Result<Self> {
        let (jobs, inbox) = channel();
        let busy = Arc::new(AtomicBool::new(false));
        let failed = Arc::new(AtomicBool::new(false));
        let mut worker = Worker { shared, files, busy: busy.clone(), failed: failed.clone() };
        let thread = std::thread::Builder::new().name("ephor-index".to_owned()).spawn(move || worker.run(&inbox))?;
        Ok(Self { jobs: Some(jobs), busy, failed, thread: Some(thread) })
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Begins to write what is frozen.
    pub(crate) fn begin(&self) {
        self.busy.store(true, Ordering::Release);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job::Write(None)).is_ok());
        if !sent {
            self.busy.store(false, Ordering::Release);
        }
    }

    /// Writes what is frozen and returns when it is on disk.
    pub(crate) fn finish(&self) -> Result<(), CheckpointError> {
        let (reply, answer) = channel();
        self.busy.store(true, Ordering::Release);
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(Job::Write(Some(reply))).is_ok());
        match answer.recv() {
            Ok(outcome) if sent => outcome,
            Ok(_) | Err(_) => {
                let detail = "the index's thread has ended".to_owned();
                Err(CheckpointError::Index { detail })
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the index's thread panicked; the index is rebuilt at the next opening");
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    files: Files,
    busy: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self, inbox: &Receiver<Job>) {
        self.answer(inbox);
        if let Err(error) = self.files.sweep() {
            tracing::warn!(%error, "runs that were merged are left behind");
        }
    }

    fn answer(&mut self, inbox: &Receiver<Job>) {
        while let Ok(Job::Write(reply)) = inbox.recv() {
            let outcome = self.write();
            self.busy.store(false, Ordering::Release);
            match reply {
                Some(reply) => {
                    if reply.send(outcome).is_err() {
                        return;
                    }
                }
                None => {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "the index stays in memory");
                    }
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), CheckpointError> {
        let (mut runs, frozen): (Arc<Runs>, _) = {
            let state = self.shared.read();
            (state.runs.clone(), state.frozen.clone())
        };
        let Some(frozen) = frozen else { return Ok(()) };
        if let Err(source) = self.shared.source.sync() {
            self.failed.store(true, Ordering::Release);
            return Err(CheckpointError::Storage { doing: "bring the log to the disk", source });
        }
        if self.shared.is_condemned() {
            let detail = "it was found damaged, and is rebuilt at the next opening".to_owned();
            return Err(CheckpointError::Index { detail });
        }
        if let Some(witness) = &self.files.head {
            let written = witness.write(&frozen.to.head);
            written.map_err(CheckpointError::storage("write the witness of the head"))?;
        }
        let added = Arc::new(self.files.add(&runs, &frozen)?);
        {
            let mut state = self.shared.write();
            state.runs = added.clone();
            state.frozen = None;
        }
        runs = added;
        while let Some(merged) = self.files.merge(&runs)? {
            let merged = Arc::new(merged);
            self.shared.write().runs = merged.clone();
            self.files.retire(&runs, &merged);
            runs = merged;
        }
        drop(runs);
        self.files.sweep()
    }
}
