//! `ephor export`: events, decisions and states for `pandas`, `Polars`, `DuckDB` and the like.

mod whole;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use ephor_events::envelope::Envelope;
use ephor_events::{Reader, Seq, StreamId};
use ephor_governance::ids::StrategyId;
use ephor_replay::at::{self, Moment, Point, strategy_at};
use ephor_replay::states::{self, Stage};
use ephor_replay::{Progress, ReplayError};
use ephor_snapshots::Keyframes;
use serde_json::{Value, json};

use super::audit::bar;
use super::events::Place;
use super::print::{self, Counted};
use super::{CliError, Exit, Global};
use crate::export::{self, Column, Format, Rows, tables};
use crate::store::{self, OpenedReader};
use whole::Whole;

/// Write events, decisions or states as JSON lines, CSV or Parquet
///
/// Decimals and times are exact in all three: text in JSON lines and CSV, DECIMAL(38, 18) and nanoseconds UTC in
/// Parquet. A file appears whole under its name or not at all.
#[derive(clap::Args)]
#[command(after_help = "Example: ephor export decisions --out decisions.parquet")]
pub(super) struct Args {
    /// What to write
    #[arg(value_enum, value_name = "TABLE")]
    table: Table,
    /// The file to write; standard output where none is given
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The format; else what the file's ending says, else JSON lines
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// Only this strategy; may be given more than once
    #[arg(long = "strategy", value_name = "STRATEGY")]
    strategies: Vec<StrategyId>,
    /// From this seq or time on
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Place>,
    /// Up to this seq or time; for states without --history, the moment
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Place>,
    /// For states: a row after each commit that moved the strategy, instead of one row a strategy
    #[arg(long)]
    history: bool,
    /// Replace the file if it is there; where its name is a link, the file that it leads to
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    /// Every event, with its fields as JSON
    Events,
    /// Every decision: the order, the answer, the verdicts
    Decisions,
    /// Where each strategy stands: level, equity, health, totals, pauses, drift
    States,
}

impl Table {
    const fn columns(self) -> &'static [Column] {
        match self {
            Self::Events => tables::EVENTS,
            Self::Decisions => tables::DECISIONS,
            Self::States => tables::STATES,
        }
    }
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let format = format_of(args)?;
    if args.table != Table::States && args.history {
        return Err(CliError::usage("--history is for states: events and decisions are a history already"));
    }
    if args.table == Table::States && args.from.is_some() && !args.history {
        return Err(CliError::usage(
            "states without --history are those of one moment: give it with --to, or add --history for a row after \
             each commit from --from on",
        ));
    }
    let opened = store::open_reader(global)?;
    let span = Span::of(&opened, args)?;
    let rows = match &args.out {
        Some(path) => to_file(path, args, format, |rows| span.write(args, rows))?,
        None if format == Format::Parquet && io::stdout().is_terminal() => {
            return Err(CliError::usage("Parquet is not for terminals: name a file with --out, or pipe it on"));
        }
        None => {
            let mut counted = Counting::begin(format, args.table.columns(), BufWriter::new(io::stdout()))?;
            span.write(args, &mut counted)?;
            counted.finish()?
        }
    };
    if let Some(path) = &args.out {
        if global.json {
            print::json(&json!({ "file": path.display().to_string(), "rows": rows }))?;
        } else {
            print::out(format_args!("{} written to {}\n", Counted(rows, "row"), path.display()))?;
        }
    }
    Ok(Exit::Done)
}

fn format_of(args: &Args) -> Result<Format, CliError> {
    let Some(path) = &args.out else { return Ok(args.format.unwrap_or(Format::Jsonl)) };
    args.format.or_else(|| Format::of(path)).ok_or_else(|| {
        CliError::usage(format!(
            "the name {} says no format: end it in .jsonl, .csv or .parquet, or give --format",
            path.display()
        ))
    })
}

/// Writes a file that is whole or not there.
fn to_file(
    path: &Path,
    args: &Args,
    format: Format,
    write: impl FnOnce(&mut Counting<'_>) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let whole = Whole::begin(path, args.force)?;
    let mut rows = Counting::begin(format, args.table.columns(), BufWriter::new(whole.file()))?;
    write(&mut rows)?;
    let rows = rows.finish()?;
    whole.finish()?;
    Ok(rows)
}

/// Rows on their way, counted.
struct Counting<'a> {
    rows: Box<dyn Rows + 'a>,
    count: u64,
}

impl<'a> Counting<'a> {
    fn begin(format: Format, columns: &'static [Column], to: impl Write + Send + 'a) -> Result<Self, CliError> {
        Ok(Self { rows: export::begin(format, columns, to)?, count: 0 })
    }

    fn push(&mut self, row: &Value) -> Result<(), CliError> {
        self.count += 1;
        Ok(self.rows.push(row)?)
    }

    fn finish(self) -> Result<u64, CliError> {
        self.rows.finish()?;
        Ok(self.count)
    }
}

/// What of the log is asked for.
struct Span<'a> {
    reader: &'a Reader,
    keyframes: Option<&'a Keyframes>,
    from: Seq,
    to: Seq,
}

impl<'a> Span<'a> {
    fn of(opened: &'a OpenedReader, args: &Args) -> Result<Self, CliError> {
        let reader = &opened.reader;
        for id in &args.strategies {
            at::known(reader, id)?;
        }
        let last = reader.head().seq;
        let from = args.from.map_or(Ok(Seq(1)), |place| place.first(reader))?;
        let to = args.to.map_or(Ok(last), |place| place.last(reader))?;
        if from > to {
            return Err(CliError::usage(format!(
                "there is nothing between --from and --to: they name seq {from} and seq {to}, and the log ends at seq {last}"
            )));
        }
        Ok(Self { reader, keyframes: opened.keyframes.as_ref(), from, to })
    }

    fn write(&self, args: &Args, rows: &mut Counting<'_>) -> Result<(), CliError> {
        match args.table {
            Table::Events => self.events(args, &mut |envelope| rows.push(&tables::event(envelope))),
            Table::Decisions => {
                self.events(args, &mut |envelope| tables::decision(envelope).map_or(Ok(()), |row| rows.push(&row)))
            }
            Table::States if args.history => {
                let wanted = |stream: &StreamId| is_wanted(args, stream);
                let mut bar = bar("folding");
                let mut visit = |stage: &Stage<'_>| rows.push(&tables::state(stage));
                states::each(self.reader, wanted, (self.from, self.to), &mut bar, &mut visit)
            }
            Table::States => self.moment(args, rows),
        }
    }

    fn events(&self, args: &Args, push: &mut dyn FnMut(&Envelope) -> Result<(), CliError>) -> Result<(), CliError> {
        let mut bar = bar("writing");
        let mut cursor = self.reader.cursor(self.from)?;
        let mut commits = 0_u64;
        while let Some(commit) = cursor.next()? {
            if commit.seq > self.to {
                break;
            }
            commits += 1;
            if commits.is_multiple_of(4_096) {
                bar(Progress { done: commit.seq, total: self.to });
            }
            if !is_wanted(args, commit.stream) {
                continue;
            }
            let envelopes = Envelope::of_commit(&commit.to_owned()).map_err(ReplayError::from)?;
            for envelope in envelopes.iter().filter(|envelope| (self.from..=self.to).contains(&envelope.seq)) {
                push(envelope)?;
            }
        }
        bar(Progress { done: self.to, total: self.to });
        Ok(())
    }

    fn moment(&self, args: &Args, rows: &mut Counting<'_>) -> Result<(), CliError> {
        let mut streams = self.reader.streams();
        streams.sort_unstable();
        for (stream, _) in streams {
            if !stream.is_strategy() || !is_wanted(args, &stream) {
                continue;
            }
            let id = StrategyId::recorded(stream.as_str().into());
            let found = match strategy_at(self.reader, self.keyframes, &id, Point::Seq(self.to)) {
                // It came under governance later than this.
                Err(ReplayError::NotGovernedYet { .. }) => continue,
                found => found?,
            };
            let Moment { state, version, seq, recorded_at, .. } = &found;
            let stage =
                Stage { stream: &stream, state, version: *version, seq: *seq, recorded_at: *recorded_at, event: None };
            rows.push(&tables::state(&stage))?;
        }
        Ok(())
    }
}

fn is_wanted(args: &Args, stream: &StreamId) -> bool {
    args.strategies.is_empty() || args.strategies.iter().any(|id| id.as_str() == stream.as_str())
}
