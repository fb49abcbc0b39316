//! Moving-average cross: with the trend, as far as two averages see one.

use ephor_governance::units::Amount;
use serde::{Deserialize, Serialize};

use super::{Last, Rule, Stance, Wish, count, window_fault};
use crate::paper::bars::Bar;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bars of the faster average.
    pub fast_bars: usize,
    /// Bars of the slower average.
    pub slow_bars: usize,
    /// Whether it stays out, where it would stand short.
    pub long_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fast_bars: 10, slow_bars: 30, long_only: false }
    }
}

impl Settings {
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        window_fault("fast_bars", self.fast_bars, 1)
            .or_else(|| window_fault("slow_bars", self.slow_bars, self.fast_bars + 1))
    }
}

/// A sum over the last bars.
#[derive(Clone, Debug)]
struct Average {
    last: Last,
    sum: Amount,
}

impl Average {
    fn new(bars: usize) -> Self {
        Self { last: Last::new(bars), sum: Amount::ZERO }
    }

    fn push(&mut self, value: Amount) {
        let out = self.last.push(value).unwrap_or_default();
        self.sum = self.sum.plus(value).minus(out);
    }
}

/// The rule.
#[derive(Clone, Debug)]
pub struct Crossing {
    fast: Average,
    slow: Average,
    lows: Last,
    highs: Last,
    long_only: bool,
}

impl Crossing {
    /// At its beginning.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Settings { fast_bars, slow_bars, long_only } = *settings;
        Self {
            fast: Average::new(fast_bars),
            slow: Average::new(slow_bars),
            lows: Last::new(slow_bars),
            highs: Last::new(slow_bars),
            long_only,
        }
    }
}

impl Rule for Crossing {
    fn on_bar(&mut self, bar: &Bar) -> Option<Wish> {
        self.fast.push(bar.close);
        self.slow.push(bar.close);
        self.lows.push(bar.low);
        self.highs.push(bar.high);
        if !self.slow.last.is_full() {
            return None;
        }
        // Two averages compared without dividing: nothing is rounded.
        let fast = self.fast.sum.times_saturating(count(self.slow.last.most));
        let slow = self.slow.sum.times_saturating(count(self.fast.last.most));
        Some(if fast > slow {
            Wish { stance: Stance::Long, stop: self.lows.lowest() }
        } else if self.long_only {
            Wish { stance: Stance::Flat, stop: None }
        } else {
            Wish { stance: Stance::Short, stop: self.highs.highest() }
        })
    }

    fn warm_up(&self) -> usize {
        self.slow.last.most
    }
}
