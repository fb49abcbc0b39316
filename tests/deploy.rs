//! What is written for deployment holds as far as it can be checked without systemd or Docker running: the
//! unit is a unit and tightly closed, and what goes into the image's build is enough to build.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod installed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ephor::settings::Settings;

/// How exposed the unit may be, of 100: what is left is the network, without which there is no service.
const EXPOSURE_MAX: &str = "15";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn systemd_analyze(args: &[&str], unit: &Path) -> Output {
    let mut command = installed::command("usr/bin/systemd-analyze", "systemd");
    // The units of its package, which ours stands on, are beside it, wherever that is.
    let place = Path::new(command.get_program()).ancestors().nth(3).unwrap();
    let units = ["lib/systemd/system", "usr/lib/systemd/system"].map(|units| place.join(units));
    let units = std::env::join_paths(units).unwrap();
    command.args(args).arg(unit).env("SYSTEMD_COLORS", "0").env("SYSTEMD_UNIT_PATH", units).output().unwrap()
}

#[track_caller]
fn well(done: &Output) {
    let said = [&done.stdout, &done.stderr].map(|said| String::from_utf8_lossy(said)).concat();
    assert!(done.status.success(), "{said}");
}

/// The unit with the program as it was built here, for it must exist.
fn unit(dir: &Path, change: impl Fn(String) -> String) -> PathBuf {
    let path = dir.join("ephor.service");
    let unit = text("docs/deploy/ephor.service").replace("/usr/local/bin/ephor", env!("CARGO_BIN_EXE_ephor"));
    fs::write(&path, change(unit)).unwrap();
    path
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let dir = tempfile::tempdir().unwrap();
    let done = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], &unit(dir.path(), |unit| unit));
    well(&done);
    assert_eq!(String::from_utf8_lossy(&done.stderr), "", "a key that is not known is only warned of");
    let wrong = unit(dir.path(), |unit| unit.replace("ProtectClock=yes", "ProtectClocks=yes"));
    let done = systemd_analyze(&["verify", "--man=no", "--recursive-errors=no"], &wrong);
    assert!(String::from_utf8_lossy(&done.stderr).contains("ProtectClocks"), "{done:?}");
}

#[test]
fn the_unit_is_closed_to_all_that_the_service_does_not_need() {
    let dir = tempfile::tempdir().unwrap();
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let security = ["security", "--offline=true", "--no-pager", &threshold];
    well(&systemd_analyze(&security, &unit(dir.path(), |unit| unit)));
    let open = unit(dir.path(), |unit| unit.replace("CapabilityBoundingSet=\n", "").replace("PrivateUsers=yes\n", ""));
    assert!(!systemd_analyze(&security, &open).status.success(), "the threshold notices nothing");
}

#[test]
fn the_unit_needs_no_program_but_ephor_and_a_shell() {
    let unit = text("docs/deploy/ephor.service");
    let commands: Vec<_> = unit.lines().filter(|line| line.starts_with("Exec")).collect();
    let known = |line: &&str| ["=/usr/local/bin/ephor ", "=/bin/sh -c '"].iter().any(|begins| line.contains(begins));
    assert!(commands.len() == 3 && commands.iter().all(known), "a system may have no more: {commands:?}");
}

#[test]
fn systemd_waits_longer_than_the_service_takes_to_stop() {
    let unit = text("docs/deploy/ephor.service");
    let waits = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(waits.parse::<u64>().unwrap() > Settings::default().server.shutdown_seconds);
}

/// Copies a file or a folder, without what was built in it.
fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "target" {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

#[test]
fn what_goes_into_the_image_is_a_whole_workspace() {
    let ignored = text(".dockerignore");
    let taken: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*") && !taken.is_empty());
    let dir = tempfile::tempdir().unwrap();
    for name in &taken {
        copy(&root().join(name), &dir.path().join(name));
    }
    let metadata = ["metadata", "--locked", "--offline", "--no-deps", "--format-version=1"];
    let cargo = |dir: &Path| Command::new(env!("CARGO")).args(metadata).current_dir(dir).output().unwrap();
    well(&cargo(dir.path()));
    fs::remove_dir_all(dir.path().join("events")).unwrap();
    assert!(!cargo(dir.path()).status.success(), "a missing member is not noticed");
}

#[test]
fn the_image_is_built_apart_from_what_runs_and_runs_as_nobody_in_particular() {
    let dockerfile = text("docs/deploy/Dockerfile");
    let words = |name: &str| -> Vec<String> {
        dockerfile.lines().filter_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned()).collect()
    };
    assert_eq!(words("FROM ").len(), 2);
    assert!(dockerfile.contains("cargo build --release --locked"));
    assert_eq!(words("USER "), ["10001:10001"]);
    assert_eq!(words("HEALTHCHECK ").len(), 1);
    let rust = text("Cargo.toml");
    let version = rust.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "the image builds with another Rust");
}

#[test]
fn the_settings_shown_are_settings() {
    let readme = text("docs/deploy/README.md");
    let block = readme.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ephor.toml");
    fs::write(&path, block).unwrap();
    let settings = Settings::load(Some(&path), &[]).unwrap();
    assert!(settings.governance.enabled && settings.server.tls.is_some());
}
