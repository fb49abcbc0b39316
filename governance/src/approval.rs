//! Orders that wait for people: blocked for want of approval, and for nothing else.
//!
//! Approval of an order *is* the issue of a token for it. This file keeps what waits, says whose word is
//! still missing, and writes the grant that the last word completes; the token component does the rest.
//!
//! Invariants: a critical order takes two different people; a grant covers exactly one order, once; an
//! approval that was not used in its time counts for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gate::{self, Decision};
use crate::ids::{Actor, SourceId, StrategyId, TokenId};
use crate::impact::Tier;
use crate::maturity::Level;
use crate::order::Order;
use crate::rejection::Rejection;
use crate::strategy::{self, Context};
use crate::token::{self, Grant};
use crate::units::Timestamp;
use crate::verdict::{Action, Reason};

/// An order that waits, and who has approved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The order as it was asked about.
    pub order: Order,
    /// Its impact.
    pub tier: Tier,
    /// The strategy's level when it was blocked.
    pub level: Level,
    /// When it was blocked.
    pub since: Timestamp,
    /// Who has approved it so far, and when.
    pub approvals: BTreeMap<Actor, Timestamp>,
    /// The token that the engine may ask again with, once all have approved.
    pub token: Option<TokenId>,
}

impl Waiting {
    /// How many different people it takes.
    #[must_use]
    pub const fn approvals_needed(&self) -> usize {
        match self.tier {
            Tier::Critical => 2,
            Tier::Low | Tier::Medium | Tier::High => 1,
        }
    }
}

/// What waits for approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// One entry an order, newest last; the newest [`WAITING_MAX`] of them.
    pub waiting: Vec<Waiting>,
}

/// How many orders of a strategy may wait; beyond that the oldest is forgotten, and stays blocked.
pub const WAITING_MAX: usize = 64;

impl State {
    /// The order of this id, where it waits.
    #[must_use]
    pub fn of(&self, order_id: &SourceId) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.order.id == *order_id)
    }
}

/// Whether a decision turned its order away for want of approval, and for nothing else.
///
/// ```
/// use ephor_governance::approval;
/// use ephor_governance::gate::{self, Decision};
/// use ephor_governance::strategy::{Context, State};
/// use ephor_governance::{system, units::Timestamp};
/// # let order = ephor_governance::order::Order {
/// #     id: "o-1".parse().unwrap(), instrument: "ABC".parse().unwrap(), venue: None,
/// #     side: ephor_governance::order::Side::Buy, qty: ephor_governance::units::Amount::ONE, price: None,
/// #     notional: None, currency: None, reduce_only: false, leverage: None, position_qty: None,
/// #     equity: None, open_positions: None, token: None,
/// # };
/// let context = Context { at: Timestamp::default(), system: &system::State::default() };
/// let decided = gate::decide(&State::default(), &"momentum".parse().unwrap(), &order, 0, &context);
/// assert!(!approval::is_missing(&decided.decision), "nobody can approve an order of a strategy in the shadow");
/// ```
#[must_use]
pub fn is_missing(decision: &Decision) -> bool {
    let mut rejecting = decision.verdicts.iter().filter(|verdict| verdict.action.rejects()).peekable();
    let asks = |reason: &Reason| {
        matches!(
            reason,
            Reason::MaturityApprovalRequired { .. } | Reason::ImpactApprovalRequired { .. } | Reason::TokenMissing
        )
    };
    decision.action == Action::Block && rejecting.peek().is_some() && rejecting.all(|verdict| asks(&verdict.reason))
}

/// Whether an order that was turned away for want of approval has it now: a token for this very order covers it.
#[must_use]
pub fn is_given(strategy: &strategy::State, before: &Decision, order: &Order, context: &Context<'_>) -> bool {
    is_missing(before)
        && token::covering(&strategy.tokens, order, gate::facts(strategy, order, context).notional_usd, context.at)
            .is_some_and(|token| token.grant.order_id.as_ref() == Some(&order.id))
}

/// The grant that this person's approval completes; `None` where another person must still approve.
///
/// # Errors
/// [`Rejection::NotWaiting`], [`Rejection::ApprovedBefore`] where this person has approved already, and
/// [`Rejection::NothingToChange`] where everyone has.
pub fn decide(
    strategy: &strategy::State,
    id: &StrategyId,
    order_id: &SourceId,
    by: &Actor,
    context: &Context<'_>,
) -> Result<Option<Grant>, Rejection> {
    let waiting = waiting(&strategy.approvals, order_id)?;
    if token_in_force(strategy, waiting, context.at).is_some() {
        return Err(Rejection::NothingToChange { what: "this order is approved already" });
    }
    // A token that has run out takes the approvals behind it with it, in the commit that says so.
    let before = if waiting.token.is_none() { Some(&waiting.approvals) } else { None };
    if before.is_some_and(|before| before.contains_key(by)) {
        return Err(Rejection::ApprovedBefore { by: by.to_string() });
    }
    if before.map_or(0, BTreeMap::len) + 1 < waiting.approvals_needed() {
        return Ok(None);
    }
    let order = &waiting.order;
    let policy = &context.system.policy.execution_tokens;
    Ok(Some(Grant {
        id: token_id(id, order_id, context.at),
        instruments: vec![order.instrument.clone()],
        side: Some(order.side),
        notional_usd_max: gate::facts(strategy, order, context).notional_usd.filter(|value| value.is_positive()),
        order_id: Some(order.id.clone()),
        uses_max: 1,
        expires_at: context.at.plus_seconds(policy.ttl_seconds_default),
        issued_by: by.clone(),
    }))
}

/// The token that a refusal of the order has to take back, where it had been approved.
///
/// # Errors
/// [`Rejection::NotWaiting`].
pub fn decide_decline<'a>(
    strategy: &'a strategy::State,
    order_id: &SourceId,
    at: Timestamp,
) -> Result<Option<&'a TokenId>, Rejection> {
    Ok(token_in_force(strategy, waiting(&strategy.approvals, order_id)?, at))
}

fn waiting<'a>(state: &'a State, order_id: &SourceId) -> Result<&'a Waiting, Rejection> {
    state.of(order_id).ok_or_else(|| Rejection::NotWaiting { order_id: order_id.to_string() })
}

fn token_in_force<'a>(strategy: &strategy::State, waiting: &'a Waiting, at: Timestamp) -> Option<&'a TokenId> {
    let in_force = |id: &&TokenId| strategy.tokens.active.get(id).is_some_and(|token| token.grant.expires_at > at);
    waiting.token.as_ref().filter(in_force)
}

/// The rules have no randomness: the id follows from what is approved and when.
fn token_id(strategy: &StrategyId, order_id: &SourceId, at: Timestamp) -> TokenId {
    let mut hasher = blake3::Hasher::new_derive_key("ephor approval token");
    for part in [strategy.as_str(), order_id.as_str()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.update(&at.nanos().to_le_bytes());
    let hex = hasher.finalize().to_hex();
    TokenId::recorded(hex.chars().take(16).collect())
}

/// Applies one recorded decision: an order decided otherwise waits no longer.
#[must_use]
pub fn evolve_decided(mut state: State, decision: &Decision, at: Timestamp) -> State {
    state.waiting.retain(|waiting| waiting.order.id != decision.order.id);
    if is_missing(decision) {
        let surplus = (state.waiting.len() + 1).saturating_sub(WAITING_MAX);
        state.waiting.drain(..surplus.min(state.waiting.len()));
        state.waiting.push(Waiting {
            order: decision.order.clone(),
            tier: decision.tier,
            level: decision.level,
            since: at,
            approvals: BTreeMap::new(),
            token: None,
        });
    }
    state
}

/// Applies one recorded approval.
#[must_use]
pub fn evolve_approved(mut state: State, order_id: &SourceId, by: &Actor, at: Timestamp) -> State {
    if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.order.id == *order_id) {
        waiting.approvals.insert(by.clone(), at);
    }
    state
}

/// Applies one recorded refusal.
#[must_use]
pub fn evolve_declined(mut state: State, order_id: &SourceId) -> State {
    state.waiting.retain(|waiting| waiting.order.id != *order_id);
    state
}

/// Applies what happened to a token: the one for an order that waits is its approval, whoever issued it.
#[must_use]
pub fn evolve_token(mut state: State, change: &token::Event) -> State {
    match change {
        token::Event::Issued(Grant { id, order_id: Some(order_id), .. }) => {
            if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.order.id == *order_id) {
                waiting.token = Some(id.clone());
            }
        }
        token::Event::Expired { id, .. } | token::Event::Revoked { id, .. } => {
            if let Some(waiting) = state.waiting.iter_mut().find(|waiting| waiting.token.as_ref() == Some(id)) {
                waiting.token = None;
                waiting.approvals.clear();
            }
        }
        token::Event::Issued(_) | token::Event::Used { .. } => {}
    }
    state
}
