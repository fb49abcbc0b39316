//! The description is what the service does: schemathesis sends what the description allows, and what it does not,
//! and holds every answer against it.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::path::Path;
use std::process::Command;

use cli::Said;
use served::{Served, python};

/// Cases made up for each operation, beside those that its schema spells out.
const EXAMPLES: &str = "40";

#[test]
fn every_answer_is_one_that_the_description_names() {
    let served = Served::new();
    served.register("s-1");
    let schemathesis = python("schemathesis", "tests/schema/requirements.txt").with_file_name("schemathesis");
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema");
    let ran = Command::new(schemathesis)
        .current_dir(served.desk.path("."))
        .env("PYTHONPATH", &schema)
        .arg("--config-file")
        .arg(schema.join("schemathesis.toml"))
        .args(["--no-color", "run", &format!("{}/openapi.json", served.address)])
        .args(["--header", &format!("Authorization: Bearer {}", served.key)])
        .args(["--max-examples", EXAMPLES, "--seed", "20240229", "--generation-database", "none"])
        .args(["--request-timeout", "10"])
        .output();
    let said = Said::of(&ran.unwrap());
    assert_eq!(said.code, Some(0), "{}\n{}\nthe service:\n{}", said.out, said.err, served.stderr());
    assert!(said.out.contains("No issues found"), "{}", said.out);
}
