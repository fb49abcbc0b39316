//! A file of lines that somebody else appends to, read as it grows.
//!
//! How far it has been taken is kept beside the log. A file that is shorter than that is another file: it is refused
//! rather than read from somewhere. A last line without its end is not there yet.

use std::collections::VecDeque;
use std::io::{self, SeekFrom};
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
use crate::input::LINE_BYTES_MAX;

/// How often the file is looked at once its end is reached.
const LOOK: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 << 10;

/// A file that grows.
pub struct Growing {
    path: PathBuf,
    dead: PathBuf,
    taken: Checkpoint,
}

impl Growing {
    /// The file, where lines that cannot be taken go, and where its position is kept.
    #[must_use]
    pub fn new(path: &Path, dead: &Path, taken: Checkpoint) -> Self {
        Self { path: path.to_owned(), dead: dead.to_owned(), taken }
    }
}

impl Inbound for Growing {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>> {
        Box::pin(async move {
            let at = self.taken.read().map_err(BusError::unreachable("read the kept position"))?.unwrap_or(0);
            let mut file = File::open(&self.path).await.map_err(failed("open the file"))?;
            let size = file.metadata().await.map_err(failed("look at the file"))?.len();
            shorter(&self.path, size, at)?;
            file.seek(SeekFrom::Start(at)).await.map_err(failed("seek in the file"))?;
            let lines = Lines {
                path: self.path.clone(),
                dead: self.dead.clone(),
                taken: self.taken.clone(),
                file,
                held: Vec::new(),
                at,
                given: VecDeque::new(),
                receipts: 0,
                again: None,
            };
            Ok(Box::new(lines) as Box<dyn Source>)
        })
    }
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> BusError {
    move |source| BusError::Unreachable { doing, source: source.into() }
}

fn shorter(path: &Path, size: u64, at: u64) -> Result<(), BusError> {
    if size >= at {
        return Ok(());
    }
    let path = path.display();
    let problem = format!(
        "{path} has {size} bytes, but {at} were read before: it is another file or was cut. Give the new one another name"
    );
    Err(BusError::NotSetUp { problem })
}

/// A line that was given out.
struct Given {
    receipt: Receipt,
    begins: u64,
    ends: u64,
    attempt: u32,
    /// A line before it comes again, and then this one does too.
    void: bool,
}

/// Lines as they come.
struct Lines {
    path: PathBuf,
    dead: PathBuf,
    taken: Checkpoint,
    file: File,
    /// Bytes that are read and not yet given out; they begin at `at`.
    held: Vec<u8>,
    at: u64,
    given: VecDeque<Given>,
    receipts: u64,
    /// A line that comes again, how often it will have come, and when.
    again: Option<(u64, u32, Instant)>,
}

impl Lines {
    async fn line(&mut self) -> Result<Delivery, BusError> {
        if let Some((_, _, due)) = self.again {
            tokio::time::sleep_until(due).await;
        }
        let mut looked = 0;
        loop {
            let end = self.held.iter().skip(looked).position(|byte| *byte == b'\n').map(|found| found + looked);
            if let Some(end) = end {
                return Ok(self.give(end + 1));
            }
            // Too long to be held: given out in parts, each to be refused.
            if self.held.len() > LINE_BYTES_MAX {
                return Ok(self.give(self.held.len()));
            }
            looked = self.held.len();
            self.held.reserve(READ_BYTES);
            if self.file.read_buf(&mut self.held).await.map_err(failed("read the file"))? == 0 {
                let size = self.file.metadata().await.map_err(failed("look at the file"))?.len();
                shorter(&self.path, size, self.at)?;
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
        self.given.push_back(Given { receipt, begins, ends: self.at, attempt, void: false });
        Delivery {
            receipt,
            place: format_smolstr!("{} at byte {begins}", self.path.display()),
            subject: SmolStr::new(self.path.to_string_lossy()),
            headers: Vec::new(),
            payload: Bytes::from(line),
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
        self.at = given.begins;
        self.file.seek(SeekFrom::Start(given.begins)).await.map_err(failed("seek in the file"))?;
        Ok(())
    }

    async fn put_apart(&self, begins: u64, code: &str, reason: &str) -> Result<(), BusError> {
        let letter = json!({ "file": self.path, "byte": begins, "code": code, "reason": reason });
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
                        self.put_apart(given.begins, code, &reason).await?;
                        taken = Some(given.ends);
                    }
                    Outcome::Later(after) => self.back(&given, after).await?,
                }
            }
            taken.map_or(Ok(()), |ends| self.taken.keep(ends)).map_err(BusError::unreachable("keep the position"))
        })
    }
}
