//! Given: a log in memory, written as the actors write it. Commands go through the rules, the events that
//! come out are drafted and appended, and the states go on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use ephor_events::codec::{self, Heading};
use ephor_events::{DerivedTree, Durability, EventLog, Pair, Reader, Seq, StreamId, Version};
use ephor_governance::drift::{Baseline, Metric};
use ephor_governance::event::{Account, Event, RecordedBaseline, Registration, Scope};
use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::{self, Command, Context};
use ephor_governance::system;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use ephor_snapshots::{Keyframes, Restored};

/// Anything that is read from text.
pub(crate) fn read<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn second(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

/// The type of a fill in the log.
const FILL_RECORDED: u16 = 24;

pub(crate) const MOMENTUM: &str = "momentum";
pub(crate) const REVERSION: &str = "reversion";

/// A system version and the state it stands for.
pub(crate) type View = (Version, system::State);

/// A log and what has become of its streams. The clock goes on by a second with every commit.
pub(crate) struct World {
    log: EventLog,
    pub(crate) system: View,
    pub(crate) strategies: BTreeMap<StrategyId, (strategy::State, Version)>,
    pub(crate) at: Timestamp,
    /// When what comes next happened, where that is not when it is recorded.
    pub(crate) happened: Option<Timestamp>,
    /// Whether fills are written as they were before the pieces of an order were one trade.
    pub(crate) before_orders: bool,
    /// The trace of what comes next, where it is not one of its own.
    pub(crate) trace: Option<String>,
    trades: usize,
}

impl World {
    /// An empty log.
    pub(crate) fn empty() -> Self {
        Self {
            log: EventLog::memory(),
            system: (Version(0), system::State::default()),
            strategies: BTreeMap::new(),
            at: second(0),
            happened: None,
            before_orders: false,
            trace: None,
            trades: 0,
        }
    }

    /// The default policy adopted and `momentum` registered with ten thousand dollars, at L1.
    pub(crate) fn registered() -> Self {
        let mut world = Self::empty();
        world.adopt(Policy::default());
        world.register(MOMENTUM);
        world
    }

    /// `momentum` put on a level by hand.
    pub(crate) fn at_level(level: Level) -> Self {
        let mut world = Self::registered();
        world.tell(MOMENTUM, &set_level(level));
        world
    }

    pub(crate) fn reader(&self) -> Reader {
        self.log.reader()
    }

    /// The keyframes beside the log.
    pub(crate) fn keyframes(&self) -> Keyframes {
        Keyframes::open(&self.log.derived()).unwrap()
    }

    /// The store of keyframes, and everything in it.
    pub(crate) fn kept(&self) -> (DerivedTree, Vec<Pair>) {
        let tree = self.log.derived().tree("keyframes").unwrap();
        let all = tree.range(.., false, usize::MAX).unwrap();
        (tree, all)
    }

    /// Saves a keyframe of a strategy as it stands, or as it is told to.
    pub(crate) fn keep(&self, strategy: &str, as_if: Option<strategy::State>) {
        let (state, version) = self.strategies[&read(strategy)].clone();
        let restored = Restored { state: as_if.unwrap_or(state), version, at: self.at, folded: 0 };
        self.keyframes().save(&self.reader(), &StreamId::new(strategy), &restored).unwrap();
    }

    /// As [`World::tell`], but what the rules refuse is left out.
    pub(crate) fn ask(&mut self, strategy: &str, command: &Command) {
        let id: StrategyId = read(strategy);
        let state = self.strategies.get(&id).map(|(state, _)| state.clone()).unwrap_or_default();
        let context = Context { at: self.at, system: &self.system.1, drift: None };
        if strategy::decide(&state, &id, command, &context).is_ok() {
            self.tell(strategy, command);
        }
    }

    /// Decides on the newest system and appends; gives the seq of the first event.
    pub(crate) fn tell(&mut self, strategy: &str, command: &Command) -> Seq {
        let view = self.system.clone();
        self.tell_on(&view, strategy, command)
    }

    /// Decides on this view of the system and appends.
    pub(crate) fn tell_on(&mut self, view: &View, strategy: &str, command: &Command) -> Seq {
        let events = self.decide_on(view, strategy, command);
        self.append(view.0, strategy, Some(command), events)
    }

    pub(crate) fn decide(&self, strategy: &str, command: &Command) -> Vec<Event> {
        self.decide_on(&self.system, strategy, command)
    }

    fn decide_on(&self, (_, system): &View, strategy: &str, command: &Command) -> Vec<Event> {
        let id: StrategyId = read(strategy);
        let state = self.strategies.get(&id).map(|(state, _)| state.clone()).unwrap_or_default();
        strategy::decide(&state, &id, command, &Context { at: self.at, system, drift: None }).unwrap()
    }

    /// Appends events as they are, whatever the rules would say of them.
    pub(crate) fn append(
        &mut self,
        system: Version,
        strategy: &str,
        command: Option<&Command>,
        events: Vec<Event>,
    ) -> Seq {
        self.append_to(read(strategy), system, command, events)
    }

    /// As [`World::append`], to a stream that no name that may come in has.
    pub(crate) fn append_to(
        &mut self,
        id: StrategyId,
        system: Version,
        command: Option<&Command>,
        mut events: Vec<Event>,
    ) -> Seq {
        let (state, version) = self.strategies.remove(&id).unwrap_or_default();
        let heading = Heading {
            stream: StreamId::new(id.as_str()),
            expected: version,
            decided_at: self.at,
            occurred_at: self.happened.unwrap_or(self.at),
            trace: self.trace.clone().unwrap_or_else(|| format!("trace-{}", self.log.head().seq.0 + 1)).as_str().into(),
            key: command.and_then(Command::key),
            instrument: command.and_then(Command::instrument).map(InstrumentId::text),
            system,
        };
        let mut draft = codec::draft(heading, &mut events).unwrap();
        if self.before_orders {
            for encoded in draft.events.iter_mut().filter(|encoded| encoded.type_id == FILL_RECORDED) {
                // The second schema says one byte more, the last: what the fill counts as.
                assert_eq!((encoded.schema, encoded.payload.pop()), (2, Some(0)));
                encoded.schema = 1;
            }
        }
        let position = self.log.append(&[draft], Durability::Written).unwrap()[0];
        let state = events.iter().fold(state, |state, event| strategy::evolve(state, event, self.at));
        self.strategies.insert(id, (state, Version(version.0 + events.len() as u64)));
        self.tick();
        position.seq
    }

    pub(crate) fn tell_system(&mut self, command: &system::Command) -> Seq {
        let mut events = system::decide(&self.system.1, command).unwrap();
        let heading = Heading {
            stream: StreamId::system(),
            expected: self.system.0,
            decided_at: self.at,
            occurred_at: self.happened.unwrap_or(self.at),
            trace: "".into(),
            key: command.key(),
            instrument: None,
            system: self.system.0,
        };
        let draft = codec::draft(heading, &mut events).unwrap();
        let position = self.log.append(&[draft], Durability::Written).unwrap()[0];
        let (version, state) = self.system.clone();
        let state = events.iter().fold(state, |state, event| system::evolve(state, event, self.at));
        self.system = (Version(version.0 + events.len() as u64), state);
        self.tick();
        position.seq
    }

    fn tick(&mut self) {
        self.at = self.at.plus_seconds(1);
    }

    pub(crate) fn adopt(&mut self, policy: Policy) -> Seq {
        let by = read("alice");
        self.tell_system(&system::Command::AdoptPolicy {
            id: policy.id(),
            policy: Arc::new(policy),
            by,
            reason: "test".into(),
        })
    }

    pub(crate) fn kill(&mut self, scope: Scope) -> Seq {
        let by = read("alice");
        self.tell_system(&system::Command::EngageKillSwitch { scope, exits_blocked: false, by, reason: "test".into() })
    }

    pub(crate) fn account(&mut self, number: usize) -> Seq {
        self.tell_system(&system::Command::UpdateAccount(Account {
            id: read(&format!("account-{number}")),
            equity: read("100000"),
            currency: read("USD"),
            leverage: None,
            open_positions: Some(0),
        }))
    }

    pub(crate) fn register(&mut self, strategy: &str) -> Seq {
        self.tell(
            strategy,
            &Command::Register(Registration {
                id: read("registration"),
                instrument: Some(read("GOOG.NASDAQ")),
                engine: None,
                strategy_class: None,
                version_digest: "v1".into(),
                initial_capital: read("10000"),
                currency: read("USD"),
                multiplier: Amount::ONE,
            }),
        )
    }

    /// A backtest that won six of ten.
    pub(crate) fn baseline(&mut self, strategy: &str) -> Seq {
        self.tell(
            strategy,
            &Command::RecordBaseline(RecordedBaseline {
                id: read("baseline"),
                period_start: None,
                period_end: None,
                baseline: Baseline { trades: 100, metrics: BTreeMap::from([(Metric::WinRate, 0.6)]) },
            }),
        )
    }

    /// Closes a trade; gives the seq of its `TradeClosed`.
    pub(crate) fn close(&mut self, strategy: &str, pnl: &str) -> Seq {
        let command = self.trade(pnl);
        self.tell(strategy, &command)
    }

    /// The command that closes the next trade.
    pub(crate) fn trade(&mut self, pnl: &str) -> Command {
        self.trades += 1;
        Command::CloseTrade(Trade {
            id: read(&format!("trade-{}", self.trades)),
            instrument: read("GOOG.NASDAQ"),
            direction: Direction::Long,
            qty: read("10"),
            entry_price: read("100"),
            exit_price: read("100"),
            realized_pnl: read(pnl),
            currency: None,
            initial_risk: None,
            opened_at: self.at,
            closed_at: self.at,
            order_id: None,
        })
    }

    pub(crate) fn check(&mut self, strategy: &str, id: &str, qty: &str) -> Seq {
        self.tell(strategy, &check(id, qty))
    }

    /// Some of everything: two strategies that trade, fall, climb, drift and are stopped.
    pub(crate) fn eventful() -> Self {
        let mut world = Self::registered();
        world.register(REVERSION);
        world.baseline(MOMENTUM);
        world.account(1);
        for number in 0..55 {
            world.close(REVERSION, "20");
            world.close(MOMENTUM, if number % 4 == 0 { "30" } else { "-25" });
            world.check(REVERSION, &format!("order-r{number}"), "10");
            world.check(MOMENTUM, &format!("order-m{number}"), "10");
        }
        let mut strict = Policy::default();
        strict.maturity.demotion_loss_streak = 2;
        world.adopt(strict);
        world.check(MOMENTUM, "order-strict", "10");
        world.kill(Scope::Strategy(read(REVERSION)));
        world.check(REVERSION, "order-killed", "10");
        world
    }
}

pub(crate) fn set_level(to: Level) -> Command {
    Command::SetLevel { to, without_evidence: true, by: read("alice"), reason: "test".into() }
}

/// An order of `qty` at 100 dollars, with everything known.
pub(crate) fn check(id: &str, qty: &str) -> Command {
    let order = Order {
        id: read(id),
        instrument: read("GOOG.NASDAQ"),
        venue: None,
        side: Side::Buy,
        qty: read(qty),
        price: Some(read("100")),
        notional: None,
        currency: Some(read("USD")),
        reduce_only: false,
        leverage: Some(Amount::ONE),
        position_qty: Some(Amount::ZERO),
        equity: Some(read("100000")),
        open_positions: Some(0),
        token: None,
    };
    Command::CheckOrder { order, attempt: 0 }
}
