//! `ephor paper`: the whole loop on a paper venue, governed by the real governor on the real log.

mod chart;
mod page;
mod report;
mod table;
mod watch;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use ephor_events::Durability;
use serde::Serialize;

use super::print::{self, WARN, styled};
use super::rejects::{Raw, Rejects};
use super::run::unreadable;
use super::summary::{Counts, Summary};
use super::{CliError, Exit, Global};
use crate::input::{self, Input, Line, Lines, Refusal};
use crate::paper::plan::{BarsOf, Plan};
use crate::paper::run::{self, Wishes};
use crate::paper::signals::{Reading, Wished};
use crate::settings::Settings;
use crate::store::{self, Terms};
use ephor_governance::units::Timestamp;
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
    let mut settings = Settings::load(global.config.as_deref(), &[])?.paper;
    if let Some(seed) = args.seed {
        settings.seed = seed;
    }
    let beside = global.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    let plan = Plan::make(settings, &beside, &args.bars, args.signals.is_some());
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
        let mut wishes = match (input, args.signals.as_deref()) {
            (Some(input), Some(path)) => Some(Signals::begin(input, path, args.rejects.as_deref(), global, &plan)?),
            (_, _) => None,
        };
        let before = session.governor.reader().head();
        let shows = !global.json && io::stdout().is_terminal() && io::stdin().is_terminal();
        let mut watcher = Watcher::begin(&session, args.speed, shows)?;
        let mut none = NoWishes;
        let signals: &mut dyn Wishes = match &mut wishes {
            Some(signals) => signals,
            None => &mut none,
        };
        let ended = run::run(&session, &plan, signals, &mut watcher).await;
        drop(watcher);
        let ended = ended?;
        let head = session.governor.reader().head();
        let rejects = wishes.as_ref().map(|signals| &signals.rejects);
        let counts = Counts {
            lines: ended.signals + rejects.map_or(0, Rejects::total),
            lines_recorded: 0,
            lines_repeated: 0,
            lines_rejected: rejects.map_or(0, Rejects::total),
            rejected_by_reason: rejects.map(|rejects| rejects.counts().clone()).unwrap_or_default(),
            rejects: rejects.filter(|rejects| rejects.total() > 0).map(|rejects| rejects.path().to_owned()),
            events_recorded: head.seq.0 - before.seq.0,
            head_seq: head.seq.0,
            head_hash: head.hash.to_string(),
            seconds: 0.0,
        };
        let states = session.governor.inspect().await;
        let summary = Summary::read(session.governor.reader(), states, ended.first_seq, counts)?;
        Ok((ended, summary))
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
    let said = styled(WARN, "stopped");
    print::note(format_args!("{said}: after bar {done} of {all}; the same command again goes on from there"));
    Ok(Exit::Interrupted)
}

/// An error with what caused it, in one sentence.
fn with_cause(error: &dyn std::error::Error) -> String {
    crate::telemetry::chain(error)
}

/// Nothing comes from outside.
struct NoWishes;

impl Wishes for NoWishes {
    fn next_before(&mut self, _: Timestamp) -> Result<Option<Wished>, CliError> {
        Ok(None)
    }
}

/// Signals from a file or from standard input; what cannot be taken is put apart.
struct Signals {
    lines: Lines<io::BufReader<Box<dyn io::Read + Send>>>,
    path: PathBuf,
    reading: Reading,
    rejects: Rejects,
    waiting: Option<Wished>,
    is_over: bool,
}

impl Signals {
    fn begin(
        input: Input,
        path: &Path,
        rejects: Option<&Path>,
        global: &Global,
        plan: &Plan,
    ) -> Result<Self, CliError> {
        let without_rule = plan.traders.iter().filter(|trader| trader.settings.rule.is_none());
        let known =
            without_rule.map(|trader| (trader.settings.id.clone(), trader.settings.instrument.clone())).collect();
        Ok(Self {
            lines: Lines::new(input.bytes),
            path: path.to_owned(),
            reading: Reading::new(known, store::now),
            rejects: Rejects::begin(rejects, &global.data, path)?,
            waiting: None,
            is_over: false,
        })
    }

    fn read(&mut self) -> Result<(), CliError> {
        let path = &self.path;
        let failed = |source| CliError::File { doing: "read", path: path.clone(), source };
        while self.waiting.is_none() && !self.is_over {
            let Some((number, line)) = self.lines.next().map_err(failed)? else {
                self.is_over = true;
                return Ok(());
            };
            let (bytes, length, read) = match line {
                Line::Whole(bytes) => {
                    let read = self.reading.line(&bytes);
                    (bytes, None, read)
                }
                Line::TooLong { start, bytes } => (start, Some(bytes), Err(Refusal::too_long(bytes))),
            };
            match read {
                Ok(wished) => self.waiting = wished,
                Err(refusal) => self.rejects.add(&Raw { number, bytes, length }, &refusal)?,
            }
        }
        Ok(())
    }
}

impl Wishes for Signals {
    fn next_before(&mut self, at: Timestamp) -> Result<Option<Wished>, CliError> {
        self.read()?;
        Ok(self.waiting.take_if(|wished| wished.at < at))
    }
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
