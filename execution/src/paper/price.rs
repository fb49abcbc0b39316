//! At which price an order is filled, where the market is one price or a bar.
//!
//! What a bar does not tell is taken against the order: a limit gets its own price and no better one, a stop its own
//! price less slippage; a bar in which both would trade trades the stop first; and of a bar that was under way when
//! the order came only the close counts, because nobody knows on which side of its arrival the extremes lie.

use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};

use super::Placed;
use crate::order::Kind;

/// What the market did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    /// It traded at this price.
    At(Amount),
    /// It opened at this price, perhaps far from where it was: what is passed over trades here.
    Open(Amount),
    /// It went through this range, and stands at `close` now.
    Through { opened: Timestamp, high: Amount, low: Amount, close: Amount },
}

impl Moment {
    /// Where the market stands after it.
    const fn last(self) -> Amount {
        match self {
            Self::At(price) | Self::Open(price) => price,
            Self::Through { close, .. } => close,
        }
    }
}

/// What an order gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quote {
    /// The price, before slippage.
    pub(super) price: Amount,
    /// Whether it takes what is there, and pays for it; or was there before, and is taken.
    pub(super) is_taker: bool,
    /// Whether it may get a worse price.
    pub(super) slips: bool,
}

impl Quote {
    const fn market(price: Amount) -> Self {
        Self { price, is_taker: true, slips: true }
    }
}

/// Whether a limit trades at this price.
pub(super) fn is_within(side: Side, limit: Amount, price: Amount) -> bool {
    match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    }
}

/// Whether the market has reached a stop: for a purchase from below, for a sale from above.
fn is_reached(side: Side, stop: Amount, price: Amount) -> bool {
    is_within(side, price, stop)
}

/// What an order gets at this moment; `None` where it goes on waiting. Notes whether it has been seen waiting, and
/// whether its stop has been reached.
pub(super) fn quote(placed: &mut Placed, moment: Moment) -> Option<Quote> {
    let side = placed.order.side;
    let last = moment.last();
    match placed.order.kind {
        Kind::Market => Some(Quote::market(last)),
        Kind::Stop(_) if placed.is_triggered => Some(Quote::market(last)),
        Kind::Stop(stop) => {
            let price = match moment {
                Moment::Through { opened, high, low, .. } if placed.from <= opened => match side {
                    Side::Buy => (high >= stop).then(|| stop.max(low)),
                    Side::Sell => (low <= stop).then(|| stop.min(high)),
                },
                Moment::At(_) | Moment::Open(_) | Moment::Through { .. } => {
                    is_reached(side, stop, last).then_some(last)
                }
            };
            placed.is_triggered = price.is_some();
            price.map(Quote::market)
        }
        Kind::Limit(limit) => {
            let rested = std::mem::replace(&mut placed.is_resting, true);
            let price = match moment {
                Moment::Through { opened, high, low, .. } if placed.from <= opened => {
                    let best = match side {
                        Side::Buy => low,
                        Side::Sell => high,
                    };
                    is_within(side, limit, best).then_some(limit)
                }
                Moment::Open(open) => is_within(side, limit, open).then_some(open),
                Moment::At(_) | Moment::Through { .. } => {
                    is_within(side, limit, last).then_some(if rested { limit } else { last })
                }
            };
            price.map(|price| Quote { price, is_taker: !rested, slips: false })
        }
    }
}

/// Whether an order takes part where this is the best that it would get: all do, but for a stop that has not been
/// reached. Notes when it has.
pub(super) fn triggers(placed: &mut Placed, best: Amount) -> bool {
    if let Kind::Stop(stop) = placed.order.kind {
        placed.is_triggered = placed.is_triggered || is_reached(placed.order.side, stop, best);
        return placed.is_triggered;
    }
    true
}

/// A price this many ticks worse for the side. A price above zero stays above zero.
pub(super) fn slipped(side: Side, price: Amount, tick: Amount, ticks: u64) -> Option<Amount> {
    let away = Amount::from(i64::try_from(ticks).ok()?).times(tick)?;
    Some(match side {
        Side::Buy => price.plus(away),
        Side::Sell if price.is_positive() => price.minus(away).max(price.min(tick)),
        Side::Sell => price.minus(away),
    })
}
