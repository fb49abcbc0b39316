//! Turns a group of drafts into frames, before anything is written.
//!
//! Works on a copy of nothing: what the group adds to the log's state is kept beside it, and given to
//! it only when the frames are as durable as was asked. So a refused group leaves no trace.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::error::DraftFault;
use crate::frame::{FRAME_MAX, Stamp, encode, texts};
use crate::hashing::{NumberHash, TextHash, id_hash};
use crate::ledger::Ledger;
use crate::tail::{End, Entry, Tail};
use crate::{AppendError, Cause, Draft, Head, Position, Seq, Version};

/// The most that one group may hold.
pub(crate) const GROUP_MAX: usize = 1 << 30;
const NAME_MAX: usize = 255;

/// A group being made; its buffers are used again.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) frames: Vec<u8>,
    entries: Vec<Entry>,
    names: Vec<SmolStr>,
    numbers: HashMap<SmolStr, u32, TextHash>,
    heads: HashMap<u32, Version, NumberHash>,
    end: Option<End>,
}

impl Batch {
    /// Encodes all drafts behind the ledger's end.
    pub(crate) fn fill(
        &mut self,
        ledger: &Ledger,
        drafts: &[Draft],
        synced: Seq,
    ) -> Result<Vec<Position>, AppendError> {
        self.frames.clear();
        self.entries.clear();
        self.names.clear();
        self.numbers.clear();
        self.heads.clear();
        let mut end = ledger.end;
        let mut positions = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.iter().enumerate() {
            let first = Seq(end.head.seq.0 + 1);
            check(draft, first).map_err(|fault| AppendError::Malformed { index, fault })?;
            positions.push(self.add(ledger, draft, synced, &mut end)?);
            if self.frames.len() > GROUP_MAX {
                return Err(AppendError::TooLarge { bytes: self.frames.len(), max: GROUP_MAX });
            }
        }
        self.end = Some(end);
        Ok(positions)
    }

    fn add(&mut self, ledger: &Ledger, draft: &Draft, synced: Seq, end: &mut End) -> Result<Position, AppendError> {
        let names_before = self.names.len();
        let stream = self.number(ledger, draft.stream.name());
        let instrument = match &draft.instrument {
            Some(name) => self.number(ledger, name),
            None => 0,
        };
        let known = self.heads.get(&stream).copied();
        let actual = known.unwrap_or_else(|| ledger.head_of(stream));
        if actual != draft.expected {
            let (stream, expected) = (draft.stream.clone(), draft.expected);
            return Err(AppendError::WrongVersion { stream, expected, actual });
        }
        let count = u32::try_from(draft.events.len()).unwrap_or(u32::MAX);
        let (trace, key) = texts(draft);
        let stamp = Stamp {
            synced,
            prev: end.head.hash,
            seq: Seq(end.head.seq.0 + 1),
            version: Version(actual.0 + 1),
            recorded_at: draft.decided_at.max(end.head.recorded_at),
            names: self.names.get(names_before..).unwrap_or_default(),
            stream,
            instrument,
            trace,
            key,
        };
        let begins = self.frames.len();
        let hash = encode(&mut self.frames, draft, &stamp);
        let bytes = self.frames.len() - begins;
        if bytes > FRAME_MAX {
            return Err(AppendError::TooLarge { bytes, max: FRAME_MAX });
        }
        self.entries.push(Entry {
            address: end.address,
            seq: stamp.seq,
            version: stamp.version,
            count,
            recorded_at: stamp.recorded_at,
            stream,
            id: key.map(|(kind, id)| id_hash(stream, kind, &id)),
        });
        let position = Position { seq: stamp.seq, version: stamp.version, count, hash };
        *end = End {
            head: Head {
                seq: Seq(end.head.seq.0 + u64::from(count)),
                hash,
                recorded_at: stamp.recorded_at,
                commits: end.head.commits + 1,
            },
            address: end.address + bytes as u64,
            last: end.address,
            names: end.names + u32::try_from(self.names.len() - names_before).unwrap_or(u32::MAX),
        };
        self.heads.insert(stream, Version(actual.0 + u64::from(count)));
        Ok(position)
    }

    fn number(&mut self, ledger: &Ledger, name: &SmolStr) -> u32 {
        if let Some(number) = ledger.names.number(name) {
            return number;
        }
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.names.push(name.clone());
        let number = ledger.names.len() + u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.numbers.insert(name.clone(), number);
        number
    }

    /// Makes the group part of the log's state.
    pub(crate) fn publish(&mut self, ledger: &mut Ledger, tail: &mut Tail) {
        let Some(end) = self.end.take() else { return };
        for name in self.names.drain(..) {
            ledger.names.push(name);
        }
        for (stream, version) in self.heads.drain() {
            ledger.set_head_of(stream, version);
        }
        for entry in self.entries.drain(..) {
            tail.push(&entry);
        }
        ledger.end = end;
    }
}

fn check(draft: &Draft, first: Seq) -> Result<(), DraftFault> {
    let names = [Some(draft.stream.name()), draft.instrument.as_ref()];
    for name in names.into_iter().flatten() {
        let bytes = name.len();
        if bytes == 0 || bytes > NAME_MAX {
            return Err(DraftFault::Name { bytes });
        }
    }
    if draft.events.is_empty() {
        return Err(DraftFault::NoEvents);
    }
    for (event, encoded) in draft.events.iter().enumerate() {
        let before = match encoded.cause {
            Cause::None => true,
            Cause::InCommit(index) => usize::from(index) < event,
            Cause::Earlier(seq) => seq.0 > 0 && seq < first,
        };
        if !before {
            return Err(DraftFault::Cause { event });
        }
    }
    Ok(())
}
