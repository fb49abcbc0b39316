//! Real trades of 27 strategies, against two independent implementations of the same rules.
//!
//! `governed.json` says what the rules find strategy by strategy; `oracle_trace.csv.gz` gives the
//! statistics after every single trade. Both were made outside this project, in decimal arithmetic.
//! Where their figure differs from ours, [`KNOWN_DIFFERENCES`] says so by name, and the test fails as soon
//! as such a difference is no longer there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use ephor_governance::drift::{self, Band, Baseline, Metric};
use ephor_governance::event::{Event, PauseCause, RecordedBaseline, Registration};
use ephor_governance::ids::{Currency, InstrumentId, SourceId, StrategyId};
use ephor_governance::maturity::{self, DemotionCause, Evidence};
use ephor_governance::strategy::{self, Command, Context, State};
use ephor_governance::system;
use ephor_governance::trade::{Direction, Measured, Trade};
use ephor_governance::units::{Amount, Timestamp};
use serde::Deserialize;
use serde_json::Value;

const EVENTS: &[u8] = include_bytes!("../../tests/data/events.jsonl.gz");
const TRACE: &[u8] = include_bytes!("../../tests/data/oracle_trace.csv.gz");
const GOVERNED: &str = include_str!("../../tests/data/governed.json");

/// Where the trace's figure is not ours, `(strategy, what)`.
///
/// The data set gives returns in percent with eight places, and the trace is made from those; we divide
/// the result by the entry notional ourselves. With the returns rounded as theirs are, nothing is left.
const KNOWN_DIFFERENCES: [(&str, &str); 9] = [
    ("BBMR-6E-M1-001", "sharpe of unrounded returns"),
    ("BBMR-EURUSD-H1-001", "sharpe of unrounded returns"),
    ("BBMR-GBPUSD-M1-001", "sharpe of unrounded returns"),
    ("BTPY-BB-EURUSD", "sharpe of unrounded returns"),
    ("BTPY-MOM-EURUSD", "sharpe of unrounded returns"),
    ("BTPY-RSI2-EURUSD", "sharpe of unrounded returns"),
    ("FT-ADXMomentum", "sharpe of unrounded returns"),
    ("FT-SampleStrategy", "sharpe of unrounded returns"),
    ("FT-Scalp", "sharpe of unrounded returns"),
];

fn unzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    ts: Timestamp,
    strategy_id: StrategyId,
    #[serde(flatten)]
    rest: Value,
}

#[derive(Deserialize)]
struct Registered {
    id: SourceId,
    instrument: InstrumentId,
    engine: String,
    strategy_class: String,
    params: Value,
    initial_capital: Amount,
    currency: Currency,
    multiplier: Amount,
}

#[derive(Deserialize)]
struct Promised {
    id: SourceId,
    period_start: Timestamp,
    period_end: Timestamp,
    metrics: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct RoundTrip {
    id: SourceId,
    instrument: InstrumentId,
    side: Direction,
    qty: Amount,
    price: Amount,
    entry_price: Amount,
    realized_pnl: Amount,
    currency: Currency,
    opened_at: Timestamp,
    closed_at: Timestamp,
    order_id: Option<SourceId>,
}

/// A decimal, written as a string.
fn number(value: &Value) -> Option<f64> {
    value.as_str().map(|text| text.parse::<Amount>().unwrap().to_f64())
}

fn command(line: Line) -> Option<Command> {
    match line.kind.as_str() {
        "strategy" => {
            let it: Registered = serde_json::from_value(line.rest).unwrap();
            Some(Command::Register(Registration {
                id: it.id,
                instrument: Some(it.instrument),
                engine: Some(it.engine),
                strategy_class: Some(it.strategy_class),
                version_digest: it.params.to_string().into(),
                initial_capital: it.initial_capital,
                currency: it.currency,
                multiplier: it.multiplier,
            }))
        }
        "baseline" => {
            let it: Promised = serde_json::from_value(line.rest).unwrap();
            let named = [
                (Metric::WinRate, "win_rate", 1.0),
                (Metric::ProfitFactor, "profit_factor", 1.0),
                (Metric::Sharpe, "sharpe_trade", 1.0),
                (Metric::Expectancy, "expectancy", 1.0),
                (Metric::AvgReturn, "avg_trade_return_pct", 100.0),
                (Metric::MaxDrawdown, "max_drawdown", 1.0),
            ];
            let metrics =
                named.into_iter().filter_map(|(metric, name, per)| Some((metric, number(&it.metrics[name])? / per)));
            let trades = u32::try_from(it.metrics["trades"].as_u64().unwrap()).unwrap();
            Some(Command::RecordBaseline(RecordedBaseline {
                id: it.id,
                period_start: Some(it.period_start),
                period_end: Some(it.period_end),
                baseline: Baseline { trades, metrics: metrics.collect() },
            }))
        }
        "trade_closed" => {
            let it: RoundTrip = serde_json::from_value(line.rest).unwrap();
            Some(Command::CloseTrade(Trade {
                id: it.id,
                instrument: it.instrument,
                direction: it.side,
                qty: it.qty,
                entry_price: it.entry_price,
                exit_price: it.price,
                realized_pnl: it.realized_pnl,
                currency: Some(it.currency),
                initial_risk: None,
                opened_at: it.opened_at,
                closed_at: it.closed_at,
                order_id: it.order_id,
            }))
        }
        _signal_or_order => None,
    }
}

/// Feeds the whole set in file order and shows every commit with the state it led to.
fn feed(mut seen: impl FnMut(&StrategyId, &Command, &[Event], &State)) -> BTreeMap<StrategyId, State> {
    let system = system::State::default();
    let mut states: BTreeMap<StrategyId, State> = BTreeMap::new();
    for line in unzip(EVENTS).lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        let (id, at) = (line.strategy_id.clone(), line.ts);
        let Some(command) = command(line) else { continue };
        let state = states.remove(&id).unwrap_or_default();
        let events = strategy::decide(&state, &id, &command, &Context { at, system: &system, drift: None }).unwrap();
        let state = events.iter().fold(state, |state, event| strategy::evolve(state, event, at));
        seen(&id, &command, &events, &state);
        states.insert(id, state);
    }
    states
}

/// Collects what does not agree, so that one run shows all of it.
#[derive(Default)]
struct Differences(BTreeSet<(String, String)>);

impl Differences {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, strategy: &str, what: &str, ours: &T, theirs: &T) {
        if ours != theirs {
            eprintln!("{strategy} {what}: ours {ours:?}, theirs {theirs:?}");
            self.0.insert((strategy.to_owned(), what.to_owned()));
        }
    }

    fn close(&mut self, strategy: &str, what: &str, ours: f64, theirs: f64, within: f64) {
        if (ours - theirs).abs() > within {
            eprintln!("{strategy} {what}: ours {ours}, theirs {theirs}");
            self.0.insert((strategy.to_owned(), what.to_owned()));
        }
    }

    fn relative(&mut self, strategy: &str, what: &str, ours: f64, theirs: f64) {
        self.close(strategy, what, ours, theirs, 1e-6 * theirs.abs());
    }

    #[track_caller]
    fn are_exactly(&self, known: &[(&str, &str)]) {
        let known = known.iter().map(|(strategy, what)| ((*strategy).to_owned(), (*what).to_owned())).collect();
        assert_eq!(self.0, known, "differences found (left) are not the known ones (right)");
    }
}

#[derive(Deserialize)]
struct Governed {
    trades: u32,
    final_level: maturity::Level,
    transitions: Vec<Transition>,
    health: HealthAtEnd,
    equity: Amount,
    first_drift: BTreeMap<Metric, BTreeMap<String, FirstDrift>>,
    final_drift_pct: BTreeMap<Metric, f64>,
    paused_at_trade: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
struct Transition {
    trade_no: u32,
    trade_id: SourceId,
    from: maturity::Level,
    to: maturity::Level,
    cause: String,
    trades: u32,
    wins: u32,
    loss_streak: u32,
    drawdown: f64,
}

#[derive(Deserialize)]
struct HealthAtEnd {
    debt: f64,
    credit: f64,
    score: f64,
}

#[derive(Deserialize)]
struct FirstDrift {
    trade_no: u32,
    deviation_pct: f64,
}

/// What our rules found of one strategy.
#[derive(Default)]
struct Found {
    transitions: Vec<Transition>,
    first_drift: BTreeMap<(Metric, Band), (u32, f64)>,
    paused_at_trade: Option<u32>,
}

impl Found {
    fn note(&mut self, trade_no: u32, trade: &Trade, event: &Event) {
        let row = |from, to, cause: &str, evidence: &Evidence| Transition {
            trade_no,
            trade_id: trade.id.clone(),
            from,
            to,
            cause: cause.to_owned(),
            trades: evidence.trades,
            wins: evidence.wins,
            loss_streak: evidence.loss_streak,
            drawdown: evidence.drawdown(),
        };
        match event {
            Event::MaturityTransitioned(maturity::Event::Promoted { from, to, evidence }) => {
                self.transitions.push(row(*from, *to, "promotion", evidence));
            }
            Event::MaturityTransitioned(maturity::Event::Demoted { from, to, cause, evidence }) => {
                let cause = match cause {
                    DemotionCause::Drawdown => "drawdown",
                    DemotionCause::LossStreak => "loss_streak",
                    DemotionCause::DrawdownAndLossStreak => "both",
                };
                self.transitions.push(row(*from, *to, cause, evidence));
            }
            Event::DriftAlerted(alert) => {
                let key = (alert.comparison.metric, alert.comparison.band);
                self.first_drift.entry(key).or_insert((trade_no, alert.comparison.deviation_pct));
            }
            Event::StrategyPaused { cause: PauseCause::Drift, .. } => {
                self.paused_at_trade.get_or_insert(trade_no);
            }
            _other => {}
        }
    }
}

#[test]
fn every_strategy_ends_where_the_second_implementation_says() {
    let mut found: BTreeMap<StrategyId, Found> = BTreeMap::new();
    let states = feed(|id, command, events, state| {
        let Command::CloseTrade(trade) = command else { return };
        let found = found.entry(id.clone()).or_default();
        for event in events {
            found.note(state.totals.trades, trade, event);
        }
    });
    let governed: BTreeMap<StrategyId, Governed> = serde_json::from_str(GOVERNED).unwrap();
    assert_eq!(states.keys().collect::<Vec<_>>(), governed.keys().collect::<Vec<_>>());

    let mut differences = Differences::default();
    for (id, theirs) in &governed {
        let (state, found) = (&states[id], &found[id]);
        compare_governed(&mut differences, id.as_str(), state, found, theirs);
    }
    differences.are_exactly(&[]);
}

fn compare_governed(differences: &mut Differences, id: &str, state: &State, found: &Found, theirs: &Governed) {
    differences.same(id, "trades", &state.totals.trades, &theirs.trades);
    differences.same(id, "final level", &state.maturity.level, &theirs.final_level);
    differences.same(id, "equity", &state.maturity.evidence.equity, &theirs.equity);
    differences.close(id, "health debt", state.health.debt, theirs.health.debt, 1e-9);
    differences.close(id, "health credit", state.health.credit, theirs.health.credit, 1e-9);
    differences.close(id, "health score", state.health.score, theirs.health.score, 1e-9);
    differences.same(id, "paused at trade", &found.paused_at_trade, &theirs.paused_at_trade);

    differences.same(id, "number of transitions", &found.transitions.len(), &theirs.transitions.len());
    for (ours, theirs) in found.transitions.iter().zip(&theirs.transitions) {
        let exact = |t: &Transition| {
            (t.trade_no, t.trade_id.clone(), t.from, t.to, t.cause.clone(), t.trades, t.wins, t.loss_streak)
        };
        differences.same(id, "transition", &exact(ours), &exact(theirs));
        differences.close(id, "drawdown at transition", ours.drawdown, theirs.drawdown, 1e-12);
    }

    let bands = [("reduce_size", Band::Reduce), ("pause", Band::Pause)];
    let theirs_first: BTreeMap<(Metric, Band), (u32, f64)> = theirs
        .first_drift
        .iter()
        .flat_map(|(metric, by_band)| {
            by_band.iter().map(|(name, first)| {
                let band = bands.iter().find(|(known, _)| known == name).unwrap().1;
                ((*metric, band), (first.trade_no, first.deviation_pct))
            })
        })
        .collect();
    let ours_first: BTreeMap<_, _> = found
        .first_drift
        .iter()
        .filter(|((_, band), _)| *band != Band::Within)
        .map(|(key, first)| (*key, *first))
        .collect();
    let places = |first: &BTreeMap<(Metric, Band), (u32, f64)>| -> Vec<_> {
        first.iter().map(|(key, (no, _))| (*key, *no)).collect()
    };
    differences.same(id, "first drift", &places(&ours_first), &places(&theirs_first));
    for (key, (_, deviation_pct)) in &theirs_first {
        if let Some((_, ours)) = ours_first.get(key) {
            differences.relative(id, "first drift deviation", *ours, *deviation_pct);
        }
    }

    let at_end = state.compare_drift(&drift::Policy::default());
    let ours: BTreeMap<Metric, f64> = at_end.iter().map(|c| (c.metric, c.deviation_pct)).collect();
    differences.same(
        id,
        "final drift metrics",
        &ours.keys().collect::<Vec<_>>(),
        &theirs.final_drift_pct.keys().collect(),
    );
    for (metric, deviation_pct) in &theirs.final_drift_pct {
        if let Some(ours) = ours.get(metric) {
            differences.relative(id, "final drift", *ours, *deviation_pct);
        }
    }
}

/// The live Sharpe ratio over these outcomes, as drift would compare it.
fn sharpe(outcomes: &[Measured]) -> Option<f64> {
    let policy = drift::Policy { trades_min: 2, metrics_tracked: vec![Metric::Sharpe], ..drift::Policy::default() };
    let baseline = Baseline { trades: 0, metrics: BTreeMap::from([(Metric::Sharpe, 1.0)]) };
    drift::compare(outcomes, 0.0, Some(&baseline), &policy).first().map(|comparison| comparison.live)
}

/// The return as the data set gives it: in percent, eight places.
fn rounded(outcome: &Measured) -> Measured {
    Measured { return_on_entry: (outcome.return_on_entry * 1e10).round() / 1e10, ..*outcome }
}

#[test]
fn after_every_trade_the_statistics_are_the_oracles() {
    let text = unzip(TRACE);
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: BTreeMap<String, BTreeMap<&str, &str>> = lines
        .map(|line| columns.iter().copied().zip(line.split(',')).collect::<BTreeMap<_, _>>())
        .map(|row| (row["id"].to_owned(), row))
        .collect();

    let mut differences = Differences::default();
    let mut compared = 0;
    feed(|id, command, _, state| {
        let Command::CloseTrade(trade) = command else { return };
        compared += 1;
        compare_row(&mut differences, id.as_str(), &rows[trade.id.as_str()], state);
    });
    assert_eq!((compared, rows.len()), (8399, 8399));
    differences.are_exactly(&KNOWN_DIFFERENCES);
}

fn compare_row(differences: &mut Differences, id: &str, row: &BTreeMap<&str, &str>, state: &State) {
    let count = |name: &str| row[name].parse::<u32>().unwrap();
    let exact = |name: &str| row[name].parse::<Amount>().unwrap();
    let ratio = |name: &str| (!row[name].is_empty()).then(|| exact(name).to_f64());
    let (totals, evidence) = (&state.totals, state.maturity.evidence);
    let overall = Evidence {
        trades: totals.trades,
        wins: totals.wins,
        gross_win: totals.gross_win,
        gross_loss: totals.gross_loss,
        peak: totals.peak,
        ..evidence
    };
    differences.same(id, "n", &totals.trades, &count("n"));
    differences.same(id, "wins", &totals.wins, &count("wins"));
    differences.same(id, "losses", &totals.losses, &count("losses"));
    differences.same(id, "breakevens", &(totals.trades - totals.wins - totals.losses), &count("breakevens"));
    differences.same(id, "loss streak", &totals.loss_streak, &count("loss_streak_breakeven_ignored"));
    differences.same(id, "equity", &evidence.equity, &exact("equity"));
    differences.same(id, "peak", &totals.peak, &exact("peak"));
    differences.same(id, "gross profit", &totals.gross_win, &exact("gross_profit"));
    differences.same(id, "gross loss", &totals.gross_loss, &exact("gross_loss"));
    // The trace keeps ten places.
    differences.close(id, "drawdown", overall.drawdown(), ratio("drawdown").unwrap(), 1e-10);
    differences.close(id, "max drawdown", totals.max_drawdown, ratio("max_drawdown").unwrap(), 1e-10);
    differences.close(id, "win rate", overall.win_rate(), ratio("win_rate").unwrap(), 1e-10);
    let factors = (overall.profit_factor(), ratio("profit_factor"));
    differences.same(id, "profit factor defined", &factors.0.is_some(), &factors.1.is_some());
    if let (Some(ours), Some(theirs)) = factors {
        differences.close(id, "profit factor", ours, theirs, 1e-10 + 1e-9 * theirs.abs());
    }
    if totals.trades <= 200 {
        let outcomes: Vec<Measured> = state.outcomes.iter().map(rounded).collect();
        let sharpes = (sharpe(&outcomes), ratio("sharpe_trade"));
        differences.same(id, "sharpe defined", &sharpes.0.is_some(), &sharpes.1.is_some());
        if let (Some(ours), Some(theirs)) = sharpes {
            differences.close(id, "sharpe", ours, theirs, 1e-10 + 1e-9 * theirs.abs());
        }
        if let (Some(ours), Some(theirs)) = (sharpe(&state.outcomes), sharpes.1) {
            differences.close(id, "sharpe of unrounded returns", ours, theirs, 1e-10 + 1e-6 * theirs.abs());
        }
    }
}

#[test]
fn the_plain_demonstration_file_is_readable_line_by_line() {
    let lines = include_str!("../../tests/data/demo.jsonl").lines();
    let strategies: BTreeSet<StrategyId> =
        lines.map(|line| serde_json::from_str::<Line>(line).unwrap().strategy_id).collect();
    assert_eq!(strategies.len(), 7);
}
