//! The README tells the truth: the demo prints what stands there, to the last digit of the log's head.
//!
//! So this is also the proof that the same input gives the same log on every machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text blocks of the README, without their fences.
fn blocks(readme: &str) -> Vec<Vec<&str>> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line == "```text" {
            blocks.push(lines.by_ref().take_while(|line| *line != "```").collect());
        }
    }
    blocks
}

fn printed(dir: &Path, args: &[&str]) -> Vec<String> {
    let done = Command::new(env!("CARGO_BIN_EXE_ephor")).current_dir(dir).args(args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().lines().map(|line| line.trim_end().to_owned()).collect()
}

/// How long it took is the machine's own.
fn timeless(line: &str) -> &str {
    line.split_once(" lines read in ").map_or(line, |(count, _)| count)
}

#[test]
fn the_demo_and_its_explanation_print_what_the_readme_shows() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&readme);
    let dir = tempfile::tempdir().unwrap();
    let demo = root().join("tests/data/demo.jsonl");
    let run = printed(dir.path(), &["run", "--input", demo.to_str().unwrap()]);
    let shown: Vec<_> = blocks[0].iter().map(|line| timeless(line)).collect();
    assert_eq!(run.iter().map(|line| timeless(line)).collect::<Vec<_>>(), shown);

    let why = printed(dir.path(), &["why", "EMAX-GBPUSD-M5-001", "--last", "demotion"]);
    assert_eq!(blocks[1][0], "$ ephor why EMAX-GBPUSD-M5-001 --last demotion");
    assert_eq!(why, blocks[1][1..]);
}

#[test]
fn the_log_inside_sled_is_the_same_log_and_checks_as_well() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ephor.toml"), "[log]\nbackend = \"sled\"\n").unwrap();
    let demo = root().join("tests/data/demo.jsonl");
    let run = printed(dir.path(), &["run", "--input", demo.to_str().unwrap()]);
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown: Vec<_> = blocks(&readme)[0].iter().map(|line| timeless(line)).collect();
    assert_eq!(run.iter().map(|line| timeless(line)).collect::<Vec<_>>(), shown);
    assert_eq!(printed(dir.path(), &["verify"]).last().map(String::as_str), Some("no faults"));
    assert!(printed(dir.path(), &["audit"])[0].contains("0 differ"));
}

/// Whether the parts of a block, set apart by lines of `…`, stand in what was printed, in their order.
#[track_caller]
fn stands_in(shown: &[&str], printed: &[String]) {
    let mut rest = printed;
    for part in shown.split(|line| *line == "…") {
        let found = rest.windows(part.len()).position(|window| window == part);
        let at = found.unwrap_or_else(|| panic!("{part:#?}\nis not in\n{rest:#?}"));
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
}

#[test]
fn paper_trading_and_its_explanation_print_what_the_readme_shows() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&readme);
    let dir = tempfile::tempdir().unwrap();
    let config = root().join("tests/data/paper/paper.toml");
    let run = printed(dir.path(), &["--config", config.to_str().unwrap(), "paper"]);
    stands_in(&blocks[2], &run);
    assert_eq!(blocks[3][0], "$ ephor why CROSS-GOOG --last demotion");
    stands_in(&blocks[3][1..], &printed(dir.path(), &["why", "CROSS-GOOG", "--last", "demotion"]));
}
