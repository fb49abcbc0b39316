//! The book of fills: which part of a position an execution opens, which it closes, and with what result.
//!
//! One book an instrument and account, netted in the order in which fills arrive: the log's order is the truth. A lot
//! keeps what it cost and not its price, so that taking a part out of it loses nothing: what the part gets, the
//! rest is without. So quantities add up exactly, and so do costs and fees; once a position is flat its whole result
//! does not depend on how it was matched or in how many pieces its orders were filled.
//!
//! Rounding happens in `quotient` alone, half to even. A product of more than 28 digits is held at 28.

use std::collections::BTreeMap;

use rust_decimal::RoundingStrategy;
use serde::{Deserialize, Serialize};

use crate::event::Registration;
use crate::fill::{Fee, Fill, Netting};
use crate::ids::{AccountId, Currency, InstrumentId};
use crate::order::Side;
use crate::rejection::Rejection;
use crate::trade::{Direction, Trade};
use crate::units::{Amount, Timestamp};

/// The most lots of a book. Beyond it the two oldest become one, at their weighted average.
pub const LOTS_MAX: usize = 64;

/// The most flat books kept for the time of their last fill; beyond it the one quiet for longest is forgotten.
pub const FLAT_MAX: usize = 256;

/// Places behind the point to which a share of costs or fees is rounded, where the whole does not have more itself.
const PLACES: u32 = 16;

/// Places of an average price: as many as an amount holds.
const PRICE_PLACES: u32 = 28;

/// Part of a position that was opened together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// How much is left of it, above zero.
    pub qty: Amount,
    /// What that was opened at: the sum of quantity x price.
    pub cost: Amount,
    /// Fees of opening it, in the strategy's currency; below zero a rebate.
    pub fees: Amount,
    /// When the first of it was opened, by the source's clock.
    pub opened_at: Timestamp,
}

impl Lot {
    fn with(&self, other: &Self) -> Self {
        Self {
            qty: self.qty.plus(other.qty),
            cost: self.cost.plus(other.cost),
            fees: self.fees.plus(other.fees),
            opened_at: self.opened_at.min(other.opened_at),
        }
    }

    /// Takes this much out, at most all of it.
    fn take(&mut self, qty: Amount) -> Self {
        let part = |of| share(of, qty, self.qty);
        let taken = Self { qty, cost: part(self.cost), fees: part(self.fees), opened_at: self.opened_at };
        self.cost = self.cost.minus(taken.cost);
        self.fees = self.fees.minus(taken.fees);
        self.qty = self.qty.minus(qty);
        taken
    }
}

/// What stands open of one instrument in one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Which way the position stands, or stood.
    pub direction: Direction,
    /// Its lots, oldest first; none where it is flat.
    pub lots: Vec<Lot>,
    /// The latest time of a fill in it, by the source's clock.
    pub last_at: Timestamp,
}

/// The part of a position that one fill closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which way the position stood.
    pub direction: Direction,
    /// What was matched: its cost and its fees are those of the entry.
    pub entry: Lot,
    /// The closing fill's own quantity x price, for this part of it.
    pub proceeds: Amount,
    /// The closing fill's own fee, for this part of it.
    pub exit_fee: Amount,
}

impl Book {
    /// The signed position.
    #[must_use]
    pub fn position(&self) -> Amount {
        let qty = self.lots.iter().fold(Amount::ZERO, |qty, lot| qty.plus(lot.qty));
        match self.direction {
            Direction::Long => qty,
            Direction::Short => Amount::ZERO.minus(qty),
        }
    }

    fn flat(fill: &Fill) -> Self {
        Self { direction: direction_of(fill.side), lots: Vec::new(), last_at: fill.at }
    }

    fn merge_oldest(&mut self, down_to: usize) {
        while self.lots.len() > down_to {
            let oldest = self.lots.remove(0);
            match self.lots.first_mut() {
                Some(next) => *next = oldest.with(next),
                None => return,
            }
        }
    }

    /// Takes up to this much out of the lots, oldest first.
    fn take(&mut self, qty: Amount) -> Option<Lot> {
        let mut taken: Option<Lot> = None;
        let mut wanted = qty;
        while wanted.is_positive() {
            let Some(oldest) = self.lots.first_mut() else { break };
            let part = oldest.take(wanted.min(oldest.qty));
            if oldest.qty.is_zero() {
                self.lots.remove(0);
            }
            wanted = wanted.minus(part.qty);
            taken = Some(taken.map_or_else(|| part.clone(), |taken| taken.with(&part)));
        }
        taken
    }

    /// The book after a fill that costs `fee` in the strategy's own currency, and what it closed.
    ///
    /// # Errors
    /// [`Rejection::InvalidField`] where a number does not fit; nothing is rounded that must add up.
    pub fn after(&self, fill: &Fill, fee: Amount, netting: Netting) -> Result<(Self, Option<Closed>), Rejection> {
        let direction = direction_of(fill.side);
        let mut book = Self { last_at: self.last_at.max(fill.at), ..self.clone() };
        let position = book.position();
        exact_sum(position, fill.signed_qty())
            .ok_or_else(|| does_not_fit("qty", format!("{} beside the position of {position}", fill.qty)))?;
        let value = |qty: Amount| {
            qty.times(fill.price).ok_or_else(|| does_not_fit("qty", format!("{qty} x price {}", fill.price)))
        };
        if netting == Netting::Average {
            book.merge_oldest(1);
        }
        let entry = if book.direction == direction { None } else { book.take(fill.qty) };
        let (mut opening, mut fee_left) = (fill.qty, fee);
        let closed = match entry {
            None => None,
            Some(entry) => {
                let exit_fee = share(fee, entry.qty, fill.qty);
                (opening, fee_left) = (opening.minus(entry.qty), fee.minus(exit_fee));
                Some(Closed { direction: self.direction, proceeds: value(entry.qty)?, exit_fee, entry })
            }
        };
        if opening.is_positive() {
            book.direction = direction;
            book.lots.push(Lot { qty: opening, cost: value(opening)?, fees: fee_left, opened_at: fill.at });
            book.merge_oldest(if netting == Netting::Average { 1 } else { LOTS_MAX });
        }
        Ok((book, closed))
    }
}

impl Closed {
    /// Average price of what was matched.
    #[must_use]
    pub fn entry_price(&self) -> Amount {
        quotient(self.entry.cost, Amount::ONE, self.entry.qty, PRICE_PLACES)
    }

    /// The result net of the fees of both sides, at this value of one unit at a price of one.
    fn result(&self, multiplier: Amount) -> Option<Amount> {
        let gained = match self.direction {
            Direction::Long => self.proceeds.minus(self.entry.cost),
            Direction::Short => self.entry.cost.minus(self.proceeds),
        };
        gained.times(multiplier).map(|gained| gained.minus(self.entry.fees).minus(self.exit_fee))
    }
}

/// The books of one strategy, and what was counted on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By instrument and account; fills that name no account stand under the empty name.
    pub books: BTreeMap<InstrumentId, BTreeMap<AccountId, Book>>,
    /// Fills recorded.
    pub recorded: u64,
    /// Of these, fills that came after a later one of their book.
    pub late: u64,
    /// Of these, fills with a fee in another currency and no rate for it: no result contains that fee.
    pub fees_unconverted: u64,
}

impl State {
    fn book(&self, fill: &Fill) -> Option<&Book> {
        self.books.get(&fill.instrument)?.get(&account_of(fill))
    }

    /// Whether fills have said anything of this instrument.
    #[must_use]
    pub fn knows(&self, instrument: &InstrumentId) -> bool {
        self.books.contains_key(instrument)
    }

    /// Whether anything stands open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.books.values().flat_map(BTreeMap::values).any(|book| !book.lots.is_empty())
    }

    /// The signed position over all accounts.
    #[must_use]
    pub fn position(&self, instrument: &InstrumentId) -> Amount {
        let books = self.books.get(instrument).into_iter().flat_map(BTreeMap::values);
        books.fold(Amount::ZERO, |position, book| position.plus(book.position()))
    }

    /// Forgets flat books beyond [`FLAT_MAX`], the one quiet for longest first.
    fn forget_flat(&mut self) {
        let flat = |book: &&Book| book.lots.is_empty();
        if self.books.values().flat_map(BTreeMap::values).filter(flat).count() <= FLAT_MAX {
            return;
        }
        let books = self.books.iter().flat_map(|(name, books)| books.iter().map(move |(key, book)| (name, key, book)));
        let quietest = books.filter(|(_, _, book)| flat(book)).min_by_key(|(_, _, book)| book.last_at);
        let Some((instrument, account)) = quietest.map(|(name, key, _)| (name.clone(), key.clone())) else { return };
        if let Some(books) = self.books.get_mut(&instrument) {
            books.remove(&account);
            if books.is_empty() {
                self.books.remove(&instrument);
            }
        }
    }
}

/// The round trip that a fill ends, if it ends one: the part of the position that it closes.
///
/// ```
/// use ephor_governance::netting::{State, decide};
/// use ephor_governance::{fill::{Fill, Netting}, order::Side, units::Timestamp};
/// let fill = Fill {
///     id: "exec-1".parse().unwrap(), instrument: "EUR/USD".parse().unwrap(), account: None, order_id: None,
///     side: Side::Buy, qty: 100.into(), price: 2.into(), fee: None, at: Timestamp::default(),
/// };
/// assert_eq!(decide(&State::default(), &fill, Netting::Fifo, None), Ok(None));
/// ```
///
/// # Errors
/// [`Rejection::InvalidField`] for a quantity or a rate that is not above zero, and for numbers that do not fit.
pub fn decide(
    state: &State,
    fill: &Fill,
    netting: Netting,
    registration: Option<&Registration>,
) -> Result<Option<Trade>, Rejection> {
    if !fill.qty.is_positive() {
        return Err(invalid("qty", format!("must be above 0, found {}", fill.qty)));
    }
    let own = registration.map(|registration| &registration.currency);
    let fee = match &fill.fee {
        None => Amount::ZERO,
        // A fee that nobody can convert is in no result.
        Some(fee) => fee_in(fee, own)?.unwrap_or(Amount::ZERO),
    };
    let flat = || Book::flat(fill);
    let (_, closed) = state.book(fill).map_or_else(flat, Book::clone).after(fill, fee, netting)?;
    let Some(closed) = closed else { return Ok(None) };
    let multiplier = registration.map_or(Amount::ONE, |registration| registration.multiplier);
    let result = closed.result(multiplier).ok_or_else(|| does_not_fit("price", "the result x multiplier"))?;
    Ok(Some(Trade {
        id: fill.id.clone(),
        instrument: fill.instrument.clone(),
        direction: closed.direction,
        qty: closed.entry.qty,
        entry_price: closed.entry_price(),
        exit_price: fill.price,
        realized_pnl: result,
        currency: own.cloned(),
        initial_risk: None,
        opened_at: closed.entry.opened_at,
        // A late fill may have happened before what it closes.
        closed_at: fill.at.max(closed.entry.opened_at),
        order_id: fill.order_id.clone(),
    }))
}

/// Applies one recorded fill. `own` is the strategy's currency.
#[must_use]
pub fn evolve(mut state: State, fill: &Fill, netting: Netting, own: Option<&Currency>) -> State {
    let fee = fill.fee.as_ref().map(|fee| fee_in(fee, own).unwrap_or_default());
    state.recorded = state.recorded.saturating_add(1);
    state.fees_unconverted = state.fees_unconverted.saturating_add(u64::from(fee == Some(None)));
    let books = state.books.entry(fill.instrument.clone()).or_default();
    let book = books.entry(account_of(fill)).or_insert_with(|| Book::flat(fill));
    state.late = state.late.saturating_add(u64::from(fill.at < book.last_at));
    // What does not fit was refused and is not in the log.
    if let Ok((after, _)) = book.after(fill, fee.flatten().unwrap_or(Amount::ZERO), netting) {
        *book = after;
    }
    if book.lots.is_empty() {
        state.forget_flat();
    }
    state
}

/// A fee in the strategy's currency; `None` where it is in another and came without a rate.
fn fee_in(fee: &Fee, own: Option<&Currency>) -> Result<Option<Amount>, Rejection> {
    if fee.rate.is_some_and(|rate| !rate.is_positive()) {
        return Err(invalid("fee_rate", "must be above 0"));
    }
    if fee.currency.as_ref().is_none_or(|currency| Some(currency) == own) {
        // Nothing to convert, whatever it would be worth in something else.
        return Ok(Some(fee.amount));
    }
    let Some(rate) = fee.rate else { return Ok(None) };
    fee.amount.times(rate).map(Some).ok_or_else(|| does_not_fit("fee", format!("{} x fee_rate {rate}", fee.amount)))
}

fn account_of(fill: &Fill) -> AccountId {
    fill.account.clone().unwrap_or_default()
}

const fn direction_of(side: Side) -> Direction {
    match side {
        Side::Buy => Direction::Long,
        Side::Sell => Direction::Short,
    }
}

fn invalid(field: &'static str, problem: impl Into<String>) -> Rejection {
    Rejection::InvalidField { field, problem: problem.into() }
}

fn does_not_fit(field: &'static str, what: impl std::fmt::Display) -> Rejection {
    invalid(field, format!("{what} does not fit in 28 digits"))
}

/// The sum where it has all its digits.
fn exact_sum(one: Amount, other: Amount) -> Option<Amount> {
    let sum = one.decimal().checked_add(other.decimal())?;
    let is_exact =
        sum.checked_sub(one.decimal())? == other.decimal() && sum.checked_sub(other.decimal())? == one.decimal();
    is_exact.then_some(sum.into())
}

/// `of` x `part` / `whole`, in as many places as leave the rest of `of` without a digit lost.
fn share(of: Amount, part: Amount, whole: Amount) -> Amount {
    if part == whole {
        return of;
    }
    let mut widest = of.decimal().normalize();
    // As far as it fits: the rest has the same places.
    widest.rescale(widest.scale().max(PLACES));
    quotient(of, part, whole, widest.scale())
}

/// `of` x `part` / `whole`, half to even at so many places: the one place where netting rounds.
fn quotient(of: Amount, part: Amount, whole: Amount, places: u32) -> Amount {
    let (of, part, whole) = (of.decimal(), part.decimal(), whole.decimal());
    let product = of.checked_mul(part).and_then(|product| product.checked_div(whole));
    // A product that is too large, of a share that is not.
    let ratio = || part.checked_div(whole).and_then(|ratio| of.checked_mul(ratio));
    let found = product.or_else(ratio).unwrap_or_default();
    found.round_dp_with_strategy(places, RoundingStrategy::MidpointNearestEven).normalize().into()
}
