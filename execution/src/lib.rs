//! The execution engine: signal to order to trade, with governance in between.
//!
//! ```text
//! signal -> sizing -> deduplication -> governance -> pre-trade risk -> submission -> post-trade risk
//! ```
//!
//! Every stage is a trait and can be replaced. The crate knows no clock, no disk, no network and no thread: time
//! comes in with what happens, governance and venues behind [`gate::Gate`] and [`venue::Venue`]. It writes nothing:
//! what was decided is in governance's log, what was sent and filled is with the venue, and both know an order by
//! the id of its signal. So an engine that comes back after a crash asks them, and sends nothing twice. What neither
//! knows, because nobody but the engine has stopped it, is its [`state::State`], and that is its host's to keep.

pub mod breaker;
pub mod dedup;
pub mod engine;
pub mod gate;
pub mod instrument;
pub mod order;
pub mod outcome;
pub mod paper;
pub mod positions;
pub mod post;
pub mod reconcile;
pub mod refusal;
pub mod risk;
pub mod seen;
pub mod sizing;
pub mod state;
pub mod venue;

pub use gate::{Answer, Ask, Disabled, Gate, Report, ReportError};
