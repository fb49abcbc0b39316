//! Example strategies: plain machines over bars, each a deterministic function of the bars that it has seen.
//!
//! A rule says which way it wants to stand; what may come of that is not its to know. So the same bars give the same
//! wishes, whether or not anybody let the last one through, and a backtest wishes what the live part would have.
//!
//! Invariant: exact decimals throughout; no rule looks at a bar before it is over.

mod breakout;
mod crossing;
mod reversion;

use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

pub use breakout::Breakout;
pub use crossing::Crossing;
pub use reversion::Reversion;

use super::bars::Bar;

/// Which way a rule wants to stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stance {
    /// Not in the market.
    #[default]
    Flat,
    /// To gain when the price rises.
    Long,
    /// To gain when the price falls.
    Short,
}

/// What a rule wants after a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which way to stand.
    pub stance: Stance,
    /// The price at which it would have been wrong, where it has one: what is risked is counted from there.
    pub stop: Option<Amount>,
}

/// A strategy over bars.
pub trait Rule {
    /// Takes one more bar, which is over; `None` while it has not seen enough of them.
    fn on_bar(&mut self, bar: &Bar) -> Option<Wish>;

    /// How many bars it takes before it wishes anything.
    fn warm_up(&self) -> usize;
}

/// Which rule, with its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// Long while the faster average is above the slower one.
    MovingAverageCross(crossing::Settings),
    /// Against a close far from its mean, until it is back there.
    MeanReversion(reversion::Settings),
    /// With a close beyond the range of the bars before.
    Breakout(breakout::Settings),
}

impl Kind {
    /// The rule at its beginning.
    #[must_use]
    pub fn begin(&self) -> Box<dyn Rule> {
        match self {
            Self::MovingAverageCross(settings) => Box::new(Crossing::new(settings)),
            Self::MeanReversion(settings) => Box::new(Reversion::new(settings)),
            Self::Breakout(settings) => Box::new(Breakout::new(settings)),
        }
    }

    /// What it is called as a class of strategies.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MovingAverageCross(_) => "moving-average-cross",
            Self::MeanReversion(_) => "mean-reversion",
            Self::Breakout(_) => "breakout",
        }
    }

    /// One of each, as they are where nobody sets anything.
    #[must_use]
    pub fn examples() -> [Self; 3] {
        [
            Self::MovingAverageCross(crossing::Settings::default()),
            Self::MeanReversion(reversion::Settings::default()),
            Self::Breakout(breakout::Settings::default()),
        ]
    }

    /// What is wrong with its settings: the field, and what would do.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String)> {
        match self {
            Self::MovingAverageCross(settings) => settings.fault(),
            Self::MeanReversion(settings) => settings.fault(),
            Self::Breakout(settings) => settings.fault(),
        }
    }
}

/// The longest window of a rule, bars.
const BARS_MAX: usize = 10_000;

/// What is wrong with a window's length, where it is not within bounds.
fn window_fault(field: &'static str, bars: usize, least: usize) -> Option<(&'static str, String)> {
    let fits = (least..=BARS_MAX).contains(&bars);
    (!fits).then(|| (field, format!("must be from {least} to {BARS_MAX}, found {bars}")))
}

/// The last values, oldest first, at most so many.
#[derive(Clone, Debug)]
struct Last {
    values: std::collections::VecDeque<Amount>,
    most: usize,
}

impl Last {
    fn new(most: usize) -> Self {
        Self { values: std::collections::VecDeque::with_capacity(most), most }
    }

    /// Takes one more; gives the one that it pushed out.
    fn push(&mut self, value: Amount) -> Option<Amount> {
        let out = if self.is_full() { self.values.pop_front() } else { None };
        self.values.push_back(value);
        out
    }

    fn is_full(&self) -> bool {
        self.values.len() >= self.most
    }

    fn highest(&self) -> Option<Amount> {
        self.values.iter().copied().max()
    }

    fn lowest(&self) -> Option<Amount> {
        self.values.iter().copied().min()
    }

    fn iter(&self) -> impl Iterator<Item = Amount> {
        self.values.iter().copied()
    }
}

/// A count as an amount.
fn count(of: usize) -> Amount {
    Amount::from(i64::try_from(of).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
