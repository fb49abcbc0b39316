//! An engine that follows another: what that one had stopped is stopped, and what it had followed is not followed again.

use ephor_execution::Report;
use ephor_execution::breaker::Reach;
use ephor_execution::dedup::Window;
use ephor_execution::engine::{EngineError, ExecutionEngine, Stages};
use ephor_execution::order::TradeSignal;
use ephor_execution::post::{DrawdownMonitor, LossBreaker, RejectionBreaker};
use ephor_execution::risk::Throttle;
use ephor_execution::state::{State, StateError};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use serde_json::{Value, json};

use crate::house::{Engine, Fills, Journal, Says, block, code, engine, entry, exit, prepare, qty, send, stages};

const SECOND: i64 = 1_000_000_000;

/// A stage of every kind that keeps something.
fn keeping() -> Stages {
    let mut stages = stages(100, &Journal::default());
    stages.dedup = Box::new(Window::new(SECOND));
    stages.pre_trade.push(Box::new(Throttle::new(3, SECOND)));
    stages.post_trade = vec![
        Box::new(DrawdownMonitor::new(Amount::new(1, 2), Some(Amount::new(2, 2)))),
        Box::new(RejectionBreaker::by_strategy(2)),
        Box::new(LossBreaker::new(5_000.into())),
    ];
    stages
}

fn begin() -> (Engine<Says>, Says) {
    let says = Says::new(Action::Allow, 1.0);
    (engine(Some(says.clone()), keeping(), &Journal::default()), says)
}

/// The process ends, and the next one begins with what was kept.
fn again(engine: Engine<Says>, says: &Says) -> Engine<Says> {
    let text = serde_json::to_string(&engine.state()).unwrap();
    follow(engine.into_venues(), says, &text).unwrap()
}

fn follow(venues: (Fills, Fills), says: &Says, text: &str) -> Result<Engine<Says>, StateError> {
    let mut engine = resume(venues, says, text)?;
    prepare(&mut engine);
    Ok(engine)
}

fn resume((live, paper): (Fills, Fills), says: &Says, text: &str) -> Result<Engine<Says>, StateError> {
    ExecutionEngine::resume(Some(says.clone()), live, paper, keeping(), State::from_json(text)?)
}

/// The same wish is another one a second later.
fn later(id: &str, seconds: i64) -> TradeSignal {
    TradeSignal { at: Timestamp::from_nanos(seconds * SECOND), ..entry(id) }
}

fn price(engine: &mut Engine<Says>, price: i64, seconds: i64) {
    let at = Timestamp::from_nanos(seconds * SECOND);
    block(engine.on_price(&"ABC".parse().unwrap(), price.into(), at)).unwrap();
}

fn kills(says: &Says) -> usize {
    says.reports.lock().unwrap().iter().filter(|report| matches!(report, Report::Kill { .. })).count()
}

fn momentum() -> Reach {
    Reach::Strategy("momentum".parse().unwrap())
}

#[test]
fn what_was_off_stays_off_until_a_named_person_lets_it_go() {
    let (mut before, says) = begin();
    send(&mut before, &entry("o-1"));
    price(&mut before, 85, 2);
    let open: Vec<_> = before.breakers().all().map(|(reach, open)| (reach.clone(), open.clone())).collect();
    assert_eq!(open.len(), 1);

    let mut after = again(before, &says);
    assert_eq!(after.breakers().all().map(|(reach, open)| (reach.clone(), open.clone())).collect::<Vec<_>>(), open);
    assert_eq!(code(&send(&mut after, &later("o-2", 3))), ("risk", "RISK_BREAKER_OPEN"));
    assert_eq!(qty(&send(&mut after, &exit("o-3"))), 100.into());
    after.close_breaker(&momentum(), &"alice".parse().unwrap());

    // Closed by a person, and closed for the next one too.
    let mut third = again(after, &says);
    assert_eq!(qty(&send(&mut third, &later("o-2", 3))), 100.into());
}

#[test]
fn a_throttle_that_has_latched_stays_off_and_one_that_has_not_knows_what_was_sent() {
    let (mut before, says) = begin();
    let other = |id: &str, instrument: &str| TradeSignal { instrument: instrument.parse().unwrap(), ..later(id, 9) };
    let carry = |id: &str| TradeSignal { strategy: "carry".parse().unwrap(), ..later(id, 9) };
    send(&mut before, &other("o-1", "ABC"));
    send(&mut before, &other("o-2", "XYZ"));
    let mut after = again(before, &says);
    assert_eq!(qty(&send(&mut after, &carry("o-3"))), 100.into());
    let last = TradeSignal { instrument: "XYZ".parse().unwrap(), ..carry("o-4") };
    assert_eq!(code(&send(&mut after, &last)), ("risk", "RISK_THROTTLED"));
    let mut third = again(after, &says);
    assert_eq!(code(&send(&mut third, &later("o-5", 99))), ("risk", "RISK_THROTTLED"));
    third.rearm(&"alice".parse().unwrap());
    let mut fourth = again(third, &says);
    assert_eq!(qty(&send(&mut fourth, &later("o-5", 99))), 100.into());
}

#[test]
fn the_same_wish_is_one_order_also_where_the_engine_was_another() {
    let (mut before, says) = begin();
    let kept = serde_json::to_string(&before.state()).unwrap();
    send(&mut before, &entry("o-1"));
    let told = serde_json::to_string(&before.state()).unwrap();
    let venues = before.into_venues();

    let mut after = follow(venues.clone(), &says, &told).unwrap();
    assert_eq!(code(&send(&mut after, &entry("o-2"))), ("deduplication", "DEDUP_CONTENT"));
    assert_eq!(qty(&send(&mut after, &later("o-3", 2))), 100.into());

    // A crash before the wish was kept: its source sends it again, and it is remembered by that.
    let mut after = follow(venues, &says, &kept).unwrap();
    assert_eq!(code(&send(&mut after, &entry("o-1"))), ("deduplication", "DEDUP_ORDER_ID"));
    assert_eq!(code(&send(&mut after, &entry("o-2"))), ("deduplication", "DEDUP_CONTENT"));
}

#[test]
fn a_fall_is_measured_from_the_peak_before_the_restart_and_killed_for_once() {
    let (mut before, says) = begin();
    send(&mut before, &entry("o-1"));
    price(&mut before, 130, 2);
    let mut after = again(before, &says);
    // What is held is not known yet, and without it there would seem to be a fall.
    price(&mut after, 130, 3);
    assert_eq!(after.breakers().all().count(), 0);
    block(after.on_executions()).unwrap();
    // 103 000 was the most: 119 is a fall by 1.1 %, and far above what it began with.
    price(&mut after, 119, 3);
    assert_eq!(after.breakers().all().map(|(reach, _)| reach.clone()).collect::<Vec<_>>(), [momentum()]);
    assert_eq!(kills(&says), 0);
    price(&mut after, 105, 4);
    assert_eq!(kills(&says), 1);
    let mut third = again(after, &says);
    block(third.on_executions()).unwrap();
    price(&mut third, 104, 5);
    assert_eq!(kills(&says), 1);
}

#[test]
fn a_kill_that_could_not_be_recorded_is_recorded_by_the_next_engine() {
    let (mut before, says) = begin();
    send(&mut before, &entry("o-1"));
    *says.is_away.lock().unwrap() = true;
    let fallen = block(before.on_price(&"ABC".parse().unwrap(), 70.into(), Timestamp::from_nanos(2 * SECOND)));
    assert!(fallen.unwrap_err().is_retryable());
    *says.is_away.lock().unwrap() = false;
    let mut after = again(before, &says);
    block(after.on_executions()).unwrap();
    assert_eq!(kills(&says), 1);
}

/// Three in a row, which is one too many.
fn rejected() -> (Engine<Says>, Says) {
    let (mut engine, says) = begin();
    engine.live().rejects = true;
    for number in 1..=3 {
        send(&mut engine, &later(&format!("o-{number}"), 2 * number));
    }
    assert_eq!(engine.breakers().all().count(), 1);
    (engine, says)
}

#[test]
fn what_a_person_has_closed_is_not_opened_by_what_had_been_followed() {
    let (mut before, says) = rejected();
    before.close_breaker(&momentum(), &"alice".parse().unwrap());
    let mut after = again(before, &says);
    block(after.on_executions()).unwrap();
    assert_eq!(after.breakers().all().count(), 0);
    // Who follows nobody looks at everything.
    let (live, paper) = after.into_venues();
    let mut fresh = ExecutionEngine::new(Some(says), live, paper, keeping());
    prepare(&mut fresh);
    block(fresh.on_executions()).unwrap();
    assert_eq!(fresh.breakers().all().count(), 1);
}

#[test]
fn what_happened_behind_the_state_is_followed_by_the_next_engine() {
    let (mut before, says) = begin();
    before.live().rejects = true;
    send(&mut before, &later("o-1", 2));
    send(&mut before, &later("o-2", 4));
    let kept = serde_json::to_string(&before.state()).unwrap();
    block(before.on_signal(&later("o-3", 6)));
    let mut after = follow(before.into_venues(), &says, &kept).unwrap();
    block(after.on_executions()).unwrap();
    assert_eq!(after.breakers().all().map(|(reach, _)| reach.clone()).collect::<Vec<_>>(), [momentum()]);
}

#[test]
fn a_venue_that_tells_less_than_was_followed_is_another_one_and_nothing_is_sent() {
    let (before, says) = rejected();
    let kept = serde_json::to_string(&before.state()).unwrap();
    let mut after = follow((Fills::at(100), Fills::at(100)), &says, &kept).unwrap();
    let error = block(after.on_executions()).unwrap_err();
    assert!(matches!(error, EngineError::HistoryShort { told: 0, known: 3, .. }) && !error.is_retryable(), "{error}");
    assert_eq!(code(&block(after.on_signal(&later("o-9", 9)))), ("deduplication", "EXECUTION_NOT_CAUGHT_UP"));
    assert_eq!(after.live().submissions, 0);
}

#[test]
fn a_history_is_not_judged_before_it_is_wholly_known() {
    let (mut before, says) = begin();
    send(&mut before, &entry("o-1"));
    before.live().price = 101.into();
    send(&mut before, &exit("o-2"));
    let (live, paper) = before.into_venues();
    let mut after = ExecutionEngine::new(Some(says), live, paper, keeping());
    prepare(&mut after);
    // Of what was bought and sold long ago nothing is held: that it would be worth little now is nothing to it.
    price(&mut after, 50, 9);
    block(after.on_executions()).unwrap();
    assert_eq!(after.breakers().all().count(), 0);
}

#[test]
fn a_fall_before_anybody_looked_is_one_from_what_was_given() {
    let (mut before, says) = begin();
    send(&mut before, &entry("o-1"));
    before.live().price = 88.into();
    send(&mut before, &exit("o-2"));
    let (live, paper) = before.into_venues();
    let mut after = ExecutionEngine::new(Some(says), live, paper, keeping());
    prepare(&mut after);
    block(after.on_executions()).unwrap();
    assert_eq!(after.breakers().all().map(|(reach, _)| reach.clone()).collect::<Vec<_>>(), [momentum()]);
}

/// Everything that a state can hold.
fn full() -> (Value, (Fills, Fills), Says) {
    let (mut engine, says) = begin();
    send(&mut engine, &TradeSignal { stop: Some(90.into()), ..entry("o-1") });
    for (order, live) in [("stray", true), ("astray", false)] {
        let told = engine.live().executions.last().unwrap().clone();
        let stray = ephor_execution::venue::Execution { order_id: order.parse().unwrap(), ..told };
        if live { engine.live().executions.push(stray) } else { engine.paper().executions.push(stray) }
    }
    block(engine.on_executions()).unwrap();
    engine.live().rejects = true;
    engine.close_breaker(&momentum(), &"alice".parse().unwrap());
    send(&mut engine, &later("o-2", 20));
    engine.open_breaker(Reach::All, "alice".parse().unwrap(), "lunch".to_owned());
    engine.open_breaker(Reach::Instrument("XYZ".parse().unwrap()), "bob".parse().unwrap(), String::new());
    *says.is_away.lock().unwrap() = true;
    block(engine.on_price(&"ABC".parse().unwrap(), 50.into(), Timestamp::from_nanos(30 * SECOND))).unwrap_err();
    *says.is_away.lock().unwrap() = false;
    let state = serde_json::to_value(engine.state()).unwrap();
    (state, engine.into_venues(), says)
}

/// Every place in a value where an object has a field.
fn fields(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let place = format!("{at}/{name}");
                fields(inner, &place, found);
                found.push(place);
            }
        }
        Value::Array(all) => {
            for (place, inner) in all.iter().enumerate() {
                fields(inner, &format!("{at}/{place}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a strategy was worth, and how far venues have been followed, stands under names that nobody can miss.
fn is_a_map(place: &str) -> bool {
    place.contains("/peaks/") || place.starts_with("/judged/")
}

#[test]
fn a_state_that_cannot_be_read_names_its_field_and_there_is_no_engine() {
    let (state, venues, says) = full();
    let read = |state: &Value| resume(venues.clone(), &says, &state.to_string()).map(|engine| engine.state());
    assert_eq!(serde_json::to_value(read(&state).unwrap()).unwrap(), state);
    for filled in ["breakers", "pending", "orphans", "dedup", "pre_trade", "post_trade"] {
        assert!(!state[filled].as_array().unwrap().is_empty(), "{filled}: {state:#}");
    }
    let mut all = Vec::new();
    fields(&state, "", &mut all);
    assert!(all.len() > 60, "{all:#?}");
    for place in &all {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let changed = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut state = state.clone();
            change(state.pointer_mut(parent).unwrap().as_object_mut().unwrap());
            let outermost = place.split('/').nth(1).unwrap();
            match read(&state) {
                Err(StateError::Field { field, .. } | StateError::NoSuchCheck { field }) => {
                    assert!(field.starts_with(outermost), "{field} for {place}");
                }
                other => panic!("{place}: {other:?}"),
            }
        };
        changed(&|map| {
            map.insert(name.to_owned(), json!({ "not": ["what", "it", "was"] }));
        });
        if !is_a_map(place) {
            changed(&|map| {
                map.remove(name);
            });
        }
    }
    let mut known = all.iter().filter(|place| !is_a_map(place)).filter_map(|place| place.rsplit_once('/'));
    assert!(known.all(|(parent, _)| {
        let mut state = state.clone();
        state.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert("more".to_owned(), json!(1));
        read(&state).is_err()
    }));
}

#[test]
fn the_first_thing_that_is_wrong_with_a_state_is_named() {
    let (state, venues, says) = full();
    let error = |place: &str, value: Value| {
        let mut state = state.clone();
        *state.pointer_mut(place).unwrap() = value;
        follow(venues.clone(), &says, &state.to_string()).map(|_| ()).unwrap_err().to_string()
    };
    let named = |error: String| error.split(" of the engine's state").next().unwrap().to_owned();
    assert_eq!(named(error("/breakers/0/since", json!("noon"))), "breakers[0].since");
    assert_eq!(named(error("/pre_trade/0/state/off", json!(3))), "pre_trade.throttle.off");
    assert_eq!(named(error("/dedup/0/state/wishes/0/side", json!("up"))), "dedup.window.wishes[0]");
    assert_eq!(named(error("/post_trade/0/state/peaks", json!([]))), "post_trade.drawdown.peaks");
    assert_eq!(
        named(error("/post_trade/1/state/in_a_row/0/1", json!(-1))),
        "post_trade.rejections_by_strategy.in_a_row[0]"
    );
    assert_eq!(error("/version", json!(2)), "the engine's state has version 2, and only 1 is read");
    let other = error("/pre_trade/0/check", json!("brake"));
    assert_eq!(other, "pre_trade.brake of the engine's state is of a check that this engine does not have");
    let torn = &state.to_string()[..100];
    assert!(matches!(State::from_json(torn), Err(StateError::NotJson { .. })));
    assert!(matches!(State::from_json("[]"), Err(StateError::NotJson { .. })));
}
