//! What tests start from: a strategy with its log in small, trades and orders with sensible fields.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use ephor_governance::event::{Event, RecordedBaseline, Registration, Scope};
use ephor_governance::gate::Decision;
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::policy::Policy;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command};
use ephor_governance::system;
use ephor_governance::token::Grant;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::{Component, Verdict};
use ephor_governance::{drift, verdict};

/// Anything that is read from text: ids, amounts, times.
pub(crate) fn read<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn amount(text: &str) -> Amount {
    read(text)
}

pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

#[track_caller]
pub(crate) fn assert_close(found: f64, expected: f64, within: f64, what: &str) {
    assert!((found - expected).abs() <= within, "{what}: found {found}, expected {expected}");
}

/// Ten thousand dollars, version `v1`.
pub(crate) fn registration() -> Registration {
    Registration {
        id: read("registration"),
        instrument: None,
        engine: None,
        strategy_class: None,
        version_digest: "v1".into(),
        initial_capital: amount("10000"),
        currency: read("USD"),
        multiplier: Amount::ONE,
    }
}

/// A round trip of 10 at 100 each: a thousand dollars on entry.
pub(crate) fn trade(number: usize, pnl: Amount) -> Trade {
    Trade {
        id: read(&format!("trade-{number}")),
        instrument: read("GOOG.NASDAQ"),
        direction: Direction::Long,
        qty: amount("10"),
        entry_price: amount("100"),
        exit_price: amount("100"),
        realized_pnl: pnl,
        currency: None,
        initial_risk: None,
        opened_at: second(0),
        closed_at: second(1),
        order_id: None,
    }
}

/// A purchase of a thousand dollars that scores LOW: everything known, one hundredth of equity, no leverage.
pub(crate) fn order(id: &str) -> Order {
    Order {
        id: read(id),
        instrument: read("GOOG.NASDAQ"),
        venue: None,
        side: Side::Buy,
        qty: amount("10"),
        price: Some(amount("100")),
        notional: None,
        currency: Some(read("USD")),
        reduce_only: false,
        leverage: Some(Amount::ONE),
        position_qty: Some(Amount::ZERO),
        equity: Some(amount("100000")),
        open_positions: Some(0),
        token: None,
    }
}

/// A purchase that scores CRITICAL: 300 000 dollars, three times equity, five times leverage, ten positions.
pub(crate) fn critical_order(id: &str) -> Order {
    Order {
        qty: amount("3000"),
        leverage: Some(amount("5")),
        equity: Some(amount("100000")),
        open_positions: Some(10),
        ..order(id)
    }
}

/// One use, any order, until second 300.
pub(crate) fn grant(id: &str) -> Grant {
    Grant {
        id: read(id),
        instruments: Vec::new(),
        side: None,
        notional_usd_max: None,
        order_id: None,
        uses_max: 1,
        expires_at: second(300),
        issued_by: read("alice"),
    }
}

pub(crate) fn baseline(metrics: &[(drift::Metric, f64)]) -> RecordedBaseline {
    RecordedBaseline {
        id: read("baseline"),
        period_start: None,
        period_end: None,
        baseline: drift::Baseline { trades: 100, metrics: metrics.iter().copied().collect() },
    }
}

/// One strategy, the system around it, and a clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) id: StrategyId,
    pub(crate) state: strategy::State,
    pub(crate) system: system::State,
    pub(crate) at: Timestamp,
    trades: usize,
}

impl World {
    /// Nothing registered yet.
    pub(crate) fn empty() -> Self {
        Self {
            id: read("momentum"),
            state: strategy::State::default(),
            system: system::State::default(),
            at: second(0),
            trades: 0,
        }
    }

    /// A registered strategy at L1.
    pub(crate) fn registered() -> Self {
        let mut world = Self::empty();
        world.tell(&Command::Register(registration())).unwrap();
        world
    }

    /// A registered strategy that a person has put on `level`.
    pub(crate) fn at_level(level: Level) -> Self {
        let mut world = Self::registered();
        if level != Level::Paper {
            world.tell(&set_level(level)).unwrap();
        }
        world
    }

    pub(crate) fn decide(&self, command: &Command) -> Result<Vec<Event>, Rejection> {
        strategy::decide(
            &self.state,
            &self.id,
            command,
            &strategy::Context { at: self.at, system: &self.system, drift: None },
        )
    }

    /// Decides and, where it is not refused, applies.
    pub(crate) fn tell(&mut self, command: &Command) -> Result<Vec<Event>, Rejection> {
        let events = self.decide(command)?;
        self.apply(&events);
        Ok(events)
    }

    pub(crate) fn apply(&mut self, events: &[Event]) {
        self.state =
            events.iter().fold(std::mem::take(&mut self.state), |state, event| strategy::evolve(state, event, self.at));
    }

    pub(crate) fn tell_system(&mut self, command: &system::Command) -> Result<Vec<Event>, Rejection> {
        let events = system::decide(&self.system, command)?;
        self.system = events.iter().fold(self.system.clone(), |state, event| system::evolve(state, event, self.at));
        Ok(events)
    }

    pub(crate) fn adopt(&mut self, policy: Policy) {
        let policy = Arc::new(policy);
        let (id, by) = (policy.id(), read("alice"));
        self.tell_system(&system::Command::AdoptPolicy { id, policy, by, reason: "test".into() }).unwrap();
    }

    pub(crate) fn close(&mut self, pnl: &str) -> Vec<Event> {
        self.close_amount(amount(pnl))
    }

    pub(crate) fn close_amount(&mut self, pnl: Amount) -> Vec<Event> {
        self.trades += 1;
        self.tell(&Command::CloseTrade(trade(self.trades, pnl))).unwrap()
    }

    /// Closes `count` trades with the same result; gives what followed from the last.
    pub(crate) fn close_many(&mut self, count: usize, pnl: &str) -> Vec<Event> {
        (0..count).map(|_| self.close(pnl)).last().unwrap_or_default()
    }

    /// Decides an order and applies what follows.
    pub(crate) fn check(&mut self, order: Order) -> Decision {
        let events = self.tell(&Command::CheckOrder { order, attempt: 0 }).unwrap();
        decision(&events)
    }
}

pub(crate) fn set_level(to: Level) -> Command {
    Command::SetLevel { to, without_evidence: true, by: read("alice"), reason: "test".into() }
}

pub(crate) fn kill(scope: Scope, exits_blocked: bool) -> system::Command {
    system::Command::EngageKillSwitch { scope, exits_blocked, by: read("alice"), reason: "test".into() }
}

pub(crate) fn decision(events: &[Event]) -> Decision {
    let found = events.iter().find_map(Event::decision).cloned();
    found.expect("a decision among the events")
}

pub(crate) fn verdict_of(decision: &Decision, component: Component) -> &Verdict {
    decision.verdicts.iter().find(|verdict| verdict.component == component).expect("every component speaks")
}

pub(crate) fn reason_of(decision: &Decision, component: Component) -> &verdict::Reason {
    &verdict_of(decision, component).reason
}
