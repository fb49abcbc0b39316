//! What a fill comes to: how much, the fee, the holding after it, and the end of orders.

use ephor_governance::ids::{BYTES_MAX, InstrumentId, SourceId};
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};

use super::chance::{Chance, fnv1a};
use super::{PaperVenue, Placed};
use crate::instrument::Instrument;
use crate::order::VenueOrder;
use crate::venue::{Execution, Filled, What};

impl PaperVenue {
    /// How much of a strategy's position an order could close.
    pub(super) fn reducible(&self, order: &VenueOrder) -> Amount {
        let key = (order.strategy.clone(), order.instrument.clone());
        let held = self.holdings.get(&key).copied().unwrap_or_default();
        match order.side {
            Side::Sell => held.max(Amount::ZERO),
            Side::Buy => Amount::ZERO.minus(held).max(Amount::ZERO),
        }
    }

    /// How much an order may still be filled.
    pub(super) fn wanted(&self, id: &SourceId) -> Amount {
        let Some(placed) = self.orders.get(id).filter(|placed| placed.is_open) else { return Amount::ZERO };
        let left = placed.left();
        if placed.order.reduce_only { left.min(self.reducible(&placed.order)) } else { left }
    }

    /// How much of it is filled this time, as its chances have it.
    pub(super) fn part(&self, id: &SourceId, terms: &Instrument, chance: &mut Chance) -> Amount {
        let wanted = self.wanted(id);
        if !chance.happens(self.terms.partial) {
            return wanted;
        }
        let lots = wanted.decimal().checked_div(terms.lot.decimal()).and_then(|lots| u64::try_from(lots).ok());
        let some = lots.filter(|lots| *lots > 1).map(|lots| chance.below(lots - 1).saturating_add(1));
        let some = some.and_then(|some| Amount::from(i64::try_from(some).ok()?).times(terms.lot));
        some.map_or(wanted, |some| some.min(wanted))
    }

    /// How much of a quantity the volume leaves room for: all of it, or whole lots.
    pub(super) fn in_room(&self, terms: &Instrument, qty: Amount) -> Amount {
        match self.room.get(&terms.id) {
            Some(room) if *room < qty => in_lots(*room, terms.lot),
            Some(_) | None => qty,
        }
    }

    pub(super) fn take_room(&mut self, instrument: &InstrumentId, qty: Amount) {
        if let Some(room) = self.room.get_mut(instrument) {
            *room = room.minus(qty);
        }
    }

    /// How many ticks a price slips at most; `None` where that is no number.
    pub(super) fn slippage(&self, price: Amount, tick: Amount) -> Option<u64> {
        let share = price.abs().times(self.terms.slippage)?.decimal().checked_div(tick.decimal())?.ceil();
        u64::try_from(share).ok()?.checked_add(u64::from(self.terms.slippage_ticks))
    }

    /// Fills an order. `false` where nothing was filled: there was nothing to fill, or its numbers do not fit, and
    /// then the order is over.
    pub(super) fn fill(
        &mut self,
        id: &SourceId,
        terms: &Instrument,
        qty: Amount,
        price: Option<Amount>,
        is_taker: bool,
    ) -> bool {
        let Some(Placed { order, filled, fills, .. }) = self.orders.get(id).filter(|it| it.is_open) else {
            return false;
        };
        let (order, filled, number) = (order.clone(), *filled, fills.saturating_add(1));
        if !qty.is_positive() {
            return false;
        }
        let key = (order.strategy.clone(), order.instrument.clone());
        let held = self.holdings.get(&key).copied().unwrap_or_default();
        let comes_to = price.and_then(|price| {
            let fixed = if number == 1 { self.terms.fee_fixed } else { Amount::ZERO };
            let fee = self.fee(terms, qty, price, is_taker, fixed)?;
            Some((price, fee, exact_sum(held, order.side.signed(qty))?, exact_sum(filled, qty)?))
        });
        let Some((price, fee, after, filled)) = comes_to else {
            self.end(id, What::Rejected { reason: "a fill does not fit an exact decimal".to_owned() }, self.now);
            return false;
        };
        if after.is_zero() {
            self.holdings.remove(&key);
        } else {
            self.holdings.insert(key, after);
        }
        let is_whole = filled >= order.qty;
        if let Some(placed) = self.orders.get_mut(id) {
            (placed.filled, placed.fills, placed.is_open) = (filled, number, !is_whole);
        }
        if is_whole {
            self.forget(&order);
        }
        let fill = Filled { id: fill_id(id, number), side: order.side, qty, price, fee };
        self.tell(&order, What::Filled(fill), self.now);
        self.sweep(&order);
        true
    }

    fn fee(&self, terms: &Instrument, qty: Amount, price: Amount, is_taker: bool, fixed: Amount) -> Option<Amount> {
        let rate = if is_taker { self.terms.fee_taker } else { self.terms.fee_maker };
        let value = qty.times(price)?.times(terms.multiplier)?.abs();
        let fee = value.times(rate)?.decimal().checked_add(fixed.decimal())?;
        Some(Amount::from(fee).normalized())
    }

    /// Takes back what could only reduce, and has nothing left to reduce: a stop must not outlive its position, and
    /// wait for the next one.
    fn sweep(&mut self, filled: &VenueOrder) {
        let open = self.open.get(&filled.instrument).into_iter().flatten().filter_map(|id| self.orders.get(id));
        let idle: Vec<SourceId> = open
            .map(|placed| &placed.order)
            .filter(|order| order.reduce_only && order.strategy == filled.strategy)
            .filter(|order| !self.reducible(order).is_positive())
            .map(|order| order.id.clone())
            .collect();
        for id in idle {
            self.end(&id, What::Canceled, self.now);
        }
    }

    /// Ends an order; `false` where it was not open.
    pub(super) fn end(&mut self, id: &SourceId, what: What, at: Timestamp) -> bool {
        let Some(placed) = self.orders.get_mut(id).filter(|placed| placed.is_open) else { return false };
        placed.is_open = false;
        let order = placed.order.clone();
        self.forget(&order);
        self.tell(&order, what, at);
        true
    }

    /// Strikes an order off those that are open.
    fn forget(&mut self, order: &VenueOrder) {
        if let Some(open) = self.open.get_mut(&order.instrument) {
            open.retain(|id| *id != order.id);
        }
    }

    pub(super) fn tell(&mut self, order: &VenueOrder, what: What, at: Timestamp) {
        self.executions.push(Execution {
            order_id: order.id.clone(),
            strategy: order.strategy.clone(),
            instrument: order.instrument.clone(),
            at,
            what,
        });
    }
}

/// The largest multiple of a lot that is not above this; nothing where there is none.
pub(super) fn in_lots(qty: Amount, lot: Amount) -> Amount {
    let lots = qty.decimal().checked_div(lot.decimal()).map(|lots| Amount::from(lots.floor()));
    lots.and_then(|lots| lots.times(lot)).unwrap_or_default()
}

/// The sum, where it holds every digit of both: one that does not fit is rounded to fewer places.
fn exact_sum(a: Amount, b: Amount) -> Option<Amount> {
    let (a, b) = (a.normalized().decimal(), b.normalized().decimal());
    let sum = a.checked_add(b)?;
    (sum.scale() == a.scale().max(b.scale())).then(|| Amount::from(sum).normalized())
}

/// A fill's id: the order's, and the fill's number. A long one is cut, with what it was in a hash.
fn fill_id(order: &SourceId, number: u32) -> SourceId {
    let text = order.as_str();
    let whole = format!("{text}/{number}");
    if whole.len() <= BYTES_MAX {
        return SourceId::recorded(whole.into());
    }
    let tail = format!("~{:016x}/{number}", fnv1a(text.as_bytes()));
    let head = text.get(..text.floor_char_boundary(BYTES_MAX.saturating_sub(tail.len()))).unwrap_or_default();
    SourceId::recorded(format!("{head}{tail}").into())
}
