//! Circuit breakers: what stops new orders until a named person lets them go again.

use std::collections::BTreeMap;
use std::fmt;

use ephor_governance::ids::{Actor, InstrumentId, StrategyId};
use ephor_governance::units::Timestamp;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::order::VenueOrder;
use crate::refusal::Refusal;

/// What a breaker stops.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Everything.
    All,
    /// One strategy.
    Strategy(StrategyId),
    /// One instrument.
    Instrument(InstrumentId),
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::Strategy(id) => write!(f, "strategy:{id}"),
            Self::Instrument(id) => write!(f, "instrument:{id}"),
        }
    }
}

/// An open breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Since when.
    pub since: Timestamp,
    /// Who opened it.
    pub by: Actor,
    /// Why.
    pub reason: String,
}

/// All breakers; those that are not here are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakers(BTreeMap<Reach, Open>);

/// As a list: what they reach is no text.
impl Serialize for Breakers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct One<'a> {
            reach: &'a Reach,
            since: Timestamp,
            by: &'a Actor,
            reason: &'a str,
        }
        let mut all = serializer.serialize_seq(Some(self.0.len()))?;
        for (reach, Open { since, by, reason }) in &self.0 {
            all.serialize_element(&One { reach, since: *since, by, reason })?;
        }
        all.end()
    }
}

impl Breakers {
    /// Opens one; `false` where it stood open already, and then nothing changes.
    pub fn open(&mut self, reach: Reach, open: Open) -> bool {
        if self.0.contains_key(&reach) {
            return false;
        }
        self.0.insert(reach, open);
        true
    }

    /// Closes one, on a person's word; what it had been open for.
    pub fn close(&mut self, reach: &Reach) -> Option<Open> {
        self.0.remove(reach)
    }

    /// All that are open.
    pub fn all(&self) -> impl Iterator<Item = (&Reach, &Open)> {
        self.0.iter()
    }

    /// Whether an order may pass.
    ///
    /// # Errors
    /// [`Refusal::BreakerOpen`], by the widest one that covers it.
    pub fn check(&self, order: &VenueOrder) -> Result<(), Refusal> {
        let reaches =
            [Reach::All, Reach::Strategy(order.strategy.clone()), Reach::Instrument(order.instrument.clone())];
        for reach in reaches {
            if let Some(Open { since, by, .. }) = self.0.get(&reach) {
                return Err(Refusal::BreakerOpen { reach, since: *since, by: by.clone() });
            }
        }
        Ok(())
    }
}
