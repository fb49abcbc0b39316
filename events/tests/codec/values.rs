//! One value or more of every event, with all that is optional there: what the golden bytes are made of.
//!
//! A value is never changed, because its bytes are kept for ever. What is new gets a new label. A policy is
//! kept as JSON with every field: when it gains one, the value of before moves to [`written_before`].

use std::collections::BTreeMap;
use std::sync::Arc;

use ephor_governance::drift::{Band, Baseline, Comparison, Edge, Metric};
use ephor_governance::event::{
    Account, ClosedTrade, Event, PauseCause, Piece, RecordedBaseline, Registration, Scope, Unattributed,
};
use ephor_governance::fill::{Fee, Fill, Netting, Pieces};
use ephor_governance::gate::{Decision, Execution};
use ephor_governance::ids::{Actor, Currency, InstrumentId, SourceId, StrategyId, TokenId};
use ephor_governance::impact::{Score, Tier};
use ephor_governance::maturity::{self, DemotionCause, Evidence, Level};
use ephor_governance::order::{Intent, Order, OrderReport, OrderStatus, Side, Signal};
use ephor_governance::policy::{Policy, PolicyId};
use ephor_governance::token::{self, Grant, Mismatch};
use ephor_governance::trade::{Direction, RMultiple, RSource, Trade};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::{Action, Component, Reason, Verdict};
use ephor_governance::{canary, drift, health};

/// The instrument of every value that has one.
pub(crate) const INSTRUMENT: &str = "BTCUSDT.BINANCE";
/// The order that the values name.
pub(crate) const ORDER: &str = "order-1";
/// The source's id of every value that has one.
pub(crate) const ID: &str = "0190c42e-5b7f-7a31-8f0e-2f6d3c1b9a77";

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(1_750_000_000_000_000_000 + nanos)
}

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn instrument() -> InstrumentId {
    INSTRUMENT.parse().unwrap()
}

fn id() -> SourceId {
    ID.parse().unwrap()
}

fn ana() -> Actor {
    "ana".parse().unwrap()
}

fn token() -> TokenId {
    "token-7".parse().unwrap()
}

pub(crate) fn order() -> Order {
    Order {
        id: id(),
        instrument: instrument(),
        venue: Some("BINANCE".parse().unwrap()),
        side: Side::Buy,
        qty: amount("0.250"),
        price: Some(amount("64250.10")),
        notional: Some(amount("16062.525")),
        currency: Some("USDT".parse().unwrap()),
        reduce_only: false,
        leverage: Some(amount("2.5")),
        position_qty: Some(amount("-0.125")),
        equity: Some(amount("100000.00")),
        open_positions: Some(3),
        token: Some(token()),
    }
}

fn bare_order() -> Order {
    Order {
        venue: None,
        side: Side::Sell,
        price: None,
        notional: None,
        currency: None,
        reduce_only: true,
        leverage: None,
        position_qty: None,
        equity: None,
        open_positions: None,
        token: None,
        ..order()
    }
}

fn score() -> Score {
    Score {
        notional: 0.1,
        concentration: 0.2,
        blast_radius: 0.3,
        irreversibility: 0.4,
        total: 1.0,
        notional_unknown: true,
        concentration_unknown: false,
        leverage_unknown: true,
        positions_unknown: false,
    }
}

fn evidence() -> Evidence {
    Evidence {
        entered_at: at(1),
        trades: 60,
        wins: 33,
        loss_streak: 2,
        gross_win: amount("1234.50"),
        gross_loss: amount("900.25"),
        equity: amount("100334.25"),
        peak: amount("100400.00"),
    }
}

/// Every reason there is, in the order of the variants.
pub(crate) fn reasons() -> Vec<Reason> {
    let (metric, live, baseline, deviation_pct) = (Metric::ProfitFactor, 0.9, 1.6, 43.75);
    let (tier, level) = (Tier::High, Level::Gated);
    vec![
        Reason::ComponentClear,
        Reason::OrderReducesOnly,
        Reason::KillEngaged { by: ana(), since: at(2), exits_blocked: true },
        Reason::StrategyPaused { by: ana(), since: at(3) },
        Reason::CanaryUnhealthy { components_failed: 2 },
        Reason::CanaryNoComponents,
        Reason::MaturityLevelTooLow { level: Level::Paper },
        Reason::MaturitySizingCapped { level, cap: 0.1 },
        Reason::MaturityApprovalRequired { level },
        Reason::MaturityDemotionDue {
            from: Level::Autonomous,
            to: Level::Constrained,
            cause: DemotionCause::LossStreak,
            cap: 0.25,
        },
        Reason::MaturityAutonomous { level: Level::Autonomous },
        Reason::HealthDegraded { score: 0.75, debt: 3.5 },
        Reason::HealthGood { score: 1.0 },
        Reason::ImpactWithinLevel { tier: Tier::Low, score: score() },
        Reason::ImpactAboveLevel { tier, required: Level::Constrained, level, score: score() },
        Reason::ImpactApprovalRequired { tier: Tier::Critical, score: score() },
        Reason::DriftNoBaseline,
        Reason::DriftSampleTooSmall { trades: 12, trades_min: 20 },
        Reason::DriftWithinBounds { metric: Metric::Sharpe, deviation_pct: 4.5 },
        Reason::DriftBeyondReduce { metric, live, baseline, deviation_pct },
        Reason::DriftBeyondPause { metric, live: 0.7, baseline, deviation_pct: 56.25 },
        Reason::TokenNotNeeded,
        Reason::TokenCovers { token: token(), uses_left: 4 },
        Reason::TokenMissing,
        Reason::TokenUnknown { token: token() },
        Reason::TokenExpired { token: token(), expired_at: at(4) },
        Reason::TokenSpent { token: token() },
        Reason::TokenOutOfScope { token: token(), mismatch: Mismatch::Notional },
        Reason::JournalUnavailable,
        Reason::StrategyUnknown,
        Reason::GateTimeout,
        Reason::ActorFaulted,
    ]
}

/// The reasons that came after the golden decision with the others was written.
pub(crate) fn later_reasons() -> Vec<Reason> {
    vec![Reason::CanarySilent { since: at(6) }]
}

const COMPONENTS: [Component; 8] = [
    Component::KillSwitch,
    Component::Pause,
    Component::Canary,
    Component::Maturity,
    Component::Drift,
    Component::Impact,
    Component::Token,
    Component::Health,
];

pub(crate) fn decision() -> Decision {
    decision_with(reasons())
}

fn decision_with(reasons: Vec<Reason>) -> Decision {
    let verdicts = reasons.into_iter().zip(COMPONENTS.into_iter().cycle()).zip(Action::ALL.into_iter().cycle());
    Decision {
        order: order(),
        action: Action::ReduceSize,
        multiplier: Multiplier::new(0.1),
        execution: Execution::Live,
        decided_by: Component::Maturity,
        level: Level::Gated,
        tier: Tier::Medium,
        health_score: 0.875,
        policy: PolicyId([1, 2, 3, 4, 5, 6, 7, 8]),
        attempt: 2,
        verdicts: verdicts
            .map(|((reason, component), action)| Verdict {
                component,
                action,
                multiplier: Multiplier::new(0.5),
                reason,
            })
            .collect(),
    }
}

fn decision_of(action: Action, execution: Execution, decided_by: Component, level: Level, tier: Tier) -> Event {
    let multiplier = Multiplier::ZERO;
    let verdict = Verdict { component: decided_by, action, multiplier, reason: Reason::ComponentClear };
    Event::DecisionMade(Box::new(Decision {
        order: bare_order(),
        action,
        multiplier,
        execution,
        decided_by,
        level,
        tier,
        health_score: 1.0,
        policy: PolicyId([0xff; 8]),
        attempt: 1,
        verdicts: vec![verdict],
    }))
}

pub(crate) fn trade() -> Trade {
    Trade {
        id: id(),
        instrument: instrument(),
        direction: Direction::Long,
        qty: amount("0.250"),
        entry_price: amount("64250.10"),
        exit_price: amount("64750.35"),
        realized_pnl: amount("125.0625"),
        currency: Some("USDT".parse().unwrap()),
        initial_risk: Some(amount("250.00")),
        opened_at: at(-3_600_000_000_000),
        closed_at: at(-250_000),
        order_id: Some("order-1".parse().unwrap()),
    }
}

pub(crate) fn closed_trade() -> ClosedTrade {
    let r = RMultiple { value: 0.50025, source: RSource::InitialRisk };
    ClosedTrade { trade: trade(), r, return_on_entry: 0.007_785, keep: 200, piece: None }
}

fn piece(amends: Option<&str>, mean_loss: Option<f64>) -> Event {
    let piece = Piece {
        account: "U1234567".parse().unwrap(),
        amends: amends.map(|first| first.parse().unwrap()),
        pnl: amount("125.0625"),
        notional: amount("16062.5250"),
        mean_loss,
    };
    Event::TradeClosed(ClosedTrade { piece: Some(piece), ..closed_trade() })
}

fn short_trade(source: RSource) -> Event {
    let trade = Trade {
        direction: Direction::Short,
        realized_pnl: amount("-0.01"),
        currency: None,
        initial_risk: None,
        order_id: None,
        ..trade()
    };
    Event::TradeClosed(ClosedTrade {
        trade,
        r: RMultiple { value: -1.0, source },
        return_on_entry: -0.000_001,
        keep: 50,
        piece: None,
    })
}

fn report(status: OrderStatus) -> OrderReport {
    OrderReport {
        id: id(),
        instrument: instrument(),
        order_id: Some("order-1".parse().unwrap()),
        status,
        side: Some(Side::Sell),
        qty: Some(amount("0.250")),
        price: Some(amount("64250.10")),
        position_qty: Some(amount("0.375")),
        equity: Some(amount("99999.99")),
        commission: Some(amount("1.6063")),
        reason: Some("INSUFFICIENT_MARGIN".to_owned()),
    }
}

fn bare_report() -> OrderReport {
    OrderReport {
        order_id: None,
        side: None,
        qty: None,
        price: None,
        position_qty: None,
        equity: None,
        commission: None,
        reason: None,
        ..report(OrderStatus::Canceled)
    }
}

fn comparison(metric: Metric, band: Band, interval: Option<(f64, f64)>) -> Comparison {
    Comparison { metric, live: 0.9, interval, baseline: 1.6, deviation_pct: 43.75, band, trades: 200 }
}

const METRICS: [Metric; 7] = [
    Metric::WinRate,
    Metric::AvgRr,
    Metric::Sharpe,
    Metric::ProfitFactor,
    Metric::Expectancy,
    Metric::AvgReturn,
    Metric::MaxDrawdown,
];

fn baseline() -> Baseline {
    let metrics = METRICS.into_iter().zip([0.55, 1.4, 0.12, 1.6, 0.3, 0.0025, 0.08]).collect();
    Baseline { trades: 1_200, metrics }
}

fn registration() -> Registration {
    Registration {
        id: id(),
        instrument: Some(instrument()),
        engine: Some("nautilus".to_owned()),
        strategy_class: Some("EMACross".to_owned()),
        version_digest: "sha256:0011223344556677".into(),
        initial_capital: amount("100000"),
        currency: "USDT".parse().unwrap(),
        multiplier: amount("1"),
    }
}

fn grant() -> Grant {
    Grant {
        id: token(),
        instruments: vec![instrument(), "ETHUSDT.BINANCE".parse().unwrap()],
        side: Some(Side::Buy),
        notional_usd_max: Some(amount("25000")),
        order_id: Some("order-1".parse().unwrap()),
        uses_max: 5,
        expires_at: at(300_000_000_000),
        issued_by: ana(),
    }
}

/// A policy of which no section is the default one, and whose every field is therefore seen to be kept.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.maturity.promotion_approval_from = Some(Level::Constrained);
    policy.health_score.debt_per_loss = 0.1 + 0.2;
    policy.impact_classifier.usd_per = BTreeMap::from([("USDT".parse::<Currency>().unwrap(), amount("0.9995"))]);
    policy.drift_detector.direction = drift::Direction::Both;
    policy.execution_tokens.required = true;
    policy.canary.failures_max = 5;
    policy
}

fn fill() -> Fill {
    Fill {
        id: id(),
        instrument: instrument(),
        account: Some("U1234567".parse().unwrap()),
        order_id: Some(ORDER.parse().unwrap()),
        side: Side::Sell,
        qty: amount("0.250"),
        price: amount("67250.10"),
        fee: Some(Fee {
            amount: amount("-0.00012"),
            currency: Some("BNB".parse().unwrap()),
            rate: Some(amount("580.25")),
        }),
        at: at(-3_000_000_000),
    }
}

fn bare_fill() -> Fill {
    Fill { account: None, order_id: None, side: Side::Buy, fee: None, ..fill() }
}

fn unattributed() -> Unattributed {
    Unattributed {
        id: id(),
        source: "fix".into(),
        kind: "fill".into(),
        content: "{\"35\":\"8\",\"1\":\"ü\"}".to_owned(),
        reason: "no rule matches".to_owned(),
    }
}

fn why() -> String {
    "the feed is late, ünd so on".to_owned()
}

fn strategy_events() -> Vec<(&'static str, Event)> {
    let bare = Registration { instrument: None, engine: None, strategy_class: None, ..registration() };
    let recorded = RecordedBaseline {
        id: id(),
        period_start: Some(at(-31_536_000_000_000_000)),
        period_end: Some(at(0)),
        baseline: baseline(),
    };
    let never_measured =
        RecordedBaseline { period_start: None, period_end: None, baseline: Baseline::default(), ..recorded.clone() };
    let signal = |intent, tag: Option<&str>| Signal { id: id(), intent, tag: tag.map(str::to_owned) };
    vec![
        ("full", Event::StrategyRegistered { registration: registration(), level: Level::Paper }),
        ("bare", Event::StrategyRegistered { registration: bare, level: Level::Shadow }),
        ("full", Event::BaselineRecorded(recorded)),
        ("bare", Event::BaselineRecorded(never_measured)),
        ("entry", Event::SignalReceived(signal(Some(Intent::Entry), Some("cross up")))),
        ("exit", Event::SignalReceived(signal(Some(Intent::Exit), None))),
        ("bare", Event::SignalReceived(signal(None, None))),
        ("filled", Event::OrderReported(report(OrderStatus::Filled))),
        ("rejected", Event::OrderReported(report(OrderStatus::Rejected))),
        ("denied", Event::OrderReported(report(OrderStatus::Denied))),
        ("expired", Event::OrderReported(report(OrderStatus::Expired))),
        ("bare", Event::OrderReported(bare_report())),
        ("long", Event::TradeClosed(closed_trade())),
        ("short, by the mean loss", short_trade(RSource::MeanLoss)),
        ("short, by one unit", short_trade(RSource::Unit)),
        ("first piece", piece(None, None)),
        ("further piece", piece(Some("exec-1"), Some(12.5))),
        ("paused by a person", Event::StrategyPaused { cause: PauseCause::Operator, by: ana(), reason: why() }),
        ("paused by drift", Event::StrategyPaused { cause: PauseCause::Drift, by: ana(), reason: String::new() }),
        (
            "both",
            Event::StrategyResumed { causes: vec![PauseCause::Operator, PauseCause::Drift], by: ana(), reason: why() },
        ),
        (
            "by hand",
            Event::LevelSet {
                from: Level::Paper,
                to: Level::Autonomous,
                earned: true,
                evidence: evidence(),
                by: ana(),
                reason: why(),
            },
        ),
        ("message", Event::ActorFaulted { message: "index out of bounds".to_owned() }),
        ("full", Event::OrderApproved { order_id: "order-1".parse().unwrap(), by: ana(), reason: why() }),
        ("full", Event::FillRecorded { fill: fill(), netting: Netting::Average, pieces: Pieces::Together }),
        ("bare", Event::FillRecorded { fill: bare_fill(), netting: Netting::Fifo, pieces: Pieces::Apart }),
        ("full", Event::UnattributedReceived(unattributed())),
        ("full", Event::OrderDeclined { order_id: "order-1".parse().unwrap(), by: ana(), reason: why() }),
    ]
}

fn decision_events() -> Vec<(&'static str, Event)> {
    use Execution::{Live, None, Paper, Position};
    vec![
        ("every reason", Event::DecisionMade(Box::new(decision()))),
        ("allow", decision_of(Action::Allow, Live, Component::KillSwitch, Level::Autonomous, Tier::Low)),
        ("block", decision_of(Action::Block, None, Component::Impact, Level::Shadow, Tier::Critical)),
        ("demote", decision_of(Action::Demote, Paper, Component::Maturity, Level::Paper, Tier::High)),
        ("pause", decision_of(Action::Pause, Position, Component::Drift, Level::Constrained, Tier::Medium)),
        ("kill", decision_of(Action::Kill, None, Component::Canary, Level::Gated, Tier::Low)),
        ("later reasons", Event::DecisionMade(Box::new(decision_with(later_reasons())))),
    ]
}

fn rule_events() -> Vec<(&'static str, Event)> {
    let demoted = |to, cause| {
        Event::MaturityTransitioned(maturity::Event::Demoted {
            from: Level::Autonomous,
            to,
            cause,
            evidence: evidence(),
        })
    };
    let promoted = maturity::Event::Promoted { from: Level::Paper, to: Level::Gated, evidence: evidence() };
    let alert = |edge, metric, band, interval| {
        Event::DriftAlerted(drift::Event { edge, comparison: comparison(metric, band, interval) })
    };
    let health =
        health::Event { debt: 3.5, credit: 0.5, score: 0.7, multiplier: Multiplier::new(0.73), window_trades: 50 };
    vec![
        ("promoted", Event::MaturityTransitioned(promoted)),
        ("demoted for drawdown", demoted(Level::Paper, DemotionCause::Drawdown)),
        ("demoted for losses", demoted(Level::Constrained, DemotionCause::LossStreak)),
        ("demoted for both", demoted(Level::Paper, DemotionCause::DrawdownAndLossStreak)),
        ("full", Event::HealthUpdated(health)),
        ("entered", alert(Edge::Entered, Metric::ProfitFactor, Band::Reduce, Some((0.7, 1.1)))),
        ("worsened", alert(Edge::Worsened, Metric::WinRate, Band::Pause, None)),
        ("eased", alert(Edge::Eased, Metric::AvgRr, Band::Reduce, None)),
        ("cleared", alert(Edge::Cleared, Metric::Sharpe, Band::Within, None)),
        ("expectancy", alert(Edge::Entered, Metric::Expectancy, Band::Pause, None)),
        ("average return", alert(Edge::Entered, Metric::AvgReturn, Band::Pause, None)),
        ("drawdown", alert(Edge::Entered, Metric::MaxDrawdown, Band::Pause, None)),
        ("issued", Event::TokenChanged(token::Event::Issued(grant()))),
        (
            "used",
            Event::TokenChanged(token::Event::Used { id: token(), order_id: "order-1".parse().unwrap(), uses_left: 4 }),
        ),
        ("expired", Event::TokenChanged(token::Event::Expired { id: token(), expired_at: at(5) })),
        ("revoked", Event::TokenChanged(token::Event::Revoked { id: token(), by: ana(), reason: why() })),
    ]
}

fn system_events() -> Vec<(&'static str, Event)> {
    let account = Account {
        id: id(),
        equity: amount("250000.50"),
        currency: "USD".parse().unwrap(),
        leverage: Some(amount("1.75")),
        open_positions: Some(4),
    };
    let bare = Account { leverage: None, open_positions: None, ..account.clone() };
    let results = BTreeMap::from([("feed".into(), None), ("venue".into(), Some("timed out".to_owned()))]);
    let failed = |action| {
        Event::CanaryAlerted(canary::Alert::Failed {
            component: "venue".into(),
            failures: 3,
            message: "timed out".to_owned(),
            action,
        })
    };
    let engaged = |scope, exits_blocked| Event::KillSwitchEngaged { scope, exits_blocked, by: ana(), reason: why() };
    let one = || Scope::Strategy("btc-trend".parse::<StrategyId>().unwrap());
    vec![
        ("full", Event::AccountUpdated(account)),
        ("bare", Event::AccountUpdated(bare)),
        ("full", Event::CanaryChecked(canary::Round { results })),
        ("kill", failed(canary::FailureAction::Kill)),
        ("pause", failed(canary::FailureAction::Pause)),
        ("alert", failed(canary::FailureAction::Alert)),
        ("recovered", Event::CanaryAlerted(canary::Alert::Recovered { component: "venue".into() })),
        ("nothing registered", Event::CanaryAlerted(canary::Alert::NothingRegistered)),
        ("full", Event::PolicyAdopted { id: policy().id(), policy: Arc::new(policy()), by: ana(), reason: why() }),
        ("full", Event::PolicyProposed { id: policy().id(), policy: Arc::new(policy()), by: ana(), reason: why() }),
        ("everything", engaged(Scope::All, true)),
        ("one strategy", engaged(one(), false)),
        ("one instrument", engaged(Scope::Instrument(instrument()), false)),
        ("one venue", engaged(Scope::Venue("BINANCE".parse().unwrap()), true)),
        ("everything", Event::KillSwitchReleased { scope: Scope::All, by: ana(), reason: why() }),
        ("one strategy", Event::KillSwitchReleased { scope: one(), by: ana(), reason: why() }),
    ]
}

/// Every value with its label, for the schema that is written now.
pub(crate) fn written_now() -> Vec<(&'static str, Event)> {
    [strategy_events(), decision_events(), rule_events(), system_events()].concat()
}

/// A value as it is no longer written: its type, schema, label, bytes as they were written then, and what they
/// must read as now.
pub(crate) type Old = (u16, u16, &'static str, Vec<u8>, Event);

/// Every value whose bytes are still read, but would be written otherwise today.
pub(crate) fn written_before() -> Vec<Old> {
    let upcast = |scope| Event::KillSwitchEngaged { scope, exits_blocked: false, by: ana(), reason: why() };
    let bytes = |scope: &Scope| {
        let fields = ephor_events::codec::pack(&(scope, ana(), why())).unwrap();
        [vec![0], fields].concat()
    };
    let venue = Scope::Venue("BINANCE".parse().unwrap());
    let filled = |fill: Fill, netting: Netting| {
        let bytes = [vec![0], ephor_events::codec::pack(&(&fill, netting)).unwrap()].concat();
        (bytes, Event::FillRecorded { fill, netting, pieces: Pieces::Apart })
    };
    let (full, bare) = (filled(fill(), Netting::Average), filled(bare_fill(), Netting::Fifo));
    vec![
        (24, 1, "full", full.0, full.1),
        (24, 1, "bare", bare.0, bare.1),
        (15, 1, "everything", bytes(&Scope::All), upcast(Scope::All)),
        (15, 1, "one venue", bytes(&venue), upcast(venue)),
    ]
}
