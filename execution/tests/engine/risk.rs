//! Checks before an order is sent: each with the number on its bound and the one beyond.

use ephor_execution::breaker::Reach;
use ephor_execution::dedup::Window;
use ephor_execution::order::{Kind, TradeSignal};
use ephor_execution::refusal::Refusal;
use ephor_execution::risk::{ExposureLimits, OrderLimits, PreTrade, PriceCollar, Restricted, Throttle};
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;

use crate::house::{Engine, Journal, Says, code, engine, entry, exit, qty, send, signal, stages};

fn with(size: i64, check: impl PreTrade + Send + 'static) -> Engine<Says> {
    let journal = Journal::default();
    let mut stages = stages(size, &journal);
    stages.pre_trade.push(Box::new(check));
    engine(Some(Says::new(Action::Allow, 1.0)), stages, &journal)
}

fn limit(id: &str, price: i64) -> TradeSignal {
    TradeSignal { kind: Kind::Limit(price.into()), ..entry(id) }
}

#[test]
fn a_price_outside_the_collar_is_refused_and_one_on_its_edge_is_not() {
    let mut engine = with(10, PriceCollar { max: Amount::new(5, 2) });
    assert_eq!(qty(&send(&mut engine, &limit("o-1", 105))), 10.into());
    assert_eq!(qty(&send(&mut engine, &limit("o-2", 95))), 10.into());
    let outcome = send(&mut engine, &limit("o-3", 106));
    assert_eq!(code(&outcome), ("risk", "RISK_PRICE_COLLAR"));
    let expected = Refusal::PriceCollar { price: 106.into(), reference: 100.into(), max: Amount::new(5, 2) };
    assert_eq!(outcome.refused().unwrap().refusal, expected);
    assert_eq!(code(&send(&mut engine, &limit("o-4", 94))), ("risk", "RISK_PRICE_COLLAR"));
}

#[test]
fn an_order_above_its_value_or_quantity_is_refused() {
    let value = |value: i64| OrderLimits { value_max: Some(value.into()), qty_max: None };
    assert_eq!(qty(&send(&mut with(10, value(1_000)), &entry("o-1"))), 10.into());
    assert_eq!(code(&send(&mut with(11, value(1_000)), &entry("o-1"))), ("risk", "RISK_ORDER_VALUE"));
    let qty_max = |qty: i64| OrderLimits { value_max: None, qty_max: Some(qty.into()) };
    assert_eq!(qty(&send(&mut with(10, qty_max(10)), &entry("o-1"))), 10.into());
    assert_eq!(code(&send(&mut with(11, qty_max(10)), &entry("o-1"))), ("risk", "RISK_ORDER_QTY"));
}

#[test]
fn positions_and_gross_exposure_are_limited_with_what_is_held() {
    let own = ExposureLimits { position_max: Some(2_000.into()), gross_max: None };
    let mut engine = with(10, own);
    send(&mut engine, &entry("o-1"));
    send(&mut engine, &entry("o-2"));
    assert_eq!(code(&send(&mut engine, &entry("o-3"))), ("risk", "RISK_POSITION_LIMIT"));
    let other = TradeSignal { instrument: "XYZ".parse().unwrap(), ..entry("o-4") };
    assert_eq!(qty(&send(&mut engine, &other)), 10.into());
    // Leaving is not limited.
    assert_eq!(qty(&send(&mut engine, &exit("o-5"))), 20.into());

    let all = ExposureLimits { position_max: None, gross_max: Some(2_000.into()) };
    let mut engine = with(10, all);
    send(&mut engine, &entry("o-1"));
    let short = TradeSignal { instrument: "XYZ".parse().unwrap(), side: Side::Sell, ..entry("o-2") };
    assert_eq!(qty(&send(&mut engine, &short)), 10.into());
    let third = TradeSignal { strategy: "carry".parse().unwrap(), ..entry("o-3") };
    assert_eq!(code(&send(&mut engine, &third)), ("risk", "RISK_GROSS_EXPOSURE"));
}

#[test]
fn the_throttle_stays_off_until_a_named_person_arms_it() {
    let mut engine = with(1, Throttle::new(2, 1_000));
    let at = |id: &str, nanos| TradeSignal { at: Timestamp::from_nanos(nanos), ..entry(id) };
    send(&mut engine, &at("o-1", 10_000));
    send(&mut engine, &at("o-2", 10_999));
    // The first has left the window.
    assert_eq!(qty(&send(&mut engine, &at("o-3", 11_000))), 1.into());
    assert_eq!(code(&send(&mut engine, &at("o-4", 11_500))), ("risk", "RISK_THROTTLED"));
    assert_eq!(code(&send(&mut engine, &at("o-5", 99_000))), ("risk", "RISK_THROTTLED"));
    let out = TradeSignal { at: Timestamp::from_nanos(99_001), ..exit("o-6") };
    assert_eq!(qty(&send(&mut engine, &out)), 3.into());
    engine.rearm(&"alice".parse().unwrap());
    assert_eq!(qty(&send(&mut engine, &at("o-7", 99_002))), 1.into());
}

#[test]
fn a_restricted_instrument_is_not_traded() {
    let mut engine = with(1, Restricted(["ABC".parse().unwrap()].into()));
    assert_eq!(code(&send(&mut engine, &entry("o-1"))), ("risk", "RISK_RESTRICTED"));
}

#[test]
fn what_risk_denies_stands_in_governance_beside_its_decision() {
    let says = Says::new(Action::Allow, 1.0);
    let reports = says.reports.clone();
    let journal = Journal::default();
    let mut stages = stages(10, &journal);
    stages.pre_trade.push(Box::new(OrderLimits { value_max: None, qty_max: Some(1.into()) }));
    send(&mut engine(Some(says), stages, &journal), &entry("o-1"));
    let reports = reports.lock().unwrap();
    let [ephor_execution::Report::Order { report, trace, .. }] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((report.reason.as_deref(), trace.as_str()), (Some("RISK_ORDER_QTY"), "o-1"));
}

#[test]
fn the_same_wish_within_the_window_is_one_order() {
    let journal = Journal::default();
    let stages = ephor_execution::engine::Stages { dedup: Box::new(Window::new(1_000)), ..stages(5, &journal) };
    let mut engine = engine(Some(Says::new(Action::Allow, 1.0)), stages, &journal);
    let at = |id: &str, nanos| TradeSignal { at: Timestamp::from_nanos(nanos), ..entry(id) };
    send(&mut engine, &at("o-1", 10_000));
    assert_eq!(code(&send(&mut engine, &at("o-2", 10_999))), ("deduplication", "DEDUP_CONTENT"));
    assert_eq!(qty(&send(&mut engine, &at("o-3", 11_000))), 5.into());
    let other = TradeSignal { kind: Kind::Limit(99.into()), ..at("o-4", 11_001) };
    assert_eq!(qty(&send(&mut engine, &other)), 5.into());
}

#[test]
fn a_breaker_stops_what_it_covers_until_a_person_closes_it() {
    let journal = Journal::default();
    let mut engine = engine(Some(Says::new(Action::Allow, 1.0)), stages(5, &journal), &journal);
    let alice = || "alice".parse().unwrap();
    for (reach, stops, passes) in [
        (
            Reach::Strategy("momentum".parse().unwrap()),
            entry("s-1"),
            TradeSignal { strategy: "carry".parse().unwrap(), ..entry("s-2") },
        ),
        (
            Reach::Instrument("ABC".parse().unwrap()),
            entry("i-1"),
            TradeSignal { instrument: "XYZ".parse().unwrap(), ..entry("i-2") },
        ),
    ] {
        assert!(engine.open_breaker(reach.clone(), alice(), "test".to_owned()));
        assert!(!engine.open_breaker(reach.clone(), alice(), "again".to_owned()));
        assert_eq!(code(&send(&mut engine, &stops)), ("risk", "RISK_BREAKER_OPEN"));
        assert_eq!(qty(&send(&mut engine, &passes)), 5.into());
        assert_eq!(engine.close_breaker(&reach, &alice()).unwrap().reason, "test");
        // What was denied stays so: nobody has asked whether it is still wanted.
        assert_eq!(code(&send(&mut engine, &stops)), ("deduplication", "DEDUP_ORDER_ID"));
        let id = format!("{}-later", stops.id).parse().unwrap();
        assert_eq!(qty(&send(&mut engine, &TradeSignal { id, ..stops })), 5.into(), "{reach}");
    }
    engine.open_breaker(Reach::All, alice(), "test".to_owned());
    assert_eq!(code(&send(&mut engine, &entry("a-1"))), ("risk", "RISK_BREAKER_OPEN"));
    assert_eq!(qty(&send(&mut engine, &exit("a-2"))), 10.into());
}

#[test]
fn an_exit_without_a_position_on_that_side_is_no_order() {
    let mut engine = with(5, Throttle::new(100, 1));
    assert_eq!(code(&send(&mut engine, &exit("o-1"))), ("sizing", "SIZING_NOTHING_TO_REDUCE"));
    send(&mut engine, &entry("o-2"));
    let wrong = signal("o-3", Side::Buy, Intent::Exit);
    assert_eq!(code(&send(&mut engine, &wrong)), ("sizing", "SIZING_NOTHING_TO_REDUCE"));
}

#[test]
fn an_exit_passes_the_collar_flagged_and_is_told_apart_by_its_id_alone() {
    let journal = Journal::default();
    let mut stages = ephor_execution::engine::Stages { dedup: Box::new(Window::new(1_000)), ..stages(10, &journal) };
    stages.pre_trade.push(Box::new(PriceCollar { max: Amount::new(5, 2) }));
    let mut engine = engine(Some(Says::new(Action::Allow, 1.0)), stages, &journal);
    engine.live().pieces = 1;
    send(&mut engine, &entry("o-1"));
    let far = |id: &str| TradeSignal { kind: Kind::Limit(50.into()), ..exit(id) };
    let flags = |outcome: ephor_execution::outcome::Outcome| {
        let sent = outcome.submitted().unwrap().clone();
        sent.flags.iter().map(Refusal::code).collect::<Vec<_>>()
    };
    assert_eq!(flags(send(&mut engine, &far("o-2"))), ["RISK_PRICE_COLLAR"]);
    // The same wishes again, within the window: for what has been opened since, they are exits of their own.
    send(&mut engine, &limit("o-3", 101));
    assert_eq!(flags(send(&mut engine, &exit("o-4"))), [""; 0]);
    send(&mut engine, &limit("o-5", 102));
    assert_eq!(flags(send(&mut engine, &far("o-6"))), ["RISK_PRICE_COLLAR"]);
}
