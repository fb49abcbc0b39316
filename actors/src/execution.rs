//! The governor as the gate of an execution engine in the same process.
//!
//! An engine that comes back after a crash may ask about an order again with other figures around it: prices have
//! moved, the position is another. What was decided on the order's id counts then, with the quantity that it was
//! decided for.

use ephor_events::{Commit, ReadError, StreamId, codec};
use ephor_execution::gate::denied_report;
use ephor_execution::{Answer, Ask, Gate, Report, ReportError};
use ephor_governance::event::Event;
use ephor_governance::fill::Pieces;
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::order::Order;
use ephor_governance::record::KeyKind;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::system;
use ephor_governance::units::{Amount, Timestamp};
use smol_str::SmolStr;

use crate::{Failure, Governor, Recorded, Request};

impl Gate for Governor {
    async fn check(&self, ask: Ask) -> Answer {
        let Ask { strategy, order, at, trace } = ask;
        let qty = order.qty;
        let decide = |order| {
            let command = Command::CheckOrder { order, attempt: 0 };
            self.ask(Request { strategy: strategy.clone(), command, at, trace: trace.clone(), occurred_at: None })
        };
        let decided = match decide(order.clone()).await {
            Err(Failure::Rejected(Rejection::IdReused { id })) => match self.decided_on(&strategy, &order) {
                Some(before) => decide(before).await,
                None => Err(Rejection::IdReused { id }.into()),
            },
            decided => decided,
        };
        match decided {
            Ok(recorded) => {
                let is_denied = recorded.repeat && self.is_denied(&strategy, &order.id);
                Answer { is_denied, ..answer(&recorded, qty) }
            }
            Err(failure) => {
                tracing::warn!(%strategy, %failure, "an order gets no decision and is blocked");
                Answer::block(failure.reason(), qty)
            }
        }
    }

    fn has_decided(&self, strategy: &StrategyId, order: &SourceId) -> Option<bool> {
        let found = self.decision_on(strategy, order);
        found
            .inspect_err(|error| tracing::error!(%error, "a recorded decision cannot be looked for"))
            .ok()
            .map(|it| it.is_some())
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        let recorded = match report {
            Report::Fill { strategy, fill, netting, currency, trace } => {
                let at = fill.at;
                self.tell_of(
                    strategy,
                    Command::RecordFill { fill, netting, pieces: Pieces::Together, currency },
                    at,
                    trace,
                )
                .await
            }
            Report::Order { strategy, report, at, trace } => {
                self.tell_of(strategy, Command::ReportOrder(report), at, trace).await
            }
            Report::Kill { scope, by, reason, at } => {
                let command = system::Command::EngageKillSwitch { scope, exits_blocked: false, by, reason };
                self.change(command, at, SmolStr::default(), Some(at)).await
            }
        };
        match recorded {
            Ok(_) | Err(Failure::Rejected(Rejection::NothingToChange { .. })) => Ok(()),
            Err(Failure::Rejected(rejection)) => Err(ReportError::Refused { problem: rejection.to_string() }),
            Err(failure) => Err(ReportError::Unavailable { problem: failure.to_string() }),
        }
    }
}

impl Governor {
    /// The answer that stands in the log for exactly this order, whatever is in force by now: for a host whose time is
    /// not the clock's, and that goes through its past again. `None` where there is none, or none that can be read.
    #[must_use]
    pub fn recorded_answer(&self, ask: &Ask) -> Option<Answer> {
        let found = self.decision_on(&ask.strategy, &ask.order.id);
        let commit =
            found.inspect_err(|error| tracing::error!(%error, "a recorded decision cannot be read")).ok()??;
        let (events, at) = (codec::decode_commit(&commit).ok()?, Timestamp::from_nanos(commit.decided_at));
        let recorded = Recorded::new(events, commit.version, at, commit.system).placed(commit.seq).as_repeat();
        let is_same = recorded.decision().is_some_and(|decision| decision.order == ask.order);
        let is_denied = is_same && self.is_denied(&ask.strategy, &ask.order.id);
        is_same.then(|| Answer { is_denied, ..answer(&recorded, ask.order.qty) })
    }

    fn tell_of(
        &self,
        strategy: StrategyId,
        command: Command,
        at: Timestamp,
        trace: SmolStr,
    ) -> impl Future<Output = Result<Recorded, Failure>> + Send + use<> {
        self.ask(Request { strategy, command, at, trace, occurred_at: Some(at) })
    }

    /// Whether it stands in the log that an engine denied this order; also where the log cannot say.
    fn is_denied(&self, strategy: &StrategyId, order: &SourceId) -> bool {
        let (stream, report) = (StreamId::new(strategy.as_str()), denied_report(order));
        let found = self.reader().find(&stream, KeyKind::Report as u8, report.as_str());
        found
            .inspect_err(|error| tracing::error!(%error, "a recorded report cannot be looked for"))
            .map_or(true, |found| found.is_some())
    }

    /// What was recorded last on an order's id.
    fn decision_on(&self, strategy: &StrategyId, order: &SourceId) -> Result<Option<Commit>, ReadError> {
        self.reader().find(&StreamId::new(strategy.as_str()), KeyKind::Order as u8, order.as_str())
    }

    /// The order that was decided on under this one's id, where it is the same wish in another size or setting.
    fn decided_on(&self, strategy: &StrategyId, order: &Order) -> Option<Order> {
        let found = self.decision_on(strategy, &order.id);
        let commit =
            found.inspect_err(|error| tracing::error!(%error, "a recorded decision cannot be read")).ok()??;
        let events = codec::decode_commit(&commit).ok()?;
        let before = &events.iter().find_map(Event::decision)?.order;
        let same = before.instrument == order.instrument
            && before.side == order.side
            && before.reduce_only == order.reduce_only;
        same.then(|| before.clone())
    }
}

/// The decision as an engine needs it. A commit without one is none.
fn answer(recorded: &Recorded, asked: Amount) -> Answer {
    let none = || Answer::block(Failure::Stopped.reason(), asked);
    let Some(decision) = recorded.decision() else { return none() };
    let Some(leading) = decision.leading() else { return none() };
    Answer {
        action: decision.action,
        multiplier: decision.multiplier,
        execution: decision.execution,
        reason: Some(leading.reason.clone()),
        qty: decision.order.qty,
        seq: Some(recorded.seq.0),
        repeat: recorded.repeat,
        is_denied: false,
    }
}
