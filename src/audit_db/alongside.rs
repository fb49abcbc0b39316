//! A required audit database beside a recorded stream: written to while that is governed, and looked after.
//!
//! A stream comes as fast as it can be read, so it waits for the database instead of leaving it behind.

use ephor_actors::Governor;
use ephor_events::Reader;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Database, NAME, Sink, Watch, Written};
use crate::bus::Status;
use crate::follow::follow;

/// A database that is written to.
pub struct Alongside {
    written: watch::Receiver<Written>,
    lag_events_max: u64,
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Alongside {
    /// Begins to write what is recorded, and to hold back new exposure while the database is not well.
    pub async fn begin(database: &Database, governor: &Governor) -> Self {
        let lag_events_max = database.settings().lag_events_max;
        let sink = Sink::new(database.clone(), governor.reader().clone());
        let written = sink.written();
        // How far it is behind is for the stream to wait for.
        let mut watch = Watch::begin(database.whatever_the_lag(), governor.clone(), written.clone());
        watch.look().await;
        let stop = CancellationToken::new();
        let following = follow(governor.clone(), Box::new(sink), Status::new(NAME), stop.clone());
        let tasks = [tokio::task::spawn_local(following), tokio::task::spawn_local(watch.run(stop.clone()))];
        Self { written, lag_events_max, stop, tasks }
    }

    /// Waits while the database is too far behind the log and goes on writing. May be dropped at any time.
    pub async fn keeps_up(&mut self, reader: &Reader) {
        let most = self.lag_events_max;
        let near = |written: &Written| {
            let behind = written.up_to.map(|up_to| reader.head().seq.0.saturating_sub(up_to));
            written.wrong.is_some() || behind.is_none_or(|behind| behind <= most)
        };
        // Where nobody writes any more there is nothing to wait for.
        drop(self.written.wait_for(near).await);
    }

    /// Ends both; what is not written by then is left.
    pub async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            drop(task.await);
        }
    }
}
