//! What stages may look at.

use std::collections::BTreeMap;

use ephor_governance::ids::SourceId;
use ephor_governance::units::{Amount, Timestamp};

use crate::order::VenueOrder;
use crate::positions::{Instruments, Lane, Positions, Prices};

/// An order that is under way: sent, and not known to be over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Working {
    /// The order.
    pub order: VenueOrder,
    /// Where it is.
    pub lane: Lane,
    /// How much of it has not been filled.
    pub left: Amount,
}

/// The engine's state at the moment a stage is asked.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The engine's time.
    pub at: Timestamp,
    /// Terms of what can be traded.
    pub instruments: &'a Instruments,
    /// Last prices.
    pub prices: &'a Prices,
    /// What fills have come to.
    pub positions: &'a Positions,
    /// Orders under way, by id.
    pub working: &'a BTreeMap<SourceId, Working>,
    /// Orders that could not be sent, of which nobody knows whether the venue has them.
    pub doubtful: &'a BTreeMap<SourceId, Working>,
}
