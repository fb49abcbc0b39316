//! The fewest recent trades without which an event would not have happened.
//!
//! History from the first of them on is decided again without them, commit by commit, on states that go on
//! from what is decided, up to and with the event's own commit. What an engine or an operator would have
//! done otherwise is not known: their commands stay as they were.

use std::collections::{BTreeSet, VecDeque};

use ephor_events::codec::decode_all;
use ephor_events::{Commit, CommitView, Reader, Seq, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::{self, Level};
use ephor_governance::strategy::{Command, State, evolve};
use ephor_governance::trade::{Outcome, Trade, outcome};
use ephor_governance::units::Amount;
use ephor_snapshots::restore;

use super::{Absent, Asked, Bench, DECIDED_MAX, EVENTS_MAX, Recorded, TRADES_MAX, WithoutTrades, closes, systems};
use crate::{ReplayError, decided_at};

/// A trade that may be left out, with all pieces of its order.
struct Candidate {
    /// The places of its commits in the history, the first piece first.
    places: Vec<usize>,
    /// Whether a piece of it stands in the event's own commit.
    brought_it: bool,
    trade: Absent,
    outcome: Outcome,
    /// The strategy before it.
    before: State,
}

/// History from the first candidate on.
struct History {
    bench: Bench,
    asked: Asked,
    commits: Vec<Recorded>,
    candidates: Vec<Candidate>,
    /// The record of the level when it was left.
    left: Option<maturity::Event>,
    /// How many commits may still be decided again.
    budget: u64,
}

/// The fewest trades without which it would not have happened.
pub(super) fn without(
    reader: &Reader,
    target: &Commit,
    asked: Asked,
    since: Option<Seq>,
) -> Result<Option<WithoutTrades>, ReplayError> {
    let (versions, trades) = recent(reader, target, since)?;
    let Some(first) = versions.front().copied() else { return Ok(None) };
    let Some(mut history) = history(reader, target, asked, first)? else { return Ok(None) };
    Ok(Some(history.search(trades)))
}

/// The versions of the commits that close the most recent trades, oldest first, and how many there were.
fn recent(reader: &Reader, target: &Commit, since: Option<Seq>) -> Result<(VecDeque<Version>, usize), ReplayError> {
    let (mut versions, mut trades) = (VecDeque::new(), 0);
    let mut cursor = reader.stream(&target.stream, Version(1))?;
    while let Some(commit) = cursor.next()?.filter(|commit| commit.seq <= target.seq) {
        if since.is_none_or(|since| commit.seq > since) && closes(&commit) && begins(&commit)? {
            trades += 1;
            if versions.len() >= TRADES_MAX {
                versions.pop_front();
            }
            versions.push_back(commit.version);
        }
    }
    versions.retain(|version: &Version| version.0 + EVENTS_MAX >= target.version.0);
    Ok((versions, trades))
}

/// What was recorded from a version on; `None` where the rules of this version do not give it again.
fn history(reader: &Reader, target: &Commit, asked: Asked, first: Version) -> Result<Option<History>, ReplayError> {
    let before = restore(reader, None, &target.stream, Some(Version(first.0 - 1)), evolve)?.state;
    let (mut commits, mut recorded) = (Vec::new(), Vec::new());
    let mut cursor = reader.stream(&target.stream, first)?;
    while let Some(commit) = cursor.next()?.filter(|commit| commit.seq <= target.seq) {
        let events = decode_all(&commit).collect::<Result<Vec<Event>, _>>()?;
        let Some(command) = Command::of(&events) else { return Ok(None) };
        commits.push(Recorded { seq: commit.seq, at: decided_at(&commit), system: commit.system, command });
        recorded.push(events);
    }
    let wanted: BTreeSet<Version> = commits.iter().map(|commit| commit.system).collect();
    let id = StrategyId::recorded(target.stream.as_str().into());
    let bench = Bench { id, systems: systems(reader, &wanted)? };
    let mut state = before;
    let mut candidates = Vec::new();
    let mut left = None;
    for (place, (commit, events)) in commits.iter().zip(&recorded).enumerate() {
        let derived = bench.decide(&state, commit);
        if derived != *events {
            return Ok(None);
        }
        let is_target = commit.seq == target.seq;
        if is_target {
            left = events.iter().find_map(|event| {
                if let Event::MaturityTransitioned(transition) = event { Some(transition.clone()) } else { None }
            });
        }
        if !is_target && asked.among(events) && !decides(asked) {
            // It had happened before already: what is asked about begins after that.
            return Ok(None);
        }
        let closing =
            events.iter().find_map(|event| if let Event::TradeClosed(closed) = event { Some(closed) } else { None });
        match closing.map(|closing| (closing, closing.amends())) {
            Some((closing, None)) => {
                let trade = absent(closed(commit.seq, events), &closing.trade);
                let (outcome, before) = (closing.trade.outcome(), state.clone());
                candidates.push(Candidate { places: vec![place], brought_it: is_target, trade, outcome, before });
            }
            // Of a trade before the first candidate nothing is left out.
            Some((closing, Some(first))) => {
                if let Some(known) = candidates.iter_mut().find(|known: &&mut Candidate| known.trade.trade == *first) {
                    known.places.push(place);
                    known.brought_it |= is_target;
                    (known.trade.pnl, known.trade.closed_at) = (closing.result(), closing.trade.closed_at);
                    known.outcome = outcome(closing.result());
                }
            }
            None => {}
        }
        state = events.iter().fold(state, |state, event| evolve(state, event, commit.at));
    }
    Ok(Some(History { bench, asked, commits, candidates, left, budget: DECIDED_MAX }))
}

/// Whether only the event's own commit counts: a decision is asked about by itself.
const fn decides(asked: Asked) -> bool {
    match asked {
        Asked::Decision(_) => true,
        Asked::Demotion | Asked::Promotion | Asked::DriftPause | Asked::Drift(..) => false,
    }
}

/// Whether what a commit closes is one more trade, and no further piece of one.
fn begins(commit: &CommitView<'_>) -> Result<bool, ReplayError> {
    for event in decode_all(commit) {
        if let Event::TradeClosed(closed) = event? {
            return Ok(closed.amends().is_none());
        }
    }
    Ok(false)
}

/// The seq of the closed trade itself: expired tokens may stand before it.
fn closed(first: Seq, events: &[Event]) -> Seq {
    let place = events.iter().position(|event| matches!(event, Event::TradeClosed(_))).unwrap_or_default();
    Seq(first.0 + place as u64)
}

fn absent(seq: Seq, trade: &Trade) -> Absent {
    Absent { seq, trade: trade.id.clone(), pnl: trade.realized_pnl, closed_at: trade.closed_at }
}

/// The bound on the work was met.
struct Enough;

impl History {
    /// Whether it happens all the same without these candidates.
    fn happens(&mut self, without: &BTreeSet<usize>) -> Result<bool, Enough> {
        let Some(first) = without.first().and_then(|first| self.candidates.get(*first)) else { return Ok(true) };
        let left_out: BTreeSet<usize> =
            without.iter().filter_map(|one| self.candidates.get(*one)).flat_map(|one| one.places.clone()).collect();
        let last = self.commits.len() - 1;
        let first_place = first.places.first().copied().unwrap_or_default();
        let mut state = first.before.clone();
        for (place, commit) in self.commits.iter().enumerate().skip(first_place) {
            if left_out.contains(&place) {
                // A fill stays in its book: left out is only what it closed.
                if let Command::RecordFill { fill, netting, pieces, .. } = &commit.command {
                    let filled = Event::FillRecorded { fill: fill.clone(), netting: *netting, pieces: *pieces };
                    state = evolve(state, &filled, commit.at);
                }
                continue;
            }
            self.budget = self.budget.checked_sub(1).ok_or(Enough)?;
            let events = self.bench.decide(&state, commit);
            if (place == last || !decides(self.asked)) && self.asked.among(&events) {
                return Ok(true);
            }
            state = events.iter().fold(state, |state, event| evolve(state, event, commit.at));
        }
        Ok(false)
    }

    fn search(&mut self, trades: usize) -> WithoutTrades {
        let count = self.candidates.len();
        let (mut any_one, mut looked_at) = (Vec::new(), 0);
        // The newest first: what lies furthest back costs most and says least.
        let mut bound_met = count < trades;
        for one in (0..count).rev() {
            if self.budget < DECIDED_MAX / 2 {
                bound_met = true;
                break;
            }
            let Ok(happens) = self.happens(&BTreeSet::from([one])) else {
                bound_met = true;
                break;
            };
            looked_at += 1;
            if !happens {
                any_one.push(one);
            }
        }
        any_one.reverse();
        let earlier: Vec<usize> = (count - looked_at..count)
            .filter(|one| self.candidates.get(*one).is_some_and(|candidate| !candidate.brought_it))
            .collect();
        let single = any_one.iter().rev().find(|one| earlier.contains(one));
        let (together, fewest) =
            if let Some(one) = single { (Some(BTreeSet::from([*one])), true) } else { self.several(&earlier) };
        bound_met |= !fewest;
        WithoutTrades {
            any_one: any_one.iter().filter_map(|one| self.trade(*one)).collect(),
            together: together.map(|set| set.iter().filter_map(|one| self.trade(*one)).collect()),
            fewest,
            looked_at,
            trades,
            bound_met,
        }
    }

    fn trade(&self, one: usize) -> Option<Absent> {
        self.candidates.get(one).map(|candidate| candidate.trade.clone())
    }

    /// The smallest set of two or more that was found, and whether all that could be smaller was tried.
    fn several(&mut self, earlier: &[usize]) -> (Option<BTreeSet<usize>>, bool) {
        let mut best: Option<BTreeSet<usize>> = None;
        for ranked in self.rankings(earlier) {
            let Ok(found) = self.prefix(&ranked) else { break };
            best = best.into_iter().chain(found).min_by_key(BTreeSet::len);
        }
        let most = best.as_ref().map_or(earlier.len() + 1, BTreeSet::len);
        // What cannot be enough need not be tried; the rest is, the smallest first, as far as the work goes.
        for size in self.at_least(earlier)..most {
            match self.any_of_size(earlier, size) {
                Ok(Some(smaller)) => return (Some(smaller), true),
                Ok(None) => {}
                Err(Enough) => return (best, false),
            }
        }
        (best, true)
    }

    /// The orders in which trades are left out until it is enough: by size and from the newest, losses and wins.
    fn rankings(&self, earlier: &[usize]) -> Vec<Vec<usize>> {
        let of = |outcome: Outcome| -> Vec<usize> {
            let is = |one: &&usize| self.candidates.get(**one).is_some_and(|found| found.outcome == outcome);
            earlier.iter().rev().filter(is).copied().collect()
        };
        let by_size = |mut ranked: Vec<usize>| {
            ranked.sort_by_key(|one| std::cmp::Reverse(self.candidates.get(*one).map(|found| found.trade.pnl.abs())));
            ranked
        };
        let (losses, wins) = (of(Outcome::Loss), of(Outcome::Win));
        vec![by_size(losses.clone()), losses, by_size(wins.clone()), wins, earlier.iter().rev().copied().collect()]
    }

    /// The shortest beginning of a ranking that is enough, without what it can do without.
    fn prefix(&mut self, ranked: &[usize]) -> Result<Option<BTreeSet<usize>>, Enough> {
        let set = |count: usize| -> BTreeSet<usize> { ranked.iter().take(count).copied().collect() };
        // One alone has been tried.
        let (mut short, mut long) = (1, 2);
        while long < ranked.len() && self.happens(&set(long))? {
            (short, long) = (long, long * 2);
        }
        long = long.min(ranked.len());
        if long < 2 || self.happens(&set(long))? {
            return Ok(None);
        }
        while long - short > 1 {
            let middle = short + (long - short) / 2;
            if self.happens(&set(middle))? { short = middle } else { long = middle }
        }
        let mut found = set(long);
        for one in ranked.iter().take(long) {
            found.remove(one);
            if found.is_empty() || self.happens(&found)? {
                found.insert(*one);
            }
        }
        Ok(Some(found))
    }

    /// Some set of this size that is enough.
    fn any_of_size(&mut self, earlier: &[usize], size: usize) -> Result<Option<BTreeSet<usize>>, Enough> {
        let mut places: Vec<usize> = (0..size).collect();
        if size > earlier.len() {
            return Ok(None);
        }
        loop {
            let set: BTreeSet<usize> = places.iter().filter_map(|place| earlier.get(*place)).copied().collect();
            if !self.happens(&set)? {
                return Ok(Some(set));
            }
            // The next choice of places, in order.
            let movable =
                (0..size).rev().find(|at| places.get(*at).is_some_and(|place| *place < earlier.len() - size + at));
            let Some(at) = movable else { return Ok(None) };
            let from = places.get(at).copied().unwrap_or_default() + 1;
            for (place, next) in places.iter_mut().skip(at).zip(from..) {
                *place = next;
            }
        }
    }

    /// A number of trades that any set which is enough has at least.
    ///
    /// For a fall, where no promotion can come in between: leaving out wins lowers equity and peak alike,
    /// so at the end equity must be brought back to the limit by losses left out; and each loss left out
    /// takes one from a streak. Where nothing of the kind is known, two: each one alone was tried.
    fn at_least(&self, earlier: &[usize]) -> usize {
        let Some(maturity::Event::Demoted { from, evidence, .. }) = &self.left else { return 2 };
        let last = self.commits.last().and_then(|commit| self.bench.systems.get(&commit.system));
        let Some(policy) = last.map(|system| &system.policy.maturity) else { return 2 };
        let trades_min = self.bench.systems.values().map(|system| system.policy.maturity.promotion_trades_min).min();
        let climbs = *from != Level::Autonomous && trades_min.is_none_or(|least| evidence.trades >= least);
        let told = |commit: &Recorded| matches!(commit.command, Command::Register(_) | Command::SetLevel { .. });
        // An order in pieces may have made the peak and the fall from it.
        let in_pieces = self.candidates.iter().any(|candidate| candidate.places.len() > 1);
        if self.asked != Asked::Demotion || climbs || in_pieces || self.commits.iter().any(told) {
            return 2;
        }
        let borne = Amount::ONE.minus(policy.demotion_drawdown).times_saturating(evidence.peak);
        let missing = borne.minus(evidence.equity);
        let losses = earlier.iter().filter_map(|one| self.candidates.get(*one));
        let mut losses: Vec<Amount> =
            losses.filter(|one| one.outcome == Outcome::Loss).map(|one| one.trade.pnl.abs()).collect();
        losses.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = Amount::ZERO;
        let for_drawdown = losses.iter().take_while(|loss| {
            let needed = sum < missing;
            sum = sum.plus(**loss);
            needed
        });
        let for_drawdown = for_drawdown.count();
        let for_streak = evidence.loss_streak.saturating_sub(policy.demotion_loss_streak) as usize;
        for_drawdown.max(for_streak).max(2)
    }
}
