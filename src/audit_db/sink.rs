//! Writes what is recorded into the tables: a batch and the checkpoint in one transaction, so that every event is
//! there once whatever dies.
//!
//! Invariants: rows go in only from the checkpoint on, and only while it stands where this sink has left it.

use std::sync::Arc;
use std::time::Duration;

use ephor_events::envelope::Envelope;
use ephor_events::{Reader, Seq};
use ephor_replay::Progress;
use ephor_replay::passage::{Passage, Wanted};
use futures::future::BoxFuture;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::watch;

use super::schema::{TABLES, Table, missing};
use super::{AuditDbError, Database, copy};
use crate::canary::Fault;
use crate::follow::Follower;
use crate::telemetry::chain;

/// How long a batch may take; beyond that the connection is given up, and the batch with it.
const BATCH_TIMEOUT: Duration = Duration::from_mins(1);

/// What tells this log from others: the hash of its first commit; `None` while it is empty.
///
/// # Errors
/// As reading.
pub fn log_identity(reader: &Reader) -> Result<Option<String>, AuditDbError> {
    let first = reader.commit_of(Seq(1)).map_err(ephor_replay::ReplayError::from)?;
    Ok(first.map(|commit| commit.hash.to_string()))
}

/// How far this log's events are in the tables, by what their checkpoint says.
///
/// # Errors
/// [`AuditDbError::OtherLog`] where the tables follow another.
pub(super) fn last_taken(found: Option<(String, u64)>, log: Option<&str>) -> Result<u64, AuditDbError> {
    match (found, log) {
        (None, _) => Ok(0),
        (Some((found, last)), Some(expected)) if found == expected => Ok(last),
        (Some((found, _)), expected) => {
            let expected = expected.unwrap_or("not there yet").to_owned();
            Err(AuditDbError::OtherLog { found, expected })
        }
    }
}

/// How writing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The last seq that is there, once that is known.
    pub up_to: Option<u64>,
    /// Why the last batch was not written; it is tried again.
    pub wrong: Option<Arc<str>>,
}

/// Writes into the audit database.
pub struct Sink {
    database: Database,
    reader: Reader,
    connection: Option<PgConnection>,
    log: Option<String>,
    at: u64,
    written: watch::Sender<Written>,
}

impl Sink {
    /// Of a log. Nothing is connected yet.
    #[must_use]
    pub fn new(database: Database, reader: Reader) -> Self {
        Self { database, reader, connection: None, log: None, at: 0, written: watch::Sender::default() }
    }

    /// How writing goes, from now on and as it changes.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<Written> {
        self.written.subscribe()
    }

    /// Connects, and says the last seq that is there.
    ///
    /// # Errors
    /// [`AuditDbError`]; [`AuditDbError::OtherLog`] where the tables follow another.
    pub async fn begin(&mut self) -> Result<Seq, AuditDbError> {
        self.connection = None;
        let log = log_identity(&self.reader)?;
        let database = self.database.clone();
        let mut connection = database.connect().await?;
        let within = database.patience();
        let asked = tokio::time::timeout(within, checkpoint(&mut connection)).await;
        let found = asked.map_err(|_elapsed| database.timed_out(within))??;
        self.at = last_taken(found, log.as_deref())?;
        self.connection = Some(connection);
        self.log = log;
        self.written.send_modify(|written| written.up_to = Some(self.at));
        Ok(Seq(self.at))
    }

    /// Writes events that follow on the checkpoint, and moves it, or does neither.
    ///
    /// # Errors
    /// [`AuditDbError`]; then it has to begin again.
    pub async fn write(&mut self, events: &[Envelope]) -> Result<(), AuditDbError> {
        let done = self.write_once(events).await;
        let wrong = done.as_ref().err().map(|error| chain(error).into());
        self.written.send_replace(Written { up_to: Some(self.at), wrong });
        done
    }

    async fn write_once(&mut self, events: &[Envelope]) -> Result<(), AuditDbError> {
        let Some(last) = events.last().map(|envelope| envelope.seq.0) else { return Ok(()) };
        if self.log.is_none() {
            // It was empty when this began.
            self.log = log_identity(&self.reader)?;
        }
        // Given back only when all is well: a connection that was left in the middle is not used again.
        let (taken, log) = (self.connection.take(), self.log.clone());
        let (Some(mut connection), Some(log)) = (taken, log) else {
            return Err(AuditDbError::Moved { expected: self.at });
        };
        let batch = written(&mut connection, &log, (self.at, last), events);
        let done = tokio::time::timeout(BATCH_TIMEOUT, batch).await;
        done.map_err(|_elapsed| self.database.timed_out(BATCH_TIMEOUT))??;
        self.connection = Some(connection);
        self.at = last;
        Ok(())
    }
}

/// Writes everything up to the log's present end; gives how many events that were.
///
/// # Errors
/// [`AuditDbError`]; what was written before it stays.
pub async fn catch_up(
    sink: &mut Sink,
    reader: &Reader,
    progress: &mut dyn FnMut(Progress),
) -> Result<u64, AuditDbError> {
    let begun = sink.begin().await?;
    let total = reader.head().seq;
    if begun > total {
        return Err(AuditDbError::Ahead { last: begun.0, end: total.0 });
    }
    let most = sink.database.settings().batch_events;
    let mut passage = Passage::open(reader, Wanted::default(), Seq(begun.0 + 1))?;
    loop {
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(events) = passage.next()?
        {
            batch.extend(events);
        }
        if batch.is_empty() {
            return Ok(sink.at - begun.0);
        }
        sink.write(&batch).await?;
        progress(Progress { done: Seq(sink.at), total: total.max(Seq(sink.at)) });
    }
}

/// The log that the tables follow, and how far; `None` before the first event.
///
/// # Errors
/// [`AuditDbError::NoTable`], [`AuditDbError::Statement`].
pub async fn checkpoint(connection: &mut PgConnection) -> Result<Option<(String, u64)>, AuditDbError> {
    if let Some(table) = missing(connection).await?.first() {
        return Err(AuditDbError::NoTable { table });
    }
    let asked = sqlx::query_as("SELECT log, last_seq FROM governance_checkpoint").fetch_optional(connection).await;
    let found: Option<(String, i64)> = asked.map_err(AuditDbError::statement("read the checkpoint"))?;
    Ok(found.map(|(log, last)| (log, u64::try_from(last).unwrap_or_default())))
}

async fn written(
    connection: &mut PgConnection,
    log: &str,
    (at, last): (u64, u64),
    events: &[Envelope],
) -> Result<(), AuditDbError> {
    let moving = || AuditDbError::statement("move the checkpoint");
    let mut transaction = connection.begin().await.map_err(AuditDbError::statement("begin"))?;
    // First, and under its lock: of two who write, the second finds that it has moved.
    let sql = if at == 0 {
        "INSERT INTO governance_checkpoint AS here (log, last_seq) VALUES ($1, $2) ON CONFLICT (one) DO UPDATE \
         SET last_seq = EXCLUDED.last_seq, updated_at = now() WHERE here.log = EXCLUDED.log AND here.last_seq = $3"
    } else {
        "UPDATE governance_checkpoint SET last_seq = $2, updated_at = now() WHERE log = $1 AND last_seq = $3"
    };
    let [at_sql, last_sql] = [at, last].map(|seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let moved = sqlx::query(sql).bind(log).bind(last_sql).bind(at_sql).execute(&mut *transaction).await;
    if moved.map_err(moving())?.rows_affected() != 1 {
        return Err(AuditDbError::Moved { expected: at });
    }
    for table in &TABLES {
        fill(&mut transaction, table, events).await?;
    }
    transaction.commit().await.map_err(AuditDbError::statement("commit"))
}

/// Copies the rows that a table has for events.
async fn fill(connection: &mut PgConnection, table: &Table, events: &[Envelope]) -> Result<(), AuditDbError> {
    let mut rows = Vec::new();
    for row in events.iter().filter_map(table.row) {
        copy::put(&mut rows, table, &row);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let writing = || AuditDbError::statement("write rows");
    let statement = format!("COPY {} ({}) FROM STDIN", table.name, table.listed());
    let mut copying = connection.copy_in_raw(&statement).await.map_err(writing())?;
    copying.send(rows).await.map_err(writing())?;
    copying.finish().await.map(drop).map_err(writing())
}

impl Follower for Sink {
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>> {
        Box::pin(async { Ok(self.begin().await?) })
    }

    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async { Ok(self.write(events).await?) })
    }

    fn batch_events(&self) -> usize {
        self.database.settings().batch_events
    }
}
