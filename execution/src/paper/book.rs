//! Filling orders from the visible levels of a book, by price and time.
//!
//! A book is one picture: what our orders take from it is gone for those behind them, and the next picture is what the
//! market says then. Nothing is known of what stands ahead of a waiting order, so it is filled only where the other
//! side has come to its price.

use std::collections::BTreeMap;

use ephor_governance::ids::SourceId;
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};

use super::Placed;
use super::price::is_within;
use crate::order::Kind;

/// What can be had at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The price.
    pub price: Amount,
    /// How much.
    pub qty: Amount,
}

/// One side of a book, as it is used up.
#[derive(Debug)]
pub(super) struct Visible(Vec<Level>);

impl Visible {
    /// Levels in the order in which an order on this side takes them, whatever order they came in.
    pub(super) fn to(side: Side, levels: &[Level]) -> Self {
        let mut levels: Vec<Level> = levels.iter().copied().filter(|level| level.qty.is_positive()).collect();
        match side {
            Side::Buy => levels.sort_by_key(|level| level.price),
            Side::Sell => levels.sort_by_key(|level| std::cmp::Reverse(level.price)),
        }
        Self(levels)
    }

    /// The best price that is left.
    pub(super) fn best(&self) -> Option<Amount> {
        self.0.iter().find(|level| level.qty.is_positive()).map(|level| level.price)
    }

    /// The best level that is left at this limit or better.
    pub(super) fn next(&self, side: Side, limit: Option<Amount>) -> Option<Level> {
        let level = *self.0.iter().find(|level| level.qty.is_positive())?;
        limit.is_none_or(|limit| is_within(side, limit, level.price)).then_some(level)
    }

    /// Takes from the best level; a `qty` of zero uses it up.
    pub(super) fn take(&mut self, qty: Amount) {
        if let Some(level) = self.0.iter_mut().find(|level| level.qty.is_positive()) {
            level.qty = if qty.is_positive() { level.qty.minus(qty) } else { Amount::ZERO };
        }
    }
}

/// The price that an order will not go beyond.
pub(super) const fn limit(kind: Kind) -> Option<Amount> {
    match kind {
        Kind::Limit(limit) => Some(limit),
        Kind::Market | Kind::Stop(_) => None,
    }
}

/// The orders of one side in the order in which they are served: those that take any price, then the best price, then
/// the first that came.
pub(super) fn by_priority(
    side: Side,
    open: &[SourceId],
    orders: &BTreeMap<SourceId, Placed>,
    at: Timestamp,
) -> Vec<SourceId> {
    let mut served: Vec<(Option<Amount>, &SourceId)> = open
        .iter()
        .filter_map(|id| orders.get(id).map(|placed| (id, placed)))
        .filter(|(_, placed)| placed.order.side == side && placed.from <= at)
        .map(|(id, placed)| (limit(placed.order.kind), id))
        .collect();
    // The sort is stable, and `open` is in the order of arrival.
    served.sort_by_key(|(limit, _)| {
        limit.map(|limit| match side {
            Side::Buy => Amount::ZERO.minus(limit),
            Side::Sell => limit,
        })
    });
    served.into_iter().map(|(_, id)| id.clone()).collect()
}
