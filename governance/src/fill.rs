//! One execution as a venue reports it, and how executions are matched into round trips.
//!
//! Many sources report fills and nothing else. What a fill closes is worked out from the book of those
//! before it, so that a source need not know what a trade is.

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, Currency, InstrumentId, SourceId};
use crate::order::Side;
use crate::units::{Amount, Timestamp};

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The execution's id at its source: the same fill twice counts once.
    pub id: SourceId,
    /// What was traded.
    pub instrument: InstrumentId,
    /// In which account, where the source says: positions of different accounts are never netted.
    pub account: Option<AccountId>,
    /// The order it belongs to, where the source says.
    pub order_id: Option<SourceId>,
    /// Which way.
    pub side: Side,
    /// Quantity of this fill alone, above zero.
    pub qty: Amount,
    /// Its price.
    pub price: Amount,
    /// What it cost, where the source says.
    pub fee: Option<Fee>,
    /// When it happened, by the source's clock.
    pub at: Timestamp,
}

impl Fill {
    /// Signed quantity: a sale is negative.
    #[must_use]
    pub fn signed_qty(&self) -> Amount {
        self.side.signed(self.qty)
    }
}

/// What one fill cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fee {
    /// Above zero a cost, below zero a rebate.
    pub amount: Amount,
    /// What it is counted in; `None` is the strategy's own currency.
    pub currency: Option<Currency>,
    /// The value of one unit of the fee's currency in the strategy's own, where known.
    pub rate: Option<Amount>,
}

/// Which of the fills that opened a position a closing fill is matched with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Netting {
    /// The oldest first.
    #[default]
    Fifo,
    /// All of them in proportion: the position has one average price.
    Average,
}

/// What the pieces count as in which an order that closes is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pieces {
    /// Each is a trade by itself: so every fill was counted before orders were.
    Apart,
    /// All pieces of one order are one trade: the first begins it, the others amend it.
    #[default]
    Together,
}
