//! `ephor what-if`: history under another policy, under several side by side, or swept over one threshold.

mod fail_on;
mod plot;
mod sweep;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ephor_events::StreamId;
use ephor_governance::ids::StrategyId;
use ephor_governance::policy::Policy;
use ephor_governance::system;
use ephor_replay::audit::Scope;
use ephor_replay::what_if::{Report, Variant, totals, what_if};
use ephor_snapshots::restore;
use serde_json::json;

use super::audit::bar;
use super::events::Place;
use super::print::{self, BAD, GOOD, styled};
use super::{CliError, Exit, Global, policy, sentence};
use crate::store;
use fail_on::{Condition, Failed};
use sweep::Sweep;

/// Decide history again under another policy; exit code 1 where a --fail-on condition holds
///
/// Every recorded command is decided again under the policy given, on states that go on from what comes
/// out; a trade is made as large as its order would have been. Adoptions of policies in history are passed
/// over from --from on.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  ephor what-if --policy stricter.toml --from 2012-02-20
  ephor what-if --policy stricter.toml --fail-on 'blocked > 5%' --fail-on 'demotions_change > 0'
  ephor what-if --policy a.toml --policy b.toml
  ephor what-if --sweep maturity.demotion_drawdown=0.05..0.20/0.01 --svg drawdown.svg")]
pub(super) struct Args {
    /// A policy file; given more than once, the policies stand side by side
    #[arg(long, value_name = "FILE", required_unless_present = "sweep")]
    policy: Vec<PathBuf>,
    /// Try every value of one number of the policy (of --policy, or of the one in force), B too where the steps meet it
    #[arg(long, value_name = "FIELD=A..B/STEP")]
    sweep: Option<String>,
    /// Draw the sweep into this file
    #[arg(long, value_name = "FILE", requires = "sweep")]
    svg: Option<PathBuf>,
    /// Only this strategy
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<StrategyId>,
    /// The other policy is in force from this seq or time on; what is before is as recorded
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Place>,
    /// Up to this seq or time
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Place>,
    #[arg(long, value_name = "CONDITION", help = fail_on::SHORT_HELP, long_help = fail_on::long_help())]
    fail_on: Vec<String>,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let conditions = args.fail_on.iter().map(|text| text.parse()).collect::<Result<Vec<Condition>, _>>();
    let conditions = conditions.map_err(CliError::usage)?;
    let policies = args.policy.iter().map(|path| policy::read(path)).collect::<Result<Vec<Policy>, _>>()?;
    let opened = store::open_reader(global)?;
    let reader = &opened.reader;
    let sweep = match &args.sweep {
        None => None,
        Some(text) => {
            let base = match policies.as_slice() {
                [] => restore(reader, None, &StreamId::system(), None, system::evolve)
                    .map(|system: ephor_snapshots::Restored<system::State>| system.state.policy)?,
                [policy] => Arc::new(policy.clone()),
                [_, _, ..] => {
                    return Err(CliError::usage("--sweep starts from one policy: give --policy once, or not at all"));
                }
            };
            Some(Sweep::read(text, &base).map_err(CliError::usage)?)
        }
    };
    let variants = if let Some(sweep) = &sweep {
        sweep.variants().map_err(CliError::usage)?
    } else {
        let names = args.policy.iter().map(|path| path.display().to_string());
        names.zip(policies).map(|(name, policy)| Variant::new(name, policy)).collect()
    };
    let from = args.from.map(|place| place.first(reader)).transpose()?;
    let to = args.to.map(|place| place.last(reader)).transpose()?;
    let last = reader.head().seq;
    if from.is_some_and(|from| from > last || to.is_some_and(|to| from > to)) {
        return Err(CliError::usage(format!(
            "there is nothing to decide again between --from and --to: the log ends at seq {last}"
        )));
    }
    let scope = Scope { strategy: args.strategy.clone(), from, to };
    let began = Instant::now();
    let judged = if sweep.is_some() { totals } else { what_if };
    let report = judged(reader, &scope, &variants, &mut bar("deciding otherwise"))?;
    let seconds = began.elapsed().as_secs_f64();
    let failed: Vec<Failed> = conditions.iter().flat_map(|condition| condition.failed(&report)).collect();
    if let (Some(path), Some(sweep)) = (&args.svg, &sweep) {
        plot::write(path, sweep, &report)?;
    }
    if global.json {
        print::json(&as_json(&report, sweep.as_ref(), &failed, seconds))?;
    } else {
        let mut said = text::said(&report, sweep.as_ref(), seconds);
        if let Some(path) = &args.svg {
            sentence::add(&mut said, format_args!("\nplot written to {}", path.display()));
        }
        if !conditions.is_empty() {
            said.push('\n');
        }
        for failed in &failed {
            sentence::add(&mut said, format_args!("{} {failed}", styled(BAD.bold(), "failed:")));
        }
        if failed.is_empty() && !conditions.is_empty() {
            let held: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            sentence::add(&mut said, format_args!("{} none of: {}", styled(GOOD, "passed:"), held.join(", ")));
        }
        print::out(said)?;
    }
    Ok(if failed.is_empty() { Exit::Done } else { Exit::Found })
}

/// The report's own fields (a sweep's `strategies` are left out: totals alone), and `sweep`, `failed`, `cannot_know` and `seconds`.
fn as_json(report: &Report, sweep: Option<&Sweep>, failed: &[Failed], seconds: f64) -> serde_json::Value {
    let mut value = json!(report);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("sweep".to_owned(), json!(sweep));
        fields.insert("failed".to_owned(), json!(failed));
        fields.insert("cannot_know".to_owned(), json!(text::CANNOT_KNOW));
        fields.insert("seconds".to_owned(), json!(seconds));
    }
    value
}
