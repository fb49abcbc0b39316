//! What venues have done: reported, counted, and followed by what post-trade risk asks for.

use ephor_governance::event::Scope;
use ephor_governance::fill::{Fee, Fill};
use ephor_governance::ids::{AccountId, InstrumentId, SourceId};
use ephor_governance::order::OrderStatus;
use ephor_governance::units::{Amount, Timestamp};

use super::way::order_report;
use super::{EngineError, ExecutionEngine};
use crate::breaker::Reach;
use crate::gate::{Gate, Report, ReportError};
use crate::instrument::Instrument;
use crate::positions::Lane;
use crate::post::Consequence;
use crate::reconcile::Orphan;
use crate::seen::Working;
use crate::venue::{Execution, Filled, Venue, What};

/// How many refused reports are kept, the last ones.
const REFUSED_MAX: usize = 1_000;

impl<G: Gate, L: Venue, P: Venue> ExecutionEngine<G, L, P> {
    /// Takes note of a price, and does what the post-trade checks ask for; they are asked when everything has been
    /// taken in that venues had done when the engine started.
    ///
    /// # Errors
    /// [`EngineError`], where a kill could not be recorded now; it is tried again with everything that follows.
    pub async fn on_price(
        &mut self,
        instrument: &InstrumentId,
        price: Amount,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        self.state.now = self.state.now.max(at);
        // One that is older than the last says nothing of now.
        let is_newest = self.state.take_price(instrument, price, at);
        if is_newest {
            self.stages.sizer.price(instrument, price);
        }
        if is_newest && self.is_caught_up {
            let seen = self.state.seen();
            let asked: Vec<_> = self.stages.post_trade.iter_mut().flat_map(|check| check.after_price(&seen)).collect();
            for consequence in asked {
                self.follow(consequence);
            }
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
                let batch =
                    self.venue(lane).executions_since(cursor).map_err(|source| EngineError::Venue { lane, source })?;
                if batch.is_empty() {
                    break;
                }
                for execution in batch {
                    self.take(lane, &execution).await?;
                }
            }
        }
        if !self.is_caught_up {
            self.catch_up()?;
        }
        // What a venue does not have, now that it can be asked, never came.
        let never = |(id, doubt): (&SourceId, &Working)| match self.venue(doubt.lane).order(id) {
            Ok(None) => Some(id.clone()),
            Ok(Some(_)) | Err(_) => None,
        };
        let never: Vec<_> = self.state.doubtful.iter().filter_map(never).collect();
        for id in never {
            self.state.doubtful.remove(&id);
        }
        self.flush().await
    }

    /// Everything is known that venues had done when the engine started: what nobody has followed yet is followed.
    fn catch_up(&mut self) -> Result<(), EngineError> {
        for (&lane, &known) in &self.judged {
            let told = self.cursors.get(&lane).copied().unwrap_or_default();
            if told < known {
                return Err(EngineError::HistoryShort { lane, told, known });
            }
        }
        self.is_caught_up = true;
        for (lane, execution) in std::mem::take(&mut self.unjudged) {
            self.judge(lane, &execution);
        }
        Ok(())
    }

    fn judge(&mut self, lane: Lane, execution: &Execution) {
        *self.judged.entry(lane).or_default() += 1;
        let seen = self.state.seen();
        let checks = self.stages.post_trade.iter_mut();
        let asked: Vec<_> = checks.flat_map(|check| check.after_execution(lane, execution, &seen)).collect();
        for consequence in asked {
            self.follow(consequence);
        }
    }

    async fn take(&mut self, lane: Lane, execution: &Execution) -> Result<(), EngineError> {
        self.state.now = self.state.now.max(execution.at);
        let instrument = self.state.instruments.get(&execution.instrument).cloned();
        let was_sent = self.was_sent(lane, execution)?;
        let refused = match self.report_of(lane, execution) {
            Some(report) => self.report(report).await?,
            None => None,
        };
        self.stages.dedup.sent(execution.order_id.clone());
        self.state.doubtful.remove(&execution.order_id);
        self.count(lane, execution, instrument.as_ref())?;
        let place = self.cursors.entry(lane).or_default();
        let is_followed = *place < self.judged.get(&lane).copied().unwrap_or_default();
        *place += 1;
        if is_followed {
            return Ok(());
        }
        if let What::Filled(filled) = &execution.what {
            self.stop_for(execution, filled, refused, instrument.is_some());
            if !was_sent {
                self.note_orphan(lane, execution, filled);
            }
        }
        if self.is_caught_up {
            self.judge(lane, execution);
        } else {
            self.unjudged.push((lane, execution.clone()));
        }
        Ok(())
    }

    /// Whether anybody sent the order: this engine, or one before it.
    fn was_sent(&mut self, lane: Lane, execution: &Execution) -> Result<bool, EngineError> {
        let id = &execution.order_id;
        if self.sent.contains(id) {
            return Ok(true);
        }
        let gate = self.gate.as_ref().filter(|gate| !gate.is_off());
        let was_sent = match gate.and_then(|gate| gate.has_decided(&execution.strategy, id)) {
            Some(has_decided) => has_decided,
            // Of what was before this engine's time nobody can say more than the venue does.
            None if !self.is_caught_up => {
                self.venue(lane).order(id).map_err(|source| EngineError::Venue { lane, source })?.is_some()
            }
            None => false,
        };
        if was_sent {
            self.sent.insert(id.clone());
        }
        Ok(was_sent)
    }

    /// A fill of an order that nobody sent: it is counted, because the venue holds it, and stops what it is of.
    fn note_orphan(&mut self, lane: Lane, execution: &Execution, filled: &Filled) {
        let Execution { order_id, strategy, instrument, at, .. } = execution;
        let strategy = self.state.positions.capital(strategy).map(|_| strategy.clone());
        let orphan = Orphan {
            lane,
            order_id: order_id.clone(),
            fill_id: filled.id.clone(),
            strategy,
            instrument: instrument.clone(),
            qty: filled.side.signed(filled.qty),
            at: *at,
        };
        tracing::error!(?orphan, "a fill of an order that nobody sent");
        let of_instrument = || Reach::Instrument(instrument.clone());
        let reach = orphan.strategy.clone().map_or_else(of_instrument, Reach::Strategy);
        let reason = format!("{} of {instrument} filled under {order_id}, which nobody sent", orphan.qty);
        self.open_breaker(reach, self.stages.by.clone(), reason);
        if !self.orphans.contains(&orphan) {
            self.orphans.push(orphan);
        }
    }

    /// Counts what happened: positions, and what is under way.
    fn count(&mut self, lane: Lane, execution: &Execution, terms: Option<&Instrument>) -> Result<(), EngineError> {
        let id = &execution.order_id;
        match &execution.what {
            What::Accepted => {
                if !self.state.working.contains_key(id) {
                    // Sent before this engine's time.
                    let known = self.venue(lane).order(id).map_err(|source| EngineError::Venue { lane, source })?;
                    if let Some(known) = known.filter(|known| known.is_open) {
                        // As it was accepted: its fills come behind this, and are counted then.
                        let working = Working { left: known.order.qty, order: known.order, lane };
                        self.state.working.insert(id.clone(), working);
                    }
                }
            }
            What::Filled(filled) => {
                if let Some(terms) = terms {
                    self.state.positions.fill(lane, &execution.strategy, terms, filled);
                    // What it was filled at is what it is worth now: results are not measured by a price before it.
                    self.state.take_price(&execution.instrument, filled.price, execution.at);
                }
                if let Some(working) = self.state.working.get_mut(id) {
                    working.left = working.left.minus(filled.qty);
                    if !working.left.is_positive() {
                        self.state.working.remove(id);
                    }
                }
            }
            What::Rejected { .. } | What::Canceled | What::Expired => {
                self.state.working.remove(id);
            }
        }
        Ok(())
    }

    /// A fill that governance refuses, or in something whose terms nobody has given: it is not governed, or not counted,
    /// and stops nothing but what it is of.
    fn stop_for(&mut self, execution: &Execution, filled: &Filled, refused: Option<String>, is_listed: bool) {
        let Execution { strategy, instrument, order_id, .. } = execution;
        if let Some(problem) = refused {
            let reason = format!("governance does not take the fill {}: {problem}", filled.id);
            self.open_breaker(Reach::Strategy(strategy.clone()), self.stages.by.clone(), reason);
        }
        if !is_listed {
            tracing::error!(?execution, "a fill in an instrument whose terms are not known");
            let reason = format!("{instrument} was filled under {order_id}, and its terms are not known");
            self.open_breaker(Reach::Instrument(instrument.clone()), self.stages.by.clone(), reason.clone());
            self.open_breaker(Reach::Strategy(strategy.clone()), self.stages.by.clone(), reason);
        }
    }

    /// What governance is told of an execution.
    fn report_of(&self, lane: Lane, execution: &Execution) -> Option<Report> {
        let Execution { order_id, strategy, instrument, at, what } = execution;
        let over = |status, reason| Report::Order {
            strategy: strategy.clone(),
            report: order_report(order_id, instrument, status, reason),
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
                currency: self.state.instruments.get(instrument).map(|terms| terms.currency.clone()),
                trace: order_id.text(),
            }),
            What::Rejected { reason } => Some(over(OrderStatus::Rejected, Some(reason.as_str()))),
            What::Canceled => Some(over(OrderStatus::Canceled, None)),
            What::Expired => Some(over(OrderStatus::Expired, None)),
        }
    }

    /// Reports; what a rule refuses is kept to be looked at, and holds up nothing. What it says is given back.
    async fn report(&mut self, report: Report) -> Result<Option<String>, EngineError> {
        let Some(gate) = self.gate.as_ref().filter(|gate| !gate.is_off()) else { return Ok(None) };
        match gate.report(report.clone()).await {
            Ok(()) => Ok(None),
            Err(ReportError::Refused { problem }) => {
                tracing::error!(?report, problem, "governance does not take a report");
                if self.refused.len() == REFUSED_MAX {
                    self.refused.remove(0);
                }
                self.refused.push((report, problem.clone()));
                Ok(Some(problem))
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
                // Until it is recorded, and where nobody records it, nothing goes on here either.
                let reach = match &scope {
                    Scope::All | Scope::Venue(_) => Reach::All,
                    Scope::Strategy(strategy) => Reach::Strategy(strategy.clone()),
                    Scope::Instrument(instrument) => Reach::Instrument(instrument.clone()),
                };
                self.open_breaker(reach, by.clone(), reason.clone());
                self.pending.push_back(Report::Kill { scope, by, reason, at: self.state.now });
            }
        }
    }
}
