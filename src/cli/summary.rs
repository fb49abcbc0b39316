//! What a run ends with: where each strategy stands, what was decided, who climbed and who fell.
//!
//! States come from the governor, changes from the log, from the first line of this input on; so a run
//! that only repeats an input says the same as the one that recorded it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use comfy_table::{Cell, Color};
use ephor_events::{Reader, Seq, StreamId, codec};
use ephor_governance::drift::{self, Band, Comparison, Metric};
use ephor_governance::event::{Event, PauseCause};
use ephor_governance::ids::{Currency, StrategyId};
use ephor_governance::maturity::{self, Evidence, Level};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::State;
use ephor_governance::system;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use ephor_snapshots::{Restored, restore};
use serde::Serialize;

use super::CliError;
use super::print::{self, BAD, BOLD, Counted, DIM, GOOD, LEFT, RIGHT, WARN, styled};
use super::sentence;
use crate::input::Code;

/// What was counted while the input was read.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Counts {
    /// Lines read, blank ones included.
    pub(super) lines: u64,
    /// Lines that gave a commit.
    pub(super) lines_recorded: u64,
    /// Lines that had been recorded before.
    pub(super) lines_repeated: u64,
    /// Lines that were not taken.
    pub(super) lines_rejected: u64,
    /// Those, by reason.
    pub(super) rejected_by_reason: BTreeMap<Code, u64>,
    /// Where they are written down.
    pub(super) rejects: Option<PathBuf>,
    /// Events that the log has more than before.
    pub(super) events_recorded: u64,
    /// The end of the log.
    pub(super) head_seq: u64,
    /// Hash of its last commit.
    pub(super) head_hash: String,
    /// How long it took.
    pub(super) seconds: f64,
}

/// Where a strategy stands.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Standing {
    pub(super) strategy: StrategyId,
    level: Level,
    /// Every level entered, in order.
    pub(super) path: Vec<Level>,
    pub(super) currency: Option<Currency>,
    pub(super) trades: u32,
    wins: u32,
    losses: u32,
    pub(super) win_rate: Option<f64>,
    pub(super) profit_factor: Option<f64>,
    pub(super) pnl: Amount,
    pub(super) health: f64,
    drift: Option<Comparison>,
    drawdown: f64,
    pub(super) max_drawdown: f64,
    pub(super) paused: Vec<PauseCause>,
    pub(super) decisions: BTreeMap<&'static str, u64>,
}

/// Something that changed what a strategy may do.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    pub(super) at: Timestamp,
    pub(super) seq: u64,
    pub(super) strategy: StrategyId,
    #[serde(rename = "change")]
    pub(super) kind: Kind,
    /// What led to it, with the numbers.
    cause: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Level>,
    /// The whole sentence.
    #[serde(skip)]
    pub(super) said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Up one level.
    Promoted,
    /// Down a level or more.
    Demoted,
    /// By a person.
    LevelSet,
    /// It stands still.
    Paused,
    /// It goes on.
    Resumed,
}

/// Everything a run ends with.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    pub(super) strategies: Vec<Standing>,
    pub(super) changes: Vec<Change>,
    #[serde(flatten)]
    pub(super) counts: Counts,
    #[serde(skip)]
    trades_min: u32,
}

impl Summary {
    /// Reads it from the states and from the log, from `first` on.
    ///
    /// # Errors
    /// What reading the log said.
    pub(super) fn read(
        reader: &Reader,
        states: Vec<(StrategyId, Restored<State>)>,
        first: Option<Seq>,
        counts: Counts,
    ) -> Result<Self, CliError> {
        let system: system::State = restore(reader, None, &StreamId::system(), None, system::evolve)?.state;
        let policy = &system.policy;
        let states: Vec<_> = states.into_iter().filter(|(_, restored)| restored.state.registration.is_some()).collect();
        let ids: BTreeSet<&str> = states.iter().map(|(id, _)| id.as_str()).collect();
        let changes = match first {
            Some(first) => changes(reader, first, &ids)?,
            None => Vec::new(),
        };
        let strategies = states.iter().map(|(id, restored)| standing(id, &restored.state, policy)).collect();
        Ok(Self { strategies, changes, counts, trades_min: policy.drift_detector.trades_min })
    }

    /// With the time it took.
    pub(super) fn within(mut self, elapsed: Duration) -> Self {
        self.counts.seconds = elapsed.as_secs_f64();
        self
    }
}

fn standing(id: &StrategyId, state: &State, policy: &Policy) -> Standing {
    let totals = &state.totals;
    let record = Evidence { peak: totals.peak, ..state.maturity.evidence };
    let worst = state.compare_drift(&policy.drift_detector).into_iter().reduce(further);
    let factor = !totals.gross_loss.is_zero();
    Standing {
        strategy: id.clone(),
        level: state.maturity.level,
        path: state.path.iter().map(|(_, level)| *level).collect(),
        currency: state.registration.as_ref().map(|registration| registration.currency.clone()),
        trades: totals.trades,
        wins: totals.wins,
        losses: totals.losses,
        win_rate: (totals.trades > 0).then(|| f64::from(totals.wins) / f64::from(totals.trades)),
        profit_factor: factor.then(|| totals.gross_win.to_f64() / totals.gross_loss.to_f64()),
        pnl: totals.pnl,
        health: state.health.score,
        drift: worst,
        drawdown: record.drawdown(),
        max_drawdown: totals.max_drawdown,
        paused: state.pauses.keys().copied().collect(),
        decisions: Action::ALL.iter().map(|action| action.as_str()).zip(totals.decisions).collect(),
    }
}

/// What changed for these strategies from `first` on, in order.
fn changes(reader: &Reader, first: Seq, ids: &BTreeSet<&str>) -> Result<Vec<Change>, CliError> {
    const TELLING: [&str; 4] = ["MaturityTransitioned", "StrategyPaused", "StrategyResumed", "LevelSet"];
    let mut changes = Vec::new();
    let mut cursor = reader.cursor(first)?;
    while let Some(commit) = cursor.next()? {
        let tells = |type_id| codec::type_name(type_id).is_some_and(|name| TELLING.contains(&name));
        if !ids.contains(commit.stream.as_str()) || !commit.events().any(|event| tells(event.type_id)) {
            continue;
        }
        let strategy = StrategyId::recorded(commit.stream.as_str().into());
        let at = Timestamp::from_nanos(commit.recorded_at);
        let events: Vec<Event> =
            codec::decode_all(&commit).collect::<Result<_, _>>().map_err(ephor_actors::Failure::from)?;
        for (event, seq) in events.iter().zip(commit.seq.0..) {
            let Some((kind, cause, levels)) = told(event, &events) else { continue };
            let (from, to) = levels.unzip();
            let said = sentence::of(event);
            changes.push(Change { at, seq, strategy: strategy.clone(), kind, cause, from, to, said });
        }
    }
    Ok(changes)
}

/// What changed, what led to it, and the levels before and after.
type Told = (Kind, String, Option<(Level, Level)>);

fn told(event: &Event, commit: &[Event]) -> Option<Told> {
    match event {
        Event::MaturityTransitioned(maturity::Event::Promoted { from, to, evidence }) => {
            Some((Kind::Promoted, record(evidence), Some((*from, *to))))
        }
        Event::MaturityTransitioned(maturity::Event::Demoted { from, to, cause, evidence }) => {
            let drawdown = || {
                let (fall, peak) = (print::percent(evidence.drawdown()), print::rounded(evidence.peak));
                format!("drawdown {fall} from a peak of {peak}")
            };
            let streak = || format!("{} losses in a row", evidence.loss_streak);
            let cause = match cause {
                maturity::DemotionCause::Drawdown => drawdown(),
                maturity::DemotionCause::LossStreak => streak(),
                maturity::DemotionCause::DrawdownAndLossStreak => format!("{}, {}", drawdown(), streak()),
            };
            Some((Kind::Demoted, cause, Some((*from, *to))))
        }
        Event::LevelSet { from, to, earned, by, reason, .. } => {
            let how = if *to > *from && !*earned { ", without the evidence" } else { "" };
            Some((Kind::LevelSet, format!("by {by}{how}: {reason}"), Some((*from, *to))))
        }
        Event::StrategyPaused { cause: PauseCause::Drift, reason, .. } => {
            let pausing = |event: &Event| {
                let Event::DriftAlerted(drift::Event { comparison, .. }) = event else { return None };
                (comparison.band == Band::Pause).then_some(*comparison)
            };
            let worst = commit.iter().filter_map(pausing).reduce(further);
            Some((Kind::Paused, worst.map_or_else(|| reason.clone(), |worst| drifted(&worst)), None))
        }
        Event::StrategyPaused { cause: PauseCause::Operator, by, reason } => {
            Some((Kind::Paused, format!("by {by}: {reason}"), None))
        }
        Event::StrategyResumed { by, reason, .. } => Some((Kind::Resumed, format!("by {by}: {reason}"), None)),
        Event::StrategyRegistered { .. }
        | Event::BaselineRecorded(_)
        | Event::SignalReceived(_)
        | Event::OrderReported(_)
        | Event::FillRecorded { .. }
        | Event::UnattributedReceived(_)
        | Event::TradeClosed(_)
        | Event::AccountUpdated(_)
        | Event::DecisionMade(_)
        | Event::HealthUpdated(_)
        | Event::DriftAlerted(_)
        | Event::TokenChanged(_)
        | Event::CanaryChecked(_)
        | Event::CanaryAlerted(_)
        | Event::PolicyAdopted { .. }
        | Event::KillSwitchEngaged { .. }
        | Event::KillSwitchReleased { .. }
        | Event::ActorFaulted { .. }
        | Event::OrderApproved { .. }
        | Event::OrderDeclined { .. }
        | Event::PolicyProposed { .. } => None,
    }
}

/// The comparison that is further from its baseline.
fn further(one: Comparison, other: Comparison) -> Comparison {
    if other.deviation_pct > one.deviation_pct { other } else { one }
}

fn record(evidence: &Evidence) -> String {
    let factor = evidence.profit_factor().map_or("no losses".to_owned(), |factor| format!("profit factor {factor:.2}"));
    format!("{} trades, win rate {}, {factor}", evidence.trades, print::percent(evidence.win_rate()))
}

fn drifted(comparison: &Comparison) -> String {
    let Comparison { metric, live, baseline, deviation_pct, .. } = comparison;
    format!("{metric} {deviation_pct:.0} % off: {live:.2}, backtest {baseline:.2}")
}

/// A metric's name where there is little room.
const fn abbreviated(metric: Metric) -> &'static str {
    match metric {
        Metric::ProfitFactor => "PF",
        Metric::MaxDrawdown => "max DD",
        Metric::WinRate | Metric::AvgRr | Metric::Sharpe | Metric::Expectancy | Metric::AvgReturn => metric.as_str(),
    }
}

/// `L2` of `L2_gated`.
pub(super) fn short(level: Level) -> &'static str {
    level.as_str().get(..2).unwrap_or_default()
}

/// The way a strategy took: the first and the last steps of a long one.
pub(super) fn way(path: &[Level]) -> String {
    const SHOWN: usize = 5;
    let steps: Vec<&str> = path.iter().copied().map(short).collect();
    match (steps.first(), steps.len().checked_sub(SHOWN).and_then(|from| steps.get(from..))) {
        (Some(first), Some(last)) if steps.len() > SHOWN + 1 => format!("{first}→…→{}", last.join("→")),
        (_, _) => steps.join("→"),
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables().fmt(f)?;
        self.write_counts(f)
    }
}

/// A summary without what was counted.
pub(super) struct Tables<'a>(&'a Summary);

impl Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(summary) = self;
        if summary.strategies.is_empty() {
            return Ok(());
        }
        writeln!(f, "{}\n{}", summary.standings(), summary.decided())?;
        summary.write_changes(f)
    }
}

impl Summary {
    /// Where strategies stand, what was decided and what has changed.
    pub(super) const fn tables(&self) -> Tables<'_> {
        Tables(self)
    }

    fn standings(&self) -> String {
        let mut table = print::table(&[
            ("strategy", LEFT),
            ("level", LEFT),
            ("trades", RIGHT),
            ("won", RIGHT),
            ("PF", RIGHT),
            ("health", RIGHT),
            ("drift", RIGHT),
            ("DD now", RIGHT),
            ("max", RIGHT),
            ("paused", LEFT),
        ]);
        for it in &self.strategies {
            let health = Cell::new(format!("{:.2}", it.health));
            let health = if it.health < 0.5 { health.fg(Color::Red) } else { health };
            let drift = match &it.drift {
                None if it.trades < self.trades_min => Cell::new(format!("{}/{} trades", it.trades, self.trades_min)),
                None => Cell::new("no baseline"),
                Some(worst) if worst.deviation_pct <= 0.0 => Cell::new("none"),
                Some(worst) => {
                    let cell = Cell::new(format!("{} {:.0}%", abbreviated(worst.metric), worst.deviation_pct));
                    match worst.band {
                        Band::Within => cell,
                        Band::Reduce => cell.fg(Color::Yellow),
                        Band::Pause => cell.fg(Color::Red),
                    }
                }
            };
            let paused: Vec<&str> = it
                .paused
                .iter()
                .map(|cause| match cause {
                    PauseCause::Operator => "operator",
                    PauseCause::Drift => "drift",
                })
                .collect();
            table.add_row(vec![
                Cell::new(&it.strategy),
                Cell::new(way(&it.path)),
                Cell::new(it.trades),
                Cell::new(it.win_rate.map_or("-".to_owned(), |rate| format!("{:.0}%", rate * 100.0))),
                Cell::new(it.profit_factor.map_or("-".to_owned(), |factor| format!("{factor:.2}"))),
                health,
                drift,
                Cell::new(format!("{:.1}%", it.drawdown * 100.0)),
                Cell::new(format!("{:.1}%", it.max_drawdown * 100.0)),
                Cell::new(paused.join(", ")).fg(Color::Red),
            ]);
        }
        print::rows(&table)
    }

    fn decided(&self) -> String {
        let mut columns = vec![("decisions", LEFT), ("all", RIGHT)];
        columns.extend(Action::ALL.iter().map(|action| (action.as_str(), RIGHT)));
        columns.extend([("result", RIGHT), ("", LEFT)]);
        let mut table = print::table(&columns);
        for it in &self.strategies {
            let mut row = vec![Cell::new(&it.strategy), Cell::new(print::grouped(it.decisions.values().sum()))];
            for action in Action::ALL {
                let count = it.decisions.get(action.as_str()).copied().unwrap_or_default();
                row.push(Cell::new(if count == 0 { "-".to_owned() } else { print::grouped(count) }));
            }
            row.push(Cell::new(print::rounded(it.pnl)));
            row.push(Cell::new(it.currency.as_ref().map_or("", Currency::as_str)));
            table.add_row(row);
        }
        print::rows(&table)
    }

    fn write_changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |kind: Kind| self.changes.iter().filter(|change| change.kind == kind).count() as u64;
        let heading = format!(
            "{}, {}, {}",
            Counted(of(Kind::Promoted), "promotion"),
            Counted(of(Kind::Demoted), "demotion"),
            Counted(of(Kind::Paused), "pause")
        );
        writeln!(f, "{}", styled(BOLD, heading))?;
        let named =
            self.changes.iter().map(|change| change.strategy.as_str().chars().count()).max().unwrap_or_default();
        for change in &self.changes {
            let levels = change.from.zip(change.to).map(|(from, to)| format!(" {}→{}", short(from), short(to)));
            let (style, word) = match change.kind {
                Kind::Promoted => (GOOD, "promoted"),
                Kind::Demoted => (BAD, "demoted"),
                Kind::LevelSet => (WARN, "set"),
                Kind::Paused => (BAD, "paused"),
                Kind::Resumed => (GOOD, "resumed"),
            };
            let what = format!("{word}{}", levels.unwrap_or_default());
            let at = print::time(change.at);
            let at = at.get(..16).unwrap_or(&at);
            writeln!(f, "{at}  {:named$}  {style}{what:<14}{style:#}  {}", change.strategy, change.cause)?;
        }
        writeln!(f)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { lines, lines_repeated, lines_recorded, lines_rejected, events_recorded, .. } = self.counts;
        let elapsed = self.counts.seconds;
        writeln!(f, "{} read in {elapsed:.2} s", Counted(lines, "line"))?;
        match (lines_recorded, lines_repeated) {
            (0, 0) => writeln!(f, "  nothing recorded")?,
            (0, repeated) => {
                let said = styled(BOLD, "nothing new");
                writeln!(f, "  {said}: all {} were recorded before", Counted(repeated, "good line"))?;
            }
            (recorded, repeated) => {
                let events = Counted(events_recorded, "event");
                writeln!(f, "  {} recorded as {events}", Counted(recorded, "line"))?;
                if repeated > 0 {
                    writeln!(f, "  {} recorded before, not again", Counted(repeated, "line"))?;
                }
            }
        }
        if lines_rejected > 0 {
            let path = self.counts.rejects.as_deref().unwrap_or(std::path::Path::new(""));
            let said = styled(WARN, format_args!("{} rejected", Counted(lines_rejected, "line")));
            writeln!(f, "  {said}, see {}", path.display())?;
            for (code, count) in &self.counts.rejected_by_reason {
                writeln!(f, "    {:>8}  {code}", print::grouped(*count))?;
            }
        }
        let Counts { head_seq, head_hash, .. } = &self.counts;
        writeln!(f, "log ends at seq {head_seq} {}", styled(DIM, head_hash))
    }
}
