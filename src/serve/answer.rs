//! A decision as an engine reads it.

use ephor_actors::Recorded;
use ephor_governance::gate::{Decision, Execution};
use ephor_governance::ids::StrategyId;
use ephor_governance::impact::Tier;
use ephor_governance::maturity::Level;
use ephor_governance::units::Timestamp;
use ephor_governance::verdict::{Action, Component, Reason, Verdict};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The gate's answer to one order. An engine sends `multiplier` x its quantity, to where `execution` says.
#[derive(Serialize, ToSchema)]
#[schema(as = Decision)]
pub struct Answer<'a> {
    /// The order, by the engine's own id.
    order_id: &'a str,
    /// Whose it is.
    strategy_id: &'a str,
    /// `allow`, `reduce_size`, `block`, `demote`, `pause` or `kill`.
    #[schema(value_type = super::schema::Action)]
    action: Action,
    /// How much of the order may go out: 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    multiplier: f64,
    /// Where it may go: `none`, `paper`, `live`, or `position`: wherever the position is held that it reduces.
    #[schema(value_type = super::schema::Execution)]
    execution: Execution,
    /// The code of the verdict that decided.
    #[schema(example = "MATURITY_SIZING_CAPPED")]
    reason: &'a str,
    /// The component that decided.
    #[schema(value_type = Option<super::schema::Component>)]
    decided_by: Option<Component>,
    /// The strategy's level, `L0_shadow` to `L4_autonomous`.
    #[schema(value_type = Option<String>)]
    level: Option<Level>,
    /// The order's impact: `low`, `medium`, `high` or `critical`.
    #[schema(value_type = Option<String>)]
    tier: Option<Tier>,
    /// The strategy's health, 0 to 1.
    health_score: Option<f64>,
    /// The digest of the policy in force.
    policy: Option<String>,
    /// 0 at first; more where a kill or an approval came in between and it was decided again.
    attempt: u32,
    /// What every component said.
    #[schema(value_type = Vec<super::schema::Verdict>)]
    verdicts: Vec<Spoken<'a>>,
    /// Ties the order to everything that is recorded about it.
    trace_id: &'a str,
    /// Place of the decision's commit in the log; `null` where governance is disabled and nothing is recorded.
    seq: Option<u64>,
    /// When it was decided.
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// Whether it had been decided before: this is the recorded answer.
    repeat: bool,
}

struct Spoken<'a>(&'a Verdict);

impl Serialize for Spoken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Said<'a> {
            component: Component,
            action: Action,
            multiplier: f64,
            reason: Coded<'a>,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Coded<'a> {
            Alone { code: &'a str },
            WithNumbers(&'a RawValue),
        }
        let Verdict { component, action, multiplier, reason } = self.0;
        let (component, action, multiplier) = (*component, *action, multiplier.get());
        if is_alone(reason) {
            let reason = Coded::Alone { code: reason.code() };
            return Said { component, action, multiplier, reason }.serialize(serializer);
        }
        let reason = untagged(reason).map_err(serde::ser::Error::custom)?;
        Said { component, action, multiplier, reason: Coded::WithNumbers(&reason) }.serialize(serializer)
    }
}

/// The reasons without numbers that most verdicts have: written without a detour.
const fn is_alone(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::ComponentClear
            | Reason::OrderReducesOnly
            | Reason::CanaryNoComponents
            | Reason::DriftNoBaseline
            | Reason::TokenNotNeeded
            | Reason::TokenMissing
    )
}

/// `{"HEALTH_DEGRADED": {"score": …}}` becomes `{"code": "HEALTH_DEGRADED", "score": …}`, as in every JSON of a reason.
fn untagged(reason: &Reason) -> Result<Box<RawValue>, serde_json::Error> {
    let tagged = serde_json::to_string(reason)?;
    let code = reason.code();
    let fields = tagged
        .split_once(':')
        .and_then(|(_, fields)| fields.strip_prefix('{'))
        .and_then(|fields| fields.strip_suffix('}'));
    RawValue::from_string(match fields {
        Some(fields) => format!("{{\"code\":\"{code}\",{fields}"),
        None => format!("{{\"code\":\"{code}\"}}"),
    })
}

impl<'a> Answer<'a> {
    /// A recorded decision.
    #[must_use]
    pub fn recorded(strategy: &'a StrategyId, trace: &'a str, recorded: &Recorded, decision: &'a Decision) -> Self {
        Self {
            order_id: decision.order.id.as_str(),
            strategy_id: strategy.as_str(),
            action: decision.action,
            multiplier: decision.multiplier.get(),
            execution: decision.execution,
            reason: decision.leading().map_or("", |verdict| verdict.reason.code()),
            decided_by: Some(decision.decided_by),
            level: Some(decision.level),
            tier: Some(decision.tier),
            health_score: Some(decision.health_score),
            policy: Some(decision.policy.to_string()),
            attempt: decision.attempt,
            verdicts: decision.verdicts.iter().map(Spoken).collect(),
            trace_id: trace,
            seq: Some(recorded.seq.0),
            decided_at: Some(recorded.at),
            repeat: recorded.repeat,
        }
    }

    /// The answer where governance is disabled: go on as if nobody had asked.
    #[must_use]
    pub fn ungoverned(strategy: &'a StrategyId, order_id: &'a str, trace: &'a str) -> Self {
        Self {
            order_id,
            strategy_id: strategy.as_str(),
            action: Action::Allow,
            multiplier: 1.0,
            execution: Execution::Live,
            reason: "GOVERNANCE_DISABLED",
            decided_by: None,
            level: None,
            tier: None,
            health_score: None,
            policy: None,
            attempt: 0,
            verdicts: Vec::new(),
            trace_id: trace,
            seq: None,
            decided_at: None,
            repeat: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ephor_events::envelope::to_json;
    use ephor_governance::units::Multiplier;

    #[test]
    fn a_verdict_reads_as_it_does_in_the_events() {
        for reason in [
            Reason::ComponentClear,
            Reason::TokenMissing,
            Reason::JournalUnavailable,
            Reason::HealthDegraded { score: 0.5, debt: 5.0 },
            Reason::TokenUnknown { token: "a\"}{:,b".parse().unwrap() },
        ] {
            let verdict = Verdict::sized(Component::Health, Multiplier::new(0.5), reason);
            assert_eq!(serde_json::to_value(Spoken(&verdict)).unwrap(), to_json(&verdict));
        }
    }
}
