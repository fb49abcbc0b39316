//! What the engine holds against what the venue says it holds.

use std::collections::BTreeMap;

use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::units::{Amount, Timestamp};
use serde::{Deserialize, Serialize};

use crate::positions::{Lane, Positions};
use crate::venue::Holding;

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A position that differs.
    Position(Difference),
    /// A fill of an order that nobody sent.
    Orphan(Orphan),
}

/// A fill of an order that nobody sent: neither this engine, nor one before it as far as governance or the venue know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orphan {
    /// At which venue.
    pub lane: Lane,
    /// The order, as the venue names it.
    pub order_id: SourceId,
    /// The fill.
    pub fill_id: SourceId,
    /// Whose the venue says it is; `None` where that is no strategy of this engine.
    #[serde(deserialize_with = "Option::deserialize")]
    pub strategy: Option<StrategyId>,
    /// In what.
    pub instrument: InstrumentId,
    /// How much, signed.
    pub qty: Amount,
    /// When, by the venue's clock.
    pub at: Timestamp,
}

/// A position that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// At which venue.
    pub lane: Lane,
    /// Whose.
    pub strategy: StrategyId,
    /// In what.
    pub instrument: InstrumentId,
    /// What fills have come to here, signed.
    pub own: Amount,
    /// What the venue says, signed.
    pub venue: Amount,
}

/// Every position that differs, in the order of strategy and instrument; one that only one side knows is zero on the
/// other.
#[must_use]
pub fn differences(positions: &Positions, lane: Lane, holdings: &[Holding]) -> Vec<Difference> {
    let mut both: BTreeMap<(&StrategyId, &InstrumentId), (Amount, Amount)> = BTreeMap::new();
    for (_, strategy, instrument, qty) in positions.all().filter(|(of, ..)| *of == lane) {
        both.entry((strategy, instrument)).or_default().0 = qty;
    }
    for Holding { strategy, instrument, qty } in holdings {
        let venue = &mut both.entry((strategy, instrument)).or_default().1;
        *venue = venue.plus(*qty);
    }
    both.into_iter()
        .filter(|(_, (own, venue))| own != venue)
        .map(|((strategy, instrument), (own, venue))| Difference {
            lane,
            strategy: strategy.clone(),
            instrument: instrument.clone(),
            own,
            venue,
        })
        .collect()
}
