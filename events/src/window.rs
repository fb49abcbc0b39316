//! A sliding view of the log's bytes: large reads in order, small ones at a jump.

use std::ops::Range;
use std::sync::Arc;

use crate::bytes::index;
use crate::error::{Fault, Trouble};
use crate::frame::{FrameHead, HEAD};
use crate::store::Source;

const STEP_MIN: usize = 4 << 10;
const STEP_MAX: usize = 1 << 20;

/// Bytes of the log around the last place asked for.
pub(crate) struct Window {
    source: Arc<dyn Source>,
    address: u64,
    buf: Vec<u8>,
    filled: usize,
    step: usize,
}

impl Window {
    /// For places that may be far apart: reads little, and more while the places follow each other.
    pub(crate) fn jumping(source: Arc<dyn Source>) -> Self {
        Self { source, address: 0, buf: Vec::new(), filled: 0, step: STEP_MIN }
    }

    /// For reading from one end to the other.
    pub(crate) fn sequential(source: Arc<dyn Source>) -> Self {
        Self { step: STEP_MAX, ..Self::jumping(source) }
    }

    /// Makes the frame at `address` present, and gives its place for [`Window::bytes`] and its
    /// length. Nothing at or behind `limit` is read.
    pub(crate) fn frame(&mut self, address: u64, limit: u64) -> Result<Range<usize>, Trouble> {
        let head = self.ensure(address, HEAD, limit)?;
        let Some(bytes) = self.buf.get(head).and_then(<[u8]>::first_chunk::<HEAD>) else {
            return Err(Fault::Ends.into());
        };
        let head = FrameHead::parse(bytes)?;
        self.ensure(address, head.len, limit)
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or_default()
    }

    /// Makes `len` bytes present.
    fn ensure(&mut self, address: u64, len: usize, limit: u64) -> Result<Range<usize>, Trouble> {
        if let Some(range) = self.present(address, len) {
            return Ok(range);
        }
        if limit.saturating_sub(address) < len as u64 {
            return Err(Fault::Ends.into());
        }
        self.refill(address, len, limit)?;
        self.present(address, len).ok_or(Trouble::Fault(Fault::Ends))
    }

    fn present(&self, address: u64, len: usize) -> Option<Range<usize>> {
        let from = index(address.checked_sub(self.address)?);
        let to = from.checked_add(len)?;
        (to <= self.filled).then_some(from..to)
    }

    fn refill(&mut self, address: u64, len: usize, limit: u64) -> Result<(), Trouble> {
        let held = self.address..self.address + self.filled as u64;
        let kept = if held.contains(&address) || (held.end == address && self.filled > 0) {
            let from = index(address - held.start);
            self.buf.copy_within(from..self.filled, 0);
            self.step = (self.step * 4).min(STEP_MAX);
            self.filled - from
        } else {
            if self.step < STEP_MAX {
                self.step = STEP_MIN;
            }
            0
        };
        self.address = address;
        self.filled = kept;
        let wanted = len.max(self.step).min(index(limit - address));
        if self.buf.len() < wanted {
            self.buf.resize(wanted, 0);
        }
        if let Some(room) = self.buf.get_mut(kept..wanted) {
            self.filled += self.source.read_at(address + kept as u64, room)?;
        }
        Ok(())
    }
}
