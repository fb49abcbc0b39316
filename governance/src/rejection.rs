//! What a rule refuses. Nothing was recorded, and the world is not broken: the caller asked for
//! something that is not to be had.

use crate::maturity::{Evidence, Level};

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// The strategy has never been registered.
    #[error("unknown strategy: register it first")]
    UnknownStrategy,
    /// The name of a stream that is no strategy's.
    #[error("{name} is no strategy: its stream keeps what could not be attributed to one, and nothing else")]
    NoStrategy {
        /// The name.
        name: &'static str,
    },
    /// A field's value is not possible.
    #[error("{field}: {problem}")]
    InvalidField {
        /// Which.
        field: &'static str,
        /// What was found and what would do.
        problem: String,
    },
    /// A policy does not validate.
    #[error("policy field {field}: {problem}")]
    InvalidPolicy {
        /// Which.
        field: &'static str,
        /// What was found and what would do.
        problem: String,
    },
    /// The state is already as asked.
    #[error("{what}")]
    NothingToChange {
        /// What is so already.
        what: &'static str,
    },
    /// The record at the level has not earned a promotion.
    #[error("{from} has not earned {to}: {} trades, win rate {:.4}, profit factor {}", evidence.trades, evidence.win_rate(), evidence.profit_factor().map_or_else(|| "without losses".to_owned(), |factor| format!("{factor:.4}")))]
    EvidenceMissing {
        /// The level now.
        from: Level,
        /// The level asked for.
        to: Level,
        /// The record.
        evidence: Evidence,
    },
    /// Only a named person may do this.
    #[error("only a named person may do this")]
    NeedsPerson,
    /// The strategy has as many active tokens as it may.
    #[error("{active} tokens are active, at most {active_max} may be")]
    TooManyTokens {
        /// Active now.
        active: u32,
        /// Allowed.
        active_max: u32,
    },
    /// No such token is active.
    #[error("no such token is active")]
    UnknownToken,
    /// No order of this id waits for approval.
    #[error("order {order_id:?} does not wait for approval")]
    NotWaiting {
        /// The order.
        order_id: String,
    },
    /// The same person has approved before, and it takes another.
    #[error("{by} has approved it already: another person must")]
    ApprovedBefore {
        /// Who.
        by: String,
    },
    /// An id came again with other content.
    #[error("id {id:?} was recorded before with other content")]
    IdReused {
        /// The id.
        id: String,
    },
}

/// Refuses an empty explanation: an operator's act without a reason cannot be audited.
pub(crate) fn said(field: &'static str, text: &str) -> Result<(), Rejection> {
    if text.trim().is_empty() {
        return Err(Rejection::InvalidField { field, problem: "must say something".to_owned() });
    }
    Ok(())
}
