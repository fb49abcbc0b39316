//! What comes out of a counterfactual: counts, sums and places, each side beside the other.

use std::collections::BTreeMap;

use ephor_events::envelope::to_json;
use ephor_events::{CommitView, Seq, StreamId};
use ephor_governance::gate::Decision;
use ephor_governance::ids::{Currency, SourceId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::policy::PolicyId;
use ephor_governance::rejection::Rejection;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::changes::Change;
use super::{Detail, Variant, orders::Answer};

/// A figure in history and under the other policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// As recorded.
    pub before: T,
    /// As it would have been.
    pub after: T,
}

/// How often each action became each action: rows before, columns after, mildest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matrix(pub [[u64; 6]; 6]);

impl Matrix {
    fn add(&mut self, before: Action, after: Action) {
        let place = |wanted: Action| Action::ALL.iter().position(|action| *action == wanted);
        let row = place(before).and_then(|row| self.0.get_mut(row));
        if let Some(cell) = row.and_then(|row| row.get_mut(place(after)?)) {
            *cell += 1;
        }
    }
}

impl Serialize for Matrix {
    /// An object of objects: `matrix.allow.block` is how often an allow became a block.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (before, row) in Action::ALL.iter().zip(&self.0) {
            let names = Action::ALL.iter().map(|action| action.as_str().to_owned());
            let row: serde_json::Map<String, Value> = names.zip(row.iter().map(|count| Value::from(*count))).collect();
            map.serialize_entry(before.as_str(), &row)?;
        }
        map.end()
    }
}

/// Multipliers closer than this are the same: a scaled result is rounded, and its echo in a later health
/// score is no change of policy.
const SAME_WITHIN: f64 = 1e-9;

/// Whether two multipliers let the same share through. Nothing is never the same as something.
pub(super) fn same_size(one: f64, other: f64) -> bool {
    (one - other).abs() < SAME_WITHIN && (one > 0.0) == (other > 0.0)
}

/// Decisions, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Orders {
    /// Decided again.
    pub decided: u64,
    /// Answered otherwise: the sum of the five below.
    pub changed: u64,
    /// Went out, and would have been turned away.
    pub blocked: u64,
    /// Went out, and would have been smaller.
    pub reduced: u64,
    /// Went out, and would have been larger.
    pub larger: u64,
    /// Turned away, and would have gone out.
    pub let_through: u64,
    /// As large as before, but for another action or to another place.
    pub elsewhere: u64,
}

impl Orders {
    fn add(&mut self, before: &Decision, after: &Decision) {
        self.decided += 1;
        let (was, is) = (before.multiplier.get(), after.multiplier.get());
        let count = if same_size(was, is) {
            if (before.action, before.execution) == (after.action, after.execution) {
                return;
            }
            &mut self.elsewhere
        } else if is < was {
            if is > 0.0 { &mut self.reduced } else { &mut self.blocked }
        } else if was > 0.0 {
            &mut self.larger
        } else {
            &mut self.let_through
        };
        *count += 1;
        self.changed += 1;
    }

    fn join(&mut self, other: &Self) {
        let Self { decided, changed, blocked, reduced, larger, let_through, elsewhere } = other;
        self.decided += decided;
        self.changed += changed;
        self.blocked += blocked;
        self.reduced += reduced;
        self.larger += larger;
        self.let_through += let_through;
        self.elsewhere += elsewhere;
    }
}

/// Trades whose size on both sides is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sized {
    /// How many.
    pub trades: u64,
    /// Quantity, in the instruments' own units.
    pub qty: Pair<Amount>,
    /// Quantity x entry price x multiplier, in the strategy's currency.
    pub notional: Pair<Amount>,
    /// Realised result, in the strategy's currency.
    pub pnl: Pair<Amount>,
}

/// Trades that are counted apart, because only history's side is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Apart {
    /// How many.
    pub trades: u64,
    /// Quantity as recorded.
    pub qty: Amount,
    /// Quantity x entry price x multiplier as recorded.
    pub notional: Amount,
    /// Result as recorded.
    pub pnl: Amount,
}

/// Closed trades, by what became of the order that opened them.
///
/// A trade is scaled by the order's multiplier under the other policy over the recorded one: quantity,
/// result and initial risk, so that a result in units of a known risk stays what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trades {
    /// Live, and as large as before.
    pub unchanged: Sized,
    /// Live, and smaller.
    pub smaller: Sized,
    /// Live, and larger.
    pub larger: Sized,
    /// Live, and would not have been. Where only the level was in the way, the trade still counts as a
    /// rehearsal in the evidence; otherwise it is not there at all.
    pub not_taken: Sized,
    /// Not live, and would have been, at least in part: what a live order would have made of it is not
    /// known. In the evidence as recorded.
    pub let_through: Apart,
    /// Not live on either side. In the evidence as recorded.
    pub not_live: Apart,
    /// Filled though the recorded answer was no, and not for the level alone: history did not follow the
    /// governor. In the evidence as recorded.
    pub filled_against: Apart,
    /// Not tied to an order, so that nobody knows whether it was live; or to several that would not have
    /// changed by the same factor. In the evidence as recorded, and in no sum.
    pub untied: Apart,
    /// Live ones, of any kind above, whose orders were filled for more than the recorded answer let through:
    /// history did not follow the answers, so what another answer would have done to them is a guess.
    pub overfilled: u64,
}

impl Trades {
    fn join(&mut self, other: &Self) {
        let sized = [
            (&mut self.unchanged, &other.unchanged),
            (&mut self.smaller, &other.smaller),
            (&mut self.larger, &other.larger),
            (&mut self.not_taken, &other.not_taken),
        ];
        for (to, from) in sized {
            to.trades += from.trades;
            for (to, from) in [(&mut to.qty, from.qty), (&mut to.notional, from.notional), (&mut to.pnl, from.pnl)] {
                *to = Pair { before: to.before.plus(from.before), after: to.after.plus(from.after) };
            }
        }
        let apart = [
            (&mut self.let_through, &other.let_through),
            (&mut self.not_live, &other.not_live),
            (&mut self.filled_against, &other.filled_against),
            (&mut self.untied, &other.untied),
        ];
        for (to, from) in apart {
            to.trades += from.trades;
            to.qty = to.qty.plus(from.qty);
            to.notional = to.notional.plus(from.notional);
            to.pnl = to.pnl.plus(from.pnl);
        }
        self.overfilled += other.overfilled;
    }

    /// Live results of the trades whose size is known on both sides.
    #[must_use]
    pub fn pnl(&self) -> Pair<Amount> {
        [self.unchanged.pnl, self.smaller.pnl, self.larger.pnl, self.not_taken.pnl].iter().fold(
            Pair::default(),
            |sum: Pair<Amount>, pnl| Pair { before: sum.before.plus(pnl.before), after: sum.after.plus(pnl.after) },
        )
    }

    /// Trades of every kind.
    #[must_use]
    pub const fn count(&self) -> u64 {
        let sized = self.unchanged.trades + self.smaller.trades + self.larger.trades + self.not_taken.trades;
        sized + self.let_through.trades + self.not_live.trades + self.filled_against.trades + self.untied.trades
    }
}

/// Money in one currency, over all its strategies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Live realised results of the trades whose size is known on both sides; so `before` may differ from
    /// policy to policy.
    pub pnl: Pair<Amount>,
    /// The trades behind it; quantities add up units of different instruments.
    pub trades: Trades,
}

/// Recorded commands that would not have gone through: an operator's word that has no object, or is not
/// earned, in the other history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// How many.
    pub commands: u64,
    /// The first seq of the first of them.
    pub seq: Option<Seq>,
    /// What the rules say to it.
    pub rejection: Option<String>,
}

/// A decision that would have been otherwise, in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FirstDifference {
    /// The decision's seq.
    pub seq: Seq,
    /// Whose.
    pub stream: StreamId,
    /// When it was decided.
    pub at: Timestamp,
    /// The order.
    pub order_id: SourceId,
    /// The decision as recorded, with every verdict.
    #[serde(serialize_with = "in_full")]
    pub before: Box<Decision>,
    /// The decision as it would have been.
    #[serde(serialize_with = "in_full")]
    pub after: Box<Decision>,
}

fn in_full<S: Serializer>(decision: &Decision, serializer: S) -> Result<S::Ok, S::Error> {
    to_json(decision).serialize(serializer)
}

/// One strategy in both histories.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Strategy {
    /// Which.
    pub strategy: StrategyId,
    /// What its results are counted in; `None` where it was never registered.
    pub currency: Option<Currency>,
    /// Its level at the end.
    pub level: Pair<Option<Level>>,
    /// Promotions, demotions and pauses that are new, gone or elsewhere.
    pub changes: Vec<Change>,
    /// Changes beyond the first thousand a side: counted, not compared.
    pub changes_left_out: u64,
    /// Promotions.
    pub promotions: Pair<u64>,
    /// Demotions.
    pub demotions: Pair<u64>,
    /// Pauses.
    pub pauses: Pair<u64>,
    /// Its decisions.
    pub orders: Orders,
    /// Its trades.
    pub trades: Trades,
    /// Live realised results of the trades whose size is known on both sides.
    pub pnl: Pair<Amount>,
    /// Deepest fall of capital plus live results, of the same trades as `pnl`, from the peak within the scope;
    /// a fraction.
    pub drawdown: Pair<f64>,
}

/// History under one policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// What the policy is called.
    pub name: String,
    /// What it is known by.
    pub policy_id: PolicyId,
    /// Actions before and after.
    pub matrix: Matrix,
    /// All decisions.
    pub orders: Orders,
    /// All promotions.
    pub promotions: Pair<u64>,
    /// All demotions.
    pub demotions: Pair<u64>,
    /// All pauses.
    pub pauses: Pair<u64>,
    /// All trades.
    pub trades: u64,
    /// Money, by currency.
    pub sums: BTreeMap<Currency, Sums>,
    /// The deepest drawdown of any strategy, a fraction.
    pub drawdown: Pair<f64>,
    /// Commands that would have been refused.
    pub refused: Refused,
    /// Commits that no command gives: taken as recorded. An audit names them.
    pub not_derived: u64,
    /// The first decision that differs: in size, in action or in where it goes.
    pub first: Option<FirstDifference>,
    /// Changes of all strategies that are new, gone or elsewhere.
    pub changes: u64,
    /// Every strategy, by name; none where only totals were asked for.
    pub strategies: Vec<Strategy>,
}

impl Outcome {
    pub(super) fn new(variant: &Variant, tally: Tally) -> Self {
        Self {
            name: variant.name.clone(),
            policy_id: variant.id,
            matrix: tally.matrix,
            orders: Orders::default(),
            promotions: Pair::default(),
            demotions: Pair::default(),
            pauses: Pair::default(),
            trades: 0,
            sums: BTreeMap::new(),
            drawdown: Pair::default(),
            refused: tally.refused,
            not_derived: tally.not_derived,
            first: tally.first,
            changes: 0,
            strategies: Vec::new(),
        }
    }

    /// Adds what a strategy adds to the whole, and itself where it is to be kept.
    pub(super) fn add(&mut self, strategy: Strategy, detail: Detail) {
        self.changes += strategy.changes.len() as u64;
        self.orders.join(&strategy.orders);
        for (to, from) in [
            (&mut self.promotions, strategy.promotions),
            (&mut self.demotions, strategy.demotions),
            (&mut self.pauses, strategy.pauses),
        ] {
            *to = Pair { before: to.before + from.before, after: to.after + from.after };
        }
        self.trades += strategy.trades.count();
        if let Some(currency) = &strategy.currency {
            let sums = self.sums.entry(currency.clone()).or_default();
            sums.trades.join(&strategy.trades);
            sums.pnl = sums.trades.pnl();
        }
        self.drawdown = Pair {
            before: self.drawdown.before.max(strategy.drawdown.before),
            after: self.drawdown.after.max(strategy.drawdown.after),
        };
        match detail {
            Detail::Strategies => self.strategies.push(strategy),
            Detail::Totals => {}
        }
    }

    /// Whether anything at all is other than history.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.orders.changed > 0 || self.changes > 0 || self.refused.commands > 0
    }
}

/// What is counted under one policy as the log goes by.
#[derive(Default)]
pub(super) struct Tally {
    matrix: Matrix,
    refused: Refused,
    pub(super) not_derived: u64,
    first: Option<FirstDifference>,
}

impl Tally {
    pub(super) fn refuse(&mut self, commit: &CommitView<'_>, rejection: &Rejection) {
        self.refused.commands += 1;
        if self.refused.seq.is_none() {
            self.refused.seq = Some(commit.seq);
            self.refused.rejection = Some(rejection.to_string());
        }
    }

    /// Counts a pair of decisions; gives the later one's answer.
    pub(super) fn decided(
        &mut self,
        (seq, commit): (Seq, &CommitView<'_>),
        orders: &mut Orders,
        before: &Decision,
        after: &Decision,
    ) -> Answer {
        self.matrix.add(before.action, after.action);
        let changed = orders.changed;
        orders.add(before, after);
        if orders.changed > changed && self.first.is_none() {
            self.first = Some(FirstDifference {
                seq,
                stream: commit.stream.clone(),
                at: crate::decided_at(commit),
                order_id: before.order.id.clone(),
                before: Box::new(before.clone()),
                after: Box::new(after.clone()),
            });
        }
        Answer::of(after)
    }
}
