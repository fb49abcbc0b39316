//! `ephor token`: short, revocable permissions that say exactly what they permit.

mod verify;

use clap::Subcommand;
use comfy_table::{Cell, Color};
use ephor_governance::ids::{InstrumentId, SourceId, StrategyId, TokenId};
use ephor_governance::order::Side;
use ephor_governance::strategy::Command;
use ephor_governance::token::Grant;
use ephor_governance::units::Amount;

use super::operator::{self, Who, Why};
use super::print::{self, LEFT, RIGHT};
use super::{CliError, Exit, Global};
use crate::keys::Claims;
use crate::keys::signing::Signer;
use crate::operate;
use crate::store::{self, Terms};

/// Issue, check, list and revoke execution tokens
#[derive(clap::Args)]
#[command(after_help = "Example: ephor token issue MEANREV-EURUSD --side buy --max-notional-usd 50000 --by alice")]
pub(super) struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    Issue(Issue),
    Verify(verify::Args),
    List(List),
    Revoke(Revoke),
}

/// Permit orders of a strategy, within a scope and for a while
#[derive(clap::Args)]
#[command(
    after_help = "What is not said is not limited, but the uses (1) and the time (the policy's). Prints the token \
                        signed, for whoever checks it with `ephor token verify`.\n\n\
                        Example: ephor token issue MEANREV-EURUSD --order O-20240131-17 --by alice"
)]
struct Issue {
    /// Which strategy
    strategy: StrategyId,
    /// An instrument it covers; may be given more than once
    #[arg(long = "instrument", value_name = "ID")]
    instruments: Vec<InstrumentId>,
    /// The side it covers: buy or sell
    #[arg(long, value_parser = side)]
    side: Option<Side>,
    /// Largest order value it covers, US dollars
    #[arg(long, value_name = "AMOUNT")]
    max_notional_usd: Option<Amount>,
    /// Orders it can be used for
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,
    /// How long it lives, seconds; the policy's default
    #[arg(long, value_name = "N")]
    ttl_seconds: Option<u64>,
    /// The one order it covers
    #[arg(long, value_name = "ID")]
    order: Option<SourceId>,
    #[command(flatten)]
    who: Who,
}

/// List the tokens in force
#[derive(clap::Args)]
#[command(after_help = "Example: ephor token list MEANREV-EURUSD")]
struct List {
    /// Of which strategy; all of them where none is named
    strategy: Option<StrategyId>,
}

/// Take tokens back
#[derive(clap::Args)]
#[command(after_help = "Example: ephor token revoke MEANREV-EURUSD --all --by alice --reason 'market closed'")]
struct Revoke {
    /// Which strategy
    strategy: StrategyId,
    /// Which token
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    token: Option<TokenId>,
    /// All of the strategy's tokens
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    why: Why,
}

fn side(text: &str) -> Result<Side, String> {
    match text.to_ascii_lowercase().as_str() {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _other => Err("use buy or sell".to_owned()),
    }
}

pub(super) fn run(global: &Global, args: &Args) -> Result<Exit, CliError> {
    match &args.act {
        Act::Issue(issue) => sign(global, issue),
        Act::Verify(args) => verify::run(global, args),
        Act::List(list) => show(global, list.strategy.as_ref()),
        Act::Revoke(revoke) => {
            let (id, by, reason) = (revoke.token.clone(), revoke.who.name()?, revoke.why.reason.clone());
            operator::ask(global, Terms::default(), &revoke.strategy, async |_| {
                Ok(Command::RevokeTokens { id, by, reason })
            })
        }
    }
}

/// Records the issue of a token, then signs what was recorded.
fn sign(global: &Global, issue: &Issue) -> Result<Exit, CliError> {
    let issued_by = issue.who.name()?;
    let mut signer = None;
    let trace = operator::trace();
    let recorded = operator::record(global, Terms::default(), &issue.strategy, trace.clone(), async |session| {
        // Before anything is recorded: a token that cannot be signed is not issued.
        signer = Some(Signer::open(&global.data, session.now())?);
        let policy = operator::system_now(session)?.policy;
        let ttl = issue.ttl_seconds.unwrap_or(policy.execution_tokens.ttl_seconds_default);
        Ok(Command::IssueToken(Grant {
            id: TokenId::recorded(operate::new_id()),
            instruments: issue.instruments.clone(),
            side: issue.side,
            notional_usd_max: issue.max_notional_usd,
            order_id: issue.order.clone(),
            uses_max: issue.uses,
            expires_at: session.now().plus_seconds(ttl),
            issued_by,
        }))
    })?;
    let grant = operate::granted(&recorded).cloned();
    let text = match grant.zip(signer) {
        Some((grant, signer)) => Some(signer.sign(&Claims::new(issue.strategy.clone(), grant, recorded.at, trace))?),
        None => None,
    };
    if global.json {
        let mut said = operator::as_json(issue.strategy.as_str(), &recorded);
        if let Some((said, text)) = said.as_object_mut().zip(text) {
            said.insert("signed".to_owned(), text.into());
        }
        print::json(&said)?;
    } else {
        let said = operator::as_text(issue.strategy.as_str(), &recorded);
        print::out(format_args!("{said}{}\n", text.unwrap_or_default()))?;
    }
    Ok(Exit::Done)
}

fn show(global: &Global, only: Option<&StrategyId>) -> Result<Exit, CliError> {
    let opened = store::open_reader(global)?;
    let now = store::now();
    let listed = operator::seen(&opened.reader, only, |id, state| operate::tokens(id, state, now))?;
    if global.json {
        print::json(&listed)?;
        return Ok(Exit::Done);
    }
    if listed.is_empty() {
        print::out("no token is in force\n")?;
        return Ok(Exit::Done);
    }
    let mut table = print::table(&[
        ("token", LEFT),
        ("strategy", LEFT),
        ("covers", LEFT),
        ("uses left", RIGHT),
        ("until", LEFT),
        ("by", LEFT),
    ]);
    for token in &listed {
        let until = Cell::new(print::time(token.grant.expires_at));
        table.add_row(vec![
            Cell::new(&token.grant.id),
            Cell::new(&token.strategy),
            Cell::new(scope(&token.grant)),
            Cell::new(token.uses_left),
            if token.expired { until.fg(Color::Red) } else { until },
            Cell::new(&token.grant.issued_by),
        ]);
    }
    print::out(print::rows(&table))?;
    Ok(Exit::Done)
}

/// What a token covers, in words.
fn scope(grant: &Grant) -> String {
    let mut parts = Vec::new();
    if let Some(order) = &grant.order_id {
        parts.push(format!("order {order}"));
    }
    if let Some(side) = grant.side {
        parts.push(
            match side {
                Side::Buy => "buy",
                Side::Sell => "sell",
            }
            .to_owned(),
        );
    }
    let instruments: Vec<&str> = grant.instruments.iter().map(InstrumentId::as_str).collect();
    if !instruments.is_empty() {
        parts.push(instruments.join(", "));
    }
    if let Some(most) = grant.notional_usd_max {
        parts.push(format!("up to {} USD", print::amount(most)));
    }
    if parts.is_empty() { "any order".to_owned() } else { parts.join(", ") }
}
