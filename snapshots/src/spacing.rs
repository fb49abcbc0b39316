//! How far apart keyframes stand: made every so many events, thinned once they are old.
//!
//! What is near the end is asked for most, and is what a start needs: the newest keyframes of a stream are
//! all kept. Of the older ones so many go that those left are as far apart as time travel may have to fold,
//! and no further. A stream is spread over the whole log, so folding it is reading far and wide: the distance
//! is kept short, and a keyframe takes a hundredth of the log that it saves reading.

use ephor_events::Version;

/// So many of a stream's newest keyframes are kept, however close they stand: the newest may be damaged.
pub(crate) const NEWEST_KEPT: usize = 2;

/// Old keyframes are this many times further apart than new ones.
const THINNED: u64 = 4;

/// The most events between two keyframes, whatever is asked for: some fifteen milliseconds of folding.
const GAP_MAX: u64 = 16_000;

/// How many events of a stream lie between its keyframes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spacing {
    every: u64,
}

impl Default for Spacing {
    fn default() -> Self {
        Self { every: 1_000 }
    }
}

impl Spacing {
    /// The closest that keyframes may be made, events.
    pub const EVERY_MIN: u64 = 16;
    /// The furthest apart that keyframes may be made, events.
    pub const EVERY_MAX: u64 = GAP_MAX;

    /// A keyframe every so many events; `None` where that is too close or too far.
    ///
    /// ```
    /// # use ephor_snapshots::Spacing;
    /// assert_eq!(Spacing::new(1_000), Some(Spacing::default()));
    /// assert!(Spacing::new(0).is_none() && Spacing::new(1_000_000).is_none());
    /// ```
    #[must_use]
    pub fn new(every: u64) -> Option<Self> {
        (Self::EVERY_MIN..=Self::EVERY_MAX).contains(&every).then_some(Self { every })
    }

    /// Events of a stream between two keyframes of it when they are made.
    #[must_use]
    pub const fn every(self) -> u64 {
        self.every
    }

    /// The most events between two keyframes of a stream once they are old, but for a commit that is
    /// longer.
    #[must_use]
    pub const fn gap_max(self) -> u64 {
        let thinned = self.every * THINNED;
        if thinned < GAP_MAX { thinned } else { GAP_MAX }
    }

    /// Whether a stream that has its newest keyframe at one version should get another at a later one: the
    /// first commit that ends at a multiple of [`Spacing::every`] or behind it gets one.
    ///
    /// ```
    /// # use ephor_events::Version;
    /// # use ephor_snapshots::Spacing;
    /// let spacing = Spacing::default();
    /// assert!(spacing.is_due(Version(998), Version(1_001)));
    /// assert!(!spacing.is_due(Version(1_001), Version(1_999)));
    /// ```
    #[must_use]
    pub const fn is_due(self, newest: Version, now: Version) -> bool {
        now.0 / self.every > newest.0 / self.every
    }

    /// The keyframe that can go, of those that a stream has, newest first: the one that is just not among
    /// the newest any more, if its neighbours are close enough without it. The beginning of the stream is a
    /// neighbour too.
    pub(crate) fn surplus(self, newest_first: &[Version]) -> Option<Version> {
        let last_kept = newest_first.get(NEWEST_KEPT.checked_sub(1)?)?;
        let candidate = newest_first.get(NEWEST_KEPT)?;
        let before = newest_first.get(NEWEST_KEPT + 1).copied().unwrap_or_default();
        (last_kept.0 - before.0 <= self.gap_max()).then_some(*candidate)
    }
}
