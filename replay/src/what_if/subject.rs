//! One strategy in history and in each counterfactual, as far as the pass has come.
//!
//! Up to the scope there is one state, folded from what was recorded. From there on each policy has its
//! own; history's own figures are read off the events.

use std::borrow::Cow;

use ephor_events::{CommitView, Reader, Seq, StreamId};
use ephor_governance::event::Event;
use ephor_governance::gate::Decision;
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::{self, Command, Context};
use ephor_governance::trade::{Measured, Trade};
use ephor_governance::units::{Amount, Timestamp};

use super::Detail;
use super::changes::{Path, Place, compared};
use super::orders::{Answer, Book, Effect};
use super::outcome::{Apart, Orders, Outcome, Pair, Sized, Strategy, Tally, Trades};
use super::systems::Systems;
use crate::{ReplayError, decided_at};

/// Decimals that a scaled amount keeps: more than any instrument or currency has.
const SCALED_DECIMALS: u32 = 12;

/// Capital and live results, and how far they fell.
#[derive(Clone, Copy, Default)]
struct Curve {
    equity: Amount,
    peak: Amount,
    deepest: f64,
}

impl Curve {
    fn starting(equity: Amount) -> Self {
        Self { equity, peak: equity, deepest: 0.0 }
    }

    fn result(&mut self, pnl: Amount) {
        self.equity = self.equity.plus(pnl);
        self.peak = self.peak.max(self.equity);
        let fall = if self.peak.is_positive() {
            self.peak.minus(self.equity).to_f64() / self.peak.to_f64()
        } else {
            f64::from(u8::from(self.equity < self.peak))
        };
        self.deepest = self.deepest.max(fall);
    }

    /// Capital put in or taken out is no result: the curve stands as far below its peak as before.
    fn capital(&mut self, change: Amount) {
        let equity = self.equity.plus(change);
        self.peak = strategy::rescaled(self.peak, self.equity, equity);
        self.equity = equity;
    }
}

/// The strategy under one policy.
struct World {
    state: strategy::State,
    path: Path,
    orders: Orders,
    trades: Trades,
    /// Of the same trades on both sides: those whose size is known on both.
    curves: Pair<Curve>,
}

pub(super) struct Subject {
    id: StrategyId,
    /// History up to the scope; not kept beyond.
    past: strategy::State,
    /// One for each policy, once the scope has begun.
    worlds: Vec<World>,
    book: Book,
    path: Path,
    /// Up to the scope.
    curve: Curve,
    capital: Option<Amount>,
}

impl Subject {
    /// Bytes that a strategy takes apart from its worlds.
    pub(super) const BYTES: usize = size_of::<Self>() + Book::BYTES;

    /// Bytes that it takes besides, under a policy with windows of `keep` trades.
    pub(super) const fn bytes_a_policy(keep: usize) -> usize {
        World::bytes(keep)
    }

    pub(super) fn new(stream: &StreamId) -> Self {
        Self {
            id: StrategyId::recorded(stream.as_str().into()),
            past: strategy::State::default(),
            worlds: Vec::new(),
            book: Book::default(),
            path: Path::default(),
            curve: Curve::default(),
            capital: None,
        }
    }

    /// Takes a commit before the scope: every policy has the same past.
    pub(super) fn pass_over(&mut self, commit: &CommitView<'_>, recorded: &[Event], policies: usize) {
        let at = decided_at(commit);
        for event in recorded {
            if let Event::DecisionMade(decision) = event {
                self.book.answered(commit, decision, vec![Answer::of(decision); policies]);
            } else if let Event::TradeClosed(closed) = event {
                if self.book.tie(commit, &closed.trade).is_some_and(|tied| tied.live) {
                    self.curve.result(closed.trade.realized_pnl);
                }
            } else {
                self.take_report(commit, event);
            }
        }
        self.take_capital(recorded);
        self.past = fold(std::mem::take(&mut self.past), recorded, at);
    }

    fn take_report(&mut self, commit: &CommitView<'_>, event: &Event) {
        let occurred_at = Timestamp::from_nanos(commit.occurred_at);
        if let Event::OrderReported(report) = event {
            self.book.reported(report, occurred_at);
        } else if let Event::FillRecorded { fill, .. } = event {
            self.book.filled(fill.order_id.as_ref(), fill.qty, occurred_at);
        }
    }

    fn begin(&mut self, policies: usize) {
        if !self.worlds.is_empty() {
            return;
        }
        let past = std::mem::take(&mut self.past);
        let level = past.registration.as_ref().map(|_| past.maturity.level);
        let curve = Curve::starting(self.curve.equity);
        self.path = Path::starting(level);
        let world = || World {
            state: past.clone(),
            path: Path::starting(level),
            orders: Orders::default(),
            trades: Trades::default(),
            curves: Pair { before: curve, after: curve },
        };
        self.worlds = std::iter::repeat_with(world).take(policies).collect();
    }

    /// Decides a commit again under each policy.
    pub(super) fn judge(
        &mut self,
        reader: &Reader,
        commit: &CommitView<'_>,
        recorded: &[Event],
        systems: &mut [Systems],
        tallies: &mut [Tally],
    ) -> Result<(), ReplayError> {
        self.begin(systems.len());
        let at = decided_at(commit);
        let place = Place { seq: commit.seq, at };
        self.path.take(recorded, place);
        self.take_capital(recorded);
        let (filled, told) = apart_from_its_fill(recorded);
        let command = Command::of(told);
        let before = decision_in(recorded);
        let closes = if let Some(Command::CloseTrade(trade)) = &command { Some(trade) } else { None };
        let amends = told.iter().any(|event| matches!(event, Event::TradeClosed(trade) if trade.amends().is_some()));
        let tied = closes.and_then(|trade| self.book.tie(commit, trade));
        let mut answers: Vec<Answer> = Vec::new();
        for (index, ((world, system), tally)) in self.worlds.iter_mut().zip(systems).zip(tallies).enumerate() {
            let context = Context { at, system: system.at(reader, commit.system)?, drift: None };
            world.state = fold(std::mem::take(&mut world.state), filled, at);
            let effect = tied.as_ref().and_then(|tied| tied.effects.get(index)).copied().unwrap_or(Effect::Untied);
            let events = match &command {
                None => {
                    tally.not_derived += 1;
                    recorded.to_vec()
                }
                Some(command) => {
                    let met = met(command, effect);
                    let decided = met.as_ref().map(|met| match (met.as_ref(), filled) {
                        (Command::CloseTrade(trade), [Event::FillRecorded { fill, pieces, .. }]) => {
                            strategy::close_apart(&world.state, trade, fill, *pieces, &context)
                        }
                        (met, _) => strategy::decide(&world.state, &self.id, met, &context),
                    });
                    match decided.unwrap_or(Ok(Vec::new())) {
                        Ok(events) => {
                            if let Some(trade) = closes {
                                world.closed(trade, amends, met.as_deref(), effect);
                                let overfilled = tied.as_ref().is_some_and(|tied| tied.live && tied.overfilled);
                                world.trades.overfilled += u64::from(overfilled);
                            }
                            events
                        }
                        Err(rejection) => {
                            tally.refuse(commit, &rejection);
                            Vec::new()
                        }
                    }
                }
            };
            if let Some((offset, before)) = before {
                let seq = Seq(commit.seq.0 + offset);
                let after = decision_in(&events).map(|(_, after)| after);
                let answer = after.map(|after| tally.decided((seq, commit), &mut world.orders, before, after));
                answers.push(answer.unwrap_or(Answer::NONE));
            }
            world.path.take(&events, place);
            world.state = fold(std::mem::take(&mut world.state), &events, at);
        }
        if let Some((_, before)) = before {
            self.book.answered(commit, before, answers);
        }
        for event in recorded {
            self.take_report(commit, event);
        }
        Ok(())
    }

    /// Capital enters every curve as it was declared.
    fn take_capital(&mut self, recorded: &[Event]) {
        for event in recorded {
            let Event::StrategyRegistered { registration, .. } = event else { continue };
            let capital = registration.initial_capital;
            let before = self.capital.replace(capital);
            let worlds =
                self.worlds.iter_mut().flat_map(|World { curves, .. }| [&mut curves.before, &mut curves.after]);
            for curve in std::iter::once(&mut self.curve).chain(worlds) {
                match before {
                    Some(before) => curve.capital(capital.minus(before)),
                    None => *curve = Curve::starting(capital),
                }
            }
        }
    }

    /// Adds what came of this strategy to each policy's outcome.
    pub(super) fn conclude(self, outcomes: &mut [Outcome], detail: Detail) {
        for (world, outcome) in self.worlds.into_iter().zip(outcomes) {
            let (changes, changes_left_out) = compared(&self.path, &world.path);
            let strategy = Strategy {
                strategy: self.id.clone(),
                currency: world.state.registration.as_ref().map(|registration| registration.currency.clone()),
                level: Pair { before: self.path.level, after: world.path.level },
                changes,
                changes_left_out,
                promotions: Pair { before: self.path.promotions, after: world.path.promotions },
                demotions: Pair { before: self.path.demotions, after: world.path.demotions },
                pauses: Pair { before: self.path.pauses, after: world.path.pauses },
                orders: world.orders,
                pnl: world.trades.pnl(),
                trades: world.trades,
                drawdown: Pair { before: world.curves.before.deepest, after: world.curves.after.deepest },
            };
            outcome.add(strategy, detail);
        }
    }
}

impl World {
    /// Bytes that a strategy under one policy takes, with windows of `keep` trades.
    const fn bytes(keep: usize) -> usize {
        let windows = keep.saturating_mul(size_of::<Measured>());
        size_of::<Self>().saturating_add(windows).saturating_add(Book::BYTES_A_POLICY)
    }

    /// Counts a trade that history has, and what became of it here; one that amends another is no trade more.
    fn closed(&mut self, trade: &Trade, amends: bool, met: Option<&Command>, effect: Effect) {
        let after = match met {
            Some(Command::CloseTrade(after)) => after,
            Some(_) | None => trade,
        };
        let multiplier = self.state.registration.as_ref().map_or(Amount::ONE, |registration| registration.multiplier);
        let trades = &mut self.trades;
        let (sized, after) = match effect {
            Effect::Unchanged => (&mut trades.unchanged, Some(after)),
            Effect::Scaled(factor) if factor < Amount::ONE => (&mut trades.smaller, Some(after)),
            Effect::Scaled(_) => (&mut trades.larger, Some(after)),
            Effect::NotTaken { .. } => (&mut trades.not_taken, None),
            Effect::LetThrough => return add_apart(&mut trades.let_through, trade, amends, multiplier),
            Effect::NotLive => return add_apart(&mut trades.not_live, trade, amends, multiplier),
            Effect::FilledAgainst => return add_apart(&mut trades.filled_against, trade, amends, multiplier),
            Effect::Untied => return add_apart(&mut trades.untied, trade, amends, multiplier),
        };
        add_sized(sized, trade, amends, after, multiplier);
        self.curves.before.result(trade.realized_pnl);
        if let Some(after) = after {
            self.curves.after.result(after.realized_pnl);
        }
    }
}

/// The command as a world meets it: a trade may be of another size, or not there at all.
fn met(command: &Command, effect: Effect) -> Option<Cow<'_, Command>> {
    let Command::CloseTrade(trade) = command else { return Some(Cow::Borrowed(command)) };
    match effect {
        Effect::Scaled(factor) => Some(Cow::Owned(Command::CloseTrade(scaled(trade, factor)))),
        Effect::NotTaken { rehearsed: false } => None,
        Effect::NotTaken { rehearsed: true }
        | Effect::Unchanged
        | Effect::LetThrough
        | Effect::NotLive
        | Effect::FilledAgainst
        | Effect::Untied => Some(Cow::Borrowed(command)),
    }
}

fn scaled(trade: &Trade, scale: Amount) -> Trade {
    let times = |amount: Amount| Amount::from(amount.times_saturating(scale).decimal().round_dp(SCALED_DECIMALS));
    Trade {
        // Above zero, as every quantity is.
        qty: times(trade.qty).max(Amount::new(1, SCALED_DECIMALS)),
        realized_pnl: times(trade.realized_pnl),
        initial_risk: trade.initial_risk.map(times),
        ..trade.clone()
    }
}

fn notional(trade: &Trade, multiplier: Amount) -> Amount {
    trade.qty.times_saturating(trade.entry_price.abs()).times_saturating(multiplier)
}

fn add_sized(to: &mut Sized, before: &Trade, amends: bool, after: Option<&Trade>, multiplier: Amount) {
    let joined = |sum: Pair<Amount>, of: &dyn Fn(&Trade) -> Amount| Pair {
        before: sum.before.plus(of(before)),
        after: sum.after.plus(after.map_or(Amount::ZERO, of)),
    };
    to.trades += u64::from(!amends);
    to.qty = joined(to.qty, &|trade| trade.qty);
    to.notional = joined(to.notional, &|trade| notional(trade, multiplier));
    to.pnl = joined(to.pnl, &|trade| trade.realized_pnl);
}

fn add_apart(to: &mut Apart, trade: &Trade, amends: bool, multiplier: Amount) {
    to.trades += u64::from(!amends);
    to.qty = to.qty.plus(trade.qty);
    to.notional = to.notional.plus(notional(trade, multiplier));
    to.pnl = to.pnl.plus(trade.realized_pnl);
}

fn fold(state: strategy::State, events: &[Event], at: Timestamp) -> strategy::State {
    events.iter().fold(state, |state, event| strategy::evolve(state, event, at))
}

/// A fill that closes something, and what follows from it; nothing and everything for another commit.
///
/// Fills stay in their book as they were recorded; a trade that one of them ends is met like any other.
fn apart_from_its_fill(recorded: &[Event]) -> (&[Event], &[Event]) {
    let place = recorded.iter().position(|event| matches!(event, Event::FillRecorded { .. }));
    let Some(place) = place.filter(|place| place + 1 < recorded.len()) else { return (&[], recorded) };
    let (passed, told) = recorded.split_at(place + 1);
    (passed.get(place..).unwrap_or_default(), told)
}

fn decision_in(events: &[Event]) -> Option<(u64, &Decision)> {
    (0..).zip(events).find_map(|(place, event)| Some((place, event.decision()?)))
}
