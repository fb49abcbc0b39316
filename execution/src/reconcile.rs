//! What the engine holds against what the venue says it holds.

use std::collections::BTreeMap;

use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::units::Amount;

use crate::positions::{Lane, Positions};
use crate::venue::Holding;

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
