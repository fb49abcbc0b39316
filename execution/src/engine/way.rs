//! A signal's way through the stages, up to the venue.

use ephor_governance::gate::Execution as Where;
use ephor_governance::ids::{InstrumentId, SourceId};
use ephor_governance::order::{Intent, Order, OrderReport, OrderStatus};
use ephor_governance::units::{Amount, Multiplier};

use super::{EngineError, ExecutionEngine};
use crate::gate::{Answer, Ask, DENIED, Gate, Report, report_id};
use crate::order::{TradeSignal, VenueOrder};
use crate::outcome::{Outcome, Refused, Stage, Submitted};
use crate::positions::Lane;
use crate::refusal::Refusal;
use crate::seen::Working;
use crate::venue::{Venue, VenueError};

/// What sizing makes of a signal.
struct Wanted {
    order: VenueOrder,
    /// Where an exit's position is.
    held_in: Option<Lane>,
    /// What an exit was made smaller by.
    smaller: Option<Refusal>,
}

/// What comes out of the stages before anything is sent.
struct Passed {
    order: VenueOrder,
    lane: Lane,
    asked: Amount,
    answer: Option<Answer>,
    flags: Vec<Refusal>,
}

impl<G: Gate, L: Venue, P: Venue> ExecutionEngine<G, L, P> {
    /// One signal through all stages.
    pub async fn on_signal(&mut self, signal: &TradeSignal) -> Outcome {
        self.state.now = self.state.now.max(signal.at);
        match self.passes(signal).await {
            Ok(passed) => self.submit(signal, passed),
            Err(refused) => Outcome::Refused(refused),
        }
    }

    fn submit(&mut self, signal: &TradeSignal, passed: Passed) -> Outcome {
        let Passed { order, lane, asked, answer, flags } = passed;
        let at = self.state.now;
        let working = Working { left: order.qty, order: order.clone(), lane };
        self.sent.insert(order.id.clone());
        let refusal = match self.venue_mut(lane).submit(&order, at) {
            Ok(()) => {
                self.stages.dedup.wished(signal);
                self.stages.dedup.sent(order.id.clone());
                self.state.doubtful.remove(&order.id);
                self.state.working.insert(order.id.clone(), working);
                return Outcome::Submitted(Box::new(Submitted { order, lane, asked, answer, flags }));
            }
            Err(VenueError::Unreachable { problem }) => {
                // It may be there: limits count it, and the same wish under another id is the same.
                self.stages.dedup.wished(signal);
                self.state.doubtful.insert(order.id.clone(), working);
                Refusal::VenueUnreachable { problem }
            }
            // Sent before a crash, and nothing has been heard of it yet: what was sent then is the order.
            Err(VenueError::IdReused { .. }) => Refusal::DuplicateId,
            Err(error @ VenueError::NotOpen { .. }) => Refusal::VenueRejected { reason: error.to_string() },
        };
        Outcome::Refused(Box::new(Refused { stage: Stage::Submission, refusal, order: Some(order), answer }))
    }

    async fn passes(&mut self, signal: &TradeSignal) -> Result<Passed, Box<Refused>> {
        if !self.is_caught_up {
            // A position, a limit or a duplicate cannot be told by what is only half known.
            let behind = |error: EngineError| Refusal::NotCaughtUp { problem: error.to_string() };
            self.on_executions().await.map_err(behind).map_err(Refused::at(Stage::Deduplication))?;
        }
        let sized = self.size(signal);
        // What has been an order is one, also where nothing would be sized any more.
        self.stages.dedup.check(signal).map_err(|refusal| {
            if refusal == Refusal::DuplicateId {
                // Sent before a crash that has taken the memory of what it wished.
                self.stages.dedup.wished(signal);
            }
            Refused::at(Stage::Deduplication)(refusal)
        })?;
        let Wanted { order, held_in, smaller } = sized.map_err(Refused::at(Stage::Sizing))?;
        let mut passed = self.governed(signal, order, held_in).await?;
        passed.flags.extend(smaller);
        Ok(passed)
    }

    /// From governance on.
    async fn governed(
        &mut self,
        signal: &TradeSignal,
        wanted: VenueOrder,
        held_in: Option<Lane>,
    ) -> Result<Passed, Box<Refused>> {
        let Some(gate) = self.gate.as_ref().filter(|gate| !gate.is_off()) else {
            let lane = held_in.unwrap_or(Lane::Live);
            let asked = wanted.qty;
            return self.checked(wanted, lane, asked, None);
        };
        let ask = Ask {
            strategy: signal.strategy.clone(),
            order: self.asked(&wanted, held_in),
            at: self.state.now,
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

    fn size(&mut self, signal: &TradeSignal) -> Result<Wanted, Refusal> {
        let seen = self.state.seen();
        let unknown = || Refusal::InstrumentUnknown { instrument: signal.instrument.clone() };
        let instrument = self.state.instruments.get(&signal.instrument).ok_or_else(unknown)?;
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
                let (lane, qty, smaller) = self.left_to_reduce(signal)?;
                Ok(Wanted { order: order(qty, true), held_in: Some(lane), smaller })
            }
            Intent::Entry => {
                let qty = self.stages.sizer.size(signal, &seen)?;
                if !qty.is_positive() {
                    return Err(Refusal::SizingZero);
                }
                let price = signal.kind.price().or_else(|| self.state.prices.get(&signal.instrument).copied());
                let order = order(instrument.round_down(qty, price)?, false);
                Ok(Wanted { order, held_in: None, smaller: None })
            }
        }
    }

    /// What is held and no other exit may still take, live before paper; with what they take, where they take any.
    fn left_to_reduce(&self, signal: &TradeSignal) -> Result<(Lane, Amount, Option<Refusal>), Refusal> {
        let TradeSignal { id, strategy, instrument, side, .. } = signal;
        let mut none = Refusal::NothingToReduce;
        for lane in Lane::ALL {
            let held = self.state.positions.reducible(lane, strategy, instrument, *side);
            let same = |it: &&Working| {
                let VenueOrder { strategy: whose, instrument: what, side: way, reduce_only, .. } = &it.order;
                it.lane == lane && *reduce_only && whose == strategy && what == instrument && way == side
            };
            let exits = self.state.working.values().chain(self.state.doubtful.values()).filter(same);
            let others = exits.filter(|it| it.order.id != *id);
            let under_way = others.fold(Amount::ZERO, |sum, it| sum.plus(it.left));
            let left = held.minus(under_way);
            let smaller = (!under_way.is_zero()).then_some(Refusal::ExitsUnderWay { held, under_way });
            if left.is_positive() {
                return Ok((lane, left, smaller));
            }
            if let Some(taken) = smaller.filter(|_| held.is_positive() && none == Refusal::NothingToReduce) {
                none = taken;
            }
        }
        Err(none)
    }

    /// The order as governance is asked about it.
    fn asked(&self, order: &VenueOrder, held_in: Option<Lane>) -> Order {
        let last = self.state.prices.get(&order.instrument).copied();
        let lane = held_in.unwrap_or(Lane::Live);
        let terms = self.state.instruments.get(&order.instrument);
        // What governance cannot reckon itself: it sees neither the market beside the order's own price nor the terms.
        let own = order.kind.price().or(terms.filter(|terms| terms.multiplier != Amount::ONE).and(last));
        let dearer = own.map(|own| last.map_or(own.abs(), |last| own.abs().max(last.abs())));
        let notional = terms.zip(dearer).map(|(terms, price)| terms.value(order.qty, price));
        Order {
            id: order.id.clone(),
            instrument: order.instrument.clone(),
            venue: None,
            side: order.side,
            qty: order.qty,
            price: order.kind.price().or(last),
            notional,
            currency: terms.map(|terms| terms.currency.clone()),
            reduce_only: order.reduce_only,
            leverage: None,
            position_qty: Some(self.state.positions.of(lane, &order.strategy, &order.instrument)),
            equity: self.state.positions.equity(&order.strategy, &self.state.prices, &self.state.instruments),
            open_positions: u32::try_from(self.state.positions.open(&order.strategy)).ok(),
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
        if wanted.reduce_only {
            // Not held to what an order has to be: what is left of a position is as small as it is.
            let some = qty.is_positive().then_some((VenueOrder { qty, ..wanted }, lane));
            return some.ok_or(Refusal::NothingToReduce);
        }
        let unknown = || Refusal::InstrumentUnknown { instrument: wanted.instrument.clone() };
        let instrument = self.state.instruments.get(&wanted.instrument).ok_or_else(unknown)?;
        let price = wanted.kind.price().or_else(|| self.state.prices.get(&wanted.instrument).copied());
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
        let seen = self.state.seen();
        if order.reduce_only {
            let flags = self.stages.pre_trade.iter().filter_map(|check| check.flag(&order, lane, &seen)).collect();
            return Ok(Passed { order, lane, asked, answer, flags });
        }
        let mut checks = self.stages.pre_trade.iter_mut();
        let checked =
            self.breakers.check(&order).and_then(|()| checks.try_for_each(|check| check.check(&order, lane, &seen)));
        // It is over, and the checks were asked all the same: what they made of it then they make of it again.
        let is_denied = answer.as_ref().is_some_and(|answer| answer.is_denied);
        let refusal = match checked {
            Ok(()) if !is_denied => return Ok(Passed { order, lane, asked, answer, flags: Vec::new() }),
            Ok(()) => Refusal::DeniedBefore,
            Err(refusal) => refusal,
        };
        if !is_denied {
            self.note_denied(&order, &refusal);
        }
        self.stages.dedup.sent(order.id.clone());
        Err(Box::new(Refused { stage: Stage::Risk, refusal, order: Some(order), answer }))
    }

    /// Governance let it go and it did not go: that stands beside the decision, and is the end of this order. What has
    /// changed since, nobody asked about.
    fn note_denied(&mut self, order: &VenueOrder, refusal: &Refusal) {
        let report = order_report(&order.id, &order.instrument, OrderStatus::Denied, Some(refusal.code()));
        self.pending.push_back(Report::Order {
            strategy: order.strategy.clone(),
            report,
            at: self.state.now,
            trace: order.id.text(),
        });
    }
}

/// What governance is told of an order that is over.
pub(super) fn order_report(
    order: &SourceId,
    instrument: &InstrumentId,
    status: OrderStatus,
    reason: Option<&str>,
) -> OrderReport {
    let word = match status {
        OrderStatus::Filled => "filled",
        OrderStatus::Rejected => "rejected",
        OrderStatus::Denied => DENIED,
        OrderStatus::Canceled => "canceled",
        OrderStatus::Expired => "expired",
    };
    OrderReport {
        id: report_id(order, word),
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

/// A share of a quantity, never more than the whole.
fn scaled(qty: Amount, share: Multiplier) -> Amount {
    let share = Amount::from_f64(share.get()).unwrap_or_default();
    qty.times(share).unwrap_or_default().min(qty)
}
