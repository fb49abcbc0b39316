//! The states that strategies went through, one after another.

use ephor_events::{Seq, Version};
use ephor_governance::strategy::State;
use ephor_replay::at::{Point, strategy_at};
use ephor_replay::states::each;
use ephor_replay::{Progress, ReplayError};

use crate::world::{MOMENTUM, World, read};

/// Version, seq, cause and state of every row.
type Rows = Vec<(Version, Seq, Option<&'static str>, State)>;

fn rows(world: &World, from: Seq, to: Seq) -> Rows {
    let mut rows = Rows::new();
    let mut quiet = |_: Progress| {};
    each(&world.reader(), |_| true, (from, to), &mut quiet, &mut |stage| {
        rows.push((stage.version, stage.seq, stage.event, stage.state.clone()));
        Ok::<_, ReplayError>(())
    })
    .unwrap();
    rows
}

#[test]
fn the_states_to_a_seq_end_within_a_commit_where_that_is_asked() {
    let mut world = World::registered();
    world.close(MOMENTUM, "-10");
    let closed = world.close(MOMENTUM, "-10");
    assert!(world.reader().head().seq > closed, "a commit of more than one event");
    let all = rows(&world, Seq(1), closed);
    let last = all.last().unwrap();
    let then = strategy_at(&world.reader(), None, &read(MOMENTUM), Point::Seq(closed)).unwrap();
    assert_eq!((last.0, last.1, last.2), (then.version, closed, Some("TradeClosed")));
    assert_eq!(last.3, then.state);
    // From the commit's second event on there is nothing left of it to that seq.
    assert!(rows(&world, Seq(closed.0 + 1), closed).is_empty());
}
