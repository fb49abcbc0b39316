//! The log wholly inside sled, for those who want one store.
//!
//! A group is one value under its address, or several of a block each if it is large; the values,
//! one behind the other, are the same flat space of bytes that chunks have. sled was seen to lose its
//! newest entries on a damaged file without a word, so the head is also kept in a file beside it,
//! written after every sync.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Group, Source, Store};
use crate::bytes::index;
use crate::index::disk::{SledError, fenced, sync_files};
use crate::witness::Witness;
use crate::{Hash, OpenError, Place, Seq};

const TREE: &str = "frames";
/// Sixteen of these fit a page of sled's, so that none goes to a file of its own.
const VALUE: usize = 4 << 10;
/// The two places of the head are in sectors of their own: one of them is always whole.
const SLOT: u64 = 512;

struct Frames {
    db: sled::Db,
    tree: sled::Tree,
    dir: PathBuf,
    end: AtomicU64,
}

/// The writing side.
pub(crate) struct Sled {
    frames: Arc<Frames>,
    head: File,
    slot: u64,
}

fn broken(SledError { detail }: SledError) -> io::Error {
    io::Error::other(detail)
}

impl Sled {
    pub(crate) fn open(dir: &Path, head: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        let refuse = |SledError { detail }| OpenError::Sled { path: dir.to_owned(), detail };
        let (db, tree) = fenced(|| {
            let config = sled::Config::new().path(dir).cache_capacity(cache_bytes);
            let db = config.flush_every_ms(None).open()?;
            let tree = db.open_tree(TREE)?;
            Ok((db, tree))
        })
        .map_err(refuse)?;
        let last = fenced(|| tree.last()).map_err(refuse)?;
        let end = last.map_or(0, |(key, value)| address(&key) + value.len() as u64);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(head);
        let head = file.map_err(OpenError::storage("open", head))?;
        let frames = Frames { db, tree, dir: dir.to_owned(), end: AtomicU64::new(end) };
        Ok(Self { frames: Arc::new(frames), head, slot: 0 })
    }
}

fn address(key: &[u8]) -> u64 {
    key.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

impl Source for Frames {
    fn read_at(&self, from: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = fenced(|| {
            let Some((first, _)) = self.tree.get_lt((from + 1).to_be_bytes())? else {
                return Ok(0);
            };
            let mut done = 0;
            for entry in self.tree.range(first..) {
                let (key, value) = entry?;
                let at = from + done as u64;
                // A value that is missing ends the reading: what is behind it has no place.
                let Some(inside) = at.checked_sub(address(&key)) else { break };
                let Some(bytes) = value.get(index(inside)..).filter(|bytes| !bytes.is_empty()) else {
                    break;
                };
                let len = bytes.len().min(buf.len() - done);
                if let (Some(to), Some(from)) = (buf.get_mut(done..done + len), bytes.get(..len)) {
                    to.copy_from_slice(from);
                }
                done += len;
                if done == buf.len() {
                    break;
                }
            }
            Ok(done)
        });
        read.map_err(broken)
    }

    fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    fn last_begins(&self) -> u64 {
        0
    }

    fn place(&self, address: u64) -> Place {
        Place { chunk: 0, offset: address }
    }

    fn sync(&self) -> io::Result<()> {
        fenced(|| self.db.flush().map(|_| ())).map_err(broken)?;
        sync_files(&self.dir)
    }
}

impl Store for Sled {
    fn source(&self) -> Arc<dyn Source> {
        self.frames.clone()
    }

    fn append(&mut self, group: &Group<'_>) -> io::Result<()> {
        let mut at = self.frames.end();
        for part in group.frames.chunks(VALUE) {
            let inserted = fenced(|| self.frames.tree.insert(at.to_be_bytes(), part));
            inserted.map_err(broken)?;
            at += part.len() as u64;
        }
        self.frames.end.store(at, Ordering::Release);
        Ok(())
    }

    fn sync(&mut self, seq: Seq, hash: Hash) -> io::Result<()> {
        self.frames.sync()?;
        let line = Witness { seq, hash }.encode();
        self.head.write_all_at(line.as_bytes(), self.slot * SLOT)?;
        // Blanks behind the line, so that nothing of a longer one before it is left.
        let used = line.len() as u64;
        let blanks = vec![b'\n'; index(SLOT.saturating_sub(used))];
        self.head.write_all_at(&blanks, self.slot * SLOT + used)?;
        self.head.sync_data()?;
        self.slot ^= 1;
        Ok(())
    }

    fn cut(&mut self, from: u64) -> io::Result<()> {
        let frames = &self.frames;
        fenced(|| {
            let behind = frames.tree.range(from.to_be_bytes()..).keys();
            for key in behind.collect::<sled::Result<Vec<_>>>()? {
                frames.tree.remove(key)?;
            }
            if let Some((key, value)) = frames.tree.last()?
                && let Some(kept) = value.get(..index(from - address(&key)))
                && kept.len() < value.len()
            {
                frames.tree.insert(key, kept)?;
            }
            Ok(())
        })
        .map_err(broken)?;
        self.frames.end.store(from, Ordering::Release);
        self.frames.sync()
    }

    fn chunks(&self) -> u32 {
        0
    }
}
