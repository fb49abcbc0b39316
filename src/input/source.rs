//! Where a stream comes from: a file, a gzipped file, standard input.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

/// What every gzip member begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 1 << 17;

/// An open stream.
pub struct Input {
    /// Its bytes, unpacked.
    pub bytes: BufReader<Box<dyn Read + Send>>,
    /// Its size as it lies on the disk; `None` for standard input.
    pub size: Option<u64>,
    /// How much of that has been read.
    pub read: Arc<AtomicU64>,
}

/// Opens a file, or standard input for `-`. What begins like gzip is unpacked, all its members.
///
/// # Errors
/// What the system said.
pub fn open(path: &Path) -> io::Result<Input> {
    if path == Path::new("-") {
        return start(Box::new(io::stdin()), None);
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let size = about.is_file().then_some(about.len());
    start(Box::new(file), size)
}

fn start(source: Box<dyn Read + Send>, size: Option<u64>) -> io::Result<Input> {
    let read = Arc::new(AtomicU64::new(0));
    let mut counted = Counted { source, read: read.clone() };
    let mut first = Vec::with_capacity(GZIP.len());
    counted.by_ref().take(GZIP.len() as u64).read_to_end(&mut first)?;
    let packed = first == GZIP;
    let whole = Cursor::new(first).chain(counted);
    let bytes: Box<dyn Read + Send> = if packed {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
    } else {
        Box::new(whole)
    };
    Ok(Input { bytes: BufReader::with_capacity(BUFFER_BYTES, bytes), size, read })
}

struct Counted {
    source: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(into)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
