//! One commit as bytes: the only file that knows the layout of a frame.
//!
//! A frame is a head of twelve bytes (length, check of the length, CRC32C), the distance back to the
//! last seq known to be on disk, and the chained part. The distance is outside the hash, because it
//! depends on how commits happened to be grouped, and the chain must depend on the drafts alone.
//!
//! Invariants: the same drafts give the same chained bytes; a frame that does not read back exactly
//! is refused with the part that failed; reading never allocates. `docs/log-format.md` draws it.

use smol_str::SmolStr;

use crate::bytes::{Input, put_bytes, put_varint, unzigzag, zigzag};
use crate::error::{Fault, Part};
use crate::text::Text;
use crate::{Cause, Draft, Encoded, Hash, Seq, Version};

/// Bytes in front of every frame: length, its check, CRC32C of what follows.
pub(crate) const HEAD: usize = 12;
/// The longest frame that is written or believed: a length above it is damage.
pub(crate) const FRAME_MAX: usize = 64 << 20;

/// The last byte of every frame: not zero, and no single flipped bit makes it so. A frame in reserved
/// space whose last byte is blank was never written to its end.
const END: u8 = 0xe7;

const TEXT_UUID: u8 = 1;
const TEXT_STR: u8 = 2;
const KEY_SHIFT: u8 = 2;
const KEY_IS_TRACE: u8 = 1;
const KEY_UUID: u8 = 2;
const KEY_STR: u8 = 3;
const HAS_NAMES: u8 = 1 << 4;
const HAS_INSTRUMENT: u8 = 1 << 5;
/// Recorded later than decided.
const RAISED: u8 = 1 << 6;
const FLAGS_KNOWN: u8 = 0b0111_1111;

/// What a frame says beside its draft.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    /// The highest seq known to be on disk when the frame was written.
    pub(crate) synced: Seq,
    pub(crate) prev: Hash,
    pub(crate) seq: Seq,
    pub(crate) version: Version,
    pub(crate) recorded_at: i64,
    /// Names introduced here, in the order of their numbers.
    pub(crate) names: &'a [SmolStr],
    pub(crate) stream: u32,
    /// 0 for none.
    pub(crate) instrument: u32,
    pub(crate) trace: Text<'a>,
    pub(crate) key: Option<(u8, Text<'a>)>,
}

/// The trace and the key of a draft in their shortest form.
pub(crate) fn texts(draft: &Draft) -> (Text<'_>, Option<(u8, Text<'_>)>) {
    let trace = Text::of(&draft.trace);
    let key = draft.key.as_ref().map(|key| {
        let id = if key.id == draft.trace { trace } else { Text::of(&key.id) };
        (key.kind, id)
    });
    (trace, key)
}

/// Appends a frame to `out` and gives the commit's hash.
pub(crate) fn encode(out: &mut Vec<u8>, draft: &Draft, stamp: &Stamp<'_>) -> Hash {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    put_varint(out, stamp.seq.0 - stamp.synced.0);
    let chained = out.len();
    out.extend_from_slice(&stamp.prev.0);
    put_varint(out, stamp.seq.0);

    let Stamp { trace, key, .. } = *stamp;
    let mut flags = match trace {
        Text::None => 0,
        Text::Uuid(_) => TEXT_UUID,
        Text::Str(_) => TEXT_STR,
    };
    if let Some((_, id)) = key {
        flags |= match id {
            same if same == trace => KEY_IS_TRACE,
            Text::Uuid(_) => KEY_UUID,
            Text::None | Text::Str(_) => KEY_STR,
        } << KEY_SHIFT;
    }
    if !stamp.names.is_empty() {
        flags |= HAS_NAMES;
    }
    if stamp.instrument != 0 {
        flags |= HAS_INSTRUMENT;
    }
    let raised = stamp.recorded_at.wrapping_sub(draft.decided_at).cast_unsigned();
    if raised != 0 {
        flags |= RAISED;
    }
    out.push(flags);
    if !stamp.names.is_empty() {
        put_varint(out, stamp.names.len() as u64);
        for name in stamp.names {
            put_bytes(out, name.as_bytes());
        }
    }
    put_varint(out, u64::from(stamp.stream));
    put_varint(out, stamp.version.0);
    out.extend_from_slice(&stamp.recorded_at.to_le_bytes());
    if raised != 0 {
        put_varint(out, raised);
    }
    put_varint(out, zigzag(draft.occurred_at.wrapping_sub(stamp.recorded_at)));
    put_varint(out, draft.system.0);
    put_text(out, trace);
    if let Some((kind, id)) = key {
        out.push(kind);
        if id != trace {
            match id {
                Text::None => out.push(0),
                Text::Uuid(_) | Text::Str(_) => put_text(out, id),
            }
        }
    }
    if stamp.instrument != 0 {
        put_varint(out, u64::from(stamp.instrument));
    }
    put_varint(out, draft.events.len() as u64);
    for event in &draft.events {
        put_event(out, event, stamp.seq);
    }
    out.push(END);

    let (_, frame) = out.split_at_mut(start);
    let hash = Hash::of(frame.get(chained - start..).unwrap_or_default());
    seal(frame);
    hash
}

fn put_text(out: &mut Vec<u8>, text: Text<'_>) {
    match text {
        Text::None => {}
        Text::Uuid(bytes) => out.extend_from_slice(&bytes),
        Text::Str(text) => put_bytes(out, text.as_bytes()),
    }
}

fn put_event(out: &mut Vec<u8>, event: &Encoded, first: Seq) {
    put_varint(out, u64::from(event.type_id));
    put_varint(out, u64::from(event.schema));
    put_varint(
        out,
        match event.cause {
            Cause::None => 0,
            Cause::InCommit(index) => 1 + 2 * u64::from(index),
            Cause::Earlier(seq) => 2 * (first.0 - seq.0),
        },
    );
    put_bytes(out, &event.payload);
}

/// Writes the head of a frame over the twelve bytes reserved for it.
fn seal(frame: &mut [u8]) {
    let Some((head, rest)) = frame.split_first_chunk_mut::<HEAD>() else { return };
    let len = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_le_bytes();
    let check = crc32c::crc32c(&len).to_le_bytes();
    let crc = crc32c::crc32c(rest).to_le_bytes();
    for (to, from) in head.iter_mut().zip(len.into_iter().chain(check).chain(crc)) {
        *to = from;
    }
}

/// The first twelve bytes of a frame, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHead {
    /// Of the whole frame, these twelve bytes included.
    pub(crate) len: usize,
    crc: u32,
}

impl FrameHead {
    pub(crate) fn parse(bytes: &[u8; HEAD]) -> Result<Self, Fault> {
        let mut input = Input(bytes);
        let (Some(len), Some(check), Some(crc)) = (input.array::<4>(), input.u32(), input.u32()) else {
            return Err(Fault::LengthCheck);
        };
        let body = crate::bytes::index(u64::from(u32::from_le_bytes(*len)));
        if crc32c::crc32c(len) != check || body > FRAME_MAX {
            return Err(Fault::LengthCheck);
        }
        Ok(Self { len: body + HEAD, crc })
    }
}

/// Checks a whole frame and reads everything in front of the events.
pub(crate) fn decode(frame: &[u8]) -> Result<Raw<'_>, Fault> {
    let Some((head, body)) = frame.split_first_chunk::<HEAD>() else {
        return Err(Fault::Ends);
    };
    let head = FrameHead::parse(head)?;
    if head.len != frame.len() {
        return Err(Fault::Ends);
    }
    let found = crc32c::crc32c(body);
    if found != head.crc {
        return Err(Fault::Crc { expected: head.crc, found });
    }
    Raw::parse(body)
}

/// The fields of a frame, numbers not yet resolved to names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) synced: Seq,
    /// Bytes behind the head.
    len: usize,
    pub(crate) chained: &'a [u8],
    pub(crate) prev: Hash,
    pub(crate) seq: Seq,
    pub(crate) names: Names<'a>,
    pub(crate) stream: u32,
    pub(crate) version: Version,
    pub(crate) recorded_at: i64,
    pub(crate) decided_at: i64,
    pub(crate) occurred_at: i64,
    pub(crate) system: Version,
    pub(crate) trace: Text<'a>,
    pub(crate) key: Option<(u8, Text<'a>)>,
    pub(crate) instrument: u32,
    pub(crate) count: u32,
    pub(crate) events: &'a [u8],
}

impl<'a> Raw<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Fault> {
        let part = |part| move || Fault::Body { part };
        let mut input = Input(body);
        let back = input.varint().ok_or_else(part(Part::Synced))?;
        let chained = input.0;
        let prev = input.hash().ok_or_else(part(Part::Previous))?;
        let seq = input.varint().filter(|seq| *seq > 0).ok_or_else(part(Part::Seq))?;
        let synced = seq.checked_sub(back).filter(|_| back > 0).ok_or_else(part(Part::Synced))?;
        let flags = input.u8().filter(|flags| flags & !FLAGS_KNOWN == 0).ok_or_else(part(Part::Flags))?;
        let names = if flags & HAS_NAMES == 0 {
            Names { count: 0, bytes: &[] }
        } else {
            Names::parse(&mut input).ok_or_else(part(Part::Names))?
        };
        let stream = input.varint32().filter(|stream| *stream > 0).ok_or_else(part(Part::Stream))?;
        let version = input.varint().filter(|version| *version > 0);
        let version = version.ok_or_else(part(Part::Version))?;
        let recorded_at = input.u64().ok_or_else(part(Part::Times))?.cast_signed();
        let raised = if flags & RAISED == 0 {
            0
        } else {
            input.varint().filter(|raised| *raised != 0).ok_or_else(part(Part::Times))?
        };
        let delta = unzigzag(input.varint().ok_or_else(part(Part::Times))?);
        let system = Version(input.varint().ok_or_else(part(Part::System))?);
        let trace = read_text(&mut input, flags & 3).ok_or_else(part(Part::Trace))?;
        let key = match (flags >> KEY_SHIFT) & 3 {
            0 => None,
            form => {
                let kind = input.u8().ok_or_else(part(Part::Key))?;
                let id = match form {
                    KEY_IS_TRACE => Some(trace),
                    KEY_UUID => read_text(&mut input, TEXT_UUID),
                    _ => read_text(&mut input, TEXT_STR),
                };
                Some((kind, id.ok_or_else(part(Part::Key))?))
            }
        };
        let instrument = if flags & HAS_INSTRUMENT == 0 {
            0
        } else {
            let number = input.varint32().filter(|number| *number > 0);
            number.ok_or_else(part(Part::Instrument))?
        };
        let count = input.varint32().filter(|count| *count > 0).ok_or_else(part(Part::Count))?;
        let (end, events) = input.0.split_last().ok_or_else(part(Part::End))?;
        if *end != END {
            return Err(Fault::Body { part: Part::End });
        }
        let ends = seq.checked_add(u64::from(count)).and(version.checked_add(u64::from(count)));
        ends.ok_or_else(part(Part::Count))?;
        check_events(events, Seq(seq), count)?;
        Ok(Self {
            synced: Seq(synced),
            len: body.len(),
            chained,
            prev,
            seq: Seq(seq),
            names,
            stream,
            version: Version(version),
            recorded_at,
            decided_at: recorded_at.wrapping_sub(raised.cast_signed()),
            occurred_at: recorded_at.wrapping_add(delta),
            system,
            trace,
            key,
            instrument,
            count,
            events,
        })
    }

    /// Of the whole frame, its head included.
    pub(crate) fn frame_len(&self) -> usize {
        HEAD + self.len
    }

    pub(crate) fn hash(&self) -> Hash {
        Hash::of(self.chained)
    }

    /// The seq of the last event.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.seq.0 + u64::from(self.count) - 1)
    }

    /// The version of the last event.
    pub(crate) fn last_version(&self) -> Version {
        Version(self.version.0 + u64::from(self.count) - 1)
    }
}

fn read_text<'a>(input: &mut Input<'a>, form: u8) -> Option<Text<'a>> {
    match form {
        0 => Some(Text::None),
        TEXT_UUID => input.array().copied().map(Text::Uuid),
        TEXT_STR => {
            let text = std::str::from_utf8(input.counted()?).ok()?;
            Some(if text.is_empty() { Text::None } else { Text::Str(text) })
        }
        _ => None,
    }
}

/// Walks the events once, so that iterating over them later cannot fail.
fn check_events(events: &[u8], first: Seq, count: u32) -> Result<(), Fault> {
    let mut input = Input(events);
    for index in 0..count {
        read_event(&mut input, first, index).ok_or(Fault::Body { part: Part::Event })?;
    }
    if input.is_empty() { Ok(()) } else { Err(Fault::Body { part: Part::Surplus }) }
}

/// Type, schema, cause and payload of the next event.
#[inline]
pub(crate) fn read_event<'a>(input: &mut Input<'a>, first: Seq, index: u32) -> Option<(u16, u16, Cause, &'a [u8])> {
    let type_id = input.varint16()?;
    let schema = input.varint16()?;
    let cause = match input.varint()? {
        0 => Cause::None,
        odd if odd & 1 == 1 => {
            let at = u16::try_from(odd >> 1).ok().filter(|at| u32::from(*at) < index)?;
            Cause::InCommit(at)
        }
        even => Cause::Earlier(Seq(first.0.checked_sub(even >> 1).filter(|seq| *seq > 0)?)),
    };
    let payload = input.counted()?;
    Some((type_id, schema, cause, payload))
}

/// The names that a frame introduces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    count: u64,
    bytes: &'a [u8],
}

impl<'a> Names<'a> {
    fn parse(input: &mut Input<'a>) -> Option<Self> {
        let count = input.varint().filter(|count| *count > 0)?;
        let before = input.0;
        for _ in 0..count {
            std::str::from_utf8(input.counted()?).ok()?;
        }
        let taken = before.len() - input.0.len();
        Some(Self { count, bytes: before.get(..taken)? })
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut input = Input(self.bytes);
        (0..self.count).filter_map(move |_| std::str::from_utf8(input.counted()?).ok())
    }
}
