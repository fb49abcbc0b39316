//! A strategy's events as a line: the index, and states in whichever order they are asked for.

use ephor_events::{Seq, StreamId, Version};
use ephor_governance::maturity::Level;
use ephor_governance::strategy;
use ephor_replay::ReplayError;
use ephor_replay::at::{Point, strategy_at};
use ephor_replay::timeline::{Timeline, Turn};

use crate::world::{MOMENTUM, REVERSION, World, read, second, set_level};

fn line(world: &World, strategy: &str) -> Timeline {
    Timeline::open(&world.reader(), &read(strategy), &mut |_| {}).unwrap()
}

/// As `World::eventful`, and long enough for kept states.
fn long() -> World {
    let mut world = World::eventful();
    world.tell(MOMENTUM, &set_level(Level::Shadow));
    for number in 0..400 {
        world.close(MOMENTUM, if number % 3 == 0 { "40" } else { "-10" });
    }
    world.tell(MOMENTUM, &set_level(Level::Constrained));
    world.tell(MOMENTUM, &set_level(Level::Gated));
    world
}

#[test]
fn a_state_is_the_same_whichever_way_one_came_to_it() {
    let world = long();
    let mut timeline = line(&world, MOMENTUM);
    let last = timeline.index().last().0;
    assert!(last > 800, "{last}");
    let forwards = (0..=last).step_by(7);
    let backwards = (last - 80..=last).rev().chain((0..=last).rev().step_by(13));
    for version in forwards.chain(backwards).chain([last, 1, last / 2, last / 2 - 1, last / 2 - 40]) {
        let expected = match version {
            0 => strategy::State::default(),
            _any => {
                strategy_at(&world.reader(), None, &read(MOMENTUM), Point::Version(Version(version))).unwrap().state
            }
        };
        assert_eq!(timeline.state(Version(version)).unwrap(), expected, "version {version}");
    }
}

#[test]
fn the_index_has_every_event_in_its_place() {
    let world = long();
    let mut timeline = line(&world, MOMENTUM);
    let mut cursor = world.reader().stream(&StreamId::new(MOMENTUM), Version(1)).unwrap();
    let mut version = 0;
    while let Some(commit) = cursor.next().unwrap() {
        for view in commit.events() {
            version += 1;
            let index = timeline.index();
            assert_eq!((view.version, index.seq(view.version)), (Version(version), view.seq));
            assert_eq!(index.recorded_at(view.version).nanos(), commit.recorded_at);
            assert_eq!(index.upto_seq(view.seq), Some(view.version));
            let name = index.kind(view.version).unwrap().name();
            let envelope = timeline.event(view.version).unwrap().unwrap();
            assert_eq!((envelope.seq, envelope.event.name()), (view.seq, name));
        }
    }
    assert_eq!(timeline.index().last(), Version(version));
    assert!(timeline.event(Version(version + 1)).unwrap().is_none());
    assert!(timeline.event(Version(0)).unwrap().is_none());
    let counted: u64 = timeline.index().types().iter().map(|(_, count)| count).sum();
    assert_eq!(counted, version);
}

#[test]
fn what_is_looked_for_is_found_on_both_sides() {
    let world = long();
    let timeline = line(&world, MOMENTUM);
    let index = timeline.index();
    let falls = index.of(|kind| kind.turn() == Turn::Down);
    assert_eq!(falls.len(), 2, "{falls:?}");
    let down = |kind: ephor_replay::timeline::Kind| kind.turn() == Turn::Down;
    assert_eq!(index.after(Version(0), down), falls.first().copied());
    assert_eq!(index.after(falls[0], down), Some(falls[1]));
    assert_eq!(index.before(falls[1], down), Some(falls[0]));
    assert_eq!(index.before(falls[0], down), None);
    assert_eq!(index.after(*falls.last().unwrap(), down), None);
    assert_eq!(index.after(index.last(), |_| true), None);
    let before_last = Version(index.last().0 - 1);
    assert_eq!(index.of(|kind| kind.turn() == Turn::Up), [before_last], "set by hand near the end");
}

#[test]
fn the_figures_around_a_version_hold_there() {
    let world = long();
    let mut timeline = line(&world, MOMENTUM);
    for version in [1, 2, 50, 51, 400, 401, timeline.index().last().0] {
        let state = timeline.state(Version(version)).unwrap();
        let (shown, here) = timeline.index().around(Version(version), 21);
        assert_eq!(shown.len(), 21);
        let figures = shown[here.unwrap()];
        assert!(figures.version.0 <= version);
        assert!((f64::from(figures.equity) - state.maturity.evidence.equity.to_f64()).abs() < 0.01, "{version}");
    }
    assert_eq!(timeline.index().around(Version(0), 5).1, None);
    assert_eq!(timeline.index().around(Version(9), 0).0.len(), 0);
}

#[test]
fn a_moment_is_a_version_or_a_sentence_that_says_what_would_be() {
    let world = World::eventful();
    let timeline = line(&world, REVERSION);
    let first = timeline.index().seq(Version(1));
    let point = |point| timeline.version_at(point);
    assert_eq!(point(Point::Now).unwrap(), timeline.index().last());
    assert_eq!(point(Point::Seq(first)).unwrap(), Version(1));
    assert_eq!(point(Point::Version(Version(3))).unwrap(), Version(3));
    assert_eq!(point(Point::Time(second(1_000_000))).unwrap(), timeline.index().last());
    assert!(matches!(point(Point::Seq(Seq(1))), Err(ReplayError::NotGovernedYet { first: seq, .. }) if seq == first));
    assert!(matches!(point(Point::Version(Version(0))), Err(ReplayError::VersionOutside { .. })));
    assert!(matches!(point(Point::Seq(Seq(99_999))), Err(ReplayError::SeqOutside { .. })));
    assert!(matches!(point(Point::Time(second(-5))), Err(ReplayError::TimeBeforeLog { .. })));
    let nobody = Timeline::open(&world.reader(), &read("momentun"), &mut |_| {});
    assert!(matches!(nobody.err(), Some(ReplayError::UnknownStrategy { nearest, .. }) if nearest == [MOMENTUM]));
}
