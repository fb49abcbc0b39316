//! Hostile bytes: every message cut at every byte, and every field of it turned into what no source sends. Nothing
//! panics, and what is refused is refused with a code.

use std::panic::catch_unwind;

use ephor::formats::Reading;
use serde_json::Value;

use super::{golden, nautilus, read, reading};

/// What a field is turned into.
const WRONG: [&str; 14] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "\"NaN\"",
    "1e400",
    "-1e400",
    "true",
    "0",
    "-1",
    "\"\\u0000\"",
    "\"0x1F\"",
    "123456789012345678901234567890123456789012345678901234567890",
    "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
];

/// Reads, and says no more than that it came back.
fn survives(reading: &Reading, subject: &str, payload: &[u8]) {
    let mut reading = reading.clone();
    let told = catch_unwind(std::panic::AssertUnwindSafe(|| read(&mut reading, subject, payload)));
    let Ok(told) = told else { panic!("{subject}: {}", String::from_utf8_lossy(payload)) };
    if let Err(refusal) = told {
        assert!(!refusal.to_string().is_empty());
        assert!(refusal.problem.len() < 2_000, "{}", refusal.problem.len());
    }
}

/// The object with one field, at any depth, set to something else; a text so that no number is rounded on the way.
fn turned(value: &Value) -> Vec<String> {
    const MARK: &str = "\u{1}HERE\u{1}";
    fn places(value: &Value, whole: &Value, path: &mut Vec<String>, found: &mut Vec<String>) {
        let deeper: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(values) => values.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
            _ => return,
        };
        for (name, value) in deeper {
            path.push(name.replace('~', "~0").replace('/', "~1"));
            let pointer = format!("/{}", path.join("/"));
            let mut changed = whole.clone();
            *changed.pointer_mut(&pointer).unwrap() = Value::String(MARK.to_owned());
            let text = serde_json::to_string(&changed).unwrap();
            let mark = serde_json::to_string(MARK).unwrap();
            found.extend(WRONG.iter().map(|wrong| text.replace(&mark, wrong)));
            places(value, whole, path, found);
            path.pop();
        }
    }
    let mut found = Vec::new();
    places(value, value, &mut Vec::new(), &mut found);
    found
}

pub(super) fn cut_and_turned(settings: &str, subject: &str, payload: &str) {
    let reading = reading(settings);
    for end in 0..payload.len() {
        survives(&reading, subject, &payload.as_bytes()[..end]);
    }
    for wrong in turned(&serde_json::from_str(payload).unwrap_or_default()) {
        survives(&reading, subject, wrong.as_bytes());
    }
}

#[test]
fn no_event_of_nautilus_trader_cut_or_turned_is_more_than_refused() {
    for (_, topic, payload) in nautilus::samples() {
        cut_and_turned("format = \"nautilus\"", &topic, &payload);
    }
}

#[test]
fn no_message_of_another_source_cut_or_turned_is_more_than_refused() {
    for (format, payload) in [
        ("ccxt", golden::CCXT),
        ("alpaca", golden::ALPACA),
        ("freqtrade", golden::EXIT_FILL),
        ("freqtrade", golden::ENTRY_FILL),
        ("freqtrade", golden::REST),
        ("cloudevents", golden::CLOUD),
    ] {
        cut_and_turned(&format!("format = \"{format}\""), "topic", payload);
    }
}

#[test]
fn a_fix_message_cut_or_flipped_is_no_more_than_refused() {
    let reading = reading("format = \"fix\"");
    let whole = golden::fix("FIX.4.4", golden::FIX, '\u{1}');
    for end in 0..whole.len() {
        survives(&reading, "t", &whole[..end]);
        for flipped in [0, 1, b'=', b'|', b'9', b'-', 0xc3, 0xff] {
            let mut changed = whole.clone();
            changed[end] = flipped;
            survives(&reading, "t", &changed);
            // Nothing that was changed passes: the sum says so, or the length does.
            if changed != whole && end > 12 && end < whole.len() - 1 {
                assert!(read(&mut reading.clone(), "t", &changed).is_err(), "byte {end} as {flipped}");
            }
        }
    }
    // With a length and a sum that are right, field by field.
    for field in golden::FIX.split(' ').filter(|field| !field.is_empty()) {
        let (tag, _) = field.split_once('=').unwrap();
        for wrong in ["", "NaN", "-1", "1e400", "\u{0}", "99999999999999999999999999999999999", "é"] {
            let fields = golden::FIX.replace(&format!(" {field} "), &format!(" {tag}={wrong} "));
            survives(&reading, "t", &golden::fix("FIX.4.4", &fields, '\u{1}'));
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_at_all_make_a_reader_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        for format in ["ephor", "cloudevents", "nautilus", "freqtrade", "ccxt", "alpaca", "fix"] {
            survives(&reading(&format!("format = \"{format}\"")), "events.order.A", &bytes);
        }
    }
}

#[test]
fn a_field_that_is_wrong_is_named() {
    let (_, topic, payload) =
        nautilus::samples().into_iter().find(|(name, _, _)| name == "events.position|PositionClosed").unwrap();
    let fields: serde_json::Map<String, Value> = serde_json::from_str(&payload).unwrap();
    let needed = [
        "event_id",
        "strategy_id",
        "instrument_id",
        "entry",
        "peak_qty",
        "avg_px_open",
        "avg_px_close",
        "realized_pnl",
        "ts_opened",
        "ts_closed",
    ];
    for name in needed {
        for wrong in ["null", "{}", "[]", "\"\"", "\"NaN\"", "1e400"] {
            let mut changed = fields.clone();
            changed.insert(name.to_owned(), Value::String("HERE".to_owned()));
            let text = serde_json::to_string(&changed).unwrap().replace("\"HERE\"", wrong);
            let read = read(&mut reading("format = \"nautilus\""), &topic, text.as_bytes());
            let nobodys = name == "strategy_id" && wrong == "null";
            if nobodys || matches!((name, wrong), ("event_id" | "strategy_id" | "instrument_id", "\"NaN\"")) {
                assert!(read.is_ok(), "a name may be any text, and one that is missing is nobody's");
                continue;
            }
            let refused = read.expect_err(&text);
            // A second name stands in for a missing one: then that is the one that is missing.
            let stand_in = name == "ts_closed" && refused.field == Some("ts_event");
            assert!(refused.field == Some(name) || stand_in, "{name} {wrong}: {refused}");
        }
    }
}

#[test]
fn packed_bytes_cut_or_flipped_are_no_more_than_refused() {
    let reading = reading("format = \"nautilus\"");
    for (_, topic, payload) in nautilus::samples() {
        let Ok(value) = serde_json::from_str::<Value>(&payload) else { continue };
        let packed = rmp_serde::to_vec(&value).unwrap();
        for end in 0..packed.len() {
            survives(&reading, &topic, &packed[..end]);
            for flipped in [0x00, 0x80, 0xc1, 0xd9, 0xdb, 0xdd, 0xdf, 0xff] {
                let mut changed = packed.clone();
                changed[end] = flipped;
                survives(&reading, &topic, &changed);
            }
        }
    }
    let deep = [[0x81, 0xa1, b'a'].repeat(5_000), vec![0xc0]].concat();
    survives(&reading, "events.order.A", &deep);
    survives(&reading, "events.order.A", &[0xdf, 0xff, 0xff, 0xff, 0xff]);
    let text = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    survives(&reading, "events.order.A", text.as_bytes());
}
