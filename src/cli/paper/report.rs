//! What a run on paper ends with: printed, as figures for programs, as a page and as curves.

use std::fs;
use std::path::Path;

use ephor_governance::drift::Baseline;
use ephor_governance::event::PauseCause;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use serde::Serialize;

use super::chart::{self, Mark, Sign, Strand, add};
use super::page::{self, Page, Row};
use crate::cli::CliError;
use crate::cli::print::{self, BOLD, Counted, DIM, LEFT, RIGHT, WARN, styled};
use crate::cli::summary::{Kind, Standing, Summary, short, way};
use crate::paper::plan::{Plan, Trader};
use crate::paper::run::{Course, Ended};
use comfy_table::Cell;

/// What only a run on paper has to say, beside what any run says.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What the venue's chances followed from.
    seed: u64,
    /// Bars gone through in the live part.
    bars: u64,
    /// Signals given to the engine.
    signals: u64,
    /// The first and the last bar of the live part.
    period: Option<(Timestamp, Timestamp)>,
    strategies: Vec<Traded>,
    /// Where signals ended.
    ended: Vec<Stage>,
    /// What has to be known to read it.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Traded {
    strategy: String,
    rule: &'static str,
    instrument: String,
    capital: Amount,
    equity: Amount,
    backtest: Baseline,
}

#[derive(Debug, Serialize)]
struct Stage {
    strategy: String,
    at: String,
    reason: String,
    signals: u64,
}

fn rule(trader: &Trader) -> &'static str {
    trader.settings.rule.as_ref().map_or("signals", |rule| rule.name())
}

impl Report {
    pub(super) fn of(plan: &Plan, ended: &Ended) -> Self {
        let traded = plan.traders.iter().zip(&ended.courses).map(|(trader, course)| Traded {
            strategy: trader.settings.id.to_string(),
            rule: rule(trader),
            instrument: trader.settings.instrument.to_string(),
            capital: trader.settings.capital,
            equity: course.points.last().map_or(trader.settings.capital, |point| point.equity),
            backtest: course.backtest.clone(),
        });
        let stages = ended.tally.iter().map(|((strategy, stage, reason), signals)| Stage {
            strategy: strategy.to_string(),
            at: (*stage).to_owned(),
            reason: (*reason).to_owned(),
            signals: *signals,
        });
        Self {
            seed: plan.settings.seed,
            bars: ended.bars.0,
            signals: ended.signals,
            period: ended.period,
            strategies: traded.collect(),
            ended: stages.collect(),
            notes: ended.notes.clone(),
        }
    }

    /// For people.
    pub(super) fn text(&self, summary: &Summary, written: Option<&Path>) -> String {
        let mut text = summary.tables().to_string();
        if !self.ended.is_empty() {
            text.push_str(&self.stages());
            text.push('\n');
        }
        for note in &self.notes {
            add(&mut text, format_args!("{} {note}\n", styled(WARN, "note:")));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        let counts = &summary.counts;
        let (bars, signals) = (Counted(self.bars, "bar"), Counted(self.signals, "signal"));
        add(&mut text, format_args!("{bars}, {signals} in {:.2} s\n", counts.seconds));
        if counts.events_recorded == 0 {
            let said = styled(BOLD, "nothing new");
            add(&mut text, format_args!("  {said}: all of it was recorded before\n"));
        } else {
            add(&mut text, format_args!("  recorded as {}\n", Counted(counts.events_recorded, "event")));
        }
        let (taken, known) = (counts.lines_recorded, counts.lines_repeated);
        if taken + known > 0 {
            add(&mut text, format_args!("  {} taken, {known} known before\n", Counted(taken, "message")));
        }
        if counts.lines_rejected > 0 {
            let (what, see) = match &counts.rejects {
                Some(rejects) => ("line", format!("rejected, see {}", rejects.display())),
                None => ("message", "put apart, see the dead letters of the bus".to_owned()),
            };
            let said = styled(WARN, Counted(counts.lines_rejected, what));
            add(&mut text, format_args!("  {said} {see}\n"));
            for (code, count) in &counts.rejected_by_reason {
                add(&mut text, format_args!("    {:>8}  {code}\n", print::grouped(*count)));
            }
        }
        add(&mut text, format_args!("log ends at seq {} {}\n", counts.head_seq, styled(DIM, &counts.head_hash)));
        if let Some(dir) = written {
            add(&mut text, format_args!("report written to {}\n", dir.join(PAGE).display()));
        }
        text
    }

    fn stages(&self) -> String {
        let mut table = print::table(&[("signals ended", LEFT), ("at", LEFT), ("because", LEFT), ("signals", RIGHT)]);
        let mut before = "";
        for stage in &self.ended {
            let name = if before == stage.strategy { "" } else { &stage.strategy };
            before = &stage.strategy;
            let count = print::grouped(stage.signals);
            table.add_row(vec![Cell::new(name), Cell::new(&stage.at), Cell::new(&stage.reason), Cell::new(count)]);
        }
        print::rows(&table)
    }

    /// Writes the page and the curves.
    pub(super) fn write(&self, dir: &Path, plan: &Plan, ended: &Ended, summary: &Summary) -> Result<(), CliError> {
        let pairs = plan.traders.iter().zip(&ended.courses);
        let strands: Vec<Strand<'_>> = pairs.map(|(trader, course)| strand(plan, trader, course, summary)).collect();
        for strand in &strands {
            put(&dir.join(format!("equity-{}.svg", file_name(strand.strategy))), &chart::file(strand))?;
        }
        let standing = |trader: &Trader| summary.strategies.iter().find(|it| it.strategy == trader.settings.id);
        let rows = plan.traders.iter().filter_map(|trader| standing(trader).map(|it| row(trader, it))).collect();
        let count = |kind: Kind| summary.changes.iter().filter(|change| change.kind == kind).count().to_string();
        let day = |at: Timestamp| print::time(at).get(..10).unwrap_or_default().to_owned();
        let page = Page {
            period: self.period.map(|(first, last)| (day(first), day(last))),
            facts: vec![
                ("bars", print::grouped(self.bars)),
                ("signals", print::grouped(self.signals)),
                ("promotions", count(Kind::Promoted)),
                ("demotions", count(Kind::Demoted)),
                ("pauses", count(Kind::Paused)),
                ("seed", self.seed.to_string()),
            ],
            notes: &self.notes,
            rows,
            strands: &strands,
            reasons: self
                .ended
                .iter()
                .map(|it| (it.strategy.clone(), it.at.clone(), it.reason.clone(), it.signals))
                .collect(),
            head: format!("seq {} {}", summary.counts.head_seq, summary.counts.head_hash),
        };
        put(&dir.join(PAGE), &page::page(&page))
    }
}

/// The page's file.
const PAGE: &str = "index.html";

/// Makes the directory, so that one that cannot be made is found first.
pub(super) fn begin(dir: &Path) -> Result<(), CliError> {
    fs::create_dir_all(dir).map_err(|source| CliError::File { doing: "create", path: dir.to_owned(), source })
}

fn put(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|source| CliError::File { doing: "write", path: path.to_owned(), source })
}

/// A name that is a file's on every system: what is no letter, digit, dot or dash is a dash.
fn file_name(strategy: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    strategy.chars().map(|letter| if fits(letter) { letter } else { '-' }).collect()
}

fn strand<'a>(plan: &'a Plan, trader: &'a Trader, course: &'a Course, summary: &Summary) -> Strand<'a> {
    let id = &trader.settings.id;
    let own = || summary.changes.iter().filter(|change| change.strategy == *id);
    let marks = own().map(|change| {
        let levels = change.from.zip(change.to).map(|(from, to)| format!("{}→{}", short(from), short(to)));
        let (sign, word) = match change.kind {
            Kind::Promoted => (Sign::Up, "promoted"),
            Kind::Demoted => (Sign::Down, "demoted"),
            Kind::LevelSet => (Sign::Set, "set by hand"),
            Kind::Paused => (Sign::Paused, "paused"),
            Kind::Resumed => (Sign::Resumed, "resumed"),
        };
        let label = levels.map_or_else(|| word.to_owned(), |levels| format!("{word} {levels}"));
        Mark { at: change.at, sign, label, said: change.said.clone() }
    });
    let start = course.points.first().map_or(Timestamp::default(), |point| point.at);
    let first = summary.strategies.iter().find(|it| it.strategy == *id).and_then(|it| it.path.first().copied());
    let levels = first.map(|level| (start, level)).into_iter();
    let entered = own().filter_map(|change| change.to.map(|to| (change.at, to)));
    let market = plan.markets.get(trader.market);
    Strand {
        strategy: id.as_str(),
        currency: market.map_or("", |market| market.instrument.currency.as_str()),
        capital: trader.settings.capital,
        points: &course.points,
        marks: marks.collect(),
        levels: levels.chain(entered).collect(),
    }
}

fn row(trader: &Trader, it: &Standing) -> Row {
    let currency = it.currency.as_ref().map_or("", |currency| currency.as_str());
    Row {
        strategy: it.strategy.to_string(),
        rule: rule(trader).to_owned(),
        instrument: trader.settings.instrument.to_string(),
        path: way(&it.path),
        paused: it.paused.iter().any(|cause| matches!(cause, PauseCause::Drift | PauseCause::Operator)),
        trades: it.trades,
        won: it.win_rate.map_or("-".to_owned(), |rate| format!("{:.0} %", rate * 100.0)),
        factor: it.profit_factor.map_or("-".to_owned(), |factor| format!("{factor:.2}")),
        health: format!("{:.2}", it.health),
        drawdown: print::percent(it.max_drawdown),
        result: format!("{} {currency}", print::rounded(it.pnl)),
        is_loss: it.pnl.is_negative(),
        decisions: Action::ALL.map(|action| it.decisions.get(action.as_str()).copied().unwrap_or_default()).to_vec(),
    }
}
