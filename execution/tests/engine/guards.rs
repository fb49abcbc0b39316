//! What an engine must not be talked into: by an order's own price, by what it does not know, by what comes late.

use std::sync::{Arc, Mutex};

use ephor_execution::breaker::Reach;
use ephor_execution::dedup::Window;
use ephor_execution::engine::{ExecutionEngine, Stages};
use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal, VenueOrder};
use ephor_execution::outcome::Outcome;
use ephor_execution::positions::Lane;
use ephor_execution::post::{DrawdownMonitor, LossBreaker, PostTrade};
use ephor_execution::risk::ExposureLimits;
use ephor_execution::sizing::{Base, PortfolioSizing, Size};
use ephor_execution::venue::{Execution, Filled, Holding, Known, Venue, VenueError, What};
use ephor_execution::{Answer, Ask, Gate, Report, ReportError};
use ephor_governance::gate;
use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::Action;

use crate::house::{
    Engine, Fills, Journal, Says, block, code, engine, entry, exit, prepare, qty, send, signal, stages,
};

fn allowing() -> Says {
    Says::new(Action::Allow, 1.0)
}

fn with(change: impl FnOnce(&mut Stages)) -> Engine<Says> {
    let journal = Journal::default();
    let mut stages = stages(100, &journal);
    change(&mut stages);
    engine(Some(allowing()), stages, &journal)
}

fn sized(base: Base, value_max: Option<Amount>) -> Engine<Says> {
    with(|stages| stages.sizer = Box::new(PortfolioSizing::new(Size { base, value_max })))
}

fn checked(check: impl PostTrade + Send + 'static) -> Engine<Says> {
    with(|stages| stages.post_trade.push(Box::new(check)))
}

fn abc() -> InstrumentId {
    "ABC".parse().unwrap()
}

fn momentum() -> StrategyId {
    "momentum".parse().unwrap()
}

fn price<G: Gate, L: Venue, P: Venue>(engine: &mut ExecutionEngine<G, L, P>, price: i64, seconds: i64) {
    block(engine.on_price(&abc(), price.into(), Timestamp::from_nanos(seconds * 1_000_000_000))).unwrap();
}

fn open<G: Gate, L: Venue, P: Venue>(engine: &ExecutionEngine<G, L, P>) -> Vec<String> {
    engine.breakers().all().map(|(reach, _)| reach.to_string()).collect()
}

fn wish(id: &str, side: Side, kind: Kind, stop: Option<Amount>) -> TradeSignal {
    TradeSignal { kind, stop, ..signal(id, side, Intent::Entry) }
}

#[test]
fn an_orders_own_price_does_not_make_it_larger() {
    let cent = Amount::new(1, 2);
    let mut engine = sized(Base::FixedNotional { value: 10_000.into() }, None);
    let at_market = qty(&send(&mut engine, &entry("m")));
    assert_eq!(at_market, 100.into());
    for (id, side, kind) in [
        ("a", Side::Sell, Kind::Limit(cent)),
        ("b", Side::Buy, Kind::Stop(1.into())),
        ("c", Side::Sell, Kind::Limit(90.into())),
    ] {
        assert_eq!(qty(&send(&mut engine, &wish(id, side, kind, None))), at_market, "{id}");
    }
    // One that is dearer than the market is smaller.
    assert_eq!(qty(&send(&mut engine, &wish("d", Side::Buy, Kind::Stop(200.into()), None))), 50.into());

    let mut engine = sized(Base::RiskPerTrade { fraction: Amount::new(1, 2) }, Some(Amount::new(12, 2)));
    // The market is beyond the stop already.
    let beyond = wish("e", Side::Sell, Kind::Limit(cent), Some(Amount::new(2, 2)));
    assert_eq!(code(&send(&mut engine, &beyond)), ("sizing", "SIZING_NO_STOP"));
    // It would be sold at the market's 100, not at its own 99: the stop at 101 is 2 away from the worse of them.
    let mut engine = sized(Base::RiskPerTrade { fraction: Amount::new(1, 4) }, None);
    let marketable = wish("f", Side::Sell, Kind::Limit(99.into()), Some(101.into()));
    assert_eq!(qty(&send(&mut engine, &marketable)), 5.into());
    // One that rests is bought where it says.
    let mut engine = sized(Base::RiskPerTrade { fraction: Amount::new(1, 4) }, None);
    let resting = wish("g", Side::Buy, Kind::Limit(90.into()), Some(85.into()));
    assert_eq!(qty(&send(&mut engine, &resting)), 2.into());
}

/// Remembers what it was asked, and answers an id as it did the first time; refuses fills where told to.
#[derive(Clone, Default)]
struct Remembers {
    asked: Arc<Mutex<Vec<Ask>>>,
    refuses_fills: bool,
}

impl Gate for Remembers {
    async fn check(&self, ask: Ask) -> Answer {
        let mut asked = self.asked.lock().unwrap();
        let first = asked.iter().find(|before| before.order.id == ask.order.id).cloned();
        asked.push(ask.clone());
        Answer {
            action: Action::Allow,
            multiplier: Multiplier::ONE,
            execution: gate::Execution::Live,
            reason: None,
            qty: first.as_ref().unwrap_or(&ask).order.qty,
            seq: Some(1),
            repeat: first.is_some(),
            is_denied: ask.order.id.as_str() == "denied",
        }
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        if self.refuses_fills && matches!(report, Report::Fill { .. }) {
            return Err(ReportError::Refused { problem: "USDT is not the strategy's own".to_owned() });
        }
        Ok(())
    }

    fn has_decided(&self, _: &StrategyId, _: &SourceId) -> Option<bool> {
        None
    }
}

#[test]
fn governance_is_told_what_an_order_is_worth_where_it_cannot_know() {
    let journal = Journal::default();
    let gate = Remembers::default();
    let mut engine = engine(Some(gate.clone()), stages(2, &journal), &journal);
    let future = Instrument {
        multiplier: 50.into(),
        ..Instrument::new("ES".parse().unwrap(), 1.into(), Amount::new(1, 2), "USD".parse().unwrap())
    };
    block(engine.on_price(&future.id, 5_000.into(), Timestamp::from_nanos(1))).unwrap();
    engine.list(future.clone());
    send(&mut engine, &TradeSignal { instrument: future.id, ..entry("o-1") });
    send(&mut engine, &wish("o-2", Side::Sell, Kind::Limit(1.into()), None));
    send(&mut engine, &entry("o-3"));
    let worth: Vec<_> = gate.asked.lock().unwrap().iter().map(|ask| ask.order.notional).collect();
    assert_eq!(worth, [Some(500_000.into()), Some(200.into()), None]);
}

#[test]
fn an_order_that_was_denied_before_a_restart_is_over() {
    let journal = Journal::default();
    let mut engine = engine(Some(Remembers::default()), stages(2, &journal), &journal);
    assert_eq!(code(&send(&mut engine, &entry("denied"))), ("risk", "EXECUTION_DENIED_BEFORE"));
}

#[test]
fn a_strategy_whose_fills_governance_does_not_take_is_stopped() {
    let journal = Journal::default();
    let gate = Remembers { refuses_fills: true, ..Remembers::default() };
    let mut engine = engine(Some(gate), stages(2, &journal), &journal);
    send(&mut engine, &entry("o-1"));
    assert_eq!(open(&engine), ["strategy:momentum"]);
    assert_eq!(code(&send(&mut engine, &entry("o-2"))), ("risk", "RISK_BREAKER_OPEN"));
    assert_eq!(qty(&send(&mut engine, &exit("x-1"))), 2.into());
}

#[test]
fn what_a_person_has_let_go_after_such_a_fill_stays_let_go_over_a_restart() {
    let journal = Journal::default();
    let gate = Remembers { refuses_fills: true, ..Remembers::default() };
    let mut before = engine(Some(gate.clone()), stages(2, &journal), &journal);
    send(&mut before, &entry("o-1"));
    let unlisted = before.live().executions.last().unwrap().clone();
    before.live().executions.push(Execution { instrument: "DELISTED".parse().unwrap(), ..unlisted });
    block(before.on_executions()).unwrap();
    let stopped: Vec<_> = before.breakers().all().map(|(reach, _)| reach.clone()).collect();
    assert_eq!(open(&before), ["strategy:momentum", "instrument:DELISTED"]);
    for reach in stopped {
        before.close_breaker(&reach, &"alice".parse().unwrap());
    }
    let state = before.state();
    let (live, paper) = before.into_venues();
    let mut after = ExecutionEngine::resume(Some(gate), live, paper, stages(2, &journal), state).unwrap();
    prepare(&mut after);
    block(after.on_executions()).unwrap();
    assert_eq!(open(&after), [""; 0]);
    assert_eq!(qty(&send(&mut after, &entry("o-2"))), 2.into());
    // The next one is another.
    assert_eq!(open(&after), ["strategy:momentum"]);
}

/// Takes an order and does not say so while it is away.
#[derive(Clone)]
struct Lossy {
    inner: Fills,
    loses: bool,
}

impl Venue for Lossy {
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError> {
        self.inner.submit(order, at)?;
        if self.loses { Err(VenueError::Unreachable { problem: "timed out".to_owned() }) } else { Ok(()) }
    }

    fn cancel(&mut self, id: &SourceId, at: Timestamp) -> Result<(), VenueError> {
        self.inner.cancel(id, at)
    }

    fn order(&self, id: &SourceId) -> Result<Option<Known>, VenueError> {
        self.inner.order(id)
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        self.inner.executions_since(cursor)
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        self.inner.holdings()
    }
}

#[test]
fn an_order_nobody_knows_of_counts_until_the_venue_has_said() {
    let journal = Journal::default();
    let mut stages = stages(100, &journal);
    stages.dedup = Box::new(Window::new(60_000_000_000));
    stages.pre_trade.push(Box::new(ExposureLimits { position_max: Some(10_000.into()), gross_max: None }));
    let venue = Lossy { inner: Fills::at(100), loses: true };
    let mut engine = ExecutionEngine::new(Some(allowing()), venue.clone(), venue, stages);
    prepare(&mut engine);
    assert_eq!(code(&block(engine.on_signal(&entry("o-1")))), ("submission", "VENUE_UNREACHABLE"));
    assert_eq!(code(&block(engine.on_signal(&entry("o-2")))), ("deduplication", "DEDUP_CONTENT"));
    let other = TradeSignal { stop: Some(90.into()), ..entry("o-3") };
    assert_eq!(code(&block(engine.on_signal(&other))), ("risk", "RISK_POSITION_LIMIT"));
    // Asked again under its own id it is the same order, and there once.
    engine.live().loses = false;
    assert_eq!(qty(&block(engine.on_signal(&entry("o-1")))), 100.into());
    block(engine.on_executions()).unwrap();
    assert_eq!(engine.positions().of(Lane::Live, &momentum(), &abc()), 100.into());
}

#[test]
fn results_are_measured_by_what_was_paid_and_not_by_a_price_before_it() {
    let mut engine = checked(LossBreaker::new(5_000.into()));
    engine.live().price = 150.into();
    send(&mut engine, &entry("o-1"));
    price(&mut engine, 150, 2);
    assert_eq!(open(&engine), [""; 0]);
    price(&mut engine, 90, 3);
    assert_eq!(open(&engine), ["all"]);
}

#[test]
fn an_older_price_is_not_the_last() {
    let mut engine = sized(Base::FixedNotional { value: 10_000.into() }, None);
    price(&mut engine, 200, 10);
    price(&mut engine, 100, 5);
    assert_eq!(qty(&send(&mut engine, &entry("o-1"))), 50.into());
}

#[test]
fn losses_of_a_strategy_that_was_given_nothing_count_too() {
    let mut engine = checked(LossBreaker::new(500.into()));
    let unfunded = TradeSignal { strategy: "unfunded".parse().unwrap(), ..entry("o-1") };
    send(&mut engine, &unfunded);
    price(&mut engine, 1, 2);
    assert_eq!(open(&engine), ["all"]);
}

#[test]
fn what_never_had_a_price_hides_no_loss() {
    let mut engine = checked(LossBreaker::new(500.into()));
    let terms = Instrument::new("NOP".parse().unwrap(), 1.into(), Amount::new(1, 2), "USD".parse().unwrap());
    let unpriced = TradeSignal { instrument: terms.id.clone(), strategy: "carry".parse().unwrap(), ..entry("n-1") };
    engine.list(terms);
    send(&mut engine, &unpriced);
    send(&mut engine, &entry("o-1"));
    price(&mut engine, 1, 2);
    assert_eq!(open(&engine), ["all"]);
}

#[test]
fn a_fill_in_what_nobody_listed_stops_what_it_is_of_and_nothing_else() {
    let mut engine = with(|_| {});
    let delisted = Execution {
        order_id: "d-1".parse().unwrap(),
        strategy: "carry".parse().unwrap(),
        instrument: "DELISTED".parse().unwrap(),
        at: Timestamp::from_nanos(5),
        what: What::Filled(Filled {
            id: "d-1-1".parse().unwrap(),
            side: Side::Buy,
            qty: 1.into(),
            price: 1.into(),
            fee: Amount::ZERO,
        }),
    };
    engine.live().executions.push(delisted);
    send(&mut engine, &entry("o-1"));
    assert!(open(&engine).contains(&"instrument:DELISTED".to_owned()), "{:?}", open(&engine));
    assert_eq!(qty(&send(&mut engine, &exit("x-1"))), 100.into());
}

#[test]
fn a_breaker_that_a_person_closes_stays_closed_until_there_is_a_new_fall() {
    let mut engine = checked(DrawdownMonitor::new(Amount::new(5, 2), None));
    send(&mut engine, &entry("o-1"));
    price(&mut engine, 40, 2);
    assert_eq!(open(&engine), ["strategy:momentum"]);
    engine.live().price = 40.into();
    send(&mut engine, &exit("x-1"));
    engine.close_breaker(&Reach::Strategy(momentum()), &"ann".parse().unwrap());
    price(&mut engine, 41, 3);
    assert_eq!(open(&engine), [""; 0]);
    engine.live().price = 41.into();
    let again = send(&mut engine, &entry("o-2"));
    assert!(matches!(again, Outcome::Submitted(_)), "{again:?}");
    price(&mut engine, -20, 4);
    assert_eq!(open(&engine), ["strategy:momentum"]);
}

#[test]
fn an_exit_asked_again_is_not_held_to_the_smallest_order() {
    let journal = Journal::default();
    let mut engine = engine(Some(Remembers::default()), stages(10, &journal), &journal);
    engine.list(Instrument {
        qty_min: 5.into(),
        ..Instrument::new(abc(), 1.into(), Amount::new(1, 2), "USD".parse().unwrap())
    });
    let bought = |order: &str, qty: i64| Execution {
        order_id: order.parse().unwrap(),
        strategy: momentum(),
        instrument: abc(),
        at: Timestamp::from_nanos(1),
        what: What::Filled(Filled {
            id: format!("{order}-1").parse().unwrap(),
            side: Side::Buy,
            qty: qty.into(),
            price: 100.into(),
            fee: Amount::ZERO,
        }),
    };
    engine.live().executions.push(bought("b-1", 3));
    block(engine.on_executions()).unwrap();
    engine.live().is_away = true;
    assert_eq!(code(&block(engine.on_signal(&exit("x-1")))), ("submission", "VENUE_UNREACHABLE"));
    engine.live().is_away = false;
    engine.live().executions.push(bought("b-2", 7));
    block(engine.on_executions()).unwrap();
    assert_eq!(qty(&block(engine.on_signal(&exit("x-1")))), 3.into());
}

#[test]
fn rounding_down_never_rounds_up() {
    let lot = Instrument::new(abc(), 3_000.into(), Amount::new(1, 2), "USD".parse().unwrap());
    let nearly: Amount = "5999.9999999999999999999999999".parse().unwrap();
    assert_eq!(lot.round_down(nearly, None).unwrap(), 3_000.into());
}
