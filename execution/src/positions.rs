//! What fills have come to: positions, money and exposure, by lane, strategy and instrument.
//!
//! Only cash and quantities are kept, so that nothing is ever rounded: what a strategy is worth is its cash and what
//! it holds at the last prices. The sum of its fills is its position.

use std::collections::{BTreeMap, BTreeSet};

use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::order::Side;
use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

use crate::instrument::Instrument;
use crate::venue::Filled;

/// Which of the two venues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Where orders have consequences.
    Live,
    /// Where they have none.
    Paper,
}

impl Lane {
    /// Both, in their order.
    pub const ALL: [Self; 2] = [Self::Live, Self::Paper];

    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Paper => "paper",
        }
    }
}

/// The last price of each instrument.
pub type Prices = BTreeMap<InstrumentId, Amount>;

/// Each instrument's terms.
pub type Instruments = BTreeMap<InstrumentId, Instrument>;

#[derive(Clone, Debug, Default, PartialEq)]
struct Account {
    /// What fills have brought, less what they have cost.
    cash: Amount,
    /// Signed; never zero.
    holds: BTreeMap<InstrumentId, Amount>,
}

/// Everything that fills have come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Positions {
    capital: BTreeMap<StrategyId, Amount>,
    accounts: BTreeMap<(Lane, StrategyId), Account>,
}

impl Positions {
    /// Says what a strategy was given to trade with.
    pub fn fund(&mut self, strategy: StrategyId, capital: Amount) {
        self.capital.insert(strategy, capital);
    }

    /// What a strategy was given to trade with; `None` for one that is not known here.
    #[must_use]
    pub fn capital(&self, strategy: &StrategyId) -> Option<Amount> {
        self.capital.get(strategy).copied()
    }

    /// Takes a fill in.
    pub fn fill(&mut self, lane: Lane, strategy: &StrategyId, instrument: &Instrument, fill: &Filled) {
        let account = self.accounts.entry((lane, strategy.clone())).or_default();
        let signed = fill.side.signed(fill.qty);
        let value = signed.times_saturating(fill.price).times_saturating(instrument.multiplier);
        account.cash = account.cash.minus(value).minus(fill.fee);
        let after = account.holds.get(&instrument.id).copied().unwrap_or_default().plus(signed);
        if after.is_zero() {
            account.holds.remove(&instrument.id);
        } else {
            account.holds.insert(instrument.id.clone(), after);
        }
    }

    /// A signed position.
    #[must_use]
    pub fn of(&self, lane: Lane, strategy: &StrategyId, instrument: &InstrumentId) -> Amount {
        let account = self.accounts.get(&(lane, strategy.clone()));
        account.and_then(|account| account.holds.get(instrument)).copied().unwrap_or_default()
    }

    /// How much of a strategy's position in a lane an order on this side could close: nothing where it holds none, or
    /// one on the same side.
    #[must_use]
    pub fn reducible(&self, lane: Lane, strategy: &StrategyId, instrument: &InstrumentId, side: Side) -> Amount {
        let held = self.of(lane, strategy, instrument);
        match side {
            Side::Sell => held.max(Amount::ZERO),
            Side::Buy => Amount::ZERO.minus(held).max(Amount::ZERO),
        }
    }

    /// Every position: lane, strategy, instrument, signed quantity.
    pub fn all(&self) -> impl Iterator<Item = (Lane, &StrategyId, &InstrumentId, Amount)> {
        self.accounts.iter().flat_map(|((lane, strategy), account)| {
            account.holds.iter().map(move |(instrument, qty)| (*lane, strategy, instrument, *qty))
        })
    }

    /// How many positions a strategy has open.
    #[must_use]
    pub fn open(&self, strategy: &StrategyId) -> usize {
        Lane::ALL.iter().filter_map(|lane| self.accounts.get(&(*lane, strategy.clone()))).map(|a| a.holds.len()).sum()
    }

    /// What a strategy is worth at these prices, in both lanes together; `None` where it was given nothing, or where
    /// it holds what has no price.
    #[must_use]
    pub fn equity(&self, strategy: &StrategyId, prices: &Prices, instruments: &Instruments) -> Option<Amount> {
        Some(self.capital(strategy)?.plus(self.result(strategy, prices, instruments)?))
    }

    /// What a strategy has made at these prices, whatever it was given; `None` where it holds what has no price.
    #[must_use]
    pub fn result(&self, strategy: &StrategyId, prices: &Prices, instruments: &Instruments) -> Option<Amount> {
        let mut result = Amount::ZERO;
        for account in Lane::ALL.iter().filter_map(|lane| self.accounts.get(&(*lane, strategy.clone()))) {
            result = result.plus(account.cash);
            for (instrument, qty) in &account.holds {
                let multiplier = instruments.get(instrument)?.multiplier;
                result = result.plus(qty.times_saturating(*prices.get(instrument)?).times_saturating(multiplier));
            }
        }
        Some(result)
    }

    /// What all positions of a lane are worth without their signs; `None` where one has no price.
    #[must_use]
    pub fn gross(&self, lane: Lane, prices: &Prices, instruments: &Instruments) -> Option<Amount> {
        self.all().filter(|(of, ..)| *of == lane).try_fold(Amount::ZERO, |sum, (_, _, instrument, qty)| {
            Some(sum.plus(instruments.get(instrument)?.value(qty, *prices.get(instrument)?)))
        })
    }

    /// Strategies that have had fills, whatever they were given.
    #[must_use]
    pub fn traded(&self) -> BTreeSet<&StrategyId> {
        self.accounts.keys().map(|(_, strategy)| strategy).collect()
    }

    /// Strategies that were given something to trade with.
    pub fn strategies(&self) -> impl Iterator<Item = &StrategyId> {
        self.capital.keys()
    }
}
