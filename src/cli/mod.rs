//! The command line: one file a command, each with its arguments, its help and an example.

mod api_key;
mod approvals;
mod audit;
mod audit_db;
mod bisect;
mod bus;
mod completions;
mod config;
mod diff;
mod error;
mod events;
mod export;
mod feed;
mod flags;
mod history;
mod import;
mod keys;
mod kill;
mod operator;
mod paper;
mod policy;
mod print;
mod rehearse;
mod rejects;
mod replay;
mod run;
mod sentence;
mod serve;
mod snapshots;
mod state;
mod step;
mod strategies;
mod strategy;
mod summary;
mod token;
mod verify;
mod what_if;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

pub use error::{CliError, Exit};

/// Governs automated trading strategies: which may trade, and how large, with every decision in an
/// append-only log that can be replayed, explained and judged again.
#[derive(Parser)]
#[command(name = "ephor", version, propagate_version = true, after_help = "Example: ephor run --input trades.jsonl.gz")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(clap::Args, Clone, Debug)]
pub struct Global {
    /// The directory that holds the log
    #[arg(long, global = true, value_name = "DIR", default_value = "ephor-data", env = "EPHOR_DATA")]
    pub data: PathBuf,
    /// Settings file; ephor.toml here, if there is one
    #[arg(long, global = true, value_name = "FILE", env = "EPHOR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON for programs instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error: -v, -vv, -vvv
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Paper(paper::Args),
    Import(import::Args),
    Serve(serve::Args),
    Feed(rehearse::Args),
    Bus(bus::Args),
    Strategies(strategies::Args),
    State(state::Args),
    History(history::Args),
    Step(step::Args),
    Events(events::Args),
    Why(why::Args),
    Diff(diff::Args),
    Bisect(bisect::Args),
    Replay(replay::Args),
    Audit(audit::Args),
    AuditDb(audit_db::Args),
    WhatIf(what_if::Args),
    Verify(verify::Args),
    Export(export::Args),
    Snapshots(snapshots::Args),
    Policy(policy::Args),
    Strategy(strategy::Args),
    Token(token::Args),
    Approvals(approvals::Args),
    ApiKey(api_key::Args),
    Keys(keys::Args),
    Kill(kill::KillArgs),
    Rearm(kill::RearmArgs),
    Config(config::Args),
    Completions(completions::Args),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The service sets up its own, as its settings say.
    if !matches!(cli.command, Command::Serve(_)) {
        print::init_tracing(cli.global.verbose);
    }
    let global = &cli.global;
    let done = match &cli.command {
        Command::Run(args) => run::run(global, args),
        Command::Paper(args) => paper::run(global, args),
        Command::Import(args) => import::run(global, args),
        Command::Serve(args) => serve::run(global, args),
        Command::Feed(args) => rehearse::run(global, args),
        Command::Bus(args) => bus::run(global, args),
        Command::Strategies(args) => strategies::run(global, args),
        Command::State(args) => state::run(global, args),
        Command::History(args) => history::run(global, args),
        Command::Step(args) => step::run(global, args),
        Command::Events(args) => events::run(global, args),
        Command::Why(args) => why::run(global, args),
        Command::Diff(args) => diff::run(global, args),
        Command::Bisect(args) => bisect::run(global, args),
        Command::Replay(args) => replay::run(global, args),
        Command::Audit(args) => audit::run(global, args),
        Command::AuditDb(args) => audit_db::run(global, args),
        Command::WhatIf(args) => what_if::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Snapshots(args) => snapshots::run(global, args),
        Command::Policy(args) => policy::run(global, args),
        Command::Strategy(args) => strategy::run(global, args),
        Command::Token(args) => token::run(global, args),
        Command::Approvals(args) => approvals::run(global, args),
        Command::ApiKey(args) => api_key::run(global, args),
        Command::Keys(args) => keys::run(global, args),
        Command::Kill(args) => kill::kill(global, args),
        Command::Rearm(args) => kill::rearm(global, args),
        Command::Config(args) => config::run(global, args),
        Command::Completions(args) => completions::run::<Cli>(args),
    };
    print::exit(global, done)
}
