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
use ephor_governance::trade::Trade;
use ephor_governance::units::{Amount, Timestamp};

use super::changes::{Path, Place, compared};
use super::orders::{Answer, Book, Tied};
use super::outcome::{Apart, Orders, Outcome, Pair, Sized, Strategy, Tally, Trades, same_size};
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

    /// Capital put in or taken out is no result.
    fn capital(&mut self, change: Amount) {
        (self.equity, self.peak) = (self.equity.plus(change), self.peak.plus(change));
    }
}

/// The strategy under one policy.
struct World {
    state: strategy::State,
    path: Path,
    orders: Orders,
    trades: Trades,
    curve: Curve,
}

pub(super) struct Subject {
    id: StrategyId,
    /// History up to the scope; not kept beyond.
    past: strategy::State,
    /// One for each policy, once the scope has begun.
    worlds: Vec<World>,
    book: Book,
    path: Path,
    curve: Curve,
    capital: Option<Amount>,
}

/// What a trade is, given what the gate said of its order on both sides.
enum Effect {
    /// As recorded, and known on both sides.
    Unchanged,
    /// Smaller or larger by this factor.
    Scaled(Amount),
    /// Not live any more; `rehearsed` where it would still be evidence.
    NotTaken {
        rehearsed: bool,
    },
    /// Live only under the other policy; so too where its orders were answered differently there.
    LetThrough,
    NotLive,
    Untied,
}

impl Effect {
    fn of(tied: Option<&Tied>, index: usize) -> Self {
        let Some(Tied { before, after, .. }) = tied else { return Self::Untied };
        let Some(after) = after.get(index).copied().flatten() else {
            return if before.is_live() { Self::Untied } else { Self::LetThrough };
        };
        match (before.is_live(), after.is_live()) {
            (false, false) => Self::NotLive,
            (false, true) => Self::LetThrough,
            (true, false) => Self::NotTaken { rehearsed: after.rehearsed },
            (true, true) if same_size(before.multiplier, after.multiplier) => Self::Unchanged,
            (true, true) => {
                let amounts = Amount::from_f64(after.multiplier).zip(Amount::from_f64(before.multiplier));
                let scale = amounts.and_then(|(after, before)| after.decimal().checked_div(before.decimal()));
                // A share too small to divide by is none that can be scaled from.
                scale.map_or(Self::Untied, |scale| Self::Scaled(scale.into()))
            }
        }
    }
}

impl Subject {
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
                drop(self.book.tie(commit, &closed.trade));
            } else {
                self.take_report(commit, event);
            }
        }
        self.past = fold(std::mem::take(&mut self.past), recorded, at);
    }

    fn take_report(&mut self, commit: &CommitView<'_>, event: &Event) {
        if let Event::OrderReported(report) = event {
            self.book.reported(report, Timestamp::from_nanos(commit.occurred_at));
        }
    }

    fn begin(&mut self, policies: usize) {
        if !self.worlds.is_empty() {
            return;
        }
        let past = std::mem::take(&mut self.past);
        let registered = past.registration.as_ref();
        self.capital = registered.map(|registration| registration.initial_capital);
        let level = registered.map(|_| past.maturity.level);
        self.curve = Curve::starting(past.maturity.evidence.equity);
        self.path = Path::starting(level);
        let world = || World {
            state: past.clone(),
            path: Path::starting(level),
            orders: Orders::default(),
            trades: Trades::default(),
            curve: self.curve,
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
        let command = Command::of(recorded);
        let before = decision_in(recorded);
        let closes = if let Some(Command::CloseTrade(trade)) = &command { Some(trade) } else { None };
        let tied = closes.and_then(|trade| self.book.tie(commit, trade));
        if let Some(trade) = closes
            && tied.as_ref().is_none_or(|tied| tied.before.is_live())
        {
            self.curve.result(trade.realized_pnl);
        }
        let mut answers: Vec<Answer> = Vec::new();
        for (index, ((world, system), tally)) in self.worlds.iter_mut().zip(systems).zip(tallies).enumerate() {
            let context = Context { at, system: system.at(reader, commit.system)? };
            let events = match &command {
                None => {
                    tally.not_derived += 1;
                    recorded.to_vec()
                }
                Some(command) => {
                    let Some(command) = world.met(command, tied.as_ref(), index) else { continue };
                    match strategy::decide(&world.state, &self.id, &command, &context) {
                        Ok(events) => events,
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

    /// Capital enters both curves as it was declared.
    fn take_capital(&mut self, recorded: &[Event]) {
        for event in recorded {
            let Event::StrategyRegistered { registration, .. } = event else { continue };
            let capital = registration.initial_capital;
            let before = self.capital.replace(capital);
            for curve in std::iter::once(&mut self.curve).chain(self.worlds.iter_mut().map(|world| &mut world.curve)) {
                match before {
                    Some(before) => curve.capital(capital.minus(before)),
                    None => *curve = Curve::starting(capital),
                }
            }
        }
    }

    /// Adds what came of this strategy to each policy's outcome.
    pub(super) fn conclude(self, outcomes: &mut [Outcome]) {
        for (world, outcome) in self.worlds.into_iter().zip(outcomes) {
            let (changes, changes_left_out) = compared(&self.path, &world.path);
            outcome.add(Strategy {
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
                drawdown: Pair { before: self.curve.deepest, after: world.curve.deepest },
            });
        }
    }
}

impl World {
    /// The command as this world meets it: a trade may be of another size, or not there at all.
    fn met<'a>(&mut self, command: &'a Command, tied: Option<&Tied>, index: usize) -> Option<Cow<'a, Command>> {
        let Command::CloseTrade(trade) = command else { return Some(Cow::Borrowed(command)) };
        if tied.is_some_and(|tied| tied.overfilled && tied.before.is_live()) {
            self.trades.overfilled += 1;
        }
        let multiplier = self.state.registration.as_ref().map_or(Amount::ONE, |registration| registration.multiplier);
        match Effect::of(tied, index) {
            Effect::Unchanged => {
                add_sized(&mut self.trades.unchanged, trade, Some(trade), multiplier);
                self.curve.result(trade.realized_pnl);
                Some(Cow::Borrowed(command))
            }
            Effect::Scaled(scale) => {
                let scaled = scaled(trade, scale);
                let kind = if scale < Amount::ONE { &mut self.trades.smaller } else { &mut self.trades.larger };
                add_sized(kind, trade, Some(&scaled), multiplier);
                self.curve.result(scaled.realized_pnl);
                Some(Cow::Owned(Command::CloseTrade(scaled)))
            }
            Effect::NotTaken { rehearsed } => {
                add_sized(&mut self.trades.not_taken, trade, None, multiplier);
                rehearsed.then_some(Cow::Borrowed(command))
            }
            Effect::LetThrough => {
                add_apart(&mut self.trades.let_through, trade, multiplier);
                Some(Cow::Borrowed(command))
            }
            Effect::NotLive => {
                add_apart(&mut self.trades.not_live, trade, multiplier);
                Some(Cow::Borrowed(command))
            }
            Effect::Untied => {
                add_apart(&mut self.trades.untied, trade, multiplier);
                self.curve.result(trade.realized_pnl);
                Some(Cow::Borrowed(command))
            }
        }
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

fn add_sized(to: &mut Sized, before: &Trade, after: Option<&Trade>, multiplier: Amount) {
    let joined = |sum: Pair<Amount>, of: &dyn Fn(&Trade) -> Amount| Pair {
        before: sum.before.plus(of(before)),
        after: sum.after.plus(after.map_or(Amount::ZERO, of)),
    };
    to.trades += 1;
    to.qty = joined(to.qty, &|trade| trade.qty);
    to.notional = joined(to.notional, &|trade| notional(trade, multiplier));
    to.pnl = joined(to.pnl, &|trade| trade.realized_pnl);
}

fn add_apart(to: &mut Apart, trade: &Trade, multiplier: Amount) {
    to.trades += 1;
    to.qty = to.qty.plus(trade.qty);
    to.notional = to.notional.plus(notional(trade, multiplier));
    to.pnl = to.pnl.plus(trade.realized_pnl);
}

fn fold(state: strategy::State, events: &[Event], at: Timestamp) -> strategy::State {
    events.iter().fold(state, |state, event| strategy::evolve(state, event, at))
}

fn decision_in(events: &[Event]) -> Option<(u64, &Decision)> {
    (0..).zip(events).find_map(|(place, event)| Some((place, event.decision()?)))
}
