//! An execution engine with the real governor in it, on a log directory: the same signals give the same log, and a
//! crash between any two steps of an order's way neither sends it twice nor loses a fill.
//!
//! A crash takes the engine and the governor with it. What is left is the log and the venues, and the source of the
//! signals, which sends again what it has no word of.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ephor_actors::{Config, Governor, Request, Threads};
use ephor_events::{EventLog, Head, Options, Reader, StreamId, codec};
use ephor_execution::breaker::Reach;
use ephor_execution::dedup::Window;
use ephor_execution::engine::{ExecutionEngine, Stages};
use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal, VenueOrder};
use ephor_execution::outcome::Outcome;
use ephor_execution::paper::{PaperVenue, Terms};
use ephor_execution::positions::Lane;
use ephor_execution::post::DrawdownMonitor;
use ephor_execution::reconcile::{Finding, Orphan};
use ephor_execution::refusal::Refusal;
use ephor_execution::seen::Seen;
use ephor_execution::sizing::Sizer;
use ephor_execution::state::State;
use ephor_execution::venue::{Execution, Holding, Known, Venue, VenueError, What};
use ephor_execution::{Answer, Ask, Gate, Report, ReportError};
use ephor_governance::event::{Event, Registration, Scope};
use ephor_governance::fill::Netting;
use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::order::{Intent, Order, Side};
use ephor_governance::record::KeyKind;
use ephor_governance::strategy::Command;
use ephor_governance::system;
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::Action;
use tokio::sync::Notify;

/// Where on an order's way the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    BeforeGate,
    AfterGate,
    AfterSubmission,
    AfterFill,
    AfterReport,
}

const STEPS: i64 = 10;

/// The governor, and the end of the process on the way to it or back.
struct Mortal {
    governor: Governor,
    dies: Arc<Mutex<Option<Point>>>,
    died: Arc<Notify>,
}

impl Mortal {
    async fn pass(&self, point: Point) {
        if *self.dies.lock().unwrap() == Some(point) {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl Gate for Mortal {
    async fn check(&self, ask: Ask) -> Answer {
        self.pass(Point::BeforeGate).await;
        let answer = self.governor.check(ask).await;
        self.pass(Point::AfterGate).await;
        answer
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        let told = self.governor.report(report).await;
        self.pass(Point::AfterReport).await;
        told
    }

    fn has_decided(&self, strategy: &StrategyId, order: &SourceId) -> Option<bool> {
        self.governor.has_decided(strategy, order)
    }
}

struct Always(Amount);

impl Sizer for Always {
    fn size(&mut self, _: &TradeSignal, _: &Seen<'_>) -> Result<Amount, Refusal> {
        Ok(self.0)
    }
}

/// A venue that takes no order on trust: it opens the log beside its writer, and looks for what was decided.
#[derive(Clone)]
struct Witness {
    venue: PaperVenue,
    dir: PathBuf,
    /// Each order that it was handed, however often: its quantity, and that of its decision in the log at that moment.
    handed: Vec<(SourceId, Amount, Option<Amount>)>,
}

impl Venue for Witness {
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError> {
        let log = Reader::open_shared(&self.dir, &mut |_| {}).unwrap();
        let stream = StreamId::new(order.strategy.as_str());
        let commit = log.find(&stream, KeyKind::Order as u8, order.id.as_str()).unwrap();
        let events = commit.map(|commit| codec::decode_commit(&commit).unwrap()).unwrap_or_default();
        let decision = events.iter().find_map(Event::decision).filter(|decision| decision.order.id == order.id);
        self.handed.push((order.id.clone(), order.qty, decision.map(|decision| decision.order.qty)));
        self.venue.submit(order, at)
    }

    fn cancel(&mut self, id: &SourceId, at: Timestamp) -> Result<(), VenueError> {
        self.venue.cancel(id, at)
    }

    fn order(&self, id: &SourceId) -> Result<Option<Known>, VenueError> {
        self.venue.order(id)
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        self.venue.executions_since(cursor)
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        self.venue.holdings()
    }
}

struct House {
    engine: ExecutionEngine<Mortal, Witness, Witness>,
    /// The engine's state as its host has kept it.
    kept: String,
    governor: Governor,
    threads: Threads,
    dies: Arc<Mutex<Option<Point>>>,
    died: Arc<Notify>,
}

fn instrument() -> Instrument {
    Instrument::new(abc(), Amount::ONE, Amount::new(1, 2), "USD".parse().unwrap())
}

fn abc() -> InstrumentId {
    "ABC".parse().unwrap()
}

fn venues(dir: &Path) -> (Witness, Witness) {
    // Half of all fills leave a part to the next price, so that an order has more than one fill.
    let terms = Terms { seed: 7, partial: Amount::new(5, 1), fee_fixed: Amount::ONE, ..Terms::default() };
    let venue = || PaperVenue::new(terms.clone(), [instrument()]);
    let witness = |venue| Witness { venue, dir: dir.to_owned(), handed: Vec::new() };
    (witness(venue()), witness(venue()))
}

fn stages() -> Stages {
    Stages {
        sizer: Box::new(Always(10.into())),
        dedup: Box::new(Window::new(0)),
        pre_trade: Vec::new(),
        post_trade: vec![Box::new(DrawdownMonitor::new(Amount::new(5, 1), Some(Amount::new(5, 1))))],
        netting: Netting::Fifo,
        by: "engine".parse().unwrap(),
    }
}

fn prepare<L: Venue, P: Venue>(engine: &mut ExecutionEngine<Mortal, L, P>) {
    engine.list(instrument());
    for name in ["alpha", "beta"] {
        engine.fund(name.parse().unwrap(), 10_000.into());
    }
}

impl House {
    fn open(dir: &Path, (live, paper): (Witness, Witness), kept: String) -> Self {
        let log = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap().0;
        let (governor, threads) = Governor::start(log, &Config::default()).unwrap();
        let (point, over): (Arc<Mutex<_>>, Arc<Notify>) = Default::default();
        let gate = Mortal { governor: governor.clone(), dies: point.clone(), died: over.clone() };
        let state = State::from_json(&kept).unwrap();
        let mut engine = ExecutionEngine::resume(Some(gate), live, paper, stages(), state).unwrap();
        prepare(&mut engine);
        Self { engine, kept, governor, threads, dies: point, died: over }
    }

    /// One strategy at the top of the ladder, one on paper.
    async fn begin(dir: &Path) -> Self {
        let house = Self::open(dir, venues(dir), first());
        for name in ["alpha", "beta"] {
            let registration = Registration {
                id: name.parse().unwrap(),
                instrument: None,
                engine: None,
                strategy_class: None,
                version_digest: "v1".into(),
                initial_capital: 10_000.into(),
                currency: "USD".parse().unwrap(),
                multiplier: Amount::ONE,
            };
            house.tell(name, Command::Register(registration)).await;
        }
        let (by, reason) = ("ann".parse().unwrap(), "a test begins here".to_owned());
        house.tell("alpha", Command::SetLevel { to: Level::Autonomous, without_evidence: true, by, reason }).await;
        house
    }

    async fn tell(&self, strategy: &str, command: Command) {
        let strategy = strategy.parse().unwrap();
        self.governor.ask(Request { strategy, command, at: at(0), trace: "".into(), occurred_at: None }).await.unwrap();
    }

    /// The host keeps what the next engine has to know.
    fn keep(&mut self) {
        self.kept = serde_json::to_string(&self.engine.state()).unwrap();
    }

    /// The process dies and is started again: only the log, the venues and what was kept are what they were.
    async fn again(self, dir: &Path, price: Amount, at: Timestamp) -> Self {
        let kept = self.kept.clone();
        let venues = self.close().await.1;
        let mut house = Self::open(dir, venues, kept);
        house.engine.on_price(&abc(), price, at).await.unwrap();
        house
    }

    async fn close(self) -> (Head, (Witness, Witness)) {
        let head = self.governor.reader().head();
        let venues = self.engine.into_venues();
        self.governor.shutdown(self.threads).await.unwrap();
        (head, venues)
    }

    async fn price(&mut self, price: Amount, at: Timestamp) {
        self.engine.live().venue.on_price(&abc(), price, at);
        self.engine.paper().venue.on_price(&abc(), price, at);
        self.engine.on_price(&abc(), price, at).await.unwrap();
    }

    /// `None` where the process died on the way.
    async fn signal(&mut self, signal: &TradeSignal) -> Option<Outcome> {
        tokio::select! {
            biased;
            () = self.died.notified() => None,
            outcome = self.engine.on_signal(signal) => Some(outcome),
        }
    }
}

/// The state of an engine that has done nothing.
fn first() -> String {
    serde_json::to_string(&State::default()).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_nanos(1_700_000_000_000_000_000 + millis * 1_000_000)
}

fn signal(id: &str, strategy: &str, side: Side, intent: Intent, at: Timestamp) -> TradeSignal {
    TradeSignal {
        id: id.parse().unwrap(),
        strategy: strategy.parse().unwrap(),
        instrument: abc(),
        side,
        intent,
        kind: Kind::Market,
        stop: None,
        regime: Multiplier::ONE,
        at,
    }
}

/// Both strategies go in and out by turns, while the price goes up and down.
fn wish(step: i64) -> TradeSignal {
    let (side, intent) = if step % 4 < 2 { (Side::Buy, Intent::Entry) } else { (Side::Sell, Intent::Exit) };
    let strategy = if step % 2 == 0 { "alpha" } else { "beta" };
    signal(&format!("o-{step}"), strategy, side, intent, at(step * 1_000 + 1))
}

fn price(step: i64) -> Amount {
    (100 + [0, 3, -2, 5, -9].get(usize::try_from(step % 5).unwrap()).unwrap()).into()
}

struct Told {
    head: Head,
    live: Witness,
    paper: Witness,
    deaths: u32,
}

/// The whole history, with one death in it.
async fn history(dir: &Path, death: Option<(i64, Point)>) -> Told {
    let mut house = House::begin(dir).await;
    let mut deaths = 0;
    for step in 0..STEPS {
        let (now, price, wish) = (at(step * 1_000), price(step), wish(step));
        let dies = death.filter(|(when, _)| *when == step).map(|(_, point)| point);
        house.price(price, now).await;
        house.engine.on_executions().await.unwrap();
        *house.dies.lock().unwrap() = dies;
        let mut outcome = house.signal(&wish).await;
        if outcome.is_none() || dies == Some(Point::AfterSubmission) {
            deaths += 1;
            // What was decided counts, wherever the market is by now.
            let moved = if dies == Some(Point::BeforeGate) { price } else { price.plus(7.into()) };
            house = house.again(dir, moved, now).await;
            outcome = house.signal(&wish).await;
            house.engine.on_price(&abc(), price, now).await.unwrap();
        }
        assert!(outcome.is_some());
        // Two prices, for what is filled in parts.
        for later in [2, 3] {
            let then = at(step * 1_000 + later);
            house.engine.live().venue.on_price(&abc(), price, then);
            house.engine.paper().venue.on_price(&abc(), price, then);
            if later == 2 && dies == Some(Point::AfterFill) {
                deaths += 1;
                house = house.again(dir, price, now).await;
                house.signal(&wish).await.unwrap();
            }
            let is_over = tokio::select! {
                biased;
                () = house.died.notified() => true,
                taken = house.engine.on_executions() => { taken.unwrap(); false }
            };
            if is_over {
                deaths += 1;
                house = house.again(dir, price, now).await;
                house.signal(&wish).await.unwrap();
                house.engine.on_executions().await.unwrap();
            }
        }
        *house.dies.lock().unwrap() = None;
        assert_eq!(house.engine.reconcile().unwrap(), [], "step {step} of {death:?}");
        assert_eq!(house.engine.refused(), [], "step {step} of {death:?}");
        house.keep();
    }
    let (head, (live, paper)) = house.close().await;
    Told { head, live, paper, deaths }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn fills(venue: &Witness) -> usize {
    venue.executions_since(0).unwrap().iter().filter(|execution| matches!(execution.what, What::Filled(_))).count()
}

#[test]
fn the_same_signals_twice_give_the_same_log() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (run(history(one.path(), None)), run(history(two.path(), None)));
    assert_eq!(one.head, two.head);
    assert!(fills(&one.live) > 5 && fills(&one.paper) > 5);
}

#[test]
fn signals_that_come_again_after_a_restart_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let told = history(dir.path(), None).await;
        let mut house = House::open(dir.path(), venues(dir.path()), first());
        // Also where a venue has forgotten everything, the log has not: each is one order, as it was decided.
        house.price(price(0), at(0)).await;
        let again = house.signal(&wish(0)).await.unwrap();
        assert!(again.submitted().unwrap().answer.as_ref().unwrap().repeat);
        assert_eq!(house.close().await.0, told.head);
    });
}

/// Each crash against the history without one: the same log to the last bit, the same orders and fills, and no order
/// that a venue was handed more than once.
fn check(point: Point) {
    let dir = tempfile::tempdir().unwrap();
    let whole = run(history(dir.path(), None));
    let mut deaths = 0;
    for step in 0..STEPS {
        let dir = tempfile::tempdir().unwrap();
        let told = run(history(dir.path(), Some((step, point))));
        for (told, whole) in [(&told.live, &whole.live), (&told.paper, &whole.paper)] {
            assert_eq!(told.executions_since(0), whole.executions_since(0), "{point:?} at {step}");
            assert_eq!(told.handed, whole.handed, "{point:?} at {step}");
        }
        assert_eq!(told.head, whole.head, "{point:?} at {step}");
        deaths += told.deaths;
    }
    assert!(deaths >= 8, "{point:?}: {deaths} deaths");
}

#[test]
fn a_crash_before_the_gate_sends_nothing_twice_and_loses_no_fill() {
    check(Point::BeforeGate);
}

#[test]
fn a_crash_after_the_decision_sends_nothing_twice_and_loses_no_fill() {
    check(Point::AfterGate);
}

#[test]
fn a_crash_after_submission_sends_nothing_twice_and_loses_no_fill() {
    check(Point::AfterSubmission);
}

#[test]
fn a_crash_after_a_fill_sends_nothing_twice_and_loses_no_fill() {
    check(Point::AfterFill);
}

#[test]
fn a_crash_after_a_report_sends_nothing_twice_and_loses_no_fill() {
    check(Point::AfterReport);
}

#[test]
fn what_was_decided_counts_when_the_same_signal_would_be_sized_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let house = House::begin(dir.path()).await;
        let order = |qty: i64, equity: i64, side| Order {
            id: "o-1".parse().unwrap(),
            instrument: abc(),
            venue: None,
            side,
            qty: qty.into(),
            price: Some(100.into()),
            notional: None,
            currency: None,
            reduce_only: false,
            leverage: None,
            position_qty: None,
            equity: Some(equity.into()),
            open_positions: None,
            token: None,
        };
        let check = |order| {
            let strategy: StrategyId = "alpha".parse().unwrap();
            house.governor.check(Ask { strategy, order, at: at(1), trace: "".into() })
        };
        let first = check(order(10, 10_000, Side::Buy)).await;
        let head = house.governor.reader().head();
        let again = check(order(12, 9_000, Side::Buy)).await;
        assert!(again.repeat && !first.repeat);
        assert_eq!((again.seq, again.qty, again.action), (first.seq, 10.into(), first.action));
        let other = check(order(10, 10_000, Side::Sell)).await;
        assert_eq!((other.action, other.multiplier), (Action::Block, Multiplier::ZERO));
        assert_eq!(house.governor.reader().head(), head);
        house.close().await;
    });
}

#[test]
fn a_kill_stops_entries_and_lets_the_exit_pass() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut house = House::begin(dir.path()).await;
        house.price(100.into(), at(0)).await;
        let buy = |id: &str| signal(id, "alpha", Side::Buy, Intent::Entry, at(1));
        assert!(house.signal(&buy("o-1")).await.unwrap().submitted().is_some());
        for later in 2..9 {
            house.price(100.into(), at(later)).await;
        }
        house.engine.on_executions().await.unwrap();
        let (by, reason) = ("ann".parse().unwrap(), "a test".to_owned());
        let kill = system::Command::EngageKillSwitch { scope: Scope::All, exits_blocked: false, by, reason };
        house.governor.change(kill, at(10), "".into(), None).await.unwrap();
        let refused = house.signal(&buy("o-2")).await.unwrap();
        assert_eq!(refused.refused().unwrap().refusal.code(), "KILL_ENGAGED");
        let exit = signal("o-3", "alpha", Side::Sell, Intent::Exit, at(11));
        let exit = house.signal(&exit).await.unwrap();
        assert_eq!((exit.submitted().unwrap().lane, exit.submitted().unwrap().order.qty), (Lane::Live, 10.into()));
        house.close().await;
    });
}

#[test]
fn an_order_that_risk_denied_is_over_also_for_an_engine_that_comes_after() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut house = House::begin(dir.path()).await;
        house.price(100.into(), at(0)).await;
        let buy = |id: &str| signal(id, "alpha", Side::Buy, Intent::Entry, at(1));
        house.engine.open_breaker(Reach::All, "ann".parse().unwrap(), "a test".to_owned());
        let denied = house.signal(&buy("o-1")).await.unwrap();
        assert_eq!(denied.refused().unwrap().refusal.code(), "RISK_BREAKER_OPEN");
        house.engine.on_executions().await.unwrap();
        // The next engine knows of no breaker, the log knows what became of the order.
        let mut house = house.again(dir.path(), 60.into(), at(2)).await;
        let again = house.signal(&buy("o-1")).await.unwrap();
        assert_eq!(again.refused().map(|refused| refused.refusal.code()), Some("EXECUTION_DENIED_BEFORE"));
        assert!(house.signal(&buy("o-2")).await.unwrap().submitted().is_some());
        house.close().await;
    });
}

#[test]
fn a_fall_beyond_the_monitors_bound_engages_the_kill_switch_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut house = House::begin(dir.path()).await;
        house.price(1_000.into(), at(0)).await;
        house.signal(&signal("o-1", "alpha", Side::Buy, Intent::Entry, at(1))).await.unwrap();
        for later in 2..9 {
            house.price(1_000.into(), at(later)).await;
        }
        house.engine.on_executions().await.unwrap();
        house.price(10.into(), at(10)).await;
        assert_eq!(house.engine.breakers().all().count(), 1);
        let answer = house
            .governor
            .check(Ask {
                strategy: "alpha".parse().unwrap(),
                order: Order {
                    id: "o-2".parse().unwrap(),
                    instrument: abc(),
                    venue: None,
                    side: Side::Buy,
                    qty: 1.into(),
                    price: Some(10.into()),
                    notional: None,
                    currency: None,
                    reduce_only: false,
                    leverage: None,
                    position_qty: None,
                    equity: None,
                    open_positions: None,
                    token: None,
                },
                at: at(11),
                trace: "".into(),
            })
            .await;
        assert_eq!((answer.action, answer.code()), (Action::Kill, "KILL_ENGAGED"));
        house.close().await;
    });
}

#[test]
fn the_decision_stands_in_the_log_when_the_venue_is_handed_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let told = run(history(dir.path(), None));
    for (venue, strategy) in [(&told.live, 0), (&told.paper, 1)] {
        let own = (0..STEPS).filter(|step| step % 2 == strategy).map(|step| format!("o-{step}"));
        assert!(own.eq(venue.handed.iter().map(|(id, ..)| id.to_string())), "{:?}", venue.handed);
        let is_decided = |qty: Amount, decided: Option<Amount>| decided.is_some_and(|most| qty <= most);
        assert!(venue.handed.iter().all(|(_, qty, decided)| is_decided(*qty, *decided)), "{:?}", venue.handed);
    }
}

#[test]
fn a_fill_of_an_order_that_the_log_does_not_know_is_nobodys_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut house = House::begin(dir.path()).await;
        house.price(100.into(), at(0)).await;
        assert!(house.signal(&wish(0)).await.unwrap().submitted().is_some());
        house.keep();
        // Somebody at the venue's own screen, and nobody here before both are filled.
        let other = VenueOrder {
            id: "by-hand".parse().unwrap(),
            strategy: "alpha".parse().unwrap(),
            instrument: abc(),
            side: Side::Sell,
            qty: 1.into(),
            kind: Kind::Market,
            reduce_only: false,
        };
        house.engine.live().submit(&other, at(1)).unwrap();
        for later in 2..9 {
            house.engine.live().venue.on_price(&abc(), 100.into(), at(later));
        }
        let mut house = house.again(dir.path(), 100.into(), at(9)).await;
        house.engine.on_executions().await.unwrap();
        let found = house.engine.reconcile().unwrap();
        let [Finding::Orphan(Orphan { order_id, qty, .. })] = &found[..] else { panic!("{found:?}") };
        assert_eq!((order_id, *qty), (&other.id, (-1).into()));
        let refused = house.signal(&wish(4)).await.unwrap();
        assert_eq!(refused.refused().unwrap().refusal.code(), "RISK_BREAKER_OPEN");
        // What is held can be closed, as much as it is.
        let exit = signal("o-9", "alpha", Side::Sell, Intent::Exit, at(11));
        assert_eq!(house.signal(&exit).await.unwrap().submitted().unwrap().order.qty, 9.into());
        house.close().await;
    });
}
