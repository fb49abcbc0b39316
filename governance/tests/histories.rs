//! Random histories: commands of every kind in any order, and logs that no rule of ours would write.

use std::sync::Arc;

use ephor_governance::drift::Metric;
use ephor_governance::event::{Account, ClosedTrade, Event, Registration, Scope};
use ephor_governance::fill::Fill;
use ephor_governance::gate::Sizing;
use ephor_governance::maturity::Level;
use ephor_governance::order::{Intent, Order, OrderReport, OrderStatus, Side, Signal};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::Command;
use ephor_governance::token::Grant;
use ephor_governance::trade::{RMultiple, RSource, Trade};
use ephor_governance::units::Amount;
use ephor_governance::{canary, health, system};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::given::{self, World, amount, baseline, grant, order, read, registration, second, trade};
use crate::netting::{any_fill, any_netting, any_pieces};

/// What happens next, and how long after what came before.
#[derive(Clone, Debug)]
pub(crate) struct Next {
    pub(crate) seconds: u64,
    pub(crate) act: Step,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Strategy(Box<Command>),
    System(system::Command),
}

impl World {
    /// Takes one step; what is refused changes nothing.
    pub(crate) fn act(&mut self, act: &Step) {
        match act {
            Step::Strategy(command) => drop(self.tell(command)),
            Step::System(command) => drop(self.tell_system(command)),
        }
    }
}

/// Plays a history, starting from a strategy newly registered.
pub(crate) fn play(history: &[Next]) -> World {
    let mut world = World::registered();
    for next in history {
        world.at = world.at.plus_seconds(next.seconds);
        world.act(&next.act);
    }
    world
}

pub(crate) fn money() -> impl Strategy<Value = Amount> {
    (-2_000_i64..2_000).prop_map(|cents| Amount::new(cents * 10, 2))
}

pub(crate) fn any_amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        money(),
        (any::<i64>(), 0..=28_u32).prop_map(|(mantissa, scale)| Amount::new(mantissa, scale)),
        select(vec![
            "79228162514264337593543950335",
            "-79228162514264337593543950335",
            "0.0000000000000000000000000001"
        ])
        .prop_map(amount),
    ]
}

pub(crate) fn level() -> impl Strategy<Value = Level> {
    select(Level::ALL.to_vec())
}

fn order_id() -> impl Strategy<Value = String> {
    (0..20_u32).prop_map(|n| format!("order-{n}"))
}

fn person() -> impl Strategy<Value = &'static str> {
    select(vec!["alice", "bob", "carol"])
}

pub(crate) fn any_order() -> impl Strategy<Value = Order> {
    let size = (order_id(), 1..5_000_i64, option::weighted(0.8, 1..200_i64), any::<bool>(), any::<bool>());
    let account = (
        option::of(0..9_i64),
        option::of(-2_000..2_000_i64),
        option::of(select(vec![-1_000, 0, 1_000, 100_000])),
        option::of(0..20_u32),
        option::weighted(0.3, select(vec!["token-0", "token-1", "token-2"])),
        select(vec!["GOOG.NASDAQ", "EURUSD.FXCM", "BTC"]),
    );
    (size, account).prop_map(
        |((id, qty, price, sells, reduce_only), (leverage, position, equity, open, token, instrument))| Order {
            instrument: read(instrument),
            side: if sells { Side::Sell } else { Side::Buy },
            qty: Amount::from(qty),
            price: price.map(Amount::from),
            reduce_only,
            leverage: leverage.map(Amount::from),
            position_qty: position.map(Amount::from),
            equity: equity.map(Amount::from),
            open_positions: open,
            token: token.map(read),
            ..order(&id)
        },
    )
}

fn any_trade() -> impl Strategy<Value = Trade> {
    (0..1_000_usize, money(), option::weighted(0.2, money()))
        .prop_map(|(number, pnl, initial_risk)| Trade { initial_risk, ..trade(number, pnl) })
}

fn any_grant() -> impl Strategy<Value = Grant> {
    (0..15_u32, option::of(Just(Side::Buy)), option::of(order_id()), 1..3_u32, 1..400_i64).prop_map(
        |(number, side, order_id, uses_max, until)| Grant {
            side,
            order_id: order_id.map(|id| read(&id)),
            uses_max,
            expires_at: second(until),
            ..grant(&format!("token-{number}"))
        },
    )
}

fn any_registration() -> impl Strategy<Value = Registration> {
    (select(vec!["v1", "v2"]), select(vec!["10000", "20000"])).prop_map(|(version, capital)| Registration {
        version_digest: version.into(),
        initial_capital: amount(capital),
        ..registration()
    })
}

fn any_report() -> impl Strategy<Value = OrderReport> {
    let status = select(vec![OrderStatus::Filled, OrderStatus::Rejected, OrderStatus::Canceled]);
    (status, option::of(Just(Side::Sell)), option::of(1..100_i64), option::of(-100..100_i64)).prop_map(
        |(status, side, qty, position_qty)| OrderReport {
            id: read("report"),
            instrument: read("GOOG.NASDAQ"),
            order_id: None,
            status,
            side,
            qty: qty.map(Amount::from),
            price: None,
            position_qty: position_qty.map(Amount::from),
            equity: None,
            commission: None,
            reason: None,
        },
    )
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let drift = (any::<bool>(), 5.0..60.0_f64, 2..30_u32);
    (drift, any::<bool>(), any::<bool>(), 1..12_u32, 1..60_u32, 1..80_u32).prop_map(
        |((auto_resume, reduce, trades_min), compound, required, streak, promotion, window)| {
            let mut policy = Policy::default();
            policy.gate.sizing = if compound { Sizing::Compound } else { Sizing::MostRestrictive };
            policy.execution_tokens.required = required;
            policy.maturity.demotion_loss_streak = streak;
            policy.maturity.promotion_trades_min = promotion;
            policy.health_score.window_trades = window;
            policy.drift_detector.auto_resume = auto_resume;
            policy.drift_detector.reduce_above_pct = reduce;
            policy.drift_detector.pause_above_pct = reduce + 10.0;
            policy.drift_detector.trades_min = trades_min;
            policy
        },
    )
}

pub(crate) fn strategy_command() -> impl Strategy<Value = Command> {
    let (by, reason) = (|| read("alice"), || "test".to_owned());
    prop_oneof![
        20 => any_trade().prop_map(Command::CloseTrade),
        6 => (any_order(), 0..2_u32).prop_map(|(order, attempt)| Command::CheckOrder { order, attempt }),
        2 => any_order().prop_map(|order| Command::ReceiveSignal {
            signal: Signal { id: read("signal"), intent: Some(Intent::Entry), tag: None },
            order,
        }),
        1 => any_registration().prop_map(Command::Register),
        1 => (0.1..1.0_f64).prop_map(|rate| Command::RecordBaseline(baseline(&[
            (Metric::WinRate, rate), (Metric::ProfitFactor, 2.0 * rate), (Metric::AvgRr, rate), (Metric::Sharpe, rate),
        ]))),
        2 => any_report().prop_map(Command::ReportOrder),
        6 => (any_fill(), any_netting(), any_pieces()).prop_map(|(fill, netting, pieces)| Command::RecordFill { fill, netting, pieces, currency: None }),
        1 => Just(Command::Pause { by: by(), reason: reason() }),
        2 => Just(Command::Resume { by: by(), reason: reason() }),
        2 => (level(), any::<bool>()).prop_map(move |(to, without_evidence)| Command::SetLevel {
            to, without_evidence, by: by(), reason: reason(),
        }),
        4 => any_grant().prop_map(Command::IssueToken),
        2 => option::of(0..15_u32).prop_map(|number| Command::RevokeTokens {
            id: number.map(|number| read(&format!("token-{number}"))), by: read("alice"), reason: "test".to_owned(),
        }),
        3 => (order_id(), person()).prop_map(|(order_id, by)| Command::ApproveOrder {
            order_id: read(&order_id), by: read(by), reason: "test".to_owned(),
        }),
        1 => (order_id(), person()).prop_map(|(order_id, by)| Command::DeclineOrder {
            order_id: read(&order_id), by: read(by), reason: "test".to_owned(),
        }),
        1 => Just(Command::RecordFault { message: "it fell over".to_owned() }),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    select(vec![
        Scope::All,
        Scope::Strategy(read("momentum")),
        Scope::Strategy(read("reversal")),
        Scope::Instrument(read("BTC")),
        Scope::Venue(read("NASDAQ")),
    ])
}

fn system_command() -> impl Strategy<Value = system::Command> {
    prop_oneof![
        any_policy().prop_map(|policy| system::Command::AdoptPolicy {
            id: policy.id(),
            policy: Arc::new(policy),
            by: read("alice"),
            reason: "test".to_owned(),
        }),
        any_policy().prop_map(|policy| system::Command::ProposePolicy {
            id: policy.id(),
            policy: Arc::new(policy),
            by: read("bob"),
            reason: "test".to_owned(),
        }),
        (scope(), any::<bool>()).prop_map(|(scope, exits_blocked)| given::kill(scope, exits_blocked)),
        scope().prop_map(|scope| system::Command::ReleaseKillSwitch {
            scope,
            by: read("alice"),
            reason: "test".to_owned()
        }),
        (1..3_u32, option::of(0..5_i64)).prop_map(|(open, leverage)| system::Command::UpdateAccount(Account {
            id: read("account"),
            equity: amount("50000"),
            currency: read("USD"),
            leverage: leverage.map(Amount::from),
            open_positions: Some(open),
        })),
        vec(any::<bool>(), 0..3).prop_map(|good| {
            let result =
                |(index, good): (usize, bool)| (format!("part-{index}").into(), (!good).then(|| "down".to_owned()));
            let results = good.into_iter().enumerate().map(result).collect();
            system::Command::RecordCanaryRound(canary::Round { results })
        }),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Next> {
    let act = prop_oneof![9 => strategy_command().prop_map(|command| Step::Strategy(Box::new(command))), 1 => system_command().prop_map(Step::System)];
    (0..20_u64, act).prop_map(|(seconds, act)| Next { seconds, act })
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Next>> {
    vec(step(), 0..80)
}

/// One event of every kind, with whatever numbers: a log written by other rules, or by a fool.
pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    let closed = (any_amount(), any_amount(), any::<f64>(), 0..5_u32).prop_map(|(pnl, qty, r, keep)| {
        Event::TradeClosed(ClosedTrade {
            trade: Trade { qty, ..trade(1, pnl) },
            r: RMultiple { value: r, source: RSource::Unit },
            return_on_entry: r,
            keep,
            piece: None,
        })
    });
    let registered = (any_amount(), level(), select(vec!["v1", "v2"])).prop_map(|(initial_capital, level, version)| {
        let registration = Registration { initial_capital, version_digest: version.into(), ..registration() };
        Event::StrategyRegistered { registration, level }
    });
    let reported = (any_amount(), option::of(any_amount())).prop_map(|(qty, position_qty)| {
        Event::OrderReported(OrderReport {
            id: read("report"),
            instrument: read("BTC"),
            order_id: None,
            status: OrderStatus::Filled,
            side: Some(Side::Sell),
            qty: Some(qty),
            price: None,
            position_qty,
            equity: None,
            commission: None,
            reason: None,
        })
    });
    let healthy = (any::<f64>(), any::<f64>())
        .prop_map(|(debt, score)| Event::HealthUpdated(health::Event { debt, score, ..health::Event::PRISTINE }));
    // What one world decides is applied in another, in any order.
    let decided = (history(), step()).prop_flat_map(|(before, last)| {
        let world = play(&before);
        let events = match &last.act {
            Step::Strategy(command) => world.decide(command),
            Step::System(command) => system::decide(&world.system, command),
        };
        select(events.unwrap_or_else(|_| vec![Event::ActorFaulted { message: String::new() }]))
    });
    let filled = (any_fill(), any_amount(), any_amount(), any_netting(), any_pieces()).prop_map(
        |(fill, qty, price, netting, pieces)| Event::FillRecorded {
            fill: Fill { qty, price, ..fill },
            netting,
            pieces,
        },
    );
    prop_oneof![3 => closed, 1 => registered, 1 => reported, 2 => filled, 1 => healthy, 6 => decided]
}
