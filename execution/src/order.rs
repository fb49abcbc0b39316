//! A wish to trade, and the order that becomes of it.

use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use serde::{Deserialize, Serialize};

/// At which price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// At whatever the market gives.
    Market,
    /// At this price or a better one.
    Limit(Amount),
    /// At whatever the market gives once it has reached this price.
    Stop(Amount),
}

impl Kind {
    /// The price that it names.
    #[must_use]
    pub const fn price(self) -> Option<Amount> {
        match self {
            Self::Market => None,
            Self::Limit(price) | Self::Stop(price) => Some(price),
        }
    }
}

/// A wish to trade, before anybody has said how large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TradeSignal {
    /// The source's id for it: one id is one order, however often it comes.
    pub id: SourceId,
    /// Whose.
    pub strategy: StrategyId,
    /// What is to be traded.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// To open or to close. An exit trades what the strategy holds, and no more.
    pub intent: Intent,
    /// At which price.
    pub kind: Kind,
    /// The price at which it would have been wrong: what sizing by risk measures from.
    #[serde(deserialize_with = "Option::deserialize")]
    pub stop: Option<Amount>,
    /// How much of its size the market's state is worth.
    pub regime: Multiplier,
    /// When, by the source's clock.
    pub at: Timestamp,
}

/// An order as a venue gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VenueOrder {
    /// The client order id: the signal's own. A venue takes each once.
    pub id: SourceId,
    /// Whose.
    pub strategy: StrategyId,
    /// What is traded.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How much; above zero.
    pub qty: Amount,
    /// At which price.
    pub kind: Kind,
    /// It can only make a position smaller.
    pub reduce_only: bool,
}

impl VenueOrder {
    /// Signed quantity: a sale is negative.
    #[must_use]
    pub fn signed_qty(&self) -> Amount {
        self.side.signed(self.qty)
    }
}
