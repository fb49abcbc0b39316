//! A file of lines that somebody else appends to, read as it grows.
//!
//! How far it has been taken is kept beside the log, and which file that was. Another file of its name, or one that is
//! shorter, is refused rather than read from somewhere. A last line without its end is not there yet.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_web::web::Bytes;
use futures::future::BoxFuture;
use serde_json::json;
use smol_str::{SmolStr, format_smolstr};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{BusError, Delivery, Inbound, Outcome, Receipt, Source};
use crate::follow::Checkpoint;
use crate::input::{LINE_BYTES_MAX, SHOWN_BYTES};

/// How often the file is looked at once its end is reached.
const LOOK: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 << 10;

/// A file that grows.
pub struct Growing {
    path: PathBuf,
    dead: PathBuf,
    taken: Checkpoint,
    /// Which file that is: its inode.
    which: Checkpoint,
}

impl Growing {
    /// The file, where lines that cannot be taken go, and where its position and which file it was are kept.
    #[must_use]
    pub fn new(path: &Path, dead: &Path, taken: Checkpoint, which: Checkpoint) -> Self {
        Self { path: path.to_owned(), dead: dead.to_owned(), taken, which }
    }
}

impl Inbound for Growing {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>> {
        Box::pin(async move {
            let at = self.taken.read().map_err(BusError::unreachable("read the kept position"))?.unwrap_or(0);
            let mut file = File::open(&self.path).await.map_err(failed("open the file"))?;
            let about = file.metadata().await.map_err(failed("look at the file"))?;
            let known = self.which.read().map_err(BusError::unreachable("read the kept position"))?;
            let known = known.filter(|_| at > 0).unwrap_or(about.ino());
            same(&self.path, &about, known, at)?;
            self.which.keep(known).map_err(BusError::unreachable("keep which file it is"))?;
            file.seek(SeekFrom::Start(at)).await.map_err(failed("seek in the file"))?;
            let lines = Lines {
                path: self.path.clone(),
                dead: self.dead.clone(),
                taken: self.taken.clone(),
                inode: known,
                file,
                held: Vec::new(),
                at,
                given: VecDeque::new(),
                receipts: 0,
                again: None,
                too_long: false,
            };
            Ok(Box::new(lines) as Box<dyn Source>)
        })
    }
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> BusError {
    move |source| BusError::Unreachable { doing, source: source.into() }
}

/// Whether what stands at the path is the file that was read so far.
fn same(path: &Path, about: &Metadata, inode: u64, at: u64) -> Result<(), BusError> {
    let (size, path) = (about.len(), path.display());
    let problem = if size < at {
        format!("{path} has {size} bytes, but {at} were read before: it is another file or was cut")
    } else if about.ino() != inode {
        format!("{path} is another file than the one of which {at} bytes were read")
    } else {
        return Ok(());
    };
    Err(BusError::NotSetUp { problem: format!("{problem}. Give the new one a connection of its own") })
}

/// A line that was given out.
struct Given {
    receipt: Receipt,
    begins: u64,
    ends: u64,
    attempt: u32,
    /// A line before it comes again, and then this one does too.
    void: bool,
    /// Its bytes, to be put apart with the reason.
    line: Bytes,
}

/// Lines as they come.
struct Lines {
    path: PathBuf,
    dead: PathBuf,
    taken: Checkpoint,
    inode: u64,
    file: File,
    /// Bytes that are read and not yet given out; they begin at `at`.
    held: Vec<u8>,
    at: u64,
    given: VecDeque<Given>,
    receipts: u64,
    /// A line that comes again, how often it will have come, and when.
    again: Option<(u64, u32, Instant)>,
    /// Whether the line that is read has been given out as one that is too long: its rest is passed over.
    too_long: bool,
}

impl Lines {
    async fn line(&mut self) -> Result<Delivery, BusError> {
        if let Some((_, _, due)) = self.again {
            tokio::time::sleep_until(due).await;
        }
        let mut looked = 0;
        loop {
            let end = self.held.iter().skip(looked).position(|byte| *byte == b'\n').map(|found| found + looked);
            if self.too_long {
                let passed = end.map_or(self.held.len(), |end| end + 1);
                self.held.drain(..passed);
                self.at += passed as u64;
                self.too_long = end.is_none();
                looked = 0;
            } else if let Some(end) = end {
                return Ok(self.give(end + 1));
            } else if self.held.len() > LINE_BYTES_MAX {
                // Given out as far as it is held, which is refused.
                self.too_long = true;
                return Ok(self.give(self.held.len()));
            }
            if end.is_some() {
                continue;
            }
            looked = self.held.len();
            self.held.reserve(READ_BYTES);
            if self.file.read_buf(&mut self.held).await.map_err(failed("read the file"))? == 0 {
                // By its name: another file may have taken its place.
                let about = tokio::fs::metadata(&self.path).await.map_err(failed("look at the file"))?;
                same(&self.path, &about, self.inode, self.at)?;
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    fn give(&mut self, bytes: usize) -> Delivery {
        let rest = self.held.split_off(bytes);
        let line = std::mem::replace(&mut self.held, rest);
        let begins = self.at;
        self.at += line.len() as u64;
        let again = self.again.take_if(|(to, _, _)| *to == begins);
        let attempt = again.map_or(1, |(_, attempt, _)| attempt);
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        let payload = Bytes::from(line);
        self.given.push_back(Given { receipt, begins, ends: self.at, attempt, void: false, line: payload.clone() });
        Delivery {
            receipt,
            place: format_smolstr!("{} at byte {begins}", self.path.display()),
            subject: SmolStr::new(self.path.to_string_lossy()),
            headers: Vec::new(),
            payload,
            attempt,
        }
    }

    /// Begins again at a line: it, and everything behind it, comes once more.
    async fn back(&mut self, given: &Given, after: Duration) -> Result<(), BusError> {
        self.again = Some((given.begins, given.attempt.saturating_add(1), Instant::now() + after));
        for behind in &mut self.given {
            behind.void = true;
        }
        self.held.clear();
        self.too_long = false;
        self.at = given.begins;
        self.file.seek(SeekFrom::Start(given.begins)).await.map_err(failed("seek in the file"))?;
        Ok(())
    }

    async fn put_apart(&self, given: &Given, code: &str, reason: &str) -> Result<(), BusError> {
        let start = given.line.get(..SHOWN_BYTES).unwrap_or(&given.line);
        let line = String::from_utf8_lossy(start);
        let letter = json!({ "file": self.path, "byte": given.begins, "code": code, "reason": reason, "line": line });
        let written = async {
            if let Some(dir) = self.dead.parent() {
                tokio::fs::create_dir_all(dir).await?;
            }
            let mut file = OpenOptions::new().create(true).append(true).open(&self.dead).await?;
            file.write_all(format!("{letter}\n").as_bytes()).await?;
            file.sync_data().await
        };
        written.await.map_err(failed("write a dead letter"))
    }
}

impl Source for Lines {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, BusError>> {
        Box::pin(async move { self.line().await.map(Some) })
    }

    fn settle(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let mut taken = None;
            for (receipt, outcome) in outcomes {
                let Some(given) = self.given.pop_front_if(|given| given.receipt == receipt) else { continue };
                if given.void {
                    continue;
                }
                match outcome {
                    Outcome::Done => taken = Some(given.ends),
                    Outcome::Dead { code, reason } => {
                        self.put_apart(&given, code, &reason).await?;
                        taken = Some(given.ends);
                    }
                    Outcome::Later(after) => self.back(&given, after).await?,
                }
            }
            taken.map_or(Ok(()), |ends| self.taken.keep(ends)).map_err(BusError::unreachable("keep the position"))
        })
    }
}
