//! `[paper]`: what `ephor paper` trades, on which prices, at what cost, and within which limits.
//!
//! Relative paths are relative to the settings file that names them, so that it can be used from anywhere.

use std::path::PathBuf;

use ephor_governance::ids::{Actor, Currency, InstrumentId, StrategyId};
use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

use crate::paper::rules;

/// Paper trading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paper {
    /// What the paper venue's chances follow from: the same seed gives the same fills.
    pub seed: u64,
    /// The share of each instrument's bars that is the backtest; what comes after it is governed.
    pub in_sample: Amount,
    /// The policy to adopt where the log has none yet; the default policy where nothing stands here.
    pub policy: Option<PathBuf>,
    /// Whether orders of a strategy in the shadow are filled on the paper venue, so that it can earn its way out.
    pub measure_shadow: bool,
    /// Who approves orders that wait.
    pub approve: PaperApprove,
    /// What trading costs, and how the venue behaves.
    pub venue: PaperVenue,
    /// Limits that every order is held against.
    pub risk: PaperRisk,
    /// What is traded.
    pub instruments: Vec<PaperInstrument>,
    /// Who trades.
    pub strategies: Vec<PaperStrategy>,
}

impl Default for Paper {
    fn default() -> Self {
        Self {
            seed: 1,
            in_sample: Amount::new(3, 1),
            policy: None,
            measure_shadow: true,
            approve: PaperApprove::default(),
            venue: PaperVenue::default(),
            risk: PaperRisk::default(),
            instruments: Vec::new(),
            strategies: Vec::new(),
        }
    }
}

/// `[paper.approve]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperApprove {
    /// On whose word every order that waits is approved at once; nobody, the default, leaves it waiting. An order of
    /// critical impact takes two.
    pub by: Vec<Actor>,
}

/// `[paper.venue]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperVenue {
    /// Fee of a fill, a fraction of its value.
    pub fee: Amount,
    /// How far from the price a market order is filled at most, ticks.
    pub slippage_ticks: u32,
    /// How long an order is under way.
    pub latency_ms: u64,
    /// The share of orders that are filled in parts.
    pub partial: Amount,
    /// The share of orders that the venue turns away.
    pub reject: Amount,
}

impl Default for PaperVenue {
    fn default() -> Self {
        Self { fee: Amount::ZERO, slippage_ticks: 1, latency_ms: 50, partial: Amount::ZERO, reject: Amount::ZERO }
    }
}

/// `[paper.risk]`: what is not set is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaperRisk {
    /// How far from the last price an order's price may be, a fraction.
    pub collar: Option<Amount>,
    /// Largest value of an order.
    pub order_value_max: Option<Amount>,
    /// Largest quantity of an order.
    pub order_qty_max: Option<Amount>,
    /// Largest value of all positions together.
    pub gross_exposure_max: Option<Amount>,
    /// Fall from a strategy's peak beyond which it opens nothing more, a fraction.
    pub drawdown_max: Option<Amount>,
    /// Instruments that nothing may be opened in.
    pub restricted: Vec<InstrumentId>,
}

/// `[[paper.instruments]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperInstrument {
    /// Its name.
    pub id: InstrumentId,
    /// Its bars; `--bars FILE=ID` names another file.
    #[serde(default)]
    pub bars: Option<PathBuf>,
    /// What prices are counted in.
    #[serde(default = "usd")]
    pub currency: Currency,
    /// Quantities are multiples of this.
    #[serde(default = "one")]
    pub lot: Amount,
    /// The smallest quantity; one lot where it is not set.
    #[serde(default)]
    pub qty_min: Option<Amount>,
    /// Prices are multiples of this.
    #[serde(default = "cent")]
    pub tick: Amount,
    /// Value of one unit at a price of one.
    #[serde(default = "one")]
    pub multiplier: Amount,
}

impl PaperInstrument {
    /// An instrument of which only the name is known.
    #[must_use]
    pub fn named(id: InstrumentId) -> Self {
        Self { id, bars: None, currency: usd(), lot: Amount::ONE, qty_min: None, tick: cent(), multiplier: Amount::ONE }
    }
}

fn usd() -> Currency {
    Currency::recorded("USD".into())
}

const fn twelve_hundredths() -> Amount {
    Amount::new(12, 2)
}

const fn one() -> Amount {
    Amount::ONE
}

const fn cent() -> Amount {
    Amount::new(1, 2)
}

/// `[[paper.strategies]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperStrategy {
    /// Its name.
    pub id: StrategyId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Capital allocated to it, in the instrument's currency.
    #[serde(default = "capital")]
    pub capital: Amount,
    /// What it does; without it, its signals come from `--signals`.
    #[serde(default)]
    pub rule: Option<rules::Kind>,
    /// How large its orders are.
    #[serde(default)]
    pub size: PaperSize,
}

const fn capital() -> Amount {
    Amount::new(100_000, 0)
}

/// How large an order is before anybody makes it smaller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum PaperSize {
    /// Always the same quantity.
    Fixed {
        /// How much.
        qty: Amount,
    },
    /// As much as loses this share of equity where the stop is hit.
    Risk {
        /// The share, a fraction.
        #[serde(default = "cent")]
        of_equity: Amount,
        /// No order is larger than this share of equity, a fraction.
        #[serde(default = "twelve_hundredths")]
        value_max: Amount,
    },
    /// As much as makes the position's deviation, a bar, this share of equity.
    Volatility {
        /// The share, a fraction.
        of_equity: Amount,
        /// Bars that the deviation is taken over.
        bars: usize,
        /// No order is larger than this share of equity, a fraction.
        #[serde(default = "one")]
        value_max: Amount,
    },
}

impl Default for PaperSize {
    fn default() -> Self {
        Self::Risk { of_equity: cent(), value_max: twelve_hundredths() }
    }
}

#[cfg(test)]
mod tests {
    use super::PaperSize;

    #[test]
    fn a_size_by_risk_that_says_nothing_more_is_the_default_one() {
        let said: PaperSize = serde_json::from_str(r#"{"kind":"risk"}"#).unwrap();
        assert_eq!(said, PaperSize::default());
    }
}
