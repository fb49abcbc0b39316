//! What changed between two moments, and which events changed it.

use ephor_events::envelope::to_json;
use ephor_events::{Seq, Version};
use ephor_replay::ReplayError;
use ephor_replay::at::Point;
use ephor_replay::diff::{self, Change, Path, Step, compare};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::random::{NAMES, events, folded, steps, world};
use crate::world::{MOMENTUM, REVERSION, World, read};

/// Applies a change, by hand.
fn apply(value: &mut Value, path: &Path, change: &Change) {
    let Some((last, way)) = path.0.split_last() else {
        match change {
            Change::Set { after, .. } => *value = after.clone().unwrap(),
            Change::Slid { removed, added } => slide(value, removed, added),
        }
        return;
    };
    let parent = way.iter().fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name).unwrap(),
        Step::Entry(index) => value.get_mut(index).unwrap(),
    });
    match (last, change) {
        (Step::Field(name), Change::Set { before, after }) => {
            let fields = parent.as_object_mut().unwrap();
            assert_eq!(fields.get(name), before.as_ref());
            match after {
                Some(after) => fields.insert(name.clone(), after.clone()),
                None => fields.shift_remove(name),
            };
        }
        (Step::Entry(index), Change::Set { before, after }) => {
            assert_eq!(parent.get(index), before.as_ref());
            parent[*index] = after.clone().unwrap();
        }
        (Step::Field(name), Change::Slid { removed, added }) => slide(&mut parent[name], removed, added),
        (Step::Entry(index), Change::Slid { removed, added }) => slide(&mut parent[*index], removed, added),
    }
}

fn slide(list: &mut Value, removed: &[Value], added: &[Value]) {
    let list = list.as_array_mut().unwrap();
    assert_eq!(list.drain(..removed.len()).collect::<Vec<_>>(), removed);
    list.extend_from_slice(added);
}

#[test]
fn a_trade_changes_these_fields_by_these_events() {
    let mut world = World::registered();
    let closed = world.close(MOMENTUM, "-10");
    let to = Point::Now;
    let diff = diff::strategy(&world.reader(), None, &read(MOMENTUM), Some(Point::Version(Version(1))), to).unwrap();
    assert_eq!((diff.from.version, diff.to.version, diff.events()), (Version(1), Version(3), 2));
    let field = |name: &str| diff.fields.iter().find(|field| field.path.to_string() == name).unwrap();
    let pnl = field("totals.pnl");
    assert_eq!(pnl.change, Change::Set { before: Some(json!("0")), after: Some(json!("-10")) });
    assert_eq!((pnl.events, pnl.causes[0].seq, pnl.causes[0].event.name()), (1, closed, "TradeClosed"));
    assert_eq!(field("health.debt").causes[0].event.name(), "HealthUpdated");
    let Change::Slid { removed, added } = &field("outcomes").change else { panic!("{diff:?}") };
    assert_eq!((removed.len(), added.len()), (0, 1));
    assert!(diff.fields.iter().all(|field| field.path.to_string() != "totals.wins"), "what stayed is not listed");
}

#[test]
fn from_the_start_everything_is_new() {
    let world = World::registered();
    let diff = diff::strategy(&world.reader(), None, &read(MOMENTUM), None, Point::Now).unwrap();
    assert_eq!((diff.from.version, diff.from.seq), (Version(0), Seq(0)));
    let registered = diff.fields.iter().find(|field| field.path.to_string() == "registration").unwrap();
    assert_eq!(registered.causes[0].event.name(), "StrategyRegistered");
    let same = diff::strategy(&world.reader(), None, &read(MOMENTUM), Some(Point::Now), Point::Now).unwrap();
    assert!(same.fields.is_empty() && same.events() == 0);
}

#[test]
fn the_system_differs_too() {
    let mut world = World::registered();
    let before = Point::Seq(world.reader().head().seq);
    let killed = world.kill(ephor_governance::event::Scope::All);
    let diff = diff::system(&world.reader(), None, Some(before), Point::Now).unwrap();
    let names: Vec<String> = diff.fields.iter().map(|field| field.path.to_string()).collect();
    assert_eq!(names, ["kills"]);
    assert_eq!((diff.fields[0].events, diff.fields[0].causes[0].seq), (1, killed));
}

#[test]
fn backwards_is_refused_with_both_places() {
    let mut world = World::registered();
    world.register(REVERSION);
    world.close(REVERSION, "1");
    let (late, early) = (Point::Now, Point::Seq(Seq(3)));
    let refused = diff::strategy(&world.reader(), None, &read(REVERSION), Some(late), early).unwrap_err();
    assert!(matches!(refused, ReplayError::Backwards { from: Seq(5), to: Seq(3) }), "{refused}");
    assert!(refused.is_callers());
}

#[test]
fn a_list_that_slides_says_how_far_and_one_of_numbers_says_where() {
    let change = |before: Value, after: Value| {
        let found = compare(&json!({ "l": before }), &json!({ "l": after }));
        found.into_iter().map(|(path, change)| (path.to_string(), change)).collect::<Vec<_>>()
    };
    let row = |name: &str| json!({ "name": name });
    let slid = |removed: &[&str], added: &[&str]| {
        let rows = |names: &[&str]| names.iter().map(|name| row(name)).collect();
        [("l".to_owned(), Change::Slid { removed: rows(removed), added: rows(added) })].to_vec()
    };
    assert_eq!(change(json!([row("a"), row("b")]), json!([row("b"), row("c")])), slid(&["a"], &["c"]));
    assert_eq!(change(json!([row("a")]), json!([row("a"), row("b")])), slid(&[], &["b"]));
    assert_eq!(change(json!([row("a"), row("b")]), json!([row("a")])), slid(&["a", "b"], &["a"]));
    assert_eq!(change(json!([1, 2]), json!([1, 3]))[0].0, "l[1]");
    let found = compare(&json!({ "p": { "GBP/USD": 1 } }), &json!({ "p": { "GBP/USD": 2 } }));
    assert_eq!(found[0].0.to_string(), "p[\"GBP/USD\"]");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn applied_to_the_first_it_gives_the_second_and_names_every_event_that_changed_it(
        steps in steps(), one in 0_usize..200, other in 0_usize..200,
    ) {
        let world = world(&steps);
        let reader = world.reader();
        for name in NAMES {
            let all = events(&reader, name);
            let (one, other) = (one % (all.len() + 1), other % (all.len() + 1));
            let (from, to) = (one.min(other), one.max(other).max(1));
            let point = |version: usize| Point::Version(Version(version as u64));
            let diff = diff::strategy(&reader, None, &read(name), (from > 0).then(|| point(from)), point(to)).unwrap();
            let (before, after) = (to_json(&folded(&all[..from])), to_json(&folded(&all[..to])));
            let mut applied = before.clone();
            for field in &diff.fields {
                apply(&mut applied, &field.path, &field.change);
            }
            prop_assert_eq!(applied, after);
            let states: Vec<Value> = (from..=to).map(|upto| to_json(&folded(&all[..upto]))).collect();
            for field in &diff.fields {
                let changed = |pair: &[Value]| compare(&pair[0], &pair[1]).iter().any(|(path, _)| path.overlaps(&field.path));
                let seqs: Vec<u64> = states.windows(2).zip(&all[from..]).filter(|(pair, _)| changed(pair)).map(|(_, plain)| plain.seq).collect();
                let named: Vec<u64> = field.causes.iter().map(|cause| cause.seq.0).collect();
                prop_assert_eq!(field.events, seqs.len() as u64, "{}", &field.path);
                prop_assert_eq!(named, seqs, "{}", &field.path);
            }
        }
    }
}
