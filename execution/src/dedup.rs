//! One signal is one order: by its id for good, by what it wishes for a while.

use std::collections::{BTreeSet, VecDeque};

use ephor_governance::ids::SourceId;
use ephor_governance::order::Intent;
use serde_json::json;

use crate::order::TradeSignal;
use crate::refusal::Refusal;
use crate::state::{Fields, Kept, StateError};

/// How many wishes are remembered to be compared by content.
const REMEMBERED: usize = 4_096;

/// The stage between sizing and governance.
pub trait Dedup {
    /// Whether this is a new wish. One that is gets remembered with [`Dedup::wished`], once it is an order or may be one.
    ///
    /// # Errors
    /// [`Refusal::DuplicateId`] and [`Refusal::DuplicateContent`].
    fn check(&self, signal: &TradeSignal) -> Result<(), Refusal>;

    /// Remembers a wish that became an order, or of which nobody knows; one that comes again is remembered once, and its
    /// own id passes until it is marked as sent.
    fn wished(&mut self, signal: &TradeSignal);

    /// Marks an id as an order that has been sent, or denied for good.
    fn sent(&mut self, id: SourceId);

    /// What it has to find again after a restart; `None` where that is nothing. Ids come again from the venues.
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

/// Remembers ids, and for a window what they wished. Exits are told apart by their ids alone: a second one finds
/// nothing left to reduce, and the first may not have been enough.
#[derive(Clone, Debug, Default)]
pub struct Window {
    nanos: i64,
    ids: BTreeSet<SourceId>,
    wishes: VecDeque<TradeSignal>,
}

impl Window {
    /// Within so many nanoseconds of its time the same wish under another id is the same order; 0 compares ids alone.
    #[must_use]
    pub const fn new(nanos: i64) -> Self {
        Self { nanos, ids: BTreeSet::new(), wishes: VecDeque::new() }
    }
}

impl Dedup for Window {
    fn check(&self, signal: &TradeSignal) -> Result<(), Refusal> {
        if self.ids.contains(&signal.id) {
            return Err(Refusal::DuplicateId);
        }
        let near =
            |other: &&TradeSignal| signal.at.nanos().saturating_sub(other.at.nanos()).saturating_abs() < self.nanos;
        let other = self.wishes.iter().filter(|wish| wish.id != signal.id);
        let first = other.filter(near).find(|other| is_same_wish(other, signal));
        first.map_or(Ok(()), |first| {
            Err(Refusal::DuplicateContent { first: first.id.clone(), window_nanos: self.nanos })
        })
    }

    fn wished(&mut self, signal: &TradeSignal) {
        // A wish that comes again is known by its id, and may have been forgotten in a crash.
        let is_kept = || self.wishes.iter().any(|wish| wish.id == signal.id);
        if self.nanos > 0 && signal.intent == Intent::Entry && !is_kept() {
            if self.wishes.len() >= REMEMBERED {
                self.wishes.pop_front();
            }
            self.wishes.push_back(signal.clone());
        }
    }

    fn sent(&mut self, id: SourceId) {
        self.ids.insert(id);
    }

    fn kept(&self) -> Option<Kept> {
        Some(Kept { check: "window", state: json!({ "wishes": self.wishes }) })
    }

    fn take_back(&mut self, mut kept: Fields) -> Result<(), StateError> {
        self.wishes = kept.each("wishes")?.into();
        kept.end()
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
