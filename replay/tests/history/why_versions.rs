//! Why something happened after a new version or other capital was declared: the record goes on, and the
//! numbers add up all the same. What is kept of a long way is bounded.

use ephor_events::Seq;
use ephor_governance::event::Registration;
use ephor_governance::maturity::Level;
use ephor_governance::policy::Policy;
use ephor_governance::strategy::Command;
use ephor_governance::token::Grant;
use ephor_governance::units::Amount;
use ephor_governance::verdict::Component;
use ephor_replay::why::{Because, Fall, Happening, Run, STEPS_MAX, Step, Target, Why, why};

use crate::world::{MOMENTUM, World, check, read, set_level};

fn declare(world: &mut World, version: &str, capital: &str) -> Seq {
    world.tell(
        MOMENTUM,
        &Command::Register(Registration {
            id: read(&format!("registration-{version}-{capital}")),
            instrument: Some(read("GOOG.NASDAQ")),
            engine: None,
            strategy_class: None,
            version_digest: version.into(),
            initial_capital: read(capital),
            currency: read("USD"),
            multiplier: Amount::ONE,
        }),
    )
}

fn demotion(world: &World) -> Why {
    why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Demotion)).unwrap()
}

fn fall(why: &Why) -> &Fall {
    let Because::Demotion { drawdown: Some(fall), .. } = &why.because else { panic!("{:?}", why.because) };
    fall
}

fn run(why: &Why) -> &Run {
    let Because::Demotion { losses: Some(run), .. } = &why.because else { panic!("{:?}", why.because) };
    run
}

/// Each step goes on from the one before it, the first from `from`, the last ends at `to`.
fn adds_up(steps: &[Step], from: Amount, to: Amount) {
    let end = steps.iter().fold(from, |equity, step| {
        assert_eq!(equity.plus(step.pnl), step.equity, "{step:?}");
        step.equity
    });
    assert_eq!(end, to);
}

#[test]
fn losses_in_a_row_go_on_through_a_new_version() {
    let mut world = World::registered();
    let mut losses: Vec<Seq> = (0..10).map(|_| world.close(MOMENTUM, "-1")).collect();
    declare(&mut world, "v2", "10000");
    losses.push(world.close(MOMENTUM, "-1"));
    let found = demotion(&world);
    let run = run(&found);
    assert_eq!(run.losses, 11);
    assert_eq!(run.steps.iter().map(|step| step.seq).collect::<Vec<_>>(), losses);
    assert_eq!(run.steps.iter().map(|step| step.number).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    assert_eq!(found.standing.as_ref().and_then(|standing| standing.entered), Some(Seq(2)));
    let without = found.otherwise.unwrap().trades.unwrap();
    assert_eq!(without.any_one.iter().map(|one| one.seq).collect::<Vec<_>>(), losses);
    assert_eq!(without.trades, 11);
}

#[test]
fn a_peak_outlives_a_new_version_and_is_rescaled_with_capital() {
    let mut world = World::registered();
    world.close(MOMENTUM, "-100");
    let peak = world.close(MOMENTUM, "2200");
    world.close(MOMENTUM, "-100");
    let declared = declare(&mut world, "v2", "9900");
    let breach = world.close(MOMENTUM, "-1200");
    let found = demotion(&world);
    let fall = fall(&found);
    assert_eq!(fall.peak_trade.as_ref().map(|step| (step.seq, step.number)), Some((peak, 2)));
    assert_eq!(fall.peak_equity, read("12100"));
    assert!(fall.peak < fall.peak_equity, "less capital: {}", fall.peak);
    assert_eq!(fall.steps.iter().map(|step| step.seq).collect::<Vec<_>>()[1..], [declared, breach]);
    assert!(fall.steps[1].trade.is_none());
    assert_eq!(fall.steps[2].number, 4, "at the level, whatever the version");
    adds_up(&fall.steps, fall.peak_equity, fall.equity);
}

#[test]
fn capital_before_the_first_trade_is_a_step_too() {
    let mut world = World::registered();
    declare(&mut world, "v1", "20000");
    world.close(MOMENTUM, "-2500");
    let found = demotion(&world);
    let fall = fall(&found);
    assert_eq!((fall.peak, fall.peak_equity, fall.peak_trade.is_none()), (read("20000"), read("10000"), true));
    assert_eq!(fall.steps.len(), 2);
    adds_up(&fall.steps, fall.peak_equity, fall.equity);
    assert_eq!(found.standing.unwrap().entered, Some(Seq(2)));
}

#[test]
fn a_level_set_by_hand_begins_anew() {
    let mut world = World::registered();
    world.close(MOMENTUM, "-500");
    let entered = world.tell(MOMENTUM, &set_level(Level::Gated));
    declare(&mut world, "v2", "10000");
    world.close(MOMENTUM, "-1000");
    let found = demotion(&world);
    assert_eq!(found.standing.as_ref().and_then(|standing| standing.entered), Some(entered));
    let fall = fall(&found);
    assert_eq!((fall.peak, fall.peak_equity, fall.steps.len()), (read("9500"), read("9500"), 1));
    adds_up(&fall.steps, fall.peak_equity, fall.equity);
}

#[test]
fn of_a_long_way_the_last_steps_are_kept_and_the_others_counted() {
    let mut world = World::empty();
    let mut patient = Policy::default();
    patient.maturity.demotion_loss_streak = u32::try_from(STEPS_MAX).unwrap() + 9;
    world.adopt(patient);
    world.register(MOMENTUM);
    world.close(MOMENTUM, "5");
    for _ in 0..STEPS_MAX + 9 {
        world.close(MOMENTUM, "-0.5");
    }
    world.close(MOMENTUM, "-600");
    let found = demotion(&world);
    let fall = fall(&found);
    assert_eq!((fall.steps.len(), fall.left_out), (STEPS_MAX, 10));
    assert_eq!(fall.steps[0].number, 12);
    let kept = fall.steps[0].equity.minus(fall.steps[0].pnl);
    assert_eq!(kept, read("10000"), "ten losses after the peak of 10 005");
    adds_up(&fall.steps, kept, fall.equity);
    let run = run(&found);
    assert_eq!((run.steps.len(), run.left_out, run.losses as usize), (STEPS_MAX, 10, STEPS_MAX + 10));
}

#[test]
fn a_token_that_the_rules_have_forgotten_is_still_found() {
    let mut world = World::at_level(Level::Gated);
    let mut ended = Vec::new();
    for number in 0..20 {
        let id = read(&format!("token-{number}"));
        world.tell(
            MOMENTUM,
            &Command::IssueToken(Grant {
                id,
                instruments: Vec::new(),
                side: None,
                notional_usd_max: None,
                order_id: None,
                uses_max: 1,
                expires_at: world.at.plus_seconds(60),
                issued_by: read("alice"),
            }),
        );
        let (by, reason) = (read("alice"), "test".into());
        ended.push(world.tell(MOMENTUM, &Command::RevokeTokens { id: None, by, reason }));
    }
    for (token, seq) in [("token-0", ended[0]), ("token-19", ended[19])] {
        let Command::CheckOrder { mut order, attempt } = check(&format!("order-of-{token}"), "10") else { panic!() };
        order.token = Some(read(token));
        let decided = world.tell(MOMENTUM, &Command::CheckOrder { order, attempt });
        let found = why(&world.reader(), &Target::Seq(decided)).unwrap();
        let Because::Decision { said, .. } = &found.because else { panic!() };
        let said = said.iter().find(|said| said.verdict.0.component == Component::Token).unwrap();
        assert_eq!(said.rests_on.as_ref().map(|fact| fact.0.seq), Some(seq), "{said:?}");
    }
}
