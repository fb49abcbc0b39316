//! `[paper]`: what `ephor paper` trades, on which prices, at what cost, and within which limits.
//!
//! Relative paths are relative to the settings file that names them, so that it can be used from anywhere.

use std::path::PathBuf;

use ephor_governance::ids::{Actor, Currency, InstrumentId, StrategyId};
use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

use super::checks::{Unfit, unfit, within};
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
    /// How long the same wish of a strategy under another id is the same order, seconds of the bars' own time; 0, the
    /// default, compares ids alone.
    pub dedup_window_seconds: u64,
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
            dedup_window_seconds: 0,
            approve: PaperApprove::default(),
            venue: PaperVenue::default(),
            risk: PaperRisk::default(),
            instruments: Vec::new(),
            strategies: Vec::new(),
        }
    }
}

/// A year: no window is longer, seconds.
const WINDOW_SECONDS_MAX: u64 = 366 * 86_400;

impl Paper {
    /// The first setting that cannot stand.
    pub(super) fn check(&self) -> Result<(), Unfit> {
        let Self { venue, risk, .. } = self;
        share("paper.in_sample", self.in_sample)?;
        within("paper.dedup_window_seconds", self.dedup_window_seconds, 0..=WINDOW_SECONDS_MAX)?;
        share("paper.venue.slippage", venue.slippage)?;
        share("paper.venue.partial", venue.partial)?;
        share("paper.venue.reject", venue.reject)?;
        if venue.fee_fixed.is_negative() {
            return unfit("paper.venue.fee_fixed", format!("must not be below 0, found {}", venue.fee_fixed));
        }
        if let Some(part) = venue.volume_share {
            above_zero("paper.venue.volume_share", part)?;
            share("paper.venue.volume_share", part)?;
        }
        for (field, fall) in
            [("paper.risk.drawdown_max", risk.drawdown_max), ("paper.risk.drawdown_kill", risk.drawdown_kill)]
        {
            fall.map_or(Ok(()), |fall| above_zero(field, fall))?;
        }
        if let Some((max, kill)) = risk.drawdown_max.zip(risk.drawdown_kill).filter(|(max, kill)| kill < max) {
            let problem = format!("must not be below paper.risk.drawdown_max, which is {max}; found {kill}");
            return unfit("paper.risk.drawdown_kill", problem);
        }
        if let Some(PaperThrottle { orders_max, window_seconds }) = risk.throttle {
            within("paper.risk.throttle.orders_max", orders_max, 1..=1_000_000)?;
            within("paper.risk.throttle.window_seconds", window_seconds, 1..=WINDOW_SECONDS_MAX)?;
        }
        Ok(())
    }
}

fn share(field: &'static str, found: Amount) -> Result<(), Unfit> {
    within(field, found, Amount::ZERO..=Amount::ONE)
}

fn above_zero(field: &'static str, found: Amount) -> Result<(), Unfit> {
    if found.is_positive() { Ok(()) } else { unfit(field, format!("must be above 0, found {found}")) }
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
    /// Fee of an order on top, with its first fill, in the instrument's currency.
    pub fee_fixed: Amount,
    /// How far from the price a market order is filled at most, ticks.
    pub slippage_ticks: u32,
    /// The same as a fraction of the price, on top; in whole ticks, rounded up.
    pub slippage: Amount,
    /// The share of a bar's volume that all fills in it take at most, a fraction; not limited where this is not set.
    pub volume_share: Option<Amount>,
    /// How long an order is under way.
    pub latency_ms: u64,
    /// The share of orders that are filled in parts.
    pub partial: Amount,
    /// The share of orders that the venue turns away.
    pub reject: Amount,
}

impl Default for PaperVenue {
    fn default() -> Self {
        Self {
            fee: Amount::ZERO,
            fee_fixed: Amount::ZERO,
            slippage_ticks: 1,
            slippage: Amount::ZERO,
            volume_share: None,
            latency_ms: 50,
            partial: Amount::ZERO,
            reject: Amount::ZERO,
        }
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
    /// Fall from a strategy's peak beyond which governance's kill switch is engaged for it, a fraction.
    pub drawdown_kill: Option<Amount>,
    /// How many orders in how long a time; one more, and nothing more is opened.
    pub throttle: Option<PaperThrottle>,
    /// Instruments that nothing may be opened in.
    pub restricted: Vec<InstrumentId>,
}

/// `[paper.risk.throttle]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperThrottle {
    /// Orders within the window.
    pub orders_max: u32,
    /// Its length, seconds of the bars' own time.
    pub window_seconds: u64,
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
