//! What would have had to be otherwise, held against every set of trades and against the rules themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use ephor_events::Seq;
use ephor_governance::drift::{Baseline, Metric};
use ephor_governance::event::{Event, RecordedBaseline};
use ephor_governance::maturity::{self, Level};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::{self, Command, Context, State};
use ephor_governance::system;
use ephor_governance::units::Amount;
use ephor_replay::why::otherwise::{OtherPolicy, Otherwise, TRADES_MAX};
use ephor_replay::why::{Happening, Target, why};

use crate::why_thresholds::{Numbers, decimals, moved};
use crate::world::{MOMENTUM, World, check, read, set_level};

fn last(world: &World, happening: Happening) -> Otherwise {
    why(&world.reader(), &Target::Last(read(MOMENTUM), happening)).unwrap().otherwise.unwrap()
}

fn changes(other: &OtherPolicy) -> Vec<(&'static str, String, String)> {
    let shown = |amount: Amount| amount.normalized().decimal().to_string();
    other.changes.iter().map(|change| (change.field, shown(change.recorded), shown(change.nearest))).collect()
}

/// A world of these trades under a policy, without some of them; the seqs of the trades that are there.
fn world_of(policy: &Policy, trades: &[i64], without: &BTreeSet<usize>) -> (World, Vec<Seq>) {
    let mut world = World::empty();
    world.adopt(policy.clone());
    world.register(MOMENTUM);
    let mut seqs = Vec::new();
    for (place, pnl) in trades.iter().enumerate() {
        // The clock goes on where a trade is left out too.
        let command = world.trade(&pnl.to_string());
        if without.contains(&place) {
            world.at = world.at.plus_seconds(1);
        } else {
            seqs.push(world.tell(MOMENTUM, &command));
        }
    }
    (world, seqs)
}

/// The transitions there are in a world's log.
fn transitions(world: &World) -> Vec<(Seq, bool)> {
    let mut found = Vec::new();
    let mut cursor = world.reader().cursor(Seq(1)).unwrap();
    while let Some(commit) = cursor.next().unwrap() {
        for (seq, event) in (commit.seq.0..).zip(ephor_events::codec::decode_all(&commit)) {
            if let Event::MaturityTransitioned(transition) = event.unwrap() {
                found.push((Seq(seq), matches!(transition, maturity::Event::Demoted { .. })));
            }
        }
    }
    found
}

/// Every set of the trades, the smallest first.
fn sets(count: usize) -> Vec<BTreeSet<usize>> {
    let mut sets: Vec<BTreeSet<usize>> =
        (1..1_u32 << count).map(|bits| (0..count).filter(|place| bits & (1 << place) != 0).collect()).collect();
    sets.sort_by_key(BTreeSet::len);
    sets
}

#[test]
fn small_histories_agree_with_every_set_tried() {
    let mut policy = Policy::default();
    policy.maturity.demotion_loss_streak = 3;
    policy.maturity.promotion_trades_min = 5;
    let mut numbers = Numbers(88_172_645_463_325_252);
    let (mut falls, mut climbs, mut larger) = (0, 0, 0);
    for round in 0..150 {
        let mut strict = policy.clone();
        if round % 3 > 0 {
            strict.maturity.promotion_trades_min = 50;
            strict.maturity.demotion_loss_streak = if round % 3 == 1 { 50 } else { 4 };
        }
        let mut trades = Vec::new();
        let (mut found, mut seqs) = (Vec::new(), Vec::new());
        // Up to the first transition, at most nine trades.
        while found.is_empty() && trades.len() < 9 {
            let large = trades.len() > 4 && numbers.below(3) == 0;
            let size = if large { 500 + numbers.below(5) * 100 } else { numbers.below(6) * 45 };
            let size = i64::try_from(size).unwrap();
            trades.push(if numbers.below(5) < 3 { -size } else { size });
            let (world, at) = world_of(&strict, &trades, &BTreeSet::new());
            (found, seqs) = (transitions(&world), at);
        }
        let Some((seq, fell)) = found.first().copied() else { continue };
        let (world, _) = world_of(&strict, &trades, &BTreeSet::new());
        let otherwise = why(&world.reader(), &Target::Seq(seq)).unwrap().otherwise.unwrap();
        let without = otherwise.trades.unwrap();
        assert!(!without.bound_met && without.looked_at == trades.len(), "{trades:?}");

        let averts = |set: &BTreeSet<usize>| {
            let (other, _) = world_of(&strict, &trades, set);
            transitions(&other).iter().all(|(_, other)| *other != fell)
        };
        let brought = trades.len() - 1;
        let singles: Vec<Seq> =
            (0..trades.len()).filter(|one| averts(&BTreeSet::from([*one]))).map(|one| seqs[one]).collect();
        let named: Vec<Seq> = without.any_one.iter().map(|one| one.seq).collect();
        assert_eq!(named, singles, "{trades:?}");
        let smallest = sets(trades.len()).into_iter().filter(|set| !set.contains(&brought)).find(averts);
        let expected = smallest.as_ref().map(BTreeSet::len);
        assert_eq!(without.together.as_ref().map(Vec::len), expected, "{trades:?} {:?}", without.together);
        assert!(without.fewest, "{trades:?}");
        if let Some(together) = &without.together {
            let places = together.iter().map(|one| seqs.iter().position(|seq| *seq == one.seq).unwrap()).collect();
            assert!(averts(&places), "{trades:?} without {places:?}");
            larger += usize::from(places.len() > 1);
        }
        falls += usize::from(fell);
        climbs += usize::from(!fell);
    }
    assert!(falls > 40 && climbs > 10 && larger > 5, "{falls} falls, {climbs} climbs, {larger} larger sets");
}

#[test]
fn small_drifts_agree_with_every_set_tried() {
    let mut policy = Policy::default();
    policy.drift_detector.trades_min = 3;
    policy.maturity.demotion_loss_streak = 50;
    let metrics = [(Metric::WinRate, 0.6), (Metric::Sharpe, 0.3), (Metric::ProfitFactor, 1.6), (Metric::AvgRr, 0.3)];
    let promised = Command::RecordBaseline(RecordedBaseline {
        id: read("baseline"),
        period_start: None,
        period_end: None,
        baseline: Baseline { trades: 100, metrics: metrics.into() },
    });
    let world_without = |trades: &[i64], without: &BTreeSet<usize>| {
        let mut world = World::empty();
        world.adopt(policy.clone());
        world.register(MOMENTUM);
        world.tell(MOMENTUM, &promised);
        let mut seqs = Vec::new();
        for (place, pnl) in trades.iter().enumerate() {
            let command = world.trade(&pnl.to_string());
            if !without.contains(&place) {
                seqs.push(world.tell(MOMENTUM, &command));
            }
        }
        (world, seqs)
    };
    let paused = |world: &World| !world.strategies[&read(MOMENTUM)].0.pauses.is_empty();
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut sizes = [0; 9];
    for _ in 0..120 {
        let mut trades = Vec::new();
        while trades.len() < 8 && !paused(&world_without(&trades, &BTreeSet::new()).0) {
            let size = 10 + i64::try_from(numbers.below(9) * 13).unwrap();
            // Good at first, so that it takes a while.
            let lost = numbers.below(10) < if trades.len() < 3 { 2 } else { 6 };
            trades.push(if lost { -size } else { size });
        }
        let (world, seqs) = world_without(&trades, &BTreeSet::new());
        if !paused(&world) {
            continue;
        }
        let without = last(&world, Happening::Pause).trades.unwrap();
        let averts = |set: &BTreeSet<usize>| !paused(&world_without(&trades, set).0);
        let singles: Vec<Seq> =
            (0..trades.len()).filter(|one| averts(&BTreeSet::from([*one]))).map(|one| seqs[one]).collect();
        assert_eq!(without.any_one.iter().map(|one| one.seq).collect::<Vec<_>>(), singles, "{trades:?}");
        let smallest = sets(trades.len()).into_iter().filter(|set| !set.contains(&(trades.len() - 1))).find(averts);
        let expected = smallest.map(|set| set.len());
        assert_eq!(without.together.map(|set| set.len()), expected, "{trades:?}");
        sizes[expected.unwrap_or_default()] += 1;
    }
    assert!(sizes[1] > 5 && sizes[2..].iter().sum::<i32>() > 5, "{sizes:?}");
}

#[test]
fn a_fall_that_took_many_losses_names_the_fewest_that_would_have_kept_it() {
    let mut world = World::registered();
    for pnl in ["-100", "-150", "50", "-120", "-90", "-140", "50"] {
        world.close(MOMENTUM, pnl);
    }
    let breach = world.close(MOMENTUM, "-900");
    let otherwise = last(&world, Happening::Demotion);
    let without = otherwise.trades.unwrap();
    assert_eq!(without.any_one.iter().map(|one| one.seq).collect::<Vec<_>>(), [breach]);
    // 1400 below 10 000, of which 1000 are borne: 150, 140 and 120 are the fewest.
    let together = without.together.unwrap();
    let left: Vec<_> = together.iter().map(|one| one.pnl).collect();
    assert_eq!(left, [read("-150"), read("-120"), read("-140")]);
    assert!(without.fewest && !without.bound_met);
    assert_eq!((without.looked_at, without.trades), (8, 8));
    let [other] = otherwise.policy.as_slice() else { panic!("{:?}", otherwise.policy) };
    assert_eq!(changes(other), [("maturity.demotion_drawdown", "0.1".into(), "0.14".into())]);
}

#[test]
fn a_threshold_is_moved_as_little_as_it_takes() {
    let mut world = World::registered();
    for pnl in ["-100", "600", "-700", "-400"] {
        world.close(MOMENTUM, pnl);
    }
    // 1100 of 10 500 is a little less than 10.48 %.
    let [other] = last(&world, Happening::Demotion).policy.try_into().unwrap();
    assert_eq!(changes(&other), [("maturity.demotion_drawdown", "0.1".into(), "0.1048".into())]);

    let mut world = World::registered();
    for _ in 0..11 {
        world.close(MOMENTUM, "-1");
    }
    let otherwise = last(&world, Happening::Demotion);
    assert_eq!(changes(&otherwise.policy[0]), [("maturity.demotion_loss_streak", "10".into(), "11".into())]);
    assert_eq!(otherwise.trades.unwrap().any_one.len(), 11);
}

#[test]
fn where_two_thresholds_were_crossed_both_are_moved() {
    let mut world = World::registered();
    for _ in 0..10 {
        world.close(MOMENTUM, "-1");
    }
    world.close(MOMENTUM, "-1500");
    let otherwise = last(&world, Happening::Demotion);
    let [other] = otherwise.policy.as_slice() else { panic!("{:?}", otherwise.policy) };
    assert_eq!(
        changes(other),
        [
            ("maturity.demotion_drawdown", "0.1".into(), "0.151".into()),
            ("maturity.demotion_loss_streak", "10".into(), "11".into())
        ]
    );
}

#[test]
fn every_value_given_changes_the_outcome_and_the_one_before_it_does_not() {
    let mut world = World::registered();
    world.baseline(MOMENTUM);
    let mut before: Option<(State, Command)> = None;
    let mut tried = 0;
    for number in 0..60 {
        let command = world.trade(if number % 4 == 0 { "30" } else { "-20" });
        before = Some((world.strategies[&read(MOMENTUM)].0.clone(), command.clone()));
        let at = world.at;
        let seq = world.tell(MOMENTUM, &command);
        let found = why(&world.reader(), &Target::Seq(world.reader().head().seq)).unwrap();
        let Some(otherwise) = found.otherwise else { continue };
        let (state, command) = before.clone().unwrap();
        let kind = found.event.0.event.name();
        let happens = |field: &str, value: Amount| {
            let policy = moved(&world.system.1.policy, field, value).unwrap();
            let system = system::State { policy: Arc::new(policy), ..world.system.1.clone() };
            let context = Context { at, system: &system, drift: None };
            let events = strategy::decide(&state, &read(MOMENTUM), &command, &context).unwrap();
            events.iter().any(|event| event.name() == kind)
        };
        for other in &otherwise.policy {
            let [change] = other.changes.as_slice() else { panic!() };
            assert!(happens(change.field, change.recorded), "seq {seq}: {change:?}");
            assert!(!happens(change.field, change.nearest), "seq {seq}: {change:?}");
            let step = Amount::new(1, decimals(change.field));
            let nearer =
                if change.nearest > change.recorded { change.nearest.minus(step) } else { change.nearest.plus(step) };
            assert!(happens(change.field, nearer), "seq {seq}: {change:?} could be nearer");
            tried += 1;
        }
    }
    assert!(before.is_some() && tried >= 2, "{tried}");
}

#[test]
fn a_promotion_needed_each_of_its_trades_and_each_of_its_thresholds() {
    let mut world = World::registered();
    for number in 0..50 {
        world.close(MOMENTUM, if number % 2 == 0 { "5" } else { "-4" });
    }
    let otherwise = last(&world, Happening::Promotion);
    assert_eq!(otherwise.trades.unwrap().any_one.len(), 50);
    let found: Vec<_> = otherwise.policy.iter().flat_map(changes).collect();
    for expected in [
        ("maturity.promotion_trades_min", "50", "51"),
        ("maturity.promotion_win_rate_above", "0.45", "0.5"),
        ("maturity.promotion_profit_factor_above", "1.1", "1.25"),
        ("maturity.promotion_seconds_min", "0", "51"),
    ] {
        assert!(found.contains(&(expected.0, expected.1.into(), expected.2.into())), "{expected:?} in {found:?}");
    }
}

#[test]
fn an_order_names_the_thresholds_that_it_met() {
    let mut world = World::at_level(Level::Gated);
    // 200 000 dollars of 100 000 in equity: far above what the level bears.
    let decided = world.check(MOMENTUM, "order-1", "2000");
    let found = why(&world.reader(), &Target::Seq(decided)).unwrap();
    let otherwise = found.otherwise.unwrap();
    assert!(otherwise.trades.is_none());
    assert!(otherwise.policy.is_empty(), "an order at this level also needs a token: {:?}", otherwise.policy);

    let mut world = World::at_level(Level::Autonomous);
    for _ in 0..3 {
        world.close(MOMENTUM, "-10");
    }
    let decided = world.check(MOMENTUM, "order-1", "10");
    let otherwise = why(&world.reader(), &Target::Seq(decided)).unwrap().otherwise.unwrap();
    let [other] = otherwise.policy.as_slice() else { panic!("{:?}", otherwise.policy) };
    assert_eq!(changes(other), [("health_score.sizing_floor", "0.1".into(), "1".into())]);
    let without = otherwise.trades.unwrap();
    assert_eq!((without.any_one.len(), without.together.map(|set| set.len())), (0, Some(3)));
    assert!(without.fewest);
}

#[test]
fn a_demotion_by_a_new_policy_rests_on_the_trades_before_it() {
    let mut world = World::at_level(Level::Autonomous);
    for _ in 0..5 {
        world.close(MOMENTUM, "-1");
    }
    let mut strict = Policy::default();
    strict.maturity.demotion_loss_streak = 3;
    world.adopt(strict);
    world.tell(MOMENTUM, &check("order-1", "10"));
    let otherwise = last(&world, Happening::Demotion);
    let without = otherwise.trades.unwrap();
    assert!(without.any_one.is_empty());
    assert_eq!((without.together.map(|set| set.len()), without.fewest), (Some(2), true));
    assert_eq!(changes(&otherwise.policy[0]), [("maturity.demotion_loss_streak", "3".into(), "5".into())]);
}

#[test]
fn what_a_person_decided_has_no_otherwise() {
    let mut world = World::registered();
    world.tell(MOMENTUM, &set_level(Level::Gated));
    let found = why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Promotion)).unwrap();
    assert!(found.otherwise.is_none());
    let closed = world.close(MOMENTUM, "1");
    assert!(why(&world.reader(), &Target::Seq(closed)).unwrap().otherwise.is_none());
}

#[test]
fn an_event_that_the_rules_would_not_give_again_is_not_reasoned_about() {
    let mut world = World::registered();
    let command = world.trade("-1");
    let mut events = world.decide(MOMENTUM, &command);
    let evidence = world.strategies[&read(MOMENTUM)].0.maturity.evidence;
    let cause = maturity::DemotionCause::LossStreak;
    events.push(Event::MaturityTransitioned(maturity::Event::Demoted {
        from: Level::Paper,
        to: Level::Shadow,
        cause,
        evidence,
    }));
    world.append(world.system.0, MOMENTUM, Some(&command), events);
    let found = why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Demotion)).unwrap();
    assert!(found.otherwise.is_none());
}

#[test]
fn the_work_is_bounded_and_says_so() {
    let mut world = World::registered();
    for number in 0..600 {
        world.close(MOMENTUM, if number % 3 == 0 { "40" } else { "-21" });
    }
    world.close(MOMENTUM, "-2500");
    let without = last(&world, Happening::Demotion).trades.unwrap();
    assert!(without.bound_met);
    assert!(without.looked_at > 0 && without.looked_at <= TRADES_MAX, "{}", without.looked_at);
    assert_eq!(without.trades, 601);
    assert_eq!(without.any_one.len(), 1);
}
