//! Which orders a trade came from, and what another answer to them makes of it: by what the record says,
//! never by what is likely.
//!
//! A trade is tied to the orders that *opened* its position, because their size is its size. First by the
//! venue's reports: fills on the opening side, from the moment the position was opened on, that add up to
//! exactly the trade's quantity, the first at that very moment. Where they do not, by the trade's own word:
//! the trace that it carries, and where nobody has that trace, the order that it names, which by rights is
//! the one that closed it. A word is worth nothing against the venue, or where the order came later.
//!
//! Invariants: what a trade is tied to follows from history alone, whatever policies are looked at; at most
//! [`KEPT`] orders a strategy are remembered, the newest.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use ephor_events::CommitView;
use ephor_governance::gate::{Decision, Execution};
use ephor_governance::ids::{InstrumentId, SourceId};
use ephor_governance::maturity::Level;
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use smol_str::SmolStr;

use super::outcome::same_size;
use crate::decided_at;

/// Orders that wait for their trade; one that was evicted leaves its trade untied.
const KEPT: usize = 256;

/// Evicted orders whose traces are remembered, so that what is left of a trace does not pass for the whole.
const EVICTED_KEPT: usize = 1_024;

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

/// What another policy makes of a trade, given the answers to its orders on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Effect {
    /// Live, and as recorded.
    Unchanged,
    /// Live, and smaller or larger by this factor.
    Scaled(Amount),
    /// None of its orders is live any more; `rehearsed` where it would still be evidence.
    NotTaken { rehearsed: bool },
    /// At least one of its orders is live only under the other policy.
    LetThrough,
    /// Not live on either side.
    NotLive,
    /// Not live by any answer, and filled all the same.
    FilledAgainst,
    /// Not tied, or to orders that would not all have changed by the same factor.
    Untied,
}

/// What a trade stands on.
#[derive(Debug, PartialEq)]
pub(super) struct Tied {
    /// At least one of its orders was live in history.
    pub(super) live: bool,
    /// The venue filled more than the recorded answer let through.
    pub(super) overfilled: bool,
    /// One for each policy.
    pub(super) effects: Vec<Effect>,
}

impl Tied {
    fn to(orders: &[&Ordered]) -> Option<Self> {
        let policies = orders.first()?.after.len();
        Some(Self {
            live: orders.iter().any(|order| order.before.is_live()),
            overfilled: orders.iter().any(|order| order.is_overfilled()),
            effects: (0..policies).map(|policy| effect(orders, policy)).collect(),
        })
    }
}

fn effect(orders: &[&Ordered], policy: usize) -> Effect {
    let answers =
        || orders.iter().map(|order| (order.before, order.after.get(policy).copied().unwrap_or(Answer::NONE)));
    let was_live = answers().any(|(before, _)| before.is_live());
    let is_live = answers().any(|(_, after)| after.is_live());
    match (was_live, is_live) {
        (false, _) if orders.iter().any(|order| order.is_filled_against()) => Effect::FilledAgainst,
        (false, false) => Effect::NotLive,
        (false, true) => Effect::LetThrough,
        (true, false) => Effect::NotTaken { rehearsed: answers().any(|(_, after)| after.rehearsed) },
        (true, true) => scale(answers()),
    }
}

/// The factor by which all orders of a position change, where it is one.
fn scale(mut answers: impl Iterator<Item = (Answer, Answer)>) -> Effect {
    let Some(factor) = answers.next().and_then(factor) else { return Effect::Untied };
    if answers.any(|pair| self::factor(pair).is_none_or(|other| !same_size(factor.to_f64(), other.to_f64()))) {
        return Effect::Untied;
    }
    if same_size(factor.to_f64(), 1.0) { Effect::Unchanged } else { Effect::Scaled(factor) }
}

/// `None` where an order is live on one side only, or its share is too small to divide by.
fn factor((before, after): (Answer, Answer)) -> Option<Amount> {
    if same_size(before.multiplier, after.multiplier) {
        return Some(Amount::ONE);
    }
    if !(before.is_live() && after.is_live()) {
        return None;
    }
    let (after, before) = (Amount::from_f64(after.multiplier)?, Amount::from_f64(before.multiplier)?);
    after.decimal().checked_div(before.decimal()).map(Amount::from)
}

struct Ordered {
    id: SmolStr,
    trace: SmolStr,
    instrument: InstrumentId,
    side: Side,
    qty: Amount,
    decided: Timestamp,
    before: Answer,
    after: Vec<Answer>,
    /// By executions, and by the venue's reports of the order: both may tell of the same.
    executed: Amount,
    reported: Amount,
    first_fill: Option<Timestamp>,
}

impl Ordered {
    /// What one of its sources says: where both tell of it, it was filled once.
    fn filled(&self) -> Amount {
        self.executed.max(self.reported)
    }

    fn is_overfilled(&self) -> bool {
        let share = Amount::from_f64(self.before.multiplier + ROUNDED_UP).unwrap_or(Amount::ONE);
        self.filled() > self.qty.times_saturating(share)
    }

    /// Filled though the answer was no, and not for its level alone.
    fn is_filled_against(&self) -> bool {
        self.filled().is_positive() && !self.before.is_live() && !self.before.rehearsed
    }

    /// The earliest that it can have opened anything, as far as that is known.
    fn begun(&self) -> Timestamp {
        self.first_fill.unwrap_or(self.decided)
    }

    /// What an evicted order is remembered by; two that share it by chance leave a trade untied.
    fn remembered(trace: &str, instrument: &InstrumentId, side: Side) -> u64 {
        let mut hasher = DefaultHasher::new();
        (trace, instrument.as_str(), side == Side::Buy).hash(&mut hasher);
        hasher.finish()
    }
}

/// The orders of one strategy that a trade may still come from, oldest first.
#[derive(Default)]
pub(super) struct Book {
    orders: VecDeque<Ordered>,
    evicted: VecDeque<u64>,
}

impl Book {
    /// Bytes that a full book takes, and each policy in it besides. Ids and traces count as long as a UUID.
    pub(super) const BYTES: usize = KEPT * (size_of::<Ordered>() + 2 * 64) + EVICTED_KEPT * size_of::<u64>();
    pub(super) const BYTES_A_POLICY: usize = KEPT * size_of::<Answer>();

    /// Takes note of an answer to an order that opens; an order asked about again has its last answer.
    pub(super) fn answered(&mut self, commit: &CommitView<'_>, decision: &Decision, after: Vec<Answer>) {
        let order = &decision.order;
        if order.reduce_only {
            return;
        }
        let (before, decided) = (Answer::of(decision), decided_at(commit));
        if let Some(known) = self.orders.iter_mut().rev().find(|known| known.id == order.id.as_str()) {
            (known.before, known.after, known.decided) = (before, after, decided);
            return;
        }
        if self.orders.len() >= KEPT
            && let Some(Ordered { trace, instrument, side, .. }) = self.orders.pop_front()
            && !trace.is_empty()
        {
            if self.evicted.len() >= EVICTED_KEPT {
                self.evicted.pop_front();
            }
            self.evicted.push_back(Ordered::remembered(&trace, &instrument, side));
        }
        self.orders.push_back(Ordered {
            id: order.id.text(),
            trace: commit.trace.to_smol_str(),
            instrument: order.instrument.clone(),
            side: order.side,
            qty: order.qty,
            decided,
            before,
            after,
            executed: Amount::ZERO,
            reported: Amount::ZERO,
            first_fill: None,
        });
    }

    /// Takes note of a venue's report; an order that ended without a fill opens nothing.
    pub(super) fn reported(&mut self, report: &OrderReport, occurred_at: Timestamp) {
        let Some(id) = &report.order_id else { return };
        let Some(place) = self.orders.iter().rposition(|known| known.id == id.as_str()) else { return };
        match report.status {
            OrderStatus::Filled => {
                if let Some((order, qty)) = self.orders.get_mut(place).zip(report.qty) {
                    order.reported = order.reported.plus(qty);
                    order.first_fill.get_or_insert(occurred_at);
                }
            }
            OrderStatus::Rejected | OrderStatus::Denied | OrderStatus::Canceled | OrderStatus::Expired => {
                if self.orders.get(place).is_some_and(|order| order.first_fill.is_none()) {
                    self.orders.remove(place);
                }
            }
        }
    }

    /// Takes note of a fill of one of the orders.
    pub(super) fn filled(&mut self, id: Option<&SourceId>, qty: Amount, occurred_at: Timestamp) {
        let known = |order: &&mut Ordered| id.is_some_and(|id| order.id == id.as_str());
        if let Some(order) = self.orders.iter_mut().rev().find(known) {
            order.executed = order.executed.plus(qty);
            order.first_fill.get_or_insert(occurred_at);
        }
    }

    /// What a trade stands on, or `None` where the record does not say.
    pub(super) fn tie(&mut self, commit: &CommitView<'_>, trade: &Trade) -> Option<Tied> {
        let side = match trade.direction {
            Direction::Long => Side::Buy,
            Direction::Short => Side::Sell,
        };
        let opens = |order: &Ordered| order.side == side && order.instrument == trade.instrument;
        if let Some(tied) = self.by_fills(trade, opens) {
            // The position is closed: its orders have had their trade.
            self.orders.retain(|order| !(opens(order) && is_since(order, trade)));
            return Some(tied);
        }
        let carried = commit.trace.to_smol_str();
        if !carried.is_empty() && self.evicted.contains(&Ordered::remembered(&carried, &trade.instrument, side)) {
            return None;
        }
        self.by_word(trade, &carried, opens)
    }

    fn by_fills(&self, trade: &Trade, opens: impl Fn(&Ordered) -> bool) -> Option<Tied> {
        let filled: Vec<&Ordered> = self.orders.iter().filter(|order| opens(order) && is_since(order, trade)).collect();
        let first = filled.iter().filter_map(|order| order.first_fill).min();
        let adds_up = filled_qty(&filled) == trade.qty && first == Some(trade.opened_at);
        if adds_up { Tied::to(&filled) } else { None }
    }

    /// By the trade's own word; orders stay, because a position may be closed in parts.
    fn by_word(&self, trade: &Trade, carried: &str, opens: impl Fn(&Ordered) -> bool) -> Option<Tied> {
        let opening = || self.orders.iter().filter(|order| opens(order));
        let mut named: Vec<&Ordered> =
            opening().filter(|order| !carried.is_empty() && order.trace == carried).collect();
        if named.is_empty() {
            let id = trade.order_id.as_ref()?;
            named = opening().filter(|order| order.id == id.as_str()).collect();
        }
        // One that came while the position stood may have added to it, or not.
        if named.iter().any(|order| order.begun() > trade.opened_at && order.begun() < trade.closed_at) {
            return None;
        }
        named.retain(|order| order.begun() <= trade.opened_at);
        if named.iter().any(|order| order.first_fill.is_some()) {
            named.retain(|order| order.first_fill.is_some());
            if filled_qty(&named) < trade.qty {
                return None;
            }
        }
        Tied::to(&named)
    }
}

fn is_since(order: &Ordered, trade: &Trade) -> bool {
    order.first_fill.is_some_and(|first| first >= trade.opened_at)
}

fn filled_qty(orders: &[&Ordered]) -> Amount {
    orders.iter().fold(Amount::ZERO, |qty, order| qty.plus(order.filled()))
}
