//! `ephor bus`: what the servers of the settings must have, and what they have.

use clap::Subcommand;
use serde_json::{Value, json};

use super::print::{self, BOLD, DIM, GOOD, WARN, styled};
use super::{CliError, Exit, Global};
use crate::bus::nats::{Done, Step, look, set_up};
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

/// Make streams and consumers as the settings say, or bring them up to date
#[derive(clap::Args)]
#[command(
    after_help = "Asks every [[bus.nats]] of the settings. What the settings do not speak of stays as it is.\n\n\
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
    let servers = &settings.bus.nats;
    if servers.is_empty() {
        return Err(CliError::usage("the settings name no [[bus.nats]]: there is nothing to set up or to look at"));
    }
    drop(rustls::crypto::ring::default_provider().install_default());
    block_on(async {
        let mut exit = Exit::Done;
        for server in servers {
            match &args.act {
                Act::Setup(setup) => {
                    for step in set_up(server, setup.dry_run).await? {
                        if global.json {
                            print::json(&shown(&server.name, &step, setup.dry_run))?;
                        } else {
                            print::out(told(&server.name, &step, setup.dry_run))?;
                        }
                    }
                }
                Act::Status(Status {}) => {
                    for (what, found) in look(server).await? {
                        if found.get("missing").is_some() {
                            exit = Exit::Found;
                        }
                        if global.json {
                            print::json(&json!({ "bus": server.name, "what": what, "found": found }))?;
                        } else {
                            print::out(format_args!("{}  {}  {}\n", server.name, styled(BOLD, what), listed(&found)))?;
                        }
                    }
                }
            }
        }
        Ok(exit)
    })
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
