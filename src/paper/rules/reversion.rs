//! Mean reversion: against a close that is far from the mean of the last bars, until it is back there.

use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

use super::{Last, Rule, Stance, Wish, count, window_fault};
use crate::paper::bars::Bar;

/// Places to which the price of its stop is rounded.
const STOP_PLACES: u32 = 8;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bars that mean and deviation are taken over.
    pub bars: usize,
    /// Standard deviations from the mean beyond which it enters.
    pub deviations: Amount,
    /// Whether it stays out, where it would stand short.
    pub long_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bars: 20, deviations: Amount::new(2, 0), long_only: false }
    }
}

impl Settings {
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        let range = || {
            let fits = self.deviations.is_positive() && self.deviations <= Amount::new(10, 0);
            (!fits).then(|| ("deviations", format!("must be above 0 and at most 10, found {}", self.deviations)))
        };
        window_fault("bars", self.bars, 2).or_else(range)
    }
}

/// The rule.
#[derive(Clone, Debug)]
pub struct Reversion {
    closes: Last,
    deviations: Amount,
    long_only: bool,
    stance: Stance,
    stop: Option<Amount>,
}

impl Reversion {
    /// At its beginning.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Settings { bars, deviations, long_only } = *settings;
        Self { closes: Last::new(bars), deviations, long_only, stance: Stance::Flat, stop: None }
    }

    /// Whether a close, `off` from the mean times the count, is further away than it takes.
    ///
    /// With n closes of sum S and sum of squares Q the condition |c - S/n| > z x deviation is
    /// (nc - S)^2 (n - 1) > z^2 n (nQ - S^2): without root and division, so nothing is rounded.
    fn is_far(&self, off: Amount, sum: Amount) -> bool {
        let n = count(self.closes.most);
        let squares =
            self.closes.iter().fold(Amount::ZERO, |squares, close| squares.plus(close.times_saturating(close)));
        let spread = n.times_saturating(squares).minus(sum.times_saturating(sum));
        let needed = self.deviations.times_saturating(self.deviations).times_saturating(n).times_saturating(spread);
        let found = off.times_saturating(off).times_saturating(n.minus(Amount::ONE));
        // A price that has not moved at all is not far from anything.
        spread.is_positive() && found > needed
    }
}

impl Rule for Reversion {
    fn on_bar(&mut self, bar: &Bar) -> Option<Wish> {
        self.closes.push(bar.close);
        if !self.closes.is_full() {
            return None;
        }
        let n = count(self.closes.most);
        let sum = self.closes.iter().fold(Amount::ZERO, Amount::plus);
        let off = n.times_saturating(bar.close).minus(sum);
        let is_back = match self.stance {
            Stance::Flat => true,
            Stance::Long => !off.is_negative(),
            Stance::Short => !off.is_positive(),
        };
        if is_back {
            self.stance = match (self.is_far(off, sum), off.is_negative()) {
                (true, true) => Stance::Long,
                (true, false) if !self.long_only => Stance::Short,
                (true | false, _) => Stance::Flat,
            };
            // It would be wrong as far away as it hopes to be right.
            let mean = sum.decimal().checked_div(n.decimal()).map(Amount::from);
            let mirrored = mean.map(|mean| bar.close.plus(bar.close).minus(mean).decimal().round_dp(STOP_PLACES));
            self.stop = mirrored.map(Amount::from).filter(|stop| stop.is_positive() && self.stance != Stance::Flat);
        }
        Some(Wish { stance: self.stance, stop: self.stop })
    }

    fn warm_up(&self) -> usize {
        self.closes.most
    }
}
