//! What follows from the log's frames alone: its end, its dictionary, the head of every stream.
//!
//! Every frame that is believed passes `accept`, whoever reads it: opening, a shared reader,
//! verification. So there is one list of what makes a log continuous.

use smol_str::SmolStr;

use crate::bytes::index;
use crate::error::Fault;
use crate::frame::Raw;
use crate::names::Names;
use crate::tail::End;
use crate::{Hash, Head, Version};

/// The log folded to its end.
pub(crate) struct Ledger {
    pub(crate) end: End,
    pub(crate) names: Names,
    /// By stream number; 0 for instruments.
    heads: Vec<u64>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { end: End::empty(), names: Names::default(), heads: Vec::new() }
    }

    pub(crate) fn head_of(&self, stream: u32) -> Version {
        Version(self.heads.get(index(u64::from(stream))).copied().unwrap_or(0))
    }

    pub(crate) fn set_head_of(&mut self, stream: u32, version: Version) {
        let at = index(u64::from(stream));
        if self.heads.len() <= at {
            self.heads.resize(at + 1, 0);
        }
        if let Some(head) = self.heads.get_mut(at) {
            *head = version.0;
        }
    }

    /// Streams by number, those that have events.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (u32, Version)> {
        (0..).zip(&self.heads).filter(|(_, head)| **head > 0).map(|(no, head)| (no, Version(*head)))
    }

    /// Checks that a frame continues the log and steps behind it. After an error nothing has changed.
    pub(crate) fn accept(&mut self, raw: &Raw<'_>, len: usize, hash: Hash) -> Result<(), Fault> {
        let head = &self.end.head;
        if raw.seq.0 != head.seq.0 + 1 {
            return Err(Fault::SeqGap { found: raw.seq });
        }
        if raw.prev != head.hash {
            return Err(Fault::Chain { expected: head.hash, found: raw.prev });
        }
        if raw.recorded_at < head.recorded_at {
            return Err(Fault::TimeBack);
        }
        let mut known = self.names.len();
        for (nth, name) in raw.names.iter().enumerate() {
            if self.names.number(name).is_some() || raw.names.iter().take(nth).any(|n| n == name) {
                return Err(Fault::NameTwice);
            }
            known += 1;
        }
        if let Some(number) = [raw.stream, raw.instrument].into_iter().find(|no| *no > known) {
            return Err(Fault::UnknownName { number });
        }
        let expected = Version(self.head_of(raw.stream).0 + 1);
        if raw.version != expected {
            return Err(Fault::VersionGap { expected, found: raw.version });
        }
        for name in raw.names.iter() {
            self.names.push(SmolStr::new(name));
        }
        self.set_head_of(raw.stream, raw.last_version());
        self.end = End {
            head: Head { seq: raw.last(), hash, recorded_at: raw.recorded_at, commits: self.end.head.commits + 1 },
            address: self.end.address + len as u64,
            last: self.end.address,
            names: self.names.len(),
        };
        Ok(())
    }
}
