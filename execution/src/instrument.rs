//! What a venue lets be traded: in which steps, from which size on, counted in what.
//!
//! Rounding is always down: what is sent is never larger than what was allowed.

use ephor_governance::ids::{Currency, InstrumentId};
use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// One instrument's terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// Its name.
    pub id: InstrumentId,
    /// Quantities are whole multiples of this. Above zero.
    pub lot: Amount,
    /// The smallest quantity of an order.
    pub qty_min: Amount,
    /// The largest, where there is one.
    pub qty_max: Option<Amount>,
    /// The smallest value of an order, in `currency`, where there is one.
    pub notional_min: Option<Amount>,
    /// Prices are whole multiples of this. Above zero.
    pub tick: Amount,
    /// What one unit at a price of one is worth, in `currency`.
    pub multiplier: Amount,
    /// What prices and results are counted in.
    pub currency: Currency,
}

impl Instrument {
    /// Any quantity from the lot on.
    #[must_use]
    pub const fn new(id: InstrumentId, lot: Amount, tick: Amount, currency: Currency) -> Self {
        let (qty_max, notional_min) = (None, None);
        Self { id, lot, qty_min: lot, qty_max, notional_min, tick, multiplier: Amount::ONE, currency }
    }

    /// The largest quantity not above `qty` that can be traded at about `price`.
    ///
    /// ```
    /// use ephor_execution::instrument::Instrument;
    /// use ephor_governance::units::Amount;
    /// let lot = Amount::from(100);
    /// let spot = Instrument::new("EUR/USD".parse().unwrap(), lot, Amount::new(1, 5), "USD".parse().unwrap());
    /// assert_eq!(spot.round_down(Amount::from(2_599), None).unwrap(), Amount::from(2_500));
    /// assert!(spot.round_down(Amount::from(99), None).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Refusal::BelowMinimum`] where that is nothing, or less than the venue takes.
    pub fn round_down(&self, qty: Amount, price: Option<Amount>) -> Result<Amount, Refusal> {
        let below = |found| Refusal::BelowMinimum { qty: found, min: self.qty_min.max(self.lot) };
        let most = self.qty_max.map_or(qty, |most| qty.min(most));
        let steps = most.decimal().checked_div(self.lot.decimal()).ok_or_else(|| below(qty))?.floor();
        let up = Amount::from(steps).times(self.lot).ok_or_else(|| below(qty))?;
        // A quotient that has all its digits may have been rounded up to a whole one.
        let rounded = if up > most { up.minus(self.lot) } else { up }.normalized();
        if !rounded.is_positive() || rounded < self.qty_min {
            return Err(below(qty));
        }
        if let Some((least, price)) = self.notional_min.zip(price) {
            let value = self.value(rounded, price);
            if value < least {
                return Err(Refusal::BelowNotional { value, min: least });
            }
        }
        Ok(rounded)
    }

    /// What a quantity is worth at a price, in the instrument's currency; held at the largest amount.
    #[must_use]
    pub fn value(&self, qty: Amount, price: Amount) -> Amount {
        qty.abs().times_saturating(price.abs()).times_saturating(self.multiplier)
    }
}
