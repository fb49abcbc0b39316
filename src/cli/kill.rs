//! `ephor kill` and `ephor rearm`: the latched kill switch.

use ephor_governance::system::Command;

use super::operator::{self, Who, Why};
use super::{CliError, Exit, Global};
use crate::operate::Covers;
use crate::store::Terms;

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
