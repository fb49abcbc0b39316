//! What a backtest's executions come to: its metrics.
//!
//! A backtest is measured by the very rules that will judge the live part (how fills become round trips, what a win
//! is, how a metric is taken), so that the two can differ only in what happened.

use std::sync::Arc;

use ephor_governance::drift::{self, Baseline, Metric};
use ephor_governance::event::{Event, Registration};
use ephor_governance::fill::{Fill, Netting, Pieces};
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use ephor_governance::policy::{Policy, WINDOW_TRADES_MAX};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command, Context, State};
use ephor_governance::system;

const METRICS: [Metric; 7] = [
    Metric::WinRate,
    Metric::AvgRr,
    Metric::Sharpe,
    Metric::ProfitFactor,
    Metric::Expectancy,
    Metric::AvgReturn,
    Metric::MaxDrawdown,
];

/// The metrics of a strategy's fills, over their last thousand round trips.
///
/// # Errors
/// What the rules say of a fill that cannot be.
pub fn backtest(id: &StrategyId, registration: &Registration, fills: &[Fill]) -> Result<Baseline, Rejection> {
    let mut policy = Policy::default();
    policy.drift_detector = drift::Policy {
        window_trades: WINDOW_TRADES_MAX,
        trades_min: 2,
        metrics_tracked: METRICS.into(),
        ..policy.drift_detector
    };
    let system = system::State { policy: Arc::new(policy), ..system::State::default() };
    let mut state = State::default();
    if let Some(first) = fills.first() {
        let registered = Event::StrategyRegistered { registration: registration.clone(), level: Level::Shadow };
        strategy::apply(&mut state, &registered, first.at);
    }
    for fill in fills {
        let command = Command::RecordFill {
            fill: fill.clone(),
            netting: Netting::Fifo,
            pieces: Pieces::Together,
            currency: None,
        };
        for event in strategy::decide(&state, id, &command, &Context { at: fill.at, system: &system, drift: None })? {
            strategy::apply(&mut state, &event, fill.at);
        }
    }
    // A comparison gives the value of every metric that is promised, whatever was promised of it.
    let promised = Baseline { trades: state.totals.trades, metrics: METRICS.map(|metric| (metric, 1.0)).into() };
    let equity = state.maturity.evidence.equity.to_f64();
    let found = drift::compare(&state.outcomes, equity, Some(&promised), &system.policy.drift_detector);
    let metrics = found.into_iter().map(|comparison| (comparison.metric, comparison.live)).collect();
    Ok(Baseline { trades: state.totals.trades, metrics })
}

#[cfg(test)]
mod tests {
    use ephor_governance::fill::Fee;
    use ephor_governance::ids::SourceId;
    use ephor_governance::order::Side;
    use ephor_governance::units::{Amount, Timestamp};

    use super::*;

    fn fill(number: i64, side: Side, qty: i64, price: i64, fee: i64) -> Fill {
        Fill {
            id: SourceId::recorded(format!("f-{number}").into()),
            instrument: "ABC".parse().unwrap(),
            account: None,
            order_id: None,
            side,
            qty: qty.into(),
            price: price.into(),
            fee: Some(Fee { amount: fee.into(), currency: None, rate: None }),
            at: Timestamp::from_nanos(number),
        }
    }

    /// Two wins of 18 (20 less fees), one loss of 12.
    fn fills() -> Vec<Fill> {
        [(100, 102), (100, 102), (100, 99)]
            .into_iter()
            .zip(0..)
            .flat_map(|((bought, sold), trade)| {
                [fill(trade * 2, Side::Buy, 10, bought, 1), fill(trade * 2 + 1, Side::Sell, 10, sold, 1)]
            })
            .collect()
    }

    #[test]
    fn a_backtest_is_measured_as_the_live_part_will_be() {
        let registration = Registration {
            id: "r".parse().unwrap(),
            instrument: None,
            engine: None,
            strategy_class: None,
            version_digest: "v".into(),
            initial_capital: 1_000.into(),
            currency: "USD".parse().unwrap(),
            multiplier: Amount::ONE,
        };
        let id = "s".parse().unwrap();
        let found = backtest(&id, &registration, &fills()).unwrap();
        assert_eq!(found.trades, 3);
        let metric = |metric| found.metrics[&metric];
        assert!((metric(Metric::WinRate) - 2.0 / 3.0).abs() < 1e-12);
        assert!((metric(Metric::ProfitFactor) - 36.0 / 12.0).abs() < 1e-12);
        assert!((metric(Metric::Expectancy) - 8.0).abs() < 1e-12);
        assert!((metric(Metric::MaxDrawdown) - 12.0 / 1_036.0).abs() < 1e-12);
        assert!(backtest(&id, &registration, &[]).unwrap().metrics.is_empty(), "nothing promises nothing");
    }
}
