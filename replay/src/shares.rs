//! A pass over the log by several threads, each with some of the streams.
//!
//! Streams are dealt out by the number of their events, the longest first, to whoever has least: so a log
//! whose streams are of like length keeps every thread busy, and one that is mostly one stream does not.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};

use ephor_events::{Reader, StreamId, Version};

use crate::{Progress, ReplayError};

/// The most threads for each core of the machine: more only wait for one another, and each reads the whole log.
pub const THREADS_PER_CORE_MAX: usize = 4;

/// Which thread has which stream.
pub(crate) struct Shares {
    threads: usize,
    of: BTreeMap<StreamId, usize>,
}

impl Shares {
    /// Deals the log's streams out to at most so many threads, and at most [`THREADS_PER_CORE_MAX`] a core.
    pub(crate) fn of(reader: &Reader, threads: usize) -> Self {
        let mut streams = reader.streams();
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = threads.min(streams.len()).min(cores * THREADS_PER_CORE_MAX).max(1);
        streams.sort_by_key(|(_, version)| Reverse(*version));
        let mut load = vec![0_u64; threads];
        let mut of = BTreeMap::new();
        for (stream, Version(events)) in streams {
            let least = load.iter_mut().enumerate().min_by_key(|(_, load)| **load);
            let share = least.map_or(0, |(share, load)| {
                *load += events;
                share
            });
            of.insert(stream, share);
        }
        Self { threads, of }
    }

    pub(crate) const fn threads(&self) -> usize {
        self.threads
    }

    /// A stream that was not there when the streams were dealt out goes to the first.
    pub(crate) fn holds(&self, share: usize, stream: &StreamId) -> bool {
        self.of.get(stream).copied().unwrap_or_default() == share
    }

    /// Does every share's work, each on a thread of its own and the first on this one, and gives what they
    /// came to in their order. Where one fails the flag is set, and the others may give up. Progress is the
    /// first one's, and comes to its end when all have.
    ///
    /// # Errors
    /// That of the first share that failed; [`ReplayError::Thread`] where the system has no thread to give.
    pub(crate) fn work<T: Send>(
        &self,
        progress: &mut dyn FnMut(Progress),
        work: impl Fn(usize, &AtomicBool, &mut dyn FnMut(Progress)) -> Result<T, ReplayError> + Sync,
    ) -> Result<Vec<T>, ReplayError> {
        self.work_on(Builder::new, progress, work)
    }

    fn work_on<T: Send>(
        &self,
        thread: impl Fn() -> Builder,
        progress: &mut dyn FnMut(Progress),
        work: impl Fn(usize, &AtomicBool, &mut dyn FnMut(Progress)) -> Result<T, ReplayError> + Sync,
    ) -> Result<Vec<T>, ReplayError> {
        let stop = AtomicBool::new(false);
        let one = |share, progress: &mut dyn FnMut(Progress)| {
            let done = work(share, &stop, progress);
            if done.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            done
        };
        let mut end = None;
        let parts = thread::scope(|scope| {
            let one = &one;
            let mut others = Vec::new();
            for share in 1..self.threads {
                let other = thread().spawn_scoped(scope, move || one(share, &mut |_| {}));
                others.push(other.map_err(|source| {
                    stop.store(true, Ordering::Relaxed);
                    ReplayError::Thread { number: share + 1, threads: self.threads, source }
                })?);
            }
            let own = one(0, &mut |now| if now.done < now.total { progress(now) } else { end = Some(now) });
            let others =
                others.into_iter().map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            std::iter::once(own).chain(others).collect()
        });
        end.into_iter().for_each(progress);
        parts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ephor_events::Seq;

    use super::*;

    fn shares(threads: usize) -> Shares {
        Shares { threads, of: BTreeMap::new() }
    }

    #[test]
    fn progress_comes_to_its_end_when_every_share_has() {
        let ended = AtomicBool::new(false);
        let mut seen = Vec::new();
        let work = |share: usize, _: &AtomicBool, progress: &mut dyn FnMut(Progress)| {
            if share == 1 {
                thread::sleep(Duration::from_millis(50));
                ended.store(true, Ordering::Relaxed);
            }
            for done in 1..=2 {
                progress(Progress { done: Seq(done), total: Seq(2) });
            }
            Ok(())
        };
        shares(2).work(&mut |now| seen.push((now.done, ended.load(Ordering::Relaxed))), work).unwrap();
        assert_eq!(seen, [(Seq(1), false), (Seq(2), true)]);
    }

    #[test]
    fn a_thread_that_the_system_refuses_is_an_error() {
        // No machine has a stack of this size to give.
        let thread = || Builder::new().stack_size(isize::MAX as usize / 2);
        let refused = shares(3).work_on(thread, &mut |_| {}, |_, _, _| Ok(())).unwrap_err();
        assert!(matches!(refused, ReplayError::Thread { number: 2, threads: 3, .. }), "{refused}");
        assert!(refused.is_retryable() && !refused.is_callers());
    }
}
