//! `ephor run`: governs a recorded stream, line by line, at the stream's own time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ephor_events::{Durability, Reader};

use super::audit::bar;
use super::feed::{self, Ended};
use super::print::{self, BAD, WARN, styled};
use super::rejects::Rejects;
use super::summary::{Counts, Summary};
use super::{CliError, Exit, Global};
use crate::audit_db::{self, Alongside, Database, Sink};
use crate::formats::Reading;
use crate::input::{self, Input};
use crate::settings::{self, Settings};
use crate::store::{self, Terms};
use crate::telemetry::chain;

/// Govern a recorded stream: signals, orders, closed trades, baselines, account states
#[derive(clap::Args)]
#[command(
    after_help = "A line that cannot be taken goes to the reject file and stops nothing. The same input again records \
                        nothing new; a run that was stopped goes on where it was.\n\n\
                        Example: ephor run --input trades.jsonl.gz --data ./ephor-data"
)]
pub(super) struct Args {
    /// Lines of JSON, plain or gzipped; - is standard input
    #[arg(long, short, value_name = "FILE|-")]
    input: PathBuf,
    /// Stop at the first line that cannot be taken
    #[arg(long)]
    strict: bool,
    /// Where lines that cannot be taken go; DATA/rejects/INPUT.jsonl
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let started = Instant::now();
    let path = &args.input;
    let input = input::open(path).map_err(|source| unreadable(path, source))?;
    let reader = Reading::recorded(&settings::Reading::default(), store::now);
    govern(global, Stream { input, path, reader, strict: args.strict, rejects: args.rejects.as_deref() }, started)
}

/// A recorded stream, and how it is to be taken.
pub(super) struct Stream<'a> {
    /// Its bytes.
    pub(super) input: Input,
    /// What they came from.
    pub(super) path: &'a Path,
    /// Reads its lines.
    pub(super) reader: Reading,
    /// Whether it ends at the first line that cannot be taken.
    pub(super) strict: bool,
    /// Where such lines go.
    pub(super) rejects: Option<&'a Path>,
}

/// Governs a stream and says what it came to.
pub(super) fn govern(global: &Global, stream: Stream<'_>, started: Instant) -> Result<Exit, CliError> {
    let Stream { input, path, reader, strict, rejects } = stream;
    // One request at a time need not wait for the disk each time: closing brings the log there before we end.
    let durability = strict.then_some(Durability::Written);
    let terms = Terms { creates: true, durability };
    let settings = Settings::load(global.config.as_deref(), &[])?;
    let database = Database::of(&settings.audit.database)?;
    drop(rustls::crypto::ring::default_provider().install_default());
    let (fed, summary) = store::govern(global, terms, async |session| {
        let mut alongside = None;
        if let Some(database) = database.as_ref().filter(|database| database.settings().required) {
            database.connect().await?;
            alongside = Some(Alongside::begin(database, &session.governor).await);
        }
        let mut rejects = Rejects::begin(rejects, &global.data, path)?;
        let before = session.governor.reader().head();
        let given = feed::Feed { input, path, reader, strict, alongside: alongside.as_mut() };
        let fed = feed::feed(&session, given, &mut rejects).await;
        if let Some(alongside) = alongside {
            alongside.end().await;
        }
        let fed = fed?;
        let head = session.governor.reader().head();
        let counts = Counts {
            lines: fed.lines,
            lines_recorded: fed.recorded,
            lines_repeated: fed.repeated,
            lines_rejected: rejects.total(),
            rejected_by_reason: rejects.counts().clone(),
            rejects: (rejects.total() > 0).then(|| rejects.path().to_owned()),
            events_recorded: head.seq.0 - before.seq.0,
            head_seq: head.seq.0,
            head_hash: head.hash.to_string(),
            seconds: 0.0,
        };
        if let Some(database) = database {
            bring_up(database, session.governor.reader()).await?;
        }
        let states = session.governor.inspect().await;
        let summary = Summary::read(session.governor.reader(), states, fed.first_seq, counts)?;
        Ok((fed, summary))
    })?;
    if fed.nobodys > 0 {
        let nobodys = fed.nobodys;
        print::note(format_args!(
            "{}: {nobodys} reports belong to no strategy; they are kept: ephor events --stream UNATTRIBUTED",
            styled(WARN, "unattributed")
        ));
    }
    let summary = summary.within(started.elapsed());
    if global.json {
        print::json(&summary)?;
    } else {
        print::out(&summary)?;
    }
    match fed.ended {
        Ended::Input => Ok(Exit::Done),
        Ended::Interrupted => {
            let line = fed.lines;
            print::note(format_args!(
                "{}: after line {line}; the same command again goes on from there",
                styled(WARN, "stopped")
            ));
            Ok(Exit::Interrupted)
        }
        Ended::Refused { line, refusal } => {
            let code = refusal.code;
            print::note(format_args!(
                "{}: line {line} cannot be taken, {code}: {refusal}\n  what was before it is recorded; nothing after it was read",
                styled(BAD.bold(), "stopped by --strict")
            ));
            Ok(Exit::Found)
        }
    }
}

/// Writes what was recorded into the audit database. Where that is not required, what cannot be written is said, and
/// the next run or the service writes it.
async fn bring_up(database: Database, reader: &Reader) -> Result<(), CliError> {
    let required = database.settings().required;
    let mut sink = Sink::new(database, reader.clone());
    match audit_db::catch_up(&mut sink, reader, &mut bar("writing to the audit database")).await {
        Err(error) if required => Err(error.into()),
        Err(error) => {
            print::note(format_args!(
                "{}: the audit database was left behind the log, the next run brings it the rest: {}",
                styled(WARN, "note"),
                chain(&error)
            ));
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

pub(super) fn unreadable(path: &Path, source: std::io::Error) -> CliError {
    if source.kind() == std::io::ErrorKind::NotFound {
        return CliError::usage(format!("there is no file {}", path.display()));
    }
    CliError::File { doing: "read", path: path.to_owned(), source }
}
