//! One signal is one order: by its id for good, by what it wishes for a while.

use std::collections::{BTreeSet, VecDeque};

use ephor_governance::ids::SourceId;

use crate::order::TradeSignal;
use crate::refusal::Refusal;

/// How many wishes are remembered to be compared by content.
const REMEMBERED: usize = 4_096;

/// Remembers ids, and for a window what they wished.
#[derive(Clone, Debug, Default)]
pub struct Dedup {
    window_nanos: i64,
    ids: BTreeSet<SourceId>,
    wishes: VecDeque<TradeSignal>,
}

impl Dedup {
    /// Within `window_nanos` of its time the same wish under another id is the same order; 0 compares ids alone.
    #[must_use]
    pub const fn new(window_nanos: i64) -> Self {
        Self { window_nanos, ids: BTreeSet::new(), wishes: VecDeque::new() }
    }

    /// Marks an id as an order that has been sent.
    pub fn sent(&mut self, id: SourceId) {
        self.ids.insert(id);
    }

    /// Whether an order of this id has been sent.
    #[must_use]
    pub fn was_sent(&self, id: &SourceId) -> bool {
        self.ids.contains(id)
    }

    /// Whether this is a new wish. One that is gets remembered with [`Dedup::wished`], once it is an order.
    ///
    /// # Errors
    /// [`Refusal::DuplicateId`] and [`Refusal::DuplicateContent`].
    pub fn check(&self, signal: &TradeSignal) -> Result<(), Refusal> {
        if self.was_sent(&signal.id) {
            return Err(Refusal::DuplicateId);
        }
        let near = |other: &&TradeSignal| {
            signal.at.nanos().saturating_sub(other.at.nanos()).saturating_abs() < self.window_nanos
        };
        let first = self.wishes.iter().filter(near).find(|other| other.id != signal.id && is_same_wish(other, signal));
        first.map_or(Ok(()), |first| {
            Err(Refusal::DuplicateContent { first: first.id.clone(), window_nanos: self.window_nanos })
        })
    }

    /// Remembers a wish that became an order.
    pub fn wished(&mut self, signal: &TradeSignal) {
        if self.window_nanos > 0 {
            if self.wishes.len() >= REMEMBERED {
                self.wishes.pop_front();
            }
            self.wishes.push_back(signal.clone());
        }
        self.sent(signal.id.clone());
    }
}

fn is_same_wish(one: &TradeSignal, other: &TradeSignal) -> bool {
    one.strategy == other.strategy
        && one.instrument == other.instrument
        && one.side == other.side
        && one.intent == other.intent
        && one.kind == other.kind
        && one.stop == other.stop
}
