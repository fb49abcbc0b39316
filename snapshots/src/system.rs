//! The system's state as programs read it, and as its digest is taken.

use ephor_governance::event::{Account, Scope};
use ephor_governance::ids::Actor;
use ephor_governance::policy::{Policy, PolicyId};
use ephor_governance::units::Timestamp;
use ephor_governance::{canary, system};
use serde::Serialize;

/// The system's state in a form that JSON can hold: kill switches are a list, because their scopes are
/// no strings.
#[derive(Clone, Debug, Serialize)]
pub struct SystemView<'a> {
    /// What the policy in force is known by.
    pub policy_id: PolicyId,
    /// Whether it was adopted in the log, or is the default.
    pub policy_adopted: bool,
    /// The policy in force, in the canonical form it has in the log.
    pub policy: Policy,
    /// Policies put forward, newest last.
    pub proposals: Vec<ProposalView<'a>>,
    /// Kill switches engaged.
    pub kills: Vec<KillView<'a>>,
    /// The account as last stated.
    pub account: Option<&'a Account>,
    /// The canary.
    pub canary: &'a canary::State,
}

/// A kill switch with what it covers.
#[derive(Clone, Debug, Serialize)]
pub struct KillView<'a> {
    /// What it covers.
    pub scope: &'a Scope,
    /// Who, when and why.
    #[serde(flatten)]
    pub kill: &'a system::Kill,
}

impl<'a> From<&'a system::State> for SystemView<'a> {
    fn from(state: &'a system::State) -> Self {
        Self {
            policy_id: state.policy_id,
            policy_adopted: state.policy_adopted,
            policy: recorded(&state.policy),
            proposals: state.proposals.iter().map(ProposalView::from).collect(),
            kills: state.kills.iter().map(|(scope, kill)| KillView { scope, kill }).collect(),
            account: state.account.as_ref(),
            canary: &state.canary,
        }
    }
}

/// A policy that was put forward.
#[derive(Clone, Debug, Serialize)]
pub struct ProposalView<'a> {
    /// What the policy is known by.
    pub id: PolicyId,
    /// Who put it forward.
    pub by: &'a Actor,
    /// When.
    pub since: Timestamp,
    /// Why.
    pub reason: &'a str,
    /// The whole policy, in the canonical form it has in the log.
    pub policy: Policy,
}

impl<'a> From<&'a system::Proposal> for ProposalView<'a> {
    fn from(proposal: &'a system::Proposal) -> Self {
        let system::Proposal { id, policy, by, since, reason } = proposal;
        Self { id: *id, by, since: *since, reason, policy: recorded(policy) }
    }
}

/// A policy as reading it back from the log gives it: one that was adopted as `0.10` reads `0.1`, and both
/// are the same policy.
fn recorded(policy: &Policy) -> Policy {
    serde_json::from_str(&policy.canonical()).unwrap_or_else(|_| policy.clone())
}
