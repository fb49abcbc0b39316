//! Makes runs: from what is in memory, and from smaller runs.
//!
//! Blocks are written as they fill, the manifest last, and the run counts only when the list of runs
//! names it: a crash between leaves blocks that nobody looks at, and the next opening removes them.

use xorf::{BinaryFuse8, DmaSerializable as _};

use super::disk::{Disk, SledError};
use super::run::{BLOCK, BlockHead, FILTER_SHAPE, Manifest, Run, RunHead, parts};
use super::section::{Id, Item, Kind, Name, Place, StreamHead};
use crate::tail::{End, Mark, Tail};
use crate::{Block, Version};

/// What is in memory and shall become a run.
pub(crate) struct Frozen {
    pub(crate) tail: Tail,
    pub(crate) to: End,
    /// Names introduced between the two ends.
    pub(crate) names: Vec<smol_str::SmolStr>,
}

/// Why a run was not made.
#[derive(Debug)]
pub(crate) enum BuildError {
    Sled(SledError),
    /// A run that should be merged does not check.
    Damaged(Block),
}

impl From<SledError> for BuildError {
    fn from(error: SledError) -> Self {
        Self::Sled(error)
    }
}

impl From<Block> for BuildError {
    fn from(block: Block) -> Self {
        Self::Damaged(block)
    }
}

/// Writes the blocks of one run.
struct Builder<'a> {
    disk: &'a Disk,
    id: u64,
    base: u64,
    manifest: Manifest,
}

impl Builder<'_> {
    fn section<T: Item>(&mut self, mut next: impl FnMut() -> Result<Option<T>, BuildError>) -> Result<(), BuildError> {
        let mut block = Vec::with_capacity(BLOCK + 512);
        let mut first = None;
        let mut before: Option<T> = None;
        while let Some(item) = next()? {
            first.get_or_insert(item.order());
            item.put(&mut block, before.as_ref(), self.base);
            before = Some(item);
            if block.len() >= BLOCK
                && let Some(order) = first.take()
            {
                self.block(T::KIND, order, &block)?;
                block.clear();
                before = None;
            }
        }
        match first {
            Some(order) => self.block(T::KIND, order, &block),
            None => Ok(()),
        }
    }

    fn block(&mut self, kind: Kind, first: super::section::Order, bytes: &[u8]) -> Result<(), BuildError> {
        let number = u32::try_from(self.manifest.blocks(kind).len()).unwrap_or(u32::MAX);
        self.disk.put_block(Block { run: self.id, section: kind as u8, number }, bytes)?;
        self.manifest.push(kind, BlockHead { first, crc: crc32c::crc32c(bytes) });
        Ok(())
    }

    /// The filter of all id hashes, which must be sorted.
    fn filter(&mut self, mut hashes: Vec<u64>) -> Result<(), BuildError> {
        hashes.dedup();
        if hashes.is_empty() {
            return Ok(());
        }
        let Ok(filter) = BinaryFuse8::try_from_iterator(hashes.iter().copied()) else {
            // Without a filter look-ups only take longer.
            return Ok(());
        };
        let mut shape = [0; FILTER_SHAPE];
        filter.dma_copy_descriptor_to(&mut shape);
        self.manifest.filter = Some(shape);
        for (number, part) in parts(filter.dma_fingerprints()) {
            self.block(Kind::Filter, (u64::from(number), 0), part)?;
        }
        Ok(())
    }

    fn finish(self, level: u8, from: End, to: End) -> Result<Run, BuildError> {
        let bytes = self.manifest.encode();
        for (number, part) in parts(&bytes) {
            let block = Block { run: self.id, section: Kind::Manifest as u8, number };
            self.disk.put_block(block, part)?;
        }
        let head = RunHead {
            id: self.id,
            level,
            from,
            to,
            manifest_len: bytes.len() as u64,
            manifest_crc: crc32c::crc32c(&bytes),
        };
        Ok(Run::new(head, self.manifest, self.disk.clone()))
    }
}

/// Makes a run of what is in memory.
pub(crate) fn from_memory(disk: &Disk, id: u64, frozen: &Frozen) -> Result<Run, BuildError> {
    let Frozen { tail, to, names } = frozen;
    let manifest = Manifest::default();
    let mut builder = Builder { disk, id, base: tail.from.address, manifest };

    let mut ids: Vec<Id> = tail.ids().map(|(hash, address)| Id { hash, address }).collect();
    ids.sort_unstable();
    builder.filter(ids.iter().map(|id| id.hash).collect())?;
    builder.section(all(ids))?;

    let mut streams: Vec<u32> = tail.streams.keys().copied().collect();
    streams.sort_unstable();
    let postings = |stream: &u32| tail.streams.get(stream).map(Vec::as_slice).unwrap_or_default();
    let places = streams.iter().flat_map(|stream| {
        postings(stream).iter().map(|posting| Place {
            stream: *stream,
            version: posting.version,
            address: posting.address,
            count: posting.count,
        })
    });
    builder.section(all(places))?;
    let heads = streams.iter().filter_map(|stream| {
        let last = postings(stream).last()?;
        let version = Version(last.version.0 + u64::from(last.count) - 1);
        Some(StreamHead { stream: *stream, version })
    });
    builder.section(all(heads))?;
    builder.section(all(tail.marks.iter().copied()))?;
    let names = (tail.from.names + 1..).zip(names);
    builder.section(all(names.map(|(number, name)| Name { number, name: name.clone() })))?;
    builder.finish(0, tail.from, *to)
}

fn all<T>(items: impl IntoIterator<Item = T>) -> impl FnMut() -> Result<Option<T>, BuildError> {
    let mut items = items.into_iter();
    move || Ok(items.next())
}

/// Makes one run of several that follow each other, oldest first.
pub(crate) fn merged(disk: &Disk, id: u64, runs: &[std::sync::Arc<Run>]) -> Result<Option<Run>, BuildError> {
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(None) };
    let (from, to) = (first.head.from, last.head.to);
    let level = runs.iter().map(|run| run.head.level).max().unwrap_or(0).saturating_add(1);
    let manifest = Manifest::default();
    let mut builder = Builder { disk, id, base: from.address, manifest };

    let mut hashes = Vec::new();
    let mut ids = Merge::<Id>::new(runs);
    builder.section(|| {
        let id = ids.next()?;
        hashes.extend(id.map(|id| id.hash));
        Ok(id)
    })?;
    builder.filter(hashes)?;
    let mut places = Merge::<Place>::new(runs);
    builder.section(|| places.next())?;
    let mut heads = Merge::<StreamHead>::new(runs);
    let mut ahead: Option<StreamHead> = None;
    builder.section(|| {
        // Of the heads that runs have for one stream, the last is the head.
        loop {
            let next = heads.next()?;
            match (std::mem::replace(&mut ahead, next), next) {
                (Some(head), Some(next)) if head.stream == next.stream => {}
                (None, Some(_)) => {}
                (head, _) => return Ok(head),
            }
        }
    })?;
    let mut marks = Merge::<Mark>::new(runs);
    builder.section(|| marks.next())?;
    let mut names = Merge::<Name>::new(runs);
    builder.section(|| names.next())?;
    builder.finish(level, from, to).map(Some)
}

/// The items of one section of several runs, in order, a block of each in memory.
struct Merge<'a, T> {
    inputs: Vec<Input<'a, T>>,
}

struct Input<'a, T> {
    run: &'a Run,
    next: usize,
    items: std::iter::Peekable<std::vec::IntoIter<T>>,
}

impl<'a, T: Item> Merge<'a, T> {
    fn new(runs: &'a [std::sync::Arc<Run>]) -> Self {
        let input = |run| Input { run, next: 0, items: Vec::new().into_iter().peekable() };
        Self { inputs: runs.iter().map(|run| input(&**run)).collect() }
    }

    fn next(&mut self) -> Result<Option<T>, BuildError> {
        for input in &mut self.inputs {
            if input.items.peek().is_none() && input.next < input.run.manifest.blocks(T::KIND).len() {
                input.items = input.run.items(input.next)?.into_iter().peekable();
                input.next += 1;
            }
        }
        let least = self
            .inputs
            .iter_mut()
            .filter_map(|input| input.items.peek().map(T::order).map(|order| (order, input)))
            .min_by_key(|(order, _)| *order);
        Ok(least.and_then(|(_, input)| input.items.next()))
    }
}
