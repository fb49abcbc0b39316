//! sled behind a fence: a panic in it becomes an error, and a flush reaches the disk.
//!
//! sled 0.34 panics on files that were damaged, and its `flush` issues `sync_file_range`, which does
//! not reach the disk's own cache. Nothing kept here is the only copy.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::section::Kind;
use crate::Block;

const INDEX_TREE: &str = "index";

/// What sled said, or the panic that it died of.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct SledError {
    /// In sled's words.
    pub detail: String,
}

impl SledError {
    /// sled does not say which of its errors pass; none are taken to.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// Runs something of sled's, and turns its panics into errors.
pub(crate) fn fenced<T>(attempt: impl FnOnce() -> sled::Result<T>) -> Result<T, SledError> {
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(SledError { detail: error.to_string() }),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(SledError { detail: format!("panicked: {}", said.unwrap_or("without a word")) })
        }
    }
}

/// A sled database.
#[derive(Clone)]
pub(crate) struct Disk {
    db: sled::Db,
    index: sled::Tree,
    dir: PathBuf,
}

/// Opens sled, waiting for an earlier user to let go: its own threads hold the file's lock a moment longer
/// than the value that was dropped. The log's lock is already ours, so nobody else can be using it.
fn open_free(config: &sled::Config) -> sled::Result<sled::Db> {
    for _ in 0..200 {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
    config.open()
}

impl Disk {
    pub(crate) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, SledError> {
        let (db, index) = fenced(|| {
            let config = sled::Config::new().path(dir).cache_capacity(cache_bytes);
            let db = open_free(&config.mode(sled::Mode::LowSpace).flush_every_ms(None))?;
            let index = db.open_tree(INDEX_TREE)?;
            Ok((db, index))
        })?;
        Ok(Self { db, index, dir: dir.to_owned() })
    }

    /// Removes a database that cannot be opened.
    pub(crate) fn discard(dir: &Path) -> std::io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(crate) fn tree(&self, name: &str) -> Result<sled::Tree, SledError> {
        fenced(|| self.db.open_tree(name))
    }

    pub(crate) fn block(&self, block: Block) -> Result<Option<sled::IVec>, SledError> {
        fenced(|| self.index.get(key(block)))
    }

    pub(crate) fn put_block(&self, block: Block, bytes: &[u8]) -> Result<(), SledError> {
        fenced(|| self.index.insert(key(block), bytes).map(|_| ()))
    }

    #[cfg(test)]
    pub(crate) fn remove_block(&self, block: Block) -> Result<(), SledError> {
        fenced(|| self.index.remove(key(block)).map(|_| ()))
    }

    /// The runs that have any block.
    pub(crate) fn runs(&self) -> Result<Vec<u64>, SledError> {
        let mut runs = Vec::new();
        let mut from = 0_u64;
        loop {
            let first = fenced(|| self.index.range(from.to_be_bytes()..).next().transpose())?;
            let Some((key, _)) = first else { return Ok(runs) };
            let Some(run) = key.first_chunk().copied().map(u64::from_be_bytes) else {
                return Ok(runs);
            };
            runs.push(run);
            let Some(next) = run.checked_add(1) else { return Ok(runs) };
            from = next;
        }
    }

    /// Every block there is.
    pub(crate) fn blocks(&self) -> Result<Vec<Block>, SledError> {
        fenced(|| self.index.iter().keys().map(|key| key.map(|key| named(&key))).collect())
    }

    pub(crate) fn remove_run(&self, run: u64) -> Result<(), SledError> {
        loop {
            let keys = fenced(|| {
                let range = self.index.range(run.to_be_bytes()..).keys().take(512);
                range.collect::<sled::Result<Vec<_>>>()
            })?;
            let of_run = |key: &&sled::IVec| key.starts_with(&run.to_be_bytes());
            let keys: Vec<_> = keys.iter().filter(of_run).collect();
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                fenced(|| self.index.remove(key).map(|_| ()))?;
            }
        }
    }

    /// Empties the index and leaves everything else.
    pub(crate) fn clear_index(&mut self) -> Result<(), SledError> {
        self.index = fenced(|| {
            self.db.drop_tree(INDEX_TREE)?;
            self.db.open_tree(INDEX_TREE)
        })?;
        Ok(())
    }

    /// Returns when everything is on disk.
    pub(crate) fn flush(&self) -> Result<(), SledError> {
        fenced(|| self.db.flush().map(|_| ()))?;
        sync_files(&self.dir).map_err(|error| SledError { detail: error.to_string() })
    }
}

/// What sled's own flush leaves to chance.
pub(crate) fn sync_files(dir: &Path) -> std::io::Result<()> {
    File::open(dir.join("db"))?.sync_data()
}

fn key(block: Block) -> [u8; 13] {
    let mut key = [0; 13];
    let parts = block.run.to_be_bytes().into_iter().chain([block.section]);
    for (to, from) in key.iter_mut().zip(parts.chain(block.number.to_be_bytes())) {
        *to = from;
    }
    key
}

fn named(key: &[u8]) -> Block {
    let mut input = crate::bytes::Input(key);
    let run = input.array().copied().map_or(u64::MAX, u64::from_be_bytes);
    let section = input.u8().unwrap_or(Kind::Manifest as u8);
    let number = input.array().copied().map_or(u32::MAX, u32::from_be_bytes);
    Block { run, section, number }
}
