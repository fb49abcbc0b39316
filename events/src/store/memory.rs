//! The log in memory: for tests, and for replays that are thrown away.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Group, Source, Store};
use crate::bytes::index;
use crate::{Hash, Place, Seq};

/// All frames, one behind the other.
#[derive(Default)]
pub(crate) struct Memory(Arc<Bytes>);

#[derive(Default)]
struct Bytes(RwLock<Vec<u8>>);

impl Source for Bytes {
    fn read_at(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let from = bytes.get(index(address)..).unwrap_or_default();
        let len = from.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), from.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    fn end(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn last_begins(&self) -> u64 {
        0
    }

    fn place(&self, address: u64) -> Place {
        Place { chunk: 0, offset: address }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Store for Memory {
    fn source(&self) -> Arc<dyn Source> {
        self.0.clone()
    }

    fn append(&mut self, group: &Group<'_>) -> io::Result<()> {
        let mut bytes = self.0.0.write().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(group.frames);
        Ok(())
    }

    fn sync(&mut self, _: Seq, _: Hash) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, address: u64) -> io::Result<()> {
        self.0.0.write().unwrap_or_else(PoisonError::into_inner).truncate(index(address));
        Ok(())
    }

    fn chunks(&self) -> u32 {
        0
    }
}
