//! A closed round trip, and how its result is measured.

use serde::{Deserialize, Serialize};

use crate::ids::{Currency, InstrumentId, SourceId};
use crate::units::{Amount, Timestamp};

/// Which way a position stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Gains when the price rises.
    #[serde(alias = "LONG")]
    Long,
    /// Gains when the price falls.
    #[serde(alias = "SHORT")]
    Short,
}

/// One round trip, entry to exit, net of costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// The source's id: the same trade twice counts once.
    pub id: SourceId,
    /// What was traded.
    pub instrument: InstrumentId,
    /// Which way.
    pub direction: Direction,
    /// Quantity, above zero.
    pub qty: Amount,
    /// Average entry price.
    pub entry_price: Amount,
    /// Average exit price.
    pub exit_price: Amount,
    /// Result net of costs, in the strategy's currency.
    pub realized_pnl: Amount,
    /// What `realized_pnl` is counted in, where the source says.
    pub currency: Option<Currency>,
    /// What was at risk when the trade was entered (distance to the stop x quantity), where known.
    pub initial_risk: Option<Amount>,
    /// When the position was opened.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub closed_at: Timestamp,
    /// The order that closed it, where the source says.
    pub order_id: Option<SourceId>,
}

/// How a trade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A profit.
    Win,
    /// A loss.
    Loss,
    /// Exactly nothing.
    BreakEven,
}

impl Trade {
    /// Win, loss or break-even, by the sign of the realised result.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        outcome(self.realized_pnl)
    }
}

/// Win, loss or break-even, by the sign of a result.
#[must_use]
pub fn outcome(pnl: Amount) -> Outcome {
    if pnl.is_positive() {
        Outcome::Win
    } else if pnl.is_negative() {
        Outcome::Loss
    } else {
        Outcome::BreakEven
    }
}

/// Where an R-multiple came from: the better source wins, and the event says which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RSource {
    /// Result over the initial risk that came with the trade.
    InitialRisk,
    /// Result over the mean loss in the health window before this trade.
    MeanLoss,
    /// No risk and no loss to measure by: plus or minus one, zero for a break-even.
    Unit,
}

/// A trade's result in units of what it risked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RMultiple {
    /// The multiple, signed as the result is.
    pub value: f64,
    /// How it was measured.
    pub source: RSource,
}

/// What the rules keep of a trade in the rolling windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Result in the strategy's currency; as a float, because the windows only make ratios of it.
    pub pnl: f64,
    /// Result in units of risk.
    pub r: f64,
    /// Result over the entry notional, a fraction.
    pub return_on_entry: f64,
}
