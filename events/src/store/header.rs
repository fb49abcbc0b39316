//! The first bytes of a chunk file: which chunk it is and how it continues the one before.

use crate::bytes::Input;
use crate::error::ChunkFault;
use crate::{Hash, Seq};

const MAGIC: &[u8; 8] = b"EPHORLOG";
const FORMAT: u32 = 1;
/// Bytes in front of the first frame of a chunk.
pub(crate) const LEN: usize = 68;

/// What a chunk says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// From 1.
    pub(crate) chunk: u32,
    /// Of the first event in it.
    pub(crate) seq: Seq,
    /// Bytes of frames in all chunks before it.
    pub(crate) base: u64,
    /// Hash of the last commit before it.
    pub(crate) prev: Hash,
}

impl Header {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.chunk.to_le_bytes());
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.prev.0);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ChunkFault> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(ChunkFault::NoHeader)?;
        let mut input = Input(body);
        let magic = input.array::<8>().ok_or(ChunkFault::NoHeader)?;
        if magic != MAGIC {
            return Err(ChunkFault::Magic);
        }
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(ChunkFault::Crc);
        }
        let format = input.u32().ok_or(ChunkFault::NoHeader)?;
        if format != FORMAT {
            return Err(ChunkFault::Format { found: format });
        }
        let (chunk, seq, base, prev) = (input.u32(), input.u64(), input.u64(), input.hash());
        match (chunk, seq, base, prev) {
            (Some(chunk), Some(seq), Some(base), Some(prev)) => Ok(Self { chunk, seq: Seq(seq), base, prev }),
            _ => Err(ChunkFault::NoHeader),
        }
    }
}
