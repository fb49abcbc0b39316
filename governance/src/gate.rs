//! One answer out of all verdicts: the most restrictive wins.
//!
//! Merging is commutative, associative and idempotent, and never loosens: no verdict can make
//! another one's size larger. An order that only reduces passes everything but a kill switch that
//! says it stops exits too.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::ids::{InstrumentId, StrategyId};
use crate::impact::{Account, Facts, Tier};
use crate::maturity::Level;
use crate::order::Order;
use crate::policy::PolicyId;
use crate::token::{Active, Required};
use crate::units::{Amount, Multiplier};
use crate::verdict::{Action, Component, Reason, Verdict};
use crate::{approval, canary, drift, health, impact, maturity, strategy, system, token};

/// How sizes are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizing {
    /// The smallest multiplier.
    MostRestrictive,
    /// The product of all multipliers.
    Compound,
}

/// How verdicts are merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How sizes are merged.
    pub sizing: Sizing,
}

impl Default for Policy {
    fn default() -> Self {
        Self { sizing: Sizing::MostRestrictive }
    }
}

/// Where an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// Nowhere.
    None,
    /// To a paper venue.
    Paper,
    /// To a live venue.
    Live,
    /// Wherever the position is held that it reduces: a level that does not execute must not trap an exit.
    Position,
}

/// The gate's answer to one order, with everything it read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The order as it was asked about.
    pub order: Order,
    /// The answer.
    pub action: Action,
    /// How much of the order may go out.
    pub multiplier: Multiplier,
    /// Where.
    pub execution: Execution,
    /// The component whose verdict decided.
    pub decided_by: Component,
    /// The strategy's level, after a demotion in the same commit.
    pub level: Level,
    /// The order's impact.
    pub tier: Tier,
    /// The strategy's health.
    pub health_score: f64,
    /// The policy it was made under.
    pub policy: PolicyId,
    /// 0 at first; counts up where a kill arrived before the answer left and it was decided again.
    pub attempt: u32,
    /// Every component's verdict.
    pub verdicts: Vec<Verdict>,
}

impl Decision {
    /// The verdict that decided.
    #[must_use]
    pub fn leading(&self) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.component == self.decided_by)
    }
}

/// What the verdicts come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Merged {
    /// The severest action.
    pub action: Action,
    /// The smallest multiplier, or the product.
    pub multiplier: Multiplier,
    /// Who asked for it.
    pub decided_by: Component,
}

/// Merges verdicts; `None` where there are none, which no one may read as an `Allow`.
///
/// ```
/// use ephor_governance::gate::{self, Sizing};
/// use ephor_governance::units::Multiplier;
/// use ephor_governance::verdict::{Action, Component, Reason, Verdict};
/// let half = Verdict::sized(Component::Drift, Multiplier::new(0.5), Reason::ComponentClear);
/// let whole = Verdict::allow(Component::Health, Reason::ComponentClear);
/// let merged = gate::merge(&[half, whole], Sizing::MostRestrictive).unwrap();
/// assert_eq!(merged.action, Action::ReduceSize);
/// assert_eq!(merged.multiplier, Multiplier::new(0.5));
/// ```
#[must_use]
pub fn merge(verdicts: &[Verdict], sizing: Sizing) -> Option<Merged> {
    let rank = |verdict: &&Verdict| (verdict.action, std::cmp::Reverse(verdict.component));
    let severest = verdicts.iter().max_by_key(rank)?;
    let multiplier = match sizing {
        Sizing::MostRestrictive => {
            verdicts.iter().fold(Multiplier::ONE, |least, verdict| least.min(verdict.multiplier))
        }
        Sizing::Compound => {
            // Sorted first, because float products depend on their order and merging must not.
            let mut shares: Vec<f64> = verdicts.iter().map(|verdict| verdict.multiplier.get()).collect();
            shares.sort_by(f64::total_cmp);
            shares.into_iter().fold(Multiplier::ONE, |product, share| product.compound(Multiplier::new(share)))
        }
    };
    let action =
        if severest.action == Action::Allow && !multiplier.is_one() { Action::ReduceSize } else { severest.action };
    let multiplier = if action.rejects() { Multiplier::ZERO } else { multiplier };
    let by_size = |a: &&Verdict, b: &&Verdict| {
        a.multiplier.get().total_cmp(&b.multiplier.get()).then(a.component.cmp(&b.component))
    };
    let decided_by = if severest.action <= Action::ReduceSize {
        verdicts.iter().min_by(by_size).map_or(severest.component, |verdict| verdict.component)
    } else {
        severest.component
    };
    Some(Merged { action, multiplier, decided_by })
}

/// A decision and what must be recorded beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The answer.
    pub decision: Decision,
    /// A demotion in the same commit.
    pub transition: Option<maturity::Event>,
    /// The use of a token in the same commit.
    pub token: Option<token::Event>,
}

/// Asks every component about an order and merges what they say.
///
/// # Source
/// The design's section on the rules; `docs/adr/` says where it departs from the framework.
#[must_use]
pub fn decide(
    strategy: &strategy::State,
    id: &StrategyId,
    order: &Order,
    attempt: u32,
    context: &strategy::Context<'_>,
) -> Decided {
    let policy = &*context.system.policy;
    let at = context.at;
    let facts = facts(strategy, order, context);
    let level_before = strategy.maturity.level;
    let kill = assess_kill(context.system, id, order);
    if order.reduce_only {
        let (_, tier) = impact::assess(&facts, level_before, true, &policy.impact_classifier);
        let clear = |component| Verdict::allow(component, Reason::OrderReducesOnly);
        let verdicts = vec![
            kill,
            clear(Component::Pause),
            clear(Component::Canary),
            clear(Component::Maturity),
            clear(Component::Drift),
            clear(Component::Impact),
            clear(Component::Token),
            clear(Component::Health),
        ];
        let decision = conclude(order, attempt, level_before, tier, strategy.health.score, context, verdicts);
        return Decided { decision, transition: None, token: None };
    }

    let (maturity, transition) = maturity::assess(&strategy.maturity, at, &policy.maturity);
    let level = match &transition {
        Some(maturity::Event::Demoted { to, .. } | maturity::Event::Promoted { to, .. }) => *to,
        None => level_before,
    };
    let (unapproved, tier) = impact::assess(&facts, level, false, &policy.impact_classifier);
    let required = if policy.execution_tokens.required {
        Required::ByPolicy
    } else if level == Level::Gated {
        Required::ByLevel(level)
    } else {
        Required::No
    };
    // A token is not spent on an order that needs none, unless the engine presents it.
    let token_asked = required != Required::No || tier == Tier::Critical || order.token.is_some();
    let usable = token_asked.then(|| approval::covering(strategy, order, tier, facts.notional_usd, at)).flatten();
    let impact = match usable {
        Some(_) => impact::assess(&facts, level, true, &policy.impact_classifier).0,
        None => unapproved,
    };
    let token = if token_asked {
        // Where a token covers the order and is not enough for its impact, impact says so.
        let covering = usable.or_else(|| token::covering(&strategy.tokens, order, facts.notional_usd, at));
        token::assess(&strategy.tokens, order, covering, facts.notional_usd, at, required)
    } else {
        Verdict::allow(Component::Token, Reason::TokenNotNeeded)
    };
    let comparisons =
        context.drift.map_or_else(|| strategy.compare_drift(&policy.drift_detector).into(), Cow::Borrowed);
    debug_assert_eq!(
        format!("{comparisons:?}"),
        format!("{:?}", strategy.compare_drift(&policy.drift_detector)),
        "kept of another state"
    );
    let verdicts = vec![
        kill,
        assess_pause(strategy),
        canary::assess(&context.system.canary, at, &policy.canary),
        maturity,
        drift::assess(
            &strategy.drift,
            &comparisons,
            strategy.version_trades,
            strategy.baseline.is_some(),
            &policy.drift_detector,
        ),
        impact,
        token,
        health::assess(&strategy.health, &policy.health_score),
    ];
    let decision = conclude(order, attempt, level, tier, strategy.health.score, context, verdicts);
    let executes = !decision.multiplier.is_zero();
    let token = usable.filter(|_| executes).map(|Active { grant, uses_left }| token::Event::Used {
        id: grant.id.clone(),
        order_id: order.id.clone(),
        uses_left: uses_left.saturating_sub(1),
    });
    Decided { decision, transition, token }
}

/// What is known of an order's impact, from the order itself or from the record.
pub(crate) fn facts(strategy: &strategy::State, order: &Order, context: &strategy::Context<'_>) -> Facts {
    let policy = &context.system.policy.impact_classifier;
    let registration = strategy.registration.as_ref();
    let shared = context.system.account.as_ref();
    let known = strategy.positions.as_ref();
    let currency = order.currency.as_ref().or(registration.map(|r| &r.currency));
    let equity_shared =
        || shared.and_then(|account| impact::converted(account.equity, &account.currency, currency?, policy));
    let account = Account {
        multiplier: registration.map_or(Amount::ONE, |r| r.multiplier),
        currency,
        equity: order.equity.or_else(equity_shared),
        position_qty: order
            .position_qty
            .or_else(|| known.map(|p| p.get(&order.instrument).copied().unwrap_or_default())),
        open_positions: order
            .open_positions
            .or_else(|| shared.and_then(|account| account.open_positions))
            .or_else(|| known.map(|p| u32::try_from(p.len()).unwrap_or(u32::MAX))),
    };
    let mut facts = Facts::gather(order, &account, policy);
    if order.leverage.is_none() {
        // The account's figure stands before this order, the derived one sees this instrument only.
        facts.leverage = facts.leverage.max(shared.and_then(|account| account.leverage));
    }
    facts
}

fn conclude(
    order: &Order,
    attempt: u32,
    level: Level,
    tier: Tier,
    health_score: f64,
    context: &strategy::Context<'_>,
    verdicts: Vec<Verdict>,
) -> Decision {
    // The list above is never empty; if it ever were, nothing would pass.
    let nothing = Merged { action: Action::Block, multiplier: Multiplier::ZERO, decided_by: Component::Maturity };
    let merged = merge(&verdicts, context.system.policy.gate.sizing).unwrap_or(nothing);
    let execution = if order.reduce_only && !merged.action.rejects() {
        if level.executes() { Execution::Live } else { Execution::Position }
    } else if !merged.multiplier.is_zero() {
        Execution::Live
    } else if level == Level::Paper && merged.action <= Action::Demote {
        Execution::Paper
    } else {
        Execution::None
    };
    Decision {
        order: order.clone(),
        action: merged.action,
        multiplier: merged.multiplier,
        execution,
        decided_by: merged.decided_by,
        level,
        tier,
        health_score,
        policy: context.system.policy_id,
        attempt,
        verdicts,
    }
}

/// Whether a kill switch covers an order, and what it says.
#[must_use]
pub fn assess_kill(system: &system::State, strategy: &StrategyId, order: &Order) -> Verdict {
    let covering = system.kills_covering(strategy, &order.instrument, order.venue.as_ref());
    let stops = |kill: &&system::Kill| !order.reduce_only || kill.exits_blocked;
    match covering.into_iter().find(stops) {
        Some(kill) => {
            let reason =
                Reason::KillEngaged { by: kill.by.clone(), since: kill.since, exits_blocked: kill.exits_blocked };
            Verdict::reject(Component::KillSwitch, Action::Kill, reason)
        }
        None if order.reduce_only => Verdict::allow(Component::KillSwitch, Reason::OrderReducesOnly),
        None => Verdict::allow(Component::KillSwitch, Reason::ComponentClear),
    }
}

fn assess_pause(strategy: &strategy::State) -> Verdict {
    match strategy.pauses.values().next() {
        Some(pause) => {
            let reason = Reason::StrategyPaused { by: pause.by.clone(), since: pause.since };
            Verdict::reject(Component::Pause, Action::Pause, reason)
        }
        None => Verdict::allow(Component::Pause, Reason::ComponentClear),
    }
}

/// The venue that an instrument's own name gives: what stands behind its last dot.
#[must_use]
pub fn venue_of(instrument: &InstrumentId) -> Option<&str> {
    instrument.as_str().rsplit_once('.').map(|(_, venue)| venue).filter(|venue| !venue.is_empty())
}
