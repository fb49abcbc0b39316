//! The one thread that writes the log.
//!
//! It takes whatever is waiting, writes it as one group, syncs once and answers all. Actors hand their
//! commits over and go on; their answers wait for the receipt.
//!
//! Invariants: nothing is answered before it has reached the durability asked for; after a failed
//! append nothing is ever written again, because states have already evolved past the failure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use ephor_events::{AppendError, CheckpointError, Draft, Durability, EventLog, Head, Position, Reader, Seq};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::measures::Counters;
use crate::shard::Receipts;

/// The most commits in one group.
const GROUP_MAX: usize = 1_024;

/// Why a commit has no receipt.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// As many commits wait as may; nothing was taken.
    #[error("the journal's queue is full")]
    Full,
    /// An append has failed, now or before: the journal writes nothing any more.
    #[error("the journal has stopped: {problem}")]
    Stopped {
        /// What the failed append said.
        problem: Arc<str>,
    },
    /// The journal has been shut down.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// Whether the same commit may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Stopped { .. } | Self::Closed => false,
        }
    }
}

/// Where a receipt goes.
pub(crate) enum Route {
    /// To a shard, together with the others of its group.
    Shard(usize),
    /// To one asker.
    One(oneshot::Sender<Result<Position, JournalError>>),
}

enum Entry {
    Commit { draft: Draft, route: Route },
    Barrier(Sender<()>),
    Close(oneshot::Sender<Result<Head, CheckpointError>>),
}

/// How often who waits for the thread looks whether it is still there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A way to the journal's thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    entries: Sender<Entry>,
    /// Set when the thread has ended, however it ended: what was queued behind its end is never answered.
    ended: Arc<AtomicBool>,
    /// What the failed append said, from before anybody hears of it.
    stopped: Arc<OnceLock<Arc<str>>>,
    head: watch::Receiver<Seq>,
}

/// Says that the thread has ended when it goes, by a panic too.
struct EndsWith(Arc<AtomicBool>);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The journal's thread.
pub(crate) type JournalThread = JoinHandle<()>;

impl Journal {
    /// Starts the thread. `queue` commits may wait.
    pub(crate) fn start(
        log: EventLog,
        durability: Durability,
        queue: usize,
        shards: Vec<UnboundedSender<Receipts>>,
        counters: Arc<Counters>,
    ) -> std::io::Result<(Self, Reader, JournalThread)> {
        let (entries, waiting) = bounded(queue);
        let reader = log.reader();
        let (moved, head) = watch::channel(log.head().seq);
        let ended: Arc<AtomicBool> = Arc::default();
        let ends = EndsWith(ended.clone());
        let stopped: Arc<OnceLock<Arc<str>>> = Arc::default();
        let stops = stopped.clone();
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let _ends = ends;
            Writer { log, durability, stopped: stops, shards, counters, moved }.run(&waiting);
        })?;
        Ok((Self { entries, ended, stopped, head }, reader, thread))
    }

    /// Hands a commit over. The receipt comes by its route when the commit is durable.
    ///
    /// # Errors
    /// [`JournalError::Full`] and [`JournalError::Closed`]; the commit was not taken then.
    pub(crate) fn append(&self, draft: Draft, route: Route) -> Result<(), JournalError> {
        self.entries.try_send(Entry::Commit { draft, route }).map_err(|refused| match refused {
            TrySendError::Full(_) => JournalError::Full,
            TrySendError::Disconnected(_) => JournalError::Closed,
        })
    }

    /// As [`Journal::append`], for a commit that must not be refused: waits for room. Who hands over no more than the
    /// queue has places for never does.
    ///
    /// # Errors
    /// [`JournalError::Closed`].
    pub(crate) fn hand_over(&self, draft: Draft, route: Route) -> Result<(), JournalError> {
        self.entries.send(Entry::Commit { draft, route }).map_err(|_| JournalError::Closed)
    }

    /// Why nothing is written any more, where an append has failed.
    pub(crate) fn stopped(&self) -> Option<JournalError> {
        self.stopped.get().map(|problem| JournalError::Stopped { problem: problem.clone() })
    }

    /// Commits that wait for the thread.
    pub(crate) fn queued(&self) -> usize {
        self.entries.len()
    }

    /// The last seq of the log, after every group.
    pub(crate) fn head_watch(&self) -> watch::Receiver<Seq> {
        self.head.clone()
    }

    /// Waits on the calling thread until everything handed over before has been written, or nothing more is.
    pub(crate) fn settle(&self) {
        let (done, settled) = bounded(1);
        if self.entries.send(Entry::Barrier(done)).is_err() {
            // A journal that has closed has settled too.
            return;
        }
        while let Err(RecvTimeoutError::Timeout) = settled.recv_timeout(LOOK_EVERY) {
            if self.ended.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Writes what waits, closes the log and ends the thread.
    pub(crate) async fn close(&self) -> Option<Result<Head, CheckpointError>> {
        let (done, closed) = oneshot::channel();
        let entries = self.entries.clone();
        // The queue may be full: waiting for room must not hold up the caller's thread.
        let sent = tokio::task::spawn_blocking(move || entries.send(Entry::Close(done)).is_ok()).await;
        if sent.unwrap_or(false) { closed.await.ok() } else { None }
    }
}

struct Writer {
    log: EventLog,
    durability: Durability,
    stopped: Arc<OnceLock<Arc<str>>>,
    shards: Vec<UnboundedSender<Receipts>>,
    counters: Arc<Counters>,
    moved: watch::Sender<Seq>,
}

impl Writer {
    fn run(mut self, waiting: &Receiver<Entry>) {
        let (mut drafts, mut routes) = (Vec::new(), Vec::new());
        while let Ok(first) = waiting.recv() {
            let mut next = Some(first);
            let mut last = None;
            while let Some(entry) = next.take() {
                match entry {
                    Entry::Commit { draft, route } => {
                        drafts.push(draft);
                        routes.push(route);
                        if drafts.len() < GROUP_MAX {
                            next = waiting.try_recv().ok();
                        }
                    }
                    Entry::Barrier(_) | Entry::Close(_) => last = Some(entry),
                }
            }
            self.commit(&mut drafts, &mut routes);
            match last {
                Some(Entry::Barrier(done)) => drop(done.send(())),
                Some(Entry::Close(done)) => {
                    drop(done.send(self.log.close()));
                    refuse_rest(waiting);
                    return;
                }
                Some(Entry::Commit { .. }) | None => {}
            }
        }
    }

    fn commit(&mut self, drafts: &mut Vec<Draft>, routes: &mut Vec<Route>) {
        if drafts.is_empty() {
            return;
        }
        let outcome = self.append(drafts);
        let receipts: Receipts = match outcome {
            Ok(positions) => positions.into_iter().map(Ok).collect(),
            Err(problem) => vec![Err(JournalError::Stopped { problem }); drafts.len()],
        };
        drafts.clear();
        let mut groups: Vec<Receipts> = self.shards.iter().map(|_| Vec::new()).collect();
        // An asker or a shard that is gone needs no receipt: the commit is recorded all the same.
        for (route, receipt) in routes.drain(..).zip(receipts) {
            match route {
                Route::Shard(shard) => groups.get_mut(shard).map_or((), |group| group.push(receipt)),
                Route::One(done) => drop(done.send(receipt)),
            }
        }
        for (shard, group) in self.shards.iter().zip(groups).filter(|(_, group)| !group.is_empty()) {
            drop(shard.send(group));
        }
    }

    fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Position>, Arc<str>> {
        if let Some(problem) = self.stopped.get() {
            return Err(problem.clone());
        }
        let began = Instant::now();
        let positions = self.log.append(drafts, self.durability).map_err(|error| self.stop(&error))?;
        let events = positions.iter().map(|position| u64::from(position.count)).sum();
        self.counters.group(positions.len(), events, began.elapsed());
        self.moved.send_replace(self.log.head().seq);
        Ok(positions)
    }

    fn stop(&mut self, error: &AppendError) -> Arc<str> {
        let problem: Arc<str> = chain(error).into();
        tracing::error!(%problem, "append failed: the journal has stopped, every order is blocked from here on");
        self.stopped.get_or_init(|| problem).clone()
    }
}

/// Answers what came too late. What waits in a shard learns it when its receipts end.
fn refuse_rest(waiting: &Receiver<Entry>) {
    for entry in waiting.try_iter() {
        match entry {
            Entry::Commit { route: Route::One(done), .. } => drop(done.send(Err(JournalError::Closed))),
            Entry::Barrier(done) => drop(done.send(())),
            Entry::Commit { route: Route::Shard(_), .. } | Entry::Close(_) => {}
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A strategy recovering while the journal closed waited for ever, and the shutdown with it: what is
    /// queued when the receiver goes is kept by the queue, and its answer with it.
    #[test]
    fn who_settles_behind_the_end_of_the_journal_is_let_go() {
        let (entries, waiting) = bounded(4);
        let ended: Arc<AtomicBool> = Arc::default();
        let (head, stopped) = (watch::channel(Seq(0)).1, Arc::default());
        let journal = Journal { entries, ended: ended.clone(), stopped, head };
        let settling = std::thread::spawn(move || journal.settle());
        while waiting.is_empty() {
            std::thread::yield_now();
        }
        drop((waiting, EndsWith(ended)));
        settling.join().unwrap();
    }
}
