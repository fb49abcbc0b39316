//! `HEAD`: the last head known to be on disk, kept beside the log.
//!
//! A log that lost its end still checks from its first byte to its last. Only a second place that
//! remembers how long it was can tell. One line of text, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::store::sync_dir;
use crate::{Hash, Head, OpenError, Seq};

/// A durable head that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) seq: Seq,
    pub(crate) hash: Hash,
}

impl Witness {
    pub(crate) fn encode(self) -> String {
        let line = format!("ephor-head 1 {} {}", self.seq, self.hash);
        let crc = crc32c::crc32c(line.as_bytes());
        format!("{line} {crc:08x}\n")
    }

    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (body, crc) = text.trim_end().rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        let mut words = body.strip_prefix("ephor-head 1 ")?.split(' ');
        let (seq, hash) = (words.next()?.parse().ok()?, parse_hash(words.next()?)?);
        words.next().is_none().then_some(Self { seq: Seq(seq), hash })
    }

    pub(crate) fn read(path: &Path) -> Result<Option<Self>, OpenError> {
        match fs::read(path) {
            // Inside sled there are two places, written in turn: the newer that is whole counts.
            Ok(bytes) if bytes.is_empty() => Ok(None),
            Ok(bytes) => bytes
                .split(|byte| *byte == b'\n')
                .filter_map(|line| Self::decode(std::str::from_utf8(line).ok()?.trim_matches('\0')))
                .max_by_key(|witness| witness.seq)
                .map(Some)
                .ok_or_else(|| OpenError::Witness { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OpenError::storage("read", path)(error)),
        }
    }
}

/// The file, for the writer and the index's thread, which both write it: never back.
pub(crate) struct WitnessFile {
    path: PathBuf,
    last: Mutex<Seq>,
}

impl WitnessFile {
    /// `found` is what the file says now: that need not be written again.
    pub(crate) fn new(path: PathBuf, found: Option<Witness>) -> Self {
        Self { path, last: Mutex::new(found.map_or(Seq(0), |witness| witness.seq)) }
    }

    /// Remembers a head that is on disk, unless a later one is remembered already.
    pub(crate) fn write(&self, head: &Head) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if head.seq > *last {
            let witness = Witness { seq: head.seq, hash: head.hash };
            replace(&self.path, witness.encode().as_bytes())?;
            *last = head.seq;
        }
        Ok(())
    }
}

fn parse_hash(hex: &str) -> Option<Hash> {
    if hex.len() != 64 {
        return None;
    }
    let mut hash = Hash::default();
    for (at, byte) in hash.0.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Replaces a file as a whole: whoever opens it sees the old bytes or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let made = path.with_extension("new");
    let mut file = File::create(&made)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&made, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_reads_back_and_a_changed_letter_does_not() {
        let witness = Witness { seq: Seq(42), hash: Hash::genesis() };
        let line = witness.encode();
        assert_eq!(Witness::decode(&line), Some(witness));
        for at in 0..line.len() - 1 {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_ne!(Witness::decode(&changed), Some(witness), "letter {at}");
        }
    }
}
