//! The first event at which a condition holds.

use std::collections::BTreeSet;

use ephor_events::envelope::to_json;
use ephor_events::{Seq, Version};
use ephor_governance::maturity::Level;
use ephor_governance::strategy::State;
use ephor_replay::ReplayError;
use ephor_replay::bisect::{Answer, Condition, Occurrence, Question, VARIABLES, Wanted, bisect};
use proptest::prelude::*;
use serde_json::Value;

use crate::random::{NAMES, events, folded, steps, world};
use crate::world::{MOMENTUM, World, read};

fn asked(world: &World, name: &str, text: &str, wanted: Wanted) -> Result<Answer, ReplayError> {
    let condition = Condition::parse(text)?;
    let question = Question { condition: &condition, from: None, to: None, wanted };
    bisect(&world.reader(), None, &read(name), &question, &mut |_| {})
}

/// The event after which the first span holds.
fn begins(answer: &Answer) -> &Occurrence {
    answer.spans[0].begins.as_ref().unwrap()
}

#[test]
fn the_first_event_is_found_with_what_it_changed() {
    let mut world = World::registered();
    let losses: Vec<Seq> = (0..8).map(|_| world.close(MOMENTUM, "-10")).collect();
    let answer = asked(&world, MOMENTUM, "health.score < 0.5 && level == 'L1_paper'", Wanted::First).unwrap();
    let span = &answer.spans[0];
    assert_eq!(begins(&answer).seq, Seq(losses[5].0 + 1), "the sixth loss's health");
    assert_eq!(begins(&answer).event.name(), "HealthUpdated");
    let readings: Vec<(&str, Option<f64>)> = span
        .readings
        .iter()
        .map(|reading| (reading.field.as_str(), reading.after.as_ref().and_then(Value::as_f64)))
        .collect();
    assert_eq!(readings, [("health.score", Some(0.4)), ("level", None)]);
    assert_eq!(span.readings[0].before.as_ref().and_then(Value::as_f64), Some(0.5));
}

#[test]
fn what_never_holds_says_what_was_seen() {
    let mut world = World::registered();
    world.close(MOMENTUM, "-10");
    let answer = asked(&world, MOMENTUM, "health.score < 0.5 && level == \"L3_constrained\"", Wanted::First).unwrap();
    assert!(answer.spans.is_empty() && answer.times == 0);
    assert_eq!((answer.events, answer.unanswered), (3, 0));
    assert_eq!(answer.seen[0].range, Some((0.9, 1.0)));
    assert_eq!(answer.seen[1].values, BTreeSet::from(["L1_paper".to_owned()]));
}

#[test]
fn a_field_that_is_not_there_yet_gives_no_answer_and_is_counted() {
    let mut world = World::registered();
    world.close(MOMENTUM, "10");
    world.baseline(MOMENTUM);
    let answer = asked(&world, MOMENTUM, "baseline.metrics.win_rate > 0.5", Wanted::First).unwrap();
    assert_eq!((answer.unanswered, begins(&answer).event.name()), (3, "BaselineRecorded"));
    let null = asked(&world, MOMENTUM, "profit_factor > 2.0 && trades > 0", Wanted::First).unwrap();
    assert_eq!((null.events, null.unanswered, null.times), (4, 3, 0), "nothing was lost");
    let text = asked(&world, MOMENTUM, "registration.engine.startsWith('x')", Wanted::First).unwrap();
    assert_eq!((text.events, text.unanswered), (4, 4), "it has no engine");
    let since =
        asked(&world, MOMENTUM, "time(pauses.operator.since) > 0 || time(registration.engine) > 0", Wanted::First);
    assert_eq!(since.unwrap().unanswered, 4);
    let length = asked(&world, MOMENTUM, "size(registration.engine) > 0", Wanted::First).unwrap();
    assert_eq!(length.unanswered, 4);
    let empty = asked(&world, MOMENTUM, "outcomes[0].pnl == 10.0", Wanted::First).unwrap();
    assert_eq!((empty.unanswered, begins(&empty).event.name()), (1, "TradeClosed"));
}

#[test]
fn a_range_is_kept_to_and_says_whether_it_held_before() {
    let mut world = World::registered();
    for _ in 0..3 {
        world.close(MOMENTUM, "10");
    }
    let condition = Condition::parse("trades >= 1").unwrap();
    let question = |from, to| Question { condition: &condition, from: Some(Version(from)), to, wanted: Wanted::First };
    let ask = |from, to| bisect(&world.reader(), None, &read(MOMENTUM), &question(from, to), &mut |_| {}).unwrap();
    let held = ask(4, None);
    // No event made it hold here: it is not said of the first one asked about.
    assert_eq!((held.held_before, &held.spans[0].begins, held.times), (true, &None, 1));
    assert_eq!(held.spans[0].readings[0].after, Some(2.into()), "the trade that closed there");
    let fresh = ask(2, None);
    assert_eq!((fresh.held_before, begins(&fresh).version), (false, Version(2)));
    assert!(ask(1, Some(Version(1))).spans.is_empty());
    let outside = bisect(&world.reader(), None, &read(MOMENTUM), &question(99, None), &mut |_| {}).unwrap_err();
    assert!(matches!(outside, ReplayError::VersionOutside { last: Version(7), .. }), "{outside}");
}

#[test]
fn times_are_compared_as_times() {
    let mut world = World::registered();
    world.close(MOMENTUM, "10");
    let answer = asked(&world, MOMENTUM, "time(recorded_at) >= time('1970-01-01T00:00:02Z')", Wanted::First).unwrap();
    assert_eq!(begins(&answer).event.name(), "TradeClosed");
    let refused = asked(&world, MOMENTUM, "time(recorded_at) >= time('soon')", Wanted::First).unwrap_err();
    assert!(refused.to_string().contains("\"soon\" is no time such as 2012-02-20"), "{refused}");
}

#[test]
fn what_cannot_be_asked_is_refused_in_words() {
    let mut world = World::registered();
    world.close(MOMENTUM, "10");
    for (text, part) in [
        ("", "does not parse at character 1: it is empty"),
        ("health.score <", "does not parse at character 15"),
        ("level = 'L1_paper'", "compare with =="),
        ("helth.score < 0.5", "did you mean health.score"),
        ("health.scoer < 0.5", "health.score"),
        ("foo", "there is no foo"),
        ("level.name == 'x'", "there is no level.name"),
        ("pauses.drfit.by == 'x'", "pauses.drift.by"),
        ("outcomes.exists(o, p.pnl < 0.0)", "there is no p.pnl"),
        ("level == 'L3'", "no level is called \"L3\": the levels are L0_shadow"),
        ("'gated' != maturity.level", "no level is called \"gated\""),
        ("1 < 2", "reads nothing of the state"),
        ("health.score", "must be true or false, but at seq 2 it gives a fractional number"),
        ("level < 3", "a text cannot be compared with a whole number"),
        ("totals.pnl * 2 > 3.0", "* does not go with a fractional number and a whole number"),
        ("totals.pnl / 2 > 3.0", "write 100.0 for 100"),
        ("level > 3 && !has(pauses.operator)", "cannot be compared"),
        ("totals.pnl * 2 > 3.0 && !has(pauses.operator)", "* does not go with"),
        ("outcomes.exists(o, o.gain > 0.0) && !has(pauses.operator)", "there is no field gain"),
        ("outcomes.exists(o, o.pnl > null) && !has(pauses.operator)", "cannot be compared"),
        ("level > 3 && paused", "a text cannot be compared with a whole number"),
        ("trades == '3'", "trades is a number, and a number cannot be compared with a text"),
        ("paused == 1.5", "a truth value cannot be compared with a fractional number"),
        ("3 > profit_factor && profit_factor > null", "cannot be compared with nothing"),
        ("level + '' > 3 && !has(pauses.operator)", "a text cannot be compared with a whole number"),
        ("time(trades) > 0", "a whole number stands where a text belongs"),
        ("time('soon') > 0 && !has(pauses.operator)", "\"soon\" is no time"),
        ("frobnicate(level)", "there is no function frobnicate"),
        ("foo(trades) == 1 && has(pauses.operator)", "there is no function foo"),
        ("siz(outcomes) > 0", "there is no function siz; did you mean size"),
        ("registration.instrument.startswith('G')", "did you mean startsWith"),
        ("outcomes.exists(o.pnl < 0.0)", "exists is written like outcomes.exists(o, o.pnl < 0.0)"),
        ("level in ['L3']", "no level is called \"L3\""),
        ("level in ['L1_paper', 'L9']", "no level is called \"L9\""),
        ("event == 'TradeClosedd'", "no event is called \"TradeClosedd\"; did you mean TradeClosed"),
        ("event in ['HealthUpdated', 'Trade']", "no event is called \"Trade\""),
        ("recorded_at > '2012-02-20'", "compare it as time(recorded_at) > time(\"2012-02-20\")"),
        ("'2012-02-20' <= pauses.operator.since", "compare it as time(\"2012-02-20\") <= time(pauses.operator.since)"),
        ("maturity.evidence.entered_at == '2012-02-20'", "is a time"),
        ("outcomes.exists(o, o.gain > 0.0)", "there is no field gain"),
    ] {
        let refused = match asked(&world, MOMENTUM, text, Wanted::First) {
            Err(refused) => refused,
            Ok(answer) => panic!("{text:?} was answered: {answer:?}"),
        };
        assert!(refused.to_string().contains(part), "{text:?}: {refused}");
        assert!(refused.is_callers() && !refused.is_retryable());
    }
    let none = asked(&world, "nobody", "paused", Wanted::First).unwrap_err();
    assert!(matches!(none, ReplayError::UnknownStrategy { .. }));
}

/// Everything that a state can hold, held by one.
fn rich() -> (World, State) {
    let mut world = World::eventful();
    world.tell(MOMENTUM, &ephor_governance::strategy::Command::Pause { by: read("alice"), reason: "a look".into() });
    let state = world.strategies[&read(MOMENTUM)].0.clone();
    assert!(state.baseline.is_some() && state.registration.is_some());
    (world, state)
}

#[test]
fn every_field_of_the_state_can_be_asked_and_every_documented_one_is_there() {
    let (world, state) = rich();
    let mut leaves = Vec::new();
    collect("", &to_json(&state), &mut leaves);
    for leaf in &leaves {
        let parsed = Condition::parse(&format!("{leaf} != null"));
        assert!(parsed.is_ok(), "{leaf}: {}", parsed.unwrap_err());
    }
    for variable in VARIABLES.iter().filter(|variable| !variable.name.contains('<')) {
        let condition = match variable.kind {
            "number" => format!("{0} > -1e300 || {0} == null", variable.name),
            "time" => format!("time({}) >= 0", variable.name),
            "text" => format!("{0} >= '' || {0} == null", variable.name),
            "truth" => format!("{0} == true || {0} == false", variable.name),
            "list" => format!("size({}) >= 0", variable.name),
            other => panic!("{other}"),
        };
        let answer = asked(&world, MOMENTUM, &condition, Wanted::Last).unwrap();
        assert!(!answer.spans.is_empty() && answer.spans[0].ends.is_none(), "{condition}: {answer:?}");
    }
}

/// The places of everything that is no object.
fn collect(place: &str, value: &Value, to: &mut Vec<String>) {
    match value.as_object() {
        Some(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                collect(&place, value, to);
            }
        }
        _leaf => to.push(place.to_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_written_is_answered_or_refused(
        words in prop::collection::vec(prop_oneof![
            Just("health.score"), Just("level"), Just("<"), Just("=="), Just("&&"), Just("!"), Just("("), Just(")"),
            Just("'"), Just("\""), Just("["), Just("]"), Just("{"), Just("?"), Just(":"), Just("0.5"), Just("-1"),
            Just("null"), Just("."), Just("in"), Just("outcomes"), Just(".exists(o,"), Just("has("), Just("1u"),
            Just("\\"), Just("b'x'"), Just("é"), Just("9999999999999999999"), Just("\n"), Just("`"), Just("positions"),
        ], 0..9),
        any in any::<String>(),
    ) {
        for text in [words.join(" "), words.concat(), any] {
            if let Ok(condition) = Condition::parse(&text) {
                let mut world = World::registered();
                world.close(MOMENTUM, "-10");
                let question = Question { condition: &condition, from: None, to: None, wanted: Wanted::All };
                let answer = bisect(&world.reader(), None, &read(MOMENTUM), &question, &mut |_| {});
                prop_assert!(answer.is_ok() || answer.unwrap_err().is_callers(), "{}", text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn it_is_what_asking_after_every_event_by_hand_gives(steps in steps(), which in 0_usize..6, kept in any::<bool>()) {
        type Check = fn(&State) -> bool;
        let conditions: [(&str, Check); 6] = [
            ("health.score < 0.9", |state| state.health.score < 0.9),
            ("totals.pnl > 100 && trades >= 2", |state| {
                state.totals.pnl.to_f64() > 100.0 && state.maturity.evidence.trades >= 2
            }),
            ("paused || level >= 'L3'", |state| {
                !state.pauses.is_empty() || state.maturity.level >= Level::Constrained
            }),
            ("has(pauses.operator)", |state| {
                state.pauses.contains_key(&ephor_governance::event::PauseCause::Operator)
            }),
            ("outcomes.exists(o, o.pnl < -250.0)", |state| state.outcomes.iter().any(|outcome| outcome.pnl < -250.0)),
            ("drawdown > 0.02 && totals.decisions[2] == 0", |state| {
                state.maturity.evidence.drawdown() > 0.02 && state.totals.decisions[2] == 0
            }),
        ];
        let (text, check) = conditions[which];
        let world = world(&steps);
        if kept {
            for name in NAMES {
                world.keep(name, None);
            }
        }
        for name in NAMES {
            let all = events(&world.reader(), name);
            let holds: Vec<bool> = (1..=all.len()).map(|upto| check(&folded(&all[..upto]))).collect();
            let begins = |at: &usize| holds[*at] && (*at == 0 || !holds[*at - 1]);
            let begins: Vec<u64> = (0..holds.len()).filter(begins).map(|at| all[at].seq).collect();
            let found = |wanted| {
                let answer = asked(&world, name, text, wanted).unwrap();
                answer.spans.iter().map(|span| span.begins.as_ref().unwrap().seq.0).collect::<Vec<_>>()
            };
            prop_assert_eq!(&found(Wanted::All), &begins);
            prop_assert_eq!(found(Wanted::First), begins.first().copied().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(found(Wanted::Last), begins.last().copied().into_iter().collect::<Vec<_>>());
        }
    }
}
