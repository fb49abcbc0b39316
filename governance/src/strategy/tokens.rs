//! What people permit: tokens issued and taken back, orders approved and declined.

use super::{Context, State, above_zero_if_given, invalid};
use crate::approval;
use crate::event::Event;
use crate::ids::{Actor, SourceId, StrategyId, TokenId};
use crate::rejection::{Rejection, said};
use crate::token::{self, Grant};
use crate::units::Timestamp;

pub(super) fn issue(state: &State, grant: &Grant, context: &Context<'_>) -> Result<Event, Rejection> {
    let policy = &context.system.policy.execution_tokens;
    let expired = |token: &&token::Active| token.grant.expires_at <= context.at;
    let active = u32::try_from(state.tokens.active.len() - state.tokens.active.values().filter(expired).count())
        .unwrap_or(u32::MAX);
    if active >= policy.active_max {
        return Err(Rejection::TooManyTokens { active, active_max: policy.active_max });
    }
    if grant.uses_max == 0 {
        return Err(invalid("uses_max", "must be at least 1"));
    }
    if grant.expires_at <= context.at {
        return Err(invalid("expires_at", format!("{} is not after now, {}", grant.expires_at, context.at)));
    }
    if grant.expires_at > context.at.plus_seconds(policy.ttl_seconds_max) {
        return Err(invalid("expires_at", format!("a token lives at most {} seconds", policy.ttl_seconds_max)));
    }
    above_zero_if_given("notional_usd_max", grant.notional_usd_max)?;
    let known =
        state.tokens.active.contains_key(&grant.id) || state.tokens.ended.iter().any(|(id, _, _)| *id == grant.id);
    if known {
        return Err(Rejection::IdReused { id: grant.id.to_string() });
    }
    Ok(Event::TokenChanged(token::Event::Issued(grant.clone())))
}

pub(super) fn revoke(
    state: &State,
    id: Option<&TokenId>,
    by: &Actor,
    reason: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    said("reason", reason)?;
    // What has run out of time ends as expired, in the same commit.
    let named = state.tokens.active.values().map(|token| &token.grant);
    let named = named.filter(|grant| grant.expires_at > at && id.is_none_or(|id| *id == grant.id));
    let revoked =
        |grant: &Grant| token::Event::Revoked { id: grant.id.clone(), by: by.clone(), reason: reason.to_owned() };
    let events: Vec<Event> = named.map(|grant| Event::TokenChanged(revoked(grant))).collect();
    if events.is_empty() { Err(Rejection::UnknownToken) } else { Ok(events) }
}

/// The approval, and with the last one the token that it comes to.
pub(super) fn approve(
    state: &State,
    id: &StrategyId,
    order_id: &SourceId,
    by: &Actor,
    reason: &str,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    said("reason", reason)?;
    let grant = approval::decide(state, id, order_id, by, context)?;
    let token = grant.map(|grant| issue(state, &grant, context)).transpose()?;
    let approved = Event::OrderApproved { order_id: order_id.clone(), by: by.clone(), reason: reason.to_owned() };
    Ok([approved].into_iter().chain(token).collect())
}

/// The refusal, and the end of every token for the order.
pub(super) fn decline(
    state: &State,
    order_id: &SourceId,
    by: &Actor,
    reason: &str,
    at: Timestamp,
) -> Result<Vec<Event>, Rejection> {
    said("reason", reason)?;
    let revoked = |id: &TokenId| token::Event::Revoked { id: id.clone(), by: by.clone(), reason: reason.to_owned() };
    let revoked = approval::decide_decline(state, order_id, at)?.map(revoked);
    let declined = Event::OrderDeclined { order_id: order_id.clone(), by: by.clone(), reason: reason.to_owned() };
    Ok([declined].into_iter().chain(revoked.map(Event::TokenChanged)).collect())
}
