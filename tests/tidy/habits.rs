//! House habits: a header in every file, no silenced lint, nothing unfinished, names that say something.

use std::path::Path;

use crate::source::{attributes, code_only, lines_without_tests, tokens};
use crate::{Complaints, Tree, assert_clean, assert_complaints, texts, this_tree};

/// Names that say nothing, alone or as a part of a name.
const BANNED_PARTS: [&str; 4] = ["manager", "helper", "util", "misc"];
/// Names that say nothing alone.
const BANNED_NAMES: [&str; 4] = ["common", "data", "info", "process"];
const LINES_MAX: usize = 600;

fn bad_habits(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    for (name, text) in texts(root, ".rs", &mut complaints) {
        if !text.starts_with("//!") {
            complaints.push(format!("{name}: does not begin with //!"));
        }
        let code = code_only(&text);
        let words = tokens(&code);
        for (line, attribute) in attributes(&words) {
            let calls = |wanted: &str| attribute.windows(2).any(|pair| pair[0] == wanted && pair[1] == "(");
            if calls("allow") {
                complaints.push(format!("{name}:{line}: expect with a reason, not allow"));
            }
            if calls("expect") && !attribute.contains(&"reason") {
                complaints.push(format!("{name}:{line}: expect without a reason"));
            }
            if attribute.contains(&"ignore") && attribute.get(1) == Some(&"ignore") {
                complaints.push(format!("{name}:{line}: a test that is ignored"));
            }
        }
        for pair in words.windows(2) {
            if ["todo", "unimplemented"].contains(&pair[0].text) && pair[1].text == "!" {
                complaints.push(format!("{name}:{}: {}! is not done", pair[0].line, pair[0].text));
            }
            if pair[0].text == "mod" && is_banned(pair[1].text) {
                complaints.push(format!("{name}:{}: the name {} says nothing", pair[1].line, pair[1].text));
            }
        }
        for part in name.trim_end_matches(".rs").split('/').filter(|part| is_banned(part)) {
            complaints.push(format!("{name}: the name {part} says nothing"));
        }
    }
    complaints.sort();
    complaints.dedup();
    complaints
}

fn is_banned(name: &str) -> bool {
    let is = |word: &str, banned: &[&str]| banned.contains(&word) || banned.contains(&word.trim_end_matches('s'));
    is(name, &BANNED_NAMES) || name.split(['_', '-']).any(|word| is(word, &BANNED_PARTS))
}

fn long_files(root: &Path) -> Complaints {
    let mut complaints = Vec::new();
    for (name, text) in texts(root, ".rs", &mut complaints) {
        let of_tests = ["tests", "benches", "fuzz"].iter().any(|dir| name.split('/').any(|part| part == *dir));
        let lines = lines_without_tests(&text);
        if !of_tests && !name.ends_with("/tests.rs") && lines > LINES_MAX {
            complaints.push(format!("{name}: {lines} lines without its tests, at most {LINES_MAX}"));
        }
    }
    complaints
}

#[test]
fn every_file_says_what_it_is_and_keeps_the_house_habits() {
    assert_clean(&bad_habits(&this_tree()));
}

#[test]
fn no_source_file_is_longer_than_six_hundred_lines() {
    assert_clean(&long_files(&this_tree()));
}

#[test]
fn a_missing_header_an_allow_an_unfinished_body_and_an_empty_name_are_found() {
    let tree = Tree::new("habits");
    let innocent = "//! Verdicts. Never #[allow(x)], never todo!().\n#[expect(dead_code, reason = \"soon\")]\n\
        fn f() { Verdict::allow(1); g(\"#[ignore]\").expect(\"there\"); }\n";
    tree.put("src/verdict.rs", innocent);
    assert_clean(&bad_habits(&tree.0));
    tree.put("src/verdict.rs", "#![cfg_attr(test, allow(x))]\n#[expect(y)]\nmod log_utils;\nfn f() { todo!() }\n");
    tree.put("src/public_data.rs", "//! Data that anyone can have.\n");
    tree.put("tests/common/mod.rs", "//! Shared.\n#[test]\n#[ignore = \"slow\"]\nfn g() {}\n");
    assert_complaints(
        &bad_habits(&tree.0),
        &[
            "src/verdict.rs: does not begin with //!",
            "src/verdict.rs:1: expect with a reason, not allow",
            "src/verdict.rs:2: expect without a reason",
            "src/verdict.rs:3: the name log_utils",
            "src/verdict.rs:4: todo! is not done",
            "tests/common/mod.rs:3: a test that is ignored",
            "tests/common/mod.rs: the name common",
        ],
    );
}

#[test]
fn a_file_of_six_hundred_and_one_lines_is_found_and_its_tests_do_not_count() {
    let tree = Tree::new("long");
    let body = "fn f() {}\n".repeat(599);
    tree.put("src/gate.rs", &format!("//! Gate.\n{body}#[cfg(test)]\nmod tests {{\n{body}}}\n"));
    tree.put("tests/gate.rs", &body.repeat(3));
    assert_clean(&long_files(&tree.0));
    tree.put("src/gate.rs", &format!("//! Gate.\n{body}fn g() {{}}\n"));
    assert_complaints(&long_files(&tree.0), &["src/gate.rs: 601 lines"]);
}
