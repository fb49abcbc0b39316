//! `INDEX`: the list of runs, kept outside sled as the witness of what sled must have.
//!
//! sled was seen to lose its newest entries without a word. Whatever this list names and sled does
//! not have, or has otherwise, is found; the list itself is replaced as a whole and checksummed.

use std::path::Path;
use std::{fs, io};

use super::run::RunHead;
use crate::bytes::Input;
use crate::tail::End;
use crate::witness::replace;
use crate::{Head, Seq};

const MAGIC: &[u8; 8] = b"EPHORIX1";

/// Writes the list.
pub(crate) fn write(path: &Path, runs: &[RunHead]) -> io::Result<()> {
    let mut out = MAGIC.to_vec();
    for run in runs {
        out.extend_from_slice(&run.id.to_le_bytes());
        out.push(run.level);
        put_end(&mut out, &run.from);
        put_end(&mut out, &run.to);
        out.extend_from_slice(&run.manifest_len.to_le_bytes());
        out.extend_from_slice(&run.manifest_crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    replace(path, &out)
}

/// What the list says; `None` if it does not check.
pub(crate) enum Listed {
    /// There is no list.
    Missing,
    /// It does not check.
    Damaged,
    /// Runs that follow each other from the beginning of the log.
    Runs(Vec<RunHead>),
}

/// Reads the list.
pub(crate) fn read(path: &Path) -> io::Result<Listed> {
    match fs::read(path) {
        Ok(bytes) => Ok(decode(&bytes).map_or(Listed::Damaged, Listed::Runs)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Listed::Missing),
        Err(error) => Err(error),
    }
}

fn decode(bytes: &[u8]) -> Option<Vec<RunHead>> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut input = Input(body);
    if input.array::<8>()? != MAGIC {
        return None;
    }
    let mut runs = Vec::new();
    let mut end = End::empty();
    while !input.is_empty() {
        let run = RunHead {
            id: input.u64()?,
            level: input.u8()?,
            from: read_end(&mut input)?,
            to: read_end(&mut input)?,
            manifest_len: input.u64()?,
            manifest_crc: input.u32()?,
        };
        if run.from != end {
            return None;
        }
        end = run.to;
        runs.push(run);
    }
    Some(runs)
}

fn put_end(out: &mut Vec<u8>, end: &End) {
    for number in [end.head.seq.0, end.head.commits, end.address, end.last] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&end.head.recorded_at.to_le_bytes());
    out.extend_from_slice(&end.names.to_le_bytes());
    out.extend_from_slice(&end.head.hash.0);
}

fn read_end(input: &mut Input<'_>) -> Option<End> {
    let (seq, commits) = (Seq(input.u64()?), input.u64()?);
    let (address, last) = (input.u64()?, input.u64()?);
    let recorded_at = input.u64()?.cast_signed();
    let names = input.u32()?;
    let hash = input.hash()?;
    Some(End { head: Head { seq, hash, recorded_at, commits }, address, last, names })
}
