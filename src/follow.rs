//! Following the log outwards: everything recorded, in order, handed to somebody else exactly once.
//!
//! The follower says what it has for certain, and gets what comes behind it, again and again until it has taken it. It
//! is late when its server is down, and says so; no decision waits for it.

use std::time::Duration;

use ephor_actors::Governor;
use ephor_events::envelope::Envelope;
use ephor_events::{DerivedTree, Seq};
use ephor_replay::passage::{Passage, Wanted};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::bus::Status;
use crate::canary::Fault;
use crate::telemetry::chain;

/// Events handed over at once where the follower does not say otherwise.
const BATCH_EVENTS: usize = 1_024;
/// The first wait after a failure; it doubles.
pub(crate) const WAIT_FIRST: Duration = Duration::from_millis(100);
/// The longest.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);

/// Somebody who is told everything that is recorded.
pub trait Follower: Send {
    /// Connects, and says the last seq that it has for certain; 0 for none.
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>>;

    /// Takes events that follow on its position. `Ok` only when all are durable there; after an error it is asked for
    /// its position again, so what it had taken must not count twice.
    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>>;

    /// Events that it likes to be handed at once, at most (the last commit may go beyond).
    fn batch_events(&self) -> usize {
        BATCH_EVENTS
    }
}

/// Hands a follower everything that is recorded, until told to stop.
pub async fn follow(governor: Governor, mut follower: Box<dyn Follower>, status: Status, stop: CancellationToken) {
    let mut wait = WAIT_FIRST;
    loop {
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            error = keep_up(&governor, &mut *follower, &status, &mut wait) => error,
        };
        let error = chain(&*error);
        tracing::warn!(follower = %status.name(), error, "events are held back: the log has them");
        status.broken(error);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(wait)) => {}
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Somewhere between half of it and all, so that many do not come back at once.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness it is only less spread.
    let share = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(random[0]) / 255.0);
    wait.mul_f64(f64::midpoint(1.0, share))
}

/// Comes back only with what went wrong.
async fn keep_up(governor: &Governor, follower: &mut dyn Follower, status: &Status, wait: &mut Duration) -> Fault {
    let mut head = governor.head_watch();
    let position = match follower.position().await {
        Ok(position) => position,
        Err(fault) => return fault,
    };
    let last = governor.reader().head().seq;
    if position > last {
        return format!("it has seq {position}, but the log ends at {last}: it follows another log").into();
    }
    status.connected();
    let mut at = position;
    let most = follower.batch_events();
    let opened = Passage::open(governor.reader(), Wanted::default(), Seq(position.0 + 1));
    let mut passage = match opened {
        Ok(passage) => Some(passage),
        Err(error) => return error.into(),
    };
    loop {
        let Some(mut reading) = passage.take() else { return "the reader was lost".into() };
        let read = tokio::task::spawn_blocking(move || {
            let mut batch = Vec::new();
            while batch.len() < most {
                match reading.next() {
                    Ok(Some(events)) => batch.extend(events),
                    Ok(None) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok((batch, reading))
        });
        let batch = match read.await {
            Ok(Ok((batch, reading))) => {
                passage = Some(reading);
                batch
            }
            Ok(Err(error)) => return error.into(),
            Err(error) => return error.into(),
        };
        status.behind(governor.reader().head().seq.0.saturating_sub(at.0));
        if let Some(newest) = batch.last().map(|envelope| envelope.seq) {
            if let Err(fault) = follower.take(&batch).await {
                return fault;
            }
            at = newest;
            *wait = WAIT_FIRST;
            status.well();
            status.took(batch.len() as u64, 0);
            status.behind(governor.reader().head().seq.0.saturating_sub(at.0));
        } else if head.changed().await.is_err() {
            return "the journal has ended".into();
        }
    }
}

/// A position kept beside the log, with what is derived from it: it goes with the index, so it may be missing.
#[derive(Clone)]
pub struct Checkpoint {
    tree: DerivedTree,
    name: String,
}

impl Checkpoint {
    /// Of the follower of this name.
    #[must_use]
    pub fn new(tree: DerivedTree, name: &str) -> Self {
        Self { tree, name: name.to_owned() }
    }

    /// The position, where one was kept.
    ///
    /// # Errors
    /// What the store said.
    pub fn read(&self) -> Result<Option<u64>, Fault> {
        let kept = self.tree.get(self.name.as_bytes())?;
        Ok(kept.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes))
    }

    /// Keeps a position; on the disk with the next flush.
    ///
    /// # Errors
    /// What the store said.
    pub fn keep(&self, position: u64) -> Result<(), Fault> {
        Ok(self.tree.put(self.name.as_bytes(), &position.to_le_bytes())?)
    }

    /// Brings it to the disk.
    ///
    /// # Errors
    /// What the store said.
    pub fn flush(&self) -> Result<(), Fault> {
        Ok(self.tree.flush()?)
    }
}
