//! `ephor audit-db`: the audit database made, written anew, and held against the log.

use std::time::{Duration, Instant};

use clap::Subcommand;
use ephor_events::Reader;
use serde_json::json;

use super::audit::bar;
use super::print::{self, BAD, Counted, GOOD, WARN, styled};
use super::{CliError, Exit, Global, sentence};
use crate::audit_db::compare::{Compared, ComparedTable, Difference, compare};
use crate::audit_db::{self, AuditDbError, Database, Migrated, Sink};
use crate::settings::Settings;
use crate::store;

/// How long `check` waits for a service that writes to bring the tables to the log's end.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(5);
/// Of a value no more than this is shown, characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Make, rebuild and check the audit database
#[derive(clap::Args)]
#[command(after_help = "The database is the one of audit.database.url.\n\nExample: ephor audit-db check")]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Make the tables, or bring them up to date; does nothing where they are
    #[command(after_help = "Example: ephor audit-db migrate")]
    Migrate,
    /// Empty the tables and write everything again from the log
    #[command(
        after_help = "Stop the service first. A rebuild that is interrupted is finished by the service, or by another \
                            rebuild.\n\nExample: ephor audit-db rebuild --data ./ephor-data"
    )]
    Rebuild {
        /// Also where the tables hold another log's events, or more than this log has: these are gone then
        #[arg(long)]
        replace: bool,
    },
    /// Compare every field of every row with the log; exit code 1 where they differ
    #[command(after_help = "Beside a running service it waits a few seconds for the tables to catch up.\n\n\
                            Example: ephor audit-db check --json")]
    Check,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let settings = Settings::load(global.config.as_deref(), &[])?;
    drop(rustls::crypto::ring::default_provider().install_default());
    let database = Database::of(&settings.audit.database)?.ok_or_else(|| {
        CliError::usage("there is no audit database: set audit.database.url in the settings (docs/audit-database.md)")
    })?;
    match args.act {
        Act::Migrate => migrate(global, &database),
        Act::Rebuild { replace } => rebuild(global, database, replace),
        Act::Check => check(global, &database),
    }
}

fn migrate(global: &Global, database: &Database) -> Result<Exit, CliError> {
    let migrated = store::block_on(async {
        let mut connection = database.connect().await?;
        Ok(audit_db::migrate(&mut connection).await?)
    })?;
    let Migrated { applied, made_again, has_auditor } = &migrated;
    if global.json {
        print::json(&json!({ "applied": applied, "made_again": made_again, "has_auditor": has_auditor }))?;
    } else {
        let mut text = String::new();
        for one in applied {
            sentence::add(&mut text, format_args!("applied migration {one}"));
        }
        for table in made_again {
            let note = "`ephor audit-db rebuild` fills it";
            sentence::add(&mut text, format_args!("{table} had gone and was made again, empty: {note}"));
        }
        if text.is_empty() {
            sentence::add(&mut text, format_args!("{} up to date", styled(GOOD, "nothing to do:")));
        }
        print::out(text)?;
    }
    if !has_auditor {
        print::note(format_args!(
            "{}: the role ephor_auditor was not made: {} may not create roles. Let somebody who may run `CREATE ROLE \
             ephor_auditor NOLOGIN`, then run this again",
            styled(WARN, "no auditors"),
            database.address().user
        ));
    }
    Ok(Exit::Done)
}

/// Whether the tables hold nothing that this log could not give again.
async fn is_this_logs(sink: &mut Sink, reader: &Reader) -> Result<(), AuditDbError> {
    let end = reader.head().seq.0;
    match sink.begin().await {
        Ok(begun) if begun.0 > end => Err(AuditDbError::Ahead { last: begun.0, end }),
        Err(error @ AuditDbError::OtherLog { .. }) => Err(error),
        // Whatever else is wrong with them is what a rebuild is for.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn rebuild(global: &Global, database: Database, replace: bool) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    if opened.is_shared() {
        return Err(CliError::usage(
            "a service governs on this log, or its directory cannot be written: stop the service first, or two would \
             write the same rows",
        ));
    }
    let reader = &opened.reader;
    let written = store::block_on(async {
        let mut connection = database.connect().await?;
        audit_db::migrate(&mut connection).await?;
        if !replace {
            is_this_logs(&mut Sink::new(database.clone(), reader.clone()), reader).await?;
        }
        audit_db::start_again(&mut connection).await?;
        drop(connection);
        Ok(audit_db::catch_up(&mut Sink::new(database, reader.clone()), reader, &mut bar("writing")).await?)
    })?;
    if global.json {
        print::json(&json!({ "events": written }))?;
    } else {
        print::out(format_args!("{} written\n", Counted(written, "event")))?;
    }
    Ok(Exit::Done)
}

fn check(global: &Global, database: &Database) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let patience = if opened.is_shared() { CATCHES_UP_WITHIN } else { Duration::ZERO };
    let compared = store::block_on(compared(database, &opened.reader, patience))?;
    let is_clean = compared.is_clean();
    if global.json {
        let Compared { log_seq, checkpoint_seq, tables } = &compared;
        print::json(&json!({
            "ok": is_clean, "log_seq": log_seq, "checkpoint_seq": checkpoint_seq, "tables": tables,
        }))?;
    } else {
        print::out(said(&compared))?;
    }
    Ok(if is_clean { Exit::Done } else { Exit::Found })
}

/// Compares; where a service writes, when the tables have reached what is the log's end now, or it has had time to.
async fn compared(database: &Database, reader: &Reader, patience: Duration) -> Result<Compared, CliError> {
    let begun = Instant::now();
    let reached = reader.head().seq;
    let mut connection = database.connect().await?;
    while begun.elapsed() < patience {
        let found = audit_db::checkpoint(&mut connection).await?;
        if found.is_some_and(|(_, last)| last >= reached.0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(compare(&mut connection, reader, reached, &mut bar("comparing")).await?)
}

fn said(compared: &Compared) -> String {
    let mut text = String::new();
    for ComparedTable { table, rows, differ, first } in &compared.tables {
        match first {
            None => sentence::add(&mut text, format_args!("{table}: {} as in the log", Counted(*rows, "row"))),
            Some(first) => {
                let differ = styled(BAD, format_args!("{} of {} not as in the log", differ, Counted(*rows, "row")));
                sentence::add(&mut text, format_args!("{table}: {differ}"));
                sentence::add(&mut text, format_args!("  first difference: {}", difference(first)));
            }
        }
    }
    let Compared { log_seq, checkpoint_seq, .. } = compared;
    if log_seq > checkpoint_seq {
        let late = Counted(log_seq - checkpoint_seq, "event");
        let late = styled(BAD, format_args!("{late} not written yet"));
        let ends = format!("the tables end at seq {checkpoint_seq}, the log at seq {log_seq}");
        sentence::add(&mut text, format_args!("{late}: {ends}"));
    } else if compared.is_clean() {
        sentence::add(&mut text, format_args!("{} up to seq {log_seq}", styled(GOOD, "no difference")));
    }
    text
}

fn difference(first: &Difference) -> String {
    let shown = |value: &Option<String>| match value {
        None => "NULL".to_owned(),
        Some(value) if value.chars().count() > SHOWN_CHARS_MAX => {
            format!("{}…", value.chars().take(SHOWN_CHARS_MAX).collect::<String>())
        }
        Some(value) => value.clone(),
    };
    match first {
        Difference::Missing { seq } => format!("seq {seq} is in the log and not in the table"),
        Difference::Surplus { seq } => format!("seq {seq} is in the table and was never recorded"),
        Difference::Field { seq, column, table, log } => {
            format!("seq {seq}, {column}: the table says {}, the log says {}", shown(table), shown(log))
        }
    }
}

impl From<AuditDbError> for CliError {
    fn from(error: AuditDbError) -> Self {
        Self::AuditDb(Box::new(error))
    }
}
