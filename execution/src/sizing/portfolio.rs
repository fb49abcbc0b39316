//! A base size, made smaller by the market's state and by governance, in this order.
//!
//! Everything behind the base can only make it smaller. Divisions round down; what is left of the size is rounded down
//! again, to the instrument's lot, by the engine.

use std::collections::BTreeMap;
use std::fmt;

use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::units::{Amount, Multiplier};

use super::Sizer;
use super::volatility::Returns;
use crate::instrument::Instrument;
use crate::order::{Kind, TradeSignal};
use crate::refusal::Refusal;
use crate::seen::Seen;

/// There is no deviation of fewer returns.
const WINDOW_MIN: usize = 2;

/// What a size starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Always the same quantity.
    Fixed {
        /// How much.
        qty: Amount,
    },
    /// Always worth the same.
    FixedNotional {
        /// How much, in the instrument's currency.
        value: Amount,
    },
    /// As much as loses this share of the strategy's equity where its stop is hit.
    RiskPerTrade {
        /// The share, a fraction.
        fraction: Amount,
    },
    /// As much as makes the position's standard deviation, from one price to the next, this share of the strategy's
    /// equity.
    VolatilityTarget {
        /// The share, a fraction.
        target: Amount,
        /// Returns that the deviation is taken over; two or more.
        window: usize,
    },
}

/// How large a strategy's orders are before anybody makes them smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What it starts from.
    pub base: Base,
    /// No order is worth more than this share of the strategy's equity, a fraction, where it is set.
    pub value_max: Option<Amount>,
}

impl From<Base> for Size {
    fn from(base: Base) -> Self {
        Self { base, value_max: None }
    }
}

/// Governance's word on a strategy's sizes, before its word on the order: the strategy, and the size so far.
pub type GovernanceSizing = Box<dyn Fn(&StrategyId, Amount) -> Multiplier + Send>;

/// Base size x regime x governance.
///
/// ```
/// use ephor_execution::sizing::{Base, PortfolioSizing};
/// use ephor_governance::units::{Amount, Multiplier};
/// let sizing = PortfolioSizing::new(Base::Fixed { qty: Amount::from(100) })
///     .with_strategy("trend".parse().unwrap(), Base::FixedNotional { value: Amount::from(10_000) })
///     .with_governance(|_, _| Multiplier::new(0.5));
/// ```
pub struct PortfolioSizing {
    size: Size,
    own: BTreeMap<StrategyId, Size>,
    governance: Option<GovernanceSizing>,
    returns: BTreeMap<InstrumentId, Returns>,
}

impl fmt::Debug for PortfolioSizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, own, governance, returns: _ } = self;
        let governance = governance.is_some();
        f.debug_struct("PortfolioSizing")
            .field("size", size)
            .field("own", own)
            .field("governance", &governance)
            .finish_non_exhaustive()
    }
}

impl PortfolioSizing {
    /// This size for every strategy.
    #[must_use]
    pub fn new(size: impl Into<Size>) -> Self {
        Self { size: size.into(), own: BTreeMap::new(), governance: None, returns: BTreeMap::new() }
    }

    /// Another size for this strategy.
    #[must_use]
    pub fn with_strategy(mut self, strategy: StrategyId, size: impl Into<Size>) -> Self {
        self.own.insert(strategy, size.into());
        self
    }

    /// Asks governance for its share of each size. It can make a size smaller, never larger.
    #[must_use]
    pub fn with_governance(mut self, share: impl Fn(&StrategyId, Amount) -> Multiplier + Send + 'static) -> Self {
        self.governance = Some(Box::new(share));
        self
    }

    /// The longest window that anybody measures over.
    fn window_max(&self) -> usize {
        let windows = self.own.values().chain([&self.size]).map(|size| match size.base {
            Base::VolatilityTarget { window, .. } => window.max(WINDOW_MIN),
            Base::Fixed { .. } | Base::FixedNotional { .. } | Base::RiskPerTrade { .. } => 0,
        });
        windows.max().unwrap_or_default()
    }

    fn base(&self, size: Size, signal: &TradeSignal, seen: &Seen<'_>) -> Result<Amount, Refusal> {
        let asked = Asked::of(signal, seen)?;
        let qty = match size.base {
            Base::Fixed { qty } => qty,
            Base::FixedNotional { value } => asked.worth(value)?,
            Base::RiskPerTrade { fraction } => {
                let budget = share(asked.equity()?, fraction)?;
                divided(budget, asked.risk()?).ok_or(Refusal::SizingZero)?
            }
            Base::VolatilityTarget { target, window } => {
                let window = window.max(WINDOW_MIN);
                let returns = self.returns.get(&signal.instrument);
                let deviation = returns.and_then(|returns| returns.deviation(window));
                let deviation = deviation.ok_or_else(|| Refusal::SizingHistoryShort {
                    have: u32::try_from(returns.map_or(0, Returns::have)).unwrap_or(u32::MAX),
                    need: u32::try_from(window).unwrap_or(u32::MAX),
                })?;
                // A price that never moves gives nothing to measure by.
                let deviation = Amount::from_f64(deviation).filter(|it| it.is_positive()).ok_or(Refusal::SizingZero)?;
                let moves = asked.value_of_one()?.times(deviation).ok_or(Refusal::SizingZero)?;
                divided(share(asked.equity()?, target)?, moves).ok_or(Refusal::SizingZero)?
            }
        };
        match size.value_max {
            Some(most) => Ok(qty.min(asked.worth(share(asked.equity()?, most)?)?)),
            None => Ok(qty),
        }
    }
}

impl Sizer for PortfolioSizing {
    fn size(&mut self, signal: &TradeSignal, seen: &Seen<'_>) -> Result<Amount, Refusal> {
        let size = self.own.get(&signal.strategy).copied().unwrap_or(self.size);
        let base = self.base(size, signal, seen)?;
        let in_regime = scaled(base, signal.regime)?;
        let qty = match &self.governance {
            Some(governance) => scaled(in_regime, governance(&signal.strategy, in_regime))?,
            None => in_regime,
        };
        if qty.is_positive() { Ok(qty.normalized()) } else { Err(Refusal::SizingZero) }
    }

    fn price(&mut self, instrument: &InstrumentId, price: Amount) {
        let most = self.window_max();
        if most == 0 {
            return;
        }
        if let Some(returns) = self.returns.get_mut(instrument) {
            returns.note(price, most);
        } else {
            self.returns.entry(instrument.clone()).or_default().note(price, most);
        }
    }
}

/// What a size is measured against.
struct Asked<'a> {
    signal: &'a TradeSignal,
    seen: &'a Seen<'a>,
    terms: &'a Instrument,
}

impl<'a> Asked<'a> {
    fn of(signal: &'a TradeSignal, seen: &'a Seen<'a>) -> Result<Self, Refusal> {
        let unknown = || Refusal::InstrumentUnknown { instrument: signal.instrument.clone() };
        Ok(Self { signal, seen, terms: seen.instruments.get(&signal.instrument).ok_or_else(unknown)? })
    }

    fn last(&self) -> Result<Amount, Refusal> {
        let unknown = || Refusal::PriceUnknown { instrument: self.signal.instrument.clone() };
        self.seen.prices.get(&self.signal.instrument).copied().ok_or_else(unknown)
    }

    /// What one unit is worth: at its own price where that makes it dearer. A price far from the market buys no larger
    /// order.
    fn value_of_one(&self) -> Result<Amount, Refusal> {
        let last = self.last()?.abs();
        let price = self.signal.kind.price().map_or(last, |own| own.abs().max(last));
        price.times(self.terms.multiplier).ok_or(Refusal::SizingZero)
    }

    /// How much of it comes to this value.
    fn worth(&self, value: Amount) -> Result<Amount, Refusal> {
        divided(value, self.value_of_one()?).ok_or(Refusal::SizingZero)
    }

    /// What one unit loses where the stop is hit.
    fn risk(&self) -> Result<Amount, Refusal> {
        let stop = self.signal.stop.ok_or(Refusal::SizingNoStop)?;
        let side = self.signal.side;
        let last = self.last()?;
        // One that the market can fill now trades at the market's price, whatever it names.
        let (own, trades_now) = match self.signal.kind {
            Kind::Market => (last, true),
            Kind::Limit(own) => (own, !side.signed(own.minus(last)).is_negative()),
            Kind::Stop(own) => (own, !side.signed(last.minus(own)).is_negative()),
        };
        // From where it would be bought down to the stop, or from where it would be sold up to it.
        let away = |price: Amount| side.signed(price.minus(stop));
        let (nearer, farther) =
            if trades_now { (away(own).min(away(last)), away(own).max(away(last))) } else { (away(own), away(own)) };
        if !nearer.is_positive() {
            return Err(Refusal::SizingNoStop);
        }
        farther.times(self.terms.multiplier).ok_or(Refusal::SizingZero)
    }

    /// What the strategy is worth. One that was given nothing has nothing to risk.
    fn equity(&self) -> Result<Amount, Refusal> {
        let Seen { positions, prices, instruments, .. } = *self.seen;
        if let Some(equity) = positions.equity(&self.signal.strategy, prices, instruments) {
            return Ok(equity);
        }
        let own = positions.all().filter(|(_, strategy, ..)| **strategy == self.signal.strategy);
        let mut unpriced = own.map(|(_, _, instrument, _)| instrument).filter(|it| !prices.contains_key(*it));
        Err(unpriced.next().map_or(Refusal::SizingZero, |it| Refusal::PriceUnknown { instrument: it.clone() }))
    }
}

/// A share of what there is. Of nothing, or of less, there is none.
fn share(of: Amount, fraction: Amount) -> Result<Amount, Refusal> {
    of.times(fraction).filter(|share| share.is_positive()).ok_or(Refusal::SizingZero)
}

/// The quotient, never rounded up; `None` where there is none, or it does not fit.
fn divided(of: Amount, by: Amount) -> Option<Amount> {
    let quotient = of.decimal().checked_div(by.decimal())?;
    let back = Amount::from(quotient).times(by);
    let last_digit = Amount::new(1, quotient.scale());
    // A quotient that has all its 28 digits may have been rounded up in the last one.
    Some(if back.is_none_or(|back| back > of) { Amount::from(quotient).minus(last_digit) } else { quotient.into() })
}

/// A share of a size, never more than the whole.
fn scaled(qty: Amount, by: Multiplier) -> Result<Amount, Refusal> {
    if by.is_one() {
        return Ok(qty);
    }
    let scaled = Amount::from_f64(by.get()).and_then(|by| qty.times(by));
    scaled.map(|scaled| scaled.min(qty)).filter(|scaled| scaled.is_positive()).ok_or(Refusal::SizingZero)
}
