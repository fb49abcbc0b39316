//! `ephor bus`: what the servers of the settings must have, and what they have.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{self, BOLD, DIM, GOOD, WARN, styled};
use super::{CliError, Exit, Global};
use crate::bus;
use crate::bus::setup::{Done, Step};
use crate::settings::Settings;
use crate::store::block_on;

/// Set up message buses, and look at them
#[derive(clap::Args)]
#[command(after_help = "Example: ephor bus setup --dry-run")]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    Setup(Setup),
    Status(Status),
}

/// Make streams, consumers and groups as the settings say, or bring them up to date
#[derive(clap::Args)]
#[command(
    after_help = "Asks every [[bus.nats]] and [[bus.redis]] of the settings. What the settings do not speak of stays as it is.\n\n\
                        Example: ephor bus setup --dry-run"
)]
struct Setup {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Say what streams hold, and what is still to be taken
#[derive(clap::Args)]
#[command(after_help = "Example: ephor bus status")]
struct Status {}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let settings = Settings::load(global.config.as_deref(), &[])?;
    let (nats, redis) = (&settings.bus.nats, &settings.bus.redis);
    if nats.is_empty() && redis.is_empty() {
        let problem =
            "the settings name no [[bus.nats]] and no [[bus.redis]]: there is nothing to set up or to look at";
        return Err(CliError::usage(problem));
    }
    drop(rustls::crypto::ring::default_provider().install_default());
    block_on(async {
        match &args.act {
            Act::Setup(Setup { dry_run }) => {
                for server in nats {
                    say_steps(global, &server.name, &bus::nats::set_up(server, *dry_run).await?, *dry_run)?;
                }
                for server in redis {
                    say_steps(global, &server.name, &bus::redis::set_up(server, *dry_run).await?, *dry_run)?;
                }
                Ok(Exit::Done)
            }
            Act::Status(Status {}) => {
                let mut is_missing = false;
                for server in nats {
                    is_missing |= say_found(global, &server.name, &bus::nats::look(server).await?)?;
                }
                for server in redis {
                    is_missing |= say_found(global, &server.name, &bus::redis::look(server).await?)?;
                }
                Ok(if is_missing { Exit::Found } else { Exit::Done })
            }
        }
    })
}

fn say_steps(global: &Global, server: &str, steps: &[Step], dry_run: bool) -> Result<(), CliError> {
    for step in steps {
        if global.json {
            print::json(&shown(server, step, dry_run))?;
        } else {
            print::out(told(server, step, dry_run))?;
        }
    }
    Ok(())
}

/// Says what there is; gives whether something is missing.
fn say_found(global: &Global, server: &str, found: &[(String, Value)]) -> Result<bool, CliError> {
    for (what, found) in found {
        if global.json {
            print::json(&json!({ "bus": server, "what": what, "found": found }))?;
        } else {
            print::out(format_args!("{server}  {}  {}\n", styled(BOLD, what), listed(found)))?;
        }
    }
    Ok(found.iter().any(|(_, found)| found.get("missing").is_some()))
}

fn shown(server: &str, step: &Step, dry_run: bool) -> Value {
    let pairs = |pairs: &[(&'static str, String)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>()
    };
    json!({
        "bus": server, "what": step.what, "done": step.done.to_string(), "dry_run": dry_run,
        "limits": pairs(&step.limits), "differed": pairs(&step.differed),
    })
}

fn told(server: &str, step: &Step, dry_run: bool) -> String {
    let (style, would) = match step.done {
        Done::Created | Done::Updated => (WARN, if dry_run { "would be " } else { "" }),
        Done::Kept => (GOOD, ""),
    };
    let first = format!("{server}  {}  {would}{}\n", styled(BOLD, &step.what), styled(style, step.done));
    let limits = step.limits.iter().map(|(name, value)| {
        let was = step.differed.iter().find(|(differed, _)| differed == name);
        let was = was.map_or_else(String::new, |(_, was)| styled(WARN, format_args!("  was {was}")));
        format!("  {}  {value}{was}\n", styled(DIM, format_args!("{name:<16}")))
    });
    std::iter::once(first).chain(limits).collect()
}

fn listed(found: &Value) -> String {
    let Value::Object(found) = found else { return found.to_string() };
    found.iter().map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}
