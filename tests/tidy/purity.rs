//! What the rules must not reach for, and what must not leave its file.

use std::path::Path;

use crate::source::{code_only, paths_below, tokens};
use crate::{Complaints, Tree, assert_clean, assert_complaints, texts, this_tree};

/// What the rules must not reach for.
const IMPURE_PATHS: [&str; 11] = [
    "std::time",
    "std::fs",
    "std::thread",
    "std::net",
    "std::env",
    "std::process",
    "std::io",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::hash::RandomState",
    "std::*",
];
const IMPURE_WORDS: [&str; 9] =
    ["HashMap", "HashSet", "RandomState", "async", "await", "rand", "SystemTime", "Instant", "thread_rng"];
/// Functions whose last bit, or whose meaning at the edges, is the library's choice.
const FLOAT_FUNCTIONS: [&str; 36] = [
    "powi",
    "powf",
    "ln",
    "log",
    "log2",
    "log10",
    "exp",
    "exp2",
    "exp_m1",
    "ln_1p",
    "sin",
    "cos",
    "tan",
    "sin_cos",
    "asin",
    "acos",
    "atan",
    "atan2",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "cbrt",
    "hypot",
    "mul_add",
    "round",
    "round_ties_even",
    "floor",
    "ceil",
    "trunc",
    "fract",
    "recip",
    "to_degrees",
    "to_radians",
];
const FLOAT_ALLOWED: [&str; 12] = [
    "sqrt",
    "abs",
    "total_cmp",
    "is_finite",
    "is_nan",
    "min",
    "max",
    "from",
    "consts",
    "to_bits",
    "from_bits",
    "default",
];
const BINCODE_FILES: [&str; 1] = ["events/src/codec.rs"];
const SLED_FILES: [&str; 5] = [
    "events/src/derived.rs",
    "events/src/index/disk.rs",
    "events/src/index/run.rs",
    "events/src/store/mod.rs",
    "events/src/store/sled.rs",
];

fn impurities(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    let all = texts(root, ".rs", &mut complaints);
    let rules: Vec<_> = all.iter().filter(|(name, _)| name.starts_with("governance/src/")).collect();
    if rules.is_empty() {
        complaints.push("governance/src has no .rs file".to_owned());
    }
    for (name, text) in rules {
        let code = code_only(text);
        let words = tokens(&code);
        for (line, path) in paths_below("std", &words) {
            let below = |banned: &&&str| path == **banned || path.starts_with(&format!("{banned}::"));
            if let Some(banned) = IMPURE_PATHS.iter().find(below) {
                complaints.push(format!("{name}:{line}: rules do not use {banned}"));
            }
        }
        for (i, word) in words.iter().enumerate() {
            let text_at = |i: Option<usize>| i.and_then(|i| words.get(i)).map_or("", |word| word.text);
            let (before, after) = (text_at(i.checked_sub(1)), text_at(i.checked_add(1)));
            if IMPURE_WORDS.contains(&word.text) {
                complaints.push(format!("{name}:{}: rules do not use {}", word.line, word.text));
            }
            let called = after == "(" && (before == "." || before == "::");
            if called && word.text == "now" {
                complaints.push(format!("{name}:{}: rules ask no clock: now()", word.line));
            }
            let of_float = before == "::" && ["f64", "f32"].contains(&text_at(i.checked_sub(2)));
            let named = of_float && word.text.starts_with(char::is_lowercase) && !FLOAT_ALLOWED.contains(&word.text);
            if named || (called && FLOAT_FUNCTIONS.contains(&word.text)) {
                complaints.push(format!("{name}:{}: rules do not use the float function {}", word.line, word.text));
            }
        }
    }
    complaints
}

fn strays(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    for (name, text) in texts(root, ".rs", &mut complaints) {
        let code = code_only(&text);
        let words = tokens(&code);
        for (krate, at_home) in [("bincode", &BINCODE_FILES[..]), ("sled", &SLED_FILES)] {
            let used = words.windows(2).find(|pair| {
                (pair[0].text == krate && pair[1].text == "::")
                    || (["use", "crate"].contains(&pair[0].text) && pair[1].text == krate)
            });
            if let Some(pair) = used.filter(|_| !at_home.contains(&name.as_str())) {
                complaints.push(format!("{name}:{}: {krate} stays in {}", pair[0].line, at_home.join(", ")));
            }
        }
    }
    complaints
}

#[test]
fn governance_is_pure() {
    assert_clean(&impurities(&this_tree()));
}

#[test]
fn bincode_and_sled_stay_in_their_files() {
    assert_clean(&strays(&this_tree()));
}

#[test]
fn a_clock_a_hash_map_and_a_logarithm_in_the_rules_are_found_and_sentences_about_them_are_not() {
    let tree = Tree::new("purity");
    let innocent = "//! Not async, no HashMap, std::fs.\nfn f(x: f64) -> f64 { g(\"std::env::var rand\"); x.sqrt().max(f64::MAX) }\n";
    tree.put("governance/src/gate.rs", innocent);
    assert_clean(&impurities(&tree.0));
    let guilty = "use std::{fmt, sync::{Arc, Mutex}};\nuse std::collections::HashMap;\nasync fn f(x: f64) {\n\
        x.powi(2); [x].map(f64::exp); Utc::now();\n}\n";
    tree.put("governance/src/gate.rs", guilty);
    assert_complaints(
        &impurities(&tree.0),
        &[
            "governance/src/gate.rs:1: rules do not use std::sync::Mutex",
            "governance/src/gate.rs:2: rules do not use HashMap",
            "governance/src/gate.rs:3: rules do not use async",
            "governance/src/gate.rs:4: rules do not use the float function powi",
            "governance/src/gate.rs:4: rules do not use the float function exp",
            "governance/src/gate.rs:4: rules ask no clock",
        ],
    );
    assert_complaints(
        &impurities(&Tree::new("no-rules").0),
        &["there is no .rs file", "governance/src has no .rs file"],
    );
}

#[test]
fn bincode_outside_the_codec_and_sled_outside_its_fence_are_found() {
    let tree = Tree::new("strays");
    tree.put("events/src/codec.rs", "use bincode::config;\n");
    tree.put("events/src/index/disk.rs", "struct D(sled::Db);\n");
    tree.put("events/src/options.rs", "//! sled::Db\nenum Backend { Sled }\n");
    assert_clean(&strays(&tree.0));
    tree.put("replay/src/lib.rs", "//! Reads.\nuse sled as store;\n");
    tree.put("events/src/frame.rs", "fn f() { bincode::encode() }\n");
    assert_complaints(&strays(&tree.0), &["events/src/frame.rs:1: bincode stays", "replay/src/lib.rs:2: sled stays"]);
}
