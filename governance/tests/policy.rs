//! The policy: what is refused, by which name, and the one text it is known by.

use ephor_governance::policy::{Policy, PolicyId};
use ephor_governance::rejection::Rejection;
use ephor_governance::system;

use crate::given::{World, read};

/// Reads a policy with one field changed; the error says what is wrong with which field.
fn problem(json: &str) -> String {
    match serde_json::from_str::<Policy>(json) {
        Err(error) => error.to_string(),
        Ok(policy) => policy.validate().expect_err("a policy that does not validate").to_string(),
    }
}

#[test]
fn the_default_policy_is_valid_and_an_empty_text_means_it() {
    assert_eq!(Policy::default().validate(), Ok(()));
    assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
}

#[test]
fn a_key_that_nobody_knows_is_an_error_with_its_name() {
    for json in [
        r#"{"maturty": {}}"#,
        r#"{"maturity": {"promotion_trade_min": 1}}"#,
        r#"{"gate": {"size": 1}}"#,
        r#"{"health_score": {"window": 1}}"#,
        r#"{"impact_classifier": {"low_from": 1}}"#,
        r#"{"drift_detector": {"pause_pct": 1}}"#,
        r#"{"execution_tokens": {"ttl": 1}}"#,
        r#"{"canary": {"interval": 1}}"#,
    ] {
        let key = json.rsplit_once("\":").unwrap().0.rsplit_once('"').unwrap().1;
        assert!(problem(json).contains(&format!("unknown field `{key}`")), "{}", problem(json));
    }
}

#[test]
fn a_value_that_cannot_be_is_an_error_with_the_fields_name() {
    for (json, field) in [
        (r#"{"maturity": {"sizing_caps": [0, 0, -0.1, 0.25, 1]}}"#, "maturity.sizing_caps"),
        (r#"{"maturity": {"sizing_caps": [0, 0, 0.1, 0.25, 1.5]}}"#, "maturity.sizing_caps"),
        (r#"{"maturity": {"sizing_caps": [0, 0, 0.5, 0.25, 1]}}"#, "maturity.sizing_caps"),
        (r#"{"maturity": {"sizing_caps": [0, 0.1, 0.1, 0.25, 1]}}"#, "maturity.sizing_caps"),
        (r#"{"maturity": {"promotion_trades_min": 0}}"#, "maturity.promotion_trades_min"),
        (r#"{"maturity": {"promotion_win_rate_above": "-0.1"}}"#, "maturity.promotion_win_rate_above"),
        (r#"{"maturity": {"promotion_win_rate_above": "1.1"}}"#, "maturity.promotion_win_rate_above"),
        (r#"{"maturity": {"promotion_profit_factor_above": "-1"}}"#, "maturity.promotion_profit_factor_above"),
        (r#"{"maturity": {"demotion_drawdown": "0"}}"#, "maturity.demotion_drawdown"),
        (r#"{"maturity": {"demotion_loss_streak": 0}}"#, "maturity.demotion_loss_streak"),
        (r#"{"health_score": {"window_trades": 0}}"#, "health_score.window_trades"),
        (r#"{"health_score": {"window_trades": 1001}}"#, "health_score.window_trades"),
        (r#"{"health_score": {"debt_per_loss": -1}}"#, "health_score.debt_per_loss"),
        (r#"{"health_score": {"credit_per_win": -1}}"#, "health_score.credit_per_win"),
        (r#"{"health_score": {"recovery_rate": 1.1}}"#, "health_score.recovery_rate"),
        (r#"{"health_score": {"max_debt": 0}}"#, "health_score.max_debt"),
        (r#"{"health_score": {"max_credit": -1}}"#, "health_score.max_credit"),
        (r#"{"health_score": {"sizing_floor": 2}}"#, "health_score.sizing_floor"),
        (r#"{"impact_classifier": {"medium_notional_usd": "0"}}"#, "impact_classifier.medium_notional_usd"),
        (r#"{"impact_classifier": {"high_notional_usd": "1"}}"#, "impact_classifier.high_notional_usd"),
        (r#"{"impact_classifier": {"critical_notional_usd": "1"}}"#, "impact_classifier.critical_notional_usd"),
        (r#"{"impact_classifier": {"concentration_threshold": "0"}}"#, "impact_classifier.concentration_threshold"),
        (
            r#"{"impact_classifier": {"leverage_irreversible_above": "-1"}}"#,
            "impact_classifier.leverage_irreversible_above",
        ),
        (r#"{"impact_classifier": {"medium_from": -1}}"#, "impact_classifier.medium_from"),
        (r#"{"impact_classifier": {"high_from": 0.1}}"#, "impact_classifier.high_from"),
        (r#"{"impact_classifier": {"critical_from": 0.1}}"#, "impact_classifier.critical_from"),
        (
            r#"{"impact_classifier": {"required_levels": ["L3_constrained", "L2_gated", "L3_constrained", "L4_autonomous"]}}"#,
            "impact_classifier.required_levels",
        ),
        (r#"{"impact_classifier": {"usd_per": {"EUR": "0"}}}"#, "impact_classifier.usd_per"),
        (r#"{"drift_detector": {"window_trades": 0}}"#, "drift_detector.window_trades"),
        (r#"{"drift_detector": {"trades_min": 1}}"#, "drift_detector.trades_min"),
        (r#"{"drift_detector": {"trades_min": 201}}"#, "drift_detector.trades_min"),
        (r#"{"drift_detector": {"reduce_above_pct": -1}}"#, "drift_detector.reduce_above_pct"),
        (r#"{"drift_detector": {"pause_above_pct": 20}}"#, "drift_detector.pause_above_pct"),
        (r#"{"drift_detector": {"reduce_multiplier": 1.5}}"#, "drift_detector.reduce_multiplier"),
        (r#"{"drift_detector": {"metrics_tracked": ["sharpe", "sharpe"]}}"#, "drift_detector.metrics_tracked"),
        (r#"{"drift_detector": {"floors": {"sharpe": 0}}}"#, "drift_detector.floors"),
        (r#"{"execution_tokens": {"ttl_seconds_default": 0}}"#, "execution_tokens.ttl_seconds_default"),
        (r#"{"execution_tokens": {"ttl_seconds_max": 299}}"#, "execution_tokens.ttl_seconds_max"),
        (r#"{"execution_tokens": {"active_max": 0}}"#, "execution_tokens.active_max"),
        (r#"{"canary": {"interval_seconds": 0}}"#, "canary.interval_seconds"),
        (r#"{"canary": {"failures_max": 0}}"#, "canary.failures_max"),
    ] {
        let found = problem(json);
        assert!(found.starts_with(&format!("policy field {field}: ")), "{json}: {found}");
    }
}

#[test]
fn a_number_that_is_none_never_validates() {
    let mut policy = Policy::default();
    policy.drift_detector.reduce_above_pct = f64::NAN;
    assert_eq!(policy.validate().map_err(|error| error.field), Err("drift_detector.reduce_above_pct"));
    let mut policy = Policy::default();
    policy.maturity.sizing_caps = [0.0, 0.0, f64::NAN, 1.0, 1.0];
    assert_eq!(policy.validate().map_err(|error| error.field), Err("maturity.sizing_caps"));
}

#[test]
fn a_wrong_policy_is_not_adopted_and_the_same_one_not_twice() {
    let mut world = World::registered();
    let mut wrong = Policy::default();
    wrong.canary.failures_max = 0;
    let adopt = |policy: Policy| system::Command::AdoptPolicy {
        id: policy.id(),
        policy: std::sync::Arc::new(policy),
        by: read("alice"),
        reason: "test".into(),
    };
    assert!(matches!(
        world.tell_system(&adopt(wrong)),
        Err(Rejection::InvalidPolicy { field: "canary.failures_max", .. })
    ));
    assert!(world.tell_system(&adopt(Policy::default())).is_ok());
    assert!(matches!(world.tell_system(&adopt(Policy::default())), Err(Rejection::NothingToChange { .. })));
}

/// The text and the id stand in logs: a change here means that old decisions no longer find their policy.
#[test]
fn the_canonical_text_of_the_default_policy_and_its_id_never_change() {
    let golden = include_str!("policy_default.json");
    assert_eq!(Policy::default().canonical(), golden.trim_end());
    assert_eq!(serde_json::from_str::<Policy>(golden).unwrap(), Policy::default());
    assert_eq!(Policy::default().id().to_string(), "62af193920a8c547");
}

#[test]
fn a_policy_id_is_read_as_it_is_written_and_nothing_else_is() {
    let id = Policy::default().id();
    assert_eq!(serde_json::from_str::<PolicyId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    for wrong in [r#""""#, r#""1f""#, r#""+123456789abcdef""#, r#""zzzzzzzzzzzzzzzz""#] {
        assert!(serde_json::from_str::<PolicyId>(wrong).is_err(), "{wrong}");
    }
}

fn propose(policy: &Policy) -> system::Command {
    let policy = std::sync::Arc::new(policy.clone());
    system::Command::ProposePolicy { id: policy.id(), policy, by: read("bob"), reason: "fewer losses".into() }
}

fn with_streak(losses: u32) -> Policy {
    let mut policy = Policy::default();
    policy.maturity.demotion_loss_streak = losses;
    policy
}

#[test]
fn a_proposal_changes_nothing_until_it_is_adopted_and_is_gone_then() {
    let mut world = World::empty();
    world.tell_system(&propose(&with_streak(5))).unwrap();
    let [proposal] = &world.system.proposals[..] else { panic!("one proposal") };
    assert_eq!((proposal.id, proposal.by.as_str()), (with_streak(5).id(), "bob"));
    assert_eq!(world.system.policy_id, Policy::default().id());
    world.adopt(with_streak(6));
    assert_eq!(world.system.proposals.len(), 1, "another one was adopted");
    world.adopt(with_streak(5));
    assert!(world.system.proposals.is_empty());
}

#[test]
fn a_proposal_is_held_to_what_adopting_asks() {
    let mut world = World::empty();
    let invalid = world.tell_system(&propose(&with_streak(0)));
    assert!(matches!(invalid, Err(Rejection::InvalidPolicy { field: "maturity.demotion_loss_streak", .. })));
    world.adopt(with_streak(5));
    let in_force = Rejection::NothingToChange { what: "this policy is already in force" };
    assert_eq!(world.tell_system(&propose(&with_streak(5))), Err(in_force));
    world.tell_system(&propose(&with_streak(6))).unwrap();
    let proposed = Rejection::NothingToChange { what: "this policy is already proposed" };
    assert_eq!(world.tell_system(&propose(&with_streak(6))), Err(proposed));
}

#[test]
fn only_the_newest_proposals_are_kept() {
    let mut world = World::empty();
    for losses in 1..=20 {
        world.tell_system(&propose(&with_streak(losses))).unwrap();
    }
    let streaks: Vec<u32> =
        world.system.proposals.iter().map(|proposal| proposal.policy.maturity.demotion_loss_streak).collect();
    assert_eq!(streaks.len(), system::PROPOSALS_MAX);
    assert_eq!(streaks, (5..=20).collect::<Vec<_>>());
}
