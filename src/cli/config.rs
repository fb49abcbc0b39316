//! `ephor config`: the settings in force, where each is from, and whether the service could start with them.

use clap::Subcommand;
use serde_json::{Value, json};

use super::flags::Flags;
use super::print::{self, GOOD, LEFT, styled};
use super::{CliError, Exit, Global};
use crate::serve::tls::Certificate;
use crate::settings::{Effective, Origin, Settings, Sources};

/// Show and check the settings
#[derive(clap::Args)]
#[command(after_help = "Settings are read from ephor.toml (or --config FILE), then from the environment \
                        (EPHOR_SERVER__BIND is server.bind), then from flags; the later wins.\n\n\
                        Example: ephor config show")]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    Show(Show),
    Check(Check),
}

/// Print every setting in force, and where it is from
#[derive(clap::Args)]
#[command(after_help = "Example: EPHOR_SERVER__WORKERS=4 ephor config show")]
struct Show {
    #[command(flatten)]
    flags: Flags,
}

/// Check the settings: keys, values, addresses, and that certificate and key can be used
#[derive(clap::Args)]
#[command(after_help = "Example: ephor config check --config /etc/ephor/ephor.toml")]
struct Check {
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    match &args.act {
        Act::Show(show) => shown(global, &show.flags),
        Act::Check(check) => checked(global, &check.flags),
    }
}

fn shown(global: &Global, flags: &Flags) -> Result<Exit, CliError> {
    let settings = Sources::read(global.config.as_deref(), &flags.given())?.effective()?;
    if global.json {
        print::json(&settings.iter().map(row).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut table = print::table(&[("setting", LEFT), ("value", LEFT), ("from", LEFT)]);
    for Effective { field, value, origin } in settings {
        let value = if value.is_null() { "not set".to_owned() } else { value.to_string() };
        table.add_row([field, value, origin.to_string()]);
    }
    print::out(print::rows(&table))?;
    Ok(Exit::Done)
}

fn row(Effective { field, value, origin }: &Effective) -> Value {
    let (from, name, line) = match origin {
        Origin::Default => ("default", None, None),
        Origin::File { path, line } => ("file", Some(path.to_string_lossy().into_owned()), *line),
        Origin::Variable(name) => ("variable", Some(name.clone()), None),
        Origin::Flag(name) => ("flag", Some((*name).to_owned()), None),
    };
    json!({ "field": field, "value": value, "from": from, "name": name, "line": line })
}

fn checked(global: &Global, flags: &Flags) -> Result<Exit, CliError> {
    let settings = Settings::load(global.config.as_deref(), &flags.given())?;
    if let Some(tls) = &settings.server.tls {
        Certificate::read(tls)?.config()?;
    }
    if global.json {
        print::json(&json!({ "ok": true }))?;
    } else {
        print::out(format_args!("{} the service can start with these settings\n", styled(GOOD, "ok:")))?;
    }
    Ok(Exit::Done)
}
