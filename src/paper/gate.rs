//! The gate as a paper run asks it: the governor's own, with what only a run without real money may do.
//!
//! An order that waits for people can be approved at once on a named person's word, by the ordinary command; an order
//! of a strategy in the shadow can be filled on the paper venue, so that there is something to judge it by. Both are
//! settings. Nothing here makes an answer larger, and what the governor said is what is recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ephor_actors::{Failure, Governor, Request};
use ephor_execution::gate::{Answer, Ask, Disabled, Gate, Report, ReportError};
use ephor_governance::fill::Fill;
use ephor_governance::gate::Execution;
use ephor_governance::ids::{Actor, SourceId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::verdict::{Action, Reason};

use crate::cli::CliError;
use crate::operate;

/// Why an approver of a paper run approves.
const REASON: &str = "approved as every order of this paper run is, by its settings";

/// What the gate said last, by strategy.
pub type LastSaid = BTreeMap<StrategyId, (Action, &'static str)>;
/// Executions, by strategy, in the order in which they were reported.
pub type Fills = BTreeMap<StrategyId, Vec<Fill>>;

/// What was seen of the questions and reports that went by.
#[derive(Debug, Default)]
struct Seen {
    last: LastSaid,
    /// The first question or report that could not be recorded.
    failed: Option<CliError>,
}

/// The governor behind the settings of a paper run.
#[derive(Clone)]
pub struct PaperGate {
    governor: Governor,
    approvers: Arc<[Actor]>,
    measure_shadow: bool,
    seen: Arc<Mutex<Seen>>,
}

impl PaperGate {
    /// Asks this governor.
    #[must_use]
    pub fn new(governor: Governor, approvers: &[Actor], measure_shadow: bool) -> Self {
        Self { governor, approvers: approvers.into(), measure_shadow, seen: Arc::default() }
    }

    /// What it said last to each strategy, to be shown.
    #[must_use]
    pub fn last(&self) -> LastSaid {
        self.seen().last.clone()
    }

    /// Takes why a question or a report could not be recorded, where one could not: a run does not go on then.
    #[must_use]
    pub fn take_failure(&self) -> Option<CliError> {
        self.seen().failed.take()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why a question had no recorded answer, or one to another question.
    async fn why(&self, ask: &Ask) -> CliError {
        let command = Command::CheckOrder { order: ask.order.clone(), attempt: 0 };
        let (strategy, trace) = (ask.strategy.clone(), ask.trace.clone());
        let request = Request { strategy, command, at: ask.at, trace, occurred_at: None };
        match self.governor.ask(request).await {
            Err(Failure::Rejected(Rejection::IdReused { .. })) | Ok(_) => {
                another_run(&format!("order {} of {}", ask.order.id, ask.strategy))
            }
            Err(failure) => failure.into(),
        }
    }

    /// The order approved by as many as it takes, where there are so many; says whether anything was recorded.
    async fn approve(&self, ask: &Ask) -> bool {
        for by in &*self.approvers {
            let command =
                Command::ApproveOrder { order_id: ask.order.id.clone(), by: by.clone(), reason: REASON.to_owned() };
            let request = Request {
                strategy: ask.strategy.clone(),
                command,
                at: ask.at,
                trace: ask.trace.clone(),
                occurred_at: None,
            };
            match self.governor.ask(request).await {
                Ok(recorded) if operate::granted(&recorded).is_some() => return true,
                // Another has to approve it, too; or did so before a run that was stopped.
                Ok(_) => {}
                Err(failure) => tracing::debug!(%failure, order = %ask.order.id, "not approved"),
            }
        }
        false
    }
}

impl Gate for PaperGate {
    async fn check(&self, ask: Ask) -> Answer {
        // A run that begins again goes through its past: a kill that was engaged later must not reach back into it.
        let mut answer = match self.governor.recorded_answer(&ask) {
            Some(answer) => answer,
            None => self.governor.check(ask.clone()).await,
        };
        if waits(&answer) && self.approve(&ask).await {
            answer = self.governor.check(ask.clone()).await;
        }
        if answer.seq.is_none() || answer.qty != ask.order.qty {
            let why = self.why(&ask).await;
            self.seen().failed.get_or_insert(why);
        }
        self.seen().last.insert(ask.strategy, (answer.action, answer.code()));
        if self.measure_shadow && is_shadow(&answer) {
            answer.execution = Execution::Paper;
        }
        answer
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        let reported = self.governor.report(report).await;
        if let Err(ReportError::Refused { problem }) = &reported {
            self.seen().failed.get_or_insert(CliError::usage(format!("governance refuses a report: {problem}")));
        }
        reported
    }

    fn has_decided(&self, strategy: &StrategyId, order: &SourceId) -> Option<bool> {
        self.governor.has_decided(strategy, order)
    }
}

/// The directory holds another run: nothing of this one may be mixed with it.
pub(super) fn another_run(what: &str) -> CliError {
    CliError::usage(format!(
        "{what} stands in the log otherwise, from a run with other bars, settings or another seed: name another \
         directory with --data"
    ))
}

/// Nobody at the gate: what goes out is what is wished, and all that is kept are the fills.
#[derive(Clone, Debug, Default)]
pub struct Backtest {
    fills: Arc<Mutex<Fills>>,
}

impl Gate for Backtest {
    async fn check(&self, ask: Ask) -> Answer {
        Disabled.check(ask).await
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        if let Report::Fill { strategy, fill, .. } = report {
            self.fills.lock().unwrap_or_else(PoisonError::into_inner).entry(strategy).or_default().push(fill);
        }
        Ok(())
    }

    fn has_decided(&self, _: &StrategyId, _: &SourceId) -> Option<bool> {
        None
    }
}

impl Backtest {
    /// All fills.
    #[must_use]
    pub fn fills(&self) -> Fills {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether it was turned away for want of approval.
fn waits(answer: &Answer) -> bool {
    let asks = matches!(
        answer.reason,
        Some(Reason::MaturityApprovalRequired { .. } | Reason::ImpactApprovalRequired { .. } | Reason::TokenMissing)
    );
    answer.action == Action::Block && asks
}

/// Whether it goes nowhere for no other reason than that the strategy is in the shadow. Between verdicts that are
/// equally severe the ladder's decides, so nothing severer stands behind this one.
fn is_shadow(answer: &Answer) -> bool {
    answer.execution == Execution::None
        && answer.action == Action::Block
        && matches!(answer.reason, Some(Reason::MaturityLevelTooLow { level: Level::Shadow }))
}
