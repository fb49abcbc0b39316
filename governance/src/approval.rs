//! Orders that wait for people: blocked for want of approval, and for nothing else.
//!
//! Approval of an order *is* the issue of a token for it. This file keeps what waits, says whose word is
//! still missing, and writes the grant that the last word completes; the token component does the rest.
//!
//! Invariants: a critical order takes two different people, whatever tokens there are; a grant covers exactly one order, once; an
//! approval that was not used in its time counts for nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::gate::{self, Decision};
use crate::ids::{Actor, SourceId, StrategyId, TokenId};
use crate::impact::{self, Tier};
use crate::maturity::Level;
use crate::order::Order;
use crate::rejection::Rejection;
use crate::strategy::{self, Context};
use crate::token::{self, Active, Grant};
use crate::units::{Amount, Timestamp};
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
        approvals_needed(self.tier)
    }

    fn is_approved(&self, tier: Tier) -> bool {
        self.approvals.len() >= approvals_needed(tier)
    }
}

const fn approvals_needed(tier: Tier) -> usize {
    match tier {
        Tier::Critical => 2,
        Tier::Low | Tier::Medium | Tier::High => 1,
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
/// let context = Context { at: Timestamp::default(), system: &system::State::default(), drift: None };
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

/// The token that an order of this impact can go out under, if there is one: any that covers it, and for a
/// critical order only the one that the approvals of this very order by two different people came to.
#[must_use]
pub fn covering<'a>(
    strategy: &'a strategy::State,
    order: &Order,
    tier: Tier,
    notional_usd: Option<Amount>,
    at: Timestamp,
) -> Option<&'a Active> {
    match tier {
        Tier::Low | Tier::Medium | Tier::High => token::covering(&strategy.tokens, order, notional_usd, at),
        Tier::Critical => {
            let waiting = strategy.approvals.of(&order.id).filter(|waiting| waiting.is_approved(tier))?;
            let token = strategy.tokens.active.get(waiting.token.as_ref()?)?;
            let is_shown = order.token.as_ref().is_none_or(|shown| *shown == token.grant.id);
            let is_for_it = token.grant.order_id.as_ref() == Some(&order.id);
            (is_shown && is_for_it && token.covers(order, notional_usd, at)).then_some(token)
        }
    }
}

/// Whether an order that was turned away for want of approval is to be decided again: it has a token of its own now
/// that is enough for it, or would be had it not become critical since. Then it is decided once, to wait as critical.
#[must_use]
pub fn is_given(strategy: &strategy::State, before: &Decision, order: &Order, context: &Context<'_>) -> bool {
    if !is_missing(before) {
        return false;
    }
    let facts = gate::facts(strategy, order, context);
    let policy = &context.system.policy.impact_classifier;
    let tier = impact::tier(impact::score(&facts, policy).total, policy).min(before.tier);
    covering(strategy, order, tier, facts.notional_usd, context.at)
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

/// The tokens that a refusal of the order has to take back: all that are for this very order, whoever issued them.
///
/// # Errors
/// [`Rejection::NotWaiting`].
pub fn decide_decline<'a>(
    strategy: &'a strategy::State,
    order_id: &'a SourceId,
    at: Timestamp,
) -> Result<impl Iterator<Item = &'a TokenId>, Rejection> {
    waiting(&strategy.approvals, order_id)?;
    let for_it = move |grant: &&Grant| grant.expires_at > at && grant.order_id.as_ref() == Some(order_id);
    Ok(strategy.tokens.active.values().map(|token| &token.grant).filter(for_it).map(|grant| &grant.id))
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

/// Applies what happened to a token. The one that is issued with the last approval is the order's; one that is
/// issued by hand is nobody's approval, whatever it covers.
#[must_use]
pub fn evolve_token(mut state: State, change: &token::Event) -> State {
    match change {
        token::Event::Issued(Grant { id, order_id: Some(order_id), .. }) => {
            let mut waiting = state.waiting.iter_mut().filter(|waiting| waiting.order.id == *order_id);
            if let Some(waiting) = waiting.find(|waiting| waiting.token.is_none() && waiting.is_approved(waiting.tier))
            {
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
