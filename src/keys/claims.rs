//! What a signed token says, and how it is written.
//!
//! The names are those of JWT and PASETO where they have one. A limit that is not there is no limit; one that is
//! there but says nothing (an empty list) is refused, because nobody can tell what was meant.

use std::fmt;

use ephor_governance::ids::{Actor, InstrumentId, SourceId, StrategyId, TokenId};
use ephor_governance::impact::{self, Account, Facts};
use ephor_governance::order::{Order, Side};
use ephor_governance::token::{Grant, Mismatch};
use ephor_governance::units::{Amount, Timestamp};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours.
    #[error("not a token that Ephor issues: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
    /// Signed by a key that is not among the public ones.
    #[error("signed by {kid:?}, which is none of the public keys")]
    UnknownKey {
        /// The key that it names.
        kid: String,
    },
    /// The key that it names did not sign it.
    #[error("the signature is wrong")]
    Signature,
    /// Its time is over.
    #[error("expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Its time has not come.
    #[error("not valid before {from}")]
    NotYetValid {
        /// When it will be.
        from: Timestamp,
    },
    /// The public keys could not be read.
    #[error("the public keys cannot be used")]
    NoKeys,
}

impl TokenError {
    /// The wire string.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "TOKEN_MALFORMED",
            Self::UnknownKey { .. } => "TOKEN_KEY_UNKNOWN",
            Self::Signature => "TOKEN_SIGNATURE_WRONG",
            Self::Expired { .. } => "TOKEN_EXPIRED",
            Self::NotYetValid { .. } => "TOKEN_NOT_YET_VALID",
            Self::NoKeys => "TOKEN_KEYS_UNAVAILABLE",
        }
    }

    /// Whether the same token may be good later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::NotYetValid { .. } | Self::NoKeys)
    }
}

/// What a signed token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose orders it permits.
    pub strategy: StrategyId,
    /// What it permits, as the log has it.
    pub grant: Grant,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// What ties it to its order, its decision and its record.
    pub trace_id: SmolStr,
}

/// The first part of a token that does not cover an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncovered {
    /// The order is another strategy's.
    Strategy,
    /// A part of the grant.
    #[serde(untagged)]
    Grant(Mismatch),
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Strategy => "another strategy",
            Self::Grant(Mismatch::Instrument) => "another instrument",
            Self::Grant(Mismatch::Side) => "the other side",
            Self::Grant(Mismatch::Order) => "another order",
            Self::Grant(Mismatch::Notional) => "a larger value, or one that is not known in US dollars",
        })
    }
}

impl Claims {
    /// A token good from the moment of its issue.
    #[must_use]
    pub fn new(strategy: StrategyId, grant: Grant, issued_at: Timestamp, trace_id: SmolStr) -> Self {
        Self { strategy, grant, issued_at, not_before: issued_at, trace_id }
    }

    /// The first part that does not cover an order, or `None` where all do: what the gate asks of the grant, and whose
    /// order it is.
    ///
    /// Without the log nobody knows a contract's multiplier or a rate of exchange. So the order's value counts as known
    /// only where the order itself states its notional, in US dollars; quantity x price may only make it larger.
    #[must_use]
    pub fn uncovered(&self, strategy: &StrategyId, order: &Order) -> Option<Uncovered> {
        if *strategy != self.strategy {
            return Some(Uncovered::Strategy);
        }
        let account = Account {
            multiplier: Amount::ONE,
            currency: order.currency.as_ref(),
            equity: None,
            position_qty: None,
            open_positions: None,
        };
        let facts = Facts::gather(order, &account, &impact::Policy::default());
        let notional_usd = order.notional.and(facts.notional_usd);
        self.grant.mismatch(order, notional_usd).map(Uncovered::Grant)
    }

    /// As the payload of a token, JSON.
    pub(super) fn payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// From the payload of a token whose signature was found to be good.
    pub(super) fn from_payload(json: &str) -> Result<Self, TokenError> {
        let malformed = |problem: String| TokenError::Malformed { problem };
        let payload: Payload = serde_json::from_str(json).map_err(|error| malformed(error.to_string()))?;
        Self::try_from(payload).map_err(malformed)
    }
}

/// The claims as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    jti: TokenId,
    sub: StrategyId,
    iss: Actor,
    iat: Timestamp,
    nbf: Timestamp,
    exp: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruments: Option<Vec<InstrumentId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sides: Option<Vec<Side>>,
    /// A text: a number would pass through a float in many a reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_notional_usd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order_id: Option<SourceId>,
    uses: u32,
    trace_id: SmolStr,
}

impl From<&Claims> for Payload {
    fn from(claims: &Claims) -> Self {
        let grant = &claims.grant;
        Self {
            jti: grant.id.clone(),
            sub: claims.strategy.clone(),
            iss: grant.issued_by.clone(),
            iat: claims.issued_at,
            nbf: claims.not_before,
            exp: grant.expires_at,
            instruments: (!grant.instruments.is_empty()).then(|| grant.instruments.clone()),
            sides: grant.side.map(|side| vec![side]),
            max_notional_usd: grant.notional_usd_max.map(|most| most.to_string()),
            order_id: grant.order_id.clone(),
            uses: grant.uses_max,
            trace_id: claims.trace_id.clone(),
        }
    }
}

impl Serialize for Claims {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Payload::from(self).serialize(serializer)
    }
}

impl TryFrom<Payload> for Claims {
    type Error = String;

    fn try_from(payload: Payload) -> Result<Self, String> {
        let instruments = match payload.instruments {
            None => Vec::new(),
            Some(named) if named.is_empty() => return Err("instruments: names none".to_owned()),
            Some(named) => named,
        };
        let side = match payload.sides.as_deref() {
            None => None,
            Some([side]) => Some(*side),
            Some(_) => return Err("sides: expected one side, or none of them named for both".to_owned()),
        };
        let notional_usd_max = payload.max_notional_usd.as_deref().map(str::parse::<Amount>).transpose();
        let notional_usd_max = notional_usd_max.map_err(|error| format!("max_notional_usd: {error}"))?;
        if notional_usd_max.is_some_and(|most| !most.is_positive()) {
            return Err("max_notional_usd: must be above 0".to_owned());
        }
        if payload.uses == 0 {
            return Err("uses: must be above 0".to_owned());
        }
        let grant = Grant {
            id: payload.jti,
            instruments,
            side,
            notional_usd_max,
            order_id: payload.order_id,
            uses_max: payload.uses,
            expires_at: payload.exp,
            issued_by: payload.iss,
        };
        Ok(Self {
            strategy: payload.sub,
            grant,
            issued_at: payload.iat,
            not_before: payload.nbf,
            trace_id: payload.trace_id,
        })
    }
}
