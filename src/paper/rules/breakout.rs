//! Breakout: with a close beyond the range of the bars before, until it is beyond the nearer range on the other side.

use serde::{Deserialize, Serialize};

use super::{Last, Rule, Stance, Wish, window_fault};
use crate::paper::bars::Bar;

/// Its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bars whose range it enters beyond.
    pub entry_bars: usize,
    /// Bars whose range it leaves beyond, on the other side.
    pub exit_bars: usize,
    /// Whether it stays out, where it would stand short.
    pub long_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { entry_bars: 20, exit_bars: 10, long_only: false }
    }
}

impl Settings {
    pub(super) fn fault(&self) -> Option<(&'static str, String)> {
        window_fault("exit_bars", self.exit_bars, 1).or_else(|| {
            let fault = window_fault("entry_bars", self.entry_bars, self.exit_bars);
            fault.map(|(field, problem)| (field, format!("{problem}; it is not shorter than exit_bars")))
        })
    }
}

/// Highs and lows of the last bars.
#[derive(Clone, Debug)]
struct Channel {
    highs: Last,
    lows: Last,
}

impl Channel {
    fn new(bars: usize) -> Self {
        Self { highs: Last::new(bars), lows: Last::new(bars) }
    }

    fn push(&mut self, bar: &Bar) {
        self.highs.push(bar.high);
        self.lows.push(bar.low);
    }
}

/// The rule.
#[derive(Clone, Debug)]
pub struct Breakout {
    entry: Channel,
    exit: Channel,
    long_only: bool,
    stance: Stance,
}

impl Breakout {
    /// At its beginning.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let Settings { entry_bars, exit_bars, long_only } = *settings;
        Self { entry: Channel::new(entry_bars), exit: Channel::new(exit_bars), long_only, stance: Stance::Flat }
    }
}

impl Rule for Breakout {
    fn on_bar(&mut self, bar: &Bar) -> Option<Wish> {
        // The range is that of the bars before this one.
        let ranges = self.entry.highs.is_full().then(|| {
            let channel = |channel: &Channel| channel.highs.highest().zip(channel.lows.lowest());
            channel(&self.entry).zip(channel(&self.exit))
        });
        self.entry.push(bar);
        self.exit.push(bar);
        let ((entry_high, entry_low), (exit_high, exit_low)) = ranges.flatten()?;
        let leaves = match self.stance {
            Stance::Flat => false,
            Stance::Long => bar.close < exit_low,
            Stance::Short => bar.close > exit_high,
        };
        if leaves {
            self.stance = Stance::Flat;
        }
        if self.stance == Stance::Flat {
            if bar.close > entry_high {
                self.stance = Stance::Long;
            } else if bar.close < entry_low && !self.long_only {
                self.stance = Stance::Short;
            }
        }
        let stop = match self.stance {
            Stance::Flat => None,
            Stance::Long => Some(exit_low),
            Stance::Short => Some(exit_high),
        };
        Some(Wish { stance: self.stance, stop })
    }

    fn warm_up(&self) -> usize {
        self.entry.highs.most + 1
    }
}
