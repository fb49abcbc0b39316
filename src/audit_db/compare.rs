//! The tables held against the log, every field of every row, both sides streamed side by side by seq.
//!
//! The tables are seen as of one moment and read to their ends, so that a row that nobody recorded is found as well.
//! Memory does not grow with the log.

use std::collections::VecDeque;

use ephor_events::{Reader, Seq};
use ephor_replay::passage::{Passage, Wanted};
use ephor_replay::{Progress, ReplayError};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgConnection;

use super::AuditDbError;
use super::copy::{self, Lines};
use super::schema::{TABLES, Table};
use super::sink::{checkpoint, last_taken, log_identity};

/// Where a table and the log part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// The log has it, the table has not.
    Missing {
        /// Of which event.
        seq: i64,
    },
    /// The table has it, the log has not.
    Surplus {
        /// What stands there as its seq.
        seq: i64,
    },
    /// Both have it, and say different things.
    Field {
        /// Of which event.
        seq: i64,
        /// In which column.
        column: &'static str,
        /// What the table says; `None` for NULL.
        table: Option<String>,
        /// What the log says.
        log: Option<String>,
    },
}

/// What the comparison of one table came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComparedTable {
    /// Which.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// Rows that differ, are missing or are too many.
    pub differ: u64,
    /// The first of them, by seq.
    pub first: Option<Difference>,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Where the log ended when the comparison was asked for, or the tables end where that is later.
    pub log_seq: u64,
    /// How far the tables say that they follow it.
    pub checkpoint_seq: u64,
    /// Each table.
    pub tables: Vec<ComparedTable>,
}

impl Compared {
    /// Whether the tables say what the log says, to its end.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.log_seq == self.checkpoint_seq && self.tables.iter().all(|table| table.differ == 0)
    }
}

/// Compares everything up to the checkpoint, which should have reached this seq.
///
/// # Errors
/// [`AuditDbError`]; [`AuditDbError::OtherLog`] where the tables follow another.
pub async fn compare(
    connection: &mut PgConnection,
    reader: &Reader,
    reached: Seq,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compared, AuditDbError> {
    let begun = sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *connection).await;
    begun.map_err(AuditDbError::statement("begin"))?;
    let found = checkpoint(connection).await?;
    // After the checkpoint was read: what the tables have by then, the log has.
    reader.refresh().map_err(ReplayError::from)?;
    let end = reader.head().seq.0;
    let last = last_taken(found, log_identity(reader)?.as_deref())?;
    if last > end {
        return Err(AuditDbError::Ahead { last, end });
    }
    let mut tables = Vec::new();
    for table in &TABLES {
        tables.push(beside(connection, table, reader, Seq(last), progress).await?);
    }
    let ended = sqlx::raw_sql("ROLLBACK").execute(connection).await;
    ended.map_err(AuditDbError::statement("end"))?;
    Ok(Compared { log_seq: reached.0.max(last), checkpoint_seq: last, tables })
}

/// The rows that the log gives a table, in order, up to a seq.
struct Expected<'a> {
    table: &'a Table,
    passage: Passage,
    last: Seq,
    ready: VecDeque<(i64, Value)>,
}

impl<'a> Expected<'a> {
    fn of(table: &'a Table, reader: &Reader, last: Seq) -> Result<Self, AuditDbError> {
        let wanted = Wanted { stream: None, types: table.types.to_vec() };
        let passage = Passage::open(reader, wanted, Seq(1))?;
        Ok(Self { table, passage, last, ready: VecDeque::new() })
    }

    fn peek(&mut self) -> Result<Option<i64>, AuditDbError> {
        while self.ready.is_empty() && self.passage.next_seq() <= self.last {
            let Some(events) = self.passage.next()? else { break };
            for envelope in events.iter().filter(|envelope| envelope.seq <= self.last) {
                let seq = i64::try_from(envelope.seq.0).unwrap_or(i64::MAX);
                self.ready.extend((self.table.row)(envelope).map(|row| (seq, row)));
            }
        }
        Ok(self.ready.front().map(|(seq, _)| *seq))
    }

    fn next(&mut self) -> Option<Value> {
        self.ready.pop_front().map(|(_, row)| row)
    }
}

/// Compares one table.
async fn beside(
    connection: &mut PgConnection,
    table: &Table,
    reader: &Reader,
    last: Seq,
    progress: &mut dyn FnMut(Progress),
) -> Result<ComparedTable, AuditDbError> {
    let mut compared = ComparedTable { table: table.name, rows: 0, differ: 0, first: None };
    let mut expected = Expected::of(table, reader, last)?;
    let reading = || AuditDbError::statement("read rows");
    let garbled = |problem: &str| AuditDbError::Garbled { table: table.name, problem: problem.to_owned() };
    let statement = format!("COPY (SELECT {} FROM {} ORDER BY seq) TO STDOUT", table.listed(), table.name);
    let mut pieces = connection.copy_out_raw(&statement).await.map_err(reading())?;
    let mut lines = Lines::default();
    while let Some(piece) = pieces.next().await {
        for line in lines.take(&piece.map_err(reading())?) {
            let fields = copy::fields(&line).map_err(|problem| garbled(&problem))?;
            let seq = fields.first().and_then(|field| field.as_ref()?.parse::<i64>().ok());
            let seq = seq.ok_or_else(|| garbled("its seq is not a number"))?;
            if fields.len() != table.columns.len() {
                return Err(garbled("it has another number of columns"));
            }
            compared.rows += 1;
            while let Some(missing) = expected.peek()?.filter(|next| *next < seq) {
                expected.next();
                compared.found(Difference::Missing { seq: missing });
            }
            let log = if expected.peek()? == Some(seq) { expected.next() } else { None };
            match log {
                Some(log) => {
                    if let Some(difference) = differing(table, seq, &fields, &log) {
                        compared.found(difference);
                    }
                }
                None => compared.found(Difference::Surplus { seq }),
            }
            if compared.rows.is_multiple_of(4_096) {
                progress(Progress { done: Seq(u64::try_from(seq).unwrap_or_default()).min(last), total: last });
            }
        }
    }
    while let Some(seq) = expected.peek()? {
        expected.next();
        compared.found(Difference::Missing { seq });
    }
    progress(Progress { done: last, total: last });
    Ok(compared)
}

impl ComparedTable {
    fn found(&mut self, difference: Difference) {
        self.differ += 1;
        self.first.get_or_insert(difference);
    }
}

fn differing(table: &Table, seq: i64, fields: &[Option<String>], log: &Value) -> Option<Difference> {
    table.columns.iter().zip(fields).find_map(|(column, found)| {
        let expected = copy::field(column, log);
        let same = copy::same(column.kind, found.as_deref(), expected.as_deref());
        (!same).then(|| Difference::Field { seq, column: column.name, table: found.clone(), log: expected })
    })
}
