//! What every venue has to keep, for an engine to come back to it after a crash. One suite for all of them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, VenueOrder};
use ephor_execution::paper::{Level, PaperVenue, Terms};
use ephor_execution::venue::{Execution, Holding, Venue, VenueError, What};
use ephor_governance::ids::{InstrumentId, SourceId};
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};

/// A venue and the market that fills its orders: all that are open, at about this price.
trait Market: Venue {
    fn trade(&mut self, price: i64, at: Timestamp);
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn order(id: &str, side: Side, qty: i64) -> VenueOrder {
    VenueOrder {
        id: id.parse().unwrap(),
        strategy: "trend".parse().unwrap(),
        instrument: "ACME".parse().unwrap(),
        side,
        qty: Amount::from(qty),
        kind: Kind::Market,
        reduce_only: false,
    }
}

fn limit(id: &str, side: Side, qty: i64, price: i64) -> VenueOrder {
    VenueOrder { kind: Kind::Limit(Amount::from(price)), ..order(id, side, qty) }
}

fn all(venue: &impl Venue) -> Vec<Execution> {
    venue.executions_since(0).unwrap()
}

fn kinds(executions: &[Execution]) -> Vec<(&str, &'static str)> {
    let kind = |what: &What| match what {
        What::Accepted => "accepted",
        What::Filled(_) => "filled",
        What::Rejected { .. } => "rejected",
        What::Canceled => "canceled",
        What::Expired => "expired",
    };
    executions.iter().map(|execution| (execution.order_id.as_str(), kind(&execution.what))).collect()
}

fn the_same_order_again_is_the_same_order(venue: &mut impl Market) {
    let first = order("o-1", Side::Buy, 10);
    venue.submit(&first, at(1)).unwrap();
    venue.submit(&first, at(2)).unwrap();
    assert_eq!(kinds(&all(venue)), [("o-1", "accepted")]);
    venue.trade(100, at(3));
    let done = all(venue);
    venue.submit(&first, at(4)).unwrap();
    venue.trade(100, at(5));
    assert_eq!(all(venue), done);
    assert_eq!(venue.holdings().unwrap()[0].qty, 10.into());
}

fn another_order_under_a_known_id_is_refused(venue: &mut impl Market) {
    venue.submit(&order("o-1", Side::Buy, 10), at(1)).unwrap();
    let before = all(venue);
    for other in [order("o-1", Side::Buy, 11), order("o-1", Side::Sell, 10), limit("o-1", Side::Buy, 10, 100)] {
        let id = other.id.clone();
        assert_eq!(venue.submit(&other, at(2)), Err(VenueError::IdReused { id }));
    }
    assert_eq!(all(venue), before);
    assert_eq!(venue.order(&"o-1".parse().unwrap()).unwrap().unwrap().order.qty, 10.into());
}

fn what_never_came_is_not_known(venue: &mut impl Market) {
    let id: SourceId = "o-1".parse().unwrap();
    assert_eq!(venue.order(&id), Ok(None));
    assert_eq!(venue.cancel(&id, at(1)), Err(VenueError::NotOpen { id }));
    assert_eq!((all(venue), venue.holdings().unwrap()), (vec![], vec![]));
}

fn an_order_taken_back_is_never_filled(venue: &mut impl Market) {
    let waiting = limit("o-1", Side::Buy, 10, 50);
    venue.submit(&waiting, at(1)).unwrap();
    venue.trade(100, at(2));
    assert!(venue.order(&waiting.id).unwrap().unwrap().is_open);
    venue.cancel(&waiting.id, at(3)).unwrap();
    venue.trade(40, at(4));
    assert_eq!(kinds(&all(venue)), [("o-1", "accepted"), ("o-1", "canceled")]);
    assert!(!venue.order(&waiting.id).unwrap().unwrap().is_open);
    let id = waiting.id.clone();
    assert_eq!(venue.cancel(&id, at(5)), Err(VenueError::NotOpen { id }));
}

fn everything_can_be_told_again_from_any_point(venue: &mut impl Market) {
    for n in 0..5 {
        venue.submit(&order(&format!("o-{n}"), if n == 3 { Side::Sell } else { Side::Buy }, 3 + n), at(n)).unwrap();
        venue.trade(100 + n, at(n));
    }
    let all = all(venue);
    assert!(all.len() >= 10, "{all:?}");
    for from in 0..=all.len() {
        assert_eq!(venue.executions_since(from as u64).unwrap(), all[from..]);
    }
    assert_eq!(venue.executions_since(all.len() as u64 + 1), Ok(vec![]));
    assert_eq!(venue.executions_since(u64::MAX), Ok(vec![]));
    assert!(all.is_sorted_by_key(|execution| execution.at));
}

fn fills_come_to_what_is_held_and_each_has_its_id(venue: &mut impl Market) {
    for n in 0..6 {
        let mut order = order(&format!("o-{n}"), if n % 3 == 2 { Side::Sell } else { Side::Buy }, 1 + n);
        order.strategy = if n % 2 == 0 { "trend" } else { "value" }.parse().unwrap();
        venue.submit(&order, at(n)).unwrap();
        venue.trade(100, at(n));
    }
    let mut ids = BTreeSet::new();
    let mut sums: BTreeMap<_, Amount> = BTreeMap::new();
    let mut filled: BTreeMap<SourceId, Amount> = BTreeMap::new();
    let mut accepted = BTreeSet::new();
    for execution in all(venue) {
        match execution.what {
            What::Accepted => assert!(accepted.insert(execution.order_id)),
            What::Filled(fill) => {
                assert!(accepted.contains(&execution.order_id), "an order is accepted before it is filled");
                assert!(ids.insert(fill.id.clone()), "{} twice", fill.id);
                let sum = sums.entry((execution.strategy, execution.instrument)).or_default();
                *sum = sum.plus(fill.side.signed(fill.qty));
                let sum = filled.entry(execution.order_id).or_default();
                *sum = sum.plus(fill.qty);
            }
            What::Rejected { .. } | What::Canceled | What::Expired => panic!("{execution:?}"),
        }
    }
    let held = sums.into_iter().filter(|(_, qty)| !qty.is_zero());
    let held: Vec<_> = held.map(|((strategy, instrument), qty)| Holding { strategy, instrument, qty }).collect();
    assert_eq!(venue.holdings().unwrap(), held);
    for (id, sum) in filled {
        let known = venue.order(&id).unwrap().unwrap();
        assert_eq!((known.filled, known.is_open), (sum, sum < known.order.qty));
    }
}

fn a_refusal_is_an_execution_and_stays_one(venue: &mut impl Market) {
    let nothing = VenueOrder { reduce_only: true, ..order("o-1", Side::Sell, 10) };
    venue.submit(&nothing, at(1)).unwrap();
    assert_eq!(kinds(&all(venue)), [("o-1", "rejected")]);
    assert!(!venue.order(&nothing.id).unwrap().unwrap().is_open);
    // Also where it would be taken now: the id has its answer.
    venue.submit(&order("o-2", Side::Buy, 10), at(2)).unwrap();
    venue.trade(100, at(3));
    venue.submit(&nothing, at(4)).unwrap();
    venue.trade(100, at(5));
    assert_eq!(venue.holdings().unwrap()[0].qty, 10.into());
}

fn a_reduction_never_turns_a_position(venue: &mut impl Market) {
    venue.submit(&order("o-1", Side::Buy, 10), at(1)).unwrap();
    venue.trade(100, at(2));
    for id in ["o-2", "o-3"] {
        venue.submit(&VenueOrder { reduce_only: true, ..order(id, Side::Sell, 8) }, at(3)).unwrap();
    }
    venue.trade(100, at(4));
    venue.trade(100, at(5));
    assert_eq!(venue.holdings(), Ok(vec![]));
    assert!(!venue.order(&"o-3".parse().unwrap()).unwrap().unwrap().is_open);
}

fn a_limit_is_never_passed(venue: &mut impl Market) {
    venue.submit(&limit("o-1", Side::Buy, 10, 100), at(1)).unwrap();
    venue.submit(&limit("o-2", Side::Sell, 10, 110), at(1)).unwrap();
    for (n, price) in [105, 101, 109, 99, 120].into_iter().enumerate() {
        venue.trade(price, at(2 + i64::try_from(n).unwrap()));
    }
    let fills = all(venue).into_iter().filter_map(|execution| match execution.what {
        What::Filled(fill) => Some(fill),
        What::Accepted | What::Rejected { .. } | What::Canceled | What::Expired => None,
    });
    let mut sides = BTreeSet::new();
    for fill in fills {
        sides.insert(fill.side);
        match fill.side {
            Side::Buy => assert!(fill.price <= 100.into(), "{fill:?}"),
            Side::Sell => assert!(fill.price >= 110.into(), "{fill:?}"),
        }
    }
    assert_eq!(sides.len(), 2);
}

fn suite<V: Market>(new: impl Fn() -> V) {
    the_same_order_again_is_the_same_order(&mut new());
    another_order_under_a_known_id_is_refused(&mut new());
    what_never_came_is_not_known(&mut new());
    an_order_taken_back_is_never_filled(&mut new());
    everything_can_be_told_again_from_any_point(&mut new());
    fills_come_to_what_is_held_and_each_has_its_id(&mut new());
    a_refusal_is_an_execution_and_stays_one(&mut new());
    a_reduction_never_turns_a_position(&mut new());
    a_limit_is_never_passed(&mut new());
}

fn acme() -> InstrumentId {
    "ACME".parse().unwrap()
}

fn paper(terms: Terms) -> PaperVenue {
    PaperVenue::new(terms, [Instrument::new(acme(), Amount::ONE, Amount::new(1, 2), "USD".parse().unwrap())])
}

/// On last prices.
impl Market for PaperVenue {
    fn trade(&mut self, price: i64, at: Timestamp) {
        // Often enough for every part of an order to have had its turn.
        for _ in 0..16 {
            self.on_price(&acme(), Amount::from(price), at);
        }
    }
}

/// On a book of three thin levels a side.
struct OnBooks(PaperVenue);

impl Venue for OnBooks {
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError> {
        self.0.submit(order, at)
    }

    fn cancel(&mut self, id: &SourceId, at: Timestamp) -> Result<(), VenueError> {
        self.0.cancel(id, at)
    }

    fn order(&self, id: &SourceId) -> Result<Option<ephor_execution::venue::Known>, VenueError> {
        self.0.order(id)
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        self.0.executions_since(cursor)
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        self.0.holdings()
    }
}

impl Market for OnBooks {
    fn trade(&mut self, price: i64, at: Timestamp) {
        let level = |price, qty: i64| Level { price: Amount::from(price), qty: Amount::from(qty) };
        let asks: Vec<_> = (0..3).map(|n| level(price + n, 2 + n)).collect();
        let bids: Vec<_> = (0..3).map(|n| level(price - n, 2 + n)).collect();
        for _ in 0..3 {
            self.0.on_book(&acme(), &bids, &asks, at);
        }
    }
}

#[test]
fn the_paper_venue_is_a_venue_on_prices() {
    suite(|| paper(Terms::default()));
}

#[test]
fn the_paper_venue_is_a_venue_where_orders_are_filled_in_parts() {
    for seed in 0..20 {
        suite(|| paper(Terms { seed, partial: Amount::new(8, 1), slippage_ticks: 3, ..Terms::default() }));
    }
}

#[test]
fn the_paper_venue_is_a_venue_on_books() {
    suite(|| OnBooks(paper(Terms::default())));
}
