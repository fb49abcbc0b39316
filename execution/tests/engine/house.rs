//! An engine with a gate that says what it is told to, and a venue that fills at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ephor_execution::dedup::Window;
use ephor_execution::engine::{ExecutionEngine, Stages};
use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal, VenueOrder};
use ephor_execution::outcome::Outcome;
use ephor_execution::refusal::Refusal;
use ephor_execution::risk::PreTrade;
use ephor_execution::seen::Seen;
use ephor_execution::sizing::Sizer;
use ephor_execution::venue::{Execution, Filled, Holding, Known, Venue, VenueError, What};
use ephor_execution::{Answer, Ask, Gate, Report, ReportError};
use ephor_governance::fill::Netting;
use ephor_governance::gate;
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::{Action, Reason};

/// What happened, in order, wherever it happened.
pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

pub(crate) fn note(journal: &Journal, what: impl Into<String>) {
    journal.lock().unwrap().push(what.into());
}

/// Says the same to every order.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) action: Action,
    pub(crate) multiplier: f64,
    pub(crate) execution: gate::Execution,
    pub(crate) journal: Journal,
    pub(crate) reports: Arc<Mutex<Vec<Report>>>,
    /// While set, nothing is recorded.
    pub(crate) is_away: Arc<Mutex<bool>>,
}

impl Says {
    pub(crate) fn new(action: Action, multiplier: f64) -> Self {
        Self {
            action,
            multiplier,
            execution: if action.rejects() { gate::Execution::None } else { gate::Execution::Live },
            journal: Journal::default(),
            reports: Arc::default(),
            is_away: Arc::default(),
        }
    }
}

impl Gate for Says {
    async fn check(&self, ask: Ask) -> Answer {
        note(&self.journal, format!("asked {}", ask.order.id));
        // An exit passes governance, as the rules have it.
        let exit = ask.order.reduce_only;
        Answer {
            action: if exit { Action::Allow } else { self.action },
            multiplier: if exit { Multiplier::ONE } else { Multiplier::new(self.multiplier) },
            execution: if exit { gate::Execution::Position } else { self.execution },
            reason: Some(Reason::ComponentClear),
            qty: ask.order.qty,
            seq: Some(1),
            repeat: false,
            is_denied: false,
        }
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        if *self.is_away.lock().unwrap() {
            return Err(ReportError::Unavailable { problem: "away".to_owned() });
        }
        note(&self.journal, "reported");
        self.reports.lock().unwrap().push(report);
        Ok(())
    }

    fn has_decided(&self, _: &StrategyId, _: &SourceId) -> Option<bool> {
        None
    }
}

/// Fills every order at once at its price, in so many pieces; keeps everything for ever.
#[derive(Clone, Default)]
pub(crate) struct Fills {
    pub(crate) price: Amount,
    pub(crate) pieces: u32,
    pub(crate) orders: BTreeMap<SourceId, Known>,
    pub(crate) executions: Vec<Execution>,
    pub(crate) journal: Journal,
    pub(crate) is_away: bool,
    pub(crate) rejects: bool,
    pub(crate) submissions: u32,
}

impl Fills {
    pub(crate) fn at(price: i64) -> Self {
        Self { price: price.into(), pieces: 1, ..Self::default() }
    }
}

impl Venue for Fills {
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError> {
        if self.is_away {
            return Err(VenueError::Unreachable { problem: "away".to_owned() });
        }
        if let Some(known) = self.orders.get(&order.id) {
            let same = known.order == *order;
            return if same { Ok(()) } else { Err(VenueError::IdReused { id: order.id.clone() }) };
        }
        note(&self.journal, format!("submitted {}", order.id));
        self.submissions += 1;
        let happened = |what| Execution {
            order_id: order.id.clone(),
            strategy: order.strategy.clone(),
            instrument: order.instrument.clone(),
            at,
            what,
        };
        let known = Known { order: order.clone(), filled: order.qty, is_open: false };
        self.orders.insert(order.id.clone(), known);
        if self.rejects {
            self.executions.push(happened(What::Rejected { reason: "no".to_owned() }));
            return Ok(());
        }
        self.executions.push(happened(What::Accepted));
        let mut left = order.qty;
        for piece in 1..=self.pieces {
            let qty = if piece == self.pieces {
                left
            } else {
                Amount::from((order.qty.decimal() / Amount::from(i64::from(self.pieces)).decimal()).floor())
            };
            if !qty.is_positive() {
                continue;
            }
            left = left.minus(qty);
            self.executions.push(happened(What::Filled(Filled {
                id: format!("{}-{piece}", order.id).parse().unwrap(),
                side: order.side,
                qty,
                price: self.price,
                fee: Amount::ONE,
            })));
        }
        Ok(())
    }

    fn cancel(&mut self, id: &SourceId, _: Timestamp) -> Result<(), VenueError> {
        Err(VenueError::NotOpen { id: id.clone() })
    }

    fn order(&self, id: &SourceId) -> Result<Option<Known>, VenueError> {
        Ok(self.orders.get(id).cloned())
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        if self.is_away {
            return Err(VenueError::Unreachable { problem: "away".to_owned() });
        }
        Ok(self.executions.iter().skip(usize::try_from(cursor).unwrap()).cloned().collect())
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        let mut held = BTreeMap::<_, Amount>::new();
        for Execution { strategy, instrument, what, .. } in &self.executions {
            if let What::Filled(filled) = what {
                let qty = held.entry((strategy.clone(), instrument.clone())).or_default();
                *qty = qty.plus(filled.side.signed(filled.qty));
            }
        }
        let held = held.into_iter().filter(|(_, qty)| !qty.is_zero());
        Ok(held.map(|((strategy, instrument), qty)| Holding { strategy, instrument, qty }).collect())
    }
}

/// Always the same size.
pub(crate) struct Always(pub(crate) Amount, pub(crate) Journal);

impl Sizer for Always {
    fn size(&mut self, signal: &TradeSignal, _: &Seen<'_>) -> Result<Amount, Refusal> {
        note(&self.1, format!("sized {}", signal.id));
        Ok(self.0)
    }
}

/// Lets everything pass and says that it was asked.
pub(crate) struct Looks(pub(crate) Journal);

impl PreTrade for Looks {
    fn check(&mut self, order: &VenueOrder, _: ephor_execution::positions::Lane, _: &Seen<'_>) -> Result<(), Refusal> {
        note(&self.0, format!("risk {}", order.id));
        Ok(())
    }
}

pub(crate) fn stages(size: i64, journal: &Journal) -> Stages {
    Stages {
        sizer: Box::new(Always(size.into(), journal.clone())),
        dedup: Box::new(Window::new(0)),
        pre_trade: vec![Box::new(Looks(journal.clone()))],
        post_trade: Vec::new(),
        netting: Netting::Fifo,
        by: "engine".parse().unwrap(),
    }
}

pub(crate) type Engine<G> = ExecutionEngine<G, Fills, Fills>;

pub(crate) fn engine<G: Gate>(gate: Option<G>, stages: Stages, journal: &Journal) -> Engine<G> {
    let venue = Fills { journal: journal.clone(), ..Fills::at(100) };
    let mut engine = ExecutionEngine::new(gate, venue.clone(), venue, stages);
    prepare(&mut engine);
    engine
}

/// Says what can be traded, and what there is to trade with.
pub(crate) fn prepare<G: Gate, L: Venue, P: Venue>(engine: &mut ExecutionEngine<G, L, P>) {
    for name in ["ABC", "XYZ"] {
        let instrument = Instrument::new(name.parse().unwrap(), 1.into(), Amount::new(1, 2), "USD".parse().unwrap());
        engine.list(instrument);
        block(engine.on_price(&name.parse().unwrap(), 100.into(), Timestamp::from_nanos(0))).unwrap();
    }
    for name in ["momentum", "carry"] {
        engine.fund(name.parse().unwrap(), 100_000.into());
    }
}

pub(crate) fn signal(id: &str, side: Side, intent: Intent) -> TradeSignal {
    TradeSignal {
        id: id.parse().unwrap(),
        strategy: "momentum".parse().unwrap(),
        instrument: "ABC".parse().unwrap(),
        side,
        intent,
        kind: Kind::Market,
        stop: None,
        regime: Multiplier::ONE,
        at: Timestamp::from_nanos(1_000_000_000),
    }
}

pub(crate) fn entry(id: &str) -> TradeSignal {
    signal(id, Side::Buy, Intent::Entry)
}

pub(crate) fn exit(id: &str) -> TradeSignal {
    signal(id, Side::Sell, Intent::Exit)
}

pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    futures::executor::block_on(work)
}

/// A signal, and everything that comes of it.
pub(crate) fn send<G: Gate>(engine: &mut Engine<G>, signal: &TradeSignal) -> Outcome {
    let outcome = block(engine.on_signal(signal));
    block(engine.on_executions()).unwrap();
    outcome
}

#[track_caller]
pub(crate) fn code(outcome: &Outcome) -> (&'static str, &'static str) {
    let refused = outcome.refused().unwrap_or_else(|| panic!("an order went out: {outcome:?}"));
    (refused.stage.as_str(), refused.refusal.code())
}

#[track_caller]
pub(crate) fn qty(outcome: &Outcome) -> Amount {
    outcome.submitted().unwrap_or_else(|| panic!("no order went out: {outcome:?}")).order.qty
}
