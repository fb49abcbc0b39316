//! The tables: which columns they have, where each value stands in a recorded event, and how they are made.
//!
//! A column says where its value stands in the JSON form of a row, so what is written and what is compared cannot
//! part.

use std::borrow::Cow;

use ephor_events::envelope::{Envelope, to_json};
use ephor_governance::event::Event;
use ephor_governance::gate::Decision;
use ephor_governance::maturity;
use ephor_governance::verdict::Reason;
use serde_json::{Value, json};
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;

use super::AuditDbError;
use crate::export::{Column, Kind};

const fn column(name: &'static str, at: &'static str, kind: Kind) -> Column {
    Column { name, at, kind }
}

/// A table of the audit trail.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// Its columns; the first is the seq.
    pub(super) columns: &'static [Column],
    /// The types of event that it has a row for; all where empty.
    pub(super) types: &'static [&'static str],
    /// Its row for an event, in the form that its columns point into.
    pub(super) row: fn(&Envelope) -> Option<Value>,
}

impl Table {
    /// The names of its columns, as a statement lists them.
    pub(super) fn listed(&self) -> String {
        self.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
    }
}

/// The tables, the one of all events first.
pub(super) const TABLES: [Table; 3] = [
    Table { name: "governance_events", columns: EVENTS, types: &[], row: |envelope| Some(envelope.to_json()) },
    Table { name: "governance_logs", columns: LOGS, types: &["DecisionMade"], row: decision },
    Table {
        name: "maturity_transitions",
        columns: TRANSITIONS,
        types: &["MaturityTransitioned", "LevelSet"],
        row: transition,
    },
];

/// The table of one row.
pub(super) const CHECKPOINT: &str = "governance_checkpoint";

const EVENTS: &[Column] = &[
    column("seq", "/seq", Kind::Int),
    column("event_id", "/event_id", Kind::Text),
    column("stream", "/stream", Kind::Text),
    column("version", "/version", Kind::Int),
    column("type", "/type", Kind::Text),
    column("schema_version", "/schema_version", Kind::Int),
    column("trace_id", "/trace_id", Kind::Text),
    column("cause", "/cause", Kind::Int),
    column("occurred_at", "/occurred_at", Kind::Time),
    column("recorded_at", "/recorded_at", Kind::Time),
    column("decided_at", "/decided_at", Kind::Time),
    column("envelope", "", Kind::Json),
];

const LOGS: &[Column] = &[
    column("seq", "/seq", Kind::Int),
    column("event_id", "/event_id", Kind::Text),
    column("trace_id", "/trace_id", Kind::Text),
    column("strategy_id", "/stream", Kind::Text),
    column("version", "/version", Kind::Int),
    column("symbol", "/data/order/instrument", Kind::Text),
    column("venue", "/data/order/venue", Kind::Text),
    column("order_id", "/data/order/id", Kind::Text),
    column("side", "/data/order/side", Kind::Text),
    column("qty", "/data/order/qty", Kind::Decimal),
    column("price", "/data/order/price", Kind::Decimal),
    column("notional", "/data/order/notional", Kind::Decimal),
    column("currency", "/data/order/currency", Kind::Text),
    column("reduce_only", "/data/order/reduce_only", Kind::Bool),
    column("action", "/data/action", Kind::Text),
    column("sizing_multiplier", "/data/multiplier", Kind::Float),
    column("execution", "/data/execution", Kind::Text),
    column("maturity_level", "/data/level", Kind::Text),
    column("impact_tier", "/data/tier", Kind::Text),
    column("health_score", "/data/health_score", Kind::Float),
    column("decided_by", "/data/decided_by", Kind::Text),
    column("reason", "/reason", Kind::Text),
    column("policy", "/data/policy", Kind::Text),
    column("details", "/data", Kind::Json),
    column("decision_at", "/decided_at", Kind::Time),
    column("created_at", "/recorded_at", Kind::Time),
];

fn decision(envelope: &Envelope) -> Option<Value> {
    let decision = envelope.event.decision()?;
    let reason = Decision::leading(decision).map(|verdict| Reason::code(&verdict.reason));
    let mut row = envelope.to_json();
    row.as_object_mut()?.insert("reason".to_owned(), json!(reason));
    Some(row)
}

const TRANSITIONS: &[Column] = &[
    column("seq", "/seq", Kind::Int),
    column("event_id", "/event_id", Kind::Text),
    column("trace_id", "/trace_id", Kind::Text),
    column("strategy_id", "/stream", Kind::Text),
    column("version", "/version", Kind::Int),
    column("kind", "/kind", Kind::Text),
    column("from_level", "/step/from", Kind::Text),
    column("to_level", "/step/to", Kind::Text),
    column("cause", "/step/cause", Kind::Text),
    column("set_by", "/step/by", Kind::Text),
    column("reason", "/step/reason", Kind::Text),
    column("earned", "/step/earned", Kind::Bool),
    column("entered_at", "/step/evidence/entered_at", Kind::Time),
    column("trades", "/step/evidence/trades", Kind::Int),
    column("wins", "/step/evidence/wins", Kind::Int),
    column("loss_streak", "/step/evidence/loss_streak", Kind::Int),
    column("gross_win", "/step/evidence/gross_win", Kind::Decimal),
    column("gross_loss", "/step/evidence/gross_loss", Kind::Decimal),
    column("equity", "/step/evidence/equity", Kind::Decimal),
    column("peak", "/step/evidence/peak", Kind::Decimal),
    column("evidence", "/step/evidence", Kind::Json),
    column("transitioned_at", "/decided_at", Kind::Time),
    column("created_at", "/recorded_at", Kind::Time),
];

fn transition(envelope: &Envelope) -> Option<Value> {
    let (kind, step) = if let Event::MaturityTransitioned(step) = &envelope.event {
        match step {
            maturity::Event::Promoted { from, to, evidence } => {
                ("promoted", json!({ "from": from, "to": to, "evidence": to_json(evidence) }))
            }
            maturity::Event::Demoted { from, to, cause, evidence } => {
                ("demoted", json!({ "from": from, "to": to, "cause": cause, "evidence": to_json(evidence) }))
            }
        }
    } else if let Event::LevelSet { .. } = &envelope.event {
        ("set", ephor_events::envelope::event_json(&envelope.event))
    } else {
        return None;
    };
    Some(json!({
        "seq": envelope.seq,
        "event_id": envelope.event_id.to_string(),
        "trace_id": Some(&envelope.trace_id).filter(|trace| !trace.is_empty()),
        "stream": envelope.stream,
        "version": envelope.version,
        "decided_at": envelope.decided_at,
        "recorded_at": envelope.recorded_at,
        "kind": kind,
        "step": step,
    }))
}

/// The migrations, in order; what is in force is changed by a new one.
const MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "audit trail", include_str!("migrations/0001_audit_trail.sql")),
    (2, "auditor", include_str!("migrations/0002_auditor.sql")),
];

/// What a migration did.
#[derive(Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were applied now.
    pub applied: Vec<String>,
    /// Tables that had gone and were made again, empty.
    pub made_again: Vec<&'static str>,
    /// Whether there is a role for auditors.
    pub has_auditor: bool,
}

/// Brings the schema up to date. Doing it again does nothing.
///
/// # Errors
/// [`AuditDbError::Migrate`], [`AuditDbError::Statement`].
pub async fn migrate(connection: &mut PgConnection) -> Result<Migrated, AuditDbError> {
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let migrator = Migrator::with_migrations(MIGRATIONS.map(migration).to_vec());
    let before = applied(connection).await?;
    migrator.run_direct(None, connection, false).await.map_err(AuditDbError::Migrate)?;
    let is_new = |(version, _, _): &(i64, &str, &str)| !before.contains(version);
    let named = |(version, name, _): (i64, &str, &str)| format!("{version} ({name})");
    let new: Vec<_> = MIGRATIONS.into_iter().filter(is_new).map(named).collect();
    let made_again = missing(connection).await?;
    for (_, _, sql) in MIGRATIONS.into_iter().filter(|one| !made_again.is_empty() || !is_new(one) && one.0 == 2) {
        let done = sqlx::raw_sql(sql).execute(&mut *connection).await;
        done.map_err(AuditDbError::statement("make what is missing"))?;
    }
    let has_auditor = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ephor_auditor')")
        .fetch_one(&mut *connection)
        .await
        .map_err(AuditDbError::statement("look for the auditors' role"))?;
    Ok(Migrated { applied: new, made_again, has_auditor })
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, AuditDbError> {
    let looking = AuditDbError::statement("look for migrations");
    let there = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    if !there.fetch_one(&mut *connection).await.map_err(looking)? {
        return Ok(Vec::new());
    }
    let versions = sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(connection).await;
    versions.map_err(AuditDbError::statement("read the migrations"))
}

/// The tables that are not there.
pub(super) async fn missing(connection: &mut PgConnection) -> Result<Vec<&'static str>, AuditDbError> {
    let mut missing = Vec::new();
    for name in TABLES.iter().map(|table| table.name).chain([CHECKPOINT]) {
        let there =
            sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(name).fetch_one(&mut *connection).await;
        let there: bool = there.map_err(AuditDbError::statement("look for the tables"))?;
        if !there {
            missing.push(name);
        }
    }
    Ok(missing)
}

/// Empties the tables: the checkpoint is at 0 and of no log until somebody follows one.
///
/// # Errors
/// [`AuditDbError::Statement`].
pub async fn start_again(connection: &mut PgConnection) -> Result<(), AuditDbError> {
    let sql = "TRUNCATE governance_events, governance_logs, maturity_transitions, governance_checkpoint";
    let done = sqlx::raw_sql(sql).execute(connection).await;
    done.map(drop).map_err(AuditDbError::statement("empty the tables"))
}
