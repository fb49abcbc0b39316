//! The framework's own names for what goes wrong, for embedders that match on them.
//!
//! A refusal by a rule is a `Rejection` or a verdict; these are the same refusals seen as errors, for
//! callers that would rather have `Err` than a decision they must not act on.

use crate::gate::Decision;
use crate::ids::TokenId;
use crate::maturity::Level;
use crate::verdict::{Action, Component, Reason};

/// The strategy's level does not permit what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("level {level} does not permit this order")]
pub struct MaturityGateError {
    /// The level.
    pub level: Level,
}

/// A token is missing, unknown, spent, out of time or out of scope.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("execution token does not permit this order: {reason:?}")]
pub struct ExecutionTokenError {
    /// The token presented, if one was.
    pub token: Option<TokenId>,
    /// The token component's own reason.
    pub reason: Reason,
}

/// The canary has found the infrastructure unfit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{components_failed} watched components have failed")]
pub struct GovernanceCanaryFailure {
    /// How many.
    pub components_failed: u32,
}

/// A decision that turned an order away, as an error.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GovernanceError {
    /// By the ladder.
    #[error(transparent)]
    Maturity(#[from] MaturityGateError),
    /// By tokens.
    #[error(transparent)]
    Token(#[from] ExecutionTokenError),
    /// By the canary.
    #[error(transparent)]
    Canary(#[from] GovernanceCanaryFailure),
    /// By any other component.
    #[error("{decided_by:?} answered {}", action.as_str())]
    Refused {
        /// Who.
        decided_by: Component,
        /// What.
        action: Action,
    },
}

impl Decision {
    /// The decision as a result: `Ok` where some of the order may go to a live venue.
    ///
    /// # Errors
    /// The error of the component that decided.
    pub fn permitted(&self) -> Result<(), GovernanceError> {
        if !self.action.rejects() && !self.multiplier.is_zero() {
            return Ok(());
        }
        let reason = self.leading().map(|verdict| &verdict.reason);
        Err(match (self.decided_by, reason) {
            (Component::Maturity, _) => MaturityGateError { level: self.level }.into(),
            (Component::Token, Some(reason)) => {
                ExecutionTokenError { token: self.order.token.clone(), reason: reason.clone() }.into()
            }
            (Component::Canary, Some(Reason::CanaryUnhealthy { components_failed })) => {
                GovernanceCanaryFailure { components_failed: *components_failed }.into()
            }
            (decided_by, _) => GovernanceError::Refused { decided_by, action: self.action },
        })
    }
}
