//! Paper trading: signals and prices in, the whole loop of an execution engine on a paper venue, governed by the real
//! governor on a real log.
//!
//! Time is the bars' own. A bar is over before anybody sees it: what a strategy wishes after one is traded at the
//! opening of the next. Everything follows from bars, signals, settings and seed, so the same command asks the same
//! questions again, and what has been recorded answers them.

pub mod arrivals;
pub mod bars;
pub mod desk;
pub mod follow;
pub mod gate;
pub mod journal;
pub mod live;
pub mod measure;
pub mod plan;
pub mod rules;
pub mod run;
pub mod signals;

use ephor_governance::units::{Amount, Timestamp};

/// What a strategy was worth at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// Capital, results, and what its position would bring.
    pub equity: Amount,
}
