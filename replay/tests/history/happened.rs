//! What was known by a time against what had happened by it.

use ephor_replay::ReplayError;
use ephor_replay::at::{Point, strategy_at};
use ephor_replay::happened::{strategy_by, system_by};
use proptest::prelude::*;

use crate::random::{NAMES, events, folded, steps, world};
use crate::world::{MOMENTUM, World, read, second};

/// Trades at seconds 2 and 3, and one recorded at 4 that had happened at `late`.
fn with_one_late(late: i64) -> World {
    let mut world = World::registered();
    world.close(MOMENTUM, "10");
    world.close(MOMENTUM, "-20");
    world.happened = Some(second(late));
    world.close(MOMENTUM, "40");
    world
}

#[test]
fn a_late_trade_changes_only_what_had_happened() {
    let (late, never) = (with_one_late(2), with_one_late(4));
    for at in [second(2), second(3)] {
        let known = |world: &World| strategy_at(&world.reader(), None, &read(MOMENTUM), Point::Time(at)).unwrap();
        let happened = |world: &World| strategy_by(&world.reader(), None, &read(MOMENTUM), at).unwrap();
        assert_eq!(known(&late), known(&never), "what was known does not depend on it");
        let (with, without) = (happened(&late), happened(&never));
        assert_eq!(without.moment.state, known(&never).state, "without a late trade both are the same");
        assert_eq!((without.reading.late, without.reading.moved), (0, 0));
        assert_eq!((with.reading.late, with.reading.moved), (1, u64::from(at == second(3))));
        let more = |world: &World, state: &ephor_governance::strategy::State| {
            state.totals.trades - known(world).state.totals.trades
        };
        assert_eq!((more(&late, &with.moment.state), more(&never, &without.moment.state)), (1, 0));
    }
    let order = strategy_by(&late.reader(), None, &read(MOMENTUM), second(3)).unwrap().moment.state;
    let results: Vec<f64> = order.outcomes.iter().map(|outcome| outcome.pnl).collect();
    assert_eq!(results, [10.0, 40.0, -20.0], "it stands where it happened");
}

#[test]
fn what_the_source_dates_into_the_future_has_not_happened_yet() {
    let world = with_one_late(100);
    let happened = strategy_by(&world.reader(), None, &read(MOMENTUM), second(50)).unwrap();
    assert_eq!((happened.moment.state.totals.trades, happened.reading.ahead, happened.reading.late), (2, 1, 0));
}

#[test]
fn before_anything_had_happened_it_says_when_it_begins() {
    let world = with_one_late(1);
    let refused = strategy_by(&world.reader(), None, &read(MOMENTUM), second(0)).unwrap_err();
    assert!(matches!(refused, ReplayError::NotHappenedYet { first, .. } if first == second(1)), "{refused}");
    assert!(refused.is_callers() && !refused.is_retryable());
    let system = system_by(&world.reader(), None, second(-1)).unwrap();
    assert_eq!((system.reading.commits, system.moment.version.0), (0, 0));
    let unknown = strategy_by(&world.reader(), None, &read("nobody"), second(9)).unwrap_err();
    assert!(matches!(unknown, ReplayError::UnknownStrategy { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_is_the_events_that_had_happened_in_the_order_they_did(steps in steps(), at in 0_i64..60, kept in any::<bool>()) {
        let world = world(&steps);
        let reader = world.reader();
        if kept {
            for name in NAMES {
                world.keep(name, None);
            }
        }
        let keyframes = world.keyframes();
        for name in NAMES {
            let all = events(&reader, name);
            let mut by: Vec<_> = all.iter().filter(|plain| plain.occurred_at <= second(at).nanos()).collect();
            by.sort_by_key(|plain| (plain.occurred_at, plain.seq));
            let found = strategy_by(&reader, Some(&keyframes), &read(name), second(at));
            if by.is_empty() {
                let refused = matches!(found, Err(ReplayError::NotHappenedYet { .. }));
                prop_assert!(refused);
                continue;
            }
            let found = found.unwrap();
            let last = by.last().unwrap();
            prop_assert_eq!(&found.moment.state, &folded(by.iter().copied()));
            prop_assert_eq!(found.moment.seq.0, last.seq);
            prop_assert_eq!(found.moment.recorded_at.nanos(), last.recorded_at);
        }
    }
}
