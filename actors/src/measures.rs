//! Figures of the running house, counted without a lock where the work is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of commits in a group.
const GROUP_BOUNDS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// Upper bounds of a group's time, microseconds.
const MICROS_BOUNDS: [u64; 14] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];

/// How often values fell between which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// The largest value that each bucket but the last holds, in order.
    pub bounds: &'static [u64],
    /// Values a bucket; the last has those above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

/// What the house has done since its start, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measures {
    /// Commits in each group that the journal wrote.
    pub group_commits: Histogram,
    /// How long each group took to be written and to reach its durability, microseconds.
    pub group_micros: Histogram,
    /// Commits written.
    pub commits: u64,
    /// Events written.
    pub events: u64,
    /// Commits that wait for the journal now.
    pub queued: usize,
    /// Requests under way now.
    pub under_way: usize,
    /// How many may be.
    pub under_way_max: usize,
    /// Requests refused because too many were waiting.
    pub overloaded: u64,
}

struct Buckets<const BOUNDS: usize> {
    bounds: &'static [u64; BOUNDS],
    counts: [AtomicU64; BOUNDS],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const BOUNDS: usize> Buckets<BOUNDS> {
    fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        let counts = std::array::from_fn(|_| AtomicU64::new(0));
        Self { bounds, counts, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    fn add(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(place).unwrap_or(&self.above).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn read(&self) -> Histogram {
        let counts = self.counts.iter().chain([&self.above]).map(|count| count.load(Ordering::Relaxed)).collect();
        Histogram { bounds: self.bounds, counts, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// Where the journal and the governor count.
pub(crate) struct Counters {
    group_commits: Buckets<{ GROUP_BOUNDS.len() }>,
    group_micros: Buckets<{ MICROS_BOUNDS.len() }>,
    events: AtomicU64,
    overloaded: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            group_commits: Buckets::new(&GROUP_BOUNDS),
            group_micros: Buckets::new(&MICROS_BOUNDS),
            events: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// A group was written.
    pub(crate) fn group(&self, commits: usize, events: u64, took: Duration) {
        self.group_commits.add(commits as u64);
        self.group_micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    /// A request was refused because too many were waiting.
    pub(crate) fn refused(&self) {
        self.overloaded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, queued: usize, under_way: usize, under_way_max: usize) -> Measures {
        let group_commits = self.group_commits.read();
        Measures {
            commits: group_commits.sum,
            group_commits,
            group_micros: self.group_micros.read(),
            events: self.events.load(Ordering::Relaxed),
            queued,
            under_way,
            under_way_max,
            overloaded: self.overloaded.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_bucket_that_holds_it() {
        let counters = Counters::default();
        for (commits, micros) in [(1, 10), (2, 11), (3, 3_000_000)] {
            counters.group(commits, 5, Duration::from_micros(micros));
        }
        let Measures { group_commits, group_micros, commits, events, .. } = counters.read(0, 0, 0);
        assert_eq!((commits, events, group_micros.sum), (6, 15, 3_000_021));
        assert_eq!(group_commits.counts[..3], [1, 1, 1]);
        assert_eq!((group_micros.counts[0], group_micros.counts[1], group_micros.counts[14]), (1, 1, 1));
        assert_eq!(group_micros.counts.len(), group_micros.bounds.len() + 1);
    }
}
