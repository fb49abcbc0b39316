//! One strategy at one moment of the past.

use std::time::Instant;

use ephor_events::{Seq, Version};
use ephor_replay::ReplayError;
use ephor_replay::at::{Point, known, strategy_at, system_at};

use crate::world::{MOMENTUM, REVERSION, World, read, second};

#[test]
fn every_way_to_name_a_moment_gives_the_same_state() {
    let mut world = World::registered();
    let closed = world.close(MOMENTUM, "10");
    let (then, version) = world.strategies[&read(MOMENTUM)].clone();
    let recorded_at = second(2);
    world.register(REVERSION);
    world.close(MOMENTUM, "-5");
    let reader = world.reader();
    let last = Seq(closed.0 + 1);
    for point in [Point::Seq(last), Point::Time(recorded_at), Point::Version(version), Point::Seq(Seq(last.0 + 1))] {
        let moment = strategy_at(&reader, None, &read(MOMENTUM), point).unwrap();
        assert_eq!((&moment.state, moment.version, moment.seq), (&then, version, last), "{point:?}");
        assert_eq!((moment.recorded_at, moment.newest), (recorded_at, Version(version.0 + 2)));
    }
    let now = strategy_at(&reader, None, &read(MOMENTUM), Point::Now).unwrap();
    assert_eq!(now.state, world.strategies[&read(MOMENTUM)].0);
}

#[test]
fn between_the_events_of_a_commit_there_is_a_moment_too() {
    let mut world = World::registered();
    let closed = world.close(MOMENTUM, "-10");
    let moment = strategy_at(&world.reader(), None, &read(MOMENTUM), Point::Seq(closed)).unwrap();
    assert_eq!(moment.state.totals.trades, 1);
    assert_eq!(moment.state.health.window_trades, 0, "health is updated by the event after it");
}

#[test]
fn the_system_has_moments_too() {
    let mut world = World::registered();
    let killed = world.kill(ephor_governance::event::Scope::All);
    assert!(system_at(&world.reader(), None, Point::Seq(Seq(killed.0 - 1))).unwrap().state.kills.is_empty());
    assert_eq!(system_at(&world.reader(), None, Point::Now).unwrap().state.kills.len(), 1);
}

#[test]
fn a_moment_that_never_was_says_what_there_is() {
    let mut world = World::registered();
    let registered = world.register(REVERSION);
    let reader = world.reader();
    let refused = |strategy: &str, point| strategy_at(&reader, None, &read(strategy), point).unwrap_err();
    assert!(matches!(refused("nobody", Point::Now), ReplayError::UnknownStrategy { .. }));
    assert!(matches!(refused(MOMENTUM, Point::Seq(Seq(99))), ReplayError::SeqOutside { last: Seq(3), .. }));
    assert!(matches!(refused(MOMENTUM, Point::Seq(Seq(0))), ReplayError::SeqOutside { .. }));
    let version = refused(MOMENTUM, Point::Version(Version(7)));
    assert_eq!(version.to_string(), "momentum has no version 7: it goes from 1 to 1");
    let before = refused(MOMENTUM, Point::Time(second(-1)));
    let said = "1969-12-31T23:59:59Z is before the log, which goes from 1970-01-01T00:00:00Z to 1970-01-01T00:00:02Z";
    assert_eq!(before.to_string(), said);
    let early = refused(REVERSION, Point::Seq(Seq(2)));
    assert!(matches!(early, ReplayError::NotGovernedYet { first, .. } if first == registered));
    assert!(!early.is_retryable() && early.is_callers());
}

/// An export asks for every strategy by name: what one costs must not grow with the others.
#[test]
fn a_name_is_known_at_once_however_many_there_are() {
    let seconds = |strategies: usize| {
        let mut world = World::registered();
        for number in 0..strategies {
            world.register(&format!("s{number}"));
        }
        let (reader, last) = (world.reader(), read(&format!("s{}", strategies - 1)));
        // The shortest of a few runs, because others make noise.
        let runs = (0..5).map(|_| {
            let began = Instant::now();
            (0..500).for_each(|_| known(&reader, &last).unwrap());
            began.elapsed().as_secs_f64()
        });
        runs.fold(f64::INFINITY, f64::min)
    };
    let (few, many) = (seconds(10), seconds(3_000));
    assert!(many < few * 20.0, "{few} s among ten, {many} s among three thousand");
}
