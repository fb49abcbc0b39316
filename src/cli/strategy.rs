//! `ephor strategy`: what an operator does to one strategy.

use clap::Subcommand;
use ephor_governance::event::Registration;
use ephor_governance::ids::{Currency, InstrumentId, SourceId, StrategyId};
use ephor_governance::maturity::Level;
use ephor_governance::strategy::Command;
use ephor_governance::units::Amount;
use smol_str::SmolStr;

use super::operator::{self, Who, Why};
use super::{CliError, Exit, Global};
use crate::store::Terms;

/// Register, promote, demote, pause or resume a strategy
#[derive(clap::Args)]
#[command(
    after_help = "Example: ephor strategy pause EMAX-GBPUSD-M5-001 --by alice --reason 'looking into the losses'"
)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    Register(Register),
    Promote(Promote),
    Demote(Demote),
    Pause(Stand),
    Resume(Stand),
}

/// Bring a strategy under governance, or declare a new version of it
#[derive(clap::Args)]
#[command(
    after_help = "Example: ephor strategy register MEANREV-EURUSD --capital 100000 --currency USD --instrument EUR/USD"
)]
struct Register {
    /// Its name
    strategy: StrategyId,
    /// Capital allocated to it
    #[arg(long, value_name = "AMOUNT")]
    capital: Amount,
    /// What capital, prices and results are counted in
    #[arg(long, value_name = "CODE")]
    currency: Currency,
    /// Its main instrument
    #[arg(long, value_name = "ID")]
    instrument: Option<InstrumentId>,
    /// Value of one unit at a price of one
    #[arg(long, value_name = "AMOUNT", default_value = "1")]
    multiplier: Amount,
    /// The engine that runs it
    #[arg(long, value_name = "TEXT")]
    engine: Option<String>,
    /// Its class or family
    #[arg(long, value_name = "TEXT")]
    class: Option<String>,
    /// Digest of code and settings: another digest is another version, and evidence starts again
    #[arg(long, value_name = "TEXT", default_value = "0", value_parser = digest)]
    version_digest: SmolStr,
}

/// Raise a strategy one level
#[derive(clap::Args)]
#[command(after_help = "Without --without-evidence the record at the level must have earned it.\n\n\
                        Example: ephor strategy promote MEANREV-EURUSD --by alice --reason 'reviewed on Monday'")]
struct Promote {
    /// Which strategy
    strategy: StrategyId,
    /// Even though the record has not earned it
    #[arg(long)]
    without_evidence: bool,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

/// Lower a strategy, one level where none is named
#[derive(clap::Args)]
#[command(after_help = "Example: ephor strategy demote MEANREV-EURUSD --to L1 --by alice --reason 'broker changed'")]
struct Demote {
    /// Which strategy
    strategy: StrategyId,
    /// To which level: L0 to L4
    #[arg(long, value_name = "LEVEL")]
    to: Option<Level>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

/// Let a strategy stand still, or go on: resuming ends every pause
#[derive(clap::Args)]
#[command(
    after_help = "Example: ephor strategy resume MEANREV-EURUSD --by alice --reason 'drift explained by the holiday'"
)]
struct Stand {
    /// Which strategy
    strategy: StrategyId,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

fn digest(text: &str) -> Result<SmolStr, String> {
    let id: SourceId = text.parse().map_err(|error: ephor_governance::ids::IdError| error.to_string())?;
    Ok(id.text())
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    let existing = Terms::default();
    match &args.act {
        Act::Register(register) => {
            let terms = Terms { creates: true, ..Terms::default() };
            operator::ask(global, terms, &register.strategy, async |_| Ok(registration(register)))
        }
        Act::Promote(promote) => {
            let by = promote.who.name()?;
            operator::ask(global, existing, &promote.strategy, async |session| {
                let level = operator::strategy_now(session, &promote.strategy)?.maturity.level;
                let to = level.next().ok_or_else(|| {
                    CliError::usage(format!("{} is at {level}, and there is no level above", promote.strategy))
                })?;
                let (without_evidence, reason) = (promote.without_evidence, promote.why.reason.clone());
                Ok(Command::SetLevel { to, without_evidence, by, reason })
            })
        }
        Act::Demote(demote) => {
            let by = demote.who.name()?;
            operator::ask(global, existing, &demote.strategy, async |session| {
                let level = operator::strategy_now(session, &demote.strategy)?.maturity.level;
                let to = demote.to.unwrap_or(level.below());
                if to >= level {
                    let problem = format!("{} is at {level}: {to} is not below it", demote.strategy);
                    return Err(CliError::usage(problem));
                }
                Ok(Command::SetLevel { to, without_evidence: false, by, reason: demote.why.reason.clone() })
            })
        }
        Act::Pause(Stand { strategy, who, why }) => {
            let command = Command::Pause { by: who.name()?, reason: why.reason.clone() };
            operator::ask(global, existing, strategy, async |_| Ok(command))
        }
        Act::Resume(Stand { strategy, who, why }) => {
            let command = Command::Resume { by: who.name()?, reason: why.reason.clone() };
            operator::ask(global, existing, strategy, async |_| Ok(command))
        }
    }
}

fn registration(register: &Register) -> Command {
    // Each declaration is one of its own: the rule says where it changes nothing.
    let id = SourceId::recorded(SmolStr::new(uuid::Uuid::now_v7().to_string()));
    Command::Register(Registration {
        id,
        instrument: register.instrument.clone(),
        engine: register.engine.clone(),
        strategy_class: register.class.clone(),
        version_digest: register.version_digest.clone(),
        initial_capital: register.capital,
        currency: register.currency.clone(),
        multiplier: register.multiplier,
    })
}
