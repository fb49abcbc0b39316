//! What an engine asks about, and what the venue did with it.
//!
//! An order carries what its engine knows of the account. What it leaves out stays `None`: it is
//! never filled with a number that would read as "no risk".

use serde::{Deserialize, Serialize};

use crate::ids::{Currency, InstrumentId, SourceId, TokenId};
use crate::units::Amount;

/// Which way an order trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Adds to a long position or closes a short one.
    #[serde(alias = "BUY")]
    Buy,
    /// Adds to a short position or closes a long one.
    #[serde(alias = "SELL")]
    Sell,
}

impl Side {
    /// A quantity with this side's sign: a sale is negative.
    #[must_use]
    pub fn signed(self, qty: Amount) -> Amount {
        match self {
            Self::Buy => qty,
            Self::Sell => Amount::ZERO.minus(qty),
        }
    }
}

/// An order before any venue has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The engine's id for it: asking twice with one id gives one decision.
    pub id: SourceId,
    /// What is traded.
    pub instrument: InstrumentId,
    /// Where, if the engine says.
    pub venue: Option<InstrumentId>,
    /// Which way.
    pub side: Side,
    /// How much, in the instrument's own units. Above zero.
    pub qty: Amount,
    /// Limit price, or the last price known; `None` where neither is.
    pub price: Option<Amount>,
    /// The engine's own figure for quantity x price x multiplier, in `currency`.
    pub notional: Option<Amount>,
    /// What prices, notional and equity are counted in.
    pub currency: Option<Currency>,
    /// It can only make a position smaller.
    pub reduce_only: bool,
    /// Leverage of the account with this order, as the engine knows it.
    pub leverage: Option<Amount>,
    /// Signed position in the instrument before the order.
    pub position_qty: Option<Amount>,
    /// Equity of the account before the order, in `currency`.
    pub equity: Option<Amount>,
    /// Open positions of the account before the order.
    pub open_positions: Option<u32>,
    /// The execution token that the engine presents.
    pub token: Option<TokenId>,
}

impl Order {
    /// Signed quantity: a sale is negative.
    #[must_use]
    pub fn signed_qty(&self) -> Amount {
        self.side.signed(self.qty)
    }
}

/// A wish to trade, as the strategy issued it. The order it asks for stands in the decision beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The source's id for it.
    pub id: SourceId,
    /// `entry` or `exit`, where the source says.
    pub intent: Option<Intent>,
    /// A free word of the strategy's own.
    pub tag: Option<String>,
}

/// What a signal wants of its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// To open or enlarge.
    Entry,
    /// To close or reduce.
    Exit,
}

/// What a venue did with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Filled, wholly or in part.
    Filled,
    /// Refused by the venue.
    Rejected,
    /// Refused by the engine's own risk checks.
    Denied,
    /// Taken back.
    Canceled,
    /// Ran out of time.
    Expired,
}

/// A report from the venue: one event in the life of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReport {
    /// The source's id of this report.
    pub id: SourceId,
    /// What is traded.
    pub instrument: InstrumentId,
    /// The order it is about, where the engine has ids.
    pub order_id: Option<SourceId>,
    /// What happened.
    pub status: OrderStatus,
    /// Which way, where it matters.
    pub side: Option<Side>,
    /// Quantity of this fill.
    pub qty: Option<Amount>,
    /// Price of this fill.
    pub price: Option<Amount>,
    /// Signed position in the instrument afterwards.
    pub position_qty: Option<Amount>,
    /// Realised equity afterwards.
    pub equity: Option<Amount>,
    /// Cost of this fill.
    pub commission: Option<Amount>,
    /// The venue's words for a refusal.
    pub reason: Option<String>,
}
