//! Pre-trade risk: is this order safe?
//!
//! A list of small checks, asked in order; the first that says no ends the order. An exit is not asked about: what
//! makes a position smaller must not be trapped by what limits its size.

use std::collections::{BTreeSet, VecDeque};

use ephor_governance::ids::{Actor, InstrumentId};
use ephor_governance::units::{Amount, Timestamp};
use serde_json::json;

use crate::order::VenueOrder;
use crate::positions::Lane;
use crate::refusal::Refusal;
use crate::seen::Seen;
use crate::state::{Fields, Kept, StateError};

/// A check before an order is sent.
pub trait PreTrade {
    /// Whether the order may be sent to this lane.
    ///
    /// # Errors
    /// [`Refusal`], with the numbers it stands on.
    fn check(&mut self, order: &VenueOrder, lane: Lane, seen: &Seen<'_>) -> Result<(), Refusal>;

    /// What it would say to an exit, which passes: to be looked at, and nothing follows from it.
    fn flag(&self, _order: &VenueOrder, _lane: Lane, _seen: &Seen<'_>) -> Option<Refusal> {
        None
    }

    /// A named person lets what has latched go on.
    fn rearm(&mut self, _by: &Actor) {}

    /// What it has to find again after a restart; `None` where that is nothing. The name is its own among the checks of
    /// the list; of several checks with one name, the first finds what the first kept.
    fn kept(&self) -> Option<Kept> {
        None
    }

    /// Takes back what it kept.
    ///
    /// # Errors
    /// [`StateError`], which names the field.
    fn take_back(&mut self, _kept: Fields) -> Result<(), StateError> {
        Ok(())
    }
}

fn reference(order: &VenueOrder, seen: &Seen<'_>) -> Result<Amount, Refusal> {
    let unknown = || Refusal::PriceUnknown { instrument: order.instrument.clone() };
    seen.prices.get(&order.instrument).copied().ok_or_else(unknown)
}

/// What an order is worth: at its own price where that is the worse one.
fn value(order: &VenueOrder, seen: &Seen<'_>) -> Result<Amount, Refusal> {
    let last = reference(order, seen)?;
    let price = order.kind.price().map_or(last.abs(), |own| own.abs().max(last.abs()));
    let unknown = || Refusal::InstrumentUnknown { instrument: order.instrument.clone() };
    Ok(seen.instruments.get(&order.instrument).ok_or_else(unknown)?.value(order.qty, price))
}

/// No limit or stop price may be farther from the market than this fraction of it.
#[derive(Clone, Copy, Debug)]
pub struct PriceCollar {
    /// A fraction: 0.05 is 5 %.
    pub max: Amount,
}

impl PriceCollar {
    fn far(&self, order: &VenueOrder, seen: &Seen<'_>) -> Result<(), Refusal> {
        let Some(price) = order.kind.price() else { return Ok(()) };
        let reference = reference(order, seen)?;
        let far = price.minus(reference).abs() > self.max.times_saturating(reference.abs());
        if far { Err(Refusal::PriceCollar { price, reference, max: self.max }) } else { Ok(()) }
    }
}

impl PreTrade for PriceCollar {
    fn check(&mut self, order: &VenueOrder, _: Lane, seen: &Seen<'_>) -> Result<(), Refusal> {
        self.far(order, seen)
    }

    fn flag(&self, order: &VenueOrder, _: Lane, seen: &Seen<'_>) -> Option<Refusal> {
        self.far(order, seen).err()
    }
}

/// No order may be larger or worth more than this.
#[derive(Clone, Copy, Debug, Default)]
pub struct OrderLimits {
    /// In the instrument's currency.
    pub value_max: Option<Amount>,
    /// In the instrument's units.
    pub qty_max: Option<Amount>,
}

impl PreTrade for OrderLimits {
    fn check(&mut self, order: &VenueOrder, _: Lane, seen: &Seen<'_>) -> Result<(), Refusal> {
        if let Some(max) = self.qty_max.filter(|max| order.qty > *max) {
            return Err(Refusal::OrderQty { qty: order.qty, max });
        }
        let Some(max) = self.value_max else { return Ok(()) };
        let value = value(order, seen)?;
        if value > max { Err(Refusal::OrderValue { value, max }) } else { Ok(()) }
    }
}

/// What positions may come to, with every order under way taken as filled.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExposureLimits {
    /// One strategy's position in one instrument, by value, in the instrument's currency.
    pub position_max: Option<Amount>,
    /// All positions of a lane together, by value. The instruments must share a currency.
    pub gross_max: Option<Amount>,
}

impl PreTrade for ExposureLimits {
    fn check(&mut self, order: &VenueOrder, lane: Lane, seen: &Seen<'_>) -> Result<(), Refusal> {
        let added = value(order, seen)?;
        let under_way = |same: &dyn Fn(&VenueOrder) -> bool| {
            let others = seen.working.values().chain(seen.doubtful.values()).filter(|it| it.order.id != order.id);
            others.filter(|it| it.lane == lane && !it.order.reduce_only && same(&it.order)).try_fold(
                Amount::ZERO,
                |sum, working| {
                    let left = VenueOrder { qty: working.left, ..working.order.clone() };
                    Ok::<_, Refusal>(sum.plus(value(&left, seen)?))
                },
            )
        };
        if let Some(max) = self.position_max {
            let held = seen.positions.of(lane, &order.strategy, &order.instrument);
            let held = value(&VenueOrder { qty: held.abs(), ..order.clone() }, seen)?;
            let own = |other: &VenueOrder| other.strategy == order.strategy && other.instrument == order.instrument;
            // An order against the position counts as if it came on top: it may turn it around before anything
            // else is filled. What only closes is an exit, and is not asked about.
            let position = held.plus(under_way(&own)?).plus(added);
            if position > max {
                return Err(Refusal::PositionLimit { position, max });
            }
        }
        let Some(max) = self.gross_max else { return Ok(()) };
        let unpriced = || Refusal::PriceUnknown { instrument: order.instrument.clone() };
        let held = seen.positions.gross(lane, seen.prices, seen.instruments).ok_or_else(unpriced)?;
        let exposure = held.plus(under_way(&|_| true)?).plus(added);
        if exposure > max { Err(Refusal::GrossExposure { exposure, max }) } else { Ok(()) }
    }
}

/// So many orders in so long a time; one more, and it stays off until a named person re-arms it.
#[derive(Clone, Debug)]
pub struct Throttle {
    orders_max: u32,
    window_nanos: i64,
    sent: VecDeque<Timestamp>,
    off: Option<Timestamp>,
}

impl Throttle {
    /// At most `orders_max` in any `window_nanos`.
    #[must_use]
    pub const fn new(orders_max: u32, window_nanos: i64) -> Self {
        Self { orders_max, window_nanos, sent: VecDeque::new(), off: None }
    }

    /// Since when it is off.
    #[must_use]
    pub const fn off_since(&self) -> Option<Timestamp> {
        self.off
    }
}

impl PreTrade for Throttle {
    fn check(&mut self, _: &VenueOrder, _: Lane, seen: &Seen<'_>) -> Result<(), Refusal> {
        let began = seen.at.nanos().saturating_sub(self.window_nanos);
        while self.sent.front().is_some_and(|at| at.nanos() <= began) {
            self.sent.pop_front();
        }
        let sent = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        if sent >= self.orders_max && self.off.is_none() {
            self.off = Some(seen.at);
        }
        if let Some(since) = self.off {
            return Err(Refusal::Throttled { sent, max: self.orders_max, since });
        }
        self.sent.push_back(seen.at);
        Ok(())
    }

    fn rearm(&mut self, by: &Actor) {
        if self.off.take().is_some() {
            tracing::warn!(%by, "the message throttle is armed again");
            self.sent.clear();
        }
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept { check: "throttle", state: json!({ "off": self.off, "sent": self.sent }) })
    }

    fn take_back(&mut self, mut kept: Fields) -> Result<(), StateError> {
        self.off = kept.take("off")?;
        self.sent = kept.each("sent")?.into();
        kept.end()
    }
}

/// Instruments that must not be traded.
#[derive(Clone, Debug, Default)]
pub struct Restricted(pub BTreeSet<InstrumentId>);

impl PreTrade for Restricted {
    fn check(&mut self, order: &VenueOrder, _: Lane, _: &Seen<'_>) -> Result<(), Refusal> {
        if self.0.contains(&order.instrument) { Err(Refusal::Restricted) } else { Ok(()) }
    }
}
