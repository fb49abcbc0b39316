//! `ephor paper`: the whole loop on a paper venue, governed by the real governor on the real log.

mod chart;
mod files;
mod page;
mod report;
mod table;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use ephor_events::{Durability, Seq};
use serde::Serialize;

use super::print::{self, WARN, styled};
use super::rejects::Rejects;
use super::run::unreadable;
use super::summary::{Counts, Summary};
use super::{CliError, Exit, Global};
use crate::bus::Buses;
use crate::formats::Format;
use crate::input;
use crate::paper::arrivals::Arrivals;
use crate::paper::journal::{self, Journal};
use crate::paper::live::Live;
use crate::paper::plan::{BarsOf, Beside, Plan};
use crate::paper::run::{self, Ended, Inputs};
use crate::settings::Settings;
use crate::store::{self, Session, Terms};
use files::{Files, Signals};
use report::Report;
use watch::Watcher;

/// Trade on paper: signals and prices through sizing, gate, risk and a paper venue, all of it governed and recorded
#[derive(clap::Args)]
#[command(
    after_help = "What is traded stands under [paper] in the settings (--config FILE); bars alone are traded by three example \
                  strategies. The same command again records nothing new; a run that was stopped goes on where it was.\n\n\
                  Examples:\n  ephor paper --config tests/data/paper/paper.toml --report ./report\n  \
                  ephor paper --bars eurusd.csv.gz=EUR/USD --speed 50"
)]
pub(super) struct Args {
    /// Bars of an instrument: comma-separated with a header (time, open, high, low, close, volume), plain or gzipped
    #[arg(long, value_name = "FILE=INSTRUMENT")]
    bars: Vec<BarsOf>,
    /// Signals of strategies that have no rule of their own, lines of JSON; - is standard input
    #[arg(long, value_name = "FILE|-")]
    signals: Option<PathBuf>,
    /// Signals and bars from a bus: the name of a [[bus.nats]], [[bus.redis]], [[bus.mqtt]] or [[bus.jsonl]] of the settings
    #[arg(long, value_name = "NAME", conflicts_with = "signals")]
    from: Option<String>,
    /// Where signals that cannot be taken go; DATA/rejects/SIGNALS.jsonl
    #[arg(long, value_name = "FILE", requires = "signals")]
    rejects: Option<PathBuf>,
    /// Bars a second, or max
    #[arg(long, value_name = "N|max", default_value = "max")]
    speed: Speed,
    /// Write the report here: index.html, and an equity curve a strategy as SVG
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// What the paper venue's chances follow from, instead of paper.seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// How fast bars go by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speed {
    /// As fast as they can be governed.
    Max,
    /// So many a second.
    BarsPerSecond(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let bars = text.parse().ok().filter(|bars: &f64| bars.is_finite() && *bars > 0.0);
        bars.map(Self::BarsPerSecond).ok_or_else(|| "use a number of bars a second above 0, or max".to_owned())
    }
}

/// What a run came to, for programs.
#[derive(Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    paper: &'a Report,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let started = Instant::now();
    let settings = Settings::load(global.config.as_deref(), &[])?;
    let mut paper = settings.paper.clone();
    if let Some(seed) = args.seed {
        paper.seed = seed;
    }
    let dir = global.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    let beside = match (&args.from, &args.signals) {
        (Some(_), _) => Beside::Bus,
        (None, Some(_)) => Beside::Signals,
        (None, None) => Beside::Nothing,
    };
    let plan = Plan::make(paper, &dir, &args.bars, beside);
    let plan = plan.map_err(|error| CliError::usage(with_cause(&error)))?;
    let input = args.signals.as_deref().map(|path| input::open(path).map_err(|source| unreadable(path, source)));
    let input = input.transpose()?;
    // A directory that cannot be written is found before anything is traded.
    if let Some(dir) = &args.report {
        report::begin(dir)?;
    }
    // One request at a time need not wait for the disk each time: closing brings the log there before we end.
    let terms = Terms { creates: true, durability: Some(Durability::Written) };
    let (ended, summary) = store::govern(global, terms, async |session| {
        if let Some(name) = &args.from {
            let mut live = live(name, &settings, global, &session, &plan)?;
            let (ended, before) = traded(&session, &plan, &mut live, args.speed, global).await?;
            let counted = live.counted();
            let counts = Counts {
                lines: counted.taken + counted.repeated + counted.dead.values().sum::<u64>(),
                lines_recorded: counted.taken,
                lines_repeated: counted.repeated,
                lines_rejected: counted.dead.values().sum(),
                rejected_by_reason: counted.dead.clone(),
                ..counts(&session, before)
            };
            return summed(&session, ended, counts).await;
        }
        let signals = match (input, args.signals.as_deref()) {
            (Some(input), Some(path)) => Some(Signals::begin(input, path, args.rejects.as_deref(), global, &plan)?),
            (_, _) => None,
        };
        let mut files = Files::begin(&plan, signals);
        let (ended, before) = traded(&session, &plan, &mut files, args.speed, global).await?;
        let rejects = files.rejects();
        let counts = Counts {
            lines: ended.signals + rejects.map_or(0, Rejects::total),
            lines_rejected: rejects.map_or(0, Rejects::total),
            rejected_by_reason: rejects.map(|rejects| rejects.counts().clone()).unwrap_or_default(),
            rejects: rejects.filter(|rejects| rejects.total() > 0).map(|rejects| rejects.path().to_owned()),
            ..counts(&session, before)
        };
        summed(&session, ended, counts).await
    })?;
    let summary = summary.within(started.elapsed());
    let report = Report::of(&plan, &ended);
    if let Some(dir) = &args.report {
        report.write(dir, &plan, &ended, &summary)?;
    }
    if global.json {
        print::json(&Said { summary: &summary, paper: &report })?;
    } else {
        print::out(report.text(&summary, args.report.as_deref()))?;
    }
    if ended.is_whole {
        return Ok(Exit::Done);
    }
    let (done, all) = ended.bars;
    let of = all.map_or_else(String::new, |all| format!(" of {all}"));
    let said = styled(WARN, "stopped");
    print::note(format_args!("{said}: after bar {done}{of}; the same command again goes on from there"));
    // A bus has no end but this one.
    Ok(if args.from.is_some() { Exit::Done } else { Exit::Interrupted })
}

/// A run over what comes in, and where the log ended before it.
async fn traded(
    session: &Session,
    plan: &Plan,
    inputs: &mut impl Inputs,
    speed: Speed,
    global: &Global,
) -> Result<(Ended, Seq), CliError> {
    let before = session.governor.reader().head().seq;
    let shows = !global.json && io::stdout().is_terminal() && io::stdin().is_terminal();
    let mut watcher = Watcher::begin(session, speed, shows)?;
    Ok((run::run(session, plan, inputs, &mut watcher).await?, before))
}

/// What the log has more than before; nothing read.
fn counts(session: &Session, before: Seq) -> Counts {
    let head = session.governor.reader().head();
    Counts {
        lines: 0,
        lines_recorded: 0,
        lines_repeated: 0,
        lines_rejected: 0,
        rejected_by_reason: BTreeMap::new(),
        rejects: None,
        events_recorded: head.seq.0 - before.0,
        head_seq: head.seq.0,
        head_hash: head.hash.to_string(),
        seconds: 0.0,
    }
}

async fn summed(session: &Session, ended: Ended, counts: Counts) -> Result<(Ended, Summary), CliError> {
    let states = session.governor.inspect().await;
    let summary = Summary::read(session.governor.reader(), states, ended.first_seq, counts)?;
    Ok((ended, summary))
}

/// The connection of this name, behind what has come over it before.
fn live(name: &str, settings: &Settings, global: &Global, session: &Session, plan: &Plan) -> Result<Live, CliError> {
    let found = Buses::new(settings, &global.data, session).into_inward(name);
    let (inbound, reading, status) = found.ok_or_else(|| {
        CliError::usage(format!(
            "the settings have no connection {name:?} that takes messages: see [bus] in docs/buses"
        ))
    })?;
    if reading.format != Format::Ephor {
        let format = reading.format.as_str();
        return Err(CliError::usage(format!(
            "{name} is read as {format}: signals and bars are told in Ephor's own JSON, reading.format = \"ephor\""
        )));
    }
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut arrivals = Arrivals::behind(plan, store::now);
    let journal = Journal::open(&global.data, |line, message| match arrivals.take(message) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(CliError::usage(format!(
            "line {line} of {} cannot be taken any more: {refusal}. It was under other settings: name another directory \
             with --data",
            journal::path(&global.data).display()
        ))),
    })?;
    Ok(Live::new(inbound, status, reading.pending_max, arrivals, journal))
}

/// An error with what caused it, in one sentence.
fn with_cause(error: &dyn std::error::Error) -> String {
    crate::telemetry::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_of_bars_a_second_or_as_fast_as_can_be() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::BarsPerSecond(2.5)));
        for text in ["0", "-1", "fast", "NaN", "inf", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
