//! `ephor policy`: show, check and adopt the thresholds.
//!
//! The TOML that is shown is the TOML that is checked and adopted, so `show > file`, edit, `check`,
//! `adopt` is the whole way of a change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use ephor_events::StreamId;
use ephor_governance::policy::Policy;
use ephor_governance::system;
use ephor_snapshots::restore;
use serde_json::json;

use super::operator::{self, Who, Why};
use super::print::{self, GOOD, styled};
use super::{CliError, Exit, Global};
use crate::operate::policy_of_toml;
use crate::store::{self, Terms};

/// Show, check and adopt the policy: every threshold there is
#[derive(clap::Args)]
#[command(
    after_help = "Example: ephor policy show > policy.toml && $EDITOR policy.toml && ephor policy check policy.toml"
)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    Show(Show),
    Check(Check),
    Adopt(Adopt),
}

/// Print the policy in force, as TOML
#[derive(clap::Args)]
#[command(after_help = "Example: ephor policy show --default > policy.toml")]
struct Show {
    /// The defaults instead
    #[arg(long)]
    default: bool,
}

/// Check a policy file: unknown keys, impossible values, thresholds in the wrong order
#[derive(clap::Args)]
#[command(after_help = "Example: ephor policy check policy.toml")]
struct Check {
    /// The file
    file: PathBuf,
}

/// Put a policy into force
#[derive(clap::Args)]
#[command(after_help = "Example: ephor policy adopt policy.toml --by alice --reason 'smaller caps over the holidays'")]
struct Adopt {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    match &args.act {
        Act::Show(show) => shown(global, show),
        Act::Check(check) => {
            let policy = read(&check.file)?;
            if global.json {
                print::json(&json!({ "file": check.file, "policy_id": policy.id() }))?;
            } else {
                let path = check.file.display();
                print::out(format_args!("{} {path} is a policy, {}\n", styled(GOOD, "ok:"), policy.id()))?;
            }
            Ok(Exit::Done)
        }
        Act::Adopt(adopt) => {
            let policy = Arc::new(read(&adopt.file)?);
            let (by, reason) = (adopt.who.name()?, adopt.why.reason.clone());
            let terms = Terms { creates: true, ..Terms::default() };
            operator::change(global, terms, system::Command::AdoptPolicy { id: policy.id(), policy, by, reason })
        }
    }
}

fn shown(global: &Global, show: &Show) -> Result<Exit, CliError> {
    let (policy, source) = if show.default {
        (Arc::new(Policy::default()), "the defaults")
    } else {
        let opened = store::open_reader(global)?;
        let system: system::State = restore(&opened.reader, None, &StreamId::system(), None, system::evolve)?.state;
        (system.policy, if system.policy_adopted { "in force" } else { "the defaults; none has been adopted" })
    };
    if global.json {
        print::json(&json!({ "policy_id": policy.id(), "policy": *policy }))?;
    } else {
        let text = toml::to_string_pretty(&*policy).map_err(|error| CliError::Output(std::io::Error::other(error)))?;
        print::out(format_args!("# policy {}, {source}\n\n{text}", policy.id()))?;
    }
    Ok(Exit::Done)
}

/// A policy from a file, checked.
pub(super) fn read(path: &Path) -> Result<Policy, CliError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(CliError::usage(format!("there is no file {}", path.display())));
        }
        Err(source) => return Err(CliError::File { doing: "read", path: path.to_owned(), source }),
    };
    policy_of_toml(&text).map_err(|problem| CliError::usage(format!("policy {}: {problem}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::policy_of_toml as checked;

    #[test]
    fn what_is_shown_is_what_can_be_adopted() {
        let text = toml::to_string_pretty(&Policy::default()).unwrap();
        assert_eq!(checked(&text), Ok(Policy::default()));
        assert_eq!(checked(""), Ok(Policy::default()));
    }

    #[test]
    fn a_wrong_policy_is_refused_by_field_and_line() {
        let refused = |text: &str| checked(text).unwrap_err().to_string();
        let unknown = refused("[maturity]\ndemotion_drawdwon = \"0.1\"\n");
        assert!(unknown.starts_with("line 2: maturity.demotion_drawdwon: unknown field"), "{unknown}");
        let cap = refused("[maturity]\n\nsizing_caps = [\n  0.0, 0.0,\n  -0.1, 0.25, 1.0,\n]\n");
        assert!(cap.contains("maturity.sizing_caps: must be from 0 to 1, found -0.1"), "{cap}");
        let order = refused("[impact_classifier]\nmedium_notional_usd = 60000\nhigh_notional_usd = \"50000\"\n");
        assert!(order.starts_with("line 3: impact_classifier.high_notional_usd: 50000 is below"), "{order}");
        let drift = refused("[drift_detector]\npause_above_pct = 10\n");
        assert!(drift.starts_with("line 2: drift_detector.pause_above_pct: "), "{drift}");
        let kind = refused("[health_score]\nwindow_trades = -5\n");
        assert!(kind.starts_with("line 2: health_score.window_trades: invalid value"), "{kind}");
        let section = refused("[healthscore]\n");
        assert!(section.starts_with("line 1: healthscore: unknown field"), "{section}");
    }
}
