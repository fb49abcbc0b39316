//! Hashes: XXH3 for ids kept on disk, foldhash for names in memory, nothing for what is a hash already.
//!
//! Two ids with one hash are harmless: whatever the index finds is compared with the key in the
//! frame.

use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// For maps by name. Seeded anew by every process, and in memory only.
pub(crate) type TextHash = foldhash::fast::RandomState;
/// For maps by hashes and small numbers.
pub(crate) type NumberHash = BuildHasherDefault<Mixed>;

/// What the index knows an idempotency key by: 48 bits, because each byte more would be a byte in the
/// index for every commit, and a collision only costs one look at a frame.
pub(crate) fn id_hash(stream: u32, kind: u8, id: &crate::Text<'_>) -> u64 {
    let bytes: &[u8] = match id {
        crate::Text::None => &[],
        crate::Text::Uuid(bytes) => bytes,
        crate::Text::Str(text) => text.as_bytes(),
    };
    xxh3_64_with_seed(bytes, u64::from(stream) << 8 | u64::from(kind)) >> 16
}

/// Spreads a number over the bits that the map looks at.
#[derive(Default)]
pub(crate) struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
