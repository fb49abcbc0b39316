//! Which kill switches cover a strategy.

use ephor_governance::event::Scope;
use ephor_governance::gate::venue_of;
use ephor_governance::ids::{InstrumentId, StrategyId};

/// Whether a kill switch of this scope covers a strategy that trades these instruments.
#[must_use]
pub fn covers<'a>(
    scope: &Scope,
    strategy: &StrategyId,
    mut instruments: impl Iterator<Item = &'a InstrumentId>,
) -> bool {
    match scope {
        Scope::All => true,
        Scope::Strategy(id) => id == strategy,
        Scope::Instrument(id) => instruments.any(|instrument| instrument == id),
        Scope::Venue(name) => instruments.any(|instrument| venue_of(instrument) == Some(name.as_str())),
    }
}
