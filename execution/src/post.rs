//! Post-trade risk: what must follow from what has happened?
//!
//! Looks after every fill and every price. What it asks for, the engine does: a breaker stops new orders here, the
//! kill switch stops them in governance, for everybody.

use std::collections::{BTreeMap, BTreeSet};

use ephor_governance::event::Scope;
use ephor_governance::ids::StrategyId;
use ephor_governance::units::Amount;
use serde_json::json;

use crate::breaker::Reach;
use crate::positions::Lane;
use crate::seen::Seen;
use crate::state::{Fields, Kept, StateError};
use crate::venue::{Execution, What};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Open a circuit breaker.
    Break {
        /// What it stops.
        reach: Reach,
        /// Why.
        reason: String,
    },
    /// Engage governance's kill switch.
    Kill {
        /// What it stops.
        scope: Scope,
        /// Why.
        reason: String,
    },
}

/// A check after something has happened.
pub trait PostTrade {
    /// After an execution has been taken in.
    fn after_execution(&mut self, _lane: Lane, _execution: &Execution, _seen: &Seen<'_>) -> Vec<Consequence> {
        Vec::new()
    }

    /// After prices have moved.
    fn after_price(&mut self, _seen: &Seen<'_>) -> Vec<Consequence> {
        Vec::new()
    }

    /// A person has closed a breaker: what it was opened for has been looked at.
    fn closed(&mut self, _reach: &Reach, _seen: &Seen<'_>) {}

    /// What it has to find again after a restart; `None` where that is nothing. The name is its own among the checks of
    /// the list; of several checks with one name, the first finds what the first kept.
    fn kept(&self) -> Option<Kept> {
        None
    }

    /// Takes back what it kept.
    ///
    /// # Errors
    /// [`StateError`], which names the field.
    fn take_back(&mut self, _kept: Fields) -> Result<(), StateError> {
        Ok(())
    }
}

/// Strategies that have fallen too far below the highest they were worth, open positions at the last prices.
#[derive(Clone, Debug)]
pub struct DrawdownMonitor {
    /// A fraction: 0.1 is 10 %. Beyond it the strategy's breaker opens.
    break_at: Amount,
    /// Beyond it the strategy is killed in governance, where given.
    kill_at: Option<Amount>,
    peaks: BTreeMap<StrategyId, Amount>,
    killed: BTreeSet<StrategyId>,
}

impl DrawdownMonitor {
    /// Breaks beyond one fraction, kills beyond another.
    #[must_use]
    pub const fn new(break_at: Amount, kill_at: Option<Amount>) -> Self {
        Self { break_at, kill_at, peaks: BTreeMap::new(), killed: BTreeSet::new() }
    }

    fn look(&mut self, seen: &Seen<'_>) -> Vec<Consequence> {
        let mut consequences = Vec::new();
        for strategy in seen.positions.strategies() {
            let Some(equity) = seen.positions.equity(strategy, seen.prices, seen.instruments) else { continue };
            // It began with what it was given, whatever has become of that before anybody looked.
            let given = seen.positions.capital(strategy).unwrap_or(equity);
            let peak = self.peaks.entry(strategy.clone()).or_insert(given);
            *peak = (*peak).max(equity);
            let fall = peak.minus(equity);
            let beyond = |bound: Amount| fall > bound.times_saturating(peak.abs());
            let reason = || format!("fell by {fall} from a peak of {peak}");
            if self.kill_at.is_some_and(beyond) && self.killed.insert(strategy.clone()) {
                consequences.push(Consequence::Kill { scope: Scope::Strategy(strategy.clone()), reason: reason() });
            }
            if beyond(self.break_at) {
                consequences.push(Consequence::Break { reach: Reach::Strategy(strategy.clone()), reason: reason() });
            }
        }
        consequences
    }
}

impl PostTrade for DrawdownMonitor {
    fn after_execution(&mut self, _: Lane, _: &Execution, seen: &Seen<'_>) -> Vec<Consequence> {
        self.look(seen)
    }

    fn after_price(&mut self, seen: &Seen<'_>) -> Vec<Consequence> {
        self.look(seen)
    }

    /// Falls count anew from where it stands.
    fn closed(&mut self, reach: &Reach, seen: &Seen<'_>) {
        let Reach::Strategy(strategy) = reach else { return };
        if let Some(equity) = seen.positions.equity(strategy, seen.prices, seen.instruments) {
            self.peaks.insert(strategy.clone(), equity);
        }
        self.killed.remove(strategy);
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept { check: "drawdown", state: json!({ "peaks": self.peaks, "killed": self.killed }) })
    }

    fn take_back(&mut self, mut kept: Fields) -> Result<(), StateError> {
        self.peaks = kept.take("peaks")?;
        self.killed = kept.take("killed")?;
        kept.end()
    }
}

/// Rejections in a row: a venue that refuses everything must not be flooded.
#[derive(Clone, Debug)]
pub struct RejectionBreaker {
    name: &'static str,
    reach: fn(&Execution) -> Reach,
    max: u32,
    in_a_row: BTreeMap<Reach, u32>,
}

impl RejectionBreaker {
    /// Opens after more than `max` in a row, for the strategy.
    #[must_use]
    pub const fn by_strategy(max: u32) -> Self {
        Self::of("rejections_by_strategy", |execution| Reach::Strategy(execution.strategy.clone()), max)
    }

    /// The same, for the instrument.
    #[must_use]
    pub const fn by_instrument(max: u32) -> Self {
        Self::of("rejections_by_instrument", |execution| Reach::Instrument(execution.instrument.clone()), max)
    }

    /// The same, for everything.
    #[must_use]
    pub const fn of_all(max: u32) -> Self {
        Self::of("rejections_of_all", |_| Reach::All, max)
    }

    const fn of(name: &'static str, reach: fn(&Execution) -> Reach, max: u32) -> Self {
        Self { name, reach, max, in_a_row: BTreeMap::new() }
    }
}

impl PostTrade for RejectionBreaker {
    fn after_execution(&mut self, _: Lane, execution: &Execution, _: &Seen<'_>) -> Vec<Consequence> {
        let reach = (self.reach)(execution);
        match execution.what {
            What::Rejected { .. } => {
                let count = self.in_a_row.entry(reach.clone()).or_default();
                *count = count.saturating_add(1);
                if *count <= self.max {
                    return Vec::new();
                }
                let reason = format!("{count} orders in a row were rejected");
                *count = 0;
                vec![Consequence::Break { reach, reason }]
            }
            What::Filled(_) => {
                self.in_a_row.remove(&reach);
                Vec::new()
            }
            What::Accepted | What::Canceled | What::Expired => Vec::new(),
        }
    }

    fn kept(&self) -> Option<Kept> {
        let in_a_row: Vec<_> = self.in_a_row.iter().collect();
        Some(Kept { check: self.name, state: json!({ "in_a_row": in_a_row }) })
    }

    fn take_back(&mut self, mut kept: Fields) -> Result<(), StateError> {
        self.in_a_row = kept.each("in_a_row")?.into_iter().collect();
        kept.end()
    }
}

/// All strategies together have lost more than so much: the breaker of everything opens.
#[derive(Clone, Copy, Debug)]
pub struct LossBreaker {
    max: Amount,
    /// The result from which losses count: none at first, then where it stood when the breaker opened.
    from: Amount,
}

impl LossBreaker {
    /// Opens when all strategies together have made `max` less than nothing, and again after as much more.
    #[must_use]
    pub const fn new(max: Amount) -> Self {
        Self { max, from: Amount::ZERO }
    }

    fn look(&mut self, seen: &Seen<'_>) -> Vec<Consequence> {
        let made = |strategy| seen.positions.result(strategy, seen.prices, seen.instruments);
        let mut all = seen.positions.traded().into_iter().map(made);
        let Some(all) = all.try_fold(Amount::ZERO, |sum, made| Some(sum.plus(made?))) else {
            let reason = "what is held cannot be valued".to_owned();
            return vec![Consequence::Break { reach: Reach::All, reason }];
        };
        let lost = self.from.minus(all);
        if lost <= self.max {
            return Vec::new();
        }
        // From here on it counts anew, so that it can be closed.
        self.from = all;
        vec![Consequence::Break { reach: Reach::All, reason: format!("{lost} were lost") }]
    }
}

impl PostTrade for LossBreaker {
    fn after_execution(&mut self, _: Lane, _: &Execution, seen: &Seen<'_>) -> Vec<Consequence> {
        self.look(seen)
    }

    fn after_price(&mut self, seen: &Seen<'_>) -> Vec<Consequence> {
        self.look(seen)
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept { check: "loss", state: json!({ "from": self.from }) })
    }

    fn take_back(&mut self, mut kept: Fields) -> Result<(), StateError> {
        self.from = kept.take("from")?;
        kept.end()
    }
}
