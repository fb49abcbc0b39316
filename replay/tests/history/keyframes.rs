//! Keyframes held against the log: right ones, wrong ones, and all of them made anew.

use ephor_events::{StreamId, Version};
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_replay::keyframes::{Verdict, rebuild, verify};
use ephor_snapshots::{Digested, Keyframes, Misfit, Restored, Spacing, restore};

use crate::world::{MOMENTUM, World};

/// A world with something to thin, and its keyframes made by a rebuild.
fn given() -> (World, Keyframes) {
    let mut world = World::eventful();
    for number in 0..200 {
        world.close(MOMENTUM, if number % 3 == 0 { "-2" } else { "3" });
    }
    let keyframes = world.keyframes().spaced(Spacing::new(Spacing::EVERY_MIN).unwrap());
    rebuild(&world.reader(), &keyframes, &mut |_| {}).unwrap();
    (world, keyframes)
}

fn verdicts(world: &World, keyframes: &Keyframes) -> Vec<Verdict> {
    let checked = verify(&world.reader(), keyframes, &mut |_| {}).unwrap();
    checked.into_iter().map(|checked| checked.verdict).collect()
}

#[test]
fn what_a_rebuild_makes_is_what_the_events_give_and_no_version_is_far_from_it() {
    let (world, keyframes) = given();
    let reader = world.reader();
    assert!(verdicts(&world, &keyframes).iter().all(|verdict| *verdict == Verdict::Same));
    for (id, (state, version)) in &world.strategies {
        let stream = StreamId::new(id.as_str());
        let now = restore(&reader, Some(&keyframes), &stream, None, strategy::evolve).unwrap();
        assert_eq!((&now.state, now.version, now.folded), (state, *version, 0));
        for upto in (1..=version.0).map(|upto| Some(Version(upto))) {
            let quick = restore(&reader, Some(&keyframes), &stream, upto, strategy::evolve).unwrap();
            assert!(quick.folded < keyframes.spacing().gap_max());
            assert_eq!(quick.state, restore(&reader, None, &stream, upto, strategy::evolve).unwrap().state);
        }
    }
    let system = restore(&reader, Some(&keyframes), &StreamId::system(), None, system::evolve).unwrap();
    assert_eq!((system.folded, &system.state), (0, &world.system.1));
    assert_eq!(keyframes.ignored().total(), 0);
}

#[test]
fn a_second_rebuild_removes_all_and_makes_the_same() {
    let (world, keyframes) = given();
    let before = keyframes.all(&world.reader()).unwrap();
    let rebuilt = rebuild(&world.reader(), &keyframes, &mut |_| {}).unwrap();
    let all = before.len() as u64;
    assert_eq!((rebuilt.removed, rebuilt.kept, rebuilt.streams), (all, all, 3));
    assert_eq!(rebuilt.events, world.reader().head().seq.0);
    assert_eq!(keyframes.all(&world.reader()).unwrap(), before);
}

#[test]
fn a_keyframe_that_holds_another_state_is_found_although_its_bytes_check() {
    let (world, keyframes) = given();
    let stream = StreamId::new(MOMENTUM);
    keyframes.clear().unwrap();
    let reader = world.reader();
    let right = restore(&reader, None, &stream, Some(Version(2)), strategy::evolve).unwrap();
    let wrong = strategy::State { version_trades: right.state.version_trades + 1, ..right.state.clone() };
    let saved = Restored { state: wrong.clone(), version: Version(2), at: Timestamp::default(), folded: 0 };
    assert!(keyframes.save(&reader, &stream, &saved).unwrap());
    let (folded, held) = (right.state.digest().unwrap(), wrong.digest().unwrap());
    assert_eq!(verdicts(&world, &keyframes), [Verdict::Differs { folded, held }]);
}

#[test]
fn a_keyframe_that_does_not_fit_is_named_and_the_others_are_checked_all_the_same() {
    let (world, keyframes) = given();
    let count = verdicts(&world, &keyframes).len();
    let (tree, all) = world.kept();
    let (key, bytes) = &all[count / 2];
    tree.put(key, &bytes[1..]).unwrap();
    let verdicts = verdicts(&world, &keyframes);
    assert_eq!(verdicts.len(), count);
    for (place, verdict) in verdicts.iter().enumerate() {
        let expected = if place == count / 2 { Verdict::Ignored(Misfit::Damaged) } else { Verdict::Same };
        assert_eq!(*verdict, expected, "{place}");
    }
}

#[test]
fn a_log_without_events_has_nothing_to_check_and_nothing_to_make() {
    let world = World::empty();
    let keyframes = world.keyframes();
    assert!(verdicts(&world, &keyframes).is_empty());
    let rebuilt = rebuild(&world.reader(), &keyframes, &mut |_| {}).unwrap();
    assert_eq!((rebuilt.kept, rebuilt.streams, rebuilt.events), (0, 0, 0));
}
