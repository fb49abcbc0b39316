//! The port below the log: one flat space of frame bytes, whoever keeps them.
//!
//! An address counts bytes of frames from the first; chunk headers are not counted. Everything above
//! (framing, chain, dictionary, index) is written once against these two traits, and one conformance
//! suite runs over every implementation.
//!
//! Invariants: a group is never split between chunks, so neither is a frame; bytes once appended
//! never change, except that `cut` drops them from an address on.

mod chunks;
mod header;
mod memory;
mod sled;

use std::{io, sync::Arc};

pub(crate) use chunks::{Chunks, SharedChunks, create_synced, sync_dir};
pub(crate) use header::Header;
pub(crate) use memory::Memory;
pub(crate) use sled::Sled;

use crate::{Hash, Place, Seq};

/// The frames of one group, and what a chunk that begins with them must say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) frames: &'a [u8],
    pub(crate) seq: Seq,
    pub(crate) prev: Hash,
}

/// Reading side; shared between threads.
pub(crate) trait Source: Send + Sync {
    /// Fills the front of `buf` with the bytes from `address` on; fewer only at the end.
    fn read_at(&self, address: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// One past the last byte, reserved space included.
    fn end(&self) -> u64;
    /// Where the bytes of the last chunk begin: only behind it can a group be torn.
    fn last_begins(&self) -> u64;
    /// What a person can look at.
    fn place(&self, address: u64) -> Place;
    /// Returns when everything appended is on disk.
    fn sync(&self) -> io::Result<()>;
}

/// Writing side; one writer.
pub(crate) trait Store: Send {
    fn source(&self) -> Arc<dyn Source>;
    /// Appends a group with one write.
    fn append(&mut self, group: &Group<'_>) -> io::Result<()>;
    /// As [`Source::sync`]; `seq` and `hash` are the head that is then on disk.
    fn sync(&mut self, seq: Seq, hash: Hash) -> io::Result<()>;
    /// Drops everything from `address` on, reserved space included, on disk when it returns.
    fn cut(&mut self, address: u64) -> io::Result<()>;
    /// How many chunks there are; 0 where there are none.
    fn chunks(&self) -> u32;
}
