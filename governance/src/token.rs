//! Scoped execution tokens: short, revocable permissions that say exactly what they permit.
//!
//! A token covers an order when every part of its scope does. Approval of an order *is* the issue of
//! a token for it. Issue, use, expiry and revocation are all events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Actor, InstrumentId, SourceId, TokenId};
use crate::order::{Order, Side};
use crate::units::{Amount, Timestamp};
use crate::verdict::{Action, Component, Reason, Verdict};

/// Limits of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How long a token lives where its issuer does not say, seconds.
    pub ttl_seconds_default: u64,
    /// How long a token may live, seconds.
    pub ttl_seconds_max: u64,
    /// Most active tokens a strategy.
    pub active_max: u32,
    /// Whether every order at every level needs a token.
    pub required: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { ttl_seconds_default: 300, ttl_seconds_max: 86_400, active_max: 10, required: false }
    }
}

/// What a token permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: TokenId,
    /// Instruments it covers; empty covers all.
    pub instruments: Vec<InstrumentId>,
    /// The side it covers; `None` covers both.
    pub side: Option<Side>,
    /// Largest order value it covers, US dollars; `None` covers any.
    pub notional_usd_max: Option<Amount>,
    /// The one order it covers, where it is an approval of that order.
    pub order_id: Option<SourceId>,
    /// Orders it can be used for.
    pub uses_max: u32,
    /// Until when.
    pub expires_at: Timestamp,
    /// On whose word.
    pub issued_by: Actor,
}

/// What happened to a token. Variants are appended, never reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It came into force.
    Issued(Grant),
    /// An order went out under it.
    Used {
        /// Which.
        id: TokenId,
        /// The order.
        order_id: SourceId,
        /// Uses left.
        uses_left: u32,
    },
    /// Its time ran out.
    Expired {
        /// Which.
        id: TokenId,
        /// When it ended.
        expired_at: Timestamp,
    },
    /// Someone took it back.
    Revoked {
        /// Which.
        id: TokenId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
}

/// How a token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Out of time.
    Expired,
    /// Out of uses.
    UsedUp,
    /// Taken back.
    Revoked,
}

/// A token in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// What it permits.
    pub grant: Grant,
    /// Uses left.
    pub uses_left: u32,
}

/// A strategy's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// In force, by id.
    pub active: BTreeMap<TokenId, Active>,
    /// The last that ended, newest last: enough to tell an engine what became of the token it shows.
    pub ended: Vec<(TokenId, End, Timestamp)>,
}

/// How many ended tokens are remembered.
const ENDED_MAX: usize = 16;

/// The first part of a scope that does not fit an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// Another instrument.
    Instrument,
    /// The other side.
    Side,
    /// Another order.
    Order,
    /// A larger value, or one that is not known.
    Notional,
}

impl Grant {
    /// The first part of the scope that does not cover the order, or `None` where all do.
    #[must_use]
    pub fn mismatch(&self, order: &Order, notional_usd: Option<Amount>) -> Option<Mismatch> {
        if !self.instruments.is_empty() && !self.instruments.contains(&order.instrument) {
            return Some(Mismatch::Instrument);
        }
        if self.side.is_some_and(|side| side != order.side) {
            return Some(Mismatch::Side);
        }
        if self.order_id.as_ref().is_some_and(|id| *id != order.id) {
            return Some(Mismatch::Order);
        }
        let too_large = self.notional_usd_max.is_some_and(|most| notional_usd.is_none_or(|value| value > most));
        too_large.then_some(Mismatch::Notional)
    }
}

/// The tokens whose time has run out at `at`: the events that say so.
#[must_use]
pub fn expire(state: &State, at: Timestamp) -> Vec<Event> {
    let over = state.active.values().filter(|token| token.grant.expires_at <= at);
    over.map(|token| Event::Expired { id: token.grant.id.clone(), expired_at: token.grant.expires_at }).collect()
}

impl Active {
    /// Whether it is in force and every part of its scope covers the order.
    #[must_use]
    pub fn covers(&self, order: &Order, notional_usd: Option<Amount>, at: Timestamp) -> bool {
        self.grant.expires_at > at && self.grant.mismatch(order, notional_usd).is_none()
    }
}

/// The token that covers an order, if one does: the one presented, else one for this very order, else the one
/// that expires first.
#[must_use]
pub fn covering<'a>(
    state: &'a State,
    order: &Order,
    notional_usd: Option<Amount>,
    at: Timestamp,
) -> Option<&'a Active> {
    let fits = |token: &&Active| token.covers(order, notional_usd, at);
    match &order.token {
        Some(id) => state.active.get(id).filter(fits),
        None => state.active.values().filter(fits).min_by_key(|token| {
            let Grant { order_id, expires_at, id, .. } = &token.grant;
            (order_id.is_none(), expires_at, id)
        }),
    }
}

/// Applies one recorded event.
#[must_use]
pub fn evolve(mut state: State, event: &Event, at: Timestamp) -> State {
    match event {
        Event::Issued(grant) => {
            let token = Active { grant: grant.clone(), uses_left: grant.uses_max };
            state.active.insert(grant.id.clone(), token);
            return state;
        }
        Event::Used { id, uses_left, .. } if *uses_left > 0 => {
            if let Some(token) = state.active.get_mut(id) {
                token.uses_left = *uses_left;
            }
            return state;
        }
        Event::Used { id, .. } => end(&mut state, id, End::UsedUp, at),
        Event::Expired { id, expired_at } => end(&mut state, id, End::Expired, *expired_at),
        Event::Revoked { id, .. } => end(&mut state, id, End::Revoked, at),
    }
    state
}

fn end(state: &mut State, id: &TokenId, how: End, at: Timestamp) {
    state.active.remove(id);
    if state.ended.len() >= ENDED_MAX {
        state.ended.remove(0);
    }
    state.ended.push((id.clone(), how, at));
}

/// What tokens say of an order. `covering` is the token that covers it, if one does; `required` is whether the
/// level or the policy asks for one.
#[must_use]
pub fn assess(
    state: &State,
    order: &Order,
    covering: Option<&Active>,
    notional_usd: Option<Amount>,
    at: Timestamp,
    required: Required,
) -> Verdict {
    if let Some(token) = covering {
        let reason =
            Reason::TokenCovers { token: token.grant.id.clone(), uses_left: token.uses_left.saturating_sub(1) };
        return Verdict::allow(Component::Token, reason);
    }
    let block = |reason| Verdict::reject(Component::Token, Action::Block, reason);
    if let Some(id) = &order.token {
        let token = id.clone();
        if let Some(active) = state.active.get(id) {
            let expired_at = active.grant.expires_at;
            return block(match active.grant.mismatch(order, notional_usd) {
                Some(mismatch) if expired_at > at => Reason::TokenOutOfScope { token, mismatch },
                Some(_) | None => Reason::TokenExpired { token, expired_at },
            });
        }
        return block(match state.ended.iter().rev().find(|(ended, _, _)| ended == id) {
            Some((_, End::Expired, expired_at)) => Reason::TokenExpired { token, expired_at: *expired_at },
            Some((_, End::UsedUp | End::Revoked, _)) => Reason::TokenSpent { token },
            None => Reason::TokenUnknown { token },
        });
    }
    match required {
        Required::No => Verdict::allow(Component::Token, Reason::TokenNotNeeded),
        Required::ByPolicy => block(Reason::TokenMissing),
        Required::ByLevel(level) => block(Reason::MaturityApprovalRequired { level }),
    }
}

/// What asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Nothing.
    No,
    /// The level: every order is approved there.
    ByLevel(crate::maturity::Level),
    /// The policy, at every level.
    ByPolicy,
}
