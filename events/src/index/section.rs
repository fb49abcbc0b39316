//! The sections of a run: what an item of each is, and how it is packed behind the one before.
//!
//! An item is packed as its difference from the one in front of it in the block, or from the run's
//! beginning if it is the first: so every block is read alone. Order is part of the format.

use smol_str::SmolStr;

use crate::bytes::{Input, put_bytes, put_varint};
use crate::tail::Mark;
use crate::{Seq, Version};

/// Which section a block belongs to. Numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest = 0,
    Ids = 1,
    Streams = 2,
    Marks = 3,
    Names = 4,
    Heads = 5,
    Filter = 6,
}

impl Kind {
    pub(crate) const BEHIND_MANIFEST: [Self; 6] =
        [Self::Ids, Self::Streams, Self::Marks, Self::Names, Self::Heads, Self::Filter];
}

/// What the items of a section sort by; the first item's stands in the manifest.
pub(crate) type Order = (u64, u64);

/// One kind of item. `base` is the address at which the run begins.
pub(crate) trait Item: Clone {
    const KIND: Kind;
    fn order(&self) -> Order;
    fn put(&self, out: &mut Vec<u8>, before: Option<&Self>, base: u64);
    fn read(input: &mut Input<'_>, before: Option<&Self>, base: u64) -> Option<Self>;
}

/// An idempotency key's hash, and where a commit carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) hash: u64,
    pub(crate) address: u64,
}

impl Item for Id {
    const KIND: Kind = Kind::Ids;

    fn order(&self) -> Order {
        (self.hash, self.address)
    }

    fn put(&self, out: &mut Vec<u8>, before: Option<&Self>, base: u64) {
        put_varint(out, self.hash - before.map_or(0, |before| before.hash));
        put_varint(out, self.address - base);
    }

    fn read(input: &mut Input<'_>, before: Option<&Self>, base: u64) -> Option<Self> {
        let hash = before.map_or(0, |before| before.hash).checked_add(input.varint()?)?;
        Some(Self { hash, address: base.checked_add(input.varint()?)? })
    }
}

/// A commit of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: u32,
    pub(crate) version: Version,
    pub(crate) address: u64,
    pub(crate) count: u32,
}

impl Item for Place {
    const KIND: Kind = Kind::Streams;

    fn order(&self) -> Order {
        (u64::from(self.stream), self.version.0)
    }

    fn put(&self, out: &mut Vec<u8>, before: Option<&Self>, base: u64) {
        let same = before.filter(|before| {
            before.stream == self.stream && before.version.0 + u64::from(before.count) == self.version.0
        });
        put_varint(out, u64::from(self.count) << 1 | u64::from(same.is_some()));
        if let Some(before) = same {
            put_varint(out, self.address - before.address);
        } else {
            let stream = before.map_or(0, |before| before.stream);
            put_varint(out, u64::from(self.stream - stream));
            put_varint(out, self.version.0);
            put_varint(out, self.address - base);
        }
    }

    fn read(input: &mut Input<'_>, before: Option<&Self>, base: u64) -> Option<Self> {
        let packed = input.varint()?;
        let count = u32::try_from(packed >> 1).ok()?;
        if packed & 1 == 1 {
            let before = before?;
            let version = before.version.0.checked_add(u64::from(before.count))?;
            let address = before.address.checked_add(input.varint()?)?;
            return Some(Self { stream: before.stream, version: Version(version), address, count });
        }
        let stream = before.map_or(0, |before| before.stream).checked_add(input.varint32()?)?;
        let version = Version(input.varint()?);
        Some(Self { stream, version, address: base.checked_add(input.varint()?)?, count })
    }
}

/// Makes signed times sort as unsigned numbers.
pub(crate) fn sortable(time: i64) -> u64 {
    time.cast_unsigned() ^ (1 << 63)
}

impl Item for Mark {
    const KIND: Kind = Kind::Marks;

    fn order(&self) -> Order {
        (self.seq.0, sortable(self.recorded_at))
    }

    fn put(&self, out: &mut Vec<u8>, before: Option<&Self>, base: u64) {
        let (seq, time, address) =
            before.map_or((0, 0, base), |before| (before.seq.0, sortable(before.recorded_at), before.address));
        put_varint(out, self.seq.0 - seq);
        put_varint(out, sortable(self.recorded_at) - time);
        put_varint(out, self.address - address);
    }

    fn read(input: &mut Input<'_>, before: Option<&Self>, base: u64) -> Option<Self> {
        let (seq, time, address) =
            before.map_or((0, 0, base), |before| (before.seq.0, sortable(before.recorded_at), before.address));
        Some(Self {
            seq: Seq(seq.checked_add(input.varint()?)?),
            recorded_at: (time.checked_add(input.varint()?)? ^ (1 << 63)).cast_signed(),
            address: address.checked_add(input.varint()?)?,
        })
    }
}

/// A dictionary addition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) number: u32,
    pub(crate) name: SmolStr,
}

impl Item for Name {
    const KIND: Kind = Kind::Names;

    fn order(&self) -> Order {
        (u64::from(self.number), 0)
    }

    fn put(&self, out: &mut Vec<u8>, before: Option<&Self>, _: u64) {
        if before.is_none() {
            put_varint(out, u64::from(self.number));
        }
        put_bytes(out, self.name.as_bytes());
    }

    fn read(input: &mut Input<'_>, before: Option<&Self>, _: u64) -> Option<Self> {
        let number = match before {
            Some(before) => before.number.checked_add(1)?,
            None => input.varint32()?,
        };
        let name = SmolStr::new(std::str::from_utf8(input.counted()?).ok()?);
        Some(Self { number, name })
    }
}

/// The head of a stream at the end of a run in which it grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamHead {
    pub(crate) stream: u32,
    pub(crate) version: Version,
}

impl Item for StreamHead {
    const KIND: Kind = Kind::Heads;

    fn order(&self) -> Order {
        (u64::from(self.stream), self.version.0)
    }

    fn put(&self, out: &mut Vec<u8>, before: Option<&Self>, _: u64) {
        put_varint(out, u64::from(self.stream - before.map_or(0, |before| before.stream)));
        put_varint(out, self.version.0);
    }

    fn read(input: &mut Input<'_>, before: Option<&Self>, _: u64) -> Option<Self> {
        let stream = before.map_or(0, |before| before.stream).checked_add(input.varint32()?)?;
        Some(Self { stream, version: Version(input.varint()?) })
    }
}
