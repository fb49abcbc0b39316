//! Folding the whole log: the states the writer had, and digests that two runs share.

use ephor_events::Seq;
use ephor_replay::ReplayError;
use ephor_replay::at::{Point, strategy_at};
use ephor_replay::fold::{Plan, THREADS_PER_CORE_MAX, digest_of_strategy, digest_of_system, fold, fold_with, kept};
use proptest::prelude::*;

use crate::random::{steps, world};
use crate::world::{MOMENTUM, World, read};

#[test]
fn the_folded_states_are_those_the_writer_had() {
    let world = World::eventful();
    let folded = fold(&world.reader(), &mut |_| {}).unwrap();
    let names: Vec<&str> = folded.strategies.iter().map(|stream| stream.stream.as_str()).collect();
    assert_eq!(names, ["momentum", "reversion"]);
    for (stream, (id, (state, version))) in folded.strategies.iter().zip(&world.strategies) {
        assert_eq!((&stream.state, stream.version), (state, *version));
        assert_eq!(stream.digest, digest_of_strategy(id, state).unwrap());
    }
    assert_eq!((folded.system.version, &folded.system.state), (world.system.0, &world.system.1));
    assert_eq!(folded.system.digest, digest_of_system(&world.system.1).unwrap());
    assert_eq!(folded.head, world.reader().head());
}

#[test]
fn the_same_log_gives_the_same_digest_and_another_log_another() {
    let (one, same) = (World::eventful(), World::eventful());
    let digest = |world: &World| fold(&world.reader(), &mut |_| {}).unwrap().digest;
    assert_eq!(digest(&one), digest(&same));
    let mut longer = World::eventful();
    longer.close(MOMENTUM, "1");
    assert_ne!(digest(&one), digest(&longer));
    assert_eq!(digest(&one).to_string().len(), 64);
}

#[test]
fn an_empty_log_folds_to_nothing() {
    let folded = fold(&World::empty().reader(), &mut |_| {}).unwrap();
    assert!(folded.strategies.is_empty());
    assert_eq!(folded.head.seq, Seq(0));
}

#[test]
fn progress_ends_at_the_end() {
    let world = World::eventful();
    let mut last = None;
    fold(&world.reader(), &mut |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert_eq!((last.done, last.total), (world.reader().head().seq, world.reader().head().seq));
}

#[test]
fn no_more_threads_are_made_than_a_few_a_core() {
    let mut world = World::registered();
    for number in 0..300 {
        world.register(&format!("s{number}"));
    }
    let folded = fold_with(&world.reader(), &plan(None, usize::MAX), &mut |_| {}).unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(folded.threads, (cores * THREADS_PER_CORE_MAX).min(302));
    assert_eq!(folded.digest, fold(&world.reader(), &mut |_| {}).unwrap().digest);
}

fn plan(to: Option<Seq>, threads: usize) -> Plan {
    Plan { to, threads, ..Plan::default() }
}

#[test]
fn a_fold_to_a_seq_ends_within_a_commit_where_that_is_asked() {
    let mut world = World::registered();
    let closed = world.close(MOMENTUM, "-10");
    world.close(MOMENTUM, "-10");
    let folded = fold_with(&world.reader(), &plan(Some(closed), 1), &mut |_| {}).unwrap();
    let state = strategy_at(&world.reader(), None, &read(MOMENTUM), Point::Seq(closed)).unwrap();
    let stream = &folded.strategies[0];
    assert_eq!((&stream.state, stream.version, stream.seq), (&state.state, state.version, closed));
    assert_eq!((folded.head.seq, folded.head.commits), (closed, 3));
    let outside = fold_with(&world.reader(), &plan(Some(Seq(99)), 1), &mut |_| {}).unwrap_err();
    assert!(matches!(outside, ReplayError::SeqOutside { .. }), "{outside}");
}

#[test]
fn keyframes_are_held_against_the_fold_at_their_own_version() {
    let mut world = World::eventful();
    world.keep(MOMENTUM, None);
    world.close(MOMENTUM, "5");
    let held = |world: &World| {
        let reader = world.reader();
        let kept = kept(&reader, &world.keyframes(), None).unwrap();
        fold_with(&reader, &Plan { kept, threads: 2, ..Plan::default() }, &mut |_| {}).unwrap().held
    };
    let good = held(&world);
    assert_eq!(good.len(), 1);
    assert!(good[0].agrees(), "{good:?}");
    assert_eq!(good[0].kept.version.0 + 2, world.strategies[&read(MOMENTUM)].1.0, "the trade after it is two events");
    // A state that the events do not give, under a digest of its own that checks: later events would hide it.
    let mut world = World::eventful();
    let (mut doctored, _) = world.strategies[&read(MOMENTUM)].clone();
    doctored.health.score = 0.123;
    world.keep(MOMENTUM, Some(doctored));
    world.close(MOMENTUM, "5");
    let bad = held(&world);
    assert!(!bad[0].agrees() && bad[0].folded.is_some(), "{bad:?}");
    let before = kept(&world.reader(), &world.keyframes(), Some(Seq(3))).unwrap();
    assert!(before.is_empty(), "no keyframe is older than that: {before:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_number_of_threads_gives_the_same_digests(steps in steps(), threads in 2_usize..7, part in 0_u64..400) {
        let world = world(&steps);
        let reader = world.reader();
        let to = Some(Seq(1 + part % reader.head().seq.0));
        for to in [None, to] {
            let one = fold_with(&reader, &plan(to, 1), &mut |_| {}).unwrap();
            let many = fold_with(&reader, &plan(to, threads), &mut |_| {}).unwrap();
            prop_assert_eq!(one.digest, many.digest);
            prop_assert_eq!(&one.strategies, &many.strategies);
            prop_assert_eq!(&one.system, &many.system);
            prop_assert_eq!(one.head, many.head);
        }
    }
}
