//! Why something happened: the causes, and the numbers that crossed a threshold.

use ephor_events::Seq;
use ephor_governance::drift::{Edge, Metric};
use ephor_governance::event::{PauseCause, Scope};
use ephor_governance::maturity::{DemotionCause, Level};
use ephor_governance::policy::Policy;
use ephor_governance::trade::Outcome;
use ephor_governance::units::Amount;
use ephor_replay::ReplayError;
use ephor_replay::why::{Because, Happening, Target, Why, why};

use crate::world::{MOMENTUM, World, read, set_level};

fn last(world: &World, happening: Happening) -> Why {
    why(&world.reader(), &Target::Last(read(MOMENTUM), happening)).unwrap()
}

fn types(facts: &[ephor_replay::why::Fact]) -> Vec<&'static str> {
    facts.iter().map(|fact| fact.0.event.name()).collect()
}

#[test]
fn a_demotion_by_drawdown_shows_the_trades_from_the_peak_to_the_breach() {
    let mut world = World::registered();
    let adopted = Seq(1);
    world.close(MOMENTUM, "-100");
    let peak = world.close(MOMENTUM, "600");
    let first = world.close(MOMENTUM, "-700");
    world.close(MOMENTUM, "0");
    let breach = world.close(MOMENTUM, "-400");
    let found = last(&world, Happening::Demotion);
    let Because::Demotion { from, to, cause, drawdown: Some(fall), losses: None, evidence } = &found.because else {
        panic!("{:?}", found.because)
    };
    assert_eq!((*from, *to, *cause), (Level::Paper, Level::Shadow, DemotionCause::Drawdown));
    assert_eq!((fall.limit, fall.peak, fall.equity), (read("0.10"), read("10500"), read("9400")));
    assert!((fall.drawdown - 1100.0 / 10500.0).abs() < 1e-12);
    assert_eq!(fall.peak_trade.as_ref().map(|step| (step.seq, step.number)), Some((peak, 2)));
    let steps: Vec<_> = fall.steps.iter().map(|step| (step.seq, step.equity)).collect();
    assert_eq!(steps.first(), Some(&(first, read("9800"))));
    assert_eq!(steps.last(), Some(&(breach, read("9400"))));
    assert_eq!((steps.len(), evidence.trades), (3, 5));

    assert_eq!(types(&found.causes), ["TradeClosed"]);
    assert_eq!(found.causes[0].0.seq, breach);
    assert_eq!(types(&found.beside), ["HealthUpdated"]);
    assert_eq!(found.policy.adopted.as_ref().map(|adopted| adopted.seq), Some(adopted));
    let standing = found.standing.unwrap();
    assert_eq!((standing.level, standing.entered, standing.evidence.trades), (Level::Paper, Some(Seq(2)), 4));
}

#[test]
fn a_peak_that_no_trade_made_is_the_equity_at_the_entry() {
    let mut world = World::registered();
    world.close(MOMENTUM, "-1100");
    let Because::Demotion { drawdown: Some(fall), .. } = last(&world, Happening::Demotion).because else { panic!() };
    assert_eq!((fall.peak, fall.peak_trade, fall.steps.len()), (Amount::from(10_000), None, 1));
}

#[test]
fn a_demotion_by_losses_shows_them_in_a_row() {
    let mut world = World::registered();
    world.close(MOMENTUM, "-1");
    world.close(MOMENTUM, "3");
    world.close(MOMENTUM, "0");
    for number in 0..11 {
        world.close(MOMENTUM, "-1");
        if number == 4 {
            world.close(MOMENTUM, "0");
        }
    }
    let Because::Demotion { drawdown: None, losses: Some(run), cause, .. } = last(&world, Happening::Demotion).because
    else {
        panic!()
    };
    assert_eq!((cause, run.losses, run.limit), (DemotionCause::LossStreak, 11, 10));
    assert_eq!(run.steps.len(), 12);
    assert_eq!(run.steps[0].outcome, Some(Outcome::Loss));
    assert_eq!(run.steps[5].outcome, Some(Outcome::BreakEven));
}

#[test]
fn a_promotion_holds_the_record_against_each_threshold() {
    let mut world = World::registered();
    for _ in 0..50 {
        world.close(MOMENTUM, "5");
    }
    let found = last(&world, Happening::Promotion);
    let Because::Promotion { from, to, checks, .. } = &found.because else { panic!("{:?}", found.because) };
    assert_eq!((*from, *to), (Level::Paper, Level::Gated));
    assert!(checks.iter().all(|check| check.passes));
    assert_eq!(checks[0].value, Some(50.0));
    assert_eq!(checks[2].value, None, "nothing was lost");
    let never = why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Demotion)).unwrap_err();
    assert!(matches!(never, ReplayError::NeverHappened { what: "demotion", .. }));
}

#[test]
fn a_level_set_by_hand_counts_as_what_it_is() {
    let mut world = World::registered();
    world.tell(MOMENTUM, &set_level(Level::Constrained));
    let Because::LevelSet { earned, checks, .. } = last(&world, Happening::Promotion).because else { panic!() };
    assert!(!earned && checks.iter().any(|check| !check.passes));
    world.tell(MOMENTUM, &set_level(Level::Shadow));
    assert!(matches!(last(&world, Happening::Demotion).because, Because::LevelSet { to: Level::Shadow, .. }));
}

#[test]
fn a_drift_pause_shows_the_metric_that_crossed_its_bound() {
    let mut world = World::registered();
    let baseline = world.baseline(MOMENTUM);
    for number in 0..20 {
        world.close(MOMENTUM, if number % 5 == 0 { "1" } else { "-1" });
    }
    let found = last(&world, Happening::Pause);
    let Because::Pause { cause: PauseCause::Drift, crossings, .. } = &found.because else { panic!() };
    let [crossing] = crossings.as_slice() else { panic!("{crossings:?}") };
    assert_eq!((crossing.metric, crossing.edge, crossing.trades), (Metric::WinRate, Edge::Entered, 20));
    assert_eq!((crossing.baseline_seq, crossing.pause_above_pct), (Some(baseline), 50.0));
    assert!((crossing.deviation_pct - 66.67).abs() < 0.01 && crossing.interval.is_some());
    assert_eq!(types(&found.causes), ["DriftAlerted", "TradeClosed"]);
}

#[test]
fn a_decision_shows_every_verdict_and_what_it_rests_on() {
    let mut world = World::at_level(Level::Autonomous);
    let level = Seq(3);
    let killed = world.kill(Scope::Instrument(read("GOOG.NASDAQ")));
    let decided = world.check(MOMENTUM, "order-1", "10");
    let found = last(&world, Happening::Decision);
    assert_eq!(found.event.0.seq, decided);
    let Because::Decision { said, .. } = &found.because else { panic!() };
    assert_eq!(said.len(), 8);
    let rests = |index: usize| said[index].rests_on.as_ref().map(|fact| fact.0.seq);
    assert!(said[0].decided);
    assert_eq!((rests(0), rests(3)), (Some(killed), Some(level)));

    let kill = last(&world, Happening::Kill);
    assert_eq!(kill.event.0.seq, killed);
    assert!(matches!(kill.because, Because::Kill { alert: None, released: None, .. }));
    assert!(serde_json::to_value(&found).unwrap()["because"]["said"][0]["reason"]["code"] == "KILL_ENGAGED");
}

#[test]
fn a_policy_that_demotes_is_found_behind_the_decision_it_demoted_by() {
    let mut world = World::at_level(Level::Autonomous);
    for _ in 0..5 {
        world.close(MOMENTUM, "-1");
    }
    let mut strict = Policy::default();
    strict.maturity.demotion_loss_streak = 3;
    let adopted = world.adopt(strict);
    world.check(MOMENTUM, "order-1", "10");
    let found = last(&world, Happening::Demotion);
    assert_eq!(types(&found.causes), ["DecisionMade"]);
    assert_eq!(found.policy.adopted.unwrap().seq, adopted);
    let Because::Demotion { losses: Some(run), .. } = found.because else { panic!() };
    assert_eq!((run.limit, run.losses, run.steps.len()), (3, 5, 5));
}

#[test]
fn ids_of_orders_trades_and_traces_lead_to_their_events() {
    let mut world = World::registered();
    let closed = world.close(MOMENTUM, "1");
    let decided = world.check(MOMENTUM, "order-1", "10");
    let found = |id: &str| why(&world.reader(), &Target::Id(id.into())).map(|why| why.event.0.seq);
    assert_eq!(found("order-1").unwrap(), decided);
    assert_eq!(found("trade-1").unwrap(), closed);
    assert_eq!(found(&format!("trace-{decided}")).unwrap(), decided);
    assert_eq!(found(&format!("trace-{closed}")).unwrap(), closed);
    assert!(matches!(found("nothing"), Err(ReplayError::UnknownId { .. })));
    assert!(matches!(why(&world.reader(), &Target::Seq(Seq(99))), Err(ReplayError::SeqOutside { .. })));
}
