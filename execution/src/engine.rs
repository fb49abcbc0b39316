//! The engine: one signal through all stages, and back what became of it.
//!
//! It holds no truth of its own. Governance knows what was decided on an order id, the venues know what was sent
//! under it and filled; what is kept here (positions, orders under way, ids) is folded from what the venues tell,
//! from the beginning after every start. A signal that comes again, because nobody knows how far it got, gets the
//! decision that was recorded and the order that was sent.
//!
//! Invariants: no order is larger than what was asked for and allowed. No order leaves before its decision is
//! recorded. An exit passes every stage of the engine's own. A fill is reported before it is counted.

use std::collections::{BTreeMap, VecDeque};

use ephor_governance::fill::{Fee, Fill, Netting};
use ephor_governance::gate::Execution as Where;
use ephor_governance::ids::{AccountId, Actor, InstrumentId, SourceId, StrategyId};
use ephor_governance::order::{Intent, Order, OrderReport, OrderStatus};
use ephor_governance::units::{Amount, Multiplier, Timestamp};

use crate::breaker::{Breakers, Open, Reach};
use crate::dedup::Dedup;
use crate::gate::{Answer, Ask, Gate, Report, ReportError};
use crate::instrument::Instrument;
use crate::order::{TradeSignal, VenueOrder};
use crate::outcome::{Outcome, Refused, Stage, Submitted};
use crate::positions::{Instruments, Lane, Positions, Prices};
use crate::post::{Consequence, PostTrade};
use crate::reconcile::{Difference, differences};
use crate::refusal::Refusal;
use crate::risk::PreTrade;
use crate::seen::{Seen, Working};
use crate::sizing::Sizer;
use crate::venue::{Execution, Venue, VenueError, What};

/// What the stages are.
pub struct Stages {
    /// How large an entry is.
    pub sizer: Box<dyn Sizer + Send>,
    /// How long the same wish under another id counts as the same order, nanoseconds; 0 compares ids alone.
    pub dedup_window_nanos: i64,
    /// Checks before an order is sent, in order.
    pub pre_trade: Vec<Box<dyn PreTrade + Send>>,
    /// Checks after something has happened, in order.
    pub post_trade: Vec<Box<dyn PostTrade + Send>>,
    /// How fills are matched into round trips.
    pub netting: Netting,
    /// In whose name breakers open and the kill switch is engaged.
    pub by: Actor,
}

/// Why the engine could not take in what happened. Nothing is lost: it is asked for again.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// A venue cannot say what happened.
    #[error("ask the {} venue failed", lane.as_str())]
    Venue {
        /// Which.
        lane: Lane,
        /// Why.
        source: VenueError,
    },
    /// Governance cannot record what happened.
    #[error("report to governance failed")]
    Report(#[from] ReportError),
    /// A fill in something nobody has given the terms of.
    #[error("{instrument} was filled, and its terms are not known")]
    InstrumentUnknown {
        /// What.
        instrument: InstrumentId,
    },
}

impl EngineError {
    /// Whether the same may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Venue { source, .. } => source.is_retryable(),
            Self::Report(error) => error.is_retryable(),
            Self::InstrumentUnknown { .. } => false,
        }
    }
}

/// The engine. `G` is governance, `L` the live venue and `P` the paper venue.
pub struct ExecutionEngine<G, L, P> {
    gate: Option<G>,
    live: L,
    paper: P,
    stages: Stages,
    dedup: Dedup,
    instruments: Instruments,
    prices: Prices,
    positions: Positions,
    working: BTreeMap<SourceId, Working>,
    breakers: Breakers,
    /// How far each venue's executions have been taken in.
    cursors: BTreeMap<Lane, u64>,
    /// Reports that could not be recorded yet, in order.
    pending: VecDeque<Report>,
    refused: Vec<(Report, String)>,
    now: Timestamp,
}

/// What comes out of the stages before anything is sent.
struct Passed {
    order: VenueOrder,
    lane: Lane,
    asked: Amount,
    answer: Option<Answer>,
}

impl<G: Gate, L: Venue, P: Venue> ExecutionEngine<G, L, P> {
    /// An engine with governance in it; without the stage where `gate` is `None`.
    pub fn new(gate: Option<G>, live: L, paper: P, stages: Stages) -> Self {
        Self {
            gate,
            live,
            paper,
            dedup: Dedup::new(stages.dedup_window_nanos),
            stages,
            instruments: Instruments::new(),
            prices: Prices::new(),
            positions: Positions::default(),
            working: BTreeMap::new(),
            breakers: Breakers::default(),
            cursors: BTreeMap::new(),
            pending: VecDeque::new(),
            refused: Vec::new(),
            now: Timestamp::from_nanos(i64::MIN),
        }
    }

    /// Says what can be traded on which terms.
    pub fn list(&mut self, instrument: Instrument) {
        self.instruments.insert(instrument.id.clone(), instrument);
    }

    /// Says what a strategy has to trade with.
    pub fn fund(&mut self, strategy: StrategyId, capital: Amount) {
        self.positions.fund(strategy, capital);
    }

    /// One signal through all stages.
    pub async fn on_signal(&mut self, signal: &TradeSignal) -> Outcome {
        self.now = self.now.max(signal.at);
        let Passed { order, lane, asked, answer } = match self.passes(signal).await {
            Ok(passed) => passed,
            Err(refused) => return Outcome::Refused(refused),
        };
        let at = self.now;
        let submitted = match lane {
            Lane::Live => self.live.submit(&order, at),
            Lane::Paper => self.paper.submit(&order, at),
        };
        if let Err(error) = submitted {
            let refusal = match error {
                VenueError::Unreachable { problem } => Refusal::VenueUnreachable { problem },
                VenueError::IdReused { .. } | VenueError::NotOpen { .. } => {
                    Refusal::VenueRejected { reason: error.to_string() }
                }
            };
            return Outcome::Refused(Box::new(Refused {
                stage: Stage::Submission,
                refusal,
                order: Some(order),
                answer,
            }));
        }
        self.dedup.wished(signal);
        self.working.insert(order.id.clone(), Working { left: order.qty, order: order.clone(), lane });
        Outcome::Submitted(Box::new(Submitted { order, lane, asked, answer }))
    }

    async fn passes(&mut self, signal: &TradeSignal) -> Result<Passed, Box<Refused>> {
        let sized = self.size(signal);
        // What has been an order is one, also where nothing would be sized any more.
        self.dedup.check(signal).map_err(Refused::at(Stage::Deduplication))?;
        let (wanted, held_in) = sized.map_err(Refused::at(Stage::Sizing))?;
        let Some(gate) = &self.gate else {
            let lane = held_in.unwrap_or(Lane::Live);
            let asked = wanted.qty;
            return self.checked(wanted, lane, asked, None);
        };
        let ask = Ask {
            strategy: signal.strategy.clone(),
            order: self.asked(&wanted, held_in),
            at: self.now,
            trace: signal.id.text(),
        };
        let asked = wanted.qty;
        let answer = gate.check(ask).await;
        let (order, lane) = match self.allowed(wanted, held_in, &answer) {
            Ok(allowed) => allowed,
            Err(refusal) => {
                return Err(Box::new(Refused { stage: Stage::Governance, refusal, order: None, answer: Some(answer) }));
            }
        };
        self.checked(order, lane, asked, Some(answer))
    }

    /// How large, and for an exit where the position is held.
    fn size(&mut self, signal: &TradeSignal) -> Result<(VenueOrder, Option<Lane>), Refusal> {
        let seen = Seen {
            at: self.now,
            instruments: &self.instruments,
            prices: &self.prices,
            positions: &self.positions,
            working: &self.working,
        };
        let unknown = || Refusal::InstrumentUnknown { instrument: signal.instrument.clone() };
        let instrument = self.instruments.get(&signal.instrument).ok_or_else(unknown)?;
        let order = |qty, reduce_only| VenueOrder {
            id: signal.id.clone(),
            strategy: signal.strategy.clone(),
            instrument: signal.instrument.clone(),
            side: signal.side,
            qty,
            kind: signal.kind,
            reduce_only,
        };
        match signal.intent {
            Intent::Exit => {
                let held = self.positions.reducible(&signal.strategy, &signal.instrument, signal.side);
                let (lane, qty) = held.ok_or(Refusal::NothingToReduce)?;
                Ok((order(qty, true), Some(lane)))
            }
            Intent::Entry => {
                let qty = self.stages.sizer.size(signal, &seen)?;
                if !qty.is_positive() {
                    return Err(Refusal::SizingZero);
                }
                let price = signal.kind.price().or_else(|| self.prices.get(&signal.instrument).copied());
                Ok((order(instrument.round_down(qty, price)?, false), None))
            }
        }
    }

    /// The order as governance is asked about it.
    fn asked(&self, order: &VenueOrder, held_in: Option<Lane>) -> Order {
        let last = self.prices.get(&order.instrument).copied();
        let lane = held_in.unwrap_or(Lane::Live);
        Order {
            id: order.id.clone(),
            instrument: order.instrument.clone(),
            venue: None,
            side: order.side,
            qty: order.qty,
            price: order.kind.price().or(last),
            notional: None,
            currency: self.instruments.get(&order.instrument).map(|instrument| instrument.currency.clone()),
            reduce_only: order.reduce_only,
            leverage: None,
            position_qty: Some(self.positions.of(lane, &order.strategy, &order.instrument)),
            equity: self.positions.equity(&order.strategy, &self.prices, &self.instruments),
            open_positions: u32::try_from(self.positions.open(&order.strategy)).ok(),
            token: None,
        }
    }

    /// What governance's answer leaves of an order, and where it goes.
    fn allowed(
        &self,
        wanted: VenueOrder,
        held_in: Option<Lane>,
        answer: &Answer,
    ) -> Result<(VenueOrder, Lane), Refusal> {
        let refused = || Refusal::Governance { reason: answer.reason.clone() };
        let lane = match (answer.execution, held_in) {
            (Where::Paper | Where::Live | Where::Position, Some(held_in)) => held_in,
            (Where::Paper, None) => Lane::Paper,
            (Where::Live, None) => Lane::Live,
            // Only an exit goes where a position is, and what is left here is none.
            (Where::None, _) | (Where::Position, None) => return Err(refused()),
        };
        let decided = wanted.qty.min(answer.qty);
        // On paper nothing is at stake: it is the whole order that earns evidence.
        let share = if lane == Lane::Paper && held_in.is_none() { Multiplier::ONE } else { answer.multiplier };
        if lane == Lane::Live && (answer.action.rejects() || share.is_zero()) {
            return Err(refused());
        }
        let qty = if share.is_one() { decided } else { scaled(decided, share) };
        if wanted.reduce_only && qty == wanted.qty {
            return Ok((wanted, lane));
        }
        let unknown = || Refusal::InstrumentUnknown { instrument: wanted.instrument.clone() };
        let instrument = self.instruments.get(&wanted.instrument).ok_or_else(unknown)?;
        let price = wanted.kind.price().or_else(|| self.prices.get(&wanted.instrument).copied());
        let qty = instrument.round_down(qty, price)?;
        Ok((VenueOrder { qty, ..wanted }, lane))
    }

    fn checked(
        &mut self,
        order: VenueOrder,
        lane: Lane,
        asked: Amount,
        answer: Option<Answer>,
    ) -> Result<Passed, Box<Refused>> {
        if order.reduce_only {
            return Ok(Passed { order, lane, asked, answer });
        }
        let seen = Seen {
            at: self.now,
            instruments: &self.instruments,
            prices: &self.prices,
            positions: &self.positions,
            working: &self.working,
        };
        let mut checks = self.stages.pre_trade.iter_mut();
        let checked =
            self.breakers.check(&order).and_then(|()| checks.try_for_each(|check| check.check(&order, lane, &seen)));
        match checked {
            Ok(()) => Ok(Passed { order, lane, asked, answer }),
            Err(refusal) => {
                self.note_denied(&order, &refusal);
                Err(Box::new(Refused { stage: Stage::Risk, refusal, order: Some(order), answer }))
            }
        }
    }

    /// Governance let it go and it did not go: that is to stand beside the decision.
    fn note_denied(&mut self, order: &VenueOrder, refusal: &Refusal) {
        let report = self.order_report(&order.id, &order.instrument, OrderStatus::Denied, Some(refusal.code()));
        self.pending.push_back(Report::Order {
            strategy: order.strategy.clone(),
            report,
            at: self.now,
            trace: order.id.text(),
        });
    }

    fn order_report(
        &self,
        order: &SourceId,
        instrument: &InstrumentId,
        status: OrderStatus,
        reason: Option<&str>,
    ) -> OrderReport {
        let (word, at) = match status {
            OrderStatus::Filled => ("filled", None),
            OrderStatus::Rejected => ("rejected", None),
            // May be denied more than once: each time at another moment.
            OrderStatus::Denied => ("denied", Some(self.now.nanos())),
            OrderStatus::Canceled => ("canceled", None),
            OrderStatus::Expired => ("expired", None),
        };
        let id = at.map_or_else(|| format!("{order}/{word}"), |at| format!("{order}/{word}/{at}"));
        OrderReport {
            id: SourceId::recorded(id.into()),
            instrument: instrument.clone(),
            order_id: Some(order.clone()),
            status,
            side: None,
            qty: None,
            price: None,
            position_qty: None,
            equity: None,
            commission: None,
            reason: reason.map(str::to_owned),
        }
    }

    /// Takes note of a price, and does what the post-trade checks ask for.
    ///
    /// # Errors
    /// [`EngineError`], where a kill could not be recorded now; it is tried again with everything that follows.
    pub async fn on_price(
        &mut self,
        instrument: &InstrumentId,
        price: Amount,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        self.now = self.now.max(at);
        self.prices.insert(instrument.clone(), price);
        self.stages.sizer.price(instrument, price);
        let seen = Seen {
            at: self.now,
            instruments: &self.instruments,
            prices: &self.prices,
            positions: &self.positions,
            working: &self.working,
        };
        let asked: Vec<_> = self.stages.post_trade.iter_mut().flat_map(|check| check.after_price(&seen)).collect();
        for consequence in asked {
            self.follow(consequence);
        }
        self.flush().await
    }

    /// Takes in everything that the venues have done since the last time: reported, then counted, one by one.
    /// After a start this is everything they ever did: what was reported before is known to governance by its id.
    ///
    /// # Errors
    /// [`EngineError`]; it goes on from there the next time.
    pub async fn on_executions(&mut self) -> Result<(), EngineError> {
        self.flush().await?;
        for lane in Lane::ALL {
            loop {
                let cursor = self.cursors.get(&lane).copied().unwrap_or_default();
                let batch = match lane {
                    Lane::Live => self.live.executions_since(cursor),
                    Lane::Paper => self.paper.executions_since(cursor),
                };
                let batch = batch.map_err(|source| EngineError::Venue { lane, source })?;
                if batch.is_empty() {
                    break;
                }
                for execution in batch {
                    self.take(lane, &execution).await?;
                    *self.cursors.entry(lane).or_default() += 1;
                }
            }
        }
        self.flush().await
    }

    async fn take(&mut self, lane: Lane, execution: &Execution) -> Result<(), EngineError> {
        self.now = self.now.max(execution.at);
        let instrument = self.instruments.get(&execution.instrument).cloned();
        if matches!(execution.what, What::Filled(_)) && instrument.is_none() {
            return Err(EngineError::InstrumentUnknown { instrument: execution.instrument.clone() });
        }
        if let Some(report) = self.report_of(lane, execution) {
            self.report(report).await?;
        }
        self.dedup.sent(execution.order_id.clone());
        self.count(lane, execution, instrument.as_ref())?;
        let seen = Seen {
            at: self.now,
            instruments: &self.instruments,
            prices: &self.prices,
            positions: &self.positions,
            working: &self.working,
        };
        let checks = self.stages.post_trade.iter_mut();
        let asked: Vec<_> = checks.flat_map(|check| check.after_execution(lane, execution, &seen)).collect();
        for consequence in asked {
            self.follow(consequence);
        }
        Ok(())
    }

    /// Counts what happened: positions, and what is under way.
    fn count(&mut self, lane: Lane, execution: &Execution, terms: Option<&Instrument>) -> Result<(), EngineError> {
        let id = &execution.order_id;
        match &execution.what {
            What::Accepted => {
                if !self.working.contains_key(id) {
                    // Sent before this engine's time.
                    let known = match lane {
                        Lane::Live => self.live.order(id),
                        Lane::Paper => self.paper.order(id),
                    };
                    let known = known.map_err(|source| EngineError::Venue { lane, source })?;
                    if let Some(known) = known.filter(|known| known.is_open) {
                        // As it was accepted: its fills come behind this, and are counted then.
                        let working = Working { left: known.order.qty, order: known.order, lane };
                        self.working.insert(id.clone(), working);
                    }
                }
            }
            What::Filled(filled) => {
                if let Some(terms) = terms {
                    self.positions.fill(lane, &execution.strategy, terms, filled);
                }
                if let Some(working) = self.working.get_mut(id) {
                    working.left = working.left.minus(filled.qty);
                    if !working.left.is_positive() {
                        self.working.remove(id);
                    }
                }
            }
            What::Rejected { .. } | What::Canceled | What::Expired => {
                self.working.remove(id);
            }
        }
        Ok(())
    }

    /// What governance is told of an execution.
    fn report_of(&self, lane: Lane, execution: &Execution) -> Option<Report> {
        let Execution { order_id, strategy, instrument, at, what } = execution;
        let over = |status, reason| Report::Order {
            strategy: strategy.clone(),
            report: self.order_report(order_id, instrument, status, reason),
            at: *at,
            trace: order_id.text(),
        };
        match what {
            What::Accepted => None,
            What::Filled(filled) => Some(Report::Fill {
                strategy: strategy.clone(),
                fill: Fill {
                    id: filled.id.clone(),
                    instrument: instrument.clone(),
                    account: Some(AccountId::recorded(lane.as_str().into())),
                    order_id: Some(order_id.clone()),
                    side: filled.side,
                    qty: filled.qty,
                    price: filled.price,
                    fee: (!filled.fee.is_zero()).then_some(Fee { amount: filled.fee, currency: None, rate: None }),
                    at: *at,
                },
                netting: self.stages.netting,
                trace: order_id.text(),
            }),
            What::Rejected { reason } => Some(over(OrderStatus::Rejected, Some(reason.as_str()))),
            What::Canceled => Some(over(OrderStatus::Canceled, None)),
            What::Expired => Some(over(OrderStatus::Expired, None)),
        }
    }

    /// Reports; what a rule refuses is kept to be looked at, and holds up nothing.
    async fn report(&mut self, report: Report) -> Result<(), EngineError> {
        let Some(gate) = &self.gate else { return Ok(()) };
        match gate.report(report.clone()).await {
            Ok(()) => Ok(()),
            Err(ReportError::Refused { problem }) => {
                tracing::error!(?report, problem, "governance does not take a report");
                self.refused.push((report, problem));
                Ok(())
            }
            Err(error @ ReportError::Unavailable { .. }) => Err(error.into()),
        }
    }

    /// Sends what has not been recorded yet, in order.
    async fn flush(&mut self) -> Result<(), EngineError> {
        while let Some(report) = self.pending.front().cloned() {
            self.report(report).await?;
            self.pending.pop_front();
        }
        Ok(())
    }

    fn follow(&mut self, consequence: Consequence) {
        let by = self.stages.by.clone();
        match consequence {
            Consequence::Break { reach, reason } => {
                self.open_breaker(reach, by, reason);
            }
            Consequence::Kill { scope, reason } => {
                tracing::error!(?scope, reason, "post-trade risk engages the kill switch");
                self.pending.push_back(Report::Kill { scope, by, reason, at: self.now });
            }
        }
    }

    /// Opens a breaker; `false` where it was open.
    pub fn open_breaker(&mut self, reach: Reach, by: Actor, reason: String) -> bool {
        tracing::warn!(%reach, %by, reason, "a circuit breaker opens");
        self.breakers.open(reach, Open { since: self.now, by, reason })
    }

    /// Closes a breaker on a person's word; what it had been open for.
    pub fn close_breaker(&mut self, reach: &Reach, by: &Actor) -> Option<Open> {
        tracing::warn!(%reach, %by, "a circuit breaker is closed");
        self.breakers.close(reach)
    }

    /// Lets checks that have latched go on, on a person's word.
    pub fn rearm(&mut self, by: &Actor) {
        self.stages.pre_trade.iter_mut().for_each(|check| check.rearm(by));
    }

    /// Takes an open order back.
    ///
    /// # Errors
    /// [`VenueError`].
    pub fn cancel(&mut self, id: &SourceId) -> Result<(), VenueError> {
        let at = self.now;
        match self.working.get(id).map(|working| working.lane) {
            Some(Lane::Live) => self.live.cancel(id, at),
            Some(Lane::Paper) => self.paper.cancel(id, at),
            None => Err(VenueError::NotOpen { id: id.clone() }),
        }
    }

    /// Holds positions against what the venues say. Each strategy whose position differs is stopped by its breaker.
    /// To be asked when everything has been taken in.
    ///
    /// # Errors
    /// [`EngineError::Venue`].
    pub fn reconcile(&mut self) -> Result<Vec<Difference>, EngineError> {
        let mut found = Vec::new();
        for lane in Lane::ALL {
            let holdings = match lane {
                Lane::Live => self.live.holdings(),
                Lane::Paper => self.paper.holdings(),
            };
            let holdings = holdings.map_err(|source| EngineError::Venue { lane, source })?;
            found.extend(differences(&self.positions, lane, &holdings));
        }
        for difference in &found {
            let reason = format!("{} held, {} at the venue", difference.own, difference.venue);
            let by = self.stages.by.clone();
            self.open_breaker(Reach::Strategy(difference.strategy.clone()), by, reason);
        }
        Ok(found)
    }

    /// What fills have come to.
    pub const fn positions(&self) -> &Positions {
        &self.positions
    }

    /// What a strategy is worth at the last prices.
    pub fn equity(&self, strategy: &StrategyId) -> Option<Amount> {
        self.positions.equity(strategy, &self.prices, &self.instruments)
    }

    /// Orders under way.
    pub const fn working(&self) -> &BTreeMap<SourceId, Working> {
        &self.working
    }

    /// Breakers.
    pub const fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Reports that governance's rules refused, with what they said.
    pub fn refused(&self) -> &[(Report, String)] {
        &self.refused
    }

    /// The live venue.
    pub const fn live(&mut self) -> &mut L {
        &mut self.live
    }

    /// The paper venue.
    pub const fn paper(&mut self) -> &mut P {
        &mut self.paper
    }

    /// Both venues, without the engine: what a crash leaves.
    pub fn into_venues(self) -> (L, P) {
        (self.live, self.paper)
    }
}

/// A share of a quantity, never more than the whole.
fn scaled(qty: Amount, share: Multiplier) -> Amount {
    let share = Amount::from_f64(share.get()).unwrap_or_default();
    qty.times(share).unwrap_or_default().min(qty)
}
