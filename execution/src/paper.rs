//! A venue where nothing is at stake: it fills orders from prices, bars or books that are given to it.
//!
//! It knows no clock and draws no lots of its own: time comes in with everything, and what would be chance (a refusal,
//! a fill in parts, slippage) follows from the seed and the order's id alone. The same orders and prices give the same
//! executions, and one order's luck never depends on another's. It keeps every order and every execution, so that an
//! engine can come back to it after a crash as to any venue.
//!
//! How it fills is in [`Terms`] and in the three ways in which a market comes in: [`PaperVenue::on_price`],
//! [`PaperVenue::on_bar_open`] with [`PaperVenue::on_bar`], and [`PaperVenue::on_book`].
//!
//! Invariants: no order is filled beyond its quantity, or at a price worse than its limit. The sum of all fills is what
//! is held. An order that may only reduce never opens or turns a position. Money is exact; what
//! does not fit an exact decimal is not filled.

mod book;
mod chance;
mod fill;
mod price;

use std::collections::BTreeMap;

use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::book::Level;
use self::book::Visible;
use self::chance::Chance;
use self::fill::in_lots;
use self::price::{Moment, Quote};
use crate::instrument::Instrument;
use crate::order::{Kind, VenueOrder};
use crate::positions::Instruments;
use crate::venue::{Execution, Holding, Known, Venue, VenueError, What};

/// What trading costs, and how the venue behaves. The default costs nothing, and fills everything at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// What all chances follow from.
    pub seed: u64,
    /// Fee of a fill of an order that had been waiting, a fraction of the fill's value; below zero a rebate.
    pub fee_maker: Amount,
    /// Fee of a fill of an order that took what was there, a fraction of the fill's value.
    pub fee_taker: Amount,
    /// Fee of every order that is filled, on top, with its first fill.
    pub fee_fixed: Amount,
    /// How far from the market's price a market order, or a stop, is filled at most, ticks. Never in its favour. A
    /// book's own depth takes its place where there is one.
    pub slippage_ticks: u32,
    /// The same as a fraction of the price, on top; in whole ticks, rounded up.
    pub slippage: Amount,
    /// The share of the volume told by [`PaperVenue::on_volume`] that all fills together take at most; as much as they
    /// want where this is not set. A book's own depth takes its place where there is one.
    pub volume_share: Option<Amount>,
    /// How long an order is under way before the market sees it, nanoseconds.
    pub latency_nanos: u64,
    /// The share of fills that leave a part to the next price.
    pub partial: Amount,
    /// The share of orders that the venue turns away.
    pub reject: Amount,
    /// How long an order stays open, nanoseconds; until it is filled or taken back where this is not set.
    pub good_for_nanos: Option<u64>,
}

/// What one stretch of time traded at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// The first price.
    pub open: Amount,
    /// The highest.
    pub high: Amount,
    /// The lowest.
    pub low: Amount,
    /// The last.
    pub close: Amount,
}

/// An order, and how far it has come.
#[derive(Clone, Debug, PartialEq)]
struct Placed {
    order: VenueOrder,
    filled: Amount,
    /// How many fills there were.
    fills: u32,
    /// From when on the market sees it.
    from: Timestamp,
    /// When it runs out.
    until: Option<Timestamp>,
    is_open: bool,
    /// A limit that a price has passed by: what comes to it later takes it, not the other way round.
    is_resting: bool,
    /// A stop that has been reached.
    is_triggered: bool,
}

impl Placed {
    fn left(&self) -> Amount {
        self.order.qty.minus(self.filled)
    }
}

/// The paper venue.
///
/// ```
/// use ephor_execution::instrument::Instrument;
/// use ephor_execution::order::{Kind, VenueOrder};
/// use ephor_execution::paper::{PaperVenue, Terms};
/// use ephor_execution::venue::Venue;
/// use ephor_governance::order::Side;
/// use ephor_governance::units::{Amount, Timestamp};
///
/// let share = Instrument::new("ACME".parse().unwrap(), Amount::ONE, Amount::new(1, 2), "USD".parse().unwrap());
/// let mut venue = PaperVenue::new(Terms::default(), [share]);
/// let order = VenueOrder {
///     id: "o-1".parse().unwrap(),
///     strategy: "trend".parse().unwrap(),
///     instrument: "ACME".parse().unwrap(),
///     side: Side::Buy,
///     qty: Amount::from(10),
///     kind: Kind::Market,
///     reduce_only: false,
/// };
/// venue.submit(&order, Timestamp::from_nanos(1)).unwrap();
/// venue.on_price(&order.instrument, Amount::from(100), Timestamp::from_nanos(2));
/// assert_eq!(venue.holdings().unwrap()[0].qty, Amount::from(10));
/// ```
#[derive(Clone, Debug)]
pub struct PaperVenue {
    terms: Terms,
    instruments: Instruments,
    orders: BTreeMap<SourceId, Placed>,
    /// Open orders, in the order of their arrival.
    open: BTreeMap<InstrumentId, Vec<SourceId>>,
    /// When the bar that is under way began.
    opened: BTreeMap<InstrumentId, Timestamp>,
    /// What is left of the volume that was told.
    room: BTreeMap<InstrumentId, Amount>,
    holdings: BTreeMap<(StrategyId, InstrumentId), Amount>,
    executions: Vec<Execution>,
    /// The latest time that came in; an earlier one counts as this.
    now: Timestamp,
}

impl PaperVenue {
    /// A venue where these instruments are traded.
    #[must_use]
    pub fn new(terms: Terms, instruments: impl IntoIterator<Item = Instrument>) -> Self {
        Self {
            terms,
            instruments: instruments.into_iter().map(|instrument| (instrument.id.clone(), instrument)).collect(),
            orders: BTreeMap::new(),
            open: BTreeMap::new(),
            opened: BTreeMap::new(),
            room: BTreeMap::new(),
            holdings: BTreeMap::new(),
            executions: Vec::new(),
            now: Timestamp::from_nanos(i64::MIN),
        }
    }

    /// This much is traded in all from here until another volume is told, at whatever prices follow: a bar's volume
    /// is told before the bar. Orders share it in the order in which they are served.
    pub fn on_volume(&mut self, instrument: &InstrumentId, volume: Amount) {
        if let Some(share) = self.terms.volume_share {
            self.room.insert(instrument.clone(), volume.times_saturating(share));
        }
    }

    /// The market trades at this price. Orders that have arrived are filled at it: market orders, and stops that it
    /// reaches, with slippage; limits that it reaches at their own price, or at this one where it is the first that
    /// they see.
    pub fn on_price(&mut self, instrument: &InstrumentId, price: Amount, at: Timestamp) {
        self.on_time(at);
        self.meet(instrument, Moment::At(price));
    }

    /// A bar opens. What the market has jumped over since the last price is filled at the open, for better or worse.
    pub fn on_bar_open(&mut self, instrument: &InstrumentId, open: Amount, at: Timestamp) {
        self.on_time(at);
        self.opened.insert(instrument.clone(), self.now);
        self.meet(instrument, Moment::Open(open));
    }

    /// A bar is over; where its opening was not told, it opened at this moment. Limits and stops in its range are
    /// filled at their own price, stops first and with slippage; what came during the bar only sees its close.
    pub fn on_bar(&mut self, instrument: &InstrumentId, bar: &Bar, at: Timestamp) {
        if !self.opened.contains_key(instrument) {
            self.on_bar_open(instrument, bar.open, at);
        }
        self.on_time(at);
        let opened = self.opened.remove(instrument).unwrap_or(self.now);
        self.meet(instrument, Moment::Through { opened, high: bar.high, low: bar.low, close: bar.close });
    }

    /// What can be seen of the book now. Orders that have arrived take it level by level, by price and time; what is
    /// left of them waits for the next picture. A stop is reached by the best price that it would get.
    pub fn on_book(&mut self, instrument: &InstrumentId, bids: &[Level], asks: &[Level], at: Timestamp) {
        self.on_time(at);
        let Some(terms) = self.instruments.get(instrument).cloned() else { return };
        for (side, levels) in [(Side::Buy, asks), (Side::Sell, bids)] {
            let mut visible = Visible::to(side, levels);
            let open = self.open.get(instrument).map(Vec::as_slice).unwrap_or_default();
            for id in book::by_priority(side, open, &self.orders, self.now) {
                self.walk(&id, &terms, &mut visible);
            }
        }
    }

    /// Time passes: orders that run out expire.
    pub fn on_time(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        if self.terms.good_for_nanos.is_none() {
            return;
        }
        let open = self.open.values().flatten().filter_map(|id| self.orders.get(id));
        let mut over: Vec<(Timestamp, SourceId)> = open
            .filter_map(|placed| placed.until.map(|until| (until, placed.order.id.clone())))
            .filter(|(until, _)| *until <= self.now)
            .collect();
        over.sort();
        for (until, id) in over {
            self.end(&id, What::Expired, until);
        }
    }

    /// Lets every order that has arrived meet the market.
    fn meet(&mut self, instrument: &InstrumentId, moment: Moment) {
        let Some(terms) = self.instruments.get(instrument).cloned() else { return };
        let mut due: Vec<SourceId> = self.open.get(instrument).cloned().unwrap_or_default();
        if matches!(moment, Moment::Through { .. }) {
            let is_stop = |id: &SourceId| self.orders.get(id).is_some_and(|it| matches!(it.order.kind, Kind::Stop(_)));
            // The sort is stable: among equals, the first that came.
            due.sort_by_key(|id| !is_stop(id));
        }
        for id in due {
            let now = self.now;
            let Some(placed) = self.orders.get_mut(&id).filter(|it| it.is_open && it.from <= now) else { continue };
            let Some(Quote { price, is_taker, slips }) = price::quote(placed, moment) else { continue };
            let (side, number) = (placed.order.side, placed.fills.saturating_add(1));
            let mut chance = Chance::of(self.terms.seed, &id, number);
            let ticks = self.slippage(price, terms.tick).map(|most| chance.below(most.saturating_add(1)));
            let slipped = || price::slipped(side, price, terms.tick, ticks?);
            let price = if slips { slipped() } else { Some(price) };
            let qty = self.in_room(&terms, self.part(&id, &terms, &mut chance));
            if self.fill(&id, &terms, qty, price, is_taker) {
                self.take_room(instrument, qty);
            }
        }
    }

    /// Lets an order take from a book until it is filled, or there is nothing left for it.
    fn walk(&mut self, id: &SourceId, terms: &Instrument, visible: &mut Visible) {
        let Some(placed) = self.orders.get_mut(id).filter(|it| it.is_open) else { return };
        let side = placed.order.side;
        let limit = book::limit(placed.order.kind);
        // What takes any price takes, however often it has to come back.
        let rested = limit.is_some() && std::mem::replace(&mut placed.is_resting, true);
        let Some(best) = visible.best() else { return };
        if !price::triggers(placed, best) {
            return;
        }
        while let Some(level) = visible.next(side, limit) {
            let wanted = self.wanted(id);
            if !wanted.is_positive() {
                break;
            }
            // Of a level's odd rest nothing can be had; the rest of a position can be closed, however odd.
            let qty = if wanted <= level.qty { wanted } else { in_lots(level.qty, terms.lot) };
            if qty.is_positive() {
                let price = limit.filter(|_| rested).unwrap_or(level.price);
                if !self.fill(id, terms, qty, Some(price), !rested) {
                    break;
                }
            }
            visible.take(qty);
        }
    }

    /// Why an order cannot be taken.
    fn admit(&self, order: &VenueOrder) -> Result<(), String> {
        let terms = self.instruments.get(&order.instrument);
        let terms = terms.ok_or_else(|| format!("{} is not traded here", order.instrument))?;
        if !order.qty.is_positive() {
            return Err(format!("a quantity of {} is no order", order.qty));
        }
        // A position that has come about in parts can always be closed: for a reduction only the sign counts.
        if order.reduce_only {
            if !self.reducible(order).is_positive() {
                return Err("there is no position to reduce".to_owned());
            }
        } else {
            if !is_multiple(order.qty, terms.lot) {
                return Err(format!("a quantity of {} is no multiple of {}", order.qty, terms.lot));
            }
            if order.qty < terms.qty_min {
                return Err(format!("a quantity of {} is below {}", order.qty, terms.qty_min));
            }
            if let Some(most) = terms.qty_max.filter(|most| order.qty > *most) {
                return Err(format!("a quantity of {} is above {most}", order.qty));
            }
        }
        if let Some(price) = order.kind.price() {
            if !is_multiple(price, terms.tick) {
                return Err(format!("a price of {price} is no multiple of {}", terms.tick));
            }
            let value = terms.value(order.qty, price).normalized();
            if let Some(least) = terms.notional_min.filter(|least| !order.reduce_only && value < *least) {
                return Err(format!("a value of {value} is below {least}"));
            }
        }
        if Chance::of(self.terms.seed, &order.id, 0).happens(self.terms.reject) {
            return Err("turned away by chance".to_owned());
        }
        Ok(())
    }
}

impl Venue for PaperVenue {
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError> {
        self.on_time(at);
        if let Some(placed) = self.orders.get(&order.id) {
            let is_same = placed.order == *order;
            return if is_same { Ok(()) } else { Err(VenueError::IdReused { id: order.id.clone() }) };
        }
        let later = |nanos| Timestamp::from_nanos(self.now.nanos().saturating_add_unsigned(nanos));
        let admitted = self.admit(order);
        let placed = Placed {
            order: order.clone(),
            filled: Amount::ZERO,
            fills: 0,
            from: later(self.terms.latency_nanos),
            until: self.terms.good_for_nanos.map(later),
            is_open: admitted.is_ok(),
            is_resting: false,
            is_triggered: false,
        };
        self.orders.insert(order.id.clone(), placed);
        let what = match admitted {
            Ok(()) => {
                self.open.entry(order.instrument.clone()).or_default().push(order.id.clone());
                What::Accepted
            }
            Err(reason) => What::Rejected { reason },
        };
        self.tell(order, what, self.now);
        Ok(())
    }

    fn cancel(&mut self, id: &SourceId, at: Timestamp) -> Result<(), VenueError> {
        self.on_time(at);
        if self.end(id, What::Canceled, self.now) { Ok(()) } else { Err(VenueError::NotOpen { id: id.clone() }) }
    }

    fn order(&self, id: &SourceId) -> Result<Option<Known>, VenueError> {
        Ok(self.orders.get(id).map(|placed| Known {
            order: placed.order.clone(),
            filled: placed.filled,
            is_open: placed.is_open,
        }))
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        let cursor = usize::try_from(cursor).unwrap_or(usize::MAX);
        Ok(self.executions.get(cursor..).map(<[Execution]>::to_vec).unwrap_or_default())
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        let all = self.holdings.iter().map(|((strategy, instrument), qty)| Holding {
            strategy: strategy.clone(),
            instrument: instrument.clone(),
            qty: *qty,
        });
        Ok(all.collect())
    }
}

fn is_multiple(of: Amount, step: Amount) -> bool {
    of.decimal().checked_rem(step.decimal()).is_some_and(|rest| rest.is_zero())
}
