//! How large an order a signal asks for, before anybody looks at it.

mod portfolio;
mod volatility;

use ephor_governance::ids::InstrumentId;
use ephor_governance::units::Amount;

pub use self::portfolio::{Base, GovernanceSizing, PortfolioSizing, Size};
use crate::order::TradeSignal;
use crate::refusal::Refusal;
use crate::seen::Seen;

/// The first stage.
pub trait Sizer {
    /// The quantity that an entry asks for; above zero. An exit is not asked about: it is what is held.
    ///
    /// # Errors
    /// [`Refusal`], where there is nothing to size by or it comes to nothing.
    fn size(&mut self, signal: &TradeSignal, seen: &Seen<'_>) -> Result<Amount, Refusal>;

    /// Takes note of a price; for sizes that are measured over time.
    fn price(&mut self, _instrument: &InstrumentId, _price: Amount) {}
}
