//! The port to a venue, and what a venue says.
//!
//! A venue is what survives the engine: it knows each order by the client's id, takes each once, and tells what
//! became of it from any point on, again and again. That is what lets an engine come back after a crash with
//! nothing but its signals.

use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};
use serde::{Deserialize, Serialize};

use crate::order::VenueOrder;

/// Why a venue did not take an order or a cancellation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VenueError {
    /// It cannot be asked now; whether it has the order is not known. Asking again with the same id is safe.
    #[error("the venue cannot be reached: {problem}")]
    Unreachable {
        /// What was found.
        problem: String,
    },
    /// Another order stands under this id.
    #[error("another order stands under {id}")]
    IdReused {
        /// The id.
        id: SourceId,
    },
    /// There is no such order, or it is over.
    #[error("no open order {id}")]
    NotOpen {
        /// The id.
        id: SourceId,
    },
}

impl VenueError {
    /// Whether the same may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::IdReused { .. } | Self::NotOpen { .. } => false,
        }
    }
}

/// What a venue did, about one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The order, by the client's id.
    pub order_id: SourceId,
    /// Whose it was.
    pub strategy: StrategyId,
    /// What is traded.
    pub instrument: InstrumentId,
    /// When, by the venue's clock.
    pub at: Timestamp,
    /// What happened.
    pub what: What,
}

/// One event in the life of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The venue has it.
    Accepted,
    /// Filled, wholly or in part.
    Filled(Filled),
    /// Refused.
    Rejected {
        /// In the venue's words.
        reason: String,
    },
    /// Taken back; what was filled before stays filled.
    Canceled,
    /// Ran out of time.
    Expired,
}

/// One fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// The execution's id at the venue.
    pub id: SourceId,
    /// Which way.
    pub side: Side,
    /// Of this fill alone; above zero.
    pub qty: Amount,
    /// Its price.
    pub price: Amount,
    /// What it cost, in the instrument's currency; below zero a rebate.
    pub fee: Amount,
}

/// An order as a venue knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The order.
    pub order: VenueOrder,
    /// How much of it is filled.
    pub filled: Amount,
    /// Whether more can come.
    pub is_open: bool,
}

/// A position that a venue holds for a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Whose.
    pub strategy: StrategyId,
    /// What.
    pub instrument: InstrumentId,
    /// How much, signed; never zero.
    pub qty: Amount,
}

/// A place where orders go.
pub trait Venue {
    /// Takes an order. The same order again is the same order, and changes nothing.
    ///
    /// # Errors
    /// [`VenueError`]. What the venue's rules refuse is no error but an execution, [`What::Rejected`].
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError>;

    /// Takes an open order back.
    ///
    /// # Errors
    /// [`VenueError`].
    fn cancel(&mut self, id: &SourceId, at: Timestamp) -> Result<(), VenueError>;

    /// What the venue knows of an order; `None` where it never came.
    ///
    /// # Errors
    /// [`VenueError::Unreachable`].
    fn order(&self, id: &SourceId) -> Result<Option<Known>, VenueError>;

    /// Everything that happened behind this point, in order. Points count from 0; what comes at index `i` of the
    /// answer has the point `cursor + i + 1` behind it.
    ///
    /// # Errors
    /// [`VenueError::Unreachable`].
    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError>;

    /// All positions, in the order of strategy and instrument.
    ///
    /// # Errors
    /// [`VenueError::Unreachable`].
    fn holdings(&self) -> Result<Vec<Holding>, VenueError>;
}
