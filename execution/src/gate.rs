//! The port to governance: ask before an order, report what became of it.
//!
//! It is the one edge of this crate that waits. Whoever implements it answers when the answer is recorded, and
//! turns whatever keeps it from answering into a BLOCK: an engine never has to guess what silence means.

use std::future::Future;

use ephor_governance::event::Scope;
use ephor_governance::fill::{Fill, Netting};
use ephor_governance::gate::Execution;
use ephor_governance::ids::{Actor, Currency, SourceId, StrategyId};
use ephor_governance::order::{Order, OrderReport};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::{Action, Reason};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// May this order go out, and how large?
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Whose order.
    pub strategy: StrategyId,
    /// The order; its id makes the question idempotent.
    pub order: Order,
    /// The engine's time.
    pub at: Timestamp,
    /// Ties order, decision, token and trade together.
    pub trace: SmolStr,
}

/// What governance says to an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The answer.
    pub action: Action,
    /// How much of the order may go out.
    pub multiplier: Multiplier,
    /// Where.
    pub execution: Execution,
    /// Why, with its numbers; `None` where governance is switched off.
    pub reason: Option<Reason>,
    /// The quantity that was decided on. Another one than was asked about only where the order had been decided
    /// before: then what is recorded counts.
    pub qty: Amount,
    /// Where the decision stands in the log; `None` where nothing was recorded.
    pub seq: Option<u64>,
    /// Whether it had been recorded before.
    pub repeat: bool,
    /// Whether the engine's own risk checks denied the order then: that was the end of it.
    pub is_denied: bool,
}

/// The word for an order that governance let go and the engine's own risk checks did not.
pub(crate) const DENIED: &str = "denied";

/// The id of the report that an order came to such an end.
pub(crate) fn report_id(order: &SourceId, word: &str) -> SourceId {
    SourceId::recorded(format!("{order}/{word}").into())
}

/// The id of the report that an order was denied: where it is recorded, the order is over.
///
/// ```
/// let order = "o-1".parse().unwrap();
/// assert_eq!(ephor_execution::gate::denied_report(&order).as_str(), "o-1/denied");
/// ```
#[must_use]
pub fn denied_report(order: &SourceId) -> SourceId {
    report_id(order, DENIED)
}

impl Answer {
    /// No, without a record: for whoever cannot get an answer.
    #[must_use]
    pub const fn block(reason: Reason, qty: Amount) -> Self {
        Self {
            action: Action::Block,
            multiplier: Multiplier::ZERO,
            execution: Execution::None,
            reason: Some(reason),
            qty,
            seq: None,
            repeat: false,
            is_denied: false,
        }
    }

    /// The code of its reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.as_ref().map_or("GOVERNANCE_DISABLED", Reason::code)
    }
}

/// Something that governance has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// A venue filled an order, wholly or in part. Governance nets fills into round trips itself.
    Fill {
        /// Whose order it was.
        strategy: StrategyId,
        /// The fill; its id makes the report idempotent.
        fill: Fill,
        /// How it is matched with those before it.
        netting: Netting,
        /// What its price is counted in, where it is known: it has to be the strategy's own.
        currency: Option<Currency>,
        /// Ties order, decision, token and trade together.
        trace: SmolStr,
    },
    /// A venue, or the engine's own risk checks, ended an order without a fill.
    Order {
        /// Whose order it was.
        strategy: StrategyId,
        /// The report.
        report: OrderReport,
        /// When.
        at: Timestamp,
        /// Ties order, decision, token and trade together.
        trace: SmolStr,
    },
    /// A post-trade check asks for the kill switch.
    Kill {
        /// What is stopped.
        scope: Scope,
        /// In whose name the engine runs.
        by: Actor,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

/// Why a report is not recorded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ReportError {
    /// A rule refused it, and will refuse it again.
    #[error("governance does not take it: {problem}")]
    Refused {
        /// What was said.
        problem: String,
    },
    /// It could not be recorded now.
    #[error("governance cannot record it: {problem}")]
    Unavailable {
        /// What was said.
        problem: String,
    },
}

impl ReportError {
    /// Whether the same report may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. } => false,
            Self::Unavailable { .. } => true,
        }
    }
}

/// Governance, as an engine sees it.
pub trait Gate {
    /// Asks about an order. What keeps the answer from being recorded is a BLOCK with its reason.
    fn check(&self, ask: Ask) -> impl Future<Output = Answer> + Send;

    /// Reports; done when it is recorded. The same report again changes nothing.
    fn report(&self, report: Report) -> impl Future<Output = Result<(), ReportError>> + Send;

    /// Whether an order of this strategy was ever asked about under this id; `None` where nobody can say. No order
    /// leaves before its decision is recorded, so one without a decision is one that nobody sent.
    fn has_decided(&self, strategy: &StrategyId, order: &SourceId) -> Option<bool>;

    /// Whether governance is switched off. Then it is neither asked nor told, and the way of an order is that of an
    /// engine without the stage.
    fn is_off(&self) -> bool {
        false
    }
}

/// Governance switched off: everything goes out as it was asked, and nothing is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disabled;

impl Gate for Disabled {
    async fn check(&self, ask: Ask) -> Answer {
        Answer {
            action: Action::Allow,
            multiplier: Multiplier::ONE,
            execution: Execution::Live,
            reason: None,
            qty: ask.order.qty,
            seq: None,
            repeat: false,
            is_denied: false,
        }
    }

    async fn report(&self, _: Report) -> Result<(), ReportError> {
        Ok(())
    }

    fn has_decided(&self, _: &StrategyId, _: &SourceId) -> Option<bool> {
        None
    }

    fn is_off(&self) -> bool {
        true
    }
}
