//! The part of the index that is in memory: what is newer than the last checkpoint.
//!
//! Built by the writer as it appends, and from the log when it is opened. A run on disk holds the
//! same things, sorted and packed.

use std::collections::HashMap;

use crate::frame::Raw;
use crate::hashing::{NumberHash, id_hash};
use crate::{Head, Seq, Version};

/// Every so many commits the index remembers an address; what lies between is walked.
pub(crate) const MARK_EVERY: u64 = 64;

/// A place from which the log can be walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// First seq of the commit there.
    pub(crate) seq: Seq,
    pub(crate) recorded_at: i64,
    pub(crate) address: u64,
}

/// A commit of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    /// Of the first event.
    pub(crate) version: Version,
    pub(crate) address: u64,
    pub(crate) count: u32,
}

/// An idempotency key seen at an address; `older` is one more than the entry before it in its hash.
#[derive(Clone, Copy, Debug)]
struct Id {
    hash: u64,
    address: u64,
    older: u32,
}

/// The end of the log as the index counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) head: Head,
    /// One past the last frame.
    pub(crate) address: u64,
    /// Where the last commit begins.
    pub(crate) last: u64,
    /// Names known.
    pub(crate) names: u32,
}

impl End {
    pub(crate) fn empty() -> Self {
        Self { head: Head::empty(), address: 0, last: 0, names: 0 }
    }
}

/// What the index needs to know of a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) address: u64,
    pub(crate) seq: Seq,
    pub(crate) version: Version,
    pub(crate) count: u32,
    pub(crate) recorded_at: i64,
    pub(crate) stream: u32,
    pub(crate) id: Option<u64>,
}

impl Entry {
    pub(crate) fn of(raw: &Raw<'_>, address: u64) -> Self {
        Self {
            address,
            seq: raw.seq,
            version: raw.version,
            count: raw.count,
            recorded_at: raw.recorded_at,
            stream: raw.stream,
            id: raw.key.map(|(kind, id)| id_hash(raw.stream, kind, &id)),
        }
    }
}

/// The index of the commits between two ends of the log.
pub(crate) struct Tail {
    pub(crate) from: End,
    pub(crate) commits: u64,
    pub(crate) marks: Vec<Mark>,
    pub(crate) streams: HashMap<u32, Vec<Posting>, NumberHash>,
    ids: Vec<Id>,
    latest: HashMap<u64, u32, NumberHash>,
}

impl Tail {
    pub(crate) fn new(from: End) -> Self {
        Self {
            from,
            commits: 0,
            marks: Vec::new(),
            streams: HashMap::default(),
            ids: Vec::new(),
            latest: HashMap::default(),
        }
    }

    pub(crate) fn push(&mut self, entry: &Entry) {
        if self.commits.is_multiple_of(MARK_EVERY) {
            self.marks.push(Mark { seq: entry.seq, recorded_at: entry.recorded_at, address: entry.address });
        }
        self.commits += 1;
        self.streams.entry(entry.stream).or_default().push(Posting {
            version: entry.version,
            address: entry.address,
            count: entry.count,
        });
        if let Some(hash) = entry.id {
            let number = u32::try_from(self.ids.len()).unwrap_or(u32::MAX - 1) + 1;
            let older = self.latest.insert(hash, number).unwrap_or(0);
            self.ids.push(Id { hash, address: entry.address, older });
        }
    }

    /// Addresses of commits whose key may have this hash, latest first.
    pub(crate) fn find(&self, hash: u64) -> impl Iterator<Item = u64> {
        let mut next = self.latest.get(&hash).copied().unwrap_or(0);
        std::iter::from_fn(move || {
            let id = self.ids.get(crate::bytes::index(u64::from(next.checked_sub(1)?)))?;
            next = id.older;
            Some(id.address)
        })
    }

    /// The last mark that `before` holds for; it must hold for a prefix of the marks.
    pub(crate) fn mark(&self, before: impl Fn(&Mark) -> bool) -> Option<Mark> {
        let after = self.marks.partition_point(before);
        self.marks.get(after.checked_sub(1)?).copied()
    }

    /// Commits of a stream that end at `from` or later, at most `max`.
    pub(crate) fn postings(&self, stream: u32, from: Version, max: usize, out: &mut Vec<Posting>) {
        let Some(all) = self.streams.get(&stream) else { return };
        let before = |posting: &Posting| posting.version.0 + u64::from(posting.count) <= from.0;
        let first = all.partition_point(before);
        out.extend(all.get(first..).unwrap_or_default().iter().take(max));
    }

    /// Hash and address of every key, in the order of the log.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ids.iter().map(|id| (id.hash, id.address))
    }
}
