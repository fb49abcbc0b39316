//! One immutable run: the index of the commits between two ends of the log.
//!
//! Its manifest (first item and checksum of every block) is in memory; blocks are fetched and
//! checked as they are needed, the filter at the first look-up of an id. A block that is missing or
//! does not check is named, never taken for "not there".

use std::sync::OnceLock;

use xorf::{BinaryFuse8Ref, Filter as _, FilterRef as _};

use super::disk::Disk;
use super::section::{Id, Item, Kind, Order, Place};
use crate::bytes::{Input, index, put_varint};
use crate::tail::{End, Mark, Posting};
use crate::{Block, Version};

/// Blocks are closed when they reach this: small enough that sixteen fit a page of sled's, so that
/// none goes to a file of its own.
pub(crate) const BLOCK: usize = 4 << 10;

/// Bytes that say how the fingerprints of a filter are laid out.
pub(crate) const FILTER_SHAPE: usize = 20;

/// A run as the list of runs knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHead {
    pub(crate) id: u64,
    pub(crate) level: u8,
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) manifest_len: u64,
    pub(crate) manifest_crc: u32,
}

/// A block as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) first: Order,
    pub(crate) crc: u32,
}

/// The blocks of every section, and the filter's shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    sections: [Vec<BlockHead>; 7],
    pub(crate) filter: Option<[u8; FILTER_SHAPE]>,
}

impl Manifest {
    pub(crate) fn blocks(&self, kind: Kind) -> &[BlockHead] {
        self.sections.get(kind as usize).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, kind: Kind, block: BlockHead) {
        if let Some(section) = self.sections.get_mut(kind as usize) {
            section.push(block);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for section in &self.sections {
            put_varint(&mut out, section.len() as u64);
            for block in section {
                put_varint(&mut out, block.first.0);
                put_varint(&mut out, block.first.1);
                out.extend_from_slice(&block.crc.to_le_bytes());
            }
        }
        out.extend_from_slice(self.filter.as_ref().map(<[u8; _]>::as_slice).unwrap_or_default());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let mut manifest = Self::default();
        for section in &mut manifest.sections {
            for _ in 0..input.varint()? {
                let first = (input.varint()?, input.varint()?);
                section.push(BlockHead { first, crc: input.u32()? });
            }
        }
        if !input.is_empty() {
            manifest.filter = Some(*input.array()?);
        }
        input.is_empty().then_some(manifest)
    }
}

/// A run, open for reading.
pub(crate) struct Run {
    pub(crate) head: RunHead,
    pub(crate) manifest: Manifest,
    disk: Disk,
    fingerprints: OnceLock<Vec<u8>>,
}

impl Run {
    pub(crate) fn new(head: RunHead, manifest: Manifest, disk: Disk) -> Self {
        Self { head, manifest, disk, fingerprints: OnceLock::new() }
    }

    /// Reads a run's manifest; the block is the one that does not check.
    pub(crate) fn load(head: RunHead, disk: Disk) -> Result<Self, Block> {
        let refuse = |number| Block { run: head.id, section: Kind::Manifest as u8, number };
        let mut bytes = Vec::new();
        let mut number = 0;
        while (bytes.len() as u64) < head.manifest_len {
            let block = refuse(number);
            let part = disk.block(block).ok().flatten().filter(|part| !part.is_empty());
            bytes.extend_from_slice(&part.ok_or(block)?);
            number += 1;
        }
        let fits = bytes.len() as u64 == head.manifest_len;
        if !fits || crc32c::crc32c(&bytes) != head.manifest_crc {
            return Err(refuse(0));
        }
        let manifest = Manifest::decode(&bytes).ok_or(refuse(0))?;
        Ok(Self::new(head, manifest, disk))
    }

    fn name(&self, kind: Kind, number: usize) -> Block {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        Block { run: self.head.id, section: kind as u8, number }
    }

    fn bytes(&self, kind: Kind, number: usize) -> Result<sled::IVec, Block> {
        let name = self.name(kind, number);
        let head = self.manifest.blocks(kind).get(number).ok_or(name)?;
        let bytes = self.disk.block(name).ok().flatten().ok_or(name)?;
        if crc32c::crc32c(&bytes) == head.crc { Ok(bytes) } else { Err(name) }
    }

    /// Visits the items of a block in order until `visit` says no.
    fn visit<T: Item>(&self, number: usize, mut visit: impl FnMut(T) -> bool) -> Result<(), Block> {
        let bytes = self.bytes(T::KIND, number)?;
        let mut input = Input(&bytes);
        let mut before: Option<T> = None;
        while !input.is_empty() {
            let item = T::read(&mut input, before.as_ref(), self.head.from.address);
            let item = item.ok_or(self.name(T::KIND, number))?;
            if !visit(item.clone()) {
                return Ok(());
            }
            before = Some(item);
        }
        Ok(())
    }

    /// All items of one block.
    pub(crate) fn items<T: Item>(&self, number: usize) -> Result<Vec<T>, Block> {
        let mut items = Vec::new();
        self.visit(number, |item| {
            items.push(item);
            true
        })?;
        Ok(items)
    }

    /// Visits all items of a section in order.
    pub(crate) fn each<T: Item>(&self, mut visit: impl FnMut(T)) -> Result<(), Block> {
        for number in 0..self.manifest.blocks(T::KIND).len() {
            self.visit(number, |item| {
                visit(item);
                true
            })?;
        }
        Ok(())
    }

    /// The block in which items from `order` on begin.
    fn block_of<T: Item>(&self, order: Order) -> usize {
        let blocks = self.manifest.blocks(T::KIND);
        blocks.partition_point(|block| block.first <= order).saturating_sub(1)
    }

    /// Checks every block there is, the filter included, and counts them.
    pub(crate) fn check(&self, faults: &mut Vec<Block>) -> u64 {
        let mut blocks = 0;
        for kind in Kind::BEHIND_MANIFEST {
            for number in 0..self.manifest.blocks(kind).len() {
                faults.extend(self.bytes(kind, number).err());
                blocks += 1;
            }
        }
        blocks
    }

    /// Every block that belongs to this run.
    pub(crate) fn names(&self, out: &mut std::collections::BTreeSet<Block>) {
        let manifests = self.head.manifest_len.div_ceil(BLOCK as u64);
        out.extend((0..index(manifests)).map(|number| self.name(Kind::Manifest, number)));
        for kind in Kind::BEHIND_MANIFEST {
            let blocks = 0..self.manifest.blocks(kind).len();
            out.extend(blocks.map(|number| self.name(kind, number)));
        }
    }

    /// Whether the filter rules out this hash. A run without a filter rules out nothing.
    fn rules_out(&self, hash: u64) -> Result<bool, Block> {
        let Some(shape) = &self.manifest.filter else { return Ok(false) };
        let fingerprints = if let Some(fingerprints) = self.fingerprints.get() {
            fingerprints
        } else {
            let mut fingerprints = Vec::new();
            for number in 0..self.manifest.blocks(Kind::Filter).len() {
                fingerprints.extend_from_slice(&self.bytes(Kind::Filter, number)?);
            }
            self.fingerprints.get_or_init(|| fingerprints)
        };
        Ok(!BinaryFuse8Ref::from_dma(shape, fingerprints).contains(&hash))
    }

    /// Addresses of commits whose key may have this hash, latest first.
    pub(crate) fn find(&self, hash: u64) -> Result<Vec<u64>, Block> {
        let mut found = Vec::new();
        if self.rules_out(hash)? {
            return Ok(found);
        }
        let blocks = self.manifest.blocks(Kind::Ids);
        let mut number = self.block_of::<Id>((hash, 0));
        while blocks.get(number).is_some_and(|block| block.first.0 <= hash) {
            self.visit(number, |id: Id| {
                if id.hash == hash {
                    found.push(id.address);
                }
                id.hash <= hash
            })?;
            number += 1;
        }
        found.reverse();
        Ok(found)
    }

    /// The last mark at `seq` or before.
    pub(crate) fn mark_at_seq(&self, seq: u64) -> Result<Option<Mark>, Block> {
        let number = self.block_of::<Mark>((seq, u64::MAX));
        self.last_mark(number, |mark| mark.seq.0 <= seq)
    }

    /// The last mark recorded at `time` or before.
    pub(crate) fn mark_at_time(&self, time: i64) -> Result<Option<Mark>, Block> {
        let blocks = self.manifest.blocks(Kind::Marks);
        let key = super::section::sortable(time);
        let number = blocks.partition_point(|block| block.first.1 <= key).saturating_sub(1);
        self.last_mark(number, |mark| mark.recorded_at <= time)
    }

    fn last_mark(&self, number: usize, before: impl Fn(&Mark) -> bool) -> Result<Option<Mark>, Block> {
        let mut last = None;
        self.visit(number, |mark: Mark| {
            let wanted = before(&mark);
            if wanted {
                last = Some(mark);
            }
            wanted
        })?;
        Ok(last)
    }

    /// The first version of a stream in this run.
    pub(crate) fn first_version(&self, stream: u32) -> Result<Option<Version>, Block> {
        let mut found = Vec::new();
        self.postings(stream, Version(0), 1, &mut found)?;
        Ok(found.first().map(|posting| posting.version))
    }

    /// Commits of a stream that end at `from` or later, until there are `max`.
    pub(crate) fn postings(&self, stream: u32, from: Version, max: usize, out: &mut Vec<Posting>) -> Result<(), Block> {
        let wanted = u64::from(stream);
        let blocks = self.manifest.blocks(Kind::Streams);
        let mut number = self.block_of::<Place>((wanted, from.0));
        while out.len() < max && blocks.get(number).is_some_and(|block| block.first.0 <= wanted) {
            self.visit(number, |place: Place| {
                if place.stream == stream && place.version.0 + u64::from(place.count) > from.0 {
                    let Place { version, address, count, .. } = place;
                    out.push(Posting { version, address, count });
                }
                place.stream <= stream && out.len() < max
            })?;
            number += 1;
        }
        Ok(())
    }

    /// How many commits it covers.
    pub(crate) fn commits(&self) -> u64 {
        self.head.to.head.commits - self.head.from.head.commits
    }
}

/// The parts of something larger than a block.
pub(crate) fn parts(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (0..).zip(bytes.chunks(BLOCK))
}
