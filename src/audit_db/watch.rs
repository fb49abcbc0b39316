//! Whether the audit database is there and close behind the log, asked all the time on a connection of its own.
//!
//! Where the database is required, what is wrong with it, or with writing to it, holds back new exposure at once, from
//! the start on and until it is well: orders that only reduce pass, and nothing latches. The canary's component says the
//! same.

use std::sync::Arc;
use std::time::Duration;

use ephor_actors::Governor;
use sqlx::postgres::PgConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sink::{Written, checkpoint, last_taken, log_identity};
use super::{AuditDbError, Database, NAME};
use crate::canary::{self, Canary, Fault};
use crate::telemetry::chain;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(500);

/// What is wrong, if anything.
type Wrong = Option<Arc<str>>;

/// Looks after the audit database.
pub struct Watch {
    database: Database,
    governor: Governor,
    connection: Option<PgConnection>,
    written: watch::Receiver<Written>,
    wrong: watch::Sender<Wrong>,
}

impl Watch {
    /// Begins; where the database is required, new exposure is held back until it has answered. `written` is of whoever
    /// writes to it.
    #[must_use]
    pub fn begin(database: Database, governor: Governor, written: watch::Receiver<Written>) -> Self {
        let wrong: Wrong = Some("the audit database has not been asked yet".into());
        if database.settings().required {
            governor.hold(wrong.clone());
        }
        Self { database, governor, connection: None, written, wrong: watch::Sender::new(wrong) }
    }

    /// Has the canary check what this finds. A failure acts, as the policy says, only where the database is required.
    pub fn join(&self, canary: &mut Canary) {
        let wrong = self.wrong.subscribe();
        let component = canary::component(move || {
            let wrong = wrong.borrow().clone();
            async move { wrong.map_or(Ok(()), |wrong| Err(Fault::from(wrong.to_string()))) }
        });
        if self.database.settings().required {
            canary.add(NAME, component);
        } else {
            canary.add_shown(NAME, component);
        }
    }

    /// Asks once.
    pub async fn look(&mut self) {
        // Before the database is asked: that it answers says nothing of what could not be written.
        let mut wrong = self.not_written();
        if wrong.is_none() {
            let asked = self.ask().await;
            wrong = asked.err().map(|error| chain(&error).into()).or(self.not_written());
        }
        self.say(wrong);
    }

    /// Why what was to be written last is not there, if it is not.
    fn not_written(&self) -> Wrong {
        self.written.borrow().wrong.clone()
    }

    /// Asks all the time, and at once where a batch could not be written, until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut written = self.written.clone();
            let was_well = self.not_written().is_none();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
                Ok(_) = written.wait_for(|written| written.wrong.is_none() != was_well) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
        }
    }

    async fn ask(&mut self) -> Result<(), AuditDbError> {
        // Given back only when all is well: a connection that failed is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().await?,
        };
        let within = self.database.patience();
        let asked = tokio::time::timeout(within, checkpoint(&mut connection)).await;
        let found = asked.map_err(|_elapsed| self.database.timed_out(within))??;
        self.connection = Some(connection);
        let reader = self.governor.reader();
        let last = last_taken(found, log_identity(reader)?.as_deref())?;
        let end = reader.head().seq.0;
        let Some(behind) = end.checked_sub(last) else { return Err(AuditDbError::Ahead { last, end }) };
        let most = self.database.settings().lag_events_max;
        if behind > most { Err(AuditDbError::Behind { behind, most }) } else { Ok(()) }
    }

    fn say(&self, wrong: Wrong) {
        if self.database.settings().required {
            self.governor.hold(wrong.clone());
        }
        self.wrong.send_if_modified(|before| {
            if *before == wrong {
                return false;
            }
            if let Some(wrong) = &wrong {
                tracing::warn!(wrong = &**wrong, "the audit database is not well");
            } else {
                tracing::info!("the audit database is well");
            }
            *before = wrong;
            true
        });
    }
}
