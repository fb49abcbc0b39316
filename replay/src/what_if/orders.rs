//! Which order a trade came from: by what the record says, never by what is likely.
//!
//! A trade is tied to the orders that *opened* its position, because their size is its size. Either it
//! carries the trace or the id of such an order; or the venue's reports name them: their fills on the
//! opening side, from the moment the position was opened on, add up to exactly the trade's quantity, and
//! the first stands at that very moment. Anything else is not tied.
//!
//! Invariant: at most [`KEPT`] orders a strategy are remembered, the newest.

use std::collections::VecDeque;

use ephor_events::CommitView;
use ephor_governance::gate::{Decision, Execution};
use ephor_governance::ids::InstrumentId;
use ephor_governance::maturity::Level;
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use smol_str::SmolStr;

/// Orders that wait for their trade; one that was evicted leaves its trade untied.
const KEPT: usize = 256;

/// What an engine may add to a share when it rounds to whole lots: a thousandth of the order.
const ROUNDED_UP: f64 = 0.001;

/// What a gate said of an order, as far as its trade depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) multiplier: f64,
    /// Not live for its level alone: it goes on as a rehearsal, on paper or in the shadow.
    pub(super) rehearsed: bool,
}

impl Answer {
    /// No answer: the command was refused.
    pub(super) const NONE: Self = Self { multiplier: 0.0, rehearsed: false };

    pub(super) fn of(decision: &Decision) -> Self {
        let rehearsed = decision.execution == Execution::Paper
            || (decision.level == Level::Shadow && decision.action <= Action::Demote);
        Self { multiplier: decision.multiplier.get(), rehearsed }
    }

    pub(super) fn is_live(self) -> bool {
        self.multiplier > 0.0
    }
}

/// What a trade stands on: the answers to its order, in history and under each policy; `None` where orders
/// of one position were answered differently.
#[derive(Debug, PartialEq)]
pub(super) struct Tied {
    pub(super) before: Answer,
    pub(super) after: Vec<Option<Answer>>,
    /// The venue filled more than the recorded answer let through.
    pub(super) overfilled: bool,
}

struct Ordered {
    id: SmolStr,
    trace: SmolStr,
    instrument: InstrumentId,
    side: Side,
    qty: Amount,
    before: Answer,
    after: Vec<Answer>,
    filled: Amount,
    first_fill: Option<Timestamp>,
}

impl Ordered {
    fn is_overfilled(&self) -> bool {
        let share = Amount::from_f64(self.before.multiplier + ROUNDED_UP).unwrap_or(Amount::ONE);
        self.filled > self.qty.times_saturating(share)
    }
}

/// The orders of one strategy that a trade may still come from, oldest first.
#[derive(Default)]
pub(super) struct Book(VecDeque<Ordered>);

impl Book {
    /// Takes note of an answer to an order that opens; an order asked about again has its last answer.
    pub(super) fn answered(&mut self, commit: &CommitView<'_>, decision: &Decision, after: Vec<Answer>) {
        let order = &decision.order;
        if order.reduce_only {
            return;
        }
        let before = Answer::of(decision);
        if let Some(known) = self.0.iter_mut().rev().find(|known| known.id == order.id.as_str()) {
            (known.before, known.after) = (before, after);
            return;
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Ordered {
            id: order.id.text(),
            trace: commit.trace.to_smol_str(),
            instrument: order.instrument.clone(),
            side: order.side,
            qty: order.qty,
            before,
            after,
            filled: Amount::ZERO,
            first_fill: None,
        });
    }

    /// Takes note of a venue's report; an order that ended without a fill opens nothing.
    pub(super) fn reported(&mut self, report: &OrderReport, occurred_at: Timestamp) {
        let Some(id) = &report.order_id else { return };
        let Some(place) = self.0.iter().rposition(|known| known.id == id.as_str()) else { return };
        match report.status {
            OrderStatus::Filled => {
                if let (Some(order), Some(qty)) = (self.0.get_mut(place), report.qty) {
                    order.filled = order.filled.plus(qty);
                    order.first_fill.get_or_insert(occurred_at);
                }
            }
            OrderStatus::Rejected | OrderStatus::Denied | OrderStatus::Canceled | OrderStatus::Expired => {
                if self.0.get(place).is_some_and(|order| order.first_fill.is_none()) {
                    self.0.remove(place);
                }
            }
        }
    }

    /// The answers that a trade stands on, or `None` where the record does not say.
    pub(super) fn tie(&mut self, commit: &CommitView<'_>, trade: &Trade) -> Option<Tied> {
        let side = match trade.direction {
            Direction::Long => Side::Buy,
            Direction::Short => Side::Sell,
        };
        let own = commit.trace.to_smol_str();
        let opens = |order: &&Ordered| order.side == side && order.instrument == trade.instrument;
        let named = |order: &&Ordered| {
            trade.order_id.as_ref().is_some_and(|id| order.id == id.as_str()) || (!own.is_empty() && order.trace == own)
        };
        let carried: Vec<&Ordered> = self.0.iter().filter(opens).filter(named).collect();
        // A trace may cover many orders; where they were answered differently, only the fills can tell.
        let carried = tied(&carried);
        if carried.as_ref().is_some_and(|tied| tied.after.iter().all(Option::is_some)) {
            return carried;
        }
        let since = |order: &&Ordered| order.first_fill.is_some_and(|first| first >= trade.opened_at);
        let filled: Vec<&Ordered> = self.0.iter().filter(opens).filter(since).collect();
        let qty = filled.iter().fold(Amount::ZERO, |qty, order| qty.plus(order.filled));
        let first = filled.iter().filter_map(|order| order.first_fill).min();
        if qty != trade.qty || first != Some(trade.opened_at) {
            return carried;
        }
        let tied = tied(&filled);
        // The position is closed: its orders have had their trade.
        self.0.retain(|order| !(opens(&order) && since(&order)));
        tied
    }
}

fn tied(orders: &[&Ordered]) -> Option<Tied> {
    let (first, others) = orders.split_first()?;
    if others.iter().any(|order| order.before != first.before) {
        return None;
    }
    let agreed = |place: usize, answer: &Answer| {
        let same = others.iter().all(|order| order.after.get(place) == Some(answer));
        same.then_some(*answer)
    };
    let after = first.after.iter().enumerate().map(|(place, answer)| agreed(place, answer)).collect();
    Some(Tied { before: first.before, after, overfilled: orders.iter().any(|order| order.is_overfilled()) })
}
