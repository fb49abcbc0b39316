//! The way of a recorded stream to the governor: read on one thread, asked in order, answered in order.
//!
//! Many requests are under way at once, so that the journal writes them in groups; they take their
//! places in the order of the lines, so the same input gives the same log. What is read ahead is
//! bounded in lines and in bytes.
//!
//! With `--strict` there is one request at a time: nothing after a refused line has been asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ephor_actors::{Failure, Recorded};
use ephor_events::{Reader, Seq};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::units::Timestamp;
use futures::StreamExt;
use futures::future::{LocalBoxFuture, ready};
use futures::stream::FuturesOrdered;
use indicatif::ProgressBar;
use smol_str::SmolStr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::CliError;
use super::rejects::{Raw, Rejects};
use crate::audit_db::Alongside;
use crate::formats::{Reading, recorded};
use crate::input::{Asked, Entry, Input, Line, Lines, Refusal};
use crate::store::{IN_FLIGHT_MAX, Session, bytes_bar};

/// Lines read ahead of the governor.
const LINES_AHEAD: usize = 2_048;
/// Kibibytes of lines held at once, read ahead or under way.
const KIB_AHEAD: usize = 64 << 10;

/// Why the feed ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// At the end of the input.
    Input,
    /// At a refused line, under `--strict`.
    Refused {
        /// Which.
        line: u64,
        /// Why.
        refusal: Refusal,
    },
    /// By the person at the terminal.
    Interrupted,
}

/// What a feed came to.
#[derive(Debug)]
pub(super) struct Fed {
    /// Why it ended.
    pub(super) ended: Ended,
    /// Lines read, blank ones included.
    pub(super) lines: u64,
    /// Lines that gave a commit.
    pub(super) recorded: u64,
    /// Lines that had been recorded before.
    pub(super) repeated: u64,
    /// Reports that belong to no strategy.
    pub(super) nobodys: u64,
    /// The time of the first line taken.
    pub(super) first: Option<Timestamp>,
    /// The first seq that a line of this input has in the log.
    pub(super) first_seq: Option<Seq>,
}

/// A line on its way.
struct Item {
    raw: Raw,
    read: Result<Vec<Entry>, Refusal>,
    room: OwnedSemaphorePermit,
}

/// What a line came to.
enum Outcome {
    Blank,
    Refused(Refusal),
    Answered(Result<Recorded, Failure>),
}

/// What a line came to, once it is known.
type Answers = LocalBoxFuture<'static, (Raw, Outcome)>;
/// What comes from the reading thread.
type Incoming = Result<Item, std::io::Error>;

fn read_all(input: Input, mut reader: Reading, to: &mpsc::Sender<Incoming>) {
    let room = Arc::new(Semaphore::new(KIB_AHEAD));
    let mut lines = Lines::new(input.bytes);
    loop {
        let (number, line) = match lines.next() {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(error) => {
                // Nobody listens any more only where the run has ended already.
                let _ended = to.blocking_send(Err(error)).is_err();
                return;
            }
        };
        let (bytes, length, read) = match line {
            Line::Whole(bytes) => {
                let read = recorded::read(&mut reader, &bytes);
                (bytes, None, read)
            }
            Line::TooLong { start, bytes } => (start, Some(bytes), Err(Refusal::too_long(bytes))),
        };
        let kib = u32::try_from(bytes.len() / 1_024 + 1).unwrap_or(u32::MAX);
        let Ok(place) = futures::executor::block_on(room.clone().acquire_many_owned(kib)) else { return };
        let item = Item { raw: Raw { number, bytes, length }, read, room: place };
        if to.blocking_send(Ok(item)).is_err() {
            return;
        }
    }
}

/// What is fed to the governor.
pub(super) struct Feed<'a> {
    /// Its bytes.
    pub(super) input: Input,
    /// What they came from.
    pub(super) path: &'a Path,
    /// Reads its lines.
    pub(super) reader: Reading,
    /// Whether it ends at the first line that cannot be taken.
    pub(super) strict: bool,
    /// A database that it must not leave behind.
    pub(super) alongside: Option<&'a mut Alongside>,
}

/// The next line, once whoever is written to has kept up.
async fn next_of(
    incoming: &mut mpsc::Receiver<Incoming>,
    alongside: Option<&mut Alongside>,
    reader: &Reader,
) -> Option<Incoming> {
    if let Some(alongside) = alongside {
        alongside.keeps_up(reader).await;
    }
    incoming.recv().await
}

/// Feeds an input to the governor.
///
/// # Errors
/// What could not be read, recorded or written; what was answered before is recorded.
pub(super) async fn feed(session: &Session, feed: Feed<'_>, rejects: &mut Rejects) -> Result<Fed, CliError> {
    let Feed { input, path, reader, strict, mut alongside } = feed;
    let (to, mut incoming) = mpsc::channel(LINES_AHEAD);
    let (size, position) = (input.size, input.read.clone());
    let reading = std::thread::Builder::new().name("input".to_owned()).spawn(move || read_all(input, reader, &to));
    reading.map_err(|source| CliError::File { doing: "start reading", path: path.to_owned(), source })?;

    let bar = size.map_or_else(ProgressBar::hidden, |size| bytes_bar(size, "governing"));
    let window = if strict { 1 } else { IN_FLIGHT_MAX };
    let mut tally = Tally {
        fed: Fed { ended: Ended::Input, lines: 0, recorded: 0, repeated: 0, nobodys: 0, first: None, first_seq: None },
        strict,
        rejects,
        failed: None,
    };
    let mut under_way: FuturesOrdered<Answers> = FuturesOrdered::new();
    let mut stop = std::pin::pin!(stop_asked());
    let mut tick = tokio::time::interval(Duration::from_millis(125));
    let mut ends = false;
    loop {
        let item = tokio::select! {
            biased;
            () = &mut stop, if !ends => {
                tally.fed.ended = Ended::Interrupted;
                ends = true;
                continue;
            }
            Some((raw, outcome)) = under_way.next() => {
                ends |= tally.settle(&raw, outcome)?;
                continue;
            }
            item = next_of(&mut incoming, alongside.as_deref_mut(), session.governor.reader()),
                if !ends && under_way.len() < window => item,
            _ = tick.tick(), if !ends => {
                bar.set_position(position.load(std::sync::atomic::Ordering::Relaxed));
                continue;
            }
            else => break,
        };
        let Item { raw, read, room } = match item {
            Some(Ok(item)) => item,
            Some(Err(source)) => {
                tally.failed.get_or_insert(CliError::File { doing: "read", path: path.to_owned(), source });
                ends = true;
                continue;
            }
            None => {
                ends = true;
                continue;
            }
        };
        let entries = match read {
            Ok(entries) => entries,
            Err(refusal) => {
                under_way.push_back(Box::pin(ready((raw, Outcome::Refused(refusal)))) as Answers);
                continue;
            }
        };
        let mut asked: Vec<LocalBoxFuture<'static, Result<Recorded, Failure>>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = entry.ts;
            if tally.fed.first.is_none() {
                tally.fed.first = Some(at);
                session.governor.begin(at).await.map_err(|failure| stopped(raw.number, failure))?;
            }
            match entry.asked {
                Asked::Strategy(request) => {
                    tally.fed.nobodys += u64::from(matches!(request.command, Command::RecordUnattributed(_)));
                    asked.push(Box::pin(session.governor.ask(ephor_actors::Request { at, ..*request })));
                }
                Asked::Account(account) => {
                    // Every decision before it must stand on the account before it.
                    while let Some((raw, outcome)) = under_way.next().await {
                        ends |= tally.settle(&raw, outcome)?;
                    }
                    if ends {
                        break;
                    }
                    let trace = SmolStr::new(account.id.as_str());
                    let command = ephor_governance::system::Command::UpdateAccount(account);
                    let answer = session.governor.change(command, at, trace, Some(at)).await;
                    asked.push(Box::pin(ready(answer)));
                }
            }
        }
        if !ends {
            under_way.push_back(Box::pin(async move {
                let outcome = together(futures::future::join_all(asked).await);
                drop(room);
                (raw, outcome)
            }));
        }
    }
    bar.finish_and_clear();
    match tally.failed {
        Some(error) => Err(error),
        None => Ok(tally.fed),
    }
}

/// What the reports of one line came to: the first that was not taken, else the first that was new.
fn together(answers: Vec<Result<Recorded, Failure>>) -> Outcome {
    let mut found: Option<Result<Recorded, Failure>> = None;
    for answer in answers {
        let better = match (&found, &answer) {
            (None, _) | (Some(Ok(_)), Err(_)) => true,
            (Some(Err(_)), _) => false,
            (Some(Ok(before)), Ok(recorded)) => before.repeat && !recorded.repeat,
        };
        if better {
            found = Some(answer);
        }
    }
    found.map_or(Outcome::Blank, Outcome::Answered)
}

/// What the lines came to, in their order.
struct Tally<'a> {
    fed: Fed,
    strict: bool,
    rejects: &'a mut Rejects,
    failed: Option<CliError>,
}

impl Tally<'_> {
    /// Counts one line; says whether the feed ends with it.
    fn settle(&mut self, raw: &Raw, outcome: Outcome) -> Result<bool, CliError> {
        if self.failed.is_some() {
            return Ok(true);
        }
        self.fed.lines = raw.number;
        let refusal = match outcome {
            Outcome::Blank => return Ok(false),
            Outcome::Refused(refusal) => refusal,
            Outcome::Answered(Ok(recorded)) => {
                self.fed.first_seq = Some(self.fed.first_seq.map_or(recorded.seq, |first| first.min(recorded.seq)));
                if recorded.repeat {
                    self.fed.repeated += 1;
                } else {
                    self.fed.recorded += 1;
                }
                return Ok(false);
            }
            // The same version of a strategy declared once more.
            Outcome::Answered(Err(Failure::Rejected(Rejection::NothingToChange { .. }))) => {
                self.fed.repeated += 1;
                return Ok(false);
            }
            Outcome::Answered(Err(Failure::Rejected(rejection))) => rejection.into(),
            Outcome::Answered(Err(failure)) => {
                self.failed = Some(stopped(raw.number, failure));
                return Ok(true);
            }
        };
        self.rejects.add(raw, &refusal)?;
        if self.strict {
            self.fed.ended = Ended::Refused { line: raw.number, refusal };
        }
        Ok(self.strict)
    }
}

fn stopped(line: u64, failure: Failure) -> CliError {
    CliError::RunStopped { line, source: Box::new(failure) }
}

/// Waits until the person at the terminal, or the system, asks for an end.
pub(super) async fn stop_asked() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => {
                    if interrupted.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
