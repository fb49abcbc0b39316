//! `ephor kill` and `ephor rearm`: the latched kill switch.

use std::str::FromStr;

use ephor_governance::event::Scope;
use ephor_governance::system::Command;

use super::operator::{self, Who, Why};
use super::{CliError, Exit, Global};
use crate::store::Terms;

/// What a kill switch covers, as it is written on the command line.
#[derive(Clone, Debug)]
struct Covers(Scope);

impl FromStr for Covers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(Scope::All));
        }
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let said = |error: ephor_governance::ids::IdError| error.to_string();
        match kind {
            "strategy" => name.parse().map(Scope::Strategy).map(Self).map_err(said),
            "instrument" => name.parse().map(Scope::Instrument).map(Self).map_err(said),
            "venue" => name.parse().map(Scope::Venue).map(Self).map_err(said),
            _other => Err("use all, strategy:ID, instrument:ID or venue:ID".to_owned()),
        }
    }
}

/// Stop orders at once, until a named person re-arms
#[derive(clap::Args)]
#[command(after_help = "Exits still pass, unless --block-exits says otherwise.\n\n\
                        Example: ephor kill --scope venue:XCME --by alice --reason 'the feed is wrong'")]
pub(super) struct KillArgs {
    /// What it covers: all, strategy:ID, instrument:ID or venue:ID
    #[arg(long, default_value = "all")]
    scope: Covers,
    /// Stop orders that only reduce a position, too
    #[arg(long)]
    block_exits: bool,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

/// Release a kill switch
#[derive(clap::Args)]
#[command(after_help = "Example: ephor rearm --scope venue:XCME --by alice --reason 'the feed is right again'")]
pub(super) struct RearmArgs {
    /// What it covered: all, strategy:ID, instrument:ID or venue:ID
    #[arg(long, default_value = "all")]
    scope: Covers,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

pub(super) fn kill(global: &Global, args: &KillArgs) -> Result<Exit, CliError> {
    let command = Command::EngageKillSwitch {
        scope: args.scope.0.clone(),
        exits_blocked: args.block_exits,
        by: args.who.name()?,
        reason: args.why.reason.clone(),
    };
    operator::change(global, Terms::default(), command)
}

pub(super) fn rearm(global: &Global, args: &RearmArgs) -> Result<Exit, CliError> {
    let command = Command::ReleaseKillSwitch {
        scope: args.scope.0.clone(),
        by: args.who.name()?,
        reason: args.why.reason.clone(),
    };
    operator::change(global, Terms::default(), command)
}
