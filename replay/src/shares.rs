//! A pass over the log by several threads, each with some of the streams.
//!
//! Streams are dealt out by the number of their events, the longest first, to whoever has least: so a log
//! whose streams are of like length keeps every thread busy, and one that is mostly one stream does not.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ephor_events::{Reader, StreamId, Version};

use crate::{Progress, ReplayError};

/// Which thread has which stream.
pub(crate) struct Shares {
    threads: usize,
    of: BTreeMap<StreamId, usize>,
}

impl Shares {
    /// Deals the log's streams out to at most so many threads.
    pub(crate) fn of(reader: &Reader, threads: usize) -> Self {
        let mut streams = reader.streams();
        let threads = threads.min(streams.len()).max(1);
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
    /// came to in their order. Where one fails the flag is set, and the others may give up.
    ///
    /// # Errors
    /// That of the first share that failed.
    pub(crate) fn work<T: Send>(
        &self,
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
        thread::scope(|scope| {
            let one = &one;
            let others: Vec<_> = (1..self.threads).map(|share| scope.spawn(move || one(share, &mut |_| {}))).collect();
            let own = one(0, progress);
            let others =
                others.into_iter().map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            std::iter::once(own).chain(others).collect()
        })
    }
}
