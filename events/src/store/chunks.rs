//! The log in append-only chunk files: the commit point and the truth.
//!
//! `log/00000001.chunk` and on. The last chunk grows; every other is sealed: on disk, exactly as long
//! as the next one's header says, never written again. A chunk comes into being under another name
//! and is renamed when its header is on disk, so a file named `.chunk` always has one.
//!
//! Space is reserved ahead in steps, because a write inside the file's length need not commit the
//! new length, and a part of it is written over with zeros ahead, because a write over what has been
//! written before need not commit where on the disk it is: `fdatasync` then waits for the bytes
//! alone, which takes half the time. What is reserved reads as zeros, and a frame never begins with
//! twelve zeros.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::header::{self, Header};
use super::{Group, Source, Store};
use crate::error::ChunkFault;
use crate::{Hash, OpenError, Place, Seq};

const HEADER: u64 = header::LEN as u64;

/// How much is written over with zeros at once: milliseconds of the disk's time, every few thousand commits.
const BLANK_BYTES: u64 = 1 << 20;

#[derive(Clone)]
struct Chunk {
    header: Header,
    file: Arc<File>,
    /// Bytes of frames, reserved space included.
    len: u64,
}

/// All chunks for reading.
struct Table {
    chunks: RwLock<Vec<Chunk>>,
    /// What a sync has failed with. The system tells of a failure once for all who sync the same open file: whoever
    /// comes later would be told that everything is on disk.
    failed: Mutex<Option<(io::ErrorKind, String)>>,
}

impl Table {
    fn new(chunks: Vec<Chunk>) -> Self {
        Self { chunks: RwLock::new(chunks), failed: Mutex::default() }
    }

    /// Syncs a file, one caller at a time; after a failure, for nobody any more.
    fn sync_with(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kind, problem)) = &*failed {
            return Err(io::Error::new(*kind, format!("an earlier sync failed: {problem}")));
        }
        sync().inspect_err(|error| *failed = Some((error.kind(), error.to_string())))
    }

    fn find<T>(&self, address: u64, with: impl FnOnce(&Chunk) -> T) -> Option<T> {
        let chunks = self.chunks.read().unwrap_or_else(PoisonError::into_inner);
        let after = chunks.partition_point(|chunk| chunk.header.base <= address);
        chunks.get(after.checked_sub(1)?).map(with)
    }

    fn last<T>(&self, with: impl FnOnce(&Chunk) -> T) -> Option<T> {
        self.chunks.read().unwrap_or_else(PoisonError::into_inner).last().map(with)
    }

    fn edit<T>(&self, with: impl FnOnce(&mut Vec<Chunk>) -> T) -> T {
        with(&mut self.chunks.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source for Table {
    fn read_at(&self, address: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = address + done as u64;
            let Some(chunk) = self.find(at, Chunk::clone) else { break };
            let inside = at - chunk.header.base;
            let left = crate::bytes::index(chunk.len.saturating_sub(inside)).min(rest.len());
            let Some(wanted) = rest.get_mut(..left).filter(|wanted| !wanted.is_empty()) else {
                break;
            };
            match chunk.file.read_at(wanted, HEADER + inside) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn end(&self) -> u64 {
        self.last(|chunk| chunk.header.base + chunk.len).unwrap_or(0)
    }

    fn last_begins(&self) -> u64 {
        self.last(|chunk| chunk.header.base).unwrap_or(0)
    }

    fn place(&self, address: u64) -> Place {
        self.find(address, |chunk| Place { chunk: chunk.header.chunk, offset: HEADER + address - chunk.header.base })
            .unwrap_or(Place { chunk: 1, offset: HEADER + address })
    }

    fn sync(&self) -> io::Result<()> {
        match self.last(|chunk| chunk.file.clone()) {
            Some(file) => self.sync_with(|| file.sync_data()),
            None => Ok(()),
        }
    }
}

/// The writing side.
pub(crate) struct Chunks {
    dir: PathBuf,
    table: Arc<Table>,
    chunk_bytes: u64,
    preallocate_bytes: u64,
    /// Bytes of frames really written to the last chunk.
    written: u64,
    /// Bytes of the last chunk known to have been written over, with frames or with zeros.
    blanked: u64,
}

impl Chunks {
    /// Opens all chunks and checks their headers and lengths, not their frames.
    pub(crate) fn open(dir: &Path, chunk_bytes: u64, preallocate_bytes: u64) -> Result<Self, OpenError> {
        create_synced(dir).map_err(OpenError::storage("create", dir))?;
        for left in list(dir, "new")? {
            let path = name(dir, left, "new");
            fs::remove_file(&path).map_err(OpenError::storage("remove", &path))?;
        }
        let chunks = load(dir, 1, None, true)?;
        let written = chunks.last().map_or(0, |chunk| chunk.len);
        let table = Arc::new(Table::new(chunks));
        Ok(Self { dir: dir.to_owned(), table, chunk_bytes, preallocate_bytes, written, blanked: 0 })
    }

    /// Seals the last chunk and begins the next one.
    fn roll(&mut self, group: &Group<'_>) -> io::Result<()> {
        let end = self.table.last(|chunk| (chunk.header.chunk, chunk.header.base));
        let (chunk, base) = match end {
            Some((chunk, base)) => {
                self.trim()?;
                (chunk + 1, base + self.written)
            }
            None => (1, 0),
        };
        let header = Header { chunk, seq: group.seq, base, prev: group.prev };
        let (made, named) = (name(&self.dir, chunk, "new"), name(&self.dir, chunk, "chunk"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&made)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        fs::rename(&made, &named)?;
        sync_dir(&self.dir)?;
        self.written = 0;
        self.blanked = 0;
        self.table.edit(|chunks| chunks.push(Chunk { header, file: Arc::new(file), len: 0 }));
        Ok(())
    }

    /// Gives back what is reserved and not written; on disk when it returns.
    fn trim(&mut self) -> io::Result<()> {
        let written = self.written;
        let Some(file) = self.table.last(|chunk| chunk.file.clone()) else { return Ok(()) };
        file.set_len(HEADER + written)?;
        self.table.sync_with(|| file.sync_all())?;
        self.blanked = 0;
        self.table.edit(|chunks| {
            if let Some(last) = chunks.last_mut() {
                last.len = written;
            }
        });
        Ok(())
    }
}

impl Store for Chunks {
    fn source(&self) -> Arc<dyn Source> {
        self.table.clone()
    }

    fn append(&mut self, group: &Group<'_>) -> io::Result<()> {
        let len = group.frames.len() as u64;
        let fits = self.written > 0 && self.written + len <= self.chunk_bytes;
        let blank = self.written == 0 && self.table.last(|_| ()).is_some();
        if !fits && !blank {
            self.roll(group)?;
        }
        let Some((file, reserved)) = self.table.last(|chunk| (chunk.file.clone(), chunk.len)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let end = self.written + len;
        let mut reserve = reserved.max(end);
        if end > reserved && self.preallocate_bytes > 0 {
            let step = (end + self.preallocate_bytes).min(self.chunk_bytes.max(end));
            match reserve_space(&file, HEADER + step) {
                Ok(()) => reserve = step,
                // A file system that cannot reserve only makes the writes a little slower.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.preallocate_bytes = 0,
                // There may be room for the group itself: a kill that fits is recorded.
                Err(Errno::NOSPC | Errno::DQUOT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if end > self.blanked {
            let blank = reserve.min(end + BLANK_BYTES) - end;
            file.write_all_at(&vec![0; crate::bytes::index(blank)], HEADER + end)?;
            self.blanked = end + blank;
        }
        file.write_all_at(group.frames, HEADER + self.written)?;
        self.written = end;
        self.table.edit(|chunks| {
            if let Some(last) = chunks.last_mut() {
                last.len = reserve;
            }
        });
        Ok(())
    }

    fn sync(&mut self, _: Seq, _: Hash) -> io::Result<()> {
        self.table.sync()
    }

    fn cut(&mut self, address: u64) -> io::Result<()> {
        let Some(base) = self.table.last(|chunk| chunk.header.base) else { return Ok(()) };
        // A group can only be torn in the last chunk: nothing before it is ever cut.
        let Some(written) = address.checked_sub(base) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if self.table.last(|chunk| chunk.len) == Some(written) {
            // The file ends there already: whoever only reads need not wait for the disk.
            return Ok(());
        }
        self.written = written;
        self.trim()
    }

    fn chunks(&self) -> u32 {
        self.table.last(|chunk| chunk.header.chunk).unwrap_or(0)
    }
}

/// The chunks of a log that another process may be writing: nothing is touched.
pub(crate) struct SharedChunks {
    dir: PathBuf,
    table: Arc<Table>,
}

impl SharedChunks {
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        let table = Arc::new(Table::new(load(dir, 1, None, false)?));
        Ok(Self { dir: dir.to_owned(), table })
    }

    pub(crate) fn source(&self) -> Arc<dyn Source> {
        self.table.clone()
    }

    pub(crate) fn headers(&self) -> Vec<Header> {
        self.table.edit(|chunks| chunks.iter().map(|chunk| chunk.header).collect())
    }

    /// Looks for what was appended since.
    pub(crate) fn refresh(&self) -> Result<(), OpenError> {
        let known = self.table.last(Chunk::clone);
        let first = known.as_ref().map_or(1, |chunk| chunk.header.chunk);
        let found = load(&self.dir, first, known.as_ref(), false)?;
        self.table.edit(|chunks| {
            chunks.pop();
            chunks.extend(found);
        });
        Ok(())
    }
}

/// Opens chunks from number `first` on; `known` is that first one, if it was open before.
fn load(dir: &Path, first: u32, known: Option<&Chunk>, write: bool) -> Result<Vec<Chunk>, OpenError> {
    let numbers: Vec<u32> = list(dir, "chunk")?.into_iter().filter(|no| *no >= first).collect();
    let mut chunks: Vec<Chunk> = Vec::with_capacity(numbers.len());
    for (number, expected) in numbers.into_iter().zip(first..) {
        if number != expected {
            return Err(OpenError::Chunk { chunk: expected, fault: ChunkFault::Missing });
        }
        let path = name(dir, number, "chunk");
        let file = match known.filter(|known| known.header.chunk == number) {
            Some(known) => known.file.clone(),
            None => Arc::new(
                OpenOptions::new().read(true).write(write).open(&path).map_err(OpenError::storage("open", &path))?,
            ),
        };
        let refuse = |fault| OpenError::Chunk { chunk: number, fault };
        let mut bytes = [0; header::LEN];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(refuse(ChunkFault::NoHeader));
            }
            Err(error) => return Err(OpenError::storage("read", &path)(error)),
        }
        let header = Header::decode(&bytes).map_err(refuse)?;
        if header.chunk != number {
            return Err(refuse(ChunkFault::Number { found: header.chunk }));
        }
        let len = file.metadata().map_err(OpenError::storage("read", &path))?.len();
        if let Some(before) = chunks.last_mut() {
            // A shared reader may have seen the file before it was sealed.
            let path = name(dir, before.header.chunk, "chunk");
            let now = before.file.metadata().map_err(OpenError::storage("read", &path))?.len();
            before.len = now.saturating_sub(HEADER);
            let expected = header.base.saturating_sub(before.header.base);
            if before.len != expected {
                return Err(refuse(ChunkFault::Length { expected, found: before.len }));
            }
        } else if number == 1 && (header.base != 0 || header.prev != Hash::genesis()) {
            return Err(refuse(ChunkFault::Link));
        }
        chunks.push(Chunk { header, file, len: len.saturating_sub(HEADER) });
    }
    Ok(chunks)
}

/// The numbers of the files with this extension, ascending.
fn list(dir: &Path, extension: &str) -> Result<Vec<u32>, OpenError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(OpenError::storage("list", dir))? {
        let path = entry.map_err(OpenError::storage("list", dir))?.path();
        if path.extension().is_some_and(|found| found == extension)
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn name(dir: &Path, number: u32, extension: &str) -> PathBuf {
    dir.join(format!("{number:08}.{extension}"))
}

/// Makes a directory and those above it that are missing, each to survive a loss of power.
pub(crate) fn create_synced(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above {
        create_synced(above)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_dir(above.unwrap_or(Path::new(".")))
}

fn reserve_space(file: &File, bytes: u64) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes))
}

/// Makes creations and renames in a directory survive a loss of power.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use rustix::fs::{SeekFrom, seek};

    use super::*;

    /// What a file system has only reserved counts as a hole; what was written over does not.
    #[test]
    fn most_commits_go_where_zeros_were_written_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut chunks = Chunks::open(dir.path(), 64 << 20, 4 << 20).unwrap();
        let mut holes = std::collections::BTreeSet::new();
        for number in 0..40_u64 {
            let group = Group { frames: &vec![7; 100_000], seq: Seq(number + 1), prev: Hash::genesis() };
            chunks.append(&group).unwrap();
            chunks.sync(group.seq, group.prev).unwrap();
            let file = chunks.table.last(|chunk| chunk.file.clone()).unwrap();
            let hole = seek(&*file, SeekFrom::Hole(0)).unwrap();
            assert!(hole >= HEADER + chunks.written);
            holes.insert(hole);
        }
        assert!(holes.len() <= 5, "the first hole moved to {holes:?}");
        let mut read = vec![0; 4_000_000];
        assert_eq!(chunks.table.read_at(0, &mut read).unwrap(), read.len());
        assert!(read.iter().all(|byte| *byte == 7), "zeros stand over frames");
    }

    /// Linux tells the first who asks: the other would be told that all is well.
    #[test]
    fn a_sync_that_failed_has_failed_for_whoever_asks_later() {
        let table = Table::new(Vec::new());
        table.sync_with(|| Ok(())).unwrap();
        table.sync_with(|| Err(io::Error::other("the disk"))).unwrap_err();
        let later = table.sync_with(|| Ok(())).unwrap_err();
        assert_eq!(later.to_string(), "an earlier sync failed: the disk");
    }

    #[test]
    fn what_fits_is_written_where_there_is_no_room_to_reserve_ahead() {
        // A file system in memory says at once that a terabyte does not fit, and takes none of it.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut chunks = Chunks::open(dir.path(), 4 << 40, 1 << 40).unwrap();
        for number in 0..3_u64 {
            let group = Group { frames: &[7; 100], seq: Seq(number + 1), prev: Hash::genesis() };
            chunks.append(&group).unwrap();
            chunks.sync(group.seq, group.prev).unwrap();
        }
        let mut read = [0; 300];
        assert_eq!(chunks.table.read_at(0, &mut read).unwrap(), 300);
        assert!(read.iter().all(|byte| *byte == 7));
    }
}
