//! Promotions, demotions and pauses before and after, paired: which are new, which are gone, which moved.

use std::collections::{BTreeMap, VecDeque};

use ephor_events::Seq;
use ephor_governance::event::Event;
use ephor_governance::maturity::{self, DemotionCause, Level};
use ephor_governance::units::Timestamp;
use serde::Serialize;

/// Changes kept a strategy and side; more are counted and left out of the pairing.
const KEPT: usize = 1_000;

/// What happened to a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It climbed.
    Promoted,
    /// It fell.
    Demoted,
    /// A person set its level.
    LevelSet,
    /// It was made to stand still.
    Paused,
    /// It was let go on.
    Resumed,
}

/// Where in history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The first seq of the commit.
    pub seq: Seq,
    /// When its command was decided.
    pub at: Timestamp,
}

/// A change that is new, gone, or stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// The level before, where levels are what it is about.
    pub from: Option<Level>,
    /// The level after.
    pub to: Option<Level>,
    /// What crossed its threshold, for a demotion; as it was or would have been, the latter first.
    pub cause: Option<DemotionCause>,
    /// Where it stands in history; `None` for one that history does not have.
    pub before: Option<Place>,
    /// Where it would have stood; `None` for one that would not have been.
    pub after: Option<Place>,
}

type Mark = (Kind, Option<Level>, Option<Level>);

struct Met {
    mark: Mark,
    cause: Option<DemotionCause>,
    place: Place,
}

/// One side's changes, oldest first.
#[derive(Default)]
pub(super) struct Path {
    met: Vec<Met>,
    left_out: u64,
    pub(super) promotions: u64,
    pub(super) demotions: u64,
    pub(super) pauses: u64,
    /// The level after all of them; `None` before the strategy is registered.
    pub(super) level: Option<Level>,
}

impl Path {
    pub(super) fn starting(level: Option<Level>) -> Self {
        Self { level, ..Self::default() }
    }

    /// Takes what one commit changes.
    pub(super) fn take(&mut self, events: &[Event], place: Place) {
        for event in events {
            let (mark, cause) = match event {
                Event::StrategyRegistered { level, .. } => {
                    self.level.get_or_insert(*level);
                    continue;
                }
                Event::MaturityTransitioned(maturity::Event::Promoted { from, to, .. }) => {
                    self.promotions += 1;
                    ((Kind::Promoted, Some(*from), Some(*to)), None)
                }
                Event::MaturityTransitioned(maturity::Event::Demoted { from, to, cause, .. }) => {
                    self.demotions += 1;
                    ((Kind::Demoted, Some(*from), Some(*to)), Some(*cause))
                }
                Event::LevelSet { from, to, .. } => ((Kind::LevelSet, Some(*from), Some(*to)), None),
                Event::StrategyPaused { .. } => {
                    self.pauses += 1;
                    ((Kind::Paused, None, None), None)
                }
                Event::StrategyResumed { .. } => ((Kind::Resumed, None, None), None),
                Event::BaselineRecorded(_)
                | Event::SignalReceived(_)
                | Event::OrderReported(_)
                | Event::FillRecorded { .. }
                | Event::UnattributedReceived(_)
                | Event::TradeClosed(_)
                | Event::AccountUpdated(_)
                | Event::DecisionMade(_)
                | Event::HealthUpdated(_)
                | Event::DriftAlerted(_)
                | Event::TokenChanged(_)
                | Event::CanaryChecked(_)
                | Event::CanaryAlerted(_)
                | Event::PolicyAdopted { .. }
                | Event::KillSwitchEngaged { .. }
                | Event::KillSwitchReleased { .. }
                | Event::ActorFaulted { .. }
                | Event::OrderApproved { .. }
                | Event::OrderDeclined { .. }
                | Event::PolicyProposed { .. } => continue,
            };
            self.level = mark.2.or(self.level);
            if self.met.len() < KEPT {
                self.met.push(Met { mark, cause, place });
            } else {
                self.left_out += 1;
            }
        }
    }
}

/// What differs between two paths, in the order of history, and how many changes were too many to pair.
///
/// A change at the same place on both sides is no difference. The others are paired in order with their
/// like (same kind, same levels) on the other side: such a pair has moved.
pub(super) fn compared(before: &Path, after: &Path) -> (Vec<Change>, u64) {
    let key = |met: &Met| (met.place.seq, met.mark);
    let mut stayed: BTreeMap<(Seq, Mark), u32> = BTreeMap::new();
    for met in &before.met {
        *stayed.entry(key(met)).or_default() += 1;
    }
    let mut fresh: Vec<&Met> = Vec::new();
    for met in &after.met {
        match stayed.get_mut(&key(met)).filter(|count| **count > 0) {
            Some(count) => *count -= 1,
            None => fresh.push(met),
        }
    }
    let mut gone: BTreeMap<Mark, VecDeque<&Met>> = BTreeMap::new();
    for met in &before.met {
        if let Some(count) = stayed.get_mut(&key(met)).filter(|count| **count > 0) {
            *count -= 1;
            gone.entry(met.mark).or_default().push_back(met);
        }
    }
    let change = |was: Option<&Met>, is: Option<&Met>| {
        let met = is.or(was)?;
        let (kind, from, to) = met.mark;
        let (before, after) = (was.map(|met| met.place), is.map(|met| met.place));
        Some(Change { kind, from, to, cause: met.cause, before, after })
    };
    let mut changes: Vec<Change> = Vec::new();
    for met in fresh {
        let moved = gone.get_mut(&met.mark).and_then(VecDeque::pop_front);
        changes.extend(change(moved, Some(met)));
    }
    changes.extend(gone.into_values().flatten().filter_map(|met| change(Some(met), None)));
    changes.sort_by_key(|change| change.after.or(change.before).map(|place| place.seq));
    (changes, before.left_out + after.left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(changes: &[(u64, Kind)]) -> Path {
        let met = |(seq, kind): &(u64, Kind)| Met {
            mark: (*kind, None, None),
            cause: None,
            place: Place { seq: Seq(*seq), at: Timestamp::default() },
        };
        Path { met: changes.iter().map(met).collect(), ..Path::default() }
    }

    #[test]
    fn what_stands_where_it_stood_is_no_difference_and_the_rest_is_paired_in_order() {
        let before = path(&[(1, Kind::Paused), (5, Kind::Promoted), (9, Kind::Demoted)]);
        let after = path(&[(1, Kind::Paused), (4, Kind::Demoted), (7, Kind::Promoted), (8, Kind::Demoted)]);
        let (changes, left_out) = compared(&before, &after);
        let seqs = |place: Option<Place>| place.map(|place| place.seq.0);
        let found: Vec<_> =
            changes.iter().map(|change| (change.kind, seqs(change.before), seqs(change.after))).collect();
        let moved =
            [(Kind::Demoted, Some(9), Some(4)), (Kind::Promoted, Some(5), Some(7)), (Kind::Demoted, None, Some(8))];
        assert_eq!((found.as_slice(), left_out), (moved.as_slice(), 0));
        assert_eq!(compared(&before, &before).0, []);
        let (gone, _) = compared(&before, &path(&[]));
        assert_eq!(gone.iter().filter(|change| change.after.is_none()).count(), 3);
    }
}
