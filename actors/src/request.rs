//! What is asked of the governor about one strategy.

use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::Command;
use ephor_governance::units::Timestamp;
use smol_str::SmolStr;

/// A command for a strategy, with what ties it to the world outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which strategy.
    pub strategy: StrategyId,
    /// What is asked.
    pub command: Command,
    /// The governor's time: stamped once, where the request came in.
    pub at: Timestamp,
    /// Ties order, decision, token and trade together; empty for none.
    pub trace: SmolStr,
    /// The source's own time; the command's own, or `at`, where the source gives none.
    pub occurred_at: Option<Timestamp>,
}
