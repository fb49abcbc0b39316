//! How much an instrument's price moves, from one price to the next.

use std::collections::VecDeque;

use ephor_governance::units::Amount;

/// The last returns of one instrument.
///
/// Floats here are made by `+ - * /` and the square root alone, which every machine rounds alike (ADR 006).
#[derive(Clone, Debug, Default)]
pub(super) struct Returns {
    last: Option<f64>,
    /// Simple returns, oldest first.
    kept: VecDeque<f64>,
}

impl Returns {
    /// Notes a price, and keeps at most this many returns. A price that is not above zero gives no return, and the
    /// next one none to it.
    pub(super) fn note(&mut self, price: Amount, most: usize) {
        let price = Some(price.to_f64()).filter(|price| *price > 0.0);
        if let Some((last, price)) = self.last.zip(price) {
            self.kept.push_back(price / last - 1.0);
            while self.kept.len() > most {
                self.kept.pop_front();
            }
        }
        self.last = price;
    }

    /// How many returns are kept.
    pub(super) fn have(&self) -> usize {
        self.kept.len()
    }

    /// The standard deviation of the last `window` returns, a sample's (divided by one less); `None` where there are
    /// fewer, or not two.
    pub(super) fn deviation(&self, window: usize) -> Option<f64> {
        let from = self.kept.len().checked_sub(window)?;
        let over = window.checked_sub(1).filter(|over| *over > 0)?;
        let sum: f64 = self.kept.range(from..).sum();
        let mean = sum / count(window)?;
        let squares: f64 = self.kept.range(from..).map(|each| (each - mean) * (each - mean)).sum();
        Some((squares / count(over)?).sqrt())
    }
}

fn count(of: usize) -> Option<f64> {
    u32::try_from(of).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns(prices: &[i64], most: usize) -> Returns {
        let mut returns = Returns::default();
        for price in prices {
            returns.note(Amount::from(*price), most);
        }
        returns
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        // Returns of 10 %, -10 % and 10 %: their mean is 1/30, their squares about it come to 2/75.
        let found = returns(&[1_000, 1_100, 990, 1_089], 3).deviation(3).unwrap();
        assert!((found - (2.0_f64 / 75.0 / 2.0).sqrt()).abs() < 1e-12, "{found}");
    }

    #[test]
    fn only_the_last_ones_count_and_too_few_give_nothing() {
        let returns = returns(&[1, 50, 100, 100, 100], 2);
        assert_eq!((returns.have(), returns.deviation(2)), (2, Some(0.0)));
        assert_eq!((returns.deviation(3), returns.deviation(1), returns.deviation(0)), (None, None, None));
    }

    #[test]
    fn a_price_of_nothing_gives_no_return() {
        assert_eq!(returns(&[100, 0, 100, 110], 5).have(), 1);
    }
}
