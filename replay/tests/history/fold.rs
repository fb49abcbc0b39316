//! Folding the whole log: the states the writer had, and digests that two runs share.

use ephor_events::Seq;
use ephor_replay::fold::{digest_of_strategy, digest_of_system, fold};

use crate::world::{MOMENTUM, World};

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
