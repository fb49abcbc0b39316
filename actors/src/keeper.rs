//! Saves keyframes while the house runs, on a thread of its own.
//!
//! Packing a state, taking its digest and putting both into the store takes longer than a decision may wait,
//! so an actor only leaves a copy of its state here and goes on. It leaves it when it has evolved, which is
//! before its commit is durable: so the journal has to settle before anything is saved.
//!
//! Invariants: an actor never waits for this thread; nothing is saved that is not in the log; a keyframe
//! that found no room is due again at the next commit, so none is missing for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use ephor_events::{Reader, StreamId, Version};
use ephor_governance::{strategy, system};
use ephor_snapshots::{Ignored, Keyframes, Restored, SaveError, Spacing};

use crate::journal::Journal;

/// States that may wait to be saved.
const QUEUE: usize = 256;

/// What was saved is brought to disk after so many keyframes,
const FLUSH_AFTER: u32 = 64;

/// or when so long nothing more has come.
const FLUSH_WHEN_IDLE: Duration = Duration::from_secs(1);

/// A state and its stream.
pub(crate) enum Job {
    /// Of a strategy.
    Strategy(StreamId, Box<Restored<strategy::State>>),
    /// Of the system.
    System(Box<Restored<system::State>>),
    /// Everything left before is to be saved, and the thread to end.
    Close,
}

/// What has become of keyframes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyframeCounts {
    /// Saved while running.
    pub saved: u64,
    /// Due, but there was no room in the queue; due again at the next commit.
    pub put_off: u64,
    /// Not saved because the store refused.
    pub failed: u64,
    /// Found when states were restored, and not used because they did not fit.
    pub ignored: Ignored,
}

#[derive(Default)]
struct Counters {
    saved: AtomicU64,
    put_off: AtomicU64,
    failed: AtomicU64,
}

/// A way to the thread that saves keyframes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keeper {
    jobs: Sender<Job>,
    keyframes: Keyframes,
    spacing: Spacing,
    counters: Arc<Counters>,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(
        keyframes: Keyframes,
        reader: Reader,
        journal: Journal,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = bounded(QUEUE);
        let counters: Arc<Counters> = Arc::default();
        let spacing = keyframes.spacing();
        let saver = Saver { keyframes: keyframes.clone(), reader, journal, counters: counters.clone(), unflushed: 0 };
        let thread = std::thread::Builder::new().name("keyframes".to_owned()).spawn(move || saver.run(&waiting))?;
        Ok((Self { jobs, keyframes, spacing, counters }, thread))
    }

    /// Takes the state at `now` if a keyframe is due since the one at `newest`, and there is room; gives the
    /// version of the newest then.
    pub(crate) fn offer(&self, newest: Version, now: Version, job: impl FnOnce() -> Job) -> Version {
        if !self.spacing.is_due(newest, now) {
            return newest;
        }
        if self.jobs.is_full() || self.jobs.try_send(job()).is_err() {
            self.counters.put_off.fetch_add(1, Ordering::Relaxed);
            return newest;
        }
        now
    }

    /// Saves what was left before, and ends the thread. Waits for room on the calling thread.
    pub(crate) fn close(&self) {
        // One that is gone has nothing left to save.
        let _closed = self.jobs.send(Job::Close).is_ok();
    }

    pub(crate) fn keyframes(&self) -> &Keyframes {
        &self.keyframes
    }

    pub(crate) fn counts(&self) -> KeyframeCounts {
        let Counters { saved, put_off, failed } = &*self.counters;
        KeyframeCounts {
            saved: saved.load(Ordering::Relaxed),
            put_off: put_off.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            ignored: self.keyframes.ignored(),
        }
    }
}

struct Saver {
    keyframes: Keyframes,
    reader: Reader,
    journal: Journal,
    counters: Arc<Counters>,
    /// Keyframes that are not known to be on disk.
    unflushed: u32,
}

impl Saver {
    fn run(mut self, waiting: &Receiver<Job>) {
        loop {
            let first = if self.unflushed == 0 {
                waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                waiting.recv_timeout(FLUSH_WHEN_IDLE)
            };
            let closing = match first {
                Ok(first) => self.save_all(std::iter::once(first).chain(waiting.try_iter().take(QUEUE)).collect()),
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    false
                }
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if closing || self.unflushed >= FLUSH_AFTER {
                self.flush();
            }
            if closing {
                return;
            }
        }
    }

    /// Saves what is in the log, once it is there; whether it was the last time.
    fn save_all(&mut self, jobs: Vec<Job>) -> bool {
        self.journal.settle();
        let mut closing = false;
        for job in jobs {
            let saved = match job {
                Job::Strategy(stream, restored) => self.keyframes.save(&self.reader, &stream, &restored),
                Job::System(restored) => self.keyframes.save(&self.reader, &StreamId::system(), &restored),
                Job::Close => {
                    closing = true;
                    continue;
                }
            };
            self.note(saved);
        }
        closing
    }

    fn note(&mut self, saved: Result<bool, SaveError>) {
        match saved {
            Ok(true) => {
                self.unflushed += 1;
                self.counters.saved.fetch_add(1, Ordering::Relaxed);
            }
            // Its commit was never written, or it was kept already.
            Ok(false) => {}
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "a keyframe was not saved");
            }
        }
    }

    /// What could not be brought to the disk is tried again with what comes next.
    fn flush(&mut self) {
        if self.unflushed > 0 {
            match self.keyframes.flush() {
                Ok(()) => self.unflushed = 0,
                Err(error) => tracing::warn!(%error, "keyframes were not brought to the disk"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_that_finds_no_room_is_due_again_at_the_next_commit_and_nobody_waits() {
        let log = ephor_events::EventLog::memory();
        let keyframes = Keyframes::open(&log.derived()).unwrap();
        let (jobs, waiting) = bounded(1);
        let keeper = Keeper { jobs, keyframes, spacing: Spacing::new(100).unwrap(), counters: Arc::default() };
        let offer = |newest, now| keeper.offer(Version(newest), Version(now), || Job::Close).0;
        assert_eq!(offer(0, 99), 0);
        assert!(waiting.is_empty(), "nothing was due");
        assert_eq!(offer(0, 101), 101);
        assert_eq!((offer(101, 200), offer(101, 202)), (101, 101));
        assert_eq!(keeper.counts().put_off, 2);
        waiting.recv().unwrap();
        assert_eq!(offer(101, 204), 204);
        assert_eq!(keeper.counts().put_off, 2);
    }
}
