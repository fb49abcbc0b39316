//! What one component says of one order, and the codes it says it in.
//!
//! A reason is a code with its numbers as fields, never a sentence: programs match on the code,
//! people read the numbers, and `audit` compares both bit for bit.

use serde::{Deserialize, Serialize};

use crate::drift::Metric;
use crate::ids::{Actor, TokenId};
use crate::impact::{self, Tier};
use crate::maturity::{DemotionCause, Level};
use crate::units::{Multiplier, Timestamp};

/// What the gate answers, from the mildest to the severest. The order of variants is the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Go on, whole.
    #[serde(alias = "ALLOW")]
    Allow,
    /// Go on, smaller.
    #[serde(alias = "REDUCE_SIZE")]
    ReduceSize,
    /// Not this order.
    #[serde(alias = "BLOCK")]
    Block,
    /// The strategy falls at once; the order goes on at the new level's cap.
    #[serde(alias = "DEMOTE")]
    Demote,
    /// The strategy stands still until it is resumed.
    #[serde(alias = "PAUSE")]
    Pause,
    /// A kill switch covers the order.
    #[serde(alias = "KILL")]
    Kill,
}

impl Action {
    /// Every action, mildest first.
    pub const ALL: [Self; 6] = [Self::Allow, Self::ReduceSize, Self::Block, Self::Demote, Self::Pause, Self::Kill];

    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::ReduceSize => "reduce_size",
            Self::Block => "block",
            Self::Demote => "demote",
            Self::Pause => "pause",
            Self::Kill => "kill",
        }
    }

    /// Whether it turns the order away whatever its size.
    #[must_use]
    pub const fn rejects(self) -> bool {
        match self {
            Self::Allow | Self::ReduceSize | Self::Demote => false,
            Self::Block | Self::Pause | Self::Kill => true,
        }
    }
}

/// Who gives a verdict. The order breaks ties between equally severe verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// The latched kill switch.
    KillSwitch,
    /// A pause by an operator or by drift.
    Pause,
    /// The infrastructure canary.
    Canary,
    /// The maturity ladder.
    Maturity,
    /// Live against backtest.
    Drift,
    /// Trade impact.
    Impact,
    /// Execution tokens.
    Token,
    /// Outcome-based health.
    Health,
}

/// Why a verdict is what it is. Variants are appended, never reordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The component has nothing against the order.
    ComponentClear,
    /// A `reduce_only` order: exits are never trapped.
    OrderReducesOnly,
    /// A kill switch covers the order.
    KillEngaged {
        /// Who engaged it.
        by: Actor,
        /// When.
        since: Timestamp,
        /// Whether it also stops exits.
        exits_blocked: bool,
    },
    /// An operator, or drift, has paused the strategy.
    StrategyPaused {
        /// Who paused it.
        by: Actor,
        /// When.
        since: Timestamp,
    },
    /// Components have failed often enough to act.
    CanaryUnhealthy {
        /// How many.
        components_failed: u32,
    },
    /// Nothing is being watched, which is itself worth knowing.
    CanaryNoComponents,
    /// The level does not execute.
    MaturityLevelTooLow {
        /// The level.
        level: Level,
    },
    /// The level caps the size.
    MaturitySizingCapped {
        /// The level.
        level: Level,
        /// The cap, a share of the size asked for.
        cap: f64,
    },
    /// At this level every order needs a token, and none covers this one.
    MaturityApprovalRequired {
        /// The level.
        level: Level,
    },
    /// The record at the level calls for a demotion now.
    MaturityDemotionDue {
        /// The level before.
        from: Level,
        /// The level it falls to.
        to: Level,
        /// What crossed its threshold.
        cause: DemotionCause,
        /// Size cap of the level it falls to.
        cap: f64,
    },
    /// The record at the level, and nothing against it.
    MaturityAutonomous {
        /// The level.
        level: Level,
    },
    /// Losses have taken health below one.
    HealthDegraded {
        /// 0 to 1.
        score: f64,
        /// Debt behind it.
        debt: f64,
    },
    /// Health is whole.
    HealthGood {
        /// 0 to 1.
        score: f64,
    },
    /// The order's impact is within what the level may do.
    ImpactWithinLevel {
        /// The tier.
        tier: Tier,
        /// The four parts and what was unknown.
        score: impact::Score,
    },
    /// The order's impact needs a higher level.
    ImpactAboveLevel {
        /// The tier.
        tier: Tier,
        /// The level it needs.
        required: Level,
        /// The level the strategy has.
        level: Level,
        /// The four parts and what was unknown.
        score: impact::Score,
    },
    /// Critical impact needs a token at any level, and none covers the order.
    ImpactApprovalRequired {
        /// The tier.
        tier: Tier,
        /// The four parts and what was unknown.
        score: impact::Score,
    },
    /// No backtest to compare with, or none of the metrics it gives can be compared.
    DriftNoBaseline,
    /// Too few live trades to compare.
    DriftSampleTooSmall {
        /// Live trades there are.
        trades: u32,
        /// Live trades it takes.
        trades_min: u32,
    },
    /// No metric is beyond its bound.
    DriftWithinBounds {
        /// The metric that is furthest away.
        metric: Metric,
        /// Its deviation, percent.
        deviation_pct: f64,
    },
    /// A metric is beyond the reduce bound.
    DriftBeyondReduce {
        /// The metric that is furthest away.
        metric: Metric,
        /// Live value.
        live: f64,
        /// Backtest value.
        baseline: f64,
        /// Deviation, percent.
        deviation_pct: f64,
    },
    /// A metric is beyond the pause bound.
    DriftBeyondPause {
        /// The metric that is furthest away.
        metric: Metric,
        /// Live value.
        live: f64,
        /// Backtest value.
        baseline: f64,
        /// Deviation, percent.
        deviation_pct: f64,
    },
    /// Nothing asks for a token here.
    TokenNotNeeded,
    /// A token covers the order.
    TokenCovers {
        /// Which.
        token: TokenId,
        /// Uses left after this one.
        uses_left: u32,
    },
    /// A token is needed and none covers the order.
    TokenMissing,
    /// The token presented is not known.
    TokenUnknown {
        /// Which.
        token: TokenId,
    },
    /// The token presented has run out of time.
    TokenExpired {
        /// Which.
        token: TokenId,
        /// When it ended.
        expired_at: Timestamp,
    },
    /// The token presented has been used up or revoked.
    TokenSpent {
        /// Which.
        token: TokenId,
    },
    /// The token presented does not cover this order.
    TokenOutOfScope {
        /// Which.
        token: TokenId,
        /// The first part of its scope that does not fit.
        mismatch: crate::token::Mismatch,
    },
    /// The journal could not record a decision; never found in a log.
    JournalUnavailable,
    /// The strategy is not known to the governor; never found in a log.
    StrategyUnknown,
    /// Nobody answered in time; never found in a log.
    GateTimeout,
    /// The actor that should have answered has failed; never found in a log.
    ActorFaulted,
    /// The canary has spoken before and has been silent for too long: nobody is watching.
    CanarySilent {
        /// When it last spoke.
        since: Timestamp,
    },
}

impl Reason {
    /// `CATEGORY_CONDITION`, as it stands in every JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ComponentClear => "COMPONENT_CLEAR",
            Self::OrderReducesOnly => "ORDER_REDUCES_ONLY",
            Self::KillEngaged { .. } => "KILL_ENGAGED",
            Self::StrategyPaused { .. } => "STRATEGY_PAUSED",
            Self::CanaryUnhealthy { .. } => "CANARY_UNHEALTHY",
            Self::CanaryNoComponents => "CANARY_NO_COMPONENTS",
            Self::MaturityLevelTooLow { .. } => "MATURITY_LEVEL_TOO_LOW",
            Self::MaturitySizingCapped { .. } => "MATURITY_SIZING_CAPPED",
            Self::MaturityApprovalRequired { .. } => "MATURITY_APPROVAL_REQUIRED",
            Self::MaturityDemotionDue { .. } => "MATURITY_DEMOTION_DUE",
            Self::MaturityAutonomous { .. } => "MATURITY_AUTONOMOUS",
            Self::HealthDegraded { .. } => "HEALTH_DEGRADED",
            Self::HealthGood { .. } => "HEALTH_GOOD",
            Self::ImpactWithinLevel { .. } => "IMPACT_WITHIN_LEVEL",
            Self::ImpactAboveLevel { .. } => "IMPACT_ABOVE_LEVEL",
            Self::ImpactApprovalRequired { .. } => "IMPACT_APPROVAL_REQUIRED",
            Self::DriftNoBaseline => "DRIFT_NO_BASELINE",
            Self::DriftSampleTooSmall { .. } => "DRIFT_SAMPLE_TOO_SMALL",
            Self::DriftWithinBounds { .. } => "DRIFT_WITHIN_BOUNDS",
            Self::DriftBeyondReduce { .. } => "DRIFT_BEYOND_REDUCE",
            Self::DriftBeyondPause { .. } => "DRIFT_BEYOND_PAUSE",
            Self::TokenNotNeeded => "TOKEN_NOT_NEEDED",
            Self::TokenCovers { .. } => "TOKEN_COVERS",
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenUnknown { .. } => "TOKEN_UNKNOWN",
            Self::TokenExpired { .. } => "TOKEN_EXPIRED",
            Self::TokenSpent { .. } => "TOKEN_SPENT",
            Self::TokenOutOfScope { .. } => "TOKEN_OUT_OF_SCOPE",
            Self::JournalUnavailable => "JOURNAL_UNAVAILABLE",
            Self::StrategyUnknown => "STRATEGY_UNKNOWN",
            Self::GateTimeout => "GATE_TIMEOUT",
            Self::ActorFaulted => "ACTOR_FAULTED",
            Self::CanarySilent { .. } => "CANARY_SILENT",
        }
    }
}

/// One component's answer to one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Who says it.
    pub component: Component,
    /// What it asks for.
    pub action: Action,
    /// How much of the order it would let through.
    pub multiplier: Multiplier,
    /// Why, with the numbers it looked at.
    pub reason: Reason,
}

impl Verdict {
    /// Lets the whole order through.
    #[must_use]
    pub const fn allow(component: Component, reason: Reason) -> Self {
        Self { component, action: Action::Allow, multiplier: Multiplier::ONE, reason }
    }

    /// Lets a share of the order through; a share of one is an `Allow`.
    #[must_use]
    pub fn sized(component: Component, multiplier: Multiplier, reason: Reason) -> Self {
        let action = if multiplier.is_one() { Action::Allow } else { Action::ReduceSize };
        Self { component, action, multiplier, reason }
    }

    /// Turns the order away with `Block`, `Pause` or `Kill`.
    #[must_use]
    pub const fn reject(component: Component, action: Action, reason: Reason) -> Self {
        Self { component, action, multiplier: Multiplier::ZERO, reason }
    }
}
