//! NautilusTrader's events one by one: both dialects, all forms of time, what is of no concern.

use ephor::formats::Told;
use ephor::input::{Code, Refusal};
use serde_json::Value;

use super::{own, read, reading};

const SETTINGS: &str = "format = \"nautilus\"";

pub(super) fn samples() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string("tests/data/bus/event_samples.json").unwrap();
    let samples: Value = serde_json::from_str(&text).unwrap();
    let text = |sample: &Value, name: &str| sample[name].as_str().unwrap().to_owned();
    let events = samples["events"].as_object().unwrap();
    events.iter().map(|(name, sample)| (name.clone(), text(sample, "topic"), text(sample, "payload"))).collect()
}

fn sample(name: &str) -> (String, String) {
    let found = samples().into_iter().find(|(found, _, _)| found == name);
    let (_, topic, payload) = found.unwrap_or_else(|| panic!("{name}"));
    (topic, payload)
}

fn told(topic: &str, payload: &str) -> Result<Told, Refusal> {
    read(&mut reading(SETTINGS), topic, payload.as_bytes())
}

/// What a message says must be what this line of Ephor's own JSON says.
#[track_caller]
fn says(topic: &str, payload: &str, line: &str) {
    assert_eq!(told(topic, payload).unwrap().entries, [own(line)]);
}

const CLOSED: &str = r#"{"type":"trade_closed","id":"246a16c6-c432-440a-b899-1a145005fed1","ts":"2012-01-24T14:00:00Z",
    "strategy_id":"EMABR-EURUSD-H1-001","instrument":"EUR/USD.SIM","side":"LONG","qty":"150000","entry_price":"1.30073",
    "price":"1.29599","realized_pnl":"-718.79","currency":"USD","opened_at":"2012-01-24T10:00:00Z",
    "closed_at":"2012-01-24T14:00:00Z","order_id":"O-20120124-140000-001-001-1036"}"#;
const FILLED: &str = r#"{"type":"order","id":"04841027-1e61-43d3-9b9f-1a17e47b8ae9","ts":"2012-01-24T10:00:00Z",
    "strategy_id":"EMABR-EURUSD-H1-001","instrument":"EUR/USD.SIM","status":"filled","side":"BUY","qty":"150000",
    "price":"1.30073","commission":"3.90","order_id":"O-20120124-090000-001-001-1033"}"#;

#[test]
fn every_sample_of_a_real_node_says_what_it_should() {
    let (topic, payload) = sample("events.position|PositionClosed");
    says(&topic, &payload, CLOSED);
    let (topic, payload) = sample("events.fills|OrderFilled");
    says(&topic, &payload, FILLED);
    let (topic, payload) = sample("events.order|OrderFilled");
    says(&topic, &payload, FILLED);
    let (topic, payload) = sample("events.order|OrderDenied");
    says(
        &topic,
        &payload,
        r#"{"type":"order","id":"72c86afa-4fec-4b69-93e7-c4bbf7bbdb76","ts":"2012-02-01T01:40:00Z","status":"denied",
        "strategy_id":"TINY-GBPUSD-M5-001","instrument":"GBP/USD.SIM","order_id":"O-20120201-014000-005-001-1",
        "reason":"quantity 500 invalid (< minimum trade size of 1000)"}"#,
    );
    for (name, status) in [("Canceled", "canceled"), ("Rejected", "rejected"), ("Expired", "expired")] {
        let (topic, payload) = sample(&format!("events.order|Order{name}"));
        let entries = told(&topic, &payload).unwrap().entries;
        assert_eq!(entries.len(), 1, "{name}");
        let (strategy, command) = super::command(&entries[0]);
        let ephor_governance::strategy::Command::ReportOrder(report) = command else { panic!("{command:?}") };
        assert_eq!(strategy, "EMABR-EURUSD-H1-001");
        assert_eq!(format!("{:?}", report.status).to_lowercase(), status);
    }
    let (topic, payload) = sample("events.account|AccountState");
    says(
        &topic,
        &payload,
        r#"{"type":"account","id":"cb10e06a-504f-4c4f-a8ab-8aed2753d0da","ts":"2012-01-03T06:00:00Z",
        "equity":"100000.00","currency":"USD"}"#,
    );
    let (topic, payload) = sample("health|heartbeat");
    let beat = told(&topic, &payload).unwrap();
    assert_eq!((beat.heard.as_deref(), beat.entries.len()), (Some("health:heartbeat"), 0));
}

#[test]
fn what_is_of_no_concern_gives_nothing() {
    let concern = ["PositionClosed", "OrderFilled", "OrderDenied", "OrderRejected", "OrderCanceled", "OrderExpired"];
    for (name, topic, payload) in samples() {
        if concern.iter().any(|kind| name.ends_with(kind))
            || name.contains("AccountState")
            || name.contains("heartbeat")
        {
            continue;
        }
        assert_eq!(told(&topic, &payload), Ok(Told::default()), "{name}");
        // Nor where its topic is not known.
        assert_eq!(told("", &payload), Ok(Told::default()), "{name}");
    }
}

#[test]
fn the_dialect_of_rust_says_the_same() {
    let rust = r#"{"PositionClosed":{"trader_id":"LIVE-001","strategy_id":"EMABR-EURUSD-H1-001",
        "instrument_id":"EUR/USD.SIM","position_id":"SIM-1-001","account_id":"SIM-001",
        "opening_order_id":"O-20120124-090000-001-001-1033","closing_order_id":"O-20120124-140000-001-001-1036",
        "entry":"BUY","side":"FLAT","signed_qty":0.0,"quantity":"0","peak_quantity":"150000","last_qty":"150000",
        "last_px":"1.29599","currency":"USD","avg_px_open":1.30073,"avg_px_close":1.29599,"realized_return":-0.0036,
        "realized_pnl":"-718.79 USD","unrealized_pnl":"0.00 USD","duration":14400000000000,
        "event_id":"246a16c6-c432-440a-b899-1a145005fed1","ts_opened":1327399200000000000,
        "ts_closed":1327413600000000000,"ts_event":1327413600000000000,"ts_init":1327413600000000000}}"#;
    says("events.position.EMABR-EURUSD-H1-001", rust, CLOSED);
    let (_, flat) = sample("events.order|OrderFilled");
    says("events.order.X", &format!("{{\"Filled\":{flat}}}"), FILLED);
    says("events.order.X", &format!("{{\"Filled\":{}}}", flat.replace("\"type\":\"OrderFilled\",", "")), FILLED);
}

#[test]
fn all_three_forms_of_time_mean_the_same() {
    let (topic, payload) = sample("events.position|PositionClosed");
    let numbers = payload.replace("\"1327399200000000000\"", "1327399200000000000");
    let iso = payload
        .replace("\"1327399200000000000\"", "\"2012-01-24T10:00:00Z\"")
        .replace("\"1327413600000000000\"", "\"2012-01-24T14:00:00.000000000Z\"");
    assert_ne!(numbers, payload);
    says(&topic, &numbers, CLOSED);
    says(&topic, &iso, CLOSED);
}

#[test]
fn a_number_keeps_every_digit_that_was_sent() {
    let (topic, payload) = sample("events.position|PositionClosed");
    let long = payload.replace("1.30073,", "1.3074702777777778,");
    says(&topic, &long, &CLOSED.replace("1.30073", "1.3074702777777778"));
}

#[test]
fn an_unknown_event_of_an_order_or_a_position_is_refused_and_not_passed_over() {
    let refused = told("events.position.A", r#"{"type":"PositionVanished"}"#).unwrap_err();
    assert_eq!((refused.code, refused.field), (Code::TypeUnknown, Some("type")));
    let untyped = told("events.order.A", r#"{"a":1,"b":2}"#).unwrap_err();
    assert_eq!((untyped.code, untyped.field), (Code::FieldMissing, Some("type")));
    assert_eq!(told("my.own.topic", r#"{"type":"PositionVanished"}"#), Ok(Told::default()));
}

#[test]
fn an_account_that_stands_at_no_time_stands_now_and_one_of_several_currencies_says_nothing() {
    let (topic, payload) = sample("events.account|AccountState");
    let early = payload.replace("\"1325570400000000000\"", "\"0\"");
    let told_early = told(&topic, &early).unwrap();
    assert_eq!(told_early.entries[0].ts, super::now());
    let several = payload.replace("\"base_currency\":\"USD\"", "\"base_currency\":null").replace(
        "\"balances\":[",
        "\"balances\":[{\"currency\":\"BTC\",\"total\":\"1\",\"locked\":\"0\",\"free\":\"1\"},",
    );
    assert_eq!(told(&topic, &several), Ok(Told::default()));
    let other = payload.replace("\"base_currency\":\"USD\"", "\"base_currency\":\"EUR\"");
    assert_eq!(told(&topic, &other).unwrap_err().to_string(), "balances: there is no balance in EUR");
}
