//! What one answer costs: an order, and a trade, decided on a strategy whose windows are full.
//!
//! 200 outcomes, a baseline of four metrics, L4, ten tokens. The order is the common one (LOW impact);
//! the aim is two microseconds.

use divan::{Bencher, black_box};
use ephor_governance::drift::{Baseline, Metric};
use ephor_governance::event::{RecordedBaseline, Registration};
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::strategy::{self, Command, Context, State};
use ephor_governance::system;
use ephor_governance::token::Grant;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};

fn main() {
    divan::main();
}

fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    #[expect(clippy::unwrap_used, reason = "a bench that cannot start should stop")]
    text.parse().unwrap()
}

fn trade(number: i64) -> Trade {
    Trade {
        id: read(&format!("trade-{number}")),
        instrument: read("GOOG.NASDAQ"),
        direction: Direction::Long,
        qty: Amount::from(10),
        entry_price: Amount::from(100),
        exit_price: Amount::from(101),
        realized_pnl: Amount::from(if number % 3 == 0 { -10 } else { 8 + number % 5 }),
        currency: None,
        initial_risk: None,
        opened_at: Timestamp::from_nanos(0),
        closed_at: Timestamp::from_nanos(1),
        order_id: None,
    }
}

fn order() -> Order {
    Order {
        id: read("018f3c1e-7a5b-7c3d-9e2f-0123456789ab"),
        instrument: read("GOOG.NASDAQ"),
        venue: None,
        side: Side::Buy,
        qty: Amount::from(10),
        price: Some(Amount::new(10_025, 2)),
        notional: None,
        currency: Some(read("USD")),
        reduce_only: false,
        leverage: Some(Amount::ONE),
        position_qty: Some(Amount::ZERO),
        equity: Some(Amount::from(100_000)),
        open_positions: Some(1),
        token: None,
    }
}

fn token(number: i64) -> Command {
    Command::IssueToken(Grant {
        id: read(&format!("token-{number}")),
        instruments: vec![read("GOOG.NASDAQ")],
        side: Some(Side::Buy),
        notional_usd_max: Some(Amount::from(10_000)),
        order_id: None,
        uses_max: 1,
        expires_at: Timestamp::from_nanos(0).plus_seconds(300),
        issued_by: read("alice"),
    })
}

/// A strategy with every window full, and the id it goes by.
fn full(system: &system::State) -> (StrategyId, State) {
    let id: StrategyId = read("momentum");
    let metrics = [(Metric::WinRate, 0.6), (Metric::AvgRr, 0.3), (Metric::Sharpe, 0.4), (Metric::ProfitFactor, 1.5)];
    let registration = Registration {
        id: read("registration"),
        instrument: None,
        engine: None,
        strategy_class: None,
        version_digest: "v1".into(),
        initial_capital: Amount::from(100_000),
        currency: read("USD"),
        multiplier: Amount::ONE,
    };
    let baseline = RecordedBaseline {
        id: read("baseline"),
        period_start: None,
        period_end: None,
        baseline: Baseline { trades: 500, metrics: metrics.into_iter().collect() },
    };
    let to_the_top = Command::SetLevel {
        to: Level::Autonomous,
        without_evidence: true,
        by: read("alice"),
        reason: "bench".to_owned(),
    };
    let history = [Command::Register(registration), Command::RecordBaseline(baseline), to_the_top]
        .into_iter()
        .chain((0..10).map(token))
        .chain((0..200).map(trade).map(Command::CloseTrade));
    let context = Context { at: Timestamp::from_nanos(0), system, drift: None };
    let state = history.fold(State::default(), |state, command| {
        #[expect(clippy::unwrap_used, reason = "a bench that cannot start should stop")]
        let events = strategy::decide(&state, &id, &command, &context).unwrap();
        events.iter().fold(state, |state, event| strategy::evolve(state, event, context.at))
    });
    (id, state)
}

fn bench(bencher: Bencher<'_, '_>, command: &Command) {
    let system = system::State::default();
    let (id, state) = full(&system);
    assert_eq!((state.outcomes.len(), state.maturity.level), (200, Level::Autonomous));
    let context = Context { at: Timestamp::from_nanos(0), system: &system, drift: None };
    // Dropped at once: a pile of answers kept until the end would measure the memory, not the rules.
    bencher.bench(|| drop(black_box(strategy::decide(black_box(&state), &id, black_box(command), &context))));
}

#[divan::bench(sample_size = 100, sample_count = 1_000)]
fn an_order(bencher: Bencher<'_, '_>) {
    bench(bencher, &Command::CheckOrder { order: order(), attempt: 0 });
}

#[divan::bench(sample_size = 100, sample_count = 1_000)]
fn an_exit(bencher: Bencher<'_, '_>) {
    bench(bencher, &Command::CheckOrder { order: Order { reduce_only: true, ..order() }, attempt: 0 });
}

#[divan::bench(sample_size = 100, sample_count = 1_000)]
fn a_trade(bencher: Bencher<'_, '_>) {
    bench(bencher, &Command::CloseTrade(trade(201)));
}
